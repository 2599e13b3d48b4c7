//! Symbols of kind address: unmodified programs behind one address of the relay's port, by translation instead of tunnels.

use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay, Symbol, with_addresses};
use netns_tests::program::{Nginx, PAGE, dnsmasq, echo, echo_server};
use netns_tests::{Daemon, Lab, Layout, Netns, SOON, binary, eventually};
use rstest::rstest;
use serde_json::json;
use std::rc::Rc;

#[track_caller]
fn up(control: &Daemon) {
    for name in ["vip4", "vip6"] {
        control.await_row("symbols", &json!({"name": name, "kind": "address", "state": "up"}));
    }
}

fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.into() }
}

fn curl(client: &Netns, address: &str) -> Result<String, String> {
    client.run(&format!("curl -sS --max-time 3 http://{}/", host(address))).into_result()
}

#[test]
fn nginx_behind_a_virtual_address_sees_the_clients() {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    lab.relay.await_rules(&[]);
    assert!(curl(&lab.client, VIRTUAL_V4).is_err(), "nobody listens yet");
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    let rules = ["eth1 tcp 192.0.2.10:80 active", "eth1 tcp 2001:db8:1::10:80 active"];
    lab.relay.await_rules(&rules);
    lab.control.await_rules(&rules);
    for (address, client) in [(VIRTUAL_V4, CLIENT_V4), (VIRTUAL_V6, CLIENT_V6)] {
        assert_eq!(curl(&lab.client, address).unwrap(), PAGE);
        nginx.await_access(&format!("{client} - -"));
    }
    assert!(curl(&lab.client, PORT_V4).is_err(), "another address of the port is not the symbol's");

    lab.relay.await_row("translations", &json!({"table": "dispatch", "from": VIRTUAL_V4, "to": "10.99.0.2"}));
    lab.relay.await_row("translations", &json!({"table": "receive", "from": "10.99.0.2", "to": VIRTUAL_V4}));
    lab.control
        .await_row("translations", &json!({"table": "receive", "from": "10.99.0.2", "to": VIRTUAL_V4}));
    lab.control.await_row("translations", &json!({"table": "send", "from": VIRTUAL_V4, "to": "10.99.0.2"}));
    for daemon in [&lab.relay, &lab.control] {
        assert!(daemon.show("tunnels").unwrap().is_empty(), "there are no tunnels");
        let rows = daemon.show("translations").unwrap();
        assert_eq!(rows.len(), 4, "{rows:?}");
        assert!(rows.iter().all(|row| row["packets"].as_u64() > Some(2)), "{rows:?}");
        let table = daemon.l2ctl("show translations").expect_success();
        assert!(table.contains("FROM") && table.contains("10.99.0.2"), "{table}");
    }

    drop(nginx);
    lab.relay.await_rules(&[]);
    lab.control.await_rules(&[]);
    assert!(curl(&lab.client, VIRTUAL_V6).is_err(), "nobody listens any more");
}

#[test]
fn large_transfers_go_both_ways() {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    // Checksums are computed, and looked at by who receives the packets.
    lab.relay_ns.ok("ethtool -K eth1 tx off");
    let server = lab.programs().spawn("iperf3 --server --forceflush");
    server.await_log("listening", SOON);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:5201 active", "eth1 tcp 2001:db8:1::10:5201 active"]);
    for address in [VIRTUAL_V4, VIRTUAL_V6] {
        for direction in ["", "--reverse"] {
            let line = format!("iperf3 --client {address} --bytes 50M --json {direction}");
            let json = lab.client.ok(&line);
            assert!(json.contains("sum_received"), "{json}");
        }
    }
    for daemon in [&lab.relay, &lab.control] {
        for reason in ["bad-packet", "bad-offload", "port-tx-error", "symbol-tx-error"] {
            assert_eq!(daemon.counter(&format!("drop.{reason}")), 0, "{reason}");
        }
    }
}

