//! Frames of a stream that their consumer died with too often. The consumer's side counts and takes
//! such an entry out of the group; the entry stays until the producer's side has put the frame aside,
//! where its other dead letters are.
//!
//! The state of a stream has a field `deaths:ENTRY` while an entry is suspected, and `clean:CONSUMER`
//! after a consumer has ended by will. The list `KEY:dead` has `ENTRY DELIVERIES` of what is dead.

use redis::streams::{StreamId, StreamRangeReply};
use redis::{Connection, RedisError};

use super::batch::Transaction;
use super::{BrokerError, entry, state_key};
use crate::frame::{Frame, Limits};

/// The list of what is dead in a stream.
pub(super) fn list_key(key: &str) -> String {
    format!("{key}:dead")
}

fn deaths_field(entry: &str) -> String {
    format!("deaths:{entry}")
}

/// A consumer has ended by will: what it leaves is not to blame.
pub(super) fn note_clean_end(
    connection: &mut Connection,
    key: &str,
    consumer: &str,
) -> Result<(), RedisError> {
    redis::cmd("HSET")
        .arg(state_key(key))
        .arg(format!("clean:{consumer}"))
        .arg(1)
        .exec(connection)
}

/// Whether the consumer's last life ended by will. Asked once in each life.
pub(super) fn take_clean_end(
    connection: &mut Connection,
    key: &str,
    consumer: &str,
) -> Result<bool, RedisError> {
    let removed: u32 = redis::cmd("HDEL")
        .arg(state_key(key))
        .arg(format!("clean:{consumer}"))
        .query(connection)?;
    Ok(removed > 0)
}

/// A consumer died, probably with this entry in its loop. How often that has happened.
pub(super) fn count_death(
    connection: &mut Connection,
    key: &str,
    entry: &str,
) -> Result<u32, RedisError> {
    redis::cmd("HINCRBY")
        .arg(state_key(key))
        .arg(deaths_field(entry))
        .arg(1)
        .query(connection)
}

/// The consumer is done with an entry that was suspected.
pub(super) fn forget_deaths(transaction: &mut Transaction, key: &str, entry: &str) {
    let (state, field) = (state_key(key), deaths_field(entry));
    transaction.command(&[b"HDEL", state.as_bytes(), field.as_bytes()]);
}

/// Gives an entry up: nobody is given it any more, and the producer's side will find it.
pub(super) fn bury(
    connection: &mut Connection,
    key: &str,
    group: &str,
    entry: &str,
    deliveries: u32,
) -> Result<(), RedisError> {
    let mut transaction = Transaction::new(0);
    let note = format!("{entry} {deliveries}");
    let list = list_key(key);
    transaction.command(&[b"XACK", key.as_bytes(), group.as_bytes(), entry.as_bytes()]);
    transaction.command(&[b"RPUSH", list.as_bytes(), note.as_bytes()]);
    forget_deaths(&mut transaction, key, entry);
    transaction.run(connection)?;
    Ok(())
}

/// A dead entry with its frame.
#[derive(Debug)]
pub(super) struct Dead {
    /// Names it in the list.
    pub(super) note: String,
    entry: String,
    blob: Option<Vec<u8>>,
    pub(super) deliveries: u32,
    /// `None`: it is no frame, or gone.
    pub(super) frame: Option<Frame>,
}

/// The oldest dead entry of a stream. Foreign bytes: anybody may write to a broker.
pub(super) fn oldest(
    connection: &mut Connection,
    key: &str,
    limits: &Limits,
) -> Result<Option<Dead>, BrokerError> {
    let note: Option<String> = redis::cmd("LINDEX")
        .arg(list_key(key))
        .arg(0)
        .query(connection)?;
    let Some(note) = note else {
        return Ok(None);
    };
    let (entry, deliveries) = note.split_once(' ').unwrap_or((&note, ""));
    let mut dead = Dead {
        entry: entry.to_owned(),
        blob: None,
        deliveries: deliveries.parse().unwrap_or(0),
        frame: None,
        note: String::new(),
    };
    dead.frame = find(connection, key, &mut dead, limits)?;
    dead.note = note;
    Ok(Some(dead))
}

fn find(
    connection: &mut Connection,
    key: &str,
    dead: &mut Dead,
    limits: &Limits,
) -> Result<Option<Frame>, BrokerError> {
    if !is_entry_id(&dead.entry) {
        return Ok(None);
    }
    let found: StreamRangeReply = redis::cmd("XRANGE")
        .arg(key)
        .arg(&dead.entry)
        .arg(&dead.entry)
        .query(connection)?;
    let Some(mut item): Option<StreamId> = found.ids.into_iter().next() else {
        return Ok(None);
    };
    dead.blob = entry::blob_key(&item).map(<[u8]>::to_vec);
    let body: Option<Vec<u8>> = match &dead.blob {
        Some(blob) => redis::cmd("GET").arg(blob).query(connection)?,
        None => None,
    };
    match entry::parse(&mut item, body, limits) {
        Ok((frame, _)) => Ok(Some(frame)),
        Err(reason) => {
            tracing::warn!(stream = key, entry = dead.entry, %reason, "a dead entry is no frame; discarded");
            Ok(None)
        }
    }
}

fn is_entry_id(text: &str) -> bool {
    let parts = text.split_once('-');
    parts.is_some_and(|(ms, n)| ms.parse::<u64>().is_ok() && n.parse::<u64>().is_ok())
}

/// Ends a dead entry. `false`: somebody else has done that.
pub(super) fn remove(
    connection: &mut Connection,
    key: &str,
    dead: &Dead,
) -> Result<bool, BrokerError> {
    let (list, state) = (list_key(key), state_key(key));
    let mut transaction = Transaction::new(0);
    transaction.command(&[b"LREM", list.as_bytes(), b"1", dead.note.as_bytes()]);
    if is_entry_id(&dead.entry) {
        transaction.command(&[b"XDEL", key.as_bytes(), dead.entry.as_bytes()]);
    }
    if let Some(blob) = &dead.blob {
        transaction.command(&[b"DEL", blob]);
    }
    if let Some(frame) = &dead.frame {
        let less = format!("-{}", frame.encoded_len());
        transaction.command(&[b"HINCRBY", state.as_bytes(), b"bytes", less.as_bytes()]);
    }
    let answers = transaction.run(connection)?;
    Ok(answers.first() != Some(&redis::Value::Int(0)))
}
