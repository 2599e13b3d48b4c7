//! Relays that a control has introduced to this one.
//!
//! Devices of one role have nothing to say to each other, two relays excepted that a control introduces so that they hand
//! each other packets. The one whose name comes first begins the handshake. In mode `psk` its frames carry the gate and the
//! noise psk of a key that only such a pair has in common:
//!
//! ```text
//! pair key = HMAC-SHA256(HMAC-SHA256(psk, "l2link pair psk"), salt)
//! ```
//!
//! A salt is what a control tells both of them; without the psk it is worth nothing. Two controls may introduce the same
//! relays: each salt counts, and the pair uses any that both know.

use crate::gate::{self, Gate, PairBase};
use crate::handshake::NoisePsk;
use crate::{Link, Time};
use frames::discovery::Role;
use frames::session::CloseReason;
use frames::{BootId, Mac};
use zeroize::Zeroizing;

/// A relay that was introduced.
#[derive(Debug)]
pub(crate) struct Partner {
    mac: Mac,
    salts: Vec<[u8; 32]>,
    /// One for each salt; none in mode `none`.
    keys: Vec<PairKeys>,
    /// Handshakes begun: each takes the next key.
    begun: usize,
}

/// What protects handshakes of a pair.
#[derive(Debug, Clone)]
pub(crate) struct PairKeys {
    pub(crate) gate: Gate,
    pub(crate) noise_psk: Zeroizing<[u8; 32]>,
}

impl PairKeys {
    fn new(base: &PairBase, salt: &[u8; 32]) -> Self {
        let key = base.key(salt);
        Self { gate: Gate::new(&key), noise_psk: gate::noise_psk(&key) }
    }
}

/// Under which keys a handshake runs.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Those of the segment: control and relay, or mode `none`.
    Segment,
    /// Those of two relays.
    Pair { partner: String, keys: Box<PairKeys> },
}

impl Trust {
    pub(crate) fn gate<'a>(&'a self, segment: Option<&'a Gate>) -> Option<&'a Gate> {
        match self {
            Self::Segment => segment,
            Self::Pair { keys, .. } => Some(&keys.gate),
        }
    }

    pub(crate) fn noise_psk(&self, segment: &NoisePsk) -> NoisePsk {
        match self {
            Self::Segment => segment.clone(),
            Self::Pair { keys, .. } => Some(keys.noise_psk.clone()),
        }
    }
}

impl Link {
    /// A control has introduced this relay to another one, which was heard at `mac`. `salts` are all that controls have told
    /// for the two. A session that is up goes on.
    pub fn introduce(&mut self, name: &str, mac: Mac, salts: &[[u8; 32]], now: Time) {
        if self.role != Role::Relay || name == self.name {
            return;
        }
        let known = self.partners.get(name);
        if known.is_some_and(|known| known.mac == mac && known.salts == salts) {
            return;
        }
        let keys = self.pair_base.iter().flat_map(|base| salts.iter().map(|salt| PairKeys::new(base, salt)));
        let partner = Partner { mac, salts: salts.to_vec(), keys: keys.collect(), begun: 0 };
        self.partners.insert(name.to_owned(), partner);
        let up = self.peer_named(Role::Relay, name).is_some_and(|peer| self.peers[peer].life.is_some());
        if up {
            return;
        }
        if self.begins(Role::Relay, name) {
            if let Err(reason) = self.begin_handshake(Role::Relay, name, BootId(0), mac, now) {
                self.counters.drop(reason);
            }
        } else {
            self.push_hello(mac);
        }
    }

    /// No control introduces that relay any more: its session ends.
    pub fn dismiss(&mut self, name: &str, now: Time) {
        if self.partners.remove(name).is_none() {
            return;
        }
        self.remove_attempts(|attempt| attempt.role == Role::Relay && attempt.name == name);
        if let Some(index) = self.peer_named(Role::Relay, name)
            && self.peers[index].life.is_some()
        {
            self.hang_up(index, CloseReason::DISMISSED, now);
        }
    }

    /// Random bytes that nobody can foresee, for introductions.
    pub fn draw_salt(&mut self) -> [u8; 32] {
        let mut salt = [0; 32];
        self.random.fill(&mut salt);
        salt
    }

    /// Whether there can be sessions with a device of this role and name.
    pub(crate) fn meets_role(&self, role: Role, name: &str) -> bool {
        role != self.role || (role == Role::Relay && self.partners.contains_key(name))
    }

    /// Whether this device begins the handshakes with such a peer.
    pub(crate) fn begins(&self, role: Role, name: &str) -> bool {
        match (self.role, role) {
            (Role::Control, _) => true,
            (Role::Relay, Role::Control) => false,
            (Role::Relay, Role::Relay) => self.name.as_str() < name,
        }
    }

    /// The keys for a handshake that this device begins; none if there can be no session.
    pub(crate) fn trust_for(&mut self, role: Role, name: &str) -> Option<Trust> {
        if role != self.role {
            return Some(Trust::Segment);
        }
        let partner = self.partners.get_mut(name)?;
        if self.pair_base.is_none() {
            return Some(Trust::Segment);
        }
        let keys = partner.keys.get(partner.begun % partner.keys.len().max(1))?.clone();
        partner.begun = partner.begun.wrapping_add(1);
        Some(Trust::Pair { partner: name.to_owned(), keys: Box::new(keys) })
    }

    /// By whose keys the gate of a handshake frame is right.
    pub(crate) fn trust_of(&self, frame: &[u8], body_len: usize, gated: bool) -> Option<Trust> {
        let Some(gate) = &self.gate else { return Some(Trust::Segment) };
        if !gated {
            return None;
        }
        if gate.admits(frame, body_len) {
            return Some(Trust::Segment);
        }
        self.partners.iter().find_map(|(name, partner)| {
            let keys = partner.keys.iter().find(|keys| keys.gate.admits(frame, body_len))?;
            Some(Trust::Pair { partner: name.clone(), keys: Box::new(keys.clone()) })
        })
    }
}
