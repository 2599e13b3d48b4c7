//! Unmodified servers on the control, reached by a client at the relay's port.

use netns_tests::address::*;
use netns_tests::program::{Nginx, PAGE, Sshd, dnsmasq, echo, echo_server};
use netns_tests::{Lab, Layout, SOON, eventually};
use nix::sys::signal::Signal;
use rstest::rstest;

const LISTEN: [&str; 2] = ["80", "[::]:80"];
const RULES: [&str; 2] = ["eth1 tcp 0.0.0.0:80 active", "eth1 tcp :::80 active"];

fn curl(lab: &Lab, address: &str) -> Result<String, String> {
    lab.client.run(&format!("curl -sS --max-time 2 http://{}/", host(address))).into_result()
}

fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.into() }
}

#[rstest]
#[case::in_the_daemons_namespace(Layout::default())]
#[case::in_a_namespace_of_its_own(Layout { router: true, ..Layout::default() })]
fn nginx_sees_the_clients_own_addresses(#[case] layout: Layout) {
    let Some(mut lab) = Lab::build(layout) else { return };
    lab.start();
    lab.relay.await_rules(&[]);
    assert!(curl(&lab, PORT_V4).is_err(), "nobody listens yet");

    let nginx = Nginx::start(lab.programs(), lab.folder(), &LISTEN);
    lab.relay.await_rules(&RULES);
    lab.control.await_rules(&RULES);
    for (port, client) in [(PORT_V4, CLIENT_V4), (PORT_V6, CLIENT_V6)] {
        assert_eq!(curl(&lab, port).unwrap(), PAGE);
        nginx.await_access(&format!("{client} - -"));
    }

    drop(nginx);
    lab.relay.await_rules(&[]);
    lab.control.await_rules(&[]);
    assert!(curl(&lab, PORT_V4).is_err(), "nobody listens any more");
}

#[test]
fn nginx_reload_moves_the_rule() {
    let Some(lab) = Lab::up() else { return };
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    nginx.configure(&["8080"]);
    nginx.master.signal(Signal::SIGHUP);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:8080 active"]);
    lab.client.ok(&format!("curl -sf --max-time 2 http://{PORT_V4}:8080/"));
}

#[test]
fn nginx_restart_brings_the_rule_back() {
    let Some(lab) = Lab::up() else { return };
    let mut nginx = Nginx::start(lab.programs(), lab.folder(), &LISTEN);
    lab.relay.await_rules(&RULES);
    nginx.master.terminate(SOON);
    lab.relay.await_rules(&[]);
    let _again = Nginx::start(lab.programs(), lab.folder(), &LISTEN);
    lab.relay.await_rules(&RULES);
    assert_eq!(curl(&lab, PORT_V6).unwrap(), PAGE);
}

#[test]
fn a_rule_lives_until_the_last_holder_of_its_socket_is_killed() {
    let Some(lab) = Lab::up() else { return };
    let mut nginx = Nginx::start(lab.programs(), lab.folder(), &LISTEN);
    lab.relay.await_rules(&RULES);
    assert_eq!(curl(&lab, PORT_V4).unwrap(), PAGE);
    nginx.master.kill_9();
    assert_eq!(curl(&lab, PORT_V4).unwrap(), PAGE, "the workers still serve");
    lab.relay.await_rules(&RULES);
    nginx.master.kill_9_all();
    lab.relay.await_rules(&[]);
}

#[test]
fn dns_is_served_by_udp_and_by_tcp_on_one_port() {
    let Some(lab) = Lab::up() else { return };
    let dns = dnsmasq(lab.programs());
    let both = ["tcp 0.0.0.0:53", "tcp :::53", "udp 0.0.0.0:53", "udp :::53"];
    lab.relay.await_rules(&both.map(|rule| format!("eth1 {rule} active")).each_ref().map(String::as_str));
    for address in [PORT_V4, PORT_V6] {
        for (kind, record, answer) in [("+notcp", "A", "198.51.100.7"), ("+tcp", "AAAA", "2001:db8::7")] {
            let line = format!("dig {kind} +short +time=2 +tries=2 @{address} l2.test {record}");
            assert_eq!(lab.client.ok(&line).trim(), answer, "{line}");
        }
    }
    drop(dns);
    lab.relay.await_rules(&[]);
}

