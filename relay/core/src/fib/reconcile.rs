//! The queue: what is wanted is compared with what is installed.

use super::kernel::same;
use super::partners::Usable;
use super::{Answer, Entry, Fib, Flight, Installed, RETRY, RETRY_CHANGED, RETRY_MAX, Refusal, Work};
use super::{RouteFailure, RouteNexthop, RouteOperation};
use crate::port::Ports;
use core::ops::Bound;
use core::time::Duration;
use frames::message::Status;
use frames::route::{RouteContent, RouteKey};
use l2link::routes::ContentId;
use l2link::{PeerId, Time};

/// Operations of one batch: about a millisecond of the kernel's time.
const BATCH: usize = 256;
/// Routes that are looked at for one batch.
const LOOKED_AT: usize = 4_096;
/// After a conflict the kernel is looked at, in case the route in the way is ours; not more often than this.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

// errno of `asm-generic/errno-base.h`; the core knows no libc.
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;

/// What is to be done about a route.
enum Decision {
    Nothing,
    Set(ContentId, Vec<RouteNexthop>),
    Delete,
    Refuse(Refusal),
}

impl Fib {
    /// The next operations, for which the shell owes [`Fib::landed`]; `None` if there is nothing to do.
    pub(crate) fn decide(&mut self, ports: &Ports) -> Option<Vec<RouteOperation>> {
        if !self.ready || !self.flight.is_empty() {
            return None;
        }
        let mut operations = Vec::new();
        for _ in 0..LOOKED_AT {
            if operations.len() == BATCH {
                break;
            }
            match self.work.pop_front() {
                Some(Work::Route(key)) => operations.extend(self.decide_route(key, ports)),
                Some(Work::Mark(peer, request)) => {
                    self.marks.insert(peer, request);
                }
                None => break,
            }
        }
        if operations.is_empty() {
            self.say_done();
            return None;
        }
        Some(operations)
    }

    fn decide_route(&mut self, key: RouteKey, ports: &Ports) -> Option<RouteOperation> {
        let entry = self.entries.get_mut(&key)?;
        entry.queued = false;
        let entry = *entry;
        let installed = entry.installed != Installed::No;
        match self.decision(&key, &entry, ports) {
            Decision::Nothing => {
                self.tidy(key);
                None
            }
            Decision::Delete => {
                self.flight.push(Flight { key, content: None, replaces: true });
                Some(RouteOperation::Delete { key })
            }
            Decision::Set(id, nexthops) => {
                let RouteContent { kind, mtu, .. } = self.contents.get(id);
                self.flight.push(Flight { key, content: Some(id), replaces: installed });
                Some(RouteOperation::Set { key, replace: installed, kind, mtu, nexthops })
            }
            Decision::Refuse(refusal) => {
                self.entries.get_mut(&key)?.blocked = true;
                self.refuse(key, refusal);
                // What is there leads where nobody wants it to.
                installed.then(|| {
                    self.flight.push(Flight { key, content: None, replaces: true });
                    RouteOperation::Delete { key }
                })
            }
        }
    }

    /// Compares. A [`Decision::Set`] holds a use of its content.
    fn decision(&mut self, key: &RouteKey, entry: &Entry, ports: &Ports) -> Decision {
        let installed = entry.installed;
        let Some(intent) = entry.intent.filter(|intent| intent.permitted && !entry.blocked) else {
            let stays = installed == Installed::No || (entry.adopted && self.keeps_orphans);
            return if stays { Decision::Nothing } else { Decision::Delete };
        };
        let content = self.contents.get(intent.content);
        let Usable { said, nexthops, whole } = self.partners.usable(key, &content, intent.peer, ports);
        if nexthops.is_empty() && self.partners.may_come(&content, intent.peer) && installed == Installed::No
        {
            self.degraded.insert(*key);
            return Decision::Nothing;
        }
        if nexthops.is_empty() && !content.nexthops.is_empty() {
            return Decision::Refuse(self.unusable(&content, intent.peer, ports));
        }
        if whole {
            self.degraded.remove(key);
        } else {
            self.degraded.insert(*key);
        }
        let effective = if said == content.nexthops {
            self.contents.retain(intent.content);
            intent.content
        } else {
            let (kind, mtu) = (content.kind, content.mtu);
            self.contents.intern(&RouteContent { kind, mtu, nexthops: &said })
        };
        if let Installed::Content(there) = installed
            && (there == effective || same(&self.contents.get(there), &self.contents.get(effective)))
        {
            self.contents.release(effective);
            if let Some(fitted) = self.entries.get_mut(key).map(Entry::fits) {
                self.fitted(key, fitted);
            }
            return Decision::Nothing;
        }
        Decision::Set(effective, nexthops)
    }

