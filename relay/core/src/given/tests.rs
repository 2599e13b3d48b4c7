//! Given addresses with a model of the interfaces behind them.

use super::{Given, GivenAddress, Order, Refusal};
use crate::config::{ControlName, Permission, PortConfig, Unmatched};
use crate::port::{PortState, Ports};
use core::time::Duration;
use frames::message::{PortAddress, PortFlags, Status};
use frames::{Mac, PortId};
use l2link::service::ServiceSet;
use l2link::{PeerId, Time};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ONE: PeerId = PeerId(1);
const TWO: PeerId = PeerId(2);
const ETH1: PortId = PortId(1);
const ETH2: PortId = PortId(2);
/// The relay's own.
const OWN: [&str; 2] = ["192.0.2.1/24", "198.51.100.1/24"];

struct World {
    given: Given,
    ports: Ports,
    /// What the interfaces of the ports have besides the relay's own: with the mark.
    kernel: BTreeMap<PortId, Vec<PortAddress>>,
    absent: Vec<PortId>,
    refuses: Option<&'static str>,
    added: usize,
    deleted: usize,
    replies: Vec<(PeerId, PortId, String, Status)>,
    now: Time,
}

impl World {
    /// Two ports; control one may give both of them addresses, two the first.
    fn new() -> Self {
        Self::with(Some(Duration::from_secs(60)), &[])
    }

    fn with(hold: Option<Duration>, left: &[&str]) -> Self {
        let permission = |name: &str| Permission {
            control: ControlName::Named(name.into()),
            services: ServiceSet::all(),
            routes: None,
            addressing: true,
            priority: 0,
        };
        let port = |interface: &str, allow| PortConfig {
            interface: interface.into(),
            relay_services: ServiceSet::none(),
            unmatched: Unmatched::Drop,
            conflicts: crate::config::Conflicts::Share,
            allow,
        };
        let ports = vec![
            port("eth1", vec![permission("one"), permission("two")]),
            port("eth2", vec![permission("one")]),
        ];
        let left = left.iter().map(|text| address(text).given()).collect();
        let mut world = Self {
            given: Given::new(hold),
            ports: Ports::new(ports),
            kernel: BTreeMap::from([(ETH1, left), (ETH2, Vec::new())]),
            absent: Vec::new(),
            refuses: None,
            added: 0,
            deleted: 0,
            replies: Vec::new(),
            now: Time(1_000_000),
        };
        world.look();
        world.settle();
        world.given.peer_up(ONE, "one");
        world.given.peer_up(TWO, "two");
        world
    }

    fn say(&mut self, peer: PeerId, port: PortId, addresses: &[&str]) {
        let addresses: Vec<_> = addresses.iter().map(|text| address(text)).collect();
        self.given.say(peer, port, &addresses, true, &self.ports);
        self.settle();
    }

    /// Shows the interfaces as they are.
    fn look(&mut self) {
        let mut changed = false;
        for (place, (port, given)) in self.kernel.iter().enumerate() {
            let mut addresses = vec![address(OWN[place])];
            addresses.extend(given);
            let state = PortState {
                ifindex: 10 + port.0,
                mac: Mac::default(),
                mtu: 1500,
                speed: 0,
                flags: PortFlags::UP | PortFlags::CARRIER,
                addresses,
                routes: Vec::new(),
            };
            changed |= self.ports.set_state(*port, (!self.absent.contains(port)).then_some(state));
        }
        if changed {
            self.given.ports_changed();
        }
    }

