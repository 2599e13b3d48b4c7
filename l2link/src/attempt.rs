//! Handshakes under way, on both sides.
//!
//! ```text
//!   control                                                    relay
//!   hears a hello of a relay that it has no session with
//!   attempt: Init ───────── HANDSHAKE_INIT ─────────────────▶  half-open candidate
//!   candidate     ◀──────── HANDSHAKE_RESPONSE ──────────────
//!   attempt: Confirm ────── KEEPALIVE, sealed, echo 0 ──────▶  opens: session established
//!   session established ◀── KEEPALIVE or any other, sealed ──
//! ```
//!
//! The control repeats its frame of either stage after 20, 40, 80, 160 and then every 200 ms, [`TRIES`] times in all,
//! and then gives up until the next hello. Several attempts for one name may run side by side (an old hello that somebody
//! repeats must not displace the true one); the first that is established ends the others.
//!
//! The same handshake with the present association changes the keys only ([`Link::begin_rekey`]).
//!
//! Bounds: [`HALF_OPEN_MAX`] attempts here, as many candidates there (the oldest gives way), and a token bucket on both. A first
//! frame that comes again, by its sender or from somebody who has recorded it, costs a relay neither: the answer is repeated
//! ([`crate::answered`]). When the relay's bucket is less than half full, it takes first frames of fresh stamps only
//! ([`crate::discovery`]).

use crate::answered::InitId;
use crate::discovery::newer;
use crate::gate::Gate;
use crate::handshake::{Handshake, Prologue, SplitKeys};
use crate::interface::Head;
use crate::peer::PEERS_MAX;
use crate::seal::Seal;
use crate::session::{Candidate, Owner, REKEY_RETRY, Session, flags};
use crate::session_keys::SessionKeys;
use crate::trust::Trust;
use crate::{Link, PublicKey, Time};
use core::time::Duration;
use frames::discovery::{Handshake as HandshakeBody, Hello, Role};
use frames::header::{HEADERS_LEN, Kind, TAG_LEN};
use frames::session::{Close, CloseReason, Keepalive};
use frames::{BootId, DropReason, Mac, SessionIndex};

/// A handshake that this device began.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) local: SessionIndex,
    /// Of the other side.
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) boot: BootId,
    mac: Mac,
    /// Of the newest hello of the other side.
    stamp: u64,
    pub(crate) association: u64,
    /// Whether only the keys are to change.
    pub(crate) rekey: bool,
    gate: Option<Gate>,
    stage: Stage,
    tries: u32,
    pub(crate) next: Time,
}

#[derive(Debug)]
enum Stage {
    /// Waits for the response.
    Init { handshake: Handshake, body: Vec<u8> },
    /// Waits for the first frame under the new keys.
    Confirm,
}

impl Attempt {
    /// Whether it was answered, and waits for the first frame under the new keys.
    #[cfg(feature = "sim")]
    pub(crate) fn confirms(&self) -> bool {
        matches!(self.stage, Stage::Confirm)
    }
}

