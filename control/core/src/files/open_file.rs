//! [`OpenFile`]: one opening of a file: what waits to be read, and who waits to read.

use super::queue::PacketQueue;
use super::{FileError, PacketFile};
use frames::SymbolId;
use l2link::Time;
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) symbol: SymbolId,
    pub(crate) file: PacketFile,
    pub(crate) stage: Stage,
    /// Why nothing comes any more: the relay refuses the rule, which was in force when the file was opened.
    pub(crate) broken: Option<FileError>,
    pub(crate) queue: PacketQueue,
    /// Reads that wait, in order.
    pub(crate) readers: VecDeque<Reader>,
    /// Whom to tell when there is something to read.
    pub(crate) poll: Option<u64>,
    /// Whether it is in the list of those that have something to answer.
    pub(crate) listed: bool,
    /// Time of day, in µs, at the core's time zero.
    pub(crate) wall: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The request waits for the relay's answer, not longer than until then.
    Opening(u64, Time),
    Open,
}

/// A read that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) request: u64,
    /// Bytes that it can take.
    pub(crate) size: usize,
}

impl OpenFile {
    pub(crate) fn new(symbol: SymbolId, file: PacketFile, stage: Stage, wall: u64) -> Self {
        let mut queue = PacketQueue::default();
        if file == PacketFile::Pcap {
            queue.push(&[&pcap_header()]);
        }
        Self {
            symbol,
            file,
            stage,
            broken: None,
            queue,
            readers: VecDeque::new(),
            poll: None,
            listed: false,
            wall,
        }
    }

    /// What a read of `size` bytes gives now: so many bytes, or an error; `None` if it has to wait. What does not fit stays.
    pub(crate) fn give(&self, size: usize) -> Option<Result<usize, FileError>> {
        match self.queue.first() {
            Some(_) if self.file == PacketFile::Pcap => Some(Ok(size.min(self.queue.bytes()))),
            Some(first) if first <= size => Some(Ok(first)),
            Some(_) => Some(Err(FileError::TooLong)),
            None => self.broken.map(Err),
        }
    }

    /// Whether a read would not wait.
    pub(crate) fn is_readable(&self) -> bool {
        self.queue.first().is_some() || self.broken.is_some()
    }

    /// Takes a packet; returns whether there was room. `ethernet` is before it on the cable.
    pub(crate) fn push(&mut self, ethernet: &[u8], packet: &[u8], now: Time) -> bool {
        match self.file {
            PacketFile::Packets | PacketFile::EtherType(_) => self.queue.push(&[ethernet, packet]),
            PacketFile::Tcp(_) | PacketFile::Udp(_) | PacketFile::Ip(_) => self.queue.push(&[packet]),
            PacketFile::Pcap => {
                let record = pcap_record(self.wall.saturating_add(now.0), ethernet.len() + packet.len());
                self.queue.push(&[&record, ethernet, packet])
            }
        }
    }
}

/// The beginning of a file in the format of pcap (draft-ietf-opsawg-pcap, 4): Ethernet, times in µs.
fn pcap_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[0..4].copy_from_slice(&0xa1b2_c3d4_u32.to_ne_bytes());
    header[4..6].copy_from_slice(&2_u16.to_ne_bytes());
    header[6..8].copy_from_slice(&4_u16.to_ne_bytes());
    header[16..20].copy_from_slice(&PCAP_LONGEST.to_ne_bytes());
    header[20..24].copy_from_slice(&LINKTYPE_ETHERNET.to_ne_bytes());
    header
}

/// What stands before each frame (the same, 5): when it came, in µs, and its length twice.
fn pcap_record(time: u64, length: usize) -> [u8; 16] {
    let seconds = u32::try_from(time / 1_000_000).unwrap_or(u32::MAX);
    let micros = u32::try_from(time % 1_000_000).unwrap_or_default();
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut record = [0; 16];
    for (place, value) in record.chunks_exact_mut(4).zip([seconds, micros, length, length]) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    record
}

/// Most that programs of libpcap take.
const PCAP_LONGEST: u32 = 262_144;
const LINKTYPE_ETHERNET: u32 = 1;
