//! [`Ready`]: for which of many peers there is something to do.
//!
//! A device may have [`PEERS_MAX`] peers, each heard ten times a second, so what a wake-up costs must not grow with their
//! number. Whatever may give a peer something to send, or the owner something to take, notes it here, and only the peers
//! that are noted are looked at. Noting one too many costs a look; noting one too few would leave it waiting, and is what
//! the simulator looks for.
//!
//! Alarms may be early, never late: a deadline that moves away, as one does with every frame heard and sent, leaves the
//! alarm where it is, and the alarm is set anew when it goes off.

use crate::Time;
use crate::peer::PEERS_MAX;
use frames::session::Stream;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// Peers for which something may wait to be sent.
    pub(crate) to_send: PeerSet,
    /// Peers of which there may be a message, by stream.
    pub(crate) messages: [PeerSet; Stream::ALL.len()],
    /// Peers that may have said something of routes.
    pub(crate) digests: PeerSet,
    alarms: BTreeSet<(Time, usize)>,
    /// The alarm of each peer, by its place.
    set: Vec<Option<Time>>,
}

impl Ready {
    /// Something is due for a peer at this time, or nothing at all.
    pub(crate) fn alarm(&mut self, peer: usize, deadline: Option<Time>) {
        if self.set.len() <= peer {
            self.set.resize(peer + 1, None);
        }
        let Some(deadline) = deadline else { return };
        let earlier = self.set[peer].is_some_and(|known| known <= deadline);
        if !earlier {
            if let Some(late) = self.set[peer].replace(deadline) {
                self.alarms.remove(&(late, peer));
            }
            self.alarms.insert((deadline, peer));
        }
    }

    /// When the next alarm goes off.
    pub(crate) fn next_alarm(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The peers whose alarms have gone off. They have none now.
    pub(crate) fn take_due(&mut self, now: Time) -> PeerSet {
        let mut due = PeerSet::default();
        while let Some((_, peer)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            self.set[peer] = None;
            due.insert(peer);
        }
        due
    }

    /// A peer's alarm.
    #[cfg(feature = "sim")]
    pub(crate) fn alarm_of(&self, peer: usize) -> Option<Time> {
        self.set.get(peer).copied().flatten()
    }
}

/// Some of the peers, by their places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PeerSet([u64; PEERS_MAX.div_ceil(64)]);

impl PeerSet {
    /// Adds a peer.
    pub(crate) fn insert(&mut self, peer: usize) {
        if let Some(word) = self.0.get_mut(peer / 64) {
            *word |= 1 << (peer % 64);
        }
    }

    /// Takes a peer out.
    pub(crate) fn remove(&mut self, peer: usize) {
        if let Some(word) = self.0.get_mut(peer / 64) {
            *word &= !(1 << (peer % 64));
        }
    }

    /// All of them, once around from `first` on.
    pub(crate) fn around(self, first: usize) -> impl Iterator<Item = usize> {
        self.range(first, usize::MAX).chain(self.range(0, first))
    }

    fn range(self, first: usize, end: usize) -> impl Iterator<Item = usize> {
        let mut next = first;
        core::iter::from_fn(move || {
            let mut place = next / 64;
            let mut word = self.0.get(place)? & (u64::MAX << (next % 64));
            while word == 0 {
                place += 1;
                word = *self.0.get(place)?;
            }
            let peer = place * 64 + word.trailing_zeros() as usize;
            next = peer + 1;
            (peer < end).then_some(peer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_alarm_moves_to_earlier_times_only_until_it_goes_off() {
        let mut ready = Ready::default();
        ready.alarm(7, Some(Time(50)));
        ready.alarm(7, Some(Time(90)));
        ready.alarm(7, None);
        assert_eq!(ready.next_alarm(), Some(Time(50)));
        ready.alarm(7, Some(Time(20)));
        ready.alarm(3, Some(Time(30)));
        assert_eq!(ready.take_due(Time(19)), PeerSet::default());
        assert_eq!(ready.take_due(Time(20)).around(0).collect::<Vec<_>>(), [7]);
        assert_eq!(ready.next_alarm(), Some(Time(30)));
        ready.alarm(7, Some(Time(90)));
        assert_eq!(ready.take_due(Time(90)).around(5).collect::<Vec<_>>(), [7, 3]);
        assert_eq!(ready.next_alarm(), None);
    }

    proptest! {
        #[test]
        fn is_a_set(steps in prop::collection::vec((0..PEERS_MAX, any::<bool>()), 0..300), first in 0..PEERS_MAX) {
            let (mut set, mut model) = (PeerSet::default(), BTreeSet::new());
            for (peer, add) in steps {
                if add {
                    set.insert(peer);
                    model.insert(peer);
                } else {
                    set.remove(peer);
                    model.remove(&peer);
                }
            }
            let around = model.range(first..).chain(model.range(..first)).copied();
            prop_assert_eq!(set.around(first).collect::<Vec<_>>(), around.collect::<Vec<_>>());
        }
    }
}
