//! [`Routes`]: the kernel's routes, as the core wants them.
//!
//! The kernel's table is looked at when the daemon starts, when routes may be gone without a word, and when the core
//! asks for it. The kernel's list of IPv6 routes may silently lack some if any changed while it was written
//! (`inet6_dump_fib` resumes by counting), so it counts only if none did. In between its notifications tell what others do.
//! A look and a batch of changes take about a millisecond of a turn each, so that packets do not wait for a million routes.

use crate::complaint::Complaint;
use crate::source::Source;
use crate::wire::register;
use frames::route::RouteKey;
use l2link::{Histogram, Time};
use l2link_os::return_tables::is_table;
use l2link_os::routes::{
    Change, Families, KernelNexthop, KernelRoute, PROTOCOL, Progress, RouteChange, RouteDump, RouteEvent,
    RouteMonitor, RouteWriter,
};
use l2link_os::{IfIndex, NetNs, SetupError, clock};
use mio::Registry;
use relay_core::{Recorded, RouteFailure, RouteNexthop, RouteOperation, RouteSeen, RoutesSeen};
use std::io;

/// The kernel's routes.
#[derive(Debug)]
pub(crate) struct Routes {
    netns: NetNs,
    writer: RouteWriter,
    monitor: RouteMonitor,
    look: Option<Look>,
    /// A look is wanted when the present one has ended.
    again: Option<Families>,
    /// Changes of IPv6 routes that were seen or made.
    ipv6_changes: u64,
    /// Whether a route of others in the main table may have changed since it was asked last.
    others_changed: bool,
    complaint: Complaint,
    /// What the kernel took for each batch of changes.
    batches: Histogram,
}

/// A look under way.
#[derive(Debug)]
struct Look {
    dump: RouteDump,
    families: Families,
    /// [`Routes::ipv6_changes`] when it began.
    ipv6_changes: u64,
}

/// Notifications of one turn.
const EVENTS: usize = 1_024;
/// Routes of one turn of a look.
const SEEN: usize = 1_000;
/// Routes that are deleted together at the end.
const DELETED: usize = 4_096;
/// How often routes are listed at the end, until there are none.
const PASSES: usize = 16;

impl Routes {
    /// Watches from now on, and begins a first look.
    pub(crate) fn open(netns: &NetNs, registry: &Registry) -> Result<Self, SetupError> {
        let monitor = RouteMonitor::open(netns)?;
        register(registry, &monitor, Source::Routes)
            .map_err(|error| SetupError::system("watching the routes", error))?;
        let writer = RouteWriter::open(netns)?;
        monitor
            .ignore(&writer)
            .map_err(|error| SetupError::system("watching the routes of others", error))?;
        Ok(Self {
            netns: netns.clone(),
            writer,
            monitor,
            look: None,
            again: Some(Families::Both),
            ipv6_changes: 0,
            batches: Histogram::default(),
            others_changed: false,
            complaint: Complaint::default(),
        })
    }

    /// Whether [`Routes::step`] has something to do.
    pub(crate) fn is_looking(&self) -> bool {
        self.look.is_some() || self.again.is_some()
    }

    /// Has the kernel looked at, now or again when the present look has ended.
    pub(crate) fn look(&mut self, families: Families) {
        self.again = Some(self.again.map_or(families, |wanted| wanted.union(families)));
    }

    /// How often IPv6 routes were seen to change, or changed.
    pub(crate) fn ipv6_changes(&self) -> u64 {
        self.ipv6_changes
    }

    /// Whether a route of others in the main table may have changed since the last call.
    pub(crate) fn take_others_changed(&mut self) -> bool {
        core::mem::take(&mut self.others_changed)
    }

