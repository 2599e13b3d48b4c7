//! A token bucket: at most `burst` at once and `rate` a second.

use crate::Time;

#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: u64,
    burst: u64,
    /// In millionths of a token.
    level: u64,
    filled: Time,
}

const TOKEN: u64 = 1_000_000;

impl TokenBucket {
    /// A full bucket. `rate` is in tokens per second.
    pub(crate) fn new(rate: u64, burst: u64, now: Time) -> Self {
        Self { rate, burst, level: burst * TOKEN, filled: now }
    }

    /// Whether less than half of the burst is left.
    pub(crate) fn is_low(&mut self, now: Time) -> bool {
        self.fill(now);
        self.level < self.burst * TOKEN / 2
    }

    fn fill(&mut self, now: Time) {
        let elapsed = now.0.saturating_sub(self.filled.0);
        self.filled = self.filled.max(now);
        self.level = elapsed.saturating_mul(self.rate).saturating_add(self.level).min(self.burst * TOKEN);
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        self.fill(now);
        let taken = self.level >= TOKEN;
        if taken {
            self.level -= TOKEN;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_is_less_than_half_of_the_burst() {
        let mut bucket = TokenBucket::new(1, 4, Time(0));
        let low = [0; 4].map(|_| bucket.take(Time(0)) && bucket.is_low(Time(0)));
        assert_eq!(low, [false, false, true, true]);
    }

    #[test]
    fn burst_then_rate() {
        let mut bucket = TokenBucket::new(10, 3, Time(0));
        let taken = |bucket: &mut TokenBucket, at| (0..100).filter(|_| bucket.take(Time(at))).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 99_999), 0);
        assert_eq!(taken(&mut bucket, 100_000), 1);
        assert_eq!(taken(&mut bucket, 50_000), 0);
        assert!(bucket.is_low(Time(100_000)) && !bucket.is_low(Time(300_000)));
        assert_eq!(taken(&mut bucket, u64::MAX), 3);
    }
}
