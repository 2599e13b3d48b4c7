//! Figures for monitoring, what monitors are told, and copies of parcels for captures: all of what happened, and no more.

mod world;

use control_core::report::Event;
use control_core::seen::{IfIndex, NumberedSocket, OpenSocket};
use control_core::{NamespaceId, SymbolVerdict, Translation};
use core::time::Duration;
use frames::data::Tunnel;
use frames::message::{Flows, Message, Notice, PortFlags, PortUpdate, RuleAdd, RuleDelete, Status};
use frames::{DropReason, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use l2link::fast::{FastTraffic, FastWay};
use l2link::passage::{Passage, Way};
use l2link::rule_text::RuleText;
use world::{DOWN, PORT, SYMBOL, World, contradicted, tcp_segment};

const ROUTER: NamespaceId = NamespaceId(0);

fn rule(text: &str) -> ProtocolAddress {
    text.parse::<RuleText>().unwrap().0
}

fn serving(mut world: World, rules: &[&str]) -> World {
    world.sockets = rules.iter().map(|text| OpenSocket { address: rule(text), interface: None }).collect();
    world.hint();
    world
}

fn tunnel(world: &World, text: &str) -> UpTunnel {
    *world.relay.rules.iter().find(|(_, known)| **known == rule(text)).unwrap().0
}

fn of<T: Copy>(figures: &[(&'static str, T)], name: &str) -> T {
    let found = figures.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} is not counted")).1
}

#[test]
fn figures_are_of_what_is_there() {
    let mut world = World::up();
    world.relay.refuse_rules.insert(rule("udp/53"));
    let mut world = serving(world, &["tcp/80", "udp/53"]);
    assert_eq!(world.send(&tcp_segment(40_000, 443, 0x10)), SymbolVerdict::Sent);
    world.settle();
    world.send_up(tunnel(&world, "tcp/80"), &tcp_segment(40_000, 80, 0x10));
    world.send_up(UpTunnel(9_999), &tcp_segment(40_000, 80, 0x10));
    world.control.set_refused(vec![contradicted()]);

    let rows = world.control.show_symbols();
    let row = (&*rows[1].name, &*rows[1].kind, &*rows[1].state, rows[1].reason.as_deref(), rows[1].carrier);
    assert_eq!(row, ("eth7", "interface", "refused", Some("two symbols have this name"), false));

    let metrics = world.control.metrics();
    assert_eq!((of(&metrics.rules, "active"), of(&metrics.rules, "refused")), (3, 1));
    let others = ["draining", "pending", "closing"].map(|state| of(&metrics.rules, state));
    assert_eq!((others, metrics.flows, metrics.flows_evicted), ([0; 3], 1, 0));
    let states = ["up", "down", "waiting", "refused"].map(|state| of(&metrics.symbol_states, state));
    assert_eq!((states, world.control.symbols_up()), ([1, 0, 0, 1], (1, 2)));
    let [symbol] = &metrics.symbols[..] else { panic!("{:?}", metrics.symbols) };
    assert_eq!((symbol.name, symbol.netns, symbol.relay, symbol.port), ("eth1", "router", "relay1", "eth1"));
    assert!(symbol.up);
    assert_eq!((symbol.sent.frames, symbol.received.frames), (1, 1));
    let drops = |reason| metrics.drops.iter().find(|(known, _)| *known == reason).unwrap().1;
    assert_eq!(drops(DropReason::UnknownTunnel), 1);
    assert_eq!(metrics.drops.len(), DropReason::ALL.len());
    // One rule of a flow, and three of sockets with that for ARP, of which one was refused.
    let latencies = ["socket", "flow"].map(|kind| of(&metrics.rule_latencies, kind).count());
    assert_eq!(latencies[1], 1);
    assert!(latencies[0] >= 1);
    assert!(of(&metrics.looks, "sockets").count() > 0);
    assert_eq!((metrics.routes_mirrored, of(&metrics.routes, "installed")), (0, 0));
}

#[test]
fn a_tunnel_is_shown_with_its_sockets() {
    let mut world = serving(World::up(), &["tcp/80"]);
    let socket = |text: &str, inode, namespace, interface| NumberedSocket {
        namespace,
        address: rule(text),
        interface,
        inode,
    };
    let accepted = "tcp/192.0.2.1:80 from 192.0.2.2:40000";
    let sockets = [
        socket("tcp/80", 9, ROUTER, None),
        socket("tcp/80", 7, ROUTER, Some(IfIndex(2))),
        // Of another interface, another namespace, another port, and one that was accepted.
        socket("tcp/80", 11, ROUTER, Some(IfIndex(77))),
        socket("tcp/80", 12, NamespaceId(1), None),
        socket("tcp/81", 13, ROUTER, None),
        socket(accepted, 14, ROUTER, None),
    ];
    let of_listener = |world: &World, sockets: &[NumberedSocket]| {
        let rows = world.control.show_tunnels(sockets);
        rows.into_iter().find(|row| row.protocol_address.as_deref() == Some("tcp *:80")).unwrap()
    };
    assert_eq!(of_listener(&world, &sockets).sockets, [7, 9]);
    assert_eq!(of_listener(&world, &sockets[2..]).sockets, [14], "those that it left");
    world.send_up(tunnel(&world, "tcp/80"), &tcp_segment(40_000, 80, 0x10));
    let row = of_listener(&world, &[]);
    assert_eq!((row.direction.as_str(), row.packets, row.bytes), ("up", 1, 54));
    let down = world.control.show_tunnels(&[]).remove(0);
    assert_eq!((down.direction.as_str(), down.id, down.protocol_address), ("down", DOWN.0, None));
    let device = world.control.show_device("bpf");
    assert_eq!((device.role, device.detection), ("control", "bpf"));
}

#[test]
fn what_goes_the_fast_way_is_counted_as_the_rest() {
    let mut world = serving(World::up(), &["tcp/80"]);
    let peer = world.control.link().peers()[0].peer;
    let traffic = FastTraffic { packets: 3, bytes: 300, frames: 2, frame_bytes: 400 };
    let up = tunnel(&world, "tcp/80");
    let (now, control) = (world.now, &mut world.control);
    control.handle_fast_sent(FastWay { peer, tunnel: DOWN.into() }, &traffic);
    control.handle_fast_received(FastWay { peer, tunnel: up.into() }, &traffic, now);
    // Of a tunnel that is gone only the frames count.
    control.handle_fast_sent(FastWay { peer, tunnel: Tunnel(77) }, &traffic);
    control.handle_fast_received(FastWay { peer, tunnel: Tunnel(9_999) }, &traffic, now);
    let metrics = control.metrics();
    let symbol = &metrics.symbols[0];
    assert_eq!((symbol.sent.frames, symbol.sent.bytes), (3, 300));
    assert_eq!((symbol.received.frames, symbol.received.bytes), (3, 300));
    let rows = control.show_tunnels(&[]);
    let of = |id: u32| rows.iter().find(|row| row.id == id).map(|row| (row.packets, row.bytes));
    assert_eq!((of(DOWN.0), of(up.0)), (Some((3, 300)), Some((3, 300))));
}

/// What passed since the last call, and the symbol that it is of.
fn passed(world: &mut World) -> Vec<(Way, Tunnel, Option<SymbolId>, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((Passage { way, tunnel, parcel, .. }, symbol)) = world.control.poll_passage() {
        all.push((way, tunnel, symbol, parcel[10..].to_vec()));
    }
    all
}

#[test]
fn copies_are_told_with_their_symbol_from_asking_to_asking() {
    let mut world = serving(World::up(), &["tcp/80"]);
    let up = tunnel(&world, "tcp/80");
    let exchange = |world: &mut World| {
        assert_eq!(world.send(&tcp_segment(80, 40_000, 0x10)), SymbolVerdict::Sent);
        world.send_up(up, &tcp_segment(40_000, 80, 0x10));
    };
    exchange(&mut world);
    assert_eq!(passed(&mut world), [], "nobody asked");
    world.control.keep_passages();
    exchange(&mut world);
    let both = [
        (Way::Sent, Tunnel(DOWN.0), Some(SYMBOL), tcp_segment(80, 40_000, 0x10)),
        (Way::Received, Tunnel(up.0), Some(SYMBOL), tcp_segment(40_000, 80, 0x10)),
    ];
    assert_eq!(passed(&mut world), both);
    world.send_up(UpTunnel(9_999), &tcp_segment(40_000, 80, 0x10));
    assert_eq!(passed(&mut world)[0].2, None, "of a tunnel that is nobody's");
    world.control.drop_passages();
    exchange(&mut world);
    assert_eq!(passed(&mut world), []);
    let peer = world.control.link().peers()[0].peer;
    assert_eq!(world.control.peer_name(peer), "relay1");
    assert_eq!(world.control.peer_name(l2link::PeerId(9)), "?");
    assert_eq!(world.control.symbol_configs().count(), 1);
    assert_eq!(world.control.symbol_config(SYMBOL).map(|config| config.name.as_str()), Some("eth1"));
    assert_eq!(world.control.seat_of(SYMBOL), Some((ROUTER, "eth1")));
    assert_eq!(world.control.namespaces().collect::<Vec<_>>(), [(ROUTER, Some("router"))]);
}

#[test]
fn a_translated_packet_is_of_the_symbol_that_has_its_address() {
    let translation =
        Translation { virtual_address: [192, 0, 2, 1].into(), control_address: [10, 99, 0, 2].into() };
    let mut world = serving(World::translating(translation).brought_up(), &["tcp/80"]);
    world.control.keep_passages();
    let mut up = tcp_segment(40_000, 80, 0x10);
    up[26..34].copy_from_slice(&[192, 0, 2, 2, 10, 99, 0, 2]);
    world.send_up(UpTunnel(0), &up);
    up[30..34].copy_from_slice(&[10, 99, 0, 3]);
    world.send_up(UpTunnel(0), &up);
    let symbols: Vec<_> = passed(&mut world).into_iter().map(|(_, _, symbol, _)| symbol).collect();
    assert_eq!(symbols, [Some(SYMBOL), None]);
}

/// In mode `none` there are no keys to be told; asking is harmless.
#[test]
fn a_link_without_keys_tells_none() {
    let mut world = World::new();
    world.control.keep_session_keys();
    world = world.brought_up();
    assert_eq!(world.control.poll_session_keys(), None);
    world.control.drop_session_keys();
    assert_eq!(world.control.poll_session_keys(), None);
}

#[test]
fn monitors_are_told_what_happens_and_nobody_else_is() {
    let mut world = World::new();
    world.watched = true;
    world.control.set_monitored(true);
    world.relay.refuse_rules.insert(rule("udp/53"));
    let mut world = world.brought_up();
    let names = |world: &mut World| {
        let reports = std::mem::take(&mut world.reports);
        let name = |report: &control_core::report::Report| match &report.event {
            Event::PeerUp(_) => "peer-up",
            Event::PeerDown(_) => "peer-down",
            Event::PeerRefused(_) => "peer-refused",
            Event::SymbolUp(_) => "symbol-up",
            Event::SymbolDown(_) => "symbol-down",
            Event::SymbolRefused(_) => "symbol-refused",
            Event::RuleAdded(_) => "rule-added",
            Event::RuleRefused(_) => "rule-refused",
            Event::RuleDeleted(_) => "rule-deleted",
            Event::PortChanged(_) => "port-changed",
            Event::Notice { .. } => "notice",
        };
        reports.iter().map(name).collect::<Vec<_>>()
    };
    let told = names(&mut world);
    for event in ["peer-up", "symbol-up", "rule-added"] {
        assert!(told.contains(&event), "{event} in {told:?}");
    }
    let mut world = serving(world, &["tcp/80", "udp/53"]);
    assert_eq!(names(&mut world), ["rule-added", "rule-refused"]);
    world.relay.flags = PortFlags::PRESENT | PortFlags::UP;
    let attributes = world.relay.attributes(2, &[]);
    world.relay.send(&Message::PortUpdate(PortUpdate { port: PORT, attributes }));
    world.settle();
    let told = names(&mut world);
    assert!(told.contains(&"port-changed") && told.contains(&"symbol-down"), "{told:?}");
    world.relay.send(&Message::Notice(Notice { status: Status::SYSTEM, text: "no memory" }));
    world.settle();
    let notice = world.reports.iter().find_map(|report| match &report.event {
        Event::Notice { relay, text, .. } => Some((relay.clone(), text.clone())),
        _ => None,
    });
    assert_eq!(notice, Some(("relay1".to_owned(), "no memory".to_owned())));
    world.relay.deaf = true;
    world.run(Duration::from_secs(2));
    assert!(names(&mut world).contains(&"peer-down"));
    world.control.set_monitored(false);
    world.relay.deaf = false;
    world.run(Duration::from_secs(3));
    assert_eq!(names(&mut world), Vec::<&str>::new());
}

/// Messages that only a control says, and those about what nobody has, change nothing.
#[test]
fn what_no_relay_says_is_counted() {
    let mut world = serving(World::up(), &["tcp/80"]);
    let (request, tunnel) = (RequestId(1), UpTunnel(9_999));
    let add =
        RuleAdd { request, symbol: SYMBOL, port: PORT, tunnel, weight: 1, protocol_address: rule("tcp/80") };
    let messages = [
        Message::RuleAdd(add),
        Message::RuleDelete(RuleDelete { request, tunnel }),
        Message::RulesEnd,
        Message::Flows(Flows { request, tunnel, last: true, flows: &[] }),
    ];
    for (count, message) in (1..).zip(&messages) {
        world.relay.send(message);
        world.settle();
        assert_eq!(world.control.dropped(DropReason::BadMessage), count, "{message:?}");
    }
    world.relay.send(&Message::RuleDeleted(RuleDelete { request, tunnel }));
    world.settle();
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 active"]);
}

/// A relay that takes a rule back without a word is asked for it again.
#[test]
fn a_rule_that_the_relay_deletes_is_asked_for_again() {
    let mut world = serving(World::up(), &["tcp/80"]);
    world.relay.heard.clear();
    let deleted = RuleDelete { request: RequestId(0), tunnel: tunnel(&world, "tcp/80") };
    world.relay.send(&Message::RuleDeleted(deleted));
    world.settle();
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 refused"]);
    world.run(Duration::from_secs(10));
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 active"]);
    assert_eq!(world.relay.heard, ["add tcp *:80"]);
}
