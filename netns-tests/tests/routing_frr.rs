//! FRR's daemons on the control, as they are, against FRR behind the relay. What they learn, the relay forwards by.

use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay};
use netns_tests::program::Frr;
use netns_tests::{Lab, Layout, Netns, eventually, never};
use rstest::rstest;
use std::time::{Duration, Instant};

/// Adjacency, exchange and installation with short timers; IS-IS takes its time.
const LEARNT: Duration = Duration::from_secs(40);

/// The near side's networks, and the far side's.
const NEAR: [&str; 2] = ["172.30.0.0/16", "2001:db8:30::/48"];
const FAR: [&str; 2] = ["172.31.0.0/16", "2001:db8:31::/48"];

/// A lab whose programs live in a namespace of their own and whose relay takes their routes.
fn lab(far: bool) -> Option<Lab> {
    let lab = Lab::build(Layout { router: true, far, ..Layout::default() })?;
    let port = Port { allow: vec!["control = \"*\"\nroutes = true".into()], ..Port::new("eth1") };
    lab.relay.configure(&Relay { ports: vec![port], ..Relay::default() }.to_string());
    let mut control = Control::default();
    control.symbols[0].netns = Some(lab.programs().name().to_owned());
    lab.control.configure(&format!("{control}\n[routes]\nenabled = true\n"));
    Some(lab)
}

/// A side's configuration: `text` with its words filled in, and its networks as static routes.
fn config(text: &str, near: bool) -> String {
    let (interface, number, other) = if near { ("eth1", "1", "2") } else { ("eth0", "2", "1") };
    let (peer4, peer6) = if near { (CLIENT_V4, CLIENT_V6) } else { (PORT_V4, PORT_V6) };
    let [v4, v6] = if near { NEAR } else { FAR };
    let text = text
        .replace("INTERFACE", interface)
        .replace("NUMBER", number)
        .replace("OTHER", other)
        .replace("PEER4", peer4)
        .replace("PEER6", peer6);
    format!("ip route {v4} blackhole\nipv6 route {v6} blackhole\n{text}\n")
}

fn pair(lab: &Lab, daemons: &[&str], near: &str, far: &str) -> (Frr, Frr) {
    let near = Frr::start(lab.programs(), lab.folder(), daemons, &config(near, true));
    let far = Frr::start(&lab.client, lab.folder(), daemons, &config(far, false));
    (near, far)
}

/// Waits for a route in a kernel.
#[track_caller]
fn await_route(netns: &Netns, prefix: &str, what: &str, frr: &Frr) {
    let (family, ip) = if prefix.contains(':') { ("-6", "ipv6") } else { ("-4", "ip") };
    let begin = Instant::now();
    eventually(LEARNT, &format!("{} has {prefix} {what}", netns.name()), || {
        let shown = netns.run(&format!("ip {family} route show {prefix}")).stdout();
        if shown.contains(what) {
            return Ok(());
        }
        // To ask FRR each time would take longer than to learn a route.
        let late = begin.elapsed() > LEARNT * 3 / 4;
        let known = late.then(|| frr.vtysh(&format!("show {ip} route {prefix}")).to_string());
        Err(format!("{shown}\n{}\n{}", known.unwrap_or_default(), frr.log()))
    });
}

const OSPF: &str = "interface INTERFACE\n ip ospf area 0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n\
    router ospf\n ospf router-id NUMBER.NUMBER.NUMBER.NUMBER\n redistribute static\n";
const OSPF6: &str = "interface INTERFACE\n ipv6 ospf6 area 0\n ipv6 ospf6 hello-interval 1\n ipv6 ospf6 dead-interval 4\n\
    router ospf6\n ospf6 router-id NUMBER.NUMBER.NUMBER.NUMBER\n redistribute static\n";
const RIP: &str = "router rip\n network INTERFACE\n timers basic 5 15 10\n redistribute static\n";
const RIPNG: &str = "router ripng\n network INTERFACE\n timers basic 5 15 10\n redistribute static\n";
const ISIS: &str = "interface INTERFACE\n ip router isis X\n ipv6 router isis X\n isis hello-interval 1\n\
    router isis X\n net 49.0001.0000.0000.000NUMBER.00\n lsp-gen-interval 1\n spf-interval 1\n\
     redistribute ipv4 static level-2\n redistribute ipv6 static level-2\n";
