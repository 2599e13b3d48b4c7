//! The key pair of a device in mode `keys`: X25519 (RFC 7748), written in base64 as `wg` writes it.

use crate::Secret;
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use core::str::FromStr;

/// What a device keeps for itself. Its `Debug` form shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Secret);

/// By which others know a device. Its `Display` form is base64, 44 characters, and [`FromStr`] reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PrivateKey {
    /// The key of these random bytes. The bits that mean nothing are set as is usual (RFC 7748, 5).
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(Secret::written(|bytes| {
            bytes.copy_from_slice(random);
            bytes[0] &= 248;
            bytes[31] = (bytes[31] & 127) | 64;
        }))
    }

    /// The bytes: whoever has them is the device.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// By which others know this device.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut public = PublicKey([0; 32]);
        let key = agreement::PrivateKey::from_private_key(&X25519, &*self.0).ok();
        if let Some(computed) = key.and_then(|key| key.compute_public_key().ok()) {
            public.0.copy_from_slice(computed.as_ref());
        }
        public
    }

    /// The secret that this device has in common with another one; `None` for a public key with which every device would
    /// have the same (RFC 7748, 6.1).
    pub(crate) fn agree(&self, public: &[u8; 32]) -> Option<Secret> {
        let own = agreement::PrivateKey::from_private_key(&X25519, &*self.0).ok()?;
        let other = UnparsedPublicKey::new(&X25519, public);
        agreement::agree(&own, other, (), |secret| Ok(Secret::written(|copy| copy.copy_from_slice(secret))))
            .ok()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PublicKey {
    /// Whether it is one that a private key can have made, and not one of the few that make no secret.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        PrivateKey::new(&[7; 32]).agree(&self.0).is_some()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no public key")
    }
}

impl core::error::Error for NotAKey {}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let bytes = STANDARD.decode(text).map_err(|_| NotAKey)?;
        let key = Self(bytes.try_into().map_err(|_| NotAKey)?);
        if key.is_usable() { Ok(key) } else { Err(NotAKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// RFC 7748, 6.1.
    const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    const SHARED: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

    fn bytes(hex: &str) -> [u8; 32] {
        core::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn the_vectors_of_the_rfc() {
        let alice = PrivateKey::new(&bytes(ALICE));
        assert_eq!(alice.public(), PublicKey(bytes(ALICE_PUBLIC)));
        assert_eq!(*alice.agree(&bytes(BOB_PUBLIC)).unwrap(), bytes(SHARED));
        assert_eq!(format!("{alice:?}"), "PrivateKey(..)");
    }

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        let key = PublicKey(bytes(ALICE_PUBLIC));
        assert_eq!(key.to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[rstest]
    #[case::empty("")]
    #[case::short("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==")]
    #[case::no_base64("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo?")]
    #[case::zero("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]
    #[case::one("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]
    fn what_is_no_public_key(#[case] text: &str) {
        let error = text.parse::<PublicKey>().unwrap_err();
        assert_eq!(error.to_string(), "this is no public key");
    }
}
