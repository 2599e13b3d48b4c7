//! [`Learning`]: what a relay that does not know who has which flow waits for.
//!
//! A relay that begins anew after a crash has neither an old table nor pins. Nor has it a table of a service when all
//! controls that served it have fallen silent, as after a cut of the segment: the first one to be back would be given the
//! flows of the others, and would reset them. So until those that are missed have told their rules and flows, segments of flows that are
//! not pinned are dropped, and TCP sends them again.

use super::services::ServiceKey;
use core::time::Duration;
use l2link::{PeerId, Time};
use std::collections::BTreeSet;

/// How long is learned at most from when there is somebody to serve: as long as controls take to find a relay, and some
/// more.
pub(super) const LEARNING: Duration = Duration::from_secs(3);
/// By then the flows of a service that nobody serves are over: TCP gives up after `tcp_retries2` tries, in 15 minutes.
pub(super) const OUTLIVED: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub(super) struct Learning {
    /// Which services; all if it is none.
    services: Option<BTreeSet<ServiceKey>>,
    /// Controls that have not said all of their rules.
    controls: BTreeSet<String>,
    /// Whether there is somebody to serve one of the services.
    is_served: bool,
    until: Option<Time>,
}

impl Learning {
    /// Of all services, from these controls; nothing if there are none.
    pub(super) fn anew(controls: BTreeSet<String>) -> Option<Self> {
        (!controls.is_empty()).then_some(Self { services: None, controls, is_served: false, until: None })
    }

    /// Of a service, from these controls, besides what is learned already.
    pub(super) fn also(
        learning: &mut Option<Self>,
        service: ServiceKey,
        controls: impl Iterator<Item = String>,
    ) {
        let learning = learning.get_or_insert_with(|| Self {
            services: Some(BTreeSet::new()),
            controls: BTreeSet::new(),
            is_served: false,
            until: None,
        });
        if let Some(services) = &mut learning.services {
            services.insert(service);
        }
        learning.controls.extend(controls);
        learning.until = None;
    }

    /// Whether it is learned who has which flow of a service.
    pub(super) fn is_of(&self, service: &ServiceKey) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }

    /// Somebody begins to serve a service.
    pub(super) fn served(&mut self, service: &ServiceKey) {
        if !self.is_served && self.is_of(service) {
            (self.is_served, self.until) = (true, None);
        }
    }

    /// A control has said all of its rules.
    pub(super) fn said_all(&mut self, control: &str) {
        self.controls.remove(control);
    }

    /// Whether nobody is waited for.
    pub(super) fn has_heard_all(&self) -> bool {
        self.controls.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.until
    }

    /// Lets time pass; returns whether it took too long.
    pub(super) fn handle_timeout(&mut self, now: Time) -> bool {
        let patience = if self.is_served { LEARNING } else { OUTLIVED };
        *self.until.get_or_insert(now + patience) <= now
    }
}

/// Controls that have just fallen silent.
#[derive(Debug, Default)]
pub(super) struct Missed(Vec<(Time, PeerId, BTreeSet<ServiceKey>)>);

impl Missed {
    /// A control that served these has fallen silent.
    pub(super) fn add(&mut self, peer: PeerId, services: BTreeSet<ServiceKey>, now: Time) {
        self.expire(now);
        self.0.push((now, peer, services));
    }

    /// Those that served a service until a moment ago.
    pub(super) fn servers(&self, service: &ServiceKey) -> impl Iterator<Item = PeerId> {
        self.0.iter().filter(|(.., services)| services.contains(service)).map(|(_, peer, _)| *peer)
    }

    /// Forgets those that were missed too long ago to have been cut off together with who is missed now.
    pub(super) fn expire(&mut self, now: Time) {
        self.0.retain(|(at, ..)| now - *at < LEARNING);
    }
}
