//! What becomes of packets: sizes, fragments, errors, raw and packet sockets, and who gets none.

use netns_tests::address::*;
use netns_tests::config::{Port, Relay};
use netns_tests::program::{Nginx, echo, echo_server};
use netns_tests::{Lab, Layout, SOON, eventually};
use rstest::rstest;

#[rstest]
#[case::v4(CLIENT_V4, 1472)]
#[case::v6(CLIENT_V6, 1452)]
fn full_size_packets_cross_a_segment_of_the_same_mtu(#[case] address: &str, #[case] payload: u32) {
    let Some(lab) = Lab::up() else { return };
    lab.programs().ok(&format!("ping -M do -s {payload} -c 3 -i 0.05 -W 2 {address}"));
    let too_long = lab.programs().run(&format!("ping -M do -s {} -c 1 -W 1 {address}", payload + 1));
    assert!(!too_long.success(), "the symbol's MTU is the port's, 1500: {too_long}");
}

#[rstest]
#[case::v4(CLIENT_V4, PORT_V4)]
#[case::v6(CLIENT_V6, PORT_V6)]
fn fragments_cross_both_ways(#[case] client: &str, #[case] port: &str) {
    let Some(lab) = Lab::up() else { return };
    lab.programs().ok(&format!("ping -s 4000 -c 3 -i 0.05 -W 2 {client}"));
    let _inside = echo_server(lab.programs(), "udp :: 7000 v6only");
    let _inside_v4 = echo_server(lab.programs(), "udp 0.0.0.0 7000");
    let _outside = echo_server(&lab.client, "udp :: 7001 dual");
    lab.relay.await_rules(&["eth1 udp 0.0.0.0:7000 active", "eth1 udp :::7000 active"]);
    for _ in 0..5 {
        let _ = echo(&lab.client, &format!("udp {port} 7000 4000")).expect_success();
        let _ = echo(lab.programs(), &format!("udp {client} 7001 4000")).expect_success();
    }
}

#[rstest]
#[case::v4(CLIENT_V4)]
#[case::v6(CLIENT_V6)]
fn an_icmp_error_reaches_the_program_that_caused_it(#[case] client: &str) {
    let Some(lab) = Lab::up() else { return };
    let sent = echo(lab.programs(), &format!("udp {client} 7009 10"));
    assert!(sent.stderr().contains("ConnectionRefusedError"), "{sent}");
}

#[rstest]
#[case::v4(FAR_V4, PORT_V4)]
#[case::v6(FAR_V6, PORT_V6)]
fn a_narrow_path_is_discovered(#[case] far_address: &str, #[case] port: &str) {
    let Some(mut lab) = Lab::build(Layout { far: true, ..Layout::default() }) else { return };
    lab.start();
    let far = lab.far.as_ref().unwrap();
    lab.client.ip(&["link set eth1 mtu 1300"]);
    far.ip(&["link set eth0 mtu 1300"]);
    lab.programs().ip(&[
        &format!("route add default via {CLIENT_V4} dev eth1"),
        &format!("route add default via {CLIENT_V6} dev eth1"),
    ]);

    // As a client: the error reaches ping. As a server: it reaches TCP, which then sends smaller segments.
    let ping = lab.programs().run(&format!("ping -M do -s 1400 -c 2 -i 0.2 -W 2 {far_address}"));
    assert!(ping.to_string().contains("mtu") && ping.to_string().contains("1300"), "{ping}");
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth1 tcp :::80 active"]);
    let length = far.ok(&format!(
        "curl -sSf --max-time 10 -r 0-2000000 -o /dev/null -w %{{size_download}} http://[{port}]/large"
    )
    .replace(&format!("[{PORT_V4}]"), PORT_V4));
    assert_eq!(length, "2000001");
}

#[test]
fn what_nobody_listens_for_is_dropped_without_an_answer() {
    let Some(lab) = Lab::up() else { return };
    let before = lab.relay.counter("drop.unmatched");
    let tcp = echo(&lab.client, &format!("tcp {PORT_V4} 7000 10"));
    assert!(tcp.stderr().contains("imeout"), "no RST may come back: {tcp}");
    let udp = echo(&lab.client, &format!("udp {PORT_V4} 7000 10"));
    assert!(udp.stderr().contains("imeout"), "no ICMP error may come back: {udp}");
    lab.relay.await_counter("drop.unmatched", before);
}

