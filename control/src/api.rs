//! What the command socket is asked, and the answers.

use crate::namespaces::Namespace;
use control_core::seen::NumberedSocket;
use control_core::{Control, HeldSocket, Recorded};
use l2link::Time;
use l2link::trace_text::TraceText;
use l2link_os::api::{ApiServer, Request, Verb, failure, hop_rows, hops, success};
use serde::Serialize;
use serde_json::{Value, json};

/// Answers one request. Returns whether the answer is that of the verification that was begun, and comes with its end.
/// `sockets`: what [`needs_sockets`] says is needed. `namespaces`: those that are open, by their numbers. `detection`: what tells of
/// new sockets.
pub(crate) fn answer(
    server: &mut ApiServer,
    request: &Request,
    control: &mut Recorded,
    sockets: &[NumberedSocket],
    namespaces: &[Namespace],
    detection: &'static str,
    now: Time,
) -> bool {
    let word = |key: &str| request.json.get(key).and_then(Value::as_str);
    let answer = match request.verb() {
        Some(Verb::Show) if word("object") == Some("device") => rows(&[control.show_device(detection)]),
        Some(Verb::Show) => show(control, word("object").unwrap_or_default(), word("after"), sockets, now),
        Some(Verb::Monitor) => {
            server.monitor(request.client);
            return false;
        }
        Some(Verb::Trace) if request.json["sockets"].is_array() => {
            trace_held(control, &request.json["sockets"], sockets, namespaces)
        }
        Some(Verb::Trace) => trace(control, word("what"), sockets),
        Some(Verb::Verify) => {
            control.verify(now);
            return true;
        }
        // The others were served before.
        Some(
            Verb::Capture
            | Verb::Rule
            | Verb::Symbol
            | Verb::Route
            | Verb::Peer
            | Verb::Reload
            | Verb::Confirm,
        )
        | None => match word("verb") {
            Some(verb) => failure(format!(
                "unknown verb {verb:?}: l2control knows show, monitor, verify, trace, capture, rule, symbol, route, peer, reload and confirm"
            )),
            None => failure("a request needs a \"verb\""),
        },
    };
    server.answer(request.client, &answer);
    false
}

/// Whether the answer tells of sockets, which are looked at for nothing else.
pub(crate) fn needs_sockets(request: &Request) -> bool {
    match request.verb() {
        Some(Verb::Show) => request.json["object"] == "tunnels",
        Some(Verb::Trace) => true,
        Some(_) | None => false,
    }
}

fn show(
    control: &Control,
    object: &str,
    after: Option<&str>,
    sockets: &[NumberedSocket],
    now: Time,
) -> Value {
    match object {
        "peers" => rows(&control.show_peers(now)),
        "ports" => rows(&control.show_ports()),
        "symbols" => rows(&control.show_symbols()),
        "tunnels" => rows(&control.show_tunnels(sockets)),
        "translations" => rows(&control.show_translations()),
        "rules" => rows(&control.show_rules()),
        "counters" => rows(&control.show_counters()),
        "routes" => routes(control, after),
        other => failure(format!(
            "unknown object {other:?}: there are device, peers, ports, symbols, tunnels, translations, rules, counters, routes, configuration"
        )),
    }
}

fn trace(control: &Control, what: Option<&str>, sockets: &[NumberedSocket]) -> Value {
    let Some(what) = what else { return failure("trace needs a \"what\": a socket or a prefix") };
    let what = what.parse::<TraceText>().map_err(|error| error.to_string());
    what.and_then(|what| control.trace(&what, sockets)).map_or_else(failure, |found| hops(&found))
}

/// What comes of each of these sockets of processes, `{"inode", "namespace"}`: both by their numbers.
fn trace_held(
    control: &Control,
    held: &Value,
    sockets: &[NumberedSocket],
    namespaces: &[Namespace],
) -> Value {
    let number = |row: &Value, key: &str| row[key].as_u64();
    let rows = held.as_array().into_iter().flatten().map(|row| {
        let inode = number(row, "inode").and_then(|inode| u32::try_from(inode).ok())?;
        let of_row = number(row, "namespace")?;
        let place = namespaces.iter().find(|place| place.inode() == Some(of_row));
        let held = HeldSocket { inode, namespace: place.map(|place| place.id) };
        Some(json!({"inode": inode, "hops": hop_rows(&control.trace_held(&held, sockets))}))
    });
    match rows.collect::<Option<Vec<Value>>>() {
        Some(rows) => success(rows),
        None => failure("each of the \"sockets\" needs an \"inode\" and a \"namespace\", both numbers"),
    }
}

/// A page of routes. `next` names the place where it ends, for `after` of the next request; without it that was all.
fn routes(control: &Control, after: Option<&str>) -> Value {
    let (page, next) = control.show_routes(after);
    let mut answer = rows(&page);
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    answer
}

fn rows<T: Serialize>(rows: &[T]) -> Value {
    match serde_json::to_value(rows) {
        Ok(rows) => success(rows),
        Err(error) => failure(error),
    }
}
