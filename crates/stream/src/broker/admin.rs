//! What the owner of a broker, or of streams in it, does: looks whether it answers, sets its limit,
//! ends it, and removes streams whose producer is gone. Never touches a stream that is in use.

use edgeflow_spec::broker::Broker;
use redis::Connection;
use redis::streams::StreamRangeReply;

use super::batch::Transaction;
use super::stream::create_group;
use super::{ANSWER_TIMEOUT, BrokerError, connect, dead, entry, state_key};
use crate::frame::Limits;

/// Entries that are taken from a stream together.
const MOVE_BATCH: usize = 16;

/// Whether it answers.
pub fn ping(broker: &Broker) -> Result<(), BrokerError> {
    let mut connection = connect(broker, ANSWER_TIMEOUT)?;
    Ok(redis::cmd("PING").exec(&mut connection)?)
}

/// Sets how much memory it may take.
pub fn limit_memory(broker: &Broker, bytes: u64) -> Result<(), BrokerError> {
    let mut connection = connect(broker, ANSWER_TIMEOUT)?;
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg("maxmemory").arg(bytes);
    Ok(command.exec(&mut connection)?)
}

/// Asks it to write what it has and to end. The connection is closed instead of an answer.
pub fn shut_down(broker: &Broker) -> Result<(), BrokerError> {
    let mut connection = connect(broker, ANSWER_TIMEOUT)?;
    let ended = redis::cmd("SHUTDOWN").arg("SAVE").exec(&mut connection);
    match ended {
        Err(error) if error.is_connection_dropped() || error.is_timeout() => Ok(()),
        ended => Ok(ended?),
    }
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Frames that went to the stream of another replica.
    pub moved: u64,
    /// Frames that nobody will read.
    pub dropped: u64,
}

/// Removes a stream whose producer is gone, and what belongs to it. What nobody has read yet goes to
/// the end of `heir`, the stream of the same link from another replica, to be read by `group`;
/// without one it is dropped.
pub fn remove_stream(
    broker: &Broker,
    key: &str,
    group: &str,
    heir: Option<&str>,
) -> Result<Removed, BrokerError> {
    let mut connection = connect(broker, ANSWER_TIMEOUT)?;
    let mut removed = Removed::default();
    if let Some(heir) = heir {
        create_group(&mut connection, heir, group)?;
    }
    loop {
        let entries: StreamRangeReply = redis::cmd("XRANGE")
            .arg(&[key, "-", "+", "COUNT"])
            .arg(MOVE_BATCH)
            .query(&mut connection)?;
        if entries.ids.is_empty() {
            break;
        }
        let count = entries.ids.len() as u64;
        match heir {
            Some(heir) => {
                pass_on(&mut connection, key, heir, &entries)?;
                removed.moved += count;
            }
            None => {
                drop_entries(&mut connection, key, &entries)?;
                removed.dropped += count;
            }
        }
    }
    redis::cmd("DEL")
        .arg(&[key, &state_key(key), &dead::list_key(key)])
        .exec(&mut connection)?;
    Ok(removed)
}

/// Adds entries to another stream as they are. Their payloads keep their keys, and go with them.
fn pass_on(
    connection: &mut Connection,
    key: &str,
    heir: &str,
    entries: &StreamRangeReply,
) -> Result<(), BrokerError> {
    let mut transaction = Transaction::new(0);
    let mut bytes = 0;
    for entry in &entries.ids {
        let mut add: Vec<&[u8]> = vec![b"XADD", heir.as_bytes(), b"*"];
        for (field, value) in &entry.map {
            if let redis::Value::BulkString(value) = value {
                add.extend([field.as_bytes(), value]);
            }
        }
        if add.len() > 3 {
            transaction.command(&add);
        }
        transaction.command(&[b"XDEL", key.as_bytes(), entry.id.as_bytes()]);
        bytes += entry::encoded_len(entry, &Limits::default());
    }
    let state = state_key(heir);
    let bytes = bytes.to_string();
    transaction.command(&[b"HINCRBY", state.as_bytes(), b"bytes", bytes.as_bytes()]);
    transaction.run(connection)?;
    Ok(())
}

fn drop_entries(
    connection: &mut Connection,
    key: &str,
    entries: &StreamRangeReply,
) -> Result<(), BrokerError> {
    let mut transaction = Transaction::new(0);
    for entry in &entries.ids {
        transaction.command(&[b"XDEL", key.as_bytes(), entry.id.as_bytes()]);
        if let Some(blob) = entry::blob_key(entry) {
            transaction.command(&[b"DEL", blob]);
        }
    }
    transaction.run(connection)?;
    Ok(())
}
