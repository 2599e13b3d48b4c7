//! What would become of a socket or a route is told as it is, and changes nothing.

mod world;

use control_core::files::{Ownership, PacketFile};
use control_core::seen::{
    Connection, IfIndex, NumberedSocket, OpenSocket, Route, RouteChange, RouteFamilies, RouteHop,
};
use control_core::{HeldSocket, NamespaceId, SymbolVerdict, Translation};
use core::time::Duration;
use frames::message::Status;
use frames::protocol_address::{Family, Local};
use frames::route::{Prefix, RouteKey, RouteKind};
use frames::{DropReason, ProtocolAddress};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use l2link::trace::Hop;
use l2link::trace::Outcome::{self, Dropped, InForce, None as Nothing, Passes, Refused, Sent, Waits};
use l2link::trace_text::TraceText;
use rstest::rstest;
use world::{SYMBOL, World, tcp_segment};

const ROUTER: NamespaceId = NamespaceId(0);
const ELSEWHERE: IfIndex = IfIndex(77);
const INODE: u32 = 7;

fn rule(text: &str) -> ProtocolAddress {
    text.parse::<RuleText>().unwrap().0
}

fn open(address: ProtocolAddress, interface: Option<IfIndex>) -> NumberedSocket {
    NumberedSocket { namespace: ROUTER, address, interface, inode: INODE }
}

/// Programs open these, and the control sees them.
fn serving(mut world: World, rules: &[&str]) -> World {
    world.sockets = rules.iter().map(|text| OpenSocket { address: rule(text), interface: None }).collect();
    world.hint();
    world
}

/// The same sockets by their numbers.
fn sockets(world: &World) -> Vec<NumberedSocket> {
    world.sockets.iter().map(|socket| open(socket.address, socket.interface)).collect()
}

fn trace_of(world: &World, address: ProtocolAddress, sockets: &[NumberedSocket]) -> Vec<Hop> {
    let what = TraceText::Socket(address);
    let hops = world.control.trace(&what, sockets).unwrap();
    assert_eq!(world.control.trace(&what, sockets).as_ref(), Ok(&hops), "it changes nothing");
    hops
}

fn trace(world: &World, text: &str) -> Vec<Hop> {
    trace_of(world, rule(text), &sockets(world))
}

fn outcomes(hops: &[Hop]) -> Vec<Outcome> {
    hops.iter().map(|hop| hop.outcome).collect()
}

#[track_caller]
fn ends(hops: &[Hop], outcome: Outcome, words: &str) {
    let last = hops.last().expect("a step");
    assert!(last.outcome == outcome && last.text.contains(words), "{hops:#?}");
}

#[test]
fn a_listener_is_followed_to_its_rule() {
    let world = serving(World::up(), &["tcp/80", "tcp/80", "udp/53"]);
    let hops = trace(&world, "tcp/80");
    assert_eq!(outcomes(&hops), [Passes, InForce]);
    assert_eq!(hops[0].text, "tcp *:80 is open in namespace router, 2 times");
    assert_eq!(hops[1].text, "tcp *:80 at port eth1 of relay1 is active");
    let tunnel = world.relay.rules.iter().find(|(_, known)| **known == rule("tcp/80")).unwrap().0;
    assert_eq!((hops[1].peer.as_deref(), hops[1].up_tunnel), (Some("relay1"), Some(tunnel.0)));
    // Without an address all of the protocol and port are meant.
    let world = serving(World::up(), &["tcp/192.0.2.1:80"]);
    assert_eq!(outcomes(&trace(&world, "tcp/80")), [Passes, InForce]);
    assert_eq!(outcomes(&trace(&world, "tcp/192.0.2.7:80")), [Nothing, Nothing]);
    let world = serving(World::up(), &["ip/ospf/224.0.0.5"]);
    assert_eq!(outcomes(&trace(&world, "ip/ospf")), [Passes, InForce]);
}

#[test]
fn what_is_not_open_is_told_as_if_it_were() {
    let world = World::up();
    let hops = trace(&world, "tcp/81");
    assert_eq!(hops[0].text, "tcp *:81 is not open in namespace router; if it were:");
    ends(&hops, Nothing, "tcp *:81 at port eth1 of relay1 would be asked for");
    // One that the control has not seen yet.
    let hops = trace_of(&world, rule("tcp/81"), &[open(rule("tcp/81"), None)]);
    ends(&hops, Waits, "it was opened just now, and will be asked for");
    // Nor of a namespace whose symbols are gone.
    let mut world = world;
    world.control.delete_symbol(SYMBOL, world.now);
    let hops = trace(&world, "tcp/81");
    assert_eq!(outcomes(&hops), [Nothing]);
    ends(&hops, Nothing, "tcp *:81 reaches nobody: there is no symbol");
}

