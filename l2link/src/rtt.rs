//! Round-trip time and the retransmission time-out that follows from it (RFC 6298, with a LAN's constants).

use core::time::Duration;

/// Retransmission time-out before the first measurement.
const INITIAL: Duration = Duration::from_millis(20);
/// Least time-out. A LAN's round trip is some 100 µs, but the far daemon may not get the processor for a few
/// milliseconds; waiting less would repeat what only was not answered yet.
const MIN: Duration = Duration::from_millis(4);
/// Largest time-out, after doubling too: a healed segment carries messages again within this time.
pub(crate) const MAX: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    deviation: Duration,
}

impl Rtt {
    pub(crate) fn sample(&mut self, sample: Duration) {
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.deviation = sample / 2;
            return;
        };
        self.deviation = (self.deviation * 3 + smoothed.abs_diff(sample)) / 4;
        self.smoothed = Some((smoothed * 7 + sample) / 8);
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Time-out after `doublings` time-outs without progress.
    pub(crate) fn timeout(&self, doublings: u32) -> Duration {
        let once = self.smoothed.map_or(INITIAL, |smoothed| smoothed + self.deviation * 4);
        once.max(MIN).saturating_mul(1 << doublings.min(16)).min(MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6298, 2: SRTT 7/8 * 32 + 1/8 * 16 ms, RTTVAR 3/4 * 16 + 1/4 * 16 ms.
    #[test]
    fn smoothed_as_tcp_does_it() {
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_millis(32));
        assert_eq!(
            (rtt.smoothed(), rtt.timeout(0)),
            (Some(Duration::from_millis(32)), Duration::from_millis(96))
        );
        rtt.sample(Duration::from_millis(16));
        assert_eq!(
            (rtt.smoothed(), rtt.timeout(0)),
            (Some(Duration::from_millis(30)), Duration::from_millis(94))
        );
        assert_eq!(rtt.timeout(1), Duration::from_millis(188));
    }

    #[test]
    fn follows_the_samples_between_its_limits() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(0), INITIAL);
        rtt.sample(Duration::from_micros(100));
        assert_eq!(rtt.timeout(0), MIN);
        assert_eq!(rtt.timeout(1), MIN * 2);
        for _ in 0..50 {
            rtt.sample(Duration::from_millis(30));
        }
        let timeout = rtt.timeout(0);
        assert!(timeout > Duration::from_millis(29) && timeout < Duration::from_millis(60), "{timeout:?}");
        assert_eq!(rtt.timeout(u32::MAX), MAX);
    }
}
