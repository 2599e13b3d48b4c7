//! A key pair for each device: who comes in, who stays outside, and who is told why.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::Nginx;
use netns_tests::{Daemon, Joint, KeyPair, Lab, Layout, SOON, eventually, never};
use rstest::rstest;
use serde_json::json;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

/// A relay and a control that know each other.
struct Pair {
    lab: Lab,
    relay: KeyPair,
    control: KeyPair,
}

impl Pair {
    fn build(layout: Layout, more: &str) -> Option<Self> {
        let lab = Lab::build(layout)?;
        let [relay, control] = ["relay.key", "control.key"].map(|name| KeyPair::new(lab.folder(), name));
        let pair = Self { lab, relay, control };
        pair.configure_relay(more, &[("control1", &pair.control)]);
        pair.configure_control(more, &pair.control, &[("relay1", &pair.relay)]);
        Some(pair)
    }

    fn configure_relay(&self, more: &str, peers: &[(&str, &KeyPair)]) {
        let mut relay = Relay::default();
        relay.ports[0].allow = vec!["control = \"control1\"".into()];
        self.lab.relay.configure(&self.relay.configure(&relay, more, peers));
    }

    fn configure_control(&self, more: &str, own: &KeyPair, peers: &[(&str, &KeyPair)]) {
        self.lab.control.configure(&own.configure(&Control::default(), more, peers));
    }
}

fn fetch(lab: &Lab) {
    eventually(SOON, "the server is reached", || {
        lab.client.run(&format!("curl -sSf --max-time 2 http://{PORT_V4}/")).into_result()
    });
}

/// Both say, in `show peers` and in the log, that the other one is refused, by name.
#[track_caller]
fn await_refusal(daemon: &Daemon, name: &str, reason: &str) {
    daemon.await_row("peers", &json!({"name": name, "state": format!("refused: {reason}")}));
    eventually(SOON, "the log names it", || {
        let log = daemon.log();
        let told = log.lines().any(|line| line.contains(name) && line.contains(reason));
        if told { Ok(()) } else { Err(log) }
    });
}

#[rstest]
#[case::sealed("")]
#[case::encrypted("encrypt = true")]
#[case::clear_data("data = \"clear\"")]
#[case::psk("psk_file = \"psk\"")]
#[case::all("psk_file = \"psk\"\nencrypt = true")]
fn a_server_is_reached_over_a_link_with_keys(#[case] more: &str) {
    let Some(mut pair) = Pair::build(Layout::default(), more) else { return };
    pair.lab.start();
    let _server = Nginx::start(pair.lab.programs(), pair.lab.folder(), &["80"]);
    fetch(&pair.lab);
    for (daemon, other) in [(&pair.lab.relay, &pair.control), (&pair.lab.control, &pair.relay)] {
        daemon.await_row("peers", &json!({"state": "up", "public_key": other.public}));
    }
    // Either side comes back, and the other goes on with it.
    pair.lab.relay.kill_9();
    pair.lab.relay.start();
    pair.lab.await_symbol();
    fetch(&pair.lab);
    for (daemon, own) in [(&pair.lab.relay, &pair.relay), (&pair.lab.control, &pair.control)] {
        let secret = fs::read_to_string(&own.file).unwrap();
        assert!(!daemon.log().contains(secret.trim()), "the private key is in the log");
    }
}

#[test]
fn a_reload_lets_peers_in_and_out_by_their_keys() {
    let Some(mut pair) = Pair::build(Layout::default(), "") else { return };
    pair.lab.start();
    let _server = Nginx::start(pair.lab.programs(), pair.lab.folder(), &["80"]);
    fetch(&pair.lab);
    let reload = |said: &str| {
        assert_eq!(pair.lab.relay.l2ctl("reload").expect_success().trim_end(), said);
    };
    let other = KeyPair::new(pair.lab.folder(), "other.key");
    // One more does not disturb the one that is there.
    pair.configure_relay("", &[("control1", &pair.control), ("control2", &other)]);
    reload("peer control2: public_key added");
    fetch(&pair.lab);
    pair.configure_relay("", &[("control2", &other)]);
    reload("peer control1: public_key removed");
    await_refusal(&pair.lab.control, "relay1", "not-its-peer");
    pair.lab.relay.await_row("peers", &json!({"name": "control1", "state": "refused: unknown-peer"}));
    pair.configure_relay("", &[("control1", &pair.control)]);
    reload("peer control2: public_key removed\npeer control1: public_key added");
    pair.lab.await_symbol();
    fetch(&pair.lab);
    // Its own key is for a restart.
    let relay = other.configure(&Relay::default(), "", &[("control1", &pair.control)]);
    pair.lab.relay.configure(&relay);
    let refused = pair.lab.relay.l2ctl("reload");
    assert!(refused.stderr().contains("`link.private_key_file` cannot be changed"), "{refused}");
    let ups = pair.lab.relay.log().matches("control control1 is up").count();
    assert_eq!(ups, 2, "only who was taken out was lost");
}

