//! The pipe beside a link's socket: what goes over which, in which order it is read, and peers that
//! lie about it.

use std::io::{PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, QosMode};
use edgeflow_stream::clock;
use edgeflow_stream::link::{Credit, Hello, Message, Role, encode};
use edgeflow_stream::transport::shm::TICKETS;
use rustix::fs::SealFlags;

use crate::shm_liars::*;
use crate::support::*;

/// A hand-written producer with a pipe.
struct Fake {
    socket: Raw,
    pipe: PipeWriter,
    _lease: UnixStream,
}

impl Fake {
    fn say(&mut self, message: &Message) {
        // The other side may be gone already.
        let _ = self.pipe.write_all(&encode(message));
    }
}

/// Accepts a consumer with a pipe.
fn accept(listener: &UnixListener) -> Fake {
    let (reader, pipe) = std::io::pipe().unwrap();
    let (theirs, lease) = UnixStream::pair().unwrap();
    let page = memfd(u64::from(TICKETS) * 4, SEALED);
    let fds = [page.as_fd(), theirs.as_fd(), reader.as_fd()];
    let (socket, why) = accept_with(listener, &fds, true);
    assert_eq!(why, None, "it takes shared memory");
    Fake {
        socket,
        pipe,
        _lease: lease,
    }
}

fn segment(id: u32) -> Message {
    Message::Segment { id, len: 65_536 }
}

/// Runs a producer against a consumer that counts what it gets, until the producer is done.
fn run(producer: impl FnOnce(&UnixListener) + Send) -> usize {
    let transport = Unix::new();
    let listener = UnixListener::bind(transport.path()).unwrap();
    let mut consumer = subscriber(&transport, "c.0", "c", &LinkQos::realtime());
    let mut frames = 0;
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| producer(&listener));
        let start = Instant::now();
        while !producer.is_finished() {
            assert!(start.elapsed() < PATIENCE * 4);
            let got = consumer.recv(Duration::from_millis(10)).unwrap();
            frames += usize::from(got.is_some());
        }
        producer.join().unwrap();
    });
    frames
}

/// Waits for the consumer's next credit; `None`: it closed the connection.
fn credit(socket: &mut Raw) -> Option<()> {
    loop {
        if matches!(socket.receive()?, Message::Credit(_)) {
            return Some(());
        }
    }
}

#[test]
fn memory_announced_on_the_socket_is_known_when_the_pipe_names_it() {
    let frames = run(|listener| {
        let mut fake = accept(listener);
        let memory = memfd(65_536, SEALED);
        // Several announcements wait on the socket, and each is read alone by the kernel's rules.
        for id in 1..=3 {
            fake.socket.send(&segment(id), &[memory.as_fd()]);
        }
        for id in [3, 1, 2] {
            credit(&mut fake.socket).expect("connected");
            fake.say(&shared(id, id, 0));
        }
        credit(&mut fake.socket).expect("still connected");
    });
    assert_eq!(frames, 3);
}

#[test]
fn what_a_producer_said_before_its_end_arrives() {
    let frames = run(|listener| {
        for _ in 0..3 {
            let mut fake = accept(listener);
            let memory = memfd(65_536, SEALED);
            credit(&mut fake.socket).expect("connected");
            fake.socket.send(&segment(1), &[memory.as_fd()]);
            fake.say(&shared(1, 1, 0));
            // Both are closed here, before the consumer may have looked.
        }
        // The last one is gone when the consumer dials again.
        drop(accept(listener));
    });
    assert_eq!(frames, 3);
}

#[test]
fn a_consumer_leaves_shared_memory_when_the_pipe_is_none() {
    let page = memfd(u64::from(TICKETS) * 4, SEALED);
    let (lease, _other) = UnixStream::pair().unwrap();
    let file = memfd(4096, SealFlags::empty());
    let base = [page.as_fd(), lease.as_fd()];
    let with_file = [page.as_fd(), lease.as_fd(), file.as_fd()];
    let with_socket = [page.as_fd(), lease.as_fd(), lease.as_fd()];
    let none = "what was to be a pipe is none";
    for (fds, reason) in [
        (base.as_slice(), "a descriptor did not arrive"),
        (&with_file, none),
        (&with_socket, none),
    ] {
        run(|listener| {
            let (mut socket, why) = accept_with(listener, fds, true);
            assert_eq!(why, None);
            while socket.receive().is_some() {}
            let (_socket, why) = accept_with(listener, &[], false);
            assert_eq!(why, Some(format!("at the consumer: {reason}")));
        });
    }
}

#[test]
fn lies_on_the_pipe_end_the_connection() {
    let ping = Message::Ping {
        token: 1,
        reply: true,
    };
    let lies: [&(dyn Fn(&mut Fake) + Sync); 5] = [
        // Memory that nobody announced.
        &|fake| fake.say(&shared(9, 0, 0)),
        // What has no descriptors belongs on the pipe.
        &|fake| fake.socket.send(&ping, &[]),
        // Its descriptor can't come with it.
        &|fake| fake.say(&segment(1)),
        &|fake| fake.pipe.write_all(&[0xff; 64]).unwrap(),
        // Only one of the two is closed.
        &|fake| {
            let (_reader, another) = std::io::pipe().unwrap();
            fake.pipe = another;
        },
    ];
    for (number, lie) in lies.iter().enumerate() {
        let frames = run(|listener| {
            let mut fake = accept(listener);
            credit(&mut fake.socket).expect("connected");
            lie(&mut fake);
            while fake.socket.receive().is_some() {}
        });
        assert_eq!(frames, 0, "lie {number}");
    }
}

#[test]
fn a_consumer_that_closes_its_pipe_is_let_go() {
    let mut transport = Shm::new();
    let qos = LinkQos::durable();
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let stream = UnixStream::connect(transport.path()).unwrap();
    let mut liar = Raw::new(stream, Role::Consumer);
    liar.send(&Message::Hello(hello()), &[]);
    let Some(Message::Accept(accept)) = liar.receive() else {
        panic!("not accepted")
    };
    assert!(accept.pipe);
    // Control page, lease, pipe.
    let pipe: OwnedFd = liar.fds.remove(2);
    drop(pipe);
    let credits = Credit {
        credits: 4,
        ..Credit::default()
    };
    liar.send(&Message::Credit(credits), &[]);
    publisher.send(sized(1, 100)).unwrap();
    // The memory is announced on the socket, and then the producer hangs up.
    assert!(matches!(liar.receive(), Some(Message::Segment { .. })));
    assert_eq!(liar.receive(), None);
    // Its frame goes to whoever comes.
    let mut good = subscriber(&transport, "good", "c", &qos);
    assert_eq!(number(&expect(&mut good)), 1);
}

fn hello() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        link: "p->c".to_owned(),
        group: "c".to_owned(),
        member: "liar".to_owned(),
        qos: QosMode::Durable,
        boot_id: clock::boot_id().to_owned(),
        max_meta: 1000,
        max_payload: 10_000_000,
        shared_memory: true,
        pipe: true,
        no_shared_memory: String::new(),
        via: String::new(),
    }
}
