//! Routes that controls want, a kernel that takes them or does not, and what is told of both.

mod segment;

use frames::RequestId;
use frames::message::{Message, RouteAdd, RouteDelete, RouteNexthop, RoutesSlice, Status};
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind, Slice};
use l2link::recording::{Comparison, Recording, Shown, Step};
use l2link::route_text::RouteText;
use l2link::trace::Outcome::{Dropped, InForce, Kept, Refused, Waits};
use relay_core::{
    Action, FibConfig, KernelWay, ReplayedRelay, RouteFailure, RouteNexthop as Nexthop, RouteOperation,
    RouteSeen, RoutesSeen, Trace,
};
use segment::{PORT, Segment, port_state};
use std::net::IpAddr;
use std::time::Duration;

const ALL: RoutesSeen = RoutesSeen { ipv4: true, ipv6: true };
const NETWORK_IS_UNREACHABLE: i32 = 101;
const FILE_EXISTS: i32 = 17;

fn gateway() -> IpAddr {
    [192, 0, 2, 254].into()
}

fn key(metric: u32) -> RouteKey {
    let prefix = Prefix::new([198, 51, 100, 0].into(), 24).unwrap();
    RouteKey { table: RouteKey::MAIN, prefix, metric }
}

/// control1 with a port, and a kernel that has been looked at and has no route of ours.
fn segment() -> Segment {
    let mut segment = Segment::with_control();
    look(&mut segment, &[]);
    segment
}

/// The shell looks at the kernel, which has these.
fn look(segment: &mut Segment, seen: &[RouteSeen]) {
    segment.relay.handle_look_begins();
    seen.iter().for_each(|seen| segment.relay.handle_route_seen(seen));
    segment.relay.handle_look_ends(ALL, segment.now);
    while let Some(action) = segment.relay.poll_action() {
        segment.actions.push(action);
    }
}

/// A control wants 198.51.100.0/24 by way of eth1.
fn want(segment: &mut Segment, place: usize, request: u32, key: RouteKey) {
    let nexthops = [RouteNexthop::new(PORT, Some(gateway()), 1, false)];
    let content = RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops: &nexthops };
    segment.say(place, &Message::RouteAdd(RouteAdd { request: RequestId(request), key, content }));
}

/// What the kernel is to change next.
fn changes(segment: &mut Segment) -> Vec<RouteOperation> {
    segment.relay.change_routes();
    while let Some(action) = segment.relay.poll_action() {
        if let Action::ChangeRoutes(operations) = action {
            return operations;
        }
    }
    Vec::new()
}

/// The kernel changes what it is to change, but for failures.
fn change(segment: &mut Segment, failures: &[RouteFailure]) {
    assert_eq!(changes(segment).len(), 1);
    segment.relay.handle_routes_changed(failures, segment.now);
    segment.pass(Duration::from_millis(20));
}

fn failure(errno: i32, text: &str) -> RouteFailure {
    RouteFailure { place: 0, errno, text: text.to_owned() }
}

fn in_kernel(key: RouteKey) -> RouteSeen {
    let nexthops =
        vec![Nexthop { ifindex: port_state().ifindex, gateway: Some(gateway()), weight: 1, onlink: false }];
    RouteSeen { key, kind: RouteKind::Unicast, mtu: 0, nexthops }
}

fn states(segment: &Segment) -> Vec<&'static str> {
    segment.relay.show_routes(None).0.iter().map(|row| row.state).collect()
}

fn metric(segment: &Segment, name: &str) -> u64 {
    let metrics = segment.relay.metrics();
    let counted = metrics.routes.iter().find(|(state, _)| *state == name).map(|(_, count)| *count);
    counted.unwrap_or_else(|| panic!("no routes are counted as {name}"))
}

fn counter(segment: &Segment, name: &str) -> u64 {
    segment.relay.show_counters().iter().find(|row| row.name == name).unwrap().value
}

fn trace(segment: &Segment, text: &str) -> Trace {
    segment.relay.trace(&text.parse().unwrap(), segment.now).unwrap()
}

