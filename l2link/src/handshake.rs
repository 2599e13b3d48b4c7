//! The handshake: who speaks, what is bound, which keys come out.
//!
//! The control always begins, when it has heard a relay's hello; of two relays that were introduced ([`crate::partner`])
//! the one whose name comes first. Two frames: `HANDSHAKE_INIT` and
//! `HANDSHAKE_RESPONSE`, each with the sender's [`Hello`](frames::discovery::Hello) as payload.
//!
//! Mode `psk`: [`PATTERN_PSK`]; mode `keys`: [`PATTERN_KEYS`], in which the initiator knows the responder's key beforehand and
//! tells its own, encrypted. Both with the noise psk of [`crate::gate`] and this prologue:
//!
//! ```text
//! "l2link" | version (8) | EtherType (16) | initiator's role (8) | responder's role (8) | initiator's address (48) |
//! responder's address (48) | association (64) | initiator's session index (32)
//! ```
//!
//! The addresses are those of this handshake; they may change later. `Split()` gives two keys, the first for frames from
//! the initiator, the second for the other way. Mode `none`: the payloads stand in clear and there are no keys.
//!
//! All randomness is the link's: the resolver gives snow a generator seeded from it, and all else is snow's own.

use crate::cipher::ChaChaPoly;
use crate::dh::X25519;
use crate::gate;
use crate::random::Random;
use crate::seal::Seal;
use crate::trust::Noise;
use crate::{PublicKey, Secret, wipe_stack};
use core::fmt;
use core::hint::black_box;
use frames::discovery::Role;
use frames::header::VERSION;
use frames::{DropReason, Mac, SessionIndex};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash};
use snow::{Builder, HandshakeState};
use std::sync::Mutex;

/// Of mode `psk`.
pub(crate) const PATTERN_PSK: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Of mode `keys`, WireGuard's.
pub(crate) const PATTERN_KEYS: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Of a handshake that knows no secret.
const PATTERN_BLANK: &str = "Noise_NN_25519_ChaChaPoly_BLAKE2s";

/// Longest Noise message here: a public key, another one with its tag, a payload, a tag.
const MESSAGE_MAX: usize = 32 + (32 + 16) + PAYLOAD_MAX + 16;
/// Longest payload that is taken: a hello of today is at most 79 bytes, the rest is for TLVs to come.
const PAYLOAD_MAX: usize = 1024;

/// What both sides bind into the handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prologue {
    pub(crate) ethertype: u16,
    /// Role and address of the initiator, then of the responder.
    pub(crate) sides: [(Role, Mac); 2],
    pub(crate) association: u64,
    /// The initiator's session index.
    pub(crate) index: SessionIndex,
}

impl Prologue {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"l2link".to_vec();
        bytes.push(VERSION);
        bytes.extend(self.ethertype.to_be_bytes());
        bytes.extend(self.sides.map(|(role, _)| role as u8));
        bytes.extend(self.sides.iter().flat_map(|(_, mac)| mac.0));
        bytes.extend(self.association.to_be_bytes());
        bytes.extend(self.index.0.to_be_bytes());
        bytes
    }
}

/// One side of a handshake between its two frames.
pub(crate) struct Handshake(Option<Box<HandshakeState>>);

impl Handshake {
    /// A handshake at its beginning. Both sides do the same work in it, in opposite order.
    pub(crate) fn new(
        initiates: bool,
        noise: &Noise,
        prologue: &Prologue,
        random: &mut Random,
    ) -> Result<Self, DropReason> {
        let built = match noise {
            Noise::Clear => return Ok(Self(None)),
            Noise::Psk(psk) => {
                build(PATTERN_PSK, prologue, random, |builder| finish(builder.psk(0, psk)?, initiates))
            }
            Noise::Keys { own, remote, secret } => build(PATTERN_KEYS, prologue, random, |builder| {
                let psk = gate::noise_psk(secret);
                let builder = builder.psk(2, &psk)?.local_private_key(own.bytes())?;
                match remote {
                    Some(remote) => finish(builder.remote_public_key(&remote.0)?, initiates),
                    None => finish(builder, initiates),
                }
            }),
        };
        let handshake = built.map(|state| Self(Some(Box::new(state)))).map_err(bad);
        wipe_stack();
        handshake
    }

    /// The other side's key in mode `keys`: known beforehand by the initiator, and by the responder after the first message.
    pub(crate) fn remote_key(&self) -> Option<PublicKey> {
        let key = self.0.as_ref()?.get_remote_static()?;
        key.first_chunk().copied().map(PublicKey)
    }

