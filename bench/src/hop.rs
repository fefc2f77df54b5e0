//! `hop`: filled in by the owner of that part.

use anyhow::{Result, bail};

pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("not measured yet")
}
