//! [`Decision`]: whom a packet to a listener is for, why, and what is to be remembered of it.
//!
//! Deciding changes nothing, so that it can be asked what would become of a packet; [`Services::commit`] is for one that is there.

use super::hash::{FlowHash, FlowId, FlowKey};
use super::pins::Pin;
use super::pool::{Pool, Share, Standing};
use super::services::{Services, TCP, any_like};
use super::{Dispatch, ServerId, Sought, Target};
use l2link::PeerId;

/// What becomes of a packet that sockets are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    /// Who gets it.
    pub(crate) target: Option<Target>,
    pub(crate) cause: Cause,
    memory: Memory,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There is no rule for it.
    Unserved,
    /// A rule for exactly this flow.
    Flow,
    /// There is one server, and nobody else has flows.
    Sole,
    /// The flow stays where it is, against the table.
    Pinned,
    /// Datagrams of the flow went there before.
    Tracked,
    /// The table of those that take new flows.
    Table,
    /// The table of before: it is not known yet which flows there are.
    Before,
    /// The new table, against the one of before: the flow will be pinned.
    Moved,
    /// There is no room to pin the flow: it goes by the table of before.
    NoRoom,
    /// Who has which flow is being learned.
    Learning,
    /// Nobody takes new flows.
    Draining,
}

/// What is to be remembered.
#[derive(Debug, Clone, Copy)]
enum Memory {
    Nothing,
    /// Where the flow of datagrams goes.
    Track(FlowId, ServerId),
    /// A flow of the same ends begins anew.
    Renew(FlowKey),
    /// The flow is where the table says.
    Unpin(FlowKey),
    /// The flow is elsewhere.
    Pin(FlowKey, PeerId, Pin),
}

/// Who serves at an address of a service.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) target: Target,
    pub(crate) standing: Standing,
}

impl Decision {
    #[inline]
    const fn of(cause: Cause, target: Option<Target>) -> Self {
        Self { target, cause, memory: Memory::Nothing }
    }
}

impl Services {
    /// Whom a packet to a listener is for. `opens` tells whether it asks for a new connection.
    #[inline]
    pub(super) fn decide(&self, sought: &Sought, opens: bool) -> Decision {
        let Some((sole, pool)) = self.pool(sought) else { return Decision::of(Cause::Unserved, None) };
        if sought.protocol != TCP {
            return self.decide_datagram(sought, pool);
        }
        let learns = self.learns(&sought.pool_key().0) || !opens && self.may_be_of_one_away(sought);
        if let Some(target) = sole.filter(|_| !opens && !learns) {
            return Decision::of(Cause::Sole, Some(target));
        }
        self.decide_segment(sought, pool, opens, learns)
    }

    /// Whether the connection may be one of a control that fell silent just now, or is back without having told everything.
    #[inline]
    fn may_be_of_one_away(&self, sought: &Sought) -> bool {
        !self.away.claims_nothing() && {
            let flow = FlowHash::new(sought.protocol, sought.ends.local, sought.ends.remote);
            let pinned = self.pins.get(sought.flow).map(|pin| pin.server);
            self.away.claims(&sought.pool_key(), flow, pinned)
        }
    }

    fn decide_datagram(&self, sought: &Sought, pool: &Pool) -> Decision {
        let flow = FlowId::new(sought.port, sought.protocol, sought.ends.local, sought.ends.remote);
        let tracked = self.tracks.get(&flow);
        if let Some((track, share)) = tracked.and_then(|track| Some((track, pool.share(track.server)?))) {
            let memory = if track.is_old { Memory::Track(flow, share.server) } else { Memory::Nothing };
            return Decision { memory, ..Decision::of(Cause::Tracked, Some(share.target)) };
        }
        let Some(share) = pool.choose(flow.hash()) else { return Decision::of(Cause::Draining, None) };
        let memory = Memory::Track(flow, share.server);
        Decision { memory, ..Decision::of(Cause::Table, Some(share.target)) }
    }

