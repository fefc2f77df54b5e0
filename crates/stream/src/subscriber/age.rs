//! How old a frame is, and whether that is too old.

use std::time::Duration;

use edgeflow_spec::qos::LinkQos;

use crate::clock;
use crate::frame::Frame;

pub(super) fn since(mono_ns: u64) -> Duration {
    Duration::from_nanos(clock::monotonic_ns().saturating_sub(mono_ns))
}

/// Time since capture: on the monotonic clock when it is this host's, else on UTC.
pub(super) fn age_of(frame: &Frame, same_boot: bool) -> Duration {
    let captured = frame.header.capture_mono_ns;
    if same_boot && captured != 0 {
        return since(captured);
    }
    let age = clock::unix_ns().saturating_sub(frame.header.capture_ns);
    Duration::from_nanos(u64::try_from(age).unwrap_or(0))
}

pub(super) fn is_expired(frame: &Frame, qos: &LinkQos, age: Duration) -> bool {
    let ttl = Some(frame.header.ttl_ms).filter(|ttl| *ttl > 0);
    let limit = [qos.max_age_ms, ttl].into_iter().flatten().min();
    limit.is_some_and(|limit| age > Duration::from_millis(u64::from(limit)))
}
