//! [`Histogram`]: how often something took how long, as plain numbers.

use core::time::Duration;

/// Durations by size. It takes no memory as it grows, and one sample costs a few comparisons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    counts: [u64; BOUNDS_US.len() + 1],
    sum: Duration,
}

/// Upper bounds in µs, each inclusive: from what one system call takes to what a user gives up after.
const BOUNDS_US: [u64; 18] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

impl Histogram {
    /// Takes a sample.
    pub fn record(&mut self, sample: Duration) {
        let us = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum = self.sum.saturating_add(sample);
    }

    /// Number of samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all samples.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Upper bound of each bucket, inclusive, and the number of samples in it and in no smaller one. The last bucket has
    /// no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]);
        bounds.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for us in [0, 10, 11, 25, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        histogram.record(Duration::MAX);
        let us = |bound: Option<Duration>| bound.map(|bound| bound.as_micros());
        let filled: Vec<_> = histogram
            .buckets()
            .filter(|(_, count)| *count > 0)
            .map(|(bound, count)| (us(bound), count))
            .collect();
        assert_eq!(filled, [(Some(10), 2), (Some(25), 2), (Some(10_000_000), 1), (None, 2)]);
        assert_eq!((histogram.count(), histogram.sum()), (7, Duration::MAX));
    }
}
