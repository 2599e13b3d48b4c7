//! Two relays with one service address behind a router that spreads flows over them by ECMP, the way networks scale out.

use netns_tests::address::*;
use netns_tests::program::spread;
use netns_tests::{Farm, Plan, SOON, eventually, expect_shares, name_of, words};

/// How the router reaches the service: by both relays, or by one.
const BOTH: &str = "route replace 198.18.0.80/32 nexthop via 192.0.2.1 nexthop via 203.0.113.1";
const SECOND: &str = "route replace 198.18.0.80/32 via 203.0.113.1";

/// A farm with two relays; the router spreads by ports as well.
fn farm() -> Option<Farm> {
    let plan = Plan { far: true, relays: 2, ..Plan::default() };
    let farm = Farm::with(plan, |_, control| control.more = "carrier_hold_ms = 500".into())?;
    farm.lab.client.sysctl("net.ipv4.fib_multipath_hash_policy=1");
    farm.lab.client.ip(&[BOTH]);
    Some(farm)
}

/// Packets that a relay has sent up for listeners and flows of TCP.
fn packets(relay: &netns_tests::Daemon) -> u64 {
    let tunnels = relay.show("tunnels").unwrap();
    let up = tunnels
        .iter()
        .filter(|row| row["protocol_address"].as_str().is_some_and(|text| text.contains("tcp")));
    up.filter_map(|row| row["packets"].as_u64()).sum()
}

fn await_rules(farm: &Farm, relay: &netns_tests::Daemon, servers: &[&str]) {
    eventually(SOON, &format!("rules of {servers:?}"), || {
        let rules = relay.show("rules")?;
        let of = |server: &&str| {
            rules.iter().any(|rule| {
                rule["control"] == **server && rule["port_number"] == 80 && rule["state"] == "active"
            })
        };
        if servers.iter().all(of) { Ok(()) } else { Err(format!("{rules:?} {}", farm.count())) }
    });
}

#[test]
fn each_symbol_of_a_namespace_has_its_gateway() {
    let Some(farm) = farm() else { return };
    for server in 0..farm.count() {
        let routes =
            |family: &str| words(&farm.programs(server).ok(&format!("ip {family} route show default")));
        let (v4, v6) = (routes("-4"), routes("-6"));
        for (shown, symbol, gateway) in [
            (&v4, "eth1", CLIENT_V4),
            (&v4, "eth2", CLIENT2_V4),
            (&v6, "eth1", CLIENT_V6),
            (&v6, "eth2", CLIENT2_V6),
        ] {
            assert!(shown.contains(&format!("via {gateway} dev {symbol}")), "{gateway} is not in {shown}");
        }
    }
}

#[test]
fn both_relays_serve_the_address_and_choose_alike() {
    let Some(farm) = farm() else { return };
    let _nginx = farm.nginx_everywhere();
    let (far, relay2) = (farm.lab.far.as_ref().unwrap(), farm.relay_ref(1));
    await_rules(&farm, relay2, &["control1", "control2", "control3"]);
    expect_shares(&spread(far, &format!("tcp {SERVICE_V4} 80 300")), &[1, 1, 1]);
    let (first, second) = (packets(&farm.lab.relay), packets(relay2));
    assert!(first > 300 && second > 300, "one relay had nothing to do: {first} and {second} packets");

    // The same flow goes to the same server, by whichever relay it comes. Its port is free again at once.
    far.sysctl("net.ipv4.tcp_max_tw_buckets=0");
    let ask = |local_port: u16| {
        let line = format!("curl -0 -sSf --max-time 5 --local-port {local_port} http://{SERVICE_V4}/");
        far.ok(&line)
    };
    let by_both: Vec<String> = (21_000..21_030).map(ask).collect();
    farm.lab.client.ip(&[SECOND]);
    let by_second: Vec<String> = (21_000..21_030).map(ask).collect();
    assert_eq!(by_both, by_second);
}

#[test]
fn downloads_go_on_when_a_relay_is_lost() {
    let Some(mut farm) = farm() else { return };
    let _nginx = farm.nginx_everywhere();
    await_rules(&farm, farm.relay_ref(1), &["control1", "control2", "control3"]);
    let far = farm.lab.far.as_ref().unwrap();
    let downloads = farm.downloads(&[0, 1, 2], far, SERVICE_V4, 5);
    farm.lab.relay.kill_9();
    // What BGP or BFD would find out.
    farm.lab.client.ip(&[SECOND]);
    downloads.finish();
    let counts = spread(farm.lab.far.as_ref().unwrap(), &format!("tcp {SERVICE_V4} 80 90"));
    expect_shares(&counts, &[1, 1, 1]);
}

#[test]
fn downloads_from_a_draining_server_go_on_when_a_relay_is_lost() {
    let Some(mut farm) = farm() else { return };
    let mut nginx = farm.nginx_everywhere();
    await_rules(&farm, farm.relay_ref(1), &["control1", "control2", "control3"]);
    let far = farm.lab.far.as_ref().unwrap();
    let downloads = farm.downloads(&[0, 1, 2], far, SERVICE_V4, 5);
    nginx[0].quit();
    farm.await_exactly("tcp", 80, &[1, 2], "active");
    farm.lab.relay.kill_9();
    farm.lab.client.ip(&[SECOND]);
    let counts = spread(farm.lab.far.as_ref().unwrap(), &format!("tcp {SERVICE_V4} 80 60"));
    assert!(!counts.contains_key(&name_of(0)), "{counts:?}");
    downloads.finish();
    assert!(nginx[0].master.wait(SOON).success());
}
