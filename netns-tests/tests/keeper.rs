//! The symbol survives its daemon: killed, restarted, upgraded, and what is left when it does not come back.

use netns_tests::address::*;
use netns_tests::config::{Control, Symbol};
use netns_tests::program::Nginx;
use netns_tests::{Daemon, Download, Lab, Layout, SOON, eventually, never};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use serde_json::json;
use std::fs;
use std::time::Duration;

const RULE: [&str; 1] = ["eth1 tcp 0.0.0.0:80 active"];

/// A lab whose control has these lines before its sections.
fn lab(more: &str) -> Option<Lab> {
    let mut lab = Lab::build(Layout::default())?;
    lab.control.configure(&Control { more: more.into(), ..Control::default() }.to_string());
    lab.start();
    Some(lab)
}

/// What a program sees of the symbol: another interface of the same name has another number, and every loss of the
/// carrier counts.
fn identity(lab: &Lab) -> (i64, String) {
    let ifindex = lab.programs().ip_json("link show eth1")[0]["ifindex"].as_i64().expect("a number");
    (ifindex, lab.programs().ok("cat /sys/class/net/eth1/carrier_changes"))
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("process ids are positive")), signal)
        .expect("signal a keeper");
}

fn await_keeper(control: &Daemon, other_than: Option<u32>) -> u32 {
    eventually(SOON, "there is a keeper", || match control.keepers()[..] {
        [pid] if Some(pid) != other_than => Ok(pid),
        ref pids => Err(format!("{pids:?}")),
    })
}

/// Nothing is left of the control.
fn check_nothing_left(lab: &Lab) -> Result<(), String> {
    if lab.programs().has_interface("eth1") {
        return Err("the interface is there".into());
    }
    if !lab.control.keepers().is_empty() {
        return Err(format!("there are keepers: {:?}", lab.control.keepers()));
    }
    let files = fs::read_dir(lab.control.folder()).expect("the control's folder").flatten();
    let sockets: Vec<_> = files.map(|file| file.file_name()).filter(|name| *name != "sock").collect();
    match sockets.iter().find(|name| name.to_string_lossy().starts_with("sock")) {
        Some(name) => Err(format!("there is {}", name.display())),
        None => Ok(()),
    }
}

#[derive(Debug, Clone, Copy)]
enum Exit {
    Killed,
    Left,
}

fn restart(control: &mut Daemon, exit: Exit) {
    match exit {
        Exit::Killed => control.kill_9(),
        Exit::Left => control.leave(),
    }
    control.start();
}

#[rstest]
#[case::killed(Exit::Killed)]
#[case::left(Exit::Left)]
fn programs_do_not_notice_a_restart(#[case] exit: Exit) {
    let Some(mut lab) = lab("") else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&RULE);
    lab.programs().ip(&[
        &format!("route add 203.0.113.0/24 via {CLIENT_V4}"),
        &format!("route add 2001:db8:99::/64 via {CLIENT_V6} dev eth1"),
    ]);
    let routes = |lab: &Lab| {
        [lab.programs().ok("ip route show dev eth1"), lab.programs().ok("ip -6 route show dev eth1")]
    };
    let (before, routes_before) = (identity(&lab), routes(&lab));
    let monitor = lab.programs().spawn("ip monitor link");
    let ping = lab.programs().spawn(&format!("ping -i 0.05 {CLIENT_V4}"));
    let url = format!("http://{PORT_V4}/large");
    let mut download = Download::start(lab.client.command("curl").args(["-sSf", &url]));
    download.await_begin();
    ping.await_log("icmp_seq=10 ", SOON);
    for _ in 0..3 {
        restart(&mut lab.control, exit);
        lab.await_symbol();
        lab.relay.await_rules(&RULE);
        let answered = ping.log().lines().count();
        eventually(SOON, "the ping goes on", || match ping.log().lines().count() {
            lines if lines > answered + 3 => Ok(()),
            lines => Err(format!("{lines} lines, {answered} before")),
        });
        let received = received(&lab);
        eventually(SOON, "the download goes on", || match self::received(&lab) {
            bytes if bytes > received + 1_000_000 => Ok(()),
            bytes => Err(format!("{bytes} bytes, {received} before")),
        });
    }
    assert!(download.is_running(), "the download broke off");
    assert_eq!(identity(&lab), before, "interface number and changes of the carrier");
    assert_eq!(routes(&lab), routes_before);
    assert!(!monitor.log().contains("eth1"), "programs saw a change:\n{}", monitor.log());
    assert_eq!(
        lab.control.keepers().len(),
        1,
        "each daemon has a keeper of its own, and the others have ended"
    );
    lab.control.terminate();
    assert_eq!(check_nothing_left(&lab), Ok(()));
}

