//! [`Services`]: what several controls may serve together, and the flows that stay where they are.
//!
//! # Theory of operation
//! A *service* is {port, protocol, L4 port}. It has a [`Pool`] for every address that a listener names, and one for the
//! listeners of any address. A listener of any address serves at the named ones as well, unless its control has a listener of
//! its own there.
//!
//! New flows follow the pool's table, and so does everything of a flow as long as the table stays the same: it costs
//! nothing to have a million of them. When it changes, the flows that it would move are *pinned*. Which these are, only the
//! sockets of the servers tell. So the relay asks all of them (`FLOWS_REQUEST`), and until they have answered there are two
//! tables: a segment that opens a connection goes by the new one, and is pinned if the old one says another; all others go by
//! the old one. Flows that exist when a table changes are thus where the old table or a pin says: at no time is there
//! another place.
//!
//! Pins are swept by the servers' next report, which is asked for from time to time as long as there are any. A pin of a flow
//! that is over does no harm: if its server takes new flows it may have this one, too, and if not a new one goes by the table.
//!
//! Where there is neither an old table nor a pin, the relay *learns* first ([`Learning`]), and of a control that fell silent
//! and is back, which flows it has still ([`Away`]). A flow that two controls tell stays with the one that has it, as long as
//! that tells it ([`Contests`]).
//!
//! Datagrams do not say whether they open a flow, and their sockets not whether it is there. [`Tracks`] are kept of them.

use super::away::{Away, Lost};
use super::contests::Contests;
use super::hash::FlowHash;
use super::learning::Learning;
use super::pins::{Pin, Pins};
use super::pool::{Candidate, Pool, Share, Standing, Tables, Turnover};
use super::pools::Pools;
use super::tracks::Tracks;
use super::{NEAR, ServerId, Sought, Target, tunnels_of};
use crate::config::Conflicts;
use core::net::IpAddr;
use core::time::Duration;
use frames::message::LiveFlow;
use frames::protocol_address::octets;
use frames::{PortId, RequestId, UpTunnel};
use l2link::{PeerId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

/// A control that has not told its flows by then has none, as far as it matters. A dead one is missed much earlier, and with
/// many connections a look at them is some seconds late.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between looks for who has used it up.
const IMPATIENCE: Duration = Duration::from_secs(1);
/// Pause between reports that sweep pins, at least.
const SWEEP: Duration = Duration::from_secs(10);
/// Flows of all reports together for which the pause is a second longer.
const SWEPT_PER_SECOND: usize = 10_000;

/// {port, protocol, L4 port}
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceKey {
    pub(super) port: PortId,
    pub(super) protocol: u8,
    pub(super) local_port: u16,
}

impl ServiceKey {
    /// As a number.
    #[inline]
    pub(super) fn word(&self) -> u64 {
        u64::from(self.port.0) << 32 | u64::from(self.protocol) << 16 | u64::from(self.local_port)
    }
}

#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) pools: Pools,
    /// The addresses of the pools of each service, in their 128-bit form.
    locals: BTreeMap<ServiceKey, BTreeSet<u128>>,
    /// The controls of servers.
    owners: BTreeMap<ServerId, PeerId>,
    tables: Tables,
    pub(super) pins: Pins,
    pub(super) tracks: Tracks,
    /// The newest request to a control for the flows of a rule.
    asked: BTreeMap<(PeerId, UpTunnel), RequestId>,
    /// Rules that have told a part of their flows.
    telling: BTreeSet<(PeerId, UpTunnel)>,
    contests: Contests,
    /// Rules that are asked for no other cause than contests: what they tell begins none.
    referees: BTreeSet<(PeerId, UpTunnel)>,
    pub(super) last_request: u32,
    /// Requests on their way out.
    requests: Vec<(PeerId, UpTunnel, RequestId)>,
    /// Services whose old table still counts.
    turning: BTreeSet<ServiceKey>,
    /// When to look whether any of them does too long.
    turning_at: Option<Time>,
    pub(super) learning: Option<Learning>,
    pub(super) away: Away,
    sweep_at: Option<Time>,
    /// Rules that have told all of their flows, and by which request: older pins are over.
    swept: BTreeMap<(ServerId, UpTunnel), RequestId>,
    /// Flows of the reports since the last sweep.
    reported: usize,
}

/// The ends of a flow, {address, port}.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
}

