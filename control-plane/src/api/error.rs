//! The one place where errors become gRPC statuses.

use edgeflow_runtime::logging::chain;
use tonic::{Code, Status};

use crate::{
    artifacts::ArtifactError, fleet::SessionError, service::ServiceError, store::StoreError,
};

/// A status whose text a person can act on.
pub fn status(error: &ServiceError) -> Status {
    let code = match error {
        ServiceError::NotFound(_) => Code::NotFound,
        ServiceError::Stale(_) => Code::Aborted,
        ServiceError::Invalid(_) => Code::InvalidArgument,
        ServiceError::AlreadyExists(_) => Code::AlreadyExists,
        ServiceError::Unauthenticated(_) => Code::Unauthenticated,
        ServiceError::Precondition(_) => Code::FailedPrecondition,
        ServiceError::Limit(_) => Code::ResourceExhausted,
        ServiceError::Unavailable(_) => Code::Unavailable,
        ServiceError::Timeout(_) => Code::DeadlineExceeded,
        ServiceError::Store(StoreError::Full(_)) => Code::ResourceExhausted,
        ServiceError::Store(StoreError::Busy(_) | StoreError::ReadOnly(_)) => Code::Unavailable,
        ServiceError::Artifact(ArtifactError::Different { .. }) => Code::InvalidArgument,
        ServiceError::Artifact(_) => Code::ResourceExhausted,
        ServiceError::Store(_) | ServiceError::Pki(_) => Code::Internal,
    };
    let disk = matches!(error, ServiceError::Artifact(ArtifactError::Disk(_)));
    if disk || matches!(error, ServiceError::Store(_) | ServiceError::Pki(_)) {
        tracing::error!(error = chain(error), "a call failed");
    }
    Status::new(code, error.to_string())
}

pub(super) fn session_status(error: &SessionError) -> Status {
    let code = match error {
        SessionError::NoHello => Code::InvalidArgument,
        SessionError::Protocol { .. } => Code::FailedPrecondition,
        SessionError::Superseded => Code::Aborted,
        SessionError::Closed | SessionError::EventsBlocked => Code::Unavailable,
        SessionError::Silent(_) => Code::DeadlineExceeded,
        SessionError::Service(error) => return status(error),
    };
    Status::new(code, error.to_string())
}