    /// Lets the model of the kernel do what is asked for, until nothing is.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.given.handle_timeout(&self.ports, self.now);
            let orders = core::mem::take(&mut self.given.orders);
            if orders.is_empty() && self.given.poll_timeout().is_none_or(|next| next > self.now) {
                return;
            }
            for order in orders {
                match order {
                    Order::Add(at) => {
                        self.added += 1;
                        assert_eq!(at.ifindex, 10 + at.port.0);
                        self.add(&at);
                    }
                    Order::Delete(at) => {
                        self.deleted += 1;
                        let gone = PortAddress::new(at.address, at.prefix_length).given();
                        self.kernel.get_mut(&at.port).unwrap().retain(|there| *there != gone);
                    }
                    Order::Reply { peer, port, address, refusal } => {
                        self.replies.push((peer, port, address.to_string(), refusal.status));
                    }
                }
            }
            self.look();
        }
        panic!("does not come to rest: {:?}", self.given);
    }

    fn add(&mut self, at: &GivenAddress) {
        let new = PortAddress::new(at.address, at.prefix_length);
        assert!(!self.absent.contains(&at.port), "there is no interface");
        let own = OWN.iter().zip(self.kernel.keys()).filter(|(_, port)| !self.absent.contains(port));
        let mut own = own.map(|(text, _)| address(text).address());
        assert!(own.all(|own| own != at.address), "the relay has {new} itself");
        if self.refuses == Some(new.to_string().as_str()) {
            self.given.failed(at, Refusal::new(Status::SYSTEM, "no"), self.now);
        } else {
            self.kernel.get_mut(&at.port).unwrap().push(new.given());
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.given.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn there(&self, port: PortId) -> Vec<String> {
        let mut there: Vec<_> = self.kernel[&port].iter().map(ToString::to_string).collect();
        there.sort();
        there
    }

    fn replies(&mut self) -> Vec<(PeerId, String, Status)> {
        let replies = core::mem::take(&mut self.replies);
        replies.into_iter().map(|(peer, _, address, status)| (peer, address, status)).collect()
    }
}

fn address(text: &str) -> PortAddress {
    let (address, length) = text.split_once('/').unwrap();
    PortAddress::new(address.parse().unwrap(), length.parse().unwrap())
}

#[test]
fn what_a_control_says_is_what_the_port_has() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24", "2001:db8::7/64"]);
    assert_eq!(world.there(ETH1), ["192.0.2.7/24", "2001:db8::7/64"]);
    let ok = |text: &str| (ONE, text.to_owned(), Status::OK);
    assert_eq!(world.replies(), [ok("192.0.2.7/24"), ok("2001:db8::7/64")]);
    world.say(ONE, ETH1, &["2001:db8::7/64", "192.0.2.8/24"]);
    assert_eq!(world.there(ETH1), ["192.0.2.8/24", "2001:db8::7/64"]);
    assert_eq!(world.replies(), [ok("192.0.2.8/24")]);
    world.say(ONE, ETH1, &[]);
    assert_eq!(world.there(ETH1), [""; 0]);
    assert_eq!((world.added, world.deleted), (3, 3));
}

#[test]
fn another_prefix_length_takes_the_place_of_the_old_one() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["2001:db8::7/64"]);
    world.say(ONE, ETH1, &["2001:db8::7/48"]);
    assert_eq!(world.there(ETH1), ["2001:db8::7/48"]);
    world.say(ONE, ETH1, &["2001:db8::7/72"]);
    assert_eq!(world.there(ETH1), ["2001:db8::7/72"]);
    assert!(world.replies().iter().all(|(.., status)| *status == Status::OK));
}

#[test]
fn the_relays_own_are_refused_wherever_they_are() {
    let mut world = World::new();
    for taken in ["192.0.2.1/24", "192.0.2.1/32", "198.51.100.1/24", "203.0.113.9/24"] {
        assert!(world.ports.set_elsewhere(&["203.0.113.9".parse().unwrap()]) || world.added == 0);
        world.say(ONE, ETH1, &[taken]);
        assert_eq!(world.replies(), [(ONE, taken.to_owned(), Status::CONFLICT)]);
    }
    assert_eq!(world.added, 0);
    // An interface gives it up.
    assert!(world.ports.set_elsewhere(&[]));
    world.given.ports_changed();
    world.settle();
    assert_eq!(world.there(ETH1), ["203.0.113.9/24"]);
    assert_eq!(world.replies(), [(ONE, "203.0.113.9/24".to_owned(), Status::OK)]);
}

