//! [`Told`]: what one relay was told of routes in this association, and what it answered.

use super::slots::Slots;
use frames::RequestId;
use frames::message::Status;
use frames::route::{RouteContent, RouteKey, Slice, TableDigest};
use l2link::routes::{ContentId, Contents};
use std::collections::{BTreeMap, VecDeque};

/// Most requests without an answer: a relay whose kernel is slower than the link gets fewer, newer ones.
const WINDOW: usize = 1 << 16;

#[derive(Debug, Clone, Copy)]
struct Entry {
    content: ContentId,
    request: u32,
}

/// What a relay makes of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State<'a> {
    Pending,
    Installed,
    Refused(&'a str),
}

#[derive(Debug, Default)]
pub(super) struct Told {
    routes: BTreeMap<RouteKey, Entry>,
    contents: Contents,
    refused: BTreeMap<RouteKey, Box<str>>,
    slots: Slots,
    /// The newest request; they are numbered from 1.
    newest: u32,
    /// Of each request after the last one done, whether a route waits for it.
    under_way: VecDeque<bool>,
    waiting: usize,
}

impl Told {
    /// Notes what is said of a key, `None` for that it is gone; returns the request's number, or none if the relay was
    /// told so before.
    pub(super) fn tell(&mut self, key: RouteKey, content: Option<&RouteContent<'_>>) -> Option<RequestId> {
        let known = self.routes.get(&key).copied();
        if known.map(|known| self.contents.get(known.content)) == content.copied() {
            return None;
        }
        if let Some(known) = known {
            self.slots.remove(&key, &self.contents.get(known.content));
            self.settle(known.request);
        }
        self.refused.remove(&key);
        let request = self.request(content.is_some());
        match content {
            Some(content) => {
                self.slots.add(&key, content);
                let content = self.contents.intern(content);
                self.routes.insert(key, Entry { content, request: request.0 });
            }
            None => _ = self.routes.remove(&key),
        }
        if let Some(known) = known {
            self.contents.release(known.content);
        }
        Some(request)
    }

    /// Notes that a route is said again as it is; returns the request's number and the route.
    pub(super) fn tell_again(&mut self, key: &RouteKey) -> Option<(RequestId, RouteContent<'_>)> {
        let known = *self.routes.get(key)?;
        self.settle(known.request);
        // What the relay answered counts no more: it answers again.
        self.refused.remove(key);
        let request = self.request(true);
        self.routes.insert(*key, Entry { request: request.0, ..known });
        Some((request, self.contents.get(known.content)))
    }

    /// The number of the next message; `route` if a route waits for its answer.
    pub(super) fn request(&mut self, route: bool) -> RequestId {
        self.newest = self.newest.wrapping_add(1);
        self.under_way.push_back(route);
        self.waiting += usize::from(route);
        RequestId(self.newest)
    }

    /// Everything up to this request was dealt with.
    pub(super) fn done(&mut self, request: RequestId) {
        while self.oldest().wrapping_sub(1) < request.0 {
            let Some(waited) = self.under_way.pop_front() else { return };
            self.waiting -= usize::from(waited);
        }
    }

    /// The relay told of one route.
    pub(super) fn reply(&mut self, key: RouteKey, status: Status, reason: String) {
        let Some(entry) = self.routes.get(&key).copied() else { return };
        self.settle(entry.request);
        if status == Status::OK {
            self.refused.remove(&key);
        } else {
            self.refused.insert(key, reason.into());
        }
    }

