//! Parcels that came in pieces.
//!
//! [`SLOTS`] parcels can be under way at once, each in a slot of fixed memory that is allotted when first needed. A
//! parcel is whole when its last piece is there and the bytes received are as many as that piece says; pieces may come
//! in any order, but never overlap: a piece that touches bytes already there, goes beyond the end, or names another
//! tunnel is dropped. There is no timer: a slot is given up when a ninth parcel needs it (the oldest goes), or when the
//! sender is [`MEMORY`] parcels further. For the newest [`MEMORY`] numbers a bit remembers that the parcel is finished
//! or given up, so that a late piece of it opens no slot again.

use frames::DropReason;
use frames::data::{PARCEL_MAX, Piece, Tunnel};

/// Parcels under way per peer. A sender writes the pieces of a parcel one after the other; more than one is under way
/// only by reordering or loss.
const SLOTS: usize = 8;
/// Numbers that are remembered.
const MEMORY: u32 = u64::BITS;
/// Stretches of one parcel that may lie apart. 64 KiB in pieces of MTU 1,280 are 54 pieces.
const STRETCHES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    slots: Vec<Slot>,
    /// The newest number heard.
    newest: u32,
    /// Bit *n*: parcel `newest - n` is finished or given up.
    finished: u64,
}

#[derive(Debug)]
struct Slot {
    memory: Box<[u8]>,
    busy: bool,
    number: u32,
    tunnel: Tunnel,
    /// Where the parcel ends, once its last piece came.
    end: Option<usize>,
    /// Stretches that came, rising, never touching.
    stretches: Vec<(usize, usize)>,
}

/// Where a piece left its parcel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More pieces are needed.
    Partial,
    /// The parcel is whole, in this slot.
    Whole(usize),
}

impl Reassembly {
    /// Takes a piece. `given_up` is increased by the parcels that it made to be given up.
    pub(crate) fn insert(&mut self, piece: &Piece<'_>, given_up: &mut u64) -> Result<Progress, DropReason> {
        let index = match self.slots.iter().position(|slot| slot.busy && slot.number == piece.number) {
            Some(index) => index,
            None => self.open(piece, given_up)?,
        };
        let slot = &mut self.slots[index];
        slot.insert(piece)?;
        if slot.end.is_none_or(|end| slot.stretches != [(0, end)]) {
            return Ok(Progress::Partial);
        }
        slot.busy = false;
        self.finish(piece.number);
        Ok(Progress::Whole(index))
    }

    /// The parcel that [`Progress::Whole`] announced.
    pub(crate) fn parcel(&mut self, slot: usize) -> Option<&mut [u8]> {
        let slot = self.slots.get_mut(slot)?;
        slot.memory.get_mut(..slot.end?)
    }

    /// Finds a slot for a parcel of which this is the first piece to come.
    fn open(&mut self, piece: &Piece<'_>, given_up: &mut u64) -> Result<usize, DropReason> {
        let number = piece.number;
        let ahead = number.wrapping_sub(self.newest);
        if ahead != 0 && ahead < 1 << 31 {
            self.finished = self.finished.checked_shl(ahead).unwrap_or(0);
            self.newest = number;
            *given_up += self.give_up_old();
        } else if self.is_finished(number) {
            return Err(DropReason::Replayed);
        }
        let index = match self.slots.iter().position(|slot| !slot.busy) {
            Some(index) => index,
            None if self.slots.len() < SLOTS => {
                self.slots.push(Slot::new());
                self.slots.len() - 1
            }
            None => {
                let oldest = (0..self.slots.len()).max_by_key(|index| self.age(self.slots[*index].number));
                let oldest = oldest.unwrap_or(0);
                if self.age(number) > self.age(self.slots[oldest].number) {
                    return Err(DropReason::BadPiece);
                }
                self.finish(self.slots[oldest].number);
                *given_up += 1;
                oldest
            }
        };
        self.slots[index].begin(number, piece.tunnel);
        Ok(index)
    }

    fn give_up_old(&mut self) -> u64 {
        let newest = self.newest;
        let old =
            self.slots.iter_mut().filter(|slot| slot.busy && newest.wrapping_sub(slot.number) >= MEMORY);
        old.map(|slot| slot.busy = false).count() as u64
    }

