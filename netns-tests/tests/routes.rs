//! Routes of the control's kernel are in the relay's kernel, whatever their form and however they come and go.

use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay, Symbol};
use netns_tests::{Daemon, Lab, Layout, Netns, SOON, eventually, words};
use rstest::rstest;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A lost route is back within this time.
const REPAIRED: Duration = Duration::from_millis(200);

fn plain() -> Option<Lab> {
    Lab::router(|_, _| {})
}

/// What is done, the prefix that it is about, and how the relay's kernel words it.
type Form<'a> = (&'a [&'a str], &'a str, &'a str);

const FORMS: [Form<'_>; 23] = [
    (&["route add 10.1.0.0/16 via 192.0.2.2"], "10.1.0.0/16", "10.1.0.0/16 via 192.0.2.2 dev eth1 proto 108"),
    (&["route add 10.2.0.0/16 dev eth2"], "10.2.0.0/16", "10.2.0.0/16 dev eth2 proto 108 scope link"),
    (&["route add default via 203.0.113.2"], "0.0.0.0/0", "default via 203.0.113.2 dev eth2 proto 108"),
    (
        &["route add 10.3.0.0/16 via 192.168.7.7 dev eth1 onlink"],
        "10.3.0.0/16",
        "via 192.168.7.7 dev eth1 proto 108 onlink",
    ),
    (&["route add 10.4.0.0/16 via 192.0.2.2 metric 77"], "10.4.0.0/16", "dev eth1 proto 108 metric 77"),
    (&["route add 10.5.0.0/16 via 192.0.2.2 mtu 1300"], "10.5.0.0/16", "dev eth1 proto 108 mtu 1300"),
    (&["route add 10.6.0.0/16 via 192.0.2.2 table 100"], "10.6.0.0/16", "dev eth1 table 100 proto 108"),
    (
        &["route add 10.7.0.0/16 via inet6 2001:db8:1::2 dev eth1"],
        "10.7.0.0/16",
        "via inet6 2001:db8:1::2 dev eth1 proto 108",
    ),
    (&["route add blackhole 10.8.0.0/16"], "10.8.0.0/16", "blackhole 10.8.0.0/16 proto 108"),
    (&["route add unreachable 10.9.0.0/17"], "10.9.0.0/17", "unreachable 10.9.0.0/17 proto 108"),
    (&["route add prohibit 10.10.0.0/16"], "10.10.0.0/16", "prohibit 10.10.0.0/16 proto 108"),
    (
        &["route add 10.11.0.0/16 nexthop via 192.0.2.2 weight 3 nexthop via 203.0.113.2 weight 5"],
        "10.11.0.0/16",
        "10.11.0.0/16 proto 108 nexthop via 192.0.2.2 dev eth1 weight 3 nexthop via 203.0.113.2 dev eth2 weight 5",
    ),
    (
        &["nexthop add id 12 via 192.0.2.2 dev eth1", "route add 10.12.0.0/16 nhid 12"],
        "10.12.0.0/16",
        "10.12.0.0/16 via 192.0.2.2 dev eth1 proto 108",
    ),
    (
        &[
            "nexthop add id 131 via 192.0.2.2 dev eth1",
            "nexthop add id 132 via 203.0.113.2 dev eth2",
            "nexthop add id 13 group 131,2/132,7",
            "route add 10.13.0.0/16 nhid 13",
        ],
        "10.13.0.0/16",
        "10.13.0.0/16 proto 108 nexthop via 192.0.2.2 dev eth1 weight 2 nexthop via 203.0.113.2 dev eth2 weight 7",
    ),
    (
        &["route add 10.14.0.0/16 via 192.0.2.2", "route replace 10.14.0.0/16 via 203.0.113.2"],
        "10.14.0.0/16",
        "10.14.0.0/16 via 203.0.113.2 dev eth2 proto 108",
    ),
    (
        &["route add 2001:db8:a1::/48 via 2001:db8:1::2"],
        "2001:db8:a1::/48",
        "2001:db8:a1::/48 via 2001:db8:1::2 dev eth1 proto 108 metric 1024",
    ),
    (&["route add 2001:db8:a2::/48 dev eth2 metric 5"], "2001:db8:a2::/48", "dev eth2 proto 108 metric 5"),
    (&["route add default via 2001:db8:3::2"], "::/0", "default via 2001:db8:3::2 dev eth2 proto 108"),
    (
        &["route add blackhole 2001:db8:a3::/48"],
        "2001:db8:a3::/48",
        "blackhole 2001:db8:a3::/48 dev lo proto 108",
    ),
    (
        &["route add unreachable 2001:db8:a4::/48"],
        "2001:db8:a4::/48",
        "unreachable 2001:db8:a4::/48 dev lo proto 108",
    ),
    (
        &["route add 2001:db8:a5::/48 nexthop via 2001:db8:1::2 weight 3 nexthop via 2001:db8:3::2 weight 5"],
        "2001:db8:a5::/48",
        "proto 108 metric 1024 pref medium nexthop via 2001:db8:1::2 dev eth1 weight 3 \
         nexthop via 2001:db8:3::2 dev eth2 weight 5",
    ),
    (
        &[
            "nexthop add id 61 via 2001:db8:1::2 dev eth1",
            "nexthop add id 62 via 2001:db8:3::2 dev eth2",
            "nexthop add id 6 group 61,2/62,7",
            "route add 2001:db8:a6::/48 nhid 6",
        ],
        "2001:db8:a6::/48",
        "nexthop via 2001:db8:1::2 dev eth1 weight 2 nexthop via 2001:db8:3::2 dev eth2 weight 7",
    ),
    (
        &[
            "route add 2001:db8:a7::/48 via 2001:db8:1::2",
            "route replace 2001:db8:a7::/48 via 2001:db8:3::2 mtu 1400",
        ],
        "2001:db8:a7::/48",
        "via 2001:db8:3::2 dev eth2 proto 108 metric 1024 mtu 1400",
    ),
];

#[test]
fn every_form_arrives_is_confirmed_and_goes() {
    let adapted = Lab::router(|relay, control| {
        for port in &mut relay.ports {
            port.allow = vec!["control = \"*\"\nroutes = true\ntables = [\"main\", 100]".into()];
        }
        control.routes.push_str("\ntables = [\"main\", 100]");
    });
    let Some(lab) = adapted else { return };
    for (commands, prefix, text) in FORMS {
        lab.programs().ip(commands);
        lab.await_relay_route(prefix, text);
    }
    for (_, prefix, _) in FORMS {
        lab.await_route_state(prefix, "installed");
    }
    for (commands, prefix, _) in FORMS {
        let table = if commands[0].contains("table 100") { " table 100" } else { "" };
        lab.programs().ip(&[&format!("route del {prefix}{table}")]);
        lab.await_no_relay_route(prefix);
    }
    for daemon in [&lab.relay, &lab.control] {
        eventually(SOON, "no route is left", || match daemon.show("routes")? {
            rows if rows.is_empty() => Ok(()),
            rows => Err(format!("{rows:?}")),
        });
    }
    assert_eq!(lab.relay.counter("routes-repaired"), 0);
}

#[rstest]
#[case::link_down(&["route add 10.1.0.0/16 via 192.0.2.2"], "link set eth1 down")]
#[case::last_address_deleted(&["route add 10.1.0.0/16 via 192.0.2.2"], "addr del 192.0.2.1/24 dev eth1")]
// Linux tells of this one since 6.6.
#[case::source_deleted(
    &["addr add 10.77.0.1/24 dev eth1", "route add 10.1.0.0/16 via 192.0.2.2 src 10.77.0.1"],
    "addr del 10.77.0.1/24 dev eth1"
)]
#[case::nexthop_deleted(
    &["nexthop add id 7 via 192.0.2.2 dev eth1", "route add 10.1.0.0/16 nhid 7"],
    "nexthop del id 7"
)]
#[case::group_deleted(
    &["nexthop add id 7 via 192.0.2.2 dev eth1", "nexthop add id 8 group 7", "route add 10.1.0.0/16 nhid 8"],
    "nexthop del id 7"
)]
fn silent_deletions_are_seen(#[case] before: &[&str], #[case] deletion: &str) {
    let Some(lab) = plain() else { return };
    lab.programs().ip(before);
    lab.programs().ip(&["route add 10.2.0.0/16 via 203.0.113.2"]);
    for prefix in ["10.1.0.0/16", "10.2.0.0/16"] {
        lab.await_relay_route(prefix, "proto 108");
    }
    lab.programs().ip(&[deletion]);
    lab.await_no_relay_route("10.1.0.0/16");
    lab.control.await_no_row("routes", &serde_json::json!({"prefix": "10.1.0.0/16"}));
    lab.await_route_state("10.2.0.0/16", "installed");
}

