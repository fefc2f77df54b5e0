//! Questions about dead letters on their way to agents, and the answers. Nothing is kept: the frames
//! and the rules are the nodes'.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeflow_proto::v1::{self, command};
use tokio::sync::oneshot;

use crate::{
    fleet::Fleet,
    service::{Service, ServiceError},
};

/// Time for an agent to answer; a node has less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Instances that one call asks.
const MAX_INSTANCES: usize = 64;
/// Answers that may be waited for at once.
const MAX_WAITING: usize = 1024;

/// The questions that wait for an answer.
#[derive(Debug, Default)]
pub struct DeadLetters {
    waiting: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    device_id: String,
    answer: oneshot::Sender<v1::DeadLettersAnswer>,
}

/// An instance that is asked.
#[derive(Debug)]
struct Target {
    device_id: String,
    device_name: String,
    instance: String,
}

impl DeadLetters {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an agent's answer. One that nobody waits for any more is left out.
    pub fn answered(&self, device_id: &str, report: v1::DeadLettersReport) {
        let mut waiting = self.lock();
        let asked = waiting.get(&report.command_id);
        if asked.is_some_and(|asked| asked.device_id == device_id)
            && let Some(asked) = waiting.remove(&report.command_id)
        {
            // The caller may be gone.
            let _ = asked.answer.send(report.answer.unwrap_or_default());
        }
    }

    /// Asks every instance that is meant, all at once.
    pub async fn ask(
        &self,
        service: &Arc<Service>,
        request: v1::DeadLettersRequest,
    ) -> Result<v1::DeadLettersResponse, ServiceError> {
        let targets = targets(service, &request)?;
        let ask = request.ask.unwrap_or_default();
        let asked = targets
            .iter()
            .map(|target| self.ask_one(service.fleet(), target, ask.clone()));
        let answers = futures_util::future::join_all(asked).await;
        let mut response = v1::DeadLettersResponse::default();
        for (target, answer) in targets.into_iter().zip(answers) {
            response.replayed = response.replayed.saturating_add(answer.replayed);
            if !answer.error.is_empty() {
                let Target {
                    instance,
                    device_name,
                    ..
                } = &target;
                let failure = format!("{instance} on {device_name}: {}", answer.error);
                response.failures.push(failure);
            }
            for mut letter in answer.dead_letters {
                letter.instance.clone_from(&target.instance);
                letter.device_name.clone_from(&target.device_name);
                response.dead_letters.push(letter);
            }
        }
        Ok(response)
    }

    async fn ask_one(
        &self,
        fleet: &Fleet,
        target: &Target,
        ask: v1::DeadLettersAsk,
    ) -> v1::DeadLettersAnswer {
        let failed = |error: String| v1::DeadLettersAnswer {
            error,
            ..v1::DeadLettersAnswer::default()
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.len() >= MAX_WAITING {
                return failed("too many questions at once".to_owned());
            }
            let device_id = target.device_id.clone();
            waiting.insert(
                id.clone(),
                Waiting {
                    device_id,
                    answer: sender,
                },
            );
        }
        let of = v1::DeadLettersOf {
            instance: target.instance.clone(),
            ask: Some(ask),
        };
        let command = v1::Command {
            id: id.clone(),
            command: Some(command::Command::DeadLetters(of)),
        };
        let result = match fleet.command(&target.device_id, command) {
            Err(error) => failed(error.to_string()),
            Ok(()) => match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => failed("the device does not answer".to_owned()),
            },
        };
        self.lock().remove(&id);
        result
    }
}

fn targets(
    service: &Arc<Service>,
    request: &v1::DeadLettersRequest,
) -> Result<Vec<Target>, ServiceError> {
    let system = service.system(&request.system)?;
    if !request.node.is_empty() && !system.spec.nodes.contains_key(&request.node) {
        return Err(ServiceError::NotFound(format!(
            "system {} has no node {}",
            request.system, request.node
        )));
    }
    let devices: Vec<_> = if request.device.is_empty() {
        service.world().devices.values().cloned().collect()
    } else {
        vec![service.device(&request.device)?]
    };
    let mut targets = Vec::new();
    for device in devices {
        let meant = device.desired.instances.iter().filter(|instance| {
            let keeps = instance
                .outputs
                .iter()
                .any(|output| output.groups.iter().any(|group| group.qos.keeps_frames()));
            instance.system == request.system
                && if request.node.is_empty() {
                    keeps
                } else {
                    instance.node == request.node
                }
        });
        targets.extend(meant.map(|instance| Target {
            device_id: device.row.id.clone(),
            device_name: device.row.name.clone(),
            instance: instance.id.clone(),
        }));
    }
    targets.truncate(MAX_INSTANCES);
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_device_that_was_asked_may_answer() {
        let letters = DeadLetters::default();
        let (sender, mut answer) = oneshot::channel();
        let asked = Waiting {
            device_id: "one".to_owned(),
            answer: sender,
        };
        letters.lock().insert("id".to_owned(), asked);
        let report = v1::DeadLettersReport {
            command_id: "id".to_owned(),
            answer: Some(v1::DeadLettersAnswer {
                replayed: 1,
                ..v1::DeadLettersAnswer::default()
            }),
        };
        letters.answered("two", report.clone());
        assert!(answer.try_recv().is_err());
        letters.answered("one", report.clone());
        assert_eq!(answer.try_recv().map(|answer| answer.replayed), Ok(1));
        // A second answer, or one to nothing, is left out.
        letters.answered("one", report);
        assert!(letters.lock().is_empty());
    }
}
