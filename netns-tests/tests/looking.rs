//! What `l2ctl` shows of running daemons besides their tables: topology and repeated looks.

use netns_tests::address::*;
use netns_tests::book::Page;
use netns_tests::config::{Control, Port, Relay, Symbol, with_addresses};
use netns_tests::program::Nginx;
use netns_tests::{Daemon, Finished, Lab, Layout, SOON, Terminal, binary, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
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

/// The objects of which the book has the keys, and these as a daemon has them.
fn documented_keys(role: &str) -> Vec<(String, BTreeSet<String>)> {
    let chapter = Page::read("docs/book/src/reference/json.md").text;
    let sections = chapter.split("\n## show ").skip(1).map(|section| {
        let (object, rest) = section.split_once('\n').expect("a heading");
        let rows = rest.lines().take_while(|line| !line.starts_with("## "));
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let own = rows.filter(|(_, rest)| rest.starts_with("both |") || rest.starts_with(role));
        (object.to_owned(), own.map(|(key, _)| key.to_owned()).collect())
    });
    sections.collect()
}

#[test]
fn tables_have_the_keys_that_the_book_has() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    let netns = lab.programs().name().to_owned();
    lab.relay.configure(&Relay { ports: vec![Port::routed("eth1")], ..Relay::default() }.to_string());
    let control = Control {
        routes: "enabled = true".into(),
        symbols: vec![Symbol { netns: Some(netns.clone()), ..Symbol::new("eth1") }],
        ..Control::default()
    };
    lab.control.configure(&with_addresses(&control, &netns, &[("web", "192.0.2.10", "")]));
    lab.relay_ns.ip(&["addr add 192.0.2.10/24 dev eth1"]);
    lab.start();
    lab.control.await_row("symbols", &json!({"name": "web", "state": "up"}));
    lab.programs().ip(&[&format!("route add 198.51.100.0/24 via {CLIENT_V4}")]);
    let _ = lab.await_route_state("198.51.100.0/24", "installed");
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_row("translations", &json!({"table": "dispatch", "control": "control1"}));
    let keys = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let look = |daemon: &Daemon, object: &str| {
        eventually(SOON, object, || match daemon.show(object)? {
            rows if rows.is_empty() => Err("no row".to_owned()),
            rows => Ok(rows),
        })
    };
    for (role, daemon) in [("relay", &lab.relay), ("control", &lab.control)] {
        let documented = documented_keys(role);
        assert_eq!(documented.len(), 10, "{documented:?}");
        for (object, documented) in documented {
            for row in look(daemon, &object) {
                assert_eq!(keys(&row), documented, "show {object} of the {role}: {row:#}");
            }
        }
    }
}
