//! Streams that links of this device have in a broker. When a link or a replica is gone its stream
//! is removed: what nobody has read yet goes to another replica of the same node, if there is one.
//! The list of streams is on disk, so that none is forgotten over a restart.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use edgeflow_spec::{Assignment, broker::Broker};
use edgeflow_stream::broker::{admin, stream_key};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    events::{Event, Severity},
    files,
};

/// Streams that are remembered; more than all links of a device. Those beyond stay in their broker.
const MAX_STREAMS: usize = 4096;
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Pause after a broker could not be reached.
const RETRY: Duration = Duration::from_secs(30);
/// How often it is looked whether old instances are gone.
const SETTLE_POLL: Duration = Duration::from_millis(500);

/// A stream, by key in its broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stream {
    broker: Broker,
    key: String,
    instance: String,
    system: String,
    node: String,
    link: String,
    group: String,
    /// Every frame has to arrive: not realtime.
    keeps_frames: bool,
}

impl Stream {
    fn name(&self) -> (String, String) {
        (self.broker.redis.clone(), self.key.clone())
    }

    /// Whether it may take over what the other has: the same link, of the same node.
    fn succeeds(&self, other: &Self) -> bool {
        self.broker == other.broker
            && self.system == other.system
            && (&self.node, &self.link) == (&other.node, &other.link)
    }
}

type Streams = BTreeMap<(String, String), Stream>;

/// Watches over them until the token is cancelled.
pub(super) async fn run(mut context: Context, token: CancellationToken) {
    let file = context.shared.paths.streams();
    let mut known = load(&file);
    while !token.is_cancelled() {
        let pause = round(&context, &file, &mut known).await;
        tokio::select! {
            () = context.changed(), if pause.is_none() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            () = token.cancelled() => {}
        }
    }
}

/// Removes what is gone. How long to wait before the rest is tried.
async fn round(context: &Context, file: &Path, known: &mut Streams) -> Option<Duration> {
    let assignment = context.ledger.current()?.assignment.clone();
    let own = context.shared.broker.address();
    let device = context.shared.device.borrow().clone();
    let wanted = wanted(&assignment, &device, &own);
    let before = known.len();
    for (name, stream) in &wanted {
        known.insert(name.clone(), stream.clone());
    }
    // Those of the device's own broker went with it.
    let has_own = super::memory(&assignment).is_some() || context.shared.broker.is_running();
    known.retain(|name, stream| wanted.contains_key(name) || has_own || stream.broker != own);
    while known.len() > MAX_STREAMS {
        known.pop_first();
    }
    if known.len() != before {
        save(context, file, known);
    }
    let gone: Vec<Stream> = known
        .iter()
        .filter(|(name, _)| !wanted.contains_key(*name))
        .map(|(_, stream)| stream.clone())
        .collect();
    if gone.is_empty() {
        return None;
    }
    if !is_settled(context, &assignment) {
        return Some(SETTLE_POLL);
    }
    for stream in gone {
        let heir = heir(&stream, &wanted);
        let name = stream.name();
        if !remove(context, stream, heir).await {
            return Some(RETRY);
        }
        known.remove(&name);
        save(context, file, known);
    }
    None
}

/// Whether all that runs is of this assignment: nobody reads or writes an old stream.
fn is_settled(context: &Context, assignment: &Assignment) -> bool {
    let views = context.shared.board.snapshot();
    views.iter().all(|view| {
        let mut instances = assignment.instances.iter();
        instances.any(|it| it.id == view.id && it.revision == view.revision)
    })
}

async fn remove(context: &Context, stream: Stream, heir: Option<String>) -> bool {
    let removed = stream.clone();
    let done = tokio::task::spawn_blocking(move || {
        admin::remove_stream(
            &removed.broker,
            &removed.key,
            &removed.group,
            heir.as_deref(),
        )
    });
    match done.await {
        Ok(Ok(admin::Removed { moved, dropped })) => {
            tracing::info!(
                stream = stream.key,
                moved,
                dropped,
                "the stream of a link that is gone was removed"
            );
            if dropped > 0 && stream.keeps_frames {
                let message = format!(
                    "{dropped} frames of link {} from {} were in the broker when the link was removed, and were removed with it",
                    stream.link, stream.instance
                );
                let mut event = Event::new(Severity::Warning, "FramesRemoved", message);
                event.system = stream.system;
                event.node = stream.node;
                context.shared.events.add(event);
            }
            true
        }
        Ok(Err(error)) => {
            let reason = edgeflow_runtime::logging::chain(&error);
            tracing::debug!(
                stream = stream.key,
                reason,
                "the stream of a link that is gone can't be removed yet"
            );
            false
        }
        Err(error) => {
            tracing::error!(%error, "removing a stream failed");
            false
        }
    }
}

