//! X25519 for snow, by aws-lc: private keys are zeroized, and a public key that makes no secret is an error.

use crate::Secret;
use crate::key::PrivateKey;
use snow::Error;
use snow::types::{Dh, Random};

/// A key pair of a handshake.
pub(crate) struct X25519 {
    private: PrivateKey,
    public: [u8; 32],
}

impl Default for X25519 {
    fn default() -> Self {
        Self { private: PrivateKey::new(&[0; 32]), public: [0; 32] }
    }
}

impl X25519 {
    fn put(&mut self, bytes: &[u8; 32]) {
        self.private = PrivateKey::new(bytes);
        self.public = self.private.public().0;
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        if let Some(private) = private.first_chunk() {
            self.put(private);
        }
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let bytes: Secret = Secret::try_written(|bytes| random.try_fill_bytes(bytes))?;
        self.put(&bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.bytes()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk().ok_or(Error::Dh)?;
        let secret = self.private.agree(public).ok_or(Error::Dh)?;
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(&*secret);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snow::params::DHChoice;
    use snow::resolvers::{CryptoResolver, DefaultResolver};

    #[test]
    fn it_is_the_curve_that_snow_has_itself() {
        let mut theirs = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        let mut ours = X25519::default();
        assert_eq!(
            (ours.name(), ours.pub_len(), ours.priv_len()),
            (theirs.name(), theirs.pub_len(), theirs.priv_len())
        );
        for private in [[0x40; 32], [0x78; 32]] {
            theirs.set(&private);
            ours.set(&private);
            assert_eq!((ours.pubkey(), ours.privkey()), (theirs.pubkey(), theirs.privkey()));
            let (mut one, mut other) = ([0; 32], [0; 32]);
            assert_eq!(theirs.dh(&[9; 32], &mut one), Ok(()));
            assert_eq!(ours.dh(&[9; 32], &mut other), Ok(()));
            assert_eq!(one, other);
        }
        assert_eq!(ours.dh(&[0; 32], &mut [0; 32]), Err(Error::Dh), "it makes no secret");
        assert_eq!(ours.dh(&[9; 31], &mut [0; 32]), Err(Error::Dh));
        assert_eq!(ours.dh(&[9; 32], &mut [0; 31]), Err(Error::Dh));
    }
}
