//! Waits on state. The only place in the tests that sleeps: between two looks.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::PATIENCE;

const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Looks until `look` returns something, [`PATIENCE`] at most. Its error goes on looking too, and
/// is told when time is up.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(PATIENCE, what, look)
}

/// [`until`] with a limit of the caller's.
pub fn until_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            match last {
                Some(error) => bail!("waited {} s: {what}: {error:#}", limit.as_secs_f32()),
                None => bail!("waited {} s: {what}", limit.as_secs_f32()),
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