#[test]
fn ssh_to_a_port_that_was_opened_a_moment_ago() {
    let Some(lab) = Lab::up() else { return };
    let sshd = Sshd::start(lab.programs(), lab.folder(), 2222);
    sshd.process.await_log("listening", SOON);
    let said = sshd.ssh(&lab.client, PORT_V4, 2222, "echo $SSH_CLIENT").expect_success();
    assert!(said.starts_with(CLIENT_V4), "{said}");
}

/// Every way to open a port, the rules that it makes, and to which of the symbol's addresses it answers.
#[rstest]
#[case::wildcard_v4("tcp 0.0.0.0 7000", &["tcp 0.0.0.0:7000"], &[PORT_V4])]
#[case::wildcard_v6("tcp :: 7000 v6only", &["tcp :::7000"], &[PORT_V6])]
#[case::dual_stack("tcp :: 7000 dual", &["tcp *:7000"], &[PORT_V4, PORT_V6])]
#[case::udp_dual_stack("udp :: 7000 dual", &["udp *:7000"], &[PORT_V6])]
#[case::udp("udp 0.0.0.0 7000", &["udp 0.0.0.0:7000"], &[PORT_V4])]
#[case::address_v4("tcp 192.0.2.1 7000", &["tcp 192.0.2.1:7000"], &[PORT_V4])]
#[case::address_v6("tcp 2001:db8:1::1 7000", &["tcp 2001:db8:1::1:7000"], &[PORT_V6])]
#[case::udp_address("udp 192.0.2.1 7000", &["udp 192.0.2.1:7000"], &[PORT_V4])]
#[case::device("tcp 0.0.0.0 7000 device=eth1", &["tcp 0.0.0.0:7000"], &[PORT_V4])]
#[case::another_device("tcp 0.0.0.0 7000 device=lan0", &[], &[])]
#[case::loopback("tcp 127.0.0.1 7000", &[], &[])]
#[case::mptcp("mptcp 0.0.0.0 7000", &["tcp 0.0.0.0:7000"], &[PORT_V4])]
#[case::mptcp_dual_stack("mptcp :: 7000 dual", &["tcp *:7000"], &[PORT_V4, PORT_V6])]
fn sockets_become_rules(#[case] server: &str, #[case] rules: &[&str], #[case] answering: &[&str]) {
    let Some(lab) = Lab::up() else { return };
    let process = echo_server(lab.programs(), server);
    // A second port, opened later, shows that the first one has been looked at.
    let marker = echo_server(lab.programs(), "udp 0.0.0.0 9999");
    let rules: Vec<String> = rules.iter().map(|rule| format!("eth1 {rule} active")).collect();
    let mut with_marker: Vec<&str> =
        rules.iter().map(String::as_str).chain(["eth1 udp 0.0.0.0:9999 active"]).collect();
    with_marker.sort_unstable();
    lab.relay.await_rules(&with_marker);
    let client = if server.starts_with("udp") { "udp" } else { "tcp" };
    for address in answering {
        let _ = echo(&lab.client, &format!("{client} {address} 7000 1000")).expect_success();
    }
    drop((process, marker));
    lab.relay.await_rules(&[]);
}

#[test]
fn sockets_that_share_a_port_share_a_rule_until_the_last_is_closed() {
    let Some(lab) = Lab::up() else { return };
    let rule = ["eth1 tcp 0.0.0.0:7000 active"];
    let first = echo_server(lab.programs(), "tcp 0.0.0.0 7000 reuseport");
    lab.relay.await_rules(&rule);
    let second = echo_server(lab.programs(), "tcp 0.0.0.0 7000 reuseport");
    drop(first);
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 7000 1000")).expect_success();
    lab.relay.await_rules(&rule);
    drop(second);
    lab.relay.await_rules(&[]);
}

