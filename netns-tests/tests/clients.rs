//! Unmodified clients on the control, which go out through the symbol; and the relay's own.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Nginx, Sshd, dnsmasq, echo, echo_server};
use netns_tests::{Lab, Layout, SOON, eventually};

const FAR: Layout = Layout { far: true, second_port: false, router: false, bridge: false };

/// A lab whose symbol has default routes by the client, with a host behind it.
fn lab_with_gateway() -> Option<Lab> {
    let mut lab = Lab::build(FAR)?;
    let mut control = Control::default();
    control.symbols[0].more = format!("gateway = [\"{CLIENT_V4}\", \"{CLIENT_V6}\"]");
    lab.control.configure(&control.to_string());
    lab.start();
    Some(lab)
}

#[test]
fn curl_reaches_a_server_outside() {
    let Some(lab) = lab_with_gateway() else { return };
    let far = lab.far.as_ref().unwrap();
    let nginx = Nginx::start(far, lab.folder(), &["80", "[::]:80"]);
    far.await_listener("tcp", 80);
    for (url, from) in [(format!("http://{FAR_V4}/"), PORT_V4), (format!("http://[{FAR_V6}]/"), PORT_V6)] {
        lab.programs().ok(&format!("curl -sSf --max-time 5 {url}"));
        nginx.await_access(&format!("{from} - -"));
    }
    assert_eq!(lab.relay.rules().unwrap(), [""; 0]);
}

#[test]
fn ping_goes_out_and_comes_back() {
    let Some(lab) = lab_with_gateway() else { return };
    for address in [CLIENT_V4, CLIENT_V6, FAR_V4, FAR_V6] {
        lab.programs().ok(&format!("ping -c 3 -i 0.05 -W 2 {address}"));
    }
}

#[test]
fn traceroute_sees_the_routers_on_the_way() {
    let Some(lab) = lab_with_gateway() else { return };
    for (target, first) in [(FAR_V4, CLIENT_V4), (FAR_V6, CLIENT_V6)] {
        let seen = lab.programs().ok(&format!("traceroute -n -w 2 -q 1 -m 4 {target}"));
        let hops: Vec<&str> = seen.lines().skip(1).filter_map(|hop| hop.split_whitespace().nth(1)).collect();
        assert_eq!(hops, [first, target], "{seen}");
    }
}

#[test]
fn names_are_resolved_outside() {
    let Some(lab) = Lab::up() else { return };
    let _dns = dnsmasq(&lab.client);
    lab.client.await_listener("udp", 53);
    for address in [CLIENT_V4, CLIENT_V6] {
        let line = format!("dig +short +time=2 +tries=2 @{address} l2.test");
        assert_eq!(lab.programs().ok(&line).trim(), "198.51.100.7", "{line}");
    }
    // The rules of these flows go with their sockets.
    lab.relay.await_no_flows("udp");
}

#[test]
fn iperf_runs_in_both_directions() {
    let Some(lab) = Lab::up() else { return };
    let server = lab.programs().spawn("iperf3 --server --forceflush");
    server.await_log("listening", SOON);
    lab.relay.await_rules(&["eth1 tcp *:5201 active"]);
    for direction in ["", "--reverse"] {
        let json = lab.client.ok(&format!("iperf3 --client {PORT_V4} --time 2 --json {direction}"));
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default();
        // No benchmark: it only tells a working path from one that lives on retransmissions.
        assert!(rate > 50e6, "{direction} only {:.1} Mb/s", rate / 1e6);
    }
}

#[test]
fn a_thousand_short_connections_leave_no_rule() {
    let Some(lab) = Lab::up() else { return };
    // The server closes first: the clients' sockets do not linger in TIME_WAIT, where they would keep their rules.
    let server = "import socket\nl = socket.create_server(('', 7000), backlog=64)\nprint('listening')\n\
                  while True:\n    c, _ = l.accept()\n    c.sendall(b'x')\n    c.close()";
    let server = lab.client.python(server, &[]);
    server.await_log("listening", SOON);
    let clients = format!(
        "import socket\nfor i in range(1000):\n    with socket.create_connection(('{CLIENT_V4}', 7000), 5) as c:\n        \
         assert c.recv(10) == b'x' and c.recv(10) == b''"
    );
    let _ = lab.programs().run_python(&clients, &[]).expect_success();
    lab.relay.await_no_flows("tcp");
    lab.control.await_no_flows("tcp");
}

#[test]
fn the_relays_own_clients_and_services_go_on() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let mut relay = Relay::default();
    relay.ports[0].more = "relay_services = [\"tcp/22\"]".into();
    lab.relay.configure(&relay.to_string());
    lab.start();

    let control_sshd = Sshd::start(lab.programs(), lab.folder(), 2222);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:2222 active", "eth1 tcp :::2222 active"]);
    let relay_sshd = Sshd::start(&lab.relay_ns, lab.folder(), 22);
    relay_sshd.process.await_log("listening", SOON);
    let namespace = "readlink /proc/self/ns/net";
    let on_relay = relay_sshd.ssh(&lab.client, PORT_V4, 22, namespace).expect_success();
    let on_control = control_sshd.ssh(&lab.client, PORT_V4, 2222, namespace).expect_success();
    assert_eq!(on_relay, lab.relay_ns.ok(namespace));
    assert_eq!(on_control, lab.control_ns.ok(namespace));

    for address in [PORT_V4, PORT_V6] {
        lab.client.ok(&format!("ping -c 2 -i 0.05 -W 2 {address}"));
    }
    for address in [CLIENT_V4, CLIENT_V6] {
        lab.relay_ns.ok(&format!("ping -c 2 -i 0.05 -W 2 {address}"));
    }
    for kind in ["tcp", "udp"] {
        let _server = echo_server(&lab.client, &format!("{kind} :: 7000 dual"));
        for address in [CLIENT_V4, CLIENT_V6] {
            eventually(SOON, "the relay's own connection", || {
                echo(&lab.relay_ns, &format!("{kind} {address} 7000 1000")).into_result()
            });
        }
    }
}
