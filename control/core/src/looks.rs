//! [`Looks`]: when to look at a namespace's sockets again.
//!
//! # Theory of operation
//!
//! Events only say that it may be worth while to look; the dump is the truth. A *hint* asks for a look at once and for
//! two more, [`SECOND`] and [`THIRD`] later, because a hint may come before what it tells of can be seen: the tracepoint
//! of a system call fires inside it. Besides that there is always a regular look, often or seldom ([`Pace`]).
//!
//! The sockets of a namespace are looked at in two parts ([`SocketPart`]), each with its own hints, its own pace and its own
//! account of what looking cost ([`SocketLooks`]): a look at a hundred listeners does not wait until one at 20,000 UDP sockets is paid for.
//!
//! A storm of hints (a host where thousands of sockets a second come and go) must not eat the processor: a look that took
//! *t* is paid for with [`SHARE`] · *t* of waiting, so looking costs a tenth of one core at most. Up to [`CREDIT`] of
//! that may be owed, so that a few changes one after the other are each found at once. With 10 listeners a look takes
//! 55 µs, so even in a storm a change is found in less than a millisecond.
//!
//! Looks that nothing asked for cost a thousandth of a core where hints come, however many sockets there are: 20,000 take
//! 15 ms.

use crate::seen::{Parts, SocketPart};
use core::time::Duration;
use l2link::Time;

/// A socket that was bound when the hint came is certainly visible by then.
const SECOND: Duration = Duration::from_millis(1);
/// Programs that bind and only later listen, and slow system calls.
const THIRD: Duration = Duration::from_millis(10);
/// Pause that a look costs, in units of what the look took.
const SHARE: u32 = 10;
/// Pause in µs that may be owed: twenty looks of 100 µs.
const CREDIT: u64 = 20_000;
/// Least interval of regular looks, in units of what one takes; to make use of it takes as long again.
const IDLE_SHARE: u32 = 2000;
/// The same where regular looks are all there is.
const POLLING_SHARE: u32 = 100;

/// A look that could not be taken is taken again.
const UNANSWERED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Looks that were asked for.
    asked: [Option<Time>; 3],
    /// The next regular look; none while nothing is there to be looked at.
    regular: Option<Time>,
    /// When all looks until now will have been paid for.
    paid: Time,
    /// The first event since the last look.
    noticed: Option<Time>,
    /// The event that the last look answers; none if nothing had asked for it.
    cause: Option<Time>,
}

impl Looks {
    /// Something may have changed just now.
    pub(crate) fn hint(&mut self, now: Time) {
        self.noticed.get_or_insert(now);
        let [soon, ..] = self.asked;
        self.asked = [soon.or(Some(now)), Some(now + SECOND), Some(now + THIRD)];
    }

    /// One look, as soon as may be.
    pub(crate) fn ask(&mut self, now: Time) {
        self.noticed.get_or_insert(now);
        self.asked[0].get_or_insert(now);
    }

    /// Whether to look now; the answer "yes" is given once.
    pub(crate) fn poll(&mut self, now: Time) -> bool {
        if self.timeout().is_none_or(|time| time > now) {
            return false;
        }
        let again = self.asked.iter().flatten().any(|time| *time <= now);
        self.cause = self.noticed.take().or(self.cause.filter(|_| again));
        for time in self.asked.iter_mut().chain([&mut self.regular]) {
            *time = time.filter(|time| *time > now);
        }
        self.regular.get_or_insert(now + UNANSWERED);
        true
    }

    /// When that was noticed which the present look is to find; none if it is a regular one.
    pub(crate) fn cause(&self) -> Option<Time> {
        self.cause
    }

    /// A look is done: it took so long, and the next regular one is due after `pace`, if any.
    pub(crate) fn done(&mut self, took: Duration, pace: Option<Duration>, now: Time) {
        self.paid = self.paid.max(now) + took * SHARE;
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
        let earliest = Time(self.paid.0.saturating_sub(CREDIT));
        self.asked.iter().copied().chain([self.regular]).flatten().min().map(|time| time.max(earliest))
    }
}

/// How often to look at the sockets without being hinted.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Until then changes are likely.
    busy_until: Time,
    /// What a look takes. It may double from one look to the next and no more, so that one look for which the processor
    /// had no time does not put off the next for long.
    cost: Duration,
}

impl Pace {
    /// With hints: only in case that one was lost.
    const SAFETY: Duration = Duration::from_secs(1);
    /// While a socket is known whose closing nobody tells.
    const UNTOLD: Duration = Duration::from_millis(200);
    /// Without hints, while sockets come and go.
    const BUSY: Duration = Duration::from_millis(20);
    /// Without hints, else.
    const IDLE: Duration = Duration::from_millis(250);
    /// Longest intervals, however long a look takes.
    const SAFETY_MAX: Duration = Duration::from_secs(30);
    const UNTOLD_MAX: Duration = Duration::from_secs(1);
    /// A look of some ten sockets on a slow machine.
    const USUAL_COST: Duration = Duration::from_micros(100);
    /// How long after a change more changes are likely.
    const BUSY_FOR: Duration = Duration::from_secs(2);