    /// The kernel has dealt with the operations of the last batch, all but these.
    pub(crate) fn landed(&mut self, failures: &[RouteFailure], now: Time) {
        let look = self.look;
        for (place, flight) in core::mem::take(&mut self.flight).into_iter().enumerate() {
            let failure = failures.iter().find(|failure| failure.place == place);
            let Flight { key, content, replaces } = flight;
            let Some(entry) = self.entries.get_mut(&key) else {
                content.into_iter().for_each(|content| self.contents.release(content));
                continue;
            };
            match (content, failure) {
                (Some(content), None) => {
                    entry.seen = look;
                    let before = core::mem::replace(&mut entry.installed, Installed::Content(content));
                    let fitted = entry.fits();
                    self.installed_changed(before, true);
                    self.fitted(&key, fitted);
                }
                (None, None) => {
                    self.taken_out(key);
                    self.doubt_neighbours(key);
                }
                (None, Some(failure)) if failure.errno == ESRCH => self.taken_out(key),
                (Some(content), Some(failure)) => {
                    entry.blocked = true;
                    self.contents.release(content);
                    let foreign = failure.errno == EEXIST && !replaces;
                    let (status, text) = if foreign {
                        self.look_wanted |= self.looked_at.is_none_or(|at| at + LOOK_PAUSE <= now);
                        let text = "the relay has another route of this destination and metric".to_owned();
                        (Status::CONFLICT, text)
                    } else {
                        (Status::SYSTEM, failure.text.clone())
                    };
                    self.refuse(key, Refusal { status, text });
                    if replaces {
                        // What is there is not wanted any more.
                        self.queue(key);
                    }
                    self.retry_at.get_or_insert(now + self.retry_pause);
                }
                (None, Some(failure)) => {
                    log::warn!(target: "relay::route", "route {key}: cannot be deleted: {}", failure.text);
                    self.undeleted.insert(key);
                    self.retry_at.get_or_insert(now + self.retry_pause);
                }
            }
        }
        self.say_done();
    }

    /// To the kernel, deleting a route of metric 0 means deleting one of any metric: if ours was gone already, another one of
    /// ours went in its place.
    fn doubt_neighbours(&mut self, key: RouteKey) {
        let behind = self.entries.range((Bound::Excluded(key), Bound::Unbounded)).next();
        let sibling = behind.is_some_and(|(next, _)| (next.table, next.prefix) == (key.table, key.prefix));
        self.look_wanted |= key.metric == 0 && sibling;
    }

    fn taken_out(&mut self, key: RouteKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = core::mem::replace(&mut entry.installed, Installed::No);
        entry.seen = self.look;
        self.installed_changed(before, false);
        self.tidy(key);
    }

    /// Forgets a route that nobody wants and that is not there.
    fn tidy(&mut self, key: RouteKey) {
        let empty = self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.intent.is_none() && entry.installed == Installed::No && !entry.queued);
        if empty {
            self.entries.remove(&key);
            self.degraded.remove(&key);
            self.refusals.remove(&key);
        }
    }

    /// A route is installed as it is wanted.
    fn fitted(&mut self, key: &RouteKey, Fitted { owner, was_lost }: Fitted) {
        if was_lost {
            self.counts.repaired += 1;
            log::info!(target: "relay::route", "route {key} was lost, and is back");
        }
        if self.refusals.remove(key).is_some()
            && let Some(owner) = owner
        {
            self.answer(owner, *key, Status::OK, String::new());
        }
    }

    /// A route cannot be installed: its control is told, unless it knows.
    pub(super) fn refuse(&mut self, key: RouteKey, refusal: Refusal) {
        if self.refusals.get(&key) == Some(&refusal) {
            return;
        }
        let owner = self.entries.get(&key).and_then(|entry| entry.intent).map(|intent| intent.peer);
        log::debug!(target: "relay::route", "route {key}: {}: {}", refusal.status, refusal.text);
        if let Some(owner) = owner {
            self.answer(owner, key, refusal.status, refusal.text.clone());
        }
        self.refusals.insert(key, refusal);
    }

    fn say_done(&mut self) {
        for (peer, request) in core::mem::take(&mut self.marks) {
            self.answers.push((peer, Answer::Done(request)));
        }
    }

    /// An interface or an address changed: what could not be installed perhaps can be now.
    pub(crate) fn interfaces_changed(&mut self, now: Time) {
        self.retry_pause = RETRY;
        if !self.refusals.is_empty() || !self.degraded.is_empty() {
            let soon = now + RETRY_CHANGED;
            self.retry_at = Some(self.retry_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Tries again what the kernel refused.
    pub(super) fn retry(&mut self, now: Time) {
        let undeleted = core::mem::take(&mut self.undeleted);
        let again: Vec<RouteKey> =
            self.refusals.keys().chain(&self.degraded).chain(&undeleted).copied().collect();
        for key in again {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.blocked = false;
                self.queue(key);
            }
        }
        self.retry_at = (!self.refusals.is_empty()).then(|| now + self.retry_pause);
        self.retry_pause = (self.retry_pause * 2).min(RETRY_MAX);
    }
}

/// What it means that a route is installed as it is wanted.
struct Fitted {
    owner: Option<PeerId>,
    was_lost: bool,
}

impl Entry {
    fn fits(&mut self) -> Fitted {
        let was_lost = core::mem::take(&mut self.lost);
        Fitted { owner: self.intent.map(|intent| intent.peer), was_lost }
    }
}
