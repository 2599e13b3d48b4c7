//! [`PacketQueue`]: what waits to be read from one open file.
//!
//! # Theory of operation
//!
//! One ring of bytes and one of lengths, so that nothing is allotted for each packet. It takes a packet whole or not at all, and at
//! most [`PACKETS_MAX`] packets or [`BYTES_MAX`] bytes of them: what a port sends in 20 ms while a reader does something else, and
//! what a machine can spare for each of a thousand open files. Memory is given back when a queue that had grown is empty.

use std::collections::VecDeque;

/// Most packets that wait in one queue.
pub(crate) const PACKETS_MAX: usize = 4_096;
/// Most bytes that wait in one queue.
pub(crate) const BYTES_MAX: usize = 4 << 20;
/// An empty queue keeps no more memory than this.
const IDLE_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct PacketQueue {
    bytes: VecDeque<u8>,
    lengths: VecDeque<u32>,
}

impl PacketQueue {
    /// Takes a packet that is the concatenation of these parts; returns whether there was room.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.lengths.len() >= PACKETS_MAX || self.bytes.len() + length > BYTES_MAX {
            return false;
        }
        let Ok(stored) = u32::try_from(length) else { return false };
        parts.iter().for_each(|part| self.bytes.extend(*part));
        self.lengths.push_back(stored);
        true
    }

    /// Length of the first packet.
    pub(crate) fn first(&self) -> Option<usize> {
        self.lengths.front().map(|length| *length as usize)
    }

    /// The first bytes, of as many packets as they are: in two parts, as the ring has an end.
    pub(crate) fn peek(&self, length: usize) -> (&[u8], &[u8]) {
        let (head, tail) = self.bytes.as_slices();
        let (head, rest) = (&head[..length.min(head.len())], length.saturating_sub(head.len()));
        (head, &tail[..rest.min(tail.len())])
    }

    /// Takes the first bytes out. What is left of a packet is the first one then.
    pub(crate) fn consume(&mut self, length: usize) {
        let mut left = length.min(self.bytes.len());
        self.bytes.drain(..left);
        while let Some(first) = self.lengths.front_mut() {
            if (*first as usize) > left {
                // Less than the length that it is taken from.
                *first -= u32::try_from(left).unwrap_or(*first);
                break;
            }
            left -= *first as usize;
            self.lengths.pop_front();
        }
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_BYTES {
            self.bytes.shrink_to(IDLE_BYTES);
        }
    }

    /// Packets that wait.
    pub(crate) fn packets(&self) -> usize {
        self.lengths.len()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_and_bytes_are_bounded_and_nothing_is_taken_in_part() {
        let mut queue = PacketQueue::default();
        assert_eq!((0..5_000).filter(|_| queue.push(&[b"x"])).count(), PACKETS_MAX);
        let mut queue = PacketQueue::default();
        let large = vec![0; 60_000];
        assert_eq!((0..100).filter(|_| queue.push(&[&large])).count(), BYTES_MAX / large.len());
        assert_eq!(queue.bytes() % large.len(), 0);
        queue.consume(usize::MAX);
        assert_eq!((queue.packets(), queue.bytes(), queue.first()), (0, 0, None));
        assert!(queue.bytes.capacity() <= 2 * IDLE_BYTES, "{}", queue.bytes.capacity());
    }

    proptest! {
        /// Packets come out as they went in, whole or, for a stream, in pieces of any size.
        #[test]
        fn bytes_stay_in_order(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..40),
            pieces in prop::collection::vec(1usize..70, 0..40),
        ) {
            let mut queue = PacketQueue::default();
            for packet in &packets {
                let (head, tail) = packet.split_at(packet.len() / 2);
                prop_assert!(queue.push(&[head, tail]));
            }
            let all: Vec<u8> = packets.concat();
            let mut read = Vec::new();
            for piece in pieces {
                let (head, tail) = queue.peek(piece);
                let taken = head.len() + tail.len();
                read.extend([head, tail].concat());
                queue.consume(taken);
            }
            prop_assert_eq!(&read[..], &all[..read.len()]);
            prop_assert_eq!(queue.bytes(), all.len() - read.len());
            let lengths: usize = queue.lengths.iter().map(|length| *length as usize).sum();
            prop_assert_eq!(lengths, queue.bytes());
        }
    }
}
