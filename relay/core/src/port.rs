//! The ports: what is offered, and what their interfaces are like at the moment.

use crate::config::PortConfig;
use core::net::{IpAddr, Ipv4Addr};
use frames::message::{PortAddress, PortAttributes, PortFlags, PortRoute};
use frames::{Mac, PortId};
use rustc_hash::FxHashSet;

/// What the interface of a port is like at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortState {
    /// Interface index; another one means that the interface was made anew.
    pub ifindex: u32,
    /// Ethernet address.
    pub mac: Mac,
    /// Largest packet in bytes, Ethernet header excluded.
    pub mtu: u32,
    /// Speed in Mb/s, zero if unknown.
    pub speed: u32,
    /// Whether it is up and has carrier. [`PortFlags::PRESENT`] is understood.
    pub flags: PortFlags,
    /// Its addresses in the kernel's order.
    pub addresses: Vec<PortAddress>,
    /// The relay's own routes by it, which controls need to answer clients behind routers.
    pub routes: Vec<PortRoute>,
}

/// A port that is offered.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) config: PortConfig,
    /// As the interface was seen last; without [`PortFlags::PRESENT`] it is gone, and the rest is what it was.
    pub(crate) state: PortState,
    /// Rises with every change of `state`.
    pub(crate) generation: u32,
    /// The broadcast addresses of its IPv4 subnets.
    broadcasts: Vec<Ipv4Addr>,
}

/// The ports, and every address of the relay.
#[derive(Debug)]
pub(crate) struct Ports {
    /// By their ids. The place of one that is offered no more stays empty, so that its id means nothing else.
    ports: Vec<Option<Port>>,
    /// Addresses of interfaces that are not ports.
    elsewhere: Vec<IpAddr>,
    /// All addresses of the relay.
    locals: FxHashSet<IpAddr>,
}

impl Ports {
    pub(crate) fn new(configs: Vec<PortConfig>) -> Self {
        let ports = (1..).zip(configs).map(|(id, config)| Some(Port::new(PortId(id), config))).collect();
        Self { ports, elsewhere: Vec::new(), locals: FxHashSet::default() }
    }

    /// Offers one more port.
    pub(crate) fn add(&mut self, config: PortConfig) -> PortId {
        let id = PortId(u32::try_from(self.ports.len() + 1).unwrap_or(u32::MAX));
        self.ports.push(Some(Port::new(id, config)));
        id
    }

    /// Offers a port no more. Its id is not used again.
    pub(crate) fn retire(&mut self, id: PortId) {
        if let Some(port) = place(id).and_then(|place| self.ports.get_mut(place)) {
            *port = None;
            self.collect_locals();
        }
    }

    /// Offers a port on other conditions.
    pub(crate) fn configure(&mut self, id: PortId, config: PortConfig) {
        if let Some(Some(port)) = place(id).and_then(|place| self.ports.get_mut(place)) {
            port.config = config;
        }
    }

