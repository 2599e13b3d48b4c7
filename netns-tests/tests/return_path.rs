//! The answer of a server leaves by the symbol on which its client came, whatever default route the server's machine has.

use core::time::Duration;
use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay, Symbol};
use netns_tests::program::{Nginx, PAGE, dnsmasq, echo, echo_server};
use netns_tests::{Lab, Layout, Netns, SOON, eventually, never};
use rstest::rstest;
use serde_json::json;

const LISTEN: [&str; 2] = ["80", "[::]:80"];
/// The client as a router, and a router that is none.
const ROUTERS: [&str; 2] = [CLIENT_V4, CLIENT_V6];
const DECOYS: [&str; 2] = ["10.66.0.254", "2001:db8:66::254"];

/// Who tells the symbol the router behind which the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    ByTheRelay,
    ByConfiguration,
}

/// The symbol lies in the machine's own namespace, whose default route leads by another interface to a router that swallows
/// everything.
#[rstest]
#[case(Told::ByTheRelay)]
#[case(Told::ByConfiguration)]
fn answers_do_not_follow_the_machines_default_route(#[case] told: Told) {
    let Some(mut lab) = Lab::build(Layout { far: true, ..Layout::default() }) else { return };
    let decoy = Decoy::beside(&lab);
    // As Debian has it, and many a firewall.
    lab.control_ns.sysctl("net.ipv4.conf.all.rp_filter=1");
    match told {
        Told::ByTheRelay => {
            for router in ROUTERS {
                lab.relay_ns.ip(&[&format!("route add default via {router}")]);
            }
        }
        Told::ByConfiguration => lab.control.configure(&with_gateways(&ROUTERS)),
    }
    lab.start();
    await_ways_out(&lab, &ROUTERS);
    for far in [FAR_V4, FAR_V6] {
        assert!(
            lab.programs().ok(&format!("ip route get {far}")).contains("dev out"),
            "the machine's own way"
        );
    }

    let nginx = Nginx::start(lab.programs(), lab.folder(), &LISTEN);
    let far = lab.far.as_ref().expect("a client behind a router");
    for (client, addresses) in [(&lab.client, [CLIENT_V4, CLIENT_V6]), (far, [FAR_V4, FAR_V6])] {
        for (port, address) in [PORT_V4, PORT_V6].into_iter().zip(addresses) {
            await_page(client, port, None);
            nginx.await_access(&format!("{address} - -"));
        }
    }
    drop(nginx);

    // A server that answers by UDP from a socket of any address; by TCP, too, from where it was asked.
    let dns = dnsmasq(lab.programs());
    lab.programs().await_listener("udp", 53);
    for client in [&lab.client, far] {
        for (port, how) in [PORT_V4, PORT_V6].into_iter().flat_map(|port| [(port, "+notcp"), (port, "+tcp")])
        {
            eventually(SOON, "an answer", || {
                let line = format!("dig {how} +short +time=1 +tries=1 @{port} l2.test A");
                match client.run(&line).into_result()?.trim() {
                    "198.51.100.7" => Ok(()),
                    other => Err(format!("{line}: {other}")),
                }
            });
        }
    }
    drop(dns);

    // Echoes of the control's; those of clients the relay's own kernel answers, by its own routes.
    for (from, to) in [(PORT_V4, FAR_V4), (PORT_V6, FAR_V6)] {
        lab.programs().ok(&format!("ping -c 1 -W 3 -I {from} {to}"));
        lab.client.ok(&format!("ping -c 1 -W 3 {from}"));
        if told == Told::ByTheRelay {
            far.ok(&format!("ping -c 1 -W 3 {from}"));
        }
    }

    assert_eq!(decoy.packets(), 0, "packets of the port went astray");
    // The counter counts: what the machine is connected to is answered there.
    let unanswered = lab.programs().run(&format!("ping -c 1 -W 1 -I {PORT_V4} {}", DECOYS[0]));
    assert_eq!(decoy.packets(), 1, "{unanswered}");
}

