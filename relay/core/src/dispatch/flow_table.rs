//! [`FlowTable`]: a hash table for millions of small entries, made for processors that wait for memory.
//!
//! The key is a hash of 64 bits that nobody else can compute, and is all that is compared: of a million entries and a key that
//! is not there, one is taken for it with a probability of 2^-44. Entries stand in the table itself, and collisions go to the slots behind
//! (linear probing, at most three quarters full). So a look-up reads one cache line as a rule, and that is what it takes its
//! time for: an entry is to be aligned such that it is in one.

/// See the module.
#[derive(Debug)]
pub(super) struct FlowTable<E> {
    /// A power of two, or none.
    slots: Vec<E>,
    len: usize,
}

/// An entry, whose default is an empty slot.
pub(super) trait Slot: Copy + Default {
    /// The hash; 0 is that of an empty slot.
    fn key(&self) -> u64;
}

const LEAST: usize = 16;

impl<E: Slot> FlowTable<E> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<&E> {
        self.find(key).map(|place| &self.slots[place])
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut E> {
        self.find(key).map(|place| &mut self.slots[place])
    }

    /// What is where a key is looked for first: to be read for no other purpose than to have it near by.
    #[inline]
    pub(super) fn touch(&self, key: u64) -> Option<&E> {
        self.slots.get(self.home(key))
    }

    /// Puts an entry in, in the place of another of this key.
    pub(super) fn insert(&mut self, entry: E) -> Option<E> {
        if let Some(known) = self.get_mut(entry.key()) {
            return Some(core::mem::replace(known, entry));
        }
        if self.len >= self.slots.len() / 4 * 3 {
            self.resize((self.slots.len() * 2).max(LEAST));
        }
        self.put(entry);
        None
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<E> {
        let mut hole = self.find(key)?;
        let removed = self.slots[hole];
        self.len -= 1;
        // What stands behind moves up, unless that would take it before its home.
        let mut place = hole;
        loop {
            place = self.behind(place);
            let slot = self.slots[place];
            if slot.key() == 0 {
                break;
            }
            let (from_home, from_hole) =
                (self.distance(self.home(slot.key()), place), self.distance(hole, place));
            if from_home >= from_hole {
                self.slots[hole] = slot;
                hole = place;
            }
        }
        self.slots[hole] = E::default();
        Some(removed)
    }

    /// Keeps those that `which` picks; gives back memory that they do not need.
    pub(super) fn retain(&mut self, mut which: impl FnMut(&E) -> bool) {
        let kept = self.iter().filter(|entry| which(entry)).count();
        if kept == self.len {
            return;
        }
        let mut size = if kept == 0 { 0 } else { LEAST };
        while kept >= size / 4 * 3 && kept > 0 {
            size *= 2;
        }
        let former = core::mem::replace(&mut self.slots, vec![E::default(); size]);
        self.len = 0;
        for slot in former.into_iter().filter(|slot| slot.key() != 0 && which(slot)) {
            self.put(slot);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.slots.iter().filter(|slot| slot.key() != 0)
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<E>()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let mut place = self.home(key);
        loop {
            // An empty table has no slot at all.
            let slot = self.slots.get(place)?;
            if slot.key() == key {
                return Some(place);
            }
            if slot.key() == 0 {
                return None;
            }
            place = self.behind(place);
        }
    }

    /// Puts in what is not there, where there is room.
    fn put(&mut self, slot: E) {
        let mut place = self.home(slot.key());
        while self.slots[place].key() != 0 {
            place = self.behind(place);
        }
        self.slots[place] = slot;
        self.len += 1;
    }

    fn resize(&mut self, size: usize) {
        let former = core::mem::replace(&mut self.slots, vec![E::default(); size]);
        self.len = 0;
        former.into_iter().filter(|slot| slot.key() != 0).for_each(|slot| self.put(slot));
    }

    /// The slot where a key is looked for first.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "what is cut off is no part of the place")]
    fn home(&self, key: u64) -> usize {
        key as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn behind(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

impl<E> Default for FlowTable<E> {
    fn default() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    struct Entry(u64, u32);

    impl Slot for Entry {
        fn key(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn nothing_is_in_an_empty_table() {
        let mut table = FlowTable::<Entry>::default();
        assert_eq!((table.remove(7), table.memory()), (None, 0));
        assert_eq!(table.get(1), None);
    }

    proptest! {
        /// It does what a map does; few homes make for many collisions.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..4_u8, 0..40_u64, any::<u32>()), 0..400)) {
            let (mut table, mut map) = (FlowTable::default(), BTreeMap::new());
            for (what, key, value) in steps {
                // The upper bits are no part of the home.
                let key = (key % 5) | (key / 5 + 1) << 40;
                match what {
                    0 | 1 => {
                        let former = map.insert(key, value).map(|value| Entry(key, value));
                        prop_assert_eq!(table.insert(Entry(key, value)), former);
                    }
                    2 => prop_assert_eq!(table.remove(key).map(|entry| entry.1), map.remove(&key)),
                    _ => {
                        table.retain(|known| known.1 % 8 != value % 8);
                        map.retain(|_, known| *known % 8 != value % 8);
                    }
                }
                prop_assert_eq!(table.len(), map.len());
                for (key, value) in &map {
                    prop_assert_eq!(table.get(*key), Some(&Entry(*key, *value)));
                }
                prop_assert_eq!(table.iter().count(), map.len());
            }
        }
    }
}
