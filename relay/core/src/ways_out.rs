//! [`WaysOut`]: the relay's own routes, as far as controls need them to answer clients behind routers.
//!
//! A symbol has the addresses of its port, not its place in the relay's routing: which router of the port's network leads
//! to a client, the relay alone knows. So it says of each port which routes of its own leave by it, and a control answers by
//! them; nobody has to configure a gateway there. Routes that came from controls are none of the relay's own, and a full
//! table of a routing daemon on the relay is not said either: at most [`PortAttributes::ROUTES_MAX`] routes, those to the
//! widest prefixes, which are the default routes first of all.

use core::net::IpAddr;
use frames::message::{PortAttributes, PortRoute};
use frames::route::Prefix;
use std::collections::BTreeMap;

/// A nexthop of a route of the kernel's main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayOut {
    /// Index of the interface by which packets leave.
    pub ifindex: u32,
    /// Where it leads.
    pub destination: Prefix,
    /// The neighbour that gets the packets; `None` if the destinations are neighbours.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is to be taken as reachable whatever the interface's addresses.
    pub onlink: bool,
    /// The less, the better.
    pub metric: u32,
    /// Who made the route (`rtm_protocol`).
    pub protocol: u8,
}

/// Routes by interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaysOut {
    interfaces: BTreeMap<u32, BTreeMap<(u8, Prefix), Way>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    metric: u32,
    gateways: Vec<(Option<IpAddr>, bool)>,
}

// rtm_protocol of linux/rtnetlink.h: what follows from addresses, which a control has too, and from redirects.
const RTPROT_REDIRECT: u8 = 1;
const RTPROT_KERNEL: u8 = 2;
/// The project's own mark: routes that came from controls.
const RTPROT_OWN: u8 = 108;

impl WaysOut {
    /// Takes a nexthop, if it is of a route that counts.
    pub fn add(&mut self, way: &WayOut) {
        if matches!(way.protocol, RTPROT_REDIRECT | RTPROT_KERNEL | RTPROT_OWN) {
            return;
        }
        let ways = self.interfaces.entry(way.ifindex).or_default();
        let (metric, gateway) = (way.metric, (way.gateway, way.onlink));
        let key = (way.destination.length(), way.destination);
        let known = ways.entry(key).or_insert(Way { metric, gateways: Vec::new() });
        if metric < known.metric {
            *known = Way { metric, gateways: Vec::new() };
        }
        if metric == known.metric && !known.gateways.contains(&gateway) {
            known.gateways.push(gateway);
        }
        if ways.len() > PortAttributes::ROUTES_MAX {
            ways.pop_last();
        }
    }

    /// What controls are told of the port with this interface.
    #[must_use]
    pub fn of(&self, ifindex: u32) -> Vec<PortRoute> {
        let ways = self.interfaces.get(&ifindex).into_iter().flatten();
        let routes = ways.flat_map(|((_, destination), way)| {
            way.gateways.iter().map(|(gateway, onlink)| PortRoute::new(*destination, *gateway, *onlink))
        });
        routes.take(PortAttributes::ROUTES_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_own_routes_by_a_port_are_told() {
        let told = told(&[
            way(1, "10.0.0.0/8", "192.0.2.3", 0, 4),
            way(1, "0.0.0.0/0", "192.0.2.2", 0, 3),
            way(1, "::/0", "fe80::2", 1024, 9),
            way(2, "0.0.0.0/0", "198.51.100.2", 0, 3),
        ]);
        assert_eq!(told, ["0.0.0.0/0 via 192.0.2.2", "::/0 via fe80::2", "10.0.0.0/8 via 192.0.2.3"]);
    }

    #[test]
    fn what_came_from_controls_or_follows_from_addresses_is_not() {
        let told = told(&[
            way(1, "0.0.0.0/0", "192.0.2.2", 0, 108),
            way(1, "10.0.0.0/8", "192.0.2.2", 0, 1),
            way(1, "192.0.2.0/24", "", 0, 2),
        ]);
        assert_eq!(told, Vec::<String>::new());
    }

    #[test]
    fn of_routes_to_one_place_the_preferred_ones_are_told() {
        let told = told(&[
            way(1, "0.0.0.0/0", "192.0.2.4", 200, 3),
            way(1, "0.0.0.0/0", "192.0.2.2", 100, 3),
            way(1, "0.0.0.0/0", "192.0.2.3", 100, 3),
            way(1, "0.0.0.0/0", "192.0.2.5", 300, 3),
        ]);
        assert_eq!(told, ["0.0.0.0/0 via 192.0.2.2", "0.0.0.0/0 via 192.0.2.3"]);
    }

    #[test]
    fn the_default_route_is_told_whatever_else_there_is() {
        let mut ways: Vec<_> =
            (0..200).map(|n| way(1, &format!("10.{n}.0.0/16"), "192.0.2.3", 0, 11)).collect();
        ways.push(way(1, "0.0.0.0/0", "192.0.2.2", 0, 3));
        let told = told(&ways);
        assert_eq!(told.len(), PortAttributes::ROUTES_MAX);
        assert_eq!(told[0], "0.0.0.0/0 via 192.0.2.2");
        ways.reverse();
        assert_eq!(self::told(&ways), told, "in whatever order they are seen");
    }

    fn told(ways: &[WayOut]) -> Vec<String> {
        let mut all = WaysOut::default();
        ways.iter().for_each(|way| all.add(way));
        all.of(1).iter().map(ToString::to_string).collect()
    }

    fn way(ifindex: u32, destination: &str, gateway: &str, metric: u32, protocol: u8) -> WayOut {
        let (address, length) = destination.split_once('/').unwrap();
        let destination = Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap();
        WayOut { ifindex, destination, gateway: gateway.parse().ok(), onlink: false, metric, protocol }
    }
}
