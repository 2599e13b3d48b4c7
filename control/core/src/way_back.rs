//! [`WayBack`]: by which ways the answers to a symbol's clients leave.
//!
//! # Theory of operation
//! A server answers from the address that its client knows. Linux chooses the way of the answer by the client's address
//! alone, and a machine with a default route of its own would send it there: past the relay, by a network that has never
//! seen the connection and does not route this source. So whatever has an address of the port as its source is to leave by
//! the symbol, for which the shell keeps a routing table of its own for each symbol, with rules for the port's addresses
//! (`l2link_os::return_tables` says how, and in which order the kernel asks them). Nothing is translated: the server sees
//! the client's own address.
//!
//! | client | answered |
//! |---|---|
//! | on the port's network | by the symbol, directly |
//! | behind routers | by the symbol and the relay's own routes by that port, which it says among the port's attributes; a configured `gateway` takes the place of its default routes |
//! | in a network that the machine is connected to otherwise, or has a route to that is not the default one | by that route, unless the relay's are for it too |
//! | behind routers that neither the relay nor the configuration knows | as if there were no way back: by the machine's default route |
//!
//! Nobody has to configure anything, and what the relay's routes become, those of the symbol become. In a namespace of its
//! own the symbol is a *last resort* besides: programs that have not chosen an address yet go out by the relay's default
//! route, unless the namespace has a default route itself; of several symbols by one that has a carrier. The namespace of the daemon is the machine's: there nothing but
//! answers goes by the symbol unless a `gateway` is configured, whose default routes stand in the machine's main table as
//! well.
//!
//! Where the relay is told the namespace's routes, routing daemons own its table, and answers follow it, as on any router;
//! only a configured `gateway` gives the symbol a way back of its own.
//!
//! # Limits
//! The source decides, so it has to be there. A datagram socket bound to no address answers from the address that the
//! kernel chooses by the way to the client, which in a machine with another default route is the wrong one; programs that
//! serve several addresses know that and answer from the one they were asked at (`IP_PKTINFO`, `IPV6_RECVPKTINFO`, or a
//! socket for each address: every DNS server does). Marks would not help: the source is chosen before any rule sees
//! the packet. An address that two symbols of a namespace both have is answered by the first of them that
//! has a carrier: routes by the others do not count (`ignore_routes_with_linkdown`). Addresses that are not
//! the port's (a service address on the loopback) are routed as the namespace's main table says; so are IPv6 link-local
//! ones, which have their interface with them.

use crate::Attributes;
use core::net::IpAddr;
use frames::route::Prefix;
use std::collections::BTreeMap;

/// What a symbol needs for its answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WayBack {
    /// Addresses whose packets are to leave by the symbol.
    pub sources: Vec<IpAddr>,
    /// By which ways, one for each destination, those without a gateway first.
    pub routes: Vec<Way>,
    /// Whether packets for which there is no other way leave by it, too.
    pub last_resort: bool,
}

/// A way out of the symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Where it leads.
    pub destination: Prefix,
    /// The routers that share its packets, each with whether it is reachable whatever the symbol's addresses; none if
    /// the destinations are neighbours.
    pub gateways: Vec<(IpAddr, bool)>,
}

/// Whose the main table of the symbol's namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The machine's: it is the daemon's own namespace.
    Machine,
    /// The symbols': it is a namespace made for them.
    Symbols,
    /// Routing daemons': relays are told its routes.
    Daemons,
}

