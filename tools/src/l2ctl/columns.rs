//! The daemons' tables: which keys each has, in which order, and how their values read.

use clap::ValueEnum;
use serde_json::{Map, Value};
use std::fmt;

/// A table of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Object {
    /// The daemon itself
    Device,
    /// The devices heard on the segment
    Peers,
    /// The relay's ports
    Ports,
    /// What stands for ports on controls
    Symbols,
    /// Up and down tunnels with their traffic
    Tunnels,
    /// Addresses rewritten for address symbols, with their traffic
    Translations,
    /// Which packets go to which control
    Rules,
    /// The routes mirrored to the relay
    Routes,
    /// Frames by kind and drops by reason
    Counters,
    /// The file by which the daemon runs, and whether a reload has yet to be confirmed
    Configuration,
}

impl Object {
    /// Keys in the order in which columns stand. Keys that are not listed follow by name.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Device => &["name", "role", "version", "detection"],
            Self::Peers => &[
                "name",
                "role",
                "mac",
                "state",
                "session_age_ms",
                "rtt_us",
                "weight",
                "draining",
                "public_key",
            ],
            Self::Ports => {
                &["relay", "name", "id", "ifindex", "mac", "mtu", "state", "addresses", "controls"]
            }
            Self::Symbols => &[
                "control",
                "symbol",
                "name",
                "kind",
                "netns",
                "relay",
                "port",
                "state",
                "reason",
                "mac",
                "mtu",
                "addresses",
                "down_tunnel",
            ],
            Self::Tunnels => &[
                "direction",
                "id",
                "peer",
                "symbol",
                "kind",
                "netns",
                "port",
                "protocol_address",
                "owners",
                "packets",
                "bytes",
            ],
            Self::Translations => &[
                "table",
                "relay",
                "control",
                "symbol",
                "port",
                "protocol_address",
                "from",
                "to",
                "packets",
                "bytes",
            ],
            Self::Rules => &[
                "relay",
                "port",
                "protocol",
                "address",
                "port_number",
                "remote",
                "control",
                "up_tunnel",
                "state",
                "static",
                "reason",
            ],
            Self::Routes => &[
                "prefix", "kind", "nexthops", "metric", "table", "protocol", "netns", "control", "relay",
                "state", "static", "reason",
            ],
            Self::Counters => &["name", "value"],
            Self::Configuration => &["file", "age_ms", "state", "reverts_in_ms"],
        }
    }

    /// Its name on the command line and in requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Peers => "peers",
            Self::Ports => "ports",
            Self::Symbols => "symbols",
            Self::Tunnels => "tunnels",
            Self::Translations => "translations",
            Self::Rules => "rules",
            Self::Routes => "routes",
            Self::Counters => "counters",
            Self::Configuration => "configuration",
        }
    }
}

/// By what a row of a table is the same one in two looks: what its key is made of, and no state or figure.
pub(crate) fn identity(object: Object, row: &Value) -> String {
    let changes = |key: &str| {
        let figure = key.ends_with("_ms") || key.ends_with("_us");
        figure
            || matches!(
                key,
                "value" | "packets" | "bytes" | "state" | "reason" | "weight" | "draining" | "version"
            )
    };
    let is_key = |key: &str| match object {
        // The rest is what they are like at the moment.
        Object::Peers | Object::Ports | Object::Symbols => {
            matches!(key, "name" | "role" | "relay" | "control" | "symbol" | "kind" | "netns" | "port")
        }
        Object::Routes => matches!(key, "prefix" | "table" | "metric" | "netns" | "control" | "protocol"),
        Object::Tunnels => matches!(key, "direction" | "id" | "peer" | "symbol" | "kind" | "netns"),
        Object::Device | Object::Translations | Object::Rules | Object::Counters | Object::Configuration => {
            !changes(key)
        }
    };
    let fields = row.as_object().into_iter().flatten();
    fields.filter(|(key, _)| is_key(key)).map(|(key, value)| format!("{key}={value} ")).collect()
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The keys that rows have, the documented ones first.
pub(crate) fn keys_of<'a>(documented: &'static [&'static str], rows: &'a [Value]) -> Vec<&'a str> {
    let has = |key: &str| rows.iter().any(|row| row.get(key).is_some_and(|value| !value.is_null()));
    let mut keys: Vec<&str> = documented.iter().copied().filter(|key| has(key)).collect();
    for row in rows.iter().filter_map(Value::as_object) {
        for key in row.keys() {
            if !keys.contains(&key.as_str()) && has(key) {
                keys.push(key);
            }
        }
    }
    keys
}

