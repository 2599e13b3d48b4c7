//! Who gets what: permissions, keys, names, and frames from strangers.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Nginx, echo, echo_server};
use netns_tests::{Daemon, Lab, Layout, SOON, eventually, never};
use pnet_datalink::{Channel, Config};
use rstest::rstest;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn a_port_without_permission_is_refused_on_both_sides_and_granted_once_allowed() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let mut relay = Relay::default();
    relay.ports[0].allow = vec!["control = \"control2\"".into()];
    lab.relay.configure(&relay.to_string());
    lab.relay.start();
    lab.control.start();
    let symbol = lab.control.await_row("symbols", &json!({"name": "eth1", "state": "refused"}));
    let reason = symbol["reason"].as_str().unwrap();
    assert!(reason.contains("allow") || reason.contains("permi"), "{reason}");
    for daemon in [&lab.relay, &lab.control] {
        eventually(SOON, "both logs name the port, the control and the refusal", || {
            let log = daemon.log();
            let told = log.lines().any(|line| line.contains("eth1") && line.contains("refused"));
            if told { Ok(()) } else { Err(log) }
        });
    }
    assert!(lab.relay.log().contains("control1"));
    assert!(!lab.programs().has_interface("eth1"));

    lab.relay.configure(&Relay::default().to_string());
    lab.relay.terminate();
    lab.relay.start();
    lab.await_symbol();
}

#[test]
fn only_permitted_services_become_rules() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let mut relay = Relay::default();
    relay.ports[0].more = "relay_services = [\"tcp/22\"]".into();
    relay.ports[0].allow = vec![
        "control = \"control1\"\nservices = [\"tcp/80\", \"tcp/22\"]".into(),
        "control = \"control2\"".into(),
    ];
    lab.relay.configure(&relay.to_string());
    lab.start();
    let _permitted = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    let _forbidden = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    lab.relay.await_row("rules", &json!({"protocol": "tcp", "port_number": 80, "state": "active"}));
    let refused = lab.control.await_row("rules", &json!({"port_number": 7000, "state": "refused"}));
    assert!(refused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{refused}");
    eventually(SOON, "the relay tells why", || {
        let log = lab.relay.log();
        let told = log.lines().any(|line| line.contains("7000") && line.contains("refused"));
        if told { Ok(()) } else { Err(log) }
    });
    assert!(!echo(&lab.client, &format!("tcp {PORT_V4} 7000 10")).success());
    lab.client.ok(&format!("curl -sSf --max-time 5 http://{PORT_V4}/"));
}

#[test]
fn only_exposed_services_are_asked_for() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let mut control = Control::default();
    control.symbols[0].more = "services = [\"tcp/80\", \"tcp/8000-8010\", \"udp/*\"]".into();
    lab.control.configure(&control.to_string());
    lab.start();
    let _servers = ["tcp 0.0.0.0 80", "tcp 0.0.0.0 8005", "udp 0.0.0.0 7000", "tcp 0.0.0.0 7000"]
        .map(|server| echo_server(lab.programs(), server));
    lab.relay.await_rules(&[
        "eth1 tcp 0.0.0.0:80 active",
        "eth1 tcp 0.0.0.0:8005 active",
        "eth1 udp 0.0.0.0:7000 active",
    ]);
}

#[test]
fn what_must_not_be_hijacked_is_not_exposed_by_itself() {
    let Some(lab) = Lab::up() else { return };
    let _denied = ["udp 0.0.0.0 68", "udp 0.0.0.0 5353", "udp :: 5355", "udp :: 546", "tcp 0.0.0.0 22"]
        .map(|server| echo_server(lab.programs(), server));
    let _allowed = echo_server(lab.programs(), "udp 0.0.0.0 9999");
    lab.relay.await_rules(&["eth1 udp 0.0.0.0:9999 active"]);
}

