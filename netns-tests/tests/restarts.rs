//! Either side starts, stops and dies at any time; the segment is renumbered, cut and repaired.

use frames::discovery::Role;
use netns_tests::address::*;
use netns_tests::program::{Nginx, PAGE};
use netns_tests::{Download, Lab, Layout, SOON, eventually, never};
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

const RULE: [&str; 1] = ["eth1 tcp 0.0.0.0:80 active"];

/// Longest interruption of a transfer that counts as none: half of what a lost peer takes to notice.
const NO_STALL: Duration = Duration::from_millis(150);

fn serves(lab: &Lab) {
    let page = eventually(SOON, "the page is served", || {
        lab.client.run(&format!("curl -sSf --max-time 2 http://{PORT_V4}/")).into_result()
    });
    assert_eq!(page, PAGE);
}

#[rstest]
#[case::relay_first(true)]
#[case::control_first(false)]
fn either_daemon_may_start_first(#[case] relay_first: bool) {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.programs().await_listener("tcp", 80);
    let (first, second) =
        if relay_first { (&mut lab.relay, &mut lab.control) } else { (&mut lab.control, &mut lab.relay) };
    first.start();
    first.await_log("ready on lan0");
    never(Duration::from_millis(500), "no peer yet", || match first.show("peers")? {
        peers if peers.is_empty() => Ok(()),
        peers => Err(format!("{peers:?}")),
    });
    second.start();
    lab.await_symbol();
    // The server was there before both.
    lab.relay.await_rules(&RULE);
    serves(&lab);
}

/// The relay's table that keeps its kernel from answering for the controls.
fn nft_tables(lab: &Lab) -> String {
    lab.relay_ns.ok("nft list tables")
}

#[rstest]
#[case::relay_killed(Role::Relay, true)]
#[case::relay_stopped(Role::Relay, false)]
#[case::control_killed(Role::Control, true)]
#[case::control_stopped(Role::Control, false)]
fn rules_come_back_after_a_restart(#[case] device: Role, #[case] killed: bool) {
    let Some(mut lab) = Lab::up() else { return };
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    serves(&lab);
    for _ in 0..2 {
        let daemon = lab.daemon(device);
        if killed {
            daemon.kill_9()
        } else {
            daemon.terminate()
        }
        daemon.start();
        lab.await_symbol();
        lab.relay.await_rules(&RULE);
        lab.control.await_rules(&RULE);
        serves(&lab);
    }
    assert_eq!(nft_tables(&lab).matches("l2relay").count(), 1);
    drop(nginx);
    lab.relay.await_rules(&[]);
}

#[test]
fn what_closed_while_the_control_was_dead_is_swept() {
    let Some(mut lab) = Lab::up() else { return };
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    lab.control.kill_9();
    drop(nginx);
    lab.control.start();
    lab.await_symbol();
    lab.relay.await_rules(&[]);
    lab.control.await_rules(&[]);
}

#[test]
fn a_stopped_control_leaves_nothing_on_either_side() {
    let Some(mut lab) = Lab::up() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    lab.control.terminate();
    lab.relay.await_no_row("rules", &json!({}));
    lab.relay.await_no_row("tunnels", &json!({}));
    lab.relay.await_no_row("peers", &json!({"state": "up"}));
    lab.relay.await_no_row("symbols", &json!({}));
    assert!(!lab.programs().has_interface("eth1"), "the symbol's interface stays behind");
}

#[test]
fn a_stopped_relay_gives_its_port_back_to_its_kernel() {
    let Some(mut lab) = Lab::up() else { return };
    assert!(nft_tables(&lab).contains("l2relay"));
    let nginx = Nginx::start(&lab.relay_ns, lab.folder(), &["80"]);
    lab.relay_ns.await_listener("tcp", 80);
    let refused = lab.client.run(&format!("curl -sSf --max-time 1 http://{PORT_V4}/"));
    assert!(!refused.success(), "the relay's kernel must not answer for the controls: {refused}");
    lab.relay.terminate();
    assert_eq!(nft_tables(&lab), "");
    serves(&lab);
    drop(nginx);
}

#[test]
fn a_killed_relay_leaves_no_second_table_behind() {
    let Some(mut lab) = Lab::up() else { return };
    lab.relay.kill_9();
    assert!(nft_tables(&lab).contains("l2relay"), "without a relay nobody answers for the controls");
    lab.relay.start();
    lab.await_symbol();
    lab.relay.terminate();
    assert_eq!(nft_tables(&lab), "");
}

