//! Payloads in shared memory: who holds them, and what is left when a process is killed.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeflow_spec::qos::{LinkQos, OnFull, Via};
use edgeflow_stream::{Limits, Publisher};

use crate::support::*;

const SOCKET_ENV: &str = "EDGEFLOW_TEST_SHM_SOCKET";

pub(crate) fn wait_held(publisher: &Publisher, held: usize) {
    let start = Instant::now();
    while publisher.handle().shared_memory().held != held {
        let now = publisher.handle().shared_memory();
        assert!(start.elapsed() < PATIENCE, "{now:?}, wanted {held} held");
        std::thread::yield_now();
    }
}

/// `sized(number, len)` has this payload.
pub(crate) fn assert_payload(payload: &[u8], number: u32, len: usize) {
    assert_eq!(payload.len(), len);
    assert_eq!(payload[..4], number.to_le_bytes());
    let fill = u8::try_from(number % 251).unwrap();
    assert!(payload[4..].iter().all(|byte| *byte == fill));
}

#[test]
fn fan_out_writes_a_payload_once() {
    let mut transport = Shm::new();
    let qos = LinkQos::realtime();
    let publisher = publisher(&mut transport, vec![]);
    let mut consumers: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| subscriber(&transport, "m", name, &qos))
        .collect();
    consumers.iter_mut().for_each(connect);
    for sent in 0..5 {
        publisher.send(sized(sent, 50_000)).unwrap();
        for consumer in &mut consumers {
            let received = expect(consumer);
            assert_payload(&received.frame.payload, sent, 50_000);
            drop(received);
            consumer.recv(Duration::ZERO).unwrap();
        }
    }
    let memory = publisher.handle().shared_memory();
    assert_eq!((memory.written, memory.segments), (5, 1));
    for stats in publisher.stats() {
        assert_eq!(stats.transport, "shm");
        assert_eq!(stats.transport_reason, "");
    }
    drop(consumers);
    wait_held(&publisher, 0);
}

#[test]
fn a_small_payload_travels_on_the_socket() {
    let mut transport = Unix::new();
    let config = edgeflow_stream::PublisherConfig {
        name: "p/out".to_owned(),
        groups: vec![],
        limits: Limits::default(),
        shared_memory: Some(edgeflow_stream::transport::shm::SharedMemory::default()),
    };
    let publisher = Publisher::new(config, transport.listen()).unwrap();
    let mut consumer = subscriber(&transport, "m", "c", &LinkQos::realtime());
    connect(&mut consumer);
    publisher.send(sized(1, 1000)).unwrap();
    expect(&mut consumer);
    assert_eq!(publisher.handle().shared_memory().written, 0);
    consumer.recv(Duration::ZERO).unwrap();
    publisher.send(sized(2, 20_000)).unwrap();
    expect(&mut consumer);
    assert_eq!(publisher.handle().shared_memory().written, 1);
}

#[test]
fn payloads_stay_as_they_are_while_they_are_held() {
    let budget = 4 << 20;
    let mut transport = Shm::with_budget(Some(budget));
    let qos = durable(200, OnFull::Block);
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    connect(&mut consumer);
    // Far more than the budget: what has no slot comes over the socket.
    let mut held: Vec<Bytes> = Vec::new();
    for sent in 0..100 {
        publisher.send(sized(sent, 100_000)).unwrap();
        held.push(expect(&mut consumer).frame.payload);
    }
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 100);
    assert!(
        stats.transport_reason.contains("over the socket"),
        "{stats:?}"
    );
    for (sent, payload) in (0..).zip(&held) {
        assert_payload(payload, sent, 100_000);
    }
    let memory = publisher.handle().shared_memory();
    assert!(memory.held > 0 && memory.bytes <= budget, "{memory:?}");
    let written = memory.written;
    // Dropped in another thread, long after the acknowledgement, with the link gone.
    drop(consumer);
    std::thread::spawn(move || drop(held)).join().unwrap();
    wait_held(&publisher, 0);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    publisher.send(sized(100, 100_000)).unwrap();
    assert_payload(&expect(&mut consumer).frame.payload, 100, 100_000);
    let after = publisher.handle().shared_memory();
    assert_eq!((after.written, after.bytes), (written + 1, memory.bytes));
}

