//! Figures for monitoring: what curl, promtool and Prometheus make of what both daemons hand out.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Nginx, Prometheus};
use netns_tests::{Daemon, Finished, Lab, Layout, SOON, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LISTEN: &str = "127.0.0.1:9401";
/// Where [`socat`](scraped) brings the control's socket to.
const BROUGHT: &str = "127.0.0.1:9402";

fn metrics_socket(daemon: &Daemon) -> PathBuf {
    daemon.folder().join("metrics.sock")
}

/// A lab whose daemons hand out figures: the relay at both places, the control at a socket.
fn lab() -> Option<Lab> {
    let lab = Lab::build(Layout { router: true, ..Layout::default() })?;
    let mut control = Control { routes: "enabled = true".into(), ..Control::default() };
    control.symbols[0].netns = Some(lab.programs().name().to_owned());
    let mut relay = Relay::default();
    relay.ports[0] = netns_tests::config::Port::routed("eth1");
    lab.relay.configure(&format!("{relay}\n[metrics]\nsocket = \"metrics.sock\"\nlisten = \"{LISTEN}\"\n"));
    lab.control.configure(&format!("{control}\n[metrics]\nsocket = \"metrics.sock\"\n"));
    Some(lab)
}

/// What curl gets from a daemon's socket.
fn curl(daemon: &Daemon, more: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail-with-body", "--max-time", "5", "--unix-socket"]).arg(metrics_socket(daemon));
    Finished::new(command.args(more).arg("http://localhost/metrics"))
}

fn figures(daemon: &Daemon) -> String {
    curl(daemon, &[]).expect_success()
}

/// The value of a series.
fn figure(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[track_caller]
fn await_figure(daemon: &Daemon, series: &str, right: impl Fn(f64) -> bool) {
    eventually(SOON, series, || {
        let text = curl(daemon, &[]).into_result()?;
        let value = figure(&text, series).ok_or_else(|| format!("not in\n{text}"))?;
        if right(value) { Ok(()) } else { Err(value.to_string()) }
    });
}

#[test]
fn figures_follow_what_happens() {
    let Some(mut lab) = lab() else { return };
    lab.start();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    for _ in 0..10 {
        lab.client.ok(&format!("curl -sSf --max-time 2 http://{PORT_V4}/"));
    }
    let _ = lab.client.run(&format!("curl -s --max-time 1 http://{PORT_V4}:81/"));
    lab.programs().ok(&format!("ip route add 203.0.113.0/24 via {CLIENT_V4} dev eth1"));
    // Refused, but a flow as any other.
    let _ = lab.programs().run(&format!("curl -s --max-time 1 http://{CLIENT_V4}:1/"));

    for daemon in [&lab.relay, &lab.control] {
        await_figure(daemon, "l2link_peers{state=\"up\"}", |up| up == 1.0);
        await_figure(daemon, "l2link_session_rtt_seconds_count", |count| count > 0.0);
        // One listener, and the rule for neighbors; the flow of a client that is gone already may count.
        await_figure(daemon, "l2link_rules{state=\"active\"}", |rules| rules >= 2.0);
        await_figure(daemon, "l2link_routes{state=\"installed\"}", |routes| routes == 1.0);
        await_figure(daemon, "l2link_busy_poll_seconds_total", |seconds| seconds > 0.0);
        await_figure(daemon, "l2link_link_frames_total{direction=\"rx\",kind=\"DATA\"}", |frames| {
            frames >= 10.0
        });
    }
    await_figure(&lab.relay, "l2link_drops_total{reason=\"unmatched\"}", |drops| drops >= 1.0);
    await_figure(&lab.relay, "l2link_port_up{port=\"eth1\"}", |up| up == 1.0);
    let passed = "l2link_punts_total{control=\"control1\",class=\"transport\",verdict=\"passed\"}";
    await_figure(&lab.relay, passed, |packets| packets >= 30.0);
    await_figure(&lab.relay, "l2link_route_batch_duration_seconds_count", |batches| batches >= 1.0);
    let of_symbol = |metric: &str, direction: &str| {
        let netns = lab.programs().name();
        format!("{metric}{{symbol=\"eth1\",netns=\"{netns}\",relay=\"relay1\",port=\"eth1\"{direction}}}")
    };
    await_figure(&lab.control, &of_symbol("l2link_symbol_up", ""), |up| up == 1.0);
    for direction in ["up", "down"] {
        let labels = format!(",direction=\"{direction}\"");
        await_figure(&lab.control, &of_symbol("l2link_symbol_parcels_total", &labels), |parcels| {
            parcels >= 30.0
        });
    }
    // nginx's listener was in force at once, and so was the route.
    await_figure(&lab.control, "l2link_rule_latency_seconds_count{origin=\"socket\"}", |count| count >= 1.0);
    await_figure(&lab.control, "l2link_rule_latency_seconds_count{origin=\"flow\"}", |count| count >= 1.0);
    await_figure(&lab.control, "l2link_route_latency_seconds_count", |count| count >= 1.0);
    await_figure(&lab.control, "l2link_look_duration_seconds_count{what=\"sockets\"}", |count| count >= 1.0);
    let text = figures(&lab.control);
    for slow in ["l2link_rule_latency_seconds_sum{origin=\"socket\"}", "l2link_route_latency_seconds_sum"] {
        assert!(figure(&text, slow).is_some_and(|sum| sum > 0.0 && sum < 1.0), "{slow}: {text}");
    }

    drop(nginx);
    lab.relay.kill_9();
    await_figure(&lab.control, "l2link_peers{state=\"down\"}", |down| down == 1.0);
    await_figure(&lab.control, "l2link_peer_up{peer=\"relay1\"}", |up| up == 0.0);
    await_figure(&lab.control, "l2link_symbols{state=\"down\"}", |down| down == 1.0);
}

#[test]
fn the_socket_is_for_root_and_goes_with_its_daemon() {
    let Some(mut lab) = lab() else { return };
    lab.start();
    let socket = metrics_socket(&lab.relay);
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
    // A daemon that was killed leaves its socket to the next one.
    lab.relay.kill_9();
    assert!(socket.exists());
    lab.relay.start();
    lab.await_symbol();
    await_figure(&lab.relay, "l2link_peers{state=\"up\"}", |up| up == 1.0);
    lab.relay.terminate();
    assert!(!socket.exists());
}

#[test]
fn a_client_that_does_not_read_holds_nothing_up() {
    let Some(mut lab) = lab() else { return };
    lab.start();
    // Clients that ask and never read, and clients that never ask.
    let idle: Vec<_> = (0..10)
        .map(|number| {
            let mut stream = std::os::unix::net::UnixStream::connect(metrics_socket(&lab.relay)).unwrap();
            if number % 2 == 0 {
                std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
            }
            stream
        })
        .collect();
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    lab.client.ok(&format!("curl -sSf --max-time 2 http://{PORT_V4}/"));
    await_figure(&lab.relay, "l2link_scrapes_total{result=\"cut-off\"}", |cut| cut == 5.0);
    drop(idle);
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    lab.relay.configure(&format!("{}\n[metrics]\nlisten = \"0.0.0.0:9401\"\n", Relay::default()));
    let refused = lab.relay.run(&["--check"]);
    assert_eq!(refused.code(), Some(2), "{refused}");
    assert!(refused.stderr().contains("0.0.0.0 is no address of the loopback"), "{refused}");
    lab.control.configure(&format!("{}\n[metrics]\nlisten = \"192.0.2.1:9401\"\n", Control::default()));
    let refused = lab.control.run(&["--check"]);
    assert!(refused.code() == Some(2) && refused.stderr().contains("without authentication"), "{refused}");
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let Some(mut lab) = lab() else { return };
    lab.start();
    lab.relay.await_rules(&[]);
    for daemon in [&lab.relay, &lab.control] {
        let text = curl(daemon, &["-H", "Accept: text/plain"]).expect_success();
        assert!(!text.contains("# EOF"), "{text}");
        let file = daemon.folder().join("figures");
        fs::write(&file, &text).unwrap();
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]).stdin(Stdio::from(fs::File::open(&file).unwrap()));
        let output = command.output().expect("promtool, of the Debian package prometheus");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

/// The queries of the dashboard, for any instance.
fn queries() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/grafana/l2link.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| target["expr"].as_str().unwrap().replace("$__rate_interval", "10s");
    targets.map(|target| query(target).replace("$device", ".*")).collect()
}

#[test]
fn prometheus_scrapes_both_daemons_and_answers_the_dashboards_queries() {
    let Some(mut lab) = lab() else { return };
    lab.start();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    let brought = metrics_socket(&lab.control);
    let _socat = lab.relay_ns.spawn(&format!(
        "socat TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:{}",
        BROUGHT.rsplit(':').next().unwrap(),
        brought.display()
    ));
    let prometheus = Prometheus::start(&lab.relay_ns, lab.folder(), &[LISTEN, BROUGHT]);

    eventually(SOON, "both are scraped", || {
        let up = prometheus.query("up")?;
        let good = up.iter().filter(|sample| sample["value"][1] == "1").count();
        if good == 2 { Ok(()) } else { Err(format!("{up:?}\n{}", prometheus.targets())) }
    });
    // As OpenMetrics: only there does a metric have a unit.
    let metadata = prometheus.metadata();
    assert_eq!(metadata["l2link_link_bytes"][0]["unit"], "bytes", "{metadata}");
    assert_eq!(metadata["l2link_drops"][0]["type"], "counter", "{metadata}");
    assert_eq!(metadata["l2link_rule_latency_seconds"][0]["type"], "histogram", "{metadata}");

    // Every sample that a daemon hands out has arrived.
    for (daemon, instance) in [(&lab.relay, LISTEN), (&lab.control, BROUGHT)] {
        let told: BTreeSet<String> = figures(daemon)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
            .collect();
        eventually(SOON, "every metric has arrived", || {
            let all = prometheus.query(&format!("count by (__name__) ({{instance=\"{instance}\"}})"))?;
            let stored: BTreeSet<String> = all
                .iter()
                .filter_map(|sample| sample["metric"]["__name__"].as_str().map(str::to_owned))
                .collect();
            let missing: Vec<_> = told.difference(&stored).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        });
    }

    // Traffic for the queries that look at rates.
    eventually(SOON, "requests are seen at both ends", || {
        lab.client.run(&format!("curl -sSf --max-time 2 http://{PORT_V4}/")).into_result()?;
        let rates =
            prometheus.query("sum by (instance) (rate(l2link_link_frames_total{kind=\"DATA\"}[10s])) > 0")?;
        if rates.len() == 2 { Ok(()) } else { Err(format!("{rates:?}")) }
    });
    let mut answered = BTreeMap::new();
    for query in queries() {
        let samples = prometheus.query(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        answered.insert(query, samples.len());
    }
    // What has not happened in this lab: drops, limits, changes of routes.
    let silent: Vec<&String> =
        answered.iter().filter(|(_, samples)| **samples == 0).map(|(query, _)| query).collect();
    let may_be_silent = |query: &str| {
        ["reason", "verdict=\"dropped\"", "route", "rule_latency"].iter().any(|word| query.contains(word))
    };
    assert!(silent.iter().all(|query| may_be_silent(query)), "{silent:#?}");
    assert!(answered.len() > 25, "{answered:?}");
    drop(nginx);
}

/// Contents of the code blocks of a language of `docs/book/src/reference/metrics.md`.
fn documented(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/book/src/reference/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn what_the_documentation_shows_works() {
    let Some(mut lab) = lab() else { return };
    let here = |lab: &Lab, text: &str| {
        let relay = metrics_socket(&lab.relay).display().to_string();
        let control = metrics_socket(&lab.control).display().to_string();
        let text = text.replace("/run/l2link/relay-metrics.sock", &relay);
        text.replace("/run/l2link/control-metrics.sock", &control)
    };
    let [section] = &documented("toml")[..] else { panic!("one configuration is shown") };
    lab.relay.configure(&format!("{}\n{}", Relay::default(), here(&lab, section)));
    lab.start();
    let mut socat = None;
    for line in documented("sh").iter().flat_map(|block| block.lines()) {
        let line = here(&lab, line);
        if line.starts_with("curl ") {
            let text = lab.relay_ns.ok(&line);
            assert!(text.ends_with("# EOF\n") && text.contains("role=\"relay\""), "{line}: {text}");
        } else {
            socat = Some(lab.relay_ns.spawn(&line));
            lab.relay_ns.await_listener("tcp", 9402);
        }
    }
    assert!(socat.is_some());
    let text = lab.relay_ns.ok(&format!("curl -sS http://{BROUGHT}/metrics"));
    assert!(text.contains("role=\"control\""), "{text}");
}
