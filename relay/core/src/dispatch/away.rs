//! [`Away`]: the flows of controls that fell silent, and may be back.
//!
//! The flows of a silent control go to the others, which reset them: if it has died, that is what clients are to know. But a
//! control may have lost no connection: it began anew while its symbols were kept, or the segment was cut, or it is only the daemon
//! that does not go on. So segments of the flows that may be its own are dropped twice, and TCP sends them again:
//!
//! - for half a second when it is missed without a word: on the fast path its programs have sent until then, and clients
//!   acknowledge that;
//! - when it is back, until it has told its rules and flows: its programs send at once, before it has told any.

use super::ServerId;
use super::hash::FlowHash;
use super::learning::{LEARNING, OUTLIVED};
use super::pool::{Chooser, Pool};
use super::pools::PoolKey;
use super::services::any_like;
use core::time::Duration;
use l2link::{PeerId, Time};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Away {
    /// Those that were missed just now.
    leaving: BTreeMap<PeerId, Absence>,
    silent: BTreeMap<PeerId, Absence>,
    /// Those that are back, and have not told everything.
    back: BTreeMap<PeerId, Absence>,
}

/// The flows of a control that fell silent.
#[derive(Debug)]
struct Absence {
    lost: Lost,
    has_said_all: bool,
    /// When it is no more what it is now.
    until: Time,
}

/// The servers of a control by pool, and how flows were shared out when it fell silent.
#[derive(Debug, Default)]
pub(super) struct Lost(BTreeMap<PoolKey, Vec<(ServerId, Chooser)>>);

impl Lost {
    /// Takes up what is lost of a pool when a control is: nothing if others have no part in it, who could be given what is not
    /// theirs.
    pub(super) fn add(&mut self, key: PoolKey, pool: &Pool, peer: PeerId) {
        if pool.shares().iter().all(|share| share.target.peer == peer) {
            return;
        }
        let before = pool.turnover.as_ref().map(|turnover| &turnover.before);
        for share in pool.shares().iter().filter(|share| share.target.peer == peer) {
            for by in [pool.chooser()].into_iter().chain(before) {
                self.put(key, share.server, by.clone());
            }
        }
    }

    /// Takes up what another holds.
    fn extend(&mut self, other: Self) {
        for (key, parts) in other.0 {
            parts.into_iter().for_each(|(server, by)| self.put(key, server, by));
        }
    }

    fn put(&mut self, key: PoolKey, server: ServerId, by: Chooser) {
        let parts = self.0.entry(key).or_default();
        if !parts.iter().any(|(known, chooser)| *known == server && chooser.is_like(&by)) {
            parts.push((server, by));
        }
    }

    /// Whether a flow may be of one of these servers.
    fn has(&self, key: &PoolKey, flow: FlowHash, pinned: Option<ServerId>) -> bool {
        self.0.get(key).into_iter().flatten().any(|(server, by)| {
            let server = Some(*server);
            pinned == server || pinned.is_none() && by.server(flow) == server
        })
    }
}

impl Away {
    /// A control said that it leaves, or began anew.
    pub(super) fn leaves(&mut self, peer: PeerId, lost: Lost, now: Time) {
        let absence = self.absence(peer, lost, now + OUTLIVED);
        self.silent.extend(absence);
    }

    /// A control fell silent.
    pub(super) fn is_missed(&mut self, peer: PeerId, lost: Lost, now: Time) {
        let absence = self.absence(peer, lost, now + UNDER_WAY);
        self.leaving.extend(absence);
    }

    /// What it had before an absence after which it has not told everything, it may have still.
    fn absence(&mut self, peer: PeerId, lost: Lost, until: Time) -> Option<(PeerId, Absence)> {
        let known = self.back.remove(&peer).or_else(|| self.take_absent(peer));
        let mut all = known.map_or_else(Lost::default, |absence| absence.lost);
        all.extend(lost);
        (!all.0.is_empty()).then_some((peer, Absence { lost: all, has_said_all: false, until }))
    }

    fn take_absent(&mut self, peer: PeerId) -> Option<Absence> {
        self.leaving.remove(&peer).or_else(|| self.silent.remove(&peer))
    }

    /// A control is there, perhaps again.
    pub(super) fn returns(&mut self, peer: PeerId, now: Time) {
        if let Some(absence) = self.take_absent(peer) {
            self.back.insert(peer, Absence { until: now + LEARNING, ..absence });
        }
    }

    /// A control has said all of its rules.
    pub(super) fn said_all(&mut self, peer: PeerId) {
        if let Some(absence) = self.back.get_mut(&peer) {
            absence.has_said_all = true;
        }
    }

    /// A control has told the flows of all rules for which it was asked.
    pub(super) fn told(&mut self, peer: PeerId) {
        if self.back.get(&peer).is_some_and(|absence| absence.has_said_all) {
            self.back.remove(&peer);
        }
    }

    /// Whether nobody's flows are kept from the others.
    #[inline]
    pub(super) fn claims_nothing(&self) -> bool {
        self.back.is_empty() && self.leaving.is_empty()
    }

    /// Whether a flow may be that of a control that was missed just now, or is back. `pinned` is the server that it is pinned to.
    pub(super) fn claims(&self, key: &PoolKey, flow: FlowHash, pinned: Option<ServerId>) -> bool {
        let (service, local) = *key;
        let keys = [*key, (service, any_like(local))];
        let mut lost = self.leaving.values().chain(self.back.values()).map(|absence| &absence.lost);
        lost.any(|lost| keys.iter().any(|key| lost.has(key, flow, pinned)))
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let all = [&self.leaving, &self.silent, &self.back].into_iter().flat_map(BTreeMap::values);
        all.map(|absence| absence.until).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        let is_over = |absence: &Absence| absence.until <= now;
        let gone = self.leaving.iter().filter(|(_, absence)| is_over(absence)).map(|(peer, _)| *peer);
        let gone: Vec<PeerId> = gone.collect();
        for peer in gone {
            let absence = self.leaving.remove(&peer);
            self.silent.extend(absence.map(|absence| (peer, Absence { until: now + OUTLIVED, ..absence })));
        }
        for absences in [&mut self.silent, &mut self.back] {
            absences.retain(|_, absence| absence.until > now);
        }
    }
}

/// How long what clients owe may be under way when a control is missed: Linux acknowledges within 200 ms (`TCP_DELACK_MAX`), and
/// most clients are nearer than another 300 ms there and back.
const UNDER_WAY: Duration = Duration::from_millis(500);
