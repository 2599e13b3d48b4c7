//! A changed configuration, taken over by running daemons: what differs is done, and nothing else is disturbed.

use frames::discovery::Role;
use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay, Symbol};
use netns_tests::program::{Nginx, Wrk, echo, echo_server};
use netns_tests::{Daemon, Lab, Layout, Mounts, Notifications, SOON, eventually};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use std::rc::Rc;

/// The usual relay and control, of one port and its symbol. They are patient, as the machine may be busy.
fn one() -> (Relay, Control) {
    let link = "missed = 20".to_owned();
    (Relay { link: link.clone(), ..Relay::default() }, Control { link, ..Control::default() })
}

/// Those, with `eth2` as well.
fn two() -> (Relay, Control) {
    let (mut relay, mut control) = one();
    relay.ports.push(Port::new("eth2"));
    control.symbols.push(Symbol::new("eth2"));
    (relay, control)
}

fn with_two_ports() -> Option<Lab> {
    let mut lab = Lab::build(Layout { second_port: true, ..Layout::default() })?;
    lab.relay.configure(&one().0.to_string());
    lab.control.configure(&one().1.to_string());
    lab.start();
    Some(lab)
}

/// Has a daemon take a file over, and say exactly this.
#[track_caller]
fn reload(daemon: &Daemon, config: &impl ToString, said: &str) {
    daemon.configure(&config.to_string());
    assert_eq!(daemon.l2ctl("reload").expect_success().trim_end(), said);
}

/// Has a daemon refuse what is asked for, for this reason.
#[track_caller]
fn refuses(daemon: &Daemon, command: &str, reason: &str) {
    let refused = daemon.l2ctl(command);
    assert!(!refused.success() && refused.stderr().contains(reason), "{command}: {refused}");
}

fn sessions(lab: &Lab) -> usize {
    lab.relay.log().matches("control control1 is up").count()
}

#[test]
fn ports_and_symbols_come_and_go_beside_a_busy_server() {
    let Some(lab) = with_two_ports() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_row("rules", &json!({"port": "eth1", "port_number": 80, "state": "active"}));
    let wrk = Wrk::start(&lab.client, &format!("http://{PORT_V4}/"), 10);
    let (relay, control) = two();
    for _ in 0..2 {
        reload(&lab.relay, &relay, "port eth2: added");
        reload(&lab.control, &control, "symbol eth2: added");
        lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
        lab.relay.await_row("rules", &json!({"port": "eth2", "port_number": 80, "state": "active"}));
        let client2 = lab.client2.as_ref().unwrap();
        eventually(SOON, "the server is reached by the new port", || {
            client2.run(&format!("curl -sS -m 2 http://{PORT2_V4}/")).into_result()
        });
        reload(&lab.control, &one().1, "symbol eth2: removed");
        lab.control.await_no_row("symbols", &json!({"name": "eth2"}));
        assert!(!lab.programs().has_interface("eth2"));
        lab.relay.await_no_row("rules", &json!({"port": "eth2"}));
        reload(&lab.relay, &one().0, "port eth2: removed");
        lab.relay.await_no_row("ports", &json!({"name": "eth2"}));
        let discards = lab.relay_ns.ok("nft list table inet l2relay");
        assert!(discards.contains("eth1") && !discards.contains("eth2"), "{discards}");
    }
    wrk.failed_nothing();
    assert_eq!(sessions(&lab), 1, "the session was never lost");
}

#[test]
fn a_port_that_goes_takes_its_symbol_down_and_brings_it_back() {
    let Some(lab) = with_two_ports() else { return };
    let (relay, control) = two();
    reload(&lab.relay, &relay, "port eth2: added");
    reload(&lab.control, &control, "symbol eth2: added");
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    reload(&lab.relay, &one().0, "port eth2: removed");
    let row = lab.control.await_row("symbols", &json!({"name": "eth2", "state": "refused"}));
    assert!(row["reason"].as_str().unwrap().contains("it offers eth1"), "{row}");
    reload(&lab.relay, &relay, "port eth2: added");
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    lab.control.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
    let none = Relay { ports: Vec::new(), ..one().0 };
    reload(&lab.relay, &none, "port eth1: removed\nport eth2: removed");
    lab.control.await_row("symbols", &json!({"name": "eth1", "state": "refused"}));
    reload(&lab.relay, &relay, "port eth1: added\nport eth2: added");
    lab.await_symbol();
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    assert_eq!(sessions(&lab), 1);
}

