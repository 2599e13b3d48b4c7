//! After any sequence of sockets, connections, packets, answers and sessions, the relay's table is what it should be.
//!
//! The relay is modelled by the messages that it would get, in order; the truth by the sets of sockets and connections.

use crate::detection::{desired, reconcile};
use crate::exposure::Exposure;
use crate::flow::FlowKey;
use crate::flows::{Looked, follow, follow_datagrams};
use crate::rule::RuleState;
use crate::seen::{Connection, IfIndex, OpenSocket, SocketPart};
use crate::symbol::Seat;
use crate::symbol_rules::{Grant, NEIGHBORS, SymbolRules, Tables};
use crate::weight::Weight;
use core::net::IpAddr;
use frames::message::{Message, Status};
use frames::protocol_address::{Family, Local};
use frames::{PortId, ProtocolAddress, SymbolId, UpTunnel};
use l2link::{PeerId, Time};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const GRANT: Grant = Grant { peer: PeerId(1), port: PortId(1) };

#[derive(Debug, Clone)]
enum Step {
    Open(OpenSocket),
    Close(usize),
    Connect(Connection),
    Disconnect(usize),
    /// The shell looks at sockets, and at connections when asked.
    Look,
    /// At one part of the sockets only.
    LookAt(SocketPart),
    /// The first packet of a flow.
    Packet(FlowKey),
    /// The relay answers all that it has heard; every so many are refused.
    Answer(u8),
    SessionDown,
    SessionUp,
}

#[derive(Default)]
struct Relay {
    /// Its table: survives a session, as it does until `RULES_END`.
    rules: BTreeMap<UpTunnel, ProtocolAddress>,
    unanswered: Vec<Message<'static>>,
}

struct World {
    rules: SymbolRules,
    tables: Tables,
    relay: Relay,
    sockets: Vec<OpenSocket>,
    connections: Vec<Connection>,
    seat: Seat,
    exposure: Exposure,
    /// There was a look.
    looked: bool,
    now: Time,
}

proptest! {
    #[test]
    fn the_relay_has_what_is_needed(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            world.check_relay();
        }
        world.apply(&Step::SessionDown);
        world.apply(&Step::SessionUp);
        world.look();
        world.look();
        world.check_relay();
        let listeners: BTreeSet<_> = world.rules.listeners().copied().collect();
        let desired: BTreeSet<_> = SocketPart::ALL.into_iter().flat_map(|part| world.desired(part)).collect();
        let draining = world.rules.leaving();
        prop_assert_eq!(&listeners, &desired.union(draining).copied().collect());
        prop_assert!(desired.is_disjoint(draining));
        for listener in draining {
            let is_of = |connection: &Connection| {
                FlowKey::try_from(&connection.flow).is_ok_and(|flow| flow.listeners().contains(listener))
            };
            prop_assert!(world.connections.iter().any(is_of), "{listener} has a connection");
        }
        for connection in &world.connections {
            let flow = FlowKey::try_from(&connection.flow).unwrap();
            let reachable = world.rules.flow(&flow).is_some()
                || world.rules.covering_listener(&flow, true, &world.tables).is_some();
            prop_assert!(reachable || connection.time_wait || !world.seat.holds(flow.local), "{:?}", flow);
        }
    }
}

impl World {
    fn new() -> Self {
        Self {
            rules: SymbolRules::new(SymbolId(1), None, Weight::USUAL),
            tables: Tables::new(40),
            relay: Relay::default(),
            sockets: Vec::new(),
            connections: Vec::new(),
            seat: Seat {
                interface: IfIndex(2),
                own: vec![ip(1)],
                all: [ip(1), ip(2)].into(),
                virtual_address: None,
            },
            exposure: Exposure::standard(false),
            looked: false,
            now: Time(0),
        }
    }

