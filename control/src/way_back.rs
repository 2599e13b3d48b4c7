//! [`WaysBack`]: puts the symbols' [`WayBack`]s into the kernel, and removes what is left of them.
//!
//! The kernel drops routes when an interface is set down, and does not bring them back with it, so everything is compared
//! and put in again whenever an interface, an address or a rule of the namespace has changed: some network managers remove
//! rules that are not theirs. After a crash it all stays for the
//! successor, as the symbols do; the rules of symbols that are gone are swept when a daemon starts, and by the keeper
//! when nobody comes for them.

use crate::namespaces::{Namespace, Watched};
use control_core::WayBack;
use frames::SymbolId;
use l2link_os::{IfIndex, LastResort, NetNs, ReturnPath, ReturnRoute, ReturnTables, SetupError};
use log::warn;
use std::collections::BTreeMap;

/// The ways back of all symbols that have an interface.
#[derive(Debug, Default)]
pub(crate) struct WaysBack {
    ways: BTreeMap<SymbolId, Installed>,
}

#[derive(Debug)]
struct Installed {
    ifindex: IfIndex,
    path: ReturnPath,
    /// What the kernel did not take, in words.
    refused: Vec<String>,
}

impl WaysBack {
    /// Brings the kernel in line with what a symbol is to have. What it refuses is said, and no failure: the symbol serves
    /// at least its port's network.
    pub(crate) fn set(
        &mut self,
        symbol: SymbolId,
        name: &str,
        ifindex: IfIndex,
        way_back: WayBack,
        watched: &mut Watched,
    ) {
        let refused = self.ways.remove(&symbol).map(|before| before.refused).unwrap_or_default();
        let mut installed = Installed { ifindex, path: path(way_back), refused };
        // An interface that was just made has no carrier; when it has, the bell rings.
        let link = watched.netlink.link_by_index(ifindex);
        installed.note_carrier(link.is_ok_and(|link| link.is_some_and(|link| link.carrier)));
        installed.install(name, &mut watched.return_tables);
        self.ways.insert(symbol, installed);
    }

    /// Puts in again what the kernel may have dropped.
    pub(crate) fn restore(&mut self, symbol: SymbolId, name: &str, watched: &mut Watched) {
        let Some(installed) = self.ways.get_mut(&symbol) else { return };
        // One that is down, or gone, can have no routes. What cannot be told is tried.
        match watched.netlink.link_by_index(installed.ifindex) {
            Ok(Some(link)) if link.up => installed.note_carrier(link.carrier),
            Ok(_) => return,
            Err(_) => {}
        }
        installed.install(name, &mut watched.return_tables);
    }

    /// Removes what an interface had, whether or not it was this daemon that installed it.
    pub(crate) fn remove(
        &mut self,
        symbol: SymbolId,
        name: &str,
        ifindex: IfIndex,
        watched: Option<&mut Watched>,
    ) {
        self.ways.remove(&symbol);
        // A namespace that is gone has taken it along.
        if let Some(Err(error)) = watched.map(|watched| watched.return_tables.remove(ifindex)) {
            warn!(target: "control::symbol", "symbol {name}: removing its routes for answers: {error}");
        }
    }
}

impl Installed {
    fn note_carrier(&mut self, carrier: bool) {
        if let Some(last_resort) = &mut self.path.last_resort {
            *last_resort = if carrier { LastResort::Carrier } else { LastResort::NoCarrier };
        }
    }

    fn install(&mut self, name: &str, tables: &mut ReturnTables) {
        let refused = tables
            .install(self.ifindex, &self.path)
            .unwrap_or_else(|error| vec![format!("the routes and rules of its own: {error}")]);
        for what in refused.iter().filter(|what| !self.refused.contains(what)) {
            warn!(target: "control::symbol", "symbol {name}: answers may go astray without {what}");
        }
        self.refused = refused;
    }
}

/// Removes the rules of symbols that are gone, of daemons that were killed.
pub(crate) fn sweep(namespaces: &[Namespace]) {
    for namespace in namespaces {
        let netns = namespace.name().map_or_else(NetNs::current, NetNs::named);
        match netns.and_then(|netns| ReturnTables::sweep_in(&netns)) {
            Ok(()) | Err(SetupError::NoNetNs { .. }) => {}
            Err(error) => warn!(target: "control::symbol", "{}: {error}", namespace.id),
        }
    }
}

fn path(WayBack { sources, routes, last_resort }: WayBack) -> ReturnPath {
    let routes = routes
        .into_iter()
        .map(|way| ReturnRoute { destination: way.destination, gateways: way.gateways })
        .collect();
    ReturnPath { sources, routes, last_resort: last_resort.then_some(LastResort::NoCarrier) }
}