#[test]
fn a_consumer_that_keeps_everything_leaves_memory_to_the_others() {
    let mut transport = Shm::with_budget(Some(4 << 20));
    let qos = durable(200, OnFull::Block);
    let groups = vec![group("hoarder", &qos), group("good", &qos)];
    let publisher = publisher(&mut transport, groups);
    let mut hoarder = subscriber(&transport, "h", "hoarder", &qos);
    let mut good = subscriber(&transport, "g", "good", &qos);
    connect(&mut hoarder);
    connect(&mut good);
    let mut kept = Vec::new();
    for sent in 0..60 {
        publisher.send(sized(sent, 100_000)).unwrap();
        kept.push(expect(&mut hoarder).frame.payload);
        assert_payload(&expect(&mut good).frame.payload, sent, 100_000);
    }
    assert_ne!(stats_of(&publisher, "hoarder").transport_reason, "");
    assert_eq!(stats_of(&publisher, "good").transport_reason, "");
}

#[test]
fn growing_frames_get_larger_slots_within_the_budget() {
    let budget = 16 << 20;
    let mut transport = Shm::with_budget(Some(budget));
    let qos = LinkQos::realtime();
    let publisher = publisher(&mut transport, vec![]);
    let mut consumer = subscriber(&transport, "m", "c", &qos);
    connect(&mut consumer);
    let sizes = [
        1000, 30_000, 500_000, 3_000_000, 6_000_000, 40_000, 20_000_000, 2_000,
    ];
    for (sent, len) in (0..).zip(sizes) {
        publisher.send(sized(sent, len)).unwrap();
        let received = expect(&mut consumer);
        assert_payload(&received.frame.payload, sent, len);
        drop(received);
        consumer.recv(Duration::ZERO).unwrap();
        assert!(publisher.handle().shared_memory().bytes <= budget);
    }
    // Only the frame that is larger than the whole budget had to go another way.
    assert_eq!(publisher.handle().shared_memory().written, 7);
}

// ---- killed processes -------------------------------------------------------------------------

/// Runs an ignored test of this binary as a process of its own.
fn helper(name: &str, socket: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(SOCKET_ENV, socket)
        .stdout(std::process::Stdio::null());
    command
}

fn socket() -> std::path::PathBuf {
    std::env::var_os(SOCKET_ENV)
        .expect("run by another test")
        .into()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn memory_maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.contains("memfd:edgeflow"))
        .count()
}