    fn apply(&mut self, step: &Step) {
        self.now = Time(self.now.0 + 1_000_000);
        match step {
            Step::Open(socket) => self.sockets.push(*socket),
            Step::Close(index) if *index < self.sockets.len() => {
                self.sockets.remove(*index);
            }
            Step::Connect(connection) => self.connect(*connection),
            Step::Disconnect(index) if *index < self.connections.len() => {
                self.connections.remove(*index);
            }
            Step::Close(_) | Step::Disconnect(_) => {}
            Step::Look => self.look(),
            Step::LookAt(part) => self.look_at(*part),
            Step::Packet(flow) => {
                let covered = self.rules.covering_listener(flow, false, &self.tables).is_some();
                if !covered && self.rules.flow(flow).is_none() {
                    self.rules.add(flow.rule(), self.now, &mut self.tables);
                }
            }
            Step::Answer(every) => self.answer(*every),
            Step::SessionDown => {
                self.rules.suspend(&mut self.tables);
                self.relay.unanswered.clear();
            }
            Step::SessionUp => {
                if self.rules.grant().is_none() {
                    self.rules.replay(GRANT, self.now, &mut self.tables);
                }
            }
        }
        self.relay.hear(&mut self.tables);
    }

    /// Whoever connects to a listener has sent a packet by its rule.
    fn connect(&mut self, connection: Connection) {
        self.connections.push(connection);
        let flow = FlowKey::try_from(&connection.flow).unwrap();
        if let Some(tunnel) = self.rules.covering_listener(&flow, false, &self.tables) {
            self.tables.receive.get_mut(tunnel).unwrap().packets += 1;
        }
    }

    fn look(&mut self) {
        SocketPart::ALL.into_iter().for_each(|part| self.look_at(part));
        self.looked = true;
        let looked = Looked {
            detect: true,
            seat: &self.seat,
            exposure: &self.exposure,
            connections: &self.connections,
            datagram_ports: &BTreeSet::new(),
        };
        follow(&mut self.rules, &looked, self.now, &mut self.tables);
        self.relay.hear(&mut self.tables);
    }

    fn look_at(&mut self, part: SocketPart) {
        let desired = self.desired(part);
        let _ = reconcile(&mut self.rules, part, &desired, self.looked, self.now, &mut self.tables);
        if part == SocketPart::Others {
            let is_datagram = |connection: &&Connection| {
                FlowKey::try_from(&connection.flow)
                    .is_ok_and(|flow| SocketPart::of_protocol(flow.protocol) == part)
            };
            let datagrams: Vec<_> = self.connections.iter().filter(is_datagram).copied().collect();
            let looked = Looked {
                detect: true,
                seat: &self.seat,
                exposure: &self.exposure,
                connections: &datagrams,
                datagram_ports: &BTreeSet::new(),
            };
            follow_datagrams(&mut self.rules, &looked, self.now, &mut self.tables);
        }
        self.relay.hear(&mut self.tables);
    }

    fn desired(&self, part: SocketPart) -> Vec<ProtocolAddress> {
        let sockets = self.sockets.iter().filter(|socket| SocketPart::of(&socket.address) == part);
        let sockets: Vec<_> = sockets.copied().collect();
        desired(&self.seat, &self.exposure, part, &sockets)
    }

    fn answer(&mut self, every: u8) {
        for (index, message) in self.relay.unanswered.drain(..).enumerate() {
            let tunnel = match message {
                Message::RuleAdd(add) => add.tunnel,
                Message::RuleDelete(delete) => delete.tunnel,
                other => panic!("{other:?}"),
            };
            let Some(rule) = self.tables.receive.get_mut(tunnel) else { continue };
            match (&message, &rule.state) {
                (Message::RuleDelete(_), RuleState::Closing) => {
                    self.tables.receive.remove(tunnel, self.now);
                }
                (Message::RuleAdd(add), RuleState::Pending) if add.request == rule.request => {
                    if every > 0 && index % usize::from(every) == 1 {
                        rule.state = RuleState::Refused(Status::NOT_PERMITTED.to_string().into());
                        rule.told = crate::rule::Told::Never;
                        self.relay.rules.remove(&tunnel);
                    } else {
                        rule.state = RuleState::Active;
                    }
                }
                _ => {}
            }
        }
    }

