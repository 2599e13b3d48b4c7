//! [`Streams`]: the messages of the reliable streams, as somebody who only listens sees them.
//!
//! # Theory of operation
//!
//! A stream is known by source, destination and number. It begins at offset 0, or, if the capture began later, at the first
//! segment that begins with what looks like a message; until then segments are not read. Bytes are put together in order,
//! whole messages cut off the front. A segment of nothing but bytes seen before is a *retransmission*, and what whole
//! messages it holds are read again; one behind a *gap* waits. A new session begins at offset 0 under another index.
//!
//! The dissector does the same (`take_segment`), so both show the same messages at the same frames.

use frames::message::{MESSAGE_MAX, MessageHeader, MessageType, RawMessage};
use frames::session::{Segment, Stream};
use frames::{Mac, SessionIndex};
use std::collections::BTreeMap;
use zerocopy::FromBytes;

/// Streams of all devices.
#[derive(Debug, Default)]
pub(crate) struct Streams(BTreeMap<(Mac, Mac, Stream), Following>);

/// A stream that is followed.
#[derive(Debug, Default)]
struct Following {
    receiver: SessionIndex,
    /// Offset of the first byte of `buffer`.
    next: u64,
    /// Bytes of messages that are not whole yet.
    buffer: Vec<u8>,
    /// Segments behind a gap, by offset.
    pending: BTreeMap<u64, Vec<u8>>,
}

/// What a segment brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// Whole messages, each with its header.
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) event: Option<Event>,
}

/// What is worth to be said of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// All its bytes were seen before.
    Retransmission,
    /// Bytes before it are missing.
    Gap,
}

impl Event {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retransmission => "retransmission",
            Self::Gap => "gap",
        }
    }
}

impl Streams {
    /// Takes a segment from `source` to `destination`.
    pub(crate) fn take(
        &mut self,
        source: Mac,
        destination: Mac,
        receiver: SessionIndex,
        segment: &Segment<'_>,
    ) -> Brought {
        let key = (source, destination, segment.stream);
        let known = self.0.get(&key);
        let is_new = known.is_none_or(|stream| segment.offset == 0 && stream.receiver != receiver);
        if is_new {
            if segment.offset != 0 && !begins_with_message(segment.bytes) {
                return Brought::default();
            }
            self.0.insert(key, Following { next: segment.offset, ..Following::default() });
        }
        let Some(stream) = self.0.get_mut(&key) else { return Brought::default() };
        stream.receiver = receiver;
        let brought = stream.take(segment.offset, segment.bytes);
        brought.unwrap_or_else(|brought| {
            self.0.remove(&key);
            brought
        })
    }
}

impl Following {
    /// What the segment brought; as an error if the stream cannot be followed any further.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<Brought, Brought> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end <= self.end() && !bytes.is_empty() {
            let event = Some(Event::Retransmission);
            return Ok(Brought { messages: messages_at_front(bytes), event });
        }
        if offset > self.end() {
            self.pending.insert(offset, bytes.to_vec());
            return Ok(Brought { messages: vec![], event: Some(Event::Gap) });
        }
        self.append(offset, bytes);
        while let Some((&at, _)) = self.pending.first_key_value()
            && at <= self.end()
        {
            let waiting = self.pending.remove(&at).unwrap_or_default();
            self.append(at, &waiting);
        }
        let mut brought = Brought::default();
        loop {
            match next_length(&self.buffer) {
                Ok(Some(length)) => {
                    brought.messages.push(self.buffer.drain(..length).collect());
                    self.next += length as u64;
                }
                Ok(None) => return Ok(brought),
                Err(NoMessage) => return Err(brought),
            }
        }
    }

    fn end(&self) -> u64 {
        self.next.saturating_add(self.buffer.len() as u64)
    }

    /// Appends what of the bytes at `offset` is not there yet.
    fn append(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.end() - offset).unwrap_or(usize::MAX);
        self.buffer.extend_from_slice(bytes.get(known..).unwrap_or_default());
    }
}

/// What cannot be the header of a message.
struct NoMessage;