/// Bytes that the client's connection has received.
fn received(lab: &Lab) -> u64 {
    let shown = lab.client.ok(&format!("ss -Htin state established dst {PORT_V4}"));
    let word = shown.split_whitespace().find_map(|word| word.strip_prefix("bytes_received:"));
    word.unwrap_or_default().parse().unwrap_or_else(|_| panic!("no connection: {shown}"))
}

#[test]
fn who_does_not_come_back_leaves_nothing_after_the_time() {
    let Some(mut lab) = lab("keep_symbols_ms = 2000") else { return };
    let before = identity(&lab);
    lab.control.kill_9();
    never(Duration::from_millis(1500), "the symbol stays with its carrier", || match identity(&lab) {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}, {before:?} before")),
    });
    eventually(SOON, "nothing is left", || check_nothing_left(&lab));
    // And the name is free.
    lab.control.start();
    lab.await_symbol();
    assert_ne!(identity(&lab).0, before.0);
}

#[test]
fn who_stops_leaves_nothing_at_once() {
    let Some(mut lab) = lab("") else { return };
    await_keeper(&lab.control, None);
    lab.control.terminate();
    assert_eq!(check_nothing_left(&lab), Ok(()));
}

#[rstest]
#[case::killed(Signal::SIGKILL)]
#[case::stopped(Signal::SIGTERM)]
fn a_keeper_that_ends_is_replaced(#[case] end: Signal) {
    let Some(mut lab) = lab("") else { return };
    let before = identity(&lab);
    let first = await_keeper(&lab.control, None);
    signal(first, end);
    let second = await_keeper(&lab.control, Some(first));
    lab.control.await_log("will be replaced");
    assert_eq!(identity(&lab), before);
    // It is published when it holds everything.
    eventually(SOON, "it is found by a successor", || {
        let draft = lab.control.folder().join("sock.keeper.new");
        if draft.exists() { Err("not yet".to_owned()) } else { Ok(()) }
    });
    restart(&mut lab.control, Exit::Killed);
    lab.await_symbol();
    assert_eq!(identity(&lab), before);
    await_keeper(&lab.control, Some(second));
}

