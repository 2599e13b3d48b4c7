//! What would become of a socket or a route, and why: the decisions of detection and of the mirror, asked for nothing else.

mod held;

pub use held::HeldSocket;

use crate::detection::{Unreached, wanted};
use crate::flow::FlowKey;
use crate::routes::RouteRow;
use crate::rule::RuleState;
use crate::seen::{NumberedSocket, OpenSocket};
use crate::symbol::{Seat, State, Symbol};
use crate::{Control, Exposure, NamespaceId, SymbolConfig};
use frames::ProtocolAddress;
use frames::protocol_address::{Family, Local};
use l2link::trace::Outcome::{InForce, Passes, Refused, Waits};
use l2link::trace::Stage::{Route, Rule, Socket, Symbol as AtSymbol};
use l2link::trace::{Hop, Outcome};
use l2link::trace_text::TraceText;
use std::collections::{BTreeMap, BTreeSet};

impl Control {
    /// What would become of this. `sockets`: those of all namespaces, at this moment.
    ///
    /// # Errors
    /// In words: it is nothing that a control can tell.
    pub fn trace(&self, what: &TraceText, sockets: &[NumberedSocket]) -> Result<Vec<Hop>, String> {
        match what {
            TraceText::Socket(address) => Ok(self.trace_socket(address, sockets)),
            TraceText::Route(prefix) => {
                let rows = self.routes_to(prefix);
                if !rows.is_empty() {
                    return Ok(rows.iter().map(route).collect());
                }
                let mirrors = self.namespaces.iter().any(|place| self.mirrors_routes(place.id));
                let why = if mirrors { "" } else { ": [routes] is not enabled" };
                let text = format!("no namespace whose routes are mirrored has one that covers {prefix}{why}");
                Ok(vec![Hop::new(Route, Outcome::None, text)])
            }
            TraceText::Packet(_) => Err(
                "packets arrive at relays: ask l2relay about one; at a control say which socket, for example tcp 0.0.0.0:80"
                    .to_owned(),
            ),
        }
    }

    fn trace_socket(&self, asked: &ProtocolAddress, sockets: &[NumberedSocket]) -> Vec<Hop> {
        let mut open: BTreeMap<(NamespaceId, OpenSocket), usize> = BTreeMap::new();
        for socket in sockets.iter().filter(|socket| is_asked_for(asked, &socket.address)) {
            let OpenSocket { address, interface } =
                OpenSocket { address: socket.address, interface: socket.interface };
            *open.entry((socket.namespace, OpenSocket { address, interface })).or_default() += 1;
        }
        let mut hops = Vec::new();
        for ((namespace, socket), count) in &open {
            let times = if *count == 1 { String::new() } else { format!(", {count} times") };
            let text = format!("{} is open in {}{times}", socket.address, self.place_name(*namespace));
            hops.push(Hop::new(Socket, Passes, text));
            hops.extend(self.at_symbols(*namespace, socket, true));
        }
        let files = self.by_files(asked);
        if open.is_empty() && files.is_empty() {
            // A namespace outlives its symbols: their numbers stay as they are.
            let places: BTreeSet<NamespaceId> = self.symbols.iter().map(|symbol| symbol.namespace).collect();
            let names: Vec<String> = places.iter().map(|place| self.place_name(*place)).collect();
            let text = match names.as_slice() {
                [] => format!("{asked} reaches nobody: there is no symbol"),
                names => format!("{asked} is not open in {}; if it were:", names.join(", ")),
            };
            hops.push(Hop::new(Socket, Outcome::None, text));
            let socket = OpenSocket { address: *asked, interface: None };
            for place in places {
                hops.extend(self.at_symbols(place, &socket, false));
            }
        }
        hops.extend(files);
        hops
    }

    /// What open files of symbols stand for it, and their rules.
    fn by_files(&self, asked: &ProtocolAddress) -> Vec<Hop> {
        let of_files = |(_, rule): (_, &crate::rule::Rule)| {
            let symbol = self.symbol(rule.symbol).filter(|symbol| symbol.config.files.is_some())?;
            is_asked_for(asked, &rule.protocol_address).then_some((symbol, rule.protocol_address))
        };
        let files = self.tables.receive.iter().filter_map(of_files);
        let hops = files.flat_map(|(symbol, address)| {
            let SymbolConfig { relay, port, .. } = &symbol.config;
            let text = format!("{address} is open as a file of port {port} of {relay}");
            [Hop::new(Socket, Passes, text), self.rule(symbol, &address, true)]
        });
        hops.collect()
    }