#[test]
fn dns_is_served_by_udp_and_by_tcp() {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let dns = dnsmasq(lab.programs());
    let both = ["tcp 192.0.2.10:53", "tcp 2001:db8:1::10:53", "udp 192.0.2.10:53", "udp 2001:db8:1::10:53"];
    lab.relay.await_rules(&both.map(|rule| format!("eth1 {rule} active")).each_ref().map(String::as_str));
    for address in [VIRTUAL_V4, VIRTUAL_V6] {
        for (kind, record, answer) in [("+notcp", "A", "198.51.100.7"), ("+tcp", "AAAA", "2001:db8::7")] {
            let line = format!("dig {kind} +short +time=2 +tries=2 @{address} l2.test {record}");
            assert_eq!(lab.client.ok(&line).trim(), answer, "{line}");
        }
    }
    drop(dns);
    lab.relay.await_rules(&[]);
}

/// A socket on the virtual address makes a rule; on the control's own address none, as nobody outside knows that.
#[rstest]
#[case::virtual_v4("tcp 192.0.2.10 7000", &["tcp 192.0.2.10:7000"], Some(VIRTUAL_V4))]
#[case::virtual_v6("tcp 2001:db8:1::10 7000", &["tcp 2001:db8:1::10:7000"], Some(VIRTUAL_V6))]
#[case::udp("udp 192.0.2.10 7000", &["udp 192.0.2.10:7000"], Some(VIRTUAL_V4))]
#[case::device("tcp 0.0.0.0 7000 device=vip4", &["tcp 192.0.2.10:7000"], Some(VIRTUAL_V4))]
#[case::wildcard_v6("tcp :: 7000 v6only", &["tcp 2001:db8:1::10:7000"], Some(VIRTUAL_V6))]
#[case::mptcp("mptcp 0.0.0.0 7000", &["tcp 192.0.2.10:7000"], Some(VIRTUAL_V4))]
#[case::the_controls_own("tcp 10.99.0.2 7000", &[], None)]
#[case::loopback("tcp 127.0.0.1 7000", &[], None)]
fn sockets_become_rules(#[case] server: &str, #[case] rules: &[&str], #[case] answering: Option<&str>) {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let process = echo_server(lab.programs(), server);
    // A second port, opened later, shows that the first one has been looked at.
    let marker = echo_server(lab.programs(), "udp 0.0.0.0 9999");
    let mut expected: Vec<String> = rules.iter().map(|rule| format!("eth1 {rule} active")).collect();
    expected.push("eth1 udp 192.0.2.10:9999 active".to_owned());
    expected.sort_unstable();
    lab.relay.await_rules(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    let client = if server.starts_with("udp") { "udp" } else { "tcp" };
    if let Some(address) = answering {
        let _ = echo(&lab.client, &format!("{client} {address} 7000 1000")).expect_success();
    }
    drop((process, marker));
    lab.relay.await_rules(&[]);
}

#[test]
fn programs_go_out_from_the_virtual_address() {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let server = Nginx::start(&lab.client, lab.folder(), &["80", "[::]:80"]);
    lab.client.await_listener("tcp", 80);
    for (client, own) in [(CLIENT_V4, VIRTUAL_V4), (CLIENT_V6, VIRTUAL_V6)] {
        assert_eq!(curl(lab.programs(), client).unwrap(), PAGE);
        server.await_access(&format!("{own} - -"));
        lab.programs().ok(&format!("ping -c 2 -i 0.1 -W 2 {client}"));
        lab.programs().ok(&format!("ping -M do -s 1400 -c 2 -i 0.1 -W 2 {client}"));
    }
    let flows = lab.relay.flows("tcp").unwrap();
    assert!(flows.contains(&format!("{CLIENT_V4}:80")), "{flows:?}");
}

#[test]
fn an_open_connection_outlives_its_listener() {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let server = lab.programs().python(
        "import socket\n\
         l = socket.create_server(('0.0.0.0', 7000))\nprint('listening')\nc, _ = l.accept()\nl.close()\n\
         print('closed')\nwhile data := c.recv(100): c.sendall(data)\nprint('done')",
        &[],
    );
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:7000 active"]);
    let client = lab.client.python(
        "import socket, time\n\
         c = socket.create_connection(('192.0.2.10', 7000), 5)\n\
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

/// Going out by the relay's kernel does not lead into it.
#[rstest]
#[case::v4(PORT_V4, SEGMENT_RELAY_V4)]
#[case::v6(PORT_V6, PORT_V6)]
fn the_relays_own_services_are_out_of_reach(#[case] port: &str, #[case] segment: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let _own = echo_server(&lab.relay_ns, "tcp :: 7005 dual");
    let before = lab.relay.counter("drop.not-translated");
    for address in [port, segment] {
        let tried = echo(lab.programs(), &format!("tcp {address} 7005 10"));
        assert!(tried.stderr().contains("imeout"), "{tried}");
    }
    lab.relay.await_counter("drop.not-translated", before);
}

#[rstest]
#[case::v4(CLIENT_V4, VIRTUAL_V4)]
#[case::v6(CLIENT_V6, VIRTUAL_V6)]
fn fragments_cross_both_ways(#[case] client: &str, #[case] address: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    // Of the relay's kernel, and through the symbol.
    lab.client.ok(&format!("ping -s 4000 -c 3 -i 0.05 -W 2 {address}"));
    lab.programs().ok(&format!("ping -s 4000 -c 3 -i 0.05 -W 2 {client}"));
    let _inside = echo_server(lab.programs(), "udp :: 7000 v6only");
    let _inside_v4 = echo_server(lab.programs(), "udp 0.0.0.0 7000");
    let _outside = echo_server(&lab.client, "udp :: 7001 v6only");
    let _outside_v4 = echo_server(&lab.client, "udp 0.0.0.0 7001");
    lab.relay.await_rules(&["eth1 udp 192.0.2.10:7000 active", "eth1 udp 2001:db8:1::10:7000 active"]);
    for _ in 0..5 {
        let _ = echo(&lab.client, &format!("udp {address} 7000 4000")).expect_success();
        let _ = echo(lab.programs(), &format!("udp {client} 7001 4000")).expect_success();
        let _ = echo(&lab.client, &format!("udp {address} 7000 60000")).expect_success();
    }
}

#[rstest]
#[case::v4(CLIENT_V4)]
#[case::v6(CLIENT_V6)]
fn an_icmp_error_reaches_the_program_that_caused_it(#[case] client: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let sent = echo(lab.programs(), &format!("udp {client} 7009 10"));
    assert!(sent.stderr().contains("ConnectionRefusedError"), "{sent}");
}

#[rstest]
#[case::v4("-4", FAR_V4, CLIENT_V4)]
#[case::v6("-6", FAR_V6, CLIENT_V6)]
fn the_path_to_a_far_host_is_traced(#[case] version: &str, #[case] far: &str, #[case] router: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout { far: true, ..Layout::default() }) else { return };
    route_by_client(&lab);
    // As traceroute does it: a router on the way says that the time to live is over.
    let ping = lab.programs().run(&format!("ping {version} -n -t 1 -c 1 -W 2 {far}"));
    assert!(ping.to_string().contains(router) && ping.to_string().contains("exceeded"), "{ping}");
    lab.programs().ok(&format!("ping {version} -n -c 1 -W 2 {far}"));
}

/// The relay's own way to the hosts behind the client.
fn route_by_client(lab: &Lab) {
    lab.relay_ns.ip(&[
        &format!("route add 198.51.100.0/24 via {CLIENT_V4}"),
        &format!("route add 2001:db8:2::/64 via {CLIENT_V6}"),
    ]);
}

fn download(client: &Netns, address: &str) -> String {
    let line = format!(
        "curl -sSf --max-time 10 -r 0-2000000 -o /dev/null -w %{{size_download}} http://{}/large",
        host(address)
    );
    client.ok(&line)
}

#[rstest]
#[case::v4(FAR_V4, VIRTUAL_V4)]
#[case::v6(FAR_V6, VIRTUAL_V6)]
fn a_narrow_path_is_discovered(#[case] far_address: &str, #[case] address: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout { far: true, ..Layout::default() }) else { return };
    route_by_client(&lab);
    let far = lab.far.as_ref().unwrap();
    lab.client.ip(&["link set eth1 mtu 1300"]);
    far.ip(&["link set eth0 mtu 1300"]);
    let ping = lab.programs().run(&format!("ping -M do -s 1400 -c 2 -i 0.2 -W 2 {far_address}"));
    assert!(ping.to_string().contains("mtu") && ping.to_string().contains("1300"), "{ping}");
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active", "eth1 tcp 2001:db8:1::10:80 active"]);
    assert_eq!(download(far, address), "2000001");
    nginx.await_access(&format!("{far_address} - -"));
}

/// A datagram super-packet, which the relay has to cut: each datagram arrives whole, with a right checksum.
#[rstest]
#[case::v4(CLIENT_V4, "0.0.0.0")]
#[case::v6(CLIENT_V6, "::")]
fn datagrams_that_a_program_sends_at_once_arrive_one_by_one(#[case] client: &str, #[case] any: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let family = if client.contains(':') { "socket.AF_INET6" } else { "socket.AF_INET" };
    let receiver = lab.client.python(
        &format!(
            "import socket\ns = socket.socket({family}, socket.SOCK_DGRAM)\ns.bind(('{any}', 7002))\nprint('listening')\n\
             got = [s.recv(65536) for _ in range(20)]\n\
             assert b''.join(got) == bytes(range(200)) * 100, got\nprint('got', sorted(map(len, got)))"
        ),
        &[],
    );
    receiver.await_log("listening", SOON);
    let send = format!(
        "import socket\ns = socket.socket({family}, socket.SOCK_DGRAM)\ns.connect(('{client}', 7002))\n\
         UDP_SEGMENT = 103\ns.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)\ns.send(bytes(range(200)) * 100)"
    );
    let _ = lab.programs().run_python(&send, &[]).expect_success();
    receiver.await_log("got [1000, 1000", SOON);
}

/// What the relay's own kernel finds out on the way: a route with a smaller MTU than its interface.
#[rstest]
#[case::v4("-4", FAR_V4, VIRTUAL_V4, CLIENT_V4, "198.51.100.0/24")]
#[case::v6("-6", FAR_V6, VIRTUAL_V6, CLIENT_V6, "2001:db8:2::/64")]
fn a_narrow_route_of_the_relay_is_discovered(
    #[case] version: &str,
    #[case] far: &str,
    #[case] address: &str,
    #[case] router: &str,
    #[case] network: &str,
) {
    let Some(lab) = Lab::up_with_addresses(Layout { far: true, ..Layout::default() }) else { return };
    lab.relay_ns.ip(&[&format!("route add {network} via {router} mtu 1300")]);
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active", "eth1 tcp 2001:db8:1::10:80 active"]);
    assert_eq!(download(lab.far.as_ref().unwrap(), address), "2000001");
    let ping = lab.programs().run(&format!("ping {version} -M do -s 1400 -c 2 -i 0.2 -W 2 {far}"));
    assert!(ping.to_string().contains("mtu") && ping.to_string().contains("1300"), "{ping}");
}

/// A way that there is not, and a neighbor that does not answer.
#[rstest]
#[case::no_route_v4("198.51.100.9", "Network is unreachable")]
#[case::no_route_v6("2001:db8:9::9", "Network is unreachable")]
#[case::no_neighbor_v4("192.0.2.99", "No route to host")]
#[case::no_neighbor_v6("2001:db8:1::99", "No route to host")]
fn a_program_hears_that_there_is_no_way(#[case] address: &str, #[case] words: &str) {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let connect = format!("import socket\nsocket.create_connection(('{address}', 80), 8)");
    let refused = lab.programs().run_python(&connect, &[]);
    assert!(refused.stderr().contains(words), "{refused}");
}

/// Answers leave by the relay's routes: here by another port of the relay, which is narrower than the one of the request.
#[rstest]
#[case::v4("198.51.100.77", VIRTUAL_V4, CLIENT2_V4, PORT2_V4)]
#[case::v6("2001:db8:2::77", VIRTUAL_V6, CLIENT2_V6, PORT2_V6)]
fn answers_leave_by_the_relays_own_routes(
    #[case] asking: &str,
    #[case] address: &str,
    #[case] back: &str,
    #[case] port2: &str,
) {
    let Some(lab) = Lab::up_with_addresses(Layout { second_port: true, ..Layout::default() }) else { return };
    let client2 = lab.client2.as_ref().unwrap();
    // A client that asks at eth1 and is answered by way of eth2 and the other client.
    lab.client
        .ip(&[&format!("link add x0 type veth peer name x0 netns {}", client2.name()), "link set x0 up"]);
    client2.ip(&["link set x0 up"]);
    let length = if asking.contains(':') { 128 } else { 32 };
    lab.client.ip(&[&format!("addr add {asking}/{length} dev lo")]);
    for netns in [&lab.client, client2] {
        for setting in ["ipv4.conf.all.rp_filter=0", "ipv4.conf.x0.rp_filter=0", "ipv4.ip_forward=1"] {
            netns.sysctl(&format!("net.{setting}"));
        }
        netns.sysctl("net.ipv6.conf.all.forwarding=1");
    }
    let mac = lab.client.ip_json("link show x0")[0]["address"].as_str().unwrap().to_owned();
    client2.ip(&[
        &format!("route add {asking}/{length} dev x0"),
        &format!("neigh replace {asking} lladdr {mac} dev x0"),
        &format!("route add {address}/{length} via {port2}"),
        "link set eth0 mtu 1300",
    ]);
    lab.relay_ns.ip(&["link set eth2 mtu 1300", &format!("route add {asking}/{length} via {back} dev eth2")]);
    let _server = echo_server(lab.programs(), "udp :: 7000 dual");
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    eventually(SOON, "the rules are there", || match lab.relay.rules()?.len() {
        4 => Ok(()),
        count => Err(format!("{count} rules")),
    });
    let before = received(client2);
    let line = format!(
        "curl -sSf --max-time 10 --interface {asking} -r 0-2000000 -o /dev/null -w %{{size_download}} http://{}/large",
        host(address)
    );
    assert_eq!(lab.client.ok(&line), "2000001");
    assert!(received(client2) - before > 2_000_000, "the answers came by the other way");
}

fn received(netns: &Netns) -> u64 {
    netns.ip_json("-s link show eth0")[0]["stats64"]["rx"]["bytes"].as_u64().unwrap()
}

#[test]
fn both_kinds_stand_side_by_side_on_one_control() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    lab.relay_ns.ip(&[&format!("addr add {VIRTUAL_V4}/24 dev eth1")]);
    let netns = lab.programs().name().to_owned();
    let interface = Symbol { netns: Some(netns.clone()), ..Symbol::new("eth1") };
    let control = Control { symbols: vec![interface], ..Control::default() };
    lab.control.configure(&with_addresses(&control, &netns, &[("vip4", VIRTUAL_V4, "")]));
    lab.start();
    lab.control.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth1 tcp 192.0.2.10:80 active"]);
    for _ in 0..20 {
        for address in [PORT_V4, VIRTUAL_V4] {
            assert_eq!(curl(&lab.client, address).unwrap(), PAGE);
        }
    }
}

/// A second control on the same segment.
fn second_control(lab: &Lab, text: &str) -> (Rc<Netns>, Daemon) {
    let netns = Rc::new(lab.netns("control2"));
    lab.add_to_segment(&netns);
    let daemon = Daemon::new("l2control", &netns, lab.folder().join("control2"), text);
    (netns, daemon)
}

#[test]
fn both_kinds_serve_one_service_on_two_controls() {
    let Some(mut lab) = Lab::build(Layout { bridge: true, ..Layout::default() }) else { return };
    lab.start();
    let text = with_addresses(
        &Control { name: "control2".into(), ..Control::without_symbols() },
        "",
        &[("vip4", PORT_V4, "services = [\"tcp/80\"]")],
    )
    .replace("netns = \"\"\n", "");
    let (netns, mut control2) = second_control(&lab, &text);
    control2.start();
    control2.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
    let first = Nginx::start(lab.programs(), &lab.folder().join("1"), &["80"]);
    let second = Nginx::start(&netns, &lab.folder().join("2"), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth1 tcp 192.0.2.1:80 active"]);
    for _ in 0..40 {
        assert_eq!(curl(&lab.client, PORT_V4).unwrap(), PAGE);
    }
    first.await_access(CLIENT_V4);
    second.await_access(CLIENT_V4);
    // Whoever goes leaves all of it to the other.
    drop(first);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.1:80 active"]);
    for _ in 0..10 {
        assert_eq!(curl(&lab.client, PORT_V4).unwrap(), PAGE);
    }
}

#[test]
fn two_controls_share_a_virtual_address_and_claim_none_of_the_segment_twice() {
    let Some(mut lab) = Lab::build(Layout { bridge: true, ..Layout::default() }) else { return };
    let symbols = [("vip4", PORT_V4, "local = \"10.99.0.2\"")];
    let text = |name: &str| {
        let control = Control { name: name.into(), ..Control::without_symbols() };
        with_addresses(&control, "", &symbols).replace("netns = \"\"\n", "")
    };
    lab.control.configure(&text("control1"));
    lab.relay.start();
    lab.control.start();
    lab.control.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
    let (_netns, mut control2) = second_control(&lab, &text("control2"));
    control2.start();
    let row = control2.await_row("symbols", &json!({"name": "vip4", "state": "refused"}));
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.contains("control1") && reason.contains("10.99.0.2"), "{reason}");
    let row = lab.relay.await_row("symbols", &json!({"control": "control2", "state": "refused"}));
    assert!(row["reason"].as_str().unwrap().contains("10.99.0.2"), "{row}");
    control2.terminate();
    control2.configure(&text("control2").replace("local = \"10.99.0.2\"\n", ""));
    control2.start();
    control2.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
    lab.relay.await_row("translations", &json!({"control": "control1", "to": PORT_V4}));
    lab.relay.await_row("translations", &json!({"control": "control2", "to": PORT_V4}));
}

#[test]
fn what_cannot_be_had_is_refused_and_the_rest_goes_on() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    let port =
        Port { allow: vec!["control = \"control1\"\nservices = [\"tcp/80\"]".into()], ..Port::new("eth1") };
    lab.relay.configure(&Relay { ports: vec![port], ..Relay::default() }.to_string());
    let netns = lab.programs().name().to_owned();
    let symbols = [("good", PORT_V4, ""), ("absent", "192.0.2.99", "")];
    lab.control.configure(&with_addresses(&Control::without_symbols(), &netns, &symbols));
    lab.relay.start();
    lab.control.start();
    lab.control.await_row("symbols", &json!({"name": "good", "state": "up"}));
    let words = "does not have the address 192.0.2.99; it has 192.0.2.1";
    let row = lab.control.await_row("symbols", &json!({"name": "absent", "state": "refused"}));
    assert!(row["reason"].as_str().unwrap().contains(words), "{row}");
    let row = lab.relay.await_row("symbols", &json!({"port": "eth1", "state": "refused"}));
    assert!(row["reason"].as_str().unwrap().contains(words), "{row}");

    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "81"]);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.1:80 active", "eth1 tcp 192.0.2.1:81 refused"]);
    for daemon in [&lab.relay, &lab.control] {
        let row = daemon.await_row("rules", &json!({"port_number": 81, "state": "refused"}));
        assert!(row["reason"].as_str().unwrap().contains("not permitted"), "{row}");
    }
    assert_eq!(curl(&lab.client, PORT_V4).unwrap(), PAGE);

    // The address comes: the relay says so.
    lab.relay_ns.ip(&["addr add 192.0.2.99/24 dev eth1"]);
    lab.control.await_row("symbols", &json!({"name": "absent", "state": "up"}));
    lab.control.await_log("port eth1 has another address");
    assert_eq!(curl(&lab.client, "192.0.2.99").unwrap(), PAGE);
}

