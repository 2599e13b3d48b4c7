//! [`Mirror`]: the routes of one namespace as its kernel has them.
//!
//! While a dump runs, events go before it: the kernel may have written a route into the dump before the event's change,
//! and the dump be read after the event. An event that is older than the dump is followed by the newer one.

use frames::route::{Prefix, RouteContent, RouteKey};
use l2link::routes::{ContentId, Contents};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// A route of the mirror. In its content, the place of the port holds the number of the interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mirrored {
    pub(super) content: ContentId,
    /// The newest dump of its family that it was seen in, or that had begun when an event told of it.
    generation: u16,
    /// Who put it there (`rtm_protocol`).
    pub(super) protocol: u8,
    /// An event told of it in this generation.
    told: bool,
}

/// Who tells of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Teller {
    Event,
    Dump,
}

/// A version of IP, whose routes are dumped by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(key: &RouteKey) -> Self {
        if key.prefix.address().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// The dumps of one family.
#[derive(Debug, Default)]
struct Dumps {
    generation: u16,
    running: bool,
    /// One was complete, so that what is missing from the mirror is missing from the kernel.
    complete: bool,
    /// Routes that events said are gone while it runs: it may still show them.
    gone: BTreeSet<RouteKey>,
}

#[derive(Debug, Default)]
pub(super) struct Mirror {
    routes: BTreeMap<RouteKey, Mirrored>,
    contents: Contents,
    v4: Dumps,
    v6: Dumps,
}

impl Mirror {
    /// Takes a route; returns whether it is news.
    pub(super) fn set(
        &mut self,
        key: RouteKey,
        content: &RouteContent<'_>,
        protocol: u8,
        teller: Teller,
    ) -> bool {
        let dumps = self.dumps(Family::of(&key));
        let generation = dumps.generation;
        match teller {
            Teller::Dump if dumps.gone.contains(&key) => return false,
            Teller::Dump => {}
            Teller::Event => _ = dumps.gone.remove(&key),
        }
        let told = teller == Teller::Event;
        match self.routes.entry(key) {
            Entry::Vacant(vacant) => {
                let content = self.contents.intern(content);
                vacant.insert(Mirrored { content, generation, protocol, told });
                true
            }
            Entry::Occupied(occupied) => {
                let known = occupied.into_mut();
                if known.told && known.generation == generation && teller == Teller::Dump {
                    return false;
                }
                let before = *known;
                *known = Mirrored { content: before.content, generation, protocol, told };
                if self.contents.get(before.content) == *content {
                    return before.protocol != protocol;
                }
                known.content = self.contents.intern(content);
                self.contents.release(before.content);
                true
            }
        }
    }

    /// An event told that a route is gone; returns whether it is news.
    pub(super) fn remove(&mut self, key: &RouteKey) -> bool {
        let dumps = self.dumps(Family::of(key));
        if dumps.running {
            dumps.gone.insert(*key);
        }
        self.drop_route(key)
    }

    /// A dump begins. One that runs is over without effect.
    pub(super) fn begin(&mut self, family: Family) {
        let dumps = self.dumps(family);
        dumps.generation = dumps.generation.wrapping_add(1);
        dumps.running = true;
        dumps.gone.clear();
    }

    /// The dump has shown all: removes what it has not, and names it.
    pub(super) fn end(&mut self, family: Family) -> Vec<RouteKey> {
        let dumps = self.dumps(family);
        if !core::mem::take(&mut dumps.running) {
            return Vec::new();
        }
        dumps.complete = true;
        dumps.gone = BTreeSet::new();
        let generation = dumps.generation;
        let unseen = |(key, route): &(&RouteKey, &Mirrored)| {
            Family::of(key) == family && route.generation != generation
        };
        let swept: Vec<RouteKey> = self.routes.iter().filter(unseen).map(|(key, _)| *key).collect();
        swept.iter().for_each(|key| _ = self.drop_route(key));
        swept
    }

    /// Whether both families have been dumped, so that a relay may sweep what is not here.
    pub(super) fn is_complete(&self) -> bool {
        self.v4.complete && self.v6.complete
    }

    pub(super) fn get(&self, key: &RouteKey) -> Option<(Mirrored, RouteContent<'_>)> {
        self.routes.get(key).map(|route| (*route, self.contents.get(route.content)))
    }

    /// The routes behind a key, in order.
    pub(super) fn keys_behind(&self, last: Option<&RouteKey>) -> impl Iterator<Item = &RouteKey> {
        use core::ops::Bound::{Excluded, Unbounded};
        self.routes.range((last.map_or(Unbounded, Excluded), Unbounded)).map(|(key, _)| key)
    }

    /// The routes that cover a prefix, of every table the longest first.
    pub(super) fn keys_to(&self, prefix: Prefix) -> Vec<RouteKey> {
        let mut keys = Vec::new();
        let mut table = self.routes.keys().next().map(|key| key.table);
        while let Some(of) = table {
            let key = |prefix, metric| RouteKey { table: of, prefix, metric };
            let here = prefix
                .covering()
                .flat_map(|prefix| self.routes.range(key(prefix, 0)..=key(prefix, u32::MAX)));
            keys.extend(here.map(|(key, _)| *key));
            let next =
                of.checked_add(1).and_then(|next| self.routes.range(RouteKey::first_of(next)..).next());
            table = next.map(|(key, _)| key.table);
        }
        keys
    }

    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    fn dumps(&mut self, family: Family) -> &mut Dumps {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    fn drop_route(&mut self, key: &RouteKey) -> bool {
        let gone = self.routes.remove(key);
        gone.inspect(|gone| self.contents.release(gone.content)).is_some()
    }
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