#[test]
fn routes_of_others_are_left_alone_and_taken_over_when_they_go() {
    let Some(lab) = plain() else { return };
    lab.relay_ns.ip(&[
        "route add 10.1.0.0/16 via 203.0.113.2 proto static",
        "route add 2001:db8:a1::/48 via 2001:db8:3::2 proto static",
    ]);
    lab.programs().ip(&[
        "route add 10.1.0.0/16 via 192.0.2.2",
        "route add 2001:db8:a1::/48 via 2001:db8:1::2",
        "route add 10.2.0.0/16 via 192.0.2.2",
    ]);
    lab.await_route_state("10.2.0.0/16", "installed");
    for (prefix, foreign, own) in [
        ("10.1.0.0/16", "via 203.0.113.2 dev eth2 proto static", "via 192.0.2.2 dev eth1 proto 108"),
        (
            "2001:db8:a1::/48",
            "via 2001:db8:3::2 dev eth2 proto static",
            "via 2001:db8:1::2 dev eth1 proto 108",
        ),
    ] {
        for daemon in [&lab.relay, &lab.control] {
            lab.await_refusal(daemon, prefix, "conflict");
        }
        let shown = lab.relay_routes(prefix);
        assert!(shown.contains(foreign) && !shown.contains("proto 108"), "{shown}");
        lab.relay_ns.ip(&[&format!("route del {prefix}")]);
        lab.await_relay_route(prefix, own);
        lab.await_route_state(prefix, "installed");
    }
    // One that comes later takes its place, and gives it back.
    lab.relay_ns.ip(&["route replace 10.2.0.0/16 via 203.0.113.2 proto static"]);
    lab.await_refusal(&lab.relay, "10.2.0.0/16", "conflict");
    assert_eq!(lab.relay_routes("10.2.0.0/16"), "10.2.0.0/16 via 203.0.113.2 dev eth2 proto static");
    lab.programs().ip(&["route del 10.2.0.0/16"]);
    lab.relay.await_no_row("routes", &serde_json::json!({"prefix": "10.2.0.0/16"}));
    assert_eq!(lab.relay_routes("10.2.0.0/16"), "10.2.0.0/16 via 203.0.113.2 dev eth2 proto static");
}

