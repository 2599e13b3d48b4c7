//! [`Tally`]: what a capture file holds, counted as it goes by.

use core::fmt;
use pcap_parser::{Block, OptionCode, parse_block_le};
use std::collections::BTreeMap;

/// Packets in a capture, and lost to it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    /// By interface, as it was told last.
    lost: BTreeMap<u32, u64>,
    /// The beginning of a block, as far as it is of interest.
    block: Vec<u8>,
    /// Bytes of a block that are not.
    skipped: usize,
}

impl Tally {
    /// Goes on with the bytes of the file.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skipped > 0 {
                let (passed, rest) = bytes.split_at(self.skipped.min(bytes.len()));
                self.skipped -= passed.len();
                bytes = rest;
                continue;
            }
            let wanted = match self.head() {
                Some((STATISTICS, length)) => length,
                _ => HEAD,
            };
            let (taken, rest) = bytes.split_at((wanted - self.block.len()).min(bytes.len()));
            self.block.extend_from_slice(taken);
            bytes = rest;
            match self.head() {
                Some((STATISTICS, length)) if self.block.len() < length => {}
                Some((STATISTICS, _)) => self.take_statistics(),
                Some((kind, length)) => {
                    self.packets += u64::from(kind == PACKET);
                    self.skipped = length - HEAD;
                    self.block.clear();
                }
                None => {}
            }
        }
    }

    /// Kind and length of the block that has begun.
    fn head(&self) -> Option<(u32, usize)> {
        let word = |at: usize| self.block.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        Some((word(0)?, (word(4)? as usize).max(HEAD)))
    }

    fn take_statistics(&mut self) {
        if let Ok((_, Block::InterfaceStatistics(statistics))) = parse_block_le(&self.block)
            && let Some(lost) = statistics.options.iter().find(|option| option.code == OptionCode::IsbIfDrop)
            && let Some(number) = lost.value.first_chunk()
        {
            self.lost.insert(statistics.if_id, u64::from_le_bytes(*number));
        }
        self.block.clear();
    }

    fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets captured, {} lost", self.packets, self.lost())?;
        if self.lost() > 0 { f.write_str(", as they were not read fast enough") } else { Ok(()) }
    }
}

/// Kind and length of a block.
const HEAD: usize = 8;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// A block without options, or with `isb_ifdrop`.
    fn block(kind: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 12).unwrap().to_le_bytes();
        [&kind.to_le_bytes(), &length, content, &length].concat()
    }

    fn statistics(interface: u8, lost: u8) -> Vec<u8> {
        let mut content = vec![interface, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        content.extend([5, 0, 8, 0, lost, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        block(STATISTICS, &content)
    }

    #[test]
    fn packets_and_losses_are_counted_however_the_bytes_come() {
        let packet = block(PACKET, &[0; 120]);
        let file =
            [block(1, &[0; 8]), packet.clone(), statistics(0, 3), packet, statistics(1, 7), statistics(0, 5)];
        let file = file.concat();
        for piece in [1, 3, 7, 8, 12, 50, 1_000] {
            let mut tally = Tally::default();
            file.chunks(piece).for_each(|bytes| tally.take(bytes));
            assert_eq!((tally.packets, tally.lost()), (2, 12), "in pieces of {piece}");
        }
    }
}
