//! A relay's table is another than it was told: the parts that differ are found by their digests, and said again.

use super::slots;
use crate::Control;
use crate::relay::RelayId;
use core::time::Duration;
use frames::RequestId;
use frames::message::{Message, RouteAdd, RoutesDigestReply, RoutesSlice};
use frames::route::{RoutesDigest, Slice, TableDigest};
use l2link::{PeerId, Time};
use log::warn;
use std::collections::{BTreeMap, BTreeSet};

/// A part of so few routes is said again without cutting it further.
const FEW: u32 = 64;
/// Parts that are said again at once; what is left is found by the next digest.
const PARTS: usize = 64;
/// A relay that does not answer for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A search under way.
#[derive(Debug)]
pub(super) struct Repair {
    /// Slices whose parts were asked for.
    asked: BTreeSet<Slice>,
    /// Parts that differ.
    found: Vec<Slice>,
    until: Time,
}

impl Repair {
    /// Whether nothing else may be said meanwhile, as it would make digests differ.
    pub(super) fn holds(&self, now: Time) -> bool {
        now < self.until
    }
}

impl Control {
    /// A relay says what it has.
    pub(crate) fn handle_routes_digest(
        &mut self,
        relay: RelayId,
        peer: PeerId,
        digest: RoutesDigest,
        now: Time,
    ) {
        let outlet = self.routes.outlet(relay.0);
        let searching = outlet.repair.as_ref().is_some_and(|repair| repair.holds(now));
        if searching || !outlet.has_ended() || digest.request != outlet.told.newest() {
            return;
        }
        let own = outlet.told.digest(Slice::ALL);
        if own == digest.table {
            outlet.repair = None;
            return;
        }
        let name = &self.relays[relay.0].name;
        warn!(
            target: "control::route",
            "relay {name} has other routes than it was told ({} instead of {own}): looking for the difference", digest.table
        );
        let outlet = self.routes.outlet(relay.0);
        outlet.repair = Some(Repair { asked: BTreeSet::new(), found: Vec::new(), until: now + PATIENCE });
        self.ask_digests(relay, peer, Slice::ALL);
    }

    fn ask_digests(&mut self, relay: RelayId, peer: PeerId, slice: Slice) {
        let outlet = self.routes.outlet(relay.0);
        let Some(repair) = &mut outlet.repair else { return };
        repair.asked.insert(slice);
        let request = outlet.told.request(false);
        self.link.send_message(peer, &Message::RoutesDigestRequest(RoutesSlice { request, slice }));
    }

    /// A relay answers with the digests of the parts of a slice.
    pub(crate) fn handle_routes_digest_reply(
        &mut self,
        relay: RelayId,
        peer: PeerId,
        reply: &RoutesDigestReply,
        now: Time,
    ) {
        let outlet = self.routes.outlet(relay.0);
        let Some(repair) = &mut outlet.repair else { return };
        if !repair.asked.remove(&reply.of.slice) {
            return;
        }
        repair.until = now + PATIENCE;
        let mut deeper = Vec::new();
        for (part, theirs) in reply.of.slice.parts().zip(reply.parts) {
            let own = outlet.told.digest(part);
            let few = own.count.max(theirs.count) <= FEW || part.bits() >= slots::BITS;
            match (own == theirs, few) {
                (true, _) => {}
                (false, true) => repair.found.push(part),
                (false, false) => deeper.push(part),
            }
        }
        for slice in deeper.into_iter().take(PARTS) {
            self.ask_digests(relay, peer, slice);
        }
        let outlet = self.routes.outlet(relay.0);
        if outlet.repair.as_ref().is_some_and(|repair| repair.asked.is_empty()) {
            let found = outlet.repair.take().map(|repair| repair.found).unwrap_or_default();
            self.say_again(relay, peer, found);
        }
    }

    /// Says parts of the table again, so that the relay sweeps what else it has of them.
    fn say_again(&mut self, relay: RelayId, peer: PeerId, mut parts: Vec<Slice>) {
        parts.truncate(PARTS);
        let outlet = self.routes.outlet(relay.0);
        let mut keys: BTreeMap<Slice, Vec<_>> = parts.into_iter().map(|part| (part, Vec::new())).collect();
        for key in outlet.told.keys_behind(None) {
            if let Some((_, keys)) = keys.iter_mut().find(|(part, _)| part.contains(key)) {
                keys.push(*key);
            }
        }
        outlet.repaired += keys.len() as u64;
        for (slice, keys) in keys {
            let request = self.routes.outlet(relay.0).told.request(false);
            self.link.send_message(peer, &Message::RoutesBegin(RoutesSlice { request, slice }));
            for key in keys {
                let Some((request, content)) = self.routes.outlets[relay.0].told.tell_again(&key) else {
                    continue;
                };
                self.link.send_message(peer, &Message::RouteAdd(RouteAdd { request, key, content }));
            }
            let request: RequestId = self.routes.outlet(relay.0).told.request(false);
            self.link.send_message(peer, &Message::RoutesEnd(RoutesSlice { request, slice }));
        }
    }

    /// Routes told, in force and refused, and parts of tables repaired, of all relays.
    pub(crate) fn route_totals(&self) -> [(&'static str, u64); 5] {
        let (mut told, mut installed, mut refused, mut repaired) = (0, 0, 0, 0);
        for outlet in &self.routes.outlets {
            let (all, in_force, not) = outlet.told.totals();
            told += all as u64;
            installed += in_force as u64;
            refused += not as u64;
            repaired += outlet.repaired;
        }
        let routes: usize = self.routes.spaces.iter().map(|space| space.mirror.len()).sum();
        [
            ("routes", routes as u64),
            ("routes-told", told),
            ("routes-installed", installed),
            ("routes-refused", refused),
            ("routes-repaired", repaired),
        ]
    }

    /// The digest of everything that a relay was told, for tests and tools.
    #[must_use]
    pub fn routes_digest(&self, relay: &str) -> TableDigest {
        let place = self.relays.iter().position(|known| known.name == relay);
        let outlet = place.and_then(|place| self.routes.outlets.get(place));
        outlet.map(|outlet| outlet.told.digest(Slice::ALL)).unwrap_or_default()
    }
}