#[rstest]
#[case::hidden(rule("udp/68"), None, "among those that are hidden by default")]
#[case::icmp(ProtocolAddress::IpProtocol { protocol: 1, local: Local::Any(Family::V4) }, None, "sockets of ICMP make no rule")]
#[case::sends(ProtocolAddress::IpProtocol { protocol: 255, local: Local::Any(Family::V4) }, None, "the socket only sends")]
#[case::packet(ProtocolAddress::EtherType(0), None, "the socket only sends")]
#[case::loopback(rule("tcp/127.0.0.1:80"), None, "bound to 127.0.0.1, the loopback")]
#[case::address(rule("tcp/[fe80::9]:80"), None, "bound to fe80::9, which is of another interface")]
#[case::interface(rule("tcp/80"), Some(ELSEWHERE), "the socket is bound to another interface")]
fn what_makes_no_rule_says_why(
    #[case] address: ProtocolAddress,
    #[case] interface: Option<IfIndex>,
    #[case] words: &str,
) {
    let mut world = World::up();
    world.sockets = vec![OpenSocket { address, interface }];
    world.hint();
    assert_eq!(world.rules(), ["ethertype 0x0806 active"], "there is none indeed");
    let hops = trace_of(&world, address, &sockets(&world));
    assert_eq!(outcomes(&hops), [Passes, Nothing]);
    ends(&hops, Nothing, words);
    let held = HeldSocket { inode: INODE, namespace: Some(ROUTER) };
    assert_eq!(world.control.trace_held(&held, &sockets(&world)), hops);
}

#[test]
fn how_far_a_rule_is() {
    let mut world = World::up();
    world.relay.refuse_rules.insert(rule("tcp/80"));
    world.relay.refusal = Status::NOT_PERMITTED;
    let mut world = serving(world, &["tcp/80"]);
    ends(&trace(&world, "tcp/80"), Refused, "tcp *:80 at port eth1 of relay1 is refused: ");
    world.relay.mute = true;
    let mut world = serving(world, &["tcp/81"]);
    ends(&trace(&world, "tcp/81"), Waits, "is pending: the relay was asked");
    world.control.add_rule(SYMBOL, rule("tcp/82"), world.now).unwrap();
    world.settle();
    ends(&trace(&world, "tcp/82"), Waits, "the relay was asked, by hand");
}

#[test]
fn a_symbol_that_is_not_up_is_told_first() {
    let mut world = World::new();
    let hops = trace(&world, "tcp/80");
    assert_eq!(outcomes(&hops), [Nothing, Waits]);
    ends(&hops, Waits, "eth1: it is waiting, relay relay1 has not been heard");
    world.relay.refuse_port = true;
    world.run(Duration::from_secs(3));
    ends(&trace(&world, "tcp/80"), Refused, "eth1: it is refused, relay relay1: ");
}

#[test]
fn without_detection_it_says_how_to_make_a_rule() {
    let mut world = World::undetected().brought_up();
    ends(&trace(&world, "tcp/80"), Nothing, "detect = false): l2ctl rule add makes one");
    let flow = "tcp/192.0.2.1:4000 from 198.51.100.7:443";
    ends(&trace(&world, flow), Nothing, "packets make no rules there (detect = false)");
    world.control.add_rule(SYMBOL, rule("tcp/80"), world.now).unwrap();
    world.settle();
    ends(&trace(&world, "tcp/80"), InForce, "is active, by hand");
}

