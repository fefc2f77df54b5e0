//! How old a frame is, whether that is too old, and capture times of other machines.

use std::time::Duration;

use edgeflow_spec::qos::LinkQos;

use super::clock_offset::{ClockOffset, Times};
use crate::clock;
use crate::frame::Frame;

pub(super) fn since(mono_ns: u64) -> Duration {
    Duration::from_nanos(clock::monotonic_ns().saturating_sub(mono_ns))
}

pub(super) fn now_here() -> Times {
    Times {
        monotonic_ns: clock::monotonic_ns(),
        unix_ns: clock::unix_ns(),
    }
}

/// The capture time of a frame from another machine, on this one's monotonic clock. Unknown until
/// the offset is.
pub(super) fn to_this_clock(frame: &mut Frame, offset: Option<ClockOffset>) {
    let header = &mut frame.header;
    let Some(offset) = offset else {
        header.capture_mono_ns = 0;
        return;
    };
    header.capture_mono_ns = offset.to_local_monotonic(header.capture_mono_ns);
    let error_us = u32::try_from(offset.error_ns.div_ceil(1000)).unwrap_or(u32::MAX);
    header.clock_error_us = header.clock_error_us.saturating_add(error_us);
}

/// Time since capture: on this machine's monotonic clock if it is known there, else on UTC.
pub(super) fn age_of(frame: &Frame) -> Duration {
    let captured = frame.header.capture_mono_ns;
    if captured != 0 {
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
