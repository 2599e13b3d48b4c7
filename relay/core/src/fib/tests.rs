//! The table with a model of the kernel behind it.

mod by_hand;
mod partners;

use super::kernel::same;
use super::{
    Answer, Fib, FibConfig, Meeting, RouteFailure, RouteNexthop, RouteOperation, RouteSeen, RoutesSeen,
};
use crate::config::{ControlName, Permission, PortConfig, RoutePermission, Unmatched};
use crate::port::{PortState, Ports};
use core::time::Duration;
use frames::message::{self, PortFlags, RouteAdd, Status};
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind, Slice};
use frames::{Mac, PortId, RequestId};
use l2link::service::ServiceSet;
use l2link::{PeerId, Time};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ONE: PeerId = PeerId(1);
const TWO: PeerId = PeerId(2);
const ALL: RoutesSeen = RoutesSeen { ipv4: true, ipv6: true };
const EEXIST: i32 = 17;
const ESRCH: i32 = 3;

/// A route in the model of the kernel.
#[derive(Debug, Clone, PartialEq)]
struct There {
    ours: bool,
    kind: RouteKind,
    nexthops: Vec<RouteNexthop>,
}

struct World {
    fib: Fib,
    ports: Ports,
    kernel: BTreeMap<RouteKey, There>,
    operations: usize,
    now: Time,
    requests: u32,
    answers: Vec<(PeerId, Answer)>,
}

impl World {
    fn new() -> Self {
        Self::with(FibConfig::default(), BTreeMap::new())
    }

    fn with(config: FibConfig, kernel: BTreeMap<RouteKey, There>) -> Self {
        let claimants = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
        let mut world = Self {
            fib: Fib::new(config, Some(claimants)),
            ports: ports(),
            kernel,
            operations: 0,
            now: Time(1_000_000),
            requests: 0,
            answers: Vec::new(),
        };
        world.look();
        world.fib.peer_up(ONE, "one");
        world
    }

    fn look(&mut self) {
        self.fib.look_begins();
        for (key, there) in self.kernel.iter().filter(|(_, there)| there.ours) {
            self.fib.seen(&seen(*key, there), &self.ports);
        }
        self.fib.look_ends(ALL, self.now);
    }

    fn add(&mut self, peer: PeerId, key: RouteKey, nexthops: &[message::RouteNexthop]) {
        self.requests += 1;
        let kind = if nexthops.is_empty() { RouteKind::Blackhole } else { RouteKind::Unicast };
        let content = RouteContent { kind, mtu: 0, nexthops };
        self.fib.add(peer, &RouteAdd { request: RequestId(self.requests), key, content }, &self.ports);
    }

    fn delete(&mut self, peer: PeerId, key: RouteKey) {
        self.requests += 1;
        self.fib.delete(peer, key, self.requests);
    }

    fn end(&mut self, peer: PeerId) {
        self.requests += 1;
        self.fib.end(peer, Slice::ALL, self.requests);
    }

    /// Lets the model of the kernel do what is asked for, until nothing is.
    fn settle(&mut self) {
        while let Some(operations) = self.fib.decide(&self.ports) {
            let mut failures = Vec::new();
            for (place, operation) in operations.into_iter().enumerate() {
                self.operations += 1;
                if let Err(errno) = self.perform(operation) {
                    failures.push(RouteFailure { place, errno, text: "refused".into() });
                }
            }
            self.fib.landed(&failures, self.now);
            if self.fib.take_look_wanted() {
                self.look();
            }
        }
        self.answers.append(&mut self.fib.answers);
    }

    fn perform(&mut self, operation: RouteOperation) -> Result<(), i32> {
        match operation {
            RouteOperation::Delete { key } => match self.kernel.get(&key) {
                Some(there) if there.ours => drop(self.kernel.remove(&key)),
                _ => return Err(ESRCH),
            },
            RouteOperation::Set { key, replace, kind, nexthops, .. } => {
                assert!(nexthops.iter().all(|nexthop| nexthop.ifindex != 0));
                if !replace && self.kernel.contains_key(&key) {
                    return Err(EEXIST);
                }
                if let Some(there) = self.kernel.get(&key) {
                    assert!(there.ours, "a route of somebody else was replaced");
                }
                self.kernel.insert(key, There { ours: true, kind, nexthops });
            }
        }
        Ok(())
    }

