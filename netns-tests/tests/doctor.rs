//! `l2ctl doctor` finds what is wrong with a real machine, and its remedies mend it.

use netns_tests::config::{Control, Relay, Symbol};
use netns_tests::{Daemon, Lab, Netns, binary};
use serde_json::{Value, json};
use std::path::Path;

/// The findings, and whether nothing is wrong.
fn doctor(netns: &Netns, daemon: &Daemon) -> (bool, Vec<Value>) {
    findings(netns, "--config", &daemon.config())
}

fn findings(netns: &Netns, option: &str, path: &Path) -> (bool, Vec<Value>) {
    let mut command = netns.command(binary("l2ctl"));
    command.args(["doctor", "--json", option]).arg(path);
    let finished = netns_tests::Finished::new(&mut command);
    let findings =
        serde_json::from_str(&finished.stdout()).unwrap_or_else(|error| panic!("{error}: {finished}"));
    (finished.code() == Some(0), findings)
}

/// The finding of this level with these words in it.
#[track_caller]
fn finding<'a>(findings: &'a [Value], level: &str, words: &str) -> &'a Value {
    let says = |finding: &&Value| finding["found"].as_str().is_some_and(|found| found.contains(words));
    let found = findings.iter().filter(|finding| finding["level"] == level).find(says);
    found.unwrap_or_else(|| panic!("no finding of level {level} says {words:?}: {findings:#?}"))
}

/// The command between the first backquotes.
fn command(finding: &Value) -> String {
    let remedy = finding["remedy"].as_str().unwrap();
    remedy.split('`').nth(1).unwrap_or_else(|| panic!("no command: {remedy}")).to_owned()
}

#[test]
fn a_healthy_pair_has_nothing_wrong() {
    let Some(lab) = Lab::up() else { return };
    for (netns, daemon, peer) in
        [(&lab.relay_ns, &lab.relay, "control1"), (&lab.control_ns, &lab.control, "relay1")]
    {
        let (well, findings) = doctor(netns, daemon);
        assert!(well, "{findings:#?}");
        finding(&findings, "ok", "is a valid file");
        finding(&findings, "ok", "interface lan0 is up");
        finding(&findings, "ok", &format!("{peer} at "));
        finding(&findings, "ok", "the kernel has what the daemon means");
    }
}

#[test]
fn without_a_file_it_looks_at_that_of_the_daemon() {
    let Some(lab) = Lab::up() else { return };
    for (netns, daemon) in [(&lab.relay_ns, &lab.relay), (&lab.control_ns, &lab.control)] {
        let (well, findings) = findings(netns, "--socket", &daemon.socket());
        assert!(well, "{findings:#?}");
        finding(&findings, "ok", &format!("{} is a valid file", daemon.config().display()));
        finding(&findings, "ok", "interface lan0 is up");
    }
}

#[test]
fn interfaces_of_another_namespace_are_not_missed_here() {
    let Some(lab) = Lab::up() else { return };
    let (well, findings) = findings(&lab.client, "--socket", &lab.relay.socket());
    assert!(well, "{findings:#?}");
    let note = finding(&findings, "note", "l2relay runs in another network namespace");
    let command = command(note).replace("l2ctl", binary("l2ctl").to_str().unwrap());
    let socket = lab.relay.socket();
    let there = lab.client.ok(&format!("{command} --socket {}", socket.display()));
    assert!(there.contains("interface lan0 is up"), "{there}");
}

#[test]
fn its_commands_mend_a_link_that_keeps_packets_off_the_fast_path() {
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let netns = &lab.relay_ns;
    for (word, level) in [("require", "wrong"), ("auto", "note")] {
        let link = format!("data = \"clear\"\nfast_path = \"{word}\"");
        lab.relay.configure(&Relay { link, ..Relay::default() }.to_string());
        netns.ok("ethtool -K lan0 tx on gro off");
        let (well, findings) = doctor(netns, &lab.relay);
        assert_eq!(well, level == "note");
        netns.ok(&command(finding(&findings, level, "all packets go by the daemon")));
        let (well, findings) = doctor(netns, &lab.relay);
        assert!(well, "{findings:#?}");
        netns.ok(&command(finding(&findings, "note", "does not join the packets of TCP")));
        let (_, findings) = doctor(netns, &lab.relay);
        finding(&findings, "ok", "leaves checksums and packets to the kernel");
    }
}

#[test]
fn its_commands_mend_a_link_that_is_a_bridges_and_down() {
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let netns = &lab.relay_ns;
    netns.ip(&["link add br7 type bridge", "link set lan0 master br7", "link set lan0 down"]);
    for words in ["is a port of br7", "interface lan0 is down"] {
        let (well, findings) = doctor(netns, &lab.relay);
        assert!(!well);
        let remedy = command(finding(&findings, "wrong", words));
        netns.ok(&remedy);
    }
    let (well, findings) = doctor(netns, &lab.relay);
    assert!(well, "{findings:#?}");
    finding(&findings, "note", "no daemon listens");
}

