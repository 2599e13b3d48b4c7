//! A control with symbols of two relays in one namespace: what each relay is told.

use control_core::seen::{Connections, IfIndex, OpenSockets, Route, RouteChange, RouteFamilies, RouteHop};
use control_core::{
    Action, Addressing, Config, Control, Exposure, NamespaceId, RoutesConfig, SymbolConfig, Triggered,
};
use core::time::Duration;
use frames::discovery::{Protection, Role};
use frames::message::{
    Message, PortAddress, PortAttributes, PortFlags, PortReply, RouteNexthop, Status, TunnelReply,
};
use frames::route::{Prefix, RouteKey, RouteKind};
use frames::{BootId, DownTunnel, Mac, PortId, SymbolId};
use l2link::{Batch, Event, Link, PeerId, Security, Time};
use std::collections::BTreeMap;

const ROUTER: NamespaceId = NamespaceId(0);
const PORT: PortId = PortId(4);
const STATIC: u8 = 4;
const KERNEL: u8 = 2;
/// A relay's subnet, its address and its port's MTU.
const PORTS: [(&str, &str, u32); 2] =
    [("192.0.2.0", "192.0.2.1", 1500), ("203.0.113.0", "203.0.113.1", 1400)];

/// The control, and two relays that grant what it asks for.
struct World {
    now: Time,
    control: Control,
    relays: Vec<Relay>,
}

struct Relay {
    mac: Mac,
    link: Link,
    /// Whether it is there.
    on: bool,
    control: Option<PeerId>,
    /// Symbol, relay and port of each introduction, with its salt.
    introduced: BTreeMap<u32, (String, [u8; 32])>,
    /// Nexthops and MTU.
    routes: BTreeMap<RouteKey, (Vec<RouteNexthop>, u32)>,
    /// When it was told that it had been told all.
    ended: Option<Time>,
    refuse: bool,
}

impl World {
    fn new() -> Self {
        let symbol = |number: usize| SymbolConfig {
            relay: format!("relay{number}"),
            port: format!("eth{number}"),
            name: format!("eth{number}"),
            netns: Some("router".into()),
            exposure: Exposure::standard(false),
            translation: None,
            files: None,
            detect: true,
            weight: control_core::Weight::default(),
        };
        let config = Config {
            symbols: vec![symbol(1), symbol(2)],
            refused: Vec::new(),
            triggered: Triggered::All,
            carrier_hold: Duration::ZERO,
            addressing: Addressing::Relay,
            routes: Some(RoutesConfig::default()),
        };
        let relay = |number: u8| Relay {
            mac: Mac([2, 0, 0, 0, 0, number]),
            link: Link::new(device(&format!("relay{number}"), Role::Relay, number), [number; 32], Time(0)),
            on: true,
            control: None,
            introduced: BTreeMap::new(),
            routes: BTreeMap::new(),
            ended: None,
            refuse: false,
        };
        let control = Control::new(config, device("control1", Role::Control, 9), [9; 32], Time(0));
        Self { now: Time(0), control, relays: vec![relay(1), relay(2)] }
    }

    fn up() -> Self {
        let mut world = Self::new();
        world.run(Duration::from_millis(300));
        for (place, (subnet, ..)) in PORTS.iter().enumerate() {
            world.set(subnet, KERNEL, &[(place, None)]);
        }
        world.run(Duration::from_millis(10));
        world
    }

