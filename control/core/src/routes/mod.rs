//! Routes: what the kernel of a symbol's namespace has, told to the relays (M12).
//!
//! # Theory of operation
//!
//! `Mirror` is the kernel's table of one namespace as far as it was seen: events change it at once, dumps
//! correct it, and what a whole dump did not show goes at its end, never before. `Told` is what one relay was
//! told in this association, with its answers. Neither queues changes: keys are marked, and a marked key is compared,
//! mirror against told, when the link has room. A route that changes a thousand times meanwhile is sent once.
//!
//! ```text
//!  kernel ── events, dumps ──▶ Mirror ── marked keys ──▶ pump: projection == told? ── ROUTE_ADD, ROUTE_DELETE ──▶ relay
//!                                                          ▲                                                      │
//!                                                          └──── Told ◀── ROUTES_DONE, ROUTE_REPLY, digests ──────┘
//! ```
//!
//! A route is told to every relay by whose symbols it leads, with the nexthops that lead there; one that drops packets
//! is told to every relay with a symbol in its namespace. Routes by hand (`by_hand`) stand beside the mirrored ones. If two
//! namespaces have a route of the same key for one relay, the first of them in the configuration has it.
//!
//! Relays with symbols in one namespace are one router (`introductions.rs`): a route is told to all of them, with its
//! nexthops at the others after those at the relay itself, which it uses as long as it can. The subnets of a relay's ports are
//! told to the others as well.

mod by_hand;
mod introductions;
mod mirror;
mod pump;
mod repair;
mod rows;
mod slots;
mod stopwatch;
mod table;

pub use rows::{RouteNexthopRow, RouteRow, VerifyRow};

use crate::seen::{Route, RouteChange, RouteFamilies};
use crate::{Action, Control, NamespaceId};
use core::net::IpAddr;
use frames::PortId;
use frames::message::RouteNexthop;
use frames::route::{RouteContent, RouteKey, RouteKind};
use introductions::Salts;
use l2link::Time;
use l2link::route_text::RouteText;
use log::warn;
use mirror::{Family, Mirror, Teller};
use pump::{Outlet, Seat};
use repair::Repair;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Which routes are told to relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutesConfig {
    /// Those of these tables.
    pub tables: BTreeSet<u32>,
    /// Those of these namespaces; `None` for every namespace with a symbol.
    pub netns: Option<BTreeSet<String>>,
}

impl Default for RoutesConfig {
    fn default() -> Self {
        Self { tables: BTreeSet::from([RouteKey::MAIN]), netns: None }
    }
}

// rtm_protocol of linux/rtnetlink.h: routes that follow from addresses, redirects or router advertisements, which the
// relay's kernel has by itself.
const RTPROT_REDIRECT: u8 = 1;
const RTPROT_KERNEL: u8 = 2;
const RTPROT_RA: u8 = 9;
/// The project's own mark: default routes of symbols, which are about the control only.
const RTPROT_OWN: u8 = 108;

/// Everything about routes.
#[derive(Debug)]
pub(crate) struct Routes {
    config: Option<RoutesConfig>,
    /// One for each namespace, in order.
    spaces: Vec<Space>,
    /// One for each relay, in order.
    outlets: Vec<Outlet>,
    /// Where nexthops can lead, as of the last pump.
    seats: Vec<Seat>,
    /// For the keys of pairs of relays.
    salts: Salts,
    /// What a verification has found so far, and its namespaces that are still being dumped.
    verification: Option<Verification>,
}

/// The routes of a namespace.
#[derive(Debug, Default)]
struct Space {
    /// Whether its routes are told to relays.
    mirrored: bool,
    mirror: Mirror,
    /// Routes by hand, whether others are told or not.
    fixed: BTreeMap<RouteKey, by_hand::Fixed>,
    /// Routes that cannot be told, and why.
    unsupported: BTreeMap<RouteKey, Cow<'static, str>>,
}

#[derive(Debug, Default)]
struct Verification {
    waiting: BTreeSet<(NamespaceId, bool)>,
    found: Vec<VerifyRow>,
    more: usize,
}

/// Differences that are listed.
const LISTED: usize = 1_000;

impl Routes {
    pub(crate) fn new(config: Option<RoutesConfig>) -> Self {
        Self {
            config,
            spaces: Vec::new(),
            outlets: Vec::new(),
            seats: Vec::new(),
            salts: Salts::default(),
            verification: None,
        }
    }

    /// Makes room for a namespace.
    pub(crate) fn add_namespace(&mut self, name: Option<&str>) {
        let mirrored = self.is_about(name);
        self.spaces.push(Space { mirrored, ..Space::default() });
    }