impl Link {
    /// Begins a handshake for a new association, unless the same one is under way.
    pub(crate) fn begin_handshake(
        &mut self,
        role: Role,
        name: &str,
        boot: BootId,
        mac: Mac,
        stamp: u64,
        now: Time,
    ) -> Result<(), DropReason> {
        let same = |attempt: &Attempt| {
            !attempt.rekey
                && attempt.role == role
                && attempt.name == name
                && attempt.boot == boot
                && attempt.mac == mac
        };
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| same(attempt)) {
            attempt.stamp = newer(attempt.stamp, stamp, boot);
            return Ok(());
        }
        let association = self.random.u64();
        let other = Candidate { role, name: name.to_owned(), boot, mac, stamp, key: None, until: now };
        self.begin(other, association, false, now)
    }

    /// Begins to replace the keys of a session.
    pub(crate) fn begin_rekey(&mut self, peer: usize, now: Time) {
        let peer = &mut self.peers[peer];
        if let Some(life) = &mut peer.life {
            life.rekey_at = Some(now + REKEY_RETRY);
        }
        let (role, stamp, association) = (peer.role, peer.stamp, peer.association);
        let (name, boot, mac, key) = (peer.name.clone(), peer.boot, peer.mac, peer.key);
        let other = Candidate { role, name, boot, mac, stamp, key, until: now };
        let same = |attempt: &Attempt| attempt.rekey && attempt.role == role && attempt.name == other.name;
        if self.attempts.iter().any(same) {
            return;
        }
        if let Err(reason) = self.begin(other, association, true, now) {
            self.counters.drop(reason);
        }
    }

    fn begin(
        &mut self,
        other: Candidate,
        association: u64,
        rekey: bool,
        now: Time,
    ) -> Result<(), DropReason> {
        if self.attempts.len() >= HALF_OPEN_MAX || !self.handshakes.take(now) {
            return Err(DropReason::HandshakeLimit);
        }
        let trust = self.trust_for(other.role, &other.name)?;
        let gate = trust.gate_to(None);
        let local = self.sessions.reserve(&mut self.random).ok_or(DropReason::HandshakeLimit)?;
        let Candidate { role, name, boot, mac, stamp, .. } = other;
        let prologue = self.prologue(true, (role, mac), association, local);
        let written = Handshake::new(true, &trust.noise, &prologue, &mut self.random)
            .and_then(|mut handshake| Ok((self.write_body(&mut handshake, local, association)?, handshake)));
        let (body, handshake) = match written {
            Ok(written) => written,
            Err(reason) => {
                self.sessions.remove(local);
                return Err(reason);
            }
        };
        let stage = Stage::Init { handshake, body };
        self.attempts.push(Attempt {
            local,
            role,
            name,
            boot,
            mac,
            stamp,
            association,
            rekey,
            gate,
            stage,
            tries: 0,
            next: now,
        });
        self.attempts_timeout(now);
        Ok(())
    }

    /// Sends again what was not answered, and gives up what never was.
    pub(crate) fn attempts_timeout(&mut self, now: Time) {
        for index in (0..self.attempts.len()).rev() {
            let attempt = &mut self.attempts[index];
            if attempt.next > now {
                continue;
            }
            if attempt.tries == TRIES {
                log::debug!(target: "link::handshake", "{} does not answer", attempt.name);
                let local = attempt.local;
                self.attempts.swap_remove(index);
                self.sessions.remove(local);
                continue;
            }
            attempt.next = now + (FIRST_PAUSE * (1 << attempt.tries)).min(LONGEST_PAUSE);
            attempt.tries += 1;
            let (mac, local) = (attempt.mac, attempt.local);
            match &attempt.stage {
                Stage::Init { body, .. } => {
                    let (body, gate) = (body.clone(), attempt.gate.clone());
                    let place = (Kind::HANDSHAKE_INIT, SessionIndex(0), attempt.stamp);
                    self.push_handshake(mac, place, &body, gate.as_ref());
                }
                Stage::Confirm => self.push_confirmation(local, now),
            }
        }
    }

    /// This device has another address: responses go to the one it had, so what waits for one begins anew with the next
    /// hello.
    pub(crate) fn abandon_attempts(&mut self) {
        let sessions = &mut self.sessions;
        self.attempts.retain(|attempt| {
            let stays = matches!(attempt.stage, Stage::Confirm);
            if !stays {
                sessions.remove(attempt.local);
            }
            stays
        });
    }

    /// Relay: a control, or another relay, begins a handshake.
    pub(crate) fn receive_init(
        &mut self,
        body: &[u8],
        head: &Head,
        trust: &Trust,
        now: Time,
    ) -> Result<(), DropReason> {
        let init = HandshakeBody::parse(body).map_err(|_| DropReason::Malformed)?;
        let id = InitId::new(head.source, &init);
        if let Some(session) = self.answered.session(&id)
            && let Some(session) = self.sessions.get(session)
        {
            let waits = matches!(session.owner, Owner::Candidate(_));
            if let Some((response, gate)) = waits.then(|| self.answered.repeat(&id, now)).flatten() {
                self.push_response(&init, head.source, &response, gate.as_ref());
            }
            return Err(DropReason::Replayed);
        }
        if !self.handshakes.take(now) {
            return Err(DropReason::HandshakeLimit);
        }
        let role = if trust.partner.is_some() { Role::Relay } else { Role::Control };
        let prologue = self.prologue(false, (role, head.source), init.association, init.sender);
        let mut handshake = Handshake::new(false, &trust.noise, &prologue, &mut self.random)?;
        let payload = handshake.read(init.noise)?;
        let key = handshake.remote_key();
        let gate = trust.gate_to(key.as_ref());
        let candidate = match self.candidate(&payload, head.source, trust, key, now) {
            Ok(candidate) => candidate,
            Err(reason) => {
                if let (DropReason::UnknownPeer | DropReason::WrongKey, Some(gate)) = (reason, gate) {
                    self.turn_away(handshake, &init, &payload, head.source, &gate)?;
                }
                return Err(reason);
            }
        };
        while self.half_open.len() >= HALF_OPEN_MAX {
            self.half_open.pop_front().into_iter().for_each(|oldest| self.sessions.remove(oldest));
        }
        let local = self.sessions.reserve(&mut self.random).ok_or(DropReason::HandshakeLimit)?;
        self.half_open.push_back(local);
        let response = self.write_body(&mut handshake, local, init.association)?;
        let keys = handshake.finish()?;
        let seal = self.seal(keys, init.association, local, init.sender)?;
        self.sessions.put(Session::new(local, init.sender, init.association, seal, candidate));
        self.push_response(&init, head.source, &response, gate.as_ref());
        self.answered.note(id, local, response, gate, now);
        Ok(())
    }

    fn push_response(&mut self, init: &HandshakeBody<'_>, to: Mac, response: &[u8], gate: Option<&Gate>) {
        self.push_handshake(to, (Kind::HANDSHAKE_RESPONSE, init.sender, 0), response, gate);
    }

    /// Tells a device that it is none of those with which there can be a session. Nothing of it is kept.
    fn turn_away(
        &mut self,
        mut handshake: Handshake,
        init: &HandshakeBody<'_>,
        payload: &[u8],
        source: Mac,
        gate: &Gate,
    ) -> Result<(), DropReason> {
        let hello = Hello::parse(payload).map_err(|_| DropReason::BadHandshake)?;
        let local = self.sessions.reserve(&mut self.random).ok_or(DropReason::HandshakeLimit)?;
        let name = hello.name.to_owned();
        let (role, boot) = (hello.role, hello.boot);
        let stranger = Candidate { role, name, boot, mac: source, stamp: 0, key: None, until: Time(0) };
        let response = self.write_body(&mut handshake, local, init.association);
        let keys = handshake.finish();
        let seal = keys.and_then(|keys| self.seal(keys, init.association, local, init.sender));
        if let (Ok(response), Ok(seal)) = (response, seal) {
            self.sessions.put(Session::new(local, init.sender, init.association, seal, stranger));
            self.push_response(init, source, &response, Some(gate));
            self.push_refusal(local, CloseReason::NOT_A_PEER);
        }
        self.sessions.remove(local);
        Ok(())
    }

    /// The other side answers.
    pub(crate) fn receive_response(
        &mut self,
        body: &[u8],
        head: &Head,
        trust: &Trust,
        now: Time,
    ) -> Result<(), DropReason> {
        let response = HandshakeBody::parse(body).map_err(|_| DropReason::Malformed)?;
        let receiver = head.header.receiver();
        let index = self.attempts.iter().position(|attempt| attempt.local == receiver);
        let index = index.ok_or(DropReason::BadHandshake)?;
        let attempt = &mut self.attempts[index];
        let Stage::Init { handshake, .. } = &mut attempt.stage else { return Err(DropReason::BadHandshake) };
        if response.association != attempt.association {
            return Err(DropReason::BadHandshake);
        }
        let payload = handshake.read(response.noise)?;
        let key = handshake.remote_key();
        let keys = handshake.finish();
        let (association, rekey, stamp) = (attempt.association, attempt.rekey, attempt.stamp);
        let accepted = self.accept_response(&payload, head.source, (trust, key), association, rekey, now);
        let seal = keys.and_then(|keys| self.seal(keys, association, receiver, response.sender));
        let (candidate, seal) = match (accepted, seal) {
            (Ok(candidate), Ok(seal)) => (Candidate { stamp, ..candidate }, seal),
            (Err(reason), _) | (_, Err(reason)) => {
                self.attempts.swap_remove(index);
                self.sessions.remove(receiver);
                return Err(reason);
            }
        };
        self.sessions.put(Session::new(receiver, response.sender, association, seal, candidate));
        let attempt = &mut self.attempts[index];
        (attempt.stage, attempt.tries, attempt.next) = (Stage::Confirm, 0, now);
        self.attempts_timeout(now);
        Ok(())
    }

    /// The seal of a session to be. Its keys are noted for the owner, if it wants them, before they are used.
    fn seal(
        &mut self,
        keys: Option<SplitKeys>,
        association: u64,
        local: SessionIndex,
        remote: SessionIndex,
    ) -> Result<Option<Seal>, DropReason> {
        let Some(keys) = keys else { return Ok(None) };
        if let Some(kept) = &mut self.session_keys {
            if kept.len() == SESSION_KEYS_MAX {
                kept.pop_front();
            }
            kept.push_back(SessionKeys::new(association, local, remote, &keys));
        }
        keys.seal().map(Some)
    }

    fn accept_response(
        &mut self,
        payload: &[u8],
        source: Mac,
        (trust, key): (&Trust, Option<PublicKey>),
        association: u64,
        rekey: bool,
        now: Time,
    ) -> Result<Candidate, DropReason> {
        let candidate = self.candidate(payload, source, trust, key, now)?;
        let meets = self.meets(&candidate, association, now);
        if rekey != matches!(meets, Ok(crate::association::Meeting::Rekey(_))) {
            return Err(meets.err().unwrap_or(DropReason::BadHandshake));
        }
        match meets {
            Err(DropReason::NameInUse) => {
                self.refuse(&candidate.name, candidate.role, source, DropReason::NameInUse, now);
                Err(DropReason::NameInUse)
            }
            Err(reason) => Err(reason),
            Ok(_) => Ok(candidate),
        }
    }

    /// The other side as the payload of its handshake frame names it.
    fn candidate(
        &mut self,
        payload: &[u8],
        source: Mac,
        trust: &Trust,
        key: Option<PublicKey>,
        now: Time,
    ) -> Result<Candidate, DropReason> {
        let hello = Hello::parse(payload).map_err(|_| DropReason::BadHandshake)?;
        let identity = self.check_identity(&hello, trust, key);
        let shown = if identity == Err(DropReason::BadHandshake) { Ok(()) } else { identity };
        self.check_hello(&hello, source, |_| shown, now)?;
        identity?;
        Ok(Candidate {
            role: hello.role,
            name: hello.name.to_owned(),
            boot: hello.boot,
            mac: source,
            stamp: 0,
            key,
            until: now + HALF_OPEN_FOR,
        })
    }

    fn write_body(
        &self,
        handshake: &mut Handshake,
        sender: SessionIndex,
        association: u64,
    ) -> Result<Vec<u8>, DropReason> {
        let mut hello = [0; crate::discovery::HELLO_MAX];
        let length = self.own_hello().emit(&mut hello).map_err(|_| DropReason::BadHandshake)?;
        let noise = handshake.write(&hello[..length])?;
        let mut body = vec![0; HandshakeBody::PREFIX_LEN + noise.len()];
        let handshake = HandshakeBody { sender, association, noise: &noise };
        handshake.emit(&mut body).map_err(|_| DropReason::BadHandshake)?;
        Ok(body)
    }

    fn prologue(
        &self,
        initiates: bool,
        other: (Role, Mac),
        association: u64,
        index: SessionIndex,
    ) -> Prologue {
        let own = (self.role, self.interface.mac);
        let sides = if initiates { [own, other] } else { [other, own] };
        Prologue { ethertype: self.interface.ethertype, sides, association, index }
    }

    /// The frame that proves to the relay that this control holds the keys; echo 0 asks for an answer at once.
    fn push_confirmation(&mut self, index: SessionIndex, now: Time) {
        let interval = u32::try_from(self.keepalive.as_micros()).unwrap_or(u32::MAX);
        let keepalive = Keepalive { sent: now.0.max(1), echo: 0, held: 0, interval, routes: None };
        self.push_candidate_frame(index, Kind::KEEPALIVE, |body| keepalive.emit(body).ok());
    }

    /// Tells the other side of a candidate that it is refused.
    pub(crate) fn push_refusal(&mut self, index: SessionIndex, reason: CloseReason) {
        let close = Close { reason };
        self.push_candidate_frame(index, Kind::CLOSE, |body| close.emit(body).ok());
    }

    fn push_candidate_frame(
        &mut self,
        index: SessionIndex,
        kind: Kind,
        body: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Owner::Candidate(candidate) = &session.owner else { return };
        let (mac, mut frame) = (candidate.mac, vec![0; SMALL_FRAME]);
        if let Some(length) = session.emit(&mut frame, &self.interface, mac, kind, flags(self.control), body)
        {
            frame.truncate(length);
            self.push_frame(kind, frame);
        }
    }

    /// Gives up the candidates that were not confirmed in time.
    pub(crate) fn half_open_timeout(&mut self, now: Time) {
        while let Some(index) = self.half_open.front().copied() {
            if self.half_open_until(index).is_some_and(|until| until > now) {
                return;
            }
            self.half_open.pop_front();
            self.sessions.remove(index);
        }
    }

    /// When a half-open candidate expires.
    pub(crate) fn half_open_until(&self, index: SessionIndex) -> Option<Time> {
        match &self.sessions.get(index)?.owner {
            Owner::Candidate(candidate) => Some(candidate.until),
            Owner::Peer(_) => None,
        }
    }
}

/// Keys that wait for an owner that wants them; one who never takes them must not fill the memory.
const SESSION_KEYS_MAX: usize = 256;
/// Handshakes under way at once, on each side: with all peers, as after a restart or a cut of the segment.
pub(crate) const HALF_OPEN_MAX: usize = PEERS_MAX;
/// How long a relay keeps a candidate: longer than a control's tries.
const HALF_OPEN_FOR: Duration = Duration::from_secs(2);
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Room for a keepalive or a close.
const SMALL_FRAME: usize = HEADERS_LEN + 64 + TAG_LEN;
