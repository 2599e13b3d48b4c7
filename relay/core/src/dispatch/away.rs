//! [`Away`]: the flows of controls that fell silent, and may be back.
//!
//! The flows of a silent control go to the others at once, which reset them: if it has died, that is what clients are to know.
//! But a control may have lost no connection: it began anew while its symbols were kept, or the segment was cut. Its programs
//! send as soon as it is back, before it has told any rule, and what clients answer must not be given to the others then. Until
//! it has told its rules and flows, segments of the flows that may be its own are dropped, and TCP sends them again.

use super::ServerId;
use super::hash::FlowHash;
use super::learning::{LEARNING, OUTLIVED};
use super::pool::{Chooser, Pool};
use super::pools::PoolKey;
use super::services::{ServiceKey, any_like};
use l2link::{PeerId, Time};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Away {
    controls: BTreeMap<PeerId, Absence>,
    /// How many of them are back, and have not told everything.
    back: usize,
}

/// The flows of a control that fell silent.
#[derive(Debug)]
struct Absence {
    lost: Vec<Lost>,
    is_back: bool,
    has_said_all: bool,
    /// Nothing is expected of it from then on.
    until: Time,
}

/// A server's part of a pool when its control fell silent.
#[derive(Debug)]
pub(super) struct Lost {
    key: PoolKey,
    server: ServerId,
    /// How flows were shared out then.
    by: Chooser,
}

impl Lost {
    /// What is lost of a pool when a control is: nothing if others have no part in it, who could be given what is not theirs.
    pub(super) fn of(key: PoolKey, pool: &Pool, peer: PeerId) -> impl Iterator<Item = Self> {
        let is_shared = pool.shares().iter().any(|share| share.target.peer != peer);
        let own = pool.shares().iter().filter(move |share| is_shared && share.target.peer == peer);
        own.flat_map(move |share| {
            let before = pool.turnover.as_ref().map(|turnover| &turnover.before);
            let choosers = [pool.chooser()].into_iter().chain(before);
            choosers.map(move |by| Self { key, server: share.server, by: by.clone() })
        })
    }
}

impl Away {
    /// A control fell silent. What it had before an absence from which it has not come back, it may have still.
    pub(super) fn leaves(&mut self, peer: PeerId, lost: Vec<Lost>, now: Time) {
        let absence = self.controls.entry(peer).or_insert_with(|| Absence {
            lost: Vec::new(),
            is_back: false,
            has_said_all: false,
            until: now,
        });
        if absence.is_back {
            self.back -= 1;
        }
        absence.lost.extend(lost);
        (absence.is_back, absence.has_said_all, absence.until) = (false, false, now + OUTLIVED);
        if absence.lost.is_empty() {
            self.controls.remove(&peer);
        }
    }

    /// A control is there, perhaps again.
    pub(super) fn returns(&mut self, peer: PeerId, now: Time) {
        if let Some(absence) = self.controls.get_mut(&peer).filter(|absence| !absence.is_back) {
            (absence.is_back, absence.until) = (true, now + LEARNING);
            self.back += 1;
        }
    }

    /// A control has said all of its rules.
    pub(super) fn said_all(&mut self, peer: PeerId) {
        if let Some(absence) = self.controls.get_mut(&peer).filter(|absence| absence.is_back) {
            absence.has_said_all = true;
        }
    }

    /// A control has told the flows of all rules for which it was asked.
    pub(super) fn told(&mut self, peer: PeerId) {
        if self.controls.get(&peer).is_some_and(|absence| absence.has_said_all) {
            self.controls.remove(&peer);
            self.back -= 1;
        }
    }

    /// Whether nobody has come back and not told everything.
    #[inline]
    pub(super) const fn has_told(&self) -> bool {
        self.back == 0
    }

    /// Whether a flow may be that of a control that is back. `pinned` is the server that it is pinned to.
    pub(super) fn claims(
        &self,
        (service, local): &PoolKey,
        flow: FlowHash,
        pinned: Option<ServerId>,
    ) -> bool {
        let is_of =
            |key: &(ServiceKey, u128)| key.0 == *service && (key.1 == *local || key.1 == any_like(*local));
        let back = self.controls.values().filter(|absence| absence.is_back);
        back.flat_map(|absence| &absence.lost).filter(|lost| is_of(&lost.key)).any(|lost| {
            let server = Some(lost.server);
            pinned == server || pinned.is_none() && lost.by.server(flow) == server
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.controls.values().map(|absence| absence.until).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.controls.retain(|_, absence| absence.until > now);
        self.back = self.controls.values().filter(|absence| absence.is_back).count();
    }
}
