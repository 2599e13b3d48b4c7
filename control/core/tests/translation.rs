//! Address symbols: the control's half of the translation.

mod world;

use control_core::seen::{IfIndex, OpenSocket};
use control_core::{SymbolVerdict, Translation};
use core::time::Duration;
use frames::inet::classify;
use frames::message::{Message, PortUpdate, Status};
use frames::protocol_address::{Family, Local};
use frames::{DropReason, ProtocolAddress, UpTunnel};
use world::{PORT, World};

/// 192.0.2.1 as 10.99.0.2.
fn world() -> World {
    let address = |text: &str| text.parse().unwrap();
    World::translating(Translation {
        virtual_address: address("192.0.2.1"),
        control_address: address("10.99.0.2"),
    })
}

fn listener(local: Local) -> OpenSocket {
    OpenSocket { address: ProtocolAddress::Listener { protocol: 6, local, port: 80 }, interface: None }
}

/// A UDP packet without a checksum.
fn packet(source: [u8; 4], destination: [u8; 4], ports: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.into_iter().chain(destination).chain(ports));
    frame.extend([0, 8, 0, 0]);
    frame
}

const VIRTUAL: [u8; 4] = [192, 0, 2, 1];
const CONTROL: [u8; 4] = [10, 99, 0, 2];
const CLIENT: [u8; 4] = [192, 0, 2, 2];

#[test]
fn the_start() {
    let mut world = world();
    world.sockets = vec![
        listener(Local::Any(Family::Both)),
        listener(Local::Address("192.0.2.1".parse().unwrap())),
        // Not by this symbol.
        listener(Local::Any(Family::V6)),
        listener(Local::Address("10.99.0.2".parse().unwrap())),
        listener(Local::Address("203.0.113.7".parse().unwrap())),
        OpenSocket { address: ProtocolAddress::EtherType(0x88cc), interface: None },
        OpenSocket { interface: Some(IfIndex(77)), ..listener(Local::Any(Family::V4)) },
    ];
    world.run(Duration::from_secs(3));
    assert_eq!(
        world.relay.heard,
        [
            "PORT_REQUEST",
            "TRANSLATION_REQUEST",
            "add tcp 192.0.2.1:80 by 192.0.2.1 as 10.99.0.2",
            "RULES_END",
            "ROUTES_END"
        ]
    );
    assert_eq!(world.symbol_state(), "up");
    let row = &world.control.show_symbols()[0];
    assert_eq!((row.kind.as_str(), row.down_tunnel), ("address", None));
    assert_eq!(row.addresses, ["192.0.2.1/32", "10.99.0.2/32"]);
    assert_eq!(world.control.show_ports()[0].addresses, ["192.0.2.1/24"]);
    assert!(world.control.show_tunnels(&[]).is_empty());
}

#[test]
fn packets_are_rewritten_both_ways() {
    let mut world = world().brought_up();
    world.sockets = vec![OpenSocket {
        address: ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::V4), port: 53 },
        interface: None,
    }];
    world.hint();
    world.send_up(UpTunnel(0), &packet(CLIENT, CONTROL, [0x9c, 0x40, 0, 53]));
    let delivered = world.delivered.pop().unwrap();
    let text = |parcel: &[u8]| classify(&parcel[10..]).unwrap().to_string();
    assert!(text(&delivered).contains("192.0.2.2:40000 > 192.0.2.1:53 udp"), "{}", text(&delivered));

    let answer = packet(VIRTUAL, CLIENT, [0, 53, 0x9c, 0x40]);
    assert_eq!(world.send(&answer), SymbolVerdict::Sent);
    let sent = world.relay.parcels.pop().unwrap();
    assert!(text(&sent).contains("10.99.0.2:53 > 192.0.2.2:40000 udp"), "{}", text(&sent));

    let rows = world.control.show_translations();
    let rows: Vec<_> =
        rows.iter().map(|row| format!("{} {} {} {}", row.table, row.from, row.to, row.packets)).collect();
    assert_eq!(rows, ["receive 10.99.0.2 192.0.2.1 1", "send 192.0.2.1 10.99.0.2 1"]);
}

#[test]
fn a_program_that_speaks_first_has_its_answers() {
    let mut world = world().brought_up();
    assert_eq!(world.send(&packet(VIRTUAL, CLIENT, [0x9c, 0x40, 0, 53])), SymbolVerdict::Sent);
    assert_eq!(
        world.relay.heard,
        ["add udp 192.0.2.1:40000 from 192.0.2.2:53 by 192.0.2.1 as 10.99.0.2", "parcel"]
    );
}

#[test]
fn strangers_packets_are_dropped() {
    let mut world = world().brought_up();
    for (source, destination) in [(CONTROL, CLIENT), (VIRTUAL, [224, 0, 0, 5]), ([10, 0, 0, 1], CLIENT)] {
        let sent = world.send(&packet(source, destination, [0, 53, 0x9c, 0x40]));
        assert_eq!(sent, SymbolVerdict::Drop(DropReason::NotTranslated));
    }
    world.send_up(UpTunnel(0), &packet(CLIENT, [10, 99, 0, 3], [0x9c, 0x40, 0, 53]));
    world.send_up(UpTunnel(0), &packet(CLIENT, VIRTUAL, [0x9c, 0x40, 0, 53]));
    assert!(world.delivered.is_empty() && world.relay.parcels.is_empty());
    assert_eq!(world.counter("drop.not-translated"), 5);
}

#[test]
fn a_refusal_is_shown_and_tried_again() {
    let mut world = world();
    world.relay.refuse_translation = Some(Status::NO_SUCH_ADDRESS);
    world.run(Duration::from_secs(3));
    let row = &world.control.show_symbols()[0];
    assert_eq!(row.state, "refused");
    assert!(row.reason.as_ref().unwrap().contains("no such address"), "{row:?}");
    assert!(!world.relay.heard.iter().any(|heard| heard.starts_with("add")), "{:?}", world.relay.heard);
    world.relay.refuse_translation = None;
    world.run(Duration::from_secs(11));
    assert_eq!(world.symbol_state(), "up");
}

#[test]
fn the_symbol_is_down_while_the_port_lacks_the_address() {
    let mut world = world().brought_up();
    let update = |world: &mut World, generation, addresses: &[_]| {
        let attributes = world.relay.attributes(generation, addresses);
        world.relay.send(&Message::PortUpdate(PortUpdate { port: PORT, attributes }));
        world.settle();
    };
    update(&mut world, 5, &[]);
    let row = &world.control.show_symbols()[0];
    assert_eq!((row.state.as_str(), row.carrier), ("down", false));
    assert!(row.reason.as_ref().unwrap().contains("does not have the address 192.0.2.1"), "{row:?}");
    update(&mut world, 6, &[frames::message::PortAddress::new([192, 0, 2, 1].into(), 24)]);
    assert_eq!(world.symbol_state(), "up");
}
