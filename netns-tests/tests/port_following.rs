//! A symbol is what its port is: whatever happens to the port is to be seen at the symbol, soon.
//!
//! Every test prints how soon: from the relay's kernel telling of the change to the kernel of the symbol's namespace telling
//! of it, both by `ip monitor`. The goal is 50 ms, and 5 ms in the median for a lost carrier. Only what comes true is
//! asserted, not when: `cargo test --test port_following -- --nocapture` shows the times.

use netns_tests::config::Control;
use netns_tests::{Lab, Layout, Netns, Process, eventually, never};
use rstest::rstest;
use serde_json::Value;
use std::time::Duration;

/// Within this time the symbol is what the port has become.
const FOLLOWED: Duration = Duration::from_secs(2);

#[rstest]
#[case::another_mac("ether address", &["link set eth1 address 02:00:00:00:00:77"], "02:00:00:00:00:77")]
#[case::a_smaller_mtu("smaller MTU", &["link set eth1 mtu 1300"], "mtu 1300 ")]
#[case::a_larger_mtu("larger MTU", &["link set eth1 mtu 9000"], "mtu 9000 ")]
#[case::the_least_mtu("least MTU of IPv6", &["link set eth1 mtu 1280"], "mtu 1280 ")]
#[case::one_more_v4("IPv4 address", &["addr add 198.51.100.9/28 dev eth1"], "198.51.100.9/28")]
#[case::one_more_v6("IPv6 address", &["addr add 2001:db8:9::9/72 dev eth1 nodad"], "2001:db8:9::9/72")]
#[case::a_host_address("host address", &["addr add 198.51.100.9/32 dev eth1"], "198.51.100.9/32")]
#[case::one_v4_less("IPv4 address gone", &["addr del 192.0.2.1/24 dev eth1"], "Deleted .* 192.0.2.1/24")]
#[case::one_v6_less("IPv6 address gone", &["addr del 2001:db8:1::1/64 dev eth1"], "Deleted .* 2001:db8:1::1/64")]
#[case::another_prefix_length(
    "prefix length",
    &["addr del 192.0.2.1/24 dev eth1", "addr add 192.0.2.1/26 dev eth1"],
    "192.0.2.1/26"
)]
#[case::all_at_once(
    "everything",
    &[
        "addr flush dev eth1",
        "link set eth1 mtu 1400 address 02:00:00:00:00:78",
        "addr add 203.0.113.7/30 dev eth1",
        "addr add 2001:db8:7::7/126 dev eth1 nodad",
    ],
    "2001:db8:7::7/126"
)]
fn attributes_are_followed(#[case] what: &str, #[case] change: &[&str], #[case] told: &str) {
    let Some(lab) = up() else { return };
    let watch = Watch::new(&lab);
    lab.relay_ns.ip(change);
    watch.print(what, told);
    await_equal(&lab);
}

#[test]
fn speed_is_the_ports() {
    let Some(lab) = up() else { return };
    let speed = |netns: &Netns| {
        let text = netns.ok("ethtool eth1");
        text.lines().find(|line| line.contains("Speed:")).map(str::to_owned).ok_or(text)
    };
    let port = speed(&lab.relay_ns);
    assert!(port.as_ref().is_ok_and(|line| line.contains("Mb/s")), "{port:?}");
    assert_eq!(speed(lab.programs()), port);
}

#[test]
fn a_lost_carrier_is_followed_twenty_times() {
    let Some(lab) = up() else { return };
    let (mut lost, mut found) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        for (state, told, times) in [("down", "NO-CARRIER", &mut lost), ("up", "LOWER_UP", &mut found)] {
            let watch = Watch::new(&lab);
            lab.client.ip(&[&format!("link set eth0 {state}")]);
            times.push(watch.latency(told));
            await_equal(&lab);
        }
    }
    for (what, times) in [("carrier lost", &mut lost), ("carrier back", &mut found)] {
        times.sort_unstable();
        print(&format!("{what}, median of {}", times.len()), times[times.len() / 2]);
        print(&format!("{what}, longest"), times[times.len() - 1]);
    }
}

#[test]
fn a_port_that_is_set_down_and_up_is_followed() {
    let Some(lab) = up() else { return };
    for (state, told) in [("down", "state DOWN"), ("up", "LOWER_UP")] {
        let watch = Watch::new(&lab);
        lab.relay_ns.ip(&[&format!("link set eth1 {state}")]);
        watch.print(&format!("port set {state}"), told);
        // The kernel takes the IPv6 addresses from an interface that is set down, and they do not come back by themselves.
        await_equal(&lab);
    }
}