impl Services {
    /// Whether it is learned who has which flow of a service.
    pub(super) fn learns(&self, service: &ServiceKey) -> bool {
        self.learning.as_ref().is_some_and(|learning| learning.is_of(service))
    }

    /// Whether anybody serves a service.
    pub(super) fn is_served(&self, service: &ServiceKey) -> bool {
        self.locals.contains_key(service)
    }

    /// A flow that is going to be looked up.
    #[inline]
    pub(super) fn seek(&self, port: PortId, protocol: u8, ends: Ends) -> Sought {
        let service = ServiceKey { port, protocol, local_port: ends.local.1 };
        let (pool, flow) =
            self.pools.hashes(&(service, wide(ends.local.0)), (wide(ends.remote.0), ends.remote.1));
        Sought { port, protocol, ends, flow, pool }
    }

    /// Reads what [`Services::decide`] is going to read: see [`Dispatch::fetch`](super::Dispatch::fetch).
    pub(super) fn fetch<'a>(&self, flows: impl Iterator<Item = &'a Sought> + Clone) {
        let (many_pools, many_pins) = (self.pools.len() > NEAR, self.pins.len() > NEAR);
        if many_pools {
            black_box(flows.clone().filter_map(|sought| self.pools.touch(sought.pool)).last());
        }
        if many_pins {
            let is_shared = |sought: &&Sought| !many_pools || self.pools.touch(sought.pool).is_none();
            black_box(flows.filter(is_shared).fold(0, |read, sought| read ^ self.pins.touch(sought.flow)));
        }
    }

    /// Takes over who serves at an address of a service; nobody if there is none. A pool without a listener that names its
    /// address (`is_named`) goes on with those of any address, until the flows that were there are known: the pool of any
    /// address has another table.
    pub(super) fn update(
        &mut self,
        key: ServiceKey,
        local: u128,
        (candidates, is_named): (&[Candidate], bool),
        conflicts: Conflicts,
    ) {
        if candidates.is_empty() || !(is_named || self.pools.contains_key(&(key, local))) {
            self.close(key, local);
            return;
        }
        self.owners.extend(candidates.iter().map(|candidate| (candidate.server, candidate.target.peer)));
        if !self.pools.contains_key(&(key, local)) {
            let any = self.pools.get(&(key, any_like(local)));
            let any = any.map(|pool| (pool.chooser().clone(), pool.turnover.clone()));
            let mut pool = Pool::default();
            if let Some((chooser, turnover)) = any {
                pool.inherit(chooser, turnover);
                self.turning.insert(key);
            }
            self.pools.insert((key, local), pool);
            self.locals.entry(key).or_default().insert(local);
            if let Some(learning) = &mut self.learning {
                learning.served(&key);
            }
        }
        let learns = self.learns(&key);
        let asked = self.pools.change(&(key, local), |pool| {
            let known: Vec<Target> = pool.shares().iter().map(|share| share.target).collect();
            let before = pool.chooser().clone();
            let changed = pool.update(candidates, conflicts, &mut self.tables);
            pool.is_orphan = !is_named;
            let mut asked: BTreeSet<(PeerId, UpTunnel)> = BTreeSet::new();
            if key.protocol != TCP {
                // The flows are tracked.
                return asked;
            }
            let rules = |share: &Share| (share.target.peer, share.target.tunnel);
            let is_shared = pool.shares().len() > 1;
            if changed && (!before.is_empty() || pool.turnover.is_some()) {
                asked = pool.shares().iter().map(rules).collect();
                let before = pool.turnover.take().map_or(before, |turnover| turnover.before);
                pool.turnover = Some(Box::new(Turnover { before, waiting: asked.clone(), until: None }));
                self.turning.insert(key);
            }
            let is_new = |share: &&Share| {
                let telling = is_shared || learns || share.standing == Standing::Draining;
                telling && !known.contains(&share.target)
            };
            asked.extend(pool.shares().iter().filter(is_new).map(rules));
            if let Some(turnover) = &mut pool.turnover {
                turnover.waiting.extend(asked.iter().copied());
            }
            asked
        });
        asked.into_iter().flatten().for_each(|(peer, tunnel)| self.ask(peer, tunnel));
        self.close_orphan(key, local);
    }

    /// The named addresses of a service, of the version of `any`.
    pub(super) fn named(&self, key: &ServiceKey, any: u128) -> Vec<u128> {
        let locals = self.locals.get(key).into_iter().flatten().copied();
        locals.filter(|local| *local != any && any_like(*local) == any).collect()
    }

    /// The standing of a server's rule at an address.
    pub(super) fn standing(&self, key: &ServiceKey, local: u128, server: ServerId) -> Option<Standing> {
        Some(self.pools.get(&(*key, local))?.share(server)?.standing)
    }

    /// A control tells flows of a rule that listens at `key` for `server`.
    pub(super) fn report(
        &mut self,
        (peer, tunnel, request): (PeerId, UpTunnel, RequestId),
        (key, server): (ServiceKey, ServerId),
        flows: &[LiveFlow],
        last: bool,
    ) {
        if self.asked.get(&(peer, tunnel)) != Some(&request) {
            return;
        }
        self.reported += flows.len();
        let learns = self.learns(&key);
        let is_referee = self.referees.contains(&(peer, tunnel));
        for flow in flows.iter().filter(|flow| flow.local().1 == key.local_port) {
            let Some(pool) = pool_of(&self.pools, key, flow.local().0) else { continue };
            if pool.share(server).is_none() {
                // It has no listener at that address.
                continue;
            }
            let hash = FlowHash::new(key.protocol, flow.local(), flow.remote());
            let pin_key =
                self.seek(key.port, key.protocol, Ends { local: flow.local(), remote: flow.remote() }).flow;
            let pin = self.pins.get(pin_key);
            // As long as there are two tables, a flow is at home where both say so.
            let is_chosen = pool.choose(hash).is_some_and(|share| share.server == server);
            let at_home = is_chosen && !pool.moves(hash);
            let has_won = self.contests.decide(pin_key, server);
            if let Some(pin) = pin.filter(|pin| pin.server != server && !has_won)
                && pool.share(pin.server).is_some()
                && !(learns && is_chosen)
            {
                // Its packets go to the other one, whose own report would have swept a pin of the past.
                continue;
            }
            if at_home && !learns {
                if pin.is_some() {
                    self.pins.remove(pin_key);
                }
                continue;
            }
            let holder = pool.follow(hash).filter(|share| pin.is_none() && share.server != server && !learns);
            if let Some(Share { server, target, .. }) = holder.filter(|_| !has_won) {
                if is_referee {
                    continue;
                }
                self.contests.begin(pin_key, (*server, target.tunnel));
            }
            self.pins.insert(pin_key, peer, Pin { server, tunnel, request: request.0 });
        }
        self.telling.insert((peer, tunnel));
        if last {
            self.swept.insert((server, tunnel), request);
            self.contests.told((server, tunnel));
            self.answered(key, peer, tunnel);
            self.ask_holders();
        }
    }

    /// Asks those to whom the table gives flows that others have told, unless their answer is still to come as a whole.
    fn ask_holders(&mut self) {
        for (server, tunnel) in self.contests.take_unasked() {
            let Some(owner) = self.owners.get(&server).copied() else { continue };
            let is_coming =
                self.asked.contains_key(&(owner, tunnel)) && !self.telling.contains(&(owner, tunnel));
            if !is_coming {
                self.ask(owner, tunnel);
                self.referees.insert((owner, tunnel));
            }
        }
    }

    /// A flow that had a rule of its own stays with its server, until that tells whether it is there.
    pub(super) fn keep(&mut self, port: PortId, ends: &Ends, server: ServerId) {
        let key = ServiceKey { port, protocol: TCP, local_port: ends.local.1 };
        let share = pool_of(&self.pools, key, ends.local.0).and_then(|pool| pool.share(server));
        if let Some(share) = share {
            let pin = Pin { server, tunnel: share.target.tunnel, request: self.last_request };
            self.pins.insert(self.seek(port, TCP, *ends).flow, share.target.peer, pin);
        }
    }

    /// A control has said all of its rules: what it was asked for in an earlier session it is asked again.
    pub(super) fn said_all(&mut self, peer: PeerId, control: &str) {
        let open: Vec<_> = self.asked.keys().filter(|(asked, _)| *asked == peer).copied().collect();
        open.into_iter().for_each(|(peer, tunnel)| self.ask(peer, tunnel));
        if let Some(learning) = &mut self.learning {
            learning.said_all(control);
        }
        self.away.said_all(peer);
        self.note_told(peer);
        self.end_learning();
    }

    /// Learns nothing from a control that is not to be remembered.
    pub(super) fn forget(&mut self, control: &str) {
        if let Some(learning) = &mut self.learning {
            learning.said_all(control);
        }
        self.end_learning();
    }

    /// Requests for flows that are to be sent. Whatever was told since the last time is dealt with in one go: a pass through all
    /// pins for each rule would take too long.
    pub(super) fn take_requests(&mut self) -> Vec<(PeerId, UpTunnel, RequestId)> {
        let swept = core::mem::take(&mut self.swept);
        if !swept.is_empty() && !self.pins.is_empty() {
            let is_over = |pin: &Pin| {
                let told = swept.get(&(pin.server, pin.tunnel));
                told.is_some_and(|request| is_before(pin.request, *request))
            };
            self.pins.retain(|pin| !is_over(pin));
        }
        core::mem::take(&mut self.requests)
    }

    /// The servers of pinned and tracked flows.
    pub(super) fn servers(&self) -> BTreeSet<ServerId> {
        self.pins.rules().map(|(server, _)| server).chain(self.tracks.servers()).collect()
    }

    /// Forgets the servers that are not among these.
    pub(super) fn retain_servers(&mut self, servers: &BTreeMap<ServerId, PeerId>) {
        self.owners.retain(|server, _| servers.contains_key(server));
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> usize {
        self.owners.len()
    }

    #[cfg(test)]
    pub(super) fn contests_are_over(&self) -> bool {
        self.contests.is_empty()
    }

    pub(super) fn pinned(&self) -> usize {
        self.pins.len()
    }

    /// Flows for which there was no room since the start.
    pub(super) fn unpinned(&self) -> u64 {
        self.pins.refused()
    }

    pub(super) fn tracked(&self) -> usize {
        self.tracks.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let learning = self.learning.as_ref().and_then(Learning::poll_timeout);
        let others = [self.away.poll_timeout(), self.tracks.poll_timeout()];
        [learning, self.turning_at, self.sweep_at].into_iter().chain(others).flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.tracks.handle_timeout(now);
        self.away.handle_timeout(now);
        if let Some(learning) = &mut self.learning {
            if learning.handle_timeout(now) {
                self.learning = None;
                self.ask_all();
            } else {
                self.end_learning();
            }
        }
        if self.turning_at.is_none_or(|at| at <= now) {
            self.end_turnovers(now);
            self.turning_at = (!self.turning.is_empty()).then(|| now + IMPATIENCE);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            self.ask_all();
            self.schedule(now);
        } else if self.sweep_at.is_none() && !self.pins.is_empty() {
            self.schedule(now);
        }
    }

    /// Ends what has waited too long.
    fn end_turnovers(&mut self, now: Time) {
        for key in self.turning.clone() {
            for local in self.locals.get(&key).into_iter().flatten() {
                self.pools.change(&(key, *local), |pool| {
                    pool.turnover.take_if(|turnover| *turnover.until.get_or_insert(now + PATIENCE) <= now);
                });
            }
            self.settle(key);
        }
    }

    fn schedule(&mut self, now: Time) {
        let more = core::mem::take(&mut self.reported) / SWEPT_PER_SECOND;
        self.sweep_at = (!self.pins.is_empty()).then(|| now + SWEEP + Duration::from_secs(more as u64));
    }

    fn ask(&mut self, peer: PeerId, tunnel: UpTunnel) {
        self.last_request = self.last_request.wrapping_add(1);
        let request = RequestId(self.last_request);
        self.asked.insert((peer, tunnel), request);
        self.telling.remove(&(peer, tunnel));
        self.referees.remove(&(peer, tunnel));
        self.requests.push((peer, tunnel, request));
    }

    /// Asks everybody whose flows may be pinned.
    fn ask_all(&mut self) {
        let shares = self.pools.values().flat_map(Pool::shares);
        let in_force: BTreeSet<_> = shares.map(|share| (share.server, share.target.tunnel)).collect();
        self.contests.retain(|holder| in_force.contains(holder));
        // Whoever had the rules of the others has told the flows by its new ones, or is about to.
        let telling: BTreeSet<PeerId> = self.asked.keys().map(|(peer, _)| *peer).collect();
        let is_telling = |server| self.owners.get(&server).is_some_and(|owner| telling.contains(owner));
        self.pins.retain(|pin| in_force.contains(&(pin.server, pin.tunnel)) || is_telling(pin.server));
        let owner = |(server, tunnel)| Some((*self.owners.get(&server)?, tunnel));
        let rules: BTreeSet<_> = self.pins.rules().filter_map(owner).collect();
        rules.into_iter().for_each(|(peer, tunnel)| self.ask(peer, tunnel));
    }

    /// A control has told all flows of a rule, or never will.
    pub(super) fn answered(&mut self, key: ServiceKey, peer: PeerId, tunnel: UpTunnel) {
        self.asked.remove(&(peer, tunnel));
        self.telling.remove(&(peer, tunnel));
        self.referees.remove(&(peer, tunnel));
        for local in self.locals.get(&key).into_iter().flatten() {
            self.pools.change(&(key, *local), |pool| {
                pool.turnover.take_if(|turnover| {
                    turnover.waiting.remove(&(peer, tunnel));
                    turnover.waiting.is_empty()
                });
            });
        }
        self.settle(key);
        self.note_told(peer);
        self.end_learning();
    }

    /// A control may have told everything.
    fn note_told(&mut self, peer: PeerId) {
        if self.asked.range(tunnels_of(peer)).next().is_none() {
            self.away.told(peer);
        }
    }

    /// What a control loses when it falls silent now.
    pub(super) fn lost(&self, peer: PeerId, services: &BTreeSet<ServiceKey>) -> Lost {
        let segments = services.iter().filter(|service| service.protocol == TCP);
        let locals = segments.filter_map(|service| Some((service, self.locals.get(service)?)));
        let keys = locals.flat_map(|(service, locals)| locals.iter().map(|local| (*service, *local)));
        let mut lost = Lost::default();
        for (key, pool) in keys.filter_map(|key| Some((key, self.pools.get(&key)?))) {
            lost.add(key, pool, peer);
        }
        lost
    }

    /// Old tables may be over: closes the pools that were waiting for it, and notes whether the service has any other.
    fn settle(&mut self, key: ServiceKey) {
        if !self.turning.contains(&key) {
            return;
        }
        for local in self.locals.get(&key).cloned().unwrap_or_default() {
            self.close_orphan(key, local);
        }
        self.note_turning(key);
    }

    fn note_turning(&mut self, key: ServiceKey) {
        if self.turning.contains(&key) && self.turnovers(&key).next().is_none() {
            self.turning.remove(&key);
        }
    }

    /// Closes a pool that nobody names and that waits for nothing.
    fn close_orphan(&mut self, key: ServiceKey, local: u128) {
        let pool = self.pools.get(&(key, local));
        if pool.is_some_and(|pool| pool.is_orphan && pool.turnover.is_none()) {
            self.close(key, local);
        }
    }

    fn turnovers(&self, key: &ServiceKey) -> impl Iterator<Item = &Turnover> {
        let locals = self.locals.get(key).into_iter().flatten();
        locals.filter_map(|local| self.pools.get(&(*key, *local))?.turnover.as_deref())
    }

    fn end_learning(&mut self) {
        let over = self.learning.as_ref().is_some_and(Learning::has_heard_all);
        if over && self.asked.is_empty() {
            self.learning = None;
            // Every flow is pinned; most need not be.
            self.ask_all();
        }
    }

    fn close(&mut self, key: ServiceKey, local: u128) {
        self.pools.remove(&(key, local));
        if let Some(locals) = self.locals.get_mut(&key) {
            locals.remove(&local);
            if locals.is_empty() {
                self.locals.remove(&key);
            }
        }
        self.note_turning(key);
    }
}

/// The pool that an address is served by.
fn pool_of(pools: &Pools, key: ServiceKey, local: IpAddr) -> Option<&Pool> {
    let local = wide(local);
    pools.get(&(key, local)).or_else(|| pools.get(&(key, any_like(local))))
}

/// Whether a request was made before another.
fn is_before(request: u32, other: RequestId) -> bool {
    request.wrapping_sub(other.0) > u32::MAX / 2
}

#[inline]
pub(super) fn wide(address: IpAddr) -> u128 {
    u128::from_be_bytes(octets(address))
}

/// "Any address" of the version of an address, both in their 128-bit form.
pub(super) const fn any_like(local: u128) -> u128 {
    const MAPPED: u128 = 0xffff << 32;
    if local >> 32 == 0xffff { MAPPED } else { 0 }
}

pub(super) const TCP: u8 = 6;