#[test]
fn what_is_not_permitted_any_more_is_taken_back_and_given_again() {
    let Some(lab) = Lab::up() else { return };
    let _web = echo_server(lab.programs(), "tcp 0.0.0.0 80");
    let _other = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    let both = ["eth1 tcp 0.0.0.0:7000 active", "eth1 tcp 0.0.0.0:80 active"];
    lab.relay.await_rules(&both);
    let allow = |lines: &[&str]| {
        let allow = lines.iter().map(|line| (*line).to_owned()).collect();
        Relay { ports: vec![Port { allow, ..Port::new("eth1") }], ..Relay::default() }
    };
    let narrow = allow(&["control = \"*\"\nservices = [\"tcp/80\"]"]);
    reload(&lab.relay, &narrow, "port eth1: permissions changed");
    lab.control.await_rules(&["eth1 tcp 0.0.0.0:7000 refused", "eth1 tcp 0.0.0.0:80 active"]);
    let row = lab.control.await_row("rules", &json!({"port_number": 7000}));
    assert!(row["reason"].as_str().unwrap().contains("does not permit tcp 0.0.0.0:7000"), "{row}");
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 80 1000")).expect_success();
    reload(&lab.relay, &Relay::default(), "port eth1: permissions changed");
    lab.control.await_rules(&both);
    let _ = echo(&lab.client, &format!("tcp {PORT_V4} 7000 1000")).expect_success();

    reload(&lab.relay, &allow(&[]), "port eth1: permissions changed");
    let row = lab.control.await_row("symbols", &json!({"name": "eth1", "state": "refused"}));
    assert!(row["reason"].as_str().unwrap().contains("does not permit port eth1"), "{row}");
    lab.relay.await_rules(&[]);
    reload(&lab.relay, &Relay::default(), "port eth1: permissions changed");
    lab.await_symbol();
    lab.control.await_rules(&both);
    assert_eq!(sessions(&lab), 1);

    let mut own = Relay::default();
    own.ports[0].more = "relay_services = [\"tcp/80\"]".to_owned();
    reload(&lab.relay, &own, "port eth1: relay_services changed");
    lab.control.await_rules(&["eth1 tcp 0.0.0.0:7000 active", "eth1 tcp 0.0.0.0:80 refused"]);
}

#[test]
fn a_symbol_changes_in_place() {
    let Some(lab) = Lab::up() else { return };
    let _web = echo_server(lab.programs(), "tcp 0.0.0.0 80");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    let index = || lab.programs().ok("cat /sys/class/net/eth1/ifindex");
    let before = index();
    let with = |more: &str| {
        let mut control = Control::default();
        control.symbols[0].more = more.to_owned();
        control
    };
    reload(&lab.control, &with("services = [\"tcp/81\"]"), "symbol eth1: services changed");
    lab.relay.await_rules(&[]);
    let more = "services = [\"tcp/*\"]\nweight = 7\nrules = [\"tcp/9000\"]\ngateway = [\"192.0.2.2\"]";
    let said = "symbol eth1: services changed\nsymbol eth1: weight changed\nsymbol eth1: gateway changed\n\
                symbol eth1: rule tcp/9000 added";
    reload(&lab.control, &with(more), said);
    lab.relay.await_rules(&["eth1 tcp *:9000 active", "eth1 tcp 0.0.0.0:80 active"]);
    let default = || lab.programs().ok("ip route show default");
    assert!(default().contains("via 192.0.2.2 dev eth1"), "{}", default());
    let said = "symbol eth1: services changed\nsymbol eth1: weight changed\nsymbol eth1: detect changed\n\
                symbol eth1: gateway changed\nsymbol eth1: rule tcp/9000 removed";
    reload(&lab.control, &with("detect = false"), said);
    lab.relay.await_rules(&[]);
    assert_eq!(default(), "");
    reload(&lab.control, &with(""), "symbol eth1: detect changed");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    assert_eq!(index(), before, "the interface has been there all the time");
}

#[test]
fn what_was_made_by_hand_stays_unless_the_file_says_otherwise() {
    let Some(lab) = Lab::up() else { return };
    let does = |command: &str| lab.control.l2ctl(command).expect_success();
    does("rule add eth1 tcp/7000");
    does("rule add eth1 tcp/7001 --save");
    does("peer weight relay1 5");
    assert_eq!(does("reload").trim_end(), "nothing has changed");
    lab.relay.await_rules(&["eth1 tcp *:7000 active", "eth1 tcp *:7001 active"]);
    // The file said that, and says it no more.
    reload(&lab.control, &Control::default(), "symbol eth1: rule tcp/7001 removed");
    lab.relay.await_rules(&["eth1 tcp *:7000 active"]);
    lab.control.await_row("peers", &json!({"name": "relay1", "weight": 5}));
    let text = format!("{}\n[[peer]]\nname = \"relay1\"\ndrain = true\n", Control::default());
    reload(&lab.control, &text, "peer relay1: drained");
    lab.control.await_row("peers", &json!({"name": "relay1", "draining": true}));
    reload(&lab.control, &Control::default(), "peer relay1: its symbols' own weights");
}

