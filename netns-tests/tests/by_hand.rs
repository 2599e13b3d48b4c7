//! What is automatic, done by an operator: rules, symbols, routes and decisions about peers, with real programs.

use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay};
use netns_tests::program::{Nginx, PAGE, Wrk, dnsmasq, echo_server, send_raw};
use netns_tests::{Daemon, Farm, Finished, Lab, Layout, Ping, Plan, SOON, binary, eventually, expect_shares};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use std::fs;

/// A lab whose symbol makes no rule by itself.
fn undetected() -> Option<Lab> {
    let mut lab = Lab::build(Layout { router: true, ..Layout::default() })?;
    let mut control = Control::default();
    control.symbols[0].netns = Some(lab.programs().name().to_owned());
    control.symbols[0].more = "detect = false".to_owned();
    lab.control.configure(&control.to_string());
    lab.start();
    Some(lab)
}

/// Has a daemon refuse a command, for this reason.
#[track_caller]
fn refuses(daemon: &Daemon, command: &str, reason: &str) {
    let refused = daemon.l2ctl(command);
    assert!(!refused.success() && refused.stderr().contains(reason), "{command}: {refused}");
}

/// Has a daemon do something at once, without a word; but on a busy machine contact may be lost for a moment.
#[track_caller]
fn does(daemon: &Daemon, command: &str) {
    let said = daemon.l2ctl(command).expect_success();
    assert!(said.is_empty() || said.starts_with("waiting: no contact with relay"), "{command}: {said}");
}

fn dig(lab: &Lab, words: &str) -> Result<String, String> {
    let line = format!("dig +short +time=1 +tries=1 {words} l2.test A");
    let answer = lab.client.run(&line).into_result()?;
    if answer.trim() == "198.51.100.7" { Ok(answer) } else { Err(answer) }
}

#[test]
fn without_detection_only_rules_by_hand_apply() {
    let Some(mut lab) = undetected() else { return };
    let _dns = dnsmasq(lab.programs());
    lab.programs().await_listener("udp", 53);
    assert!(dig(&lab, &format!("@{PORT_V4}")).is_err(), "nobody asked for it");
    lab.control.await_rules(&[]);

    does(&lab.control, "rule add eth1 udp/53");
    lab.relay.await_rules(&["eth1 udp *:53 active"]);
    for address in [PORT_V4, PORT_V6] {
        let _ = dig(&lab, &format!("@{address}")).unwrap();
        assert!(dig(&lab, &format!("+tcp @{address}")).is_err(), "TCP was not asked for");
    }
    let row = json!({"protocol": "udp", "port_number": 53, "static": true, "state": "active"});
    lab.control.await_row("rules", &row);
    assert!(lab.control.l2ctl("rule list").expect_success().contains("udp"));
    refuses(&lab.control, "rule add eth1 udp/*:53", "by hand already");

    // The relay is told again.
    lab.relay.kill_9();
    lab.relay.start();
    lab.relay.await_rules(&["eth1 udp *:53 active"]);
    eventually(SOON, "the name is told again", || dig(&lab, &format!("@{PORT_V4}")));

    does(&lab.control, "rule del eth1 udp/53");
    lab.relay.await_rules(&[]);
    refuses(&lab.control, "rule del eth1 udp/53", "there is no rule udp/53");

    // Nothing is left behind by a control that is killed.
    does(&lab.control, "rule add eth1 udp/53");
    lab.control.kill_9();
    lab.relay.await_rules(&[]);
    lab.control.start();
    lab.await_symbol();
    lab.relay.await_rules(&[]);
}

#[test]
fn a_protocol_that_no_socket_shows() {
    let Some(lab) = Lab::up() else { return };
    let programs = lab.programs();
    programs.ok("nft add table inet t");
    programs.ok("nft add chain inet t in { type filter hook prerouting priority 0 ; }");
    programs.ok("nft add rule inet t in iifname eth1 meta l4proto 253 counter");
    // A marker opened later shows that everything before has been looked at.
    let _marker = echo_server(programs, "udp 0.0.0.0 9999");
    lab.relay.await_rules(&["eth1 udp 0.0.0.0:9999 active"]);
    does(&lab.control, "rule add eth1 ip/253");
    lab.relay.await_rules(&["eth1 253 * active", "eth1 udp 0.0.0.0:9999 active"]);
    for destination in [PORT_V4, PORT_V6] {
        send_raw(&lab.client, &format!("{destination} 253 eth0 hello"));
    }
    eventually(SOON, "both packets come up", || {
        let counted = programs.ok("nft list chain inet t in");
        if counted.contains("packets 2 ") { Ok(()) } else { Err(counted) }
    });
}

