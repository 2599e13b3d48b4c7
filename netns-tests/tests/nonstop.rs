//! The relay's kernel forwards on while either daemon is away, and neither return makes a route flap.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::{Daemon, Lab, Netns, Ping, Process, SOON, eventually, never};
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

/// Networks behind the clients, by way of which the transit of these tests goes.
const NEAR: &str = "10.1.0.1";
const NEAR_NET: &str = "10.1.0.0/16";
const FAR: &str = "10.2.0.1";
const FAR_NET: &str = "10.2.0.0/16";
const FAR6: &str = "2001:db8:b2::1";
const FAR6_NET: &str = "2001:db8:b2::/48";

/// A router with routes of every version to both clients, of which transit needs all.
fn routed(adapt: impl FnOnce(&mut Relay, &mut Control)) -> Option<Lab> {
    let lab = Lab::router(adapt)?;
    lab.client.ip(&[&format!("addr add {NEAR}/32 dev lo")]);
    lab.client2().ip(&[&format!("addr add {FAR}/32 dev lo"), &format!("addr add {FAR6}/128 dev lo")]);
    lab.programs().ip(&[
        &format!("route add {NEAR_NET} via {CLIENT_V4}"),
        &format!("route add {FAR_NET} via {CLIENT2_V4}"),
        &format!("route add {FAR6_NET} via {CLIENT2_V6}"),
    ]);
    for prefix in [NEAR_NET, FAR_NET, FAR6_NET] {
        lab.await_route_state(prefix, "installed");
    }
    Some(lab)
}

/// Transit of both versions of IP by way of the routes.
fn pings(lab: &Lab) -> [Ping; 2] {
    [FAR, FAR6].map(|far| Ping::start(&lab.client, far))
}

fn nothing_lost(pings: [Ping; 2]) {
    pings.into_iter().for_each(|ping| ping.lost_nothing(10));
}

/// Changes of the project's routes in a kernel.
struct Changes(Process);

impl Changes {
    fn watch(netns: &Netns) -> Self {
        let process = netns.spawn("ip -timestamp monitor route");
        let watch = Self(process);
        // It is known to listen when it has told of something.
        eventually(SOON, "ip monitor listens", || {
            netns.ip(&["route replace 127.77.0.0/16 dev lo", "route del 127.77.0.0/16 dev lo"]);
            let log = watch.0.log();
            if log.contains("127.77.0.0/16") { Ok(()) } else { Err(log) }
        });
        watch
    }

    fn seen(&self) -> Vec<String> {
        let log = self.0.log();
        log.lines().filter(|line| line.contains("proto 108")).map(str::to_owned).collect()
    }
}

#[derive(Clone, Copy)]
enum End {
    Kill,
    Upgrade,
    Stop,
}

fn end(daemon: &mut Daemon, end: End) {
    match end {
        End::Kill => daemon.kill_9(),
        End::Upgrade => daemon.leave(),
        End::Stop => daemon.terminate(),
    }
}

#[rstest]
#[case::killed(End::Kill)]
#[case::upgraded(End::Upgrade)]
fn a_control_that_comes_back_disturbs_nothing(#[case] how: End) {
    let Some(mut lab) = routed(|_, _| {}) else { return };
    let changes = Changes::watch(&lab.relay_ns);
    let pings = pings(&lab);
    for _ in 0..2 {
        end(&mut lab.control, how);
        never(Duration::from_millis(600), "the routes stay", || match lab.relay_routes(FAR_NET) {
            text if text.contains("proto 108") => Ok(()),
            text => Err(text),
        });
        lab.control.start();
        lab.await_symbols();
        lab.await_route_state(FAR_NET, "installed");
    }
    nothing_lost(pings);
    assert_eq!(changes.seen(), Vec::<String>::new());
    assert_eq!(lab.relay.counter("routes-stale"), 0);
}

#[test]
fn a_stopped_controls_routes_are_held_until_it_is_back() {
    let Some(mut lab) = routed(|_, _| {}) else { return };
    let changes = Changes::watch(&lab.relay_ns);
    let pings = pings(&lab);
    lab.control.terminate();
    lab.relay.await_row("routes", &json!({"prefix": FAR_NET, "state": "stale"}));
    // The symbols went with the daemon, and with them the routes of their namespace. The routing daemons come back later.
    lab.programs().ip(&["route flush table main"]);
    nothing_lost(pings);
    assert_eq!(changes.seen(), Vec::<String>::new());
}