#[test]
fn every_address_of_the_segment_goes_under_a_running_download() {
    let Some(lab) = Lab::up() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    let url = format!("http://{PORT_V4}/large");
    let download = Download::start(lab.client.command("curl").args(["-sSf", &url]));
    download.await_begin();
    let age = |lab: &Lab| lab.relay.show("peers").unwrap()[0]["session_age_ms"].as_u64().unwrap();
    let before = age(&lab);
    for round in 0..10 {
        for (netns, host) in [(&lab.relay_ns, 1), (&lab.control_ns, 2)] {
            netns.ip(&["addr flush dev lan0"]);
            netns.ip(&[
                &format!("addr add 10.{}.0.{host}/24 dev lan0", 10 + round),
                &format!("addr add fd00:{round}::{host}/64 dev lan0"),
            ]);
        }
    }
    for netns in [&lab.relay_ns, &lab.control_ns] {
        netns.ip(&["addr flush dev lan0"]);
    }
    assert!(age(&lab) > before, "the session began anew");
    let progress = download.stop();
    assert!(progress.bytes > 1_000_000 && progress.longest_gap < NO_STALL, "{progress:?}");
}

#[rstest]
#[case::at_the_relay(Role::Relay)]
#[case::at_the_control(Role::Control)]
fn the_segment_interface_goes_down_and_up(#[case] device: Role) {
    let Some(mut lab) = Lab::up() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    let netns = match device {
        Role::Relay => &lab.relay_ns,
        Role::Control => &lab.control_ns,
    };
    netns.ip(&["link set lan0 down"]);
    for daemon in [&lab.relay, &lab.control] {
        daemon.await_row("peers", &json!({"state": "down"}));
    }
    netns.ip(&["link set lan0 up"]);
    lab.await_symbol();
    lab.relay.await_rules(&RULE);
    serves(&lab);
    for daemon in [&mut lab.relay, &mut lab.control] {
        assert!(daemon.process().try_wait().is_none(), "a daemon died of it");
    }
}

#[test]
fn a_replaced_segment_interface_is_followed() {
    let Some(lab) = Lab::up() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    lab.control_ns.ip(&["link del lan0"]);
    for daemon in [&lab.relay, &lab.control] {
        daemon.await_row("peers", &json!({"state": "down"}));
    }
    lab.relay_ns.ip(&[
        &format!("link add lan0 type veth peer name lan0 netns {}", lab.control_ns.name()),
        "link set lan0 up",
    ]);
    lab.control_ns.ip(&["link set lan0 up"]);
    lab.await_symbol();
    lab.relay.await_rules(&RULE);
    serves(&lab);
}

#[test]
fn another_mac_of_the_segment_interface_is_followed() {
    let Some(lab) = Lab::up() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    lab.control_ns.ip(&["link set lan0 address 02:00:00:00:00:77"]);
    lab.relay.await_row("peers", &json!({"mac": "02:00:00:00:00:77", "state": "up"}));
    serves(&lab);
}

#[test]
fn the_symbols_carrier_follows_the_port() {
    let Some(lab) = Lab::up() else { return };
    let carrier = |expected: bool| {
        eventually(SOON, &format!("the symbol's carrier is {expected}"), || {
            let link = lab.programs().ip_json("link show eth1");
            let flags = link[0]["flags"].as_array().cloned().unwrap_or_default();
            if flags.contains(&json!("LOWER_UP")) == expected { Ok(()) } else { Err(format!("{flags:?}")) }
        });
    };
    carrier(true);
    lab.client.ip(&["link set eth0 down"]);
    carrier(false);
    lab.control.await_row("ports", &json!({"name": "eth1", "state": "no-carrier"}));
    lab.client.ip(&["link set eth0 up"]);
    carrier(true);
}

#[test]
fn the_symbols_attributes_follow_the_port() {
    let Some(lab) = Lab::up() else { return };
    lab.relay_ns.ip(&[
        "link set eth1 mtu 1400",
        "addr add 192.0.2.77/24 dev eth1",
        "addr del 2001:db8:1::1/64 dev eth1",
    ]);
    eventually(SOON, "MTU and addresses arrive", || {
        let link = lab.programs().ip_json("addr show eth1");
        let text = link.to_string();
        let arrived =
            link[0]["mtu"] == 1400 && text.contains("192.0.2.77") && !text.contains("2001:db8:1::1");
        if arrived { Ok(()) } else { Err(text) }
    });
}