    pub(crate) fn get(&self, id: PortId) -> Option<&Port> {
        self.ports.get(place(id)?)?.as_ref()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Port> {
        self.iter().find(|port| port.config.interface == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten()
    }

    /// Takes over the state of a port's interface, `None` if there is none. Returns whether anything is new.
    pub(crate) fn set_state(&mut self, id: PortId, state: Option<PortState>) -> bool {
        let Some(Some(port)) = place(id).and_then(|place| self.ports.get_mut(place)) else { return false };
        let changed = port.set_state(state);
        if changed {
            self.collect_locals();
        }
        changed
    }

    /// Takes over the addresses of the interfaces that are not ports. Returns whether anything is new.
    pub(crate) fn set_elsewhere(&mut self, addresses: &[IpAddr]) -> bool {
        let changed = self.elsewhere != addresses;
        if changed {
            self.elsewhere = addresses.to_vec();
            self.collect_locals();
        }
        changed
    }

    /// Addresses of interfaces that are not ports.
    pub(crate) fn elsewhere(&self) -> &[IpAddr] {
        &self.elsewhere
    }

    /// Whether packets at the port to this address are the relay's. A link-local address of IPv6 means one interface
    /// only (RFC 4007); any other address of a host is taken at every interface.
    pub(crate) fn is_local(&self, port: &Port, address: &IpAddr) -> bool {
        match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => port.addresses().any(|own| own == *address),
            IpAddr::V4(_) | IpAddr::V6(_) => self.locals.contains(address),
        }
    }

    /// Whether it is an address of the relay, of whatever interface.
    pub(crate) fn is_own(&self, address: &IpAddr) -> bool {
        self.locals.contains(address)
    }

    /// All addresses of the relay, in order, without those of the loopback, which are never on a cable.
    pub(crate) fn locals(&self) -> Vec<IpAddr> {
        let present = self.iter().filter(|port| port.is_present()).flat_map(Port::addresses);
        let mut locals: Vec<_> = present.chain(self.elsewhere.iter().copied()).collect();
        locals.retain(|address| !address.is_loopback());
        locals.sort_unstable();
        locals.dedup();
        locals
    }

    fn collect_locals(&mut self) {
        self.locals = self.locals().into_iter().collect();
    }
}

impl Port {
    fn new(id: PortId, config: PortConfig) -> Self {
        // What a control is told of a port that was never seen. No frame leaves or enters by it.
        let state = PortState {
            ifindex: 0,
            mac: Mac::default(),
            mtu: MTU_UNSEEN,
            speed: 0,
            flags: PortFlags::empty(),
            addresses: Vec::new(),
            routes: Vec::new(),
        };
        Self { id, config, state, generation: 1, broadcasts: Vec::new() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.interface
    }

    pub(crate) fn is_present(&self) -> bool {
        self.state.flags.contains(PortFlags::PRESENT)
    }

    /// Whether packets can leave by it.
    pub(crate) fn is_up(&self) -> bool {
        self.state.flags.contains(PortFlags::PRESENT | PortFlags::UP)
    }

    /// Its IP addresses without their prefix lengths.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.state.addresses.iter().map(PortAddress::address)
    }

    /// Whether packets to this address are for everybody on one of its subnets, or for a group.
    pub(crate) fn is_group(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || self.broadcasts.contains(v4),
            IpAddr::V6(v6) => v6.is_multicast(),
        }
    }

    pub(crate) fn attributes(&self) -> PortAttributes<'_> {
        PortAttributes {
            generation: self.generation,
            flags: self.state.flags,
            mtu: self.state.mtu,
            speed: self.state.speed,
            mac: self.state.mac,
            name: self.name(),
            addresses: &self.state.addresses,
            routes: &self.state.routes,
        }
    }

    fn set_state(&mut self, state: Option<PortState>) -> bool {
        let state = match state {
            Some(state) => PortState { flags: state.flags | PortFlags::PRESENT, ..state },
            None => PortState { flags: PortFlags::empty(), ..self.state.clone() },
        };
        if state == self.state {
            return false;
        }
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
        self.broadcasts = self.state.addresses.iter().filter_map(broadcast).collect();
        true
    }
}

