use super::*;
use serde_json::json;

fn relay() -> Sample {
    Sample {
        device: vec![json!({"name": "relay1", "role": "relay"})],
        peers: vec![
            json!({"name": "control1", "role": "control", "state": "up", "rtt_us": 85}),
            json!({"name": "control2", "role": "control", "state": "down", "rtt_us": null}),
        ],
        ports: vec![
            json!({"name": "eth1", "state": "up", "addresses": ["192.0.2.1/24"], "controls": ["control1"]}),
            json!({"name": "eth2", "state": "no-carrier", "addresses": [], "controls": []}),
        ],
        symbols: vec![
            json!({"control": "control1", "symbol": 1, "port": "eth1", "down_tunnel": 3, "virtual_address": null, "state": "up"}),
            json!({"control": "control1", "symbol": 2, "port": "eth1", "down_tunnel": 4, "virtual_address": null, "state": "up"}),
            json!({"control": "control2", "symbol": 1, "port": "eth1", "down_tunnel": null,
                   "virtual_address": "192.0.2.10", "state": "up"}),
        ],
        rules: vec![
            json!({"relay": "relay1", "port": "eth1", "protocol": "tcp", "address": "*", "port_number": 80, "remote": null,
                   "control": "control1", "up_tunnel": 7, "state": "active", "reason": null}),
            json!({"relay": "relay1", "port": "eth1", "protocol": "ethertype", "address": "0x0806", "port_number": null,
                   "remote": null, "control": "control1", "up_tunnel": 8, "state": "active", "reason": null}),
            json!({"relay": "relay1", "port": "eth1", "protocol": "tcp", "address": "192.0.2.1", "port_number": 40000,
                   "remote": "198.51.100.7:443", "control": "control1", "up_tunnel": 9, "state": "active", "reason": null}),
            json!({"relay": "relay1", "port": "eth1", "protocol": "udp", "address": "192.0.2.10", "port_number": 53,
                   "remote": null, "control": "control2", "up_tunnel": 0, "state": "refused", "reason": "not-permitted"}),
        ],
        tunnels: vec![
            json!({"direction": "up", "id": 7, "peer": "control1", "symbol": 2, "port": "eth1"}),
            json!({"direction": "up", "id": 8, "peer": "control1", "symbol": 1, "port": "eth1"}),
            json!({"direction": "up", "id": 9, "peer": "control1", "symbol": 1, "port": "eth1"}),
        ],
        ..Sample::default()
    }
}

fn control() -> Sample {
    Sample {
        device: vec![json!({"name": "control1", "role": "control"})],
        peers: vec![json!({"name": "relay1", "role": "relay", "state": "up", "rtt_us": 90})],
        symbols: vec![
            json!({"name": "web", "kind": "interface", "netns": "dmz", "relay": "relay1", "port": "eth1", "state": "up",
                   "addresses": ["192.0.2.1/24"], "down_tunnel": 4}),
            json!({"name": "eth1", "kind": "interface", "netns": null, "relay": "relay1", "port": "eth1", "state": "up",
                   "addresses": ["192.0.2.1/24"], "down_tunnel": 3}),
            json!({"name": "eth9", "kind": "interface", "netns": null, "relay": "relay9", "port": "eth9",
                   "state": "waiting", "reason": "relay relay9 has not been heard", "addresses": []}),
        ],
        rules: vec![
            json!({"relay": "relay9", "port": "eth9", "protocol": "udp", "address": "::", "port_number": 53,
                           "remote": null, "control": "control1", "up_tunnel": 0, "state": "waiting"}),
        ],
        ..Sample::default()
    }
}

fn source<'a>(name: &'a str, sample: &'a Sample) -> Source<'a> {
    Source { name, sample: Some(sample), rates: None, trouble: None }
}

