//! From a candidate to a peer, and the end of a peer's life.
//!
//! A handshake whose keys are confirmed meets what is known under its name:
//!
//! | known | the handshake says | then |
//! |---|---|---|
//! | nothing, or a dead peer | a new association | the peer is up |
//! | a known peer | same boot id, an association that is over here | ignored: the other side has yet to see the loss |
//! | a live peer | same boot id, same association | the keys change, nothing else |
//! | a live peer | same boot id, another association | it lost contact first: down and up again |
//! | a live peer | another boot id, from the same address | it restarted: down and up again, at once |
//! | a live peer | another boot id, from another address | two devices of one name: refused while the old one lives |
//!
//! The last row waits for the liveness time-out of the old device, which is at most `missed` keepalives long; if it is
//! dead, the newcomer's next try finds a dead peer. [`crate::Event::PeerDown`] always stands between two
//! [`crate::Event::PeerUp`].

use crate::peer::{Life, PEERS_MAX, Peer};
use crate::rtt::Rtt;
use crate::session::{Candidate, Owner, PREVIOUS_KEPT, REKEY_PATIENCE, flags};
use crate::{DownReason, Event, Link, PeerId, Time};
use frames::discovery::{Mode, Role};
use frames::header::Kind;
use frames::session::{Close, CloseReason};
use frames::{DropReason, Mac, SessionIndex};

/// What a confirmed handshake means for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// The first one under this name.
    New,
    /// Of a peer that was down.
    Again(usize),
    /// Of a peer that was up and began afresh.
    Replace(usize),
    /// New keys for the same association.
    Rekey(usize),
}

impl Link {
    /// What a handshake of this candidate would mean now.
    pub(crate) fn meets(
        &self,
        candidate: &Candidate,
        association: u64,
        now: Time,
    ) -> Result<Meeting, DropReason> {
        let Some(index) = self.peer_named(candidate.role, &candidate.name) else {
            return if self.peers.len() < PEERS_MAX {
                Ok(Meeting::New)
            } else {
                Err(DropReason::HandshakeLimit)
            };
        };
        let peer = &self.peers[index];
        let same_boot = peer.boot == candidate.boot;
        let same_association = same_boot && peer.association == association;
        match &peer.life {
            _ if same_boot && peer.has_ended(association) => Err(DropReason::BadHandshake),
            None => Ok(Meeting::Again(index)),
            Some(_) if same_association => Ok(Meeting::Rekey(index)),
            Some(life) if !same_boot && peer.mac != candidate.mac && now < life.dead_at(self.missed) => {
                Err(DropReason::NameInUse)
            }
            Some(_) => Ok(Meeting::Replace(index)),
        }
    }

    /// A candidate is confirmed: its first frame opened.
    pub(crate) fn establish(
        &mut self,
        session: SessionIndex,
        source: Mac,
        now: Time,
    ) -> Result<usize, DropReason> {
        let Some(known) = self.sessions.get(session) else { return Err(DropReason::UnknownSession) };
        let Owner::Candidate(candidate) = &known.owner else { return Err(DropReason::UnknownSession) };
        let (candidate, association) = ((**candidate).clone(), known.association);
        let meeting = match self.meets(&candidate, association, now) {
            Ok(meeting) => meeting,
            Err(reason) => {
                if reason == DropReason::NameInUse {
                    self.push_refusal(session, CloseReason::NAME_IN_USE);
                    self.refuse(&candidate.name, candidate.role, source, reason, now);
                }
                self.discard(session);
                return Err(reason);
            }
        };
        self.settle(session, candidate.role, &candidate.name);
        let index = match meeting {
            Meeting::Rekey(index) => {
                self.change_keys(index, session, now);
                index
            }
            Meeting::Replace(index) => {
                self.take_down(index, DownReason::Replaced, now);
                self.bring_up(Some(index), session, candidate, association, source, now)
            }
            Meeting::Again(index) => self.bring_up(Some(index), session, candidate, association, source, now),
            Meeting::New => self.bring_up(None, session, candidate, association, source, now),
        };
        if let Some(session) = self.sessions.get_mut(session) {
            session.owner = Owner::Peer(index);
        }
        Ok(index)
    }

    /// Forgets a candidate and the attempt that it came of.
    pub(crate) fn discard(&mut self, session: SessionIndex) {
        self.attempts.retain(|attempt| attempt.local != session);
        self.half_open.retain(|index| *index != session);
        self.sessions.remove(session);
    }

    /// The peer's life ends.
    pub(crate) fn take_down(&mut self, index: usize, reason: DownReason, now: Time) {
        let peer = &mut self.peers[index];
        let Some(life) = peer.life.take() else { return };
        log::debug!(target: "link::peer", "{} is down: {reason}", peer.name);
        peer.since = now;
        self.sessions.remove(life.current);
        if let Some((previous, _)) = life.previous {
            self.sessions.remove(previous);
        }
        let (role, name) = (peer.role, peer.name.clone());
        self.remove_attempts(|attempt| attempt.rekey && attempt.role == role && attempt.name == name);
        self.events.push_back(Event::PeerDown { peer: id(index), reason });
        if reason != DownReason::Replaced {
            self.hello.hurry();
        }
    }