#[test]
fn routes_by_hand_follow_the_files() {
    let Some(lab) = Lab::up() else { return };
    let route = "10.1.0.0/16 via 192.0.2.2 dev eth1";
    let listed = |line: &str| format!("static = [\"{line}\"]");
    let mut relay = Relay { routes: listed(route), ..Relay::default() };
    reload(&lab.relay, &relay, &format!("routes: forwarding changed\nroute {route}: added"));
    lab.relay.await_row("routes", &json!({"prefix": "10.1.0.0/16", "state": "installed"}));
    assert!(lab.relay_ns.ok("ip route show proto 108").contains("10.1.0.0/16"));
    let other = "10.1.0.0/16 via 192.0.2.3 dev eth1";
    relay.routes = listed(other);
    reload(&lab.relay, &relay, &format!("route {route}: removed\nroute {other}: added"));
    eventually(SOON, "the kernel has the other one", || {
        let routes = lab.relay_ns.ok("ip route show proto 108");
        if routes.contains("192.0.2.3") { Ok(()) } else { Err(routes) }
    });
    reload(&lab.relay, &Relay::default(), &format!("routes: forwarding changed\nroute {other}: removed"));
    lab.relay.await_no_row("routes", &json!({"prefix": "10.1.0.0/16"}));
    assert_eq!(lab.relay_ns.ok("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
}

#[test]
fn times_change_without_losing_the_session_or_the_symbol() {
    let Some(mut lab) = Lab::up() else { return };
    let keeper = |lab: &Lab, other_than: u32| {
        eventually(SOON, "there is a keeper", || match lab.control.keepers()[..] {
            [pid] if pid != other_than => Ok(pid),
            ref pids => Err(format!("{pids:?}")),
        })
    };
    let index = |lab: &Lab| lab.programs().ok("cat /sys/class/net/eth1/ifindex");
    let (before, first) = (index(&lab), keeper(&lab, 0));
    // It promises less silence, of which a busy machine may make more.
    let patient = Relay { link: "missed = 20".into(), ..Relay::default() };
    reload(&lab.relay, &patient, "link: missed changed");
    let more = "keep_symbols_ms = 50000\ncarrier_hold_ms = 5000";
    let control = Control {
        more: more.into(),
        link: "keepalive_ms = 20\nmissed = 20\nbusy_poll_us = 0".into(),
        ..Control::default()
    };
    let said = "control: keep_symbols_ms changed\ncontrol: carrier_hold_ms changed\n\
                link: keepalive_ms changed\nlink: missed changed\nlink: busy_poll_us changed";
    let heard = lab.relay.counter("rx.KEEPALIVE.frames");
    reload(&lab.control, &control, said);
    // More than come otherwise in that time.
    lab.relay.await_counter("rx.KEEPALIVE.frames", heard + 200);
    assert_eq!(sessions(&lab), 1);
    // The other keeper holds the symbol as well.
    let _ = keeper(&lab, first);
    lab.control.kill_9();
    lab.control.start();
    lab.await_symbol();
    assert_eq!(index(&lab), before);
}

#[test]
fn an_address_symbol_becomes_the_way_of_all_else_in_place() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let mut lab = lab;
    let with = |more: &str| {
        let none = Control { symbols: Vec::new(), ..Control::default() };
        format!(
            "{none}\n[[symbol]]\nkind = \"address\"\nrelay = \"relay1\"\nport = \"eth1\"\naddress = \"{PORT_V4}\"\n{more}\n"
        )
    };
    lab.control.configure(&with(""));
    lab.start();
    let index = lab.programs().ok("cat /sys/class/net/eth1/ifindex");
    let default = || lab.programs().ok("ip route show default");
    for _ in 0..2 {
        reload(&lab.control, &with("default_route = true"), "symbol eth1: default_route changed");
        assert!(default().contains("dev eth1"), "{}", default());
        lab.programs().ok(&format!("ping -c 1 -W 2 {CLIENT_V4}"));
        reload(&lab.control, &with(""), "symbol eth1: default_route changed");
        assert_eq!(default(), "");
    }
    assert_eq!(lab.programs().ok("cat /sys/class/net/eth1/ifindex"), index);
}

#[test]
fn files_have_another_owner_and_another_place() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let mounts = Rc::new(Mounts::new(lab.folder()));
    lab.control.mount_in(&mounts);
    let with = |mount: &str, more: &str| {
        let none = Control { symbols: Vec::new(), ..Control::default() };
        format!(
            "{none}\n[files]\nmount = \"{mount}\"\n[[symbol]]\nkind = \"files\"\nrelay = \"relay1\"\nport = \"eth1\"\n{more}\n"
        )
    };
    lab.control.configure(&with("one", ""));
    lab.start();
    let folder = lab.control.folder().to_owned();
    let owner = |mount: &str, expected: &str| {
        let path = format!("{}/{mount}/relay1/eth1/packets", folder.display());
        eventually(SOON, &format!("{path} is {expected}"), || {
            let owner = mounts.sh(&format!("stat -c %u:%a {path}")).into_result()?;
            if owner.trim() == expected { Ok(()) } else { Err(owner) }
        });
    };
    owner("one", "0:600");
    let more = "uid = 5\nmode = \"0640\"";
    reload(&lab.control, &with("one", more), "symbol eth1: owner changed");
    owner("one", "5:640");
    reload(&lab.control, &with("two", more), "files: mount changed");
    owner("two", "5:640");
    assert!(!mounts.sh(&format!("mountpoint -q {}/one", folder.display())).success());
}