    /// The kernel gets a route by the symbols of these places.
    fn set(&mut self, prefix: &str, protocol: u8, hops: &[(usize, Option<&str>)]) {
        let hop = |(place, gateway): &(usize, Option<&str>)| RouteHop {
            interface: interface(*place),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            weight: 1,
            onlink: false,
        };
        let nexthops = hops.iter().map(hop).collect();
        let (key, kind) = (key(prefix), RouteKind::Unicast);
        let route = Route { key, kind, protocol, mtu: 0, nexthops, unsupported: None };
        self.control.handle_route(ROUTER, &route, RouteChange::New);
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = Time(self.now.0 + 1000);
            self.control.handle_timeout(self.now);
            for relay in &mut self.relays {
                relay.link.handle_timeout(self.now);
            }
            while !self.exchange() {}
        }
    }

    /// Carries what waits; returns whether that was nothing.
    fn exchange(&mut self) -> bool {
        self.control.pump_routes(self.now);
        while let Some(action) = self.control.poll_action() {
            self.act(&action);
        }
        let mut batch = Batch::new(256, 1600);
        self.control.poll_transmit(&mut batch, self.now);
        let mut quiet = batch.is_empty();
        let mut up = Vec::new();
        for relay in self.relays.iter_mut().filter(|relay| relay.on) {
            let meant = |frame: &&[u8]| frame[0] & 1 != 0 || frame[..6] == relay.mac.0;
            let frames: Vec<_> = batch.frames().filter(meant).collect();
            frames.into_iter().for_each(|frame| relay.receive(frame, self.now));
            let mut answers = Batch::new(256, 1600);
            relay.link.poll_transmit(&mut answers, self.now);
            up.extend(answers.frames().map(<[u8]>::to_vec));
        }
        quiet &= up.is_empty();
        for mut frame in up {
            let _ = self.control.handle_link_frame(&mut frame, self.now);
        }
        self.control.handle_link_events(self.now);
        quiet
    }

    fn act(&mut self, action: &Action) {
        let took = Duration::ZERO;
        match action {
            Action::CreateSymbol { symbol, .. } => {
                let place = symbol.0 as usize - 1;
                self.control.handle_symbol_created(*symbol, interface(place), self.now);
                self.control.handle_route_dump_begins(ROUTER, RouteFamilies::BOTH);
                self.control.handle_route_dump_ends(ROUTER, RouteFamilies::BOTH, self.now);
            }
            Action::DumpSockets { namespace, part } => {
                let seen = OpenSockets { took, ..OpenSockets::default() };
                self.control.handle_sockets(*namespace, *part, &seen, self.now);
            }
            Action::DumpConnections { namespace } => {
                let seen = Connections { connections: Vec::new(), took };
                self.control.handle_connections(*namespace, &seen, self.now);
            }
            Action::DumpMemberships { namespace } => {
                self.control.handle_memberships(*namespace, &[], self.now);
            }
            _ => {}
        }
    }

    fn told(&self, relay: usize, prefix: &str) -> Option<&(Vec<RouteNexthop>, u32)> {
        self.relays[relay].routes.get(&key(prefix))
    }
}

impl Relay {
    fn receive(&mut self, frame: &[u8], now: Time) {
        let _ = self.link.handle_frame(&mut frame.to_vec(), now);
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::PeerUp { peer, .. } => {
                    self.control = Some(peer);
                    self.introduced.clear();
                }
                Event::Message { peer, message } => {
                    self.take(peer, &Message::parse(&message.raw()).unwrap(), now)
                }
                Event::PeerDown { .. } | Event::RoutesDigest { .. } | Event::Refused { .. } => {}
            }
        }
    }

    fn take(&mut self, peer: PeerId, message: &Message<'_>, now: Time) {
        match message {
            Message::PortRequest(request) => {
                let (.., address, mtu) = PORTS[request.symbol.0 as usize - 1];
                let addresses = [PortAddress::new(address.parse().unwrap(), 24)];
                let attributes = PortAttributes {
                    generation: 1,
                    flags: PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER,
                    mtu,
                    speed: 0,
                    mac: Mac([2, 0, 0, 0, 0, 99]),
                    name: request.name,
                    addresses: &addresses,
                    routes: &[],
                };
                let (status, attributes) = match self.refuse {
                    true => (Status::NOT_PERMITTED, None),
                    false => (Status::OK, Some(attributes)),
                };
                let (request, symbol) = (request.request, request.symbol);
                let reply = PortReply { request, symbol, port: PORT, status, attributes, text: "" };
                self.link.send_message(peer, &Message::PortReply(reply));
            }
            Message::TunnelRequest(request) => {
                let (tunnel, status) = (DownTunnel(7), Status::OK);
                let (request, symbol, port) = (request.request, request.symbol, request.port);
                let reply = TunnelReply { request, symbol, port, tunnel, status };
                self.link.send_message(peer, &Message::TunnelReply(reply));
            }
            Message::RelayIntroduce(introduction) => {
                let what = format!("{} {}", introduction.relay, introduction.port);
                self.introduced.insert(introduction.symbol.0, (what, introduction.salt));
            }
            Message::RelayDismiss(dismissal) => {
                assert!(self.introduced.remove(&dismissal.symbol.0).is_some());
            }
            Message::RouteAdd(add) => {
                for symbol in add.content.nexthops.iter().filter_map(RouteNexthop::symbol) {
                    assert!(self.introduced.contains_key(&symbol.0), "introduced before it is named");
                }
                self.routes.insert(add.key, (add.content.nexthops.to_vec(), add.content.mtu));
            }
            Message::RouteDelete(delete) => _ = self.routes.remove(&delete.key),
            Message::RoutesEnd(_) => self.ended = Some(now),
            _ => {}
        }
    }
}

fn interface(place: usize) -> IfIndex {
    IfIndex(20 + u32::try_from(place).unwrap())
}

fn key(prefix: &str) -> RouteKey {
    RouteKey { table: RouteKey::MAIN, prefix: Prefix::new(prefix.parse().unwrap(), 24).unwrap(), metric: 0 }
}

