//! [`Topology`]: relays, their ports, and which control has which, as the daemons that were asked see it.
//!
//! # Theory of operation
//! Every daemon tells its own side, and what it heard of others. The tables of relays are taken in first: they say what is in
//! force. A control then adds what only it knows, the names and namespaces of its symbols, and those symbols of which its relay
//! was not asked or has not granted. Both sides know a symbol by its down tunnel or its virtual address; one that has neither
//! yet is the one of that port and control that has no name.
//!
//! Devices that heard each other, directly or by way of a third one, are on one segment.

use crate::sample::{Rate, Rates, Role, Sample, word};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A daemon that was asked.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What it is called: by itself, or for want of that by its socket.
    pub name: &'a str,
    /// What it told; nothing if it was never reached.
    pub sample: Option<&'a Sample>,
    /// What passes through it per second, if that is known.
    pub rates: Option<&'a Rates>,
    /// Why it cannot be reached at present.
    pub trouble: Option<&'a str>,
}

/// The picture.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Topology {
    /// Devices by name.
    pub devices: BTreeMap<String, Device>,
    /// Who heard whom.
    pub links: Vec<Link>,
    /// The names of the devices on each segment.
    pub segments: Vec<BTreeSet<String>>,
    /// The relays' ports, by relay and name.
    pub ports: Vec<Port>,
    /// What stands for them, by relay, port and control.
    pub symbols: Vec<Symbol>,
    /// Daemons that were asked and told nothing.
    pub silent: Vec<Silent>,
}

/// A relay or a control.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// `relay` or `control`.
    pub role: &'static str,
    /// Whether it was asked itself.
    pub asked: bool,
    /// `up`; `lost` if it does not answer any more; what others say of it, if it was not asked.
    pub state: String,
}

/// Contact of two devices, as the first one sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Link {
    /// The one that tells.
    pub from: String,
    /// The other one.
    pub to: String,
    /// `up`, `down`, or why it is refused.
    pub state: String,
    /// Round-trip time in µs.
    pub rtt_us: Option<u64>,
}

/// A relay's port.
#[derive(Debug, Clone, Serialize)]
pub struct Port {
    /// The relay.
    pub relay: String,
    /// Name of the interface.
    pub name: String,
    /// `up`, `no-carrier`, `down`, `absent`, or `unknown`.
    pub state: String,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<String>,
}

/// What stands for a port on a control.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Symbol {
    /// The relay.
    pub relay: String,
    /// Name of its port.
    pub port: String,
    /// The control.
    pub control: String,
    /// Name on the control; none if only the relay was asked.
    pub name: Option<String>,
    /// Network namespace on the control; none for the daemon's own.
    pub netns: Option<String>,
    /// `interface`, `address` or `files`; none if only the relay was asked and there is no virtual address.
    pub kind: Option<String>,
    /// The control's number of it; none if only the control was asked.
    pub symbol: Option<u64>,
    /// The down tunnel.
    pub down_tunnel: Option<u64>,
    /// The address for which it stands.
    pub virtual_address: Option<String>,
    /// `up`, `down`, `waiting` or `refused`.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// What is served or received through it, flows left out.
    pub services: Vec<Service>,
    /// Rules of single flows.
    pub flows: usize,
    /// What comes up through it.
    #[serde(skip)]
    pub up: Rate,
    /// What goes down.
    #[serde(skip)]
    pub down: Rate,
}

/// A rule that is not a flow's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Service {
    /// As `l2ctl rule` writes it: `tcp/80`, `udp/192.0.2.1:53`, `ip/ospf`, `ethertype/0x88cc`.
    pub service: String,
    /// As in `show rules`.
    pub state: String,
    /// Why it is refused.
    pub reason: Option<String>,
}

