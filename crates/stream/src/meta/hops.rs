//! The hops of a sampled frame: where it was when, by each machine's own clock. Owns the form of the
//! key `hops` and its limits; never reads a clock.

use serde::{Deserialize, Serialize};

use super::{MAX_ENTRIES, Meta, MetaError};

/// Key of the hops: an array of [`Hop`], in the order of the frame's way. Only sampled frames have it.
pub const HOPS: &str = "hops";
/// Key of the hops that a frame had when it was recorded, after it was sent again by a source.
pub const RECORDED_HOPS: &str = "recorded_hops";
/// Hops of one frame; further ones are left out.
pub const MAX_HOPS: usize = 32;
/// Bytes of the hops of one frame; further ones are left out.
pub const MAX_HOPS_BYTES: usize = 8 * 1024;
/// Characters of a boot id that are kept: enough to tell the machines of a fleet apart.
const BOOT_LEN: usize = 8;

/// A stay of a frame at a node. Times are of the node's monotonic clock in nanoseconds; 0: unknown,
/// or not yet. Compare them only between hops of one `boot`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The node.
    pub node: String,
    /// Its replica.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replica: u32,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// Names the clock of the times below.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// Names this stay among those of its trace: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub span: String,
    /// The frame reached the process; 0 where it was made.
    #[serde(default, skip_serializing_if = "is_zero_ns")]
    pub in_ns: u64,
    /// The node's loop began.
    #[serde(default)]
    pub start_ns: u64,
    /// It was sent on.
    #[serde(default, skip_serializing_if = "is_zero_ns")]
    pub out_ns: u64,
    /// UTC nanoseconds at which the clock of this hop read zero, by the machine's own idea of UTC.
    #[serde(default)]
    pub unix_zero_ns: i64,
    /// This hop's monotonic clock minus that of the hop before, where the link between them has
    /// measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ns: Option<i64>,
    /// Bound on the error of `clock_offset_ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_us: Option<u32>,
    /// At a fusion, the frames of the other inputs: `INPUT=TRACE_ID`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fused_with: Vec<String>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_zero_ns(value: &u64) -> bool {
    *value == 0
}

/// The short name of a boot.
pub fn short_boot(boot_id: &str) -> String {
    boot_id.chars().take(BOOT_LEN).collect()
}

impl Meta {
    /// The hops; none when the key is missing, over a limit or something else.
    pub fn hops(&self) -> Vec<Hop> {
        let value = self.entries.iter().find(|(name, _)| name == HOPS);
        if value.is_none_or(|(_, value)| value.len() > MAX_HOPS_BYTES) {
            return Vec::new();
        }
        let mut hops: Vec<Hop> = self.get(HOPS).ok().flatten().unwrap_or_default();
        hops.truncate(MAX_HOPS);
        hops
    }

    /// Sets the hops. `false`: they are over a limit, and what was there stays.
    pub fn set_hops(&mut self, hops: &[Hop]) -> Result<bool, MetaError> {
        let is_new = self.entries.iter().all(|(name, _)| name != HOPS);
        if hops.len() > MAX_HOPS || (is_new && self.entries.len() >= MAX_ENTRIES) {
            return Ok(false);
        }
        let before = self.entries.clone();
        self.set(HOPS, hops)?;
        let fits =
            |(name, value): &(String, bytes::Bytes)| name != HOPS || value.len() <= MAX_HOPS_BYTES;
        if self.entries.iter().all(fits) {
            return Ok(true);
        }
        self.entries = before;
        Ok(false)
    }

    /// Puts the hops of an earlier life of the frame aside.
    pub fn archive_hops(&mut self) {
        self.entries.retain(|(name, _)| name != RECORDED_HOPS);
        for (name, _) in &mut self.entries {
            if name == HOPS {
                RECORDED_HOPS.clone_into(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(node: &str) -> Hop {
        Hop {
            node: node.to_owned(),
            device: "edge-1".to_owned(),
            boot: short_boot("0123456789abcdef"),
            start_ns: 5,
            out_ns: 9,
            ..Hop::default()
        }
    }

    #[test]
    fn hops_survive_and_cost_little() {
        let mut meta = Meta::new();
        assert!(meta.set_hops(&[hop("camera"), hop("detect")]).unwrap());
        let again = Meta::decode(&meta.encode()).unwrap();
        assert_eq!(again.hops(), [hop("camera"), hop("detect")]);
        assert_eq!(again.hops()[0].boot, "01234567");
        assert!(meta.encode().len() < 250, "{} bytes", meta.encode().len());
    }

    #[test]
    fn too_many_or_too_large_hops_leave_what_was_there() {
        let mut meta = Meta::new();
        let first = [hop("camera")];
        assert!(meta.set_hops(&first).unwrap());
        assert!(!meta.set_hops(&vec![hop("n"); MAX_HOPS + 1]).unwrap());
        let wordy = Hop {
            fused_with: vec!["x".repeat(MAX_HOPS_BYTES)],
            ..Hop::default()
        };
        assert!(!meta.set_hops(&[wordy]).unwrap());
        assert_eq!(meta.hops(), first);
    }

    #[test]
    fn foreign_hops_are_none() {
        let mut meta = Meta::new();
        meta.set(HOPS, "text").unwrap();
        assert!(meta.hops().is_empty());
        meta.set(HOPS, &vec![0_u8; MAX_HOPS_BYTES + 1]).unwrap();
        assert!(meta.hops().is_empty());
        meta.set(HOPS, &vec![hop("a"); MAX_HOPS + 9]).unwrap();
        assert!(meta.hops().len() <= MAX_HOPS);
    }

    #[test]
    fn recorded_hops_are_put_aside() {
        let mut meta = Meta::new();
        meta.set_hops(&[hop("camera")]).unwrap();
        meta.archive_hops();
        assert!(meta.hops().is_empty());
        let kept: Vec<Hop> = meta.get(RECORDED_HOPS).unwrap().unwrap();
        assert_eq!(kept, [hop("camera")]);
        meta.archive_hops();
        meta.set_hops(&[hop("replay")]).unwrap();
        meta.archive_hops();
        let kept: Vec<Hop> = meta.get(RECORDED_HOPS).unwrap().unwrap();
        assert_eq!(kept, [hop("replay")]);
    }
}