    /// Lets time pass, with all time-outs on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.fib.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.fib.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn port(&mut self, id: u32, ifindex: u32, flags: PortFlags) {
        let state = PortState {
            ifindex,
            mac: Mac::default(),
            mtu: 1500,
            speed: 0,
            flags: flags | PortFlags::PRESENT,
            addresses: Vec::new(),
            routes: Vec::new(),
        };
        self.ports.set_state(PortId(id), Some(state));
        self.fib.interfaces_changed(self.now);
    }

    fn said(&mut self) -> Vec<(PeerId, Answer)> {
        core::mem::take(&mut self.answers)
    }
}

fn ports() -> Ports {
    let permission = |name: &str, prefixes: &[&str]| Permission {
        control: ControlName::Named(name.into()),
        services: ServiceSet::all(),
        routes: Some(RoutePermission {
            prefixes: prefixes.iter().map(|prefix| key(prefix).prefix).collect(),
            ..RoutePermission::default()
        }),
        addressing: false,
        priority: 0,
    };
    let port = |interface: &str| PortConfig {
        interface: interface.into(),
        relay_services: ServiceSet::none(),
        unmatched: Unmatched::Drop,
        conflicts: crate::config::Conflicts::Share,
        allow: vec![permission("one", &[]), permission("two", &["10.0.0.0/8"])],
    };
    let mut ports = Ports::new(vec![port("eth1"), port("eth2")]);
    for (id, ifindex) in [(1, 11), (2, 12)] {
        let state = PortState {
            ifindex,
            mac: Mac::default(),
            mtu: 1500,
            speed: 0,
            flags: PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER,
            addresses: Vec::new(),
            routes: Vec::new(),
        };
        ports.set_state(PortId(id), Some(state));
    }
    ports
}

fn key(prefix: &str) -> RouteKey {
    let (address, length) = prefix.split_once('/').unwrap();
    let prefix = Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap();
    RouteKey { table: RouteKey::MAIN, prefix, metric: 20 }
}

fn via(port: u32, gateway: &str) -> message::RouteNexthop {
    message::RouteNexthop::new(PortId(port), Some(gateway.parse().unwrap()), 1, false)
}

fn hop(ifindex: u32, gateway: &str) -> RouteNexthop {
    RouteNexthop { ifindex, gateway: Some(gateway.parse().unwrap()), weight: 1, onlink: false }
}

fn there(ours: bool, nexthops: &[RouteNexthop]) -> There {
    There { ours, kind: RouteKind::Unicast, nexthops: nexthops.to_vec() }
}

fn seen(key: RouteKey, there: &There) -> RouteSeen {
    RouteSeen { key, kind: there.kind, mtu: 0, nexthops: there.nexthops.clone() }
}

fn refused(answers: &[(PeerId, Answer)]) -> Vec<(PeerId, Status)> {
    let status = |(peer, answer): &(PeerId, Answer)| match answer {
        Answer::Reply { status, .. } => Some((*peer, *status)),
        Answer::Done(_) => None,
    };
    answers.iter().filter_map(status).collect()
}

#[test]
fn a_route_is_installed_changed_and_deleted() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    assert_eq!(world.kernel[&ten], there(true, &[hop(11, "192.0.2.1")]));
    assert_eq!(world.said(), [(ONE, Answer::Done(1))]);
    world.add(ONE, ten, &[via(1, "192.0.2.1"), via(2, "192.0.2.9")]);
    world.add(ONE, key("11.0.0.0/8"), &[]);
    world.settle();
    assert_eq!(world.kernel[&ten], there(true, &[hop(11, "192.0.2.1"), hop(12, "192.0.2.9")]));
    assert_eq!(world.said(), [(ONE, Answer::Done(3))]);
    world.delete(ONE, ten);
    world.settle();
    assert_eq!(world.kernel.len(), 1);
    assert_eq!(world.fib.counts.installed, 1);
    assert_eq!(world.fib.len(), 1);
}

