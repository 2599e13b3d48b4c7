//! What the command socket is asked, and the answers.

use control_core::Control;
use l2link::Time;
use l2link_os::api::{ApiServer, Request, failure, success};
use serde::Serialize;
use serde_json::Value;

/// Answers one request.
pub(crate) fn answer(server: &mut ApiServer, request: &Request, control: &mut Control, now: Time) {
    let word = |key: &str| request.json.get(key).and_then(Value::as_str);
    let answer = match word("verb") {
        Some("show") => show(control, word("object").unwrap_or_default(), now),
        Some("monitor") => {
            server.monitor(request.client);
            return;
        }
        Some(verb) => failure(format!("unknown verb {verb:?}: this daemon knows show and monitor")),
        None => failure("a request needs a \"verb\""),
    };
    server.answer(request.client, &answer);
}

fn show(control: &Control, object: &str, now: Time) -> Value {
    match object {
        "peers" => rows(&control.show_peers(now)),
        "ports" => rows(&control.show_ports()),
        "symbols" => rows(&control.show_symbols()),
        "tunnels" => rows(&control.show_tunnels()),
        "rules" => rows(&control.show_rules()),
        "counters" => rows(&control.show_counters()),
        "routes" => rows::<()>(&[]),
        other => failure(format!(
            "unknown object {other:?}: there are peers, ports, symbols, tunnels, rules, counters, routes"
        )),
    }
}

fn rows<T: Serialize>(rows: &[T]) -> Value {
    match serde_json::to_value(rows) {
        Ok(rows) => success(rows),
        Err(error) => failure(error),
    }
}
