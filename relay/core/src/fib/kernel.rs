//! What is asked of the kernel, and what is seen of it.

use super::{Fib, Installed};
use crate::port::Ports;
use core::net::IpAddr;
use frames::message;
use frames::route::{RouteContent, RouteKey, RouteKind};
use l2link::Time;

/// A nexthop as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteNexthop {
    /// Index of the interface.
    pub ifindex: u32,
    /// The neighbour; none if the destination itself is one.
    pub gateway: Option<IpAddr>,
    /// Share of flows, from 1.
    pub weight: u16,
    /// Whether the gateway counts as reachable whatever the interface's addresses.
    pub onlink: bool,
}

/// A change of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteOperation {
    /// Put the route in, with the project's mark.
    Set {
        /// Which.
        key: RouteKey,
        /// In place of the one of this key, which is ours; else only where there is none.
        replace: bool,
        /// What becomes of packets.
        kind: RouteKind,
        /// Largest packet in bytes, zero for the interface's.
        mtu: u32,
        /// Where it leads.
        nexthops: Vec<RouteNexthop>,
    },
    /// Take our route of this key out.
    Delete {
        /// Which.
        key: RouteKey,
    },
}

/// The kernel refused an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFailure {
    /// Place of the operation in its list.
    pub place: usize,
    /// The kernel's error number.
    pub errno: i32,
    /// What it says.
    pub text: String,
}

/// A route with the project's mark, as it is in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSeen {
    /// Which.
    pub key: RouteKey,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Largest packet in bytes, zero for the interface's.
    pub mtu: u32,
    /// Where it leads.
    pub nexthops: Vec<RouteNexthop>,
}