#[test]
fn many_changes_of_one_route_are_one_operation() {
    let mut world = World::new();
    for last in 1..=200 {
        world.add(ONE, key("10.0.0.0/8"), &[via(1, &format!("192.0.2.{last}"))]);
    }
    world.settle();
    assert_eq!(world.operations, 1);
    assert_eq!(world.kernel[&key("10.0.0.0/8")], there(true, &[hop(11, "192.0.2.200")]));
}

#[test]
fn what_is_not_permitted_is_refused_by_itself() {
    let mut world = World::new();
    world.fib.peer_up(TWO, "two");
    world.add(TWO, key("11.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.add(TWO, key("10.1.0.0/16"), &[via(1, "192.0.2.1")]);
    world.add(TWO, key("10.2.0.0/16"), &[via(9, "192.0.2.1")]);
    world.settle();
    assert_eq!(refused(&world.said()), [(TWO, Status::NOT_PERMITTED), (TWO, Status::NO_SUCH_PORT)]);
    assert_eq!(world.kernel.len(), 1);
}

#[test]
fn a_route_of_somebody_else_stays_and_makes_room_later() {
    let ten = key("10.0.0.0/8");
    let foreign = there(false, &[hop(99, "198.51.100.1")]);
    let mut world = World::with(FibConfig::default(), BTreeMap::from([(ten, foreign.clone())]));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::CONFLICT)]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.kernel[&ten], foreign);
    assert_eq!(world.said(), [], "said once");
    world.kernel.clear();
    world.fib.made_room(ten);
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::OK)]);
    assert!(world.kernel[&ten].ours);
}

#[test]
fn the_second_control_has_a_route_when_the_first_gives_it_up() {
    let mut world = World::new();
    world.fib.peer_up(TWO, "two");
    let ten = key("10.0.0.0/8");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.add(TWO, ten, &[via(2, "192.0.2.2")]);
    world.settle();
    assert_eq!(refused(&world.said()), [(TWO, Status::CONFLICT)]);
    world.delete(ONE, ten);
    world.settle();
    assert_eq!(refused(&world.said()), [(TWO, Status::OK)]);
    assert_eq!(world.kernel[&ten], there(true, &[hop(12, "192.0.2.2")]));
}

