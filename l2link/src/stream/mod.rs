//! The three reliable streams of a session.
//!
//! A stream is a run of bytes that holds whole messages one behind the other. [`SendStream`] cuts it into segments of
//! whatever size the link's MTU allows at that moment, [`ReceiveStream`] puts it together. Places in a stream are 64-bit
//! byte offsets from its beginning, so a segment may be cut anew when it is sent again. Streams share nothing but the
//! round-trip time: a lost routes segment never holds an event up.
//!
//! Credit: a reader lets its sender go [`WINDOW`] bytes beyond what its owner has taken. Every stream begins with that
//! credit on both sides; it grows as the owner takes messages and never shrinks. The window is larger than the longest
//! message by a factor of four, so a blocked sender always has whole messages waiting at the reader.

mod receive;
mod send;

pub(crate) use receive::ReceiveStream;
pub(crate) use send::SendStream;

use frames::session::Stream;

/// Credit of a fresh stream, and bytes that a reader holds at most.
pub(crate) const WINDOW: u64 = 256 * 1024;

/// All streams of an association.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    send: [SendStream; Stream::ALL.len()],
    receive: [ReceiveStream; Stream::ALL.len()],
}

impl Streams {
    pub(crate) fn send(&self, stream: Stream) -> &SendStream {
        &self.send[stream as usize]
    }

    pub(crate) fn send_mut(&mut self, stream: Stream) -> &mut SendStream {
        &mut self.send[stream as usize]
    }

    pub(crate) fn receive_mut(&mut self, stream: Stream) -> &mut ReceiveStream {
        &mut self.receive[stream as usize]
    }

    pub(crate) fn senders(&self) -> &[SendStream] {
        &self.send
    }

    pub(crate) fn senders_mut(&mut self) -> &mut [SendStream] {
        &mut self.send
    }
}