/// A column's heading: the key without its unit.
pub(crate) fn heading(key: &str) -> String {
    let name = key.strip_suffix("_ms").or_else(|| key.strip_suffix("_us")).unwrap_or(key);
    name.replace('_', " ").to_uppercase()
}

/// A value as a human reads it, with its unit.
pub(crate) fn cell(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) if key == "owners" => owners(items),
        Value::Array(items) => items.iter().map(|item| cell(key, item)).collect::<Vec<_>>().join(" "),
        Value::Number(number) => match number.as_f64() {
            Some(value) if key.ends_with("_ms") => duration(value * 1e3),
            Some(value) if key.ends_with("_us") => duration(value),
            Some(value) if key == "bytes" => bytes(value),
            _ => named(key, number.as_u64()).map_or_else(|| number.to_string(), str::to_owned),
        },
        Value::Object(fields) => nexthop(fields).unwrap_or_else(|| value.to_string()),
    }
}

/// The name that `ip route` gives a number, where it is the same everywhere (rt_tables, rt_protos of iproute2).
fn named(key: &str, number: Option<u64>) -> Option<&'static str> {
    let names: &[(u64, &str)] = match key {
        "table" => &[(253, "default"), (254, "main"), (255, "local")],
        "protocol" => &[
            (2, "kernel"),
            (3, "boot"),
            (4, "static"),
            (9, "ra"),
            (11, "zebra"),
            (12, "bird"),
            (16, "dhcp"),
            (42, "babel"),
            (186, "bgp"),
            (187, "isis"),
            (188, "ospf"),
            (189, "rip"),
            (192, "eigrp"),
            (193, "openr"),
        ],
        _ => return None,
    };
    names.iter().find(|(known, _)| Some(*known) == number).map(|(_, name)| *name)
}

