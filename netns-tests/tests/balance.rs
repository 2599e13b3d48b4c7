//! One service on several controls: the relay spreads clients over the servers as they appear and disappear.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Wrk, dnsmasq, named_server, spread};
use netns_tests::{Farm, Plan, SOON, expect_shares, name_of};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::time::{Duration, Instant};

/// New flows of a test that counts who gets how many, for each server.
const FLOWS: u64 = 100;

#[test]
fn new_connections_are_spread_evenly() {
    let Some(farm) = Farm::up() else { return };
    let _nginx = farm.nginx_everywhere();
    for address in [PORT_V4, PORT_V6] {
        expect_shares(&spread(&farm.lab.client, &format!("tcp {address} 80 {}", 3 * FLOWS)), &[1, 1, 1]);
    }
}

#[test]
fn new_datagram_flows_are_spread_evenly() {
    let Some(farm) = Farm::up() else { return };
    let _servers: Vec<_> =
        (0..3).map(|server| named_server(farm.programs(server), 7000, &name_of(server))).collect();
    farm.await_servers("udp", 7000, &[0, 1, 2], "active");
    for address in [PORT_V4, PORT_V6] {
        expect_shares(&spread(&farm.lab.client, &format!("udp {address} 7000 {}", 3 * FLOWS)), &[1, 1, 1]);
    }
}

#[test]
fn names_are_resolved_by_several_servers() {
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, |_, _| {}) else { return };
    let _servers: Vec<_> = (0..2).map(|server| dnsmasq(farm.programs(server))).collect();
    farm.await_servers("udp", 53, &[0, 1], "active");
    for round in 0..20 {
        let address = if round % 2 == 0 { PORT_V4 } else { PORT_V6 };
        let line = format!("dig +short +time=2 +tries=1 @{address} l2.test A");
        assert_eq!(farm.lab.client.ok(&line).trim(), "198.51.100.7");
    }
    let queries = |server: usize| -> u64 {
        let tunnels = farm.lab.relay.show("tunnels").unwrap();
        let of_dns = tunnels.iter().filter(|row| {
            row["peer"] == format!("control{}", server + 1)
                && row["protocol_address"].as_str().is_some_and(|address| address.contains("udp"))
        });
        of_dns.filter_map(|row| row["packets"].as_u64()).sum()
    };
    assert!(queries(0) > 0 && queries(1) > 0, "one of them got nothing: {} and {}", queries(0), queries(1));
}

#[test]
fn iperf_runs_at_full_speed_through_either_server() {
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, |_, _| {}) else { return };
    // A test of iperf3 is several connections, which must meet at one server.
    let _servers = [5301, 5302].map(|port| {
        let server = usize::from(port - 5301_u16);
        let iperf3 = farm.programs(server).spawn(&format!("iperf3 --server --forceflush --port {port}"));
        farm.await_servers("tcp", port, &[server], "active");
        let json = farm.lab.client.ok(&format!("iperf3 --client {PORT_V4} --port {port} --time 1 --json"));
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(
            report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default() > 50e6,
            "{json}"
        );
        iperf3
    });
}

#[test]
fn weights_share_as_configured_and_at_run_time() {
    let weights = |_: &mut Relay, control: &mut Control| {
        let weight = if control.name == "control1" { 100 } else { 300 };
        control.symbols[0].more += &format!("\nweight = {weight}");
    };
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, weights) else { return };
    let _nginx = farm.nginx_everywhere();
    expect_shares(&farm.ask(3 * FLOWS), &[1, 3]);
    let relay = &farm.lab.relay;
    let _ = relay.l2ctl("peer weight control1 900").expect_success();
    expect_shares(&farm.ask(3 * FLOWS), &[3, 1]);
    let _ = relay.l2ctl("peer weight control1 0").expect_success();
    expect_shares(&farm.ask(FLOWS), &[0, 1]);
    let _ = relay.l2ctl("peer weight control1 300").expect_success();
    expect_shares(&farm.ask(3 * FLOWS), &[1, 1]);
}

#[rstest]
#[case::zero("0")]
#[case::too_large("65536")]
#[case::negative("-1")]
#[case::a_word("\"much\"")]
fn a_weight_out_of_range_is_refused(#[case] weight: &str) {
    let Some(farm) = Farm::with(Plan { controls: 1, ..Plan::default() }, |_, _| {}) else { return };
    let control = farm.control_ref(0);
    let good = std::fs::read_to_string(control.config()).unwrap();
    control.configure(&format!("{good}weight = 100\n"));
    let _ = control.run(&["--check"]).expect_success();
    control.configure(&format!("{good}weight = {weight}\n"));
    let refused = control.run(&["--check"]);
    assert!(!refused.success() && refused.stderr().contains("weight"), "{refused}");
}

#[rstest]
#[case::of_nobody("peer weight nobody 100", "nobody")]
#[case::too_large("peer weight control1 65536", "65535")]
fn a_weight_that_cannot_be_is_refused_at_run_time(#[case] command: &str, #[case] reason: &str) {
    let Some(farm) = Farm::with(Plan { controls: 1, ..Plan::default() }, |_, _| {}) else { return };
    let refused = farm.lab.relay.l2ctl(command);
    assert!(!refused.success() && refused.stderr().contains(reason), "{refused}");
}

