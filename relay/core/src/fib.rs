//! `Fib`: the routes that controls want, and those that the kernel has.
//!
//! # Theory of operation
//! Each control says all of its routes and then every change of them: its *intents*. What the relay has put into its
//! kernel is *installed*. Whenever one of the two changes, the key of the route is queued; when its turn comes, what is
//! wanted then is compared with what is installed then, and the difference becomes an operation for the kernel. So it
//! does not matter how often a route changed meanwhile, or who changed it.
//!
//! ```text
//!  ROUTE_ADD, ROUTE_DELETE ──▶ intents ─┐                      ┌─▶ operations ─▶ kernel
//!                                       ├─ queue of keys ─▶ decide
//!  a look at the kernel, its events ─▶ installed ─┘            └─▶ ROUTE_REPLY, ROUTES_DONE
//! ```
//!
//! A route has one owner: the first control that said it and may have it. Others that say it too are refused, and the
//! first of them has it when the owner gives it up. A control that is gone keeps its routes for the *hold* time, and
//! one that comes back until it has said its table anew; what it did not say again goes then. Routes that are in the
//! kernel with the project's mark when the daemon starts are *orphans*: they forward on until a control claims them,
//! or nobody can any more.
//!
//! The operator says routes, too: see `by_hand`.
//!
//! Routes of others are never touched: a route is added only where there is none of its key, and replaced or deleted
//! only where the one that is there is known to be ours.

mod by_hand;
mod intents;
mod kernel;
mod partners;
mod reconcile;
mod rows;
mod session;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use by_hand::Taken;
pub(crate) use partners::{Meeting, Partners};

pub use kernel::{RouteFailure, RouteNexthop, RouteOperation, RouteSeen, RoutesSeen};
pub use rows::{RouteNexthopRow, RouteRow};
pub use verify::VerifyRow;

use by_hand::OPERATOR;
use core::time::Duration;
use frames::message::Status;
use frames::route::{RouteKey, RoutesDigest, TableDigest};
use l2link::routes::{ContentId, Contents};
use l2link::{PeerId, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the configuration says of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FibConfig {
    /// How long the routes of a control stay that is gone; `None` for ever.
    pub hold: Option<Duration>,
    /// Most routes of all controls together.
    pub max: usize,
}

impl Default for FibConfig {
    fn default() -> Self {
        Self { hold: Some(Duration::from_secs(60)), max: 2_000_000 }
    }
}

/// Pause until refused routes are tried again, if nothing happens that makes it likely that they fit now.
const RETRY: Duration = Duration::from_secs(5);
/// The pause doubles up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Pause after an interface changed: the next changes follow at once, as a rule.
const RETRY_CHANGED: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Fib {
    config: FibConfig,
    entries: BTreeMap<RouteKey, Entry>,
    /// Intents for keys that another control has.
    contenders: BTreeMap<RouteKey, Vec<Intent>>,
    contents: Contents,
    /// Why a route is not installed.
    refusals: BTreeMap<RouteKey, Refusal>,
    /// Routes that lack nexthops by ports that cannot be used now.
    degraded: BTreeSet<RouteKey>,
    /// Routes that the kernel did not delete when it was asked to.
    undeleted: BTreeSet<RouteKey>,
    speakers: BTreeMap<PeerId, Speaker>,
    /// Other relays, at which routes may leave.
    pub(crate) partners: Partners,
    work: VecDeque<Work>,
    /// What the kernel has been asked for.
    flight: Vec<Flight>,
    /// What is to be said when the flight has landed.
    marks: BTreeMap<PeerId, u32>,
    /// Number of the present look at the kernel.
    look: u16,
    /// Whether the kernel has been looked at. Nothing is changed before.
    ready: bool,
    /// Whether a look is wanted.
    look_wanted: bool,
    looked_at: Option<Time>,
    /// Whether orphans stay for now.
    keeps_orphans: bool,
    /// Until when, at most; `None` for ever.
    orphans_until: Option<Time>,
    /// Controls that may yet claim orphans; `None` if there is no telling.
    claimants: Option<BTreeSet<String>>,
    retry_at: Option<Time>,
    retry_pause: Duration,
    verification: Option<verify::Verification>,
    /// What a verification found, until it is fetched.
    pub(crate) verified: Option<Vec<VerifyRow>>,
    pub(crate) counts: Counts,
    /// Answers to be sent.
    pub(crate) answers: Vec<(PeerId, Answer)>,
}

/// Figures of `show counters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Routes in the kernel.
    pub(crate) installed: u64,
    /// Routes that were lost and are installed again.
    pub(crate) repaired: u64,
    /// Looks at the kernel.
    pub(crate) looks: u64,
}

/// A route.
#[derive(Debug, Clone, Copy)]
struct Entry {
    intent: Option<Intent>,
    installed: Installed,
    /// The look in which it was seen or changed last: what that look tells of it later is older than what is known.
    seen: u16,
    /// Its key is in the queue.
    queued: bool,
    /// The kernel refused it: not tried again until something changes.
    blocked: bool,
    /// It was installed and is not any more, through no doing of ours.
    lost: bool,
    /// It was there when the daemon started, and no control has wanted it since: an orphan.
    adopted: bool,
}

/// A control wants a route.
#[derive(Debug, Clone, Copy)]
struct Intent {
    peer: PeerId,
    content: ContentId,
    /// The association in which it was said last.
    epoch: u32,
    permitted: bool,
}