#[test]
fn what_is_refused_is_told_and_the_rest_goes_on() {
    let adapted = Lab::router(|relay, control| {
        relay.routes = "max = 3".into();
        let allow = "control = \"*\"\nroutes = true\nprefixes = [\"10.0.0.0/8\"]";
        relay.ports[0].allow = vec![allow.into()];
        relay.ports[1].allow = vec!["control = \"*\"".into()];
        control.routes.push_str("\ntables = [\"main\", 100]");
    });
    let Some(lab) = adapted else { return };
    lab.programs().ip(&[
        "link add other0 type veth peer name other1",
        "link set other0 up",
        "link set other1 up",
        "route add 10.9.9.0/24 dev other0",
        "route add 172.16.0.0/16 via 192.0.2.2",
        "route add 10.5.0.0/16 via 192.0.2.2 table 100",
        "route add 10.6.0.0/16 via 203.0.113.2",
    ]);
    lab.await_refusal(&lab.control, "10.9.9.0/24", "no symbol");
    for (prefix, reason) in [("172.16.0.0/16", "eth1"), ("10.5.0.0/16", "eth1"), ("10.6.0.0/16", "eth2")] {
        lab.await_refusal(
            &lab.relay,
            prefix,
            &format!("not permitted: the permission list of port {reason} does"),
        );
        lab.await_refusal(&lab.control, prefix, "not permitted");
        assert_eq!(lab.relay_routes(prefix), "");
    }
    // Those three fill the relay's table.
    lab.programs().ip(&["route add 10.7.0.0/16 via 192.0.2.2"]);
    lab.await_refusal(&lab.control, "10.7.0.0/16", "3 routes at most");
    lab.programs().ip(&["route del 172.16.0.0/16"]);
    lab.await_relay_route("10.7.0.0/16", "via 192.0.2.2 dev eth1 proto 108");
    lab.await_route_state("10.7.0.0/16", "installed");
}

