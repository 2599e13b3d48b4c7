//! Events as lines.

use crate::columns::{Object, cell, keys_of};
use serde_json::Value;
use std::io::{self, Write};

/// Prints one event: when (since the start of the daemon), what, and the keys of the object that it happened to.
pub(crate) fn print(out: &mut impl Write, event: &Value) -> io::Result<()> {
    let name = event["event"].as_str().unwrap_or("event");
    let seconds = event["time_us"].as_f64().unwrap_or(0.0) / 1e6;
    write!(out, "{seconds:12.6} s  {name:<14}")?;
    for key in keys_of(order(name), std::slice::from_ref(event)) {
        if !matches!(key, "event" | "time_us") {
            write!(out, "  {key}={}", cell(key, &event[key]))?;
        }
    }
    writeln!(out)
}

fn order(event: &str) -> &'static [&'static str] {
    match event.split('-').next() {
        Some("peer") => Object::Peers.keys(),
        Some("symbol") => Object::Symbols.keys(),
        Some("rule") => Object::Rules.keys(),
        Some("port") => Object::Ports.keys(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_time_name_and_keys_in_order() {
        let event = json!({"event": "rule-added", "time_us": 1_234_567, "protocol": "tcp", "port": "eth1",
            "port_number": 80, "remote": null});
        let mut out = Vec::new();
        print(&mut out, &event).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "    1.234567 s  rule-added      port=eth1  protocol=tcp  port_number=80\n"
        );
    }
}