#[test]
fn a_stranger_with_another_psk_is_no_peer() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.control.set_psk("/////////////////////////////////////////w8=\n", 0o600);
    lab.relay.start();
    lab.control.start();
    for daemon in [&lab.relay, &lab.control] {
        eventually(SOON, "the other's frames are counted", || match daemon.show("counters")? {
            _ if daemon.counter("drop.bad-gate") > 0 => Ok(()),
            counters => Err(format!("{counters:?}")),
        });
    }
    never(Duration::from_secs(1), "no session", || {
        let (peers, symbols) = (lab.relay.show("peers")?, lab.control.show("symbols")?);
        let up = peers.iter().chain(&symbols).any(|row| row["state"] == "up");
        if up { Err(format!("{peers:?} {symbols:?}")) } else { Ok(()) }
    });
    lab.control.terminate();
    lab.control.set_psk(netns_tests::PSK, 0o600);
    lab.control.start();
    lab.await_symbol();
}

#[test]
fn a_device_without_security_is_no_peer_of_one_with() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let open = Control::default().to_string().replace("psk_file = \"psk\"", "security = \"none\"");
    lab.control.configure(&open);
    lab.relay.start();
    lab.control.start();
    lab.relay.await_log("ready");
    lab.control.await_log("ready");
    never(Duration::from_secs(2), "no session", || {
        let symbols = lab.control.show("symbols").unwrap_or_default();
        if symbols.iter().any(|row| row["state"] == "up") { Err(format!("{symbols:?}")) } else { Ok(()) }
    });
}

#[rstest]
#[case::none("security = \"none\"")]
#[case::encrypted("psk_file = \"psk\"\nencrypt = true")]
#[case::clear_data("psk_file = \"psk\"\ndata = \"clear\"")]
#[case::another_ethertype("psk_file = \"psk\"\nethertype = 0x9999")]
fn other_ways_to_secure_the_link_serve_as_well(#[case] security: &str) {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let (relay, control) = (Relay::default().to_string(), Control::default().to_string());
    lab.relay.configure(&relay.replace("psk_file = \"psk\"", security));
    lab.control.configure(&control.replace("psk_file = \"psk\"", security));
    lab.start();
    let _server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active"]);
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 7000 200000")).expect_success();
}

#[test]
fn two_controls_with_one_name_are_not_mixed_up() {
    let Some(mut lab) = Lab::build(Layout { bridge: true, ..Layout::default() }) else { return };
    lab.start();
    let twin_ns = Rc::new(lab.netns("twin"));
    lab.add_to_segment(&twin_ns);
    let folder = lab.folder().join("twin");
    let mut twin = Daemon::new("l2control", &twin_ns, folder, &Control::default().to_string());
    twin.start();
    lab.relay.await_counter("drop.name-in-use", 0);
    eventually(SOON, "the relay says so", || {
        let (peers, log) = (lab.relay.show("peers")?, lab.relay.log());
        let told = log.contains("name") && log.contains("control1") && log.contains("in use");
        if told { Ok(()) } else { Err(format!("{peers:?}\n{log}")) }
    });
    never(Duration::from_secs(1), "the first keeps its session", || {
        let peers = lab.relay.show("peers")?;
        if peers.iter().any(|peer| peer["state"] == "up") { Ok(()) } else { Err(format!("{peers:?}")) }
    });
    assert!(!twin_ns.has_interface("eth1"));

    // The cause goes away: the twin takes over by itself.
    lab.control.terminate();
    twin.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
}

#[test]
fn two_controls_serve_one_port_side_by_side() {
    let Some(mut lab) = Lab::build(Layout { bridge: true, ..Layout::default() }) else { return };
    lab.start();
    let second_ns = Rc::new(lab.netns("second"));
    lab.add_to_segment(&second_ns);
    let config = Control { name: "control2".into(), ..Control::default() };
    let mut second = Daemon::new("l2control", &second_ns, lab.folder().join("second"), &config.to_string());
    second.start();
    second.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
    let _first_server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    let _second_server = echo_server(&second_ns, "tcp 0.0.0.0 7001");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active", "eth1 tcp 0.0.0.0:7001 active"]);
    for port in [7000, 7001] {
        let _ = echo(&lab.client, &format!("tcp {PORT_V4} {port} 1000")).expect_success();
    }
}