#[test]
fn a_rule_that_a_socket_wants_too_goes_with_the_last() {
    let Some(lab) = Lab::up() else { return };
    let rule = ["eth1 tcp 0.0.0.0:7000 active"];
    let socket = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    lab.relay.await_rules(&rule);
    refuses(&lab.control, "rule del eth1 tcp/0.0.0.0:7000", "is not by hand");
    does(&lab.control, "rule add eth1 tcp/0.0.0.0:7000");
    drop(socket);
    let _marker = echo_server(lab.programs(), "tcp 0.0.0.0 9999");
    let both = ["eth1 tcp 0.0.0.0:7000 active", "eth1 tcp 0.0.0.0:9999 active"];
    lab.relay.await_rules(&both);
    does(&lab.control, "rule del eth1 tcp/0.0.0.0:7000");
    lab.relay.await_rules(&both[1..]);
}

#[rstest]
#[case::nonsense("rule add eth1 tcq/80", "names no service")]
#[case::several("rule add eth1 tcp/*", "more than one")]
#[case::symbol("rule add eth7 tcp/80", "there is no symbol eth7; there is eth1")]
#[case::hidden("rule add eth1 udp/5353", "does not expose udp/5353")]
#[case::of_the_loopback("rule add eth1 tcp/127.0.0.1:80", "not reached through symbol eth1")]
#[case::not_there("rule del eth1 tcp/80", "there is no rule tcp/80")]
#[case::route("route add 10.0.0.1/8 dev eth1", "bits beyond its length")]
#[case::route_of_nobody("route add 10.0.0.0/8 dev eth7", "there is no symbol eth7")]
#[case::no_route("route del 10.0.0.0/8", "no route by hand")]
#[case::no_relay("peer weight relay7 5", "relay relay7 has not been heard")]
#[case::live("peer forget relay1", "relay relay1 is up")]
#[case::no_port("symbol add relay1 eth9", "it offers eth1")]
#[case::twice("symbol add relay1 eth1", "eth1")]
#[case::no_symbol("symbol del eth9", "there is no symbol eth9; there is eth1")]
#[case::kind("symbol add relay1 eth2 --kind magic", "magic")]
#[case::verb("rule ad eth1 tcp/80", "rule knows: add, del, list")]
#[case::peers_verb("peer lose relay1", "peer knows: weight, drain, forget")]
#[case::not_permitted("rule add eth1 tcp/23", "not permit")]
fn bad_input_changes_nothing(#[case] command: &str, #[case] reason: &str) {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let port = Port {
        allow: vec!["control = \"*\"\nservices = [\"tcp/80\", \"tcp/8080\"]".to_owned()],
        ..Port::new("eth1")
    };
    lab.relay.configure(&Relay { ports: vec![port], ..Relay::default() }.to_string());
    lab.start();
    refuses(&lab.control, command, reason);
    assert_eq!(lab.control.rules().unwrap(), Vec::<String>::new());
    assert_eq!(lab.control.show("symbols").unwrap().len(), 1);
    assert_eq!(lab.control.show("routes").unwrap(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_relay_forwards_by_a_route_that_its_control_has_by_hand() {
    let adapted = Lab::router(|relay, control| {
        control.routes = String::new();
        for port in &mut relay.ports {
            port.allow = vec![
                "control = \"*\"\nroutes = true\nprefixes = [\"10.0.0.0/8\", \"2001:db8:a::/48\"]".into(),
            ];
        }
    });
    let Some(mut lab) = adapted else { return };
    lab.client2().ip(&["addr add 10.1.0.1/32 dev lo", "addr add 2001:db8:a::1/128 dev lo nodad"]);
    does(&lab.control, &format!("route add 10.1.0.0/16 via {CLIENT2_V4} dev eth2"));
    does(&lab.control, &format!("route add 2001:db8:a::/48 via {CLIENT2_V6} dev eth2"));
    for (prefix, address) in [("10.1.0.0/16", "10.1.0.1"), ("2001:db8:a::/48", "2001:db8:a::1")] {
        lab.client.ok(&format!("ping -c 1 -W 2 {address}"));
        let row = json!({"prefix": prefix, "static": true, "state": "installed"});
        lab.control.await_row("routes", &row);
    }
    assert!(lab.control.l2ctl("route list").expect_success().contains("10.1.0.0/16"));
    refuses(&lab.control, "route add 10.1.0.0/16 dev eth1", "there is a route 10.1.0.0/16");
    refuses(&lab.control, "route add 192.168.0.0/16 dev eth1", "permission list");
    lab.await_no_relay_route("192.168.0.0/16");

    // The relay is told again, and forwards meanwhile.
    let ping = Ping::start(&lab.client, "10.1.0.1");
    lab.relay.kill_9();
    lab.relay.start();
    lab.await_symbols();
    lab.await_route_state("10.1.0.0/16", "installed");
    ping.lost_nothing(10);

    does(&lab.control, "route del 10.1.0.0/16");
    lab.await_no_relay_route("10.1.0.0/16");
    assert!(!lab.client.run("ping -c 1 -W 1 10.1.0.1").success());
}

#[test]
fn a_route_by_hand_at_a_relay_is_no_controls() {
    let Some(mut lab) = Lab::router(|_, _| {}) else { return };
    let (mine, theirs) = (format!("10.1.0.0/16 via {CLIENT2_V4} dev eth2"), "10.1.0.0/16");
    does(&lab.relay, &format!("route add {mine}"));
    lab.await_relay_route(theirs, &format!("via {CLIENT2_V4} dev eth2 proto 108"));
    lab.relay.await_row("routes", &json!({"prefix": theirs, "static": true, "state": "installed"}));
    refuses(&lab.relay, &format!("route add {mine}"), "by hand already");
    refuses(&lab.relay, "route add 10.2.0.0/16 dev lan0", "lan0 is no port of this relay");
    refuses(&lab.relay, "route add 10.2.0.0/16 via 198.18.7.7 dev eth2", "invalid gateway");
    lab.await_no_relay_route("10.2.0.0/16");
    refuses(&lab.relay, "rule add eth1 tcp/80", "l2control");

    // A control neither takes it over nor takes it along.
    lab.programs().ip(&[&format!("route add {theirs} via {CLIENT_V4}")]);
    lab.await_refusal(&lab.control, theirs, "by hand");
    lab.programs().ip(&[&format!("route del {theirs}"), &format!("route add 10.3.0.0/16 via {CLIENT_V4}")]);
    lab.await_relay_route("10.3.0.0/16", "dev eth1");
    refuses(&lab.relay, "route add 10.3.0.0/16 dev eth1", "control control1 has a route 10.3.0.0/16");
    refuses(&lab.relay, "peer forget control1", "control control1 is up");
    lab.control.kill_9();
    lab.relay.await_row("peers", &json!({"name": "control1", "state": "down"}));
    lab.await_relay_route("10.3.0.0/16", "dev eth1");
    does(&lab.relay, "peer forget control1");
    lab.await_no_relay_route("10.3.0.0/16");
    assert_eq!(lab.relay.show("peers").unwrap(), Vec::<serde_json::Value>::new());
    lab.await_relay_route(theirs, "dev eth2");
    lab.control.start();
    lab.await_symbols();
    lab.await_relay_route("10.3.0.0/16", "dev eth1");
    does(&lab.relay, &format!("route del {theirs}"));
    lab.await_no_relay_route(theirs);
}

#[test]
fn a_symbol_comes_and_goes_while_another_serves() {
    let adapted = Lab::build(Layout { router: true, second_port: true, ..Layout::default() });
    let Some(mut lab) = adapted else { return };
    lab.relay.configure(
        &Relay { ports: vec![Port::new("eth1"), Port::new("eth2")], ..Relay::default() }.to_string(),
    );
    lab.start();
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth1 tcp :::80 active"]);
    let load = Wrk::start(&lab.client, &format!("http://{PORT_V4}/"), 5);
    let netns = lab.programs().name().to_owned();
    let client2 = |address: &str| {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        lab.client2().run(&format!("curl -sS --max-time 2 http://{host}/")).into_result()
    };
    for _ in 0..2 {
        does(&lab.control, &format!("symbol add relay1 eth2 --netns {netns} --name second"));
        lab.control.await_row("symbols", &json!({"name": "second", "port": "eth2", "state": "up"}));
        lab.relay.await_row(
            "rules",
            &json!({"port": "eth2", "address": "::", "port_number": 80, "state": "active"}),
        );
        for address in [PORT2_V4, PORT2_V6] {
            let page = eventually(SOON, "nginx answers at the second port", || client2(address));
            assert_eq!(page, PAGE);
        }
        refuses(&lab.control, &format!("symbol add relay1 eth2 --netns {netns}"), "eth2");
        does(&lab.control, "symbol del second");
        assert!(!lab.programs().has_interface("second"));
        lab.relay.await_no_row("symbols", &json!({"port": "eth2"}));
        lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth1 tcp :::80 active"]);
        assert!(client2(PORT2_V4).is_err());
    }
    load.failed_nothing();
}

#[test]
fn a_drained_control_loses_no_request() {
    // On a busy machine a daemon may be silent for longer than usual, and what is counted here is not that.
    let patient = |relay: &mut Relay, control: &mut Control| {
        relay.link = "keepalive_ms = 800".into();
        control.link = "keepalive_ms = 800".into();
    };
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, patient) else { return };
    let _nginx = farm.nginx_everywhere();
    let load = Wrk::start(&farm.lab.client, &format!("http://{PORT_V4}/"), 6);
    let (relay, control) = (&farm.lab.relay, farm.control_ref(1));
    for (daemon, peer) in [(relay, "control2"), (control, "relay1")] {
        does(daemon, &format!("peer drain {peer}"));
        daemon.await_row("peers", &json!({"name": peer, "draining": true}));
        farm.await_servers("tcp", 80, &[1], "draining");
        expect_shares(&farm.ask(50), &[1, 0]);
        does(daemon, &format!("peer drain {peer} --undo"));
        farm.await_servers("tcp", 80, &[1], "active");
        does(daemon, &format!("peer weight {peer} 0"));
        farm.await_servers("tcp", 80, &[1], "draining");
        does(daemon, &format!("peer weight {peer} own"));
        farm.await_servers("tcp", 80, &[1], "active");
    }
    expect_shares(&farm.ask(200), &[1, 1]);
    load.failed_nothing();
}

#[test]
fn what_is_saved_is_there_after_a_restart() {
    let Some(mut lab) = Lab::router(|_, _| {}) else { return };
    for daemon in [&lab.relay, &lab.control] {
        let text = fs::read_to_string(daemon.config()).unwrap();
        daemon.configure(&format!("# Mine.\n{text}# The end.\n"));
    }
    let netns = lab.programs().name().to_owned();
    does(&lab.control, "rule add eth1 ip/253 --save");
    does(&lab.control, "rule add eth1 tcp/7000");
    does(&lab.control, &format!("route add 10.1.0.0/16 via {CLIENT2_V4} dev eth2 --save"));
    does(&lab.control, "peer weight relay1 7 --save");
    does(&lab.control, "symbol del eth1 --save");
    does(
        &lab.control,
        &format!("symbol add relay1 eth1 --netns {netns} --name first --service tcp/80 --rule tcp/80 --save"),
    );
    does(&lab.relay, &format!("route add 10.2.0.0/16 via {CLIENT2_V4} dev eth2 --save"));
    does(&lab.relay, "peer drain control1 --save");

    lab.control.terminate();
    lab.relay.terminate();
    lab.await_no_relay_route("10.2.0.0/16");
    lab.relay.start();
    lab.await_relay_route("10.2.0.0/16", "dev eth2");
    lab.control.start();
    lab.relay.await_row("peers", &json!({"name": "control1", "state": "up", "draining": true}));
    lab.control.await_row("peers", &json!({"name": "relay1", "weight": 7}));
    lab.await_relay_route("10.1.0.0/16", "dev eth2");
    lab.control.await_row("symbols", &json!({"name": "first", "state": "up"}));
    lab.control.await_rules(&["eth1 tcp *:80 active"]);
    for (daemon, kept) in [(&lab.relay, "[[port.allow]]"), (&lab.control, "enabled = true")] {
        let text = fs::read_to_string(daemon.config()).unwrap();
        assert!(
            text.starts_with("# Mine.\n") && text.contains("# The end.") && text.contains(kept),
            "{text}"
        );
        let _ = daemon.run(&["--check"]).expect_success();
    }

    // And gone again.
    does(&lab.control, "rule del first tcp/80 --save");
    does(&lab.control, "route del 10.1.0.0/16 --save");
    does(&lab.control, "peer weight relay1 own --save");
    does(&lab.relay, "route del 10.2.0.0/16 --save");
    does(&lab.relay, "peer drain control1 --undo --save");
    for daemon in [&lab.relay, &lab.control] {
        let text = fs::read_to_string(daemon.config()).unwrap();
        let left = ["static", "[[peer]]", "rules"].map(|word| text.contains(word));
        assert_eq!(left, [false; 3], "{text}");
    }
}

/// None of them overwrites what another has saved, and reloads among them meet the file with it.
#[test]
fn commands_at_the_same_time_are_all_saved() {
    let Some(lab) = Lab::router(|_, _| {}) else { return };
    let script = format!(
        "for n in 1 2 3 4 5 6 7 8; do\n\
             \"$0\" --socket \"$1\" route add 10.$2$n.0.0/16 via {CLIENT2_V4} dev eth2 --save & all=\"$all $!\"\n\
             \"$0\" --socket \"$1\" reload & all=\"$all $!\"\n\
         done\n\
         for one in $all; do wait $one || failed=\"$failed $one\"; done; test -z \"$failed\""
    );
    for (ten, daemon) in [("1", &lab.relay), ("2", &lab.control)] {
        let mut command = lab.relay_ns.command("sh");
        command.arg("-c").arg(&script).arg(binary("l2ctl")).arg(daemon.socket()).arg(ten);
        let _ = Finished::new(&mut command).expect_success();
        let text = fs::read_to_string(daemon.config()).unwrap();
        for n in 1..=8 {
            assert!(
                text.contains(&format!("\"10.{ten}{n}.0.0/16 via {CLIENT2_V4} dev eth2\"")),
                "{n}: {text}"
            );
        }
        assert_eq!(daemon.l2ctl("reload --check").expect_success(), "nothing would change\n");
    }
}

#[test]
fn a_file_that_is_broken_meanwhile_is_left_alone() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.start();
    let good = fs::read_to_string(lab.control.config()).unwrap();
    for broken in [format!("{good}\nname = ["), format!("{good}\ncolor = \"red\"\n"), String::new()] {
        lab.control.configure(&broken);
        refuses(&lab.control, "rule add eth1 tcp/80 --save", "done, but not saved: ");
        lab.relay.await_rules(&["eth1 tcp *:80 active"]);
        assert_eq!(fs::read_to_string(lab.control.config()).unwrap(), broken);
        does(&lab.control, "rule del eth1 tcp/80");
    }
    lab.control.configure(&good);
    does(&lab.control, "rule add eth1 tcp/80 --save");
    assert!(fs::read_to_string(lab.control.config()).unwrap().contains("rules = [\"tcp/80\"]"));
    // A control that is told to stop takes what is saved along.
    lab.control.process().signal(Signal::SIGTERM);
    assert!(lab.control.process().wait(SOON).success());
    lab.relay.await_rules(&[]);
}

#[test]
fn a_command_that_has_to_wait_says_so() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.control.start();
    eventually(SOON, "the control answers", || lab.control.show("symbols"));
    let told = lab.control.l2ctl("rule add eth1 tcp/7000").expect_success();
    assert_eq!(told, "waiting: relay relay1 has not been heard\n");
    lab.control.await_row("rules", &json!({"port_number": 7000, "state": "waiting", "static": true}));
    lab.relay.start();
    lab.relay.await_rules(&["eth1 tcp *:7000 active"]);
    // By force also a peer that is up begins anew.
    let age = |relay: &Daemon| {
        let peers = relay.show("peers")?;
        let age = peers.iter().find_map(|row| row["session_age_ms"].as_u64());
        age.ok_or_else(|| format!("{peers:?}"))
    };
    let old = |age: u64| if age > 2_000 { Ok(()) } else { Err(format!("{age} ms")) };
    eventually(SOON, "an old session", || age(&lab.relay).and_then(old));
    does(&lab.relay, "peer forget control1 --force");
    eventually(SOON, "a new session", || {
        age(&lab.relay).and_then(|age| old(age).err().ok_or_else(String::new))
    });
    lab.relay.await_rules(&["eth1 tcp *:7000 active"]);
}