impl WayBack {
    /// That of a symbol of a port with these attributes and with these configured gateways.
    #[must_use]
    pub fn new(attributes: &Attributes, gateways: &[IpAddr], ground: Ground) -> Self {
        let configured = |ipv4: bool| gateways.iter().find(|gateway| gateway.is_ipv4() == ipv4);
        let serves = |ipv4: bool| ground != Ground::Daemons || configured(ipv4).is_some();
        let own = attributes.all_addresses().filter(|(address, _)| !is_link_local(address));
        let own: Vec<_> = own.filter(|(address, _)| serves(address.is_ipv4())).collect();
        let mut sources: Vec<IpAddr> = own.iter().map(|(address, _)| *address).collect();
        sources.sort_unstable();
        sources.dedup();

        // Those of the relay, and over them what is known better.
        let mut ways: BTreeMap<Prefix, Vec<(IpAddr, bool)>> = BTreeMap::new();
        for route in attributes.routes.iter().filter(|_| ground != Ground::Daemons) {
            let Some(destination) = route.destination() else { continue };
            let known = ways.entry(destination).or_default();
            known.extend(route.gateway().map(|gateway| (gateway, route.onlink())));
        }
        for gateway in gateways {
            let unspecified: IpAddr = match gateway {
                IpAddr::V4(_) => core::net::Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => core::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            ways.extend(Prefix::new(unspecified, 0).map(|all| (all, vec![(*gateway, false)])));
        }
        let subnets = own.iter().filter_map(|(address, length)| Prefix::new(*address, *length));
        ways.extend(subnets.filter(is_shared).map(|subnet| (subnet, Vec::new())));

        let versions = [true, false].map(|ipv4| sources.iter().any(|source| source.is_ipv4() == ipv4));
        let has_version = |destination: &Prefix| versions[usize::from(!destination.address().is_ipv4())];
        let mut routes: Vec<Way> = ways
            .into_iter()
            .filter(|(destination, _)| has_version(destination))
            .map(|(destination, gateways)| Way { destination, gateways })
            .collect();
        // Gateways can be reached when the ways to them are there.
        routes.sort_by_key(|way| !way.gateways.is_empty());
        Self { sources, routes, last_resort: ground == Ground::Symbols }
    }

    /// That of an address symbol: all that is sent from its address, wherever to. The relay knows the way.
    #[must_use]
    pub fn by_address(virtual_address: IpAddr) -> Self {
        let unspecified: IpAddr = match virtual_address {
            IpAddr::V4(_) => core::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => core::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let way = |destination| Way { destination, gateways: Vec::new() };
        let routes = Prefix::new(unspecified, 0).map(way).into_iter().collect();
        Self { sources: vec![virtual_address], routes, last_resort: false }
    }
}

/// Whether there can be neighbours in it.
fn is_shared(subnet: &Prefix) -> bool {
    subnet.length() < if subnet.address().is_ipv4() { 32 } else { 128 }
}

/// Whether the address means nothing without its interface. (Of IPv4 it does not need one with it.)
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::Mac;
    use frames::message::{PortFlags, PortRoute};
    use rstest::rstest;

    #[rstest]
    #[case::nothing_known(&[], &[], &["192.0.2.0/24", "2001:db8::/64"])]
    #[case::the_relays_default(
        &["0.0.0.0/0 192.0.2.2", "::/0 fe80::2"],
        &[],
        &["192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0 192.0.2.2", "::/0 fe80::2"]
    )]
    #[case::two_routers_and_a_network(
        &["0.0.0.0/0 192.0.2.2", "0.0.0.0/0 192.0.2.3", "10.0.0.0/8 192.0.2.4", "10.1.0.0/16"],
        &[],
        &["10.1.0.0/16", "192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0 192.0.2.2 192.0.2.3", "10.0.0.0/8 192.0.2.4"]
    )]
    #[case::configured_over_the_relays(
        &["0.0.0.0/0 192.0.2.2", "::/0 fe80::2", "10.0.0.0/8 192.0.2.4"],
        &["192.0.2.9"],
        &["192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0 192.0.2.9", "10.0.0.0/8 192.0.2.4", "::/0 fe80::2"]
    )]
    fn ways(#[case] relays: &[&str], #[case] gateways: &[&str], #[case] expected: &[&str]) {
        let way_back = WayBack::new(&port(relays), &parsed(gateways), Ground::Machine);
        assert_eq!(texts(&way_back), expected);
        assert_eq!(way_back.sources, parsed(&["192.0.2.1", "192.0.2.200", "2001:db8::1"]));
        assert!(!way_back.last_resort);
        assert!(WayBack::new(&port(relays), &parsed(gateways), Ground::Symbols).last_resort);
    }

    #[test]
    fn routing_daemons_know_the_way_unless_a_gateway_is_configured() {
        let relays = ["0.0.0.0/0 192.0.2.2", "::/0 fe80::2"];
        assert_eq!(WayBack::new(&port(&relays), &[], Ground::Daemons), WayBack::default());
        let way_back = WayBack::new(&port(&relays), &parsed(&["192.0.2.9"]), Ground::Daemons);
        assert_eq!(texts(&way_back), ["192.0.2.0/24", "0.0.0.0/0 192.0.2.9"]);
        assert_eq!(way_back.sources, parsed(&["192.0.2.1", "192.0.2.200"]), "IPv6 has no gateway");
    }

    #[test]
    fn a_port_without_addresses_has_nobody_to_answer() {
        let attributes = Attributes { addresses: Vec::new(), given: Vec::new(), ..port(&["::/0 fe80::2"]) };
        assert_eq!(WayBack::new(&attributes, &[], Ground::Machine), WayBack::default());
    }

    fn port(routes: &[&str]) -> Attributes {
        let route = |text: &&str| {
            let (destination, gateway) = text.split_once(' ').unwrap_or((text, ""));
            let (address, length) = destination.split_once('/').unwrap();
            let destination = Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap();
            PortRoute::new(destination, gateway.parse().ok(), false)
        };
        let address = |text: &str, length| (text.parse().unwrap(), length);
        Attributes {
            generation: 1,
            mac: Mac::default(),
            mtu: 1500,
            speed: 0,
            flags: PortFlags::PRESENT,
            addresses: vec![address("192.0.2.1", 24), address("2001:db8::1", 64), address("fe80::1", 64)],
            given: vec![address("192.0.2.200", 32)],
            routes: routes.iter().map(route).collect(),
        }
    }

    fn parsed(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn texts(way_back: &WayBack) -> Vec<String> {
        let text = |way: &Way| {
            let gateways = way.gateways.iter().map(|(gateway, _)| format!(" {gateway}"));
            format!("{}{}", way.destination, gateways.collect::<String>())
        };
        way_back.routes.iter().map(text).collect()
    }
}