/// The subnet's broadcast address (RFC 919), unless the prefix is too long to have one (RFC 3021).
fn broadcast(address: &PortAddress) -> Option<Ipv4Addr> {
    match address.address() {
        IpAddr::V4(v4) if address.prefix_length() <= 30 => {
            let host = u32::MAX >> address.prefix_length();
            Some(Ipv4Addr::from_bits(v4.to_bits() | host))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

fn place(id: PortId) -> Option<usize> {
    (id.0 as usize).checked_sub(1)
}

/// MTU that is told of an interface that was never seen: Ethernet's.
const MTU_UNSEEN: u32 = 1500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unmatched;
    use l2link::service::ServiceSet;
    use rstest::rstest;

    #[rstest]
    #[case("192.0.2.1", 24, Some("192.0.2.255"))]
    #[case("10.1.2.3", 8, Some("10.255.255.255"))]
    #[case("192.0.2.1", 30, Some("192.0.2.3"))]
    #[case("192.0.2.1", 31, None)]
    #[case("192.0.2.1", 32, None)]
    #[case("0.0.0.1", 0, Some("255.255.255.255"))]
    #[case("2001:db8::1", 64, None)]
    fn subnet_broadcasts(#[case] address: &str, #[case] prefix: u8, #[case] expected: Option<&str>) {
        let address = PortAddress::new(address.parse().unwrap(), prefix);
        assert_eq!(broadcast(&address), expected.map(|text| text.parse().unwrap()));
    }

    #[test]
    fn only_a_change_raises_the_generation() {
        let mut ports = Ports::new(vec![config()]);
        assert!(ports.set_state(PortId(1), Some(state())));
        assert!(!ports.set_state(PortId(1), Some(state())));
        assert_eq!(ports.get(PortId(1)).unwrap().generation, 2);
        assert!(is_local(&ports, "192.0.2.1"));
        assert!(!ports.set_state(PortId(2), Some(state())), "no such port");
    }

    #[test]
    fn an_id_means_one_port_for_ever() {
        let mut ports = Ports::new(vec![config()]);
        assert!(ports.set_state(PortId(1), Some(state())));
        ports.retire(PortId(1));
        assert!(ports.get(PortId(1)).is_none() && ports.by_name("eth1").is_none());
        assert!(!ports.is_own(&"192.0.2.1".parse().unwrap()) && !ports.set_state(PortId(1), Some(state())));
        assert_eq!(ports.add(config()), PortId(2));
        assert_eq!(ports.by_name("eth1").map(|port| port.id), Some(PortId(2)));
        assert_eq!(ports.iter().count(), 1);
    }

    #[test]
    fn addresses_are_local_where_a_host_takes_them() {
        let mut ports = Ports::new(vec![config()]);
        let addresses = ["fe80::1", "2001:db8::1"].map(|text| PortAddress::new(text.parse().unwrap(), 64));
        assert!(ports.set_state(PortId(1), Some(PortState { addresses: addresses.to_vec(), ..state() })));
        let elsewhere = ["fe80::2", "2001:db8:2::1", "127.0.0.1", "::1"].map(|text| text.parse().unwrap());
        assert!(ports.set_elsewhere(&elsewhere));
        for (address, expected) in [
            ("fe80::1", true),
            ("2001:db8::1", true),
            ("2001:db8:2::1", true),
            ("fe80::2", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(is_local(&ports, address), expected, "{address}");
        }
    }

    #[test]
    fn a_vanished_interface_keeps_its_attributes_and_loses_its_addresses_to_nobody() {
        let mut ports = Ports::new(vec![config()]);
        assert!(!ports.set_state(PortId(1), None), "was not there before either");
        assert!(ports.set_state(PortId(1), Some(state())));
        assert!(ports.set_state(PortId(1), None));
        let port = ports.get(PortId(1)).unwrap();
        assert!(!port.is_present() && !port.is_up());
        assert_eq!(port.attributes().mac, state().mac);
        assert!(!is_local(&ports, "192.0.2.1"));
    }

    fn is_local(ports: &Ports, address: &str) -> bool {
        ports.is_local(ports.get(PortId(1)).unwrap(), &address.parse().unwrap())
    }

    fn config() -> PortConfig {
        PortConfig {
            interface: "eth1".into(),
            relay_services: ServiceSet::none(),
            unmatched: Unmatched::Drop,
            conflicts: crate::config::Conflicts::Share,
            allow: Vec::new(),
        }
    }

    fn state() -> PortState {
        PortState {
            ifindex: 3,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            speed: 0,
            flags: PortFlags::UP | PortFlags::CARRIER,
            addresses: vec![PortAddress::new("192.0.2.1".parse().unwrap(), 24)],
            routes: Vec::new(),
        }
    }
}
