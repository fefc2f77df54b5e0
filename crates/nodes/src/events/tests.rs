//! The node with frames as `detect`, `track` and `zones` make them, and real receivers on this machine.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use edgeflow::testing::{Fixture, Setup, node};
use edgeflow::{Codec, DETECTIONS, Detection, Frame, Meta, Severity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::EventsNode;

const PATIENCE: Duration = Duration::from_secs(20);

fn setup(dir: &Path) -> Setup {
    Setup {
        outputs: Vec::new(),
        state_dir: dir.to_owned(),
        ..Setup::default()
    }
}

/// A frame at so many milliseconds with things of these labels.
fn frame(at_ms: i64, labels: &[&str]) -> Frame {
    let pixels = vec![90; 1280 * 720 * 3];
    let mut frame = Frame::jpeg(1280, 720, Vec::new()).with_payload(Codec::Rgb8, pixels);
    (frame.header.width, frame.header.height) = (1280, 720);
    frame.header.stride = 1280 * 3;
    frame.header.capture_ns = at_ms * 1_000_000;
    let found: Vec<Detection> = labels
        .iter()
        .map(|label| Detection {
            label: (*label).to_owned(),
            score: 0.8,
            w: 10.0,
            h: 20.0,
            ..Detection::default()
        })
        .collect();
    let mut meta = Meta::default();
    meta.set(DETECTIONS, &found).unwrap();
    frame.set_meta(&meta);
    frame
}

fn feed(fixture: &mut Fixture<EventsNode>, frames: &[(i64, &[&str])]) {
    for (at, labels) in frames {
        fixture.process("in", frame(*at, labels)).unwrap();
    }
}

#[test]
fn an_event_begins_once_with_a_picture_and_may_come_again_after_its_pause() {
    let dir = tempfile::tempdir().unwrap();
    let params = json!({
        "event": "PersonSeen", "labels": ["person"], "for_ms": 100, "pause_ms": 1000,
        "severity": "warning",
    });
    let mut fixture = node::<EventsNode>(&setup(dir.path()), params.clone()).unwrap();
    let person: &[&str] = &["person", "cup", "person"];
    feed(&mut fixture, &[(0, &["cup"]), (50, person), (100, person)]);
    assert_eq!(fixture.take_events(), []);
    feed(&mut fixture, &[(150, person), (200, person), (900, &[])]);
    let told = fixture.take_events();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].name.as_str(), told[0].severity),
        ("PersonSeen", Severity::Warning)
    );
    assert_eq!(told[0].message, "2 person");
    assert_eq!(told[0].details.len(), 2);
    assert!(told[0].picture.starts_with(&[0xff, 0xd8]));
    feed(&mut fixture, &[(1300, &[]), (1400, person), (1500, person)]);
    assert_eq!(fixture.take_events().len(), 1);

    let mut fewer = params;
    fewer["at_least"] = json!(3);
    fixture.change_node(fewer).unwrap();
    let bad = json!({"event": "person seen"});
    assert!(fixture.change_node(bad).is_err());
    // Nobody has looked at this one.
    let unseen = fixture.process("in", Frame::jpeg(1, 1, Vec::new()));
    assert!(unseen.unwrap_err().to_string().contains("link `detect`"));
}

