//! [`BusyPoll`]: waits for events, and looks for them for a moment before the thread goes to sleep.
//!
//! # Theory of operation
//!
//! To wake a thread takes longer than all that is done with a packet: another processor is interrupted, one that may have been
//! halted, and on a virtual machine the host has to set it going again. And a packet seldom comes alone: after the question comes the answer. So
//! a daemon that has passed a packet on looks for the next one for a moment before it sleeps. A question and its answer go
//! through two daemons each, which is four such moments.
//!
//! While a daemon looks, others cannot have its processor. So it looks within limits:
//!
//! - Only where packets come one by one ([`FEW`]). Neither timers nor messages begin it, nor what is dropped; and where many come at once it is
//!   better to let them gather while the thread sleeps.
//! - As often in vain as with success, and besides for a fiftieth of the time ([`SHARE`]), however the packets come.
//! - If somebody else had the processor meanwhile, by the clock, it is left to others for a hundred times as long ([`REST`]).
//!   So it is where a control group was given no more time.

use crate::clock;
use core::ops::RangeInclusive;
use core::time::Duration;
use l2link::Time;
use mio::{Events, Poll};
use std::io;

/// Waits for events.
#[derive(Debug)]
pub struct BusyPoll {
    /// How long is looked.
    longest: Duration,
    /// Packets that were passed on since the last wait.
    passed: u32,
    /// When all that was looked in vain will have been paid for.
    paid: Time,
    /// Until when the processor is left to others.
    rest: Time,
    /// What was spent on looking, found or not.
    spent: Duration,
}

/// Packets in a turn after which the next is looked for.
const FEW: RangeInclusive<u32> = 1..=2;
/// Bytes that are more than a packet has, usually.
const PACKET: usize = 2048;
/// Pause that a look in vain costs, in units of what it took.
const SHARE: u32 = 50;
/// How much of such pauses may be owed: that of forty looks of 50 µs.
const CREDIT: Duration = Duration::from_millis(100);
/// Longer than interrupts take, and the errands of those who wait for these packets: somebody else wants the processor.
const TAKEN: Duration = Duration::from_micros(30);
/// How long it is left to others, in units of how long they had it.
const REST: u32 = 100;

impl BusyPoll {
    /// How long is looked if nothing else is said: until the answer of a program on an idle machine is there.
    pub const USUAL: Duration = Duration::from_micros(50);

