//! Peers that lie, babble, stall or die.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, QosMode};
use edgeflow_stream::link::{
    Accept, Credit, Data, Decoder, Hello, Message, RejectCode, Role, encode,
};
use edgeflow_stream::publisher::MAX_MEMBERS;
use edgeflow_stream::{Limits, Publisher};

use crate::support::*;

/// A consumer that is written by hand.
struct Raw {
    stream: UnixStream,
    decoder: Decoder,
}

impl Raw {
    fn connect(transport: &Unix) -> Self {
        let stream = UnixStream::connect(transport.path()).unwrap();
        Self::new(stream, Role::Consumer)
    }

    fn new(stream: UnixStream, role: Role) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::new(role, Limits::default()),
        }
    }

    fn send(&mut self, message: &Message) {
        self.stream.write_all(&encode(message)).unwrap();
    }

    /// The next message, `None` when the other side closes.
    fn receive(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            let count = self.stream.read(self.decoder.space()).unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.decoder.advance(count);
        }
    }

    fn greet(&mut self, group: &str, qos: QosMode) {
        self.send(&Message::Hello(hello(group, qos)));
        assert!(matches!(self.receive(), Some(Message::Accept(_))));
    }
}

fn hello(group: &str, qos: QosMode) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        link: format!("p->{group}"),
        group: group.to_owned(),
        member: "raw".to_owned(),
        qos,
        boot_id: String::new(),
        max_meta: 1000,
        max_payload: 10_000_000,
        shared_memory: false,
        pipe: false,
        no_shared_memory: String::new(),
        via: String::new(),
    }
}

/// The publisher still serves a good consumer.
fn assert_serving(transport: &Unix, publisher: &Publisher) {
    let mut consumer = subscriber(transport, "good", "good", &LinkQos::realtime());
    connect(&mut consumer);
    publisher.send(numbered(7)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 7);
}

#[test]
fn garbage_closes_only_its_own_connection() {
    let mut transport = Unix::new();
    let publisher = publisher(&mut transport, vec![]);
    let lies: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[1, 0, 0, 0, 4, 0, 0, 0, 9, 9, 9, 9],
        &[4, 0, 0, 0, 0xff, 0, 0, 0],
        &[0xff; 64],
    ];
    for lie in lies {
        let mut raw = Raw::connect(&transport);
        raw.stream.write_all(lie).unwrap();
        assert_eq!(raw.receive(), None, "{lie:?}");
    }
    assert_serving(&transport, &publisher);
}

#[test]
fn another_protocol_is_refused_with_a_reason() {
    let mut transport = Unix::new();
    let publisher = publisher(&mut transport, vec![]);
    let mut raw = Raw::connect(&transport);
    raw.send(&Message::Hello(Hello {
        protocol_min: 7,
        protocol_max: 9,
        ..hello("c", QosMode::Realtime)
    }));
    let Some(Message::Reject(reject)) = raw.receive() else {
        panic!("not refused")
    };
    assert_eq!(reject.code, RejectCode::Version);
    assert_eq!(reject.message, "link protocol 7 to 9 is not supported");
    assert_eq!(raw.receive(), None);
    assert_serving(&transport, &publisher);
}

#[test]
fn an_acknowledgement_of_what_was_not_given_ends_the_link() {
    let mut transport = Unix::new();
    let publisher = publisher(&mut transport, vec![group("c", &LinkQos::durable())]);
    publisher.send(numbered(0)).unwrap();
    let mut raw = Raw::connect(&transport);
    raw.greet("c", QosMode::Durable);
    raw.send(&Message::Credit(Credit {
        credits: u32::MAX,
        acked_seq: 99,
        expired: u32::MAX,
    }));
    assert_eq!(raw.receive(), None);
    wait_for(&publisher, "c", |stats| {
        stats.consumers == 0 && stats.in_flight == 1
    });
}

