//! The figures of the relay, under their names.

use l2link::{Histogram, Time};
use l2link_os::metrics::{Daemon, Exposition, Metric, Owner, add_daemon};
use relay_core::{Metrics, Relay};

/// Puts together what the core and the shell know.
pub(crate) fn collect(name: &str, relay: &Relay, route_batches: &Histogram, now: Time) -> Exposition {
    let metrics = relay.metrics();
    let mut exposition = Exposition::new(Owner::Relay);
    let daemon = Daemon { name, role: "relay", version: env!("CARGO_PKG_VERSION") };
    add_daemon(&mut exposition, daemon, relay.link(), &metrics.drops, now);
    exposition.add_each(Metric::Symbols, metrics.symbols);
    exposition.add_each(Metric::Rules, metrics.rules);
    exposition.add(Metric::Flows, &[], metrics.flows);
    exposition.add_each(Metric::Routes, metrics.routes);
    for state in Metrics::PORT_STATES {
        let ports = metrics.ports.iter().filter(|(_, is)| *is == state).count();
        exposition.add(Metric::Ports, &[state], ports as u64);
    }
    exposition.add_each(Metric::PortUp, metrics.ports.iter().map(|(port, state)| (*port, *state == "up")));
    for punts in &metrics.punts {
        let class = punts.class.name();
        exposition.add(Metric::Punts, &[punts.control, class, "passed"], punts.passed);
        exposition.add(Metric::Punts, &[punts.control, class, "dropped"], punts.dropped);
    }
    exposition.add(Metric::FlowsPinned, &[], metrics.flows_pinned);
    exposition.add(Metric::FlowsUnpinned, &[], metrics.flows_unpinned);
    exposition.add(Metric::FlowsTracked, &[], metrics.flows_tracked);
    exposition.add(Metric::RoutesKnown, &[], metrics.routes_known);
    exposition.add(Metric::RoutesRepaired, &[], metrics.routes_repaired);
    exposition.add(Metric::RouteLooks, &[], metrics.route_looks);
    exposition.add(Metric::RouteBatch, &[], route_batches);
    exposition.add(Metric::GivenAddresses, &[], metrics.given_addresses);
    exposition.add(Metric::GivenAddressesRepaired, &[], metrics.given_addresses_repaired);
    exposition
}