    /// Takes notifications. Returns whether there may be more.
    pub(crate) fn follow(&mut self, relay: &mut Recorded, now: Time) -> bool {
        for _ in 0..EVENTS {
            let event = match self.monitor.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => return false,
                Err(error) => {
                    self.complaint.warn("relay::route", format!("watching the routes: {error}"), now);
                    self.look(Families::Both);
                    return false;
                }
            };
            self.ipv6_changes += u64::from(event.is_ipv6());
            if is_of_symbol(&event) {
                continue;
            }
            self.others_changed |= is_of_others(&event);
            match event {
                RouteEvent::Set { route, .. } if route.protocol == PROTOCOL => {
                    relay.handle_route_told(&seen(&route));
                }
                RouteEvent::Set { route, how: Change::Replaced } => relay.handle_route_overwritten(route.key),
                RouteEvent::Set { .. } => {}
                RouteEvent::Gone { key, protocol: PROTOCOL, nexthops } => {
                    relay.handle_route_gone(key, nexthops);
                }
                RouteEvent::Gone { key, .. } => relay.handle_foreign_route_gone(key),
                RouteEvent::Redump(families) => {
                    if self.monitor.overruns() > 0 {
                        log::info!(target: "relay::route", "the kernel told more of routes than was read in time: looking at all");
                    }
                    self.look(families);
                }
                RouteEvent::Interfaces => relay.handle_interfaces_changed(now),
            }
        }
        true
    }

    /// Goes on with the present look, or begins the one that is wanted. Returns whether there may be more notifications.
    pub(crate) fn step(&mut self, relay: &mut Recorded, now: Time) -> bool {
        self.try_step(relay, now).unwrap_or_else(|error| {
            self.complaint.warn("relay::route", format!("looking at the routes: {error}"), now);
            self.look = None;
            // Not at once: the next change of anything, or the core's next doubt, has it looked at again.
            false
        })
    }

    fn try_step(&mut self, relay: &mut Recorded, now: Time) -> io::Result<bool> {
        if self.look.is_none() {
            let Some(families) = self.again.take() else { return Ok(false) };
            let dump = RouteDump::start(&self.netns, families, Some(PROTOCOL)).map_err(io::Error::other)?;
            relay.handle_look_begins();
            self.look = Some(Look { dump, families, ipv6_changes: self.ipv6_changes });
        }
        let Some(look) = &mut self.look else { return Ok(false) };
        let each = |route: KernelRoute| {
            if !is_table(route.key.table) {
                relay.handle_route_seen(&seen(&route));
            }
        };
        match look.dump.step(SEEN, each)? {
            Progress::More => {}
            Progress::Done => {
                let (families, before) = (look.families, look.ipv6_changes);
                self.look = None;
                // What the kernel told meanwhile counts for this look. While it tells more than can be read, IPv4 does
                // not have to wait: each of its routes is listed as it was at some moment of the look.
                let more = self.follow(relay, now);
                let whole = !families.ipv6() || (!more && self.ipv6_changes == before);
                relay.handle_look_ends(
                    RoutesSeen { ipv4: families.ipv4(), ipv6: families.ipv6() && whole },
                    now,
                );
                if !whole {
                    self.look(Families::Ipv6);
                }
                return Ok(more);
            }
            Progress::Interrupted => {
                let families = look.families;
                self.look = None;
                self.look(families);
            }
        }
        Ok(false)
    }

    /// What the kernel took for each batch of changes.
    pub(crate) fn batches(&self) -> &Histogram {
        &self.batches
    }

    /// Makes changes, and tells the core of those that the kernel refused.
    pub(crate) fn change(&mut self, operations: Vec<RouteOperation>, relay: &mut Recorded, now: Time) {
        let changes: Vec<RouteChange> = operations.into_iter().map(change).collect();
        self.ipv6_changes += changes.iter().filter(|change| change.is_ipv6()).count() as u64;
        let before = clock::now();
        let applied = self.writer.apply(&changes);
        self.batches.record(clock::now() - before);
        let failures = match applied {
            Ok(failures) => failures
                .into_iter()
                .map(|failure| {
                    let errno = failure.error.raw_os_error().unwrap_or(0);
                    let text = if failure.text.is_empty() { failure.error.to_string() } else { failure.text };
                    RouteFailure { place: failure.index, errno, text }
                })
                .collect(),
            Err(error) => {
                // What came of each is unknown: a look will tell.
                self.complaint.warn("relay::route", format!("changing routes: {error}"), now);
                self.look(Families::Both);
                let errno = error.raw_os_error().unwrap_or(0);
                let failure = |place| RouteFailure { place, errno, text: error.to_string() };
                (0..changes.len()).map(failure).collect::<Vec<_>>()
            }
        };
        relay.handle_routes_changed(&failures, now);
    }

    /// Deletes every route with the project's mark.
    pub(crate) fn remove_all(mut self) -> io::Result<()> {
        // A list of IPv6 routes is not whole if others change routes meanwhile: until one shows none. What the kernel does
        // not delete is no reason to try for ever.
        for _ in 0..PASSES {
            let keys = self.keys()?;
            if keys.is_empty() {
                return Ok(());
            }
            for batch in keys.chunks(DELETED) {
                let batch: Vec<_> = batch.iter().map(|key| RouteChange::Delete(*key, PROTOCOL)).collect();
                // One that is gone already is what is wanted.
                self.writer.apply(&batch)?;
            }
        }
        log::warn!(target: "relay::route", "some routes of the relay could not be deleted");
        Ok(())
    }

    /// The keys of all routes with the project's mark.
    fn keys(&self) -> io::Result<Vec<RouteKey>> {
        let mut keys = Vec::new();
        let mut dump =
            RouteDump::start(&self.netns, Families::Both, Some(PROTOCOL)).map_err(io::Error::other)?;
        while dump.step(SEEN, |route| keys.push(route.key))? == Progress::More {}
        keys.retain(|key| !is_table(key.table));
        Ok(keys)
    }
}

