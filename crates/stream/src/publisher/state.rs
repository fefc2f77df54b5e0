//! The groups and members of a publisher and every rule about them. Called under one lock, by the
//! sender and by the IO thread; waits for nothing but the disk of a link that spills.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use edgeflow_spec::qos::{LinkQos, QosMode};

use super::dead_letters::DeadLetters;
use super::group::{Entry, Group};
use super::member::{Member, Phase};
use super::sharing::{Placed, Sharing};
use super::{GREETING_TIMEOUT, MAX_GROUPS, MAX_MEMBERS, PublisherConfig, VIEW_PREFIX, store};
use crate::clock;
use crate::frame::{Frame, Limits};
use crate::link::message::MAX_NAME_LEN;
use crate::link::{Accept, Credit, Gap, Hello, Message, Reject, RejectCode, negotiate};
use crate::stats::{DropReason, GroupStats};
use crate::transport::shm::{Lent, PoolStats};
use crate::transport::{Listen, pipe};
use crate::wake::Waker;

/// Why a frame is not taken now.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A durable group that fails has no room.
    Full {
        link: String,
        group: String,
        frames: u64,
    },
    /// A durable group that blocks has no room.
    Wait,
}

/// Whether somebody is there for the durable frames that are left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undrained {
    Attended,
    Absent,
}

#[derive(Debug)]
pub(super) struct State {
    stream_id: u32,
    epoch: u32,
    seq: u64,
    limits: Limits,
    sharing: Sharing,
    groups: BTreeMap<u32, Group>,
    members: BTreeMap<u64, Member>,
    next_group: u32,
    next_member: u64,
    interrupted: bool,
    closed: bool,
    /// Something is left to write, so the IO thread has to poll for it.
    needs_thread: bool,
    /// A frame left a durable window since the last look.
    made_room: bool,
    /// Woken once when a durable frame is acknowledged, if somebody waits for that.
    settled_waker: Option<Waker>,
    settled_wanted: bool,
    /// [`Self::settled`] when the publisher was closed.
    settled_at_close: Option<u64>,
}

impl State {
    pub(super) fn new(config: PublisherConfig, listen: &dyn Listen) -> Self {
        let mut state = Self {
            stream_id: crate::frame::stream_id(&config.name),
            epoch: new_epoch(),
            seq: 0,
            limits: config.limits,
            sharing: Sharing::new(&config, listen),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            next_group: 0,
            next_member: 0,
            interrupted: false,
            closed: false,
            needs_thread: false,
            made_room: false,
            settled_waker: None,
            settled_wanted: false,
            settled_at_close: None,
        };
        for group in config.groups {
            state.add_group(Group::new(group.link, group.group, group.qos, true));
        }
        state
    }