#[test]
fn zones_and_lines_are_events_of_what_zones_says() {
    let dir = tempfile::tempdir().unwrap();
    let zoned = |count: u32| {
        let mut frame = frame(i64::from(count) * 100, &["person"]);
        let mut meta = frame.read_meta().unwrap();
        let zones = json!({
            "zones": [{"name": "door", "count": count, "points": []}], "lines": [],
            "events": [
                {"kind": "forward", "name": "gate", "track": 7, "label": "person"},
                {"kind": "entered", "name": "door", "track": 7, "label": "person"},
                {"kind": "backward", "name": "gate", "track": 8, "label": "dog"},
                {"kind": "backward", "name": "other", "track": 7, "label": "person"},
            ],
        });
        meta.set("zones", &zones).unwrap();
        frame.set_meta(&meta);
        frame
    };
    let make = |params| node::<EventsNode>(&setup(dir.path()), params).unwrap();
    let mut door = make(json!({"zone": "door", "at_least": 2, "for_ms": 0, "picture": false}));
    for count in [1, 2, 3] {
        door.process("in", zoned(count)).unwrap();
    }
    let told = door.take_events();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].message.as_str(), told[0].picture.len()),
        ("2 in zone door", 0)
    );
    let (url, heard) = receiver(&[]);
    let mut gate = make(json!({"line": "gate", "webhook": url}));
    gate.process("in", zoned(1)).unwrap();
    let told = gate.take_events();
    assert_eq!(told[0].message, "person crossed gate forward");
    assert_eq!(told[1].message, "dog crossed gate backward");
    // Two of one frame are two.
    let id = || heard.recv_timeout(PATIENCE).unwrap().1["id"].clone();
    assert_ne!(id(), id());
    let mut nowhere = make(json!({"zone": "dor"}));
    let error = nowhere.process("in", zoned(1)).unwrap_err().to_string();
    assert!(error.contains("zones are door"), "{error}");
    let both = node::<EventsNode>(&setup(dir.path()), json!({"zone": "a", "line": "b"}));
    assert!(both.is_err());
}

/// Answers requests with these statuses in turn, then with 204; tells head and body of each.
fn receiver(statuses: &'static [u16]) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut statuses = statuses.iter().copied().chain(std::iter::repeat(204));
        for stream in listener.incoming() {
            let Ok(request) = request(&stream.unwrap(), statuses.next().unwrap_or(204)) else {
                continue;
            };
            if told.send(request).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

fn request(mut stream: &TcpStream, status: u16) -> std::io::Result<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
    reader.read_exact(&mut body)?;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    Ok((lower, serde_json::from_slice(&body)?))
}

#[test]
fn a_webhook_gets_every_event_in_order_though_it_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    // The second is refused for good, and the last was kept by an earlier process.
    let (url, heard) = receiver(&[503, 204, 400]);
    let left = dir.path().join("outbox/webhook");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("00000000000000000007.json"), r#"{"event":"Old"}"#).unwrap();
    let params = json!({
        "for_ms": 0, "pause_ms": 0, "webhook": url, "webhook_token_file": token,
    });
    let mut fixture = node::<EventsNode>(&setup(dir.path()), params).unwrap();
    feed(&mut fixture, &[(0, &["cup"]), (10, &[])]);
    let got = || heard.recv_timeout(PATIENCE).unwrap();
    let (head, body) = got();
    assert_eq!(body["event"], "Old");
    assert!(head.starts_with("post /hook?key=1 "), "{head}");
    assert!(head.contains("authorization: bearer s3cret"), "{head}");
    assert_eq!(got().1["event"], "Old");
    let (_, began) = got();
    assert_eq!(
        (&began["state"], &began["message"]),
        (&json!("began"), &json!("1 cup"))
    );
    assert_eq!(began["things"][0]["label"], "cup");
    assert!(began["picture"].as_str().unwrap().starts_with("/9j/"));
    let (_, ended) = got();
    assert_eq!(
        (&ended["state"], &ended["lasted_ms"]),
        (&json!("ended"), &json!(0))
    );
    wait("an empty outbox", || {
        std::fs::read_dir(&left).unwrap().count() == 0
    });
    assert_eq!(fixture.condition(), "");
    for bad in ["ftp://x/y", "nonsense", "http://"] {
        assert!(node::<EventsNode>(&setup(dir.path()), json!({"webhook": bad})).is_err());
    }
}

#[test]
fn an_mqtt_broker_gets_events_as_a_user_with_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let Some(broker) = Broker::start(dir.path()) else {
        return;
    };
    // Subscribes for good, so that nothing is missed.
    assert!(broker.reader(&["-E"]).status.success());
    let password = path("password");
    std::fs::write(&password, "wrong").unwrap();
    let url = format!("mqtt://me@127.0.0.1:{}/site/events", broker.port);
    let params = json!({"for_ms": 0, "mqtt": url, "mqtt_password_file": password});
    let mut refused = node::<EventsNode>(&setup(&path("a")), params.clone()).unwrap();
    feed(&mut refused, &[(0, &["cup"])]);
    wait("the condition", || {
        refused.condition().contains("1 events wait")
    });
    std::fs::write(&password, "s3cret\n").unwrap();
    let mut fixture = node::<EventsNode>(&setup(&path("b")), params).unwrap();
    feed(&mut fixture, &[(0, &["cup"])]);
    let got = broker.reader(&["-C", "1", "-W", "20"]).stdout;
    let got: Value = serde_json::from_slice(&got).unwrap();
    assert_eq!(
        (&got["event"], &got["state"]),
        (&json!("Seen"), &json!("began"))
    );
    assert!(got.get("picture").is_none());
}

