//! Routes of the kernel, told to a relay.

mod world;

use control_core::NamespaceId;
use control_core::seen::{IfIndex, Route, RouteChange, RouteFamilies, RouteHop};
use core::time::Duration;
use frames::BootId;
use frames::message::RouteNexthop;
use frames::route::{Prefix, RouteKey, RouteKind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::{PORT, RelayModel, World};

const ROUTER: NamespaceId = NamespaceId(0);
/// The symbol's interface, as the world makes it.
const SYMBOL: u32 = 2;
const OTHER: u32 = 7;
const STATIC: u8 = 4;
const KERNEL: u8 = 2;

fn key(third: u16) -> RouteKey {
    let [high, low] = third.to_be_bytes();
    let prefix = Prefix::new([10, high, low, 0].into(), 24).unwrap();
    RouteKey { table: RouteKey::MAIN, prefix, metric: 20 }
}

fn route(third: u16, interface: u32, last: u8) -> Route {
    let gateway = Some([192, 0, 2, last].into());
    let hop = RouteHop { interface: IfIndex(interface), gateway, weight: 1, onlink: false };
    let (kind, protocol) = (RouteKind::Unicast, STATIC);
    Route { key: key(third), kind, protocol, mtu: 0, nexthops: vec![hop], unsupported: None }
}

fn told(last: u8) -> RouteNexthop {
    RouteNexthop::new(PORT, Some([192, 0, 2, last].into()), 1, false)
}

impl World {
    /// The kernel gets a route and tells of it.
    fn set(&mut self, route: &Route) {
        let change = match self.kernel.insert(route.key, route.clone()) {
            Some(_) => RouteChange::Replaced,
            None => RouteChange::New,
        };
        self.control.handle_route(ROUTER, route, change);
    }

    /// The kernel loses a route and tells of it.
    fn remove(&mut self, third: u16) {
        if let Some(route) = self.kernel.remove(&key(third)) {
            self.control.handle_route_gone(ROUTER, route.key, route.protocol, route.nexthops.len());
        }
    }

    fn has(&self, third: u16) -> Option<&[RouteNexthop]> {
        self.relay.routes.held.get(&key(third)).map(|held| &*held.nexthops)
    }

    /// What the relay should have.
    fn expected(&self) -> BTreeMap<RouteKey, Vec<RouteNexthop>> {
        let leads = |route: &Route| {
            let hops = route.nexthops.iter().filter(|hop| hop.interface.0 == SYMBOL);
            let hops = hops.map(|hop| RouteNexthop::new(PORT, hop.gateway, hop.weight, hop.onlink));
            let hops: Vec<_> = hops.collect();
            (route.protocol != KERNEL && route.unsupported.is_none() && !hops.is_empty())
                .then_some((route.key, hops))
        };
        self.kernel.values().filter_map(leads).collect()
    }

    fn held(&self) -> BTreeMap<RouteKey, Vec<RouteNexthop>> {
        self.relay.routes.held.iter().map(|(key, held)| (*key, held.nexthops.clone())).collect()
    }

    fn state(&self, third: u16) -> (String, Option<String>) {
        let (rows, _) = self.control.show_routes(None);
        let row = rows.iter().find(|row| row.prefix == key(third).prefix.to_string()).unwrap();
        (row.state.to_owned(), row.reason.clone())
    }
}

fn up() -> World {
    World::routing().brought_up()
}

#[test]
fn routes_come_change_and_go() {
    let mut world = up();
    assert!(world.relay.routes.ended);
    world.set(&route(1, SYMBOL, 1));
    world.settle();
    assert_eq!(world.has(1), Some(&[told(1)][..]));
    assert_eq!(world.state(1), ("installed".into(), None));
    world.set(&route(1, SYMBOL, 2));
    world.settle();
    assert_eq!(world.has(1), Some(&[told(2)][..]));
    world.remove(1);
    world.settle();
    assert_eq!(world.has(1), None);
    assert_eq!((world.relay.routes.adds, world.relay.routes.deletes), (2, 1));
}

#[test]
fn what_leads_by_no_symbol_or_is_the_kernels_is_not_told() {
    let mut world = up();
    world.set(&route(1, OTHER, 1));
    world.set(&Route { protocol: KERNEL, ..route(2, SYMBOL, 1) });
    world.set(&Route { unsupported: Some("it encapsulates packets".into()), ..route(3, SYMBOL, 1) });
    let mixed = [route(4, OTHER, 1).nexthops, route(4, SYMBOL, 9).nexthops].concat();
    world.set(&Route { nexthops: mixed, ..route(4, SYMBOL, 1) });
    world.settle();
    assert_eq!(world.held().into_keys().collect::<Vec<_>>(), [key(4)]);
    let reason = "it leads by interface 7, which is no symbol";
    assert_eq!(world.state(1), ("refused".into(), Some(reason.into())));
    assert_eq!(world.state(3), ("refused".into(), Some("it encapsulates packets".into())));
}

#[test]
fn what_drops_packets_is_told_too() {
    let mut world = up();
    let blackhole = Route { kind: RouteKind::Blackhole, nexthops: Vec::new(), ..route(1, SYMBOL, 1) };
    world.set(&blackhole);
    world.settle();
    assert_eq!(world.relay.routes.held[&key(1)].kind, RouteKind::Blackhole);
}

#[test]
fn a_list_finds_what_was_lost_without_a_word() {
    let mut world = up();
    for third in 0..10 {
        world.set(&route(third, SYMBOL, 1));
    }
    world.settle();
    world.kernel.retain(|_, route| route.key == key(3));
    world.settle();
    assert_eq!(world.held().len(), 10, "nobody told");
    world.list_routes(ROUTER, RouteFamilies { ipv4: true, ipv6: false });
    world.settle();
    assert_eq!(world.held(), world.expected());
    assert_eq!(world.relay.routes.adds, 10);
}

#[test]
fn a_thousand_changes_of_a_route_are_few_messages() {
    let mut world = up();
    for last in (1..=200).cycle().take(1_000) {
        world.set(&route(1, SYMBOL, last));
    }
    world.settle();
    assert_eq!(world.relay.routes.adds, 1);
    for third in 0..5_000 {
        world.set(&route(third, SYMBOL, 1));
    }
    world.run(Duration::from_millis(100));
    assert_eq!(world.held(), world.expected());
    assert_eq!(world.relay.routes.adds, 5_001);
}

#[test]
fn a_relay_that_restarts_is_told_everything_and_nothing_is_deleted() {
    let mut world = up();
    for third in 0..100 {
        world.set(&route(third, SYMBOL, 1));
    }
    world.settle();
    let mut relay = RelayModel::new(BootId(77), world.now);
    // It found these in its kernel.
    relay.routes.held = core::mem::take(&mut world.relay.routes.held);
    world.relay = relay;
    world.run(Duration::from_secs(5));
    assert_eq!(world.symbol_state(), "up");
    assert_eq!(world.held(), world.expected());
    assert_eq!((world.relay.routes.adds, world.relay.routes.deletes), (100, 0));
    assert!(world.relay.routes.ended);
}

#[test]
fn a_refusal_is_shown_until_the_route_is_installed_after_all() {
    let mut world = up();
    world.relay.routes.refuse.insert(key(1));
    world.set(&route(1, SYMBOL, 1));
    world.settle();
    let (state, reason) = world.state(1);
    assert_eq!(state, "refused");
    assert!(reason.unwrap().ends_with("taken"));
    world.relay.routes.refuse.clear();
    world.set(&route(1, SYMBOL, 2));
    world.settle();
    assert_eq!(world.state(1).0, "installed");
}

#[test]
fn a_difference_is_found_and_repaired() {
    let mut world = up();
    for third in 0..2_000 {
        world.set(&route(third, SYMBOL, 1));
    }
    world.run(Duration::from_millis(100));
    let adds = world.relay.routes.adds;
    // The relay forgets one, has one that it should not, and another in a wrong way.
    let odd = world.relay.routes.held.remove(&key(5)).unwrap();
    world.relay.routes.held.insert(key(9_999), odd);
    world.relay.routes.held.get_mut(&key(7)).unwrap().nexthops = vec![told(99)];
    let peer = world.relay.control.unwrap();
    world.relay.routes.tell_digest(peer, &mut world.relay.link);
    world.run(Duration::from_secs(3));
    assert_eq!(world.held(), world.expected());
    let said = world.relay.routes.adds - adds;
    assert!((2..400).contains(&said), "only the parts that differ are said again, not {said} routes");
    let counters = world.control.show_counters();
    let repaired = counters.iter().find(|row| row.name == "routes-repaired").unwrap();
    assert!(repaired.value >= 2);
}

#[test]
fn a_verification_says_what_the_kernel_did_not_tell() {
    let mut world = up();
    world.set(&route(1, SYMBOL, 1));
    world.settle();
    world.actions.clear();
    world.control.verify(world.now);
    world.settle();
    assert_eq!(world.actions, ["verified"]);
    world.kernel.clear();
    world.control.verify(world.now);
    world.settle();
    assert!(world.actions[1].starts_with("route 10.0.1.0/24"), "{:?}", world.actions);
}

#[test]
fn a_million_rows_come_in_pages() {
    let mut world = up();
    for third in 0..3_500 {
        world.set(&route(third, SYMBOL, 1));
    }
    world.run(Duration::from_millis(50));
    let (mut after, mut count) = (None, 0);
    loop {
        let (rows, next) = world.control.show_routes(after.as_deref());
        assert!(rows.len() <= 1_000);
        count += rows.len();
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(count, 3_500);
}

#[derive(Debug, Clone)]
enum Step {
    Set(u16, bool, u8),
    Remove(u16),
    Lose(u16),
    List,
    Run(u8),
    RestartRelay,
    Silence,
    Corrupt(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24_u16, prop::bool::weighted(0.9), 1..5_u8).prop_map(|(third, here, last)| Step::Set(third, here, last)),
        4 => (0..24_u16).prop_map(Step::Remove),
        2 => (0..24_u16).prop_map(Step::Lose),
        2 => Just(Step::List),
        4 => (0..50_u8).prop_map(Step::Run),
        1 => Just(Step::RestartRelay),
        1 => Just(Step::Silence),
        1 => (0..24_u16).prop_map(Step::Corrupt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens: in the end the relay has what the kernel has, by symbols.
    #[test]
    fn in_the_end_both_tables_are_the_same(steps in proptest::collection::vec(step(), 0..50)) {
        let mut world = up();
        let mut boot = 1_000;
        for step in steps {
            match step {
                Step::Set(third, here, last) => world.set(&route(third, if here { SYMBOL } else { OTHER }, last)),
                Step::Remove(third) => world.remove(third),
                Step::Lose(third) => drop(world.kernel.remove(&key(third))),
                Step::List => world.list_routes(ROUTER, RouteFamilies::BOTH),
                Step::Run(ms) => world.run(Duration::from_millis(ms.into())),
                Step::RestartRelay => {
                    boot += 1;
                    let mut relay = RelayModel::new(BootId(boot), world.now);
                    relay.routes.held = core::mem::take(&mut world.relay.routes.held);
                    world.relay = relay;
                }
                Step::Silence => {
                    world.relay.deaf = true;
                    world.run(Duration::from_millis(700));
                    world.relay.deaf = false;
                }
                Step::Corrupt(third) => {
                    world.relay.routes.lose(key(third));
                    if let Some(peer) = world.relay.control {
                        world.relay.routes.tell_digest(peer, &mut world.relay.link);
                    }
                }
            }
        }
        world.list_routes(ROUTER, RouteFamilies::BOTH);
        world.run(Duration::from_secs(8));
        prop_assert_eq!(world.symbol_state(), "up");
        prop_assert_eq!(world.held(), world.expected());
        let (rows, _) = world.control.show_routes(None);
        prop_assert!(rows.iter().all(|row| row.state == "installed" || row.state == "refused"));
    }
}
