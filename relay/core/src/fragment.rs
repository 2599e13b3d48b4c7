//! IP fragments follow their first.
//!
//! # Theory of operation
//! Only the first fragment of a packet holds the transport header by which the dispatch table finds a rule. What was
//! decided about it, targets or the reason for which it was dropped, is remembered under the port and what the fragments
//! of one packet have in common ([`frames::inet::FragmentKey`]) for [`REMEMBERED`], as long as hosts put packets together (RFC 791 proposes 15 s, RFC 8200
//! demands up to 60 s, Linux takes 30 s). Later fragments are treated like it. A later fragment that comes before its
//! first, as fragments take different paths, is held for [`HELD`] at most.
//!
//! Both tables are bounded, and nothing that a stranger sends makes them grow: [`SLOTS`] first fragments are remembered
//! in a ring in which the oldest makes place, with memory that is used again; [`HELD_MAX`] later fragments are held, and
//! one more is dropped.

use crate::dispatch::Targets;
use crate::police::PuntClass;
use core::time::Duration;
use frames::inet;
use frames::{DropReason, PortId};
use l2link::Time;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// How long the verdict over a first fragment holds.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30);
/// How long a later fragment waits for its first.
pub(crate) const HELD: Duration = Duration::from_secs(1);
/// First fragments that are remembered: 137 a second for [`REMEMBERED`].
pub(crate) const SLOTS: usize = 4_096;
/// Later fragments that are held: a few packets of 64 KiB in pieces of 1,500 bytes.
pub(crate) const HELD_MAX: usize = 256;

/// What the fragments of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FragmentKey {
    port: PortId,
    packet: inet::FragmentKey,
}

/// What was decided about a first fragment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Followed<'a> {
    /// It went to these, as a packet of this class.
    Sent(PuntClass, &'a Targets),
    /// It was dropped.
    Dropped(DropReason),
}

#[derive(Debug, Default)]
pub(crate) struct Fragments {
    places: FxHashMap<FragmentKey, usize>,
    ring: Vec<Slot>,
    next: usize,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Slot {
    key: FragmentKey,
    until: Time,
    decision: Result<PuntClass, DropReason>,
    targets: Targets,
}

#[derive(Debug)]
struct Held {
    key: FragmentKey,
    until: Time,
    parcel: Vec<u8>,
}

impl FragmentKey {
    pub(crate) fn new(port: PortId, packet: inet::FragmentKey) -> Self {
        Self { port, packet }
    }
}

impl Fragments {
    /// Remembers what was decided about a first fragment.
    pub(crate) fn remember(
        &mut self,
        key: FragmentKey,
        decision: Result<PuntClass, DropReason>,
        targets: &Targets,
        now: Time,
    ) {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => self.take_slot(key),
        };
        let slot = &mut self.ring[place];
        slot.until = now + REMEMBERED;
        slot.decision = decision;
        slot.targets.copy_from(targets);
    }

    /// What was decided about the first fragment of the packet, if that is known.
    pub(crate) fn follow(&self, key: &FragmentKey, now: Time) -> Option<Followed<'_>> {
        let slot = &self.ring[*self.places.get(key)?];
        (now <= slot.until).then_some(match slot.decision {
            Ok(class) => Followed::Sent(class, &slot.targets),
            Err(reason) => Followed::Dropped(reason),
        })
    }

    /// Holds a later fragment until its first comes. Returns whether there was room.
    #[must_use]
    pub(crate) fn hold(&mut self, key: FragmentKey, parcel: &[u8], now: Time) -> bool {
        let room = self.held.len() < HELD_MAX;
        if room {
            self.held.push_back(Held { key, until: now + HELD, parcel: parcel.to_vec() });
        }
        room
    }

    /// The next held fragment of this packet.
    pub(crate) fn release(&mut self, key: &FragmentKey) -> Option<Vec<u8>> {
        let place = self.held.iter().position(|held| held.key == *key)?;
        self.held.remove(place).map(|held| held.parcel)
    }

    /// When [`Fragments::expire`] wants to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.held.front().map(|held| held.until)
    }

    /// Gives up fragments whose first did not come. Returns how many.
    pub(crate) fn expire(&mut self, now: Time) -> u64 {
        let mut expired = 0;
        while self.held.front().is_some_and(|held| held.until <= now) {
            self.held.pop_front();
            expired += 1;
        }
        expired
    }

    fn take_slot(&mut self, key: FragmentKey) -> usize {
        let place = self.next;
        self.next = (self.next + 1) % SLOTS;
        match self.ring.get_mut(place) {
            Some(slot) => {
                self.places.remove(&slot.key);
                slot.key = key;
            }
            None => self.ring.push(Slot {
                key,
                until: Time::default(),
                decision: Err(DropReason::Unmatched),
                targets: Targets::default(),
            }),
        }
        self.places.insert(key, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    const UNMATCHED: Result<PuntClass, DropReason> = Err(DropReason::Unmatched);

    #[test]
    fn later_fragments_follow_the_first_for_thirty_seconds() {
        let mut fragments = Fragments::default();
        assert!(fragments.follow(&key(1), Time(0)).is_none());
        fragments.remember(key(1), UNMATCHED, &Targets::default(), Time(0));
        let follows =
            |at| matches!(fragments.follow(&key(1), at), Some(Followed::Dropped(DropReason::Unmatched)));
        assert!(follows(Time(30_000_000)));
        assert!(!follows(Time(30_000_001)));
    }

    #[test]
    fn a_flood_of_firsts_pushes_out_the_oldest_only() {
        let mut fragments = Fragments::default();
        let slots = u32::try_from(SLOTS).unwrap();
        for id in 0..=slots {
            fragments.remember(key(id), UNMATCHED, &Targets::default(), Time(0));
        }
        assert!(fragments.follow(&key(0), Time(0)).is_none());
        assert!((1..=slots).all(|id| fragments.follow(&key(id), Time(0)).is_some()));
        assert_eq!((fragments.ring.len(), fragments.places.len()), (SLOTS, SLOTS));
    }

    #[test]
    fn held_fragments_are_released_in_order_or_given_up() {
        let mut fragments = Fragments::default();
        assert!(fragments.hold(key(1), b"a", Time(0)));
        assert!(fragments.hold(key(2), b"x", Time(1)));
        assert!(fragments.hold(key(1), b"b", Time(2)));
        assert_eq!(fragments.release(&key(1)).unwrap(), b"a");
        assert_eq!(fragments.release(&key(1)).unwrap(), b"b");
        assert_eq!(fragments.release(&key(1)), None);
        assert_eq!(fragments.poll_timeout(), Some(Time(1_000_001)));
        assert_eq!(fragments.expire(Time(1_000_000)), 0);
        assert_eq!(fragments.expire(Time(1_000_001)), 1);
        assert_eq!(fragments.poll_timeout(), None);
    }

    #[test]
    fn held_fragments_are_bounded() {
        let mut fragments = Fragments::default();
        let held = (0..1_000).filter(|id| fragments.hold(key(*id), b"x", Time(0))).count();
        assert_eq!(held, HELD_MAX);
    }

    fn key(id: u32) -> FragmentKey {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let packet = inet::FragmentKey { source: address, destination: address, id, protocol: 17 };
        FragmentKey::new(PortId(1), packet)
    }
}
