//! The gate: a keyed hash on every discovery and handshake frame, checked before any public-key work.
//!
//! The tag behind the body is the first [`TAG_LEN`] bytes of
//!
//! ```text
//! HMAC-SHA256(gate key, bytes of the frame from the Ethernet source address up to the end of the body)
//! gate key  = HMAC-SHA256(psk, "l2link gate")                        in mode psk
//! gate key  = HMAC-SHA256(HMAC-SHA256(psk, "l2link gate"), key)      in mode keys; the psk is zero if there is none
//! noise psk = HMAC-SHA256(psk, "l2link noise psk")
//! ```
//!
//! In mode `keys` *key* is a public one: the sender's of a hello, which is for all, the receiver's of a handshake frame. Public
//! keys are never on the wire in clear, so a stranger does not know them; whoever is a peer does, and can forge hellos unless
//! there is a psk as well, which he knows, too. A hello is believed by nobody.
//!
//! so it covers source, EtherType, link header and body, and not the destination: a hello is one frame for all. It keeps
//! strangers out cheaply; it does not keep replayed frames out. A replayed hello makes a control try a handshake, which
//! the true peer's keys decide; a replayed first handshake frame takes one of the few half-open places until it expires.
//! In mode `none` there is no tag.

use crate::{PublicKey, Secret};
use aws_lc_rs::{constant_time, hmac};
use frames::header::{EthernetHeader, HEADERS_LEN, TAG_LEN};

/// The keys that are derived from the shared one.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    key: hmac::Key,
}

impl Gate {
    pub(crate) fn new(psk: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &*derive(psk, b"l2link gate")) }
    }

    /// That of one device in mode `keys`. `secret` is the psk, or what takes its place between two relays.
    pub(crate) fn of_device(secret: &[u8; 32], key: &PublicKey) -> Self {
        let base = derive(secret, b"l2link gate");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &*derive(&base, &key.0)) }
    }

    /// Writes the tag behind the body of `body_len` bytes.
    pub(crate) fn close(&self, frame: &mut [u8], body_len: usize) {
        let end = HEADERS_LEN + body_len;
        let tag = self.tag(&frame[SOURCE..end]);
        frame[end..end + TAG_LEN].copy_from_slice(&tag);
    }

    /// Whether the tag behind the body is right. The frame holds headers, body and tag.
    pub(crate) fn admits(&self, frame: &[u8], body_len: usize) -> bool {
        let end = HEADERS_LEN + body_len;
        let Some(tag) = frame.get(end..end + TAG_LEN) else { return false };
        constant_time::verify_slices_are_equal(&self.tag(&frame[SOURCE..end]), tag).is_ok()
    }

    fn tag(&self, bytes: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&hmac::sign(&self.key, bytes).as_ref()[..TAG_LEN]);
        tag
    }
}

/// The key for Noise.
pub(crate) fn noise_psk(psk: &[u8; 32]) -> Secret {
    derive(psk, b"l2link noise psk")
}

/// The key of the pair of relays that was told this salt.
pub(crate) fn pair_key(psk: &[u8; 32], salt: &[u8; 32]) -> Secret {
    derive(&derive(psk, b"l2link pair psk"), salt)
}

fn derive(psk: &[u8; 32], label: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, psk), label);
    Secret::written(|key| key.copy_from_slice(tag.as_ref()))
}

/// Where the Ethernet source address begins.
const SOURCE: usize = 6;
const _: () = assert!(core::mem::offset_of!(EthernetHeader, source) == SOURCE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts_but_the_destination() {
        let gate = Gate::new(&[5; 32]);
        let mut frame = [0x5a; HEADERS_LEN + 9 + TAG_LEN];
        gate.close(&mut frame, 9);
        assert!(gate.admits(&frame, 9));
        assert!(!Gate::new(&[6; 32]).admits(&frame, 9));
        for byte in 0..frame.len() {
            frame[byte] ^= 0x10;
            assert_eq!(gate.admits(&frame, 9), byte < SOURCE, "byte {byte}");
            frame[byte] ^= 0x10;
        }
    }

    #[test]
    fn in_mode_keys_it_is_of_one_device_and_of_the_psk() {
        let gate = |secret, key| Gate::of_device(&[secret; 32], &PublicKey([key; 32]));
        let mut frame = [0x5a; HEADERS_LEN + 9 + TAG_LEN];
        gate(5, 1).close(&mut frame, 9);
        assert!(gate(5, 1).admits(&frame, 9));
        assert!(!gate(5, 2).admits(&frame, 9) && !gate(6, 1).admits(&frame, 9));
        assert!(!Gate::new(&[5; 32]).admits(&frame, 9));
    }

    #[test]
    fn a_missing_tag_is_a_wrong_one() {
        assert!(!Gate::new(&[5; 32]).admits(&[0; HEADERS_LEN + 9], 9));
    }
}
