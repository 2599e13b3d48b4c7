//! `l2ctl trace` says beforehand what happens to packets, sockets and routes of programs.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::Nginx;
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
    await_step(&lab.control, "tcp 0.0.0.0:82", ["symbol", "none", "is not exposed"]);
    await_step(&lab.control, "tcp 127.0.0.1:80", ["symbol", "none", "bound to another interface or address"]);
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
    let Some(mut lab) = Lab::build(netns_tests::Layout { router: true, ..netns_tests::Layout::default() })
    else {
        return;
    };
    lab.relay_ns.ip(&["addr add 192.0.2.10/24 dev eth1"]);
    let control = Control { symbols: Vec::new(), ..Control::default() };
    let symbol = format!(
        "kind = \"address\"\nrelay = \"relay1\"\nport = \"eth1\"\nname = \"vip4\"\naddress = \"192.0.2.10\"\n\
         local = \"10.99.0.2\"\ndefault_route = true\nnetns = \"{}\"",
        lab.programs().name()
    );
    lab.control.configure(&format!("{control}\n[[symbol]]\n{symbol}\n"));
    lab.relay.start();
    lab.control.start();
    lab.control.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
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
        (&lab.control, "dance", "names no service"),
    ] {
        let finished = daemon.l2ctl(&format!("trace {what}"));
        assert!(finished.code() == Some(1) && finished.stderr().contains(words), "{finished}");
    }
}
