//! What bad input gets: a message that names the place, says why and what to do, and a non-zero exit; or, at run time, a
//! refusal that `l2ctl` shows and a new attempt when its cause is gone.

use netns_tests::config::{Control, Relay, Symbol};
use netns_tests::{Daemon, Finished, Lab, Layout, Process, SOON, binary, eventually};
use rstest::rstest;
use serde_json::json;
use std::fs;
use std::process::Command;

/// Where the daemon says that a configuration is wrong.
const CONFIG_ERROR: Option<i32> = Some(2);

fn lab() -> Option<Lab> {
    Lab::build(Layout::default())
}

#[track_caller]
fn refused(finished: &Finished, code: Option<i32>, words: &[&str]) {
    let said = finished.stderr();
    assert!(said.contains("error: "), "{finished}");
    for word in words {
        assert!(said.contains(word), "does not say {word:?}: {finished}");
    }
    assert_eq!(finished.code(), code, "{finished}");
}

#[rstest]
#[case::unknown_key(
    "interface = \"lan0\"",
    "interface = \"lan0\"\ninterfaec = 1",
    "relay.toml:4:1",
    "is `interface` meant?"
)]
#[case::one_pair_of_brackets("[[port]]", "[port]", "relay.toml:", "two pairs of brackets, [[port]]")]
#[case::unknown_section("[api]", "[apj]", "relay.toml:6:2", "apj")]
#[case::low_ethertype("[api]", "ethertype = 0x5ff\n[api]", "relay.toml:6:13", "0x0600")]
#[case::foreign_ethertype("[api]", "ethertype = 0x0800\n[api]", "relay.toml:", "ethertype")]
#[case::no_name("name = \"relay1\"", "name = \"\"", "relay.toml:1", "name")]
#[case::long_interface(
    "\"eth1\"",
    "\"an-interface-name-too-long\"",
    "relay.toml:",
    "an-interface-name-too-long"
)]
#[case::bad_service("control = \"*\"", "control = \"*\"\nservices = [\"tpc/80\"]", "relay.toml:", "tpc/80")]
#[case::bad_security("[api]", "security = \"maybe\"\n[api]", "relay.toml:", "maybe")]
#[case::syntax("[api]", "[api", "relay.toml:6", "")]
fn a_wrong_line_is_named(#[case] good: &str, #[case] bad: &str, #[case] place: &str, #[case] word: &str) {
    let Some(lab) = lab() else { return };
    lab.relay.configure(&Relay::default().to_string().replace(good, bad));
    refused(&lab.relay.run(&["--check"]), CONFIG_ERROR, &[place, word]);
    refused(&lab.relay.run(&[]), CONFIG_ERROR, &[place, word]);
}

#[test]
fn a_symbol_that_contradicts_another_is_left_out_and_the_rest_goes_on() {
    let Some(mut lab) = lab() else { return };
    let netns = Some(lab.programs().name().to_owned());
    let first = Symbol { netns, ..Symbol::new("eth1") };
    let second = Symbol { more: "name = \"again\"".into(), ..first.clone() };
    let control = Control { symbols: vec![first, second], ..Control::default() };
    lab.control.configure(&control.to_string());
    refused(&lab.control.run(&["--check"]), CONFIG_ERROR, &["control.toml:", "a second symbol of port eth1"]);
    lab.start();
    lab.control.await_row("symbols", &json!({"name": "eth1", "state": "up", "reason": null}));
    let reason = "a second symbol of port eth1 of relay1 in one namespace: eth1 is one already";
    lab.control.await_row("symbols", &json!({"name": "again", "state": "refused", "reason": reason}));
    lab.control.await_log(reason);
}

#[test]
fn a_symbol_of_an_unknown_kind_is_named() {
    let Some(lab) = lab() else { return };
    lab.control.configure(&Control::default().to_string().replace("\"interface\"", "\"pigeon\""));
    refused(
        &lab.control.run(&["--check"]),
        CONFIG_ERROR,
        &["control.toml:", "`pigeon`", "`interface`", "`files`"],
    );
}

#[test]
fn a_good_configuration_is_content_without_starting() {
    let Some(lab) = lab() else { return };
    for daemon in [&lab.relay, &lab.control] {
        let said = daemon.run(&["--check"]).expect_success();
        assert!(said.ends_with(".toml: ok\n"), "{said}");
        assert!(!daemon.socket().exists());
    }
}

#[test]
fn a_missing_file_is_named() {
    let Some(lab) = lab() else { return };
    fs::remove_file(lab.relay.config()).unwrap();
    refused(&lab.relay.run(&[]), CONFIG_ERROR, &["relay.toml", "no such file"]);
}

#[rstest]
#[case::readable_by_others(netns_tests::PSK, 0o644, &["psk", "chmod 600"])]
#[case::writable_by_group(netns_tests::PSK, 0o620, &["psk", "chmod 600"])]
#[case::too_short("c2hvcnQ=", 0o600, &["psk", "32 bytes"])]
#[case::empty("", 0o600, &["psk", "32 bytes"])]
fn a_bad_psk_file_is_refused(#[case] psk: &str, #[case] mode: u32, #[case] words: &[&str]) {
    let Some(lab) = lab() else { return };
    lab.control.set_psk(psk, mode);
    refused(&lab.control.run(&[]), CONFIG_ERROR, words);
}

#[test]
fn a_missing_psk_file_is_named() {
    let Some(lab) = lab() else { return };
    fs::remove_file(lab.control.folder().join("psk")).unwrap();
    refused(&lab.control.run(&[]), CONFIG_ERROR, &["control.toml:", ":12: key file", "psk", "No such file"]);
}