const BGP: &str = "router bgp 6500NUMBER\n bgp router-id NUMBER.NUMBER.NUMBER.NUMBER\n no bgp ebgp-requires-policy\n\
     neighbor PEER4 remote-as 6500OTHER\n neighbor PEER4 timers 1 3\n neighbor PEER4 timers connect 1\n\
     neighbor PEER6 remote-as 6500OTHER\n neighbor PEER6 timers 1 3\n neighbor PEER6 timers connect 1\n\
     address-family ipv4 unicast\n  redistribute static\n exit-address-family\n\
     address-family ipv6 unicast\n  neighbor PEER6 activate\n  redistribute static\n exit-address-family\n";
const PASSIVE: &str = "router bgp 6500NUMBER\n neighbor PEER4 passive\n neighbor PEER6 passive\n";
const MD5: &str = "router bgp 6500NUMBER\n neighbor PEER4 password secret\n neighbor PEER6 password secret\n";
const UNNUMBERED: &str = "interface INTERFACE\n ipv6 nd ra-interval 1\n\
    router bgp 6500NUMBER\n bgp router-id NUMBER.NUMBER.NUMBER.NUMBER\n no bgp ebgp-requires-policy\n\
     neighbor INTERFACE interface remote-as external\n neighbor INTERFACE timers 1 3\n neighbor INTERFACE timers connect 1\n\
     address-family ipv4 unicast\n  redistribute static\n exit-address-family\n\
     address-family ipv6 unicast\n  neighbor INTERFACE activate\n  redistribute static\n exit-address-family\n";

#[rstest]
#[case::ospf(&["ospfd"], OSPF, "", "", "ospf", &[0])]
#[case::ospf6(&["ospf6d"], OSPF6, "", "", "ospf", &[1])]
#[case::rip(&["ripd"], RIP, "", "", "rip", &[0])]
#[case::ripng(&["ripngd"], RIPNG, "", "", "ripng", &[1])]
#[case::isis(&["isisd"], ISIS, "", "", "isis", &[0, 1])]
#[case::bgp_passive(&["bgpd"], BGP, PASSIVE, "", "bgp", &[0, 1])]
#[case::bgp_active(&["bgpd"], BGP, "", PASSIVE, "bgp", &[0, 1])]
#[case::bgp_md5(&["bgpd"], BGP, MD5, MD5, "bgp", &[0, 1])]
#[case::bgp_unnumbered(&["bgpd"], UNNUMBERED, "", "", "bgp", &[0, 1])]
fn routes_are_learnt_both_ways_and_reach_the_relay(
    #[case] daemons: &[&str],
    #[case] both: &str,
    #[case] near_only: &str,
    #[case] far_only: &str,
    #[case] protocol: &str,
    #[case] families: &[usize],
) {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    let (near, far) = pair(&lab, daemons, &format!("{both}{near_only}"), &format!("{both}{far_only}"));
    for family in families {
        await_route(lab.programs(), FAR[*family], &format!("proto {protocol}"), &near);
        await_route(&lab.client, NEAR[*family], &format!("proto {protocol}"), &far);
        await_route(&lab.relay_ns, FAR[*family], "dev eth1 proto 108", &near);
    }
}

#[test]
fn babel_learns_routes_both_ways() {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    let text = "interface INTERFACE\n babel wired\n babel hello-interval 500\n babel update-interval 1000\n\
         router babel\n redistribute ipv4 static\n redistribute ipv6 static\n";
    let (near, far) = pair(&lab, &["babeld"], text, text);
    for (frr, interface) in [(&near, "eth1"), (&far, "eth0")] {
        // babeld of FRR 8.4 joins its group twice where it reads this from its file and the interface is up already: the
        // second attempt fails, and it leaves the group. `vtysh -b`, as FRR's own start script calls it, comes later too.
        frr.await_text("show babel interface", &format!("{interface} is up"), LEARNT);
        frr.configure(&["router babel", &format!("network {interface}")]);
    }
    for family in [0, 1] {
        await_route(lab.programs(), FAR[family], "proto babel", &near);
        await_route(&lab.client, NEAR[family], "proto babel", &far);
        await_route(&lab.relay_ns, FAR[family], "dev eth1 proto 108", &near);
    }
}

