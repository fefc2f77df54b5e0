//! The messages of a link and their bytes.

use bytes::Bytes;
use edgeflow_spec::qos::QosMode;
use serde::{Deserialize, Serialize};

use crate::frame::{Frame, HEADER_LEN, RawHeader};

/// Bytes before every body.
pub const ENVELOPE_LEN: usize = 8;
/// Bytes of a `DATA` body before the frame: when it was sent.
pub const DATA_FIELDS_LEN: usize = 8;
/// Bytes of a `DATA` message before meta and payload.
pub const DATA_PREFIX_LEN: usize = ENVELOPE_LEN + DATA_FIELDS_LEN + HEADER_LEN;
/// Bytes of a `SHARED` body before the frame: when it was sent, and where the payload is.
pub const SHARED_FIELDS_LEN: usize = DATA_FIELDS_LEN + 16;
/// Bytes of a `SHARED` message before meta.
pub const SHARED_PREFIX_LEN: usize = ENVELOPE_LEN + SHARED_FIELDS_LEN + HEADER_LEN;
/// Largest body of every message but `DATA`.
pub const MAX_CONTROL_LEN: usize = 4096;
/// Longest name in a `HELLO`.
pub const MAX_NAME_LEN: usize = 200;

pub(super) const HELLO: u8 = 1;
pub(super) const ACCEPT: u8 = 2;
pub(super) const REJECT: u8 = 3;
pub(super) const DATA: u8 = 4;
pub(super) const CREDIT: u8 = 5;
pub(super) const GAP: u8 = 6;
pub(super) const PING: u8 = 7;
pub(super) const END: u8 = 8;
pub(super) const SEGMENT: u8 = 9;
pub(super) const SHARED: u8 = 10;
pub(super) const RETIRE: u8 = 11;
pub(super) const CLOCK: u8 = 12;

/// `DATA` flag: the frame was sent before, to a consumer that did not acknowledge it.
pub(super) const FLAG_REDELIVERED: u8 = 1;
/// `PING` and `CLOCK` flag: this is the answer.
pub(super) const FLAG_REPLY: u8 = 1;

/// The consumer's first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol that the consumer speaks.
    pub protocol_min: u32,
    /// Newest protocol that the consumer speaks.
    pub protocol_max: u32,
    /// Link id.
    pub link: String,
    /// Consumer group: members share its frames.
    pub group: String,
    /// Who this is: the consuming instance. A second connection takes the first one's place.
    pub member: String,
    /// Quality of service.
    pub qos: QosMode,
    /// The consumer's boot id.
    #[serde(default)]
    pub boot_id: String,
    /// Largest meta that the consumer takes.
    pub max_meta: u32,
    /// Largest payload that the consumer takes.
    pub max_payload: u32,
    /// The consumer can map the producer's memory.
    #[serde(default)]
    pub shared_memory: bool,
    /// Why it can't or does not want to.
    #[serde(default)]
    pub no_shared_memory: String,
    /// The consumer takes messages from a pipe beside the socket.
    #[serde(default)]
    pub pipe: bool,
    /// What carries the link to another device: `tcp`. Empty: nothing but this socket.
    #[serde(default)]
    pub via: String,
}

/// The producer agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// The protocol to speak.
    pub protocol: u32,
    /// Transport name.
    pub transport: String,
    /// Stream id of every frame that follows.
    pub stream_id: u32,
    /// The producer's life.
    pub epoch: u32,
    /// The producer's boot id.
    #[serde(default)]
    pub boot_id: String,
    /// Messages without descriptors come on a pipe, which is the last descriptor of this message.
    #[serde(default)]
    pub pipe: bool,
}

/// The producer refuses and closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Why, for programs.
    pub code: RejectCode,
    /// Why, for people.
    pub message: String,
}

