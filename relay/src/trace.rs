//! What would become of a packet: the core's steps, and the kernel's own.

use l2link::Time;
use l2link::trace_text::TraceText;
use l2link_os::api::{failure, hops};
use l2link_os::routes::{PROTOCOL, Way, Wayfarer, look_up};
use l2link_os::{IfIndex, NetNs};
use relay_core::{KernelWay, Question, Relay};
use serde_json::Value;

/// Answers a request for a trace.
pub(crate) fn answer(request: &Value, relay: &Relay, netns: &NetNs, now: Time) -> Value {
    if request.get("sockets").is_some() {
        return failure("programs and their sockets are a control's matter: ask l2control, where they run");
    }
    let Some(what) = request.get("what").and_then(Value::as_str) else {
        return failure("trace needs a \"what\": a packet or a prefix");
    };
    let trace = what.parse::<TraceText>().map_err(|error| error.to_string());
    match trace.and_then(|what| relay.trace(&what, now)) {
        Ok(mut trace) => {
            if let Some(question) = trace.way {
                let way = ask(netns, &question);
                trace.hops.extend(relay.trace_way(&question, way));
            }
            hops(&trace.hops)
        }
        Err(error) => failure(error),
    }
}

fn ask(netns: &NetNs, question: &Question) -> Result<KernelWay, String> {
    let Question { source, destination, arrives, transport } = *question;
    let packet = Wayfarer { source, destination, arrives: arrives.map(IfIndex), transport };
    let Way { kind, route, protocol, gateway, interface } =
        look_up(netns, &packet).map_err(|error| error.to_string())?;
    Ok(KernelWay { kind, route, is_ours: protocol == PROTOCOL, gateway, interface })
}