    /// Writes this side's message.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, DropReason> {
        let Some(state) = &mut self.0 else { return Ok(payload.to_vec()) };
        let mut message = vec![0; MESSAGE_MAX];
        let written = state.write_message(payload, &mut message);
        wipe_stack();
        message.truncate(written.map_err(bad)?);
        Ok(message)
    }

    /// Reads the other side's message and returns its payload. After an error a genuine message may still come.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, DropReason> {
        if message.len() > MESSAGE_MAX {
            return Err(DropReason::BadHandshake);
        }
        let Some(state) = &mut self.0 else { return Ok(message.to_vec()) };
        let mut payload = vec![0; MESSAGE_MAX];
        let read = state.read_message(message, &mut payload);
        wipe_stack();
        payload.truncate(read.map_err(bad)?);
        Ok(payload)
    }

    /// The keys, after both messages.
    pub(crate) fn finish(&mut self) -> Result<Option<SplitKeys>, DropReason> {
        let Some(state) = &mut self.0 else { return Ok(None) };
        if !state.is_handshake_finished() {
            return Err(DropReason::BadHandshake);
        }
        let initiates = state.is_initiator();
        let (mut to_responder, mut to_initiator) = state.dangerously_get_raw_split();
        let (to_responder, to_initiator) =
            (Secret::taken(&mut to_responder), Secret::taken(&mut to_initiator));
        wipe_stack();
        Ok(Some(SplitKeys { initiates, to_responder, to_initiator }))
    }
}

/// What Noise's `Split()` gives.
pub(crate) struct SplitKeys {
    /// Whether this device began the handshake.
    pub(crate) initiates: bool,
    pub(crate) to_responder: Secret,
    pub(crate) to_initiator: Secret,
}

impl SplitKeys {
    /// The seal of this device.
    pub(crate) fn seal(&self) -> Result<Seal, DropReason> {
        let (send, receive) = if self.initiates {
            (&self.to_responder, &self.to_initiator)
        } else {
            (&self.to_initiator, &self.to_responder)
        };
        Seal::new(send, receive).map_err(|_| DropReason::BadHandshake)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake(..)")
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        // snow wipes nothing of what it knows, psk and chaining key. So a state that knows nothing is written over it.
        if let Some(state) = &mut self.0 {
            if let Ok(blank) = blank() {
                **state = blank;
            }
            black_box(&mut **state);
            wipe_stack();
        }
    }
}

fn blank() -> Result<HandshakeState, snow::Error> {
    let resolver = Box::new(Resolver { random: Mutex::new(Some(Random::new(&[0; 32]))) });
    Builder::with_resolver(PATTERN_BLANK.parse()?, resolver).build_initiator()
}

fn build(
    pattern: &str,
    prologue: &Prologue,
    random: &mut Random,
    with_keys: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>,
) -> Result<HandshakeState, snow::Error> {
    let params: NoiseParams = pattern.parse()?;
    let resolver = Box::new(Resolver { random: Mutex::new(Some(random.child())) });
    with_keys(Builder::with_resolver(params, resolver).prologue(&prologue.bytes())?)
}

fn finish(builder: Builder<'_>, initiates: bool) -> Result<HandshakeState, snow::Error> {
    if initiates { builder.build_initiator() } else { builder.build_responder() }
}

fn bad(_: snow::Error) -> DropReason {
    DropReason::BadHandshake
}