/// Why a consumer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectCode {
    /// No protocol in common.
    Version,
    /// The group exists with another quality of service.
    Qos,
    /// A durable group that the producer does not know.
    NotDeclared,
    /// Too many groups or members.
    Limit,
    /// A name is empty or too long.
    Invalid,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// A frame with its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The frame.
    pub frame: Frame,
    /// When the producer's node sent it, on the producer's monotonic clock.
    pub sent_mono_ns: u64,
    /// It was sent before, to a consumer that did not acknowledge it.
    pub redelivered: bool,
}

/// Where a payload in shared memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRef {
    /// Which segment.
    pub segment: u32,
    /// The word of the control page that gives the slot back.
    pub ticket: u32,
    /// Where in the segment.
    pub offset: u64,
}

/// A frame whose payload is in shared memory, with its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The frame's header; its checksum is not checked yet.
    pub header: RawHeader,
    /// The frame's meta.
    pub meta: Bytes,
    /// Where the payload is.
    pub slot: SlotRef,
    /// See [`Data`].
    pub sent_mono_ns: u64,
    /// See [`Data`].
    pub redelivered: bool,
}

/// The consumer takes more, and tells what it is done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Frames that may be sent in addition.
    pub credits: u32,
    /// Of the frames delivered over this connection not yet acknowledged, this one and all before
    /// it are done with. 0: none.
    pub acked_seq: u64,
    /// How many of these were discarded for their age.
    pub expired: u32,
}

/// Frames that will never come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First missing.
    pub from_seq: u64,
    /// Last missing.
    pub to_seq: u64,
    /// Why.
    pub reason: String,
}

/// Everything that is said on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Consumer: first message.
    Hello(Hello),
    /// Producer: agreed.
    Accept(Accept),
    /// Producer: refused.
    Reject(Reject),
    /// Producer: a frame.
    Data(Data),
    /// Consumer: credits and acknowledgements.
    Credit(Credit),
    /// Producer: frames that will never come.
    Gap(Gap),
    /// Either: are you there? Answered with the same token and `reply`.
    Ping {
        /// Comes back.
        token: u64,
        /// This is the answer.
        reply: bool,
    },
    /// Consumer: what do your clocks say?
    AskClock {
        /// Comes back.
        token: u64,
    },
    /// Producer: the answer.
    Clock {
        /// Of the question.
        token: u64,
        /// The producer's monotonic clock.
        monotonic_ns: u64,
        /// The producer's UTC.
        unix_ns: i64,
    },
    /// Either: a clean end.
    End,
    /// Producer: memory for payloads; its descriptor comes with the message.
    Segment {
        /// Named by later messages.
        id: u32,
        /// Bytes.
        len: u64,
    },
    /// Producer: a frame whose payload is in shared memory.
    Shared(Shared),
    /// Producer: nothing more will come from this segment.
    Retire {
        /// Which one.
        id: u32,
    },
}

/// The bytes of a message. Frames are better sent with [`encode_data_prefix`], without a copy.
pub fn encode(message: &Message) -> Vec<u8> {
    let (kind, flags, body) = match message {
        Message::Hello(hello) => (HELLO, 0, named(hello)),
        Message::Accept(accept) => (ACCEPT, 0, named(accept)),
        Message::Reject(reject) => (REJECT, 0, named(reject)),
        Message::Data(data) => {
            let prefix = encode_data_prefix(&data.frame, data.sent_mono_ns, data.redelivered);
            let mut out = prefix.to_vec();
            out.extend_from_slice(&data.frame.meta);
            out.extend_from_slice(&data.frame.payload);
            return out;
        }
        Message::Credit(credit) => {
            let mut body = credit.credits.to_le_bytes().to_vec();
            body.extend_from_slice(&credit.acked_seq.to_le_bytes());
            body.extend_from_slice(&credit.expired.to_le_bytes());
            (CREDIT, 0, body)
        }
        Message::Gap(gap) => {
            let mut body = gap.from_seq.to_le_bytes().to_vec();
            body.extend_from_slice(&gap.to_seq.to_le_bytes());
            body.extend_from_slice(gap.reason.as_bytes());
            (GAP, 0, body)
        }
        Message::Ping { token, reply } => {
            let flags = if *reply { FLAG_REPLY } else { 0 };
            (PING, flags, token.to_le_bytes().to_vec())
        }
        Message::AskClock { token } => (CLOCK, 0, token.to_le_bytes().to_vec()),
        Message::Clock {
            token,
            monotonic_ns,
            unix_ns,
        } => {
            let mut body = token.to_le_bytes().to_vec();
            body.extend_from_slice(&monotonic_ns.to_le_bytes());
            body.extend_from_slice(&unix_ns.to_le_bytes());
            (CLOCK, FLAG_REPLY, body)
        }
        Message::End => (END, 0, Vec::new()),
        Message::Segment { id, len } => {
            let mut body = id.to_le_bytes().to_vec();
            body.extend_from_slice(&len.to_le_bytes());
            (SEGMENT, 0, body)
        }
        Message::Shared(shared) => return encode_shared(shared),
        Message::Retire { id } => (RETIRE, 0, id.to_le_bytes().to_vec()),
    };
    let mut out = envelope(kind, flags, body.len()).to_vec();
    out.extend_from_slice(&body);
    out
}

