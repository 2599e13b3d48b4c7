//! The receiving half of a reliable stream.
//!
//! `buffer` holds the stream from `consumed` (the first byte that the owner has not taken) on; bytes up to `cumulative`
//! are all there, beyond it lie the stretches in `ranges`, each behind a gap. Messages are found at the front when the
//! owner asks for one, so what waits for the owner is held once, as bytes, and counts against the sender's credit.
//!
//! Bounds: never more than [`WINDOW`] bytes, never more than [`Ack::RANGES_MAX`] ranges; a segment that would need one
//! more range is dropped unacknowledged, and comes again.

use super::WINDOW;
use crate::ReceivedMessage;
use frames::message::{MessageHeader, RawMessage};
use frames::session::{Ack, AckRange, Stream};
use frames::{DropReason, ParseError};
use zerocopy::network_endian::U64;

/// Taken bytes are only moved out of the buffer when there are this many of them.
const COMPACT: usize = 64 * 1024;
/// New credit is announced when it has grown by this much: the longest message, so that a blocked sender is always told.
const ANNOUNCE: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct ReceiveStream {
    buffer: Vec<u8>,
    taken: usize,
    consumed: u64,
    cumulative: u64,
    ranges: Vec<(u64, u64)>,
    announced: u64,
    ack_due: bool,
}

impl Default for ReceiveStream {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            consumed: 0,
            cumulative: 0,
            ranges: Vec::new(),
            announced: WINDOW,
            ack_due: false,
        }
    }
}

impl ReceiveStream {
    /// Takes a segment. Every segment is acknowledged, repeated and empty ones too.
    pub(crate) fn insert(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DropReason> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.consumed + WINDOW {
            return Err(DropReason::OverCredit);
        }
        self.ack_due = true;
        let start = offset.max(self.cumulative);
        if end <= start || !self.note(start, end) {
            return Ok(());
        }
        let place = self.taken + length(self.consumed, start);
        let new = &bytes[length(offset, start)..];
        if self.buffer.len() < place + new.len() {
            self.buffer.resize(place + new.len(), 0);
        }
        self.buffer[place..place + new.len()].copy_from_slice(new);
        Ok(())
    }

