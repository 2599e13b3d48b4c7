//! Symbols whose interface somebody alters, removes or moves away.

use netns_tests::address::*;
use netns_tests::program::{echo, echo_server};
use netns_tests::{Lab, SOON, eventually};
use rstest::rstest;
use serde_json::{Value, json};

/// The row of the only symbol.
fn symbol(lab: &Lab) -> Result<Value, String> {
    lab.control.show("symbols")?.into_iter().next().ok_or_else(|| "there is none".to_owned())
}

#[track_caller]
fn await_reason(lab: &Lab, words: Option<&str>) {
    eventually(SOON, &format!("the symbol is up, with {words:?}"), || {
        let row = symbol(lab)?;
        let told = match (row["reason"].as_str(), words) {
            (Some(reason), Some(words)) => reason.contains(words),
            (reason, words) => reason.is_none() && words.is_none(),
        };
        if told && row["state"] == "up" { Ok(()) } else { Err(row.to_string()) }
    });
}

#[track_caller]
fn await_answers(lab: &Lab) {
    eventually(SOON, "the server answers", || {
        let asked = echo(&lab.client, &format!("tcp {PORT_V4} 7000 1000"));
        if asked.success() { Ok(()) } else { Err(asked.to_string()) }
    });
}

#[rstest]
#[case::renamed("link set eth1 name eth7", "is called eth7", "link set eth7 name eth1")]
#[case::set_down("link set eth1 down", "is set down", "link set eth1 up")]
#[case::an_address_deleted(
    "addr del 192.0.2.1/24 dev eth1",
    "lacks 192.0.2.1/24",
    "addr add 192.0.2.1/24 dev eth1"
)]
fn what_keeps_packets_away_is_told(#[case] change: &str, #[case] words: &str, #[case] back: &str) {
    let Some(lab) = Lab::up() else { return };
    let _server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    await_answers(&lab);
    await_reason(&lab, None);
    lab.programs().ip(&[change]);
    await_reason(&lab, Some(words));
    let verified = lab.control.l2ctl("verify");
    assert!(verified.stdout().contains(words), "{verified}");
    let doctor = lab.control.l2ctl("doctor");
    assert!(doctor.stdout().contains(words), "{doctor}");
    lab.programs().ip(&[back]);
    await_reason(&lab, None);
    await_answers(&lab);
}

#[test]
fn its_ethernet_address_is_put_back() {
    let Some(lab) = Lab::up() else { return };
    let _server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    await_answers(&lab);
    lab.programs().ip(&["link set eth1 address 02:00:00:00:77:77"]);
    await_answers(&lab);
    let mac = symbol(&lab).unwrap()["mac"].as_str().unwrap().to_owned();
    assert!(lab.programs().ok("ip link show dev eth1").contains(&mac));
    await_reason(&lab, None);
    // Who insists has it, and is told what comes of it.
    for number in 10..30 {
        lab.programs().ip(&[&*format!("link set eth1 address 02:00:00:00:77:{number}")]);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    await_reason(&lab, Some("02:00:00:00:77:29, which is not its port's"));
}

#[test]
fn one_that_is_moved_away_is_made_anew() {
    let Some(lab) = Lab::up() else { return };
    let _server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    await_answers(&lab);
    let elsewhere =
        netns_tests::Netns::new(netns_tests::sweep::netns_name(usize::MAX, "moved"), lab.folder());
    lab.programs().ip(&[&*format!("link set eth1 netns {}", elsewhere.name())]);
    let _ = lab.control.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
    await_answers(&lab);
    assert!(!elsewhere.has_interface("eth1"));
}
