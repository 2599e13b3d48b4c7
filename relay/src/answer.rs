//! Answers to requests at the command socket.

use l2link::Time;
use l2link_os::api::{Verb, failure, success};
use relay_core::{Event, Relay};
use serde::Serialize;
use serde_json::{Value, json};

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked {
    /// This answer.
    Answer(Value),
    /// Events, from now on.
    Monitor,
    /// What a verification finds, when it has ended.
    Verify,
    /// What would become of something, for which the kernel is asked.
    Trace,
}

/// Looks the answer up.
pub(crate) fn answer(request: &Value, relay: &Relay, now: Time) -> Asked {
    let word = |key: &str| request.get(key).and_then(Value::as_str);
    Asked::Answer(match (Verb::of(request), word("object")) {
        (Some(Verb::Monitor), _) => return Asked::Monitor,
        (Some(Verb::Verify), _) => return Asked::Verify,
        (Some(Verb::Trace), _) => return Asked::Trace,
        (Some(Verb::Show), Some(object)) => match object {
            "device" => rows(&[relay.show_device()]),
            "peers" => rows(&relay.show_peers(now)),
            "ports" => rows(&relay.show_ports()),
            "symbols" => rows(&relay.show_symbols()),
            "tunnels" => rows(&relay.show_tunnels()),
            "rules" => rows(&relay.show_rules()),
            "translations" => rows(&relay.show_translations()),
            "counters" => rows(&relay.show_counters()),
            "routes" => routes(relay, word("after")),
            other => failure(format!("there is no object {other:?}; there are {OBJECTS}")),
        },
        (Some(Verb::Show), None) => failure(format!("show needs an \"object\": {OBJECTS}")),
        // The others were served before.
        (
            Some(
                Verb::Capture
                | Verb::Rule
                | Verb::Symbol
                | Verb::Route
                | Verb::Peer
                | Verb::Reload
                | Verb::Confirm,
            )
            | None,
            _,
        ) => match word("verb") {
            Some(verb) => failure(format!(
                "l2relay does not know the verb {verb:?}; it knows show, monitor, verify, trace, capture, route, peer, reload and confirm"
            )),
            None => failure("a request needs a \"verb\": show or monitor"),
        },
    })
}

/// An event as monitors get it.
pub(crate) fn event(event: &Event, now: Time) -> Value {
    let mut value = json!(event);
    value["time_us"] = json!(now.0);
    value
}

/// A page of routes. `next` names the place where it ends, for `after` of the next request; without it that was all.
fn routes(relay: &Relay, after: Option<&str>) -> Value {
    let (page, next) = relay.show_routes(after);
    let mut answer = rows(&page);
    if let Some(next) = next {
        answer["next"] = json!(next);
    }
    answer
}

fn rows<T: Serialize>(rows: &[T]) -> Value {
    success(rows.iter().map(|row| json!(row)).collect::<Vec<_>>())
}

const OBJECTS: &str =
    "device, peers, ports, symbols, tunnels, translations, rules, routes, counters, configuration";

#[cfg(test)]
mod tests {
    use super::*;
    use frames::discovery::{Protection, Role};
    use frames::{BootId, Mac};
    use l2link::{Config, Link, Security};
    use relay_core::police::Limits;
    use relay_core::{RelayConfig, show::CounterRow};
    use rstest::rstest;

    #[rstest]
    fn every_object_is_an_array(
        #[values(
            "device",
            "peers",
            "ports",
            "symbols",
            "tunnels",
            "translations",
            "rules",
            "routes",
            "counters"
        )]
        object: &str,
    ) {
        let answered = ask(&json!({"verb": "show", "object": object}));
        assert_eq!(answered["ok"], true);
        assert!(answered["data"].is_array(), "{answered}");
    }

    #[rstest]
    #[case(json!({"verb": "show", "object": "colors"}), "there is no object \"colors\"; there are device")]
    #[case(json!({"verb": "show"}), "show needs an \"object\": device")]
    #[case(json!({"verb": "dance"}), "l2relay does not know the verb \"dance\"")]
    #[case(json!({"verb": 7}), "a request needs a \"verb\"")]
    #[case(json!([]), "a request needs a \"verb\"")]
    fn anything_else_is_told_what_there_is(#[case] request: Value, #[case] expected: &str) {
        let answered = ask(&request);
        assert_eq!(answered["ok"], false);
        assert!(answered["error"].as_str().unwrap().starts_with(expected), "{answered}");
    }

    #[test]
    fn an_event_has_name_time_and_keys() {
        let told = Event::Notice { control: "control1".into(), status: "conflict".into(), text: "t".into() };
        let expected = json!({"event": "notice", "time_us": 5, "control": "control1", "status": "conflict", "text": "t"});
        assert_eq!(event(&told, Time(5)), expected);
        let row = CounterRow { name: "drop.unmatched".into(), value: 3 };
        assert_eq!(rows(&[row])["data"][0], json!({"name": "drop.unmatched", "value": 3}));
    }

    fn ask(request: &Value) -> Value {
        match answer(request, &relay(), Time(0)) {
            Asked::Answer(answer) => answer,
            Asked::Monitor | Asked::Verify | Asked::Trace => panic!("not asked for"),
        }
    }

    fn relay() -> Relay {
        let config = Config {
            name: "relay1".into(),
            role: Role::Relay,
            boot: BootId(1),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            ethertype: 0x88b5,
            mtu: 1500,
            security: Security::None,
            control: Protection::CLEAR,
            data: Protection::CLEAR,
            keepalive: Config::KEEPALIVE,
            missed: Config::MISSED,
        };
        let relay = RelayConfig {
            fib: relay_core::FibConfig::default(),
            name: "relay1".into(),
            ethertype: 0x88b5,
            ports: Vec::new(),
            limits: Limits::default(),
        };
        Relay::new(relay, Link::new(config, [7; 32], Time(0)), None)
    }
}
