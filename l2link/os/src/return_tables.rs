//! [`ReturnTables`]: what an interface's own addresses send leaves by that interface.
//!
//! # Theory of operation
//! By itself Linux chooses the way of a packet by its destination alone, so a server's answer to a client of one interface
//! leaves by whatever interface the default route names. Here an interface gets a routing table of its own, and its
//! addresses get rules (`ip rule`) that lead there:
//!
//! | priority | packets | looked up in | finds |
//! |---|---|---|---|
//! | 0 | all | `local` | the host itself; the kernel's own rule |
//! | 10801 | from an address of the interface | its table, but for default routes | the interface's subnets, and networks behind its routers |
//! | 10802 | from an address of the interface | `main`, but for default routes | what else the host is connected to, and what its routing daemons know |
//! | 10803 | from an address of the interface | its table | the interface's default route |
//! | 32766 | all | `main` | everything else, as without these rules; the kernel's own rule |
//! | 33108 | of the host's own programs | the table, if it is a *last resort* | the interface's default route |
//! | 33109 | of the host's own programs | the table, if its interface has no carrier | the same, where no other interface is better |
//!
//! The interface's own subnets come before `main`, as another interface of the host may lie in the same. The last resort is
//! for hosts without another way out: packets whose source is not chosen yet find the interface by it, those of clients
//! and of datagram sockets that are bound to no address.
//!
//! A table has the number [`table`], made of the interface's index, so two interfaces of a namespace never share one,
//! and the kernel removes all its routes with the interface. Rules do not go with it: [`ReturnTables::remove`] and
//! [`ReturnTables::sweep`] remove them. Routes and rules have the mark [`PROTOCOL`]; nothing without it is touched. A
//! rule of priority 10802 does not name the table it belongs to: it is needed as long as any rule 10803 of its address is.

use crate::interfaces::policy_rules::{Packets, PolicyRule};
use crate::routes::{
    Families, KernelNexthop, KernelRoute, PROTOCOL, Progress, RouteChange, RouteDump, RouteWriter,
};
use crate::{IfIndex, NetNs, Netlink, SetupError};
use core::net::IpAddr;
use frames::route::{Prefix, RouteKey, RouteKind};
use std::collections::BTreeSet;
use std::io;

/// What an interface is to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReturnPath {
    /// Addresses whose packets are to leave by the interface.
    pub sources: Vec<IpAddr>,
    /// Ways out of the interface, one for each destination, those without a gateway first.
    pub routes: Vec<ReturnRoute>,
    /// Whether packets for which there is no other way leave by it, too.
    pub last_resort: Option<LastResort>,
}

/// A way out of the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnRoute {
    /// Where it leads.
    pub destination: Prefix,
    /// The routers that share its packets, each with whether it is reachable whatever the interface's addresses; none if
    /// the destinations are neighbours.
    pub gateways: Vec<(IpAddr, bool)>,
}

/// Which of several interfaces is the last resort: of those that have a carrier, if any has, the one that was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastResort {
    /// It has one.
    Carrier,
    /// It has none.
    NoCarrier,
}

/// The return paths of a namespace.
#[derive(Debug)]
pub struct ReturnTables {
    netns: NetNs,
    netlink: Netlink,
    writer: RouteWriter,
}

/// First number of the tables: far from those that people and programs choose (to 255, 1000 and up, 52, 51820, …).
const TABLES: u32 = 1_080_000_000;
/// Indexes of interfaces are positive `int`s.
const INDEX_MAX: u32 = i32::MAX as u32;
const OWN_SUBNETS: u32 = 10_801;
const OTHER_NETWORKS: u32 = 10_802;
const WAY_OUT: u32 = 10_803;
/// Behind the kernel's `main` (32766) and `default` (32767).
const LAST_RESORT: u32 = 33_108;
const LAST_RESORT_DARK: u32 = 33_109;
/// One for all routes, so that a route is found again by it: IPv6 knows no zero.
const METRIC: u32 = 1_024;
/// Routes of one step of a list: more than a table has.
const LISTED: usize = 1_000;

/// The number of an interface's table.
#[must_use]
pub const fn table(ifindex: IfIndex) -> u32 {
    TABLES + (ifindex.0 & INDEX_MAX)
}

/// Whether this is the number of a [`table`].
#[must_use]
pub const fn is_table(number: u32) -> bool {
    number > TABLES && number <= TABLES + INDEX_MAX
}

