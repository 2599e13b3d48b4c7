//! Pictures of 80 columns and 24 lines.

use super::*;
use l2link_tools::sample::Sample;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

/// What a relay tells at this second: 8,000 packets up and a drop in each.
fn relay(at: u64) -> Sample {
    let packets = 8_000 * at;
    Sample {
        device: vec![json!({"name": "relay1", "role": "relay", "version": "1.0.0"})],
        peers: vec![
            json!({"name": "control1", "role": "control", "mac": "02:00:00:00:00:02", "state": "up",
                   "session_age_ms": 61_000, "rtt_us": 85, "weight": null}),
            json!({"name": "control2", "role": "control", "mac": "02:00:00:00:00:03", "state": "refused: bad-gate",
                   "session_age_ms": null, "rtt_us": null, "weight": null}),
        ],
        ports: vec![
            json!({"name": "eth1", "id": 1, "state": "up", "addresses": ["192.0.2.1/24"], "controls": ["control1"]}),
            json!({"name": "eth2", "id": 2, "state": "no-carrier", "addresses": [], "controls": []}),
        ],
        symbols: vec![
            json!({"control": "control1", "symbol": 1, "port": "eth1", "down_tunnel": 3, "virtual_address": null,
                   "state": "up", "reason": null}),
        ],
        rules: vec![
            json!({"relay": "relay1", "port": "eth1", "protocol": "tcp", "address": "0.0.0.0", "port_number": 80,
                   "remote": null, "control": "control1", "up_tunnel": 7, "state": "active", "reason": null}),
            json!({"relay": "relay1", "port": "eth1", "protocol": "udp", "address": "::", "port_number": 53,
                   "remote": null, "control": "control1", "up_tunnel": 8, "state": "refused",
                   "reason": "not-permitted: the relay does not permit this service to this control"}),
        ],
        tunnels: vec![
            json!({"direction": "up", "id": 7, "peer": "control1", "symbol": 1, "port": "eth1",
                   "protocol_address": "tcp 0.0.0.0:80", "packets": packets, "bytes": packets * 1_500}),
            json!({"direction": "down", "id": 3, "peer": "control1", "symbol": 1, "port": "eth1",
                   "protocol_address": null, "packets": 5, "bytes": 500}),
        ],
        translations: Vec::new(),
        counters: vec![
            json!({"name": "drop.unmatched", "value": at}),
            json!({"name": "drop.bad-seal", "value": 0}),
            json!({"name": "rx.data.frames", "value": 9}),
        ],
        at: Duration::from_secs(at),
    }
}

fn model(view: View) -> Model {
    let mut model = Model::new(&["/run/l2link/relay.sock".into()], view);
    model.take(0, relay(1));
    model.take(0, relay(2));
    model
}

/// The lines of a picture.
fn picture(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(model, true, frame.area(), frame.buffer_mut())).unwrap();
    let text = crate::text(terminal.backend().buffer());
    text.lines().map(str::to_owned).collect()
}

#[test]
fn topology() {
    let expected = [
        "l2top  relay relay1: up",
        "[1 Topology] 2 Peers  3 Symbols  4 Rules  5 Traffic  6 Drops",
        "relay1  relay  up",
        "├─ port eth1  up  192.0.2.1/24",
        "│  └─ control1  symbol 1  up  2 rules  ↑ 96.0 Mb/s  ↓ 0 b/s  rtt 85 µs",
        "└─ port eth2  no-carrier",
    ];
    let shown = picture(&mut model(View::Topology), 80, 24);
    assert_eq!(shown[..6], expected);
    assert_eq!((shown.len(), shown[23].as_str()), (24, KEYS));
}

#[test]
fn rules() {
    let shown = picture(&mut model(View::Rules), 80, 24);
    let expected = [
        "DAEMON▼ PORT PROTOCOL ADDRESS CONTROL  STATE    PKT/S TUNNEL REASON",
        "relay1  eth1 tcp 0.0.0.0:80   control1 active  8.00 k      7 -",
        "relay1  eth1 udp [::]:53      control1 refused      -      8 not-permitted: the…",
    ];
    assert_eq!(shown[2..5], expected);
}

#[test]
fn drops_are_those_that_happened() {
    let shown = picture(&mut model(View::Drops), 80, 24);
    let expected = ["DAEMON▼  DROPPED    PER SECOND  TOTAL", "relay1   unmatched         1.0      2"];
    assert_eq!(shown[2..4], expected);
    assert!(shown[4].is_empty(), "{shown:?}");
}

#[test]
fn sorting_is_by_any_column_and_from_either_end() {
    let mut model = model(View::Traffic);
    let first = |model: &mut Model| picture(model, 80, 24)[3].split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(first(&mut model), "down", "by the daemon, and then the direction");
    for _ in 0..5 {
        model.sort_by_next();
    }
    assert!(picture(&mut model, 80, 24)[2].contains("PKT/S▼"));
    assert_eq!(first(&mut model), "up", "the largest first");
    model.reverse();
    assert!(picture(&mut model, 80, 24)[2].contains("PKT/S▲"));
    assert_eq!(first(&mut model), "down");
    for _ in 5..columns(View::Traffic) {
        model.sort_by_next();
    }
    assert!(picture(&mut model, 80, 24)[2].starts_with("DAEMON▼"), "after the last comes the first");
}

