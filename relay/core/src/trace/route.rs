//! Routes that controls want, and those that the kernel takes.

use super::{Question, Trace};
use crate::fib::{RouteNexthopRow, RouteRow};
use crate::relay::Relay;
use frames::route::{Prefix, RouteKey};
use l2link::trace::Outcome::{Dropped, InForce, Kept, Refused, Waits};
use l2link::trace::Stage::{Kernel, Route};
use l2link::trace::{Hop, Outcome};

/// Where the kernel sends a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelWay {
    /// `unicast`, `local`, … as `ip route` says.
    pub kind: &'static str,
    /// The route that matches, if it says so.
    pub route: Option<RouteKey>,
    /// Whether that one has the project's mark.
    pub is_ours: bool,
    /// The neighbor; none if the destination itself is one.
    pub gateway: Option<core::net::IpAddr>,
    /// The interface.
    pub interface: Option<String>,
}

impl Relay {
    /// The routes that cover a prefix; of one address the kernel is to be asked besides.
    pub(super) fn trace_prefix(&self, prefix: &Prefix) -> Trace {
        let rows = self.fib.rows_to(*prefix, &self.config.name, &self.ports);
        let mut hops: Vec<Hop> = rows.iter().map(hop).collect();
        if hops.is_empty() {
            hops.push(Hop::new(Route, Outcome::None, format!("no control has a route that covers {prefix}")));
        }
        let whole = prefix.length() == if prefix.address().is_ipv4() { 32 } else { 128 };
        let question =
            Question { source: None, destination: prefix.address(), arrives: None, transport: None };
        Trace { hops, way: whole.then_some(question) }
    }

    /// The last step: what the kernel said.
    #[must_use]
    pub fn trace_way(&self, question: &Question, answer: Result<KernelWay, String>) -> Vec<Hop> {
        let destination = question.destination;
        let way = match answer {
            Ok(way) => way,
            Err(error) => {
                let text = format!("the relay's kernel has no way to {destination}: {error}");
                return vec![Hop::new(Kernel, Dropped, text)];
            }
        };
        let via = way.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
        let dev = way.interface.map_or(String::new(), |interface| format!(" dev {interface}"));
        let by = way.route.map_or(String::new(), |route| format!(", by {route}"));
        let outcome =
            if matches!(way.kind, "blackhole" | "unreachable" | "prohibit") { Dropped } else { Kept };
        let mine = way.route.filter(|_| way.is_ours).map(|key| {
            let rows = self.fib.rows_to(key.prefix, &self.config.name, &self.ports);
            let is_it = |row: &&RouteRow| {
                row.prefix == key.prefix.to_string()
                    && (row.table, row.metric) == (key.table, key.metric)
                    && row.state != "refused"
            };
            rows.iter().find(is_it).map(hop)
        });
        let text = format!("the relay's kernel: {} {destination}{via}{dev}{by}", way.kind);
        mine.flatten().into_iter().chain([Hop::new(Kernel, outcome, text)]).collect()
    }
}

fn hop(row: &RouteRow) -> Hop {
    let outcome = match row.state {
        "installed" | "stale" | "orphan" => InForce,
        "refused" => Refused,
        _ => Waits,
    };
    let nexthops: Vec<String> = row.nexthops.iter().map(nexthop).collect();
    let of = match &row.control {
        Some(control) => format!("of {control}"),
        None if row.r#static => "by hand".to_owned(),
        None => "of nobody that is there".to_owned(),
    };
    let reason = row.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let RouteRow { prefix, metric, table, kind, state, .. } = row;
    let text = format!(
        "{kind} {prefix} metric {metric} table {table} {of}{} is {state}{reason}",
        if nexthops.is_empty() { String::new() } else { format!(", {}", nexthops.join(", ")) }
    );
    let hop = Hop::new(Route, outcome, text);
    match &row.control {
        Some(control) => hop.about(&**control),
        None => hop,
    }
}

fn nexthop(hop: &RouteNexthopRow) -> String {
    let via = hop.gateway.as_ref().map_or(String::new(), |gateway| format!("via {gateway} "));
    let relay = hop.relay.as_ref().map_or(String::new(), |relay| format!(" at {relay}"));
    format!("{via}dev {}{relay} weight {}", hop.port, hop.weight)
}
