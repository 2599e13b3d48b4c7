//! [`Pieces`]: parcels that came in pieces, as somebody who only listens sees them.

use frames::data::{PARCEL_MAX, Piece, Tunnel};
use frames::{Mac, SessionIndex};
use std::collections::BTreeMap;

/// Source, destination, session and number of a parcel.
pub(crate) type Key = (Mac, Mac, SessionIndex, u32);

/// Parcels that are not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    parcels: BTreeMap<Key, Parcel>,
    /// Counts the parcels, to give the oldest up.
    newest: u64,
}

#[derive(Debug)]
struct Parcel {
    age: u64,
    tunnel: Tunnel,
    /// Length, once the last piece is there.
    size: Option<usize>,
    /// By offset, none of them overlapping.
    pieces: BTreeMap<usize, Vec<u8>>,
}

/// A receiver drops the piece as `bad-piece`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadPiece;

impl Pieces {
    /// Takes a piece, and gives the parcel if it is whole now.
    pub(crate) fn take(&mut self, key: Key, piece: &Piece<'_>) -> Result<Option<Vec<u8>>, BadPiece> {
        let (start, end) = (piece.offset, piece.offset + piece.bytes.len());
        if piece.bytes.is_empty() || end > PARCEL_MAX {
            return Err(BadPiece);
        }
        if !self.parcels.contains_key(&key) {
            self.make_room();
            self.newest += 1;
            let (age, tunnel) = (self.newest, piece.tunnel);
            self.parcels.insert(key, Parcel { age, tunnel, size: None, pieces: BTreeMap::new() });
        }
        let Some(parcel) = self.parcels.get_mut(&key) else { return Ok(None) };
        parcel.insert(piece, start, end)?;
        if !parcel.is_whole() {
            return Ok(None);
        }
        Ok(self.parcels.remove(&key).map(|parcel| parcel.pieces.into_values().flatten().collect()))
    }

    fn make_room(&mut self) {
        if self.parcels.len() == PARCELS_MAX {
            let oldest = self.parcels.iter().min_by_key(|(_, parcel)| parcel.age).map(|(key, _)| *key);
            oldest.and_then(|key| self.parcels.remove(&key));
        }
    }
}

impl Parcel {
    fn insert(&mut self, piece: &Piece<'_>, start: usize, end: usize) -> Result<(), BadPiece> {
        let overlaps = |(at, bytes): (&usize, &Vec<u8>)| start < at + bytes.len() && *at < end;
        let beyond = self.size.is_some_and(|size| end > size || piece.last && end != size);
        let early =
            piece.last && self.pieces.last_key_value().is_some_and(|(at, bytes)| at + bytes.len() > end);
        if piece.tunnel != self.tunnel || beyond || early || self.pieces.iter().any(overlaps) {
            return Err(BadPiece);
        }
        self.pieces.insert(start, piece.bytes.to_vec());
        if piece.last {
            self.size = Some(end);
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.size == Some(self.pieces.values().map(Vec::len).sum())
    }
}

/// Parcels that are remembered. Those of which pieces were lost are never whole.
const PARCELS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pieces: &mut Pieces, number: u32, offset: usize, last: bool, bytes: &[u8]) -> Option<Vec<u8>> {
        let piece = Piece { tunnel: Tunnel(1), number, offset, last, bytes };
        pieces.take((Mac([2; 6]), Mac([4; 6]), SessionIndex(1), number), &piece).unwrap()
    }

    #[test]
    fn whole_in_any_order() {
        let mut pieces = Pieces::default();
        assert_eq!(take(&mut pieces, 1, 4, true, b"ef"), None);
        assert_eq!(take(&mut pieces, 2, 0, true, b"x"), Some(b"x".to_vec()));
        assert_eq!(take(&mut pieces, 1, 0, false, b"ab"), None);
        assert_eq!(take(&mut pieces, 1, 2, false, b"cd"), Some(b"abcdef".to_vec()));
    }

    #[test]
    fn what_does_not_fit_is_bad() {
        let mut pieces = Pieces::default();
        let key = (Mac([2; 6]), Mac([4; 6]), SessionIndex(1), 1);
        let piece = |offset, last, bytes| Piece { tunnel: Tunnel(1), number: 1, offset, last, bytes };
        pieces.take(key, &piece(10, false, &[1; 10])).unwrap();
        for bad in [
            piece(10, false, &[1; 10]),
            piece(5, false, &[1; 6]),
            piece(0, true, &[1; 5]),
            piece(30, false, &[]),
            Piece { tunnel: Tunnel(2), ..piece(30, false, &[1; 1]) },
        ] {
            assert_eq!(pieces.take(key, &bad), Err(BadPiece), "{bad:?}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut pieces = Pieces::default();
        for number in 0..2000 {
            assert_eq!(take(&mut pieces, number, 0, false, b"x"), None);
        }
        assert_eq!(pieces.parcels.len(), PARCELS_MAX);
        assert_eq!(take(&mut pieces, 1999, 1, true, b"y"), Some(b"xy".to_vec()));
    }
}
