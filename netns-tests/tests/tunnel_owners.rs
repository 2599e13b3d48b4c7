//! One tunnel for each program and socket, many programs on one symbol, one program on many, and `l2ctl show tunnels` tells
//! whose each is.

use netns_tests::address::*;
use netns_tests::config::Control;
use netns_tests::program::{Frr, Nginx, echo_server, packet_receiver};
use netns_tests::{Daemon, Finished, Lab, Layout, SOON, binary, eventually};
use serde_json::{Value, json};
use std::process::Command;

/// Up tunnels, each as `SYMBOL ADDRESS`, with their numbers and owners.
fn tunnels(control: &Daemon) -> Result<Vec<(String, u64, Vec<Value>)>, String> {
    let rows = control.show("tunnels")?;
    let up =
        rows.iter().filter(|row| row["direction"] == "up" && row["protocol_address"] != "ethertype 0x0806");
    let tunnel = |row: &Value| {
        let name =
            format!("{} {}", row["symbol"].as_str().unwrap(), row["protocol_address"].as_str().unwrap());
        (name, row["id"].as_u64().unwrap(), row["owners"].as_array().expect("owners").clone())
    };
    Ok(up.map(tunnel).collect())
}

/// Waits until a tunnel has exactly these owners.
#[track_caller]
fn await_owners(control: &Daemon, name: &str, owners: &[(u32, &str)]) {
    let mut owners: Vec<_> = owners.to_vec();
    owners.sort_unstable();
    let owners: Vec<Value> =
        owners.iter().map(|(pid, program)| json!({"pid": pid, "program": program})).collect();
    eventually(SOON, &format!("the tunnel of {name} is of {owners:?}"), || {
        let tunnels = tunnels(control)?;
        if tunnels.iter().any(|(other, _, found)| other == name && *found == owners) {
            Ok(())
        } else {
            Err(format!("{tunnels:?}"))
        }
    });
}

/// A process and those that it began.
fn family(pid: u32) -> Vec<u32> {
    let children =
        Finished::new(Command::new("ps").args(["-o", "pid=", "--ppid", &pid.to_string()])).stdout();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([pid]).collect()
}

const OSPF_AND_BGP: &str = "interface eth1\n ip ospf area 0\ninterface eth2\n ip ospf area 0\n\
    router ospf\n ospf router-id 1.1.1.1\n\
    router bgp 65001\n bgp router-id 1.1.1.1\n neighbor 192.0.2.2 remote-as 65002\n neighbor 192.0.2.2 passive\n";

