//! What the core asks of the daemon, and what it wants to know.

use crate::daemon::Daemon;
use crate::namespaces::{Namespace, Watched};
use crate::symbol_interface::Standing;
use control_core::seen::{IfIndex, NumberedSocket, RouteFamilies};
use control_core::{Action, Failure, NamespaceId, VerifyRow};
use core::fmt;
use frames::SymbolId;
use l2link::Time;
use l2link_os::api::{failure, success};
use log::{error, warn};
use std::io;

impl Daemon {
    /// Does what the core asks for, until it asks for nothing more.
    pub(crate) fn act(&mut self, now: Time) {
        self.do_actions(now);
        self.answer_programs(now);
    }

    fn do_actions(&mut self, now: Time) {
        while let Some(action) = self.control.poll_action() {
            match action {
                // A symbol of files has nothing but its mount point.
                Action::CreateSymbol { symbol, .. } if self.files.has(symbol) => {
                    match self.files.mount(self.poll.registry()) {
                        Ok(()) => self.control.handle_symbol_created(symbol, IfIndex(0), now),
                        Err(failure) => self.control.handle_symbol_failed(symbol, failure, now),
                    }
                }
                Action::UpdateSymbol { symbol, .. }
                | Action::SetCarrier { symbol, .. }
                | Action::RemoveSymbol { symbol }
                    if self.files.has(symbol) => {}
                Action::CreateSymbol { symbol, attributes } => {
                    let registry = self.poll.registry();
                    match self.symbols.create(symbol, &attributes, &mut self.namespaces, registry, now) {
                        Ok(ifindex) => self.control.handle_symbol_created(symbol, ifindex, now),
                        Err(failure) => self.control.handle_symbol_failed(symbol, failure, now),
                    }
                }
                Action::UpdateSymbol { symbol, attributes } => {
                    if let Err(failure) = self.symbols.update(symbol, &attributes, &mut self.namespaces, now)
                    {
                        self.control.handle_symbol_failed(symbol, failure, now);
                    }
                }
                Action::SetCarrier { symbol, up } => {
                    if let Err(error) = self.symbols.set_carrier(symbol, up, &mut self.namespaces) {
                        let name = self.symbols.name(symbol);
                        error!(target: "control::symbol", "symbol {name}: setting the carrier: {error}");
                    }
                }
                Action::RemoveSymbol { symbol } => {
                    self.symbols.remove(symbol, &mut self.namespaces, self.poll.registry(), now);
                }
                Action::DumpSockets { namespace, part } => {
                    let symbols = self.symbols.interfaces_in(namespace);
                    let look = |watched: &mut Watched| watched.open_sockets(part, &symbols);
                    if let Some(seen) = self.look(namespace, look, now) {
                        self.control.handle_sockets(namespace, part, &seen, now);
                        // A new listener's rule does not wait for the looks that follow.
                        self.transmit(now);
                    }
                }
                Action::DumpConnections { namespace } => {
                    if let Some(seen) = self.look(namespace, |watched| watched.connections(), now) {
                        self.control.handle_connections(namespace, &seen, now);
                    }
                }
                Action::DumpMemberships { namespace } => {
                    let symbols = self.symbols.interfaces_in(namespace);
                    if let Some(groups) = self.look(namespace, |watched| watched.groups(&symbols), now) {
                        let seen = self.symbols.sort_groups(namespace, &groups);
                        self.control.handle_memberships(namespace, &seen, now);
                    }
                }
                Action::ListAddresses { namespace } => self.list_addresses(namespace, now),
                Action::DumpRoutes { namespace, families } => {
                    let place = self.namespaces.iter_mut().find(|place| place.id == namespace);
                    if let Some(watch) = place.and_then(|place| place.watched()?.routes.as_mut()) {
                        watch.list(families);
                    }
                }
                Action::Verified { rows } => self.verified(&rows),
                Action::Report(report) => {
                    if let Ok(event) = serde_json::to_value(&report) {
                        self.api.broadcast(&event);
                    }
                }
            }
        }
    }

    /// Looks into a namespace; a look that fails is taken again later.
    fn look<T>(
        &mut self,
        namespace: NamespaceId,
        look: impl FnOnce(&mut Watched) -> io::Result<T>,
        now: Time,
    ) -> Option<T> {
        let place = self.namespaces.iter_mut().find(|place| place.id == namespace)?;
        look(place.watched()?)
            .inspect_err(|error| {
                self.looks.warn(now, format_args!("looking at the sockets of {namespace}: {error}"))
            })
            .ok()
    }