/// Programs, each with its processes: `nginx(17,18) ospfd(20)`. Of many processes the first stand for all.
fn owners(items: &[Value]) -> String {
    const SHOWN: usize = 4;
    let mut programs: Vec<(&str, Vec<u64>)> = Vec::new();
    for item in items {
        let program = item["program"].as_str().unwrap_or("-");
        let place = programs.iter().position(|(other, _)| *other == program).unwrap_or(programs.len());
        if place == programs.len() {
            programs.push((program, Vec::new()));
        }
        programs[place].1.extend(item["pid"].as_u64());
    }
    let text = |(program, pids): &(&str, Vec<u64>)| {
        let mut shown: Vec<String> = pids.iter().take(SHOWN).map(u64::to_string).collect();
        if pids.len() > SHOWN {
            shown.push(format!("+{}", pids.len() - SHOWN));
        }
        if shown.is_empty() { (*program).to_owned() } else { format!("{program}({})", shown.join(",")) }
    };
    programs.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// A nexthop as `ip route` writes it, the relay if it is at another one, its weight if it is not the usual one.
fn nexthop(fields: &Map<String, Value>) -> Option<String> {
    let interface = fields.get("port").or_else(|| fields.get("symbol"))?.as_str()?;
    let gateway = fields.get("gateway").and_then(Value::as_str);
    let via = gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
    let relay = fields.get("relay").and_then(Value::as_str);
    let relay = relay.map_or(String::new(), |relay| format!(" at {relay}"));
    let weight = fields.get("weight").and_then(Value::as_u64).filter(|weight| *weight > 1);
    Some(format!(
        "{via}dev {interface}{relay}{}",
        weight.map_or(String::new(), |weight| format!(" weight {weight}"))
    ))
}

/// Whether a column of this key is read from the right.
pub(crate) fn is_quantity(key: &str, value: &Value) -> bool {
    value.is_number() && !matches!(key, "port_number" | "table" | "protocol")
}

fn duration(us: f64) -> String {
    const S: f64 = 1e6;
    match us {
        ..1e3 => format!("{us:.0} µs"),
        ..1e4 => format!("{:.1} ms", us / 1e3),
        ..S => format!("{:.0} ms", us / 1e3),
        ..6e7 => format!("{:.1} s", us / S),
        ..3.6e9 => format!("{:.0} min {:02.0} s", (us / 6e7).floor(), (us / S).floor() % 60.0),
        ..8.64e10 => format!("{:.0} h {:02.0} min", (us / 3.6e9).floor(), (us / 6e7).floor() % 60.0),
        _ => format!("{:.0} d {:02.0} h", (us / 8.64e10).floor(), (us / 3.6e9).floor() % 24.0),
    }
}

fn bytes(value: f64) -> String {
    match value {
        ..1e3 => format!("{value:.0} B"),
        ..1e6 => format!("{:.1} kB", value / 1e3),
        ..1e9 => format!("{:.1} MB", value / 1e6),
        ..1e12 => format!("{:.1} GB", value / 1e9),
        _ => format!("{:.1} TB", value / 1e12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("rtt_us", json!(85), "85 µs")]
    #[case("rtt_us", json!(1_250), "1.2 ms")]
    #[case("session_age_ms", json!(30), "30 ms")]
    #[case("session_age_ms", json!(1_200), "1.2 s")]
    #[case("session_age_ms", json!(61_000), "1 min 01 s")]
    #[case("session_age_ms", json!(3_725_000), "1 h 02 min")]
    #[case("session_age_ms", json!(90_000_000), "1 d 01 h")]
    #[case("bytes", json!(999), "999 B")]
    #[case("bytes", json!(1_500_000), "1.5 MB")]
    #[case("mtu", json!(1500), "1500")]
    #[case("table", json!(254), "main")]
    #[case("table", json!(100), "100")]
    #[case("protocol", json!(188), "ospf")]
    #[case("protocol", json!("tcp"), "tcp")]
    #[case("rtt_us", json!(null), "-")]
    #[case("addresses", json!(["192.0.2.1/24", "2001:db8::1/64"]), "192.0.2.1/24 2001:db8::1/64")]
    #[case("addresses", json!([]), "-")]
    #[case("nexthops", json!([{"port": "eth1", "gateway": "192.0.2.2", "weight": 1}]), "via 192.0.2.2 dev eth1")]
    #[case("nexthops", json!([{"symbol": "eth1", "gateway": null, "weight": 3}]), "dev eth1 weight 3")]
    #[case("owners", json!([{"pid": 7, "program": "nginx"}, {"pid": 9, "program": "bgpd"}, {"pid": 8, "program": "nginx"}]), "nginx(7,8) bgpd(9)")]
    #[case("owners", json!([1, 2, 3, 4, 5, 6].map(|pid| json!({"pid": pid, "program": "httpd"}))), "httpd(1,2,3,4,+2)")]
    #[case("owners", json!([{"pid": null, "program": "unknown"}]), "unknown")]
    #[case("owners", json!([]), "-")]
    fn values_have_units(#[case] key: &str, #[case] value: Value, #[case] expected: &str) {
        assert_eq!(cell(key, &value), expected);
    }

    #[test]
    fn documented_keys_come_first_and_unknown_ones_are_shown() {
        let rows = [json!({"zeal": 1, "state": "up", "name": "relay1", "rtt_us": null})];
        assert_eq!(keys_of(Object::Peers.keys(), &rows), ["name", "state", "zeal"]);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for object in Object::value_variants() {
            assert_eq!(object.to_possible_value().unwrap().get_name(), object.name());
        }
    }
}
