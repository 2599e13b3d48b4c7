//! Counters of frames by kind and of drops by reason.

use frames::DropReason;
use frames::header::Kind;

/// Frames and bytes received and sent by kind, and drops by reason.
#[derive(Debug, Clone)]
pub struct Counters {
    rx: [Traffic; Kind::ALL.len()],
    tx: [Traffic; Kind::ALL.len()],
    drops: [u64; DropReason::COUNT],
    messages: u64,
}

/// Frames and bytes (whole Ethernet frames, without preamble and FCS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts a frame of so many bytes.
    pub fn add(&mut self, bytes: usize) {
        self.add_all(1, bytes as u64);
    }

    /// Counts frames with so many bytes together.
    pub fn add_all(&mut self, frames: u64, bytes: u64) {
        self.frames += frames;
        self.bytes += bytes;
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            rx: [Traffic::default(); Kind::ALL.len()],
            tx: [Traffic::default(); Kind::ALL.len()],
            drops: [0; DropReason::COUNT],
            messages: 0,
        }
    }
}

impl Counters {
    /// Counts a frame received.
    pub fn rx(&mut self, kind: Kind, bytes: usize) {
        count(&mut self.rx, kind, bytes);
    }

    /// Counts a frame sent.
    pub fn tx(&mut self, kind: Kind, bytes: usize) {
        count(&mut self.tx, kind, bytes);
    }

    /// Counts frames that were received together, and their bytes.
    pub(crate) fn rx_all(&mut self, kind: Kind, frames: u64, bytes: u64) {
        count_all(&mut self.rx, kind, frames, bytes);
    }

    /// Counts frames that were sent together, and their bytes.
    pub(crate) fn tx_all(&mut self, kind: Kind, frames: u64, bytes: u64) {
        count_all(&mut self.tx, kind, frames, bytes);
    }

    /// Counts `bytes` that a frame, counted before, grew by.
    pub(crate) fn tx_more(&mut self, kind: Kind, bytes: usize) {
        if let Some(traffic) = self.tx.get_mut(usize::from(ROW[usize::from(kind.0)])) {
            traffic.bytes += bytes as u64;
        }
    }

    /// Counts a message that was queued for a peer.
    pub(crate) fn message(&mut self) {
        self.messages += 1;
    }

    /// Messages that were queued for peers. A frame may hold several of them, and one of them may take several frames.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Counts a drop.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts `times` drops.
    pub fn drops(&mut self, reason: DropReason, times: u64) {
        self.drops[reason as usize] += times;
    }

    /// How often a reason occurred.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Name of each kind with its traffic received and sent.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, Traffic, Traffic)> {
        Kind::ALL.iter().zip(self.rx.iter().zip(&self.tx)).map(|((_, name), (rx, tx))| (*name, *rx, *tx))
    }
}

fn count(table: &mut [Traffic], kind: Kind, bytes: usize) {
    count_all(table, kind, 1, bytes as u64);
}

fn count_all(table: &mut [Traffic], kind: Kind, frames: u64, bytes: u64) {
    if let Some(traffic) = table.get_mut(usize::from(ROW[usize::from(kind.0)])) {
        traffic.add_all(frames, bytes);
    }
}

/// Place of each kind in [`Kind::ALL`]; beyond its end for unknown kinds.
#[allow(clippy::cast_possible_truncation, reason = "there are fewer than 255 kinds")]
const ROW: [u8; 256] = {
    let mut row = [u8::MAX; 256];
    let mut index = 0;
    while index < Kind::ALL.len() {
        row[Kind::ALL[index].0.0 as usize] = index as u8;
        index += 1;
    }
    row
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row_and_unknown_ones_none() {
        let mut counters = Counters::default();
        for kind in 0..=u8::MAX {
            counters.rx(Kind(kind), usize::from(kind));
        }
        for (name, rx, _) in counters.kinds() {
            let kind = Kind::ALL.iter().find(|(_, known)| *known == name).unwrap().0;
            assert_eq!(rx, Traffic { frames: 1, bytes: kind.0.into() });
        }
    }

    #[test]
    fn what_is_sent_together_or_grows_is_counted() {
        let mut counters = Counters::default();
        counters.tx(Kind::DATA, 60);
        counters.rx(Kind::DATA, 70);
        counters.tx_more(Kind::DATA, 40);
        counters.tx_all(Kind::DATA, 2, 200);
        counters.rx_all(Kind::DATA, 3, 30);
        let (_, rx, tx) = counters.kinds().find(|(name, ..)| *name == "DATA").unwrap();
        assert_eq!((rx, tx), (Traffic { frames: 4, bytes: 100 }, Traffic { frames: 3, bytes: 300 }));
        counters.message();
        counters.message();
        counters.drop(DropReason::Unmatched);
        counters.drops(DropReason::Unmatched, 2);
        assert_eq!((counters.messages(), counters.dropped(DropReason::Unmatched)), (2, 3));
        let mut traffic = Traffic { frames: 1, bytes: 10 };
        traffic.add(5);
        assert_eq!(traffic, Traffic { frames: 2, bytes: 15 });
    }
}
