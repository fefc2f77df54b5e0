//! The connection to the control plane: where it is, how to trust it, and how its answers become
//! failures that a person understands. Knows no command.

mod connect;
mod errors;
mod reconnect;
mod target;

use std::{future::Future, time::Duration};

use edgeflow_proto::v1::control_service_client::ControlServiceClient;
use tonic::{Response, Status, service::interceptor::InterceptedService, transport::Channel};

pub(crate) use errors::{is_connection_loss, status_failure};
pub(crate) use reconnect::Reconnect;
pub(crate) use target::{
    Origin, Target, discover, from_data_dir, is_loopback, parse_server, read_small, read_token,
};

use crate::{
    args::Globals,
    failure::{Exit, Failure, Outcome},
    output::live::patiently,
};

/// Longest wait for the answer to a call that is not a stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The generated client with the token attached.
pub(crate) type Api = ControlServiceClient<InterceptedService<Channel, connect::Bearer>>;

/// A connected client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    api: Api,
    target: Target,
}

impl Client {
    /// Finds the control plane and connects.
    pub(crate) async fn connect(globals: &Globals) -> Outcome<Self> {
        let target = discover(globals)?;
        Self::connect_to(target).await
    }

    /// Connects to a known target.
    pub(crate) async fn connect_to(target: Target) -> Outcome<Self> {
        let what = format!("connecting to {}", target.server);
        let channel = patiently(&what, connect::channel(&target)).await?;
        let api = connect::api(channel, target.token.as_deref())?;
        Ok(Self { api, target })
    }

    /// The generated client, to make a call with.
    pub(crate) fn api(&self) -> Api {
        self.api.clone()
    }

    /// Where this client is connected to.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Awaits a call: with a deadline, with a word to the person when it takes long, and with
    /// errors in words. `what` completes "can't …".
    pub(crate) async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Outcome<T> {
        self.call_within(what, CALL_TIMEOUT, call).await
    }

    /// The same for a call that the server takes its time for.
    pub(crate) async fn call_within<T>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Outcome<T> {
        let limited = tokio::time::timeout(limit, call);
        match patiently(&format!("waiting for {}", self.target.server), limited).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(what, &status)),
            Err(_) => Err(Failure::new(Exit::Timeout, format!("can't {what}"))
                .why(format!(
                    "{} did not answer within {} s",
                    self.target.server,
                    limit.as_secs()
                ))
                .next("check how the control plane is doing: edgeflow doctor")),
        }
    }

    /// A status in words.
    pub(crate) fn failure(&self, what: &str, status: &Status) -> Failure {
        status_failure(&self.target, what, status)
    }
}
