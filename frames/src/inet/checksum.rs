//! The Internet checksum (RFC 1071), and its change by difference (RFC 1624).

/// What a change of some words adds to the one's complement sum over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delta(u32);

impl Delta {
    /// From `old` to `new`, which stand at an even distance from where the sum begins and are equally long.
    pub(super) fn of(old: &[u8], new: &[u8]) -> Self {
        let negative = words(old).fold(0_u32, |sum, word| sum.wrapping_add(u32::from(!word)));
        Self(words(new).fold(negative, |sum, word| sum.wrapping_add(u32::from(word))))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(u32::from(fold(self.0)).wrapping_add(u32::from(fold(other.0))))
    }

    /// The checksum field after the change (RFC 1624, equation 3).
    pub(super) fn checksum(self, field: [u8; 2]) -> [u8; 2] {
        (!self.added_to(!u16::from_be_bytes(field))).to_be_bytes()
    }

    /// The field after the change if it holds the plain sum, as it does before a checksum is completed.
    pub(super) fn sum(self, field: [u8; 2]) -> [u8; 2] {
        self.added_to(u16::from_be_bytes(field)).to_be_bytes()
    }

    fn added_to(self, sum: u16) -> u16 {
        fold(u32::from(fold(self.0)).wrapping_add(u32::from(sum)))
    }
}

/// The one's complement sum, an odd byte at the end filled up with zero.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    // Four bytes at once: 2^16 is 1 in one's complement, so high and low half may be added in the end.
    let (quads, rest) = bytes.as_chunks::<4>();
    let quads = quads.iter().fold(0_u64, |sum, quad| sum.wrapping_add(u64::from(u32::from_be_bytes(*quad))));
    let rest = words(rest).fold(0_u64, |sum, word| sum.wrapping_add(u64::from(word)));
    let all = quads.wrapping_add(rest);
    let half = (all & 0xffff_ffff).wrapping_add(all >> 32);
    let half = (half & 0xffff_ffff).wrapping_add(half >> 32);
    fold(u32::try_from(half).unwrap_or(u32::MAX))
}

/// The one's complement sum of two sums.
pub(super) fn add(one: u16, other: u16) -> u16 {
    fold(u32::from(one).wrapping_add(u32::from(other)))
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff).wrapping_add(sum >> 16);
    let twice = (once & 0xffff).wrapping_add(once >> 16);
    // After two folds nothing is left above.
    u16::try_from(twice).unwrap_or(u16::MAX)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks(2).map(|word| match *word {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    })
}