#[rstest]
#[case::v4(FAR_V4, PORT_V4, "ip route 198.51.100.0/24", CLIENT_V4, 0)]
#[case::v6(FAR_V6, PORT_V6, "ipv6 route 2001:db8:2::/64", CLIENT_V6, 1)]
fn bgp_reaches_a_node_behind_another_router(
    #[case] far_address: &str,
    #[case] near_address: &str,
    #[case] route: &str,
    #[case] router: &str,
    #[case] family: usize,
) {
    let Some(mut lab) = lab(true) else { return };
    lab.start();
    let common = "no bgp ebgp-requires-policy\n neighbor THERE timers 1 3\n neighbor THERE timers connect 1\n\
         neighbor THERE ebgp-multihop 3\n\
         address-family FAMILY unicast\n  neighbor THERE activate\n  redistribute static\n exit-address-family\n";
    let side = |own: u8, other: u8, there: &str| {
        let common = common.replace("THERE", there).replace("FAMILY", ["ipv4", "ipv6"][family]);
        format!(
            "router bgp 6500{own}\n bgp router-id {own}.{own}.{own}.{own}\n neighbor {there} remote-as 6500{other}\n {common}"
        )
    };
    let near = format!("{route} {router}\n{}", side(1, 2, far_address));
    let far =
        format!("ip nht resolve-via-default\nipv6 nht resolve-via-default\n{}", side(2, 1, near_address));
    let near = Frr::start(lab.programs(), lab.folder(), &["bgpd"], &config(&near, true));
    let far_netns = lab.far.as_ref().expect("the layout has one");
    let far = Frr::start(far_netns, lab.folder(), &["bgpd"], &config(&far, false));
    await_route(lab.programs(), FAR[family], "proto bgp", &near);
    await_route(far_netns, NEAR[family], "proto bgp", &far);
    await_route(&lab.relay_ns, FAR[family], &format!("via {router} dev eth1 proto 108"), &near);
}

#[test]
fn unlike_passwords_keep_bgp_apart() {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    let other = MD5.replace("secret", "another");
    let (near, _far) = pair(&lab, &["bgpd"], &format!("{BGP}{MD5}"), &format!("{BGP}{other}"));
    never(Duration::from_secs(5), "BGP is established", || {
        let said = near.vtysh("show bgp neighbors").stdout();
        if said.contains("BGP state = Established") { Err(said) } else { Ok(()) }
    });
}

#[test]
fn eigrp_and_pim_find_their_neighbors() {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    let text = "interface INTERFACE\n ip pim\n ip igmp\nrouter eigrp 7\n network 192.0.2.0/24\n";
    let (near, far) = pair(&lab, &["eigrpd", "pimd"], text, text);
    far.await_text("show ip eigrp neighbor", PORT_V4, LEARNT);
    near.await_text("show ip eigrp neighbor", CLIENT_V4, LEARNT);
    far.await_text("show ip pim neighbor", PORT_V4, LEARNT);
    near.await_text("show ip pim neighbor", CLIENT_V4, LEARNT);
}

#[rstest]
#[case::v4("PEER4")]
#[case::v6("PEER6")]
fn bfd_holds_at_fifty_milliseconds_and_tells_of_a_death(#[case] peer: &str) {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    let text =
        format!("bfd\n peer {peer} interface INTERFACE\n  receive-interval 50\n  transmit-interval 50\n");
    let (near, mut far) = pair(&lab, &["bfdd"], &text, &text);
    near.await_text("show bfd peers", "Status: up", LEARNT);
    far.await_text("show bfd peers", "Status: up", LEARNT);
    let downs = |frr: &Frr| {
        let said = frr.vtysh("show bfd peers counters").expect_success();
        said.lines()
            .filter(|line| line.contains("Session down events"))
            .map(str::to_owned)
            .collect::<String>()
    };
    let before = (downs(&near), downs(&far));
    never(Duration::from_secs(2), "the session goes down", || {
        if (downs(&near), downs(&far)) == before { Ok(()) } else { Err(near.log()) }
    });
    far.kill_9("bfdd");
    near.await_text("show bfd peers", "Status: down", Duration::from_secs(5));
}