#[test]
fn several_daemons_on_one_symbol_and_one_daemon_on_several() {
    let Some(lab) = Lab::router(|_, _| {}) else { return };
    let frr = Frr::start(lab.programs(), lab.folder(), &["ospfd", "bgpd"], OSPF_AND_BGP);
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    let capture = packet_receiver(lab.programs(), "eth1 0x88cc");
    let (ospfd, bgpd) = ((frr.pid("ospfd"), "ospfd"), (frr.pid("bgpd"), "bgpd"));
    lab.programs().await_listener("tcp", 80);
    let nginxes = family(nginx.master.pid());
    assert_eq!(nginxes.len(), 3, "a master and two workers hold its socket");
    let nginxes: Vec<(u32, &str)> = nginxes.into_iter().map(|pid| (pid, "nginx")).collect();
    for symbol in ["eth1", "eth2"] {
        await_owners(&lab.control, &format!("{symbol} ip ospf 0.0.0.0"), &[ospfd]);
        await_owners(&lab.control, &format!("{symbol} tcp 0.0.0.0:179"), &[bgpd]);
        await_owners(&lab.control, &format!("{symbol} tcp 0.0.0.0:80"), &nginxes);
    }
    await_owners(&lab.control, "eth1 ethertype 0x88cc", &[(capture.pid(), "python3")]);

    // A tunnel for each, by which each gets what is its own.
    let mut ids: Vec<u64> = tunnels(&lab.control).unwrap().iter().map(|(_, id, _)| *id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let before = packets(&lab.control);
    lab.client.ok(&format!("curl -sSf --max-time 2 http://{PORT_V4}/"));
    lab.client2().ok(&format!("curl -sSf --max-time 2 http://{PORT2_V4}/"));
    let after = packets(&lab.control);
    for (tunnel, (before, after)) in
        before.iter().zip(&after).map(|((name, old), (_, new))| (name, (old, new)))
    {
        assert_eq!(after > before, tunnel.ends_with("tcp 0.0.0.0:80"), "{tunnel}: {before} to {after}");
    }

    // As people read it.
    let shown = lab.control.l2ctl("show tunnels").expect_success();
    assert!(shown.contains(&format!("ospfd({})", ospfd.0)) && shown.contains("OWNERS"), "{shown}");
    assert!(!shown.contains("SOCKETS"), "{shown}");
}

fn packets(control: &Daemon) -> Vec<(String, u64)> {
    let rows = control.show("tunnels").unwrap();
    let up = rows.iter().filter(|row| row["sockets"].as_array().is_some_and(|sockets| !sockets.is_empty()));
    let tunnel = |row: &Value| {
        let name = format!("{} {}", row["symbol"], row["protocol_address"].as_str().unwrap());
        (name, row["packets"].as_u64().unwrap())
    };
    up.map(tunnel).collect()
}

#[test]
fn an_inherited_socket_has_several_owners() {
    let Some(lab) = Lab::up() else { return };
    let mut parent = echo_server(lab.programs(), "tcp 0.0.0.0 7000 fork");
    let all = family(parent.pid());
    assert_eq!(all.len(), 2, "a parent and a child");
    let owners: Vec<(u32, &str)> = all.iter().map(|pid| (*pid, "python3")).collect();
    await_owners(&lab.control, "eth1 tcp 0.0.0.0:7000", &owners);
    parent.kill_9();
    await_owners(&lab.control, "eth1 tcp 0.0.0.0:7000", &[(all[0], "python3")]);
}

#[test]
fn twins_share_a_tunnel_and_both_own_it() {
    let Some(lab) = Lab::up() else { return };
    let twins = [0, 1].map(|_| echo_server(lab.programs(), "udp 0.0.0.0 7000 reuseport"));
    let owners = twins.each_ref().map(|twin| (twin.pid(), "python3"));
    await_owners(&lab.control, "eth1 udp 0.0.0.0:7000", &owners);
}

#[test]
fn clients_and_what_a_listener_left_have_owners() {
    let Some(lab) = Lab::up() else { return };
    let client = lab.programs().python(
        "import socket, time\n\
         c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nc.bind(('192.0.2.1', 4000))\n\
         c.connect(('192.0.2.2', 9))\nc.send(b'x')\ntime.sleep(60)",
        &[],
    );
    await_owners(&lab.control, "eth1 udp 192.0.2.1:4000 from 192.0.2.2:9", &[(client.pid(), "python3")]);

    let server = lab.programs().python(
        "import socket, time\n\
         l = socket.create_server(('0.0.0.0', 7000))\nprint('listening')\nc, _ = l.accept()\nl.close()\n\
         print('closed')\nc.recv(1)",
        &[],
    );
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active"]);
    let _far = lab.client.python(
        "import socket, time\nc = socket.create_connection(('192.0.2.1', 7000), 5)\ntime.sleep(60)",
        &[],
    );
    let _ = server.await_log("closed", SOON);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 draining"]);
    await_owners(&lab.control, "eth1 tcp 0.0.0.0:7000", &[(server.pid(), "python3")]);
}

#[test]
fn who_may_not_look_is_told_that_the_owner_is_unknown() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let config = Control::default().to_string();
    lab.control.configure(&config.replace("socket = \"sock\"", "socket = \"sock\"\nothers_may = \"look\""));
    lab.start();
    let server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    await_owners(&lab.control, "eth1 tcp 0.0.0.0:7000", &[(server.pid(), "python3")]);
    // One who may ask the daemon, but another user than the server's.
    let mut l2ctl = Command::new("setpriv");
    l2ctl.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all"]);
    l2ctl.arg(binary("l2ctl")).arg("--socket").arg(lab.control.socket());
    let shown = Finished::new(l2ctl.args(["show", "tunnels", "--json"])).expect_success();
    let rows: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let row = rows.iter().find(|row| row["protocol_address"] == "tcp 0.0.0.0:7000").unwrap();
    assert_eq!(row["owners"], json!([{"pid": null, "program": "unknown"}]));
    assert_eq!(row["sockets"].as_array().unwrap().len(), 1);
}

#[test]
fn an_mptcp_listener_has_its_owner() {
    let Some(lab) = Lab::up() else { return };
    let server = echo_server(lab.programs(), "mptcp 0.0.0.0 7000");
    await_owners(&lab.control, "eth1 tcp 0.0.0.0:7000", &[(server.pid(), "python3")]);
}