#[test]
fn a_lost_daemon_is_told_and_what_was_known_stays() {
    let mut model = model(View::Peers);
    model.lose(0, "no daemon listens".to_owned());
    let shown = picture(&mut model, 80, 24);
    assert_eq!(shown[0], "l2top  relay relay1: no daemon listens");
    assert!(shown.iter().any(|line| line.contains("1 min 01 s")), "{shown:#?}");
    model.pause();
    assert_eq!(picture(&mut model, 80, 24)[0], "l2top  PAUSED  relay relay1: no daemon listens");
}

#[test]
fn of_several_one_that_is_lost_leaves_room_for_the_others() {
    let sockets = ["/run/r.sock".into(), "/run/nowhere.sock".into(), "/run/c.sock".into()];
    let mut model = Model::new(&sockets, View::Topology);
    model.take(0, relay(1));
    model.lose(1, "no daemon listens at /run/nowhere.sock: is l2relay or l2control running?".to_owned());
    let shown = picture(&mut model, 80, 24);
    assert_eq!(shown[0], "l2top  relay relay1: up  nowhere: no daemon listens at /run/nowhere.sock:…  c: …");
    let told = "nowhere  no daemon listens at /run/nowhere.sock: is l2relay or l2control runnin…";
    assert!(shown.iter().any(|line| line == told), "{shown:#?}");
    model.lose(2, "no permission".to_owned());
    assert_eq!(
        picture(&mut model, 80, 24)[0],
        "l2top  relay relay1: up  nowhere: no daemon listens a…  c: no permission"
    );
}

#[test]
fn a_picture_that_takes_no_keys_is_the_whole_view_and_no_more() {
    let mut model = model(View::Rules);
    let area = Rect::new(0, 0, 80, super::height(&model));
    let mut buffer = Buffer::empty(area);
    render(&mut model, false, area, &mut buffer);
    let shown = crate::text(&buffer);
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.trim_end().ends_with("not-permitted: the…") && !shown.contains("quit"), "{shown}");
}

#[test]
fn a_control_is_drawn_below_its_relay() {
    let control = |at: u64| Sample {
        peers: vec![json!({"name": "relay1", "role": "relay", "state": "up", "rtt_us": 1_200})],
        ports: vec![json!({"relay": "relay1", "name": "eth1", "state": "up", "addresses": ["192.0.2.1/24"]})],
        symbols: vec![
            json!({"name": "web", "kind": "address", "netns": null, "relay": "relay1", "port": "eth1", "state": "up"}),
            json!({"name": "eth1", "kind": "interface", "netns": "router", "relay": "relay2", "port": "eth1",
                   "state": "waiting", "reason": "relay relay2 has not been heard"}),
        ],
        rules: vec![json!({"relay": "relay1", "port": "eth1", "control": "control1"})],
        translations: vec![
            json!({"table": "receive", "relay": "relay1", "symbol": "web", "port": "eth1", "protocol_address": "tcp *:80",
                   "packets": at, "bytes": 1_000 * at}),
            json!({"table": "send", "relay": "relay1", "symbol": "web", "port": "eth1", "protocol_address": null,
                   "packets": at, "bytes": 2_000 * at}),
        ],
        at: Duration::from_secs(at),
        ..Sample::default()
    };
    let mut model = Model::new(&["/run/l2link/control.sock".into()], View::Topology);
    model.take(0, control(1));
    model.take(0, control(2));
    let expected = [
        "relay1  relay rtt 1.2 ms  up",
        "└─ port eth1  up  192.0.2.1/24",
        "   └─ control1  symbol web  up  1 rule  ↑ 8.00 kb/s  ↓ 16.0 kb/s",
        "relay2  relay  not heard",
        "└─ port eth1  unknown",
        "   └─ control1  symbol eth1 in router  waiting  0 rules  ↑ 0 b/s  ↓ 0 b/s  rela…",
    ];
    assert_eq!(picture(&mut model, 80, 24)[2..8], expected);
}

#[test]
fn of_both_ends_of_a_link_one_tells() {
    let mut model = Model::new(&["/run/r.sock".into(), "/run/c.sock".into()], View::Topology);
    model.take(0, relay(1));
    let control = Sample {
        symbols: vec![
            json!({"name": "eth1", "kind": "interface", "relay": "relay1", "port": "eth1", "state": "up"}),
        ],
        rules: vec![json!({"relay": "relay1", "port": "eth1", "control": "control1"})],
        ..Sample::default()
    };
    model.take(1, control);
    let shown = picture(&mut model, 80, 24);
    assert_eq!(shown[0], "l2top  relay relay1: up  control control1: up");
    assert_eq!(shown.iter().filter(|line| line.contains("control1  symbol")).count(), 1, "{shown:#?}");
}

#[rstest]
fn any_size_is_drawn_without_panic(
    #[values(View::Topology, View::Peers, View::Symbols, View::Rules, View::Traffic, View::Drops)] view: View,
    #[values((1, 1), (3, 3), (10, 2), (80, 4), (300, 100))] (width, height): (u16, u16),
) {
    let mut model = model(view);
    picture(&mut model, width, height);
    picture(&mut Model::new(&["/run/x.sock".into()], view), width, height);
    assert!(super::height(&model) >= 3);
}

#[test]
fn lines_fit_into_80_columns() {
    for view in View::ALL {
        for line in picture(&mut model(view), 80, 24) {
            assert!(line.chars().count() <= 80);
        }
    }
    assert!(KEYS.chars().count() <= 80);
}
