//! Routes as both devices know them: [`RouteKey`] says which route, [`RouteContent`] where it leads, [`RoutesDigest`]
//! whether two tables are the same.

use crate::message::RouteNexthop;
use core::cmp::Ordering;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::{AddAssign, SubAssign};
use zerocopy::IntoBytes;

/// An IP prefix, bits beyond its length zero. Ordered by address, then by length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix of this length, in bits of the address's own version, in which `address` lies; `None` if the length is
    /// beyond the version's.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) => {
                let drop = 32_u32.checked_sub(length.into())?;
                Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(drop).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                let drop = 128_u32.checked_sub(length.into())?;
                Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(drop).unwrap_or(0)).into()
            }
        };
        Some(Self { address, length })
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Its length in bits of its own version.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether every address of `other` lies in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length
            && self.address.is_ipv4() == other.address.is_ipv4()
            && Self::new(other.address, self.length) == Some(*self)
    }
}

impl Prefix {
    /// The prefixes in which it lies, the longest first, itself included.
    pub fn covering(self) -> impl Iterator<Item = Self> {
        (0..=self.length).rev().filter_map(move |length| Self::new(self.address, length))
    }
}

/// As numbers: the derived order goes through the addresses byte by byte, and tables of a million routes compare a lot.
impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        let addresses = match (self.address, other.address) {
            (IpAddr::V4(own), IpAddr::V4(others)) => own.to_bits().cmp(&others.to_bits()),
            (IpAddr::V6(own), IpAddr::V6(others)) => own.to_bits().cmp(&others.to_bits()),
            (IpAddr::V4(_), IpAddr::V6(_)) => Ordering::Less,
            (IpAddr::V6(_), IpAddr::V4(_)) => Ordering::Greater,
        };
        addresses.then(self.length.cmp(&other.length))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Which route: Linux holds at most one of these three together (`struct fib_alias` of `net/ipv4/fib_lookup.h`,
/// `struct fib6_info` of `include/net/ip6_fib.h`; the type of service is not used).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Routing table (`RTA_TABLE`); 254 is *main*.
    pub table: u32,
    /// Destination.
    pub prefix: Prefix,
    /// Metric (`RTA_PRIORITY`): of several routes to one prefix the smallest is used.
    pub metric: u32,
}

impl RouteKey {
    /// The *main* table.
    pub const MAIN: u32 = 254;

    /// The least key of a table, whether there is such a route or not.
    #[must_use]
    pub const fn first_of(table: u32) -> Self {
        Self { table, prefix: Prefix { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 }, metric: 0 }
    }

    /// Spreads keys evenly over 64 bits, the same on both devices: [`Slice`]s are cut by its first bits.
    #[must_use]
    pub fn hash(&self) -> u64 {
        Hasher::default().key(self).finish()
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} metric {}", self.prefix, self.metric)?;
        if self.table == Self::MAIN { Ok(()) } else { write!(f, " table {}", self.table) }
    }
}

/// What becomes of a packet that follows the route. A number space that may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RouteKind {
    /// It goes to a nexthop.
    Unicast = 1,
    /// It is dropped in silence.
    Blackhole = 2,
    /// It is dropped, and its sender told "host unreachable".
    Unreachable = 3,
    /// It is dropped, and its sender told "administratively prohibited".
    Prohibit = 4,
}

impl RouteKind {
    /// All, with their names in `ip route` and `PROTOCOL.md`.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Unicast, "unicast"),
        (Self::Blackhole, "blackhole"),
        (Self::Unreachable, "unreachable"),
        (Self::Prohibit, "prohibit"),
    ];
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("?", |(_, name)| *name);
        f.write_str(name)
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteContent<'a> {
    /// What becomes of the packet.
    pub kind: RouteKind,
    /// Largest packet in bytes (`RTAX_MTU`), zero for that of the port.
    pub mtu: u32,
    /// One or more for [`RouteKind::Unicast`], else none.
    pub nexthops: &'a [RouteNexthop],
}

impl fmt::Display for RouteContent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if self.mtu != 0 {
            write!(f, " mtu {}", self.mtu)?;
        }
        self.nexthops.iter().try_for_each(|nexthop| write!(f, " {nexthop}"))
    }
}

/// Sum over a table, the same in whatever order its routes came: two tables with the same are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableDigest {
    /// Routes.
    pub count: u32,
    /// Sum of [`TableDigest::of`] of each, modulo 2^64.
    pub sum: u64,
}

impl TableDigest {
    /// The digest of a table with this route only.
    #[must_use]
    pub fn of(key: &RouteKey, content: &RouteContent<'_>) -> Self {
        let hasher =
            Hasher::default().key(key).bytes(&[content.kind as u8]).bytes(&content.mtu.to_be_bytes());
        Self { count: 1, sum: hasher.bytes(content.nexthops.as_bytes()).finish() }
    }
}

impl AddAssign for TableDigest {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl SubAssign for TableDigest {
    fn sub_assign(&mut self, other: Self) {
        self.count = self.count.wrapping_sub(other.count);
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

impl fmt::Display for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} routes {:016x}", self.count, self.sum)
    }
}

/// What a relay says of its table in keepalives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoutesDigest {
    /// The newest route message of the control that it covers.
    pub request: u32,
    /// The digest of all routes that the relay has of the control.
    pub table: TableDigest,
}

/// Part of a table: the routes whose [`RouteKey::hash`] begins with these bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slice {
    bits: u8,
    prefix: u32,
}

impl Slice {
    /// The whole table.
    pub const ALL: Self = Self { bits: 0, prefix: 0 };
    /// Longest prefix of the hash.
    pub const BITS_MAX: u8 = 28;
    /// How many parts [`Slice::parts`] cuts a slice into.
    pub const PARTS: usize = 16;

