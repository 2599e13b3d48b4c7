//! [`RouteWatch`]: the routes of a namespace, for the core.
//!
//! The kernel's notifications tell of changes; a list of all routes corrects what they left out. Both take a bounded part of
//! each turn, so that packets do not wait for a million routes. The kernel's list of IPv6 routes may silently lack some if
//! any changed while it was written (`inet6_dump_fib` resumes by counting), so it counts only if none did.

use control_core::seen::{IfIndex, Route, RouteChange, RouteFamilies, RouteHop};
use control_core::{NamespaceId, Recorded};
use l2link::Time;
use l2link_os::routes::{
    Change, Families, KernelNexthop, KernelRoute, Progress, RouteDump, RouteEvent, RouteMonitor,
};
use l2link_os::{NetNs, SetupError};
use std::borrow::Cow;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Watches the routes of a namespace.
#[derive(Debug)]
pub(crate) struct RouteWatch {
    monitor: RouteMonitor,
    list: Option<List>,
    /// A list is wanted when the present one has ended.
    again: Option<Families>,
    /// Changes of IPv6 routes that were told.
    ipv6_changes: u64,
}

/// A list of routes under way.
#[derive(Debug)]
struct List {
    dump: RouteDump,
    families: Families,
    /// [`RouteWatch::ipv6_changes`] when it began.
    ipv6_changes: u64,
}

/// Notifications of one turn.
const EVENTS: usize = 1_024;
/// Routes of a list of one turn.
const LISTED: usize = 1_000;

impl RouteWatch {
    /// Watches from now on, and wants a first list.
    pub(crate) fn open(netns: &NetNs) -> Result<Self, SetupError> {
        Ok(Self {
            monitor: RouteMonitor::open(netns)?,
            list: None,
            again: Some(Families::Both),
            ipv6_changes: 0,
        })
    }

    /// Whether [`RouteWatch::step`] has something to do.
    pub(crate) fn is_listing(&self) -> bool {
        self.list.is_some() || self.again.is_some()
    }

    /// Wants a list, now or when the present one has ended.
    pub(crate) fn list(&mut self, families: RouteFamilies) {
        let families = match (families.ipv4, families.ipv6) {
            (true, false) => Families::Ipv4,
            (false, true) => Families::Ipv6,
            _ => Families::Both,
        };
        self.want(families);
    }

    fn want(&mut self, families: Families) {
        self.again = Some(self.again.map_or(families, |wanted| wanted.union(families)));
    }

    /// Takes notifications. Returns whether there may be more.
    pub(crate) fn follow(&mut self, namespace: NamespaceId, control: &mut Recorded) -> io::Result<bool> {
        for _ in 0..EVENTS {
            let Some(event) = self.monitor.next_event()? else { return Ok(false) };
            self.ipv6_changes += u64::from(event.is_ipv6());
            match event {
                RouteEvent::Set { route, how } => control.handle_route(namespace, &seen(route), change(how)),
                RouteEvent::Gone { key, protocol, nexthops } => {
                    control.handle_route_gone(namespace, key, protocol, nexthops);
                }
                RouteEvent::Redump(families) => self.want(families),
                RouteEvent::Interfaces => {}
            }
        }
        Ok(true)
    }

    /// Goes on with the list, or begins the one that is wanted.
    pub(crate) fn step(
        &mut self,
        netns: &NetNs,
        namespace: NamespaceId,
        control: &mut Recorded,
        now: Time,
    ) -> io::Result<()> {
        if self.list.is_none() {
            let Some(families) = self.again.take() else { return Ok(()) };
            let dump = RouteDump::start(netns, families, None).map_err(io::Error::other)?;
            control.handle_route_dump_begins(namespace, of(families));
            self.list = Some(List { dump, families, ipv6_changes: self.ipv6_changes });
        }
        let Some(list) = &mut self.list else { return Ok(()) };
        let each = |route| control.handle_route_dumped(namespace, &seen(route));
        match list.dump.step(LISTED, each) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => {
                let (families, before) = (list.families, list.ipv6_changes);
                self.list = None;
                // What the kernel told meanwhile goes before the list.
                if self.follow(namespace, control)? {
                    self.want(families);
                    return Ok(());
                }
                let whole = !families.ipv6() || self.ipv6_changes == before;
                let ended = RouteFamilies { ipv4: families.ipv4(), ipv6: families.ipv6() && whole };
                control.handle_route_dump_ends(namespace, ended, now);
                if !whole {
                    self.want(Families::Ipv6);
                }
            }
            Ok(Progress::Interrupted) => {
                let families = list.families;
                self.list = None;
                self.want(families);
            }
            Err(error) => {
                self.list = None;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl AsRawFd for RouteWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.monitor.as_raw_fd()
    }
}

fn of(families: Families) -> RouteFamilies {
    RouteFamilies { ipv4: families.ipv4(), ipv6: families.ipv6() }
}

fn change(how: Change) -> RouteChange {
    match how {
        Change::New => RouteChange::New,
        Change::Replaced => RouteChange::Replaced,
        Change::Appended => RouteChange::Appended,
    }
}

fn seen(route: KernelRoute) -> Route {
    let KernelRoute { key, kind, protocol, mtu, nexthops, unsupported } = route;
    let hop = |nexthop: KernelNexthop| RouteHop {
        interface: IfIndex(nexthop.ifindex.0),
        gateway: nexthop.gateway,
        weight: nexthop.weight,
        onlink: nexthop.onlink,
    };
    Route {
        key,
        kind,
        protocol,
        mtu,
        nexthops: nexthops.into_iter().map(hop).collect(),
        unsupported: unsupported.map(Cow::Borrowed),
    }
}