    pub(super) fn state(&self, key: &RouteKey) -> Option<State<'_>> {
        let entry = self.routes.get(key)?;
        Some(match self.refused.get(key) {
            Some(reason) => State::Refused(reason),
            None if self.waits_for(entry.request) => State::Pending,
            None => State::Installed,
        })
    }

    /// Whether another message may be sent before answers come.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW
    }

    /// Routes told, of them in force, and refused.
    pub(super) fn totals(&self) -> (usize, usize, usize) {
        let (all, refused) = (self.routes.len(), self.refused.len());
        (all, all - refused - self.waiting, refused)
    }

    /// The newest request.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// The keys behind this one, in order.
    pub(super) fn keys_behind(&self, last: Option<&RouteKey>) -> impl Iterator<Item = &RouteKey> {
        use core::ops::Bound::{Excluded, Unbounded};
        self.routes.range((last.map_or(Unbounded, Excluded), Unbounded)).map(|(key, _)| key)
    }

    /// What is refused, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&RouteKey, &str)> {
        self.refused.iter().map(|(key, reason)| (key, &**reason))
    }

    pub(super) fn digest(&self, slice: Slice) -> TableDigest {
        self.slots.digest(slice)
    }

    /// The oldest request that is not done.
    fn oldest(&self) -> u32 {
        self.newest.wrapping_sub(u32::try_from(self.under_way.len()).unwrap_or(u32::MAX)).wrapping_add(1)
    }

    fn place(&self, request: u32) -> usize {
        request.wrapping_sub(self.oldest()) as usize
    }

    fn waits_for(&self, request: u32) -> bool {
        self.under_way.get(self.place(request)).copied().unwrap_or(false)
    }

    /// No route waits for this request any more.
    fn settle(&mut self, request: u32) {
        let place = self.place(request);
        if let Some(waits) = self.under_way.get_mut(place) {
            self.waiting -= usize::from(core::mem::take(waits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::route::{Prefix, RouteKind};

    const BLACKHOLE: RouteContent<'static> =
        RouteContent { kind: RouteKind::Blackhole, mtu: 0, nexthops: &[] };
    const PROHIBIT: RouteContent<'static> = RouteContent { kind: RouteKind::Prohibit, ..BLACKHOLE };

    fn key(third: u8) -> RouteKey {
        let prefix = Prefix::new([10, 0, third, 0].into(), 24).unwrap();
        RouteKey { table: RouteKey::MAIN, prefix, metric: 0 }
    }

    #[test]
    fn a_route_is_pending_until_done_and_said_once() {
        let mut told = Told::default();
        assert_eq!(told.tell(key(1), Some(&BLACKHOLE)), Some(RequestId(1)));
        assert_eq!(told.tell(key(1), Some(&BLACKHOLE)), None);
        assert_eq!(told.state(&key(1)), Some(State::Pending));
        assert_eq!(told.tell(key(1), Some(&PROHIBIT)), Some(RequestId(2)));
        told.done(RequestId(1));
        assert_eq!((told.state(&key(1)), told.totals()), (Some(State::Pending), (1, 0, 0)));
        told.done(RequestId(2));
        assert_eq!((told.state(&key(1)), told.totals()), (Some(State::Installed), (1, 1, 0)));
        assert_eq!(told.tell(key(1), None), Some(RequestId(3)));
        assert_eq!((told.state(&key(1)), told.digest(Slice::ALL)), (None, TableDigest::default()));
        assert!(told.contents.is_empty());
    }

    #[test]
    fn refusals_come_and_go() {
        let mut told = Told::default();
        told.tell(key(1), Some(&BLACKHOLE));
        told.tell(key(2), Some(&BLACKHOLE));
        told.reply(key(1), Status::CONFLICT, "taken".into());
        assert_eq!(told.totals(), (2, 0, 1), "the other one is pending");
        told.done(RequestId(2));
        assert_eq!((told.state(&key(1)), told.totals()), (Some(State::Refused("taken")), (2, 1, 1)));
        told.reply(key(1), Status::OK, String::new());
        assert_eq!((told.state(&key(1)), told.totals()), (Some(State::Installed), (2, 2, 0)));
        told.reply(key(3), Status::CONFLICT, "never told".into());
        assert_eq!(told.totals(), (2, 2, 0));
    }

    #[test]
    fn what_is_said_again_is_answered_again() {
        let mut told = Told::default();
        let first = told.tell(key(1), Some(&BLACKHOLE)).unwrap();
        told.reply(key(1), Status::TABLE_FULL, "full".into());
        told.done(first);
        assert_eq!(told.state(&key(1)), Some(State::Refused("full")));
        let (again, content) = told.tell_again(&key(1)).unwrap();
        assert_eq!((again.0, content), (first.0 + 1, BLACKHOLE));
        assert_eq!((told.state(&key(1)), told.totals()), (Some(State::Pending), (1, 0, 0)));
        told.done(again);
        assert_eq!((told.state(&key(1)), told.totals()), (Some(State::Installed), (1, 1, 0)));
        assert_eq!(told.tell_again(&key(2)), None);
    }

    #[test]
    fn the_digest_is_that_of_what_was_told() {
        let mut told = Told::default();
        told.tell(key(1), Some(&BLACKHOLE));
        told.tell(key(1), Some(&PROHIBIT));
        assert_eq!(told.digest(Slice::ALL), TableDigest::of(&key(1), &PROHIBIT));
    }
}