    fn age(&self, number: u32) -> u32 {
        self.newest.wrapping_sub(number)
    }

    fn is_finished(&self, number: u32) -> bool {
        let age = self.age(number);
        age >= MEMORY || self.finished & 1 << age != 0
    }

    fn finish(&mut self, number: u32) {
        let age = self.age(number);
        if age < MEMORY {
            self.finished |= 1 << age;
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            memory: vec![0; PARCEL_MAX].into_boxed_slice(),
            busy: false,
            number: 0,
            tunnel: Tunnel(0),
            end: None,
            stretches: Vec::with_capacity(STRETCHES),
        }
    }

    fn begin(&mut self, number: u32, tunnel: Tunnel) {
        (self.busy, self.number, self.tunnel, self.end) = (true, number, tunnel, None);
        self.stretches.clear();
    }

    fn insert(&mut self, piece: &Piece<'_>) -> Result<(), DropReason> {
        let (start, end) = (piece.offset, piece.offset + piece.bytes.len());
        let beyond = self.end.is_some_and(|known| end > known);
        let early = piece.last && self.stretches.last().is_some_and(|last| last.1 > end);
        if piece.tunnel != self.tunnel || beyond || early {
            return Err(DropReason::BadPiece);
        }
        let next = self.stretches.partition_point(|stretch| stretch.0 < start);
        let before = next.checked_sub(1).map(|index| self.stretches[index]);
        let after = self.stretches.get(next).copied();
        if before.is_some_and(|before| before.1 > start) || after.is_some_and(|after| after.0 < end) {
            return Err(DropReason::BadPiece);
        }
        match (before.is_some_and(|before| before.1 == start), after.is_some_and(|after| after.0 == end)) {
            (true, true) => self.stretches[next - 1].1 = self.stretches.remove(next).1,
            (true, false) => self.stretches[next - 1].1 = end,
            (false, true) => self.stretches[next].0 = start,
            (false, false) if self.stretches.len() == STRETCHES => return Err(DropReason::BadPiece),
            (false, false) => self.stretches.insert(next, (start, end)),
        }
        if piece.last {
            self.end = Some(end);
        }
        self.memory.get_mut(start..end).ok_or(DropReason::BadPiece)?.copy_from_slice(piece.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(number: u32, offset: usize, last: bool, bytes: &[u8]) -> Piece<'_> {
        Piece { tunnel: Tunnel(9), number, offset, last, bytes }
    }

    fn insert(reassembly: &mut Reassembly, piece: &Piece<'_>) -> Result<Progress, DropReason> {
        reassembly.insert(piece, &mut 0)
    }

    #[test]
    fn whole_in_any_order_and_only_once() {
        let mut reassembly = Reassembly::default();
        assert_eq!(insert(&mut reassembly, &piece(1, 4, true, b"ef")), Ok(Progress::Partial));
        assert_eq!(insert(&mut reassembly, &piece(1, 0, false, b"ab")), Ok(Progress::Partial));
        assert_eq!(insert(&mut reassembly, &piece(1, 2, false, b"cd")), Ok(Progress::Whole(0)));
        assert_eq!(reassembly.parcel(0).unwrap(), b"abcdef");
        assert_eq!(insert(&mut reassembly, &piece(1, 2, false, b"cd")), Err(DropReason::Replayed));
    }

    #[test]
    fn no_tricks() {
        let mut reassembly = Reassembly::default();
        insert(&mut reassembly, &piece(1, 10, false, &[1; 10])).unwrap();
        let bad = [
            piece(1, 10, false, &[2; 10]),
            piece(1, 15, false, &[2; 10]),
            piece(1, 5, false, &[2; 6]),
            piece(1, 0, false, &[2; 30]),
            piece(1, 0, true, &[2; 5]),
            Piece { tunnel: Tunnel(8), ..piece(1, 0, false, &[2; 5]) },
        ];
        for piece in &bad {
            assert_eq!(insert(&mut reassembly, piece), Err(DropReason::BadPiece), "{piece:?}");
        }
        insert(&mut reassembly, &piece(1, 20, true, &[1; 10])).unwrap();
        for piece in [piece(1, 30, false, &[2; 1]), piece(1, 30, true, &[2; 1]), piece(1, 0, true, &[2; 10])]
        {
            assert_eq!(insert(&mut reassembly, &piece), Err(DropReason::BadPiece), "{piece:?}");
        }
        assert_eq!(insert(&mut reassembly, &piece(1, 0, false, &[1; 10])), Ok(Progress::Whole(0)));
        assert_eq!(reassembly.parcel(0).unwrap(), [1; 30]);
    }

    #[test]
    fn pieces_far_apart_are_bounded() {
        let mut reassembly = Reassembly::default();
        let taken =
            (0..100).take_while(|at| insert(&mut reassembly, &piece(1, at * 20, false, b"x")).is_ok());
        assert_eq!(taken.count(), STRETCHES);
        assert_eq!(insert(&mut reassembly, &piece(1, 1, false, b"x")), Ok(Progress::Partial));
    }

    #[test]
    fn the_oldest_gives_way_and_does_not_come_back() {
        let (mut reassembly, mut given_up) = (Reassembly::default(), 0);
        for number in 1..=9 {
            reassembly.insert(&piece(number, 0, false, b"x"), &mut given_up).unwrap();
        }
        assert_eq!((given_up, reassembly.slots.len()), (1, SLOTS));
        assert_eq!(insert(&mut reassembly, &piece(1, 1, true, b"y")), Err(DropReason::Replayed));
        assert_eq!(insert(&mut reassembly, &piece(2, 1, true, b"y")), Ok(Progress::Whole(1)));
        reassembly.insert(&piece(9 + MEMORY, 0, true, b"z"), &mut given_up).unwrap();
        assert_eq!(given_up, 1 + 7, "the seven that were still under way are too old");
    }

    #[test]
    fn a_parcel_older_than_all_that_are_under_way_displaces_none() {
        let (mut reassembly, mut given_up) = (Reassembly::default(), 0);
        for number in 11..=18 {
            reassembly.insert(&piece(number, 0, false, b"x"), &mut given_up).unwrap();
        }
        let older = reassembly.insert(&piece(10, 0, false, b"x"), &mut given_up);
        assert_eq!((older, given_up), (Err(DropReason::BadPiece), 0));
    }

    #[test]
    fn numbers_wrap() {
        let mut reassembly = Reassembly { newest: u32::MAX - 1, ..Reassembly::default() };
        for number in [u32::MAX, 0, 1] {
            assert!(matches!(insert(&mut reassembly, &piece(number, 0, true, b"x")), Ok(Progress::Whole(_))));
        }
        assert_eq!(insert(&mut reassembly, &piece(u32::MAX, 0, true, b"x")), Err(DropReason::Replayed));
        let half_of_all_ahead = 1 + (1 << 31);
        assert_eq!(
            insert(&mut reassembly, &piece(half_of_all_ahead, 0, true, b"x")),
            Err(DropReason::Replayed)
        );
        let ahead = half_of_all_ahead - 1;
        assert!(matches!(insert(&mut reassembly, &piece(ahead, 0, true, b"x")), Ok(Progress::Whole(_))));
    }

    proptest! {
        #[test]
        fn shuffled_pieces_of_some_parcels(order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let mut reassembly = Reassembly::default();
            let mut whole = 0;
            for index in order {
                let (number, part) = (u32::try_from(index / 10).unwrap() + 1, index % 10);
                let bytes = [u8::try_from(index).unwrap(); 7];
                match insert(&mut reassembly, &piece(number, part * 7, part == 9, &bytes)) {
                    Ok(Progress::Whole(slot)) => {
                        let parcel = reassembly.parcel(slot).unwrap();
                        let first = (number as usize - 1) * 10;
                        prop_assert_eq!(parcel.len(), 70);
                        prop_assert!(parcel.iter().enumerate().all(|(at, byte)| usize::from(*byte) == first + at / 7));
                        whole += 1;
                    }
                    other => prop_assert_eq!(other, Ok(Progress::Partial)),
                }
            }
            prop_assert_eq!(whole, 4);
        }
    }
}
