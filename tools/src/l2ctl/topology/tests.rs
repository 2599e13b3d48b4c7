use super::*;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

fn topology() -> Topology {
    let relay = Sample {
        device: vec![json!({"name": "relay1", "role": "relay"})],
        peers: vec![json!({"name": "control1", "role": "control", "state": "up", "rtt_us": 85})],
        ports: vec![
            json!({"name": "eth1", "state": "up", "addresses": ["192.0.2.1/24"], "controls": ["control1"]}),
            json!({"name": "eth2", "state": "down", "addresses": [], "controls": []}),
        ],
        symbols: vec![
            json!({"control": "control1", "symbol": 1, "port": "eth1", "down_tunnel": 3, "state": "up"}),
        ],
        rules: vec![
            json!({"port": "eth1", "protocol": "tcp", "address": "*", "port_number": 80, "remote": null,
                   "control": "control1", "up_tunnel": 7, "state": "active", "reason": null}),
            json!({"port": "eth1", "protocol": "udp", "address": "::", "port_number": 53, "remote": null,
                   "control": "control1", "up_tunnel": 8, "state": "refused", "reason": "not-permitted: \"no\" #1 \\"}),
        ],
        ..Sample::default()
    };
    let control = Sample {
        device: vec![json!({"name": "control1", "role": "control"})],
        symbols: vec![
            json!({"name": "eth1", "kind": "interface", "netns": "router", "relay": "relay1", "port": "eth1",
                             "down_tunnel": 3, "state": "up"}),
        ],
        ..Sample::default()
    };
    let source = |name, sample| Source { name, sample: Some(sample), rates: None, trouble: None };
    Topology::new(&[source("relay1", &relay), source("control1", &control)])
}

fn printed(print: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_tree_for_people() {
    let expected = "\
segment
├─ control  control1  up
└─ relay  relay1  up
   ├─ port eth1  up  192.0.2.1/24
   │  └─ control control1  symbol eth1 in router  up  rtt 85 µs
   │     ├─ tcp/80  active
   │     └─ udp/[::]:53  refused  not-permitted: \"no\" #1 \\
   └─ port eth2  down
";
    assert_eq!(printed(|out| tree::print(out, &topology())), expected);
}

#[test]
fn mermaid_has_boxes_in_boxes() {
    let text = printed(|out| mermaid::print(out, &Graph::new(&topology())));
    let expected = "\
flowchart LR
    subgraph box_d0[\"control control1\"]
        subgraph box_d0_0[\"namespace router\"]
            y0[\"eth1 up<br>udp/[::]:53 refused\"]
        end
        d0[[\"control1<br>up\"]]
    end
    subgraph box_d1[\"relay relay1\"]
        d1[[\"relay1<br>up\"]]
        p0[\"eth1 up<br>192.0.2.1/24\"]
        p1[\"eth2 down\"]:::wrong
    end
    s0([\"segment\"])
    p0 -.-|\"tcp/80 udp/[::]:53\"| y0
    d0 ===|\"rtt 85 µs\"| s0
    d1 === s0
    classDef wrong stroke:red
";
    assert_eq!(text, expected);
}

#[test]
fn graphviz_takes_its_language() {
    let mut hard = topology();
    hard.devices.get_mut("relay1").unwrap().state = "refused: \"\\\" {}; -- \n".to_owned();
    hard.symbols[0].reason = Some("a \\".to_owned());
    let text = printed(|out| dot::print(out, &Graph::new(&hard)));
    assert!(text.contains("subgraph cluster_box_d0_0 {\n            label=\"namespace router\";"), "{text}");
    assert!(text.contains("label=\"eth1 up\\na \\\\\\nudp/[::]:53 refused\""), "{text}");
    let mut dot = match Command::new("dot").arg("-Tsvg").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    {
        // `tools/test` installs it for those that need root.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        dot => dot.unwrap(),
    };
    dot.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = dot.wait_with_output().unwrap();
    let picture = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && picture.contains("namespace router"), "{text}\n{picture}");
}

#[test]
fn json_has_stable_keys() {
    let json = serde_json::to_value(topology()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&json), "devices links ports segments silent symbols");
    assert_eq!(keys(&json["devices"]["relay1"]), "asked role state");
    assert_eq!(keys(&json["links"][0]), "from rtt_us state to");
    assert_eq!(keys(&json["ports"][0]), "addresses name relay state");
    let expected =
        "control down_tunnel flows kind name netns port reason relay services state symbol virtual_address";
    assert_eq!(keys(&json["symbols"][0]), expected);
    assert_eq!(
        json["symbols"][0]["services"][0],
        json!({"service": "tcp/80", "state": "active", "reason": null})
    );
    assert_eq!(json["segments"], json!([["control1", "relay1"]]));
}
