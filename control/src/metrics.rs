//! The figures of the control, under their names.

use control_core::Control;
use l2link::Time;
use l2link_os::metrics::{Daemon, Exposition, Metric, Owner, add_daemon};

/// Puts the core's figures together.
pub(crate) fn collect(name: &str, control: &Control, now: Time) -> Exposition {
    let metrics = control.metrics();
    let mut exposition = Exposition::new(Owner::Control);
    let daemon = Daemon { name, role: "control", version: env!("CARGO_PKG_VERSION") };
    add_daemon(&mut exposition, daemon, control.link(), &metrics.drops, now);
    exposition.add_each(Metric::Symbols, metrics.symbol_states);
    exposition.add_each(Metric::Rules, metrics.rules);
    exposition.add(Metric::Flows, &[], metrics.flows);
    exposition.add_each(Metric::Routes, metrics.routes);
    for symbol in &metrics.symbols {
        let labels = [symbol.name, symbol.netns, symbol.relay, symbol.port];
        exposition.add(Metric::SymbolUp, &labels, symbol.up);
        for (direction, traffic) in [("up", symbol.received), ("down", symbol.sent)] {
            let [name, netns, relay, port] = labels;
            let labels = [name, netns, relay, port, direction];
            exposition.add(Metric::SymbolParcels, &labels, traffic.frames);
            exposition.add(Metric::SymbolBytes, &labels, traffic.bytes);
        }
    }
    exposition.add(Metric::FlowsEvicted, &[], metrics.flows_evicted);
    exposition.add(Metric::RoutesMirrored, &[], metrics.routes_mirrored);
    exposition.add(Metric::RouteTableRepairs, &[], metrics.routes_repaired);
    exposition.add_each(Metric::LookDuration, metrics.looks);
    exposition.add_each(Metric::RuleLatency, metrics.rule_latencies);
    exposition.add(Metric::RouteLatency, &[], metrics.route_latency);
    exposition
}