#[test]
fn a_ping_is_answered() {
    let mut transport = Unix::new();
    let _publisher = publisher(&mut transport, vec![]);
    let mut raw = Raw::connect(&transport);
    raw.greet("c", QosMode::Realtime);
    raw.send(&Message::Ping {
        token: 5,
        reply: false,
    });
    let answer = Message::Ping {
        token: 5,
        reply: true,
    };
    assert_eq!(raw.receive(), Some(answer));
}

#[test]
fn silent_connections_are_closed_and_their_number_is_bounded() {
    let mut transport = Unix::new();
    let publisher = publisher(&mut transport, vec![]);
    let silent: Vec<Raw> = (0..MAX_MEMBERS).map(|_| Raw::connect(&transport)).collect();
    let mut refused = Raw::connect(&transport);
    assert_eq!(refused.receive(), None);
    for mut raw in silent {
        assert_eq!(raw.receive(), None, "closed when its greeting is overdue");
    }
    assert_serving(&transport, &publisher);
}

#[test]
fn a_consumer_that_dies_in_the_middle_of_a_frame_is_counted() {
    let mut transport = Unix::new();
    let qos = LinkQos::realtime();
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut raw = Raw::connect(&transport);
    raw.greet("c", QosMode::Realtime);
    raw.send(&Message::Credit(Credit {
        credits: 1,
        ..Credit::default()
    }));
    raw.send(&Message::Ping {
        token: 1,
        reply: false,
    });
    assert!(raw.receive().is_some(), "the credit was read before");
    publisher.send(sized(1, 8_000_000)).unwrap();
    let mut some = [0; 1000];
    raw.stream.read_exact(&mut some).unwrap();
    drop(raw);
    let stats = wait_for(&publisher, "c", |stats| stats.in_flight == 0);
    assert_eq!(
        stats.dropped[&edgeflow_stream::stats::DropReason::ConsumerLost],
        1
    );
}

/// A producer written by hand: accepts, reads the greeting, says `ACCEPT` and then `lie`.
fn lying_producer(listener: &UnixListener, lie: &[u8]) -> Raw {
    let (stream, _) = listener.accept().unwrap();
    let mut raw = Raw::new(stream, Role::Producer);
    assert!(matches!(raw.receive(), Some(Message::Hello(_))));
    raw.send(&Message::Accept(Accept {
        protocol: 1,
        transport: "unix".to_owned(),
        stream_id: 1,
        epoch: 1,
        boot_id: String::new(),
        pipe: false,
    }));
    raw.stream.write_all(lie).unwrap();
    raw
}

#[test]
fn a_consumer_leaves_a_lying_producer_and_comes_back() {
    let transport = Unix::new();
    let listener = UnixListener::bind(transport.path()).unwrap();
    let data = |number| {
        encode(&Message::Data(Data {
            frame: sized(number, 100),
            sent_mono_ns: 1,
            redelivered: false,
        }))
    };
    let mut twice = data(1);
    twice.extend(data(2));
    let mut broken = data(3);
    broken[60] ^= 1;
    let mut cut = data(4);
    cut.truncate(90);
    let lies = [vec![0xff; 64], twice, broken, cut];
    let count = lies.len();
    let mut consumer = subscriber(&transport, "c.0", "c", &LinkQos::realtime());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for lie in lies {
                drop(lying_producer(&listener, &lie));
            }
            // The last one is honest.
            let mut raw = lying_producer(&listener, &[]);
            // Its boot is not the consumer's, so that its clock is asked for.
            assert!(matches!(raw.receive(), Some(Message::AskClock { .. })));
            assert!(matches!(raw.receive(), Some(Message::Credit(_))));
            raw.stream.write_all(&data(9)).unwrap();
            assert_eq!(raw.receive(), None, "closed by the consumer");
        });
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE * 2, "after {count} lies");
            let received = consumer.recv(Duration::from_millis(20)).unwrap();
            if received.is_some_and(|received| number(&received) == 9) {
                break;
            }
        }
        drop(consumer);
    });
}