#[test]
fn a_route_that_another_tool_deletes_is_back_at_once() {
    let Some(lab) = plain() else { return };
    let all = [("10.1.0.0/16", "192.0.2.2"), ("2001:db8:a1::/48", "2001:db8:3::2")];
    for (prefix, gateway) in all {
        lab.programs().ip(&[&format!("route add {prefix} via {gateway}")]);
        lab.await_route_state(prefix, "installed");
    }
    let mut repaired = 0;
    let mut measure = |lost: u64, tool: &dyn Fn()| {
        let begin = Instant::now();
        tool();
        for (prefix, gateway) in all {
            lab.await_relay_route(prefix, &format!("via {gateway}"));
        }
        let took = begin.elapsed();
        println!("back {} ms after another tool began to delete", took.as_millis());
        assert!(took < REPAIRED, "{took:?}");
        repaired += lost;
        eventually(SOON, "repairs are counted", || match lab.relay.counter("routes-repaired") {
            // `flush` may meet a route once more that is back already.
            count if count >= repaired => Ok(()),
            count => Err(format!("{count}, not {repaired}")),
        });
    };
    measure(1, &|| lab.relay_ns.ip(&["route del 10.1.0.0/16"]));
    measure(1, &|| lab.relay_ns.ip(&["route del 2001:db8:a1::/48"]));
    measure(2, &|| {
        lab.relay_ns.ok("ip route flush proto 108");
        lab.relay_ns.ok("ip -6 route flush proto 108");
    });
    for (prefix, _) in all {
        lab.await_route_state(prefix, "installed");
    }
}

#[test]
fn routes_follow_their_port() {
    let Some(lab) = plain() else { return };
    lab.programs()
        .ip(&["route add 10.1.0.0/16 via 192.0.2.2", "route add 2001:db8:a1::/48 via 2001:db8:1::2"]);
    let routes =
        [("10.1.0.0/16", "via 192.0.2.2 dev eth1"), ("2001:db8:a1::/48", "via 2001:db8:1::2 dev eth1")];
    let arrived = || {
        for (prefix, text) in routes {
            lab.await_relay_route(prefix, text);
            lab.await_route_state(prefix, "installed");
        }
    };
    let make = || {
        lab.relay_ns.ip(&[
            &format!("link add eth1 type veth peer name eth0 netns {}", lab.client.name()),
            "link set eth1 up",
            &format!("addr add {PORT_V4}/24 dev eth1"),
            &format!("addr add {PORT_V6}/64 dev eth1 nodad"),
        ]);
        lab.client.ip(&["link set eth0 up", &format!("addr add {CLIENT_V4}/24 dev eth0")]);
    };
    let lost = || routes.iter().for_each(|(prefix, _)| lab.await_no_relay_route(prefix));
    // The symbols' namespace keeps the routes while the port is away: routes by an interface that is down would go.
    arrived();
    lab.relay_ns.ip(&["link del eth1"]);
    lost();
    make();
    lab.await_symbols();
    restore(&lab);
    arrived();
    lab.relay_ns.ip(&["link set eth1 down", "link set eth1 name eth9"]);
    lost();
    lab.relay_ns.ip(&[
        "link set eth9 name eth1",
        "link set eth1 up",
        &format!("addr replace {PORT_V6}/64 dev eth1 nodad"),
    ]);
    lab.await_symbols();
    restore(&lab);
    arrived();
}

/// Puts the routes back that the control's kernel may have dropped with the symbol's addresses.
fn restore(lab: &Lab) {
    eventually(SOON, "the symbol has its addresses", || {
        let shown = lab.programs().ok("ip addr show eth1");
        if shown.contains(PORT_V4) && shown.contains(PORT_V6) { Ok(()) } else { Err(shown) }
    });
    lab.programs()
        .ip(&["route replace 10.1.0.0/16 via 192.0.2.2", "route replace 2001:db8:a1::/48 via 2001:db8:1::2"]);
}

