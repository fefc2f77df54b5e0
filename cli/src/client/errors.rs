//! Statuses and transport errors as failures: the one place that maps them to exit codes.

use tonic::{Code, Status};

use super::target::{Origin, Target};
use crate::failure::{Exit, Failure, root_cause};

/// The control plane could not be connected to.
pub(crate) fn connect_failure(target: &Target, error: &tonic::transport::Error) -> Failure {
    unreachable(target, &root_cause(error))
}

fn unreachable(target: &Target, cause: &str) -> Failure {
    let failure = Failure::new(
        Exit::Unreachable,
        format!("can't reach the control plane at {}", target.server),
    )
    .why(cause);
    if cause.contains("certificate") {
        return failure
            .next("check that the CA certificate belongs to this control plane (ca.crt in its data folder)");
    }
    let failure = match &target.origin {
        Origin::DataDir(dir) => failure.next(format!(
            "it left its address in {}: start it again with edgeflow-control-plane, or edgeflow local",
            dir.display()
        )),
        Origin::Context(name) => failure.next(format!(
            "check the address of context `{name}`: edgeflow context list"
        )),
        Origin::Given => failure.next("check --server (EDGEFLOW_SERVER) and that the control plane runs"),
    };
    failure.next("find out more: edgeflow doctor")
}

/// Whether the status means that the connection is gone, so that a retry may help.
pub(crate) fn is_connection_loss(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A stream cut by a dying server comes as one of these, with the transport's error inside.
        Code::Unknown | Code::Internal | Code::Cancelled => {
            std::error::Error::source(status).is_some()
                || status.message().contains("h2 protocol error")
        }
        _ => false,
    }
}

/// A status as a failure. `what` completes "can't …".
pub(crate) fn status_failure(target: &Target, what: &str, status: &Status) -> Failure {
    if is_connection_loss(status) {
        let cause = std::error::Error::source(status)
            .map_or_else(|| status.message().to_owned(), root_cause);
        return unreachable(target, &cause);
    }
    let failure = |exit| Failure::new(exit, format!("can't {what}")).why(status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => denied(target, what, status),
        Code::NotFound => failure(Exit::NotFound)
            .next("see what there is: edgeflow get systems, edgeflow get devices"),
        Code::Aborted => failure(Exit::Conflict)
            .next("look at the change first (edgeflow history), then try again"),
        Code::AlreadyExists => failure(Exit::Conflict),
        Code::InvalidArgument | Code::OutOfRange => failure(Exit::Usage),
        Code::DeadlineExceeded => failure(Exit::Timeout),
        Code::Unimplemented => {
            failure(Exit::Failed).next("compare the versions of both sides: edgeflow version")
        }
        Code::ResourceExhausted => failure(Exit::Failed).next("try again in a moment"),
        Code::Internal | Code::DataLoss | Code::Unknown => {
            failure(Exit::Failed).next("the control plane's log says more")
        }
        _ => failure(Exit::Failed),
    }
}

fn denied(target: &Target, what: &str, status: &Status) -> Failure {
    let failure = Failure::new(Exit::Denied, format!("can't {what}"));
    if target.token.is_none() {
        return failure
            .why(format!(
                "{} needs a token and none was given",
                target.server
            ))
            .next("set EDGEFLOW_TOKEN, or --token-file with the control plane's admin-token file");
    }
    let failure = failure.why(status.message());
    match &target.origin {
        Origin::Context(name) => failure.next(format!(
            "the token of context `{name}` is not the control plane's: edgeflow context add {name} --token-file FILE --replace"
        )),
        Origin::Given => failure.next("check EDGEFLOW_TOKEN or --token-file against the control plane's admin-token file"),
        Origin::DataDir(dir) => failure.next(format!(
            "{} does not belong to the control plane that answers; is another one running on its port?",
            dir.display()
        )),
    }
}