#[test]
fn an_mqtt_broker_is_believed_by_its_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let Some(broker) = Broker::start(dir.path()) else {
        return;
    };
    assert!(broker.reader(&["-E"]).status.success());
    let password = path("password");
    std::fs::write(&password, "s3cret").unwrap();
    let url = format!("mqtts://me@localhost:{}/site/events", broker.tls_port);
    let params = |ca: &str| {
        let ca = path(ca);
        json!({"for_ms": 0, "mqtt": url, "mqtt_password_file": password, "mqtt_ca_file": ca})
    };
    // Another one of the same name.
    let stranger = authority();
    std::fs::write(path("stranger.pem"), stranger.pem()).unwrap();
    let mut wary = node::<EventsNode>(&setup(&path("a")), params("stranger.pem")).unwrap();
    feed(&mut wary, &[(0, &["cup"])]);
    wait("the condition", || wary.condition().contains("certificate"));
    let mut fixture = node::<EventsNode>(&setup(&path("b")), params("ca.pem")).unwrap();
    feed(&mut fixture, &[(0, &["cup"])]);
    let got = broker.reader(&["-C", "1", "-W", "20"]).stdout;
    let got: Value = serde_json::from_slice(&got).unwrap();
    assert_eq!(got["event"], json!("Seen"));
    std::fs::write(path("empty.pem"), "nothing").unwrap();
    for bad in ["empty.pem", "missing.pem"] {
        let error = node::<EventsNode>(&setup(&path("c")), params(bad)).unwrap_err();
        assert!(error.chain().contains("mqtt_ca_file"), "{}", error.chain());
    }
}

/// A certificate that others can be checked with.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// A mosquitto with one user, with and without TLS, which ends with the test. `ca.pem` in its folder
/// is what its certificate is checked with.
struct Broker {
    process: Child,
    port: u16,
    tls_port: u16,
}

impl Broker {
    /// `None`, with a word about it, where there is none.
    fn start(dir: &Path) -> Option<Self> {
        let there = |name: &str| Command::new(name).arg("-h").output().is_ok();
        let programs = ["mosquitto", "/usr/sbin/mosquitto"];
        let program = programs.into_iter().find(|name| there(name));
        let Some(program) = program.filter(|_| there("mosquitto_sub")) else {
            eprintln!("skipped: mosquitto and mosquitto-clients are not installed");
            return None;
        };
        let free = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, tls_port] = free.map(|free| free.local_addr().unwrap().port());
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &authority).unwrap();
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("own.pem", own.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let (config, users) = (dir.join("mosquitto.conf"), dir.join("users"));
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&users)
            .args(["me", "s3cret"])
            .status();
        assert!(made.unwrap().success());
        // As root it would become another user, who can't read the file.
        let text = format!(
            "per_listener_settings false\nallow_anonymous false\nuser root\npassword_file {}\n\
             listener {port} 127.0.0.1\nlistener {tls_port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            users.display(),
            dir.join("own.pem").display(),
            dir.join("key.pem").display(),
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Self {
            process,
            port,
            tls_port,
        };
        wait("the broker", || {
            [port, tls_port].map(|port| TcpStream::connect(("127.0.0.1", port)).is_ok())
                == [true; 2]
        });
        Some(broker)
    }

    /// A reader whose subscription stays when it leaves.
    fn reader(&self, more: &[&str]) -> Output {
        Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-u", "me", "-P", "s3cret", "-t", "site/#"])
            .args(["-q", "1", "-c", "-i", "reader"])
            .args(more)
            .output()
            .unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
