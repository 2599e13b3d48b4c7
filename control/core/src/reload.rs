//! Another configuration, taken over while the control runs.
//!
//! Symbols that come and go are made and removed as by hand (`by_hand`). One that stays keeps its number, interface, port,
//! tunnels and rules, and is compared with what it is to be now: a service that it exposes no more takes no new flow, and
//! the connections that it has live on.

use crate::flow::FlowKey;
use crate::parcels::place;
use crate::routes::RoutesConfig;
use crate::symbol_rules::NEIGHBORS;
use crate::weight::Weight;
use crate::{Control, RefusedSymbol, SymbolConfig};
use core::time::Duration;
use frames::{ProtocolAddress, SymbolId};
use l2link::Time;
use log::info;
use std::collections::BTreeSet;

impl Control {
    /// Has a symbol be another one in `weight`, `exposure`, `detect` and the owner of its files; all else of `config` must be
    /// what it was. Rules by hand that it does not expose any more go.
    pub fn change_symbol(&mut self, id: SymbolId, config: SymbolConfig, now: Time) {
        self.note_change();
        let Some(index) = place(&self.symbols, id) else { return };
        let symbol = &mut self.symbols[index];
        let before = core::mem::replace(&mut symbol.config, config);
        info!(target: "control::symbol", "symbol {}: changed", before.name);
        let config = &symbol.config;
        if before.weight != config.weight {
            symbol.rules.behind_at = None;
            symbol.rules.set_weight(config.weight.first(), &mut self.tables);
        }
        let (detect, exposure) = (config.detect, config.exposure.clone());
        if before.detect == detect && before.exposure == exposure && config.weight != Weight::Auto {
            self.flush();
            return;
        }
        let hidden = |address: &ProtocolAddress| match FlowKey::try_from(address) {
            Ok(flow) => !exposure.sends(flow.protocol, flow.local_port),
            Err(()) => *address != NEIGHBORS && !exposure.listens(address),
        };
        let by_hand: Vec<ProtocolAddress> =
            symbol.rules.by_hand().copied().filter(|rule| hidden(rule)).collect();
        for rule in &by_hand {
            symbol.rules.let_loose(rule, &mut self.tables);
        }
        let flows: Vec<ProtocolAddress> = symbol.rules.flows().map(|(flow, _)| flow.rule()).collect();
        for flow in flows.iter().filter(|flow| !detect || hidden(flow)) {
            symbol.rules.remove(flow, now, &mut self.tables);
        }
        if !detect {
            symbol.joined = BTreeSet::new();
        }
        let namespace = symbol.namespace;
        self.join_by_hand(index);
        if let Some(place) = self.namespace_mut(namespace) {
            place.socket_looks.ask(now);
            place.connection_looks.ask(now);
            place.group_looks.ask(now);
        }
        if self.is_inhabited(namespace) {
            self.compare(id, now);
            self.look(now);
        }
        self.flush();
    }

    /// Has other routes be told to relays. The shell is to ask for each namespace again whether its routes are
    /// ([`Control::mirrors_routes`]).
    pub fn set_routes(&mut self, config: Option<RoutesConfig>) {
        let namespaces = self.namespaces.iter().map(|place| (place.id, place.name.clone())).collect();
        for namespace in self.routes.configure(config, namespaces) {
            self.dump_routes(namespace, crate::seen::RouteFamilies::BOTH);
        }
    }

    /// Has symbols keep their carrier for that long without contact. Those that wait already end as they would have.
    pub fn set_carrier_hold(&mut self, hold: Duration) {
        self.carrier_hold = hold;
    }

    /// Sends to relays at least that often, and misses one after as many silent intervals of its own.
    pub fn set_liveness(&mut self, keepalive: Duration, missed: u32) {
        self.link.set_liveness(keepalive, missed);
    }

    /// In mode `keys` these relays may come from now on ([`l2link::Link::set_peers`]).
    pub fn set_peers(&mut self, peers: &[(String, l2link::PublicKey)], now: Time) {
        self.link.set_peers(peers, now);
    }

    /// Shows these symbols as refused, because the configuration contradicts them.
    pub fn set_refused(&mut self, refused: Vec<RefusedSymbol>) {
        self.refused = refused;
    }

    /// The rules by hand of a symbol, in force or not.
    pub fn rules_by_hand(&self, id: SymbolId) -> impl Iterator<Item = &ProtocolAddress> {
        self.symbol(id).into_iter().flat_map(|symbol| symbol.rules.by_hand())
    }
}
