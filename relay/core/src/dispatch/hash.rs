//! Hashes of flows, the same at every relay.

use core::hash::BuildHasher;
use core::net::IpAddr;
use frames::PortId;
use frames::protocol_address::octets;
use std::hash::RandomState;

/// A flow as servers are chosen by it: not the packets, only what is the same in all of them, and at every relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowHash(pub(super) u64);

impl FlowHash {
    pub(crate) fn new(protocol: u8, local: (IpAddr, u16), remote: (IpAddr, u16)) -> Self {
        // An odd factor without structure: the golden ratio.
        Self(fold(words(protocol, local, remote), 0, 0x9e37_79b9_7f4a_7c15))
    }
}

/// A flow at a port, in a quarter of its bytes: of a million flows two are the same with a probability of 2^-88.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FlowId {
    hash: u64,
    more: u64,
}

impl FlowId {
    pub(crate) fn new(port: PortId, protocol: u8, local: (IpAddr, u16), remote: (IpAddr, u16)) -> Self {
        let FlowHash(hash) = FlowHash::new(protocol, local, remote);
        // Another one: the square root of three.
        let more = fold(words(protocol, local, remote), u64::from(port.0), 0xddb3_d742_c265_539d);
        Self { hash, more }
    }

    /// What servers are chosen by.
    pub(crate) fn hash(&self) -> FlowHash {
        FlowHash(self.hash)
    }
}

/// Hashes that nobody else can compute: of two inputs, however they were chosen, those that do not know the key make the same
/// hash with a probability of 2^-64 (strongly universal; Lemire, Kaser: Strongly universal string hashing is fast, The
/// Computer Journal 57, 2014, section 2: 64-bit words, arithmetic in 128 bits, the upper half).
#[derive(Debug)]
pub(super) struct Secret {
    offset: u128,
    factors: [u128; 6],
}

impl Secret {
    #[inline]
    pub(super) fn hash<const WORDS: usize>(&self, words: [u64; WORDS]) -> u64 {
        const { assert!(WORDS <= 6, "one factor each") };
        let terms = self.factors.iter().zip(words);
        let sum = terms
            .fold(self.offset, |sum, (factor, word)| sum.wrapping_add(factor.wrapping_mul(u128::from(word))));
        // Inputs at equal distances have hashes at equal distances, which mixing ends.
        mix((sum >> 64) as u64)
    }
}

impl Default for Secret {
    fn default() -> Self {
        let random = RandomState::new();
        let half = |n: usize| u128::from(random.hash_one(n));
        let whole = |n| half(2 * n) << 64 | half(2 * n + 1);
        Self { offset: whole(0), factors: core::array::from_fn(|n| whole(n + 1)) }
    }
}

/// The ends of a flow and its protocol.
pub(super) fn words(
    protocol: u8,
    (local, local_port): (IpAddr, u16),
    (remote, remote_port): (IpAddr, u16),
) -> [u64; 5] {
    let ports = u64::from(protocol) << 32 | u64::from(local_port) << 16 | u64::from(remote_port);
    let ((a, b), (c, d)) = (halves(local), halves(remote));
    [ports, a, b, c, d]
}

fn fold(words: [u64; 5], seed: u64, factor: u64) -> u64 {
    mix(words.iter().fold(seed, |hash, word| (hash.rotate_left(23) ^ word).wrapping_mul(factor)))
}

fn halves(address: IpAddr) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = octets(address);
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest))
}

/// The finisher of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators): each bit of the
/// input changes each bit of the output with probability one half.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A name as a number.
pub(crate) fn of_name(name: &str, rank: usize) -> u64 {
    let bytes = name.bytes().fold(rank as u64, |hash, byte| mix(hash ^ u64::from(byte)).wrapping_add(1));
    mix(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_word_and_the_secret_change_a_hash() {
        let (secret, other) = (Secret::default(), Secret::default());
        let input =
            |word: usize, bit: u32| -> [u64; 6] { core::array::from_fn(|n| u64::from(n == word) << bit) };
        let inputs = (0..6).flat_map(|word| (0..64).map(move |bit| input(word, bit)));
        let hashes: BTreeSet<u64> = inputs
            .flat_map(|input| [secret.hash(input), other.hash(input)])
            .chain([secret.hash([0; 6])])
            .collect();
        assert_eq!(hashes.len(), 2 * 6 * 64 + 1);
    }

    /// What a table with linear probing needs of flows that count up: no crowds.
    #[test]
    fn neighbours_are_scattered() {
        let secret = Secret::default();
        let mut taken = [0_u32; 1 << 10];
        for n in 0..1 << 14 {
            taken[(secret.hash([1, n, 0, 2, 0, 3]) % (1 << 10)) as usize] += 1;
        }
        // Sixteen each, with a deviation of four.
        assert!(taken.iter().all(|count| (1..=48).contains(count)), "{taken:?}");
    }
}
