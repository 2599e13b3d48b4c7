//! `show routes`, some rows at a time, and what a verification found.

use super::RTPROT_KERNEL;
use super::table::State;
use crate::{Control, NamespaceId};
use frames::message::RouteNexthop;
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind};
use l2link::route_text::NexthopText;
use serde::Serialize;

/// A row of `show routes`: a route of a namespace's kernel, as one relay knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// The relay; null if it is told to none.
    pub relay: Option<String>,
    /// The namespace; null for the daemon's own.
    pub netns: Option<String>,
    /// Destination.
    pub prefix: String,
    /// Routing table.
    pub table: u32,
    /// Metric.
    pub metric: u32,
    /// Who made it: the number that `ip route` gives a name (`rtm_protocol`).
    pub protocol: u8,
    /// `unicast`, `blackhole`, `unreachable` or `prohibit`.
    pub kind: String,
    /// Where it leads.
    pub nexthops: Vec<RouteNexthopRow>,
    /// `installed`, `pending`, `refused`, or `waiting` for a relay that is away.
    pub state: &'static str,
    /// Why it is refused; null if it is not.
    pub reason: Option<String>,
    /// Whether it is by hand.
    pub r#static: bool,
}

/// A nexthop of a [`RouteRow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteNexthopRow {
    /// The symbol's name; an interface that is no symbol by its number.
    pub symbol: String,
    /// The neighbour; null if the destination itself is one.
    pub gateway: Option<String>,
    /// Share of flows.
    pub weight: u16,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyRow {
    /// What.
    pub what: String,
    /// In which way.
    pub difference: String,
}

impl VerifyRow {
    pub(super) fn new(key: &RouteKey, difference: impl Into<String>) -> Self {
        Self { what: format!("route {key}"), difference: difference.into() }
    }
}

/// linux/rtnetlink.h: a route that an administrator made.
const RTPROT_STATIC: u8 = 4;

/// Rows of one answer.
const PAGE: usize = 1_000;

impl Control {
    /// Rows behind the place that `after` names, and the name of the place where they end if there are more.
    #[must_use]
    pub fn show_routes(&self, after: Option<&str>) -> (Vec<RouteRow>, Option<String>) {
        let (first, mut last) =
            after.and_then(place).map_or((NamespaceId(0), None), |(namespace, key)| (namespace, Some(key)));
        let mut rows = Vec::new();
        for (namespace, space) in (0..).map(NamespaceId).zip(&self.routes.spaces).skip(first.0 as usize) {
            if last.is_none() {
                self.fixed_rows(namespace, &mut rows);
                for (key, reason) in &space.unsupported {
                    rows.push(self.row(namespace, key, None, 0, &[], ("refused", Some(reason.to_string()))));
                }
            }
            for key in space.mirror.keys_behind(last.take().as_ref()) {
                self.rows_of(namespace, key, &mut rows);
                if rows.len() >= PAGE {
                    let RouteKey { table, prefix, metric } = key;
                    return (rows, Some(format!("{}|{table}|{prefix}|{metric}", namespace.0)));
                }
            }
        }
        (rows, None)
    }

    /// Rows of the routes that cover a prefix.
    pub(crate) fn routes_to(&self, prefix: &Prefix) -> Vec<RouteRow> {
        let mut rows = Vec::new();
        for (namespace, space) in (0..).map(NamespaceId).zip(&self.routes.spaces) {
            let mut fixed = Vec::new();
            self.fixed_rows(namespace, &mut fixed);
            let covering: Vec<String> = prefix.covering().map(|prefix| prefix.to_string()).collect();
            rows.extend(fixed.into_iter().filter(|row| covering.contains(&row.prefix)));
            for key in space.mirror.keys_to(*prefix) {
                self.rows_of(namespace, &key, &mut rows);
            }
            for (key, reason) in space.unsupported.iter().filter(|(key, _)| key.prefix.covers(prefix)) {
                rows.push(self.row(namespace, key, None, 0, &[], ("refused", Some(reason.to_string()))));
            }
        }
        rows
    }