/// Whether it is about the return path of a symbol, by a control on this machine, whose mark is the same.
fn is_of_symbol(event: &RouteEvent) -> bool {
    match event {
        RouteEvent::Set { route, .. } => is_table(route.key.table),
        RouteEvent::Gone { key, .. } => is_table(key.table),
        RouteEvent::Redump(_) | RouteEvent::Interfaces => false,
    }
}

fn is_of_others(event: &RouteEvent) -> bool {
    match event {
        RouteEvent::Set { route, .. } => route.protocol != PROTOCOL && route.key.table == RouteKey::MAIN,
        RouteEvent::Gone { key, protocol, .. } => *protocol != PROTOCOL && key.table == RouteKey::MAIN,
        RouteEvent::Redump(_) => true,
        RouteEvent::Interfaces => false,
    }
}

fn seen(route: &KernelRoute) -> RouteSeen {
    let nexthop = |nexthop: &KernelNexthop| RouteNexthop {
        ifindex: nexthop.ifindex.0,
        gateway: nexthop.gateway,
        weight: nexthop.weight,
        onlink: nexthop.onlink,
    };
    let nexthops = route.nexthops.iter().map(nexthop).collect();
    RouteSeen { key: route.key, kind: route.kind, mtu: route.mtu, nexthops }
}

fn change(operation: RouteOperation) -> RouteChange {
    match operation {
        RouteOperation::Delete { key } => RouteChange::Delete(key, PROTOCOL),
        RouteOperation::Set { key, replace, kind, mtu, nexthops } => {
            let nexthop = |nexthop: RouteNexthop| KernelNexthop {
                ifindex: IfIndex(nexthop.ifindex),
                gateway: nexthop.gateway,
                weight: nexthop.weight,
                onlink: nexthop.onlink,
            };
            let nexthops = nexthops.into_iter().map(nexthop).collect();
            let route = KernelRoute { key, kind, protocol: PROTOCOL, mtu, nexthops, unsupported: None };
            if replace { RouteChange::Replace(route) } else { RouteChange::Add(route) }
        }
    }
}