/// Gives snow the link's randomness, once for each handshake.
struct Resolver {
    random: Mutex<Option<Random>>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        let random = self.random.lock().ok()?.take()?;
        Some(Box::new(random))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<X25519>::default()),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::<ChaChaPoly>::default()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;
    use frames::header::{HEADERS_LEN, TAG_LEN};

    const PROLOGUE: Prologue = Prologue {
        ethertype: 0x88b5,
        sides: [(Role::Control, Mac([2, 0, 0, 0, 0, 1])), (Role::Relay, Mac([2, 0, 0, 0, 0, 2]))],
        association: 5,
        index: SessionIndex(6),
    };

    fn sides(control: u8, relay: u8, relay_prologue: &Prologue) -> (Handshake, Handshake) {
        let mut random = Random::new(&[3; 32]);
        let mut side = |initiates, psk, prologue| {
            Handshake::new(initiates, &Noise::Psk([psk; 32].into()), prologue, &mut random).unwrap()
        };
        (side(true, control, &PROLOGUE), side(false, relay, relay_prologue))
    }

    #[test]
    fn both_sides_get_the_same_keys_crossed() {
        let (mut control, mut relay) = sides(1, 1, &PROLOGUE);
        let first = control.write(b"from control").unwrap();
        assert_eq!(relay.read(&first).unwrap(), b"from control");
        let second = relay.write(b"from relay").unwrap();
        let mut forged = second.clone();
        forged[40] ^= 1;
        assert!(control.read(&forged).is_err());
        assert!(control.finish().is_err(), "not finished yet");
        assert_eq!(control.read(&second).unwrap(), b"from relay", "a forgery does no harm");
        let seal = |side: &mut Handshake| side.finish().unwrap().unwrap().seal().unwrap();
        let (control, relay) = (seal(&mut control), seal(&mut relay));
        let mut frame = [7; HEADERS_LEN + 3 + TAG_LEN];
        control.close(&mut frame, 3, 1, true).unwrap();
        assert!(relay.open(&mut frame, 3, 1, true));
        relay.close(&mut frame, 3, 1, false).unwrap();
        assert!(control.open(&mut frame, 3, 1, false));
    }

    #[test]
    fn every_handshake_has_another_ephemeral_key() {
        let mut random = Random::new(&[3; 32]);
        let mut first = || {
            let mut side = Handshake::new(true, &Noise::Psk([1; 32].into()), &PROLOGUE, &mut random).unwrap();
            side.write(b"x").unwrap()
        };
        assert_ne!(first()[..32], first()[..32]);
    }

    #[test]
    fn another_key_or_another_prologue_fails_at_the_first_message() {
        let (mut control, mut relay) = sides(1, 2, &PROLOGUE);
        assert_eq!(relay.read(&control.write(b"x").unwrap()), Err(DropReason::BadHandshake));
        for prologue in [
            Prologue { ethertype: 0x88b6, ..PROLOGUE },
            Prologue { association: 6, ..PROLOGUE },
            Prologue { index: SessionIndex(7), ..PROLOGUE },
            Prologue { sides: [PROLOGUE.sides[0]; 2], ..PROLOGUE },
        ] {
            let (mut control, mut relay) = sides(1, 1, &prologue);
            assert_eq!(relay.read(&control.write(b"x").unwrap()), Err(DropReason::BadHandshake));
        }
    }

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::new(&[byte; 32])
    }

    fn keyed(own: u8, remote: Option<u8>, secret: u8) -> Handshake {
        let remote = remote.map(|remote| key(remote).public());
        let noise = Noise::Keys { own: key(own), remote, secret: [secret; 32].into() };
        Handshake::new(remote.is_some(), &noise, &PROLOGUE, &mut Random::new(&[own; 32])).unwrap()
    }

    #[test]
    fn in_mode_keys_the_responder_learns_the_key_and_the_initiator_knows_it() {
        let (mut control, mut relay) = (keyed(1, Some(2), 3), keyed(2, None, 3));
        assert_eq!((control.remote_key(), relay.remote_key()), (Some(key(2).public()), None));
        let first = control.write(b"from control").unwrap();
        assert!(!first.windows(32).any(|bytes| bytes == key(1).public().0), "its key is hidden");
        assert_eq!(relay.read(&first).unwrap(), b"from control");
        assert_eq!(relay.remote_key(), Some(key(1).public()));
        assert_eq!(control.read(&relay.write(b"from relay").unwrap()).unwrap(), b"from relay");
        let keys = [control.finish(), relay.finish()].map(|keys| *keys.unwrap().unwrap().to_responder);
        assert_eq!(keys[0], keys[1]);
    }

    #[test]
    fn another_responder_reads_nothing_and_another_psk_ends_it_at_the_second_message() {
        let first = keyed(1, Some(2), 3).write(b"x").unwrap();
        assert_eq!(keyed(4, None, 3).read(&first), Err(DropReason::BadHandshake));
        let (mut control, mut relay) = (keyed(1, Some(2), 3), keyed(2, None, 4));
        assert!(relay.read(&control.write(b"x").unwrap()).is_ok());
        assert_eq!(control.read(&relay.write(b"y").unwrap()), Err(DropReason::BadHandshake));
    }

    #[test]
    fn mode_none_has_payloads_in_clear_and_no_keys() {
        let mut side = Handshake::new(true, &Noise::Clear, &PROLOGUE, &mut Random::new(&[0; 32])).unwrap();
        assert_eq!(side.write(b"x").unwrap(), b"x");
        assert_eq!(side.read(b"y").unwrap(), b"y");
        assert!(side.finish().unwrap().is_none());
        assert_eq!(format!("{side:?}"), "Handshake(..)");
        let longest = vec![7; MESSAGE_MAX];
        assert_eq!(side.read(&longest).as_ref(), Ok(&longest));
        assert_eq!(side.read(&vec![7; MESSAGE_MAX + 1]), Err(DropReason::BadHandshake));
    }

    #[test]
    fn garbage_of_any_length_is_refused() {
        for len in [0, 1, 31, 32, 47, 48, 200, 5000] {
            let (_, mut relay) = sides(1, 1, &PROLOGUE);
            assert_eq!(relay.read(&vec![0x55; len]), Err(DropReason::BadHandshake), "{len}");
        }
    }
}
