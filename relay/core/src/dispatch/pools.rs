//! [`Pools`]: the pools of all services, each found by two reads of memory.
//!
//! They are in a slab, and found by a keyed hash of service and address. A pool knows both, so that none is taken for another.

use super::flow_table::FlowTable;
use super::hash::Secret;
use super::pool::Pool;
use super::services::ServiceKey;

#[derive(Debug, Default)]
pub(super) struct Pools {
    places: FlowTable<u32>,
    /// Those that are free are empty.
    slab: Vec<Place>,
    free: Vec<u32>,
    secret: Secret,
}

/// A pool: of a service, and the address in its 128-bit form; any is the unspecified address of its version.
pub(super) type PoolKey = (ServiceKey, u128);

/// By what a pool is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolHash(u64);

/// With what a look-up needs in the first cache line: the key, and the sole server.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Place {
    key: PoolKey,
    pool: Pool,
}

impl Pools {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the halves of an address")]
    pub(super) fn hash(&self, (service, local): &PoolKey) -> PoolHash {
        PoolHash(self.secret.hash([service.word(), (local >> 64) as u64, *local as u64]))
    }

    /// Reads where a pool is looked for first, whatever is there.
    #[inline]
    pub(super) fn touch(&self, PoolHash(hash): PoolHash) -> u64 {
        self.places.touch(hash)
    }

    /// The pool of a key with this hash.
    #[inline]
    pub(super) fn find(&self, key: &PoolKey, PoolHash(hash): PoolHash) -> Option<&Pool> {
        let place = &self.slab[*self.places.get(hash)? as usize];
        (place.key == *key).then_some(&place.pool)
    }

    pub(super) fn get(&self, key: &PoolKey) -> Option<&Pool> {
        self.find(key, self.hash(key))
    }

    pub(super) fn get_mut(&mut self, key: &PoolKey) -> Option<&mut Pool> {
        let PoolHash(hash) = self.hash(key);
        let place = &mut self.slab[*self.places.get(hash)? as usize];
        (place.key == *key).then_some(&mut place.pool)
    }

    pub(super) fn contains_key(&self, key: &PoolKey) -> bool {
        self.get(key).is_some()
    }

    /// Puts a pool in where there is none.
    pub(super) fn insert(&mut self, key: PoolKey, pool: Pool) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slab.push(Place::default());
            u32::try_from(self.slab.len() - 1).unwrap_or(u32::MAX)
        });
        let PoolHash(hash) = self.hash(&key);
        self.places.insert(hash, place);
        self.slab[place as usize] = Place { key, pool };
    }

    pub(super) fn remove(&mut self, key: &PoolKey) {
        let PoolHash(hash) = self.hash(key);
        if self.contains_key(key)
            && let Some(place) = self.places.remove(hash)
        {
            self.slab[place as usize] = Place::default();
            self.free.push(place);
        }
    }

    /// All of them, and some that have no servers.
    pub(super) fn values(&self) -> impl Iterator<Item = &Pool> {
        self.slab.iter().map(|place| &place.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;
    use core::mem::offset_of;
    use frames::PortId;

    #[test]
    fn what_a_look_up_needs_is_in_one_cache_line() {
        let end = offset_of!(Place, pool) + size_of::<Option<Target>>();
        assert!((align_of::<Place>(), end) == (64, 64), "the sole server is the first field of a pool");
    }

    #[test]
    fn a_pool_is_found_until_it_is_removed_and_its_place_used_again() {
        let key = |local_port, local| (ServiceKey { port: PortId(1), protocol: 6, local_port }, local);
        let keys: Vec<_> = (0..100).map(|n| key(n % 10, u128::from(n / 10) << 60)).collect();
        let mut pools = Pools::default();
        for _ in 0..3 {
            keys.iter().for_each(|key| pools.insert(*key, Pool::default()));
            assert!(keys.iter().all(|key| pools.contains_key(key)));
            assert!(pools.get_mut(&key(11, 0)).is_none());
            keys.iter().for_each(|key| pools.remove(key));
            assert!(!keys.iter().any(|key| pools.contains_key(key)));
            pools.remove(&key(1, 0));
            assert_eq!((pools.len(), pools.free.len(), pools.slab.len()), (0, 100, 100));
        }
    }

    #[test]
    fn a_pool_is_not_taken_for_another_of_the_same_hash() {
        let mut pools = Pools::default();
        let service = ServiceKey { port: PortId(1), protocol: 6, local_port: 80 };
        pools.insert((service, 1), Pool::default());
        let hash = pools.hash(&(service, 1));
        assert!(pools.find(&(service, 1), hash).is_some() && pools.find(&(service, 2), hash).is_none());
    }
}
