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

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let elapsed = now.0.saturating_sub(self.filled.0);
        self.filled = self.filled.max(now);
        self.level = elapsed.saturating_mul(self.rate).saturating_add(self.level).min(self.burst * TOKEN);
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
    fn burst_then_rate() {
        let mut bucket = TokenBucket::new(10, 3, Time(0));
        let taken = |bucket: &mut TokenBucket, at| (0..100).filter(|_| bucket.take(Time(at))).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 99_999), 0);
        assert_eq!(taken(&mut bucket, 100_000), 1);
        assert_eq!(taken(&mut bucket, 50_000), 0);
        assert_eq!(taken(&mut bucket, u64::MAX), 3);
    }
}
