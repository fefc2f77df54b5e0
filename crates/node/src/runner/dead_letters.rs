//! Answers what an agent asks about the dead letters of a node's outputs. The files are the
//! publishers'.

use edgeflow_proto::v1::{DeadLetter, DeadLettersAnswer, DeadLettersAsk};
use edgeflow_stream::publisher::{self, DeadLetterError, PublisherHandle};

/// Dead letters in one answer at most.
const MAX_LISTED: usize = 200;
/// Dead letters that one request sends again at most.
const MAX_REPLAYED: usize = 1000;

pub(super) fn answer(outputs: &[PublisherHandle], ask: &DeadLettersAsk) -> DeadLettersAnswer {
    let mut answer = DeadLettersAnswer::default();
    let done = replay(outputs, ask, &mut answer.replayed);
    let listed = done.and_then(|()| list(outputs).map_err(|error| chain(&error)));
    match listed {
        Ok(letters) => answer.dead_letters = letters.into_iter().map(message).collect(),
        Err(error) => answer.error = error,
    }
    answer
}

fn list(outputs: &[PublisherHandle]) -> Result<Vec<publisher::DeadLetter>, DeadLetterError> {
    let mut letters = Vec::new();
    for output in outputs {
        letters.extend(output.dead_letters()?);
    }
    letters.truncate(MAX_LISTED);
    Ok(letters)
}

fn replay(
    outputs: &[PublisherHandle],
    ask: &DeadLettersAsk,
    replayed: &mut u32,
) -> Result<(), String> {
    let ids: Vec<String> = if ask.replay_all {
        let letters = list(outputs).map_err(|error| chain(&error))?;
        letters.into_iter().map(|letter| letter.id).collect()
    } else {
        ask.replay_ids.clone()
    };
    for id in ids.iter().take(MAX_REPLAYED) {
        *replayed += u32::from(replay_one(outputs, id)?);
    }
    Ok(())
}

fn replay_one(outputs: &[PublisherHandle], id: &str) -> Result<bool, String> {
    for output in outputs {
        match output.replay_dead_letter(id) {
            Ok(true) => return Ok(true),
            Ok(false) => {
                return Err(format!(
                    "the link of {id} has no room now: try again when its consumer has caught up"
                ));
            }
            Err(DeadLetterError::Unknown(_)) => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    Err(format!("there is no dead letter {id}"))
}

fn message(letter: publisher::DeadLetter) -> DeadLetter {
    let header = &letter.header;
    DeadLetter {
        at_unix_ms: letter.at_ns / 1_000_000,
        capture_unix_ms: header.capture_ns / 1_000_000,
        deliveries: letter.deliveries,
        epoch: header.epoch,
        sequence: header.seq,
        codec: header.codec.name().to_owned(),
        bytes: letter.bytes,
        id: letter.id,
        link: letter.link,
        group: letter.group,
        // Whoever asks knows.
        instance: String::new(),
        device_name: String::new(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    edgeflow_runtime::logging::chain(error)
}
