//! Routes that leave at other relays.

use super::*;
use frames::SymbolId;
use frames::message::RelayIntroduce;

/// Sessions of this relay with others.
const RELAY2: PeerId = PeerId(7);
const RELAY3: PeerId = PeerId(8);

fn introduce(world: &mut World, control: PeerId, symbol: u32, relay: &str) -> bool {
    let (symbol, mac) = (SymbolId(symbol), Mac::default());
    let introduction = RelayIntroduce { symbol, mac, salt: [5; 32], relay, port: "eth9", key: None };
    world.fib.introduce(control, &introduction, &world.ports, world.now).is_ok()
}

fn at(symbol: u32, weight: u16) -> message::RouteNexthop {
    message::RouteNexthop::at_relay(SymbolId(symbol), Some([203, 0, 113, 9].into()), weight)
}

fn to(ifindex: u32, weight: u16) -> RouteNexthop {
    RouteNexthop { ifindex, gateway: Some([192, 0, 0, 8].into()), weight, onlink: true }
}

/// The kernel's routes by an interface go with it.
fn lose(world: &mut World, peer: PeerId, ifindex: u32) {
    world.fib.partner_lost(peer);
    for there in world.kernel.values_mut() {
        there.nexthops.retain(|nexthop| nexthop.ifindex != ifindex);
    }
    world.kernel.retain(|_, there| !there.nexthops.is_empty());
    world.settle();
}

/// Both relays are there, and `symbols` 1 and 2 are ports of the first, 3 one of the second.
fn joined() -> World {
    let mut world = World::new();
    for (symbol, relay) in [(1, "relay2"), (2, "relay2"), (3, "relay3")] {
        assert!(introduce(&mut world, ONE, symbol, relay));
    }
    world.fib.partner_linked(RELAY2, "relay2", 52);
    world.fib.partner_linked(RELAY3, "relay3", 53);
    world
}

#[test]
fn own_ports_come_first_and_nexthops_of_one_relay_are_one() {
    let mut world = joined();
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    world.add(ONE, ten, &[via(1, "192.0.2.1"), at(1, 1)]);
    world.add(ONE, eleven, &[at(1, 2), at(2, 3), at(3, 4)]);
    world.settle();
    assert_eq!(world.kernel[&ten], there(true, &[hop(11, "192.0.2.1")]));
    assert_eq!(world.kernel[&eleven], there(true, &[to(52, 5), to(53, 4)]));
    assert_eq!(refused(&world.said()), []);
    // The port is lost, and is back.
    world.port(1, 11, PortFlags::empty());
    world.kernel.remove(&ten);
    world.look();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.kernel[&ten], there(true, &[to(52, 1)]));
    world.port(1, 11, PortFlags::UP);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.kernel[&ten], there(true, &[hop(11, "192.0.2.1")]));
    // What a look shows is what is known.
    let before = world.operations;
    world.look();
    world.settle();
    assert_eq!(world.operations, before);
}

#[test]
fn ipv6_has_a_gateway_of_its_own() {
    let mut world = joined();
    let prefix = key("2001:db8::/32");
    world.add(ONE, prefix, &[at(1, 1), at(3, 1)]);
    world.settle();
    let hop = |ifindex| RouteNexthop {
        ifindex,
        gateway: Some("fe80::1".parse().unwrap()),
        weight: 1,
        onlink: false,
    };
    assert_eq!(world.kernel[&prefix], there(true, &[hop(52), hop(53)]));
}

#[test]
fn a_lost_relay_is_out_of_use_and_back_without_the_control() {
    let mut world = joined();
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    world.add(ONE, ten, &[at(1, 1)]);
    world.add(ONE, eleven, &[at(1, 1), at(3, 1)]);
    world.settle();
    let _ = world.said();
    world.fib.peer_down(ONE, world.now);
    lose(&mut world, RELAY2, 52);
    assert_eq!(world.kernel.get(&ten), None);
    assert_eq!(world.kernel[&eleven], there(true, &[to(53, 1)]));
    assert_eq!(refused(&world.said()), [(ONE, Status::SYSTEM)]);
    // As another interface.
    world.fib.partner_linked(RELAY2, "relay2", 62);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.kernel[&ten], there(true, &[to(62, 1)]));
    assert_eq!(world.kernel[&eleven], there(true, &[to(62, 1), to(53, 1)]));
    assert_eq!(refused(&world.said()), [(ONE, Status::OK)]);
}