#[test]
fn by_which_rule_the_answers_to_a_flow_come() {
    let mut world = serving(World::up(), &["tcp/80"]);
    let flow = "tcp/192.0.2.1:40000 from 192.0.2.2:443";
    ends(&trace(&world, flow), Nothing, "eth1: its first packet through it makes the rule");
    assert_eq!(world.send(&tcp_segment(40_000, 443, 0x02)), SymbolVerdict::Sent);
    world.settle();
    ends(
        &trace(&world, flow),
        InForce,
        "tcp 192.0.2.1:40000 from 192.0.2.2:443 at port eth1 of relay1 is active",
    );
    let accepted = "tcp/192.0.2.1:80 from 192.0.2.2:40000";
    ends(&trace(&world, accepted), InForce, "eth1: answers come by the rule of tcp *:80");
    for (flow, words) in [
        ("udp/192.0.2.1:68 from 192.0.2.2:67", "packets from port 68 do not leave through it"),
        ("udp/203.0.113.7:4000 from 192.0.2.2:53", "203.0.113.7 is no address of it"),
    ] {
        ends(&trace(&world, flow), Nothing, words);
    }
}

#[test]
fn a_packet_is_no_question_for_a_control() {
    let world = World::up();
    let text = "tcp from 192.0.2.9:1 to 192.0.2.1:80".parse().unwrap();
    assert!(world.control.trace(&text, &[]).unwrap_err().contains("ask l2relay"));
}

fn held(world: &World) -> Vec<Hop> {
    let held = HeldSocket { inode: INODE, namespace: Some(ROUTER) };
    world.control.trace_held(&held, &sockets(world))
}

/// What is to be asked of the relay is a question that it understands.
fn question(hop: &Hop) -> TraceText {
    let (_, behind) = hop.text.split_once("`l2ctl trace ").unwrap_or_else(|| panic!("{hop:?}"));
    let (text, _) = behind.split_once('`').unwrap();
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[rstest]
#[case::listener(
    "tcp/80",
    "tcp to 192.0.2.1:80 that arrives at port eth1 of relay1 comes up here, or to another"
)]
#[case::address("udp/192.0.2.1:53", "udp to 192.0.2.1:53 that arrives")]
#[case::raw("ip/ospf/224.0.0.5", "IP protocol 89 that arrives")]
#[case::unnamed("ip/253", "IP protocol 253 that arrives")]
#[case::frame("ethertype/0x88cc", "a frame of ethertype 0x88cc that arrives")]
fn what_comes_up_for_a_socket_that_a_process_holds(#[case] text: &str, #[case] words: &str) {
    let world = serving(World::up(), &[text]);
    let hops = held(&world);
    assert_eq!(outcomes(&hops), [Passes, InForce, Sent]);
    assert!(hops[2].text.starts_with(words), "{}", hops[2].text);
    assert_eq!(hops[2].up_tunnel, hops[1].up_tunnel);
    assert!(
        matches!(question(&hops[2]), TraceText::Packet(packet) if packet.port.as_deref() == Some("eth1"))
    );
}

/// A socket of all EtherTypes gets whatever frame there is.
#[test]
fn a_socket_for_every_frame_gets_one() {
    let mut world = World::up();
    world.sockets = vec![OpenSocket { address: ProtocolAddress::EtherType(3), interface: None }];
    world.hint();
    let hops = held(&world);
    assert_eq!(outcomes(&hops), [Passes, InForce, Sent]);
    assert!(hops[2].text.starts_with("a frame that arrives at port eth1"), "{}", hops[2].text);
    let _ = question(&hops[2]);
}

#[test]
fn a_connection_that_a_process_holds() {
    let mut world = serving(World::up(), &["tcp/80"]);
    assert_eq!(world.send(&tcp_segment(40_000, 443, 0x02)), SymbolVerdict::Sent);
    world.settle();
    for (flow, listener) in
        [("tcp/192.0.2.1:40000 from 192.0.2.2:443", false), ("tcp/192.0.2.1:80 from 192.0.2.2:50000", true)]
    {
        world.sockets = vec![OpenSocket { address: rule(flow), interface: None }];
        let hops = held(&world);
        assert_eq!(outcomes(&hops), [Passes, InForce, Sent], "{hops:#?}");
        assert_eq!(hops[1].text.contains("answers come by the rule of"), listener);
        assert!(hops[2].text.contains(" established port eth1`"), "{}", hops[2].text);
        let _ = question(&hops[2]);
    }
}

