//! Figures for monitoring, and copies of parcels for captures: both tell what happened, and change nothing.

mod segment;

use frames::data::Tunnel;
use frames::message::{Message, RelayIntroduce, Status};
use frames::{DropReason, ProtocolAddress, SymbolId};
use l2link::passage::{Passage, Way};
use relay_core::police::PuntClass;
use relay_core::{Metrics, PortVerdict};
use segment::{PORT, Segment, port_state, tcp, tcp_listener, udp_listener};
use std::time::Duration;

fn flow(local_port: u16) -> ProtocolAddress {
    ProtocolAddress::Flow {
        protocol: 6,
        local: [192, 0, 2, 1].into(),
        local_port,
        remote: [192, 0, 2, 9].into(),
        remote_port: 443,
    }
}

fn of<T: Copy>(figures: &[(&'static str, T)], name: &str) -> T {
    let found = figures.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} is not counted")).1
}

#[test]
fn figures_are_of_what_is_there() {
    let mut segment = Segment::with_control();
    segment.join("control2");
    segment.join("control3");
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(0, 2, udp_listener(53)), Status::OK);
    assert_eq!(segment.rule(0, 3, flow(40_000)), Status::OK);
    assert_eq!(segment.rule(1, 1, tcp_listener(81)), Status::NOT_PERMITTED);
    for port in [80, 80, 81] {
        let _ = segment.arrive(&tcp(40_000, port));
    }
    let metrics = segment.relay.metrics();
    assert_eq!(metrics.ports, [("eth1", "up")]);
    assert_eq!((of(&metrics.symbols, "up"), of(&metrics.symbols, "refused")), (2, 1));
    assert_eq!((of(&metrics.rules, "active"), of(&metrics.rules, "refused")), (3, 1));
    assert_eq!((of(&metrics.rules, "standby"), of(&metrics.rules, "draining"), metrics.flows), (0, 0, 1));
    let drops = |reason| metrics.drops.iter().find(|(known, _)| *known == reason).unwrap().1;
    assert_eq!((drops(DropReason::Unmatched), drops(DropReason::PuntLimit)), (1, 0));
    assert_eq!(metrics.drops.len(), DropReason::ALL.len());
    let punts: Vec<_> = metrics.punts.iter().filter(|punts| punts.passed > 0).collect();
    let [punts] = &punts[..] else { panic!("{punts:?}") };
    assert_eq!((punts.control, punts.class, punts.passed), ("control1", PuntClass::Transport, 2));
    assert_eq!((metrics.routes_known, metrics.given_addresses, metrics.flows_unpinned), (0, 0, 0));

    // A listener that closes drains, as long as its control has yet to tell its connections.
    assert_eq!(segment.relay.ports_up(), (1, 1));
    let mut down = port_state();
    down.flags = frames::message::PortFlags::UP;
    segment.relay.handle_port_state(PORT, Some(down));
    assert_eq!(segment.relay.ports_up(), (0, 1));
    assert_eq!(segment.relay.metrics().ports, [("eth1", Metrics::PORT_STATES[1])]);
}

/// What passed since the last call, and the port that it is of.
fn passed(segment: &mut Segment) -> Vec<(Way, Tunnel, Option<u32>, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((Passage { way, tunnel, parcel, .. }, port)) = segment.relay.poll_passage() {
        all.push((way, tunnel, port.map(|port| port.0), parcel[10..].to_vec()));
    }
    all
}

#[test]
fn copies_are_told_with_their_port_from_asking_to_asking() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let down = segment.controls[0].down.unwrap();
    let exchange = |segment: &mut Segment| {
        assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
        segment.send_down(0, down.into(), &tcp(80, 40_000));
    };
    exchange(&mut segment);
    assert_eq!(passed(&mut segment), [], "nobody asked");
    segment.relay.keep_passages();
    exchange(&mut segment);
    let both = [
        (Way::Sent, Tunnel(7), Some(PORT.0), tcp(40_000, 80)),
        (Way::Received, Tunnel(down.0), Some(PORT.0), tcp(80, 40_000)),
    ];
    assert_eq!(passed(&mut segment), both);
    // A tunnel that nobody has is of no port, and neither is a translated packet of an address that no control has.
    segment.send_down(0, Tunnel(77), &tcp(80, 40_000));
    segment.send_down(0, Tunnel::NONE, &tcp(80, 40_000));
    let ports: Vec<_> = passed(&mut segment).iter().map(|(_, _, port, _)| *port).collect();
    assert_eq!(ports, [None, None]);
    exchange(&mut segment);
    segment.relay.drop_passages();
    exchange(&mut segment);
    assert_eq!(passed(&mut segment), []);
    assert_eq!(segment.relay.peer_name(l2link::PeerId(0)), "control1");
    assert_eq!(segment.relay.peer_name(l2link::PeerId(9)), "?");
}

#[test]
fn packets_between_relays_are_of_no_port() {
    const SALT: [u8; 32] = [6; 32];
    let mut segment = Segment::with_control();
    let other = segment.add_relay("relay2", SALT);
    let mac = segment.mac(other);
    let introduction =
        RelayIntroduce { symbol: SymbolId(3), mac, salt: SALT, relay: "relay2", port: "eth2", key: None };
    segment.say(0, &Message::RelayIntroduce(introduction));
    segment.pass(Duration::from_secs(3));
    segment.relay.keep_passages();
    segment.send_down(other, Tunnel::NONE, &tcp(80, 40_000));
    assert_eq!(passed(&mut segment), [(Way::Received, Tunnel::NONE, None, tcp(80, 40_000))]);
}

/// In mode `none` there are no keys to be told; asking is harmless.
#[test]
fn a_link_without_keys_tells_none() {
    let mut segment = Segment::new();
    segment.relay.keep_session_keys();
    segment.add("control1", 100);
    assert_eq!(segment.relay.poll_session_keys(), None);
    segment.relay.drop_session_keys();
    assert_eq!(segment.relay.poll_session_keys(), None);
}