#[test]
fn routes_stay_for_the_hold_time_then_go() {
    let mut world = World::new();
    world.add(ONE, key("10.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    world.fib.peer_down(ONE, world.now);
    world.pass(Duration::from_secs(59));
    assert_eq!(world.kernel.len(), 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.kernel.len(), 0);
    assert_eq!(world.fib.len(), 0);
}

#[test]
fn a_control_that_comes_back_says_its_table_anew_and_the_rest_is_swept() {
    let mut world = World::new();
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.add(ONE, eleven, &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    let before = world.operations;
    world.fib.peer_down(ONE, world.now);
    world.fib.peer_up(ONE, "one");
    world.pass(Duration::from_secs(3_600));
    assert_eq!(world.kernel.len(), 2, "nothing is swept by a timer");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    assert_eq!(world.operations, before, "what is there is left alone");
    world.end(ONE);
    world.settle();
    assert_eq!(world.kernel.keys().collect::<Vec<_>>(), [&ten]);
}

#[test]
fn orphans_are_claimed_without_touching_the_kernel_and_the_rest_goes() {
    let (ten, eleven, twelve) = (key("10.0.0.0/8"), key("11.0.0.0/8"), key("12.0.0.0/8"));
    let orphan = there(true, &[hop(11, "192.0.2.1")]);
    let kernel = BTreeMap::from([
        (ten, orphan.clone()),
        (eleven, orphan.clone()),
        (twelve, there(true, &[hop(99, "192.0.2.1")])),
    ]);
    let mut world = World::with(FibConfig::default(), kernel);
    world.settle();
    assert_eq!((world.kernel.len(), world.operations), (3, 0));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    assert_eq!((world.kernel.len(), world.operations), (3, 0), "the other control may claim the rest");
    world.fib.peer_up(TWO, "two");
    world.end(TWO);
    world.settle();
    assert_eq!(world.kernel, BTreeMap::from([(ten, orphan)]));
}

#[test]
fn a_successor_can_know_whose_the_orphans_are() {
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    let mut world = World::new();
    let holders = |world: &World| world.fib.holders().cloned().collect::<BTreeSet<_>>();
    let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(holders(&world), names(&["one", "two"]), "they may claim orphans yet");
    world.fib.peer_up(TWO, "two");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.end(TWO);
    world.settle();
    assert_eq!(holders(&world), names(&["one"]));
    world.add(ONE, eleven, &[]);
    world.fib.peer_down(ONE, world.now);
    assert_eq!(holders(&world), names(&["one"]), "its routes are held");
    world.now = world.now + Duration::from_secs(1_000_000);
    world.fib.handle_timeout(world.now);
    assert_eq!(holders(&world), names(&[]));
}

#[test]
fn orphans_that_nobody_claims_go_after_the_hold_time() {
    let kernel = BTreeMap::from([(key("10.0.0.0/8"), there(true, &[hop(11, "192.0.2.1")]))]);
    let mut world = World::with(FibConfig::default(), kernel);
    world.pass(Duration::from_secs(59));
    assert_eq!(world.kernel.len(), 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.kernel.len(), 0);
}

#[test]
fn what_others_delete_is_put_back() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    world.kernel.clear();
    world.fib.gone(ten, 1);
    world.settle();
    assert_eq!((world.kernel.len(), world.fib.counts.repaired), (1, 1));
    world.kernel.clear();
    world.look();
    world.settle();
    assert_eq!((world.kernel.len(), world.fib.counts.repaired), (1, 2));
}

#[test]
fn what_a_look_tells_late_does_not_undo_what_is_known_since() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    // The kernel has written the list, the route goes, which it tells, and only then the list is read.
    world.fib.look_begins();
    let listed = seen(ten, &world.kernel[&ten]);
    world.kernel.clear();
    world.fib.gone(ten, 1);
    world.fib.seen(&listed, &world.ports);
    world.fib.look_ends(ALL, world.now);
    world.settle();
    assert_eq!((world.kernel.len(), world.fib.counts.repaired), (1, 1));
}

#[test]
fn orphans_that_a_first_look_missed_are_orphans_still() {
    let six = key("2001:db8::/32");
    let orphan = there(true, &[hop(11, "fe80::1")]);
    let mut world = World::new();
    world.kernel.insert(six, orphan);
    world.look();
    world.settle();
    assert_eq!((world.kernel.len(), world.operations), (1, 0));
    world.add(ONE, six, &[via(1, "fe80::1")]);
    world.settle();
    assert_eq!(world.operations, 0);
    assert_eq!(refused(&world.said()), []);
}

#[test]
fn a_route_in_the_way_that_turns_out_to_be_ours_is_claimed_not_deleted() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    world.pass(Duration::from_secs(2));
    // Ours, and not known to be: the look missed it.
    world.kernel.insert(ten, there(true, &[hop(11, "192.0.2.1")]));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    assert_eq!(world.operations, 1, "the addition that failed, and no more");
    assert_eq!(world.kernel.len(), 1);
    assert_eq!(refused(&world.said()), [(ONE, Status::CONFLICT), (ONE, Status::OK)]);
}

