//! What the control plane asks for in passing: live views, logs and dead letters. Each runs in a task of its own
//! over the bulk connection and ends with the session at the latest.

use std::{collections::BTreeMap, sync::Arc};

use edgeflow_proto::v1::{AgentMessage, Command, command};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::transport::Channel;

use super::{Context, dead_letters, push_logs, push_view};

/// Views and log readers at once.
const MAX_RUNNING: usize = 64;

/// The running commands; dropping them ends them.
pub(super) struct Commands {
    context: Arc<Context>,
    bulk: Channel,
    outbound: mpsc::Sender<AgentMessage>,
    running: BTreeMap<String, AbortHandle>,
}

impl Commands {
    pub(super) fn new(
        context: Arc<Context>,
        bulk: Channel,
        outbound: mpsc::Sender<AgentMessage>,
    ) -> Self {
        Self {
            context,
            bulk,
            outbound,
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
                tracing::warn!(id, "too many commands at once, this one is left out");
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
            Some(command::Command::DeadLetters(of)) => {
                let (context, outbound) = (Arc::clone(&self.context), self.outbound.clone());
                let run = dead_letters::run(context, outbound, id.clone(), of);
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