#[test]
fn its_commands_mend_a_small_mtu_and_a_firewall_on_the_segment() {
    let Some(lab) = Lab::up() else { return };
    let netns = &lab.relay_ns;
    netns.ip(&["link set lan0 mtu 1000"]);
    let (well, findings) = doctor(netns, &lab.relay);
    assert!(!well);
    netns.ok(&command(finding(&findings, "wrong", "MTU 1000, at least 1280 is needed")));
    lab.relay.await_row("peers", &json!({"name": "control1", "state": "up"}));
    netns.ok("nft add table netdev f");
    netns.ok("nft add chain netdev f in { type filter hook ingress device lan0 priority 0 ; policy drop ; }");
    lab.relay.await_row("peers", &json!({"name": "control1", "state": "down"}));
    let (_, findings) = doctor(netns, &lab.relay);
    netns.ok(&command(finding(
        &findings,
        "note",
        "chain f in of nftables filters at ingress of lan0, policy drop",
    )));
    lab.relay.await_row("peers", &json!({"name": "control1", "state": "up"}));
}

/// It is nothing to be mended, and the answers of symbols leave by it more slowly.
#[test]
fn a_firewall_at_the_relays_output_is_told() {
    let Some(lab) = Lab::up() else { return };
    let words = "looks at what this machine sends: TCP of symbols leaves packet by packet";
    let told = |daemon| {
        let (well, findings) = doctor(&lab.relay_ns, daemon);
        assert!(well, "{findings:#?}");
        findings.iter().any(|finding| finding["found"].as_str().is_some_and(|found| found.contains(words)))
    };
    assert!(!told(&lab.relay));
    lab.relay_ns.ok("nft add table inet out");
    lab.relay_ns.ok("nft add chain inet out out { type filter hook output priority 0 ; }");
    assert!(told(&lab.relay));
}

#[test]
fn its_command_takes_a_symbol_out_of_a_bridge() {
    let Some(lab) = Lab::up() else { return };
    let netns = &lab.control_ns;
    let (well, _) = doctor(netns, &lab.control);
    assert!(well);
    netns.ip(&["link add br7 type bridge", "link set br7 up", "link set eth1 master br7"]);
    let (well, findings) = doctor(netns, &lab.control);
    assert!(!well);
    netns.ok(&command(finding(&findings, "wrong", "the interface eth1 is a port of br7")));
    let (well, findings) = doctor(netns, &lab.control);
    assert!(well, "{findings:#?}");
}

#[test]
fn a_link_that_can_have_no_fast_path_is_told() {
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let netns = &lab.relay_ns;
    netns.ip(&[
        "link set lan0 name cable0",
        "link add lan0 link cable0 type macvlan",
        "link set cable0 up",
        "link set lan0 up",
    ]);
    for (word, level) in [("require", "wrong"), ("auto", "note")] {
        let link = format!("data = \"clear\"\nfast_path = \"{word}\"");
        lab.relay.configure(&Relay { link, ..Relay::default() }.to_string());
        let (well, findings) = doctor(netns, &lab.relay);
        assert_eq!(well, level == "note", "{findings:#?}");
        let told = finding(&findings, level, "interface lan0 is a macvlan");
        assert!(!told["remedy"].as_str().unwrap().contains("ethtool"), "{told}");
    }
}

#[test]
fn a_symbol_that_is_not_up_is_told_with_its_remedy_on_both_machines() {
    let Some(mut lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let control = Control { symbols: vec![Symbol::new("eth9")], ..Control::default() };
    lab.control.configure(&control.to_string());
    lab.relay.start();
    lab.control.start();
    lab.control.await_row("symbols", &json!({"name": "eth9", "state": "refused"}));
    for (netns, daemon, whose) in [
        (&lab.control_ns, &lab.control, "symbol eth9 is refused: "),
        (&lab.relay_ns, &lab.relay, "symbol of control1 at port eth9 is refused: "),
    ] {
        let (well, findings) = doctor(netns, daemon);
        let told = finding(&findings, "wrong", whose);
        assert!(!well && told["remedy"].as_str().unwrap().contains("add a [[port]]"), "{told}");
        let twice = findings.iter().filter(|finding| finding["level"] == "wrong").count();
        assert_eq!(twice, 1, "{findings:#?}");
    }
}

#[test]
fn a_device_with_another_key_is_told() {
    let Some(mut lab) = Lab::build(netns_tests::Layout::default()) else { return };
    lab.control.set_psk("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0o600);
    lab.relay.start();
    lab.control.start();
    lab.relay.await_row("peers", &json!({"name": "control1", "state": "refused: bad-gate"}));
    let (well, findings) = doctor(&lab.relay_ns, &lab.relay);
    assert!(!well);
    let told = finding(&findings, "wrong", "refused: bad-gate");
    assert!(told["remedy"].as_str().unwrap().contains("psk_file"), "{told}");
}