#[test]
fn vrrpd_is_master_with_the_virtual_mac_and_hands_over() {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    // As FRR's manual says: the virtual address on a macvlan with the virtual MAC.
    let make = |netns: &Netns, interface: &str| {
        netns.ip(&[
            &format!("link add vrrp4 link {interface} type macvlan mode bridge"),
            "link set dev vrrp4 address 00:00:5e:00:01:05",
            "addr add 192.0.2.200/32 dev vrrp4",
            "link set vrrp4 up",
        ]);
    };
    make(lab.programs(), "eth1");
    make(&lab.client, "eth0");
    let text = |priority: u8| {
        format!(
            "interface INTERFACE\n vrrp 5 version 3\n vrrp 5 priority {priority}\n vrrp 5 advertisement-interval 200\n vrrp 5 ip 192.0.2.200\n"
        )
    };
    let (mut near, far) = pair(&lab, &["vrrpd"], &text(200), &text(100));
    near.await_text("show vrrp", "Master", LEARNT);
    far.await_text("show vrrp", "Backup", LEARNT);
    near.kill_9("vrrpd");
    far.await_text("show vrrp", "Master", LEARNT);
    near.start_daemon(lab.programs(), "vrrpd");
    far.await_text("show vrrp", "Backup", LEARNT);
}

#[track_caller]
fn await_ospf_rule(lab: &Lab, wanted: bool) {
    eventually(Duration::from_secs(10), &format!("a rule for OSPF: {wanted}"), || {
        let rules = lab.relay.rules()?;
        if rules.iter().any(|rule| rule.contains(" ospf ")) == wanted {
            Ok(())
        } else {
            Err(rules.join("\n"))
        }
    });
}

#[rstest]
#[case::bgp(&["bgpd"], BGP, "bgp", &[0, 1])]
#[case::bgp_unnumbered(&["bgpd"], UNNUMBERED, "bgp", &[0, 1])]
#[case::ospf6(&["ospf6d"], OSPF6, "ospf", &[1])]
#[case::isis(&["isisd"], ISIS, "isis", &[0])]
#[case::rip(&["ripd"], RIP, "rip", &[0])]
fn daemons_that_are_there_before_the_symbol_serve_as_well(
    #[case] daemons: &[&str],
    #[case] text: &str,
    #[case] protocol: &str,
    #[case] families: &[usize],
) {
    let Some(mut lab) = lab(false) else { return };
    let (near, far) = pair(&lab, daemons, text, text);
    assert!(!lab.programs().has_interface("eth1"));
    lab.start();
    for family in families {
        await_route(&lab.client, NEAR[*family], &format!("proto {protocol}"), &far);
        await_route(&lab.relay_ns, FAR[*family], "dev eth1 proto 108", &near);
    }
}

#[test]
fn an_adjacency_comes_whatever_starts_first_and_again_after_a_kill() {
    let Some(mut lab) = lab(false) else { return };
    // The daemons wait for an interface that is not there yet.
    let (mut near, far) = pair(&lab, &["ospfd"], OSPF, OSPF);
    lab.start();
    far.await_text("show ip ospf neighbor", "Full", LEARNT);
    await_ospf_rule(&lab, true);
    near.kill_9("ospfd");
    await_ospf_rule(&lab, false);
    eventually(LEARNT, "the far side misses its neighbour", || {
        let said = far.vtysh("show ip ospf neighbor").into_result()?;
        if said.contains("Full") { Err(said) } else { Ok(()) }
    });
    near.start_daemon(lab.programs(), "ospfd");
    far.await_text("show ip ospf neighbor", "Full", LEARNT);
    await_route(&lab.client, NEAR[0], "proto ospf", &far);
}

#[test]
fn link_loss_at_the_relay_is_link_loss_for_the_daemons() {
    let Some(mut lab) = lab(false) else { return };
    lab.start();
    let (near, far) = pair(&lab, &["ospfd"], OSPF, OSPF);
    await_route(&lab.relay_ns, FAR[0], "proto 108", &near);
    lab.client.ip(&["link set eth0 down"]);
    near.await_text("show interface eth1", "line protocol is down", Duration::from_secs(3));
    eventually(Duration::from_secs(3), "the route goes with the link", || {
        let shown = lab.relay_ns.run(&format!("ip route show {}", FAR[0])).stdout();
        let own = lab.programs().run("ip route").stdout();
        let frr = near.vtysh("show ip route").stdout();
        if shown.is_empty() { Ok(()) } else { Err(format!("relay: {shown}control: {own}{frr}")) }
    });
    lab.client.ip(&["link set eth0 up"]);
    await_route(&lab.relay_ns, FAR[0], "proto 108", &near);
    drop(far);
}
