//! What a security mode makes of its secrets: which gate admits a frame, under which keys a handshake runs, who a peer may be.
//!
//! | | mode `psk` | mode `keys` |
//! |---|---|---|
//! | gate of a hello | the segment's | the sender's |
//! | gate of a handshake frame | the segment's, or the pair's | the receiver's, under the psk or the pair's key |
//! | who may be a peer | whoever has the psk | whose key the configuration has under its name and role |
//!
//! In mode `keys` a responder learns from the first message whose key the initiator has. To one that it does not have, or has
//! under another name, it says so, under the keys of that handshake and nothing else, so that both operators know.

use crate::gate::{self, Gate};
use crate::{Keys, Link, PrivateKey, PublicKey, Secret, Security, Time, wipe_stack};
use core::fmt;
use frames::DropReason;
use frames::discovery::{Hello, Mode, Role};
use frames::session::CloseReason;
use std::collections::BTreeMap;

/// What [`Security`] comes to.
#[allow(clippy::large_enum_variant, reason = "a device has one")]
pub(crate) enum Secrets {
    None,
    Psk { psk: Secret, gate: Gate },
    Keys(Box<DeviceKeys>),
}

/// Those of mode `keys`.
pub(crate) struct DeviceKeys {
    own: PrivateKey,
    public: PublicKey,
    /// Zero if there is none.
    psk: Secret,
    /// Of hellos from this device, and of handshake frames to it.
    gate: Gate,
    /// Devices of the other role, by name.
    peers: BTreeMap<String, (PublicKey, Gate)>,
}

/// What a handshake takes its keys from.
#[derive(Debug, Clone)]
pub(crate) enum Noise {
    /// Mode `none`: it has none.
    Clear,
    /// Mode `psk`.
    Psk(Secret),
    /// Mode `keys`. The initiator knows the other side's key; `secret` is the psk, or the key of two relays.
    Keys { own: PrivateKey, remote: Option<PublicKey>, secret: Secret },
}

/// Under which keys a handshake runs.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    /// The other one, if they are those of two relays.
    pub(crate) partner: Option<String>,
    /// In mode `psk`.
    gate: Option<Gate>,
    pub(crate) noise: Noise,
}

/// What protects handshakes of two relays.
#[derive(Debug, Clone)]
pub(crate) struct PairKeys {
    /// Of frames to this device.
    gate: Gate,
    noise: Noise,
}

impl Trust {
    /// The gate of handshake frames to the device of this key, which in other modes than `keys` does not matter.
    pub(crate) fn gate_to(&self, key: Option<&PublicKey>) -> Option<Gate> {
        match &self.noise {
            Noise::Clear => None,
            Noise::Psk(_) => self.gate.clone(),
            Noise::Keys { remote, secret, .. } => {
                key.or(remote.as_ref()).map(|key| Gate::of_device(secret, key))
            }
        }
    }

    fn pair(partner: &str, keys: &PairKeys) -> Self {
        Self { partner: Some(partner.to_owned()), gate: Some(keys.gate.clone()), noise: keys.noise.clone() }
    }
}

impl Secrets {
    pub(crate) fn new(security: Security) -> Self {
        let secrets = Self::derive(security);
        wipe_stack();
        secrets
    }

    fn derive(security: Security) -> Self {
        match security {
            Security::None => Self::None,
            Security::Psk(psk) => Self::Psk { gate: Gate::new(&psk), psk },
            Security::Keys(keys) => {
                let Keys { private, psk, peers } = *keys;
                let (public, psk) = (private.public(), psk.unwrap_or_default());
                let (gate, peers) = (Gate::of_device(&psk, &public), gates(&psk, peers));
                Self::Keys(Box::new(DeviceKeys { own: private, public, psk, gate, peers }))
            }
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match self {
            Self::None => Mode::NONE,
            Self::Psk { .. } => Mode::PSK,
            Self::Keys(_) => Mode::KEYS,
        }
    }

    /// The gate of hellos from this device. It is that of handshake frames to it as well, but for two relays.
    pub(crate) fn gate(&self) -> Option<&Gate> {
        match self {
            Self::None => None,
            Self::Psk { gate, .. } => Some(gate),
            Self::Keys(keys) => Some(&keys.gate),
        }
    }

    /// For a handshake with a device of the other role, or any in mode `none`.
    fn segment(&self, remote: Option<PublicKey>) -> Trust {
        let noise = match self {
            Self::None => Noise::Clear,
            Self::Psk { psk, .. } => Noise::Psk(gate::noise_psk(psk)),
            Self::Keys(keys) => Noise::Keys { own: keys.own.clone(), remote, secret: keys.psk.clone() },
        };
        Trust { partner: None, gate: self.gate().cloned(), noise }
    }

    /// For handshakes with a relay of this key that was told the same salt; `None` in mode `none`.
    pub(crate) fn pair(&self, salt: &[u8; 32], remote: Option<PublicKey>) -> Option<PairKeys> {
        match self {
            Self::None => None,
            Self::Psk { psk, .. } => {
                let key = gate::pair_key(psk, salt);
                Some(PairKeys { gate: Gate::new(&key), noise: Noise::Psk(gate::noise_psk(&key)) })
            }
            Self::Keys(keys) => {
                let secret = gate::pair_key(&keys.psk, salt);
                let gate = Gate::of_device(&secret, &keys.public);
                Some(PairKeys { gate, noise: Noise::Keys { own: keys.own.clone(), remote, secret } })
            }
        }
    }
}

impl Link {
    /// This device's security mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.secrets.mode()
    }