/// What is in the kernel under a key, with the project's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installed {
    No,
    Content(ContentId),
    /// Something that no control could have said.
    Other,
}

/// A control, as far as routes go.
#[derive(Debug, Default)]
struct Speaker {
    name: String,
    /// Counts its associations.
    epoch: u32,
    /// Whether there is an association with it.
    up: bool,
    /// Its newest route message.
    newest: u32,
    /// Whether it has said all of its table in this association.
    ended: bool,
    /// Of a slice that it says anew: what it has not said again yet.
    unsaid: BTreeSet<RouteKey>,
    digest: TableDigest,
    /// Routes were turned away without being kept: there is no digest of what it said.
    turned_away: bool,
    /// What was told last of its digest.
    told: Option<RoutesDigest>,
    /// When its routes go, if it is gone.
    until: Option<Time>,
}

/// Why a route is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: Status,
    text: String,
}

#[derive(Debug)]
enum Work {
    /// Look at this route.
    Route(RouteKey),
    /// Everything that this control said up to this message is before this place.
    Mark(PeerId, u32),
}

/// An operation that the kernel has been asked for.
#[derive(Debug)]
struct Flight {
    key: RouteKey,
    /// What is installed when it succeeds.
    content: Option<ContentId>,
    /// Whether there was one of ours in the kernel before.
    replaces: bool,
}

/// What is said to a control.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `ROUTE_REPLY`
    Reply { key: RouteKey, status: Status, text: String },
    /// `ROUTES_DONE`
    Done(u32),
}

impl Fib {
    /// A table of which nothing is known yet. `claimants` are the controls that may have routes, `None` if any may.
    pub(crate) fn new(config: FibConfig, claimants: Option<BTreeSet<String>>) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            contenders: BTreeMap::new(),
            contents: Contents::default(),
            refusals: BTreeMap::new(),
            degraded: BTreeSet::new(),
            undeleted: BTreeSet::new(),
            speakers: BTreeMap::from([(OPERATOR, Speaker::operator())]),
            partners: Partners::default(),
            work: VecDeque::new(),
            flight: Vec::new(),
            marks: BTreeMap::new(),
            look: 0,
            ready: false,
            look_wanted: false,
            looked_at: None,
            keeps_orphans: true,
            orphans_until: None,
            claimants,
            retry_at: None,
            retry_pause: RETRY,
            verification: None,
            verified: None,
            counts: Counts::default(),
            answers: Vec::new(),
        }
    }

    /// Takes over what the configuration says now. How long the routes of a control stay that is gone already, it said before.
    pub(crate) fn configure(&mut self, config: FibConfig) {
        self.config = config;
    }

    /// What the relay is to say of controls' tables in keepalives, where it changed.
    pub(crate) fn take_digests(&mut self) -> Vec<(PeerId, Option<RoutesDigest>)> {
        // With room again, the digest shows what is missing, and the control says it again.
        let room = self.entries.len() + self.config.max / 16 < self.config.max;
        let changed = |(peer, speaker): (&PeerId, &mut Speaker)| {
            speaker.turned_away &= !room;
            let digest = (speaker.ended && !speaker.turned_away)
                .then_some(RoutesDigest { request: speaker.newest, table: speaker.digest });
            let told = core::mem::replace(&mut speaker.told, digest);
            (told != digest).then_some((*peer, digest))
        };
        self.speakers.iter_mut().filter(|(peer, _)| **peer != OPERATOR).filter_map(changed).collect()
    }

    /// The names of all controls with routes, or with orphans to claim.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &String> {
        let with_routes = self.speakers.iter().filter(|(peer, _)| **peer != OPERATOR);
        let with_routes = with_routes.map(|(_, speaker)| speaker).filter(|speaker| speaker.digest.count > 0);
        let claimants = self.claimants.iter().flatten().filter(|_| self.keeps_orphans);
        with_routes.map(|speaker| &speaker.name).chain(claimants)
    }

    /// Whether [`Fib::decide`] has something to do.
    pub(crate) fn is_waiting(&self) -> bool {
        self.ready && self.flight.is_empty() && !self.work.is_empty()
    }

    /// Whether the kernel should be looked at; asked once.
    pub(crate) fn take_look_wanted(&mut self) -> bool {
        core::mem::take(&mut self.look_wanted)
    }

    /// When [`Fib::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let gone = self.speakers.values().filter_map(|speaker| speaker.until).min();
        [gone, self.orphans_until, self.retry_at, self.partners.poll_timeout()].into_iter().flatten().min()
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        let gone: Vec<PeerId> = self
            .speakers
            .iter()
            .filter(|(_, speaker)| speaker.until.is_some_and(|until| until <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in gone {
            self.give_up(peer);
        }
        if self.orphans_until.is_some_and(|until| until <= now) {
            self.sweep_orphans();
        }
        if self.partners.expire(now) || self.retry_at.is_some_and(|at| at <= now) {
            self.retry(now);
        }
    }

    fn queue(&mut self, key: RouteKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.queue(key, &mut self.work);
        }
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            intent: None,
            installed: Installed::No,
            seen: 0,
            queued: false,
            blocked: false,
            lost: false,
            adopted: false,
        }
    }

    /// Has its route looked at, `key`.
    fn queue(&mut self, key: RouteKey, work: &mut VecDeque<Work>) {
        if !core::mem::replace(&mut self.queued, true) {
            work.push_back(Work::Route(key));
        }
    }
}
