//! Streams of state, and the server-side wait: a system is settled once every matching device is
//! ready at the wanted revision, once an instance fails at it, or when no device matches. Offline
//! devices keep it unsettled until the caller's time is up.

use std::{sync::Arc, time::Duration};

use edgeflow_proto::v1::{self, SystemPhase};
use futures_util::Stream;
use tokio::time::Instant;

use super::{Service, ServiceError};
use crate::changes::{Follower, WAIT_INTERVAL, WATCH_INTERVAL};

/// A day: a wait without a limit still ends when its client is long gone.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A system, followed.
struct SystemWatch {
    service: Arc<Service>,
    request: v1::WatchSystemRequest,
    revision: u64,
    follower: Follower,
    deadline: Instant,
    last: Option<v1::System>,
    ended: bool,
}

impl Service {
    /// Follows a system.
    pub fn watch_system(
        self: &Arc<Self>,
        request: v1::WatchSystemRequest,
    ) -> Result<
        impl Stream<Item = Result<v1::WatchSystemResponse, ServiceError>> + Send + use<>,
        ServiceError,
    > {
        let interval = if request.until_settled {
            WAIT_INTERVAL
        } else {
            WATCH_INTERVAL
        };
        let follower = self.changes.follow_every(interval);
        let current = self.system(&request.name)?.row.revision;
        let revision = if request.revision == 0 {
            current
        } else {
            request.revision
        };
        if revision > current {
            return Err(ServiceError::NotFound(format!(
                "system {} has no revision {revision}, it is at {current}",
                request.name
            )));
        }
        let wait = match request.timeout_ms {
            0 => MAX_WAIT,
            timeout_ms => Duration::from_millis(timeout_ms.into()),
        };
        let watch = SystemWatch {
            service: Arc::clone(self),
            request,
            revision,
            follower,
            deadline: Instant::now() + wait,
            last: None,
            ended: false,
        };
        Ok(futures_util::stream::unfold(watch, |mut watch| async {
            let item = watch.next().await?;
            Some((item, watch))
        }))
    }

    /// Follows the devices that match.
    pub fn watch_devices(
        self: &Arc<Self>,
        selector: String,
    ) -> Result<
        impl Stream<Item = Result<v1::ListDevicesResponse, ServiceError>> + Send + use<>,
        ServiceError,
    > {
        super::devices::parse_selector(&selector)?;
        let state = (
            Arc::clone(self),
            self.changes.follow(),
            selector,
            None::<Vec<v1::Device>>,
        );
        Ok(futures_util::stream::unfold(
            state,
            |(service, mut follower, selector, mut last)| async move {
                loop {
                    let devices = match service.device_views(&selector) {
                        Ok(devices) => devices,
                        Err(error) => {
                            return Some((Err(error), (service, follower, selector, last)));
                        }
                    };
                    if last.as_ref() != Some(&devices) {
                        last = Some(devices.clone());
                        let message = v1::ListDevicesResponse { devices };
                        return Some((Ok(message), (service, follower, selector, last)));
                    }
                    if !follower.changed().await {
                        return None;
                    }
                }
            },
        ))
    }
}

impl SystemWatch {
    async fn next(&mut self) -> Option<Result<v1::WatchSystemResponse, ServiceError>> {
        if self.ended {
            return None;
        }
        loop {
            if self.last.is_some() {
                tokio::select! {
                    changed = self.follower.changed() => {
                        if !changed {
                            return None;
                        }
                    }
                    () = tokio::time::sleep_until(self.deadline) => {
                        return self.fail(self.timed_out());
                    }
                }
            }
            let system = match self.service.system_view(&self.request.name) {
                Ok(system) => system,
                Err(error) => return self.fail(error),
            };
            if self.request.until_settled && system.revision != self.revision {
                return self.fail(ServiceError::Stale(format!(
                    "system {} has moved on to revision {} while revision {} was waited for",
                    system.name, system.revision, self.revision
                )));
            }
            if self.last.as_ref() == Some(&system) {
                continue;
            }
            self.last = Some(system.clone());
            let settled = self.request.until_settled && is_settled(&system);
            self.ended = settled;
            return Some(Ok(v1::WatchSystemResponse {
                system: Some(system),
                settled,
            }));
        }
    }

    fn fail(
        &mut self,
        error: ServiceError,
    ) -> Option<Result<v1::WatchSystemResponse, ServiceError>> {
        self.ended = true;
        Some(Err(error))
    }

    fn timed_out(&self) -> ServiceError {
        let why = self
            .last
            .as_ref()
            .and_then(|system| system.status.as_ref())
            .map(|status| status.message.clone())
            .filter(|message| !message.is_empty())
            .unwrap_or_else(|| "no reason known".to_owned());
        ServiceError::Timeout(format!(
            "system {} did not settle in time: {why}",
            self.request.name
        ))
    }
}

fn is_settled(system: &v1::System) -> bool {
    system.status.as_ref().is_some_and(|status| {
        matches!(
            status.phase(),
            SystemPhase::Ready | SystemPhase::Degraded | SystemPhase::Unplaced
        )
    })
}