/// These count the descriptors and mappings of their process, so each has one for itself.
#[test]
fn killed_processes_leave_nothing_behind() {
    for name in [
        "shm::alone_a_killed_consumer_gives_everything_back",
        "shm::alone_a_killed_producer_leaves_payloads_readable",
    ] {
        let status = helper(name, std::path::Path::new("")).status().unwrap();
        assert!(status.success(), "{name}");
    }
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn alone_a_killed_consumer_gives_everything_back() {
    let mut transport = Shm::new();
    let qos = LinkQos::durable();
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut before = None;
    for round in 0..5 {
        let start = helper("shm::helper_consumer_that_holds", &transport.path()).spawn();
        let mut killed = Killed(start.unwrap());
        publisher.send(sized(round, 300_000)).unwrap();
        publisher.send(sized(round, 300_000)).unwrap();
        // One is in its loop, one is read ahead of it; and those that came again.
        wait_for(&publisher, "c", |stats| stats.consumers == 1);
        let begun = Instant::now();
        while publisher.handle().shared_memory().held < 2 {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        killed.0.kill().unwrap();
        killed.0.wait().unwrap();
        wait_for(&publisher, "c", |stats| stats.consumers == 0);
        wait_held(&publisher, 0);
        // The IO thread may look at a closed socket once more.
        let begun = Instant::now();
        loop {
            let now = (open_files(), memory_maps());
            let most = *before.get_or_insert(now);
            if now.0 <= most.0 && now.1 <= most.1 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{most:?} grew to {now:?}");
            std::thread::yield_now();
        }
    }
    // The frames themselves are not lost: another consumer gets all of them.
    let mut heir = subscriber(&transport, "c.0", "c", &qos);
    assert_eq!(
        expect_numbers(&mut heir, 10),
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    );
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn helper_consumer_that_holds() {
    let qos = LinkQos::durable();
    let mut transport = Shm::new();
    transport.connect_to(socket());
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    let _held = expect(&mut consumer);
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn alone_a_killed_producer_leaves_payloads_readable() {
    let transport = Shm::new();
    let before = (open_files(), memory_maps());
    let mut consumer = subscriber(&transport, "c.0", "c", &LinkQos::realtime());
    for _ in 0..3 {
        let start = helper("shm::helper_producer", &transport.path()).spawn();
        let mut killed = Killed(start.unwrap());
        let payload = expect(&mut consumer).frame.payload;
        assert!(memory_maps() > before.1);
        killed.0.kill().unwrap();
        killed.0.wait().unwrap();
        consumer.ack();
        let start = Instant::now();
        while consumer.is_connected() {
            assert!(start.elapsed() < PATIENCE);
            consumer.recv(Duration::from_millis(5)).unwrap();
        }
        assert_payload(&payload, 7, 700_000);
        drop(payload);
        assert_eq!(memory_maps(), before.1);
    }
    drop(consumer);
    assert_eq!((open_files(), memory_maps()), before);
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn helper_producer() {
    let mut transport = Shm::new();
    transport.connect_to(socket());
    let publisher = publisher(&mut transport, vec![]);
    loop {
        publisher.send(sized(7, 700_000)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_consumer_of_another_user_gets_the_socket_and_a_reason() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can start one.
    }
    let mut transport = Shm::new();
    let publisher = publisher(&mut transport, vec![group("c", &LinkQos::durable())]);
    let folder = transport.path().parent().unwrap().to_owned();
    let open = |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode));
    open(folder, 0o755).unwrap();
    open(transport.path(), 0o777).unwrap();
    publisher.send(sized(1, 100_000)).unwrap();
    let mut command = helper("shm::helper_consumer_that_holds", &transport.path());
    let Ok(child) = command.uid(65_534).spawn() else {
        return; // The test program is in a folder that others may not read.
    };
    let _killed = Killed(child);
    let stats = wait_for(&publisher, "c", |stats| stats.consumers == 1);
    assert_eq!(stats.transport, "unix");
    let reason = "the consumer runs as another user (65534)";
    assert_eq!(stats.transport_reason, reason);
    assert_eq!(publisher.handle().shared_memory().written, 0);
}

#[test]
fn a_link_that_asks_for_the_socket_gets_it_also_after_a_reconnect() {
    let mut transport = Shm::new();
    let qos = LinkQos {
        via: Via::Socket,
        ..LinkQos::realtime()
    };
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    for life in 0..2 {
        let publisher = publisher(&mut transport, vec![]);
        let start = Instant::now();
        while !publisher.stats().iter().any(|it| it.consumers == 1) {
            assert!(start.elapsed() < PATIENCE);
            assert!(consumer.recv(Duration::from_millis(5)).unwrap().is_none());
        }
        connect(&mut consumer);
        publisher.send(sized(life, 50_000)).unwrap();
        assert_payload(&expect(&mut consumer).frame.payload, life, 50_000);
        let stats = stats_of(&publisher, "c");
        assert_eq!(stats.transport, "unix");
        assert!(stats.transport_reason.contains("via=socket"), "{stats:?}");
        assert_eq!(publisher.handle().shared_memory().written, 0);
    }
}
