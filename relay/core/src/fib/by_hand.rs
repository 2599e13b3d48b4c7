//! Routes by hand: the operator is a speaker of the table beside the controls.
//!
//! It is always there, has said all that it has to say, and may have every route. As a route has one owner, a control's does
//! not take the place of one by hand, nor the other way round.

use super::{Fib, Installed, Intent, Speaker};
use crate::port::Ports;
use frames::RequestId;
use frames::message::{RouteAdd, RouteNexthop};
use frames::route::{RouteContent, RouteKey};
use l2link::PeerId;
use l2link::by_hand::Standing;

/// The operator's handle: no control has it.
pub(super) const OPERATOR: PeerId = PeerId(u32::MAX);

/// Why a route by hand is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// By this control.
    Control(String),
    /// The table has as many routes as it may.
    Full(usize),
}

impl Fib {
    /// Takes a route by hand.
    pub(crate) fn add_by_hand(
        &mut self,
        key: RouteKey,
        content: RouteContent<'_>,
        ports: &Ports,
    ) -> Result<(), Taken> {
        let entry = self.entries.get(&key);
        if let Some(owner) = entry.and_then(|entry| entry.intent).filter(|owner| owner.permitted) {
            let name = self.speakers.get(&owner.peer).map(|speaker| speaker.name.clone());
            return Err(Taken::Control(name.unwrap_or_default()));
        }
        if entry.is_none() && self.entries.len() >= self.config.max {
            return Err(Taken::Full(self.config.max));
        }
        self.add(OPERATOR, &RouteAdd { request: RequestId(0), key, content }, ports);
        Ok(())
    }

    /// Takes a route by hand back.
    pub(crate) fn delete_by_hand(&mut self, key: RouteKey) {
        self.delete(OPERATOR, key, 0);
    }

    /// How far a route by hand is; none if there is no such.
    pub(crate) fn standing_by_hand(&self, key: &RouteKey, ports: &Ports) -> Option<Standing> {
        let entry = self.entries.get(key)?;
        let intent = entry.intent.filter(Intent::is_by_hand)?;
        if let Some(refusal) = self.refusals.get(key) {
            let nexthops = self.contents.get(intent.content).nexthops;
            let is_up = |hop: &RouteNexthop| ports.get(hop.port()).is_some_and(|port| port.is_up());
            return Some(if nexthops.is_empty() || nexthops.iter().any(is_up) {
                Standing::Refused(format!("{}: {}", refusal.status, refusal.text))
            } else {
                Standing::Waits(refusal.text.clone())
            });
        }
        let flies = self.flight.iter().any(|flight| flight.key == *key);
        Some(match entry.installed {
            Installed::Content(_) if self.ready && !entry.queued && !flies => Standing::InForce,
            Installed::Content(_) | Installed::No | Installed::Other => Standing::Asked,
        })
    }
}

impl Speaker {
    /// The operator as a speaker.
    pub(super) fn operator() -> Self {
        Self { up: true, ended: true, ..Self::default() }
    }
}

impl Intent {
    pub(super) fn is_by_hand(&self) -> bool {
        self.peer == OPERATOR
    }

    /// What another that wants the same route is told of this owner.
    pub(super) fn conflict(&self) -> &'static str {
        if self.is_by_hand() {
            "the relay has a route of this destination and metric by hand"
        } else {
            "another control has a route of this destination and metric"
        }
    }
}
