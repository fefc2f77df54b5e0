//! `edgeflow events`: what happened, and what happens.

use std::time::Duration;

use clap::Args;
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::{Client, Reconnect},
    failure::Outcome,
    output::{self, StreamFormat, colour, time::parse_since},
    view::event::EventView,
};

const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// How long a lost connection is dialled again while following.
const RECONNECT_FOR: Duration = Duration::from_secs(300);
/// Events asked for again after a reconnect; known ones are left out by their id.
const RECONNECT_TAIL: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  edgeflow events                          the last 100
  edgeflow events --system entrance -f     of one system, and what follows
  edgeflow events --device pi-7 --since 1h
  edgeflow events -f -o json               one JSON object a line";

/// Print events
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Events {
    /// Only this system
    #[arg(
        long,
        value_name = "SYSTEM",
        default_value = "",
        hide_default_value = true
    )]
    system: String,
    /// Only this device
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "",
        hide_default_value = true
    )]
    device: String,
    /// Go on with new events until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only events since then: 10m, 1h30m or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<i64>,
    /// The newest events
    #[arg(long, value_name = "EVENTS", default_value_t = 100)]
    tail: u32,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: StreamFormat,
}

impl Events {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        let mut request = v1::WatchEventsRequest {
            system: self.system.clone(),
            device: self.device.clone(),
            tail: self.tail,
            since_unix_ms: self.since.unwrap_or(0),
            follow: self.follow,
        };
        let mut last_id = 0;
        let patience = if self.follow {
            RECONNECT_FOR
        } else {
            Duration::ZERO
        };
        let mut reconnect = Reconnect::new(patience, RECONNECT_EVERY);
        loop {
            let read = self.once(&client, &request, &mut last_id, &mut reconnect);
            let Err(status) = read.await? else {
                return Ok(());
            };
            if !reconnect.again(&status).await {
                return Err(client.failure("read events", &status));
            }
            if last_id > 0 {
                request.tail = RECONNECT_TAIL;
            }
        }
    }

    async fn once(
        &self,
        client: &Client,
        request: &v1::WatchEventsRequest,
        last_id: &mut u64,
        reconnect: &mut Reconnect,
    ) -> Outcome<Result<(), tonic::Status>> {
        let paint = colour::stdout();
        let mut stream = match client.api().watch_events(request.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let event = match stream.message().await {
                Ok(Some(event)) => event,
                Ok(None) if self.follow => {
                    return Ok(Err(tonic::Status::unavailable("the stream ended")));
                }
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            reconnect.heard();
            if event.id != 0 && event.id <= *last_id {
                continue;
            }
            *last_id = event.id;
            let view = EventView::from(event);
            match self.output {
                StreamFormat::Text => output::line(view.text(paint)),
                StreamFormat::Json => output::json_line(&view)?,
            }
        }
    }
}
