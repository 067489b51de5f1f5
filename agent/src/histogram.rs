//! Durations in buckets: added to by whoever measures, without a lock, and read as quantiles or as a histogram.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::control::report::LatencyReport;

/// Durations by powers of two of a microsecond, each in four steps.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// Upper ends in microseconds, each a power of two, with how many durations were not above.
    pub(crate) upto: Vec<(u64, u64)>,
    /// How many there were.
    pub(crate) count: u64,
    /// Their sum, microseconds.
    pub(crate) sum_us: u64,
}

impl Histogram {
    pub(crate) fn add(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(counter) = self.buckets.get(bucket(us)) {
            counter.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// In six numbers; `None` of nothing.
    pub(crate) fn report(&self) -> Option<LatencyReport> {
        let counts = self.counts();
        let total: u64 = counts.iter().sum();
        let quantile = |thousandths: u64| {
            let rank = total.saturating_mul(thousandths).div_ceil(1_000).max(1);
            let mut seen = 0_u64;
            let found = counts.iter().position(|count| {
                seen = seen.saturating_add(*count);
                seen >= rank
            });
            found.map_or(0, upper_us)
        };
        (total > 0).then(|| LatencyReport {
            count: total,
            mean_us: self.sum_us.load(Relaxed).checked_div(total).unwrap_or(0),
            p50_us: quantile(500),
            p90_us: quantile(900),
            p99_us: quantile(990),
            max_us: quantile(1_000),
        })
    }

    /// In buckets that end where a power of two of a microsecond begins, from 16 µs to 4 s.
    pub(crate) fn buckets(&self) -> Buckets {
        let counts = self.counts();
        let upto = ENDS_US.map(|end| {
            let below = (0..BUCKETS).filter(|index| upper_us(*index) < end);
            let count = below.filter_map(|index| counts.get(index)).sum();
            (end, count)
        });
        Buckets {
            upto: upto.to_vec(),
            count: counts.iter().sum(),
            sum_us: self.sum_us.load(Relaxed),
        }
    }

    fn counts(&self) -> Vec<u64> {
        let counts = self.buckets.iter();
        counts.map(|count| count.load(Relaxed)).collect()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
        }
    }
}

/// Below 4 µs each its own; above, the leading bit and the two bits behind it.
fn bucket(us: u64) -> usize {
    let Some(power) = us.checked_ilog2().filter(|power| *power >= 2) else {
        return usize::try_from(us).unwrap_or(0);
    };
    let step = us >> (power - 2) & 3;
    let index = u64::from(power - 1) * 4 + step;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest duration of a bucket, µs.
fn upper_us(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(0);
    if index < 4 {
        return index;
    }
    let (power, step) = (index / 4 + 1, index % 4);
    ((5 + step) << (power - 2)) - 1
}

/// Up to two minutes; the last bucket holds everything above.
const BUCKETS: usize = 104;
/// What is told apart outside: every second power of two.
const ENDS_US: [u64; 10] = [
    1 << 4,
    1 << 6,
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_a_bucket_that_holds_it() {
        for us in (0..100_000_u64).chain((17..27).map(|power| (1 << power) - 1)) {
            let index = bucket(us);
            assert!(us <= upper_us(index), "{us} in {index}");
            assert!(index == 0 || us > upper_us(index - 1), "{us} in {index}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_samples() {
        let histogram = Histogram::default();
        assert!(histogram.report().is_none());
        for us in 1..=1_000 {
            histogram.add(Duration::from_micros(us));
        }
        let report = histogram.report().unwrap();
        assert_eq!(report.count, 1_000);
        assert!((500..=640).contains(&report.p50_us), "{report:?}");
        assert!((990..=1_279).contains(&report.p99_us), "{report:?}");
    }

    #[test]
    fn buckets_hold_what_lies_below_their_end() {
        let histogram = Histogram::default();
        for us in [3, 15, 16, 63, 1_000, 5_000_000] {
            histogram.add(Duration::from_micros(us));
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.count, 6);
        assert_eq!(buckets.sum_us, 3 + 15 + 16 + 63 + 1_000 + 5_000_000);
        let upto = |end: u64| buckets.upto.iter().find(|(at, _)| *at == end).unwrap().1;
        assert_eq!(upto(16), 2);
        assert_eq!(upto(64), 4);
        assert_eq!(upto(1 << 10), 5);
        assert_eq!(upto(1 << 22), 5);
    }
}
