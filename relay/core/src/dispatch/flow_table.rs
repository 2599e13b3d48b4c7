//! [`FlowTable`]: a hash table for millions of small values, made for processors that wait for memory.
//!
//! The key is a hash of 64 bits that nobody else can compute, and is all that is compared: of a million entries and a key that
//! is not there, one is taken for it with a probability of 2^-44. A slot has 16 bytes, and collisions go to the slots behind it (linear probing, at
//! most three quarters full), so a look-up reads one cache line as a rule, and that is what it takes its time for.

/// See the module.
#[derive(Debug)]
pub(super) struct FlowTable<V> {
    /// A power of two, or none. Key 0 is an empty slot.
    slots: Vec<Slot<V>>,
    len: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot<V> {
    key: u64,
    value: V,
}

const LEAST: usize = 16;

impl<V: Copy + Default> FlowTable<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.find(key).map(|place| &self.slots[place].value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.find(key).map(|place| &mut self.slots[place].value)
    }

    /// Reads where a key is looked for first, whatever is there.
    #[inline]
    pub(super) fn touch(&self, key: u64) -> u64 {
        self.slots.get(self.home(key.max(1))).map_or(0, |slot| slot.key)
    }

    /// Puts a value in, in the place of another of this key.
    pub(super) fn insert(&mut self, key: u64, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(key) {
            return Some(core::mem::replace(known, value));
        }
        if self.len >= self.slots.len() / 4 * 3 {
            self.resize((self.slots.len() * 2).max(LEAST));
        }
        self.put(Slot { key: key.max(1), value });
        None
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<V> {
        let mut hole = self.find(key)?;
        let removed = self.slots[hole].value;
        self.len -= 1;
        // What stands behind moves up, unless that would take it before its home.
        let mut place = hole;
        loop {
            place = self.behind(place);
            let slot = self.slots[place];
            if slot.key == 0 {
                break;
            }
            let (from_home, from_hole) =
                (self.distance(self.home(slot.key), place), self.distance(hole, place));
            if from_home >= from_hole {
                self.slots[hole] = slot;
                hole = place;
            }
        }
        self.slots[hole] = Slot::default();
        Some(removed)
    }

    /// Keeps those that `which` picks; gives back memory that they do not need.
    pub(super) fn retain(&mut self, mut which: impl FnMut(&V) -> bool) {
        let kept = self.values().filter(|value| which(value)).count();
        if kept == self.len {
            return;
        }
        let mut size = if kept == 0 { 0 } else { LEAST };
        while kept >= size / 4 * 3 && kept > 0 {
            size *= 2;
        }
        let former = core::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        self.len = 0;
        for slot in former.into_iter().filter(|slot| slot.key != 0 && which(&slot.value)) {
            self.put(slot);
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().filter(|slot| slot.key != 0).map(|slot| &slot.value)
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<V>>()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let key = key.max(1);
        let mut place = self.home(key);
        loop {
            // An empty table has no slot at all.
            let slot = self.slots.get(place)?;
            if slot.key == key {
                return Some(place);
            }
            if slot.key == 0 {
                return None;
            }
            place = self.behind(place);
        }
    }

    /// Puts in what is not there, where there is room.
    fn put(&mut self, slot: Slot<V>) {
        let mut place = self.home(slot.key);
        while self.slots[place].key != 0 {
            place = self.behind(place);
        }
        self.slots[place] = slot;
        self.len += 1;
    }

    fn resize(&mut self, size: usize) {
        let former = core::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        self.len = 0;
        former.into_iter().filter(|slot| slot.key != 0).for_each(|slot| self.put(slot));
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

impl<V> Default for FlowTable<V> {
    fn default() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_slot_has_sixteen_bytes_and_a_full_table_less_than_three_slots_an_entry() {
        assert_eq!(size_of::<Slot<[u32; 2]>>(), 16);
        let mut table = FlowTable::default();
        for n in 1..200_000_u64 {
            table.insert(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), [0_u32; 2]);
            assert!(n < 100 || table.memory() as u64 <= 48 * n, "{n}: {}", table.memory());
        }
    }

    #[test]
    fn nothing_is_in_an_empty_table() {
        let mut table = FlowTable::<u32>::default();
        assert_eq!((table.remove(7), table.memory()), (None, 0));
        assert_eq!(table.get(0), None);
    }

    proptest! {
        /// It does what a map does; few homes make for many collisions.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..4_u8, 0..40_u64, any::<u32>()), 0..400)) {
            let (mut table, mut map) = (FlowTable::default(), BTreeMap::new());
            for (what, key, value) in steps {
                // The upper bits are no part of the home.
                let key = (key % 5) | (key / 5) << 40;
                match what {
                    0 | 1 => prop_assert_eq!(table.insert(key, value), map.insert(key.max(1), value)),
                    2 => prop_assert_eq!(table.remove(key), map.remove(&key.max(1))),
                    _ => {
                        table.retain(|known| known % 8 != value % 8);
                        map.retain(|_, known| *known % 8 != value % 8);
                    }
                }
                prop_assert_eq!(table.len(), map.len());
                for (key, value) in &map {
                    prop_assert_eq!(table.get(*key), Some(value));
                }
                prop_assert_eq!(table.values().count(), map.len());
            }
        }
    }
}