#[rstest]
fn a_wrong_file_changes_nothing(#[values(Role::Relay, Role::Control)] device: Role) {
    let Some(mut lab) = with_two_ports() else { return };
    let (right, more) = match device {
        Role::Relay => (one().0.to_string(), two().0.to_string()),
        Role::Control => (one().1.to_string(), two().1.to_string()),
    };
    let daemon = lab.daemon(device);
    let before = daemon.show("symbols").unwrap();
    daemon.configure(&format!("{more}\ncolor = \"red\"\n"));
    refuses(daemon, "reload", "unknown field `color`");
    refuses(daemon, "reload", "^^^^^");
    daemon.configure(&more.replace("\"lan0\"", "\"lan1\""));
    refuses(daemon, "reload", ":13: `link.interface` cannot be changed while the daemon runs");
    refuses(daemon, "reload --check", "systemctl restart");
    daemon.process().signal(Signal::SIGHUP);
    daemon.await_log("nothing was changed: ");
    assert_eq!(daemon.show("symbols").unwrap(), before);
    assert_eq!(daemon.show("ports").unwrap().len(), 1);
    daemon.configure(&right);
    assert_eq!(daemon.l2ctl("reload --check").expect_success().trim_end(), "nothing would change");
    refuses(daemon, "confirm", "no reload waits to be confirmed");
    lab.await_symbol();
}