#[test]
fn another_key_than_the_relay_knows_is_refused_by_name_on_both_sides() {
    let Some(mut pair) = Pair::build(Layout::default(), "") else { return };
    let wrong = KeyPair::new(pair.lab.folder(), "wrong.key");
    pair.configure_control("", &wrong, &[("relay1", &pair.relay)]);
    pair.lab.relay.start();
    pair.lab.control.start();
    await_refusal(&pair.lab.relay, "control1", "wrong-key");
    await_refusal(&pair.lab.control, "relay1", "not-its-peer");
    never(Duration::from_secs(1), "no session", || {
        let symbols = pair.lab.control.show("symbols")?;
        if symbols.iter().any(|row| row["state"] == "up") { Err(format!("{symbols:?}")) } else { Ok(()) }
    });
    pair.lab.control.terminate();
    pair.configure_control("", &pair.control, &[("relay1", &pair.relay)]);
    pair.lab.control.start();
    pair.lab.await_symbol();
}

#[test]
fn a_peer_that_is_taken_out_of_the_file_stays_outside() {
    let Some(mut pair) = Pair::build(Layout::default(), "") else { return };
    pair.lab.start();
    let other = KeyPair::new(pair.lab.folder(), "other.key");
    pair.lab.relay.terminate();
    pair.configure_relay("", &[("control2", &other)]);
    pair.lab.relay.start();
    await_refusal(&pair.lab.relay, "control1", "unknown-peer");
    await_refusal(&pair.lab.control, "relay1", "not-its-peer");
    // The permission that is left is one for nobody, and the relay says so.
    assert!(pair.lab.relay.log().contains("no [[peer]] has a public key for control control1"));
    pair.lab.relay.terminate();
    pair.configure_relay("", &[("control1", &pair.control)]);
    pair.lab.relay.start();
    pair.lab.await_symbol();
}

#[test]
fn another_psk_besides_the_right_keys_is_refused() {
    let Some(mut pair) = Pair::build(Layout::default(), "psk_file = \"psk\"") else { return };
    pair.lab.control.set_psk("/////////////////////////////////////////w8=\n", 0o600);
    pair.lab.relay.start();
    pair.lab.control.start();
    await_refusal(&pair.lab.relay, "control1", "wrong-key");
    await_refusal(&pair.lab.control, "relay1", "wrong-key");
    pair.lab.control.terminate();
    pair.lab.control.set_psk(netns_tests::PSK, 0o600);
    pair.lab.control.start();
    pair.lab.await_symbol();
}

#[test]
fn who_steals_a_name_gets_nothing_and_takes_nothing() {
    let Some(mut pair) = Pair::build(Layout { bridge: true, ..Layout::default() }, "") else { return };
    pair.lab.start();
    let _server = Nginx::start(pair.lab.programs(), pair.lab.folder(), &["80"]);
    fetch(&pair.lab);
    let thief_ns = Rc::new(pair.lab.netns("thief"));
    pair.lab.add_to_segment(&thief_ns);
    let key = KeyPair::new(pair.lab.folder(), "thief.key");
    let config = key.configure(&Control::default(), "", &[("relay1", &pair.relay)]);
    let mut thief = Daemon::new("l2control", &thief_ns, pair.lab.folder().join("thief"), &config);
    thief.start();
    await_refusal(&pair.lab.relay, "control1", "wrong-key");
    await_refusal(&thief, "relay1", "not-its-peer");
    never(Duration::from_secs(1), "the true one keeps its session", || {
        pair.lab.client.run(&format!("curl -sSf --max-time 2 http://{PORT_V4}/")).into_result()?;
        let peers = pair.lab.relay.show("peers")?;
        let up = peers.iter().any(|peer| peer["state"] == "up" && peer["public_key"] == pair.control.public);
        if up { Ok(()) } else { Err(format!("{peers:?}")) }
    });
    assert!(!thief_ns.has_interface("eth1"));
    // When the true one is gone, its name is nobody's.
    pair.lab.control.terminate();
    never(Duration::from_secs(3), "the thief stays outside", || {
        let peers = pair.lab.relay.show("peers")?;
        if peers.iter().any(|peer| peer["state"] == "up") { Err(format!("{peers:?}")) } else { Ok(()) }
    });
}

#[test]
fn relays_of_one_router_know_each_other_by_their_control() {
    let Some(folder) = Lab::build(Layout::default()) else { return };
    let [relay, relay2, control] = ["1", "2", "3"].map(|name| KeyPair::new(folder.folder(), name));
    let joint = Joint::up(|first, second, third| {
        first.link = relay.link("", &[("control1", &control)]);
        second.link = relay2.link("", &[("control1", &control)]);
        third.link = control.link("", &[("relay1", &relay), ("relay2", &relay2)]);
    });
    let Some(joint) = joint else { return };
    joint
        .lab
        .relay
        .await_row("peers", &json!({"name": "relay2", "state": "up", "public_key": relay2.public}));
    joint.relay2.await_row("peers", &json!({"name": "relay1", "state": "up", "public_key": relay.public}));
}
