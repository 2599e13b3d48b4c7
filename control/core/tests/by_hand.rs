//! Given a control and a relay, what an operator does by hand, and what follows.

mod world;

use control_core::files::Ownership;
use control_core::seen::OpenSocket;
use control_core::{HandError, Standing, SymbolConfig, Translation};
use core::time::Duration;
use frames::message::Status;
use frames::{BootId, ProtocolAddress, SymbolId};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use world::{RelayModel, SYMBOL, World, symbol_config};

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
    let config = symbol_config("eth2", "eth2", Some("other"));
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

#[test]
fn a_symbol_is_named_by_what_tells_it_from_others() {
    let mut world = World::up();
    let named = |world: &World, name: &str, netns: Option<&str>, kind: Option<&str>| {
        world.control.symbol_named(name, netns, kind).map_err(|error| error.to_string())
    };
    assert_eq!(named(&world, "eth1", None, None), Ok(SYMBOL));
    assert_eq!(named(&world, "eth1", Some("router"), Some("interface")), Ok(SYMBOL));
    let error = Err("there is no symbol eth9; there is eth1".to_owned());
    assert_eq!(named(&world, "eth9", None, None), error);
    assert!(named(&world, "eth1", Some("other"), None).is_err());
    assert!(named(&world, "eth1", None, Some("address")).is_err());
    let second = world.control.add_symbol(symbol_config("eth1", "eth1", Some("other")), world.now);
    let error = Err("several symbols are called eth1: add --netns and one of: router, other".to_owned());
    assert_eq!(named(&world, "eth1", None, None), error);
    assert_eq!(named(&world, "eth1", Some("other"), None), Ok(second));
    let error = Err("there is no symbol eth9; there are eth1, eth1".to_owned());
    assert_eq!(named(&world, "eth9", None, None), error);
    // A directory of the name is meant by its kind only.
    let files = SymbolConfig { files: Some(Ownership::default()), ..symbol_config("eth1", "eth1", None) };
    let third = world.control.add_symbol(files, world.now);
    assert_eq!(named(&world, "eth1", Some("router"), None), Ok(SYMBOL));
    assert_eq!(named(&world, "eth1", None, Some("files")), Ok(third));
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let mut world = World::up();
    world.sockets = vec![socket("tcp/80")];
    world.hint();
    let why = |error: HandError| error.to_string();
    let now = world.now;
    let error = why(world.control.weigh("relay9", None).unwrap_err());
    assert!(
        error.starts_with("relay relay9 has not been heard, and no symbol is of it; there is relay1"),
        "{error}"
    );
    let error = why(world.control.forget("relay1", false, now).unwrap_err());
    assert!(error.contains("relay relay1 is up: forget one that is gone"), "{error}");
    let error = why(delete(&mut world, "tcp/80").unwrap_err());
    assert!(error.contains("tcp") && error.contains("is not by hand: it is there for a socket"), "{error}");
    let error = why(delete(&mut world, "tcp/81").unwrap_err());
    assert!(error.starts_with("there is no rule tcp"), "{error}");
    add(&mut world, "tcp/82").unwrap();
    let error = why(add(&mut world, "tcp/82").unwrap_err());
    assert!(error.starts_with("there is a rule tcp") && error.ends_with("by hand already"), "{error}");

    let route = |text: &str| RouteText::parse(text).unwrap();
    let by_hand = route("10.0.0.0/8 via 192.0.2.9 dev eth1");
    world.control.add_route(&by_hand).unwrap();
    let error = why(world.control.add_route(&by_hand).unwrap_err());
    assert!(error.starts_with("there is a route 10.0.0.0/8"), "{error}");
    assert!(error.ends_with("already, by hand: give this one another metric"), "{error}");
    world.control.add_route(&route("10.0.0.0/8 via 192.0.2.9 dev eth1 metric 7")).unwrap();
    assert_eq!(world.control.routes_by_hand().count(), 2);
    let selector = |text: &str| RouteText::parse_selector(text).unwrap();
    let error = why(world.control.delete_route(&selector("10.0.0.0/8")).unwrap_err());
    assert!(error.starts_with("several routes by hand are meant; say which: 10.0.0.0/8"), "{error}");
    let error = why(world.control.delete_route(&selector("10.1.0.0/16")).unwrap_err());
    assert_eq!(error, "there is no route by hand \"10.1.0.0/16\"; `show routes` marks them static");
    assert!(matches!(
        world.control.add_route(&route("10.1.0.0/16 dev eth9")),
        Err(HandError::NoSymbol { name, .. }) if name == "eth9"
    ));
    let error = why(world.control.add_route(&route("blackhole 10.1.0.0/16 netns nowhere")).unwrap_err());
    assert_eq!(error, "no symbol is in a namespace nowhere; there is router");
}