/// The bytes of a `DATA` message up to the frame's meta; meta and payload follow as they are.
pub fn encode_data_prefix(
    frame: &Frame,
    sent_mono_ns: u64,
    redelivered: bool,
) -> [u8; DATA_PREFIX_LEN] {
    let flags = if redelivered { FLAG_REDELIVERED } else { 0 };
    let len = DATA_FIELDS_LEN + frame.encoded_len();
    let mut out = [0; DATA_PREFIX_LEN];
    out[..ENVELOPE_LEN].copy_from_slice(&envelope(DATA, flags, len));
    let header_at = ENVELOPE_LEN + DATA_FIELDS_LEN;
    out[ENVELOPE_LEN..header_at].copy_from_slice(&sent_mono_ns.to_le_bytes());
    out[header_at..].copy_from_slice(&frame.encode_header());
    out
}

/// The bytes of a `SHARED` message up to the frame's meta, which follows as it is.
pub fn encode_shared_prefix(
    frame: &Frame,
    slot: &SlotRef,
    sent_mono_ns: u64,
    redelivered: bool,
) -> [u8; SHARED_PREFIX_LEN] {
    let header = frame.encode_header();
    shared_prefix(&header, frame.meta.len(), slot, sent_mono_ns, redelivered)
}

fn encode_shared(shared: &Shared) -> Vec<u8> {
    let header = shared.header.encode();
    let (sent, again) = (shared.sent_mono_ns, shared.redelivered);
    let mut out = shared_prefix(&header, shared.meta.len(), &shared.slot, sent, again).to_vec();
    out.extend_from_slice(&shared.meta);
    out
}

fn shared_prefix(
    header: &[u8; HEADER_LEN],
    meta_len: usize,
    slot: &SlotRef,
    sent_mono_ns: u64,
    redelivered: bool,
) -> [u8; SHARED_PREFIX_LEN] {
    let flags = if redelivered { FLAG_REDELIVERED } else { 0 };
    let len = SHARED_FIELDS_LEN + HEADER_LEN + meta_len;
    let mut out = [0; SHARED_PREFIX_LEN];
    out[..ENVELOPE_LEN].copy_from_slice(&envelope(SHARED, flags, len));
    out[8..16].copy_from_slice(&sent_mono_ns.to_le_bytes());
    out[16..20].copy_from_slice(&slot.segment.to_le_bytes());
    out[20..24].copy_from_slice(&slot.ticket.to_le_bytes());
    out[24..32].copy_from_slice(&slot.offset.to_le_bytes());
    out[32..].copy_from_slice(header);
    out
}

fn envelope(kind: u8, flags: u8, len: usize) -> [u8; ENVELOPE_LEN] {
    let mut out = [kind, flags, 0, 0, 0, 0, 0, 0];
    // Frames are checked against their limits before they are sent.
    out[4..].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    out
}

fn named<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structs of text and numbers always have a MessagePack form.
    rmp_serde::to_vec_named(value).unwrap_or_default()
}
