//! ChaCha20-Poly1305 for snow, by aws-lc, which wipes its keys.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use frames::header::TAG_LEN;
use snow::Error;
use snow::types::Cipher;

/// The cipher of a handshake, without a key at first.
#[derive(Default)]
pub(crate) struct ChaChaPoly(Option<LessSafeKey>);

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).ok();
    }

    /// snow cannot be told that it fails. That it does, without a key or for more than 256 GiB, cannot be here; what it gave
    /// would be refused by the other side.
    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let sealed = self
            .0
            .as_ref()
            .and_then(|key| key.seal_in_place_separate_tag(nonce(counter), Aad::from(authtext), text).ok());
        match sealed {
            Some(sealed) => tag[..TAG_LEN].copy_from_slice(sealed.as_ref()),
            None => out[..plaintext.len() + TAG_LEN].fill(0),
        }
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(text);
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        key.open_in_place_separate_tag(nonce(counter), Aad::from(authtext), tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

/// The Noise Protocol Framework, revision 34, 12.3: four zero bytes, and the counter little-endian.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snow::params::CipherChoice;
    use snow::resolvers::{CryptoResolver, DefaultResolver};

    #[test]
    fn it_is_the_cipher_that_snow_has_itself() {
        let mut theirs = DefaultResolver.resolve_cipher(&CipherChoice::ChaChaPoly).unwrap();
        let mut ours = ChaChaPoly::default();
        assert_eq!(ours.name(), theirs.name());
        for key in [[0; 32], [7; 32]] {
            theirs.set(&key);
            ours.set(&key);
            for (counter, length) in [(0, 0), (1, 1), (u64::MAX, 32), (0x0102_0304_0506_0708, 1000)] {
                let plain: Vec<u8> = (0..=255).cycle().take(length).collect();
                let (mut one, mut other) = (vec![0; length + TAG_LEN], vec![0; length + TAG_LEN]);
                assert_eq!(theirs.encrypt(counter, b"a", &plain, &mut one), one.len());
                assert_eq!(ours.encrypt(counter, b"a", &plain, &mut other), other.len());
                assert_eq!(one, other);
                let mut opened = vec![0; length];
                assert_eq!(ours.decrypt(counter, b"a", &one, &mut opened), Ok(length));
                assert_eq!(opened, plain);
                assert_eq!(ours.decrypt(counter, b"b", &one, &mut opened), Err(Error::Decrypt));
                one[length] ^= 1;
                assert_eq!(ours.decrypt(counter, b"a", &one, &mut opened), Err(Error::Decrypt));
            }
        }
        assert_eq!(ours.decrypt(0, b"", &[0; TAG_LEN - 1], &mut []), Err(Error::Decrypt));
        assert_eq!(ChaChaPoly::default().decrypt(0, b"", &[0; 40], &mut [0; 24]), Err(Error::Decrypt));
        let mut out = [7; 3 + TAG_LEN];
        assert_eq!(ChaChaPoly::default().encrypt(0, b"", b"abc", &mut out), out.len());
        assert_eq!(out, [0; 3 + TAG_LEN], "nothing leaves in clear");
    }
}