    /// One that looks for so long; zero for not at all.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        Self { longest, passed: 0, paid: Time(0), rest: Time(0), spent: Duration::ZERO }
    }

    /// Looks for so long from now on.
    pub fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// A parcel of so many bytes was passed on: another one is likely to follow. One that stands for many packets counts as many.
    pub fn note_parcel(&mut self, bytes: usize) {
        let packets = 1 + u32::try_from(bytes / PACKET).unwrap_or(u32::MAX - 1);
        self.passed = self.passed.saturating_add(packets);
    }

    /// The processor's time that was spent on looking.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// As [`Poll::poll`].
    ///
    /// # Errors
    /// Those of [`Poll::poll`].
    pub fn wait(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let begin = clock::now();
        let Some(end) = self.begin(timeout, begin) else { return poll.poll(events, timeout) };
        let mut now = begin;
        while now < end {
            let before = now;
            poll.poll(events, Some(Duration::ZERO))?;
            now = clock::now();
            let is_taken = self.is_taken(before, now);
            if !events.is_empty() {
                self.end_found(now - begin);
                return Ok(());
            }
            if is_taken {
                break;
            }
        }
        self.end_in_vain(now - begin, now);
        poll.poll(events, timeout.map(|timeout| timeout.saturating_sub(now - begin)))
    }

    /// Until when to look, if at all.
    fn begin(&mut self, timeout: Option<Duration>, now: Time) -> Option<Time> {
        let passed = core::mem::take(&mut self.passed);
        let looks = FEW.contains(&passed) && now >= self.rest && now + CREDIT >= self.paid;
        let longest = timeout.map_or(self.longest, |timeout| timeout.min(self.longest));
        (looks && !longest.is_zero()).then(|| now + longest)
    }

    /// Whether somebody else had the processor between two moments of a look, who has it for a while then.
    fn is_taken(&mut self, before: Time, now: Time) -> bool {
        let away = now - before;
        if away >= TAKEN {
            self.rest = now + away * REST;
        }
        away >= TAKEN
    }

    /// Something was found, which pays for a look in vain.
    fn end_found(&mut self, took: Duration) {
        self.spent += took;
        let pause = u64::try_from((self.longest * SHARE).as_micros()).unwrap_or(u64::MAX);
        self.paid = Time(self.paid.0.saturating_sub(pause));
    }

    fn end_in_vain(&mut self, took: Duration, now: Time) {
        self.spent += took;
        self.paid = self.paid.max(now) + took * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Token, Waker};

    const LONGEST: Duration = BusyPoll::USUAL;
    const NOW: Time = Time(1_000_000);

    fn after(busy_poll: &mut BusyPoll, packets: u32, now: Time) -> Option<Duration> {
        (0..packets).for_each(|_| busy_poll.note_parcel(100));
        busy_poll.begin(None, now).map(|end| end - now)
    }

    #[test]
    fn packets_that_come_one_by_one_begin_a_look() {
        let mut busy_poll = BusyPoll::new(LONGEST);
        let looks = [0, 1, 2, 3, 100, 0].map(|packets| after(&mut busy_poll, packets, NOW));
        assert_eq!(looks, [None, Some(LONGEST), Some(LONGEST), None, None, None]);
        busy_poll.set_longest(Duration::ZERO);
        assert_eq!(after(&mut busy_poll, 1, NOW), None, "it is turned off");
    }

    #[test]
    fn timers_are_not_late() {
        let mut busy_poll = BusyPoll::new(LONGEST);
        for (timeout, expected) in
            [(0, None), (20, Some(NOW + Duration::from_micros(20))), (900, Some(NOW + LONGEST))]
        {
            busy_poll.note_parcel(100);
            assert_eq!(busy_poll.begin(Some(Duration::from_micros(timeout)), NOW), expected);
        }
    }

    #[test]
    fn looks_in_vain_take_a_fiftieth_of_the_time() {
        let mut busy_poll = BusyPoll::new(LONGEST);
        let mut spent = Duration::ZERO;
        for time in (0..1_000_000).step_by(100).map(|time| NOW + Duration::from_micros(time)) {
            if let Some(took) = after(&mut busy_poll, 1, time) {
                busy_poll.end_in_vain(took, time + took);
                spent += took;
            }
        }
        assert_eq!(spent, busy_poll.spent());
        assert!((20..=23).contains(&spent.as_millis()), "and the credit: {spent:?}");
    }

    #[test]
    fn one_that_finds_something_pays_for_one_that_does_not() {
        let mut busy_poll = BusyPoll::new(LONGEST);
        for time in (0..1_000_000).step_by(100).map(|time| NOW + Duration::from_micros(time)) {
            assert!(after(&mut busy_poll, 1, time).is_some(), "at {time:?}");
            if time.0 % 200 == 0 {
                busy_poll.end_found(Duration::from_micros(10));
            } else {
                busy_poll.end_in_vain(LONGEST, time + LONGEST);
            }
        }
    }

    #[test]
    fn whoever_takes_the_processor_is_left_alone() {
        let mut busy_poll = BusyPoll::new(LONGEST);
        let long = Duration::from_millis(3);
        assert!(!busy_poll.is_taken(NOW, NOW + Duration::from_micros(10)), "a short errand");
        assert!(after(&mut busy_poll, 1, NOW).is_some());
        assert!(busy_poll.is_taken(NOW, NOW + long));
        let end = NOW + long + long * REST;
        assert_eq!(after(&mut busy_poll, 1, Time(end.0 - 1)), None);
        assert!(after(&mut busy_poll, 1, end).is_some());
    }

    #[test]
    fn events_come_and_the_timeout_is_kept() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        let waker = Waker::new(poll.registry(), Token(7)).unwrap();
        let mut busy_poll = BusyPoll::new(LONGEST);
        for packets in [0, 1] {
            (0..packets).for_each(|_| busy_poll.note_parcel(100));
            waker.wake().unwrap();
            busy_poll.wait(&mut poll, &mut events, None).unwrap();
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Token(7)]);
        }
        busy_poll.note_parcel(100);
        let begin = clock::now();
        busy_poll.wait(&mut poll, &mut events, Some(Duration::from_millis(5))).unwrap();
        assert!(events.is_empty() && clock::now() - begin >= Duration::from_millis(5));
    }
}