/// One client address at two ports: its place says nothing of the way, only the server's address does.
#[test]
fn each_of_two_symbols_answers_its_own_clients() {
    let Some(lab) = two_ports_with_routers() else { return };
    let nginx = Nginx::start(lab.programs(), lab.folder(), &LISTEN);
    let (far, client2) = (lab.far.as_ref().expect("a far client"), lab.client2.as_ref().expect("a client"));
    for (client, ports) in [(far, [PORT_V4, PORT_V6]), (client2, [PORT2_V4, PORT2_V6])] {
        for (port, address) in ports.into_iter().zip([FAR_V4, FAR_V6]) {
            await_page(client, port, Some(address));
            nginx.await_access(&format!("{address} - -"));
        }
    }
    // Once more, with the packets of each client counted where it is.
    let counters = [Counter::new(&lab.client, FAR_V4, PORT_V4), Counter::new(client2, FAR_V4, PORT2_V4)];
    let before = counters.each_ref().map(Counter::packets);
    await_page(client2, PORT2_V4, Some(FAR_V4));
    assert_eq!(counters[0].packets(), before[0], "the other port carries nothing");
    assert!(counters[1].packets() > before[1]);
    await_page(far, PORT_V4, Some(FAR_V4));
    assert!(counters[0].packets() > before[0]);
}

/// Also programs that have not chosen an address yet, where there is no other way: in a namespace of the symbol's own.
#[test]
fn a_namespace_of_its_own_goes_out_by_the_relays_default_route() {
    let Some(mut lab) = Lab::build(Layout { far: true, router: true, ..Layout::default() }) else { return };
    for router in ROUTERS {
        lab.relay_ns.ip(&[&format!("route add default via {router}")]);
    }
    lab.programs().sysctl("net.ipv4.conf.all.rp_filter=1");
    lab.start();
    await_ways_out(&lab, &ROUTERS);
    for far in [FAR_V4, FAR_V6] {
        lab.programs().ok(&format!("ping -c 1 -W 3 {far}"));
    }
    assert_eq!(lab.programs().ok("ip route show default"), "");
    // A server that answers from whatever address the kernel chooses.
    let _server = echo_server(lab.programs(), "udp 0.0.0.0 7000");
    lab.relay.await_rules(&["eth1 udp 0.0.0.0:7000 active"]);
    let far = lab.far.as_ref().expect("a client behind a router");
    let _ = echo(far, &format!("udp {PORT_V4} 7000 1000")).expect_success();
    // A default route of the namespace itself goes first.
    lab.programs().ip(&[&format!("route add default via {PORT_V4}9")]);
    let way = lab.programs().ok(&format!("ip route get {FAR_V4}"));
    assert!(way.contains(&format!("via {PORT_V4}9")), "{way}");
}

/// A service address that is no port's may be answered by any symbol.
#[test]
fn a_symbol_that_loses_its_carrier_is_no_last_resort_for_another() {
    let Some(lab) = two_ports_with_routers() else { return };
    lab.programs().ip(&["addr add 198.18.0.1/32 dev lo", "addr add 2001:db8:77::1/128 dev lo nodad"]);
    let way = |expected: &str| {
        for (from, far) in [("198.18.0.1", FAR_V4), ("2001:db8:77::1", FAR_V6)] {
            eventually(SOON, &format!("{from} goes by {expected}"), || {
                let way = lab.programs().run(&format!("ip route get {far} from {from}")).into_result()?;
                if way.contains(&format!("dev {expected} ")) { Ok(()) } else { Err(way) }
            });
        }
    };
    lab.client.ip(&["link set eth0 down"]);
    way("eth2");
    lab.client.ip(&["link set eth0 up"]);
    lab.client2.as_ref().expect("a second client").ip(&["link set eth0 down"]);
    way("eth1");
}

#[test]
fn the_relays_routes_are_followed() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.start();
    await_ways_out(&lab, &[]);
    let relay = |command: &str| lab.relay_ns.ip(&[command]);
    relay("route add default via 192.0.2.7");
    await_ways_out(&lab, &["192.0.2.7"]);
    relay("route add default via 2001:db8:1::7");
    await_ways_out(&lab, &["192.0.2.7", "2001:db8:1::7"]);
    let told = json!({"ways_out": ["0.0.0.0/0 via 192.0.2.7", "::/0 via 2001:db8:1::7"]});
    lab.relay.await_row("ports", &told);
    lab.control.await_row("ports", &told);
    relay("route replace default via 192.0.2.8");
    await_ways_out(&lab, &["192.0.2.8", "2001:db8:1::7"]);
    relay("route add default metric 7 nexthop via 192.0.2.5 nexthop via 192.0.2.6");
    relay("route del default via 192.0.2.8");
    await_ways_out(&lab, &["192.0.2.5", "192.0.2.6", "2001:db8:1::7"]);
    relay("route add 10.0.0.0/8 via 192.0.2.9");
    await_ways_out(&lab, &["192.0.2.5", "192.0.2.6", "192.0.2.9", "2001:db8:1::7"]);
    let way = lab.programs().ok(&format!("ip route get 10.1.2.3 from {PORT_V4}"));
    assert!(way.contains("via 192.0.2.9"), "{way}");
    // The kernel drops these without a word.
    relay("link set eth1 down");
    relay("link set eth1 up");
    await_ways_out(&lab, &[]);
    relay("route add default via 192.0.2.7 proto 108");
    never(Duration::from_millis(300), "a control's route is said to controls", || match ways_out(&lab)[..] {
        [] => Ok(()),
        _ => Err("it is".to_owned()),
    });
}

