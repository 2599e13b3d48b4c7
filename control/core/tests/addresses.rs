//! Given `addressing = "control"`, when programs put addresses on a symbol, then its port is to have them.

mod world;

use control_core::Failure;
use control_core::seen::IfIndex;
use core::net::IpAddr;
use core::time::Duration;
use frames::BootId;
use frames::message::{AddressReply, Message, PortAddress, PortUpdate, Status};
use frames::session::CloseReason;
use l2link::Time;
use world::{PORT, RelayModel, SYMBOL, World};

fn address(text: &str) -> (IpAddr, u8) {
    let (address, length) = text.split_once('/').unwrap();
    (address.parse().unwrap(), length.parse().unwrap())
}

fn wire(text: &str) -> PortAddress {
    let (address, length) = address(text);
    PortAddress::new(address, length)
}

/// Programs change the addresses, and the kernel tells of it.
fn put(world: &mut World, addresses: &[&str]) {
    world.addresses = addresses.iter().map(|text| address(text)).collect();
    world.list_addresses();
    world.settle();
}

fn refused(world: &World) -> Option<Vec<String>> {
    world.control.show_symbols()[0].refused_addresses.clone()
}

fn times_said(world: &World) -> usize {
    world.relay.heard.iter().filter(|heard| *heard == "PORT_ADDRESSES").count()
}

#[test]
fn what_programs_put_on_a_symbol_is_said_and_every_change_of_it() {
    let mut world = World::addressing().brought_up();
    put(&mut world, &["192.0.2.7/24", "2001:db8::7/64"]);
    assert_eq!(world.relay.addresses, ["192.0.2.7/24", "2001:db8::7/64"]);
    put(&mut world, &["2001:db8::7/64"]);
    assert_eq!(world.relay.addresses, ["2001:db8::7/64"]);
    put(&mut world, &["2001:db8::7/64"]);
    put(&mut world, &[]);
    assert_eq!((world.relay.addresses.len(), times_said(&world)), (0, 3));
}

#[test]
fn addresses_that_are_there_before_the_relay_are_said_with_the_grant() {
    let mut world = World::addressing();
    world.addresses = vec![address("192.0.2.7/24")];
    world.run(Duration::from_secs(3));
    assert_eq!(world.relay.addresses, ["192.0.2.7/24"]);
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.relay.addresses, ["192.0.2.7/24"], "a new relay hears them too");
}

#[test]
fn by_default_nothing_is_said() {
    let mut world = World::up();
    put(&mut world, &["192.0.2.7/24"]);
    world.run(Duration::from_secs(3));
    assert_eq!(times_said(&world), 0);
}

#[test]
fn a_refusal_is_shown_until_it_passes_or_the_address_goes() {
    let mut world = World::addressing().brought_up();
    world.relay.refuse_addresses.insert("192.0.2.7/24".into(), Status::CONFLICT);
    put(&mut world, &["192.0.2.7/24", "192.0.2.8/24"]);
    assert_eq!(refused(&world).unwrap(), [format!("192.0.2.7/24: {}", Status::CONFLICT)]);
    let reply = |address: &str, status, text| {
        Message::AddressReply(AddressReply { port: PORT, address: wire(address), status, text })
    };
    world.relay.send(&reply("192.0.2.7/24", Status::CONFLICT, "the relay has it"));
    world.settle();
    let shown = format!("192.0.2.7/24: {}: the relay has it", Status::CONFLICT);
    assert_eq!(refused(&world).unwrap(), [shown]);
    world.relay.send(&reply("192.0.2.7/24", Status::OK, ""));
    world.settle();
    assert_eq!(refused(&world), None);
    // One that nobody wants is not shown.
    world.relay.send(&reply("203.0.113.1/24", Status::SYSTEM, ""));
    world.settle();
    assert_eq!(refused(&world), None);
    world.relay.send(&reply("192.0.2.8/24", Status::NOT_PERMITTED, ""));
    world.settle();
    assert_eq!(refused(&world).unwrap().len(), 1);
    put(&mut world, &["192.0.2.7/24"]);
    assert!(refused(&world).unwrap()[0].starts_with("192.0.2.7/24"), "the model refuses it again");
    put(&mut world, &[]);
    assert_eq!(refused(&world), None);
}

#[test]
fn given_addresses_are_the_ports_and_not_put_on_the_symbol() {
    for (mut world, kept) in [(World::addressing(), 1), (World::holding(Duration::ZERO), 2)] {
        world.run(Duration::from_secs(3));
        world.updates.clear();
        let addresses = [wire("192.0.2.1/24"), wire("192.0.2.7/24").given()];
        let attributes = world.relay.attributes(2, &addresses);
        world.relay.send(&Message::PortUpdate(PortUpdate { port: PORT, attributes }));
        world.settle();
        let [update] = &world.updates[..] else { panic!("{:?}", world.updates) };
        assert_eq!(update.addresses.len(), kept);
        assert_eq!(world.control.show_symbols()[0].addresses, ["192.0.2.1/24", "192.0.2.7/24"]);
    }
}

#[test]
fn an_adopted_symbol_says_nothing_before_its_addresses_are_known() {
    let mut world = World::addressing();
    world.addresses = vec![address("192.0.2.7/24")];
    world.control.handle_symbol_adopted(SYMBOL, IfIndex(7), true, Time(0));
    world.run(Duration::from_secs(5));
    assert_eq!(world.relay.said, [["192.0.2.7/24"]], "said once, and never without the address");
}

#[test]
fn an_interface_that_is_lost_keeps_its_port_as_it_is_until_it_is_made_anew() {
    let mut world = World::addressing().brought_up();
    put(&mut world, &["192.0.2.7/24"]);
    world.relay.said.clear();
    world.addresses.clear();
    world.failure = Some(Failure::NamespaceAbsent);
    world.control.handle_symbol_failed(SYMBOL, Failure::NamespaceAbsent, world.now);
    world.list_addresses();
    world.run(Duration::from_secs(3));
    assert!(world.relay.said.is_empty(), "{:?}", world.relay.said);
    world.failure = None;
    world.addresses = vec![address("192.0.2.8/24")];
    world.run(Duration::from_secs(3));
    assert_eq!(world.relay.said, [["192.0.2.8/24"]]);
}

#[test]
fn a_relay_that_was_away_hears_what_changed_meanwhile() {
    let mut world = World::addressing().brought_up();
    put(&mut world, &["192.0.2.7/24"]);
    world.relay.link.close(CloseReason::SHUTDOWN, world.now);
    world.settle();
    put(&mut world, &["192.0.2.8/24"]);
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.relay.said, [["192.0.2.8/24"]]);
}
