//! `events`: tells when something is seen: in the control plane's list of events with a picture, and to a
//! webhook or an MQTT broker, which get it again and again until they have it.

mod courier;
mod mqtt;
mod outbox;
mod rule;
#[cfg(test)]
mod tests;
mod webhook;

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use edgeflow::{
    Context, Event, Events, Frame, Input, MAX_PICTURE_BYTES, Meta, Node, NodeError, Outputs,
    Severity, tracing,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::picture::{Pixels, Thing, things};
use courier::{Courier, Troubles};
use rule::{Change, Limits, Rule};

/// Things that an event names.
const MAX_THINGS: usize = 20;
/// Longest side of a picture, and its quality; then what is tried when it is too large.
const PICTURES: [(usize, u8); 3] = [(640, 75), (480, 60), (320, 50)];
const NS_PER_MS: i64 = 1_000_000;

/// Parameters of `events`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "default_event")]
    event: String,
    #[serde(default)]
    labels: Option<Vec<String>>,
    #[serde(default)]
    min_score: f32,
    #[serde(default = "default_at_least")]
    at_least: u32,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    line: Option<String>,
    #[serde(default = "default_for_ms")]
    for_ms: u32,
    #[serde(default = "default_pause_ms")]
    pause_ms: u32,
    #[serde(default = "default_severity")]
    severity: String,
    #[serde(default = "default_picture")]
    picture: bool,
    #[serde(default)]
    webhook: Option<String>,
    #[serde(default)]
    webhook_token_file: Option<PathBuf>,
    #[serde(default)]
    mqtt: Option<String>,
    #[serde(default)]
    mqtt_password_file: Option<PathBuf>,
    #[serde(default)]
    mqtt_ca_file: Option<PathBuf>,
}

fn default_event() -> String {
    "Seen".to_owned()
}

fn default_at_least() -> u32 {
    1
}

fn default_for_ms() -> u32 {
    500
}

fn default_pause_ms() -> u32 {
    10_000
}

fn default_severity() -> String {
    "info".to_owned()
}

fn default_picture() -> bool {
    true
}

impl Params {
    fn check(&self) -> Result<(), NodeError> {
        let name = self.event.as_bytes();
        if name.is_empty() || name.len() > 64 || !name.iter().all(u8::is_ascii_alphanumeric) {
            return Err(NodeError::new(
                "parameter `event` is a word of up to 64 letters and digits, like PersonAtDoor",
            ));
        }
        if self.zone.is_some() && self.line.is_some() {
            return Err(NodeError::new("`zone` and `line` don't go together"));
        }
        Ok(())
    }

    fn severity(&self) -> Severity {
        match self.severity.as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            at_least: self.at_least.max(1),
            for_ns: i64::from(self.for_ms) * NS_PER_MS,
            pause_ns: i64::from(self.pause_ms) * NS_PER_MS,
        }
    }

    fn wants(&self, label: &str) -> bool {
        let labels = self.labels.as_ref();
        labels.is_none_or(|labels| labels.iter().any(|wanted| wanted == label))
    }
}

/// The metadata of `zones`, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct ZonesMeta {
    zones: Vec<ZoneMeta>,
    events: Vec<CrossingMeta>,
}

#[derive(Debug, Deserialize)]
struct ZoneMeta {
    name: String,
    count: u32,
}

#[derive(Debug, Deserialize)]
struct CrossingMeta {
    kind: String,
    name: String,
    label: String,
}

/// Who and where, for receivers outside.
#[derive(Debug)]
struct Origin {
    system: String,
    node: String,
    device: String,
}

/// The node.
#[derive(Debug)]
pub(crate) struct EventsNode {
    params: Params,
    rule: Rule,
    events: Events,
    webhook: Option<Courier>,
    mqtt: Option<Courier>,
    origin: Origin,
    pixels: Pixels,
}

/// What is told.
struct Telling {
    /// Which of those that this frame is about.
    index: usize,
    state: &'static str,
    message: String,
    lasted_ms: Option<i64>,
}