    /// Ends a session in order, from this side.
    pub(crate) fn hang_up(&mut self, index: usize, reason: CloseReason, now: Time) {
        let peer = &self.peers[index];
        let (mac, current) = (peer.mac, peer.life.as_ref().map(|life| life.current));
        if let Some(session) = current.and_then(|current| self.sessions.get_mut(current)) {
            let mut frame = vec![0; CLOSE_FRAME];
            let close = Close { reason };
            let body = |body: &mut [u8]| close.emit(body).ok();
            if let Some(length) =
                session.emit(&mut frame, &self.interface, mac, Kind::CLOSE, flags(self.control), body)
            {
                frame.truncate(length);
                self.push_frame(Kind::CLOSE, frame);
            }
        }
        self.take_down(index, DownReason::Closed(reason), now);
    }

    /// A peer was not heard for too long, or its keys are too old.
    pub(crate) fn lose(&mut self, index: usize, reason: DownReason, now: Time) {
        self.take_down(index, reason, now);
        let peer = &self.peers[index];
        if self.begins(peer.role, &peer.name) {
            let (role, name, boot, mac) = (peer.role, peer.name.clone(), peer.boot, peer.mac);
            let stamp = peer.stamp;
            if let Err(reason) = self.begin_handshake(role, &name, boot, mac, stamp, now) {
                self.counters.drop(reason);
            }
        }
    }

    /// Ends every other handshake under the name of a session that is established.
    fn settle(&mut self, session: SessionIndex, role: Role, name: &str) {
        self.attempts.retain(|attempt| attempt.local != session);
        self.half_open.retain(|index| *index != session);
        self.remove_attempts(|attempt| attempt.role == role && attempt.name == name);
        self.remove_half_open(role, name);
    }

    /// Forgets candidates of this name that this device has answered.
    pub(crate) fn remove_half_open(&mut self, role: Role, name: &str) {
        let sessions = &mut self.sessions;
        self.half_open.retain(|index| {
            let other = sessions.get(*index).is_some_and(
                |other| matches!(&other.owner, Owner::Candidate(candidate) if candidate.role == role && candidate.name == name),
            );
            if other {
                sessions.remove(*index);
            }
            !other
        });
    }

    pub(crate) fn remove_attempts(&mut self, which: impl Fn(&crate::attempt::Attempt) -> bool) {
        let sessions = &mut self.sessions;
        self.attempts.retain(|attempt| {
            let removed = which(attempt);
            if removed {
                sessions.remove(attempt.local);
            }
            !removed
        });
    }

    fn change_keys(&mut self, index: usize, session: SessionIndex, now: Time) {
        let (rekey_at, keys_until) = self.key_times(self.peers[index].role, &self.peers[index].name, now);
        let Some(life) = &mut self.peers[index].life else { return };
        let before = core::mem::replace(&mut life.current, session);
        if let Some((older, _)) = life.previous.replace((before, now + PREVIOUS_KEPT)) {
            self.sessions.remove(older);
        }
        (life.rekey_at, life.keys_until) = (rekey_at, keys_until);
        life.keepalive_due = true;
    }

    fn bring_up(
        &mut self,
        known: Option<usize>,
        session: SessionIndex,
        candidate: Candidate,
        association: u64,
        source: Mac,
        now: Time,
    ) -> usize {
        let Candidate { role, name, boot, stamp, key, .. } = candidate;
        let mut life = Life::new(session, self.keepalive, now);
        (life.rekey_at, life.keys_until) = self.key_times(role, &name, now);
        log::debug!(target: "link::peer", "{name} is up at {source}, boot {boot}");
        self.refusals.forget(&name, source);
        let before = known.map(|index| &self.peers[index]).filter(|before| before.boot == boot);
        let ended = before.map(Peer::ended_by_next).unwrap_or_default();
        let peer = Peer {
            role,
            name: name.clone(),
            boot,
            mac: source,
            stamp,
            key,
            since: now,
            association,
            ended,
            rtt: Rtt::default(),
            life: Some(life),
            forgotten: false,
        };
        let index = known.unwrap_or(self.peers.len());
        match self.peers.get_mut(index) {
            Some(place) => *place = peer,
            None => {
                self.names.entry(role).or_default().insert(name.clone(), index);
                self.peers.push(peer);
            }
        }
        self.events.push_back(Event::PeerUp { peer: id(index), role, name, boot });
        index
    }

    /// When new keys are to be replaced, by who begins, and when they end the session.
    fn key_times(&self, role: Role, name: &str, now: Time) -> (Option<Time>, Option<Time>) {
        if self.mode() == Mode::NONE {
            return (None, None);
        }
        let rekey_at = now + self.rekey_after;
        (self.begins(role, name).then_some(rekey_at), Some(rekey_at + REKEY_PATIENCE))
    }
}

/// The handle of the peer at this place.
pub(crate) fn id(index: usize) -> PeerId {
    PeerId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Room for a close.
const CLOSE_FRAME: usize = 128;