fn own(gateway: &str) -> RouteNexthop {
    RouteNexthop::new(PORT, gateway.parse().ok(), 1, false)
}

fn at(symbol: u32, gateway: &str) -> RouteNexthop {
    RouteNexthop::at_relay(SymbolId(symbol), gateway.parse().ok(), 1)
}

fn device(name: &str, role: Role, number: u8) -> l2link::Config {
    l2link::Config {
        name: name.into(),
        role,
        boot: BootId(number.into()),
        mac: Mac([2, 0, 0, 0, 0, number]),
        ethertype: 0x88b5,
        mtu: 1500,
        security: Security::None,
        control: Protection::CLEAR,
        data: Protection::CLEAR,
        keepalive: l2link::Config::KEEPALIVE,
        missed: l2link::Config::MISSED,
    }
}

#[test]
fn relays_are_introduced_to_each_other_under_one_salt() {
    let world = World::up();
    let (what, salt) = &world.relays[0].introduced[&2];
    let (back, same) = &world.relays[1].introduced[&1];
    assert_eq!((what.as_str(), back.as_str()), ("relay2 eth2", "relay1 eth1"));
    assert_eq!(salt, same);
    assert_ne!(salt, &[0; 32]);
}

#[test]
fn a_route_is_told_with_own_nexthops_first_and_the_mtu_of_the_far_port() {
    let mut world = World::up();
    world.set("10.1.0.0", STATIC, &[(1, Some("203.0.113.9"))]);
    world.set("10.2.0.0", STATIC, &[(1, Some("203.0.113.9")), (0, Some("192.0.2.9"))]);
    world.run(Duration::from_millis(10));
    assert_eq!(world.told(0, "10.1.0.0"), Some(&(vec![at(2, "203.0.113.9")], 1400)));
    assert_eq!(world.told(1, "10.1.0.0"), Some(&(vec![own("203.0.113.9")], 0)));
    assert_eq!(world.told(0, "10.2.0.0"), Some(&(vec![own("192.0.2.9"), at(2, "203.0.113.9")], 0)));
    assert_eq!(world.told(1, "10.2.0.0"), Some(&(vec![own("203.0.113.9"), at(1, "192.0.2.9")], 0)));
}

#[test]
fn the_subnet_of_a_port_is_told_to_the_other_relay_only() {
    let world = World::up();
    for relay in [0, 1] {
        assert_eq!(world.told(relay, PORTS[relay].0), None);
        let other = u32::try_from(2 - relay).unwrap();
        let mtu = PORTS[1 - relay].2;
        assert_eq!(world.told(relay, PORTS[1 - relay].0), Some(&(vec![at(other, "")], mtu)));
    }
    let rows = world.control.show_routes(None).0;
    let of = |prefix: &str| rows.iter().filter(|row| row.prefix.starts_with(prefix)).count();
    assert_eq!((of(PORTS[0].0), of(PORTS[1].0)), (1, 1), "{rows:?}");
}

#[test]
fn a_lost_relay_takes_its_routes_along_and_stays_introduced() {
    let mut world = World::up();
    world.set("10.1.0.0", STATIC, &[(1, Some("203.0.113.9"))]);
    world.run(Duration::from_millis(10));
    world.relays[1].on = false;
    world.run(Duration::from_secs(1));
    assert_eq!(world.told(0, "10.1.0.0"), None);
    assert!(world.relays[0].introduced.contains_key(&2));
    world.relays[1].on = true;
    world.run(Duration::from_secs(3));
    assert_eq!(world.told(0, "10.1.0.0"), Some(&(vec![at(2, "203.0.113.9")], 1400)));
    // One that does not give its port any more is meant no longer.
    (world.relays[1].on, world.relays[1].refuse) = (false, true);
    world.run(Duration::from_secs(1));
    world.relays[1].on = true;
    world.run(Duration::from_secs(3));
    assert!(!world.relays[0].introduced.contains_key(&2));
}

#[test]
fn a_table_is_whole_when_all_relays_are_there_or_have_been_waited_for() {
    let mut world = World::new();
    world.relays[1].on = false;
    world.run(Duration::from_secs(1));
    assert_eq!(world.relays[0].ended, None);
    world.relays[1].on = true;
    world.run(Duration::from_secs(1));
    assert!(world.relays.iter().all(|relay| relay.ended.is_some()), "as soon as both are there");

    let mut world = World::new();
    world.relays[1].on = false;
    world.run(Duration::from_secs(4));
    let ended = world.relays[0].ended.expect("not for ever");
    assert!(ended >= Time(3_000_000), "{ended:?}");
}