/// A daemon that told nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Silent {
    /// Its socket.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Topology {
    /// Puts it together.
    #[must_use]
    pub fn new(sources: &[Source<'_>]) -> Self {
        let mut topology = Self::default();
        for role in [Role::Relay, Role::Control] {
            for source in sources {
                if let Some(sample) = source.sample.filter(|sample| sample.role() == Some(role)) {
                    topology.add(role, source, sample);
                }
            }
        }
        for source in sources {
            let reason = match (source.sample.map(Sample::role), source.trouble) {
                (Some(Some(_)), _) => continue,
                (_, Some(trouble)) => trouble,
                (_, None) => "it knows nobody yet",
            };
            topology.silent.push(Silent { name: source.name.to_owned(), reason: reason.to_owned() });
        }
        let place = |symbol: &Symbol| {
            let Symbol { relay, port, control, name, symbol, .. } = symbol.clone();
            (relay, port, control, symbol, name)
        };
        topology.symbols.sort_by_key(place);
        topology.ports.sort_by(|a, b| (&a.relay, &a.name).cmp(&(&b.relay, &b.name)));
        topology.segments = topology.find_segments();
        topology
    }

    /// The ports of a relay.
    pub fn ports_of<'a>(&'a self, relay: &'a str) -> impl Iterator<Item = &'a Port> {
        self.ports.iter().filter(move |port| port.relay == relay)
    }

    /// The symbols of a port.
    pub fn symbols_of<'a>(&'a self, port: &'a Port) -> impl Iterator<Item = &'a Symbol> {
        self.symbols.iter().filter(|symbol| symbol.relay == port.relay && symbol.port == port.name)
    }

    /// The contact of a relay and a control, as the relay sees it if it was asked.
    #[must_use]
    pub fn link(&self, relay: &str, control: &str) -> Option<&Link> {
        let between =
            |from: &str, to: &str| self.links.iter().find(|link| link.from == from && link.to == to);
        between(relay, control).or_else(|| between(control, relay))
    }

    fn add(&mut self, role: Role, source: &Source<'_>, sample: &Sample) {
        let state = source.trouble.map_or("up", |_| "lost").to_owned();
        self.devices.insert(source.name.to_owned(), Device { role: role.name(), asked: true, state });
        for peer in &sample.peers {
            let name = word(peer, "name");
            let role = if word(peer, "role") == "relay" { "relay" } else { "control" };
            let state = word(peer, "state").to_owned();
            let device = Device { role, asked: false, state: state.clone() };
            self.devices.entry(name.to_owned()).or_insert(device);
            let (from, to) = (source.name.to_owned(), name.to_owned());
            self.links.push(Link { from, to, state, rtt_us: peer["rtt_us"].as_u64() });
        }
        for row in &sample.ports {
            let relay = if role == Role::Relay { source.name } else { word(row, "relay") };
            self.port(relay, word(row, "name"), Some(row));
        }
        let first = self.symbols.len();
        for row in &sample.symbols {
            match role {
                Role::Relay => self.add_relays_symbol(source, sample, row),
                Role::Control => self.add_controls_symbol(source, sample, row),
            }
        }
        let own = match role {
            // Of a link whose relay was asked as well, that one tells.
            Role::Control => &mut self.symbols[first..],
            Role::Relay => &mut self.symbols[..],
        };
        add_rules(own, role, source.name, sample);
    }

    fn add_relays_symbol(&mut self, source: &Source<'_>, sample: &Sample, row: &Value) {
        let (control, port) = (word(row, "control"), word(row, "port"));
        self.port(source.name, port, None);
        let peer = sample.peers.iter().find(|peer| word(peer, "name") == control);
        let state = match peer.map(|peer| word(peer, "state")) {
            // What a control that is gone had stays until it comes back or is given up.
            Some("down") => "down",
            _ => word(row, "state"),
        };
        let traffic = Traffic { sample, rates: source.rates, peer: control, port, symbol: row };
        let virtual_address = text(row, "virtual_address");
        self.symbols.push(Symbol {
            relay: source.name.to_owned(),
            port: port.to_owned(),
            control: control.to_owned(),
            kind: virtual_address.as_ref().map(|_| "address".to_owned()),
            symbol: row["symbol"].as_u64(),
            down_tunnel: row["down_tunnel"].as_u64(),
            virtual_address,
            state: state.to_owned(),
            reason: text(row, "reason"),
            up: traffic.up(),
            down: traffic.down(),
            ..Symbol::default()
        });
    }

    fn add_controls_symbol(&mut self, source: &Source<'_>, sample: &Sample, row: &Value) {
        let (relay, port) = (word(row, "relay"), word(row, "port"));
        let not_heard = || Device { role: "relay", asked: false, state: "not heard".to_owned() };
        self.devices.entry(relay.to_owned()).or_insert_with(not_heard);
        self.port(relay, port, None);
        let named = |symbol: &mut Symbol| {
            symbol.name = text(row, "name");
            symbol.netns = text(row, "netns");
            symbol.kind = text(row, "kind");
        };
        let tunnel = row["down_tunnel"].as_u64();
        let addresses = texts(&row["addresses"]);
        let told = |symbol: &Symbol| {
            let same = (&*symbol.relay, &*symbol.port, &*symbol.control) == (relay, port, source.name);
            same && symbol.name.is_none()
        };
        let fits: [&dyn Fn(&Symbol) -> bool; 3] = [
            &|symbol| tunnel.is_some() && symbol.down_tunnel == tunnel,
            &|symbol| {
                let own = symbol.virtual_address.as_deref();
                own.is_some_and(|own| addresses.iter().any(|address| address.split('/').next() == Some(own)))
            },
            &|symbol| tunnel.is_none() || symbol.down_tunnel.is_none(),
        ];
        let place =
            fits.iter().find_map(|fits| self.symbols.iter().position(|known| told(known) && fits(known)));
        if let Some(place) = place {
            named(&mut self.symbols[place]);
            return;
        }
        let traffic = Traffic { sample, rates: source.rates, peer: relay, port, symbol: row };
        let mut symbol = Symbol {
            relay: relay.to_owned(),
            port: port.to_owned(),
            control: source.name.to_owned(),
            down_tunnel: tunnel,
            state: word(row, "state").to_owned(),
            reason: text(row, "reason"),
            up: traffic.up(),
            down: traffic.down(),
            ..Symbol::default()
        };
        named(&mut symbol);
        if symbol.kind.as_deref() == Some("address") {
            symbol.virtual_address =
                addresses.first().and_then(|text| text.split('/').next()).map(str::to_owned);
        }
        self.symbols.push(symbol);
    }

    /// Notes what a row says of a port; what the first says stays.
    fn port(&mut self, relay: &str, name: &str, row: Option<&Value>) {
        let place = self.ports.iter().position(|port| port.relay == relay && port.name == name);
        let place = place.unwrap_or_else(|| {
            let (relay, name) = (relay.to_owned(), name.to_owned());
            self.ports.push(Port { relay, name, state: "unknown".to_owned(), addresses: Vec::new() });
            self.ports.len() - 1
        });
        if let Some(row) = row
            && let Some(port) = self.ports.get_mut(place).filter(|port| port.state == "unknown")
        {
            word(row, "state").clone_into(&mut port.state);
            port.addresses = texts(&row["addresses"]);
        }
    }

    fn find_segments(&self) -> Vec<BTreeSet<String>> {
        let mut segments: Vec<BTreeSet<String>> = Vec::new();
        let alone = self.devices.keys().map(|name| BTreeSet::from([name.clone()]));
        let pairs = self.links.iter().map(|link| BTreeSet::from([link.from.clone(), link.to.clone()]));
        for mut joined in pairs.chain(alone) {
            segments.retain(|segment| {
                let apart = segment.is_disjoint(&joined);
                if !apart {
                    joined.extend(segment.iter().cloned());
                }
                apart
            });
            segments.push(joined);
        }
        segments.sort();
        segments
    }
}