    /// Takes the next message, if it is all there. The bytes that it took are the sender's credit again.
    pub(crate) fn next_message(&mut self) -> Result<Option<ReceivedMessage>, ParseError> {
        let there = length(self.consumed, self.cumulative);
        let waiting = &self.buffer[self.taken..self.taken + there];
        let Some((raw, _)) = RawMessage::split(waiting)? else { return Ok(None) };
        let length = MessageHeader::LEN + raw.body.len();
        let message = ReceivedMessage { kind: raw.kind, body: raw.body.to_vec() };
        self.taken += length;
        self.consumed += length as u64;
        if self.taken >= COMPACT || self.taken == self.buffer.len() {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.ack_due |= self.consumed + WINDOW >= self.announced + ANNOUNCE;
        Ok(Some(message))
    }

    pub(crate) fn is_ack_due(&self) -> bool {
        self.ack_due
    }

    /// Hands the acknowledgement to `emit`, and forgets that it is due if that succeeds.
    pub(crate) fn ack(&mut self, stream: Stream, emit: impl FnOnce(&Ack<'_>) -> bool) -> bool {
        let mut ranges = [AckRange { start: U64::ZERO, end: U64::ZERO }; Ack::RANGES_MAX];
        for (out, (start, end)) in ranges.iter_mut().zip(&self.ranges) {
            *out = AckRange { start: U64::new(*start), end: U64::new(*end) };
        }
        let limit = self.consumed + WINDOW;
        let ranges = &ranges[..self.ranges.len()];
        let emitted = emit(&Ack { stream, cumulative: self.cumulative, limit, ranges });
        if emitted {
            self.announced = limit;
            self.ack_due = false;
        }
        emitted
    }

    /// Adds a stretch to what is there. `start` is not before `cumulative`.
    fn note(&mut self, start: u64, end: u64) -> bool {
        let first = self.ranges.partition_point(|range| range.1 < start);
        let last = self.ranges.partition_point(|range| range.0 <= end);
        let joined = match self.ranges.get(first..last) {
            None | Some([]) => (start, end),
            Some([only]) => (only.0.min(start), only.1.max(end)),
            Some([head, .., tail]) => (head.0.min(start), tail.1.max(end)),
        };
        if joined.0 == self.cumulative {
            self.cumulative = joined.1;
            self.ranges.drain(first..last);
            return true;
        }
        if first == last && self.ranges.len() == Ack::RANGES_MAX {
            return false;
        }
        self.ranges.splice(first..last, [joined]);
        true
    }
}

/// Bytes from `start` to `end` of a stretch that is in memory.
#[allow(clippy::cast_possible_truncation, reason = "at most WINDOW")]
fn length(start: u64, end: u64) -> usize {
    (end - start) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::message::{Message, Notice, Status};
    use proptest::prelude::*;

    fn message(text: &str) -> Vec<u8> {
        let mut bytes = vec![0; 1000];
        let len = Message::Notice(Notice { status: Status::OK, text }).emit(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    fn taken(stream: &mut ReceiveStream) -> usize {
        core::iter::from_fn(|| stream.next_message().unwrap()).count()
    }

    #[test]
    fn a_message_comes_when_it_is_whole() {
        let (mut stream, bytes) = (ReceiveStream::default(), message("abc"));
        for (index, byte) in bytes.iter().enumerate().rev() {
            assert_eq!(taken(&mut stream), 0);
            stream.insert(index as u64, &[*byte]).unwrap();
        }
        assert_eq!(taken(&mut stream), 1);
        assert!(stream.ranges.is_empty() && stream.buffer.is_empty());
    }

    #[test]
    fn credit_grows_only_by_what_the_owner_took() {
        let (mut stream, bytes) = (ReceiveStream::default(), message(&"x".repeat(400)));
        let mut end = 0;
        while stream.insert(end, &bytes).is_ok() {
            end += bytes.len() as u64;
        }
        assert!(end <= WINDOW && end + bytes.len() as u64 > WINDOW);
        assert_eq!(stream.insert(end, &bytes), Err(DropReason::OverCredit));
        assert!(stream.ack(Stream::Rules, |ack| ack.limit == WINDOW));
        assert!(taken(&mut stream) > 100 && stream.is_ack_due());
        assert!(stream.ack(Stream::Rules, |ack| ack.limit == WINDOW + end));
        stream.insert(end, &bytes).unwrap();
    }

    #[test]
    fn a_little_new_credit_is_not_announced() {
        let mut stream = ReceiveStream::default();
        stream.insert(0, &message("abc")).unwrap();
        assert!(stream.ack(Stream::Rules, |_| true));
        assert_eq!(taken(&mut stream), 1);
        assert!(!stream.is_ack_due());
    }

    #[test]
    fn what_was_taken_is_moved_out_in_large_steps() {
        let (mut stream, bytes) = (ReceiveStream::default(), message(&"x".repeat(400)));
        let whole = bytes.repeat(200);
        stream.insert(0, &whole).unwrap();
        let mut steps = vec![whole.len()];
        while stream.next_message().unwrap().is_some() {
            steps.push(stream.buffer.len());
        }
        steps.dedup();
        let first = COMPACT.next_multiple_of(bytes.len());
        assert_eq!(steps, [whole.len(), whole.len() - first, 0]);
    }

    #[test]
    fn credit_may_be_used_to_its_last_byte() {
        let mut stream = ReceiveStream::default();
        assert_eq!(stream.insert(WINDOW - 3, &[0; 4]), Err(DropReason::OverCredit));
        assert!(!stream.is_ack_due());
        assert_eq!(stream.insert(WINDOW - 4, &[0; 4]), Ok(()));
    }

    #[test]
    fn ranges_are_bounded_and_what_is_dropped_can_come_again() {
        let mut stream = ReceiveStream::default();
        for gap in 1..100 {
            stream.insert(gap * 10, &[0; 5]).unwrap();
        }
        assert!(stream.ack(Stream::Rules, |ack| ack.ranges.len() == Ack::RANGES_MAX));
        for offset in 0..200 {
            stream.insert(offset * 5, &[0; 5]).unwrap();
        }
        assert_eq!((stream.cumulative, stream.ranges.len()), (1000, 0));
    }

    #[test]
    fn stretches_that_touch_are_one() {
        let mut stream = ReceiveStream::default();
        for offset in [20, 10, 30] {
            stream.insert(offset, &[0; 10]).unwrap();
        }
        assert_eq!(stream.ranges, [(10, 40)]);
    }

    #[test]
    fn a_length_beyond_all_measure_ends_the_stream() {
        let mut stream = ReceiveStream::default();
        stream.insert(0, &[0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        assert!(stream.next_message().is_err());
    }

    #[test]
    fn empty_and_repeated_segments_are_acknowledged() {
        let mut stream = ReceiveStream::default();
        stream.insert(0, &[]).unwrap();
        assert!(stream.is_ack_due());
    }

    proptest! {
        #[test]
        fn any_order_any_cut_any_overlap(cuts in proptest::collection::vec((0_usize..3000, 1_usize..400), 0..200)) {
            let texts: Vec<String> = (0..60).map(|index| "y".repeat(index + 1)).collect();
            let whole: Vec<u8> = texts.iter().flat_map(|text| message(text)).collect();
            let mut stream = ReceiveStream::default();
            let step = whole.chunks(100).enumerate().map(|(index, chunk)| (index * 100, chunk.len()));
            for (start, len) in cuts.into_iter().chain(step) {
                let start = start.min(whole.len());
                let end = (start + len).min(whole.len());
                stream.insert(start as u64, &whole[start..end]).unwrap();
                stream.ack(Stream::Rules, |ack| {
                    let mut body = [0; 1000];
                    let len = ack.emit(&mut body).unwrap();
                    Ack::parse(&body[..len]).is_ok()
                });
            }
            prop_assert_eq!(stream.cumulative, whole.len() as u64);
            for text in &texts {
                let received = stream.next_message().unwrap().unwrap();
                let Ok(Message::Notice(notice)) = Message::parse(&received.raw()) else { panic!() };
                prop_assert_eq!(notice.text, text);
            }
        }
    }
}
