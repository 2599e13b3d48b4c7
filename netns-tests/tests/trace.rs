//! `l2ctl trace` says beforehand what happens to packets, sockets and routes of programs.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Nginx, dnsmasq};
use netns_tests::{Daemon, Lab, SOON, eventually};
use serde_json::{Value, json};

/// The steps.
#[track_caller]
fn trace(daemon: &Daemon, what: &str) -> Vec<Value> {
    let text = daemon.l2ctl(&format!("trace --json {what}")).expect_success();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Waits for a trace with a step of this stage and outcome, with these words in it.
#[track_caller]
fn await_step(daemon: &Daemon, what: &str, [stage, outcome, words]: [&str; 3]) -> Vec<Value> {
    eventually(SOON, &format!("{stage} {outcome} {words:?} in the trace of {what}"), || {
        let hops = trace(daemon, what);
        let is_it = |hop: &Value| {
            hop["stage"] == stage
                && hop["outcome"] == outcome
                && hop["text"].as_str().unwrap().contains(words)
        };
        if hops.iter().any(is_it) { Ok(hops) } else { Err(format!("{hops:#?}")) }
    })
}

#[test]
fn a_server_is_traced_from_its_socket_to_its_clients() {
    let Some(lab) = Lab::up() else { return };
    let (relay, control) = (&lab.relay, &lab.control);
    let packet = format!("tcp from {CLIENT_V4}:40000 to {PORT_V4}:80 port eth1");
    await_step(relay, &packet, ["kernel", "dropped", "no control listens for it"]);
    await_step(
        control,
        "tcp 0.0.0.0:80",
        ["socket", "none", "is not open in the daemon's namespace; if it were"],
    );
    await_step(control, "tcp 0.0.0.0:80", ["rule", "none", "would be asked for"]);

    let nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    await_step(control, "tcp 0.0.0.0:80", ["rule", "in-force", "at port eth1 of relay1 is active"]);
    await_step(control, "tcp/80", ["socket", "passes", "tcp 0.0.0.0:80 is open in the daemon's namespace"]);
    let hops = await_step(relay, &packet, ["session", "sent", "control1 at "]);
    let stages: Vec<&str> = hops.iter().map(|hop| hop["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["port", "dispatch", "tunnel", "session"]);
    let rule = relay.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    assert_eq!(
        (&hops[1]["peer"], &hops[1]["up_tunnel"]),
        (&json!("control1"), &rule["up_tunnel"]),
        "{hops:#?}"
    );
    // Of this tunnel: neighbors speak at any time.
    let packets = |daemon: &Daemon| {
        let tunnels = daemon.show("tunnels").unwrap();
        let of_rule = |row: &&Value| row["direction"] == "up" && row["id"] == rule["up_tunnel"];
        tunnels.iter().find(of_rule).unwrap()["packets"].as_u64().unwrap()
    };
    let before = packets(relay);
    for port in 1..100 {
        trace(relay, &format!("tcp from {CLIENT_V4}:{port} to {PORT_V4}:80"));
    }
    assert_eq!(packets(relay), before, "a trace is no packet");
    lab.client.ok(&format!("curl -sSf --max-time 5 http://{PORT_V4}/"));

    let people = relay.l2ctl(&format!("trace {packet}")).expect_success();
    assert!(people.starts_with(" 1  port ") && people.lines().count() == 4, "{people}");
    for (what, step) in [
        (format!("icmp from {CLIENT_V4} to {PORT_V4}"), ["kernel", "kept", "answers echo requests"]),
        (
            format!("icmpv6 from {CLIENT_V6} to {PORT_V6} port eth1"),
            ["kernel", "kept", "answers echo requests"],
        ),
        (format!("tcp from [{CLIENT_V6}]:1 to [{PORT_V6}]:81"), ["kernel", "dropped", "no control listens"]),
        (format!("arp who-has {PORT_V4} tell {CLIENT_V4}"), ["kernel", "kept", "for its addresses"]),
    ] {
        await_step(relay, &what, step);
    }
    drop(nginx);
    await_step(relay, &packet, ["kernel", "dropped", "no control listens for it"]);
}

#[test]
fn what_is_not_permitted_exposed_or_detected_says_so() {
    let Some(mut lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let mut relay = Relay::default();
    relay.ports[0].allow = vec!["control = \"control1\"\nservices = [\"tcp/80\"]".to_owned()];
    lab.relay.configure(&relay.to_string());
    let mut control = Control::default();
    control.symbols[0].more = "services = [\"tcp/80\", \"tcp/81\"]".to_owned();
    lab.control.configure(&control.to_string());
    lab.start();
    let _nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80", "81", "82"]);
    await_step(&lab.control, "tcp 0.0.0.0:80", ["rule", "in-force", "is active"]);
    await_step(&lab.control, "tcp 0.0.0.0:81", ["rule", "refused", "not permitted"]);
    await_step(
        &lab.control,
        "tcp 0.0.0.0:82",
        ["symbol", "none", "`services` of the symbol does not name it"],
    );
    await_step(&lab.control, "tcp 127.0.0.1:80", ["symbol", "none", "bound to 127.0.0.1, the loopback"]);
    let packet = format!("tcp from {CLIENT_V4}:40000 to {PORT_V4}:81");
    await_step(&lab.relay, &packet, ["rule", "refused", "control1 asked for tcp"]);

    lab.relay.kill_9();
    await_step(&lab.control, "tcp 0.0.0.0:80", ["symbol", "waits", "no contact with relay relay1"]);
    await_step(&lab.control, "tcp 0.0.0.0:80", ["rule", "waits", "cannot be asked"]);
}

#[test]
fn a_symbol_without_detection_says_what_to_do() {
    let Some(mut lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let mut control = Control::default();
    control.symbols[0].more = "detect = false".to_owned();
    lab.control.configure(&control.to_string());
    lab.start();
    let _nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    await_step(&lab.control, "tcp 0.0.0.0:80", ["symbol", "none", "l2ctl rule add makes one"]);
    let _ = lab.control.l2ctl("rule add eth1 tcp/0.0.0.0:80").expect_success();
    await_step(&lab.control, "tcp 0.0.0.0:80", ["rule", "in-force", "by hand"]);
}

#[test]
fn a_route_is_traced_from_either_end_and_transit_takes_it() {
    let Some(lab) = Lab::router(|_, _| {}) else { return };
    let prefix = "198.51.100.0/24";
    await_step(&lab.relay, prefix, ["route", "none", "no control has a route"]);
    await_step(&lab.relay, "198.51.100.7", ["kernel", "dropped", "has no way"]);
    lab.programs().ip(&[&format!("route add {prefix} via {CLIENT2_V4}")]);
    await_step(&lab.control, prefix, ["route", "in-force", "is installed at relay1"]);
    await_step(
        &lab.relay,
        prefix,
        ["route", "in-force", "of control1, via 203.0.113.2 dev eth2 weight 1 is installed"],
    );
    await_step(
        &lab.relay,
        "198.51.100.7",
        ["kernel", "kept", "via 203.0.113.2 dev eth2, by 198.51.100.0/24"],
    );
    let transit = format!("udp from {CLIENT_V4}:1000 to 198.51.100.7:53 port eth1");
    let hops =
        await_step(&lab.relay, &transit, ["kernel", "kept", "unicast 198.51.100.7 via 203.0.113.2 dev eth2"]);
    let told: Vec<&Value> = hops.iter().map(|hop| &hop["peer"]).collect();
    assert_eq!(told, [&Value::Null, &json!("control1"), &Value::Null], "{hops:#?}");

    lab.programs().ip(&["route add blackhole 2001:db8:99::/48"]);
    await_step(&lab.relay, "2001:db8:99::/48", ["route", "in-force", "blackhole 2001:db8:99::/48"]);
    let transit = format!("udp from [{CLIENT_V6}]:1000 to [2001:db8:99::1]:53 port eth1");
    await_step(&lab.relay, &transit, ["kernel", "dropped", "2001:db8:99::1"]);
}

#[test]
fn an_address_symbol_has_a_translation_instead_of_a_tunnel() {
    let Some(lab) = Lab::up_with_address() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    await_step(
        &lab.control,
        "tcp 0.0.0.0:80",
        ["rule", "in-force", "tcp 192.0.2.10:80 at port eth1 of relay1 is active"],
    );
    await_step(&lab.control, "tcp [::]:80", ["symbol", "none", "reached by its own address only"]);
    let packet = format!("tcp from {CLIENT_V4}:40000 to 192.0.2.10:80");
    await_step(&lab.relay, &packet, ["tunnel", "passes", "the destination 192.0.2.10 becomes 10.99.0.2"]);
    await_step(&lab.relay, &packet, ["session", "sent", "control1"]);
    await_step(&lab.relay, &packet.replace(".10:80", ".1:80"), ["kernel", "dropped", "no control listens"]);
    lab.client.ok("curl -sSf --max-time 5 http://192.0.2.10/");
}

#[test]
fn bad_words_are_told_what_is_right() {
    let Some(lab) = Lab::up() else { return };
    for (daemon, what, words) in [
        (
            &lab.relay,
            "tcp from 192.0.2.9 to 192.0.2.1:80",
            "\"from\" is to be followed by an address and a port",
        ),
        (&lab.relay, "tcp 0.0.0.0:80", "sockets are on controls"),
        (&lab.control, "tcp from 192.0.2.9:1 to 192.0.2.1:80", "packets arrive at relays"),
        (&lab.control, "dance/80", "one of tcp, udp"),
    ] {
        let finished = daemon.l2ctl(&format!("trace {what}"));
        assert!(finished.code() == Some(1) && finished.stderr().contains(words), "{finished}");
    }
}

/// The steps of a socket that a program holds, which says these words of itself.
fn of_socket<'a>(hops: &'a [Value], program: &str, words: &str) -> Option<Vec<&'a Value>> {
    let is_it = |hop: &&Value| {
        hop["stage"] == "process"
            && hop["text"].as_str().unwrap().contains(words)
            && hop["owners"]
                .as_array()
                .is_some_and(|owners| owners.iter().any(|owner| owner["program"] == program))
    };
    let first = hops.iter().find(is_it)?;
    Some(hops.iter().filter(|hop| hop["socket"] == first["socket"]).collect())
}

/// What the steps say, in a line each.
fn said(hops: &[&Value]) -> String {
    let line = |hop: &&Value| {
        let word = |key: &str| hop[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}\n", word("stage"), word("outcome"), word("text"))
    };
    hops.iter().map(line).collect()
}

/// Waits until the trace of a process tells these words of a socket.
#[track_caller]
fn await_said(daemon: &Daemon, what: &str, program: &str, socket: &str, words: &[&str]) -> String {
    eventually(SOON, &format!("{socket:?} of {what}: {words:?}"), || {
        let hops = trace(daemon, what);
        let of_it = of_socket(&hops, program, socket).ok_or_else(|| format!("no such socket: {hops:#?}"))?;
        let said = said(&of_it);
        if words.iter().all(|words| said.contains(words)) { Ok(said) } else { Err(said) }
    })
}

/// Sockets that nobody outside reaches, each for its own reason, and one that is reached by a client's flow.
const SOCKETS: &str = "
import os, socket, sys
s = lambda *a: socket.socket(*a)
loopback = s(); loopback.bind(('127.0.0.1', 8001)); loopback.listen()
idle = s()
bound = s(socket.AF_INET, socket.SOCK_DGRAM); bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo'); bound.bind(('', 8002))
icmp = s(socket.AF_INET, socket.SOCK_RAW, 1)
raw = s(socket.AF_INET6, socket.SOCK_RAW, 89)
lldp = s(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88cc)); lldp.bind(('eth1', 0x88cc))
mdns = s(socket.AF_INET, socket.SOCK_DGRAM); mdns.bind(('', 5353))
local = s(socket.AF_UNIX)
flow = s(socket.AF_INET, socket.SOCK_DGRAM); flow.connect((sys.argv[1], 9)); flow.send(b'x')
print('ready', flush=True)
input_ = os.read(os.pipe()[0], 1)
";

#[test]
fn every_socket_of_a_process_says_what_comes_of_it() {
    let Some(mut lab) = Lab::up() else { return };
    let nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    let (pid, place) = (nginx.master.pid(), lab.control_ns.name());
    let what = format!("pid {pid}");
    let listener = "tcp 0.0.0.0 port 80, listens";
    let told = await_said(
        &lab.control,
        &what,
        "nginx",
        listener,
        &["is open in the daemon's namespace", "rule in-force", "packet sent"],
    );
    assert!(told.contains(&format!("in network namespace {place}")), "{told}");
    // What it says of the relay is to be asked there.
    let line = told.split('`').nth(1).expect("a command").strip_prefix("l2ctl trace ").expect("a trace");
    await_step(&lab.relay, line, ["session", "sent", "control1 at "]);
    // All that hold the socket are told once.
    let hops = trace(&lab.control, "program nginx");
    let of_it = of_socket(&hops, "nginx", &format!("nginx {pid}/")).expect("its socket");
    assert!(of_it[0]["owners"].as_array().unwrap().len() >= 3, "{}", said(&of_it));
    let fd = of_it[0]["owners"][0]["fd"].as_i64().unwrap();
    let one = trace(&lab.control, &format!("pid {pid}/{fd}"));
    assert_eq!(one.iter().filter(|hop| hop["stage"] == "process").count(), 1, "{one:#?}");
    let people = lab.control.l2ctl(&format!("trace {what}")).expect_success();
    assert!(people.contains("\n\n 1  process  ") && people.contains(listener), "{people}");

    let python = lab.control_ns.python(SOCKETS, &[CLIENT_V4]);
    let _ = python.await_log("ready", SOON);
    let what = format!("pid {}", python.pid());
    for (socket, words) in [
        ("tcp 127.0.0.1 port 8001", "symbol none eth1: the socket is bound to 127.0.0.1, the loopback"),
        ("tcp socket that neither listens nor is connected", "process none"),
        (
            "udp 0.0.0.0 port 8002, bound to interface lo",
            "symbol none eth1: the socket is bound to another interface",
        ),
        ("raw socket of IP protocol 1,", "symbol none eth1: sockets of ICMP make no rule"),
        ("raw socket of IP protocol 89,", "rule in-force ip ospf [::] at port eth1 of relay1 is active"),
        ("packet socket of EtherType 0x88cc", "packet sent a frame of ethertype 0x88cc"),
        ("udp 0.0.0.0 port 5353", "hidden by default"),
        ("UNIX socket", "process none"),
        (", connected to 192.0.2.2:9", "rule in-force udp 192.0.2.1:"),
    ] {
        await_said(&lab.control, &what, "python3", socket, &[words]);
    }

    // Another namespace than the symbols', which has no name that they know.
    let server = dnsmasq(&lab.client);
    let elsewhere = format!("in network namespace {}", lab.client.name());
    await_said(
        &lab.control,
        &format!("pid {}", server.pid()),
        "dnsmasq",
        "udp 0.0.0.0 port 53",
        &[&elsewhere, "socket none no symbol stands in its network namespace, but in the daemon's namespace"],
    );
    let server = dnsmasq(&lab.control_ns);
    let what = format!("pid {}", server.pid());
    for socket in ["udp 0.0.0.0 port 53", "tcp [::] port 53, listens"] {
        await_said(&lab.control, &what, "dnsmasq", socket, &["rule in-force", "packet sent"]);
    }

    // A relay that is gone.
    lab.relay.kill_9();
    let lost = ["symbol waits", "rule waits", "packet dropped", "until the symbol is up"];
    await_said(&lab.control, &what, "dnsmasq", "udp 0.0.0.0 port 53", &lost);
}

#[test]
fn a_process_that_cannot_be_traced_says_why() {
    let Some(lab) = Lab::up() else { return };
    let idle = lab.control_ns.spawn("sleep infinity");
    let pid = idle.pid();
    eventually(SOON, "it has become the program", || {
        let text = lab.control.l2ctl(&format!("trace pid {pid}")).into_result()?;
        if text.contains(&format!("sleep {pid} has no sockets")) { Ok(()) } else { Err(text) }
    });
    for (what, code, words) in [
        ("pid 4194305".to_owned(), 1, "there is no process 4194305"),
        (format!("pid {pid}/77"), 1, "has no descriptor 77"),
        (format!("pid {pid}/0"), 1, "is no socket, but "),
        ("program nobody-runs-this".to_owned(), 1, "no process runs a program nobody-runs-this"),
        ("pid one".to_owned(), 2, "names no process"),
        (pid.to_string(), 2, "for the sockets of a process: trace pid"),
        ("nginx".to_owned(), 2, "for the sockets of a process: trace program nginx"),
        ("tcp".to_owned(), 2, "write a packet (tcp from 192.0.2.9:40000 to 192.0.2.1:80), a socket (tcp/80)"),
        ("pid".to_owned(), 2, "write pid NUMBER"),
    ] {
        let refused = lab.control.l2ctl(&format!("trace {what}"));
        assert_eq!(refused.code(), Some(code), "{refused}");
        assert!(refused.stderr().contains(words), "{refused}");
    }
    // A relay has no programs behind symbols.
    let python = lab.relay_ns.python(
        "import socket, time\ns = socket.socket(); s.listen(); print('ready', flush=True); time.sleep(99)",
        &[],
    );
    let _ = python.await_log("ready", SOON);
    let refused = lab.relay.l2ctl(&format!("trace pid {}", python.pid()));
    assert!(refused.code() == Some(1) && refused.stderr().contains("ask l2control"), "{refused}");
}