#[test]
fn a_forked_listener_keeps_its_rule_until_both_are_dead() {
    let Some(lab) = Lab::up() else { return };
    let rule = ["eth1 tcp 0.0.0.0:7000 active"];
    let mut parent = echo_server(lab.programs(), "tcp 0.0.0.0 7000 fork");
    lab.relay.await_rules(&rule);
    parent.kill_9();
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 7000 1000")).expect_success();
    lab.relay.await_rules(&rule);
    parent.kill_9_all();
    lab.relay.await_rules(&[]);
}

#[test]
fn one_port_number_by_two_protocols_is_two_rules() {
    let Some(lab) = Lab::up() else { return };
    let _tcp = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    let udp = echo_server(lab.programs(), "udp 0.0.0.0 7000");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active", "eth1 udp 0.0.0.0:7000 active"]);
    let tunnels = lab.relay.show("tunnels").unwrap();
    let mut ids: Vec<u64> = tunnels
        .iter()
        .filter(|tunnel| {
            tunnel["protocol_address"].as_str().is_some_and(|address| address.ends_with(":7000"))
        })
        .filter_map(|tunnel| tunnel["id"].as_u64())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "an up tunnel for each: {tunnels:?}");
    drop(udp);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active"]);
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 7000 1000")).expect_success();
}

/// A program that is spoken to before it speaks, as a receiver of syslog or RTP from one sender.
#[rstest]
#[case::at_once("0")]
#[case::later("0.5")]
fn a_datagram_socket_that_is_connected_receives(#[case] seconds: &str) {
    let Some(lab) = Lab::up() else { return };
    let receiver = lab.programs().python(
        "import socket, sys, time\n\
         s = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 7000))\ntime.sleep(float(sys.argv[1]))\n\
         s.connect(('192.0.2.2', 7001))\nprint('connected')\n\
         for i in range(2): s.recv(100); print('received', i)\ntime.sleep(60)",
        &[seconds],
    );
    receiver.await_log("connected", SOON);
    eventually(SOON, "its flow has a rule in place of the listener", || {
        match (lab.relay.flows("udp")?, lab.relay.rules()?) {
            (flows, rules) if flows == ["192.0.2.2:7001"] && rules.is_empty() => Ok(()),
            rules => Err(format!("{rules:?}")),
        }
    });
    let send = "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('', 7001))\n\
                s.sendto(b'x', ('192.0.2.1', 7000))";
    for count in 0..2 {
        let _ = lab.client.run_python(send, &[]).expect_success();
        receiver.await_log(&format!("received {count}"), SOON);
    }
    drop(receiver);
    lab.relay.await_no_flows("udp");
}

#[test]
fn an_open_connection_outlives_its_listener() {
    let Some(lab) = Lab::up() else { return };
    let server = lab.programs().python(
        "import socket\n\
         l = socket.create_server(('0.0.0.0', 7000))\nprint('listening')\nc, _ = l.accept()\nl.close()\n\
         print('closed')\nwhile data := c.recv(100): c.sendall(data)\nprint('done')",
        &[],
    );
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active"]);
    let client = lab.client.python(
        "import socket, sys, time\n\
         c = socket.create_connection(('192.0.2.1', 7000), 5)\n\
         for i in range(30):\n    c.sendall(b'x')\n    assert c.recv(100) == b'x'\n    time.sleep(0.1)\nprint('echoed')",
        &[],
    );
    server.await_log("closed", SOON);
    client.await_log("echoed", SOON);
    server.await_log("done", SOON);
    eventually(SOON, "no rule stays", || match lab.relay.rules()? {
        rules if rules.is_empty() => Ok(()),
        rules => Err(format!("{rules:?}")),
    });
}