    /// Uses folders below `dir` for what goes to disk. New frames are numbered behind those that a
    /// former life left there.
    pub(super) fn use_store(&mut self, dir: &Path) {
        for group in self.groups.values_mut() {
            self.seq = self.seq.max(store::open(group, dir, self.limits));
        }
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadLetters> {
        let groups = self.groups.values();
        groups.filter_map(Group::dead_letters).cloned().collect()
    }

    /// Sends a frame once more, to one group, as a new one. `false`: the group has no room.
    pub(super) fn replay(&mut self, link: &str, mut frame: Frame) -> bool {
        let found = self.groups.iter_mut().find(|(_, group)| group.link == link);
        let Some((&id, group)) = found else {
            return false;
        };
        if !group.has_room(frame.encoded_len() as u64) {
            return false;
        }
        self.seq += 1;
        self.stamp(&mut frame);
        if let Some(group) = self.groups.get_mut(&id) {
            group.offer(Entry::new(frame));
        }
        self.dispatch(id);
        true
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    pub(super) fn take_needs_thread(&mut self) -> bool {
        std::mem::take(&mut self.needs_thread)
    }

    pub(super) fn take_made_room(&mut self) -> bool {
        std::mem::take(&mut self.made_room)
    }

    /// Every durable consumer is done with the frames up to this number, or they are on disk.
    pub(super) fn settled(&self) -> u64 {
        self.settled_at_close
            .unwrap_or_else(|| self.settled_of(|_| true))
    }

    fn settled_of(&self, counts: impl Fn(&Group) -> bool) -> u64 {
        let groups = self.groups.values();
        let durable = groups.filter(|group| group.qos.is_lossless() && counts(group));
        let in_flight = durable.flat_map(|group| {
            let members = group.members.iter().filter_map(|id| self.members.get(id));
            let given = members.flat_map(|member| member.unacked.iter());
            let unsaved = given.filter(|entry| !entry.on_disk);
            unsaved.map(Entry::seq).chain(group.oldest_unsaved())
        });
        in_flight.min().map_or(self.seq, |oldest| oldest - 1)
    }

    pub(super) fn set_settled_waker(&mut self, waker: Waker) {
        self.settled_waker = Some(waker);
    }

    /// Wakes the waker at the next acknowledgement of a durable frame.
    pub(super) fn want_settled(&mut self) {
        self.settled_wanted = true;
    }

    pub(super) fn stats(&self) -> Vec<GroupStats> {
        self.groups
            .values()
            .map(|group| {
                let (transport, reason) = self.sharing.transport_of(&group.members);
                group.stats(transport, reason)
            })
            .collect()
    }

    /// Memory that consumers of this output share, for a payload.
    pub(super) fn lend(&mut self, len: usize) -> Option<Lent> {
        self.sharing.lend(len)
    }

    pub(super) fn shared_memory(&mut self) -> PoolStats {
        self.sharing.stats()
    }

    /// Whether every group takes a frame of `bytes`.
    pub(super) fn admit(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bytes = bytes as u64;
        let mut wait = false;
        for group in self.groups.values_mut() {
            if group.has_room(bytes) {
                continue;
            }
            if group.fails_when_full() {
                group.refuse();
                return Err(Refusal::Full {
                    link: group.link.clone(),
                    group: group.name.clone(),
                    frames: group.in_flight(),
                });
            }
            wait = true;
        }
        if wait { Err(Refusal::Wait) } else { Ok(()) }
    }

    /// Numbers a frame and gives it to every group.
    pub(super) fn publish(&mut self, mut frame: Frame) -> u64 {
        self.seq += 1;
        self.stamp(&mut frame);
        let entry = Entry::new(frame);
        let mut next = 0;
        while let Some((&id, group)) = self.groups.range_mut(next..).next() {
            group.offer(entry.clone());
            self.dispatch(id);
            next = id + 1;
        }
        self.seq
    }

    fn stamp(&self, frame: &mut Frame) {
        let header = &mut frame.header;
        header.stream_id = self.stream_id;
        header.epoch = self.epoch;
        header.seq = self.seq;
        if header.trace_id == [0; 16] {
            header.trace_id = self.trace_id(self.seq);
        }
        // Unique among the spans of a trace: stream and the low half of the number.
        header.span_id[..4].copy_from_slice(&self.stream_id.to_le_bytes());
        header.span_id[4..].copy_from_slice(&self.seq.to_le_bytes()[..4]);
    }

    /// The trace of a frame that begins here with this number.
    pub(super) fn trace_id(&self, seq: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.stream_id.to_le_bytes());
        id[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        id[8..].copy_from_slice(&seq.to_le_bytes());
        id
    }

    /// Gives queued frames to members that have credit: to the one with the least outstanding,
    /// among equals to the one that waits longest.
    pub(super) fn dispatch(&mut self, group_id: u32) {
        while let Some(group) = self.groups.get_mut(&group_id) {
            if !group.has_queued() {
                return;
            }
            let ready = group.members.iter().filter_map(|id| {
                let member = self.members.get(id)?;
                let rank = (member.unacked.len(), member.last_given, *id);
                member.is_ready().then_some(rank)
            });
            let Some((_, _, member_id)) = ready.min() else {
                return;
            };
            let Some(member) = self.members.get_mut(&member_id) else {
                return;
            };
            let Some(entry) = group.take() else {
                return;
            };
            let given = if entry.frame.check(&member.limits).is_err() {
                group.too_large(&entry);
                self.made_room = true;
                tell_gap(member, group, &entry)
            } else {
                member.last_given = self.seq;
                let gaps = group.take_gaps(entry.seq()).into_iter();
                let told = gaps
                    .map(Message::Gap)
                    .try_for_each(|gap| member.send_control(&gap));
                let given = match self.sharing.place(member_id, &entry.frame) {
                    Placed::Slot(given) => member.give_shared(entry, given),
                    Placed::Socket => member.give(entry),
                };
                given.and(told)
            };
            let unwritten = member.has_unwritten();
            self.needs_thread |= unwritten;
            if let Err(error) = given {
                tracing::debug!(member = %member.name, %error, "consumer lost while sending");
                // The thread reads its last acknowledgements, and then its end.
                member.broken = true;
                self.needs_thread = true;
            }
        }
    }

    /// A consumer connected. Beyond the limit it is dropped at once.
    pub(super) fn accept(&mut self, fd: OwnedFd) {
        if self.members.len() >= MAX_MEMBERS {
            tracing::warn!(limit = MAX_MEMBERS, "too many consumers; one was refused");
            return;
        }
        let id = self.next_member;
        self.next_member += 1;
        let member = Member::new(fd, Instant::now() + GREETING_TIMEOUT);
        self.members.insert(id, member);
    }

    /// A declared group keeps frames for consumers that are away.
    pub(super) fn is_wanted(&self) -> bool {
        let mut groups = self.groups.values();
        groups.any(|group| group.declared || !group.members.is_empty())
    }

    pub(super) fn members(&self) -> &BTreeMap<u64, Member> {
        &self.members
    }

    pub(super) fn member_mut(&mut self, id: u64) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// A member's message. An error text means that it has to go.
    pub(super) fn receive(&mut self, id: u64, message: Message) -> Result<(), String> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        match (message, &member.phase) {
            (Message::Hello(hello), Phase::Greeting { .. }) => self.greet(id, &hello),
            (Message::Credit(credit), &Phase::Member { group }) => self.credit(id, group, credit),
            (Message::Ping { token, reply }, Phase::Member { .. }) => {
                if reply {
                    return Ok(());
                }
                let answer = Message::Ping { token, reply: true };
                member.send_control(&answer).map_err(|e| e.to_string())
            }
            (Message::AskClock { token }, Phase::Member { .. }) => {
                let answer = Message::Clock {
                    token,
                    monotonic_ns: clock::monotonic_ns(),
                    unix_ns: clock::unix_ns(),
                };
                member.send_control(&answer).map_err(|e| e.to_string())
            }
            (Message::End, _) => {
                member.leaving = true;
                Err("it ended the link".to_owned())
            }
            _ => Err("unexpected message".to_owned()),
        }
    }

    fn greet(&mut self, id: u64, hello: &Hello) -> Result<(), String> {
        let group_id = match self.admit_member(hello) {
            Ok(group_id) => group_id,
            Err(reject) => {
                let message = reject.message.clone();
                if let Some(member) = self.members.get_mut(&id) {
                    // It is closed in any case.
                    let _ = member.send_control(&Message::Reject(reject));
                }
                return Err(message);
            }
        };
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let mut fds = self.sharing.join(id, &member.fd, hello);
        let pipe = (hello.pipe && !fds.is_empty()).then(pipe::pair);
        let pipe = pipe.and_then(|made| {
            let (theirs, ours) = made
                .inspect_err(|error| tracing::debug!(%error, "no pipe; the socket carries all"))
                .ok()?;
            fds.push(Arc::new(theirs));
            Some(Arc::new(ours))
        });
        let accept = Message::Accept(Accept {
            protocol: negotiate(hello.protocol_min, hello.protocol_max).unwrap_or_default(),
            transport: self.sharing.transport_of(&[id]).0.to_owned(),
            stream_id: self.stream_id,
            epoch: self.epoch,
            boot_id: clock::boot_id().to_owned(),
            pipe: pipe.is_some(),
        });
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        member.pipe = pipe;
        member.name.clone_from(&hello.member);
        member.phase = Phase::Member { group: group_id };
        member.limits = Limits {
            max_meta: hello.max_meta,
            max_payload: hello.max_payload,
        };
        if let Some(group) = self.groups.get_mut(&group_id) {
            group.members.push(id);
        }
        let accepted = if fds.is_empty() {
            member.send_control(&accept)
        } else {
            member.send_with_fds(&accept, fds)
        };
        self.replace_older(group_id, id, &hello.member);
        accepted.map_err(|error| error.to_string())
    }

    /// The group that a consumer belongs to; realtime groups are made on demand.
    fn admit_member(&mut self, hello: &Hello) -> Result<u32, Reject> {
        let reject = |code, message: String| Err(Reject { code, message });
        if negotiate(hello.protocol_min, hello.protocol_max).is_none() {
            let (min, max) = (hello.protocol_min, hello.protocol_max);
            let text = format!("link protocol {min} to {max} is not supported");
            return reject(RejectCode::Version, text);
        }
        for name in [&hello.link, &hello.group, &hello.member] {
            if name.is_empty() || name.len() > MAX_NAME_LEN {
                return reject(
                    RejectCode::Invalid,
                    "a name is empty or too long".to_owned(),
                );
            }
        }
        let known = self
            .groups
            .iter()
            .find(|(_, group)| group.link == hello.link && group.name == hello.group);
        if let Some((&id, group)) = known {
            if group.qos.mode == hello.qos {
                return Ok(id);
            }
            let text = format!("group `{}` has another quality of service", hello.group);
            return reject(RejectCode::Qos, text);
        }
        if hello.qos != QosMode::Realtime {
            let (mode, group) = (hello.qos.name(), &hello.group);
            let text = format!("{mode} group `{group}` is not declared here");
            return reject(RejectCode::NotDeclared, text);
        }
        if self.groups.len() >= MAX_GROUPS && !self.forget_a_group() {
            let text = format!("more than {MAX_GROUPS} consumer groups");
            return reject(RejectCode::Limit, text);
        }
        let (link, name) = (hello.link.clone(), hello.group.clone());
        Ok(self.add_group(Group::new(link, name, LinkQos::realtime(), false)))
    }

    fn add_group(&mut self, group: Group) -> u32 {
        let id = self.next_group;
        self.next_group += 1;
        self.groups.insert(id, group);
        id
    }

    /// Makes room for a group by forgetting one that nobody declared or uses.
    fn forget_a_group(&mut self) -> bool {
        let unused = self
            .groups
            .iter()
            .find(|(_, group)| !group.declared && group.members.is_empty())
            .map(|(&id, _)| id);
        unused.is_some_and(|id| self.groups.remove(&id).is_some())
    }

    /// A consumer that connects again before its old socket is known to be dead takes its place.
    fn replace_older(&mut self, group_id: u32, newer: u64, name: &str) {
        let older: Vec<u64> = self
            .groups
            .get(&group_id)
            .into_iter()
            .flat_map(|group| &group.members)
            .copied()
            .filter(|id| *id != newer && self.members.get(id).is_some_and(|m| m.name == name))
            .collect();
        for id in older {
            self.remove_member(id);
        }
    }

    fn credit(&mut self, id: u64, group_id: u32, credit: Credit) -> Result<(), String> {
        let (Some(member), Some(group)) =
            (self.members.get_mut(&id), self.groups.get_mut(&group_id))
        else {
            return Ok(());
        };
        if credit.acked_seq != 0 {
            let Some(done) = member.acknowledge(credit.acked_seq) else {
                return Err("it acknowledged a frame that it was not given".to_owned());
            };
            // The discarded ones count from the newest: which ones does not matter.
            for (index, entry) in done.iter().rev().enumerate() {
                group.acked(entry, index < credit.expired as usize);
            }
            self.made_room |= group.keeps_frames();
            if group.qos.is_lossless()
                && std::mem::take(&mut self.settled_wanted)
                && let Some(waker) = &self.settled_waker
            {
                waker.wake();
            }
        }
        member.grant(credit.credits, group.keeps_frames());
        self.dispatch(group_id);
        Ok(())
    }

    /// A member is gone; its frames go to the others or are counted.
    pub(super) fn remove_member(&mut self, id: u64) {
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        self.sharing.leave(id);
        let Phase::Member { group: group_id } = member.phase else {
            return;
        };
        let Some(group) = self.groups.get_mut(&group_id) else {
            return;
        };
        group.members.retain(|other| *other != id);
        group.lost(member.unacked, !member.leaving);
        // A dead letter leaves the window.
        self.made_room |= group.keeps_frames();
        if group.members.is_empty() && !group.declared && group.name.starts_with(VIEW_PREFIX) {
            self.groups.remove(&group_id);
        }
        self.dispatch(group_id);
    }

    /// Whether durable frames are left, and somebody to take them.
    pub(super) fn undrained(&self) -> Option<Undrained> {
        let mut left = self
            .groups
            .values()
            .filter(|group| group.keeps_frames() && group.in_flight() > 0)
            .peekable();
        left.peek()?;
        if left.any(|group| !group.members.is_empty()) {
            Some(Undrained::Attended)
        } else {
            Some(Undrained::Absent)
        }
    }

    /// Ends every link and counts what did not arrive.
    pub(super) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.sharing.close();
        let settled = self.settled_of(|_| true);
        let settled_if_saved = self.settled_of(|group| !group.is_saved());
        for member in self.members.values_mut() {
            if !member.has_unwritten() {
                // The closed socket says the same.
                let _ = member.send_control(&Message::End);
            }
        }
        for member in std::mem::take(&mut self.members).into_values() {
            if let Phase::Member { group } = member.phase
                && let Some(group) = self.groups.get_mut(&group)
            {
                group.give_back(member.unacked);
            }
        }
        for group in self.groups.values_mut() {
            group.members.clear();
            group.close();
        }
        let mut saved = self.groups.values().filter(|group| group.is_saved());
        let lost = saved.any(Group::has_lost_at_end);
        self.settled_at_close = Some(if lost { settled } else { settled_if_saved });
    }
}

/// Tells a durable consumer of a frame that it will never get.
fn tell_gap(member: &mut Member, group: &Group, entry: &Entry) -> std::io::Result<()> {
    if !group.keeps_frames() {
        return Ok(());
    }
    member.send_control(&Message::Gap(Gap {
        from_seq: entry.seq(),
        to_seq: entry.seq(),
        reason: DropReason::TooLarge.name().to_owned(),
    }))
}

/// A number that differs between two lives of a producer.
fn new_epoch() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // RandomState has random keys in every process and differs between calls.
    let random = RandomState::new().hash_one((clock::monotonic_ns(), std::process::id()));
    u32::try_from(random & u64::from(u32::MAX))
        .unwrap_or(1)
        .max(1)
}
