//! Maglev hashing: a table from which every flow reads its server (Eisenbud et al., *Maglev: A Fast and Reliable Software
//! Network Load Balancer*, NSDI 2016, section 3.4).
//!
//! Each server has a permutation of the places of the table, drawn from its name. The servers take turns, and each takes the
//! next place of its permutation that is free, in a round as many times as its weight is to the greatest. So each has its
//! share to within a few places, a server that comes or goes leaves nearly all places of the others alone, and whoever knows
//! names and weights makes the same table.

use super::hash::mix;

/// Places of a table: a prime, so that every step leads through all of them.
pub(crate) const PLACES: usize = 65_537;

/// A server's part in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    /// Drawn from its name; no two are the same.
    pub(crate) seed: u64,
    /// Its share, not zero.
    pub(crate) weight: u16,
}

/// For each place the number of a server in the list that the table was made from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table(Box<[u16]>);

impl Table {
    /// The table of these servers, of which there is at least one. Takes about a millisecond.
    pub(crate) fn new(seats: &[Seat]) -> Self {
        const FREE: u16 = u16::MAX;
        let mut places = vec![FREE; PLACES].into_boxed_slice();
        let most = seats.iter().map(|seat| u32::from(seat.weight)).max().unwrap_or(1);
        let mut walks: Vec<Walk> = seats.iter().map(Walk::new).collect();
        let mut left = PLACES;
        while left > 0 {
            for (number, walk) in (0..).zip(&mut walks) {
                walk.due += walk.weight;
                if walk.due < most || left == 0 {
                    continue;
                }
                walk.due -= most;
                while places[walk.place] != FREE {
                    walk.step();
                }
                places[walk.place] = number;
                left -= 1;
            }
        }
        Self(places)
    }

    /// The server of a flow.
    pub(crate) fn server(&self, hash: u64) -> usize {
        usize::from(self.0[below(PLACES, hash)])
    }
}

/// A server on its way through its permutation.
struct Walk {
    place: usize,
    stride: usize,
    weight: u32,
    /// Turns that it has saved, in parts of the greatest weight.
    due: u32,
}

impl Walk {
    fn new(seat: &Seat) -> Self {
        let (first, second) = (mix(seat.seed), mix(!seat.seed));
        Self {
            place: below(PLACES, first),
            stride: below(PLACES - 1, second) + 1,
            weight: u32::from(seat.weight),
            due: 0,
        }
    }

    fn step(&mut self) {
        self.place += self.stride;
        if self.place >= PLACES {
            self.place -= PLACES;
        }
    }
}

fn below(limit: usize, hash: u64) -> usize {
    usize::try_from(hash % limit as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[1, 1])]
    #[case(&[100; 7])]
    #[case(&[1, 3])]
    #[case(&[10, 20, 30, 40])]
    #[case(&[1; 256])]
    #[case(&[65_535, 1])]
    fn shares_follow_weights(#[case] weights: &[u16]) {
        let table = Table::new(&seats(weights));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (number, weight) in weights.iter().enumerate() {
            let share = taken(&table, number);
            let ideal = PLACES as f64 * f64::from(*weight) / total;
            assert!((share as f64 - ideal).abs() <= 2.0, "{number}: {share} of {ideal}");
        }
    }

    #[rstest]
    fn a_change_moves_little_more_than_it_must(#[values(2, 3, 4, 8, 16)] count: usize) {
        let all = seats(&vec![100; count]);
        let (with, without) = (Table::new(&all), Table::new(&all[..count - 1]));
        let moved = (0..PLACES as u64).filter(|place| with.server(*place) != without.server(*place)).count();
        let ideal = PLACES / count;
        assert!(moved <= ideal + PLACES / 100, "{moved} of {ideal}");
    }

    fn taken(table: &Table, number: usize) -> usize {
        (0..PLACES as u64).filter(|place| table.server(*place) == number).count()
    }

    fn seats(weights: &[u16]) -> Vec<Seat> {
        (0..).zip(weights).map(|(seed, weight)| Seat { seed: mix(seed), weight: *weight }).collect()
    }
}
