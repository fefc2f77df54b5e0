//! Live views: on demand, on credit, with reasons.

use std::time::Duration;

use bytes::Bytes;
use edgeflow_proto::v1::{
    self, InstancePhase, command::Command as Kind, stream_service_client::StreamServiceClient,
};
use edgeflow_stream::Frame;
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tonic::Streaming;

use crate::harness::{Agent, Fixture, PATIENCE, Session, apply, pattern};

async fn running(fixture: &Fixture) -> (Agent, Session) {
    let agent = fixture.join("cam").await;
    apply(&mut fixture.admin().await, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let assignment = session.assignment().await;
    session.run(&assignment, InstancePhase::Ready, "").await;
    fixture
        .device_until("cam", |device| !device.instances.is_empty())
        .await;
    (agent, session)
}

struct Tap {
    frames: mpsc::Sender<v1::PushFrame>,
    credits: Streaming<v1::PushCredit>,
}

impl Tap {
    async fn open(agent: &Agent, command_id: &str) -> Self {
        let (frames, receiver) = mpsc::channel(4);
        frames
            .send(v1::PushFrame {
                command_id: command_id.to_owned(),
                ..v1::PushFrame::default()
            })
            .await
            .unwrap();
        let credits = StreamServiceClient::new(agent.channel.clone())
            .push(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self { frames, credits }
    }

    async fn credit(&mut self) -> Option<u32> {
        let credit = tokio::time::timeout(PATIENCE, self.credits.message()).await;
        credit
            .expect("no credit came")
            .ok()?
            .map(|credit| credit.frames)
    }

    async fn push(&self, payload: &'static [u8]) {
        let frame = Frame::jpeg(64, 48, Bytes::from_static(payload)).encode();
        let message = v1::PushFrame {
            frame: frame.to_vec(),
            ..v1::PushFrame::default()
        };
        self.frames.send(message).await.unwrap();
    }
}

async fn start_view(session: &mut Session) -> String {
    let command = session.command().await;
    match command.command {
        Some(Kind::StartView(start)) => {
            assert_eq!(start.instance, "one.source.0");
            assert_eq!(start.port, "out");
        }
        other => panic!("expected StartView, got {other:?}"),
    }
    command.id
}

async fn browser(fixture: &Fixture) -> WebSocketStream<TcpStream> {
    let address = fixture.server.http();
    let mut request = format!("ws://{address}/ws/view")
        .into_client_request()
        .unwrap();
    let bearer = format!("Bearer {}", fixture.server.admin_token());
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

async fn say(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text.to_owned())).await.unwrap();
}

async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Message {
    tokio::time::timeout(PATIENCE, socket.next())
        .await
        .expect("nothing came")
        .unwrap()
        .unwrap()
}

const OPEN: &str = r#"{"type":"open","tile":7,"system":"one","node":"source","device":""}"#;

#[tokio::test]
async fn a_frame_goes_to_the_browser_on_credit_and_the_tap_ends_with_the_viewer() {
    let fixture = Fixture::start().await;
    let (agent, mut session) = running(&fixture).await;
    let mut socket = browser(&fixture).await;
    say(&mut socket, OPEN).await;
    let opened = hear(&mut socket).await.into_text().unwrap();
    assert_eq!(
        opened.as_str(),
        r#"{"type":"open","tile":7,"device":"cam"}"#
    );
    let id = start_view(&mut session).await;
    let mut tap = Tap::open(&agent, &id).await;
    assert_eq!(tap.credit().await, Some(1));
    tap.push(b"first").await;
    let Message::Binary(message) = hear(&mut socket).await else {
        panic!("expected a frame");
    };
    assert_eq!(&message[..4], &7_u32.to_le_bytes());
    assert_eq!(&message[4..8], b"EFR1");
    assert!(message.ends_with(b"first"));

    // Nobody has drawn it yet: no credit reaches the agent.
    let early = tokio::time::timeout(Duration::from_millis(200), tap.credits.message()).await;
    assert!(early.is_err(), "a credit without room for a frame");
    say(&mut socket, r#"{"type":"credit","tile":7}"#).await;
    assert_eq!(tap.credit().await, Some(1));
    tap.push(b"second").await;
    assert!(matches!(hear(&mut socket).await, Message::Binary(_)));

    say(&mut socket, r#"{"type":"close","tile":7}"#).await;
    assert_eq!(tap.credit().await, None);
    let stop = session.command().await;
    assert_eq!(stop.id, id);
    assert!(matches!(stop.command, Some(Kind::StopView(_))));
}

#[tokio::test]
async fn two_viewers_share_one_tap() {
    let fixture = Fixture::start().await;
    let (agent, mut session) = running(&fixture).await;
    let mut first = browser(&fixture).await;
    let mut second = browser(&fixture).await;
    for socket in [&mut first, &mut second] {
        say(socket, OPEN).await;
        hear(socket).await;
    }
    let id = start_view(&mut session).await;
    let mut tap = Tap::open(&agent, &id).await;
    tap.credit().await;
    tap.push(b"shared").await;
    for socket in [&mut first, &mut second] {
        assert!(matches!(hear(socket).await, Message::Binary(_)));
    }
    assert_eq!(fixture.server.app().views.count(), 1);
    assert_eq!(fixture.server.app().views.viewers(), 2);
}

#[tokio::test]
async fn a_view_without_a_picture_says_why() {
    let fixture = Fixture::start().await;
    let (agent, mut session) = running(&fixture).await;
    let mut socket = browser(&fixture).await;
    say(&mut socket, &OPEN.replace("source", "nothing")).await;
    let text = hear(&mut socket).await.into_text().unwrap();
    assert!(
        text.contains("not_found") && text.contains("no node nothing"),
        "{text}"
    );

    say(&mut socket, OPEN).await;
    hear(&mut socket).await;
    let id = start_view(&mut session).await;
    let mut tap = Tap::open(&agent, &id).await;
    tap.credit().await;
    let text = hear(&mut socket).await.into_text().unwrap();
    assert!(text.contains("no_signal"), "{text}");
    let error = v1::PushFrame {
        error: "camera unplugged".to_owned(),
        ..v1::PushFrame::default()
    };
    tap.frames.send(error).await.unwrap();
    let text = hear(&mut socket).await.into_text().unwrap();
    assert!(text.contains("camera unplugged"), "{text}");
    drop(tap);
    drop(session);
    loop {
        let text = hear(&mut socket).await.into_text().unwrap();
        if text.contains("offline") {
            break;
        }
    }
}

#[tokio::test]
async fn other_programs_get_mjpeg_and_snapshots() {
    let fixture = Fixture::start().await;
    let (agent, mut session) = running(&fixture).await;
    let bearer = format!("authorization: Bearer {}", fixture.server.admin_token());
    let serve = async {
        let id = start_view(&mut session).await;
        let mut tap = Tap::open(&agent, &id).await;
        while tap.credit().await.is_some() {
            tap.push(b"a jpeg").await;
        }
    };
    let ask = async {
        let answer =
            crate::access::http(&fixture, "GET", "/snapshot/one/source.jpg", &[&bearer], "").await;
        assert!(answer.contains("content-type: image/jpeg"), "{answer}");
        assert!(answer.ends_with("a jpeg"), "{answer}");
    };
    tokio::join!(serve, ask);

    let serve = async {
        loop {
            let command = session.command().await;
            if let Some(Kind::StartView(_)) = command.command {
                let mut tap = Tap::open(&agent, &command.id).await;
                while tap.credit().await.is_some() {
                    tap.push(b"a jpeg").await;
                }
                return;
            }
        }
    };
    let ask = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = fixture.server.http();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /video/one/source HTTP/1.1\r\nhost: {address}\r\n{bearer}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = String::new();
        let mut buffer = [0_u8; 1024];
        while seen.matches("--edgeflow-frame").count() < 3 {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert!(seen.contains("multipart/x-mixed-replace"), "{seen}");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_device_can_push_only_what_it_was_asked_for() {
    let fixture = Fixture::start().await;
    let (agent, mut session) = running(&fixture).await;
    let other = fixture.join("other").await;
    let mut socket = browser(&fixture).await;
    say(
        &mut socket,
        &OPEN.replace(r#""device":"""#, r#""device":"cam""#),
    )
    .await;
    let id = start_view(&mut session).await;
    let mut thief = Tap::open(&other, &id).await;
    assert!(thief.credits.message().await.is_err());
    let mut tap = Tap::open(&agent, &id).await;
    assert_eq!(tap.credit().await, Some(1));
}

#[tokio::test]
async fn a_tap_gets_frames_with_their_metadata_on_credit() {
    use v1::tap_frames_response::Event;
    let fixture = Fixture::start().await;
    let (agent, mut session) = running(&fixture).await;
    let mut admin = fixture.admin().await;
    let ask = |node: &str, port: &str| v1::TapFramesRequest {
        system: "one".to_owned(),
        node: node.to_owned(),
        port: port.to_owned(),
        payload: true,
        ..v1::TapFramesRequest::default()
    };
    for (node, port, text) in [
        ("nothing", "", "no node nothing"),
        ("source", "side", "no output side; it has out"),
    ] {
        let refused = admin.tap_frames(ask(node, port)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound);
        assert!(refused.message().contains(text), "{}", refused.message());
    }
    let mut frames = admin
        .tap_frames(ask("source", "out"))
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, frames.message()).await;
        message.expect("nothing came").unwrap().unwrap().event
    };
    let Some(Event::Opened(opened)) = next().await else {
        panic!("expected what is looked at");
    };
    assert_eq!(opened.device_name, "cam");
    // The stream asks for a frame only when somebody reads it.
    let (event, _tap) = tokio::join!(next(), async {
        let id = start_view(&mut session).await;
        let mut tap = Tap::open(&agent, &id).await;
        assert_eq!(tap.credit().await, Some(1));
        tap.push(b"a jpeg").await;
        tap
    });
    let Some(Event::Frame(frame)) = event else {
        panic!("expected a frame, got {event:?}");
    };
    assert_eq!((frame.width, frame.height), (64, 48));
    assert_eq!(
        (frame.codec.as_str(), &*frame.payload),
        ("jpeg", &b"a jpeg"[..])
    );
    assert_eq!(frame.meta_json, "{}");
}
