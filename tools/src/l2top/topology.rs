//! The topology: relays, their ports, and which control has which, as a tree of lines.
//!
//! It is put together from all daemons that are watched. Of a link whose relay and control are both watched, the relay tells.

use crate::figure;
use crate::model::{Daemon, Model};
use crate::sample::{Rate, Rates, Role, Sample, number, word};
use serde_json::Value;
use std::collections::BTreeMap;

/// A line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The state that it tells of; empty if none.
    pub(crate) state: String,
}

#[derive(Debug, Default)]
struct Relay {
    /// What is known of its ports.
    ports: BTreeMap<String, Port>,
    /// Controls and relays beside it on the segment: state and round-trip time.
    about: String,
    state: String,
    /// It is one of the daemons that are watched.
    watched: bool,
}

#[derive(Debug, Default)]
struct Port {
    state: String,
    addresses: String,
    symbols: BTreeMap<(String, String), Symbol>,
}

#[derive(Debug, Default)]
struct Symbol {
    state: String,
    more: String,
    rules: usize,
    up: Rate,
    down: Rate,
}

/// The tree.
pub(crate) fn lines(model: &Model) -> Vec<Line> {
    let mut relays: BTreeMap<String, Relay> = BTreeMap::new();
    let of = |role: Role| model.daemons().filter(move |daemon| daemon.role() == Some(role));
    for daemon in of(Role::Relay) {
        add_relay(&mut relays, daemon);
    }
    for daemon in of(Role::Control) {
        add_control(&mut relays, daemon);
    }
    let mut lines: Vec<Line> = relays.iter().flat_map(|(name, relay)| draw(name, relay)).collect();
    for daemon in model.daemons().filter(|daemon| daemon.role().is_none() || daemon.latest().is_none()) {
        let state = daemon.trouble().map_or("knows nobody yet", |_| "cannot be reached");
        lines.push(Line { text: format!("{}  {state}", daemon.name()), state: "down".to_owned() });
    }
    lines
}

fn add_relay(relays: &mut BTreeMap<String, Relay>, daemon: &Daemon) {
    let Some(sample) = daemon.latest() else { return };
    let relay = relays.entry(daemon.name()).or_default();
    relay.watched = true;
    relay.about = "relay".to_owned();
    daemon.trouble().map_or("up", |_| "lost").clone_into(&mut relay.state);
    for row in &sample.ports {
        let port = relay.ports.entry(word(row, "name").to_owned()).or_default();
        word(row, "state").clone_into(&mut port.state);
        port.addresses = texts(&row["addresses"]);
    }
    let traffic = Traffic { sample, rates: daemon.rates() };
    for row in &sample.symbols {
        let (control, name) = (word(row, "control"), word(row, "port"));
        let rules = |rule: &&Value| word(rule, "control") == control && word(rule, "port") == name;
        let port = relay.ports.entry(name.to_owned()).or_default();
        let id = (control.to_owned(), number(row, "symbol").to_string());
        let refused = word(row, "reason");
        let peer = sample.peers.iter().find(|peer| word(peer, "name") == control);
        let state = match peer.map(|peer| word(peer, "state")) {
            // What a control that is gone had stays until it comes back or is given up.
            Some("down") => "down",
            _ => word(row, "state"),
        };
        let virtual_address = word(row, "virtual_address");
        let kind =
            if virtual_address.is_empty() { String::new() } else { format!("address {virtual_address}") };
        let symbol = Symbol {
            state: state.to_owned(),
            more: [kind.as_str(), refused, &round_trip(peer)]
                .iter()
                .filter(|word| !word.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join("  "),
            rules: sample.rules.iter().filter(rules).count(),
            up: traffic.of("up", &["peer", "control"], control, name, &row["symbol"]),
            down: traffic.of("down", &["peer", "control"], control, name, &row["symbol"]),
        };
        port.symbols.insert(id, symbol);
    }
}

fn add_control(relays: &mut BTreeMap<String, Relay>, daemon: &Daemon) {
    let (Some(sample), control) = (daemon.latest(), daemon.name()) else { return };
    let traffic = Traffic { sample, rates: daemon.rates() };
    for row in &sample.symbols {
        let (name, port_name) = (word(row, "relay"), word(row, "port"));
        let relay = relays.entry(name.to_owned()).or_default();
        if relay.watched
            && relay.ports.values().any(|port| port.symbols.keys().any(|(known, _)| *known == control))
        {
            continue;
        }
        let peer = sample.peers.iter().find(|peer| word(peer, "name") == name);
        if !relay.watched {
            relay.about = format!("relay {}", round_trip(peer)).trim_end().to_owned();
            peer.map_or("not heard", |peer| word(peer, "state")).clone_into(&mut relay.state);
        }
        let port = relay.ports.entry(port_name.to_owned()).or_default();
        if let Some(row) =
            sample.ports.iter().find(|row| word(row, "relay") == name && word(row, "name") == port_name)
        {
            word(row, "state").clone_into(&mut port.state);
            port.addresses = texts(&row["addresses"]);
        }
        let place = match word(row, "netns") {
            "" => word(row, "name").to_owned(),
            netns => format!("{} in {netns}", word(row, "name")),
        };
        let rules = |rule: &&Value| word(rule, "relay") == name && word(rule, "port") == port_name;
        let symbol = Symbol {
            state: word(row, "state").to_owned(),
            more: word(row, "reason").to_owned(),
            rules: sample.rules.iter().filter(rules).count(),
            up: traffic.of("up", &["peer", "relay"], name, port_name, &row["name"]),
            down: traffic.of("down", &["peer", "relay"], name, port_name, &row["name"]),
        };
        port.symbols.insert((control.clone(), place), symbol);
    }
}

/// What goes through the tunnels and translations of a daemon.
struct Traffic<'a> {
    sample: &'a Sample,
    rates: &'a Rates,
}