#[test]
fn a_deletion_that_fails_is_tried_again() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    world.delete(ONE, ten);
    assert_eq!(world.fib.decide(&world.ports), Some(vec![RouteOperation::Delete { key: ten }]));
    let failure = RouteFailure { place: 0, errno: 105, text: "no buffer space".into() };
    world.fib.landed(&[failure], world.now);
    assert_eq!(world.kernel.len(), 1);
    world.pass(Duration::from_secs(6));
    assert_eq!((world.kernel.len(), world.fib.len()), (0, 0));
}

#[test]
fn who_may_not_have_an_orphan_does_not_end_it() {
    let eleven = key("11.0.0.0/8");
    let kernel = BTreeMap::from([(eleven, there(true, &[hop(11, "192.0.2.1")]))]);
    let mut world = World::with(FibConfig::default(), kernel);
    world.fib.peer_up(TWO, "two");
    world.add(TWO, eleven, &[via(1, "192.0.2.1")]);
    world.end(TWO);
    world.settle();
    assert_eq!(refused(&world.said()), [(TWO, Status::NOT_PERMITTED)]);
    assert_eq!(world.kernel.len(), 1);
    world.add(ONE, eleven, &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    assert_eq!((world.kernel.len(), world.operations), (1, 0));
    world.delete(ONE, eleven);
    world.settle();
    assert_eq!(world.kernel.len(), 0);
}

#[test]
fn a_whole_table_that_is_said_anew_replaces_what_was_there() {
    let mut world = World::new();
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.add(ONE, eleven, &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.fib.begin(ONE, Slice::ALL, 10);
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    assert_eq!(world.kernel.keys().collect::<Vec<_>>(), [&ten]);
}

#[test]
fn a_table_with_room_again_says_its_digest_again() {
    let mut world = World::with(FibConfig { max: 2, ..FibConfig::default() }, BTreeMap::new());
    for prefix in ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"] {
        world.add(ONE, key(prefix), &[via(1, "192.0.2.1")]);
    }
    world.end(ONE);
    world.settle();
    assert_eq!(world.fib.take_digests(), []);
    world.delete(ONE, key("10.0.0.0/8"));
    world.settle();
    assert_eq!(world.fib.take_digests()[0].1.unwrap().table.count, 1);
}

#[test]
fn routes_that_are_held_for_ever_are_stale_while_their_control_is_gone() {
    let mut world = World::with(FibConfig { hold: None, ..FibConfig::default() }, BTreeMap::new());
    world.add(ONE, key("10.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    let state = |world: &World| world.fib.rows(None, "relay1", &world.ports).0[0].state;
    assert_eq!((state(&world), world.fib.stale()), ("installed", 0));
    world.fib.peer_down(ONE, world.now);
    assert_eq!((state(&world), world.fib.stale()), ("stale", 1));
}

#[test]
fn a_port_that_is_another_interface_takes_its_routes_along_unasked() {
    let mut world = World::new();
    let ten = key("10.0.0.0/8");
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.settle();
    // Renamed away while it is up, and another took its name: the kernel keeps the route by the former.
    let state = PortState { ifindex: 41, ..world.ports.get(PortId(1)).unwrap().state.clone() };
    world.ports.set_state(PortId(1), Some(state));
    world.fib.ports_changed(true);
    assert!(world.fib.take_look_wanted());
    world.look();
    world.settle();
    assert_eq!(world.kernel[&ten], there(true, &[hop(41, "192.0.2.1")]));
}

#[test]
fn an_ipv6_route_whose_nexthops_go_one_by_one_comes_back_whole() {
    let mut world = World::new();
    let six = key("2001:db8::/32");
    let hops = [via(1, "fe80::1"), via(2, "fe80::2"), via(1, "fe80::3")];
    world.add(ONE, six, &hops);
    world.settle();
    let whole = world.kernel[&six].clone();
    world.said();
    // Two of three are deleted.
    world.kernel.get_mut(&six).unwrap().nexthops.truncate(1);
    world.fib.gone(six, 1);
    world.fib.gone(six, 1);
    world.settle();
    assert_eq!(world.kernel[&six], whole);
    assert_eq!(refused(&world.said()), [], "the control need not know");
    assert_eq!(world.fib.counts.repaired, 1);
}

#[test]
fn a_route_of_ipv6_needs_a_metric() {
    let mut world = World::new();
    world.add(ONE, RouteKey { metric: 0, ..key("2001:db8::/32") }, &[via(1, "fe80::1")]);
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::BAD_REQUEST)]);
    assert_eq!(world.operations, 0);
}

