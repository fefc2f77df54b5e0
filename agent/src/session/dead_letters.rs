//! Asks an instance about its dead letters and sends the answer up. A node that does not answer is
//! an answer too.

use std::{sync::Arc, time::Duration};

use edgeflow_proto::v1::{
    AgentMessage, DeadLettersAnswer, DeadLettersOf, DeadLettersReport, agent_message,
};
use tokio::sync::mpsc;
use tonic::Code;

use super::{Context, node};

/// Time for a node to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(
    context: Arc<Context>,
    outbound: mpsc::Sender<AgentMessage>,
    command_id: String,
    command: DeadLettersOf,
) {
    let answer = ask(&context, command)
        .await
        .unwrap_or_else(|error| DeadLettersAnswer {
            error,
            ..DeadLettersAnswer::default()
        });
    let report = DeadLettersReport {
        command_id,
        answer: Some(answer),
    };
    let message = AgentMessage {
        message: Some(agent_message::Message::DeadLetters(report)),
    };
    // Without a session nobody waits for it any more.
    let _ = outbound.send(message).await;
}

async fn ask(context: &Context, command: DeadLettersOf) -> Result<DeadLettersAnswer, String> {
    if context.board.get(&command.instance).is_none() {
        return Err("it is not on this device".to_owned());
    }
    let socket = context.paths.control_socket(&command.instance);
    let socket = socket.map_err(|error| error.to_string())?;
    let call = node::dead_letters(&socket, command.ask.unwrap_or_default());
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) if status.code() == Code::Unimplemented => {
            Err("it was built with an SDK that knows no dead letters".to_owned())
        }
        Ok(Err(_)) => Err("it does not run".to_owned()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}