#[test]
fn a_route_is_installed_and_its_control_told() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    assert!(segment.relay.routes_waiting());
    let set = RouteOperation::Set {
        key: key(20),
        replace: false,
        kind: RouteKind::Unicast,
        mtu: 0,
        nexthops: in_kernel(key(20)).nexthops,
    };
    assert_eq!(changes(&mut segment), [set]);
    assert_eq!(states(&segment), ["pending"]);
    segment.relay.handle_routes_changed(&[], segment.now);
    segment.pass(Duration::from_millis(20));
    assert_eq!(states(&segment), ["installed"]);
    assert_eq!((metric(&segment, "installed"), counter(&segment, "routes-installed")), (1, 1));
    assert_eq!(segment.relay.metrics().routes_known, 1);
    let told = segment.controls[0].messages.last().unwrap();
    assert!(told.starts_with("RoutesDone"), "{told}");

    let delete = RouteDelete { request: RequestId(2), key: key(20) };
    segment.say(0, &Message::RouteDelete(delete));
    assert_eq!(changes(&mut segment), [RouteOperation::Delete { key: key(20) }]);
    segment.relay.handle_routes_changed(&[], segment.now);
    assert_eq!((states(&segment).len(), segment.relay.routes_waiting()), (0, false));
}

#[test]
fn what_the_kernel_refuses_is_told_and_tried_again_when_interfaces_change() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    change(&mut segment, &[failure(NETWORK_IS_UNREACHABLE, "Network is unreachable")]);
    assert_eq!((states(&segment), metric(&segment, "refused")), (vec!["refused"], 1));
    let told = segment.controls[0].messages.iter().rfind(|message| message.starts_with("RouteReply"));
    assert!(told.unwrap().contains("Network is unreachable"), "{told:?}");
    let hops = trace(&segment, "198.51.100.0/24").hops;
    assert_eq!(hops[0].outcome, Refused);
    assert!(hops[0].text.ends_with("Network is unreachable"), "{}", hops[0].text);

    segment.relay.handle_interfaces_changed(segment.now);
    segment.pass(Duration::from_secs(1));
    change(&mut segment, &[]);
    assert_eq!((states(&segment), metric(&segment, "refused")), (vec!["installed"], 0));
}

#[test]
fn a_route_that_somebody_deletes_is_put_back() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    change(&mut segment, &[]);
    segment.relay.handle_route_gone(key(20), 1);
    assert_eq!(states(&segment), ["pending"]);
    change(&mut segment, &[]);
    assert_eq!((states(&segment), segment.relay.metrics().routes_repaired), (vec!["installed"], 1));
    // Somebody sets it otherwise.
    segment.relay.handle_route_told(&RouteSeen { mtu: 1_300, ..in_kernel(key(20)) });
    let operations = changes(&mut segment);
    assert!(matches!(operations[..], [RouteOperation::Set { replace: true, mtu: 0, .. }]), "{operations:?}");
}

/// A route of others is never touched.
#[test]
fn a_route_that_others_have_is_left_alone_until_they_delete_it() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    change(&mut segment, &[]);
    segment.relay.handle_route_overwritten(key(20));
    for _ in 0..2 {
        let operations = changes(&mut segment);
        if operations.is_empty() {
            break;
        }
        let is_add = matches!(operations[..], [RouteOperation::Set { replace: false, .. }]);
        assert!(is_add, "only where there is none: {operations:?}");
        segment.relay.handle_routes_changed(&[failure(FILE_EXISTS, "File exists")], segment.now);
    }
    assert_eq!(states(&segment), ["refused"]);
    segment.relay.handle_foreign_route_gone(key(20));
    change(&mut segment, &[]);
    assert_eq!(states(&segment), ["installed"]);
}

#[test]
fn a_verification_tells_what_a_look_finds() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    change(&mut segment, &[]);
    let verified = |segment: &mut Segment, seen: &[RouteSeen]| {
        segment.actions.clear();
        segment.relay.verify();
        look(segment, seen);
        assert!(segment.actions.contains(&Action::LookAtRoutes), "{:?}", segment.actions);
        let rows = segment.actions.iter().find_map(|action| match action {
            Action::Verified(rows) => Some(rows.clone()),
            _ => None,
        });
        rows.expect("it is over")
    };
    assert_eq!(verified(&mut segment, &[in_kernel(key(20))]), []);
    let lost = verified(&mut segment, &[]);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].what.contains("198.51.100.0/24"), "{lost:?}");
    change(&mut segment, &[]);
    // A route with our mark that nobody wants.
    let orphan = verified(&mut segment, &[in_kernel(key(20)), in_kernel(key(99))]);
    assert_eq!(orphan.len(), 1, "{orphan:?}");
    assert!(orphan[0].what.contains("99"), "{orphan:?}");
    // What is refused is found every time.
    want(&mut segment, 0, 2, key(30));
    while !changes(&mut segment).is_empty() {
        segment.relay.handle_routes_changed(&[failure(NETWORK_IS_UNREACHABLE, "no way")], segment.now);
    }
    let refused = verified(&mut segment, &[in_kernel(key(20))]);
    assert!(refused.iter().any(|row| row.difference.contains("no way")), "{refused:?}");
}

