//! Routes between the link, the [`Fib`](crate::fib) and the shell.

use crate::action::Action;
use crate::fib::{Answer, RouteFailure, RouteRow, RouteSeen, RoutesSeen};
use crate::relay::Relay;
use crate::show::CounterRow;
use frames::RequestId;
use frames::message::{Message, RouteReply, RoutesDone};
use frames::route::RouteKey;
use l2link::Time;
use std::collections::BTreeSet;

impl Relay {
    /// A look at the kernel's routes begins ([`Action::LookAtRoutes`], or by the shell's own will). Nothing is changed
    /// before the first has ended.
    pub fn handle_look_begins(&mut self) {
        self.fib.look_begins();
    }

    /// The look shows this route, with the project's mark.
    pub fn handle_route_seen(&mut self, seen: &RouteSeen) {
        self.fib.seen(seen, &self.ports);
    }

    /// The look is over, and was whole for these versions of IP.
    pub fn handle_look_ends(&mut self, all: RoutesSeen, now: Time) {
        self.fib.look_ends(all, now);
        if let Some(rows) = self.fib.verified.take() {
            self.actions.push_back(Action::Verified(rows));
        }
    }

    /// Somebody else set a route with the project's mark.
    pub fn handle_route_told(&mut self, told: &RouteSeen) {
        self.fib.told(told, &self.ports);
    }

    /// Somebody else deleted a route with the project's mark, or `nexthops` of its nexthops.
    pub fn handle_route_gone(&mut self, key: RouteKey, nexthops: usize) {
        self.fib.gone(key, nexthops);
    }

    /// Somebody else replaced a route by one of their own.
    pub fn handle_route_overwritten(&mut self, key: RouteKey) {
        self.fib.overwritten(key);
    }

    /// Somebody else deleted a route of their own.
    pub fn handle_foreign_route_gone(&mut self, key: RouteKey) {
        self.fib.made_room(key);
    }

    /// Interfaces or addresses changed: what could not be installed perhaps can be now.
    pub fn handle_interfaces_changed(&mut self, now: Time) {
        self.fib.interfaces_changed(now);
    }

    /// Whether [`Relay::change_routes`] has something to do.
    #[must_use]
    pub fn routes_waiting(&self) -> bool {
        self.fib.is_waiting()
    }

    /// Asks for the next batch of changes of the kernel's routes, if there are any: about a millisecond of its time.
    pub fn change_routes(&mut self) {
        if let Some(operations) = self.fib.decide(&self.ports) {
            self.actions.push_back(Action::ChangeRoutes(operations));
        }
        self.answer_routes();
    }

    /// The changes of [`Action::ChangeRoutes`] were made, all but these.
    pub fn handle_routes_changed(&mut self, failures: &[RouteFailure], now: Time) {
        self.fib.landed(failures, now);
        self.answer_routes();
    }

    /// Compares what is known of the kernel's routes with a fresh look: ends in [`Action::Verified`].
    pub fn verify(&mut self) {
        self.fib.verify();
        self.answer_routes();
    }

    /// Rows of `show routes` behind the place that `after` names, and the name of the place where they end, if there are
    /// more.
    #[must_use]
    pub fn show_routes(&self, after: Option<&str>) -> (Vec<RouteRow>, Option<String>) {
        self.fib.rows(after, &self.config.name, &self.ports)
    }

    pub(crate) fn route_counters(&self) -> impl Iterator<Item = CounterRow> {
        let counts = self.fib.counts;
        let rows = [
            ("routes", self.fib.len()),
            ("routes-installed", counts.installed),
            ("routes-refused", self.fib.refused()),
            ("routes-stale", self.fib.stale()),
            ("routes-repaired", counts.repaired),
            ("route-looks", counts.looks),
        ];
        rows.into_iter().map(|(name, value)| CounterRow { name: name.to_owned(), value })
    }

    /// Has the shell remember who has routes or rules, if that changed.
    fn remember_controls(&mut self) {
        let names: BTreeSet<&String> = self.fib.holders().chain(self.dispatch.controls()).collect();
        if !names.iter().copied().eq(&self.remembered) {
            let names: BTreeSet<String> = names.into_iter().cloned().collect();
            self.remembered.clone_from(&names);
            self.actions.push_back(Action::RememberControls(names));
        }
    }

    /// Tells the controls what came of their routes.
    pub(crate) fn answer_routes(&mut self) {
        for (peer, answer) in core::mem::take(&mut self.fib.answers) {
            match answer {
                Answer::Reply { key, status, text } => {
                    let reply = RouteReply { key, status, text: &text };
                    self.link.send_message(peer, &Message::RouteReply(reply));
                }
                Answer::Done(request) => {
                    let done = RoutesDone { request: RequestId(request) };
                    self.link.send_message(peer, &Message::RoutesDone(done));
                }
            }
        }
        for (peer, digest) in self.fib.take_digests() {
            self.link.set_routes_digest(peer, digest);
        }
        self.remember_controls();
        if self.fib.take_look_wanted() {
            self.actions.push_back(Action::LookAtRoutes);
        }
    }
}
