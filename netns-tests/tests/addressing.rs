//! `addressing = "control"`: an address that a program puts on a symbol is the port's too, while it is there.

use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay};
use netns_tests::program::{Frr, Nginx, PAGE};
use netns_tests::{Lab, Layout, SOON, eventually, never};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

/// Addresses that nobody but a program on the control gives, on the client's network.
const GIVEN_V4: &str = "192.0.2.50";
const GIVEN_V6: &str = "2001:db8:1::50";

/// A lab whose control may give its port addresses, with more lines for the relay's `[routes]`; `asks` for whether it wants.
fn lab(routes: &str, asks: bool) -> Option<Lab> {
    let lab = Lab::build(Layout { router: true, ..Layout::default() })?;
    let allow = "control = \"*\"\nroutes = true\naddressing = true";
    let port = Port { allow: vec![allow.into()], ..Port::new("eth1") };
    let relay = Relay { ports: vec![port], routes: routes.into(), ..Relay::default() };
    lab.relay.configure(&relay.to_string());
    let mut control = Control { routes: "enabled = true".into(), ..Control::default() };
    if asks {
        control.link = "addressing = \"control\"".into();
    }
    control.symbols[0].netns = Some(lab.programs().name().to_owned());
    lab.control.configure(&control.to_string());
    Some(lab)
}

fn up(routes: &str) -> Option<Lab> {
    let mut lab = lab(routes, true)?;
    lab.start();
    Some(lab)
}

fn port_has(lab: &Lab, address: &str) -> bool {
    lab.relay_ns.ok("ip -o addr show dev eth1").contains(&format!(" {address} "))
}

/// Waits until the relay's port has an address, with the length of its prefix, or has it no more.
#[track_caller]
fn await_at_port(lab: &Lab, address: &str, expected: bool) {
    eventually(SOON, &format!("{address} is at the port: {expected}"), || {
        if port_has(lab, address) == expected {
            Ok(())
        } else {
            Err(lab.relay_ns.ok("ip addr show dev eth1"))
        }
    });
}

fn give(lab: &Lab) {
    lab.programs().ip(&[
        &format!("addr add {GIVEN_V4}/24 dev eth1"),
        &format!("addr add {GIVEN_V6}/64 dev eth1 nodad"),
    ]);
    await_at_port(lab, &format!("{GIVEN_V4}/24"), true);
    await_at_port(lab, &format!("{GIVEN_V6}/64"), true);
}

#[test]
fn an_address_of_a_symbol_is_the_ports_while_it_is_there() {
    let Some(lab) = up("") else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    give(&lab);
    for (address, host) in [(GIVEN_V4, GIVEN_V4.to_owned()), (GIVEN_V6, format!("[{GIVEN_V6}]"))] {
        lab.client.ok(&format!("ping -n -c 3 -i 0.05 -W 2 {address}"));
        eventually(SOON, "the server answers there", || {
            let page = lab.client.run(&format!("curl -sS -m 2 http://{host}/")).into_result()?;
            if page == PAGE { Ok(()) } else { Err(page) }
        });
    }
    let [v4, v6] = [format!("{GIVEN_V4}/24"), format!("{GIVEN_V6}/64")];
    // They are the program's: what is given does not come back as the relay's, and the relay's own stay.
    lab.programs().ip(&[&format!("addr del {v4} dev eth1")]);
    await_at_port(&lab, &v4, false);
    assert!(port_has(&lab, &v6) && port_has(&lab, &format!("{PORT_V4}/24")));
    lab.programs().ip(&[&format!("addr del {v6} dev eth1")]);
    await_at_port(&lab, &v6, false);
    assert!(port_has(&lab, &format!("{PORT_V4}/24")) && port_has(&lab, &format!("{PORT_V6}/64")));
    assert!(!lab.client.run(&format!("ping -n -c 1 -W 0.3 {GIVEN_V4}")).success());
    let own = lab.programs().ok("ip -o addr show dev eth1");
    assert!(!own.contains(GIVEN_V4) && !own.contains(GIVEN_V6) && own.contains(PORT_V4), "{own}");
}

#[test]
fn ospf_runs_over_an_address_that_frr_gives() {
    let Some(mut lab) = lab("", true) else { return };
    lab.relay_ns.ip(&["addr flush dev eth1 scope global"]);
    // The configuration is there before the interface.
    let ospf = " ip ospf area 0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n ip ospf network point-to-point\nrouter ospf\n redistribute static\n";
    let near = format!("interface eth1\n ip address {PORT_V4}/24\n ipv6 address {PORT_V6}/64\n{ospf}");
    let far = format!("ip route 172.31.0.0/16 blackhole\ninterface eth0\n{ospf}");
    let near = Frr::start(lab.programs(), lab.folder(), &["ospfd"], &near);
    let _far = Frr::start(&lab.client, lab.folder(), &["ospfd"], &far);
    lab.start();
    await_at_port(&lab, &format!("{PORT_V4}/24"), true);
    await_at_port(&lab, &format!("{PORT_V6}/64"), true);
    near.await_text("show ip ospf neighbor", "Full", Duration::from_secs(40));
    eventually(Duration::from_secs(40), "the relay has the route", || {
        let shown = lab.relay_routes("172.31.0.0/16");
        if shown.contains(&format!("via {CLIENT_V4} dev eth1 proto 108")) { Ok(()) } else { Err(near.log()) }
    });
    for address in [PORT_V4, PORT_V6] {
        lab.client.ok(&format!("ping -n -c 2 -i 0.05 -W 2 {address}"));
    }
    near.configure(&["interface eth1", &format!("no ip address {PORT_V4}/24")]);
    await_at_port(&lab, &format!("{PORT_V4}/24"), false);
    lab.await_no_relay_route("172.31.0.0/16");
    assert!(port_has(&lab, &format!("{PORT_V6}/64")));
    near.configure(&["interface eth1", &format!("ip address {GIVEN_V4}/24")]);
    await_at_port(&lab, &format!("{GIVEN_V4}/24"), true);
}