#[test]
fn a_part_of_a_table_that_is_said_anew_sweeps_what_is_not_in_it() {
    let mut segment = segment();
    for (request, metric) in [(1, 20), (2, 30)] {
        want(&mut segment, 0, request, key(metric));
    }
    assert_eq!(changes(&mut segment).len(), 2);
    segment.relay.handle_routes_changed(&[], segment.now);
    let slice = |request| RoutesSlice { request: RequestId(request), slice: Slice::ALL };
    segment.say(0, &Message::RoutesBegin(slice(3)));
    want(&mut segment, 0, 4, key(30));
    assert!(changes(&mut segment).is_empty(), "nothing goes before the end");
    segment.say(0, &Message::RoutesEnd(slice(5)));
    assert_eq!(changes(&mut segment), [RouteOperation::Delete { key: key(20) }]);
    segment.relay.handle_routes_changed(&[], segment.now);
    assert_eq!(states(&segment), ["installed"]);
}

#[test]
fn where_a_packet_goes_is_told_with_whose_route_it_is() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    let traced = trace(&segment, "198.51.100.7");
    assert_eq!(traced.hops[0].outcome, Waits);
    change(&mut segment, &[]);
    let by_hand = RouteText::parse("203.0.113.0/24 dev eth1 metric 7").unwrap();
    segment.relay.add_route(&by_hand).unwrap();
    change(&mut segment, &[]);

    let traced = trace(&segment, "198.51.100.7");
    assert_eq!((traced.hops[0].outcome, traced.hops[0].peer.as_deref()), (InForce, Some("control1")));
    let words = "unicast 198.51.100.0/24 metric 20 table 254 of control1, via 192.0.2.254 dev eth1 weight 1 is installed";
    assert_eq!(traced.hops[0].text, words);
    let question = traced.way.expect("the kernel is asked besides");
    let way = |kind, route, is_ours| KernelWay {
        kind,
        route,
        is_ours,
        gateway: Some(gateway()),
        interface: Some("eth1".to_owned()),
    };
    let hops = segment.relay.trace_way(&question, Ok(way("unicast", Some(key(20)), true)));
    let outcomes: Vec<_> = hops.iter().map(|hop| hop.outcome).collect();
    assert_eq!((outcomes, hops[0].text.as_str()), (vec![InForce, Kept], words));
    assert!(hops[1].text.contains(", by "), "{}", hops[1].text);
    // A route of somebody else is not ours although there is one of its key.
    assert_eq!(segment.relay.trace_way(&question, Ok(way("unicast", Some(key(20)), false))).len(), 1);
    for kind in ["blackhole", "unreachable", "prohibit"] {
        assert_eq!(
            segment.relay.trace_way(&question, Ok(way(kind, None, false)))[0].outcome,
            Dropped,
            "{kind}"
        );
    }
    let traced = trace(&segment, "203.0.113.0/24");
    assert!(traced.hops[0].text.contains("by hand, dev eth1"), "{}", traced.hops[0].text);
    assert_eq!((traced.hops[0].peer.as_deref(), traced.way), (None, None));
}

#[test]
fn of_two_controls_the_first_has_a_route_and_the_other_is_told() {
    let mut segment = segment();
    segment.join("control2");
    let permit = |segment: &mut Segment, names: &[&str]| {
        let allow = ["control1", "control2"].map(|name| relay_core::Permission {
            control: relay_core::ControlName::Named(name.into()),
            services: l2link::service::ServiceSet::all(),
            routes: names.contains(&name).then(relay_core::RoutePermission::default),
            addressing: false,
            priority: 0,
        });
        let port = relay_core::PortConfig {
            interface: "eth1".into(),
            relay_services: l2link::service::ServiceSet::none(),
            unmatched: relay_core::Unmatched::Drop,
            conflicts: relay_core::Conflicts::Share,
            allow: allow.into(),
        };
        segment.relay.reconfigure(&[port], FibConfig::default());
        segment.pass(Duration::from_millis(20));
    };
    let owners = |segment: &Segment| {
        let (rows, _) = segment.relay.show_routes(None);
        let row = |row: &relay_core::fib::RouteRow| format!("{} {}", row.control.clone().unwrap(), row.state);
        rows.iter().map(row).collect::<Vec<_>>()
    };
    // It may not have any.
    want(&mut segment, 1, 1, key(20));
    assert_eq!(owners(&segment), ["control2 refused"]);
    assert!(changes(&mut segment).is_empty());
    // Another configuration lets it, without its asking again.
    permit(&mut segment, &["control1", "control2"]);
    change(&mut segment, &[]);
    assert_eq!(owners(&segment), ["control2 installed"]);
    want(&mut segment, 0, 1, key(20));
    assert_eq!(owners(&segment), ["control2 installed", "control1 refused"]);
    let told = segment.controls[0].messages.iter().rfind(|message| message.starts_with("RouteReply"));
    assert!(told.unwrap().contains("another control has a route"), "{told:?}");
    // And takes that back: then the other has its turn.
    permit(&mut segment, &["control1"]);
    assert!(changes(&mut segment).is_empty(), "the kernel has the very route already");
    assert_eq!(owners(&segment), ["control1 installed", "control2 refused"]);
    // A control that is forgotten has none.
    segment.close(0);
    segment.relay.forget("control1", false, segment.now).unwrap();
    assert!(owners(&segment).iter().all(|row| !row.starts_with("control1")), "{:?}", owners(&segment));
}

