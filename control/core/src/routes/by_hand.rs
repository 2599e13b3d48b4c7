//! Routes by hand, as if they stood in the kernel's table of a namespace.
//!
//! Each is one more route beside the mirrored ones: of another metric both are told, and the relay's kernel uses the smaller
//! metric, as everywhere. Of the same key the first stays. A route by hand is refused while the kernel has one; one that
//! comes to the kernel later is not told, and shown as refused, until the route by hand is gone.

use super::introductions::Way;
use super::pump::Projection;
use super::table::State;
use super::{Routes, Space};
use crate::by_hand::{HandError, Standing};
use crate::symbol::Symbol;
use crate::{Control, NamespaceId};
use frames::SymbolId;
use frames::route::{RouteKey, RouteKind};
use l2link::route_text::{NexthopText, RouteText};
use log::info;
use std::collections::BTreeSet;

/// A route by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) text: RouteText,
    /// Of each of its nexthops.
    pub(super) symbols: Vec<SymbolId>,
}

impl Routes {
    /// What a relay is to know of a key by hand.
    pub(super) fn project_fixed(
        &self,
        namespace: NamespaceId,
        space: &Space,
        relay: usize,
        key: &RouteKey,
    ) -> Option<Projection> {
        let fixed = space.fixed.get(key)?;
        let (kind, mtu, by_hand) = (fixed.text.kind, fixed.text.mtu, true);
        if kind != RouteKind::Unicast {
            let here = self.seats.iter().any(|seat| seat.relay == relay && seat.namespace == namespace);
            return here.then(|| Projection { namespace, kind, mtu, nexthops: Vec::new(), by_hand });
        }
        let way = |(hop, symbol): (&NexthopText, &SymbolId)| {
            let seat = self.seats.iter().find(|seat| seat.symbol == *symbol)?;
            Some(Way { seat, gateway: hop.gateway, weight: hop.weight, onlink: hop.onlink })
        };
        let ways = fixed.text.nexthops.iter().zip(&fixed.symbols).filter_map(way);
        let (nexthops, mtu) = self.ways_of(relay, ways, mtu);
        (!nexthops.is_empty()).then_some(Projection { namespace, kind, mtu, nexthops, by_hand })
    }
}

impl Control {
    /// Makes a route by hand. It is told to the relays of the symbols by which it leads.
    ///
    /// # Errors
    /// If there is a route of its key already, or it names symbols that are not there or not together.
    pub fn add_route(&mut self, text: &RouteText) -> Result<(), HandError> {
        let (namespace, symbols) = self.place_route(text)?;
        let key = text.key();
        let Some(space) = self.routes.spaces.get_mut(namespace.0 as usize) else { return Ok(()) };
        if space.fixed.contains_key(&key) {
            return Err(HandError::RouteExists(key, "by hand"));
        }
        if space.mirror.get(&key).is_some() {
            return Err(HandError::RouteExists(key, "in the kernel of the symbols' namespace"));
        }
        info!(target: "control::route", "route {text}: by hand");
        space.fixed.insert(key, Fixed { text: text.clone(), symbols });
        self.routes.mark(key);
        Ok(())
    }