    /// While there is a session, the relay has exactly the rules that were told and not refused, each once, besides
    /// those of earlier sessions that wait for `RULES_END`.
    fn check_relay(&self) {
        if self.rules.grant().is_none() {
            return;
        }
        let of_now = |tunnel: &UpTunnel| {
            self.tables.receive.get(*tunnel).is_some_and(|rule| rule.state != RuleState::Closing)
        };
        let mut on_relay: Vec<_> =
            self.relay.rules.iter().filter(|(tunnel, _)| of_now(tunnel)).map(|(_, rule)| *rule).collect();
        let mut wanted: Vec<_> = self
            .tables
            .receive
            .iter()
            .filter(|(_, rule)| matches!(rule.state, RuleState::Pending | RuleState::Active))
            .map(|(_, rule)| rule.protocol_address)
            .collect();
        on_relay.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(on_relay, wanted);
        assert!(wanted.windows(2).all(|pair| pair[0] != pair[1]), "one rule for each protocol address");
        assert!(wanted.contains(&NEIGHBORS));
    }
}

impl Relay {
    fn hear(&mut self, tables: &mut Tables) {
        for (peer, message) in tables.outbox.drain(..) {
            assert_eq!(peer, GRANT.peer);
            match message {
                Message::RuleAdd(add) => {
                    self.rules.insert(add.tunnel, add.protocol_address);
                }
                Message::RuleDelete(delete) => {
                    self.rules.remove(&delete.tunnel);
                }
                other => panic!("{other:?}"),
            }
            self.unanswered.push(message);
        }
    }
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Few values, so that they meet.
fn local() -> impl Strategy<Value = Local> {
    prop_oneof![
        Just(Local::Any(Family::Both)),
        Just(Local::Any(Family::V4)),
        (1u8..4).prop_map(|last| Local::Address(ip(last))),
        Just(Local::Address(IpAddr::from([127, 0, 0, 1]))),
    ]
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![Just(6), Just(17)]
}

fn socket() -> impl Strategy<Value = OpenSocket> {
    let listener = (protocol(), local(), 80u16..83)
        .prop_map(|(protocol, local, port)| ProtocolAddress::Listener { protocol, local, port });
    let raw =
        (local(), 88u8..90).prop_map(|(local, protocol)| ProtocolAddress::IpProtocol { protocol, local });
    let packet = prop_oneof![Just(3), Just(0x0806), Just(0x88cc)].prop_map(ProtocolAddress::EtherType);
    let interface = prop_oneof![Just(None), Just(Some(IfIndex(2))), Just(Some(IfIndex(9)))];
    (prop_oneof![listener, raw, packet], interface)
        .prop_map(|(address, interface)| OpenSocket { address, interface })
}

fn flow() -> impl Strategy<Value = FlowKey> {
    (protocol(), 1u8..4, 80u16..84, 1u16..3).prop_map(|(protocol, local, local_port, remote_port)| FlowKey {
        protocol,
        local_port,
        local: ip(local),
        remote: IpAddr::from([198, 51, 100, 1]),
        remote_port,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let connection =
        (flow(), any::<bool>()).prop_map(|(flow, time_wait)| Connection { flow: flow.rule(), time_wait });
    prop_oneof![
        4 => socket().prop_map(Step::Open),
        3 => (0usize..6).prop_map(Step::Close),
        3 => connection.prop_map(Step::Connect),
        2 => (0usize..6).prop_map(Step::Disconnect),
        4 => Just(Step::Look),
        3 => prop_oneof![Just(SocketPart::Listeners), Just(SocketPart::Others)].prop_map(Step::LookAt),
        3 => flow().prop_map(Step::Packet),
        3 => (0u8..4).prop_map(Step::Answer),
        1 => Just(Step::SessionDown),
        2 => Just(Step::SessionUp),
    ]
}