    /// What comes of a socket at the symbols of its namespace.
    fn at_symbols(&self, namespace: NamespaceId, socket: &OpenSocket, is_open: bool) -> Vec<Hop> {
        let all = self.addresses_in(namespace);
        let here = self.symbols.iter().filter(|symbol| symbol.namespace == namespace);
        let hops = here.flat_map(|symbol| {
            let name = &symbol.config.name;
            let hop = |outcome, text: String| {
                Hop::new(AtSymbol, outcome, format!("{name}: {text}")).about(&*symbol.config.relay)
            };
            let (state, reason) = symbol.state();
            let mut hops = Vec::new();
            if let Some(reason) = reason {
                let outcome = if state == State::Refused { Refused } else { Waits };
                hops.push(hop(outcome, format!("it is {}, {reason}", state.name())));
            }
            let Some(seat) = self.seat(symbol, &all) else { return hops };
            if let Ok(flow) = FlowKey::try_from(&socket.address) {
                hops.push(self.flow(symbol, &flow, seat.holds(flow.local)));
                return hops;
            }
            match wanted(&seat, &symbol.config.exposure, socket) {
                Err(unreached) => {
                    let exposure = &symbol.config.exposure;
                    hops.push(hop(Outcome::None, unreached.text(&seat, exposure, socket)));
                }
                Ok(address) if !symbol.config.detect && !symbol.rules.contains(&address) => {
                    let text =
                        "sockets make no rules there (detect = false): l2ctl rule add makes one".to_owned();
                    hops.push(hop(Outcome::None, text));
                }
                Ok(address) => hops.push(self.rule(symbol, &address, is_open)),
            }
            hops
        });
        hops.collect()
    }

    /// The rule of a listener, or why there is none.
    fn rule(&self, symbol: &Symbol, address: &ProtocolAddress, is_open: bool) -> Hop {
        let relay = &*symbol.config.relay;
        let at = format!("{address} at port {} of {relay}", symbol.config.port);
        let Some((tunnel, rule)) = self.rule_of(symbol, address) else {
            let text = if is_open {
                format!("{at}: it was opened just now, and will be asked for")
            } else {
                format!("{at} would be asked for")
            };
            return Hop::new(Rule, if is_open { Waits } else { Outcome::None }, text).about(relay);
        };
        let (outcome, text) = match &rule.state {
            RuleState::Active => (InForce, format!("{at} is {}", symbol.rules.state(rule))),
            RuleState::Pending => {
                let why = if symbol.rules.grant().is_some() {
                    "the relay was asked"
                } else {
                    "the relay cannot be asked"
                };
                (Waits, format!("{at} is {}: {why}", symbol.rules.state(rule)))
            }
            RuleState::Refused(reason) => (Refused, format!("{at} is refused: {reason}")),
            RuleState::Closing => (Waits, format!("{at} is closing")),
        };
        let by_hand = if symbol.rules.is_by_hand(address) { ", by hand" } else { "" };
        let hop = Hop::new(Rule, outcome, format!("{text}{by_hand}")).about(relay);
        if symbol.config.translation.is_some() { hop } else { hop.by(tunnel) }
    }

    fn rule_of(&self, symbol: &Symbol, address: &ProtocolAddress) -> Option<(u32, &crate::rule::Rule)> {
        let tunnel = symbol.rules.tunnel(address)?;
        Some((tunnel.0, self.tables.receive.get(tunnel)?))
    }

