//! `broker:` of a system: a word, or where a server is.

use super::Decoder;
use super::fields::{Fields, Shape};
use crate::{
    broker::{self, Broker},
    suggest,
    yaml::{Node, Value},
};

/// Fields of `spec.broker`.
const BROKER: Shape = Shape {
    what: "`broker`",
    known: &["redis", "password_file"],
    unsupported: &[("password", "name a file on the device in `password_file`")],
    elsewhere: &[],
};

/// `auto`: links use one where they need it, which no link does while all stay on one device.
const WORDS: &[&str] = &["auto", "none"];

impl Decoder<'_> {
    pub(super) fn broker(&mut self, spec: &Fields<'_>) -> Option<Broker> {
        let node = spec.get("broker")?;
        if !matches!(node.value, Value::Mapping(_)) {
            self.broker_word(node);
            return None;
        }
        let fields = self.fields(node, &BROKER)?;
        let address = self.required(&fields, "redis")?;
        let redis = self.text(address, "redis")?.to_owned();
        if let Err(error) = broker::check_address(&redis) {
            self.error(
                "invalid-broker",
                address.mark,
                format!("the address of the broker can't be used: {error}"),
                "an address looks like `redis://broker.local:6379` or `unix:///run/redis.sock`",
            );
            return None;
        }
        let password_file = match fields.get("password_file") {
            Some(node) => Some(self.text(node, "password_file")?.into()),
            None => None,
        };
        Some(Broker {
            redis,
            password_file,
        })
    }

    fn broker_word(&mut self, node: &Node) {
        let Some(word) = self.text(node, "broker") else {
            return;
        };
        if !WORDS.contains(&word) {
            let hint = match suggest::nearest(word, WORDS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write `auto`, `none` or `{redis: redis://HOST:6379}`".to_owned(),
            };
            self.error(
                "invalid-broker",
                node.mark,
                format!("`{word}` is no broker"),
                hint,
            );
        }
    }
}
