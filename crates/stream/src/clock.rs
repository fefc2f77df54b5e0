//! The clocks of this machine: monotonic time for durations, UTC for capture times, and the boot
//! id that says whether two monotonic times may be compared.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, shared by all processes of one boot.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// UTC nanoseconds since 1970.
pub fn unix_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The kernel's id of this boot; empty where it can't be read, which compares equal to nothing.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    })
}

/// Whether monotonic times of a process with boot id `other` can be compared with ours.
pub fn same_boot(other: &str) -> bool {
    !other.is_empty() && other == boot_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_does_not_go_back() {
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first);
        assert!(first > 0);
    }

    #[test]
    fn an_unknown_boot_is_not_ours() {
        assert!(!same_boot(""));
        assert!(!same_boot("another"));
    }
}
