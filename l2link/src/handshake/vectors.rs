//! Handshakes as another implementation does them: vectors of cacophony, which is Haskell
//! (<https://github.com/haskell-cryptography/cacophony>, `vectors/cacophony.txt`, public domain).

use super::*;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

const PROLOGUE: &[u8] = b"John Galt";
const PSK: &[u8; 32] = b"This is my Austrian perspective!";
const PAYLOADS: [&[u8]; 3] = [b"Ludwig von Mises", b"Murray Rothbard", b"F. A. Hayek"];
const INITIATOR: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
const INITIATOR_EPHEMERAL: &str = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
const RESPONDER: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
const RESPONDER_PUBLIC: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
const RESPONDER_EPHEMERAL: &str = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";

#[test]
fn mode_psk() {
    let side = |initiates, ephemeral| {
        let builder = builder(PATTERN_PSK, ephemeral).psk(0, PSK).unwrap();
        finish(builder, initiates).unwrap()
    };
    follow(
        side(true, &bytes(INITIATOR_EPHEMERAL)),
        side(false, &bytes(RESPONDER_EPHEMERAL)),
        [
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
             fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843\
             4cd2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729",
            "bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7",
        ],
        "b3e9c846d264120a4211e18307da91157a21e92e69b639c50f027f101db3e1a6",
    );
}

#[test]
fn mode_keys() {
    let side = |own: &[u8], remote: Option<&[u8]>, ephemeral| {
        let builder = builder(PATTERN_KEYS, ephemeral).psk(2, PSK).unwrap().local_private_key(own).unwrap();
        match remote {
            Some(remote) => finish(builder.remote_public_key(remote).unwrap(), true),
            None => finish(builder, false),
        }
        .unwrap()
    };
    let public = bytes(RESPONDER_PUBLIC);
    follow(
        side(&bytes(INITIATOR), Some(&public), &bytes(INITIATOR_EPHEMERAL)),
        side(&bytes(RESPONDER), None, &bytes(RESPONDER_EPHEMERAL)),
        [
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
             001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf\
             1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985\
             464cf17e51ee93109008399a21f7e13f",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843\
             cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a",
            "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
        ],
        "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5",
    );
}

/// With the keys and the randomness of this crate, but for the ephemeral key.
fn builder<'a>(pattern: &str, ephemeral: &'a [u8]) -> Builder<'a> {
    let resolver = Resolver { random: Mutex::new(Some(Random::new(&[0; 32]))) };
    let builder = Builder::with_resolver(pattern.parse().unwrap(), Box::new(resolver));
    builder.prologue(PROLOGUE).unwrap().fixed_ephemeral_key_for_testing_only(ephemeral)
}

/// Both messages and their hash, and what the first key of `Split()` makes of the first transport message.
fn follow(mut initiator: HandshakeState, mut responder: HandshakeState, messages: [&str; 3], hash: &str) {
    let pass = |from: &mut HandshakeState, to: &mut HandshakeState, number: usize| {
        let (mut message, mut payload) = ([0; MESSAGE_MAX], [0; MESSAGE_MAX]);
        let length = from.write_message(PAYLOADS[number], &mut message).unwrap();
        assert_eq!(message[..length], bytes(messages[number]));
        let read = to.read_message(&message[..length], &mut payload).unwrap();
        assert_eq!(&payload[..read], PAYLOADS[number]);
    };
    pass(&mut initiator, &mut responder, 0);
    pass(&mut responder, &mut initiator, 1);
    for mut side in [initiator, responder] {
        assert_eq!(side.get_handshake_hash(), bytes(hash));
        let (to_responder, _) = side.dangerously_get_raw_split();
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &to_responder).unwrap());
        let mut transport = PAYLOADS[2].to_vec();
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut transport).unwrap();
        assert_eq!(transport, bytes(messages[2]));
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}
