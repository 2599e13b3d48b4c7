//! What was sent.

use core::ops::Sub;
use frames::header::{Frame, Kind};

#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Messages between controls and relays; what a frame holds.
    pub(crate) messages: u64,
    /// Frames for one station and for all.
    pub(crate) frames: u64,
    /// Those of them that are keepalives.
    pub(crate) keepalives: u64,
    /// Bytes of all frames.
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
        let kind = Frame::parse(frame).map(|frame| frame.header.kind);
        self.keepalives += u64::from(kind == Ok(Kind::KEEPALIVE));
    }

    pub(crate) fn besides_keepalives(&self) -> u64 {
        self.frames - self.keepalives
    }
}

impl Sub for &Tally {
    type Output = Tally;

    fn sub(self, earlier: &Tally) -> Tally {
        Tally {
            messages: self.messages - earlier.messages,
            frames: self.frames - earlier.frames,
            keepalives: self.keepalives - earlier.keepalives,
            bytes: self.bytes - earlier.bytes,
        }
    }
}
