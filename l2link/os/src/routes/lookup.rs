//! [`look_up`]: where the kernel would send a packet, as `ip route get` asks it.

use crate::interfaces::Netlink;
use crate::rtnetlink::Requests;
use crate::{IfIndex, NetNs};
use core::net::IpAddr;
use frames::route::{Prefix, RouteKey};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;

/// A packet whose way is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wayfarer {
    /// Its source; none for one that this machine sends.
    pub source: Option<IpAddr>,
    /// Its destination.
    pub destination: IpAddr,
    /// The interface at which it arrives; none for one that this machine sends.
    pub arrives: Option<IfIndex>,
    /// Protocol, source and destination port, if it has them: by them one of several nexthops is chosen, or a routing rule.
    pub transport: Option<(u8, u16, u16)>,
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// What becomes of it, in the words of `ip route`.
    pub kind: &'static str,
    /// The route that matches; none where the kernel does not say.
    pub route: Option<RouteKey>,
    /// Who made that route (`rtm_protocol`).
    pub protocol: u8,
    /// The neighbor that gets it; none if that is the destination itself.
    pub gateway: Option<IpAddr>,
    /// The interface by which it leaves.
    pub interface: Option<String>,
}

/// Asks the kernel of a namespace.
///
/// # Errors
/// The kernel's. There is no route: `ENETUNREACH`, or a route says so: `EHOSTUNREACH`, `EACCES` or `EINVAL`, as
/// ip-route(8) tells of the types unreachable, prohibit and blackhole.
pub fn look_up(netns: &NetNs, packet: &Wayfarer) -> io::Result<Way> {
    let mut requests = Requests::open(netns).map_err(io::Error::other)?;
    let chosen = ask(&mut requests, packet, RouteFlags::empty())?;
    // The route as it stands in the table, which the first answer does not tell.
    let matched = ask(&mut requests, packet, RouteFlags::FibMatch | RouteFlags::LookupTable);
    let (gateway, interface) = leaves(&chosen);
    let interface = interface.map(|ifindex| {
        let link = Netlink::open(netns).map_err(io::Error::other)?.link_by_index(ifindex)?;
        Ok::<_, io::Error>(link.map_or_else(|| format!("interface {}", ifindex.0), |link| link.name))
    });
    let (route, protocol) = match &matched {
        Ok(matched) => (key(matched), matched.header.protocol.into()),
        Err(_) => (None, 0),
    };
    let kind = kind(chosen.header.kind);
    Ok(Way { kind, route, protocol, gateway, interface: interface.transpose()? })
}

/// The gateway and the interface that an answer tells.
pub(crate) fn leaves(chosen: &RouteMessage) -> (Option<IpAddr>, Option<IfIndex>) {
    let (mut gateway, mut interface) = (None, None);
    for attribute in &chosen.attributes {
        match attribute {
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::Oif(ifindex) => interface = Some(IfIndex(*ifindex)),
            _ => {}
        }
    }
    (gateway, interface)
}

/// Asks for the route of a packet (`RTM_GETROUTE`).
pub(crate) fn ask(requests: &mut Requests, packet: &Wayfarer, flags: RouteFlags) -> io::Result<RouteMessage> {
    let mut message = RouteMessage::default();
    let bits = if packet.destination.is_ipv4() { 32 } else { 128 };
    message.header.address_family =
        if packet.destination.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = bits;
    message.header.flags = flags;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(packet.destination.into()));
    if let Some(source) = packet.source {
        message.header.source_prefix_length = bits;
        attributes.push(RouteAttribute::Source(source.into()));
    }
    if let Some(ifindex) = packet.arrives {
        attributes.push(RouteAttribute::Iif(ifindex.0));
    }
    if let Some((protocol, source, destination)) = packet.transport {
        attributes.extend([
            RouteAttribute::IpProto(protocol),
            RouteAttribute::Sport(source),
            RouteAttribute::Dport(destination),
        ]);
    }
    let answers = requests.get(RouteNetlinkMessage::GetRoute(message))?;
    let route = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    route.ok_or_else(|| io::Error::other("the kernel did not answer"))
}

fn key(route: &RouteMessage) -> Option<RouteKey> {
    let mut destination: IpAddr = match route.header.address_family {
        AddressFamily::Inet => core::net::Ipv4Addr::UNSPECIFIED.into(),
        _ => core::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let (mut table, mut metric) = (u32::from(route.header.table), 0);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    let prefix = Prefix::new(destination, route.header.destination_prefix_length)?;
    Some(RouteKey { table, prefix, metric })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn kind(kind: RouteType) -> &'static str {
    match kind {
        RouteType::Unicast => "unicast",
        RouteType::Local => "local",
        RouteType::Broadcast => "broadcast",
        RouteType::Anycast => "anycast",
        RouteType::Multicast => "multicast",
        RouteType::BlackHole => "blackhole",
        RouteType::Unreachable => "unreachable",
        RouteType::Prohibit => "prohibit",
        _ => "other",
    }
}