#[test]
fn a_route_waits_a_moment_for_its_relay_before_it_is_refused() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    assert!(introduce(&mut world, ONE, 1, "relay2"));
    world.add(ONE, ten, &[at(1, 1)]);
    world.settle();
    assert_eq!(world.said(), [(ONE, Answer::Done(1))]);
    world.pass(Duration::from_millis(500));
    assert_eq!((world.kernel.len(), world.said()), (0, vec![]));
    world.pass(Duration::from_secs(1));
    assert_eq!(refused(&world.said()), [(ONE, Status::SYSTEM)]);
    world.fib.partner_linked(RELAY2, "relay2", 52);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.kernel[&ten], there(true, &[to(52, 1)]));
    assert_eq!(refused(&world.said()), [(ONE, Status::OK)]);
}

#[test]
fn a_symbol_that_nobody_introduced_leads_nowhere_and_one_of_another_control_neither() {
    let mut world = joined();
    world.fib.peer_up(TWO, "two");
    world.add(ONE, key("11.0.0.0/8"), &[at(4, 1)]);
    world.add(TWO, key("10.0.0.0/8"), &[at(1, 1)]);
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::SYSTEM), (TWO, Status::SYSTEM)]);
    assert_eq!(world.kernel.len(), 0);
    assert!(introduce(&mut world, TWO, 1, "relay3"));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.kernel[&key("10.0.0.0/8")], there(true, &[to(53, 1)]));
}

#[test]
fn only_who_may_route_introduces_and_only_so_many() {
    let mut world = joined();
    world.fib.peer_up(PeerId(3), "stranger");
    assert!(!introduce(&mut world, PeerId(3), 1, "relay2"));
    let taken = (10..5_000).filter(|symbol| introduce(&mut world, ONE, *symbol, "relay2")).count();
    assert_eq!(taken, 1_024 - 3);
    assert!(introduce(&mut world, ONE, 1, "relay3"), "one that is there may change");
}

fn meetings(world: &mut World) -> Vec<String> {
    let name = |meeting| match meeting {
        Meeting::Introduce { relay, salts, .. } => format!("{relay} {}", salts.len()),
        Meeting::Dismiss { relay } => format!("no {relay}"),
    };
    world.fib.partners.take_meetings().into_iter().map(name).collect()
}

#[test]
fn introductions_live_as_long_as_the_controls_routes() {
    let mut world = joined();
    world.fib.peer_up(TWO, "two");
    assert_eq!(meetings(&mut world), ["relay2 1", "relay3 1"]);
    assert_eq!(meetings(&mut world), Vec::<String>::new(), "said once");
    assert!(introduce(&mut world, TWO, 1, "relay2"));
    world.fib.dismiss(ONE, SymbolId(3));
    assert_eq!(meetings(&mut world), ["relay2 1", "no relay3"]);
    // It comes back, and says less.
    world.fib.peer_down(ONE, world.now);
    world.fib.peer_up(ONE, "one");
    world.pass(Duration::from_secs(3_600));
    assert_eq!(meetings(&mut world), Vec::<String>::new(), "nothing goes by a timer");
    assert!(introduce(&mut world, ONE, 3, "relay3"));
    world.end(ONE);
    assert_eq!(meetings(&mut world), ["relay2 1", "relay3 1"]);
    // It is gone, for longer than is borne; the other one is there.
    world.fib.peer_down(ONE, world.now);
    world.pass(Duration::from_secs(59));
    assert_eq!(meetings(&mut world), Vec::<String>::new());
    world.pass(Duration::from_secs(2));
    assert_eq!(meetings(&mut world), ["relay2 1", "no relay3"]);
}
