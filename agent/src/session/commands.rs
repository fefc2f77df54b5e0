//! What the control plane asks for in passing: live views and logs. Each runs in a task of its own
//! over the bulk connection and ends with the session at the latest.

use std::{collections::BTreeMap, sync::Arc};

use edgeflow_proto::v1::{Command, command};
use tokio::task::AbortHandle;
use tonic::transport::Channel;

use super::{Context, push_logs, push_view};

/// Views and log readers at once.
const MAX_RUNNING: usize = 64;

/// The running commands; dropping them ends them.
pub(super) struct Commands {
    context: Arc<Context>,
    bulk: Channel,
    running: BTreeMap<String, AbortHandle>,
}

impl Commands {
    pub(super) fn new(context: Arc<Context>, bulk: Channel) -> Self {
        Self {
            context,
            bulk,
            running: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, command: Command) {
        self.running.retain(|_, task| !task.is_finished());
        let id = command.id;
        match command.command {
            Some(command::Command::StopView(_) | command::Command::StopLogs(_)) => {
                if let Some(task) = self.running.remove(&id) {
                    task.abort();
                }
            }
            Some(_) if self.running.len() >= MAX_RUNNING => {
                tracing::warn!(id, "too many views and log readers, this one is left out");
            }
            Some(_) if self.running.contains_key(&id) => {}
            Some(command::Command::StartView(view)) => {
                let (context, bulk) = (Arc::clone(&self.context), self.bulk.clone());
                let run = push_view::run(context, bulk, id.clone(), view);
                self.running.insert(id, tokio::spawn(run).abort_handle());
            }
            Some(command::Command::StartLogs(logs)) => {
                let (context, bulk) = (Arc::clone(&self.context), self.bulk.clone());
                let run = push_logs::run(context, bulk, id.clone(), logs);
                self.running.insert(id, tokio::spawn(run).abort_handle());
            }
            None => tracing::debug!(id, "a command of a newer control plane is left out"),
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}
