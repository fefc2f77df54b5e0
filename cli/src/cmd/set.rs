//! `edgeflow set`: parameters of a node, changed while it runs.

use std::time::Duration;

use clap::Args;
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::{
        self, Format, problems,
        time::{elapsed, parse_duration},
    },
    view::{
        params::{OutcomeView, SetView},
        plan::ProblemView,
    },
};

/// What the client grants the server beyond the wait that it was told.
const GRACE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  edgeflow set entrance detect threshold=0.6            until the next apply
  edgeflow set entrance detect threshold=0.6 --durable  applies keep it
  edgeflow set entrance detect labels=person,car iou=0.5
  edgeflow set entrance detect threshold-               back to the manifest's value

Every copy of the node on every device gets the values, without a restart; a device that is offline
gets them when it is back. They outlive restarts of the node, the agent and the control plane.
Which parameters can change: `live` in docs/system-yaml.md and in `edgeflow describe system -o json`.";

/// Change parameters of a running node
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Set {
    /// System
    system: String,
    /// Node
    node: String,
    /// KEY=VALUE to set, KEY- to go back to the manifest's value
    #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
    changes: Vec<String>,
    /// Keep the values when the system is applied again
    #[arg(long)]
    durable: bool,
    /// Fail if the system is not at this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    /// Return once the change is accepted
    #[arg(long)]
    no_wait: bool,
    /// Longest wait for the nodes
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl Set {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let request = self.request()?;
        let client = Client::connect(globals).await?;
        output::on_interrupt("the change may be done; see it with: edgeflow describe system");
        let mut api = client.api();
        let what = format!("set parameters of {} in {}", self.node, self.system);
        let limit = self.timeout + GRACE;
        let call = api.set_params(request);
        let mut response = client.call_within(&what, limit, call).await?;
        let found = std::mem::take(&mut response.problems);
        if !found.is_empty() {
            let found: Vec<_> = found.into_iter().map(ProblemView::from).collect();
            problems::show(&found);
            return Err(Failure::new(Exit::Rejected, "the values were refused")
                .why("of the problems above; nothing was changed"));
        }
        let view = SetView::new(&self.system, &self.node, response);
        match self.output {
            Format::Json | Format::Yaml => output::document(self.output, &view)?,
            _ => output::rows(self.output, &view.outcomes, "no device runs the node yet")?,
        }
        self.verdict(&view)
    }

    fn request(&self) -> Outcome<v1::SetParamsRequest> {
        let mut set = Vec::new();
        let mut reset = Vec::new();
        for change in &self.changes {
            if let Ok((name, text)) = super::parse_pair(change) {
                let value = Some(v1::param_value::Value::Text(text));
                set.push(v1::ParamValue { name, value });
            } else if let Some(name) = change.strip_suffix('-').filter(|name| !name.is_empty()) {
                reset.push(name.to_owned());
            } else {
                return Err(
                    Failure::usage(format!("`{change}` is neither KEY=VALUE nor KEY-"))
                        .next("set with threshold=0.6, go back with threshold-"),
                );
            }
        }
        let wait_ms = if self.no_wait {
            0
        } else {
            // 0 would be no wait.
            u32::try_from(self.timeout.as_millis())
                .unwrap_or(u32::MAX)
                .max(1)
        };
        Ok(v1::SetParamsRequest {
            system: self.system.clone(),
            node: self.node.clone(),
            set,
            reset,
            durable: self.durable,
            wait_ms,
            etag: self.etag.clone().unwrap_or_default(),
        })
    }

    fn verdict(&self, view: &SetView) -> Outcome {
        let words =
            |one: &OutcomeView| format!("{} on {}: {}", one.instance, one.device, one.message);
        let refused: Vec<String> = view.in_state("refused").map(words).collect();
        if !refused.is_empty() {
            let failure = Failure::failed(format!("{} refused the values", self.node))
                .why(refused.join("\n"));
            return Err(if view.withdrawn {
                failure.next("the change was taken back on every device; try other values")
            } else {
                failure.next(format!(
                    "it goes on with its old values; go back with: edgeflow set {} {} KEY-",
                    self.system, self.node
                ))
            });
        }
        let waits: Vec<String> = view
            .in_state("pending")
            .filter(|one| one.online)
            .map(words)
            .collect();
        if self.no_wait || waits.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Timeout,
            format!("not taken after {}", elapsed(self.timeout)),
        )
        .why(waits.join("\n"))
        .next("the change is stored, and the node takes it when it can")
        .next("wait longer with --timeout 2m, or not at all with --no-wait"))
    }
}
