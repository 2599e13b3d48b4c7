//! The seal of session and data frames: AES-128-GCM by aws-lc.
//!
//! | | associated data | encrypted | behind the body |
//! |---|---|---|---|
//! | sealed (the default) | link header and body | nothing | tag |
//! | encrypted | link header | body | tag |
//!
//! The Ethernet header is not covered: a peer's address may change in the middle of a session, and the link header says
//! all that matters. The nonce is four zero bytes and the frame counter of the link header, big-endian; counters begin
//! at 1 and never repeat under a key. Keys: the first 16 bytes of each half of Noise's `Split()`.
//!
//! Limits: a key is replaced after [`crate::session::REKEY_AFTER`]; at ten million frames a second that is 2^31 frames,
//! far below the 2^36 full-size frames at which AES-GCM's confidentiality margin falls under 2^-57.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use frames::header::{EthernetHeader, HEADERS_LEN, TAG_LEN};

/// The keys of one session, one for each direction.
#[derive(Debug)]
pub(crate) struct Seal {
    send: LessSafeKey,
    receive: LessSafeKey,
}

impl Seal {
    pub(crate) fn new(send: &[u8; 32], receive: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self { send: key(&send[..16])?, receive: key(&receive[..16])? })
    }

    /// Seals a frame in place: headers and body of `body_len` bytes stand in `frame`, the tag is written behind.
    #[inline]
    pub(crate) fn close(
        &self,
        frame: &mut [u8],
        body_len: usize,
        counter: u64,
        encrypt: bool,
    ) -> Result<(), Unspecified> {
        let (front, rest) = frame.split_at_mut(HEADERS_LEN + body_len);
        let (aad, secret) = parts(front, encrypt);
        let tag = self.send.seal_in_place_separate_tag(nonce(counter), Aad::from(aad), secret)?;
        rest[..TAG_LEN].copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a frame in place. The frame holds headers, body and tag. A frame that fails is garbage afterwards.
    #[inline]
    pub(crate) fn open(&self, frame: &mut [u8], body_len: usize, counter: u64, encrypted: bool) -> bool {
        open(&self.receive, frame, body_len, counter, encrypted)
    }
}

/// A key of 16 bytes.
pub(crate) fn key(bytes: &[u8]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&AES_128_GCM, bytes).map(LessSafeKey::new)
}

/// As [`Seal::open`], by the key of the frame's direction.
#[inline]
pub(crate) fn open(
    key: &LessSafeKey,
    frame: &mut [u8],
    body_len: usize,
    counter: u64,
    encrypted: bool,
) -> bool {
    let (front, rest) = frame.split_at_mut(HEADERS_LEN + body_len);
    let Some(tag) = rest.get(..TAG_LEN) else { return false };
    let (aad, secret) = parts(front, encrypted);
    key.open_in_place_separate_tag(nonce(counter), Aad::from(aad), tag, secret).is_ok()
}

/// What is only authentic, and what is secret as well.
fn parts(front: &mut [u8], encrypt: bool) -> (&[u8], &mut [u8]) {
    let end = if encrypt { HEADERS_LEN } else { front.len() };
    let (readable, secret) = front.split_at_mut(end);
    (&readable[size_of::<EthernetHeader>()..], secret)
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pair() -> (Seal, Seal) {
        (Seal::new(&[1; 32], &[2; 32]).unwrap(), Seal::new(&[2; 32], &[1; 32]).unwrap())
    }

    #[rstest]
    fn every_bit_counts_but_the_ethernet_header(#[values(false, true)] encrypt: bool) {
        let (ours, theirs) = pair();
        let plain: Vec<u8> = (0..=255).cycle().take(HEADERS_LEN + 21).collect();
        let mut sealed = plain.clone();
        sealed.resize(plain.len() + TAG_LEN, 0);
        ours.close(&mut sealed, 21, 77, encrypt).unwrap();
        assert_eq!(sealed[HEADERS_LEN..plain.len()] == plain[HEADERS_LEN..], !encrypt);
        for byte in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[byte] ^= 4;
            assert_eq!(theirs.open(&mut forged, 21, 77, encrypt), byte < 14, "byte {byte}");
        }
        assert!(!theirs.open(&mut sealed.clone(), 21, 78, encrypt));
        assert!(!theirs.open(&mut sealed.clone(), 21, 77, !encrypt));
        assert!(!ours.open(&mut sealed.clone(), 21, 77, encrypt), "a reflected frame");
        assert!(theirs.open(&mut sealed, 21, 77, encrypt));
        assert_eq!(sealed[..plain.len()], plain);
    }

    #[test]
    fn a_cut_tag_is_no_tag() {
        assert!(!pair().0.open(&mut [0; HEADERS_LEN + 4 + TAG_LEN - 1], 4, 1, false));
    }
}
