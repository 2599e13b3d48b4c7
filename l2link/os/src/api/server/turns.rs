//! [`Turns`]: those who may only look are served one after the other, and no faster than the daemon has time for.
//!
//! An answer costs the loop about what it is long: rows are gathered and written. So each is charged by its bytes, and all
//! lookers together get [`RATE`] bytes a second, however many they are; what goes beyond that waits. After a pause they may have
//! [`BURST`]'s worth at once. A request that costs more than its answer shows has a price of its own.

use super::ClientId;
use crate::api::Verb;
use core::time::Duration;
use l2link::Time;
use std::collections::VecDeque;

/// Bytes of answers a second: some 15,000 rows, or a tenth of a core.
const RATE: u64 = 4_000_000;
/// What may be had at once after a pause.
const BURST: Duration = Duration::from_secs(2);
/// Clients tried in one turn of the loop for one that asks something.
pub(super) const ATTEMPTS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Who may have something to ask. Nobody is in it twice.
    waiting: VecDeque<ClientId>,
    /// Bytes since the last [`Turns::settle`].
    owed: u64,
    /// When what was answered is paid for.
    paid: Time,
}

/// What a request costs besides its answer, in bytes of answers.
pub(super) const fn price(verb: Option<Verb>) -> u64 {
    match verb {
        // The kernel's rules, routes and discards are read.
        Some(Verb::Verify) => 1_000_000,
        // The kernel is asked a few times.
        Some(Verb::Trace) => 16_000,
        Some(_) | None => 4_000,
    }
}

impl Turns {
    /// A client may have something to ask.
    pub(super) fn wait(&mut self, client: ClientId) {
        if !self.waiting.contains(&client) {
            self.waiting.push_back(client);
        }
    }

    pub(super) fn charge(&mut self, bytes: u64) {
        self.owed += bytes;
    }

    /// Takes account of what was charged since the last time.
    pub(super) fn settle(&mut self, now: Time) {
        if self.owed > 0 {
            let earliest = Time(now.0.saturating_sub(u64::try_from(BURST.as_micros()).unwrap_or(u64::MAX)));
            self.paid =
                self.paid.max(earliest) + Duration::from_micros(self.owed.saturating_mul(1_000_000) / RATE);
            self.owed = 0;
        }
    }

    /// The next client, if it is time.
    pub(super) fn next(&mut self, now: Time) -> Option<ClientId> {
        if self.paid > now {
            return None;
        }
        self.waiting.pop_front()
    }

    /// When there is something to be done.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut turns = Turns::default();
        let (one, other) = (ClientId(1), ClientId(2));
        let start = Time(60_000_000);
        assert_eq!(turns.poll_timeout(), None);
        turns.wait(one);
        turns.wait(other);
        turns.wait(one);
        assert!(turns.poll_timeout().is_some_and(|time| time <= start));
        let mut served = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(10) {
            turns.settle(now);
            if let Some(client) = turns.next(now) {
                served.push(client);
                turns.charge(RATE / 4);
                turns.wait(client);
            }
            now = now + Duration::from_millis(1);
        }
        // Two seconds' worth at once, and ten seconds of the rate.
        assert!((47..=49).contains(&served.len()), "{}", served.len());
        assert_eq!(served[..4], [one, other, one, other]);
        // The last one has yet to be paid for.
        turns.settle(now);
        assert!(turns.poll_timeout().is_some_and(|time| time > now));
    }
}