#[test]
fn a_relay_alone_tells_of_all_its_controls() {
    let relay = relay();
    let topology = Topology::new(&[source("relay1", &relay)]);
    let symbols: Vec<_> =
        topology.symbols.iter().map(|symbol| (&*symbol.control, symbol.label(), &*symbol.state)).collect();
    let expected =
        [("control1", "1".into(), "up"), ("control1", "2".into(), "up"), ("control2", "1".into(), "down")];
    assert_eq!(symbols, expected);
    let [first, second, third] = &topology.symbols[..] else { panic!("{topology:#?}") };
    assert_eq!((first.flows, first.rules(), first.served().count()), (1, 2, 0));
    assert_eq!(second.services[0].service, "tcp/80", "by its tunnel");
    assert_eq!((&*third.services[0].service, third.kind.as_deref()), ("udp/192.0.2.10:53", Some("address")));
    assert_eq!(topology.segments, [["control1", "control2", "relay1"].map(str::to_owned).into()]);
}

#[test]
fn both_ends_make_one_picture() {
    let (relay, control) = (relay(), control());
    let topology = Topology::new(&[source("control1", &control), source("relay1", &relay)]);
    let symbols: Vec<_> = topology
        .symbols
        .iter()
        .filter(|symbol| symbol.control == "control1")
        .map(|symbol| (&*symbol.relay, symbol.label(), symbol.rules()))
        .collect();
    let expected =
        [("relay1", "eth1".into(), 2), ("relay1", "web in dmz".into(), 1), ("relay9", "eth9".into(), 1)];
    assert_eq!(symbols, expected);
    assert_eq!(topology.devices["relay9"].state, "not heard");
    assert_eq!(topology.link("relay1", "control1").unwrap().rtt_us, Some(85), "the relay tells");
    assert_eq!(topology.segments.len(), 2, "nobody heard relay9");
    assert!(topology.silent.is_empty());
}

#[test]
fn a_daemon_that_tells_nothing_is_told() {
    let lost = Source { name: "relay", sample: None, rates: None, trouble: Some("no daemon listens") };
    let topology = Topology::new(&[lost]);
    assert_eq!((&*topology.silent[0].name, &*topology.silent[0].reason), ("relay", "no daemon listens"));
    assert!(topology.devices.is_empty() && topology.segments.is_empty());
}

#[test]
fn symbols_of_one_name_are_told_apart_by_their_control() {
    let symbol = |kind: &str, netns: Option<&str>| json!({"name": "eth1", "kind": kind, "netns": netns, "relay": "relay1", "port": "eth1", "state": "up", "addresses": []});
    let tunnel = |id: u32, kind: &str, netns: Option<&str>, packets: u64| {
        json!({"direction": "up", "id": id, "peer": "relay1", "symbol": "eth1", "kind": kind, "netns": netns, "port": "eth1",
               "packets": packets, "bytes": 0})
    };
    let rule = |tunnel: u32, port: u16| {
        json!({"relay": "relay1", "port": "eth1", "protocol": "tcp", "address": "*", "port_number": port, "remote": null,
               "control": "control1", "up_tunnel": tunnel, "state": "active", "reason": null})
    };
    let sample = |packets: [u64; 3], at: u64| Sample {
        symbols: vec![symbol("interface", Some("a")), symbol("interface", Some("b")), symbol("files", None)],
        rules: vec![rule(1, 81), rule(2, 82), rule(3, 83)],
        tunnels: vec![
            tunnel(1, "interface", Some("a"), packets[0]),
            tunnel(2, "interface", Some("b"), packets[1]),
            tunnel(3, "files", None, packets[2]),
        ],
        at: core::time::Duration::from_secs(at),
        ..control()
    };
    let (before, after) = (sample([0; 3], 1), sample([10, 20, 30], 2));
    let rates = Rates::between(&before, &after);
    let topology = Topology::new(&[Source { rates: Some(&rates), ..source("control1", &after) }]);
    let told: Vec<_> = topology
        .symbols
        .iter()
        .map(|symbol| {
            (symbol.label(), &*symbol.services[0].service, symbol.services.len(), symbol.up.packets)
        })
        .collect();
    let expected = [
        ("eth1 in a".to_owned(), "tcp/81", 1, 10.0),
        ("eth1 in b".to_owned(), "tcp/82", 1, 20.0),
        ("eth1".to_owned(), "tcp/83", 1, 30.0),
    ];
    assert_eq!(told, expected);
}