impl ReturnTables {
    /// Opens what is needed in `netns`.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        Ok(Self { netns: netns.clone(), netlink: Netlink::open(netns)?, writer: RouteWriter::open(netns)? })
    }

    /// Brings the kernel in line, by difference. What it does not take is returned, in words; the rest is there.
    ///
    /// # Errors
    /// The kernel's, if it cannot be asked at all.
    pub fn install(&mut self, ifindex: IfIndex, path: &ReturnPath) -> io::Result<Vec<String>> {
        // Routes first: a rule must not lead to an empty table.
        let mut refused = self.install_routes(ifindex, path)?;
        let present = self.netlink.marked_rules()?;
        for rule in rules(ifindex, path).iter().filter(|rule| !present.contains(rule)) {
            if let Err(error) = self.netlink.add_rule(rule) {
                refused.push(format!("a rule for {:?}: {error}", rule.packets));
            }
        }
        self.remove_rules(ifindex, path)?;
        Ok(refused)
    }

    /// Removes all that [`ReturnTables::install`] made for an interface, which may be gone already.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&mut self, ifindex: IfIndex) -> io::Result<()> {
        let nothing = ReturnPath::default();
        self.remove_rules(ifindex, &nothing)?;
        self.install_routes(ifindex, &nothing).map(|_| ())
    }

    /// As [`ReturnTables::sweep`], for who has no use for more.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn sweep_in(netns: &NetNs) -> Result<(), SetupError> {
        let failed =
            |error| SetupError::system("sweep the rules for answers of interfaces that are gone", error);
        Self::open(netns)?.sweep().map_err(failed)
    }

    /// Removes the rules of interfaces that are gone: of a daemon that was killed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep(&mut self) -> io::Result<()> {
        let present = self.netlink.marked_rules()?;
        let tables: BTreeSet<u32> = present.iter().map(|rule| rule.table).filter(|n| is_table(*n)).collect();
        for number in tables {
            let ifindex = IfIndex(number - TABLES);
            if self.netlink.link_by_index(ifindex)?.is_none() {
                self.remove_rules(ifindex, &ReturnPath::default())?;
            }
        }
        // Also with no table left: those that belong to none.
        self.remove_orphans()
    }

    /// Removes the rules of an interface that `path` does not need.
    fn remove_rules(&mut self, ifindex: IfIndex, path: &ReturnPath) -> io::Result<()> {
        let wanted = rules(ifindex, path);
        let own = |rule: &PolicyRule| rule.table == table(ifindex);
        for rule in self.netlink.marked_rules()?.iter().filter(|rule| own(rule) && !wanted.contains(rule)) {
            self.netlink.delete_rule(rule)?;
        }
        self.remove_orphans()
    }

    fn remove_orphans(&mut self) -> io::Result<()> {
        let present = self.netlink.marked_rules()?;
        let led_out = |rule: &PolicyRule| {
            present.iter().any(|other| other.priority == WAY_OUT && other.packets == rule.packets)
        };
        for rule in present.iter().filter(|rule| rule.priority == OTHER_NETWORKS && !led_out(rule)) {
            self.netlink.delete_rule(rule)?;
        }
        Ok(())
    }

    fn install_routes(&mut self, ifindex: IfIndex, path: &ReturnPath) -> io::Result<Vec<String>> {
        let present = self.routes(ifindex)?;
        let wanted: Vec<_> = path.routes.iter().map(|route| kernel_route(ifindex, route)).collect();
        let mut changes = Vec::new();
        for route in wanted.iter().filter(|route| !present.contains(route)) {
            let same_key = present.iter().any(|other| other.key == route.key);
            changes.push(match same_key {
                true => RouteChange::Replace(route.clone()),
                false => RouteChange::Add(route.clone()),
            });
        }
        for route in present.iter().filter(|route| !wanted.iter().any(|other| other.key == route.key)) {
            changes.push(RouteChange::Delete(route.key, PROTOCOL));
        }
        let mut refused = Vec::new();
        for failure in self.writer.apply(&changes)? {
            let route = match &changes[failure.index] {
                RouteChange::Add(route) | RouteChange::Replace(route) => route,
                // It is gone, then.
                RouteChange::Delete(..) => continue,
            };
            let gateways = route.nexthops.iter().filter_map(|nexthop| nexthop.gateway);
            let via: String = gateways.map(|gateway| format!(" via {gateway}")).collect();
            let why = if failure.text.is_empty() { failure.error.to_string() } else { failure.text.clone() };
            refused.push(format!("the route to {}{via}: {why}", route.key.prefix));
        }
        Ok(refused)
    }

    fn routes(&self, ifindex: IfIndex) -> io::Result<Vec<KernelRoute>> {
        let mut routes = Vec::new();
        let dump = RouteDump::start(&self.netns, Families::Both, Some(PROTOCOL)).map_err(io::Error::other)?;
        let mut dump = dump.of_table(table(ifindex));
        while dump.step(LISTED, |route| routes.push(route))? == Progress::More {}
        Ok(routes)
    }
}

/// The rules of an interface.
fn rules(ifindex: IfIndex, path: &ReturnPath) -> Vec<PolicyRule> {
    let number = table(ifindex);
    let mut rules = Vec::new();
    for source in &path.sources {
        let packets = Packets::From(*source);
        let rule = |priority, table, but_defaults| PolicyRule { priority, packets, table, but_defaults };
        rules.push(rule(OWN_SUBNETS, number, true));
        rules.push(rule(OTHER_NETWORKS, RouteKey::MAIN, true));
        rules.push(rule(WAY_OUT, number, false));
    }
    let last_resort = path.last_resort.map(|last_resort| match last_resort {
        LastResort::Carrier => LAST_RESORT,
        LastResort::NoCarrier => LAST_RESORT_DARK,
    });
    for (packets, ipv4) in [(Packets::LocalIpv4, true), (Packets::LocalIpv6, false)] {
        let leads_out = path.routes.iter().any(|route| route.destination.address().is_ipv4() == ipv4);
        if let Some(priority) = last_resort.filter(|_| leads_out) {
            rules.push(PolicyRule { priority, packets, table: number, but_defaults: false });
        }
    }
    rules
}

fn kernel_route(ifindex: IfIndex, route: &ReturnRoute) -> KernelRoute {
    let nexthop = |gateway, onlink| KernelNexthop { ifindex, gateway, weight: 1, onlink };
    let mut nexthops: Vec<_> =
        route.gateways.iter().map(|(gateway, onlink)| nexthop(Some(*gateway), *onlink)).collect();
    if nexthops.is_empty() {
        nexthops.push(nexthop(None, false));
    }
    let key = RouteKey { table: table(ifindex), prefix: route.destination, metric: METRIC };
    KernelRoute { key, kind: RouteKind::Unicast, protocol: PROTOCOL, mtu: 0, nexthops, unsupported: None }
}