#[test]
fn what_the_relay_gets_itself_is_given_up() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["203.0.113.9/24"]);
    world.replies.clear();
    assert!(world.ports.set_elsewhere(&["203.0.113.9".parse().unwrap()]));
    world.given.ports_changed();
    world.settle();
    assert_eq!(world.there(ETH1), [""; 0]);
    assert_eq!(world.replies(), [(ONE, "203.0.113.9/24".to_owned(), Status::CONFLICT)]);
    assert_eq!(world.given.repaired, 0);
}

#[test]
fn what_no_interface_can_have_is_refused() {
    let mut world = World::new();
    let senseless = ["0.0.0.0/0", "127.0.0.1/8", "224.0.0.5/32", "255.255.255.255/32", "::/0", "ff02::1/128"];
    world.say(ONE, ETH1, &senseless);
    let statuses: Vec<_> = world.replies().into_iter().map(|(.., status)| status).collect();
    assert_eq!(statuses, [Status::BAD_REQUEST; 6]);
    assert_eq!(world.added, 0);
}

#[test]
fn who_may_not_gets_nothing() {
    let mut world = World::new();
    world.say(TWO, ETH2, &["198.51.100.7/24"]);
    let refused = |status| [(TWO, "198.51.100.7/24".to_owned(), status)];
    assert_eq!(world.replies(), refused(Status::NOT_PERMITTED));
    let shown: Vec<_> = world.given.refused(ETH2).collect();
    assert!(shown[0].starts_with("198.51.100.7/24 of two: not permitted: "), "{shown:?}");
    world.given.say(TWO, ETH1, &[address("198.51.100.7/24")], false, &world.ports);
    world.settle();
    assert_eq!(world.replies(), refused(Status::BAD_REQUEST));
    assert_eq!(world.added, 0);
    world.say(TWO, ETH2, &[]);
    assert_eq!(world.given.refused(ETH2).count(), 0);
}

#[test]
fn the_first_has_it_and_the_second_when_the_first_gives_it_up() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.say(TWO, ETH1, &["192.0.2.7/24"]);
    let text = || "192.0.2.7/24".to_owned();
    assert_eq!(world.replies(), [(ONE, text(), Status::OK), (TWO, text(), Status::CONFLICT)]);
    world.say(ONE, ETH1, &[]);
    assert_eq!(world.replies(), [(TWO, text(), Status::OK)]);
    assert_eq!((world.added, world.deleted), (1, 0), "the address stays where it is");
    // At another port, and with another length.
    world.say(ONE, ETH2, &["192.0.2.7/32"]);
    assert_eq!(world.replies(), [(ONE, "192.0.2.7/32".to_owned(), Status::CONFLICT)]);
    // A link-local address means one port only.
    world.say(ONE, ETH1, &["fe80::7/64"]);
    world.say(ONE, ETH2, &["fe80::7/64"]);
    assert_eq!((world.there(ETH2), world.there(ETH1).len()), (vec!["fe80::7/64".to_owned()], 2));
}

#[test]
fn a_deleted_address_comes_back_and_is_counted() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    assert_eq!(world.given.repaired, 0);
    world.kernel.insert(ETH1, Vec::new());
    world.look();
    world.settle();
    assert_eq!((world.there(ETH1).len(), world.given.repaired), (1, 1));
    assert_eq!(world.replies().len(), 1, "the control need not know");
}

#[test]
fn an_interface_that_is_made_anew_gets_its_addresses_back() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.absent.push(ETH1);
    world.kernel.insert(ETH1, Vec::new());
    world.look();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.added, 1);
    world.absent.clear();
    world.look();
    world.settle();
    assert_eq!((world.there(ETH1).len(), world.given.repaired), (1, 0), "nobody took it away");
}

#[test]
fn what_the_kernel_refuses_is_told_and_tried_again() {
    let mut world = World::new();
    world.refuses = Some("192.0.2.7/24");
    world.say(ONE, ETH1, &["192.0.2.7/24", "192.0.2.8/24"]);
    assert_eq!(world.there(ETH1), ["192.0.2.8/24"]);
    let told = world.replies();
    assert!(told.contains(&(ONE, "192.0.2.7/24".into(), Status::SYSTEM)), "{told:?}");
    world.pass(Duration::from_secs(30));
    assert!((4..12).contains(&world.added), "{}", world.added);
    assert_eq!(world.replies(), [], "said once");
    world.refuses = None;
    world.pass(Duration::from_secs(6));
    assert_eq!(world.there(ETH1).len(), 2);
    assert_eq!(world.replies(), [(ONE, "192.0.2.7/24".into(), Status::OK)]);
}