#[rstest]
#[case::at_once(Duration::ZERO)]
#[case::after_a_while(Duration::from_millis(300))]
fn a_symbol_that_is_set_down_and_up_is_what_it_was(#[case] pause: Duration) {
    // As FRR does for `shutdown` and `no shutdown`. The kernel takes IPv6 addresses and routes when it goes down.
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    let mut control = Control::default();
    control.symbols[0].netns = Some(lab.programs().name().to_owned());
    control.symbols[0].more = "gateway = [\"192.0.2.2\", \"2001:db8:1::2\"]".into();
    lab.control.configure(&control.to_string());
    lab.start();
    await_equal(&lab);
    lab.programs().ip(&["link set eth1 down"]);
    std::thread::sleep(pause);
    lab.programs().ip(&["link set eth1 up"]);
    await_equal(&lab);
    for gateway in ["192.0.2.2", "2001:db8:1::2"] {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        eventually(FOLLOWED, "the default route is back", || {
            let shown = lab.programs().ok(&format!("ip {family} route show default"));
            if shown.contains(&format!("via {gateway} dev eth1")) { Ok(()) } else { Err(shown) }
        });
        lab.programs().ok(&format!("ping -c 1 -W 2 {gateway}"));
    }
    // What somebody deletes by hand stays deleted.
    lab.programs().ip(&["addr del 2001:db8:1::1/64 dev eth1"]);
    never(Duration::from_millis(300), "the address is back", || {
        let shown = lab.programs().ok("ip addr show dev eth1");
        if shown.contains("2001:db8:1::1/64") { Err(shown) } else { Ok(()) }
    });
}

#[test]
fn a_port_that_is_renamed_away_and_back_is_followed() {
    let Some(lab) = up() else { return };
    for _ in 0..3 {
        let watch = Watch::new(&lab);
        lab.relay_ns.ip(&["link set eth1 name away"]);
        watch.print("port renamed away", "away|NO-CARRIER");
        await_carrier(&lab, false);
        lab.relay_ns.ip(&["link set away name eth1"]);
        await_equal(&lab);
    }
    lab.programs().ok("ping -c 1 -W 2 192.0.2.2");
}

#[test]
fn a_port_that_is_removed_and_made_anew_is_followed() {
    let Some(lab) = up() else { return };
    for round in 0..3 {
        lab.relay_ns.ip(&["link del eth1"]);
        await_carrier(&lab, false);
        lab.relay_ns.ip(&[
            &format!("link add eth1 type veth peer name eth0 netns {}", lab.client.name()),
            &format!("addr add 192.0.2.1{round}/24 dev eth1"),
            "link set eth1 up",
        ]);
        lab.client.ip(&["addr add 192.0.2.2/24 dev eth0", "link set eth0 up"]);
        await_equal(&lab);
        lab.programs().ok("ping -c 1 -W 2 192.0.2.2");
    }
}

#[test]
fn a_daemon_on_the_symbol_sees_what_it_would_see_on_a_port() {
    // What a routing daemon has put on the symbol stays when the port changes around it.
    let Some(lab) = up() else { return };
    lab.programs().ip(&["addr add 203.0.113.5/24 dev eth1", "route add 198.51.100.0/24 via 192.0.2.2"]);
    lab.relay_ns.ip(&["link set eth1 mtu 1400 address 02:00:00:00:00:79"]);
    eventually(FOLLOWED, "the MTU arrives", || {
        let (_, symbol) = both(&lab);
        if symbol.mtu == 1400 { Ok(()) } else { Err(format!("{symbol:?}")) }
    });
    let kept = lab.programs().ok("ip addr show eth1") + &lab.programs().ok("ip route show");
    assert!(kept.contains("203.0.113.5/24") && kept.contains("198.51.100.0/24 via 192.0.2.2"), "{kept}");
}

#[rstest]
#[case::stopped(false)]
#[case::restarted(true)]
fn kernel_settings_are_the_symbols_and_go_with_it(#[case] again: bool) {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    // A machine that is strict with everything.
    for strict in ["rp_filter=1", "accept_local=0", "arp_ignore=0", "send_redirects=1"] {
        lab.programs().sysctl(&format!("net.ipv4.conf.default.{strict}"));
    }
    let of =
        |lab: &Lab, whose: &str| lab.programs().ok(&format!("sysctl -a -r ^net.ipv[46].conf.{whose}\\."));
    lab.programs().sysctl("net.ipv4.conf.all.rp_filter=1");
    let before = (of(&lab, "default"), of(&lab, "all"));
    lab.start();
    let lives = if again { 2 } else { 1 };
    for _ in 0..lives {
        let symbol = of(&lab, "eth1");
        for set in [
            "ipv4.conf.eth1.rp_filter = 2",
            "ipv4.conf.eth1.accept_local = 1",
            "ipv4.conf.eth1.arp_ignore = 1",
            "ipv4.conf.eth1.arp_announce = 2",
            "ipv4.conf.eth1.send_redirects = 0",
            "ipv6.conf.eth1.accept_dad = 0",
            "ipv6.conf.eth1.autoconf = 0",
        ] {
            assert!(symbol.contains(set), "not {set}:\n{symbol}");
        }
        lab.control.terminate();
        assert!(!lab.programs().has_interface("eth1"));
        assert_eq!((of(&lab, "default"), of(&lab, "all")), before, "what is not the symbol's was touched");
        if again {
            lab.control.start();
            lab.await_symbol();
        }
    }
}

