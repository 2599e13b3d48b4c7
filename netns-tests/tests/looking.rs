//! What `l2ctl` shows of running daemons besides their tables: topology and repeated looks.

use netns_tests::address::*;
use netns_tests::program::Nginx;
use netns_tests::{Finished, Lab, Layout, Terminal, binary, eventually};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// `l2ctl` with both daemons of a lab.
fn of_both(lab: &Lab, arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary("l2ctl"));
    command.arg("--socket").arg(lab.relay.socket()).arg("--socket").arg(lab.control.socket());
    Finished::new(command.args(arguments))
}

#[test]
fn the_topology_of_both_ends_is_one_picture() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    lab.start();
    let netns = lab.programs().name().to_owned();
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    let symbol = eventually(netns_tests::SOON, "the server in the topology", || {
        let json: Value =
            serde_json::from_str(&of_both(&lab, &["topology", "--json"]).expect_success()).unwrap();
        if json["segments"] != serde_json::json!([["control1", "relay1"]]) {
            return Err(format!("{json:#}"));
        }
        let [symbol] = &json["symbols"].as_array().unwrap()[..] else { panic!("{json:#}") };
        let served = |service: &Value| service["service"] == "tcp/0.0.0.0:80" && service["state"] == "active";
        symbol["services"]
            .as_array()
            .unwrap()
            .iter()
            .any(served)
            .then(|| symbol.clone())
            .ok_or_else(|| format!("{symbol:#}"))
    });
    assert_eq!((&symbol["name"], &symbol["netns"]), (&"eth1".into(), &netns.as_str().into()), "{symbol:#}");
    assert_eq!(
        (&symbol["relay"], &symbol["port"], &symbol["symbol"]),
        (&"relay1".into(), &"eth1".into(), &1.into())
    );

    let text = of_both(&lab, &["topology"]).expect_success();
    assert!(text.contains(&format!("port eth1  up  {PORT_V4}/24")), "{text}");
    let drawing = of_both(&lab, &["topology", "--dot"]).expect_success();
    let mut dot = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("graphviz");
    dot.stdin.take().unwrap().write_all(drawing.as_bytes()).unwrap();
    let output = dot.wait_with_output().unwrap();
    let picture = String::from_utf8(output.stdout).unwrap().replace("&#45;", "-");
    assert!(
        output.status.success() && picture.contains("tcp/0.0.0.0:80") && picture.contains(&netns),
        "{picture}"
    );
    assert!(of_both(&lab, &["topology", "--mermaid"]).expect_success().starts_with("flowchart LR\n"));

    lab.relay.terminate();
    let text = of_both(&lab, &["topology"]).expect_success();
    assert!(text.contains("no daemon listens at") && text.contains("control1"), "{text}");
    assert_eq!(of_both(&lab, &["show", "rules"]).code(), Some(2), "a table is of one daemon");
}

#[test]
fn a_table_is_watched_in_place_and_a_pipe_gets_lines() {
    let Some(lab) = Lab::up() else { return };
    let socket = lab.relay.socket().display().to_string();
    let arguments = ["--socket", &*socket, "show", "rules", "--watch", "0.2"];
    let screen = Terminal::start(&binary("l2ctl"), &arguments, 80, 24);
    screen.await_text("0x0806");
    let nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    let lines = screen.await_text("0.0.0.0");
    assert!(lines[0].starts_with("RELAY") && lines.len() <= 24, "drawn in place: {lines:#?}");
    drop(nginx);
    screen.await_screen("the rule is gone", |lines| !lines.iter().any(|line| line.contains("0.0.0.0")));

    let mut command = Command::new("timeout");
    command
        .arg("2")
        .arg(binary("l2ctl"))
        .args(["--socket", &*socket, "show", "peers", "--json", "--watch", "0.2"]);
    let looks = Finished::new(&mut command).stdout();
    let looks: Vec<Value> = looks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(looks.len() > 2 && looks.iter().all(|look| look[0]["name"] == "control1"), "{looks:?}");
}