    /// The rule by which answers to a flow come.
    fn flow(&self, symbol: &Symbol, flow: &FlowKey, is_local: bool) -> Hop {
        let name = &symbol.config.name;
        let relay = &*symbol.config.relay;
        let none = |text: String| Hop::new(Rule, Outcome::None, format!("{name}: {text}")).about(relay);
        let listener = symbol.rules.covering_listener(flow, false, &self.tables);
        let listener = listener.and_then(|tunnel| self.tables.receive.get(tunnel));
        if symbol.rules.flow(flow).is_some() {
            return self.rule(symbol, &flow.rule(), true);
        }
        match listener {
            Some(listener) => {
                let text = format!("{name}: answers come by the rule of {}", listener.protocol_address);
                Hop::new(Rule, InForce, text).about(relay)
            }
            None if !symbol.config.exposure.sends(flow.protocol, flow.local_port) => {
                none(format!("packets from port {} do not leave through it", flow.local_port))
            }
            None if !is_local => none(format!("{} is no address of it", flow.local)),
            None if !symbol.config.detect => none("packets make no rules there (detect = false)".to_owned()),
            None => none("its first packet through it makes the rule".to_owned()),
        }
    }

    fn place_name(&self, namespace: NamespaceId) -> String {
        let place = self.namespaces.iter().find(|place| place.id == namespace);
        match place.and_then(|place| place.name.as_ref()) {
            Some(name) => format!("namespace {name}"),
            None => "the daemon's namespace".to_owned(),
        }
    }
}

impl Unreached {
    /// Why, of this socket.
    fn text(self, seat: &Seat, exposure: &Exposure, socket: &OpenSocket) -> String {
        match self {
            Self::Virtual => "a symbol of kind address is reached by its own address only".to_owned(),
            Self::Elsewhere => elsewhere(seat, socket),
            Self::Hidden => exposure.why_hidden(&socket.address).to_owned(),
        }
    }
}

fn elsewhere(seat: &Seat, socket: &OpenSocket) -> String {
    if socket.interface.is_some_and(|interface| interface != seat.interface) {
        return "the socket is bound to another interface".to_owned();
    }
    let local = match socket.address {
        ProtocolAddress::Listener { local, .. } | ProtocolAddress::IpProtocol { local, .. } => local,
        ProtocolAddress::Flow { local, .. } => Local::Address(local),
        ProtocolAddress::EtherType(_) => Local::Any(Family::Both),
    };
    match local {
        Local::Address(address) if address.is_loopback() => {
            format!(
                "the socket is bound to {address}, the loopback: only programs of its own machine reach it"
            )
        }
        Local::Address(address) if seat.all.binary_search(&address).is_ok() => {
            format!("the socket is bound to {address}, an address of another symbol")
        }
        Local::Address(address) => {
            format!("the socket is bound to {address}, which is of another interface")
        }
        Local::Any(_) => "the socket is bound to another interface or address".to_owned(),
    }
}

/// Whether a socket is one that was asked for: without an address, all of its protocol and port are.
fn is_asked_for(asked: &ProtocolAddress, socket: &ProtocolAddress) -> bool {
    let any = Local::Any(Family::Both);
    match (*asked, *socket) {
        (
            ProtocolAddress::Listener { protocol, local, port },
            ProtocolAddress::Listener { protocol: of, port: at, .. },
        ) if local == any => (protocol, port) == (of, at),
        (
            ProtocolAddress::IpProtocol { protocol, local },
            ProtocolAddress::IpProtocol { protocol: of, .. },
        ) if local == any => protocol == of,
        _ => asked == socket,
    }
}

fn route(row: &RouteRow) -> Hop {
    let outcome = match row.state {
        "installed" => InForce,
        "refused" => Refused,
        _ => Waits,
    };
    let via = |gateway: &Option<String>| {
        gateway.as_ref().map_or(String::new(), |gateway| format!("via {gateway} "))
    };
    let hops = row
        .nexthops
        .iter()
        .map(|hop| format!(", {}dev {} weight {}", via(&hop.gateway), hop.symbol, hop.weight));
    let hops: String = hops.collect();
    let place =
        row.netns.as_ref().map_or("the daemon's namespace".to_owned(), |name| format!("namespace {name}"));
    let at = row.relay.as_ref().map_or(String::new(), |relay| format!(" at {relay}"));
    let reason = row.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let RouteRow { kind, prefix, metric, table, state, .. } = row;
    let hand = if row.r#static { " by hand" } else { "" };
    let text = format!(
        "{kind} {prefix} metric {metric} table {table}{hand} of {place}{hops} is {state}{at}{reason}"
    );
    let hop = Hop::new(Route, outcome, text);
    match &row.relay {
        Some(relay) => hop.about(&**relay),
        None => hop,
    }
}
