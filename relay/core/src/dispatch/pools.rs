//! [`Pools`]: the pools of all services, each found by one read of memory.
//!
//! They are in a slab, and found by a keyed hash of service and address. What finds one knows both, so that none is taken for
//! another, and the sole server, as most pools have one: of very many, a look-up waits for memory, and each wait counts.

use super::Target;
use super::flow_table::{FlowTable, Slot};
use super::hash::{FlowKey, PoolHash, Secret};
use super::pool::Pool;
use super::services::ServiceKey;

#[derive(Debug, Default)]
pub(super) struct Pools {
    places: FlowTable<Place>,
    /// Those that are free are empty.
    slab: Vec<Pool>,
    free: Vec<u32>,
    secret: Secret,
}

/// A pool: of a service, and the address in its 128-bit form; any is the unspecified address of its version.
pub(super) type PoolKey = (ServiceKey, u128);

/// Where a pool is. One cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Place {
    hash: u64,
    key: PoolKey,
    /// [`Pool::sole`], which a look-up then need not read the pool for.
    sole: Option<Target>,
    index: u32,
}

impl Slot for Place {
    #[inline]
    fn key(&self) -> u64 {
        self.hash
    }
}

impl Pools {
    /// Empty ones, found by this secret.
    pub(super) fn keyed(secret: Secret) -> Self {
        Self { secret, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The hashes of a pool's key, and of a flow to its address.
    #[inline]
    pub(super) fn hashes(&self, key: &PoolKey, remote: (u128, u16)) -> (PoolHash, FlowKey) {
        self.secret.hashes(key, remote)
    }

    /// Reads where a pool is looked for first, whatever is there: its sole server.
    #[inline]
    pub(super) fn touch(&self, PoolHash(hash): PoolHash) -> Option<Target> {
        self.places.touch(hash)?.sole
    }

    /// The sole server of a pool, and the pool, of a key with this hash.
    #[inline]
    pub(super) fn find(&self, key: &PoolKey, PoolHash(hash): PoolHash) -> Option<(Option<Target>, &Pool)> {
        let place = self.places.get(hash)?;
        (place.key == *key).then(|| (place.sole, &self.slab[place.index as usize]))
    }

    /// The same, of a key whose hash is not known.
    pub(super) fn search(&self, key: &PoolKey) -> Option<(Option<Target>, &Pool)> {
        self.find(key, self.secret.hash(key))
    }

    pub(super) fn get(&self, key: &PoolKey) -> Option<&Pool> {
        Some(self.search(key)?.1)
    }

    pub(super) fn contains_key(&self, key: &PoolKey) -> bool {
        self.search(key).is_some()
    }

    /// Changes a pool, if it is there.
    pub(super) fn change<T>(&mut self, key: &PoolKey, change: impl FnOnce(&mut Pool) -> T) -> Option<T> {
        let PoolHash(hash) = self.secret.hash(key);
        let place = self.places.get_mut(hash).filter(|place| place.key == *key)?;
        let pool = &mut self.slab[place.index as usize];
        let result = change(pool);
        place.sole = pool.sole();
        Some(result)
    }

    /// Puts a pool in where there is none.
    pub(super) fn insert(&mut self, key: PoolKey, pool: Pool) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slab.push(Pool::default());
            u32::try_from(self.slab.len() - 1).unwrap_or(u32::MAX)
        });
        let PoolHash(hash) = self.secret.hash(&key);
        self.places.insert(Place { hash, key, sole: pool.sole(), index });
        self.slab[index as usize] = pool;
    }

    pub(super) fn remove(&mut self, key: &PoolKey) {
        let PoolHash(hash) = self.secret.hash(key);
        if self.contains_key(key)
            && let Some(place) = self.places.remove(hash)
        {
            self.slab[place.index as usize] = Pool::default();
            self.free.push(place.index);
        }
    }

    /// All of them, and some that have no servers.
    pub(super) fn values(&self) -> impl Iterator<Item = &Pool> {
        self.slab.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::PortId;

    #[test]
    fn what_a_look_up_needs_is_in_one_cache_line() {
        assert_eq!((align_of::<Place>(), size_of::<Place>()), (64, 64));
    }

    #[test]
    fn a_pool_is_found_until_it_is_removed_and_its_place_used_again() {
        let key = |local_port, local| (ServiceKey { port: PortId(1), protocol: 6, local_port }, local);
        let keys: Vec<_> = (0..100).map(|n| key(n % 10, u128::from(n / 10) << 60)).collect();
        let mut pools = Pools::default();
        for _ in 0..3 {
            keys.iter().for_each(|key| pools.insert(*key, Pool::default()));
            assert!(keys.iter().all(|key| pools.contains_key(key)));
            assert!(pools.change(&key(11, 0), |_| ()).is_none());
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
        let hash = pools.secret.hash(&(service, 1));
        assert!(pools.find(&(service, 1), hash).is_some() && pools.find(&(service, 2), hash).is_none());
    }
}