#[test]
fn each_table_is_its_own() {
    let adapted = Lab::router(|relay, control| {
        for port in &mut relay.ports {
            port.allow = vec!["control = \"*\"\nroutes = true\ntables = [\"main\", 100, 4000000]".into()];
        }
        control.routes.push_str("\ntables = [\"main\", 100, 4000000]");
    });
    let Some(lab) = adapted else { return };
    for (prefix, gateways) in [
        ("10.1.0.0/16", ["192.0.2.2", "203.0.113.2"]),
        ("2001:db8:a1::/48", ["2001:db8:1::2", "2001:db8:3::2"]),
    ] {
        // One that is not named stays at home, though it comes first.
        for (table, gateway) in [(200, 0), (100, 1), (254, 0), (4_000_000, 0)] {
            lab.programs().ip(&[&format!("route add {prefix} via {} table {table}", gateways[gateway])]);
        }
        let in_table = |table: u32| {
            let family = if prefix.contains(':') { "-6" } else { "-4" };
            words(&lab.relay_ns.run(&format!("ip {family} route show {prefix} table {table}")).stdout())
        };
        lab.await_relay_route(prefix, "table 4000000 proto 108");
        assert_eq!(in_table(200), "");
        assert!(in_table(100).contains(gateways[1]), "{}", in_table(100));
        assert!(in_table(254).contains(gateways[0]), "{}", in_table(254));
        lab.programs().ip(&[&format!("route del {prefix} table 100")]);
        eventually(SOON, "it is gone from the one table", || match in_table(100) {
            shown if shown.is_empty() => Ok(()),
            shown => Err(shown),
        });
        assert!(in_table(254).contains("proto 108") && in_table(4_000_000).contains("proto 108"));
    }
    let rows = lab.relay.show("routes").unwrap();
    assert_eq!(rows.len(), 4, "{rows:?}");
}

/// A second relay on the segment, with a client network of its own.
fn second_relay(lab: &Lab) -> (Daemon, Rc<Netns>, Netns) {
    let (netns, client) = (Rc::new(lab.netns("relay2")), lab.netns("client2"));
    lab.add_to_segment(&netns);
    netns.ip(&[
        &format!("link add eth1 type veth peer name eth0 netns {}", client.name()),
        "link set eth1 up",
        "addr add 198.18.0.1/24 dev eth1",
    ]);
    client.ip(&["link set eth0 up", "addr add 198.18.0.2/24 dev eth0"]);
    let config = Relay { name: "relay2".into(), ports: vec![Port::routed("eth1")], ..Relay::default() };
    let relay = Daemon::new("l2relay", &netns, lab.folder().join("relay2"), &config.to_string());
    (relay, netns, client)
}