#[rstest]
fn what_is_not_confirmed_is_taken_back(#[values(Role::Relay, Role::Control)] device: Role) {
    let Some(mut lab) = with_two_ports() else { return };
    let (more, object) = match device {
        Role::Relay => (two().0.to_string(), "ports"),
        Role::Control => {
            reload(&lab.relay, &two().0, "port eth2: added");
            (two().1.to_string(), "symbols")
        }
    };
    let daemon = lab.daemon(device);
    let row = json!({"name": "eth2", "state": "up"});
    daemon.configure(&more);
    assert!(daemon.l2ctl("reload --check").expect_success().contains("eth2: added"));
    daemon.await_no_row(object, &json!({"name": "eth2"}));
    let _ = daemon.l2ctl("reload --confirm 3s").expect_success();
    daemon.await_row("configuration", &json!({"state": "to be confirmed"}));
    assert!(daemon.l2ctl("show configuration").expect_success().contains("REVERTS IN"));
    refuses(daemon, "reload", "has yet to be confirmed");
    daemon.await_log("nobody has confirmed the configuration");
    daemon.await_log(".toml has the other still");
    daemon.await_no_row(object, &json!({"name": "eth2"}));
    daemon.await_row("configuration", &json!({"state": "in force", "reverts_in_ms": null}));
    // The file says it still.
    let _ = daemon.l2ctl("reload --confirm 2s").expect_success();
    let _ = daemon.l2ctl("confirm").expect_success();
    daemon.await_row(object, &row);
    let again = daemon.l2ctl("reload --confirm 60s").expect_success();
    assert!(again.contains("nothing has changed\nwaits 60s for `l2ctl confirm` all the same"), "{again}");
    let _ = daemon.l2ctl("confirm").expect_success();
    netns_tests::never(std::time::Duration::from_secs(3), "it goes back all the same", || {
        let rows = daemon.show(object)?;
        if rows.iter().any(|row| row["name"] == "eth2") { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    lab.await_symbol();
}

#[rstest]
fn a_daemon_killed_on_trial_runs_by_the_file(#[values(Role::Relay, Role::Control)] device: Role) {
    let Some(mut lab) = with_two_ports() else { return };
    let (more, object) = match device {
        Role::Relay => (two().0.to_string(), "ports"),
        Role::Control => (two().1.to_string(), "symbols"),
    };
    let daemon = lab.daemon(device);
    daemon.configure(&more);
    let _ = daemon.l2ctl("reload --confirm 60s").expect_success();
    daemon.await_row("configuration", &json!({"state": "to be confirmed"}));
    let by_hand =
        if object == "ports" { "peer weight control1 5 --save" } else { "peer weight relay1 5 --save" };
    refuses(daemon, by_hand, "not saved");
    daemon.kill_9();
    daemon.start();
    daemon.await_log("the configuration is that of ");
    daemon.await_row("configuration", &json!({"state": "in force", "reverts_in_ms": null}));
    daemon.await_row(object, &json!({"name": "eth2"}));
    refuses(daemon, "confirm", "no reload waits to be confirmed");
    lab.await_symbol();
}

#[rstest]
fn sighup_reloads_and_the_service_manager_hears_of_it(#[values(Role::Relay, Role::Control)] device: Role) {
    let Some(mut lab) = Lab::build(Layout { second_port: true, ..Layout::default() }) else { return };
    let path = lab.folder().join("notify");
    let mut notifications = Notifications::listen(&path);
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("a path"))];
    let daemon = lab.daemon(device);
    daemon.start_with(&environment);
    notifications.await_text("READY=1");
    notifications.forget();
    let (more, object) = match device {
        Role::Relay => (two().0.to_string(), "ports"),
        Role::Control => (two().1.to_string(), "symbols"),
    };
    daemon.configure(&more);
    daemon.process().signal(Signal::SIGHUP);
    notifications.await_text("RELOADING=1");
    notifications.await_text("READY=1");
    daemon.await_row(object, &json!({"name": "eth2"}));
    daemon.await_log("eth2: added");
}

#[test]
fn figures_and_routes_are_switched_while_it_runs() {
    let Some(lab) = Lab::up() else { return };
    let with = |what: &str| format!("{}\n[metrics]\nsocket = \"{what}\"\n", Control::default());
    reload(&lab.control, &with("m1"), "metrics: section changed");
    assert!(lab.control.folder().join("m1").exists());
    reload(&lab.control, &with("m2"), "metrics: section changed");
    assert!(!lab.control.folder().join("m1").exists() && lab.control.folder().join("m2").exists());
    // Where nothing can be.
    lab.control.configure(&with("psk/m3"));
    refuses(&lab.control, "reload", "m3");
    assert!(lab.control.folder().join("m2").exists(), "as before");
    let relay = Relay { ports: vec![Port::routed("eth1")], ..Relay::default() };
    reload(&lab.relay, &relay, "routes: forwarding changed\nport eth1: permissions changed");
    let routing = Control { routes: "enabled = true".into(), ..Control::default() };
    reload(&lab.control, &routing, "metrics: section changed\nroutes: what is told changed");
    lab.programs().ip(&["route add 10.2.0.0/16 via 192.0.2.2 dev eth1"]);
    lab.relay.await_row("routes", &json!({"prefix": "10.2.0.0/16", "state": "installed"}));
    // A permission that goes takes the route along, and brings it back.
    reload(&lab.relay, &Relay::default(), "routes: forwarding changed\nport eth1: permissions changed");
    lab.control.await_row("routes", &json!({"prefix": "10.2.0.0/16", "state": "refused"}));
    eventually(SOON, "the kernel has it no more", || {
        let routes = lab.relay_ns.ok("ip route show proto 108");
        if routes.is_empty() { Ok(()) } else { Err(routes) }
    });
    reload(&lab.relay, &relay, "routes: forwarding changed\nport eth1: permissions changed");
    lab.control.await_row("routes", &json!({"prefix": "10.2.0.0/16", "state": "installed"}));
    reload(&lab.control, &Control::default(), "routes: what is told changed");
    lab.relay.await_no_row("routes", &json!({"prefix": "10.2.0.0/16"}));
}
