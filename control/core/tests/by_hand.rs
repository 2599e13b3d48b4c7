//! Given a control and a relay, what an operator does by hand, and what follows.

mod world;

use control_core::seen::OpenSocket;
use control_core::{Exposure, HandError, Standing, SymbolConfig, Weight};
use core::time::Duration;
use frames::message::Status;
use frames::{BootId, ProtocolAddress, SymbolId};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use world::{RelayModel, SYMBOL, World};

const ARP: &str = "ethertype 0x0806 active";

fn rule(text: &str) -> ProtocolAddress {
    text.parse::<RuleText>().unwrap().0
}

fn socket(text: &str) -> OpenSocket {
    OpenSocket { address: rule(text), interface: None }
}

fn add(world: &mut World, text: &str) -> Result<(), HandError> {
    let added = world.control.add_rule(SYMBOL, rule(text), world.now);
    world.settle();
    added
}

fn delete(world: &mut World, text: &str) -> Result<(), HandError> {
    let deleted = world.control.delete_rule(SYMBOL, rule(text), world.now);
    world.settle();
    deleted
}

fn standing(world: &World, text: &str) -> Option<Standing> {
    world.control.rule_standing(SYMBOL, rule(text))
}

#[test]
fn a_rule_by_hand_is_there_until_it_is_deleted() {
    let mut world = World::up();
    add(&mut world, "tcp/80").unwrap();
    assert_eq!(world.relay.heard, ["add tcp *:80"]);
    assert_eq!(standing(&world, "tcp/80"), Some(Standing::InForce));
    assert!(world.control.show_rules().iter().any(|row| row.r#static && row.port_number == Some(80)));
    world.run(Duration::from_secs(5));
    assert_eq!(world.rules(), [ARP, "tcp *:80 active"], "no look finds a socket, and none is wanted");
    assert_eq!(add(&mut world, "tcp/80"), Err(HandError::RuleExists(rule("tcp/80"))));
    delete(&mut world, "tcp/80").unwrap();
    let heard = ["add tcp *:80", "drain tcp *:80", "delete tcp *:80"];
    assert_eq!(world.relay.heard, heard, "it goes when a look has shown that nobody is connected");
    assert_eq!(standing(&world, "tcp/80"), None);
    let none = HandError::NoRule { address: rule("tcp/80"), detected: false };
    assert_eq!(delete(&mut world, "tcp/80"), Err(none));
}

#[test]
fn the_last_of_operator_and_socket_takes_the_rule_along() {
    let mut world = World::up();
    world.sockets = vec![socket("udp/53")];
    world.hint();
    let detected = HandError::NoRule { address: rule("udp/53"), detected: true };
    assert_eq!(delete(&mut world, "udp/53"), Err(detected));
    add(&mut world, "udp/53").unwrap();
    world.sockets.clear();
    world.run(Duration::from_secs(5));
    assert_eq!(world.rules(), [ARP, "udp *:53 active"]);
    world.sockets = vec![socket("udp/53")];
    world.run(Duration::from_secs(5));
    delete(&mut world, "udp/53").unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(world.rules(), [ARP, "udp *:53 active"]);
    assert_eq!(world.relay.heard, ["add udp *:53"]);
}

#[test]
fn without_detection_sockets_and_packets_make_no_rule() {
    let mut world = World::undetected();
    world.sockets = vec![socket("tcp/80")];
    add(&mut world, "ip/ospf/224.0.0.5").unwrap();
    world = world.brought_up();
    assert_eq!(world.rules(), [ARP, "ospf 224.0.0.5 active"]);
    add(&mut world, "tcp/192.0.2.1:4000 from 198.51.100.7:443").unwrap();
    world.run(Duration::from_secs(90));
    let both = [
        "ethertype 0x0806 active",
        "ospf 224.0.0.5 active",
        "tcp 192.0.2.1:4000 from 198.51.100.7:443 active",
    ];
    assert_eq!(world.rules(), both, "no connection is seen, and it stays");
    delete(&mut world, "tcp/192.0.2.1:4000 from 198.51.100.7:443").unwrap();
    assert_eq!(world.rules(), both[..2]);
}

#[test]
fn rules_by_hand_are_told_to_a_new_relay() {
    let mut world = World::up();
    add(&mut world, "ip/253").unwrap();
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(3));
    assert!(world.relay.heard.contains(&"add ip protocol 253 *".to_owned()), "{:?}", world.relay.heard);
    assert_eq!(standing(&world, "ip/253"), Some(Standing::InForce));
}

#[test]
fn what_the_relay_says_is_what_is_told() {
    let mut world = World::new();
    world.control.add_rule(SYMBOL, rule("tcp/80"), world.now).unwrap();
    assert!(matches!(standing(&world, "tcp/80"), Some(Standing::Waits(reason)) if reason.contains("relay1")));
    assert!(world.rules().contains(&"tcp *:80 waiting".to_owned()));
    world.relay.refuse_rules.insert(rule("tcp/80"));
    world.relay.refusal = Status::NOT_PERMITTED;
    world = world.brought_up();
    assert!(matches!(standing(&world, "tcp/80"), Some(Standing::Refused(_))));
}

#[test]
fn what_cannot_come_is_refused() {
    let mut world = World::up();
    for (text, why) in [
        ("udp/68", "does not expose"),
        ("tcp/127.0.0.1:80", "not reached"),
        ("ethertype/0x0806", "every symbol"),
    ] {
        let error = add(&mut world, text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert_eq!(world.rules(), [ARP]);
}

#[test]
fn a_symbol_comes_and_goes() {
    let mut world = World::up();
    let config = SymbolConfig {
        relay: "relay1".into(),
        port: "eth2".into(),
        name: "eth2".into(),
        netns: Some("other".into()),
        exposure: Exposure::standard(false),
        translation: None,
        files: None,
        weight: Weight::default(),
        detect: true,
    };
    let id = world.control.add_symbol(config, world.now);
    assert_eq!(id, SymbolId(2));
    world.run(Duration::from_secs(1));
    assert_eq!(world.control.symbol_standing(id), Some(Standing::InForce));
    world.control.add_rule(id, rule("tcp/80"), world.now).unwrap();
    world.settle();
    world.relay.heard.clear();
    let removed = world.control.delete_symbol(id, world.now);
    world.settle();
    assert!(removed.namespace.is_some(), "nothing else is in its namespace");
    assert_eq!(world.relay.heard, ["PORT_RELEASE"]);
    assert_eq!(world.actions.last().unwrap(), "remove");
    assert_eq!((world.control.show_symbols().len(), world.rules()), (1, vec![ARP.to_owned()]));
    // The first goes on, and a later one has another number.
    add(&mut world, "tcp/81").unwrap();
    assert_eq!(standing(&world, "tcp/81"), Some(Standing::InForce));
    assert_eq!(world.control.symbol_standing(id), None);
}

#[test]
fn a_drained_relay_is_told_weight_zero() {
    let mut world = World::up();
    add(&mut world, "tcp/80").unwrap();
    world.relay.heard.clear();
    world.control.drain("relay1", true).unwrap();
    world.settle();
    assert_eq!(world.relay.heard, ["drain tcp *:80"]);
    assert!(world.control.show_peers(world.now)[0].draining);
    world.control.weigh("relay1", Some(9)).unwrap();
    world.settle();
    assert_eq!(world.relay.heard, ["drain tcp *:80", "add tcp *:80"]);
    assert!(matches!(world.control.weigh("relay9", None), Err(HandError::NoRelay { .. })));
    assert!(matches!(world.control.forget("relay1", false, world.now), Err(HandError::StillUp(_))));
    world.control.forget("relay1", true, world.now).unwrap();
    world.run(Duration::from_secs(3));
    assert_eq!((world.symbol_state(), world.rules().len()), ("up".to_owned(), 2), "by force it begins anew");
    assert_eq!(world.control.show_peers(world.now)[0].weight, None);
}

#[test]
fn a_route_by_hand_is_told_like_one_of_the_kernel() {
    let mut world = World::up();
    let route = RouteText::parse("10.0.0.0/8 via 192.0.2.9 dev eth1").unwrap();
    world.control.add_route(&route).unwrap();
    world.settle();
    world.run(Duration::from_millis(50));
    assert_eq!(world.control.route_standing(&route), Some(Standing::InForce));
    let (rows, _) = world.control.show_routes(None);
    assert_eq!((rows.len(), rows[0].r#static, rows[0].state), (1, true, "installed"));
    assert!(matches!(world.control.add_route(&route), Err(HandError::RouteExists(..))));
    assert_eq!(world.control.delete_route(&route.selector()), Ok(route));
    world.settle();
    assert_eq!(world.control.show_routes(None).0, []);
}
