//! [`Looks`]: when to look at a namespace's sockets again.
//!
//! # Theory of operation
//!
//! Events only say that it may be worth while to look; the dump is the truth. A *hint* asks for a look at once and for
//! two more, [`SECOND`] and [`THIRD`] later, because a hint may come before what it tells of can be seen: the tracepoint
//! of a system call fires inside it. Besides that there is always a regular look, often or seldom ([`Pace`]).
//!
//! A storm of hints (a host where thousands of sockets a second come and go) must not eat the processor: after a look
//! that took *t* the next one waits [`SHARE`] · *t*, so looking costs a tenth of one core at most. With 10 listeners a
//! look takes 55 µs, so even then a change is found in less than a millisecond.

use core::time::Duration;
use l2link::Time;

/// A socket that was bound when the hint came is certainly visible by then.
const SECOND: Duration = Duration::from_millis(1);
/// Programs that bind and only later listen, and slow system calls.
const THIRD: Duration = Duration::from_millis(10);
/// Pause after a look, in units of what the look took.
const SHARE: u32 = 10;

/// A look that could not be taken is taken again.
const UNANSWERED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Looks that were asked for.
    asked: [Option<Time>; 3],
    /// The next regular look; none while nothing is there to be looked at.
    regular: Option<Time>,
    /// Not before this.
    earliest: Time,
}

impl Looks {
    /// Something may have changed just now.
    pub(crate) fn hint(&mut self, now: Time) {
        let [soon, ..] = self.asked;
        self.asked = [soon.or(Some(now)), Some(now + SECOND), Some(now + THIRD)];
    }

    /// One look, as soon as may be.
    pub(crate) fn ask(&mut self, now: Time) {
        self.asked[0].get_or_insert(now);
    }

    /// Whether to look now; the answer "yes" is given once.
    pub(crate) fn poll(&mut self, now: Time) -> bool {
        if self.timeout().is_none_or(|time| time > now) {
            return false;
        }
        for time in self.asked.iter_mut().chain([&mut self.regular]) {
            *time = time.filter(|time| *time > now);
        }
        self.regular.get_or_insert(now + UNANSWERED);
        true
    }

    /// A look is done: it took so long, and the next regular one is due after `pace`, if any.
    pub(crate) fn done(&mut self, took: Duration, pace: Option<Duration>, now: Time) {
        self.earliest = now + took * SHARE;
        self.regular = pace.map(|pace| now + pace);
    }

    /// A regular look has to be at this time or before.
    pub(crate) fn at_latest(&mut self, time: Time) {
        self.regular = Some(self.regular.map_or(time, |regular| regular.min(time)));
    }

    /// No more looks.
    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    /// When the next look is due.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.asked.iter().copied().chain([self.regular]).flatten().min().map(|time| time.max(self.earliest))
    }
}

/// How often to look at the sockets without being hinted.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Until then changes are likely.
    busy_until: Time,
}

impl Pace {
    /// With hints: only in case that one was lost.
    const SAFETY: Duration = Duration::from_secs(1);
    /// While a socket is known whose closing nobody tells.
    const UNTOLD: Duration = Duration::from_millis(100);
    /// Without hints, while sockets come and go.
    const BUSY: Duration = Duration::from_millis(20);
    /// Without hints, else.
    const IDLE: Duration = Duration::from_millis(250);
    /// How long after a change more changes are likely.
    const BUSY_FOR: Duration = Duration::from_secs(2);

    /// The regular interval after a look that did or did not find a change.
    pub(crate) fn after(&mut self, changed: bool, untold: bool, triggered: bool, now: Time) -> Duration {
        if changed {
            self.busy_until = now + Self::BUSY_FOR;
        }
        match (triggered, untold) {
            (false, _) if now < self.busy_until => Self::BUSY,
            (_, true) => Self::UNTOLD,
            (false, false) => Self::IDLE,
            (true, false) => Self::SAFETY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const fn ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    #[test]
    fn a_hint_is_three_looks() {
        let mut looks = Looks::default();
        assert_eq!(looks.timeout(), None);
        looks.hint(ms(5));
        let mut times = Vec::new();
        while let Some(time) = looks.timeout() {
            assert!(looks.poll(time) && !looks.poll(time));
            looks.done(Duration::from_micros(55), None, time);
            times.push(time);
        }
        assert_eq!(times, [ms(5), ms(6), ms(15)]);
    }

    #[test]
    fn a_storm_of_hints_costs_a_tenth() {
        let mut looks = Looks::default();
        let mut taken = 0;
        for time in (0..1_000_000).step_by(50).map(Time) {
            looks.hint(time);
            if looks.poll(time) {
                looks.done(Duration::from_micros(100), None, time);
                taken += 1;
            }
        }
        assert_eq!(taken, 1000);
    }

    #[test]
    fn regular_looks() {
        let mut looks = Looks::default();
        looks.done(Duration::ZERO, Some(Duration::from_millis(100)), ms(0));
        assert!(!looks.poll(ms(99)) && looks.poll(ms(100)) && !looks.poll(ms(101)));
        looks.at_latest(ms(300));
        looks.at_latest(ms(200));
        assert_eq!(looks.timeout(), Some(ms(200)));
        looks.stop();
        assert_eq!(looks.timeout(), None);
    }

    #[rstest]
    #[case(true, true, false, 1000)]
    #[case(true, true, true, 100)]
    #[case(false, true, false, 20)]
    #[case(false, true, true, 20)]
    #[case(false, false, true, 100)]
    #[case(false, false, false, 250)]
    fn pace(#[case] triggered: bool, #[case] changed: bool, #[case] untold: bool, #[case] expected: u64) {
        let pace = Pace::default().after(changed, untold, triggered, ms(0));
        assert_eq!(pace, Duration::from_millis(expected));
    }
}
