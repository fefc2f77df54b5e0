//! The task that sends spans to the collector: in batches, again after an error that may pass, and
//! never more than the queue holds behind it.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Code, Request, Status, transport::Channel};

use super::{Collector, Counts, Loss, Waiting, collector::TIMEOUT, otlp};

/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How often a request is sent before it is given up, with pauses that double from the first one.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Sends what agents report.
#[derive(Debug)]
pub struct Exporter {
    collector: Collector,
    waiting: mpsc::Receiver<Waiting>,
    counts: Counts,
    /// The last request did not get there; told once.
    away: bool,
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        waiting: mpsc::Receiver<Waiting>,
        counts: Counts,
    ) -> Self {
        Self {
            collector,
            waiting,
            counts,
            away: false,
        }
    }

    /// Until nobody sends any more.
    pub async fn run(mut self) {
        tracing::info!(
            collector = self.collector.address,
            "sampled frames are exported as spans"
        );
        let mut client = TraceServiceClient::new(self.collector.channel.clone());
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch).await {
            let spans = batch.len() as u64;
            let request = otlp::request(std::mem::take(&mut batch));
            self.export(&mut client, &request, spans).await;
        }
    }

    /// False: there will be no more.
    async fn gather(&mut self, batch: &mut Vec<Waiting>) -> bool {
        if self.waiting.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let end = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            match tokio::time::timeout_at(end, self.waiting.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    async fn export(
        &mut self,
        client: &mut TraceServiceClient<Channel>,
        request: &ExportTraceServiceRequest,
        spans: u64,
    ) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let status = match self.send(client, request.clone()).await {
                Ok(refused) => {
                    self.counts.lost(Loss::Refused, refused.min(spans));
                    self.counts.exported(spans.saturating_sub(refused));
                    self.told(None);
                    return;
                }
                Err(status) => status,
            };
            if !may_pass(status.code()) {
                self.counts.lost(Loss::Refused, spans);
                self.told(Some(&status));
                return;
            }
            self.told(Some(&status));
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        self.counts.lost(Loss::Unreachable, spans);
    }

    /// Returns how many spans the collector refused.
    async fn send(
        &self,
        client: &mut TraceServiceClient<Channel>,
        request: ExportTraceServiceRequest,
    ) -> Result<u64, Status> {
        let mut request = Request::new(request);
        *request.metadata_mut() = self.collector.headers.clone();
        let late = |_| Status::deadline_exceeded("the collector does not answer");
        let answer = tokio::time::timeout(TIMEOUT, client.export(request))
            .await
            .map_err(late)??;
        let partial = answer.into_inner().partial_success.unwrap_or_default();
        if partial.rejected_spans > 0 {
            tracing::debug!(
                refused = partial.rejected_spans,
                reason = partial.error_message,
                "the collector refused spans"
            );
        }
        Ok(u64::try_from(partial.rejected_spans).unwrap_or_default())
    }

    /// Logs when the collector goes and when it is back.
    fn told(&mut self, problem: Option<&Status>) {
        let collector = &self.collector.address;
        match problem {
            Some(status) if !self.away => {
                tracing::warn!(
                    collector,
                    code = ?status.code(),
                    reason = status.message(),
                    "spans can't be exported"
                );
            }
            None if self.away => tracing::info!(collector, "spans are exported again"),
            _ => {}
        }
        self.away = problem.is_some();
    }
}

/// Codes after which the OTLP specification has a client try again.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}
