//! [`Snapshot`]: what a link knows of its peers and handshakes, for a comparison with a model of it.

use crate::Link;
use crate::session::Owner;
use core::time::Duration;
use frames::{BootId, SessionIndex};

/// What a link knows at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Handshakes that it began.
    pub attempts: Vec<AttemptSeen>,
    /// Sessions that it answered for and that are not confirmed yet.
    pub candidates: Vec<CandidateSeen>,
    /// Devices that had a session here.
    pub peers: Vec<PeerSeen>,
}

/// A handshake that a device began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptSeen {
    /// The other side.
    pub name: String,
    /// Of the session to be.
    pub index: SessionIndex,
    /// The life of the other side that it is for.
    pub boot: BootId,
    /// Of the streams.
    pub association: u64,
    /// Whether only the keys are to change.
    pub rekey: bool,
    /// Whether it was answered.
    pub confirms: bool,
}

/// A session that nobody has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateSeen {
    /// The other side.
    pub name: String,
    /// Of the session.
    pub index: SessionIndex,
}

/// A device that had a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSeen {
    /// Its name.
    pub name: String,
    /// Its newest life.
    pub boot: BootId,
    /// The newest association.
    pub association: u64,
    /// Those before it in the same life, newest last.
    pub ended: Vec<u64>,
    /// Of one that is up, the present session and the one before its last rekey.
    pub up: Option<(SessionIndex, Option<SessionIndex>)>,
}

impl Link {
    /// What it knows now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let attempts = self.attempts.iter().map(|attempt| AttemptSeen {
            name: attempt.name.clone(),
            index: attempt.local,
            boot: attempt.boot,
            association: attempt.association,
            rekey: attempt.rekey,
            confirms: attempt.confirms(),
        });
        let candidates = self.half_open.iter().filter_map(|index| match &self.sessions.get(*index)?.owner {
            Owner::Candidate(candidate) => {
                Some(CandidateSeen { name: candidate.name.clone(), index: *index })
            }
            Owner::Peer(_) => None,
        });
        let peers = self.peers.iter().map(|peer| PeerSeen {
            name: peer.name.clone(),
            boot: peer.boot,
            association: peer.association,
            ended: peer.ended.clone(),
            up: peer.life.as_ref().map(|life| (life.current, life.previous.map(|(index, _)| index))),
        });
        Snapshot { attempts: attempts.collect(), candidates: candidates.collect(), peers: peers.collect() }
    }

    /// From the next session on, keys are replaced at this age.
    pub fn set_rekey_after(&mut self, age: Duration) {
        self.rekey_after = age;
    }
}
