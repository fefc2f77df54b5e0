//! `edgeflow logs`: what nodes wrote, from the agents' bounded files.

use std::time::Duration;

use clap::Args;
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::{Client, Reconnect},
    failure::Outcome,
    output::{self, StreamFormat, colour, time::parse_since},
    view::event::LogView,
};

/// Lines an instance without `--tail` and `--since`.
const DEFAULT_TAIL: u32 = 200;
/// Lines asked for when `--since` or a reconnect sets the start.
const SINCE_TAIL: u32 = 10_000;
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// How long a lost connection is dialled again while following.
const RECONNECT_FOR: Duration = Duration::from_secs(300);

const EXAMPLES: &str = "\
Examples:
  edgeflow logs entrance                       every node, last 200 lines each
  edgeflow logs entrance/detect -f             one node, and what follows
  edgeflow logs entrance --since 10m --device pi-7
  edgeflow logs entrance -o json | jq .text";

/// Print the output of nodes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// System, or one node of it
    #[arg(value_name = "SYSTEM[/NODE]")]
    target: String,
    /// Go on with new lines until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only lines since then: 10m, 1h30m or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<i64>,
    /// Last lines of each instance [default: 200]
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only this device
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "",
        hide_default_value = true
    )]
    device: String,
    /// Only this instance (`system.node.replica`)
    #[arg(
        long,
        value_name = "INSTANCE",
        default_value = "",
        hide_default_value = true
    )]
    instance: String,
    /// Print structured lines as they were written
    #[arg(long)]
    raw: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: StreamFormat,
}

impl Logs {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        let mut request = self.request();
        let patience = if self.follow {
            RECONNECT_FOR
        } else {
            Duration::ZERO
        };
        let mut reconnect = Reconnect::new(patience, RECONNECT_EVERY);
        loop {
            let mut last = request.since_unix_ms;
            let read = self.once(&client, &request, &mut last, &mut reconnect);
            let Err(status) = read.await? else {
                return Ok(());
            };
            let is_new = reconnect.is_new();
            if !reconnect.again(&status).await {
                return Err(client.failure(&format!("read the logs of {}", self.target), &status));
            }
            if is_new {
                output::note(colour::stderr().warn("connection lost; dialling again …"));
            }
            if last > request.since_unix_ms {
                request.since_unix_ms = last + 1;
                request.tail = SINCE_TAIL;
            }
        }
    }

    fn request(&self) -> v1::LogsRequest {
        let (system, node) = self.target.split_once('/').unwrap_or((&self.target, ""));
        let default = if self.since.is_some() {
            SINCE_TAIL
        } else {
            DEFAULT_TAIL
        };
        v1::LogsRequest {
            system: system.to_owned(),
            node: node.to_owned(),
            device: self.device.clone(),
            instance: self.instance.clone(),
            tail: self.tail.unwrap_or(default),
            since_unix_ms: self.since.unwrap_or(0),
            follow: self.follow,
        }
    }

    async fn once(
        &self,
        client: &Client,
        request: &v1::LogsRequest,
        last: &mut i64,
        reconnect: &mut Reconnect,
    ) -> Outcome<Result<(), tonic::Status>> {
        let paint = colour::stdout();
        let mut stream = match client.api().logs(request.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let line = match stream.message().await {
                Ok(Some(line)) => line,
                Ok(None) if self.follow => {
                    return Ok(Err(tonic::Status::unavailable("the stream ended")));
                }
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            reconnect.heard();
            *last = (*last).max(line.at_unix_ms);
            let view = LogView::from(line);
            match self.output {
                StreamFormat::Text => output::line(view.line(paint, self.raw)),
                StreamFormat::Json => output::json_line(&view)?,
            }
        }
    }
}
