//! Where frames come from.

use crate::Failure;
use crate::capture_file::CaptureFile;
use crate::live::Live;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// A frame as it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    /// Since 1970.
    pub(crate) time: Duration,
    /// What the capture has of it, Ethernet header first, without VLAN tags.
    pub(crate) bytes: Vec<u8>,
    /// Its length on the wire, without VLAN tags.
    pub(crate) length: usize,
    /// Its VLAN tags, as they stood behind the addresses.
    pub(crate) tags: Vec<u8>,
}

impl Captured {
    /// A frame as a file has it, with the tags that it has on a trunk.
    pub(crate) fn new(time: Duration, bytes: &[u8], length: usize) -> Self {
        let mut frame = Self { time, bytes: bytes.to_vec(), length, tags: Vec::new() };
        while frame.ethertype().is_some_and(|ethertype| VLAN_TAGS.contains(&ethertype))
            && frame.bytes.len() >= AT_TAG + TAG
        {
            frame.tags.extend(frame.bytes.drain(AT_TAG..AT_TAG + TAG));
            frame.length = frame.length.saturating_sub(TAG);
        }
        frame
    }

    /// The numbers of its VLANs, from the outermost.
    pub(crate) fn vlans(&self) -> Vec<u16> {
        let number = |tag: &[u8]| u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff;
        self.tags.chunks_exact(TAG).map(number).collect()
    }

    /// Whether the capture has only its beginning.
    pub(crate) fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }

    /// Its EtherType, if it has one.
    pub(crate) fn ethertype(&self) -> Option<u16> {
        self.bytes.get(AT_TAG..AT_TAG + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

/// Frames of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    own: u64,
    others: u64,
}

/// A source of frames of one EtherType.
pub(crate) enum Capture {
    File { file: CaptureFile, ethertype: u16, seen: Seen },
    Live(Live),
}

impl Capture {
    pub(crate) fn file(path: &Path, ethertype: u16) -> Result<Self, Failure> {
        Ok(Self::File { file: CaptureFile::open(path)?, ethertype, seen: Seen::default() })
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
            Self::File { file, ethertype, seen } => loop {
                match file.next_frame()? {
                    Some(frame) if frame.ethertype() != Some(*ethertype) => seen.others += 1,
                    other => {
                        seen.own += u64::from(other.is_some());
                        return Ok(other);
                    }
                }
            },
        }
    }

    /// Says what is to be said at the end.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Live(live) => live.finish(),
            Self::File { ethertype, seen: Seen { own: 0, others: others @ 1.. }, .. } => {
                writeln!(
                    io::stderr(),
                    "none of {others} frames is of the link: their EtherType is not {ethertype:#06x}"
                )?;
                Ok(())
            }
            Self::File { .. } => Ok(()),
        }
    }
}

/// Where a tag or the EtherType stands: behind two addresses.
const AT_TAG: usize = 12;
/// Length of a VLAN tag, its EtherType included.
const TAG: usize = 4;
/// EtherTypes of tags: of customers, of providers (IEEE 802.1Q), and what others wrote before these had one.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