#[test]
fn what_went_while_the_control_was_dead_is_swept_at_the_end_of_its_table() {
    let Some(mut lab) = routed(|_, _| {}) else { return };
    let ping = Ping::start(&lab.client, FAR);
    lab.control.kill_9();
    lab.programs().ip(&[
        &format!("route del {NEAR_NET}"),
        &format!("route del {FAR6_NET}"),
        "route add 10.3.0.0/16 via 203.0.113.2",
    ]);
    lab.control.start();
    for prefix in [NEAR_NET, FAR6_NET] {
        lab.await_no_relay_route(prefix);
    }
    lab.await_relay_route("10.3.0.0/16", "via 203.0.113.2 dev eth2 proto 108");
    lab.await_route_state(FAR_NET, "installed");
    ping.lost_nothing(10);
}

#[rstest]
#[case::killed(End::Kill)]
#[case::stopped(End::Stop)]
fn routes_of_a_control_that_is_gone_for_good_stay_for_a_while(#[case] how: End) {
    let Some(mut lab) = routed(|relay, _| relay.routes = "hold_seconds = 3".into()) else { return };
    lab.relay_ns.ip(&["route add 10.9.0.0/16 via 203.0.113.2 proto static"]);
    let ping = Ping::start(&lab.client, FAR);
    end(&mut lab.control, how);
    never(Duration::from_millis(2_500), "the routes stay", || match lab.relay_routes(FAR_NET) {
        text if text.contains("proto 108") => Ok(()),
        text => Err(text),
    });
    ping.lost_nothing(100);
    for prefix in [NEAR_NET, FAR_NET, FAR6_NET] {
        lab.await_no_relay_route(prefix);
    }
    lab.relay.await_no_row("routes", &json!({}));
    assert!(lab.relay_routes("10.9.0.0/16").contains("proto static"));
}

#[rstest]
#[case::held_for_ever("\"forever\"", true)]
#[case::not_held("0", false)]
fn a_hold_of_any_length(#[case] hold: &str, #[case] stay: bool) {
    let Some(mut lab) = routed(|relay, _| relay.routes = format!("hold_seconds = {hold}")) else { return };
    lab.control.kill_9();
    lab.relay.await_row("peers", &json!({"state": "down"}));
    if stay {
        never(Duration::from_secs(1), "the routes stay", || match lab.relay_routes(FAR_NET) {
            text if text.contains("proto 108") => Ok(()),
            text => Err(text),
        });
        lab.relay.await_row("routes", &json!({"prefix": FAR_NET, "state": "stale"}));
    } else {
        lab.await_no_relay_route(FAR_NET);
    }
}

#[rstest]
#[case::killed(End::Kill)]
#[case::upgraded(End::Upgrade)]
fn a_relay_that_comes_back_adopts_its_routes(#[case] how: End) {
    let Some(mut lab) = routed(|_, _| {}) else { return };
    let changes = Changes::watch(&lab.relay_ns);
    let pings = pings(&lab);
    end(&mut lab.relay, how);
    // One goes meanwhile that transit does not need.
    lab.programs().ip(&[&format!("route del {NEAR_NET}"), "route add 10.3.0.0/16 via 203.0.113.2"]);
    assert!(lab.relay_routes(NEAR_NET).contains("proto 108"));
    lab.relay.start();
    lab.await_symbols();
    lab.await_no_relay_route(NEAR_NET);
    lab.await_relay_route("10.3.0.0/16", "via 203.0.113.2 dev eth2 proto 108");
    for prefix in [FAR_NET, FAR6_NET, "10.3.0.0/16"] {
        lab.await_route_state(prefix, "installed");
    }
    nothing_lost(pings);
    let seen = changes.seen();
    let others = seen.iter().filter(|line| !line.contains(NEAR_NET) && !line.contains("10.3.0.0/16"));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_relay_that_comes_back_to_no_control_gives_its_routes_up_after_the_hold() {
    let Some(mut lab) = routed(|relay, _| relay.routes = "hold_seconds = 2".into()) else { return };
    lab.control.kill_9();
    lab.relay.kill_9();
    lab.relay.start();
    lab.relay.await_row("routes", &json!({"prefix": FAR_NET, "state": "orphan"}));
    for prefix in [NEAR_NET, FAR_NET, FAR6_NET] {
        lab.await_no_relay_route(prefix);
    }
}

#[test]
fn a_stopped_relay_takes_its_routes_along_and_no_others() {
    let Some(mut lab) = routed(|_, _| {}) else { return };
    lab.relay_ns.ip(&[
        "route add 10.9.0.0/16 via 203.0.113.2 proto static",
        "route add 2001:db8:b9::/48 via 2001:db8:3::2 proto static",
    ]);
    lab.relay.terminate();
    for prefix in [NEAR_NET, FAR_NET, FAR6_NET] {
        assert_eq!(lab.relay_routes(prefix), "");
    }
    for prefix in ["10.9.0.0/16", "2001:db8:b9::/48"] {
        assert!(lab.relay_routes(prefix).contains("proto static"));
    }
    lab.relay.start();
    lab.await_symbols();
    lab.await_route_state(FAR_NET, "installed");
}
