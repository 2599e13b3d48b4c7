//! Ethernet addresses.

use core::fmt;
use core::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 48-bit Ethernet address.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The group to which every device of this protocol listens: locally administered multicast, "l2lin" in ASCII
    /// behind the group octet.
    pub const LINK_GROUP: Self = Self([0x03, 0x6c, 0x32, 0x6c, 0x69, 0x6e]);

    /// Whether the address is a group address (IEEE 802.3, 3.2.3), broadcast included.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six hexadecimal octets separated by colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAMac;

impl fmt::Display for NotAMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an Ethernet address: six hexadecimal octets separated by colons are needed")
    }
}

impl core::error::Error for NotAMac {}

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| is_octet(part)).ok_or(NotAMac)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        parts.next().is_none().then_some(Self(octets)).ok_or(NotAMac)
    }
}

/// `u8::from_str_radix` alone would take "+f".
fn is_octet(part: &str) -> bool {
    part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::string::ToString;

    #[test]
    fn text_goes_both_ways() {
        let mac: Mac = "02:00:5E:10:00:ff".parse().unwrap();
        assert_eq!(mac, Mac([0x02, 0x00, 0x5e, 0x10, 0x00, 0xff]));
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
    }

    #[rstest]
    #[case("")]
    #[case("02:00:5e:10:00")]
    #[case("02:00:5e:10:00:ff:00")]
    #[case("2:00:5e:10:00:ff")]
    #[case("+2:00:5e:10:00:ff")]
    #[case("02-00-5e-10-00-ff")]
    #[case("0g:00:5e:10:00:ff")]
    fn other_texts_are_refused(#[case] text: &str) {
        assert_eq!(text.parse::<Mac>(), Err(NotAMac));
    }

    #[test]
    fn the_link_group_is_a_local_group_address() {
        assert!(Mac::LINK_GROUP.is_multicast());
        assert_eq!(Mac::LINK_GROUP.0[0] & 2, 2, "locally administered");
        assert!(Mac::BROADCAST.is_multicast());
        assert!(!Mac([0x02, 0, 0, 0, 0, 1]).is_multicast());
    }
}