/// Length of the message at the front, if it is whole.
fn next_length(bytes: &[u8]) -> Result<Option<usize>, NoMessage> {
    if MessageHeader::ref_from_prefix(bytes).is_ok() && bytes[2..4] != [0, 0] {
        return Err(NoMessage);
    }
    match RawMessage::split(bytes) {
        Ok(Some((raw, _))) => Ok(Some(MessageHeader::LEN + raw.body.len())),
        Ok(None) => Ok(None),
        Err(_) => Err(NoMessage),
    }
}

/// Whether there is a header at the front that looks like that of a message which this build knows.
fn begins_with_message(bytes: &[u8]) -> bool {
    let Ok((header, _)) = MessageHeader::ref_from_prefix(bytes) else { return false };
    let is_known = MessageType(header.kind.get()).name().is_some();
    is_known && bytes[2..4] == [0, 0] && header.length.get() as usize + MessageHeader::LEN <= MESSAGE_MAX
}

/// Whole messages at the front of bytes that are not placed in a stream, as far as they look like some.
fn messages_at_front(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = vec![];
    while begins_with_message(bytes)
        && let Ok(Some((raw, rest))) = RawMessage::split(bytes)
    {
        messages.push(bytes[..MessageHeader::LEN + raw.body.len()].to_vec());
        bytes = rest;
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUTES_DONE.
    fn message(number: u8) -> Vec<u8> {
        vec![0, 0x53, 0, 0, 0, 0, 0, 4, 0, 0, 0, number]
    }

    fn take(streams: &mut Streams, session: u32, offset: u64, bytes: &[u8]) -> (Vec<u8>, Option<Event>) {
        let segment = Segment { stream: Stream::Routes, offset, bytes };
        let brought = streams.take(Mac([2; 6]), Mac([4; 6]), SessionIndex(session), &segment);
        (brought.messages.iter().map(|message| *message.last().unwrap()).collect(), brought.event)
    }

    #[test]
    fn messages_are_cut_at_any_byte_and_come_in_any_order() {
        let bytes: Vec<u8> = (1..=4).flat_map(message).collect();
        let mut streams = Streams::default();
        assert_eq!(take(&mut streams, 1, 0, &bytes[..5]), (vec![], None));
        assert_eq!(take(&mut streams, 1, 20, &bytes[20..40]), (vec![], Some(Event::Gap)));
        assert_eq!(take(&mut streams, 1, 5, &bytes[5..21]), (vec![1, 2, 3], None));
        assert_eq!(take(&mut streams, 1, 36, &bytes[36..]), (vec![4], None), "part of it was there");
        assert_eq!(take(&mut streams, 1, 12, &bytes[12..36]), (vec![2, 3], Some(Event::Retransmission)));
        assert_eq!(take(&mut streams, 1, 48, &[]), (vec![], None), "asks for an ACK");
    }

    #[test]
    fn a_capture_may_begin_in_the_middle() {
        let mut streams = Streams::default();
        assert_eq!(take(&mut streams, 1, 1000, &[1, 2, 3]), (vec![], None));
        assert_eq!(take(&mut streams, 1, 1003, &message(7)), (vec![7], None));
        assert_eq!(take(&mut streams, 1, 1015, &message(8)), (vec![8], None));
    }

    #[test]
    fn another_session_begins_anew_at_offset_0() {
        let mut streams = Streams::default();
        assert_eq!(take(&mut streams, 1, 0, &message(1)), (vec![1], None));
        assert_eq!(take(&mut streams, 1, 0, &message(1)), (vec![1], Some(Event::Retransmission)));
        assert_eq!(take(&mut streams, 2, 12, &message(2)), (vec![2], None), "new keys only");
        assert_eq!(take(&mut streams, 3, 0, &message(9)), (vec![9], None));
    }

    #[test]
    fn what_is_no_message_ends_the_following() {
        let mut streams = Streams::default();
        assert_eq!(take(&mut streams, 1, 0, &[0xff; 12]), (vec![], None));
        assert_eq!(take(&mut streams, 1, 12, &message(2)), (vec![2], None), "found again");
    }
}
