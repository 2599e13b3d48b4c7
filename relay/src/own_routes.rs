//! [`OwnRoutes`]: the kernel's main table, for what controls are told of ports.
//!
//! It is listed at the start, and again when a route of others has changed: a bounded part of it in each turn, and seldom
//! enough that a long table that changes all the time does not keep the daemon busy. The kernel's list of IPv6 routes
//! may silently lack some if any changed while it was written (`inet6_dump_fib` resumes by counting), so it counts only if
//! none did.

use crate::complaint::Complaint;
use core::time::Duration;
use frames::route::{RouteKey, RouteKind};
use l2link::Time;
use l2link_os::NetNs;
use l2link_os::routes::{Families, KernelRoute, Progress, RouteDump};
use relay_core::{WayOut, WaysOut};
use std::io;

/// The relay's own routes.
#[derive(Debug)]
pub(crate) struct OwnRoutes {
    netns: NetNs,
    known: WaysOut,
    list: Option<List>,
    /// When the next list is to begin.
    wanted: Option<Time>,
    earliest: Time,
    complaint: Complaint,
}

/// A list under way.
#[derive(Debug)]
struct List {
    dump: RouteDump,
    found: WaysOut,
    began: Time,
    /// How often IPv6 routes had changed when it began.
    ipv6_changes: u64,
}

/// Routes of one turn.
const LISTED: usize = 1_000;
/// Least time between two lists.
const PAUSE: Duration = Duration::from_millis(50);
/// A list takes at most this part of the time.
const SHARE: u32 = 10;

impl OwnRoutes {
    /// Wants a first list.
    pub(crate) fn new(netns: &NetNs, now: Time) -> Self {
        Self {
            netns: netns.clone(),
            known: WaysOut::default(),
            list: None,
            wanted: Some(now),
            earliest: now,
            complaint: Complaint::default(),
        }
    }

    /// What the last list found.
    pub(crate) fn known(&self) -> &WaysOut {
        &self.known
    }

    /// A route has changed.
    pub(crate) fn handle_changed(&mut self, now: Time) {
        self.wanted.get_or_insert(now.max(self.earliest));
    }

    /// When [`OwnRoutes::step`] wants to be called.
    pub(crate) fn poll_timeout(&self, now: Time) -> Option<Time> {
        if self.list.is_some() { Some(now) } else { self.wanted }
    }

    /// Goes on with the list, or begins the one that is wanted. Returns whether something is new.
    pub(crate) fn step(&mut self, ipv6_changes: u64, now: Time) -> bool {
        self.try_step(ipv6_changes, now).unwrap_or_else(|error| {
            self.complaint.warn("relay::route", format!("listing the relay's own routes: {error}"), now);
            self.list = None;
            // Not at once: the next change has it listed again.
            false
        })
    }

    fn try_step(&mut self, ipv6_changes: u64, now: Time) -> io::Result<bool> {
        if self.list.is_none() {
            if self.wanted.is_none_or(|wanted| wanted > now) {
                return Ok(false);
            }
            self.wanted = None;
            let dump = RouteDump::start(&self.netns, Families::Both, None).map_err(io::Error::other)?;
            let (dump, found) = (dump.of_table(RouteKey::MAIN), WaysOut::default());
            self.list = Some(List { dump, found, began: now, ipv6_changes });
        }
        let Some(list) = &mut self.list else { return Ok(false) };
        let found = &mut list.found;
        let progress = list.dump.step(LISTED, |route| ways(&route).for_each(|way| found.add(&way)))?;
        let whole = match progress {
            Progress::More => return Ok(false),
            Progress::Done => list.ipv6_changes == ipv6_changes,
            Progress::Interrupted => false,
        };
        let took = now - list.began;
        self.earliest = now + (took * SHARE).max(PAUSE);
        let Some(List { found, .. }) = self.list.take() else { return Ok(false) };
        if !whole {
            self.handle_changed(now);
            return Ok(false);
        }
        let changed = self.known != found;
        self.known = found;
        Ok(changed)
    }
}

/// The nexthops of a route by which packets can leave.
fn ways(route: &KernelRoute) -> impl Iterator<Item = WayOut> {
    let usable = route.kind == RouteKind::Unicast && route.unsupported.is_none();
    let nexthops = if usable { route.nexthops.as_slice() } else { &[] };
    nexthops.iter().map(|nexthop| WayOut {
        ifindex: nexthop.ifindex.0,
        destination: route.key.prefix,
        gateway: nexthop.gateway,
        onlink: nexthop.onlink,
        metric: route.key.metric,
        protocol: route.protocol,
    })
}