#[test]
fn why_nothing_comes_up_for_it() {
    let mut world = World::up();
    world.relay.refuse_rules.insert(rule("tcp/80"));
    let mut world = serving(world, &["tcp/80"]);
    ends(&held(&world), Dropped, "does not come up here; there `l2ctl trace ");
    world.relay.mute = true;
    let mut world = serving(world, &["udp/53"]);
    ends(&held(&world), Waits, "comes up as soon as the relay has the rule");
    world.relay.mute = false;
    world.relay.deaf = true;
    world.run(Duration::from_secs(2));
    assert_eq!(world.symbol_state(), "down");
    ends(&held(&world), Dropped, "does not come up until the symbol is up");
    world.sockets.clear();
    ends(&held(&world), Nothing, "the kernel does not list it in namespace router");
    let nowhere = HeldSocket { inode: INODE, namespace: None };
    let hops = world.control.trace_held(&nowhere, &[]);
    ends(
        &hops,
        Nothing,
        "no symbol stands in its network namespace, but in namespace router: start the program there",
    );
    let world = World::of_files(Ownership::default());
    let hops = world.control.trace_held(&nowhere, &[]);
    ends(&hops, Nothing, "there is no symbol of kind interface or address");
}

#[test]
fn a_service_that_is_open_as_a_file_is_told() {
    let mut world = World::of_files(Ownership::default()).brought_up();
    let file = PacketFile::Udp(53);
    world.control.handle_file_open(1, SYMBOL, file, true, 1_700_000_000_000_000, world.now);
    world.settle();
    let hops = trace(&world, "udp/53");
    assert_eq!(outcomes(&hops), [Passes, InForce]);
    assert_eq!(hops[0].text, "udp *:53 is open as a file of port eth1 of relay1");
    assert_eq!(hops[1].text, "udp *:53 at port eth1 of relay1 is active");
    assert_eq!(outcomes(&trace(&world, "udp/54"))[0], Nothing);
}

#[test]
fn a_closed_listener_takes_what_is_of_an_old_flow() {
    let mut world = serving(World::up(), &["tcp/80"]);
    let tunnel = *world.relay.rules.iter().find(|(_, known)| **known == rule("tcp/80")).unwrap().0;
    world.send_up(tunnel, &tcp_segment(40_000, 80, 0x02));
    let flow = rule("tcp/192.0.2.1:80 from 192.0.2.2:40000");
    world.connections = vec![Connection { flow, time_wait: false }];
    let numbered = sockets(&world);
    world.sockets.clear();
    world.hint();
    let held = HeldSocket { inode: INODE, namespace: Some(ROUTER) };
    let hops = world.control.trace_held(&held, &numbered);
    ends(&hops, Sent, "comes up if it is of an old flow; new ones go elsewhere");
    assert!(hops[1].text.ends_with("is draining"), "{}", hops[1].text);
}

#[test]
fn a_symbol_of_kind_address_is_reached_by_its_own_only() {
    let mut world = World::translating(Translation {
        virtual_address: [192, 0, 2, 1].into(),
        control_address: [10, 99, 0, 2].into(),
    })
    .brought_up();
    world.sockets = vec![OpenSocket { address: rule("tcp/80"), interface: None }];
    world.hint();
    let hops = held(&world);
    assert_eq!(outcomes(&hops), [Passes, InForce, Sent]);
    assert!(hops[1].text.starts_with("tcp 192.0.2.1:80 at port eth1"), "{}", hops[1].text);
    assert!(hops.iter().all(|hop| hop.up_tunnel.is_none()), "it has no tunnels: {hops:#?}");
    let hops = trace(&world, "ethertype/0x88cc");
    ends(&hops, Nothing, "a symbol of kind address is reached by its own address only");
}

fn key(third: u8) -> RouteKey {
    RouteKey { table: RouteKey::MAIN, prefix: Prefix::new([10, 0, third, 0].into(), 24).unwrap(), metric: 20 }
}

fn set(world: &mut World, route: Route) {
    world.control.handle_route(ROUTER, &route, RouteChange::New);
    world.kernel.insert(route.key, route);
    world.settle();
    world.run(Duration::from_millis(50));
}

fn route(third: u8) -> Route {
    let hop =
        RouteHop { interface: IfIndex(2), gateway: Some([192, 0, 2, 9].into()), weight: 1, onlink: false };
    let kind = RouteKind::Unicast;
    Route { key: key(third), kind, protocol: 4, mtu: 0, nexthops: vec![hop], unsupported: None }
}

fn routes_to(world: &World, text: &str) -> Vec<Hop> {
    world.control.trace(&text.parse().unwrap(), &[]).unwrap()
}

