//! [`Slots`]: digests of the parts of a table, kept with every change, so that a bisection costs no walk over it.

use frames::route::{RouteContent, RouteKey, Slice, TableDigest};

/// First bits of the hash by which a table is cut: of a million routes, a slot has about 244.
pub(super) const BITS: u8 = 12;
const SLOTS: usize = 1 << BITS;

/// The digest of each of the finest slices. Of a table that never had a route there is none, as there is a table for every
/// relay.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Vec<TableDigest>);

impl Slots {
    pub(super) fn add(&mut self, key: &RouteKey, content: &RouteContent<'_>) {
        self.0.resize(SLOTS, TableDigest::default());
        self.0[slot(key)] += TableDigest::of(key, content);
    }

    pub(super) fn remove(&mut self, key: &RouteKey, content: &RouteContent<'_>) {
        if let Some(digest) = self.0.get_mut(slot(key)) {
            *digest -= TableDigest::of(key, content);
        }
    }

    /// The digest of a slice of at most [`BITS`] bits; of a longer one, that of the slot in which it lies.
    pub(super) fn digest(&self, slice: Slice) -> TableDigest {
        let first = (slice.prefix() >> (32 - BITS)) as usize;
        let count = 1 << BITS.saturating_sub(slice.bits());
        let mut sum = TableDigest::default();
        self.0.iter().skip(first).take(count).for_each(|digest| sum += *digest);
        sum
    }
}

fn slot(key: &RouteKey) -> usize {
    (key.hash() >> (64 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::route::{Prefix, RouteKind};

    #[test]
    fn a_slice_has_the_sum_of_its_routes() {
        let content = RouteContent { kind: RouteKind::Blackhole, mtu: 0, nexthops: &[] };
        let keys: Vec<RouteKey> = (0..500_u32)
            .map(|n| Prefix::new(core::net::Ipv4Addr::from_bits(n << 8).into(), 24).unwrap())
            .map(|prefix| RouteKey { table: RouteKey::MAIN, prefix, metric: 0 })
            .collect();
        let mut slots = Slots::default();
        keys.iter().for_each(|key| slots.add(key, &content));
        let (gone, left) = keys.split_at(100);
        gone.iter().for_each(|key| slots.remove(key, &content));
        for slice in [Slice::ALL]
            .into_iter()
            .chain(Slice::ALL.parts())
            .chain(Slice::ALL.parts().flat_map(Slice::parts).flat_map(Slice::parts))
        {
            let mut expected = TableDigest::default();
            left.iter()
                .filter(|key| slice.contains(key))
                .for_each(|key| expected += TableDigest::of(key, &content));
            assert_eq!(slots.digest(slice), expected, "{slice}");
        }
    }
}