#[test]
fn a_keeper_that_cannot_be_started_is_told_of_once_and_tried_again() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let in_the_way = lab.control.folder().join("sock.keeper.new");
    fs::create_dir(&in_the_way).expect("make a folder");
    lab.start();
    let message = "symbols would not outlive this daemon";
    lab.control.await_log(message);
    never(Duration::from_millis(2500), "it is told once", || {
        match lab.control.log().matches(message).count() {
            1 => Ok(()),
            count => Err(format!("{count} times")),
        }
    });
    fs::remove_dir(&in_the_way).expect("remove a folder");
    eventually(SOON, "it is found by a successor", || {
        if lab.control.folder().join("sock.keeper").exists() { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let before = identity(&lab);
    restart(&mut lab.control, Exit::Killed);
    lab.await_symbol();
    assert_eq!(identity(&lab), before);
}

#[test]
fn without_a_keeper_the_symbol_goes_with_its_daemon() {
    let Some(mut lab) = lab("keep_symbols_ms = 0") else { return };
    assert!(lab.control.keepers().is_empty());
    lab.control.kill_9();
    eventually(SOON, "the interface is gone", || check_nothing_left(&lab));
}

#[test]
fn what_the_file_has_no_more_is_removed() {
    let Some(mut lab) = Lab::build(Layout { second_port: true, ..Layout::default() }) else { return };
    let mut relay = netns_tests::config::Relay::default();
    relay.ports.push(netns_tests::config::Port::new("eth2"));
    lab.relay.configure(&relay.to_string());
    let mut control = Control::default();
    let one = control.to_string();
    control.symbols.push(Symbol::new("eth2"));
    lab.control.configure(&control.to_string());
    lab.start();
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    let before = identity(&lab);
    lab.control.kill_9();
    lab.control.configure(&one);
    lab.control.start();
    lab.await_symbol();
    assert!(!lab.programs().has_interface("eth2"));
    assert_eq!(identity(&lab), before);
}

#[test]
fn what_changed_meanwhile_is_brought_in_line_and_what_others_did_stays() {
    let Some(mut lab) = lab("") else { return };
    let (ifindex, _) = identity(&lab);
    lab.programs().ip(&["addr add 198.51.100.7/32 dev eth1", "addr add 2001:db8:99::7/128 dev eth1 nodad"]);
    lab.control.kill_9();
    lab.relay_ns.ip(&[
        "addr add 192.0.2.77/24 dev eth1",
        &format!("addr del {PORT_V6}/64 dev eth1"),
        "link set eth1 mtu 1400",
    ]);
    lab.control.start();
    lab.await_symbol();
    eventually(SOON, "the symbol is as its port", || {
        let shown = lab.programs().ip_json("addr show eth1");
        let text = shown.to_string();
        let there =
            [PORT_V4, "192.0.2.77", "198.51.100.7", "2001:db8:99::7"].iter().all(|own| text.contains(own));
        if there && !text.contains(PORT_V6) && shown[0]["mtu"] == 1400 { Ok(()) } else { Err(text) }
    });
    assert_eq!(identity(&lab).0, ifindex);
}

#[test]
fn a_changed_gateway_takes_the_place_of_the_former() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let config = |gateway: &str| {
        let mut control = Control::default();
        control.symbols[0].more = format!("gateway = [\"{gateway}\"]");
        control.to_string()
    };
    lab.control.configure(&config("192.0.2.7"));
    lab.start();
    let (ifindex, _) = identity(&lab);
    let routes = |lab: &Lab| lab.programs().ok("ip route show default");
    assert!(routes(&lab).contains("via 192.0.2.7 "));
    lab.control.kill_9();
    lab.control.configure(&config("192.0.2.8"));
    lab.control.start();
    lab.await_symbol();
    let shown = routes(&lab);
    assert!(shown.contains("via 192.0.2.8 ") && !shown.contains("192.0.2.7"), "{shown}");
    assert_eq!(identity(&lab).0, ifindex);
}

#[test]
fn a_second_daemon_is_refused_and_takes_nothing() {
    let Some(lab) = lab("") else { return };
    let before = identity(&lab);
    let keeper = await_keeper(&lab.control, None);
    let second = lab.control.run(&[]);
    assert!(
        !second.success() && second.stderr().contains("another daemon listens there already"),
        "{second}"
    );
    assert_eq!((identity(&lab), lab.control.keepers()), (before, vec![keeper]));
    lab.await_symbol();
}

#[rstest]
#[case::within_the_hold("carrier_hold_ms = 30000", true)]
#[case::without_a_hold("carrier_hold_ms = 0", false)]
fn a_relay_that_restarts(#[case] hold: &str, #[case] unnoticed: bool) {
    let Some(mut lab) = lab(hold) else { return };
    let before = identity(&lab);
    for killed in [true, false] {
        if killed {
            lab.relay.kill_9()
        } else {
            lab.relay.terminate()
        }
        lab.control.await_row("symbols", &json!({"state": "down", "carrier": unnoticed}));
        lab.relay.start();
        lab.await_symbol();
        assert_eq!(identity(&lab) == before, unnoticed);
    }
}

#[test]
fn a_relay_that_stays_away_takes_the_carrier_in_the_end() {
    let Some(mut lab) = lab("carrier_hold_ms = 1000") else { return };
    lab.relay.kill_9();
    lab.control.await_row("symbols", &json!({"state": "down", "carrier": true}));
    lab.control.await_row("symbols", &json!({"state": "down", "carrier": false}));
    assert!(lab.programs().ok("ip link show eth1").contains("NO-CARRIER"));
}

#[test]
fn a_deleted_namespace_is_not_kept_alive() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    lab.start();
    let keeper = await_keeper(&lab.control, None);
    let devices = || {
        let held = fs::read_dir(format!("/proc/{keeper}/fd")).into_iter().flatten().flatten();
        held.filter(|held| fs::read_link(held.path()).is_ok_and(|path| path.ends_with("net/tun"))).count()
    };
    // The symbol may be up before the keeper has taken its device.
    let holds = |count: usize| if devices() == count { Ok(()) } else { Err(devices().to_string()) };
    eventually(SOON, "the keeper holds the device", || holds(1));
    lab.control_ns.ok(&format!("ip netns del {}", lab.programs().name()));
    lab.control.await_row("symbols", &json!({"state": "waiting"}));
    eventually(SOON, "the keeper forgets", || holds(0));
}
