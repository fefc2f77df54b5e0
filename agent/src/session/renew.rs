//! Renews the certificate in time, with a new key each time.

use std::time::{Duration, SystemTime};

use edgeflow_proto::v1::{RenewRequest, enrollment_service_client::EnrollmentServiceClient};
use tonic::transport::Channel;

use super::{Context, Identity, dial, identity};
use crate::conditions;

/// After a success: a wrong clock must not make it renew without end.
const PAUSE: Duration = Duration::from_secs(600);
/// After a failure.
const RETRY: Duration = Duration::from_secs(300);
/// The clock may be set while we sleep.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Renews over the session's connection, until it is dropped. A renewed certificate is used from
/// the next connection on: the present one stays good.
pub(super) async fn run(context: &Context, channel: Channel) {
    // One number for a session: otherwise the time would wander with every look at it.
    let random: f64 = rand::random();
    loop {
        let current = context.identity.borrow().clone();
        let validity = match current.validity() {
            Ok(validity) => validity,
            Err(error) => {
                tracing::error!(error, "the device certificate can't be read");
                return std::future::pending().await;
            }
        };
        let expiry = validity
            .until
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
            });
        context.metrics.certificate_expiry.set(expiry);
        let left = validity.renewal(random).duration_since(SystemTime::now());
        if let Ok(left) = left
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(MAX_SLEEP)).await;
            continue;
        }
        match renew(context, &current, channel.clone()).await {
            Ok(()) => {
                context.conditions.clear(conditions::CERTIFICATE);
                tracing::info!("certificate renewed");
                tokio::time::sleep(PAUSE).await;
            }
            Err(reason) => {
                context.conditions.set(
                    conditions::CERTIFICATE,
                    format!("the device certificate could not be renewed: {reason}"),
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn renew(context: &Context, current: &Identity, channel: Channel) -> Result<(), String> {
    let (key_pem, csr_der) = identity::new_request().map_err(|error| error.to_string())?;
    let answer = EnrollmentServiceClient::new(channel)
        .renew(RenewRequest { csr_der })
        .await
        .map_err(|status| dial::words(&status))?
        .into_inner();
    let renewed = Identity {
        pem: format!("{key_pem}{}", answer.certificate_pem),
        ca_pem: answer.ca_bundle_pem,
        ..current.clone()
    };
    renewed.validity()?;
    renewed.ca_certificates()?;
    renewed
        .save(&context.paths.identity())
        .map_err(|error| edgeflow_runtime::logging::chain(&error))?;
    context.identity.send_replace(renewed);
    Ok(())
}
