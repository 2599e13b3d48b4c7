//! Given a symbol with carrier, when the relay or the daemon is away for a moment, then programs do not notice.

mod world;

use control_core::Failure;
use control_core::seen::IfIndex;
use core::time::Duration;
use frames::BootId;
use frames::message::{Message, PortAddress, PortAttributes, PortFlags, PortUpdate};
use frames::session::CloseReason;
use l2link::Time;
use world::{PORT, RelayModel, SYMBOL, World};

const HOLD: Duration = Duration::from_secs(3);

/// When the carrier went, in ms from now, if it does within `duration`.
fn carrier_lost_within(world: &mut World, duration: Duration) -> Option<u64> {
    let (start, end) = (world.now, world.now + duration);
    while world.now < end {
        world.run(Duration::from_millis(1));
        if world.actions.iter().any(|action| action == "carrier false") {
            return Some((world.now.0 - start.0) / 1000);
        }
    }
    None
}

fn reason(world: &World) -> Option<String> {
    world.control.show_symbols()[0].reason.clone()
}

fn carrier(world: &World) -> bool {
    world.control.show_symbols()[0].carrier
}

#[test]
fn a_relay_that_restarts_within_the_hold_is_not_noticed() {
    let mut world = World::holding(HOLD).brought_up();
    world.relay.link.close(CloseReason::SHUTDOWN, world.now);
    world.settle();
    assert_eq!((world.symbol_state().as_str(), carrier(&world)), ("down", true), "the state tells at once");
    assert_eq!(reason(&world).as_deref(), Some("no contact with relay relay1"));
    world.run(Duration::from_secs(1));
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(5));
    assert_eq!((world.symbol_state().as_str(), carrier(&world)), ("up", true));
    assert!(world.actions.is_empty(), "{:?}", world.actions);
}

#[test]
fn a_relay_that_stays_away_takes_the_carrier_after_the_hold() {
    let mut world = World::holding(HOLD).brought_up();
    world.relay.link.close(CloseReason::SHUTDOWN, world.now);
    world.settle();
    assert_eq!(carrier_lost_within(&mut world, Duration::from_secs(10)), Some(3000));
    assert!(!carrier(&world));
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.actions, ["carrier false", "carrier true"]);
}

#[test]
fn a_relay_that_comes_and_goes_does_not_prolong_the_hold() {
    let mut world = World::holding(HOLD).brought_up();
    world.relay.link.close(CloseReason::SHUTDOWN, world.now);
    world.settle();
    let lost = world.now;
    while world.now < lost + Duration::from_secs(4) {
        // It is met, and leaves before it has answered.
        world.relay = RelayModel::new(BootId(world.now.0), world.now);
        world.relay.mute = true;
        world.run(Duration::from_millis(700));
        world.relay.link.close(CloseReason::SHUTDOWN, world.now);
        world.settle();
    }
    assert_eq!(world.actions, ["carrier false"]);
}

#[test]
fn a_port_that_is_down_takes_the_carrier_at_once() {
    let mut world = World::holding(HOLD).brought_up();
    let addresses = [PortAddress::new([192, 0, 2, 1].into(), 24)];
    let flags = PortFlags::PRESENT | PortFlags::UP;
    let attributes = PortAttributes { flags, ..world.relay.attributes(2, &addresses) };
    world.relay.send(&Message::PortUpdate(PortUpdate { port: PORT, attributes }));
    world.settle();
    assert_eq!(world.actions, ["update no-carrier", "carrier false"]);
}

#[test]
fn a_port_that_went_down_or_away_meanwhile_takes_the_carrier_before_the_hold_ends() {
    for refused in [false, true] {
        let mut world = World::holding(Duration::from_secs(60)).brought_up();
        world.relay.link.close(CloseReason::SHUTDOWN, world.now);
        world.settle();
        world.relay = RelayModel::new(BootId(3), world.now);
        world.relay.refuse_port = refused;
        world.relay.flags = PortFlags::PRESENT | PortFlags::UP;
        assert!(carrier_lost_within(&mut world, Duration::from_secs(5)).is_some(), "refused: {refused}");
    }
}

#[test]
fn an_adopted_interface_is_brought_in_line_and_keeps_its_carrier() {
    let mut world = World::holding(HOLD);
    world.control.handle_symbol_adopted(SYMBOL, IfIndex(7), true, Time(0));
    assert_eq!(reason(&world).as_deref(), Some("no contact with relay relay1"));
    assert!(carrier(&world));
    world.run(Duration::from_secs(5));
    assert_eq!(world.actions, ["update up"], "neither made anew nor without carrier");
    assert_eq!(
        world.relay.heard,
        ["PORT_REQUEST", "TUNNEL_REQUEST", "add ethertype 0x0806", "RULES_END", "ROUTES_END"],
        "the end of the table is told after the looks"
    );
    assert_eq!(world.symbol_state(), "up");
}

#[test]
fn an_adopted_interface_without_carrier_gets_it_when_all_is_there() {
    let mut world = World::holding(HOLD);
    world.control.handle_symbol_adopted(SYMBOL, IfIndex(7), false, Time(0));
    world.run(Duration::from_secs(5));
    assert_eq!(world.actions, ["update up", "carrier true"]);
}

#[test]
fn an_adopted_interface_loses_its_carrier_if_no_relay_comes() {
    let mut world = World::holding(HOLD);
    world.relay.link.close(CloseReason::SHUTDOWN, world.now);
    world.relay.deaf = true;
    world.control.handle_symbol_adopted(SYMBOL, IfIndex(7), true, Time(0));
    assert_eq!(carrier_lost_within(&mut world, Duration::from_secs(5)), Some(3000));
    world.control.handle_shutdown();
    world.settle();
    assert_eq!(world.actions, ["carrier false", "remove"], "it is removed with all others");
}

#[test]
fn without_a_hold_an_adopted_interface_waits_without_carrier() {
    let mut world = World::new();
    world.control.handle_symbol_adopted(SYMBOL, IfIndex(7), true, Time(0));
    world.settle();
    assert_eq!(world.actions, ["carrier false", "update up", "carrier true"]);
}

#[test]
fn an_adopted_interface_that_is_lost_before_the_relay_comes_is_made_anew() {
    let mut world = World::holding(HOLD);
    world.relay.deaf = true;
    world.control.handle_symbol_adopted(SYMBOL, IfIndex(7), true, Time(0));
    world.control.handle_symbol_failed(SYMBOL, Failure::Removed, Time(0));
    world.run(Duration::from_secs(3));
    assert!(world.actions.is_empty(), "{:?}", world.actions);
    world.relay.deaf = false;
    world.run(Duration::from_secs(5));
    assert_eq!(world.actions, ["create", "carrier true"]);
    assert_eq!(world.symbol_state(), "up");
}