#[test]
fn a_route_is_followed_to_the_relay() {
    let mut world = World::routing().brought_up();
    set(&mut world, route(1));
    let hops = routes_to(&world, "10.0.1.7");
    assert_eq!(outcomes(&hops), [InForce]);
    assert_eq!(
        hops[0].text,
        "unicast 10.0.1.0/24 metric 20 table 254 of namespace router, via 192.0.2.9 dev eth1 weight 1 is installed \
         at relay1"
    );
    assert_eq!(hops[0].peer.as_deref(), Some("relay1"));
    ends(&routes_to(&world, "10.0.2.0/24"), Nothing, "has one that covers 10.0.2.0/24");

    world.relay.routes.refuse.insert(key(2));
    set(&mut world, route(2));
    ends(&routes_to(&world, "10.0.2.0/24"), Refused, "at relay1: ");
    set(&mut world, Route { unsupported: Some("it encapsulates".into()), ..route(3) });
    ends(&routes_to(&world, "10.0.3.1"), Refused, "it encapsulates");
    let elsewhere = RouteHop { interface: ELSEWHERE, gateway: None, weight: 1, onlink: false };
    set(&mut world, Route { nexthops: vec![elsewhere], ..route(4) });
    ends(&routes_to(&world, "10.0.4.1"), Refused, "is refused: ");
    let by_hand = RouteText::parse("10.0.5.0/24 via 192.0.2.9 dev eth1").unwrap();
    world.control.add_route(&by_hand).unwrap();
    world.settle();
    world.run(Duration::from_millis(50));
    ends(&routes_to(&world, "10.0.5.1"), InForce, " by hand of namespace router, via 192.0.2.9 dev eth1");
    // A shorter one covers as well, and stands behind.
    let wide = Prefix::new([10, 0, 0, 0].into(), 8).unwrap();
    set(&mut world, Route { key: RouteKey { prefix: wide, ..key(0) }, ..route(1) });
    let hops = routes_to(&world, "10.0.1.7");
    assert_eq!(outcomes(&hops), [InForce, InForce]);
    assert!(hops[1].text.starts_with("unicast 10.0.0.0/8"), "{}", hops[1].text);

    world.relay.deaf = true;
    world.run(Duration::from_secs(2));
    ends(&routes_to(&world, "10.0.5.1")[..1], Waits, "is waiting at relay1");
}

#[test]
fn without_routes_it_says_so() {
    let world = World::up();
    ends(&routes_to(&world, "10.0.1.0/24"), Nothing, ": [routes] is not enabled");
}

#[test]
fn a_verification_finds_what_the_kernel_did_not_tell() {
    let mut world = World::routing().brought_up();
    set(&mut world, route(1));
    world.control.verify(world.now);
    world.settle();
    assert_eq!(world.actions, ["verified"]);
    world.actions.clear();
    world.kernel.insert(key(2), route(2));
    world.kernel.remove(&key(1));
    world.relay.routes.refuse.insert(key(2));
    world.control.verify(world.now);
    world.settle();
    assert_eq!(world.actions.len(), 3, "{:?}", world.actions);
    for (third, action) in [(1, &world.actions[0]), (2, &world.actions[1])] {
        assert!(
            world.actions.iter().any(|action| action.contains(&format!("10.0.{third}.0/24"))),
            "{action}"
        );
    }
    world.run(Duration::from_millis(50));
    world.actions.clear();
    world.control.verify(world.now);
    world.settle();
    assert!(
        world.actions[0].contains("10.0.2.0/24") && world.actions[0].contains("taken"),
        "{:?}",
        world.actions
    );
    // A symbol that is down is found, too.
    world.actions.clear();
    world.relay.deaf = true;
    world.run(Duration::from_secs(2));
    world.actions.clear();
    world.control.verify(world.now);
    world.list_routes(ROUTER, RouteFamilies::BOTH);
    world.settle();
    assert!(world.actions.iter().any(|action| action.starts_with("symbol eth1: ")), "{:?}", world.actions);
}

#[test]
fn what_the_interface_does_not_take_is_counted() {
    let mut world = World::up();
    world.control.handle_undelivered();
    world.control.handle_drops(DropReason::SymbolTxError, 2);
    world.control.handle_drops(DropReason::SymbolTxError, 0);
    assert_eq!(world.control.dropped(DropReason::SymbolTxError), 3);
    assert_eq!(world.counter("drop.symbol-tx-error"), 3);
}