impl Node for EventsNode {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        params.check()?;
        let troubles = Troubles::new(ctx.condition());
        let counters = || (ctx.counter("events_sent"), ctx.counter("events_lost"));
        let start = |name, deliver| {
            let dir = ctx.state_dir().join("outbox").join(name);
            Courier::start(name, dir, deliver, troubles.clone(), counters())
                .map_err(|error| NodeError::new(format!("the outbox can't be used: {error}")))
        };
        let mut webhook = None;
        if let Some(url) = &params.webhook {
            let token = secret("webhook_token_file", params.webhook_token_file.as_ref())?;
            webhook = Some(start("webhook", webhook::deliver(url, &token)?)?);
        }
        let mut mqtt = None;
        if let Some(url) = &params.mqtt {
            let password = secret("mqtt_password_file", params.mqtt_password_file.as_ref())?;
            let client = format!("edgeflow-{}-{}", ctx.device(), ctx.instance());
            let account = mqtt::Account {
                client: &client,
                password: &password,
                ca_file: params.mqtt_ca_file.as_deref(),
            };
            mqtt = Some(start("mqtt", mqtt::deliver(url, &account)?)?);
        }
        Ok(Self {
            params,
            rule: Rule::default(),
            events: ctx.events(),
            webhook,
            mqtt,
            origin: Origin {
                system: ctx.system().to_owned(),
                node: ctx.node().to_owned(),
                device: ctx.device().to_owned(),
            },
            pixels: Pixels::default(),
        })
    }

    fn process(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        let frame = input.frame;
        let meta = frame.read_meta()?;
        if self.params.line.is_some() {
            return self.crossings(&frame, &meta);
        }
        let found = self.found(&meta)?;
        let count = match &self.params.zone {
            Some(zone) => in_zone(&meta, zone)?,
            None => u32::try_from(found.len()).unwrap_or(u32::MAX),
        };
        let limits = self.params.limits();
        let telling = match self.rule.step(&limits, count, frame.header.capture_ns) {
            None => return Ok(()),
            Some(Change::Began) => Telling {
                index: 0,
                state: "began",
                message: self.words(&found, count),
                lasted_ms: None,
            },
            Some(Change::Ended(lasted)) => Telling {
                index: 0,
                state: "ended",
                message: format!("over after {:.1} s", lasted as f64 / 1e9),
                lasted_ms: Some(lasted / NS_PER_MS),
            },
        };
        self.tell(&frame, &telling, &found)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        params.check()?;
        self.params = params;
        Ok(())
    }
}

impl EventsNode {
    /// Things that the rule is about.
    fn found(&self, meta: &Meta) -> Result<Vec<Thing>, NodeError> {
        let found = things(meta)?.ok_or_else(|| {
            NodeError::new(
                "the frame has neither detections nor tracks: link `detect` or `track` before `events`",
            )
        })?;
        let params = &self.params;
        let wanted = |thing: &Thing| params.wants(&thing.label) && thing.score >= params.min_score;
        Ok(found.into_iter().filter(wanted).collect())
    }

    fn crossings(&mut self, frame: &Frame, meta: &Meta) -> Result<(), NodeError> {
        let line = self.params.line.clone().unwrap_or_default();
        for (index, crossing) in zones(meta)?.events.into_iter().enumerate() {
            let crossed = matches!(crossing.kind.as_str(), "forward" | "backward");
            if !crossed || crossing.name != line || !self.params.wants(&crossing.label) {
                continue;
            }
            let telling = Telling {
                index,
                state: "crossed",
                message: format!("{} crossed {line} {}", crossing.label, crossing.kind),
                lasted_ms: None,
            };
            self.tell(frame, &telling, &[])?;
        }
        Ok(())
    }