    fn rows_of(&self, namespace: NamespaceId, key: &RouteKey, rows: &mut Vec<RouteRow>) {
        let space = &self.routes.spaces[namespace.0 as usize];
        let Some((known, content)) = space.mirror.get(key) else { return };
        let symbols = || self.symbols.iter().filter(|symbol| symbol.namespace == namespace);
        let subnet = known.protocol == RTPROT_KERNEL;
        let mut relays: Vec<usize> = symbols()
            .filter(|_| !subnet)
            .filter(|symbol| {
                let leads = |hop: &RouteNexthop| {
                    symbol.ifindex().is_some_and(|interface| interface.0 == hop.port().0)
                };
                content.kind != RouteKind::Unicast || content.nexthops.iter().any(leads)
            })
            .map(|symbol| symbol.relay.0)
            .chain((0..self.relays.len()).filter(|relay| self.project(*relay, key).is_some()))
            .collect();
        relays.sort_unstable();
        relays.dedup();
        let mut push = |relay: Option<usize>, state: &'static str, reason: Option<String>| {
            let relay = relay.map(|relay| self.relays[relay].name.as_str());
            rows.push(self.row(namespace, key, relay, known.protocol, content.nexthops, (state, reason)));
            if let Some(row) = rows.last_mut() {
                content.kind.to_string().clone_into(&mut row.kind);
            }
        };
        if relays.is_empty() && !subnet {
            push(None, "refused", Some(self.leads_nowhere(namespace, &content)));
        }
        for relay in relays {
            let projection = self.project(relay, key);
            let by_hand = projection.as_ref().is_some_and(|projection| projection.by_hand);
            let owner = projection.map(|projection| projection.namespace);
            let told = self.routes.outlets.get(relay).map(|outlet| &outlet.told);
            if self.relays[relay].peer.is_none() {
                push(Some(relay), "waiting", None);
                continue;
            }
            match (owner, told.and_then(|told| told.state(key))) {
                _ if by_hand => {
                    let text = "conflict: there is a route of this destination and metric by hand";
                    push(Some(relay), "refused", Some(text.to_owned()));
                }
                (Some(owner), _) if owner != namespace => {
                    let other = self.namespaces.get(owner.0 as usize).and_then(|place| place.name.clone());
                    let other = other
                        .map_or("the daemon's own namespace".to_owned(), |name| format!("namespace {name}"));
                    push(Some(relay), "refused", Some(format!("conflict: {other} has the same route")));
                }
                (_, Some(State::Installed)) => push(Some(relay), "installed", None),
                (_, Some(State::Refused(reason))) => push(Some(relay), "refused", Some(reason.to_owned())),
                (_, Some(State::Pending) | None) => push(Some(relay), "pending", None),
            }
        }
    }

    /// Rows of the routes by hand of a namespace. They are few: they all come with the first page.
    fn fixed_rows(&self, namespace: NamespaceId, rows: &mut Vec<RouteRow>) {
        let Some(space) = self.routes.spaces.get(namespace.0 as usize) else { return };
        for (key, fixed) in &space.fixed {
            for relay in self.relays_of_route(namespace, fixed) {
                let told = self.routes.outlets.get(relay).and_then(|outlet| outlet.told.state(key));
                let (state, reason) = match told {
                    _ if self.relays[relay].peer.is_none() => ("waiting", None),
                    Some(State::Installed) => ("installed", None),
                    Some(State::Refused(reason)) => ("refused", Some(reason.to_owned())),
                    Some(State::Pending) | None => ("pending", None),
                };
                let nexthop = |hop: &NexthopText| RouteNexthopRow {
                    symbol: hop.dev.clone(),
                    gateway: hop.gateway.map(|gateway| gateway.to_string()),
                    weight: hop.weight,
                };
                rows.push(RouteRow {
                    nexthops: fixed.text.nexthops.iter().map(nexthop).collect(),
                    kind: fixed.text.kind.to_string(),
                    r#static: true,
                    ..self.row(
                        namespace,
                        key,
                        Some(&self.relays[relay].name),
                        RTPROT_STATIC,
                        &[],
                        (state, reason),
                    )
                });
            }
        }
    }

    fn leads_nowhere(&self, namespace: NamespaceId, content: &RouteContent<'_>) -> String {
        let interfaces: Vec<String> =
            content.nexthops.iter().map(|hop| self.interface_name(namespace, hop.port().0)).collect();
        match interfaces.as_slice() {
            [] => "no symbol is up in its namespace".to_owned(),
            [one] => format!("it leads by {one}, which is no symbol"),
            several => format!("it leads by {}, none of which is a symbol", several.join(", ")),
        }
    }

    fn interface_name(&self, namespace: NamespaceId, interface: u32) -> String {
        let is_it = |symbol: &&crate::symbol::Symbol| {
            symbol.namespace == namespace && symbol.ifindex().is_some_and(|known| known.0 == interface)
        };
        let symbol = self.symbols.iter().find(is_it);
        symbol.map_or_else(|| format!("interface {interface}"), |symbol| symbol.config.name.clone())
    }

    fn row(
        &self,
        namespace: NamespaceId,
        key: &RouteKey,
        relay: Option<&str>,
        protocol: u8,
        nexthops: &[RouteNexthop],
        (state, reason): (&'static str, Option<String>),
    ) -> RouteRow {
        let nexthop = |hop: &RouteNexthop| RouteNexthopRow {
            symbol: self.interface_name(namespace, hop.port().0),
            gateway: hop.gateway().map(|gateway| gateway.to_string()),
            weight: hop.weight(),
        };
        RouteRow {
            relay: relay.map(str::to_owned),
            netns: self.netns_name(namespace),
            prefix: key.prefix.to_string(),
            table: key.table,
            metric: key.metric,
            protocol,
            kind: RouteKind::Unicast.to_string(),
            nexthops: nexthops.iter().map(nexthop).collect(),
            state,
            reason,
            r#static: false,
        }
    }

    /// What relays refuse, for a verification.
    pub(super) fn find_refused(&mut self) {
        for relay in 0..self.routes.outlets.len() {
            let name = self.relays[relay].name.clone();
            let refused: Vec<VerifyRow> = self.routes.outlets[relay]
                .told
                .refused()
                .take(super::LISTED + 1)
                .map(|(key, reason)| VerifyRow::new(key, format!("refused by relay {name}: {reason}")))
                .collect();
            for row in refused {
                self.routes.find(|| row);
            }
        }
    }
}

/// Reads the name of a place.
fn place(name: &str) -> Option<(NamespaceId, RouteKey)> {
    let mut parts = name.split('|');
    let (namespace, table, prefix, metric) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (address, length) = prefix.split_once('/')?;
    let prefix = Prefix::new(address.parse().ok()?, length.parse().ok()?)?;
    let key = RouteKey { table: table.parse().ok()?, prefix, metric: metric.parse().ok()? };
    Some((NamespaceId(namespace.parse().ok()?), key))
}
