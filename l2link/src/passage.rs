//! [`Passage`]: a copy of a parcel that went through the link, for who looks on.
//!
//! Copies are taken where a parcel is plain: before it is sealed, and after it was opened. A [`crate::Link`] takes them only if its
//! owner asks for them: [`crate::Link::keep_passages`].

use crate::{Link, PeerId};
use frames::data::Tunnel;
use std::collections::VecDeque;

/// A parcel that went through the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Which way.
    pub way: Way,
    /// The other end.
    pub peer: PeerId,
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Offload header and Ethernet frame.
    pub parcel: Vec<u8>,
}

/// Which way a parcel went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It came from the peer.
    Received,
    /// It was written into the batch, for the peer.
    Sent,
}

/// Copies that the owner has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Passages {
    waiting: VecDeque<Passage>,
}

impl Passages {
    /// Off the usual way: whoever looks on pays for it.
    #[cold]
    pub(crate) fn push(&mut self, way: Way, peer: PeerId, tunnel: Tunnel, parcel: &[u8]) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Passage { way, peer, tunnel, parcel: parcel.to_vec() });
        }
    }
}

impl Link {
    /// From now on [`Link::poll_passage`] gives copies of all parcels away.
    pub fn keep_passages(&mut self) {
        self.passages.get_or_insert_default();
    }

    /// Ends [`Link::keep_passages`].
    pub fn drop_passages(&mut self) {
        self.passages = None;
    }

    /// The next parcel that went through; to be polled after each that was given to the link or taken from it, as only so
    /// many are kept.
    pub fn poll_passage(&mut self) -> Option<Passage> {
        self.passages.as_mut()?.waiting.pop_front()
    }

    /// The name of a peer.
    #[must_use]
    pub fn peer_name(&self, peer: PeerId) -> Option<&str> {
        self.peers.get(peer.0 as usize).map(|peer| peer.name.as_str())
    }
}

/// Copies that wait at most: those of one parcel to as many controls as there can be, and fragments that were held.
const WAITING_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_nobody_takes_are_bounded() {
        let mut passages = Passages::default();
        for length in 0..2_000 {
            passages.push(Way::Sent, PeerId(0), Tunnel(1), &vec![0; length]);
        }
        let lengths: Vec<usize> = passages.waiting.iter().map(|passage| passage.parcel.len()).collect();
        assert_eq!(lengths, (0..WAITING_MAX).collect::<Vec<_>>());
    }
}