#[test]
fn addresses_of_a_control_that_is_gone_stay_for_the_hold_time() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.given.peer_down(ONE, world.now);
    world.pass(Duration::from_secs(59));
    assert_eq!(world.there(ETH1).len(), 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.there(ETH1).len(), 0);

    let mut world = World::with(None, &[]);
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.given.peer_down(ONE, world.now);
    world.pass(Duration::from_secs(1_000_000));
    assert_eq!(world.there(ETH1).len(), 1);
}

#[test]
fn a_control_that_is_back_keeps_what_it_says_again() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24", "192.0.2.8/24"]);
    world.given.peer_down(ONE, world.now);
    world.given.peer_up(ONE, "one");
    world.pass(Duration::from_secs(3_600));
    assert_eq!(world.there(ETH1).len(), 2, "until it has the port again");
    world.given.granted(ONE, ETH1);
    world.replies.clear();
    world.say(ONE, ETH1, &["192.0.2.8/24"]);
    assert_eq!(world.there(ETH1), ["192.0.2.8/24"]);
    assert_eq!(world.replies(), [(ONE, "192.0.2.8/24".into(), Status::OK)]);
    assert_eq!((world.added, world.deleted), (2, 1));
    // One that is granted the port and says nothing has another configuration now.
    world.given.peer_up(ONE, "one");
    world.given.granted(ONE, ETH1);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.there(ETH1), [""; 0]);
}

#[test]
fn a_control_that_stops_in_order_is_as_one_that_is_gone() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.given.released(ONE, ETH1);
    world.given.peer_down(ONE, world.now);
    world.pass(Duration::from_secs(59));
    assert_eq!(world.there(ETH1).len(), 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.there(ETH1).len(), 0);
}

#[test]
fn a_control_that_is_back_without_the_port_gives_it_nothing() {
    let mut world = World::with(None, &[]);
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.say(ONE, ETH2, &["198.51.100.7/24"]);
    world.given.peer_down(ONE, world.now);
    world.given.peer_up(ONE, "one");
    world.given.granted(ONE, ETH2);
    world.given.asked_for_all(ONE);
    world.say(ONE, ETH2, &["198.51.100.7/24"]);
    assert_eq!((world.there(ETH1).len(), world.there(ETH2).len()), (0, 1));
}

#[test]
fn a_port_that_is_not_asked_for_again_loses_its_addresses() {
    let mut world = World::new();
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    world.given.withdraw(ONE, ETH1);
    world.settle();
    assert_eq!(world.there(ETH1), [""; 0]);
}

#[test]
fn orphans_are_claimed_without_being_touched_and_the_rest_goes() {
    let left = ["192.0.2.7/24", "192.0.2.8/24", "2001:db8::7/64"];
    let mut world = World::with(Some(Duration::from_secs(60)), &left);
    assert_eq!(world.there(ETH1).len(), 3);
    world.say(ONE, ETH1, &["192.0.2.7/24"]);
    assert_eq!((world.there(ETH1).len(), world.added), (3, 0), "the other control may want the rest");
    world.say(TWO, ETH1, &["2001:db8::7/48"]);
    assert_eq!(world.there(ETH1), ["192.0.2.7/24", "2001:db8::7/48"]);
    assert_eq!((world.added, world.deleted), (1, 2));
}

#[test]
fn orphans_that_nobody_claims_go_after_the_hold_time() {
    let mut world = World::with(Some(Duration::from_secs(60)), &["192.0.2.7/24"]);
    world.pass(Duration::from_secs(59));
    assert_eq!(world.there(ETH1).len(), 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.there(ETH1).len(), 0);
}