    /// Ends the route by hand that the words name; returns it.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn delete_route(&mut self, selector: &RouteText) -> Result<RouteText, HandError> {
        let spaces = (0..).map(NamespaceId).zip(&self.routes.spaces);
        let found: Vec<(NamespaceId, RouteKey, String)> = spaces
            .flat_map(|(namespace, space)| {
                space.fixed.iter().map(move |(key, fixed)| (namespace, key, fixed))
            })
            .filter(|(_, _, fixed)| selector.names(&fixed.text))
            .map(|(namespace, key, fixed)| (namespace, *key, fixed.text.to_string()))
            .collect();
        let (namespace, key) = match &found[..] {
            [(namespace, key, _)] => (*namespace, *key),
            [] => return Err(HandError::NoRoute(selector.to_string())),
            several => {
                return Err(HandError::SeveralRoutes(
                    several.iter().map(|(.., text)| text.clone()).collect(),
                ));
            }
        };
        let gone =
            self.routes.spaces.get_mut(namespace.0 as usize).and_then(|space| space.fixed.remove(&key));
        self.routes.mark(key);
        let text = gone.map_or_else(|| selector.clone(), |fixed| fixed.text);
        info!(target: "control::route", "route {text}: by hand no more");
        Ok(text)
    }

    /// All routes by hand.
    pub fn routes_by_hand(&self) -> impl Iterator<Item = &RouteText> {
        self.routes.by_hand()
    }

    /// How far a route by hand is; none if there is no such.
    #[must_use]
    pub fn route_standing(&self, text: &RouteText) -> Option<Standing> {
        let (namespace, _) = self.place_route(text).ok()?;
        let key = text.key();
        let fixed = self.routes.spaces.get(namespace.0 as usize)?.fixed.get(&key)?;
        let mut standing = Standing::InForce;
        for relay in self.relays_of_route(namespace, fixed) {
            let (name, told) =
                (&self.relays[relay].name, self.routes.outlets.get(relay).map(|outlet| &outlet.told));
            if self.relays[relay].peer.is_none() {
                return Some(Standing::Waits(format!("no contact with relay {name}")));
            }
            match told.and_then(|told| told.state(&key)) {
                Some(State::Installed) => {}
                Some(State::Refused(reason)) => return Some(Standing::Refused(reason.to_owned())),
                Some(State::Pending) => standing = Standing::Asked,
                None if self
                    .routes
                    .seats
                    .iter()
                    .any(|seat| seat.relay == relay && seat.namespace == namespace) =>
                {
                    standing = Standing::Asked;
                }
                None => return Some(Standing::Waits(format!("no symbol of relay {name} is up"))),
            }
        }
        Some(standing)
    }

    /// Routes by hand that lead by a symbol, which is out of the list, go with it; with the last of its namespace those that
    /// lead nowhere, too.
    pub(crate) fn delete_routes_by(&mut self, symbol: &Symbol) -> Vec<RouteText> {
        let namespace = symbol.namespace;
        let last = !self
            .symbols
            .iter()
            .any(|other| other.namespace == namespace && other.config.translation.is_none());
        let Some(space) = self.routes.spaces.get_mut(namespace.0 as usize) else { return Vec::new() };
        let leads = |fixed: &Fixed| last || fixed.symbols.contains(&symbol.id);
        let gone: Vec<RouteKey> =
            space.fixed.iter().filter(|(_, fixed)| leads(fixed)).map(|(key, _)| *key).collect();
        let texts = gone.iter().filter_map(|key| space.fixed.remove(key)).map(|fixed| fixed.text).collect();
        gone.into_iter().for_each(|key| self.routes.mark(key));
        texts
    }

    /// The relays that are to have a route by hand.
    pub(super) fn relays_of_route(&self, namespace: NamespaceId, fixed: &Fixed) -> BTreeSet<usize> {
        let takes = |symbol: &&Symbol| match fixed.text.kind {
            RouteKind::Unicast => fixed.symbols.contains(&symbol.id),
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
                symbol.namespace == namespace && symbol.config.translation.is_none()
            }
        };
        self.symbols.iter().filter(takes).map(|symbol| symbol.relay.0).collect()
    }

    /// The namespace of a route by hand, and the symbols of its nexthops.
    fn place_route(&self, text: &RouteText) -> Result<(NamespaceId, Vec<SymbolId>), HandError> {
        let mut symbols = Vec::new();
        let mut namespaces = BTreeSet::new();
        let netns = text.netns.as_deref();
        for hop in &text.nexthops {
            let id = self.symbol_named(&hop.dev, netns, None)?;
            let Some(symbol) = self.symbol(id) else { continue };
            if symbol.config.translation.is_some() {
                return Err(HandError::NotARoutingSymbol(hop.dev.clone()));
            }
            symbols.push(id);
            namespaces.insert(symbol.namespace);
        }
        if text.nexthops.is_empty() {
            let all = self.symbols.iter().filter(|symbol| symbol.config.translation.is_none());
            namespaces = all.map(|symbol| symbol.namespace).collect();
            if let Some(name) = netns {
                let named = |namespace: &NamespaceId| self.netns_name(*namespace).as_deref() == Some(name);
                let known = namespaces.iter().filter_map(|namespace| self.netns_name(*namespace)).collect();
                namespaces.retain(named);
                if namespaces.is_empty() {
                    return Err(HandError::NoNamespace { name: name.to_owned(), known });
                }
            }
        }
        let names = || {
            namespaces.iter().map(|namespace| self.netns_name(*namespace).unwrap_or_else(|| "-".to_owned()))
        };
        match namespaces.iter().collect::<Vec<_>>()[..] {
            [only] => Ok((*only, symbols)),
            [] => Err(HandError::NoSymbol { name: "of kind interface".to_owned(), known: Vec::new() }),
            _ if text.nexthops.is_empty() => Err(HandError::WhichNamespace(names().collect())),
            _ => Err(HandError::SeveralNamespaces(names().collect())),
        }
    }

    pub(super) fn netns_name(&self, namespace: NamespaceId) -> Option<String> {
        self.namespaces.get(namespace.0 as usize).and_then(|place| place.name.clone())
    }
}
