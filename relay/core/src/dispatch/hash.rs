//! Hashes of flows, the same at every relay.

use super::pools::PoolKey;
use core::net::IpAddr;
use frames::PortId;
use frames::protocol_address::octets;

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
    factors: [u128; WORDS],
}

/// {port, protocol, L4 port}, the local address, the remote one and its L4 port.
const WORDS: usize = 6;
/// Those that are of the service.
const SERVICE: usize = 3;

/// By what a service at an address is found. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolHash(pub(super) u64);

/// By what a flow at a port is known. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowKey(pub(super) u64);

impl Secret {
    /// The hashes of a service at an address, and of a flow to it.
    #[inline]
    pub(super) fn hashes(&self, pool: &PoolKey, (remote, remote_port): (u128, u16)) -> (PoolHash, FlowKey) {
        let sum = self.sum(pool);
        let [high, low] = words_of(remote);
        let of_flow = self.add::<SERVICE, 3>(sum, [high, low, u64::from(remote_port)]);
        (PoolHash(finish(sum)), FlowKey(finish(of_flow)))
    }

    /// The hash of a service at an address.
    #[inline]
    pub(super) fn hash(&self, pool: &PoolKey) -> PoolHash {
        PoolHash(finish(self.sum(pool)))
    }

    #[inline]
    fn sum(&self, (service, local): &PoolKey) -> u128 {
        let [high, low] = words_of(*local);
        self.add::<0, SERVICE>(self.offset, [service.word(), high, low])
    }

    /// Adds words, of which the first is the `FIRST`th of all.
    #[inline]
    fn add<const FIRST: usize, const COUNT: usize>(&self, sum: u128, words: [u64; COUNT]) -> u128 {
        const { assert!(FIRST + COUNT <= WORDS, "one factor each") };
        let terms = self.factors[FIRST..].iter().zip(words);
        terms.fold(sum, |sum, (factor, word)| sum.wrapping_add(factor.wrapping_mul(u128::from(word))))
    }
}

/// The halves of an address in its 128-bit form.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "they are halves")]
fn words_of(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

#[inline]
fn finish(sum: u128) -> u64 {
    // Inputs at equal distances have hashes at equal distances, which mixing ends.
    mix((sum >> 64) as u64).max(1)
}

impl Secret {
    /// One of these random bytes, and as many more as are drawn.
    pub(super) fn drawn(mut draw: impl FnMut() -> [u8; 32]) -> Self {
        let mut word = || {
            let bytes = draw();
            let (half, _) = bytes.split_first_chunk().unwrap_or((&[0; 16], &[]));
            u128::from_le_bytes(*half)
        };
        Self { offset: word(), factors: core::array::from_fn(|_| word()) }
    }
}

/// Known to everybody, for tests and benchmarks.
impl Default for Secret {
    fn default() -> Self {
        Self::counted(0)
    }
}

impl Secret {
    fn counted(mut count: u64) -> Self {
        Self::drawn(|| {
            let mut bytes = [0; 32];
            for part in bytes.chunks_exact_mut(8) {
                count = mix(count).wrapping_add(1);
                part.copy_from_slice(&count.to_le_bytes());
            }
            bytes
        })
    }
}

/// The ends of a flow and its protocol.
fn words(protocol: u8, (local, local_port): (IpAddr, u16), (remote, remote_port): (IpAddr, u16)) -> [u64; 5] {
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
    use super::super::services::ServiceKey;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_word_and_the_secret_change_a_hash() {
        let (secret, other) = (Secret::default(), Secret::counted(7));
        let input =
            |word: usize, bit: u32| -> [u64; 6] { core::array::from_fn(|n| u64::from(n == word) << bit) };
        let inputs = (0..6).flat_map(|word| (0..64).map(move |bit| input(word, bit)));
        let hash = |secret: &Secret, input| finish(secret.add::<0, WORDS>(secret.offset, input));
        let hashes: BTreeSet<u64> = inputs
            .flat_map(|input| [hash(&secret, input), hash(&other, input)])
            .chain([hash(&secret, [0; 6])])
            .collect();
        assert_eq!(hashes.len(), 2 * 6 * 64 + 1);
    }

    #[test]
    fn a_flow_is_known_by_port_protocol_and_both_ends() {
        let (secret, other) = (Secret::default(), Secret::counted(7));
        let key = |port, protocol, local_port| (ServiceKey { port: PortId(port), protocol, local_port }, 7);
        let flows = [
            secret.hashes(&key(1, 6, 80), (2, 40_000)),
            secret.hashes(&key(2, 6, 80), (2, 40_000)),
            secret.hashes(&key(1, 17, 80), (2, 40_000)),
            secret.hashes(&key(1, 6, 81), (2, 40_000)),
            secret.hashes(&key(1, 6, 80), (3, 40_000)),
            secret.hashes(&key(1, 6, 80), (2, 40_001)),
            other.hashes(&key(1, 6, 80), (2, 40_000)),
        ];
        assert_eq!(flows.iter().map(|(_, flow)| *flow).collect::<BTreeSet<_>>().len(), flows.len());
        assert_eq!(flows[0].0, secret.hash(&key(1, 6, 80)));
    }

    /// What a table with linear probing needs of flows that count up: no crowds.
    #[test]
    fn neighbours_are_scattered() {
        let secret = Secret::default();
        let mut taken = [0_u32; 1 << 10];
        for n in 0..1 << 14 {
            let PoolHash(hash) = secret.hash(&(ServiceKey::default(), n));
            taken[(hash % (1 << 10)) as usize] += 1;
        }
        // Sixteen each, with a deviation of four.
        assert!(taken.iter().all(|count| (1..=48).contains(count)), "{taken:?}");
    }
}