#[test]
fn a_restarted_relay_says_its_routes_again() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.relay_ns.ip(&["route add default via 192.0.2.7"]);
    lab.start();
    await_ways_out(&lab, &["192.0.2.7"]);
    lab.relay.kill_9();
    lab.relay_ns.ip(&["route replace default via 192.0.2.8"]);
    assert_eq!(ways_out(&lab), ["192.0.2.7"], "as long as nothing else is known");
    lab.relay.start();
    await_ways_out(&lab, &["192.0.2.8"]);
}

#[test]
fn routing_daemons_know_the_ways_themselves() {
    let Some(lab) = Lab::router(|_, control| control.symbols[1].more = "gateway = [\"203.0.113.77\"]".into())
    else {
        return;
    };
    lab.relay_ns.ip(&[&format!("route add default via {CLIENT_V4}")]);
    let rules = || lab.programs().ok("ip rule");
    eventually(SOON, "the configured one has rules", || {
        let rules = rules();
        if rules.contains(&format!("from {PORT2_V4} ")) { Ok(()) } else { Err(rules) }
    });
    assert!(!rules().contains(&format!("from {PORT_V4} ")), "{}", rules());
    assert!(!lab.programs().ok("ip -6 rule").contains("proto 108"));
    // What they know goes first.
    lab.programs().ip(&[&format!("route add 198.18.0.0/15 via {CLIENT_V4} proto 11")]);
    let way = lab.programs().ok(&format!("ip route get 198.18.1.1 from {PORT2_V4}"));
    assert!(way.contains("dev eth1"), "{way}");
    let way = lab.programs().ok(&format!("ip route get 8.8.8.8 from {PORT2_V4}"));
    assert!(way.contains("via 203.0.113.77 dev eth2"), "{way}");
    // Nothing of it is a route of the router's.
    let told = lab.relay.show("routes").expect("routes");
    assert!(told.iter().all(|route| route["prefix"] == "198.18.0.0/15"), "{told:?}");
}

/// Its routes have the same mark, but stand in other tables.
#[test]
fn a_relay_on_the_machine_of_a_control_leaves_symbols_tables_alone() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let (own, symbols) = ("10.8.0.0/16", "10.9.9.0/24");
    let add = |prefix: &str, table: &str| {
        lab.relay_ns.ip(&[&format!("route add {prefix} via {CLIENT_V4} table {table} proto 108")]);
    };
    add(own, "main");
    add(symbols, "1080000099");
    lab.start();
    lab.relay.terminate();
    let left = lab.relay_ns.ok("ip -o route show table all proto 108");
    assert!(left.contains(symbols) && !left.contains(own), "{left}");
}

#[test]
fn an_interface_that_was_down_has_its_ways_back_again() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.relay_ns.ip(&["route add default via 192.0.2.7"]);
    lab.start();
    await_ways_out(&lab, &["192.0.2.7"]);
    lab.programs().ip(&["link set eth1 down"]);
    assert_eq!(ways_out(&lab), Vec::<String>::new(), "the kernel drops them");
    lab.programs().ip(&["link set eth1 up"]);
    await_ways_out(&lab, &["192.0.2.7"]);
}

#[test]
fn rules_that_others_remove_come_back() {
    let Some(lab) = lab_with_routes("") else { return };
    let before = installed(&lab);
    lab.programs().ip(&["rule del priority 10803", "rule del priority 10801"]);
    lab.programs().ok("ip -6 rule del priority 10802");
    eventually(SOON, "they are there again", || match installed(&lab) {
        now if now == before => Ok(()),
        now => Err(now),
    });
}

/// How a daemon ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Stopped,
    Left,
    Killed,
}

#[rstest]
#[case::killed(End::Killed)]
#[case::left(End::Left)]
fn a_successor_finds_everything_in_its_place(#[case] end: End) {
    let Some(mut lab) = lab_with_routes("") else { return };
    let before = installed(&lab);
    restart(&mut lab, end);
    assert_eq!(installed(&lab), before);
    lab.await_symbol();
    await_ways_out(&lab, &ROUTERS);
    assert_eq!(installed(&lab), before);
    lab.control.terminate();
    assert_eq!(installed(&lab), "");
}