    fn words(&self, found: &[Thing], count: u32) -> String {
        if let Some(zone) = &self.params.zone {
            return format!("{count} in zone {zone}");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for thing in found {
            *counts.entry(&thing.label).or_default() += 1;
        }
        let words = counts
            .iter()
            .map(|(label, count)| format!("{count} {label}"));
        words.take(MAX_THINGS).collect::<Vec<_>>().join(", ")
    }

    fn tell(&mut self, frame: &Frame, telling: &Telling, found: &[Thing]) -> Result<(), NodeError> {
        let is_end = telling.lasted_ms.is_some();
        let picture = match self.params.picture && !is_end {
            true => self.picture(frame),
            false => Vec::new(),
        };
        let mut body = self.body(frame, telling, found)?;
        if let Some(mqtt) = &self.mqtt {
            send(mqtt, &body)?;
        }
        if let Some(webhook) = &self.webhook {
            if !picture.is_empty() {
                body["picture"] = STANDARD.encode(&picture).into();
            }
            send(webhook, &body)?;
        }
        if !is_end {
            let details = found.iter().take(MAX_THINGS).map(|thing| {
                let [x, y, w, h] = thing.at;
                format!(
                    "{} {:.2} at {x:.0},{y:.0}, {w:.0} x {h:.0}",
                    thing.label, thing.score
                )
            });
            self.events.send(Event {
                severity: self.params.severity(),
                name: self.params.event.clone(),
                message: telling.message.clone(),
                details: details.collect(),
                picture,
            });
        }
        Ok(())
    }

    fn body(&self, frame: &Frame, telling: &Telling, found: &[Thing]) -> Result<Value, NodeError> {
        let header = &frame.header;
        let at = jiff::Timestamp::from_nanosecond(header.capture_ns.into())
            .map_err(|error| NodeError::new(format!("the frame's time: {error}")))?;
        let thing = |thing: &Thing| {
            json!({
                "label": thing.label,
                "score": thing.score,
                "track": thing.track,
                "box": thing.at,
            })
        };
        let things: Vec<Value> = found.iter().take(MAX_THINGS).map(thing).collect();
        let mut body = json!({
            "id": format!(
                "{}-{}-{}-{}",
                header.stream_id, header.epoch, header.seq, telling.index
            ),
            "event": self.params.event,
            "state": telling.state,
            "severity": self.params.severity().as_str(),
            "message": telling.message,
            "at": at.to_string(),
            "system": self.origin.system,
            "node": self.origin.node,
            "device": self.origin.device,
            "things": things,
        });
        if let Some(lasted) = telling.lasted_ms {
            body["lasted_ms"] = lasted.into();
        }
        Ok(body)
    }

    /// The frame as a small JPEG; empty when it is no picture.
    fn picture(&mut self, frame: &Frame) -> Vec<u8> {
        for (side, quality) in PICTURES {
            match self.pixels.small_jpeg("events", frame, side, quality) {
                Ok(jpeg) if jpeg.len() <= MAX_PICTURE_BYTES => return jpeg,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "an event without a picture");
                    break;
                }
            }
        }
        Vec::new()
    }
}

fn send(courier: &Courier, body: &Value) -> Result<(), NodeError> {
    courier
        .send(body.to_string().as_bytes())
        .map_err(|error| NodeError::new(format!("an event can't be kept: {error}")))
}

fn zones(meta: &Meta) -> Result<ZonesMeta, NodeError> {
    meta.get::<ZonesMeta>("zones")?.ok_or_else(|| {
        NodeError::new(
            "the frame has no zones: link `zones` before `events`, or leave `zone` and `line` out",
        )
    })
}

fn in_zone(meta: &Meta, name: &str) -> Result<u32, NodeError> {
    let zones = zones(meta)?.zones;
    let zone = zones.iter().find(|zone| zone.name == name);
    zone.map(|zone| zone.count).ok_or_else(|| {
        let known: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        let known = known.join(", ");
        NodeError::new(format!("there is no zone `{name}`; zones are {known}"))
    })
}

/// The first line of a file.
fn secret(name: &str, file: Option<&PathBuf>) -> Result<String, NodeError> {
    let Some(path) = file else {
        return Ok(String::new());
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        NodeError::new(format!(
            "parameter `{name}`: {} can't be read: {error}",
            path.display()
        ))
    })?;
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() {
        return Err(NodeError::new(format!(
            "parameter `{name}`: {} is empty",
            path.display()
        )));
    }
    Ok(line)
}