/// The stream that takes over: of the same instance under another name, else of the first replica.
/// Old realtime frames are of no use to anybody.
fn heir(stream: &Stream, wanted: &Streams) -> Option<String> {
    if !stream.keeps_frames {
        return None;
    }
    let able = || wanted.values().filter(|other| other.succeeds(stream));
    let same = able().find(|other| other.instance == stream.instance);
    let heir = same.or_else(|| able().min_by_key(|other| &other.instance));
    heir.map(|heir| heir.key.clone())
}

/// The streams of an assignment.
fn wanted(assignment: &Assignment, device: &str, own: &Broker) -> Streams {
    let mut streams = Streams::new();
    for instance in &assignment.instances {
        for group in instance.outputs.iter().flat_map(|output| &output.groups) {
            let own = Some(own).filter(|_| group.qos.wants_broker());
            let Some(broker) = instance.broker.as_ref().or(own) else {
                continue;
            };
            let stream = Stream {
                broker: broker.clone(),
                key: stream_key(device, &instance.id, &group.link),
                instance: instance.id.clone(),
                system: instance.system.clone(),
                node: instance.node.clone(),
                link: group.link.clone(),
                group: group.group.clone(),
                keeps_frames: group.qos.keeps_frames(),
            };
            streams.insert(stream.name(), stream);
        }
    }
    streams
}

fn load(file: &Path) -> Streams {
    let bytes = match files::read_bounded(file, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Streams::new(),
        Err(error) => {
            tracing::warn!(%error, "the list of streams can't be read; old ones may stay in the broker");
            return Streams::new();
        }
    };
    let streams: Vec<Stream> = serde_json::from_slice(&bytes).unwrap_or_default();
    streams.into_iter().map(|one| (one.name(), one)).collect()
}

fn save(context: &Context, file: &Path, known: &Streams) {
    let streams: Vec<&Stream> = known.values().collect();
    let bytes = serde_json::to_vec(&streams).unwrap_or_default();
    if let Err(error) = files::write_durable(file, 0o600, &[&bytes]) {
        let text = format!("the list of streams can't be written: {error}; free some space");
        let conditions = &context.shared.conditions;
        conditions.set(crate::conditions::DISK, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(instance: &str, device: &str) -> Stream {
        Stream {
            broker: Broker::at("unix:///s"),
            key: stream_key(device, instance, "a->b"),
            instance: instance.to_owned(),
            system: "s".to_owned(),
            node: "a".to_owned(),
            link: "a->b".to_owned(),
            group: "b".to_owned(),
            keeps_frames: true,
        }
    }

    fn streams(list: &[Stream]) -> Streams {
        list.iter().map(|one| (one.name(), one.clone())).collect()
    }

    #[test]
    fn a_replica_that_is_gone_leaves_its_frames_to_one_that_stays() {
        let wanted = streams(&[stream("s.a.1", "d"), stream("s.a.0", "d")]);
        let gone = stream("s.a.2", "d");
        assert_eq!(
            heir(&gone, &wanted),
            Some("edgeflow:d:s.a.0:a->b".to_owned())
        );
        let renamed = stream("s.a.1", "old-name");
        assert_eq!(
            heir(&renamed, &wanted),
            Some("edgeflow:d:s.a.1:a->b".to_owned())
        );
        let mut other = stream("s.a.0", "d");
        other.link = "a->c".to_owned();
        assert_eq!(heir(&other, &wanted), None);
        let realtime = Stream {
            keeps_frames: false,
            ..gone
        };
        assert_eq!(heir(&realtime, &wanted), None);
    }
}