    fn is_about(&self, netns: Option<&str>) -> bool {
        self.config.as_ref().is_some_and(|config| match (&config.netns, netns) {
            (None, _) => true,
            (Some(names), Some(name)) => names.contains(name),
            (Some(_), None) => false,
        })
    }

    /// Takes over what the configuration says now. Returns those of the namespaces whose routes were told before and are
    /// to be listed anew, as others of them count.
    pub(crate) fn configure(
        &mut self,
        config: Option<RoutesConfig>,
        namespaces: Vec<(NamespaceId, Option<String>)>,
    ) -> Vec<NamespaceId> {
        if self.config == config {
            return Vec::new();
        }
        self.config = config;
        let mut anew = Vec::new();
        for (namespace, name) in namespaces {
            let mirrored = self.is_about(name.as_deref());
            let Some(space) = self.spaces.get_mut(namespace.0 as usize) else { continue };
            let was = core::mem::replace(&mut space.mirrored, mirrored);
            if !mirrored {
                space.mirror = Mirror::default();
                space.unsupported.clear();
            } else if was {
                anew.push(namespace);
            }
        }
        self.outlets.iter_mut().for_each(Outlet::restart);
        anew
    }

    /// All routes by hand.
    pub(crate) fn by_hand(&self) -> impl Iterator<Item = &RouteText> {
        self.spaces.iter().flat_map(|space| space.fixed.values()).map(|fixed| &fixed.text)
    }

    fn space(&mut self, namespace: NamespaceId) -> Option<&mut Space> {
        self.spaces.get_mut(namespace.0 as usize).filter(|space| space.mirrored)
    }

    fn outlet(&mut self, relay: usize) -> &mut Outlet {
        if self.outlets.len() <= relay {
            self.outlets.resize_with(relay + 1, Outlet::default);
        }
        &mut self.outlets[relay]
    }

    /// Has a key compared at every relay.
    fn mark(&mut self, key: RouteKey) {
        self.outlets.iter_mut().for_each(|outlet| outlet.mark(key));
    }

    /// `subnets` says whether those of ports count.
    fn takes(&self, route: &Route, subnets: bool) -> bool {
        let tables = self.config.as_ref().map(|config| &config.tables);
        let counts = match route.protocol {
            RTPROT_KERNEL => subnets && is_subnet(route),
            RTPROT_REDIRECT | RTPROT_RA | RTPROT_OWN => false,
            _ => true,
        };
        counts && tables.is_some_and(|tables| tables.contains(&route.key.table))
    }

    fn find(&mut self, what: impl FnOnce() -> VerifyRow) {
        let Some(verification) = &mut self.verification else { return };
        if verification.found.len() < LISTED {
            verification.found.push(what());
        } else {
            verification.more += 1;
        }
    }
}

impl Control {
    /// Whether the routes of a namespace are told to relays, so that the shell is to watch them.
    #[must_use]
    pub fn mirrors_routes(&self, namespace: NamespaceId) -> bool {
        self.routes.spaces.get(namespace.0 as usize).is_some_and(|space| space.mirrored)
    }

    /// The shell begins to list a namespace's routes. A list under way is over without effect.
    pub fn handle_route_dump_begins(&mut self, namespace: NamespaceId, families: RouteFamilies) {
        let Some(space) = self.routes.space(namespace) else { return };
        for family in each(families) {
            space.mirror.begin(family);
            space.unsupported.retain(|key, _| Family::of(key) != family);
        }
    }

    /// A route of the list.
    pub fn handle_route_dumped(&mut self, namespace: NamespaceId, route: &Route) {
        self.take_route(namespace, route, Teller::Dump);
    }

    /// The list is complete.
    pub fn handle_route_dump_ends(&mut self, namespace: NamespaceId, families: RouteFamilies, now: Time) {
        for family in each(families) {
            let Some(space) = self.routes.space(namespace) else { return };
            for key in space.mirror.end(family) {
                self.routes.mark(key);
                self.routes.find(|| VerifyRow::new(&key, "it is gone from the kernel, which did not tell"));
            }
            if let Some(verification) = &mut self.routes.verification {
                verification.waiting.remove(&(namespace, family == Family::V4));
            }
        }
        self.end_verification(now);
    }

    /// The kernel tells that there is a route.
    pub fn handle_route(&mut self, namespace: NamespaceId, route: &Route, change: RouteChange) {
        let Some(space) = self.routes.space(namespace) else { return };
        let known = space.mirror.get(&route.key).is_some();
        let beside = match change {
            RouteChange::Replaced => false,
            RouteChange::New => known,
            RouteChange::Appended => true,
        };
        if beside {
            // Several routes of one key: which of them counts is for a list to say.
            self.dump_routes(namespace, RouteFamilies::of(&route.key));
            return;
        }
        self.take_route(namespace, route, Teller::Event);
    }

