//! Random numbers from the seed.
//!
//! HMAC-SHA256 in counter mode (the shape of SP 800-90A's HMAC_DRBG without reseeding): block *n* is the MAC of *n*
//! under the seed. Unpredictable to whoever does not know the seed, and the same run of numbers for the same seed, which
//! makes a whole simulated segment repeatable down to the ephemeral keys.

use crate::Secret;
use aws_lc_rs::hmac;
use core::fmt;

/// A generator; children are independent of it and of one another.
pub(crate) struct Random {
    key: hmac::Key,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, seed), counter: 0 }
    }

    /// Another generator. This one goes on from a new key, so that what the child gives cannot be found out by who later learns
    /// all that this process has in memory.
    pub(crate) fn child(&mut self) -> Self {
        let seed: Secret = Secret::written(|seed| self.fill(seed));
        let next: Secret = Secret::written(|next| self.fill(next));
        *self = Self::new(&next);
        Self::new(&seed)
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            self.counter += 1;
            let block = hmac::sign(&self.key, &self.counter.to_be_bytes());
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(..)")
    }
}

impl snow::types::Random for Random {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        self.fill(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers_and_children_differ() {
        let (mut a, mut b) = (Random::new(&[7; 32]), Random::new(&[7; 32]));
        assert_eq!((a.u64(), a.u32()), (b.u64(), b.u32()));
        let (mut child, mut sibling) = (a.child(), a.child());
        assert_ne!(child.u64(), sibling.u64());
        assert_ne!(Random::new(&[8; 32]).u64(), Random::new(&[7; 32]).u64());
        assert_eq!(format!("{a:?}"), "Random(..)");
    }

    #[test]
    fn who_has_a_child_goes_on_from_another_key() {
        let (mut parent, mut other) = (Random::new(&[7; 32]), Random::new(&[7; 32]));
        let _ = parent.child();
        // What the child's seed and the next key were made of.
        other.fill(&mut [0; 64]);
        assert_ne!((parent.u64(), parent.u64()), (other.u64(), other.u64()));
    }

    #[test]
    fn fills_any_length() {
        let mut bytes = [0; 77];
        Random::new(&[1; 32]).fill(&mut bytes);
        assert!(bytes.chunks(7).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }
}
