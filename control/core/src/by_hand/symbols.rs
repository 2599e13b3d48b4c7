//! Symbols by hand: made and removed at run time as the configuration would.

use crate::action::Action;
use crate::by_hand::Standing;
use crate::report::Event;
use crate::show::SymbolRow;
use crate::symbol::{Interface, Stage, State, Symbol};
use crate::{Addressing, Control, NamespaceId, SymbolConfig};
use frames::SymbolId;
use frames::message::{Message, PortAddresses, PortRelease};
use frames::{PortId, UpTunnel};
use l2link::Time;
use l2link::route_text::RouteText;
use log::info;

/// What went with a symbol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// Routes by hand that led by it.
    pub routes: Vec<RouteText>,
    /// Its namespace, if no other symbol is there: the shell has nothing to watch in it any more.
    pub namespace: Option<NamespaceId>,
}

impl Control {
    /// Makes a symbol, whose contradictions with others the shell has ruled out. The shell is to know its place before the
    /// next action is taken.
    pub fn add_symbol(&mut self, config: SymbolConfig, now: Time) -> SymbolId {
        info!(target: "control::symbol", "symbol {}: is to be made", config.name);
        let id = self.place_symbol(config);
        self.request_port(id, now);
        self.flush();
        id
    }

    /// How far a symbol is; none if there is no such.
    #[must_use]
    pub fn symbol_standing(&self, id: SymbolId) -> Option<Standing> {
        let symbol = self.symbol(id)?;
        let (state, reason) = symbol.state();
        let reason = reason.unwrap_or_default();
        Some(match (state, &symbol.stage, &symbol.interface) {
            (State::Up, ..) => Standing::InForce,
            (State::Refused, ..) => Standing::Refused(reason),
            (State::Waiting, Stage::Requested, _) => Standing::Asked,
            // But for what has failed, all that is left to come is on its way.
            (
                State::Waiting,
                Stage::Granted(_),
                Interface::None | Interface::Creating | Interface::Created(_),
            ) => Standing::Asked,
            (State::Waiting | State::Down, ..) => Standing::Waits(reason),
        })
    }

    /// Puts a symbol into the list.
    pub(crate) fn place_symbol(&mut self, config: SymbolConfig) -> SymbolId {
        let relay = self.relay_named(&config.relay);
        let namespace = match config.files {
            Some(_) => NamespaceId::NONE,
            None => self.namespace_named(config.netns.as_deref()),
        };
        let id = SymbolId(self.last_symbol.0.wrapping_add(1));
        self.last_symbol = id;
        let given = self.given_weight(&config);
        let mut symbol = Symbol::new(id, config, relay, namespace);
        symbol.rules.give_weight(given, &mut self.tables);
        self.symbols.push(symbol);
        id
    }

    /// Removes a symbol with everything that is its own: port, tunnel, rules, memberships, interface, given addresses,
    /// and routes by hand that lead by it.
    pub fn delete_symbol(&mut self, id: SymbolId, now: Time) -> Removed {
        let Some(place) = crate::parcels::place(&self.symbols, id) else { return Removed::default() };
        let symbol = self.symbols.remove(place);
        let routes = self.delete_routes_by(&symbol);
        self.withdraw_addresses(&symbol);
        self.end_files_of(id, now);
        if let Some(peer) = self.relays[symbol.relay.0].peer {
            let port = match symbol.stage {
                Stage::Granted(port) => port,
                // The relay forgets that it refused it; what is under way is released when it comes.
                Stage::Waiting | Stage::Requested | Stage::Refused(_) => PortId(0),
            };
            self.tables.send(peer, Message::PortRelease(PortRelease { symbol: id, port }));
        }
        let tunnels: Vec<UpTunnel> = self
            .tables
            .receive
            .iter()
            .filter(|(_, rule)| rule.symbol == id)
            .map(|(tunnel, _)| tunnel)
            .collect();
        for tunnel in tunnels {
            let _ = self.tables.receive.remove(tunnel, now);
        }
        self.act(Action::RemoveSymbol { symbol: id });
        let row = SymbolRow::of(&symbol);
        info!(target: "control::symbol", "symbol {}: removed", row.name);
        self.report(
            Event::SymbolDown(SymbolRow {
                state: "down".to_owned(),
                reason: Some("removed".to_owned()),
                ..row
            }),
            now,
        );
        let namespace = symbol.namespace;
        let empty =
            namespace != NamespaceId::NONE && !self.symbols.iter().any(|other| other.namespace == namespace);
        if !self.is_inhabited(namespace)
            && let Some(place) = self.namespace_mut(namespace)
        {
            place.forget();
        }
        if empty {
            self.handle_routes_lost(namespace);
        } else if let Some(place) = self.namespace_mut(namespace) {
            // Which sockets are reached through which symbol depends on the addresses of all.
            place.socket_looks.ask(now);
        }
        self.look(now);
        self.end_rules(now);
        self.flush();
        Removed { routes, namespace: empty.then_some(namespace) }
    }

    /// The addresses that programs put on the symbol are its port's no more, at once, unless another symbol has the port.
    fn withdraw_addresses(&mut self, symbol: &Symbol) {
        let Some(grant) = symbol.rules.grant().filter(|_| self.addressing == Addressing::Control) else {
            return;
        };
        if self.symbols.iter().any(|other| other.rules.grant() == Some(grant)) {
            self.say_addresses(grant);
        } else if symbol.addresses.present.as_ref().is_some_and(|present| !present.is_empty()) {
            let none = PortAddresses { port: grant.port, addresses: &[] };
            self.link.send_message(grant.peer, &Message::PortAddresses(none));
        }
    }

    /// Removes a symbol that the configuration contradicts from `show`. Returns whether there was one.
    pub fn delete_refused_symbol(&mut self, name: &str, netns: Option<&str>, kind: Option<&str>) -> bool {
        let before = self.refused.len();
        self.refused.retain(|symbol| {
            symbol.name != name
                || (netns.is_some() && symbol.netns.as_deref() != netns)
                || kind.is_some_and(|kind| symbol.kind != kind)
        });
        self.refused.len() < before
    }
}
