//! Several commands in one round trip. Packs each payload once, where a pipeline of the client packs
//! it twice, and stops at the first answer that does not come: a client's pipeline waits for every
//! single one, and with it the end of a node would wait.

use redis::{Connection, RedisError, RedisResult, Value};

/// Room for the commands around one payload.
const OVERHEAD: usize = 512;

/// Commands that go out as one transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    packed: Vec<u8>,
    commands: usize,
}

impl Transaction {
    /// An empty one, with room for `payload` bytes.
    pub(super) fn new(payload: usize) -> Self {
        let mut this = Self {
            packed: Vec::with_capacity(payload + OVERHEAD),
            commands: 0,
        };
        this.pack(&[b"MULTI"]);
        this
    }

    /// Adds a command.
    pub(super) fn command(&mut self, words: &[&[u8]]) {
        self.pack(words);
        self.commands += 1;
    }

    fn pack(&mut self, words: &[&[u8]]) {
        self.number(b'*', words.len());
        for word in words {
            self.number(b'$', word.len());
            self.packed.extend_from_slice(word);
            self.packed.extend_from_slice(b"\r\n");
        }
    }

    fn number(&mut self, kind: u8, number: usize) {
        self.packed.push(kind);
        self.packed.extend_from_slice(number.to_string().as_bytes());
        self.packed.extend_from_slice(b"\r\n");
    }

    /// Carries all of them out, or none. Their answers, in order. After an error of the connection
    /// it is of no more use.
    pub(super) fn run(mut self, connection: &mut Connection) -> RedisResult<Vec<Value>> {
        self.pack(&[b"EXEC"]);
        connection.send_packed_command(&self.packed)?;
        let mut refused: Option<RedisError> = None;
        // `MULTI`, then `QUEUED` for each.
        for _ in 0..=self.commands {
            if let Err(error) = connection.recv_response()?.extract_error() {
                refused.get_or_insert(error);
            }
        }
        let answers = connection.recv_response()?;
        if let Some(error) = refused {
            return Err(error);
        }
        match answers.extract_error()? {
            Value::Array(answers) => Ok(answers),
            other => Err(unexpected(&other)),
        }
    }
}

/// An answer that makes no sense.
pub(super) fn unexpected(value: &Value) -> RedisError {
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    RedisError::from((
        redis::ErrorKind::UnexpectedReturnType,
        "the broker answered with",
        kind.to_owned(),
    ))
}