#[test]
fn an_automatic_weight_serves() {
    let auto = |_: &mut Relay, control: &mut Control| {
        control.symbols[0].more += "\nweight = \"auto\"";
    };
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, auto) else { return };
    let _nginx = farm.nginx_everywhere();
    // Idle servers are alike.
    expect_shares(&farm.ask(2 * FLOWS), &[1, 1]);
}

#[test]
fn a_new_server_gets_its_share_and_downloads_go_on() {
    let Some(farm) = Farm::up() else { return };
    let _nginx = [farm.nginx(0), farm.nginx(1)];
    let downloads = farm.downloads(&[0, 1], &farm.lab.client, PORT_V4, 3);
    let start = Instant::now();
    let _third = farm.nginx(2);
    println!("listener to rule, with nginx's own start: {:?}", start.elapsed());
    expect_shares(&farm.ask(3 * FLOWS), &[1, 1, 1]);
    downloads.finish();
}

#[test]
fn servers_come_under_load_without_a_failed_request() {
    let Some(farm) = Farm::up() else { return };
    let _two = [farm.nginx(0), farm.nginx(1)];
    let load = Wrk::start(&farm.lab.client, &format!("http://{PORT_V4}/"), 4);
    for _ in 0..5 {
        let mut third = farm.nginx(2);
        let _ = farm.lab.relay.l2ctl("peer weight control3 0").expect_success();
        // What was on its way has been accepted.
        std::thread::sleep(Duration::from_millis(100));
        third.quit();
        assert!(third.master.wait(SOON).success());
        farm.await_exactly("tcp", 80, &[], "draining");
        let _ = farm.lab.relay.l2ctl("peer weight control3 100").expect_success();
    }
    load.failed_nothing();
}

#[test]
fn a_stopped_server_takes_no_new_flow_and_ends_its_downloads() {
    let Some(farm) = Farm::up() else { return };
    let mut nginx = farm.nginx_everywhere();
    let downloads = farm.downloads(&[0, 1, 2], &farm.lab.client, PORT_V4, 4);
    nginx[0].quit();
    farm.await_exactly("tcp", 80, &[1, 2], "active");
    expect_shares(&farm.ask(2 * FLOWS), &[0, 1, 1]);
    let draining = farm.lab.relay.show("rules").unwrap();
    let draining = draining.iter().find(|rule| rule["control"] == "control1" && rule["state"] == "draining");
    assert!(draining.is_some(), "the download's flow is not shown: {}", farm.lab.relay.l2ctl("show rules"));
    downloads.finish();
    assert!(nginx[0].master.wait(SOON).success());
    farm.await_exactly("tcp", 80, &[], "draining");
}

#[test]
fn nginx_reloads_under_load_without_a_failed_request() {
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, |_, _| {}) else { return };
    let nginx = farm.nginx_everywhere();
    let mut load = Wrk::start(&farm.lab.client, &format!("http://{PORT_V4}/"), 3);
    let mut reloads = 0;
    while load.is_running() {
        nginx[reloads % 2].master.signal(Signal::SIGHUP);
        reloads += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    load.failed_nothing();
    println!("{reloads} reloads");
    assert!(reloads > 2, "only {reloads} reloads");
}

#[rstest]
#[case::by_closing_the_listener(false)]
#[case::by_weight_first(true)]
fn all_servers_are_restarted_under_load_without_a_failed_request(#[case] by_weight: bool) {
    let Some(farm) = Farm::up() else { return };
    let mut nginx = farm.nginx_everywhere();
    let refused = farm.lab.client.spawn(&format!("tcpdump -n -S -l -i eth0 src {PORT_V4} and {RESETS}"));
    refused.await_log("listening on", SOON);
    let load = Wrk::start(&farm.lab.client, &format!("http://{PORT_V4}/"), 4);
    for (server, running) in nginx.iter_mut().enumerate() {
        let weigh = |weight: u16| {
            if by_weight {
                let line = format!("peer weight control{} {weight}", server + 1);
                let _ = farm.lab.relay.l2ctl(&line).expect_success();
                // What was on its way has been accepted.
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        weigh(0);
        running.quit();
        assert!(running.master.wait(SOON).success());
        let others: Vec<usize> = (0..3).filter(|other| *other != server).collect();
        farm.await_exactly("tcp", 80, &others, "active");
        *running = farm.claim(server);
        weigh(100);
        farm.await_servers("tcp", 80, &[server], "active");
    }
    let load = load.finish();
    println!("{load:?}");
    // A SYN is refused by a reset of sequence number 0 (RFC 9293, 3.10.7.1).
    let refused = refused.log();
    assert!(!refused.contains("Flags [R.], seq 0,"), "a connection was refused:\n{refused}");
    if by_weight {
        assert!(load.requests > 1000 && load.errors.is_empty(), "{load:?}");
    } else {
        // Linux resets connections that wait to be accepted when their listener closes, with or without us. One that wants
        // to lose none of them sets its weight to 0 first.
        assert!(load.requests > 1000, "{load:?}");
    }
}

/// A filter for resets that acknowledge.
const RESETS: &str = "tcp[tcpflags]&(tcp-rst|tcp-ack)==(tcp-rst|tcp-ack)";