/// Each of these is in the recording, and is told the core once more when it is replayed.
#[test]
fn what_the_shell_tells_of_the_kernel_is_recorded() {
    let mut segment = segment();
    want(&mut segment, 0, 1, key(20));
    change(&mut segment, &[failure(NETWORK_IS_UNREACHABLE, "no way")]);
    let relay = &mut segment.relay;
    relay.handle_interfaces_changed(segment.now);
    relay.handle_route_seen(&in_kernel(key(30)));
    relay.handle_route_told(&in_kernel(key(40)));
    relay.handle_route_gone(key(40), 1);
    relay.handle_route_overwritten(key(30));
    relay.handle_foreign_route_gone(key(20));
    relay.verify();
    let recording = segment.finish();
    let mut told =
        Recording::open(&recording[..], env!("CARGO_PKG_VERSION")).unwrap().tell::<ReplayedRelay>().unwrap();
    let mut inputs = Vec::new();
    loop {
        match told.step(true).unwrap() {
            Step::Input { shown, .. } => inputs.extend(shown.into_iter().filter_map(|shown| match shown {
                Shown::Input(text, _) => text.split([' ', '{']).next().map(str::to_owned),
                _ => None,
            })),
            Step::End { comparison, .. } => {
                assert_eq!(comparison, Comparison::Same);
                break;
            }
        }
    }
    let last = inputs.split_off(inputs.len() - 7);
    let expected = [
        "InterfacesChanged",
        "RouteSeen",
        "RouteTold",
        "RouteGone",
        "RouteOverwritten",
        "ForeignRouteGone",
        "Verify",
    ];
    assert_eq!(last, expected);
    for input in ["LookBegins", "LookEnds", "ChangeRoutes", "RoutesChanged"] {
        assert!(inputs.iter().any(|known| known == input), "{input}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let status = |segment: &Segment| {
        let told = segment.controls[0].messages.iter().rfind(|message| message.starts_with("RouteReply"));
        told.cloned().unwrap_or_default()
    };
    let mut segment = segment();
    let nexthops = [RouteNexthop::new(frames::PortId(9), None, 1, false)];
    let content = RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops: &nexthops };
    segment.say(0, &Message::RouteAdd(RouteAdd { request: RequestId(1), key: key(20), content }));
    assert!(status(&segment).contains(&format!("{:?}", Status::NO_SUCH_PORT)), "{}", status(&segment));
    // The kernel would make another metric of it.
    let prefix = Prefix::new("2001:db8:7::".parse().unwrap(), 48).unwrap();
    want(&mut segment, 0, 2, RouteKey { prefix, ..key(0) });
    assert!(status(&segment).contains("a route of IPv6 has a metric"), "{}", status(&segment));
    // One that leads nowhere needs a port that lets the control have it.
    let content = RouteContent { kind: RouteKind::Blackhole, mtu: 0, nexthops: &[] };
    let add = |key| Message::RouteAdd(RouteAdd { request: RequestId(3), key, content });
    segment.say(0, &add(key(30)));
    assert_eq!(changes(&mut segment).len(), 1);
    segment.relay.handle_routes_changed(&[], segment.now);
    segment.join("control2");
    segment.say(1, &add(key(40)));
    let told = segment.controls[1].messages.last().unwrap();
    assert!(told.contains("no port's permission list allows it"), "{told}");
}
