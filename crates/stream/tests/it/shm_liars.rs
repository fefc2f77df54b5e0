//! Peers that lie about shared memory: unsealed, too small, too many, outside, scribbled over.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeflow_spec::qos::{LinkQos, QosMode};
use edgeflow_stream::frame::RawHeader;
use edgeflow_stream::link::{
    Accept, Credit, Decoder, Hello, Message, Role, Shared, SlotRef, encode,
};
use edgeflow_stream::transport::shm::TICKETS;
use edgeflow_stream::{Limits, clock};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::shm::*;
use crate::support::*;

/// A hand-written end of a link that can pass descriptors.
pub(crate) struct Raw {
    stream: UnixStream,
    decoder: Decoder,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Raw {
    pub(crate) fn new(stream: UnixStream, role: Role) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::new(role, Limits::default()),
            fds: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) {
        let bytes = encode(message);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let slices = [IoSlice::new(&bytes)];
        // The other side may be gone already.
        let _ = rustix::net::sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL);
    }

    pub(crate) fn receive(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [std::io::IoSliceMut::new(self.decoder.space())];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received =
                rustix::net::recvmsg(&self.stream, &mut slices, &mut control, flags).ok()?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            if received.bytes == 0 {
                return None;
            }
            self.decoder.advance(received.bytes);
        }
    }
}

pub(crate) fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("test", flags).unwrap();
    rustix::fs::ftruncate(&fd, len).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

pub(crate) const SEALED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

pub(crate) fn shared(segment: u32, ticket: u32, offset: u64) -> Message {
    let frame = sized(1, 4096);
    let header = RawHeader::parse(&frame.encode_header(), &Limits::default()).unwrap();
    Message::Shared(Shared {
        header,
        meta: Bytes::new(),
        slot: SlotRef {
            segment,
            ticket,
            offset,
        },
        sent_mono_ns: 1,
        redelivered: false,
    })
}

/// Accepts a consumer, with shared memory if it wants that; else it says why not.
fn accept(listener: &UnixListener, page: &OwnedFd, lease: &OwnedFd) -> (Raw, Option<String>) {
    accept_with(listener, &[page.as_fd(), lease.as_fd()], false)
}

/// The same with these descriptors.
pub(crate) fn accept_with(
    listener: &UnixListener,
    fds: &[BorrowedFd<'_>],
    pipe: bool,
) -> (Raw, Option<String>) {
    let (stream, _) = listener.accept().unwrap();
    let mut raw = Raw::new(stream, Role::Producer);
    let Some(Message::Hello(hello)) = raw.receive() else {
        panic!("no greeting")
    };
    let accept = |transport: &str| {
        Message::Accept(Accept {
            protocol: 1,
            transport: transport.to_owned(),
            stream_id: 1,
            epoch: 1,
            boot_id: String::new(),
            pipe,
        })
    };
    if !hello.shared_memory {
        raw.send(&accept("unix"), &[]);
        return (raw, Some(hello.no_shared_memory));
    }
    raw.send(&accept("shm"), fds);
    (raw, None)
}

/// A control page, messages with descriptors, and what the consumer says of them.
type Lie<'a> = (
    &'a OwnedFd,
    Vec<(Message, Vec<BorrowedFd<'a>>)>,
    &'static str,
);

/// Tells a consumer one lie after another; it must leave shared memory after each.
fn assert_refused(lies: &[Lie<'_>]) {
    let transport = Unix::new();
    let listener = UnixListener::bind(transport.path()).unwrap();
    let (lease, _other) = UnixStream::pair().unwrap();
    let lease: OwnedFd = lease.into();
    let mut consumer = subscriber(&transport, "c.0", "c", &LinkQos::realtime());
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            for (page, lie, reason) in lies {
                let (mut raw, why) = accept(&listener, page, &lease);
                assert_eq!(why, None, "it tries again");
                for (message, fds) in lie {
                    raw.send(message, fds);
                }
                while raw.receive().is_some() {}
                // Without it, and with the reason, so that somebody can see it.
                let (_raw, why) = accept(&listener, page, &lease);
                assert_eq!(why, Some(format!("at the consumer: {reason}")));
            }
        });
        let start = Instant::now();
        while !producer.is_finished() {
            assert!(start.elapsed() < PATIENCE * 4);
            consumer.recv(Duration::from_millis(10)).unwrap();
        }
        producer.join().unwrap();
    });
}