    /// The kernel tells that a route is gone, or `nexthops` of its nexthops.
    pub fn handle_route_gone(
        &mut self,
        namespace: NamespaceId,
        key: RouteKey,
        protocol: u8,
        nexthops: usize,
    ) {
        let Some(space) = self.routes.space(namespace) else { return };
        space.unsupported.remove(&key);
        let Some((known, content)) = space.mirror.get(&key) else { return };
        if known.protocol != protocol || content.nexthops.len() != nexthops {
            // Not the one that is known, or not all of it.
            self.dump_routes(namespace, RouteFamilies::of(&key));
            return;
        }
        if space.mirror.remove(&key) {
            self.routes.mark(key);
        }
    }

    /// A namespace and all of its routes are gone.
    pub fn handle_routes_lost(&mut self, namespace: NamespaceId) {
        let Some(space) = self.routes.space(namespace) else { return };
        space.mirror = Mirror::default();
        space.unsupported.clear();
        self.routes.outlets.iter_mut().for_each(Outlet::restart);
    }

    fn take_route(&mut self, namespace: NamespaceId, route: &Route, teller: Teller) {
        let taken = self.routes.takes(route, self.has_several_relays());
        let Some(space) = self.routes.space(namespace) else { return };
        let key = route.key;
        if let Some(reason) = route.unsupported.as_ref().filter(|_| taken) {
            if space.unsupported.insert(key, reason.clone()).is_none() && teller == Teller::Event {
                warn!(target: "control::route", "route {key} cannot be told to a relay: {reason}");
            }
            return;
        }
        if !taken {
            // One of those that are not told may have taken the place of one that was.
            if teller == Teller::Event && space.mirror.remove(&key) {
                self.routes.mark(key);
            }
            return;
        }
        space.unsupported.remove(&key);
        let nexthops: Vec<RouteNexthop> = route
            .nexthops
            .iter()
            .map(|hop| RouteNexthop::new(PortId(hop.interface.0), hop.gateway, hop.weight, hop.onlink))
            .collect();
        let content = RouteContent { kind: route.kind, mtu: route.mtu, nexthops: &nexthops };
        if space.mirror.set(key, &content, route.protocol, teller) {
            self.routes.mark(key);
            if teller == Teller::Dump {
                self.routes.find(|| VerifyRow::new(&key, "the kernel has another one, and did not tell"));
            }
        }
    }

    pub(crate) fn dump_routes(&mut self, namespace: NamespaceId, families: RouteFamilies) {
        self.act(Action::DumpRoutes { namespace, families });
    }

    /// Compares the mirrors with the kernels' tables, and the relays' tables with what they were told: ends in
    /// [`Action::Verified`].
    pub fn verify(&mut self, now: Time) {
        let spaces = (0..).map(NamespaceId).zip(&self.routes.spaces);
        let open: Vec<NamespaceId> = spaces
            .filter(|(_, space)| space.mirrored && space.mirror.is_complete())
            .map(|(namespace, _)| namespace)
            .collect();
        let waiting = open.iter().flat_map(|namespace| [(*namespace, true), (*namespace, false)]).collect();
        self.routes.verification = Some(Verification { waiting, ..Verification::default() });
        for namespace in open {
            self.dump_routes(namespace, RouteFamilies::BOTH);
        }
        self.end_verification(now);
    }

    fn end_verification(&mut self, _now: Time) {
        let ended =
            self.routes.verification.as_ref().is_some_and(|verification| verification.waiting.is_empty());
        if !ended {
            return;
        }
        self.find_refused();
        self.find_troubled_symbols();
        if let Some(verification) = self.routes.verification.take() {
            let mut rows = verification.found;
            if verification.more > 0 {
                rows.push(VerifyRow {
                    what: "routes".into(),
                    difference: format!("and {} more", verification.more),
                });
            }
            self.act(Action::Verified { rows });
        }
    }

    fn find_troubled_symbols(&mut self) {
        for symbol in &self.symbols {
            if let (_, Some(reason)) = symbol.state() {
                let row = || VerifyRow { what: format!("symbol {}", symbol.config.name), difference: reason };
                self.routes.find(row);
            }
        }
    }
}

/// Whether a route of the kernel's is that to a subnet, which means something beyond its interface.
fn is_subnet(route: &Route) -> bool {
    let narrow = match route.key.prefix.address() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let direct = route.nexthops.iter().all(|hop| hop.gateway.is_none());
    route.kind == RouteKind::Unicast && direct && !narrow && !route.key.prefix.address().is_multicast()
}

fn each(families: RouteFamilies) -> impl Iterator<Item = Family> {
    [(families.ipv4, Family::V4), (families.ipv6, Family::V6)]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, family)| family)
}
