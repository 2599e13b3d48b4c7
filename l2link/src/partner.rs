//! Relays that a control has introduced to this one.
//!
//! Devices of one role have nothing to say to each other, two relays excepted that a control introduces so that they hand
//! each other packets. The one whose name comes first begins the handshake. In secured modes a key that only such a pair has in
//! common takes the psk's place, for the gate and for the noise psk:
//!
//! ```text
//! pair key = HMAC-SHA256(HMAC-SHA256(psk, "l2link pair psk"), salt)
//! ```
//!
//! A salt is what a control tells both of them; without the psk it is worth nothing. In mode `keys` the control tells the other's
//! public key as well, and the handshake proves that each has its own; a psk that there is not is zero. Two controls may
//! introduce the same relays: each salt counts, and the pair uses any that both know.

use crate::trust::PairKeys;
use crate::{Link, PublicKey, Time};
use frames::discovery::{Mode, Role};
use frames::session::CloseReason;
use frames::{BootId, Mac};

/// A relay that was introduced.
#[derive(Debug)]
pub(crate) struct Partner {
    mac: Mac,
    /// In mode `keys`.
    pub(crate) key: Option<PublicKey>,
    salts: Vec<[u8; 32]>,
    /// One for each salt; none in mode `none`.
    keys: Vec<PairKeys>,
    /// Handshakes begun: each takes the next key.
    begun: usize,
}

impl Partner {
    pub(crate) fn keys(&self) -> &[PairKeys] {
        &self.keys
    }

    /// Those for the next handshake.
    pub(crate) fn next_keys(&mut self) -> Option<&PairKeys> {
        let keys = self.keys.get(self.begun % self.keys.len().max(1));
        self.begun = self.begun.wrapping_add(1);
        keys
    }
}

impl Link {
    /// A control has introduced this relay to another one, which was heard at `mac`. `salts` are all that controls have told
    /// for the two. `key` is the other relay's, without which there is no session in mode `keys`. A session that is up goes on
    /// unless the key is another one.
    pub fn introduce(&mut self, name: &str, mac: Mac, key: Option<PublicKey>, salts: &[[u8; 32]], now: Time) {
        if self.role != Role::Relay || name == self.name || (self.mode() == Mode::KEYS && key.is_none()) {
            return;
        }
        let known = self.partners.get(name);
        if known.is_some_and(|known| known.mac == mac && known.key == key && known.salts == salts) {
            return;
        }
        if known.is_some_and(|known| known.key != key) {
            self.dismiss(name, now);
        }
        let keys = salts.iter().filter_map(|salt| self.secrets.pair(salt, key));
        let partner = Partner { mac, key, salts: salts.to_vec(), keys: keys.collect(), begun: 0 };
        self.partners.insert(name.to_owned(), partner);
        let up = self.peer_named(Role::Relay, name).is_some_and(|peer| self.peers[peer].life.is_some());
        if up {
            return;
        }
        if self.begins(Role::Relay, name) {
            if let Err(reason) = self.begin_handshake(Role::Relay, name, BootId(0), mac, 0, now) {
                self.counters.drop(reason);
            }
        } else {
            self.push_hello(mac, now);
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

    /// Random bytes that nobody can foresee, for introductions and for what else a core keeps to itself.
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
}
