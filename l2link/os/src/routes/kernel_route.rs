//! [`KernelRoute`]: a route as rtnetlink(7) has it, read and written.

use crate::IfIndex;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::route::{Prefix, RouteKey, RouteKind};

/// One way that a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelNexthop {
    /// The interface by which packets leave.
    pub ifindex: IfIndex,
    /// The neighbour that gets them, of either version of IP; without one the destination itself is a neighbour.
    pub gateway: Option<IpAddr>,
    /// Share of flows among the route's nexthops, from 1. The kernel takes up to 256.
    pub weight: u16,
    /// Whether the gateway is to be taken as reachable whatever the addresses of the interface.
    pub onlink: bool,
}

/// A route as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Which route.
    pub key: RouteKey,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Largest packet in bytes, zero for that of the interface.
    pub mtu: u32,
    /// Where it leads; none unless the kind is unicast.
    pub nexthops: Vec<KernelNexthop>,
    /// What of it cannot be said in these fields, in words.
    pub unsupported: Option<&'static str>,
}

/// Length of `struct rtmsg`.
pub(super) const RTMSG_LEN: usize = 12;
/// Length of `struct rtnexthop`.
const RTNEXTHOP_LEN: usize = 8;
/// Length of `struct rtattr`.
const RTATTR_LEN: usize = 4;
const ALIGNMENT: usize = 4;

// linux/rtnetlink.h
const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTN_UNREACHABLE: u8 = 7;
const RTN_PROHIBIT: u8 = 8;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_NOWHERE: u8 = 255;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_ONLINK: u8 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const RTAX_MTU: u16 = 2;
/// Attribute types without their flag bits (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const fn kind_number(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Unicast => RTN_UNICAST,
        RouteKind::Blackhole => RTN_BLACKHOLE,
        RouteKind::Unreachable => RTN_UNREACHABLE,
        RouteKind::Prohibit => RTN_PROHIBIT,
    }
}

impl KernelRoute {
    /// Reads the payload of an RTM_NEWROUTE or RTM_DELROUTE; `None` for what is not a route between networks: cached
    /// ones, those to the host itself, broadcast and multicast.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (rtmsg, attributes) = payload.split_first_chunk::<RTMSG_LEN>()?;
        let [family, length, source_length, tos, table, protocol, _scope, kind, f0, f1, f2, f3] = *rtmsg;
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
        let kind = match kind {
            RTN_UNICAST => RouteKind::Unicast,
            RTN_BLACKHOLE => RouteKind::Blackhole,
            RTN_UNREACHABLE => RouteKind::Unreachable,
            RTN_PROHIBIT => RouteKind::Prohibit,
            _ => return None,
        };
        if flags & RTM_F_CLONED != 0 {
            return None;
        }
        let unspecified: IpAddr = match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let (mut destination, mut table, mut metric, mut mtu) = (unspecified, u32::from(table), 0, 0);
        let (mut single, mut several) = (Hop::default(), Vec::new());
        single.onlink = flags & u32::from(RTNH_F_ONLINK) != 0;
        let mut object = false;
        for (attribute, value) in Attributes(attributes) {
            match attribute {
                RTA_DST => destination = address(value)?,
                RTA_TABLE => table = number(value)?,
                RTA_PRIORITY => metric = number(value)?,
                RTA_OIF | RTA_GATEWAY | RTA_VIA | RTA_ENCAP => single.take(attribute, value),
                RTA_NH_ID => object = true,
                RTA_METRICS => {
                    mtu = Attributes(value)
                        .find(|(metric, _)| *metric == RTAX_MTU)
                        .and_then(|(_, value)| number(value))
                        .unwrap_or(0);
                }
                RTA_MULTIPATH => several = hops(value),
                _ => {}
            }
        }
        let mut unsupported = match () {
            () if tos != 0 => Some("it is for one type of service only"),
            () if source_length != 0 => Some("it is for some sources only"),
            () if single.encapsulated || several.iter().any(|hop| hop.encapsulated) => {
                Some("it encapsulates packets")
            }
            () => None,
        };
        let nexthops: Vec<KernelNexthop> = match kind {
            RouteKind::Unicast if several.is_empty() => single.nexthop().into_iter().collect(),
            RouteKind::Unicast => several.iter().filter_map(Hop::nexthop).collect(),
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => Vec::new(),
        };
        if kind == RouteKind::Unicast && nexthops.is_empty() && unsupported.is_none() {
            unsupported = Some(if object {
                "its nexthop object is not shown with it: set net.ipv4.nexthop_compat_mode to 1"
            } else {
                "it leads nowhere"
            });
        }
        let key = RouteKey { table, prefix: Prefix::new(destination, length)?, metric };
        Some(Self { key, kind, protocol, mtu, nexthops, unsupported })
    }

    /// Appends the body of an RTM_NEWROUTE.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let single = match self.nexthops.as_slice() {
            [one] => Some(one),
            _ => None,
        };
        let reaches_gateway = self.nexthops.iter().any(|nexthop| nexthop.gateway.is_some());
        let scope = if self.kind == RouteKind::Unicast && !reaches_gateway && is_ipv4(&self.key) {
            RT_SCOPE_LINK
        } else {
            RT_SCOPE_UNIVERSE
        };
        let onlink = single.is_some_and(|nexthop| nexthop.onlink);
        head(&self.key, self.protocol, scope, kind_number(self.kind), onlink, out);
        if self.mtu != 0 {
            nested(out, RTA_METRICS, |out| attribute(out, RTAX_MTU, &self.mtu.to_ne_bytes()));
        }
        match (single, self.nexthops.as_slice()) {
            (None, []) => {}
            (Some(nexthop), _) => {
                attribute(out, RTA_OIF, &nexthop.ifindex.0.to_ne_bytes());
                nexthop.emit_gateway(&self.key, out);
            }
            (None, several) => nested(out, RTA_MULTIPATH, |out| {
                for nexthop in several {
                    nexthop.emit(&self.key, out);
                }
            }),
        }
    }
}