/// Waits until a daemon tells that an address of the symbol or port is refused, and why.
#[track_caller]
fn await_refused(lab: &Lab, address: &str, reason: &str) {
    for (daemon, table) in [(&lab.control, "symbols"), (&lab.relay, "ports")] {
        eventually(SOON, &format!("{address} is refused because {reason:?}"), || {
            let rows = daemon.show(table)?;
            let texts = rows[0]["refused_addresses"].as_array().cloned().unwrap_or_default();
            let told = texts.iter().filter_map(|text| text.as_str());
            if told.clone().any(|text| text.contains(address) && text.contains(reason)) {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        });
    }
}

#[test]
fn an_address_of_the_relay_is_refused_as_long_as_it_has_it() {
    let Some(lab) = up("") else { return };
    lab.relay_ns.ip(&["addr add 198.51.100.7/32 dev lo", "addr add 2001:db8:7::7/128 dev lo"]);
    lab.programs().ip(&[
        "addr add 198.51.100.7/24 dev eth1",
        "addr add 2001:db8:7::7/64 dev eth1 nodad",
        &format!("addr add {SEGMENT_RELAY_V4}/32 dev eth1"),
    ]);
    for address in ["198.51.100.7", "2001:db8:7::7", SEGMENT_RELAY_V4] {
        await_refused(
            &lab,
            address,
            &format!("{address} is the relay's own, at an interface that is no port"),
        );
    }
    // The others are not touched by it.
    give(&lab);
    let port = lab.relay_ns.ok("ip -o addr show dev eth1");
    assert!(!port.contains("198.51.100.7") && !port.contains("2001:db8:7::7"), "{port}");
    lab.relay_ns.ip(&["addr del 198.51.100.7/32 dev lo", "addr del 2001:db8:7::7/128 dev lo"]);
    await_at_port(&lab, "198.51.100.7/24", true);
    await_at_port(&lab, "2001:db8:7::7/64", true);
    let still = lab.control.await_row("symbols", &json!({"name": "eth1"}));
    let texts = still["refused_addresses"].to_string();
    assert!(texts.contains(SEGMENT_RELAY_V4), "{texts}");
    eventually(SOON, "only the one is refused", || {
        let texts = lab.control.show("symbols")?[0]["refused_addresses"].to_string();
        if texts.contains("198.51.100.7") || texts.contains("db8:7") { Err(texts) } else { Ok(()) }
    });
}

#[test]
fn who_is_not_permitted_is_told_what_is_missing() {
    let Some(mut lab) = lab("", true) else { return };
    lab.relay.configure(&Relay::default().to_string());
    lab.start();
    lab.programs().ip(&[&format!("addr add {GIVEN_V4}/24 dev eth1")]);
    await_refused(&lab, GIVEN_V4, "add: addressing = true");
    assert!(!port_has(&lab, &format!("{GIVEN_V4}/24")));
}

#[test]
fn by_default_the_relays_addresses_are_the_relays() {
    let Some(mut lab) = lab("", false) else { return };
    lab.start();
    let before = lab.relay_ns.ok("ip addr show dev eth1");
    lab.programs().ip(&[
        &format!("addr add {GIVEN_V4}/24 dev eth1"),
        &format!("addr add {GIVEN_V6}/64 dev eth1 nodad"),
        &format!("addr del {PORT_V4}/24 dev eth1"),
    ]);
    never(Duration::from_secs(1), "the port's addresses change", || {
        let now = lab.relay_ns.ok("ip addr show dev eth1");
        if now == before { Ok(()) } else { Err(now) }
    });
}

/// Ends a control and its keeper as a power cut would.
fn cut_off(lab: &mut Lab) {
    // Otherwise either would replace the other.
    let keepers = lab.control.keepers();
    assert!(!keepers.is_empty());
    lab.control.kill_9();
    for keeper in keepers {
        kill(Pid::from_raw(i32::try_from(keeper).unwrap()), Signal::SIGKILL).expect("kill a keeper");
    }
    eventually(SOON, "the symbol is gone", || {
        if lab.programs().has_interface("eth1") { Err("it is there".into()) } else { Ok(()) }
    });
}

#[test]
fn addresses_of_a_control_that_is_gone_stay_for_the_hold_time() {
    let Some(mut lab) = up("hold_seconds = 2") else { return };
    give(&lab);
    cut_off(&mut lab);
    let [v4, v6] = [format!("{GIVEN_V4}/24"), format!("{GIVEN_V6}/64")];
    never(Duration::from_millis(1_700), "the port's addresses stay", || {
        if port_has(&lab, &v4) && port_has(&lab, &v6) { Ok(()) } else { Err("one went".into()) }
    });
    await_at_port(&lab, &v4, false);
    await_at_port(&lab, &v6, false);
    assert!(port_has(&lab, &format!("{PORT_V4}/24")));
    // A control without the addresses takes what was held at once, as it says that it has none.
    lab.control.start();
    lab.await_symbol();
    give(&lab);
    cut_off(&mut lab);
    lab.relay.await_row("peers", &json!({"state": "down"}));
    lab.control.start();
    lab.await_symbol();
    await_at_port(&lab, &v4, false);
    await_at_port(&lab, &v6, false);
}

#[derive(Clone, Copy)]
enum Who {
    Control,
    Relay,
}

#[rstest]
#[case::the_control(Who::Control)]
#[case::the_relay(Who::Relay)]
fn a_daemon_that_comes_back_leaves_the_addresses_in_place(#[case] who: Who) {
    let Some(mut lab) = up("") else { return };
    give(&lab);
    let watch = lab.relay_ns.spawn("ip monitor address");
    eventually(SOON, "ip monitor listens", || {
        lab.relay_ns.ip(&["addr replace 127.77.0.1/32 dev lo", "addr del 127.77.0.1/32 dev lo"]);
        if watch.log().contains("127.77.0.1") { Ok(()) } else { Err(watch.log()) }
    });
    let daemon = match who {
        Who::Control => &mut lab.control,
        Who::Relay => &mut lab.relay,
    };
    daemon.kill_9();
    daemon.start();
    lab.await_symbol();
    // What is said after that has been compared.
    lab.programs().ip(&["addr add 192.0.2.51/24 dev eth1"]);
    await_at_port(&lab, "192.0.2.51/24", true);
    for address in [GIVEN_V4, GIVEN_V6] {
        assert!(!watch.log().contains(address), "{}", watch.log());
        lab.client.ok(&format!("ping -n -c 1 -W 2 {address}"));
    }
}

#[rstest]
#[case::at_once(false)]
#[case::after_a_crash(true)]
fn a_stopped_relay_leaves_none_of_them(#[case] crash: bool) {
    let Some(mut lab) = up("") else { return };
    let before = lab.relay_ns.ok("ip -o addr show dev eth1");
    give(&lab);
    if crash {
        lab.relay.kill_9();
        lab.relay.start();
        lab.await_symbol();
    }
    lab.relay.terminate();
    assert_eq!(lab.relay_ns.ok("ip -o addr show dev eth1"), before);
}

#[test]
fn an_address_that_another_tool_deletes_is_back() {
    let Some(lab) = up("") else { return };
    give(&lab);
    lab.relay_ns.ip(&[&format!("addr del {GIVEN_V4}/24 dev eth1")]);
    lab.relay.await_counter("addresses-repaired", 0);
    await_at_port(&lab, &format!("{GIVEN_V4}/24"), true);
    // As when its interface is down for a moment, which takes the IPv6 addresses.
    lab.relay_ns.ip(&["link set eth1 down", "link set eth1 up"]);
    await_at_port(&lab, &format!("{GIVEN_V6}/64"), true);
    lab.client.ok(&format!("ping -n -c 2 -i 0.3 -W 2 {GIVEN_V4}"));
}

/// Sets every new interface up, as FRR does when its configuration has addresses for it.
const SETS_UP: &str = "
import fcntl, socket, struct, sys
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
events.bind((0, 1))
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
request = struct.pack('16sh14x', sys.argv[1].encode(), 0x1043)
print('listening')
while True:
    events.recv(65536)
    try:
        fcntl.ioctl(control, 0x8914, request)
    except OSError:
        pass
";

#[test]
fn a_symbol_that_a_program_sets_up_at_once_gets_no_address_of_its_own_making() {
    let Some(mut lab) = lab("", true) else { return };
    let program = lab.programs().python(SETS_UP, &["eth1"]);
    program.await_log("listening", SOON);
    let before = lab.relay_ns.ok("ip -o addr show dev eth1");
    lab.relay.start();
    for _ in 0..10 {
        lab.control.start();
        lab.await_symbol();
        let symbol = lab.programs().ok("ip -6 -brief addr show dev eth1 scope link");
        let port = lab.relay_ns.ok("ip -6 -brief addr show dev eth1 scope link");
        assert_eq!(symbol.split_whitespace().last(), port.split_whitespace().last(), "{symbol}{port}");
        lab.control.terminate();
        lab.relay.await_no_row("symbols", &json!({}));
    }
    assert_eq!(lab.relay_ns.ok("ip -o addr show dev eth1"), before);
}
