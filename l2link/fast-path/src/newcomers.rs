//! [`Newcomers`]: which flows have had packets enough to be worth an entry in the kernel's tables.
//!
//! An entry costs a system call on each side when it is made and another when it ends, and what was read before must have left
//! first. A flow of a few packets, as a name server's or a connection for one small page, is done before that pays.
//!
//! Packets are counted by hash, so that what is kept is the same for one flow and for a million. Two flows of one hash count
//! together, and at worst are worth it sooner.

use core::hash::BuildHasher;
use core::time::Duration;
use l2link::Time;
use l2link::fast::Flow;
use std::hash::RandomState;

#[derive(Debug)]
pub(crate) struct Newcomers {
    counts: Box<[u8]>,
    hash: RandomState,
    /// When the counts are halved.
    fade_at: Time,
}

impl Newcomers {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; PLACES].into_boxed_slice(), hash: RandomState::new(), fade_at: Time(0) }
    }

    /// Counts a packet of a flow that is met at this interface. Whether the flow is worth an entry.
    pub(crate) fn meet(&mut self, ifindex: u32, flow: &Flow) -> bool {
        let place = self.hash.hash_one((ifindex, flow)) % PLACES as u64;
        let Some(count) = usize::try_from(place).ok().and_then(|place| self.counts.get_mut(place)) else {
            return false;
        };
        *count = count.saturating_add(1).min(WORTH);
        *count == WORTH
    }

    /// Lets what was counted fade: flows of a few packets a second are never worth it.
    pub(crate) fn fade(&mut self, now: Time) {
        if self.fade_at <= now {
            self.fade_at = now + FADE;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }
}

/// Packets of a flow at an interface, from which on it is worth an entry: more than a connection has for a request and its answer, or for
/// two of them that had the same ports one after the other.
const WORTH: u8 = 16;
/// An entry that has expired is made again by fewer packets, the more the flow has.
const FADE: Duration = Duration::from_secs(1);
/// With 100,000 new flows of five packets each in a second, a place has counted four of them when half are forgotten.
const PLACES: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    fn flow(port: u16) -> Flow {
        let address = IpAddr::from([192, 0, 2, 1]);
        Flow { protocol: 17, source: (address, port), destination: (address, 53) }
    }

    /// How many packets of a flow it takes.
    fn needed(newcomers: &mut Newcomers, port: u16) -> usize {
        (1..100).find(|_| newcomers.meet(1, &flow(port))).expect("a flow that is worth it")
    }

    #[test]
    fn a_flow_is_worth_it_from_some_packets_on() {
        let mut newcomers = Newcomers::new();
        assert_eq!(needed(&mut newcomers, 1), 16);
        assert_eq!(needed(&mut newcomers, 1), 1);
    }

    #[test]
    fn flows_of_few_packets_are_not() {
        let mut newcomers = Newcomers::new();
        let worth = (0..60_000).filter(|port| (0..8).any(|_| newcomers.meet(1, &flow(*port)))).count();
        // Those of which several have the same place, of few places.
        assert!(worth < 10_000, "{worth}");
    }

    #[test]
    fn what_was_counted_fades() {
        let mut newcomers = Newcomers::new();
        newcomers.fade(Time(0));
        assert_eq!(needed(&mut newcomers, 1), 16);
        newcomers.fade(Time(0) + FADE / 2);
        assert_eq!(needed(&mut newcomers, 1), 1, "not yet");
        newcomers.fade(Time(0) + FADE);
        assert_eq!(needed(&mut newcomers, 1), 8);
        for _ in 0..5 {
            newcomers.fade(Time(0) + FADE * 10);
            newcomers.fade_at = Time(0);
        }
        assert_eq!(needed(&mut newcomers, 1), 16);
    }

    #[test]
    fn the_same_flow_elsewhere_is_another() {
        let mut newcomers = Newcomers::new();
        let counts = (1..=100).filter(|ifindex| newcomers.meet(*ifindex, &flow(1))).count();
        assert_eq!(counts, 0);
    }
}
