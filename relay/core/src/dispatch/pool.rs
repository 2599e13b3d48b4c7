//! [`Pool`]: the servers of one {port, protocol, address, L4 port}, and who gets which flow.

use super::hash::FlowHash;
use super::maglev::{Seat, Table};
use super::{ServerId, Target};
use crate::config::Conflicts;
use frames::UpTunnel;
use l2link::{PeerId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One who has a rule of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) server: ServerId,
    pub(super) target: Target,
    /// 0 if its listener is closed, and only its connections live.
    pub(super) weight: u16,
    /// Of its name, the same at every relay.
    pub(super) seed: u64,
    /// By the port's configuration; the greatest wins.
    pub(super) priority: u16,
    /// When it came, in order.
    pub(super) since: u64,
}

/// What a rule is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It takes new flows.
    Active,
    /// Another control has them, by the port's policy.
    Standby,
    /// It keeps the flows that it has.
    Draining,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    shares: Box<[Share]>,
    chooser: Box<Chooser>,
    pub(super) turnover: Option<Box<Turnover>>,
    /// Its address is named by no listener any more.
    pub(super) is_orphan: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) server: ServerId,
    pub(super) target: Target,
    pub(super) standing: Standing,
}

/// New flows were shared out anew, and not all flows that were there are known yet.
#[derive(Debug, Clone)]
pub(super) struct Turnover {
    /// How flows were shared out before.
    pub(super) before: Chooser,
    /// The rules whose flows have yet to be told.
    pub(super) waiting: BTreeSet<(PeerId, UpTunnel)>,
    /// When it ends whoever has not answered; set when time passes next.
    pub(super) until: Option<Time>,
}

/// From a flow to a server.
#[derive(Debug, Default, Clone)]
pub(super) struct Chooser {
    servers: Vec<(ServerId, Seat)>,
    /// With one server there is nothing to choose.
    table: Option<Arc<Table>>,
}

/// Tables, as services with the same servers have the same. A few that are not in use stay: servers that go are often back
/// soon.
#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<Vec<Seat>, Arc<Table>>);

/// With more tables than these, unused ones go. Each has 128 KiB.
const KEPT: usize = 32;

impl Pool {
    /// Takes over who is there. Returns whether new flows are shared out in another way now.
    pub(super) fn update(
        &mut self,
        candidates: &[Candidate],
        conflicts: Conflicts,
        tables: &mut Tables,
    ) -> bool {
        let able = || candidates.iter().filter(|candidate| candidate.weight > 0);
        let first = able().min_by_key(|candidate| candidate.since);
        let chief = able().min_by_key(|candidate| (u16::MAX - candidate.priority, candidate.since));
        let standing = |candidate: &Candidate| {
            let only = match conflicts {
                Conflicts::Share => None,
                Conflicts::First => first,
                Conflicts::Priority => chief,
            };
            match only {
                _ if candidate.weight == 0 => Standing::Draining,
                Some(only) if only.server != candidate.server => Standing::Standby,
                Some(_) | None => Standing::Active,
            }
        };
        self.shares = candidates
            .iter()
            .map(|candidate| {
                let (server, target) = (candidate.server, candidate.target);
                Share { server, target, standing: standing(candidate) }
            })
            .collect();
        let active = candidates.iter().filter(|candidate| standing(candidate) == Standing::Active);
        let seat = |candidate: &Candidate| Seat { seed: candidate.seed, weight: candidate.weight };
        let mut servers: Vec<_> = active.map(|candidate| (candidate.server, seat(candidate))).collect();
        servers.sort_by_key(|(_, seat)| *seat);
        if let [(_, only)] = &mut servers[..] {
            // Alone it has all, whatever its weight.
            only.weight = 1;
        }
        if servers == self.chooser.servers {
            return false;
        }
        *self.chooser = Chooser::new(servers, tables);
        true
    }

    /// The one who has all flows, new and old, as nobody else has any.
    pub(super) fn sole(&self) -> Option<Target> {
        match &self.shares[..] {
            [only] if only.standing == Standing::Active => Some(only.target),
            _ => None,
        }
    }

    pub(super) fn shares(&self) -> &[Share] {
        &self.shares
    }

    pub(super) fn share(&self, server: ServerId) -> Option<&Share> {
        self.shares.iter().find(|share| share.server == server)
    }

    pub(super) fn chooser(&self) -> &Chooser {
        &self.chooser
    }

    /// Begins as the continuation of another.
    pub(super) fn inherit(&mut self, chooser: Chooser, turnover: Option<Box<Turnover>>) {
        (*self.chooser, self.turnover) = (chooser, turnover);
    }

    /// The server of a new flow.
    pub(super) fn choose(&self, flow: FlowHash) -> Option<&Share> {
        self.share(self.chooser.server(flow)?)
    }

    /// The server of a flow that may be older than the present sharing out.
    pub(super) fn follow(&self, flow: FlowHash) -> Option<&Share> {
        let before = self.turnover.as_ref().and_then(|turnover| turnover.before.server(flow));
        before.and_then(|server| self.share(server)).or_else(|| self.choose(flow))
    }

    /// Whether a new flow goes elsewhere than before.
    pub(super) fn moves(&self, flow: FlowHash) -> bool {
        let before = self.turnover.as_ref().map(|turnover| turnover.before.server(flow));
        before.is_some_and(|before| before != self.chooser.server(flow))
    }
}

impl Chooser {
    fn new(servers: Vec<(ServerId, Seat)>, tables: &mut Tables) -> Self {
        let seats = servers.iter().map(|(_, seat)| *seat);
        let table = (servers.len() > 1).then(|| tables.get(seats.collect()));
        Self { servers, table }
    }

    pub(super) fn server(&self, FlowHash(hash): FlowHash) -> Option<ServerId> {
        let place = self.table.as_ref().map_or(0, |table| table.server(hash));
        self.servers.get(place).map(|(server, _)| *server)
    }

    /// Whether it shares out flows as another does.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.servers == other.servers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }
}

impl Tables {
    fn get(&mut self, seats: Vec<Seat>) -> Arc<Table> {
        if let Some(table) = self.0.get(&seats) {
            return table.clone();
        }
        if self.0.len() >= KEPT {
            self.0.retain(|_, table| Arc::strong_count(table) > 1);
        }
        self.0.entry(seats).or_insert_with_key(|seats| Arc::new(Table::new(seats))).clone()
    }
}