#[test]
fn a_route_is_of_one_namespace() {
    let mut world = World::up();
    let route = |text: &str| RouteText::parse(text).unwrap();
    world.control.add_symbol(symbol_config("eth2", "eth1", Some("other")), world.now);
    let both = route("10.0.0.0/8 nexthop via 192.0.2.9 dev eth1 nexthop via 192.0.2.9 dev eth2");
    let error = world.control.add_route(&both).unwrap_err().to_string();
    assert!(error.ends_with("these are in several: router, other"), "{error}");
    let error = world.control.add_route(&route("blackhole 10.0.0.0/8")).unwrap_err().to_string();
    assert_eq!(error, "symbols are in several namespaces: add netns and one of: router, other");
    let black = route("blackhole 10.0.0.0/8 netns router");
    world.control.add_route(&black).unwrap();
    world.settle();
    world.run(Duration::from_millis(50));
    assert_eq!(world.control.route_standing(&black), Some(Standing::InForce));
    assert_eq!(world.relay.routes.held.len(), 1);
    // It goes with the last symbol of its namespace.
    let removed = world.control.delete_symbol(SYMBOL, world.now);
    assert_eq!(removed.routes, std::slice::from_ref(&black));
    assert_eq!(world.control.route_standing(&black), None);
}

#[test]
fn a_route_leads_by_symbols_of_kind_interface() {
    let translation =
        Translation { virtual_address: [192, 0, 2, 1].into(), control_address: [10, 99, 0, 2].into() };
    let mut world = World::translating(translation).brought_up();
    let route = RouteText::parse("10.0.0.0/8 dev eth1").unwrap();
    let error = world.control.add_route(&route).unwrap_err().to_string();
    assert!(error.contains("symbol eth1 stands for an address only"), "{error}");
    assert!(matches!(
        world.control.add_route(&RouteText::parse("blackhole 10.0.0.0/8").unwrap()),
        Err(HandError::NoSymbol { .. })
    ));
    // A rule by hand is one of its virtual address.
    add(&mut world, "tcp/80").unwrap();
    assert_eq!(world.control.rule_at(SYMBOL, rule("tcp/80")), rule("tcp/192.0.2.1:80"));
    assert_eq!(standing(&world, "tcp/192.0.2.1:80"), Some(Standing::InForce));
    for text in ["ethertype/0x88cc", "tcp/203.0.113.7:80"] {
        let error = add(&mut world, text).unwrap_err();
        assert!(matches!(error, HandError::NotReached { .. }), "{text}: {error}");
    }
}

#[test]
fn rules_of_files_are_open_files() {
    let mut world = World::of_files(Ownership::default()).brought_up();
    let error = add(&mut world, "tcp/80").unwrap_err();
    assert_eq!(error, HandError::OfFiles("eth1".to_owned()));
    assert!(error.to_string().contains("an open file is its rule"), "{error}");
}

#[test]
fn how_far_a_route_by_hand_is() {
    let mut world = World::up();
    let route = RouteText::parse("10.0.0.0/8 via 192.0.2.9 dev eth1").unwrap();
    world.relay.routes.refuse.insert(route.key());
    world.control.add_route(&route).unwrap();
    assert_eq!(world.control.route_standing(&route), Some(Standing::Asked));
    world.settle();
    world.run(Duration::from_millis(50));
    assert!(
        matches!(world.control.route_standing(&route), Some(Standing::Refused(why)) if why.contains("taken"))
    );
    world.relay.deaf = true;
    world.run(Duration::from_secs(2));
    let waits = Standing::Waits("no contact with relay relay1".to_owned());
    assert_eq!(world.control.route_standing(&route), Some(waits));
    world.relay.deaf = false;
    world.relay.refuse_port = true;
    world.run(Duration::from_secs(3));
    let waits = Standing::Waits("no symbol of relay relay1 is up".to_owned());
    assert_eq!(world.control.route_standing(&route), Some(waits));
}

#[test]
fn rules_by_hand_of_flows_and_of_addresses_that_no_symbol_has() {
    let mut world = World::up();
    let flow = "tcp/192.0.2.1:4000 from 198.51.100.7:443";
    add(&mut world, flow).unwrap();
    assert_eq!(standing(&world, flow), Some(Standing::InForce));
    delete(&mut world, flow).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(world.rules(), [ARP], "no socket has it");
    for text in ["tcp/192.0.2.1:68 from 198.51.100.7:443", "udp/192.0.2.1:68 from 198.51.100.7:67"] {
        let hidden = text.starts_with("udp");
        assert_eq!(matches!(add(&mut world, text), Err(HandError::NotExposed { .. })), hidden, "{text}");
    }
    // An address of no symbol may be reached through any, if it is not one of a single link.
    add(&mut world, "tcp/203.0.113.7:80").unwrap();
    assert_eq!(standing(&world, "tcp/203.0.113.7:80"), Some(Standing::InForce));
    let nobodys = add(&mut world, "tcp/[fe80::9]:80").unwrap_err().to_string();
    assert!(nobodys.contains("the address is that of another symbol's port, or of no port"), "{nobodys}");
}

#[test]
fn how_far_a_symbol_is() {
    let mut world = World::new();
    assert!(
        matches!(world.control.symbol_standing(SYMBOL), Some(Standing::Waits(why)) if why.contains("relay1"))
    );
    world.relay.refuse_port = true;
    world.run(Duration::from_secs(2));
    assert!(
        matches!(world.control.symbol_standing(SYMBOL), Some(Standing::Refused(why)) if why.contains("not in the list"))
    );
    let mut world = World::new();
    world.relay.mute = true;
    world.run(Duration::from_secs(2));
    assert_eq!(world.control.symbol_standing(SYMBOL), Some(Standing::Asked));
    assert_eq!(world.control.symbol_standing(SymbolId(9)), None);
}