#[test]
fn an_address_that_the_port_loses_takes_the_symbol_down_for_as_long() {
    let Some(lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active"]);
    lab.relay_ns.ip(&[&format!("addr del {VIRTUAL_V4}/24 dev eth1")]);
    let row = lab.control.await_row("symbols", &json!({"name": "vip4", "state": "down"}));
    assert!(row["reason"].as_str().unwrap().contains(VIRTUAL_V4), "{row}");
    lab.relay_ns.ip(&[&format!("addr add {VIRTUAL_V4}/24 dev eth1")]);
    lab.control.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
    eventually(SOON, "nginx is reached", || curl(&lab.client, VIRTUAL_V4).map(|_| ()));
}

/// What the daemons put into the kernels of the namespaces.
fn traces(lab: &Lab) -> String {
    let mut all = String::new();
    for netns in [lab.programs(), &*lab.control_ns, &*lab.relay_ns] {
        for version in ["-4", "-6"] {
            for line in ["rule list", "route show table all proto 108"] {
                let shown = netns.run(&format!("ip {version} {line}"));
                let own = |line: &&str| line.contains("proto 108") || line.contains("lookup 108");
                all.extend(shown.stdout().lines().filter(own).map(|line| format!("{line}\n")));
            }
        }
        let links = netns.ok("ip -o link");
        all.extend(links.lines().filter(|line| line.contains("vip")).map(|line| format!("{line}\n")));
    }
    all
}

#[test]
fn an_orderly_end_leaves_nothing() {
    let Some(mut lab) = Lab::up_with_addresses(Layout::default()) else { return };
    for address in [VIRTUAL_V4, VIRTUAL_V6] {
        assert!(traces(&lab).contains(&format!("from {address} lookup")), "{}", traces(&lab));
    }
    lab.control.terminate();
    lab.relay.await_no_row("translations", &json!({}));
    assert_eq!(traces(&lab), "");
}

#[test]
fn connections_outlive_both_daemons() {
    let Some(mut lab) = Lab::up_with_addresses(Layout::default()) else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active"]);
    let line = format!(
        "curl -sSf --max-time 30 --limit-rate 400k -r 0-1600000 -o /dev/null -w done http://{VIRTUAL_V4}/large"
    );
    let downloading = lab.client.spawn(&line);
    lab.control.kill_9();
    lab.control.start();
    up(&lab.control);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active"]);
    lab.relay.kill_9();
    lab.relay.start();
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active"]);
    downloading.await_log("done", 3 * SOON);
    assert_eq!(curl(&lab.client, VIRTUAL_V4).unwrap(), PAGE);
    lab.control.terminate();
    lab.relay.terminate();
    assert_eq!(traces(&lab), "");
}

#[test]
fn what_a_crash_left_is_swept() {
    let Some(mut lab) = Lab::up_with_addresses(Layout::default()) else { return };
    for keeper in lab.control.keepers() {
        lab.control_ns.ok(&format!("kill -9 {keeper}"));
    }
    lab.control.kill_9();
    eventually(SOON, "the interfaces are gone", || {
        let rows = traces(&lab);
        if rows.contains("vip") { Err(rows) } else { Ok(()) }
    });
    // The kernel has kept the rules.
    assert!(traces(&lab).contains(VIRTUAL_V4), "{}", traces(&lab));
    let netns = lab.programs().name().to_owned();
    lab.control.configure(&with_addresses(&Control::without_symbols(), &netns, &[("vip6", VIRTUAL_V6, "")]));
    lab.control.start();
    lab.control.await_row("symbols", &json!({"name": "vip6", "state": "up"}));
    let rules = lab.programs().ok("ip -4 rule list");
    assert!(!rules.contains(VIRTUAL_V4), "{rules}");
    lab.control.terminate();
    assert_eq!(traces(&lab), "");
}

#[test]
fn the_check_knows_the_kind() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    lab.control.configure(&with_addresses(
        &Control::without_symbols(),
        "x",
        &[("vip4", VIRTUAL_V4, "gateway = [\"192.0.2.1\"]")],
    ));
    let refused = lab.control.run(&["--check"]);
    assert!(
        refused.stderr().contains("control.toml:") && refused.stderr().contains("default_route"),
        "{refused}"
    );
    assert!(binary("l2ctl").exists());
}