    /// The slice of these first bits of the hash, left-aligned in `prefix`; `None` if there are more than
    /// [`Slice::BITS_MAX`], or others set in `prefix`.
    #[must_use]
    pub fn new(bits: u8, prefix: u32) -> Option<Self> {
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits.into())?).unwrap_or(0);
        (bits <= Self::BITS_MAX && prefix & !mask == 0).then_some(Self { bits, prefix })
    }

    /// How many first bits of the hash are given.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The bits, left-aligned.
    #[must_use]
    pub const fn prefix(self) -> u32 {
        self.prefix
    }

    /// Whether a route lies in it.
    #[must_use]
    pub fn contains(self, key: &RouteKey) -> bool {
        self.bits == 0 || {
            let first = u32::try_from(key.hash() >> 32).unwrap_or_default();
            (first ^ self.prefix).leading_zeros() >= self.bits.into()
        }
    }

    /// Its sixteen parts, in order; none if it is too small to be cut.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let bits = self.bits.saturating_add(4);
        let part = move |nibble: u32| {
            let shift = 32_u32.checked_sub(bits.into())?;
            Self::new(bits, self.prefix | nibble.checked_shl(shift)?)
        };
        (0..16).filter_map(part)
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slice {:08x}/{}", self.prefix, self.bits)
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv, section 2) with the finalizer of SplitMix64 behind it, as FNV alone does not mix
/// its first bits well.
#[derive(Clone, Copy)]
struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// The bytes of the key as they stand in messages.
    fn key(self, key: &RouteKey) -> Self {
        self.bytes(crate::message::RouteKeyWire::new(key).as_bytes())
    }

    fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(prefix: &str, length: u8) -> RouteKey {
        RouteKey { table: 254, prefix: Prefix::new(prefix.parse().unwrap(), length).unwrap(), metric: 20 }
    }

    #[test]
    fn bits_beyond_the_length_do_not_count() {
        assert_eq!(key("10.1.2.3", 8), key("10.0.0.0", 8));
        assert_eq!(key("2001:db8::1", 32).to_string(), "2001:db8::/32 metric 20");
        assert_eq!(key("1.2.3.4", 0).prefix.to_string(), "0.0.0.0/0");
        assert_eq!(key("1::", 0).prefix.to_string(), "::/0");
        assert_eq!(Prefix::new("1.2.3.4".parse().unwrap(), 33), None);
        assert_eq!(Prefix::new("1::".parse().unwrap(), 129), None);
    }

    #[test]
    fn prefixes_cover_longer_ones_of_their_version() {
        let (all, ten) = (key("0.0.0.0", 0).prefix, key("10.0.0.0", 8).prefix);
        assert!(all.covers(&ten) && !ten.covers(&all) && ten.covers(&ten));
        assert!(ten.covers(&key("10.9.0.0", 16).prefix) && !ten.covers(&key("11.0.0.0", 16).prefix));
        assert!(!all.covers(&key("::", 0).prefix));
    }

    #[test]
    fn a_mapped_prefix_is_not_the_ipv4_one() {
        assert_ne!(key("::ffff:0:0", 96).hash(), key("0.0.0.0", 0).hash());
    }

    /// The worked example of `PROTOCOL.md`, reckoned there from its definition.
    #[test]
    fn hash_and_digest_are_those_of_the_specification() {
        let gateway = Some([198, 51, 100, 1].into());
        let nexthops = [RouteNexthop::new(crate::PortId(7), gateway, 1, false)];
        let content = RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops: &nexthops };
        let key = key("192.0.2.0", 24);
        assert_eq!(key.hash(), 0x992a_efec_f70c_3633);
        let digest = TableDigest::of(&key, &content);
        assert_eq!(digest, TableDigest { count: 1, sum: 0xe851_5a76_6e1a_e986 });
        let specification = include_str!("../PROTOCOL.md");
        assert!(specification.contains(&std::format!("`{:016x}`", key.hash())));
        assert!(specification.contains(&std::format!("`{:016x}`", digest.sum)));
    }

    #[test]
    fn a_digest_is_a_sum_in_any_order() {
        let content = RouteContent { kind: RouteKind::Blackhole, mtu: 0, nexthops: &[] };
        let of = |prefix: &str| TableDigest::of(&key(prefix, 24), &content);
        let mut table = TableDigest::default();
        table += of("10.0.0.0");
        table += of("10.0.1.0");
        let mut other = of("10.0.1.0");
        other += of("10.0.2.0");
        other += of("10.0.0.0");
        assert_ne!(table, other);
        other -= of("10.0.2.0");
        assert_eq!(table, other);
    }

    #[test]
    fn parts_are_the_whole_and_do_not_overlap() {
        let keys: Vec<RouteKey> = (0..=255).map(|byte| key(&std::format!("10.0.{byte}.0"), 24)).collect();
        for slice in Slice::ALL.parts() {
            for key in keys.iter().filter(|key| slice.contains(key)) {
                assert_eq!(slice.parts().filter(|part| part.contains(key)).count(), 1);
            }
        }
        let counts: Vec<usize> =
            Slice::ALL.parts().map(|part| keys.iter().filter(|key| part.contains(key)).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 256);
        assert!(counts.iter().all(|count| *count < 48), "spread evenly: {counts:?}");
        assert_eq!(Slice::new(Slice::BITS_MAX, 0).unwrap().parts().count(), 0);
        assert_eq!(Slice::new(4, 0x0fff_ffff), None);
    }

    use std::string::ToString;
    use std::vec::Vec;
}
