//! Keeps one subscription alive while somebody looks: asks the agent, asks again after it was
//! away, and says why there is no picture.

use std::{sync::Arc, time::Duration};

use edgeflow_proto::v1::{self, InstancePhase, command};
use tokio::time::{Instant, timeout};

use super::{Entry, Problem, PushState, Views};

/// Time for the agent to begin after it was asked.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that starts or restarts gets this long before its absence is shown.
const START_GRACE: Duration = Duration::from_secs(2);
/// How often a node that starts is looked at.
const START_POLL: Duration = Duration::from_millis(50);
/// Pause before asking again.
const RETRY: Duration = Duration::from_secs(1);

const NOT_RUNNING: &str = "not_running";

pub(super) async fn drive(views: Arc<Views>, entry: Arc<Entry>) {
    let work = async {
        loop {
            if let Err(problem) = subscribe(&views, &entry).await {
                entry.show_problem(problem);
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = entry.ended.cancelled() => {}
    }
}

/// Removes the subscription at both ends, however the turn ends.
struct Turn<'a> {
    views: &'a Views,
    entry: &'a Entry,
    id: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.views.lock().commands.remove(&self.id);
        let stop = v1::Command {
            id: self.id.clone(),
            command: Some(command::Command::StopView(v1::StopView {})),
        };
        // An agent that is gone has stopped by itself.
        let _ = self
            .views
            .service
            .fleet()
            .command(&self.entry.key.device_id, stop);
    }
}

async fn subscribe(views: &Views, entry: &Arc<Entry>) -> Result<(), Problem> {
    wait_for_start(views, entry).await?;
    let mut push = entry.push.subscribe();
    entry.push.send_replace(PushState::Expected);
    let turn = Turn {
        views,
        entry,
        id: uuid::Uuid::new_v4().simple().to_string(),
    };
    views
        .lock()
        .commands
        .insert(turn.id.clone(), Arc::clone(entry));
    let start = v1::Command {
        id: turn.id.clone(),
        command: Some(command::Command::StartView(v1::StartView {
            instance: entry.key.instance.clone(),
            port: entry.key.port.clone(),
        })),
    };
    views
        .service
        .fleet()
        .command(&entry.key.device_id, start)
        .map_err(|error| problem("offline", error.to_string()))?;
    let attached = push.wait_for(|state| *state != PushState::Expected);
    if timeout(ATTACH_TIMEOUT, attached).await.is_err() {
        return Err(problem(
            "silent",
            "the device did not answer the request for a live view".to_owned(),
        ));
    }
    // The sender lives in the entry.
    let _ = push.wait_for(|state| *state == PushState::Ended).await;
    check(views, entry)
}

async fn wait_for_start(views: &Views, entry: &Entry) -> Result<(), Problem> {
    let deadline = Instant::now() + START_GRACE;
    loop {
        match check(views, entry) {
            Err(problem) if problem.reason == NOT_RUNNING && Instant::now() < deadline => {
                tokio::time::sleep(START_POLL).await;
            }
            outcome => return outcome,
        }
    }
}

fn check(views: &Views, entry: &Entry) -> Result<(), Problem> {
    let live = views.service.fleet().live(&entry.key.device_id);
    let world = views.service.world();
    let Some(device) = world.devices.get(&entry.key.device_id) else {
        return Err(problem("gone", "the device was deleted".to_owned()));
    };
    if !live.online {
        let text = format!("device {} is offline", device.row.name);
        return Err(problem("offline", text));
    }
    if !device
        .desired
        .instances
        .iter()
        .any(|instance| instance.id == entry.key.instance)
    {
        let text = format!(
            "{} no longer runs on {}",
            entry.key.instance, device.row.name
        );
        return Err(problem("gone", text));
    }
    let instance = live.status.as_ref().and_then(|status| {
        status
            .instances
            .iter()
            .find(|instance| instance.id == entry.key.instance)
            .cloned()
    });
    match instance {
        Some(instance)
            if matches!(
                instance.phase(),
                InstancePhase::Ready | InstancePhase::Starting
            ) =>
        {
            Ok(())
        }
        Some(instance) => {
            let why = if instance.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", instance.reason)
            };
            Err(problem(
                NOT_RUNNING,
                format!("{} is not running{why}", instance.node),
            ))
        }
        None => Err(problem(
            NOT_RUNNING,
            format!("{} is not started yet", entry.key.instance),
        )),
    }
}

fn problem(reason: &'static str, message: String) -> Problem {
    Problem::new(reason, message)
}