impl Symbol {
    /// How many rules it has.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.services.len() + self.flows
    }

    /// By what people know it: its name, with the namespace, or its number.
    #[must_use]
    pub fn label(&self) -> String {
        match (&self.name, &self.netns, self.symbol) {
            (Some(name), Some(netns), _) => format!("{name} in {netns}"),
            (Some(name), None, _) => name.clone(),
            (None, _, Some(symbol)) => symbol.to_string(),
            (None, _, None) => "?".to_owned(),
        }
    }

    /// What programs made it to: without the rule that every symbol of kind interface has, for ARP and its like.
    pub fn served(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.service != "ethertype/0x0806")
    }
}

/// Adds each rule to the one of these symbols whose it is.
fn add_rules(symbols: &mut [Symbol], role: Role, name: &str, sample: &Sample) {
    for rule in &sample.rules {
        let (relay, control) = match role {
            Role::Relay => (name, word(rule, "control")),
            Role::Control => (word(rule, "relay"), name),
        };
        let port = word(rule, "port");
        let here =
            |symbol: &Symbol| (&*symbol.relay, &*symbol.port, &*symbol.control) == (relay, port, control);
        let tunnel = rule["up_tunnel"].as_u64().unwrap_or(0);
        let far = if role == Role::Relay { control } else { relay };
        let through = sample.tunnels.iter().find(|row| {
            word(row, "direction") == "up" && row["id"].as_u64() == Some(tunnel) && word(row, "peer") == far
        });
        let place = match through.filter(|_| tunnel != 0) {
            Some(row) => symbols.iter().position(|symbol| here(symbol) && is_of(row, symbol)),
            // An address symbol's goes through no tunnel.
            None => {
                let address = Some(word(rule, "address"));
                let exactly = |symbol: &Symbol| here(symbol) && symbol.virtual_address.as_deref() == address;
                let exactly = symbols.iter().position(exactly).filter(|_| tunnel == 0);
                exactly.or_else(|| symbols.iter().position(here))
            }
        };
        let Some(symbol) = place.and_then(|place| symbols.get_mut(place)) else { continue };
        if rule["remote"].is_string() {
            symbol.flows += 1;
            continue;
        }
        let service = Service {
            service: service(rule),
            state: word(rule, "state").to_owned(),
            reason: text(rule, "reason"),
        };
        symbol.services.push(service);
    }
    symbols.iter_mut().for_each(|symbol| symbol.services.sort());
}