/// Appends the body of an RTM_DELROUTE for the route of this key and protocol, wherever it leads.
pub(super) fn emit_delete(key: &RouteKey, protocol: u8, out: &mut Vec<u8>) {
    let scope = if is_ipv4(key) { RT_SCOPE_NOWHERE } else { RT_SCOPE_UNIVERSE };
    head(key, protocol, scope, 0, false, out);
}

/// Appends a table's number.
pub(super) fn emit_table(table: u32, out: &mut Vec<u8>) {
    attribute(out, RTA_TABLE, &table.to_ne_bytes());
}

fn is_ipv4(key: &RouteKey) -> bool {
    key.prefix.address().is_ipv4()
}

/// `struct rtmsg`, destination, table and metric.
fn head(key: &RouteKey, protocol: u8, scope: u8, kind: u8, onlink: bool, out: &mut Vec<u8>) {
    let family = if is_ipv4(key) { AF_INET } else { AF_INET6 };
    // A table beyond 255 is in its attribute only; 0 stands for "see there" (RT_TABLE_UNSPEC).
    let table = u8::try_from(key.table).unwrap_or(0);
    let flags = u32::from(if onlink { RTNH_F_ONLINK } else { 0 }).to_ne_bytes();
    let length = key.prefix.length();
    out.extend_from_slice(&[family, length, 0, 0, table, protocol, scope, kind]);
    out.extend_from_slice(&flags);
    if length > 0 {
        with_octets(key.prefix.address(), |octets| attribute(out, RTA_DST, octets));
    }
    attribute(out, RTA_TABLE, &key.table.to_ne_bytes());
    attribute(out, RTA_PRIORITY, &key.metric.to_ne_bytes());
}

impl KernelNexthop {
    /// Appends a `struct rtnexthop` with its attributes.
    fn emit(&self, key: &RouteKey, out: &mut Vec<u8>) {
        let start = out.len();
        let flags = if self.onlink { RTNH_F_ONLINK } else { 0 };
        let hops = u8::try_from(self.weight.clamp(1, 256) - 1).unwrap_or(u8::MAX);
        out.extend_from_slice(&[0, 0, flags, hops]);
        out.extend_from_slice(&self.ifindex.0.to_ne_bytes());
        self.emit_gateway(key, out);
        set_length(out, start);
    }

    fn emit_gateway(&self, key: &RouteKey, out: &mut Vec<u8>) {
        match self.gateway {
            None => {}
            Some(gateway) if gateway.is_ipv4() == is_ipv4(key) => {
                with_octets(gateway, |octets| attribute(out, RTA_GATEWAY, octets));
            }
            Some(gateway) => {
                let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
                nested(out, RTA_VIA, |out| {
                    out.extend_from_slice(&u16::from(family).to_ne_bytes());
                    with_octets(gateway, |octets| out.extend_from_slice(octets));
                });
            }
        }
    }
}

/// What attributes say of one nexthop.
#[derive(Default)]
struct Hop {
    ifindex: u32,
    gateway: Option<IpAddr>,
    weight: u16,
    onlink: bool,
    encapsulated: bool,
}