#[test]
fn transit_between_two_ports_does_not_cross_the_segment() {
    let Some(mut lab) = Lab::build(Layout { second_port: true, ..Layout::default() }) else { return };
    let mut relay = Relay::default();
    relay.ports.push(Port::new("eth2"));
    lab.relay.configure(&relay.to_string());
    lab.relay_ns.sysctl("net.ipv4.ip_forward=1");
    lab.start();
    let client2 = lab.client2.as_ref().unwrap();
    lab.client.ip(&[&format!("route add default via {PORT_V4}")]);
    client2.ip(&[&format!("route add default via {PORT2_V4}")]);

    let server = client2.spawn("iperf3 --server --forceflush");
    server.await_log("listening", SOON);
    let before = segment_bytes(&lab);
    let json = lab.client.ok(&format!("iperf3 --client {CLIENT2_V4} --bytes 100M --json"));
    let crossed = segment_bytes(&lab) - before;
    assert!(json.contains("sum_received"), "{json}");
    assert!(crossed < 1_000_000, "{crossed} bytes crossed the segment for 100 MB of transit");
    assert_eq!(lab.relay.counter("tx.DATA.frames"), lab.control.counter("rx.DATA.frames"));
}

fn segment_bytes(lab: &Lab) -> u64 {
    let link = lab.relay_ns.ip_json("-s link show lan0");
    let bytes = |direction: &str| link[0]["stats64"][direction]["bytes"].as_u64().unwrap();
    bytes("rx") + bytes("tx")
}

#[test]
fn a_raw_socket_gets_its_protocol() {
    let Some(lab) = Lab::up() else { return };
    let receiver = lab.programs().python(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 89)\nprint('listening')\n\
         data, peer = s.recvfrom(2000)\nprint('got', data[20:], 'from', peer[0])",
        &[],
    );
    receiver.await_log("listening", SOON);
    lab.relay.await_rules(&["eth1 ospf 0.0.0.0 active"]);
    let send = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 89)\n\
                s.sendto(b'hello', ('192.0.2.1', 0))";
    let _ = lab.client.run_python(send, &[]).expect_success();
    receiver.await_log(&format!("got b'hello' from {CLIENT_V4}"), SOON);
    lab.relay.await_rules(&[]);
}

#[test]
fn a_packet_socket_gets_its_ethertype() {
    let Some(lab) = Lab::up() else { return };
    let receiver = lab.programs().python(
        "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88cc))\n\
         s.bind(('eth1', 0x88cc))\nprint('listening')\nprint('got', s.recv(2000)[14:19])",
        &[],
    );
    receiver.await_log("listening", SOON);
    let lldp = |rule: &serde_json::Value| rule.to_string().to_lowercase().contains("88cc");
    eventually(SOON, "a rule for LLDP", || {
        let tunnels = lab.relay.show("tunnels")?;
        if tunnels.iter().any(lldp) { Ok(()) } else { Err(format!("{tunnels:?}")) }
    });
    // The frame goes to a multicast group, to which a packet socket alone does not open a network card.
    let send = "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n\
                s.send(bytes.fromhex('0180c200000e02000000000188cc') + b'hello' + bytes(60))";
    let _ = lab.client.run_python(send, &[]).expect_success();
    receiver.await_log("got b'hello'", SOON);
}

#[test]
fn watching_a_symbol_disturbs_nobody() {
    let Some(lab) = Lab::up() else { return };
    let tcpdump = lab.programs().spawn("tcpdump -n -l -i eth1 icmp or tcp");
    tcpdump.await_log("listening on eth1", SOON);
    eventually(SOON, "a rule for all frames", || {
        let rules = lab.relay.show("rules")?;
        if rules.iter().any(|rule| rule["address"] == "0x0003") { Ok(()) } else { Err(format!("{rules:?}")) }
    });
    lab.programs().ok(&format!("ping -c 1 -W 2 {CLIENT_V4}"));
    tcpdump.await_log("ICMP echo reply", SOON);
    let _server = echo_server(&lab.client, "tcp 0.0.0.0 7001");
    lab.client.await_listener("tcp", 7001);
    for _ in 0..5 {
        let _ = echo(&lab.relay_ns, &format!("tcp {CLIENT_V4} 7001 4000")).expect_success();
    }
    assert!(!tcpdump.log().contains("7001"), "the relay's own connection went up: {}", tcpdump.log());
}