const POOL: [&str; 6] =
    ["192.0.2.1/24", "192.0.2.7/24", "192.0.2.7/25", "198.51.100.7/24", "fe80::7/64", "2001:db8::7/64"];

#[derive(Debug, Clone)]
enum Step {
    Say(bool, bool, Vec<usize>),
    Lose(bool),
    Absent(bool),
    Restart(bool),
    Refuse(Option<usize>),
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let some = proptest::collection::vec(0..POOL.len(), 0..4);
    prop_oneof![
        6 => (any::<bool>(), any::<bool>(), some).prop_map(|(peer, port, all)| Step::Say(peer, port, all)),
        1 => any::<bool>().prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Absent),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => proptest::option::of(0..POOL.len()).prop_map(Step::Refuse),
        1 => (0..90_u8).prop_map(Step::Pass),
    ]
}

proptest! {
    /// In the end each port has of what is wanted what it can have, nothing besides, and each control knows.
    #[test]
    fn in_the_end_the_ports_have_what_is_wanted(steps in proptest::collection::vec(step(), 0..40)) {
        let mut world = World::new();
        let peer = |second: bool| if second { TWO } else { ONE };
        let port = |second: bool| if second { ETH2 } else { ETH1 };
        let mut wanted: BTreeMap<(PeerId, PortId), Vec<usize>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Say(second, other, all) => {
                    let texts: Vec<_> = all.iter().map(|place| POOL[*place]).collect();
                    world.say(peer(second), port(other), &texts);
                    wanted.insert((peer(second), port(other)), all);
                }
                Step::Lose(other) => {
                    world.kernel.insert(port(other), Vec::new());
                    world.look();
                }
                Step::Absent(other) => {
                    world.absent.push(port(other));
                    world.kernel.insert(port(other), Vec::new());
                    world.look();
                    world.pass(Duration::from_secs(1));
                    world.absent.clear();
                    world.look();
                }
                Step::Restart(second) => {
                    world.given.peer_down(peer(second), world.now);
                    world.given.peer_up(peer(second), if second { "two" } else { "one" });
                    for ((_, at), all) in wanted.iter().filter(|((who, _), _)| *who == peer(second)) {
                        let all: Vec<_> = all.iter().map(|place| address(POOL[*place])).collect();
                        world.given.granted(peer(second), *at);
                        world.given.say(peer(second), *at, &all, true, &world.ports);
                    }
                }
                Step::Refuse(place) => world.refuses = place.map(|place| POOL[place]),
                Step::Pass(seconds) => world.pass(Duration::from_secs(seconds.into())),
            }
        }
        world.refuses = None;
        world.pass(Duration::from_secs(200));
        for at in [ETH1, ETH2] {
            for there in world.there(at) {
                let by = [ONE, TWO].iter().any(|who| {
                    let allowed = (*who, at) != (TWO, ETH2);
                    let all = wanted.get(&(*who, at));
                    allowed && all.is_some_and(|all| all.iter().any(|place| POOL[*place] == there))
                });
                prop_assert!(by, "{there} at {at} is not wanted");
            }
        }
        for ((who, at), all) in &wanted {
            for text in all.iter().map(|place| POOL[*place]) {
                let there = world.there(*at).iter().any(|there| there == text);
                let told = world.given.told.iter().find(|((to, port, known), _)| {
                    (to, port, known.to_string().as_str()) == (who, at, text)
                });
                let status = told.map(|(_, refusal)| refusal.status);
                let host = text.split('/').next();
                let taken = |there: &String| there.split('/').next() == host;
                match status {
                    Some(Status::OK) => prop_assert!(there, "{text}"),
                    Some(Status::NOT_PERMITTED) => prop_assert_eq!((*who, *at), (TWO, ETH2)),
                    Some(Status::CONFLICT) => {
                        let somewhere = [ETH1, ETH2].iter().any(|at| world.there(*at).iter().any(taken));
                        prop_assert!(somewhere || text == OWN[0], "{text} is nowhere");
                    }
                    other => prop_assert!(false, "{text} of {who:?}: {other:?}"),
                }
            }
        }
    }
}
