//! [`End`]: what a device knows of its peers and of the handshakes that are under way.
//!
//! The functions bear the names of those in `l2link` that they stand for.

use crate::Defect;
use crate::wire::{Life, Wire};

/// A handshake that a control began.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The relay.
    pub other: usize,
    /// Place in [`Wire::begun`].
    pub begun: u8,
    /// The life of the relay whose hello it followed.
    pub heard: Life,
    /// The session, from the answer on.
    pub session: Option<u8>,
}

/// A session that a relay answered for, and that is not confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The control.
    pub other: usize,
    /// Place in [`Wire::sessions`].
    pub session: u8,
}

/// A device that had a session here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The newest life of it.
    pub life: Life,
    /// The newest association, over if it is not up.
    pub association: u8,
    /// Those before it in the same life of the peer.
    pub ended: Vec<u8>,
    /// Its association that lives.
    pub up: Option<Up>,
}

/// An association that lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Up {
    /// The session by which frames are sent.
    pub current: u8,
    /// The one before the last rekey.
    pub previous: Option<u8>,
    /// The least life of the peer that can have confirmed it: what it was when this end chose its part of the handshake.
    pub fresh: Life,
    /// Of a relay, messages that it has taken; of a control, those that were acknowledged.
    pub messages: u8,
}

impl Up {
    /// Whether frames under a session are taken.
    #[must_use]
    pub fn takes(&self, session: u8) -> bool {
        self.current == session || self.previous == Some(session)
    }
}

/// What a confirmed handshake means for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// There was no peer, or a dead one.
    Up,
    /// The peer is up, and began afresh.
    Replace,
    /// New keys for the same association.
    Rekey,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct End {
    /// The life it is in.
    pub life: Life,
    /// Of a control.
    pub attempts: Vec<Attempt>,
    /// Of a relay.
    pub candidates: Vec<Candidate>,
    /// By device of the other role.
    pub peers: Vec<Option<Peer>>,
}

impl End {
    /// A device in its first life, with so many of the other role.
    #[must_use]
    pub fn new(life: Life, others: usize) -> Self {
        Self { life, peers: vec![None; others], ..Self::default() }
    }

    /// Its association with a peer that is up.
    #[must_use]
    pub fn up(&self, other: usize) -> Option<(&Peer, &Up)> {
        let peer = self.peers[other].as_ref()?;
        Some((peer, peer.up.as_ref()?))
    }

    /// The same, to be changed.
    pub fn up_mut(&mut self, other: usize) -> Option<&mut Up> {
        self.peers[other].as_mut()?.up.as_mut()
    }

    /// What a handshake with a peer in such a life would mean; `None` if it is refused.
    #[must_use]
    pub fn meets(
        &self,
        other: usize,
        life: Life,
        association: u8,
        defect: Option<Defect>,
    ) -> Option<Meeting> {
        let Some(peer) = &self.peers[other] else { return Some(Meeting::Up) };
        let same_boot = peer.life == life || defect == Some(Defect::ForgetsBoot);
        let same_association = same_boot && peer.association == association;
        let replaced = peer.ended.contains(&association) && defect != Some(Defect::ForgetsTheReplaced);
        let dead = peer.up.is_none() && same_association && defect != Some(Defect::RevivesTheDead);
        match &peer.up {
            _ if same_boot && (replaced || dead) => None,
            None => Some(Meeting::Up),
            Some(_) if same_association => Some(Meeting::Rekey),
            Some(_) => Some(Meeting::Replace),
        }
    }

    /// A candidate is confirmed. `life` is the peer's, `fresh` the least that it can be.
    pub fn establish(
        &mut self,
        other: usize,
        session: u8,
        (life, fresh): (Life, Life),
        association: u8,
        defect: Option<Defect>,
    ) -> Option<Meeting> {
        let Some(meeting) = self.meets(other, life, association, defect) else {
            self.discard(other, session);
            return None;
        };
        self.settle(other);
        match meeting {
            Meeting::Rekey => {
                if let Some(up) = self.up_mut(other) {
                    up.previous = Some(core::mem::replace(&mut up.current, session));
                }
            }
            Meeting::Replace | Meeting::Up => {
                let up = Up { current: session, previous: None, fresh, messages: 0 };
                let before = self.peers[other].take().filter(|before| before.life == life);
                let ended =
                    before.map(|before| before.ended.into_iter().chain([before.association]).collect());
                let ended = ended.unwrap_or_default();
                self.peers[other] = Some(Peer { life, association, ended, up: Some(up) });
            }
        }
        Some(meeting)
    }

    /// Forgets a candidate and the attempt that it came of.
    pub fn discard(&mut self, other: usize, session: u8) {
        self.attempts.retain(|attempt| attempt.other != other || attempt.session != Some(session));
        self.candidates.retain(|candidate| candidate.other != other || candidate.session != session);
    }

    /// Ends all handshakes with a peer whose session is established.
    fn settle(&mut self, other: usize) {
        self.attempts.retain(|attempt| attempt.other != other);
        self.candidates.retain(|candidate| candidate.other != other);
    }

    /// The peer's life ends, and with it all attempts to give it new keys.
    pub fn take_down(&mut self, other: usize, wire: &Wire) {
        if let Some(peer) = &mut self.peers[other] {
            peer.up = None;
        }
        let rekeys = |attempt: &Attempt| wire.begun[usize::from(attempt.begun)].rekey;
        self.attempts.retain(|attempt| attempt.other != other || !rekeys(attempt));
    }
}
