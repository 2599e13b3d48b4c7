//! Where frames come from.

use crate::Failure;
use crate::capture_file::CaptureFile;
use crate::live::Live;
use std::path::Path;
use std::time::Duration;

/// A frame as it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    /// Since 1970.
    pub(crate) time: Duration,
    /// What the capture has of it, Ethernet header first.
    pub(crate) bytes: Vec<u8>,
    /// Its length on the wire.
    pub(crate) length: usize,
}

impl Captured {
    /// Whether the capture has only its beginning.
    pub(crate) fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }

    /// Its EtherType, if it has one.
    pub(crate) fn ethertype(&self) -> Option<u16> {
        self.bytes.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

/// A source of frames of one EtherType.
pub(crate) enum Capture {
    File { file: CaptureFile, ethertype: u16 },
    Live(Live),
}

impl Capture {
    pub(crate) fn file(path: &Path, ethertype: u16) -> Result<Self, Failure> {
        Ok(Self::File { file: CaptureFile::open(path)?, ethertype })
    }

    pub(crate) fn live(interface: &str, ethertype: u16) -> Result<Self, Failure> {
        Live::open(interface, ethertype).map(Self::Live)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// The next frame; `None` at the end of the file, and when a live capture is interrupted.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Captured>, Failure> {
        match self {
            Self::Live(live) => live.next_frame(),
            Self::File { file, ethertype } => loop {
                match file.next_frame()? {
                    Some(frame) if frame.ethertype() != Some(*ethertype) => {}
                    other => return Ok(other),
                }
            },
        }
    }

    /// Says what is to be said at the end.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Live(live) => live.finish(),
            Self::File { .. } => Ok(()),
        }
    }
}
