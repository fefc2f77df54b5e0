//! A producer on another machine, whose clocks say something else.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::link::{Accept, Data, Decoder, Message, Role, encode};
use edgeflow_stream::transport::unix::UnixDial;
use edgeflow_stream::{InputConfig, Limits, Subscriber, SubscriberConfig, clock};

use crate::support::*;

/// Its monotonic clock is an hour ahead of ours, its UTC half an hour behind.
const AHEAD_NS: u64 = 3_600_000_000_000;
const BEHIND_NS: i64 = 1_800_000_000_000;
/// What its frames have been through when they leave.
const CAPTURED_BEFORE: Duration = Duration::from_millis(80);
const SENT_BEFORE: Duration = Duration::from_millis(20);

fn monotonic_there() -> u64 {
    clock::monotonic_ns() + AHEAD_NS
}

fn serve(mut stream: UnixStream, answer_clock: bool) {
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    let mut seq = 0;
    loop {
        while let Some(message) = decoder.next().unwrap() {
            let answers = match message {
                Message::Hello(hello) => {
                    assert_eq!(
                        (hello.via.as_str(), hello.shared_memory),
                        ("tcp", false),
                        "a relayed link says so"
                    );
                    vec![Message::Accept(Accept {
                        protocol: 1,
                        transport: "tcp".to_owned(),
                        stream_id: 1,
                        epoch: 1,
                        boot_id: "another".to_owned(),
                        pipe: false,
                    })]
                }
                Message::AskClock { token } if answer_clock => vec![Message::Clock {
                    token,
                    monotonic_ns: monotonic_there(),
                    unix_ns: clock::unix_ns() - BEHIND_NS,
                }],
                Message::Credit(credit) => (0..credit.credits)
                    .map(|_| {
                        seq += 1;
                        Message::Data(frame(seq))
                    })
                    .collect(),
                _ => Vec::new(),
            };
            for answer in answers {
                if stream.write_all(&encode(&answer)).is_err() {
                    return;
                }
            }
        }
        match stream.read(decoder.space()) {
            Ok(0) | Err(_) => return,
            Ok(count) => decoder.advance(count),
        }
    }
}

fn frame(seq: u64) -> Data {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
    let mut frame = numbered(u32::try_from(seq).unwrap());
    let header = &mut frame.header;
    (header.stream_id, header.epoch, header.seq) = (1, 1, seq);
    header.capture_mono_ns = monotonic_there() - ns(CAPTURED_BEFORE);
    header.capture_ns = clock::unix_ns() - BEHIND_NS - ns(CAPTURED_BEFORE) as i64;
    Data {
        frame,
        sent_mono_ns: monotonic_there() - ns(SENT_BEFORE),
        redelivered: false,
    }
}

fn far_producer(path: &Path, answer_clock: bool) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, answer_clock));
        }
    });
}

fn consumer(path: &Path, qos: &LinkQos) -> Subscriber {
    let config = SubscriberConfig {
        member: "c.0".to_owned(),
        limits: Limits::default(),
    };
    let input = InputConfig {
        port: "in".to_owned(),
        link: "p->c".to_owned(),
        group: "c".to_owned(),
        qos: qos.clone(),
        from: "s.p.0".to_owned(),
        dial: Box::new(UnixDial::relayed(path)),
    };
    Subscriber::new(&config, vec![input]).unwrap()
}

#[test]
fn times_of_another_machine_are_put_on_this_ones_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("far");
    far_producer(&path, true);
    // Half an hour of difference would make every frame too old.
    let qos = LinkQos {
        max_age_ms: Some(5_000),
        ..LinkQos::realtime()
    };
    let mut consumer = consumer(&path, &qos);
    let start = Instant::now();
    let received = loop {
        let received = expect(&mut consumer);
        if received.clock.is_some() {
            break received;
        }
        assert!(start.elapsed() < PATIENCE, "the clock is not measured");
    };
    let offset = received.clock.unwrap();
    let slack = 1_000_000;
    assert!(offset.monotonic_ns.abs_diff(AHEAD_NS as i64) <= offset.error_ns + slack);
    assert!(offset.utc_ns.abs_diff(-BEHIND_NS) <= offset.error_ns + slack);
    let error = Duration::from_nanos(offset.error_ns + slack);
    let late = start.elapsed() + error;
    for (found, at_least) in [
        (received.hop.unwrap(), SENT_BEFORE),
        (received.age, CAPTURED_BEFORE),
    ] {
        assert!(found + error >= at_least, "{found:?} of {at_least:?}");
        assert!(found <= at_least + late, "{found:?} of {at_least:?}");
    }
    assert!(received.frame.header.clock_error_us > 0);
    let stats = consumer.stats().take().remove(0);
    assert!(stats.clock.is_some() && stats.hop.count > 0);
}

#[test]
fn without_an_answer_the_times_of_another_machine_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("far");
    far_producer(&path, false);
    let mut consumer = consumer(&path, &LinkQos::realtime());
    let received = expect(&mut consumer);
    assert_eq!((received.hop, received.clock), (None, None));
    assert_eq!(received.frame.header.capture_mono_ns, 0);
    // UTC is all there is.
    assert!(received.age >= Duration::from_nanos(BEHIND_NS as u64));
}
