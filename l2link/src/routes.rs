//! Route contents as both devices keep them: a full table leads to a handful of neighbours, so a million routes share a few
//! hundred contents.

use core::hash::BuildHasher;
use core::ops::{Index, IndexMut};
use frames::message::RouteNexthop;
use frames::route::{RouteContent, RouteKind};
use std::collections::HashMap;
use std::hash::RandomState;

/// A content of [`Contents`], four bytes instead of its nexthops. Equal ids of one [`Contents`] are equal contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(u32);

/// Each distinct content once, with the number of its uses.
///
/// Every [`ContentId`] that the owner holds is one use: [`Contents::intern`] and [`Contents::retain`] add one,
/// [`Contents::release`] ends one. With its last use a content goes, and its id may come to mean another.
#[derive(Debug, Default)]
pub struct Contents {
    places: Places,
    /// The first of the places whose contents have this hash; [`Place::next`] leads on.
    by_hash: HashMap<u64, ContentId>,
    /// Keyed, as contents come from the other device. By the key things are found, and nothing else: ids do not depend on it.
    hasher: RandomState,
    /// The first free place; [`Place::next`] leads on.
    free: Option<ContentId>,
    /// What was interned last: in bulk the next content is most often the same.
    newest: Option<ContentId>,
    len: usize,
}

#[derive(Debug, Default)]
struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    nexthops: Box<[RouteNexthop]>,
    mtu: u32,
    uses: u32,
    next: Option<ContentId>,
    kind: RouteKind,
}

impl Contents {
    /// The id of this content, with one use more.
    pub fn intern(&mut self, content: &RouteContent<'_>) -> ContentId {
        let id = match self.newest.filter(|id| self.places[*id].content() == *content) {
            Some(newest) => newest,
            None => self.find(content).unwrap_or_else(|| self.insert(content)),
        };
        self.places[id].uses += 1;
        self.newest = Some(id);
        id
    }

    /// One use more of a content that is in use.
    pub fn retain(&mut self, id: ContentId) {
        debug_assert!(self.places[id].uses > 0, "a content that went");
        self.places[id].uses += 1;
    }

    /// One use less.
    pub fn release(&mut self, id: ContentId) {
        let place = &mut self.places[id];
        debug_assert!(place.uses > 0, "released more often than used");
        place.uses = place.uses.saturating_sub(1);
        if place.uses == 0 {
            self.remove(id);
        }
    }

    /// The content of an id that is in use.
    #[must_use]
    pub fn get(&self, id: ContentId) -> RouteContent<'_> {
        self.places[id].content()
    }

    /// How many distinct contents are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tests see a few hashes only, so that contents share them.
    fn hash(&self, content: &RouteContent<'_>) -> u64 {
        self.hasher.hash_one(content) & if cfg!(test) { 3 } else { u64::MAX }
    }

    fn find(&self, content: &RouteContent<'_>) -> Option<ContentId> {
        let first = self.by_hash.get(&self.hash(content)).copied();
        let mut chain = core::iter::successors(first, |id| self.places[*id].next);
        chain.find(|id| self.places[*id].content() == *content)
    }

    fn insert(&mut self, content: &RouteContent<'_>) -> ContentId {
        let hash = self.hash(content);
        let RouteContent { kind, mtu, nexthops } = *content;
        let mut place = Place { nexthops: nexthops.into(), mtu, uses: 0, next: None, kind };
        let id = if let Some(id) = self.free {
            self.free = self.places[id].next;
            id
        } else {
            self.places.end()
        };
        place.next = self.by_hash.insert(hash, id);
        self.places.put(id, place);
        self.len += 1;
        id
    }

    fn remove(&mut self, id: ContentId) {
        let hash = self.hash(&self.places[id].content());
        let after = self.places[id].next;
        let first = self.by_hash.get(&hash).copied();
        match core::iter::successors(first, |before| self.places[*before].next)
            .find(|before| self.places[*before].next == Some(id))
        {
            Some(before) => self.places[before].next = after,
            None => {
                match after {
                    Some(after) => self.by_hash.insert(hash, after),
                    None => self.by_hash.remove(&hash),
                };
            }
        }
        self.places[id].nexthops = Box::default();
        self.places[id].next = self.free.replace(id);
        self.newest = self.newest.filter(|newest| *newest != id);
        self.len -= 1;
    }
}

impl Place {
    fn content(&self) -> RouteContent<'_> {
        RouteContent { kind: self.kind, mtu: self.mtu, nexthops: &self.nexthops }
    }
}

impl Places {
    /// The id of the place behind the last one.
    fn end(&self) -> ContentId {
        ContentId(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    fn put(&mut self, id: ContentId, place: Place) {
        match self.0.get_mut(id.0 as usize) {
            Some(free) => *free = place,
            None => self.0.push(place),
        }
    }
}

impl Index<ContentId> for Places {
    type Output = Place;

    fn index(&self, id: ContentId) -> &Place {
        &self.0[id.0 as usize]
    }
}

impl IndexMut<ContentId> for Places {
    fn index_mut(&mut self, id: ContentId) -> &mut Place {
        &mut self.0[id.0 as usize]
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
