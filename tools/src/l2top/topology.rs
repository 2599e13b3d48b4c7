//! The topology as a tree of lines, with the rates of its symbols.

use crate::figure;
use crate::model::{Daemon, Model};
use l2link_tools::topology::{Device, Source, Symbol, Topology};

/// A line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The state that it tells of; empty if none.
    pub(crate) state: String,
}

/// The tree.
pub(crate) fn lines(model: &Model) -> Vec<Line> {
    let names: Vec<String> = model.daemons().map(Daemon::name).collect();
    let sources = names.iter().zip(model.daemons()).map(|(name, daemon)| Source {
        name,
        sample: daemon.latest(),
        rates: Some(daemon.rates()),
        trouble: daemon.trouble(),
    });
    let sources: Vec<Source<'_>> = sources.collect();
    let topology = Topology::new(&sources);
    let relays = topology.devices.iter().filter(|(_, device)| device.role == "relay");
    let mut lines: Vec<Line> = relays.flat_map(|(name, relay)| draw(&topology, name, relay)).collect();
    for silent in &topology.silent {
        let state = model.daemons().find(|daemon| daemon.name() == silent.name);
        let state = state.and_then(Daemon::trouble).unwrap_or("knows nobody yet");
        lines.push(Line { text: format!("{}  {state}", silent.name), state: "down".to_owned() });
    }
    lines
}

fn draw(topology: &Topology, name: &str, relay: &Device) -> Vec<Line> {
    let round_trip = |from: &str| {
        let link = topology.link(name, from);
        let rtt = link.and_then(|link| link.rtt_us);
        rtt.map_or_else(String::new, |rtt| format!("rtt {}", figure::micros(rtt)))
    };
    // Of a relay that is watched itself, each of its controls has a time of its own.
    let near = topology.links.iter().find(|link| link.to == name && !relay.asked);
    let about = near.map_or_else(String::new, |link| round_trip(&link.from));
    let about = format!("relay {about}").trim_end().to_owned();
    let mut lines =
        vec![Line { text: format!("{name}  {about}  {}", relay.state), state: relay.state.clone() }];
    let mut ports = topology.ports_of(name).peekable();
    while let Some(port) = ports.next() {
        let (branch, stem) = if ports.peek().is_some() { ("├─", "│ ") } else { ("└─", "  ") };
        let text = format!("{branch} port {}  {}  {}", port.name, port.state, port.addresses.join(" "));
        lines.push(Line { text: text.trim_end().to_owned(), state: port.state.clone() });
        let mut symbols = topology.symbols_of(port).peekable();
        while let Some(symbol) = symbols.next() {
            let branch = if symbols.peek().is_some() { "├─" } else { "└─" };
            let time = if relay.asked { round_trip(&symbol.control) } else { String::new() };
            let text = format!("{stem} {branch} {}", about_symbol(symbol, &time));
            lines.push(Line { text: text.trim_end().to_owned(), state: symbol.state.clone() });
        }
    }
    lines
}

fn about_symbol(symbol: &Symbol, round_trip: &str) -> String {
    let rules = match symbol.rules() {
        1 => "1 rule".to_owned(),
        rules => format!("{rules} rules"),
    };
    let traffic = format!("↑ {}  ↓ {}", figure::bits(symbol.up.bytes), figure::bits(symbol.down.bytes));
    let address = symbol.virtual_address.as_ref().filter(|_| symbol.symbol.is_some());
    let address = address.map_or_else(String::new, |address| format!("address {address}"));
    let more = [address.as_str(), symbol.reason.as_deref().unwrap_or_default(), round_trip];
    let more: Vec<&str> = more.into_iter().filter(|text| !text.is_empty()).collect();
    let Symbol { control, state, .. } = symbol;
    format!("{control}  symbol {}  {state}  {rules}  {traffic}  {}", symbol.label(), more.join("  "))
}
