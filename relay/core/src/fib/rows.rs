//! `show routes`, some rows at a time.

use super::by_hand::OPERATOR;
use super::{Entry, Fib, Installed, Intent};
use crate::port::Ports;
use core::ops::Bound;
use frames::route::{Prefix, RouteContent, RouteKey};
use l2link::PeerId;
use serde::Serialize;

/// A row of `show routes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// The relay.
    pub relay: String,
    /// Destination.
    pub prefix: String,
    /// Routing table.
    pub table: u32,
    /// Metric.
    pub metric: u32,
    /// `unicast`, `blackhole`, `unreachable` or `prohibit`.
    pub kind: String,
    /// Where it leads.
    pub nexthops: Vec<RouteNexthopRow>,
    /// The control that wants it; null if none does, or if it is by hand.
    pub control: Option<String>,
    /// `installed`, `pending`, `refused`, `stale` (installed, its control is gone or has yet to say it again), or
    /// `orphan` (installed before the daemon started, not claimed yet).
    pub state: &'static str,
    /// Why it is refused; null if it is not.
    pub reason: Option<String>,
    /// Whether it is by hand.
    pub r#static: bool,
}

/// A nexthop of a [`RouteRow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteNexthopRow {
    /// The port's name.
    pub port: String,
    /// The relay whose port it is; null for this one.
    pub relay: Option<String>,
    /// The neighbour; null if the destination itself is one.
    pub gateway: Option<String>,
    /// Share of flows.
    pub weight: u16,
}

/// Rows of one answer.
pub(crate) const PAGE: usize = 1_000;

impl Fib {
    /// The rows behind the place that `after` names, and the name of the place where they end if there are more.
    pub(crate) fn rows(
        &self,
        after: Option<&str>,
        relay: &str,
        ports: &Ports,
    ) -> (Vec<RouteRow>, Option<String>) {
        let after = after.and_then(place).map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = Vec::new();
        for (key, entry) in self.entries.range((after, Bound::Unbounded)) {
            self.rows_of(key, entry, relay, ports, &mut rows);
            if rows.len() >= PAGE {
                return (rows, Some(format!("{}|{}|{}", key.table, key.prefix, key.metric)));
            }
        }
        (rows, None)
    }

    /// The rows of the routes that cover a prefix, of every table the longest first.
    pub(crate) fn rows_to(&self, prefix: Prefix, relay: &str, ports: &Ports) -> Vec<RouteRow> {
        let mut rows = Vec::new();
        let mut next = self.entries.keys().next().map(|key| key.table);
        while let Some(table) = next {
            for prefix in prefix.covering() {
                let key = |metric| RouteKey { table, prefix, metric };
                for (key, entry) in self.entries.range(key(0)..=key(u32::MAX)) {
                    self.rows_of(key, entry, relay, ports, &mut rows);
                }
            }
            let behind = table.checked_add(1);
            let behind = behind.and_then(|table| self.entries.range(RouteKey::first_of(table)..).next());
            next = behind.map(|(key, _)| key.table);
        }
        rows
    }

    fn rows_of(&self, key: &RouteKey, entry: &Entry, relay: &str, ports: &Ports, rows: &mut Vec<RouteRow>) {
        let row = |content: Option<RouteContent<'_>>, peer: Option<PeerId>, state, reason| RouteRow {
            r#static: peer == Some(OPERATOR),
            relay: relay.to_owned(),
            prefix: key.prefix.to_string(),
            table: key.table,
            metric: key.metric,
            kind: content.map_or("unicast".to_owned(), |content| content.kind.to_string()),
            nexthops: content.map_or(Vec::new(), |content| self.nexthops(&content, peer, ports)),
            control: peer
                .filter(|peer| *peer != OPERATOR)
                .and_then(|peer| self.speakers.get(&peer))
                .map(|speaker| speaker.name.clone()),
            state,
            reason,
        };
        match (&entry.intent, entry.installed) {
            (Some(intent), installed) => {
                let refusal = self.refusals.get(key);
                let reason = refusal.map(|refusal| format!("{}: {}", refusal.status, refusal.text));
                let state = match installed {
                    _ if refusal.is_some() => "refused",
                    Installed::No | Installed::Other => "pending",
                    Installed::Content(_) if self.is_stale(intent.peer, intent.epoch) => "stale",
                    Installed::Content(_) if entry.queued => "pending",
                    Installed::Content(_) => "installed",
                };
                rows.push(row(Some(self.contents.get(intent.content)), Some(intent.peer), state, reason));
            }
            (None, Installed::Content(content)) => {
                rows.push(row(Some(self.contents.get(content)), None, "orphan", None));
            }
            (None, Installed::Other) => rows.push(row(None, None, "orphan", None)),
            (None, Installed::No) => {}
        }
        for intent in self.contenders.get(key).into_iter().flatten() {
            let owner = entry.intent.as_ref().map_or("another control has it", Intent::conflict);
            let reason = Some(format!("conflict: {owner}"));
            rows.push(row(Some(self.contents.get(intent.content)), Some(intent.peer), "refused", reason));
        }
    }

    fn nexthops(
        &self,
        content: &RouteContent<'_>,
        control: Option<PeerId>,
        ports: &Ports,
    ) -> Vec<RouteNexthopRow> {
        let place = |nexthop: &frames::message::RouteNexthop| match nexthop.symbol() {
            None => {
                let port = ports.get(nexthop.port());
                (port.map_or_else(|| nexthop.port().to_string(), |port| port.name().to_owned()), None)
            }
            Some(symbol) => match control.and_then(|control| self.partners.names(control, symbol)) {
                Some((relay, port)) => (port.to_owned(), Some(relay.to_owned())),
                None => (symbol.to_string(), Some("?".to_owned())),
            },
        };
        let row = |nexthop: &frames::message::RouteNexthop| {
            let (port, relay) = place(nexthop);
            let gateway = nexthop.gateway().map(|gateway| gateway.to_string());
            RouteNexthopRow { port, relay, gateway, weight: nexthop.weight() }
        };
        content.nexthops.iter().map(row).collect()
    }

    /// Routes that are not installed although a control wants them.
    pub(crate) fn refused(&self) -> u64 {
        self.refusals.len() as u64 + self.contenders.values().map(|all| all.len() as u64).sum::<u64>()
    }

    /// All routes that are known.
    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Installed routes whose control is gone or has yet to say them again.
    pub(crate) fn stale(&self) -> u64 {
        if self.speakers.values().all(|speaker| speaker.ended && speaker.up) && !self.keeps_orphans {
            return 0;
        }
        let stale = |entry: &&Entry| match entry.intent {
            Some(intent) => self.is_stale(intent.peer, intent.epoch),
            None => entry.installed != Installed::No,
        };
        self.entries.values().filter(stale).count() as u64
    }
}

/// Reads the name of a place.
fn place(name: &str) -> Option<RouteKey> {
    let mut parts = name.split('|');
    let (table, prefix, metric) = (parts.next()?, parts.next()?, parts.next()?);
    let (address, length) = prefix.split_once('/')?;
    let prefix = Prefix::new(address.parse().ok()?, length.parse().ok()?)?;
    Some(RouteKey { table: table.parse().ok()?, prefix, metric: metric.parse().ok()? })
}