#[test]
fn routes_by_a_relay_that_is_away_wait_for_it() {
    let Some(mut lab) = Lab::build(Layout { router: true, bridge: true, ..Layout::default() }) else {
        return;
    };
    lab.relay.configure(&Relay { ports: vec![Port::routed("eth1")], ..Relay::default() }.to_string());
    let (mut second, second_ns, _client) = second_relay(&lab);
    let netns = Some(lab.programs().name().to_owned());
    let control = Control {
        more: "carrier_hold_ms = 60000".into(),
        routes: "enabled = true".into(),
        symbols: vec![
            Symbol { netns: netns.clone(), ..Symbol::new("eth1") },
            Symbol { netns, relay: "relay2".into(), more: "name = \"eth2\"".into(), ..Symbol::new("eth1") },
        ],
        ..Control::default()
    };
    lab.control.configure(&control.to_string());
    lab.start();
    second.start();
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    let at_second = |prefix: &str, expected: &str| {
        eventually(SOON, &format!("the second relay has {prefix} {expected:?}"), || {
            match words(&second_ns.run(&format!("ip route show {prefix} proto 108")).stdout()) {
                shown if shown.contains(expected) && shown.is_empty() == expected.is_empty() => Ok(()),
                shown => Err(shown),
            }
        });
    };
    lab.programs().ip(&[
        "route add 10.1.0.0/16 nexthop via 192.0.2.2 nexthop via 198.18.0.2",
        "route add 10.2.0.0/16 via 198.18.0.2",
        "route add blackhole 10.3.0.0/16",
    ]);
    // Each relay has the nexthops that are its own.
    lab.await_relay_route("10.1.0.0/16", "10.1.0.0/16 via 192.0.2.2 dev eth1 proto 108");
    lab.await_relay_route("10.3.0.0/16", "blackhole 10.3.0.0/16 proto 108");
    at_second("10.1.0.0/16", "10.1.0.0/16 via 198.18.0.2 dev eth1");
    at_second("10.2.0.0/16", "10.2.0.0/16 via 198.18.0.2 dev eth1");
    at_second("10.3.0.0/16", "blackhole 10.3.0.0/16");
    // What it cannot reach by itself leads to the relay that can.
    lab.await_relay_route("10.2.0.0/16", "10.2.0.0/16 via 192.0.0.8 dev l2to1 proto 108 onlink");

    second.kill_9();
    lab.control.await_row("peers", &json!({"name": "relay2", "state": "down"}));
    lab.programs().ip(&[
        "route add 10.4.0.0/16 via 198.18.0.2",
        "route add 10.5.0.0/16 nexthop via 192.0.2.2 nexthop via 198.18.0.2",
        "route del 10.2.0.0/16",
    ]);
    let waiting =
        |prefix: &str| json!({"prefix": prefix, "relay": "relay2", "state": "waiting", "reason": null});
    for prefix in ["10.1.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"] {
        lab.control.await_row("routes", &waiting(prefix));
    }
    // The one that is there goes on with its share.
    lab.await_relay_route("10.5.0.0/16", "10.5.0.0/16 via 192.0.2.2 dev eth1 proto 108");
    for prefix in ["10.1.0.0/16", "10.3.0.0/16", "10.5.0.0/16"] {
        lab.control.await_row("routes", &json!({"prefix": prefix, "relay": "relay1", "state": "installed"}));
    }
    assert_eq!(lab.relay_routes("10.4.0.0/16"), "");
    second.start();
    for prefix in ["10.1.0.0/16", "10.4.0.0/16", "10.5.0.0/16"] {
        at_second(prefix, &format!("{prefix} via 198.18.0.2 dev eth1"));
        lab.control.await_row("routes", &json!({"prefix": prefix, "relay": "relay2", "state": "installed"}));
    }
    at_second("10.2.0.0/16", "");
}

#[test]
fn twenty_thousand_routes_arrive_and_are_shown() {
    let Some(lab) = plain() else { return };
    let mut batch = String::new();
    for n in 0..20_000 {
        let gateway = ["192.0.2.2", "203.0.113.2"][n % 2];
        let _ = writeln!(batch, "route add 10.{}.{}.0/24 via {gateway}", 10 + n / 256, n % 256);
    }
    let file = lab.folder().join("batch");
    fs::write(&file, batch).unwrap();
    let begin = Instant::now();
    lab.programs().ok(&format!("ip -batch {}", file.display()));
    let loaded = begin.elapsed();
    eventually(SOON, "all are installed", || match lab.relay.counter("routes-installed") {
        20_000 => Ok(()),
        count => Err(format!("{count}")),
    });
    println!(
        "20000 routes: in the control's kernel after {loaded:?}, in the relay's after {:?}",
        begin.elapsed()
    );
    assert_eq!(lab.relay_ns.ok("ip route show proto 108").lines().count(), 20_000);
    for daemon in [&lab.relay, &lab.control] {
        eventually(SOON, "all are shown", || {
            let rows = daemon.show("routes")?;
            let mut prefixes: Vec<_> = rows.iter().filter_map(|row| row["prefix"].as_str()).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            let installed = rows.iter().filter(|row| row["state"] == "installed").count();
            match (prefixes.len(), rows.len(), installed) {
                (20_000, 20_000, 20_000) => Ok(()),
                counts => Err(format!("{counts:?}")),
            }
        });
    }
    lab.programs().ok("ip route flush proto boot");
    eventually(SOON, "all are gone", || match words(&lab.relay_ns.ok("ip route show proto 108")) {
        text if text.is_empty() => Ok(()),
        text => Err(text),
    });
}
