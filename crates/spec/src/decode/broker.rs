//! `broker:` of a system: a word, or where a server is.

use super::Decoder;
use super::fields::{Fields, Shape};
use crate::{
    broker::{self, Broker},
    qos::{LinkQos, Via},
    source::Mark,
    suggest,
    yaml::{Node, Value},
};

/// The option of a link.
pub(super) const VIA: &str = "via";

/// Fields of `spec.broker`.
const BROKER: Shape = Shape {
    what: "`broker`",
    known: &["redis", "password_file", "ca_file"],
    unsupported: &[("password", "name a file on the device in `password_file`")],
    elsewhere: &[],
};

/// `auto`: a link that asks for it (`via=broker`) goes through the device's own one. `none`: no link
/// may ask.
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
        let broker = Broker {
            redis,
            password_file,
            ca_file: match fields.get("ca_file") {
                Some(node) => Some(self.text(node, "ca_file")?.into()),
                None => None,
            },
        };
        if let Some(node) = fields.get("ca_file").filter(|_| !broker.is_tls()) {
            self.error(
                "invalid-broker",
                node.mark,
                "`ca_file` has no meaning without TLS",
                "write the address as `rediss://…`, or remove `ca_file`",
            );
        }
        Some(broker)
    }

    /// Reads `via`, which says that a link goes through a broker; leaves other options alone.
    pub(super) fn via(&mut self, qos: &mut LinkQos, values: &[(&str, &str, Mark)]) {
        let Some((_, text, mark)) = values.iter().find(|(name, ..)| *name == VIA) else {
            return;
        };
        let words = [Via::Auto, Via::Broker, Via::Socket].map(|via| (via.name(), via));
        let Some(via) = self.word(text, *mark, VIA, &words) else {
            return;
        };
        if via == Via::Broker && self.no_broker {
            self.error(
                "no-broker",
                *mark,
                "the link asks for a broker, and the system says `broker: none`",
                "write `broker: auto`, name a server, or remove `via`",
            );
        }
        qos.via = via;
    }

    fn broker_word(&mut self, node: &Node) {
        let Some(word) = self.text(node, "broker") else {
            return;
        };
        self.no_broker = word == "none";
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