#[test]
fn a_consumer_refuses_memory_that_could_hurt_it_and_says_why() {
    let page = memfd(u64::from(TICKETS) * 4, SEALED);
    let short_page = memfd(64, SEALED);
    let good = memfd(65_536, SEALED);
    let loose = memfd(65_536, SealFlags::empty());
    let segment = |len| Message::Segment { id: 1, len };
    let unsealed = "the memory is not sealed or has another size";
    let missing = "a descriptor did not arrive";
    let many = "too many segments";
    assert_refused(&[
        (&short_page, vec![], unsealed),
        (
            &page,
            vec![(segment(65_536), vec![loose.as_fd()])],
            unsealed,
        ),
        (
            &page,
            vec![(segment(1 << 20), vec![good.as_fd()])],
            unsealed,
        ),
        (&page, vec![(segment(65_536), vec![])], missing),
        (&page, vec![(segment(u64::MAX), vec![good.as_fd()])], many),
    ]);
}

#[test]
fn a_consumer_reads_nothing_outside_of_a_segment() {
    let page = memfd(u64::from(TICKETS) * 4, SEALED);
    let good = memfd(65_536, SEALED);
    let announce = || {
        let (id, len) = (1, 65_536);
        (Message::Segment { id, len }, vec![good.as_fd()])
    };
    let place = "a payload is not where it was said to be";
    let bad = |slot: Message| (&page, vec![announce(), (slot, vec![])], place);
    assert_refused(&[
        (&page, vec![announce(), announce()], "too many segments"),
        bad(shared(2, 0, 0)),
        bad(shared(1, 0, 61_441)),
        bad(shared(1, 0, u64::MAX)),
        bad(shared(1, TICKETS, 0)),
        bad(shared(1, u32::MAX, 0)),
    ]);
}

#[test]
fn a_flood_of_descriptors_ends_the_link() {
    let transport = Unix::new();
    let listener = UnixListener::bind(transport.path()).unwrap();
    let page = memfd(u64::from(TICKETS) * 4, SEALED);
    let (lease, _other) = UnixStream::pair().unwrap();
    let lease: OwnedFd = lease.into();
    let mut consumer = subscriber(&transport, "c.0", "c", &LinkQos::realtime());
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let (mut raw, _) = accept(&listener, &page, &lease);
            let ping = Message::Ping {
                token: 1,
                reply: true,
            };
            for _ in 0..8 {
                raw.send(&ping, &[page.as_fd(); 3]);
            }
            while raw.receive().is_some() {}
        });
        while !producer.is_finished() {
            consumer.recv(Duration::from_millis(10)).unwrap();
        }
        producer.join().unwrap();
    });
    assert!(!consumer.is_connected());
}

#[test]
fn a_consumer_that_scribbles_on_its_control_page_harms_nobody() {
    let mut transport = Shm::new();
    let qos = LinkQos::durable();
    let groups = vec![group("liar", &qos), group("good", &qos)];
    let publisher = publisher(&mut transport, groups);
    let mut good = subscriber(&transport, "good", "good", &qos);
    connect(&mut good);
    let stream = UnixStream::connect(transport.path()).unwrap();
    let mut liar = Raw::new(stream, Role::Consumer);
    liar.send(
        &Message::Hello(Hello {
            protocol_min: 1,
            protocol_max: 1,
            link: "p->liar".to_owned(),
            group: "liar".to_owned(),
            member: "liar".to_owned(),
            qos: QosMode::Durable,
            boot_id: clock::boot_id().to_owned(),
            max_meta: 1000,
            max_payload: 10_000_000,
            shared_memory: true,
            pipe: false,
            no_shared_memory: String::new(),
            via: String::new(),
        }),
        &[],
    );
    let Some(Message::Accept(accept)) = liar.receive() else {
        panic!("not accepted")
    };
    assert_eq!(accept.transport, "shm");
    let page = liar.fds.remove(0);
    let mut kept = Vec::new();
    for sent in 0..50 {
        // Everything is given back before it was given, all the time.
        rustix::io::pwrite(&page, &vec![0xff; TICKETS as usize * 4], 0).unwrap();
        publisher.send(sized(sent, 50_000)).unwrap();
        let got = expect(&mut good);
        assert_eq!(number(&got), sent);
        kept.push(got.frame.payload);
        liar.send(
            &Message::Credit(Credit {
                credits: 1,
                ..Credit::default()
            }),
            &[],
        );
        while !matches!(liar.receive(), Some(Message::Shared(_))) {}
    }
    // The size is sealed, and what it can't map it can't write either.
    assert!(rustix::fs::ftruncate(&page, 0).is_err());
    let segment = liar.fds.last().unwrap();
    assert!(rustix::io::pwrite(segment, b"x", 0).is_err());
    for (sent, payload) in (0..).zip(&kept) {
        assert_payload(payload, sent, 50_000);
    }
    // Garbage on the link itself closes it as before.
    liar.stream.write_all(&[0xff; 64]).unwrap();
    let mut rest = Vec::new();
    let _ = liar.stream.read_to_end(&mut rest);
    drop(liar);
    drop(kept);
    good.ack();
    wait_for(&publisher, "good", |stats| stats.delivered == 50);
    wait_held(&publisher, 0);
}