fn up() -> Option<Lab> {
    let mut lab = Lab::build(Layout { router: true, ..Layout::default() })?;
    lab.start();
    await_equal(&lab);
    Some(lab)
}

/// What must be equal. An address as `ADDRESS/LENGTH`.
#[derive(Debug, PartialEq, Eq)]
struct Interface {
    mac: String,
    mtu: u64,
    carrier: bool,
    addresses: Vec<String>,
}

impl Interface {
    fn of(netns: &Netns) -> Self {
        let shown = &netns.ip_json("addr show eth1")[0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut addresses: Vec<_> = list(&shown["addr_info"])
            .iter()
            .map(|address| format!("{}/{}", text(&address["local"]), address["prefixlen"]))
            .collect();
        addresses.sort();
        Self {
            mac: text(&shown["address"]),
            mtu: shown["mtu"].as_u64().unwrap_or_default(),
            carrier: list(&shown["flags"]).contains(&"LOWER_UP".into()),
            addresses,
        }
    }
}

fn both(lab: &Lab) -> (Interface, Interface) {
    (Interface::of(&lab.relay_ns), Interface::of(lab.programs()))
}

#[track_caller]
fn await_equal(lab: &Lab) {
    eventually(FOLLOWED, "the symbol is what the port is", || {
        let (port, symbol) = both(lab);
        if port == symbol { Ok(()) } else { Err(format!("port {port:?}, symbol {symbol:?}")) }
    });
}

#[track_caller]
fn await_carrier(lab: &Lab, expected: bool) {
    eventually(FOLLOWED, &format!("the symbol's carrier is {expected}"), || {
        let symbol = Interface::of(lab.programs());
        if symbol.carrier == expected { Ok(()) } else { Err(format!("{symbol:?}")) }
    });
}

/// `ip monitor` on both sides.
struct Watch {
    port: Process,
    symbol: Process,
}

impl Watch {
    fn new(lab: &Lab) -> Self {
        let monitor = |netns: &Netns| netns.spawn("ip -ts -o monitor link address");
        let watch = Self { port: monitor(&lab.relay_ns), symbol: monitor(lab.programs()) };
        for (process, netns) in [(&watch.port, &*lab.relay_ns), (&watch.symbol, lab.programs())] {
            // It prints nothing when it is ready; a harmless change tells.
            eventually(FOLLOWED, "ip monitor listens", || {
                netns.ip(&["link set lo alias watched", "link set lo alias unwatched"]);
                if process.log().is_empty() { Err("it does not".into()) } else { Ok(()) }
            });
        }
        watch
    }

    #[track_caller]
    fn print(&self, what: &str, told: &str) {
        print(what, self.latency(told));
    }

    /// From the port's to the symbol's line with one of these texts, the parts of `.*` in order. Nothing is asked of the
    /// kernel meanwhile: to be asked for an interface has it tell earlier.
    #[track_caller]
    fn latency(&self, told: &str) -> Duration {
        let await_time = |process: &Process, whose: &str| {
            eventually(FOLLOWED, &format!("{whose} kernel tells of {told}"), || {
                let log = process.log();
                let mut lines = log.lines().filter(|line| told.split('|').any(|text| matches(line, text)));
                lines.find_map(timestamp).ok_or(log)
            })
        };
        let (port, symbol) =
            (await_time(&self.port, "the relay's"), await_time(&self.symbol, "the symbol's"));
        // Zero if the symbol's monitor was scheduled before the port's.
        Duration::from_micros(symbol.saturating_sub(port))
    }
}

fn matches(line: &str, text: &str) -> bool {
    let mut rest = Some(line);
    for part in text.split(".*") {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// Microseconds of the day of a line `[2026-01-31T23:59:59.123456] …`; a midnight in between shows as no latency.
fn timestamp(line: &str) -> Option<u64> {
    let (_, clock) = line.strip_prefix('[')?.split_once(']')?.0.split_once('T')?;
    let (seconds, micros) = clock.split_once('.')?;
    let seconds = seconds.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    Some(seconds * 1_000_000 + micros.parse::<u64>().ok()?)
}

fn print(what: &str, latency: Duration) {
    print_text(&format!("{what}: after {:.1} ms", latency.as_secs_f64() * 1000.0));
}

#[expect(clippy::print_stdout, reason = "measured, not asserted")]
fn print_text(text: &str) {
    println!("{text}");
}