    /// In mode `keys` the key that a device must have: by configuration, or by introduction.
    #[must_use]
    pub fn key_of(&self, role: Role, name: &str) -> Option<PublicKey> {
        let Secrets::Keys(keys) = &self.secrets else { return None };
        if role == self.role {
            return self.partners.get(name)?.key;
        }
        keys.peers.get(name).map(|(key, _)| *key)
    }

    /// In mode `keys` these devices of the other role may be peers from now on: no name and no key twice. What there is with one
    /// that has another key now, or none, ends; all other sessions go on. In other modes it does nothing.
    pub fn set_peers(&mut self, peers: &[(String, PublicKey)], now: Time) {
        let Secrets::Keys(keys) = &mut self.secrets else { return };
        let before: Vec<_> = keys.peers.iter().map(|(name, (key, _))| (name.clone(), *key)).collect();
        keys.peers = gates(&keys.psk, peers.to_vec());
        let role = self.role.opposite();
        for (name, key) in before {
            if self.key_of(role, &name) == Some(key) {
                continue;
            }
            self.remove_attempts(|attempt| attempt.role == role && attempt.name == name);
            self.remove_half_open(role, &name);
            if let Some(index) = self.peer_named(role, &name)
                && self.peers[index].life.is_some()
            {
                self.hang_up(index, CloseReason::NOT_A_PEER, now);
            }
        }
        self.hello.hurry();
    }

    /// Whether the tag of a hello is that of the device whose it says that it is.
    pub(crate) fn admits_hello(
        &self,
        hello: &Hello<'_>,
        frame: &[u8],
        body_len: usize,
        gated: bool,
    ) -> Result<(), DropReason> {
        let admits = |gate: &Gate| gated && gate.admits(frame, body_len);
        match &self.secrets {
            Secrets::None => Ok(()),
            Secrets::Psk { gate, .. } if admits(gate) => Ok(()),
            Secrets::Psk { .. } => Err(DropReason::BadGate),
            Secrets::Keys(keys) => {
                let admitted = if hello.role != self.role {
                    keys.peers.get(hello.name).map(|(_, gate)| admits(gate))
                } else if hello.name == self.name {
                    Some(admits(&keys.gate))
                } else {
                    self.key_of(hello.role, hello.name).map(|key| admits(&Gate::of_device(&keys.psk, &key)))
                };
                match admitted {
                    Some(true) => Ok(()),
                    Some(false) => Err(DropReason::WrongKey),
                    None => Err(DropReason::UnknownPeer),
                }
            }
        }
    }

    /// The keys for a handshake that this device begins.
    pub(crate) fn trust_for(&mut self, role: Role, name: &str) -> Result<Trust, DropReason> {
        if role == self.role {
            let partner = self.partners.get_mut(name).ok_or(DropReason::SameRole)?;
            let pair = partner.next_keys().map(|keys| Trust::pair(name, keys));
            return match &self.secrets {
                Secrets::None => Ok(self.secrets.segment(None)),
                Secrets::Psk { .. } | Secrets::Keys(_) => pair.ok_or(DropReason::SameRole),
            };
        }
        let remote = self.key_of(role, name);
        match &self.secrets {
            Secrets::Keys(_) if remote.is_none() => Err(DropReason::UnknownPeer),
            secrets => Ok(secrets.segment(remote)),
        }
    }

    /// By whose keys the gate of a handshake frame is right.
    pub(crate) fn trust_of(&self, frame: &[u8], body_len: usize, gated: bool) -> Option<Trust> {
        let Some(gate) = self.secrets.gate() else { return Some(self.secrets.segment(None)) };
        if !gated {
            return None;
        }
        if gate.admits(frame, body_len) {
            return Some(self.secrets.segment(None));
        }
        self.partners.iter().find_map(|(name, partner)| {
            let keys = partner.keys().iter().find(|keys| keys.gate.admits(frame, body_len))?;
            Some(Trust::pair(name, keys))
        })
    }

    /// Whether the sender of a handshake message may be who it says that it is.
    pub(crate) fn check_identity(
        &self,
        hello: &Hello<'_>,
        trust: &Trust,
        key: Option<PublicKey>,
    ) -> Result<(), DropReason> {
        let fits = match &trust.partner {
            None => self.mode() == Mode::NONE || hello.role != self.role,
            Some(partner) => hello.role == self.role && hello.name == partner,
        };
        if !fits {
            return Err(DropReason::BadHandshake);
        }
        if self.mode() != Mode::KEYS {
            return Ok(());
        }
        match self.key_of(hello.role, hello.name) {
            None => Err(DropReason::UnknownPeer),
            known if known == key => Ok(()),
            Some(_) => Err(DropReason::WrongKey),
        }
    }
}

/// With each key its gate.
fn gates(psk: &[u8; 32], peers: Vec<(String, PublicKey)>) -> BTreeMap<String, (PublicKey, Gate)> {
    peers.into_iter().map(|(name, key)| (name, (key, Gate::of_device(psk, &key)))).collect()
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.mode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_shows_no_secret() {
        let keys =
            Keys { private: PrivateKey::new(&[0x41; 32]), psk: Some([0x42; 32].into()), peers: Vec::new() };
        for security in [Security::Psk([0x42; 32].into()), Security::Keys(Box::new(keys))] {
            let secrets = Secrets::new(security.clone());
            let pair = secrets.pair(&[0x43; 32], None);
            let shown = format!("{security:?} {secrets:?} {:?} {pair:?}", secrets.segment(None));
            // Neither themselves nor what is made of them: nothing that is longer than a number.
            let digits =
                shown.split(|letter: char| !letter.is_ascii_digit()).filter(|number| !number.is_empty());
            assert!(digits.count() < 8, "{shown}");
            assert!(shown.contains(&format!("Secrets({})", secrets.mode())), "{shown}");
        }
    }
}