    /// The sockets of all namespaces, with their numbers.
    pub(crate) fn numbered_sockets(&mut self, now: Time) -> Vec<NumberedSocket> {
        let namespaces: Vec<NamespaceId> = self.namespaces.iter().map(|namespace| namespace.id).collect();
        let look = |namespace| {
            let symbols = self.symbols.interfaces_in(namespace);
            self.look(namespace, |watched| watched.numbered_sockets(namespace, &symbols), now)
        };
        namespaces.into_iter().filter_map(look).flatten().collect()
    }

    pub(crate) fn take_closed(&mut self, namespace: NamespaceId, now: Time) {
        let Some((closed, overrun)) = self.look(namespace, |watched| watched.closed_sockets(), now) else {
            return;
        };
        for socket in &closed {
            self.control.handle_socket_closed(namespace, socket, now);
        }
        if overrun {
            self.control.handle_closed_overrun(namespace, now);
        }
    }

    /// Interfaces, addresses or routing rules of a namespace may have changed.
    pub(crate) fn follow_interfaces(&mut self, namespace: NamespaceId, now: Time) {
        // A bell that cannot be heard counts as rung.
        if self.look(namespace, |watched| watched.bell.drain(), now).unwrap_or(true) {
            let symbols = &mut self.symbols;
            let place = self.namespaces.iter_mut().find(|place| place.id == namespace);
            if let Some(watched) = place.and_then(Namespace::watched) {
                let standings = symbols.follow(namespace, watched);
                symbols.restore_ways_back(namespace, watched);
                let fast = symbols.look_at_fast_path(namespace, watched);
                match fast.and(standings) {
                    Ok(standings) => self.take_standings(standings, now),
                    Err(error) => {
                        self.looks.warn(now, format_args!("looking at the symbols of {namespace}: {error}"));
                    }
                }
            }
            self.list_addresses(namespace, now);
        }
    }

    fn take_standings(&mut self, standings: Vec<(SymbolId, Standing)>, now: Time) {
        for (symbol, standing) in standings {
            match standing {
                Standing::There { altered } => {
                    self.control.handle_symbol_altered(symbol, altered.as_deref(), now)
                }
                Standing::Gone => {
                    self.lose_symbol(symbol, "it was removed, or moved to another namespace", now)
                }
            }
        }
    }

    /// A symbol's interface is of no use any more.
    pub(crate) fn lose_symbol(&mut self, symbol: SymbolId, why: impl fmt::Display, now: Time) {
        let name = self.symbols.name(symbol);
        warn!(target: "control::symbol", "symbol {name}: the interface is gone: {why}");
        self.symbols.remove(symbol, &mut self.namespaces, self.poll.registry(), now);
        self.control.handle_symbol_failed(symbol, Failure::Removed, now);
    }

    /// Tells the core what programs put on the symbols of a namespace.
    fn list_addresses(&mut self, namespace: NamespaceId, now: Time) {
        let Some(present) = self.look(namespace, |watched| watched.netlink.addresses(None), now) else {
            return;
        };
        for (symbol, addresses) in self.symbols.foreign_addresses(namespace, &present) {
            self.control.handle_symbol_addresses(symbol, &addresses);
        }
    }

    /// Takes what the kernel tells of routes. Returns whether there may be more.
    pub(crate) fn follow_routes(&mut self, namespace: NamespaceId, now: Time) -> bool {
        let place = self.namespaces.iter_mut().find(|place| place.id == namespace);
        let Some(watch) = place.and_then(|place| place.watched()?.routes.as_mut()) else { return false };
        match watch.follow(namespace, &mut self.control) {
            Ok(more) => more,
            Err(error) => {
                self.looks.warn(now, format_args!("watching the routes of {namespace}: {error}"));
                watch.list(RouteFamilies::BOTH);
                false
            }
        }
    }

    /// Goes on with lists of routes. Returns whether there is more to list.
    pub(crate) fn list_routes(&mut self, now: Time) -> bool {
        let mut more = false;
        for place in &mut self.namespaces {
            let id = place.id;
            let Some(watched) = place.watched() else { continue };
            let Some(watch) = watched.routes.as_mut().filter(|watch| watch.is_listing()) else { continue };
            if let Err(error) = watch.step(&watched.netns, id, &mut self.control, now) {
                self.looks.warn(now, format_args!("listing the routes of {id}: {error}"));
            }
            more |= watch.is_listing();
        }
        more
    }

    /// Tells those who asked what a verification found.
    fn verified(&mut self, rows: &[VerifyRow]) {
        let answer = serde_json::to_value(rows).map_or_else(failure, success);
        for client in std::mem::take(&mut self.verifying) {
            self.api.answer(client, &answer);
        }
    }

    pub(crate) fn take_group_events(&mut self, namespace: NamespaceId, now: Time) {
        let changed = self.look(
            namespace,
            |watched| watched.group_events.as_mut().map_or(Ok(false), |events| events.drain()),
            now,
        );
        if changed == Some(true) {
            self.control.handle_memberships_changed(namespace, now);
        }
    }
}