#[test]
fn a_missing_link_interface_is_named() {
    let Some(lab) = lab() else { return };
    lab.relay.configure(&Relay::default().to_string().replace("lan0", "lan9"));
    refused(&lab.relay.run(&[]), Some(1), &["lan9"]);
}

#[test]
fn a_link_interface_in_a_bridge_is_refused_with_the_bridges_name() {
    let Some(lab) = lab() else { return };
    lab.relay_ns.ip(&["link add br7 type bridge", "link set lan0 master br7"]);
    refused(&lab.relay.run(&[]), Some(1), &["lan0", "br7"]);
}

#[test]
fn a_link_interface_that_is_not_ethernet_is_refused() {
    let Some(lab) = lab() else { return };
    lab.relay.configure(&Relay::default().to_string().replace("lan0", "lo"));
    refused(&lab.relay.run(&[]), Some(1), &["lo"]);
}

/// Runs a daemon by way of a shell line in which `$DAEMON` is the daemon.
fn run_in(lab: &Lab, daemon: &Daemon, program: &str, script: &str) -> Finished {
    let command = format!("timeout 10 {} --config {}", binary(program).display(), daemon.config().display());
    let file = lab.folder().join("script");
    fs::write(&file, script.replace("$DAEMON", &command)).unwrap();
    let netns = if program == "l2relay" { &lab.relay_ns } else { &lab.control_ns };
    netns.run(&format!("sh {}", file.display()))
}

#[rstest]
#[case::relay("l2relay")]
#[case::control("l2control")]
fn missing_capabilities_are_named(#[case] program: &str) {
    let Some(lab) = lab() else { return };
    let daemon = if program == "l2relay" { &lab.relay } else { &lab.control };
    let finished = run_in(&lab, daemon, program, "exec setpriv --bounding-set=-all --inh-caps=-all $DAEMON");
    refused(&finished, Some(1), &["CAP_NET_RAW", "sudo"]);
}

#[test]
fn a_missing_tap_device_is_named() {
    let Some(mut lab) = lab() else { return };
    lab.relay.start();
    let script = format!(
        "mount -t tmpfs none /dev/net && exec {} --config {}",
        binary("l2control").display(),
        lab.control.config().display()
    );
    let mut command = lab.control_ns.command("unshare");
    let _control =
        Process::start("l2control", command.args(["-m", "sh", "-c", &script]), lab.control.folder());
    eventually(SOON, "the symbol's row names the device", || {
        let symbols = lab.control.show("symbols")?;
        let reason = symbols[0]["reason"].as_str().unwrap_or_default();
        if reason.contains("/dev/net/tun") { Ok(()) } else { Err(format!("{symbols:?}")) }
    });
}

#[test]
fn a_second_daemon_with_the_same_socket_does_not_start() {
    let Some(mut lab) = lab() else { return };
    lab.relay.start();
    lab.relay.await_log("ready");
    refused(&lab.relay.run(&[]), Some(1), &["sock"]);
    assert!(lab.relay.show("ports").is_ok(), "the first one still answers");
}

#[test]
fn a_port_that_is_not_there_yet_is_waited_for() {
    let Some(mut lab) = lab() else { return };
    lab.relay_ns.ip(&["link set eth1 down", "link set eth1 name eth7"]);
    lab.relay.start();
    lab.control.start();
    lab.relay.await_row("ports", &json!({"name": "eth1", "state": "absent"}));
    lab.relay_ns.ip(&["link set eth7 name eth1", "link set eth1 up"]);
    lab.await_symbol();
}

#[test]
fn a_symbol_of_a_port_that_the_relay_does_not_have_is_refused() {
    let Some(mut lab) = lab() else { return };
    lab.control.configure(&Control::default().to_string().replace("port = \"eth1\"", "port = \"eth9\""));
    lab.relay.start();
    lab.control.start();
    let symbol = lab.control.await_row("symbols", &json!({"port": "eth9", "state": "refused"}));
    assert!(symbol["reason"].as_str().is_some_and(|reason| reason.contains("eth9")), "{symbol}");
}

#[test]
fn a_name_already_taken_is_refused_until_it_is_free() {
    let Some(mut lab) = lab() else { return };
    lab.programs().ip(&["link add eth1 type bridge"]);
    lab.relay.start();
    lab.control.start();
    let symbol = lab.control.await_row("symbols", &json!({"name": "eth1", "state": "refused"}));
    let reason = symbol["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("eth1") && reason.contains("name"), "{reason}");
    lab.programs().ip(&["link del eth1"]);
    lab.await_symbol();
}

#[test]
fn a_missing_namespace_is_refused_until_it_is_there() {
    let Some(mut lab) = lab() else { return };
    let name = netns_tests::sweep::netns_name(usize::MAX, "late");
    let mut control = Control::default();
    control.symbols[0].netns = Some(name.clone());
    lab.control.configure(&control.to_string());
    lab.relay.start();
    lab.control.start();
    let symbol = lab.control.await_row("symbols", &json!({"name": "eth1", "state": "waiting", "mtu": 1500}));
    assert!(symbol["reason"].as_str().is_some_and(|reason| reason.contains(&name)), "{symbol}");
    let _late = netns_tests::Netns::new(name, lab.folder());
    lab.await_symbol();
}

#[test]
fn l2ctl_says_what_is_wrong() {
    let Some(mut lab) = lab() else { return };
    let finished = lab.relay.l2ctl("show rules");
    refused(&finished, Some(1), &["is l2relay or l2control running"]);
    refused(&lab.relay.l2ctl("show rulez"), Some(2), &["rulez", "rules"]);
    lab.relay.start();
    lab.relay.await_log("ready");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary("l2ctl"));
    let output = command.arg("--socket").arg(lab.relay.socket()).args(["show", "rules"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("permission"), "{output:?}");
}