#[test]
fn a_port_that_goes_and_comes_takes_its_routes_along() {
    let mut world = World::new();
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.add(ONE, eleven, &[via(1, "192.0.2.1"), via(2, "192.0.2.2")]);
    world.settle();
    world.said();
    // The kernel removes the port's routes without a word.
    world.port(1, 11, PortFlags::empty());
    world.kernel.clear();
    world.look();
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::SYSTEM)]);
    assert_eq!(world.kernel, BTreeMap::from([(eleven, there(true, &[hop(12, "192.0.2.2")]))]));
    // It is another interface now.
    world.port(1, 31, PortFlags::UP | PortFlags::CARRIER);
    world.pass(Duration::from_millis(50));
    assert_eq!(refused(&world.said()), [(ONE, Status::OK)]);
    assert_eq!(world.kernel[&ten], there(true, &[hop(31, "192.0.2.1")]));
    assert_eq!(world.kernel[&eleven], there(true, &[hop(31, "192.0.2.1"), hop(12, "192.0.2.2")]));
}

#[test]
fn a_full_table_refuses_and_says_no_digest() {
    let mut world = World::with(FibConfig { max: 1, ..FibConfig::default() }, BTreeMap::new());
    world.add(ONE, key("10.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.end(ONE);
    world.settle();
    assert_eq!(world.fib.take_digests()[0].1.unwrap().table.count, 1);
    world.add(ONE, key("11.0.0.0/8"), &[via(1, "192.0.2.1")]);
    world.settle();
    assert_eq!(refused(&world.said()), [(ONE, Status::TABLE_FULL)]);
    assert_eq!(world.fib.take_digests(), [(ONE, None)]);
}

#[test]
fn a_slice_that_is_said_anew_replaces_what_was_there() {
    let mut world = World::new();
    let keys: Vec<RouteKey> = (0..64).map(|byte| key(&format!("10.{byte}.0.0/16"))).collect();
    for key in &keys {
        world.add(ONE, *key, &[via(1, "192.0.2.1")]);
    }
    world.end(ONE);
    let slice =
        Slice::ALL.parts().find(|part| keys.iter().filter(|key| part.contains(key)).count() > 2).unwrap();
    let within: Vec<RouteKey> = keys.iter().copied().filter(|key| slice.contains(key)).collect();
    world.fib.begin(ONE, slice, 100);
    world.add(ONE, within[0], &[via(2, "192.0.2.2")]);
    world.fib.end(ONE, slice, 101);
    world.settle();
    assert_eq!(world.kernel.len(), keys.len() - within.len() + 1);
    assert_eq!(world.kernel[&within[0]], there(true, &[hop(12, "192.0.2.2")]));
    let counts = world.fib.digests(ONE, Slice::ALL).map(|part| part.count);
    assert_eq!(counts.iter().sum::<u32>() as usize, world.kernel.len());
}

#[test]
fn rows_come_in_pages_and_in_order() {
    let mut world = World::new();
    for high in 0..9 {
        for low in 0..=255 {
            world.add(ONE, key(&format!("10.{high}.{low}.0/24")), &[via(1, "192.0.2.1")]);
        }
    }
    world.settle();
    let (mut after, mut prefixes) = (None, Vec::new());
    loop {
        let (rows, next) = world.fib.rows(after.as_deref(), "relay1", &world.ports);
        assert!(rows.len() <= super::rows::PAGE);
        assert!(rows.iter().all(|row| row.state == "pending" || row.state == "installed"));
        prefixes.extend(rows.into_iter().map(|row| row.prefix));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(prefixes.len(), 9 * 256);
    assert_eq!(prefixes.iter().collect::<BTreeSet<_>>().len(), 9 * 256);
}

#[test]
fn the_same_to_the_kernel_is_the_same() {
    let two = [via(1, "192.0.2.1"), via(2, "192.0.2.2")];
    let other = [two[1], two[0]];
    let content = |nexthops| RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops };
    assert!(same(&content(&two), &content(&other)));
    assert!(!same(&content(&two), &content(&two[..1])));
}

#[derive(Debug, Clone)]
enum Step {
    Add(bool, u8, u8),
    Delete(bool, u8),
    Restart(bool),
    End(bool),
    Down(bool),
    /// Somebody deletes a route, and the kernel tells of it or not.
    Lose(u8, bool),
    /// Somebody adds a route of their own, if there is room.
    Foreign(u8),
    ForeignGone(u8),
    Port(u8, bool),
    Look,
    Settle,
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..12_u8, 0..6_u8).prop_map(|(peer, key, hop)| Step::Add(peer, key, hop)),
        4 => (any::<bool>(), 0..12_u8).prop_map(|(peer, key)| Step::Delete(peer, key)),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => any::<bool>().prop_map(Step::End),
        1 => any::<bool>().prop_map(Step::Down),
        2 => (0..12_u8, any::<bool>()).prop_map(|(key, told)| Step::Lose(key, told)),
        1 => (0..12_u8).prop_map(Step::Foreign),
        1 => (0..12_u8).prop_map(Step::ForeignGone),
        1 => (1..=2_u8, any::<bool>()).prop_map(|(port, up)| Step::Port(port, up)),
        1 => Just(Step::Look),
        4 => Just(Step::Settle),
        1 => (0..90_u8).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: in the end the kernel has what is wanted and permitted, and nothing of ours
    /// besides; nothing of others was touched.
    #[test]
    fn in_the_end_the_kernel_has_what_is_wanted(steps in proptest::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        world.fib.peer_up(TWO, "two");
        let peer = |second: bool| if second { TWO } else { ONE };
        let key_of = |number: u8| key(&format!("10.{number}.0.0/16"));
        // What each control wants, and whether it is up.
        let mut wanted: [BTreeMap<RouteKey, Vec<message::RouteNexthop>>; 2] = Default::default();
        let mut foreign: BTreeSet<RouteKey> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Add(second, number, hops) => {
                    let all = [via(1, "192.0.2.1"), via(2, "192.0.2.2"), via(1, "192.0.2.3")];
                    let hops = match hops { 0 => &all[..0], 1 => &all[..1], 2 => &all[1..2], 3 => &all[..2], 4 => &all[..], _ => &all[2..] };
                    wanted[usize::from(second)].insert(key_of(number), hops.to_vec());
                    world.add(peer(second), key_of(number), hops);
                }
                Step::Delete(second, number) => {
                    wanted[usize::from(second)].remove(&key_of(number));
                    world.delete(peer(second), key_of(number));
                }
                Step::Restart(second) => {
                    world.fib.peer_down(peer(second), world.now);
                    world.fib.peer_up(peer(second), if second { "two" } else { "one" });
                    for (key, hops) in wanted[usize::from(second)].clone() {
                        world.add(peer(second), key, &hops);
                    }
                    world.end(peer(second));
                }
                Step::End(second) => world.end(peer(second)),
                Step::Down(second) => {
                    world.fib.peer_down(peer(second), world.now);
                    world.pass(Duration::from_secs(61));
                    world.fib.peer_up(peer(second), if second { "two" } else { "one" });
                    wanted[usize::from(second)].clear();
                    world.end(peer(second));
                }
                Step::Lose(number, told) => {
                    let key = key_of(number);
                    if let Some(there) = world.kernel.get(&key).filter(|there| there.ours).cloned() {
                        world.kernel.remove(&key);
                        if told { world.fib.gone(key, there.nexthops.len()) } else { world.look() }
                    }
                }
                Step::Foreign(number) => {
                    let free = !world.kernel.contains_key(&key_of(number));
                    if free {
                        world.kernel.insert(key_of(number), there(false, &[hop(99, "198.51.100.1")]));
                        foreign.insert(key_of(number));
                    }
                }
                Step::ForeignGone(number) => {
                    if foreign.remove(&key_of(number)) {
                        world.kernel.remove(&key_of(number));
                        world.fib.made_room(key_of(number));
                    }
                }
                Step::Port(port, up) => {
                    let flags = if up { PortFlags::UP | PortFlags::CARRIER } else { PortFlags::empty() };
                    world.port(u32::from(port), 10 + u32::from(port), flags);
                    if !up {
                        let ifindex = 10 + u32::from(port);
                        world.kernel.retain(|_, there| !there.ours || there.nexthops.is_empty() || there.nexthops.iter().any(|hop| hop.ifindex != ifindex));
                        world.look();
                    }
                }
                Step::Look => world.look(),
                Step::Settle => world.settle(),
                Step::Pass(seconds) => world.pass(Duration::from_secs(seconds.into())),
            }
        }
        for port in 1..=2 {
            world.port(port, 10 + port, PortFlags::UP | PortFlags::CARRIER);
        }
        for (second, name) in [(false, "one"), (true, "two")] {
            world.end(peer(second));
            let _ = name;
        }
        world.pass(Duration::from_secs(200));
        let mut expected: BTreeMap<RouteKey, Vec<Vec<RouteNexthop>>> = BTreeMap::new();
        for (key, hops) in wanted.iter().flatten() {
            let hops = hops.iter().map(|hop| RouteNexthop { ifindex: 10 + hop.port().0, gateway: hop.gateway(), weight: 1, onlink: false });
            expected.entry(*key).or_default().push(hops.collect());
        }
        for (key, there) in &world.kernel {
            if there.ours {
                let any = expected.get(key).is_some_and(|all| all.contains(&there.nexthops));
                prop_assert!(any, "{key} {there:?} is not wanted: {:?}", expected.get(key));
            } else {
                prop_assert!(foreign.contains(key));
            }
        }
        for key in expected.keys() {
            prop_assert!(world.kernel.contains_key(key), "{key} is missing");
        }
        let installed = world.kernel.values().filter(|there| there.ours).count();
        prop_assert_eq!(world.fib.counts.installed, installed as u64);
        for (place, peer) in [ONE, TWO].into_iter().enumerate() {
            let digest = world.fib.digests(peer, Slice::ALL).iter().map(|part| part.count).sum::<u32>();
            prop_assert_eq!(digest as usize, wanted[place].len());
        }
    }
}

#[test]
fn a_verification_tells_what_a_fresh_look_finds() {
    let mut world = World::new();
    let (ten, eleven) = (key("10.0.0.0/8"), key("11.0.0.0/8"));
    world.add(ONE, ten, &[via(1, "192.0.2.1")]);
    world.add(ONE, eleven, &[via(1, "192.0.2.1")]);
    world.settle();
    world.fib.verify();
    world.look();
    assert_eq!(world.fib.verified.take(), Some(Vec::new()));
    world.kernel.remove(&ten);
    world.kernel.insert(eleven, there(true, &[hop(12, "192.0.2.9")]));
    world.kernel.insert(key("12.0.0.0/8"), there(true, &[hop(12, "192.0.2.9")]));
    world.fib.verify();
    world.look();
    let found = world.fib.verified.take().unwrap();
    let texts: Vec<&str> = found.iter().map(|row| &*row.difference).collect();
    assert_eq!(texts.len(), 3, "{found:?}");
    assert!(
        texts.contains(&"it is missing from the kernel") && texts.contains(&"the kernel has another one")
    );
    world.settle();
    world.fib.verify();
    world.look();
    assert_eq!(world.fib.verified.take(), Some(Vec::new()), "repaired meanwhile");
}