impl Hop {
    fn take(&mut self, attribute: u16, value: &[u8]) {
        match attribute {
            RTA_OIF => self.ifindex = number(value).unwrap_or(0),
            RTA_GATEWAY => self.gateway = address(value),
            RTA_VIA => self.gateway = value.get(2..).and_then(address),
            RTA_ENCAP => self.encapsulated = true,
            _ => {}
        }
    }

    fn nexthop(&self) -> Option<KernelNexthop> {
        (self.ifindex != 0).then_some(KernelNexthop {
            ifindex: IfIndex(self.ifindex),
            gateway: self.gateway,
            weight: self.weight.max(1),
            onlink: self.onlink,
        })
    }
}

/// The nexthops of an `RTA_MULTIPATH`.
fn hops(mut rest: &[u8]) -> Vec<Hop> {
    let mut hops = Vec::new();
    while let Some(([l0, l1, flags, weight, i0, i1, i2, i3], _)) = rest.split_first_chunk::<RTNEXTHOP_LEN>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(attributes) = rest.get(RTNEXTHOP_LEN..length) else { break };
        let mut hop = Hop {
            ifindex: u32::from_ne_bytes([*i0, *i1, *i2, *i3]),
            weight: u16::from(*weight) + 1,
            onlink: flags & RTNH_F_ONLINK != 0,
            ..Hop::default()
        };
        for (attribute, value) in Attributes(attributes) {
            hop.take(attribute, value);
        }
        hops.push(hop);
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    hops
}

/// Walks through attributes; ends at the first that is cut.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([l0, l1, t0, t1], _) = self.0.split_first_chunk::<RTATTR_LEN>()?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = self.0.get(RTATTR_LEN..length)?;
        self.0 = self.0.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((u16::from_ne_bytes([*t0, *t1]) & TYPE_MASK, value))
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => value.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

fn with_octets<T>(address: IpAddr, then: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(v4) => then(&v4.octets()),
        IpAddr::V6(v6) => then(&v6.octets()),
    }
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    nested(out, kind, |out| out.extend_from_slice(value));
}

fn nested(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_ne_bytes());
    fill(out);
    set_length(out, start);
}

/// Writes the length of what begins at `start` into its first two bytes, and pads it.
fn set_length(out: &mut Vec<u8>, start: usize) {
    let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(prefix: &str, length: u8, nexthops: Vec<KernelNexthop>) -> KernelRoute {
        let prefix = Prefix::new(prefix.parse().unwrap(), length).unwrap();
        let kind = if nexthops.is_empty() { RouteKind::Blackhole } else { RouteKind::Unicast };
        let key = RouteKey { table: 1000, prefix, metric: 20 };
        KernelRoute { key, kind, protocol: 108, mtu: 1400, nexthops, unsupported: None }
    }

    fn nexthop(ifindex: u32, gateway: Option<&str>, weight: u16) -> KernelNexthop {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        KernelNexthop { ifindex: IfIndex(ifindex), gateway, weight, onlink: weight > 1 }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let routes = [
            route("10.0.0.0", 8, vec![nexthop(3, Some("192.0.2.1"), 1)]),
            route("10.0.0.0", 8, vec![nexthop(3, None, 1)]),
            route("0.0.0.0", 0, vec![nexthop(3, Some("fe80::1"), 1)]),
            route("2001:db8::", 32, vec![nexthop(3, Some("fe80::1"), 256), nexthop(4, Some("fe80::2"), 1)]),
            route("10.1.0.0", 16, vec![nexthop(3, Some("fe80::1"), 2), nexthop(4, Some("192.0.2.9"), 1)]),
            route("::", 0, vec![]),
        ];
        for route in routes {
            let mut bytes = Vec::new();
            route.emit(&mut bytes);
            assert_eq!(bytes.len() % ALIGNMENT, 0);
            assert_eq!(KernelRoute::parse(&bytes), Some(route));
        }
    }

    #[test]
    fn a_route_that_cannot_be_said_says_so() {
        let mut bytes = Vec::new();
        route("10.0.0.0", 8, vec![nexthop(3, None, 1)]).emit(&mut bytes);
        bytes[3] = 0x10;
        assert_eq!(
            KernelRoute::parse(&bytes).unwrap().unsupported,
            Some("it is for one type of service only")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = KernelRoute::parse(&bytes);
        }

        #[test]
        fn any_damage_is_read_without_harm(place in 0_usize..100, byte: u8) {
            let mut bytes = Vec::new();
            let several = vec![nexthop(3, Some("fe80::1"), 2), nexthop(4, Some("192.0.2.9"), 1)];
            route("10.1.0.0", 16, several).emit(&mut bytes);
            if let Some(place) = bytes.get_mut(place) { *place = byte; }
            let _ = KernelRoute::parse(&bytes);
        }
    }
}