#[test]
fn a_successor_with_another_configuration_puts_it_right() {
    let Some(mut lab) = lab_with_routes("") else { return };
    lab.control.kill_9();
    lab.control.configure(&with_gateways(&["192.0.2.8"]));
    lab.relay_ns.ip(&[&format!("addr del {PORT_V6}/64 dev eth1"), "addr add 192.0.2.77/24 dev eth1"]);
    lab.control.start();
    lab.await_symbol();
    await_ways_out(&lab, &["192.0.2.8"]);
    eventually(SOON, "the rules are those of the addresses", || {
        let all = installed(&lab);
        let right = all.contains("from 192.0.2.77 ") && !all.contains(PORT_V6);
        if right { Ok(()) } else { Err(all) }
    });
}

#[rstest]
#[case::stopped(End::Stopped, "")]
#[case::killed_and_nobody_comes(End::Killed, "keep_symbols_ms = 300")]
#[case::left_and_nobody_comes(End::Left, "keep_symbols_ms = 300")]
fn nothing_is_left(#[case] end: End, #[case] more: &str) {
    let Some(mut lab) = lab_with_routes(more) else { return };
    assert_ne!(installed(&lab), "");
    finish(&mut lab, end);
    eventually(SOON, "nothing is left", || match installed(&lab).as_str() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
}

/// Without a keeper nobody is there to remove the rules after a crash; they lead nowhere, and the next daemon sweeps them.
#[test]
fn what_a_crash_without_a_keeper_leaves_is_swept() {
    let Some(mut lab) = lab_with_routes("keep_symbols_ms = 0") else { return };
    lab.programs().ip(&["rule add from 192.0.2.1 lookup 77 priority 20000"]);
    lab.control.kill_9();
    eventually(SOON, "the interface is gone", || match lab.programs().has_interface("eth1") {
        false => Ok(()),
        true => Err("it is there".to_owned()),
    });
    assert!(installed(&lab).contains("10803"));
    lab.relay.terminate();
    lab.control.start();
    eventually(SOON, "it is swept, with no relay in sight", || match installed(&lab).as_str() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
    lab.relay.start();
    lab.await_symbol();
    await_ways_out(&lab, &ROUTERS);
    lab.control.terminate();
    assert_eq!(installed(&lab), "");
    assert!(lab.programs().ok("ip rule").contains("lookup 77"), "it is somebody else's");
}

/// Symbols of two ports in one namespace of their own, each with a router, behind both of which is the far client's
/// address. The relay prefers the first.
fn two_ports_with_routers() -> Option<Lab> {
    let layout = Layout { far: true, second_port: true, router: true, ..Layout::default() };
    let mut lab = Lab::build(layout)?;
    let relay = Relay { ports: vec![Port::new("eth1"), Port::new("eth2")], ..Relay::default() };
    lab.relay.configure(&relay.to_string());
    let netns = Some(lab.programs().name().to_owned());
    let symbol = |port| Symbol { netns: netns.clone(), ..Symbol::new(port) };
    let control = Control { symbols: ["eth1", "eth2"].map(symbol).into(), ..Control::default() };
    lab.control.configure(&control.to_string());
    lab.relay_ns.ip(&[
        &format!("route add default via {CLIENT_V4}"),
        &format!("route add default via {CLIENT_V6}"),
        &format!("route add default via {CLIENT2_V4} metric 2000"),
        &format!("route add default via {CLIENT2_V6} metric 2000"),
    ]);
    let client2 = lab.client2.as_ref().expect("a second client");
    client2.ip(&[&format!("addr add {FAR_V4}/32 dev lo"), &format!("addr add {FAR_V6}/128 dev lo nodad")]);
    lab.relay.start();
    lab.control.start();
    lab.await_symbols();
    Some(lab)
}

/// A machine of another default route, and a relay that knows the router of its port.
fn lab_with_routes(more: &str) -> Option<Lab> {
    let mut lab = Lab::build(Layout::default())?;
    let control = Control { more: more.into(), ..Control::default() };
    lab.control.configure(&control.to_string());
    for router in ROUTERS {
        lab.relay_ns.ip(&[&format!("route add default via {router}")]);
    }
    lab.start();
    await_ways_out(&lab, &ROUTERS);
    Some(lab)
}

fn with_gateways(gateways: &[&str]) -> String {
    let mut control = Control::default();
    control.symbols[0].more = format!("gateway = {}", json!(gateways));
    control.to_string()
}

fn restart(lab: &mut Lab, end: End) {
    finish(lab, end);
    lab.control.start();
}

fn finish(lab: &mut Lab, end: End) {
    match end {
        End::Stopped => lab.control.terminate(),
        End::Left => lab.control.leave(),
        End::Killed => lab.control.kill_9(),
    }
}

/// All rules and routes with the project's mark in tables of symbols.
fn installed(lab: &Lab) -> String {
    let rules = ["ip rule", "ip -6 rule"].map(|line| lab.programs().ok(line)).concat();
    let routes = ["ip -4 -o route show table all proto 108", "ip -6 -o route show table all proto 108"];
    let routes = routes.map(|line| lab.programs().ok(line)).concat();
    let rules = rules.lines().filter(|line| line.contains("proto 108"));
    let routes = routes.lines().filter(|line| line.contains("table 108"));
    rules.chain(routes).map(|line| format!("{line}\n")).collect()
}

/// The gateways in the symbol's own table, in order.
fn ways_out(lab: &Lab) -> Vec<String> {
    let installed = installed(lab);
    let words: Vec<&str> = installed.split_whitespace().collect();
    let mut gateways: Vec<_> = words.windows(2).filter(|two| two[0] == "via").map(|two| two[1]).collect();
    gateways.sort_unstable();
    gateways.dedup();
    gateways.into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn await_ways_out(lab: &Lab, expected: &[&str]) {
    eventually(SOON, &format!("answers leave by {expected:?}"), || match ways_out(lab) {
        found if found == expected => Ok(()),
        _ => Err(installed(lab)),
    });
}

/// Fetches nginx's page; the rule may have yet to come.
#[track_caller]
fn await_page(client: &Netns, port: &str, from: Option<&str>) {
    let host = if port.contains(':') { format!("[{port}]") } else { port.into() };
    let from = from.map(|from| format!("--interface {from}")).unwrap_or_default();
    eventually(SOON, &format!("a page of {port}"), || {
        let page = client.run(&format!("curl -sS --max-time 2 {from} http://{host}/")).into_result()?;
        if page == PAGE { Ok(()) } else { Err(page) }
    });
}

/// A router that takes everything and forwards nothing, where the machine's default route leads.
struct Decoy {
    _netns: Netns,
    counters: [Counter; 2],
}

impl Decoy {
    fn beside(lab: &Lab) -> Self {
        let netns = lab.netns("decoy");
        lab.control_ns.ip(&[
            &format!("link add out type veth peer name in netns {}", netns.name()),
            "link set out up",
            "addr add 10.66.0.1/24 dev out",
            "addr add 2001:db8:66::1/64 dev out nodad",
        ]);
        netns.ip(&[
            "link set in up",
            &format!("addr add {}/24 dev in", DECOYS[0]),
            &format!("addr add {}/64 dev in nodad", DECOYS[1]),
        ]);
        for decoy in DECOYS {
            lab.control_ns.ip(&[&format!("route add default via {decoy}")]);
            // It has to be seen to be chosen.
            lab.control_ns.ok(&format!("ping -c 1 -W 3 {decoy}"));
        }
        let counters = [PORT_V4, PORT_V6].map(|port| Counter::from(&netns, port));
        Self { _netns: netns, counters }
    }

    /// Packets that the port's addresses have sent here.
    fn packets(&self) -> u64 {
        self.counters.each_ref().map(Counter::packets).iter().sum()
    }
}

/// Counts packets that arrive in a namespace.
struct Counter {
    netns: String,
    name: String,
}

impl Counter {
    fn from(netns: &Netns, source: &str) -> Self {
        Self::of(netns, source, "")
    }

    fn new(netns: &Netns, destination: &str, source: &str) -> Self {
        Self::of(netns, source, destination)
    }

    fn of(netns: &Netns, source: &str, destination: &str) -> Self {
        let version = if source.contains(':') { "ip6" } else { "ip" };
        let name = format!("t{}", source.replace([':', '.'], "_"));
        let to =
            if destination.is_empty() { String::new() } else { format!("{version} daddr {destination}") };
        for line in [
            format!("add table inet {name}"),
            format!("add counter inet {name} seen"),
            format!("add chain inet {name} early {{ type filter hook prerouting priority raw ; }}"),
            format!("add rule inet {name} early {version} saddr {source} {to} counter name seen"),
        ] {
            netns.ok(&format!("nft {line}"));
        }
        Self { netns: netns.name().to_owned(), name }
    }

    fn packets(&self) -> u64 {
        let Self { netns, name } = self;
        let line = ["netns", "exec", netns, "nft", "list", "counter", "inet", name, "seen"];
        let output = std::process::Command::new("ip").args(line).output().expect("run nft");
        let text = String::from_utf8(output.stdout).expect("text");
        let packets = text.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    }
}
