//! A small histogram for latencies: 8 buckets an octave of microseconds, so a percentile is within
//! 7 % of the truth; 1 KB of memory, no allocation when recording.

use std::time::Duration;

const SUB_BITS: u32 = 3;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = 240;

/// Counts of durations, from 1 µs to 71 minutes; what is longer counts as the longest.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
    max_us: u32,
}

/// Percentiles of what a histogram holds, in microseconds. All zero when it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many were recorded.
    pub count: u64,
    /// Half were at most this.
    pub p50_us: u32,
    /// 95 % were at most this.
    pub p95_us: u32,
    /// 99 % were at most this.
    pub p99_us: u32,
    /// The longest.
    pub max_us: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let us = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        let count = &mut self.counts[bucket(u64::from(us))];
        *count = count.saturating_add(1);
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// What was recorded since the last call; the histogram is empty afterwards.
    pub fn take(&mut self) -> Summary {
        let summary = self.summary();
        if self.total > 0 {
            *self = Self::default();
        }
        summary
    }

    /// Percentiles of what is recorded.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.total,
            p50_us: self.percentile(50),
            p95_us: self.percentile(95),
            p99_us: self.percentile(99),
            max_us: self.max_us,
        }
    }

    fn percentile(&self, percent: u64) -> u32 {
        let rank = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && rank > 0 {
                let value = u32::try_from(middle(index)).unwrap_or(u32::MAX);
                return value.min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB {
        return usize::try_from(value).unwrap_or(0);
    }
    let octave = 63 - value.leading_zeros();
    let sub = (value >> (octave - SUB_BITS)) & (SUB - 1);
    let index = u64::from(octave - SUB_BITS + 1) * SUB + sub;
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The middle of a bucket's range.
fn middle(index: usize) -> u64 {
    let index = index as u64;
    if index < SUB {
        return index;
    }
    let shift = index / SUB - 1;
    let low = (SUB + index % SUB) << shift;
    low + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_to_the_truth() {
        let mut histogram = Histogram::default();
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us));
        }
        let summary = histogram.take();
        for (got, want) in [
            (summary.p50_us, 5_000.0),
            (summary.p95_us, 9_500.0),
            (summary.p99_us, 9_900.0),
        ] {
            assert!((f64::from(got) / want - 1.0).abs() < 0.07, "{got} {want}");
        }
        assert_eq!((summary.count, summary.max_us), (10_000, 10_000));
        assert_eq!(histogram.take(), Summary::default());
    }

    #[test]
    fn every_value_falls_in_its_bucket() {
        let values = (0..32).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for value in values.filter(|value| *value > 0) {
            let middle = middle(bucket(value));
            let error = (middle as f64 - value as f64).abs() / value as f64;
            assert!(error <= 0.07, "{value} in the bucket of {middle}");
        }
    }

    #[test]
    fn a_very_long_time_is_counted() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.take().max_us, u32::MAX);
    }
}
