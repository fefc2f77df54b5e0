//! Parameters of nodes as shown to people and programs: what is declared, what was set, and how far
//! the copies of a node are with it.

use edgeflow_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::{
    cells,
    output::{Row, colour::Style, table::Cell, time::rfc3339},
};

/// A parameter as its node declares it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ParameterView {
    pub(crate) name: String,
    /// bool | integer | number | text | resolution | text_list | number_map | model | choice
    pub(crate) kind: String,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) options: Vec<String>,
    pub(crate) default: Value,
    pub(crate) required: bool,
    /// A running node takes a new value.
    pub(crate) live: bool,
    pub(crate) summary: String,
}

/// A value that was set on the running system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OverrideView {
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) durable: bool,
    pub(crate) set_at: Option<String>,
}

/// The result of `edgeflow set`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SetView {
    pub(crate) system: String,
    pub(crate) node: String,
    pub(crate) etag: String,
    /// A copy refused the values, and they were taken back.
    pub(crate) withdrawn: bool,
    pub(crate) outcomes: Vec<OutcomeView>,
    /// What is set on the node now.
    pub(crate) overrides: Vec<OverrideView>,
}

/// How far one copy of the node is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OutcomeView {
    pub(crate) instance: String,
    pub(crate) device: String,
    pub(crate) online: bool,
    /// applied | pending | refused | unknown
    pub(crate) state: &'static str,
    pub(crate) message: String,
}

/// JSON of the protocol; text that is none stays a text.
pub(crate) fn json(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

impl From<v1::Parameter> for ParameterView {
    fn from(parameter: v1::Parameter) -> Self {
        Self {
            default: json(&parameter.default_json),
            name: parameter.name,
            kind: parameter.kind,
            min: parameter.min,
            max: parameter.max,
            options: parameter.options,
            required: parameter.required,
            live: parameter.live,
            summary: parameter.summary,
        }
    }
}

impl From<v1::Override> for OverrideView {
    fn from(set: v1::Override) -> Self {
        Self {
            value: json(&set.value_json),
            name: set.name,
            durable: set.durable,
            set_at: rfc3339(set.set_unix_ms),
        }
    }
}

impl OverrideView {
    /// How long it lasts.
    pub(crate) fn until(&self) -> &'static str {
        if self.durable {
            "it is reset"
        } else {
            "the next apply"
        }
    }
}

impl SetView {
    pub(crate) fn new(system: &str, node: &str, response: v1::SetParamsResponse) -> Self {
        let now = response.system.unwrap_or_default();
        let overrides = now.nodes.into_iter().filter(|one| one.name == node);
        Self {
            system: system.to_owned(),
            node: node.to_owned(),
            etag: now.etag,
            withdrawn: response.withdrawn,
            outcomes: response
                .outcomes
                .into_iter()
                .map(OutcomeView::from)
                .collect(),
            overrides: overrides
                .flat_map(|one| one.overrides)
                .map(OverrideView::from)
                .collect(),
        }
    }

    /// The copies in a state.
    pub(crate) fn in_state<'a>(
        &'a self,
        state: &'a str,
    ) -> impl Iterator<Item = &'a OutcomeView> + 'a {
        self.outcomes.iter().filter(move |one| one.state == state)
    }
}

impl From<v1::ParamsOutcome> for OutcomeView {
    fn from(outcome: v1::ParamsOutcome) -> Self {
        Self {
            state: match outcome.progress() {
                v1::ParamsProgress::Applied => "applied",
                v1::ParamsProgress::Pending => "pending",
                v1::ParamsProgress::Refused => "refused",
                v1::ParamsProgress::Unspecified => "unknown",
            },
            instance: outcome.instance,
            device: outcome.device_name,
            online: outcome.online,
            message: outcome.message,
        }
    }
}

impl Row for OutcomeView {
    fn name(&self) -> String {
        self.instance.clone()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["INSTANCE", "DEVICE", "PARAMETERS", "MESSAGE"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let style = match self.state {
            "applied" => Style::Good,
            "refused" => Style::Bad,
            _ => Style::Warn,
        };
        cells![
            self.instance.as_str(),
            self.device.as_str(),
            Cell::styled(self.state, style),
            self.message.as_str(),
        ]
    }
}