/// Frames that an attacker with a cable, or a broken device, could send: bounded in number.
fn garbage(relay: [u8; 6]) -> Vec<Vec<u8>> {
    const MULTICAST: [u8; 6] = [0x03, 0, 0, 0, 0, 1];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_be_bytes()[0]
    };
    let frame = |destination: [u8; 6], ethertype: u16, body: &[u8]| {
        let mut frame = destination.to_vec();
        frame.extend([2, 0, 0, 0, 0, 0x66]);
        frame.extend(ethertype.to_be_bytes());
        frame.extend(body);
        frame.resize(frame.len().max(60), 0);
        frame
    };
    let mut frames = Vec::new();
    for length in 0..1500 {
        let body: Vec<u8> = (0..length).map(|_| byte()).collect();
        let destination = if length % 2 == 0 { relay } else { MULTICAST };
        frames.push(frame(destination, 0x88b5, &body));
    }
    for ethertype in [0x0800, 0x86dd, 0x0806, 0x88b6, 0x8100] {
        frames.extend((0..20).map(|_| frame(relay, ethertype, &[byte(); 100])));
    }
    frames
}

#[test]
fn garbage_on_the_segment_is_counted_and_harms_nobody() {
    let Some(mut lab) = Lab::build(Layout { bridge: true, ..Layout::default() }) else { return };
    lab.start();
    let _server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active"]);
    let stranger = lab.netns("stranger");
    lab.add_to_segment(&stranger);

    let mac = lab.relay_ns.ip_json("link show lan0")[0]["address"].as_str().unwrap().to_owned();
    let mut relay = [0; 6];
    for (byte, text) in relay.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).unwrap();
    }
    let lines_before = lab.relay.log().lines().count();
    let drops = |daemon: &Daemon| -> u64 {
        let counters = daemon.show("counters").unwrap();
        let drops =
            counters.iter().filter(|row| row["name"].as_str().is_some_and(|name| name.starts_with("drop.")));
        drops.filter_map(|row| row["value"].as_u64()).sum()
    };
    let before = drops(&lab.relay);
    stranger.enter(|| {
        let interface =
            pnet_datalink::interfaces().into_iter().find(|interface| interface.name == "lan0").unwrap();
        let Ok(Channel::Ethernet(mut sender, _)) = pnet_datalink::channel(&interface, Config::default())
        else {
            panic!("no channel on {interface}");
        };
        for frame in garbage(relay) {
            sender.send_to(&frame, None).unwrap().unwrap();
        }
    });
    eventually(SOON, "most of the garbage is counted", || match drops(&lab.relay) - before {
        counted @ 1000.. => Ok(counted),
        counted => Err(format!("{counted} drops")),
    });
    for daemon in [&lab.relay, &lab.control] {
        daemon.await_row("peers", &json!({"state": "up"}));
    }
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 7000 1000")).expect_success();
    let lines = lab.relay.log().lines().count() - lines_before;
    assert!(lines < 50, "{lines} lines logged for garbage:\n{}", lab.relay.log());
}

/// CAP_NET_ADMIN and CAP_NET_RAW; of the control CAP_SYS_ADMIN as well.
#[test]
fn a_running_daemon_has_given_up_what_it_does_not_need() {
    let Some(mut lab) = Lab::up() else { return };
    for (daemon, capabilities) in [(&mut lab.relay, 0x3000), (&mut lab.control, 0x20_3000)] {
        let status = format!("/proc/{}/status", daemon.process().pid());
        let status = std::fs::read_to_string(status).expect("read a process's status");
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("{status}"))
                .trim()
        };
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1", "2"));
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            assert_eq!(u64::from_str_radix(field(set), 16), Ok(capabilities), "{set} {status}");
        }
    }
}
