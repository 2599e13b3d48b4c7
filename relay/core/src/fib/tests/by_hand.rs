//! Routes by hand beside those of controls.

use super::*;
use crate::fib::Taken;
use l2link::by_hand::Standing;

fn by_hand(world: &mut World, key: RouteKey, nexthops: &[message::RouteNexthop]) -> Result<(), Taken> {
    let kind = if nexthops.is_empty() { RouteKind::Blackhole } else { RouteKind::Unicast };
    let added = world.fib.add_by_hand(key, RouteContent { kind, mtu: 0, nexthops }, &world.ports);
    world.settle();
    added
}

fn standing(world: &World, key: RouteKey) -> Option<Standing> {
    world.fib.standing_by_hand(&key, &world.ports)
}

#[test]
fn a_control_neither_takes_it_over_nor_takes_it_along() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    by_hand(&mut world, ten, &[via(1, "192.0.2.1")]).unwrap();
    assert_eq!(standing(&world, ten), Some(Standing::InForce));
    world.add(ONE, ten, &[via(2, "192.0.2.2")]);
    world.end(ONE);
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::CONFLICT)], "the operator is told nothing");
    world.fib.peer_down(ONE, world.now);
    world.pass(Duration::from_secs(120));
    assert_eq!(world.kernel[&ten], there(true, &[hop(11, "192.0.2.1")]));
    let (rows, _) = world.fib.rows(None, "relay1", &world.ports);
    assert_eq!((rows[0].r#static, rows[0].state, &rows[0].control), (true, "installed", &None));
    assert_eq!(world.fib.holders().count(), 0, "nobody is to be remembered for it");
    world.fib.delete_by_hand(ten);
    world.settle();
    assert_eq!((world.kernel.len(), world.fib.len()), (0, 0));
    assert_eq!(standing(&world, ten), None);
}

#[test]
fn who_waits_has_its_turn() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    by_hand(&mut world, ten, &[via(1, "192.0.2.1")]).unwrap();
    world.add(ONE, ten, &[via(2, "192.0.2.2")]);
    world.settle();
    let (rows, _) = world.fib.rows(None, "relay1", &world.ports);
    assert!(rows[1].reason.as_ref().unwrap().contains("by hand"), "{rows:?}");
    world.fib.delete_by_hand(ten);
    world.settle();
    assert_eq!(world.kernel[&ten], there(true, &[hop(12, "192.0.2.2")]));
    assert_eq!(by_hand(&mut world, ten, &[]), Err(Taken::Control("one".into())));
}

#[test]
fn it_needs_no_permission_but_room_and_a_port() {
    let mut world = World::with(FibConfig { max: 2, ..FibConfig::default() }, BTreeMap::new());
    by_hand(&mut world, key("11.0.0.0/8"), &[via(1, "192.0.2.1")]).unwrap();
    world.port(2, 12, PortFlags::empty());
    by_hand(&mut world, key("12.0.0.0/8"), &[via(2, "192.0.2.1")]).unwrap();
    assert!(matches!(standing(&world, key("12.0.0.0/8")), Some(Standing::Waits(_))));
    assert_eq!(by_hand(&mut world, key("13.0.0.0/8"), &[]), Err(Taken::Full(2)));
    world.port(2, 12, PortFlags::UP | PortFlags::CARRIER);
    world.pass(Duration::from_secs(1));
    assert_eq!(standing(&world, key("12.0.0.0/8")), Some(Standing::InForce));
}

#[test]
fn what_somebody_else_has_is_refused() {
    let ten = key("10.0.0.0/8");
    let foreign = there(false, &[hop(99, "198.51.100.1")]);
    let mut world = World::with(FibConfig::default(), BTreeMap::from([(ten, foreign)]));
    by_hand(&mut world, ten, &[via(1, "192.0.2.1")]).unwrap();
    assert!(matches!(standing(&world, ten), Some(Standing::Refused(_))));
}

#[test]
fn a_forgotten_control_leaves_nothing() {
    let mut world = World::new();
    world.add(ONE, key("10.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    world.fib.peer_down(ONE, world.now);
    world.fib.forget(&[ONE], "one");
    world.settle();
    assert_eq!((world.kernel.len(), world.fib.len()), (0, 0));
    assert_eq!(world.fib.holders().collect::<Vec<_>>(), ["two"], "the other may have orphans");
    world.fib.peer_up(ONE, "one");
    world.add(ONE, key("10.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.settle();
    assert_eq!(world.kernel.len(), 1);
}