    /// The regular interval after a look that took so long, and did or did not find a change.
    pub(crate) fn after(&mut self, took: Duration, found: Found, triggered: bool, now: Time) -> Duration {
        if found.changed {
            self.busy_until = now + Self::BUSY_FOR;
        }
        self.cost = took.min((self.cost * 2).max(Self::USUAL_COST));
        let took = self.cost;
        match (triggered, found.untold) {
            (false, _) if now < self.busy_until => Self::BUSY,
            (false, false) => Self::IDLE.max(took * POLLING_SHARE).min(Self::SAFETY_MAX),
            (false, true) => Self::UNTOLD.max(took * POLLING_SHARE).min(Self::UNTOLD_MAX),
            (true, true) => Self::UNTOLD.max(took * IDLE_SHARE).min(Self::UNTOLD_MAX),
            (true, false) => Self::safety(Self::SAFETY, took),
        }
    }

    /// The interval of looks that are only taken in case that something went untold.
    pub(crate) fn safety(least: Duration, took: Duration) -> Duration {
        least.max((took * IDLE_SHARE).min(Self::SAFETY_MAX))
    }
}

/// When to look at each part of a namespace's sockets.
#[derive(Debug, Default)]
pub(crate) struct SocketLooks {
    parts: Parts<Looks>,
    pace: Parts<Pace>,
}

impl SocketLooks {
    pub(crate) fn of(&mut self, part: SocketPart) -> &mut Looks {
        self.parts.of_mut(part)
    }

    /// As [`Looks::hint`], of both.
    pub(crate) fn hint(&mut self, now: Time) {
        self.parts.all_mut().for_each(|looks| looks.hint(now));
    }

    /// As [`Looks::ask`], of both.
    pub(crate) fn ask(&mut self, now: Time) {
        self.parts.all_mut().for_each(|looks| looks.ask(now));
    }

    /// A look at a part is done: it took so long.
    pub(crate) fn done(
        &mut self,
        part: SocketPart,
        took: Duration,
        found: Found,
        triggered: bool,
        now: Time,
    ) {
        let pace = self.pace.of_mut(part).after(took, found, triggered, now);
        self.parts.of_mut(part).done(took, Some(pace), now);
    }

    /// No more looks.
    pub(crate) fn stop(&mut self) {
        self.parts.all_mut().for_each(Looks::stop);
    }

    /// When the next look at either is due.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.parts.all().filter_map(Looks::timeout).min()
    }
}

/// What a look found, as far as it counts for the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Other sockets than the last time.
    pub(crate) changed: bool,
    /// A socket with a rule whose closing nobody tells.
    pub(crate) untold: bool,
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
    fn a_look_knows_its_cause() {
        let mut looks = Looks::default();
        looks.hint(ms(5));
        for (at, cause) in [(5, Some(ms(5))), (6, Some(ms(5))), (15, Some(ms(5))), (1015, None)] {
            assert!(looks.poll(ms(at)));
            looks.done(Duration::ZERO, Some(Duration::from_secs(1)), ms(at));
            assert_eq!(looks.cause(), cause, "at {at} ms");
        }
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
        assert_eq!(taken, 1000 + 20, "a tenth, and the credit");
    }

    #[test]
    fn changes_one_after_the_other_are_found_at_once() {
        let mut looks = Looks::default();
        for time in [ms(1), Time(1500), ms(2)] {
            looks.hint(time);
            assert!(looks.poll(time), "{time:?}");
            looks.done(Duration::from_micros(300), None, time);
        }
        looks.hint(ms(3));
        looks.done(Duration::from_millis(15), None, ms(3));
        assert!(!looks.poll(ms(100)), "a long look is paid for");
        assert!(looks.poll(ms(160)));
    }

    #[test]
    fn a_dear_part_does_not_put_off_the_other() {
        let mut looks = SocketLooks::default();
        let (took, found) = (Duration::from_millis(15), Found { changed: true, untold: false });
        looks.hint(ms(1));
        assert!(SocketPart::ALL.iter().all(|part| looks.of(*part).poll(ms(1))));
        looks.done(SocketPart::Others, took, found, true, ms(16));
        looks.done(SocketPart::Listeners, Duration::from_micros(50), found, true, ms(16));
        looks.hint(ms(20));
        assert!(looks.of(SocketPart::Listeners).poll(ms(20)));
        assert!(!looks.of(SocketPart::Others).poll(ms(20)), "it is paid for");
        assert!(looks.of(SocketPart::Others).poll(ms(170)));
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
    #[case(true, true, true, 200)]
    #[case(false, true, false, 20)]
    #[case(false, true, true, 20)]
    #[case(false, false, true, 200)]
    #[case(false, false, false, 250)]
    fn pace(#[case] triggered: bool, #[case] changed: bool, #[case] untold: bool, #[case] expected: u64) {
        let pace =
            Pace::default().after(Duration::from_micros(55), Found { changed, untold }, triggered, ms(0));
        assert_eq!(pace, Duration::from_millis(expected));
    }

    #[rstest]
    #[case(15_000, false, true, 30_000)]
    #[case(2_000, false, true, 4_000)]
    #[case(15_000, true, true, 1_000)]
    #[case(400, true, true, 800)]
    #[case(15_000, false, false, 1_500)]
    fn dear_looks_are_rare(
        #[case] took_us: u64,
        #[case] untold: bool,
        #[case] triggered: bool,
        #[case] expected: u64,
    ) {
        let found = Found { changed: false, untold };
        let (mut pace, took) = (Pace::default(), Duration::from_micros(took_us));
        let mut intervals = (0..10).map(|_| pace.after(took, found, triggered, ms(0)));
        assert!(intervals.next().unwrap() <= Duration::from_secs(1), "one look does not tell yet");
        assert_eq!(intervals.last(), Some(Duration::from_millis(expected)));
    }
}
