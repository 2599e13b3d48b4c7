//! What is written about metrics is what the daemons have: the table of the documentation, and the dashboard.

use l2link_os::metrics::{Family, Kind, Metric, Owner};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn row(metric: Metric) -> String {
    let Family { name, kind, labels, owner, help, .. } = metric.family();
    let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    let owner = match owner {
        Owner::Both => "both",
        Owner::Relay => "relay",
        Owner::Control => "control",
    };
    format!("| `{name}` | {} | {} | {owner} | {help} |", kind.name(), labels.join(", "))
}

#[test]
fn the_table_is_the_list() {
    let text = read("docs/book/src/reference/metrics.md");
    let shown: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `l2link_") || line.starts_with("| `process_"))
        .collect();
    let expected: Vec<String> = Metric::ALL.iter().map(|metric| row(*metric)).collect();
    assert_eq!(shown, expected, "the table should be:\n{}", expected.join("\n"));
}

/// Names of the series of every metric, as queries use them.
fn series() -> BTreeSet<String> {
    let names = Metric::ALL.iter().flat_map(|metric| {
        let Family { name, kind, .. } = metric.family();
        let suffixes: &[&str] = match kind {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Info => &["_info"],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    names.collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("tools/grafana/l2link.json")).expect("the dashboard is JSON")
}

/// All queries of the dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let targets =
        dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    targets
        .flatten()
        .map(|target| target["expr"].as_str().expect("a target has a query").to_owned())
        .collect()
}

/// The words of a query that can be names of series.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("l2link_") || word.starts_with("process_"))
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let (dashboard, series) = (dashboard(), series());
    let queries = queries(&dashboard);
    let mut used = BTreeSet::new();
    for query in &queries {
        assert!(names(query).next().is_some(), "{query}");
        for name in names(query) {
            assert!(series.contains(name), "there is no {name}: {query}");
            used.insert(name.to_owned());
        }
    }
    assert!(used.len() > 20, "{used:?}");
}

/// The dashboard's JSON model (Grafana's documentation, "Dashboard JSON model"), as far as an import needs it.
#[test]
fn the_dashboard_has_the_form_that_grafana_imports() {
    let dashboard = dashboard();
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
    assert!(dashboard["id"].is_null(), "another installation numbers it by itself");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38, "Grafana 10");
    let input = &dashboard["__inputs"][0];
    assert_eq!(
        (input["type"].as_str(), input["pluginId"].as_str()),
        (Some("datasource"), Some("prometheus"))
    );
    let source = format!("${{{}}}", input["name"].as_str().unwrap());
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id of its own");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is within the 24 columns");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{title} lies over another panel");
            }
        }
        let kind = panel["type"].as_str().unwrap();
        assert!(["timeseries", "stat", "row", "table", "heatmap"].contains(&kind), "{title}: {kind}");
        if kind == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"].as_str(), Some(source.as_str()), "{title}");
        let mut letters = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"].as_str(), Some(source.as_str()), "{title}");
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}: two of one letter");
        }
        assert!(!letters.is_empty(), "{title}");
    }
}

/// Prometheus itself reads every query.
#[test]
fn the_dashboards_queries_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    let query = |query: String| query.replace("$__rate_interval", "1m").replace("$device", ".*");
    let list: Vec<Value> = queries(&dashboard())
        .into_iter()
        .zip(1..)
        .map(|(expr, number)| serde_json::json!({"record": format!("q:{number}"), "expr": query(expr)}))
        .collect();
    let count = list.len();
    // JSON is YAML.
    let text = serde_json::json!({"groups": [{"name": "dashboard", "rules": list}]}).to_string();
    fs::write(&rules, text).unwrap();
    let Ok(output) = Command::new("promtool").args(["check", "rules"]).arg(&rules).output() else {
        let message =
            "SKIPPED the_dashboards_queries_are_right: promtool is missing (Debian package prometheus)\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
        return;
    };
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(&format!("{count} rules found")), "{said}");
}