/// Whether a tunnel is of a symbol, which a relay tells by its number, and a control by its name, kind and namespace.
fn is_of(tunnel: &Value, symbol: &Symbol) -> bool {
    match tunnel["symbol"].as_str() {
        None => symbol.symbol == tunnel["symbol"].as_u64(),
        Some(_) => [("symbol", &symbol.name), ("kind", &symbol.kind), ("netns", &symbol.netns)]
            .into_iter()
            .all(|(key, own)| tunnel.get(key).is_none() || text(tunnel, key) == *own),
    }
}

/// A rule as `l2ctl rule` writes it.
fn service(rule: &Value) -> String {
    let (protocol, address) = (word(rule, "protocol"), word(rule, "address"));
    match rule["port_number"].as_u64() {
        Some(port) if address == "*" => format!("{protocol}/{port}"),
        Some(port) if address.contains(':') => format!("{protocol}/[{address}]:{port}"),
        Some(port) => format!("{protocol}/{address}:{port}"),
        None if protocol == "ethertype" => format!("ethertype/{address}"),
        None if address == "*" => format!("ip/{protocol}"),
        None => format!("ip/{protocol}/{address}"),
    }
}

/// What goes through the tunnels and translations of one symbol.
struct Traffic<'a> {
    sample: &'a Sample,
    rates: Option<&'a Rates>,
    /// The other end.
    peer: &'a str,
    port: &'a str,
    /// The row of the symbol: of a relay's it is the number that matters, of a control's the name with kind and namespace.
    symbol: &'a Value,
}

impl Traffic<'_> {
    fn up(&self) -> Rate {
        self.sum(true)
    }

    fn down(&self) -> Rate {
        self.sum(false)
    }

    fn is_own(&self, row: &Value) -> bool {
        if let Some(number) = self.symbol.get("symbol") {
            return row["symbol"] == *number;
        }
        let same = |key: &str| row[key] == self.symbol[key];
        row["symbol"] == self.symbol["name"]
            && match row.get("table") {
                // A translation, which only address symbols have.
                Some(_) => word(self.symbol, "kind") == "address",
                None => same("kind") && same("netns"),
            }
    }

    fn sum(&self, up: bool) -> Rate {
        let mut sum = Rate::default();
        let Some(rates) = self.rates else { return sum };
        // In translations, a rule is there for what comes up.
        let is_up = |row: &Value| match word(row, "direction") {
            "" => !row["protocol_address"].is_null(),
            direction => direction == "up",
        };
        for row in self.sample.tunnels.iter().chain(&self.sample.translations) {
            let far = ["peer", "control", "relay"].iter().any(|key| word(row, key) == self.peer);
            if far && word(row, "port") == self.port && self.is_own(row) && is_up(row) == up {
                sum += rates.stream(row);
            }
        }
        sum
    }
}

fn text(row: &Value, key: &str) -> Option<String> {
    Some(word(row, key)).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