    fn decide_segment(&self, sought: &Sought, pool: &Pool, opens: bool, learns: bool) -> Decision {
        let key = sought.flow;
        if let Some(pin) = self.pins.get(key)
            && let Some(share) = pool.share(pin.server)
            && (!opens || share.standing == Standing::Active)
        {
            // A new flow of the same ends, which a report that is under way does not know.
            let memory = if opens { Memory::Renew(key) } else { Memory::Nothing };
            return Decision { memory, ..Decision::of(Cause::Pinned, Some(share.target)) };
        }
        let flow = FlowHash::new(sought.protocol, sought.ends.local, sought.ends.remote);
        if !opens {
            if learns {
                return Decision::of(Cause::Learning, None);
            }
            let cause = if pool.moves(flow) { Cause::Before } else { Cause::Table };
            let share = pool.follow(flow);
            return Decision::of(if share.is_some() { cause } else { Cause::Draining }, share.map(target_of));
        }
        let Some(Share { server, target, .. }) = pool.choose(flow).copied() else {
            return Decision::of(Cause::Draining, None);
        };
        if !learns && !pool.moves(flow) {
            let cause = if pool.sole().is_some() { Cause::Sole } else { Cause::Table };
            return Decision { memory: Memory::Unpin(key), ..Decision::of(cause, Some(target)) };
        }
        let pin = Pin { server, tunnel: target.tunnel, request: self.last_request };
        let memory = Memory::Pin(key, target.peer, pin);
        if self.pins.has_room(key, target.peer) {
            return Decision { memory, ..Decision::of(Cause::Moved, Some(target)) };
        }
        // What follows goes by the old table. If its server takes no new flows, the next try may find room.
        let old = pool.follow(flow).filter(|share| share.standing == Standing::Active);
        Decision { memory, ..Decision::of(Cause::NoRoom, old.map(target_of)) }
    }

    /// Remembers what has to be of a packet that is there.
    #[inline]
    pub(super) fn commit(&mut self, decision: &Decision) {
        match decision.memory {
            Memory::Nothing => {}
            Memory::Track(flow, server) => self.tracks.note(flow, server),
            Memory::Renew(key) => self.pins.renew(key, self.last_request),
            Memory::Unpin(key) => self.pins.remove(key),
            Memory::Pin(key, control, pin) => {
                if !self.pins.insert(key, control, pin) {
                    self.pins.remove(key);
                }
            }
        }
    }

    /// Those among whom [`Services::decide`] decides.
    pub(super) fn serving(&self, sought: &Sought) -> Vec<Serving> {
        let shares = self.pool(sought).map_or(&[][..], |(_, pool)| pool.shares());
        shares.iter().map(|share| Serving { target: share.target, standing: share.standing }).collect()
    }

    /// Who serves at an address, and the one who does alone.
    #[inline]
    fn pool(&self, sought: &Sought) -> Option<(Option<Target>, &Pool)> {
        let (service, local) = sought.pool_key();
        let pool = self.pools.find(&(service, local), sought.pool);
        pool.or_else(|| self.pools.search(&(service, any_like(local))))
    }
}

impl Dispatch {
    /// The one that has a rule for the flow, or serves it by that of a listener. `opens` tells whether the packet asks for a
    /// new connection.
    #[inline]
    pub(crate) fn decide(&self, sought: &Sought, opens: bool) -> Decision {
        match self.flow_rule(sought) {
            Some(own) => Decision::of(Cause::Flow, Some(own)),
            None => self.services.decide(sought, opens),
        }
    }

    /// Remembers what has to be of a packet that was decided about, before the next one is.
    #[inline]
    pub(crate) fn commit(&mut self, decision: &Decision) {
        self.services.commit(decision);
    }

    /// Those who serve a flow by their listeners.
    pub(crate) fn serving(&self, sought: &Sought) -> Vec<Serving> {
        self.services.serving(sought)
    }

    #[inline]
    fn flow_rule(&self, sought: &Sought) -> Option<Target> {
        self.flows.get(sought.flow.0)?.target
    }
}

fn target_of(share: &Share) -> Target {
    share.target
}