impl Traffic<'_> {
    /// The sum of those in this direction of one symbol: `peer` stands under one of `keys`.
    fn of(&self, direction: &str, keys: &[&str], peer: &str, port: &str, symbol: &Value) -> Rate {
        let fits = |row: &&Value| {
            keys.iter().any(|key| word(row, key) == peer)
                && word(row, "port") == port
                && row["symbol"] == *symbol
        };
        // In translations, a rule is there for what comes up.
        let is_up = |row: &Value| match word(row, "direction") {
            "" => !row["protocol_address"].is_null(),
            direction => direction == "up",
        };
        let mut sum = Rate::default();
        for row in self.sample.tunnels.iter().chain(&self.sample.translations).filter(fits) {
            if is_up(row) == (direction == "up") {
                sum += self.rates.stream(row);
            }
        }
        sum
    }
}

fn round_trip(peer: Option<&Value>) -> String {
    let rtt = peer.and_then(|peer| peer["rtt_us"].as_u64());
    rtt.map_or_else(String::new, |rtt| format!("rtt {}", figure::micros(rtt)))
}

fn texts(list: &Value) -> String {
    let texts: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    texts.join(" ")
}

fn draw(name: &str, relay: &Relay) -> Vec<Line> {
    let mut lines =
        vec![Line { text: format!("{name}  {}  {}", relay.about, relay.state), state: relay.state.clone() }];
    let mut ports = relay.ports.iter().peekable();
    while let Some((name, port)) = ports.next() {
        let (branch, stem) = if ports.peek().is_some() { ("├─", "│ ") } else { ("└─", "  ") };
        let state = if port.state.is_empty() { "unknown" } else { &port.state };
        let text = format!("{branch} port {name}  {state}  {}", port.addresses);
        lines.push(Line { text: text.trim_end().to_owned(), state: state.to_owned() });
        let mut symbols = port.symbols.iter().peekable();
        while let Some(((control, place), symbol)) = symbols.next() {
            let branch = if symbols.peek().is_some() { "├─" } else { "└─" };
            let Symbol { state, more, rules, up, down } = symbol;
            let rules = match rules {
                1 => "1 rule".to_owned(),
                rules => format!("{rules} rules"),
            };
            let traffic = format!("↑ {}  ↓ {}", figure::bits(up.bytes), figure::bits(down.bytes));
            let text =
                format!("{stem} {branch} {control}  symbol {place}  {state}  {rules}  {traffic}  {more}");
            lines.push(Line { text: text.trim_end().to_owned(), state: state.clone() });
        }
    }
    lines
}