/// Of which versions of IP all routes have been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutesSeen {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl Fib {
    /// A look at the kernel begins.
    pub(crate) fn look_begins(&mut self) {
        // Zero stands for never.
        self.look = self.look.checked_add(1).unwrap_or(1);
        self.counts.looks += 1;
        self.verification_begins();
    }

    /// The look shows this route, with the project's mark. The kernel lists ahead of what is read: what has changed since
    /// the look began is known better.
    pub(crate) fn seen(&mut self, seen: &RouteSeen, ports: &Ports) {
        if self.entries.get(&seen.key).is_none_or(|entry| entry.seen != self.look) {
            self.told(seen, ports);
        }
    }

    /// The kernel has this route now, with the project's mark.
    pub(crate) fn told(&mut self, seen: &RouteSeen, ports: &Ports) {
        let said = self.said(seen, ports);
        let look = self.look;
        // A look may have missed some of IPv6, so that later ones find orphans, too.
        let orphan = || super::Entry { adopted: self.keeps_orphans, ..super::Entry::new() };
        let entry = self.entries.entry(seen.key).or_insert_with(orphan);
        entry.seen = look;
        if self.flight.iter().any(|flight| flight.key == seen.key) {
            return;
        }
        let known = match (entry.installed, &said) {
            (Installed::Content(content), Some((kind, mtu, nexthops))) => {
                let seen = RouteContent { kind: *kind, mtu: *mtu, nexthops };
                same(&self.contents.get(content), &seen)
            }
            (Installed::Other, None) => true,
            _ => false,
        };
        if known {
            return;
        }
        // What was in the way may be this one, which is ours.
        entry.blocked = false;
        let (before, wanted) = (entry.installed, entry.intent.is_some());
        entry.installed = match &said {
            Some((kind, mtu, nexthops)) => {
                let content = RouteContent { kind: *kind, mtu: *mtu, nexthops };
                Installed::Content(self.contents.intern(&content))
            }
            None => Installed::Other,
        };
        self.installed_changed(before, true);
        self.find(
            &seen.key,
            match (wanted, before) {
                (false, _) => "it is in the kernel, and no control wants it",
                (true, Installed::No) => "it is in the kernel, and was believed not to be",
                (true, _) => "the kernel has another one",
            },
        );
        self.queue(seen.key);
    }

    /// The look is over: what was not seen is not there.
    pub(crate) fn look_ends(&mut self, all: RoutesSeen, now: Time) {
        let look = self.look;
        let of_family = |key: &RouteKey| if key.prefix.address().is_ipv4() { all.ipv4 } else { all.ipv6 };
        let lost: Vec<RouteKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| entry.installed != Installed::No && entry.seen != look && of_family(key))
            .map(|(key, _)| *key)
            .collect();
        for key in lost {
            self.find(&key, "it is missing from the kernel");
            self.lose(key);
        }
        self.looked_at = Some(now);
        if !self.ready {
            self.ready = true;
            self.adopt(now);
        }
        self.verification_ends(all.ipv4, all.ipv6);
    }

    /// Somebody else deleted our route of this key, or some nexthops of it.
    pub(crate) fn gone(&mut self, key: RouteKey, nexthops: usize) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.installed == Installed::Other && key.prefix.address().is_ipv6() {
            // There is no telling whether nexthops are left.
            entry.lost |= entry.intent.is_some();
            self.look_wanted = true;
            self.queue(key);
            return;
        }
        if let Installed::Content(content) = entry.installed
            && self.contents.get(content).nexthops.len() > nexthops.max(1)
        {
            // Of an IPv6 route the kernel deletes single nexthops.
            let before = core::mem::replace(&mut entry.installed, Installed::Other);
            entry.lost = true;
            entry.seen = self.look;
            self.installed_changed(before, true);
            self.queue(key);
            return;
        }
        self.lose(key);
    }

    /// A port changed: what could not be installed perhaps can be now. If it is `another` interface, came or went, routes
    /// by it may lead elsewhere.
    pub(crate) fn ports_changed(&mut self, another: bool) {
        self.look_wanted |= another && self.ready && !self.entries.is_empty();
        self.retry_pause = super::RETRY;
        self.retry_at = Some(Time(0));
    }

    /// Somebody else put a route of this key in the place of ours.
    pub(crate) fn overwritten(&mut self, key: RouteKey) {
        if self.entries.get(&key).is_some_and(|entry| entry.installed != Installed::No) {
            self.lose(key);
        }
    }

    /// A route of somebody else is gone, or an interface changed: what did not fit may fit now.
    pub(crate) fn made_room(&mut self, key: RouteKey) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.blocked) {
            entry.blocked = false;
            self.queue(key);
        }
    }

    pub(super) fn lose(&mut self, key: RouteKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.installed == Installed::No {
            return;
        }
        let before = core::mem::replace(&mut entry.installed, Installed::No);
        entry.lost = entry.intent.is_some();
        entry.seen = self.look;
        self.installed_changed(before, false);
        self.queue(key);
    }

    /// The route as a control would have said it; `None` if it leads by an interface that is no port and leads to no relay.
    fn said(&self, seen: &RouteSeen, ports: &Ports) -> Option<(RouteKind, u32, Vec<message::RouteNexthop>)> {
        let nexthop = |nexthop: &RouteNexthop| {
            let port = ports.iter().find(|port| port.is_present() && port.state.ifindex == nexthop.ifindex);
            let by_port = port.map(|port| {
                message::RouteNexthop::new(port.id, nexthop.gateway, nexthop.weight, nexthop.onlink)
            });
            by_port.or_else(|| self.partners.said(nexthop))
        };
        Some((seen.kind, seen.mtu, seen.nexthops.iter().map(nexthop).collect::<Option<_>>()?))
    }

    /// Keeps the books when an entry's `installed` was replaced.
    pub(super) fn installed_changed(&mut self, before: Installed, is_now: bool) {
        let was = before != Installed::No;
        match (was, is_now) {
            (false, true) => self.counts.installed += 1,
            (true, false) => self.counts.installed -= 1,
            _ => {}
        }
        if let Installed::Content(content) = before {
            self.contents.release(content);
        }
    }
}

/// Whether two contents are the same to the kernel: it keeps nexthops of IPv6 in an order of its own, has no weight for a
/// single one, and knows weights up to 256.
pub(super) fn same(one: &RouteContent<'_>, other: &RouteContent<'_>) -> bool {
    if one == other {
        return true;
    }
    if (one.kind, one.mtu, one.nexthops.len()) != (other.kind, other.mtu, other.nexthops.len()) {
        return false;
    }
    let sorted = |content: &RouteContent<'_>| {
        let mut parts: Vec<_> = content
            .nexthops
            .iter()
            .map(|nexthop| {
                let weight = if content.nexthops.len() == 1 { 1 } else { nexthop.weight().min(256) };
                (nexthop.symbol(), nexthop.port(), nexthop.gateway(), nexthop.onlink(), weight)
            })
            .collect();
        parts.sort_unstable();
        parts
    };
    sorted(one) == sorted(other)
}
