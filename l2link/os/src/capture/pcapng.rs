//! Blocks of pcapng (draft-ietf-opsawg-pcapng-03), written straight into the buffer of who reads them.
//!
//! Four kinds are all that a capture needs. Numbers are little-endian, which the section header tells; all that has no fixed
//! length is filled up to a multiple of four bytes.

use core::time::Duration;
use std::borrow::Cow;

/// A packet, and what is told of it.
#[derive(Debug, Clone)]
pub(super) struct Packet<'a> {
    /// Number of the interface, in the order of their descriptions.
    pub(super) interface: u32,
    /// Since 1970.
    pub(super) time: Duration,
    /// As much of it as is captured.
    pub(super) frame: &'a [u8],
    /// Bytes that it had.
    pub(super) length: usize,
    /// Whether it went out by the interface.
    pub(super) outbound: bool,
    /// The same packet has the same number at all interfaces.
    pub(super) number: u64,
    /// Which of the interface's queues it was in.
    pub(super) queue: Option<u32>,
    pub(super) comment: Option<Cow<'a, str>>,
}

/// Section Header Block (4.1): who wrote it.
pub(super) fn section_header(out: &mut Vec<u8>, system: &str, program: &str) {
    let block = Block::begin(out, SECTION_HEADER);
    block.out.extend(BYTE_ORDER.to_le_bytes());
    block.out.extend(MAJOR.to_le_bytes());
    block.out.extend(MINOR.to_le_bytes());
    block.out.extend(UNKNOWN_LENGTH.to_le_bytes());
    block.option(3, system.as_bytes()).option(4, program.as_bytes()).end();
}

/// Interface Description Block (4.2): frames of Ethernet, cut to `longest` bytes, times in nanoseconds.
pub(super) fn interface_description(
    out: &mut Vec<u8>,
    name: &str,
    description: Option<&str>,
    longest: usize,
) {
    let mut block = Block::begin(out, INTERFACE_DESCRIPTION);
    block.out.extend(ETHERNET.to_le_bytes());
    block.out.extend([0; 2]);
    block.out.extend(word(longest).to_le_bytes());
    block = block.option(2, name.as_bytes());
    if let Some(description) = description {
        block = block.option(3, description.as_bytes());
    }
    block.option(9, &[NANOSECONDS]).end();
}

/// Enhanced Packet Block (4.3).
pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut block = Block::begin(out, ENHANCED_PACKET);
    block.out.extend(packet.interface.to_le_bytes());
    block.time(packet.time);
    block.out.extend(word(packet.frame.len()).to_le_bytes());
    block.out.extend(word(packet.length).to_le_bytes());
    block.padded(packet.frame);
    if let Some(comment) = &packet.comment {
        block = block.option(1, comment.as_bytes());
    }
    let flags = if packet.outbound { OUTBOUND } else { INBOUND };
    block = block.option(2, &flags.to_le_bytes()).option(5, &packet.number.to_le_bytes());
    if let Some(queue) = packet.queue {
        block = block.option(6, &queue.to_le_bytes());
    }
    block.end();
}

/// Interface Statistics Block (4.6): packets at the interface since the beginning, and how many of them are not in the
/// capture.
pub(super) fn statistics(out: &mut Vec<u8>, interface: u32, time: Duration, received: u64, lost: u64) {
    let mut block = Block::begin(out, INTERFACE_STATISTICS);
    block.out.extend(interface.to_le_bytes());
    block.time(time);
    block.option(4, &received.to_le_bytes()).option(5, &lost.to_le_bytes()).end();
}

/// A block that is being written. Its length stands before and behind what is in it.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    has_options: bool,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        out.extend(kind.to_le_bytes());
        out.extend([0; 4]);
        Self { out, start, has_options: false }
    }

    /// The upper half of a time stamp stands before the lower one.
    fn time(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
        for half in nanoseconds.chunks_exact(4) {
            self.out.extend(half.iter().rev());
        }
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    /// An option (3.5), of at most 65,535 bytes.
    fn option(mut self, code: u16, value: &[u8]) -> Self {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.out.extend(code.to_le_bytes());
        self.out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.padded(value);
        self.has_options = true;
        self
    }

    fn end(self) {
        if self.has_options {
            self.out.extend([0; 4]);
        }
        let length = word(self.out.len() - self.start + 4).to_le_bytes();
        self.out.extend(length);
        self.out[self.start + 4..self.start + 8].copy_from_slice(&length);
    }
}

fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const MAJOR: u16 = 1;
const MINOR: u16 = 0;
const UNKNOWN_LENGTH: i64 = -1;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;
/// `if_tsresol`: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;
/// Bits 0 and 1 of `epb_flags` (4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_parser::{Block as Read, OptionCode, PcapNGOption, parse_sections};

    fn value<'a>(options: &'a [PcapNGOption<'_>], code: u16) -> Option<&'a [u8]> {
        let found = options.iter().find(|option| option.code == OptionCode(code))?;
        found.value.get(..usize::from(found.len))
    }

    #[test]
    fn another_reader_finds_what_was_written() {
        for (length, comment) in [(0, None), (1, Some("dropped: unmatched")), (66, None), (1514, Some("é"))]
        {
            let time = Duration::new(1_800_000_000, 123_456_789);
            let frame = vec![7; length];
            let mut out = Vec::new();
            section_header(&mut out, "Linux", "l2relay 1.2.3");
            interface_description(&mut out, "port eth1", Some("what it is"), 96);
            let written = Packet {
                interface: 0,
                time,
                frame: &frame,
                length: 70_000,
                outbound: length == 66,
                number: 5_000_000_000,
                queue: Some(9),
                comment: comment.map(Cow::Borrowed),
            };
            packet(&mut out, &written);
            statistics(&mut out, 0, time, 12, 3);

            let (rest, sections) = parse_sections(&out).unwrap();
            assert!(rest.is_empty(), "{rest:?}");
            let [header, interface, packet, statistics] = &sections[0].blocks[..] else { panic!() };
            let Read::SectionHeader(header) = header else { panic!() };
            assert_eq!((header.major_version, header.minor_version, header.section_len), (1, 0, -1));
            assert_eq!(value(&header.options, 3), Some(&b"Linux"[..]));
            assert_eq!(value(&header.options, 4), Some(&b"l2relay 1.2.3"[..]));
            let Read::InterfaceDescription(interface) = interface else { panic!() };
            assert_eq!((interface.linktype.0, interface.snaplen, interface.if_tsresol), (1, 96, 9));
            assert_eq!(value(&interface.options, 2), Some(&b"port eth1"[..]));
            assert_eq!(value(&interface.options, 3), Some(&b"what it is"[..]));
            let Read::EnhancedPacket(packet) = packet else { panic!() };
            let stamp = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            assert_eq!(stamp, 1_800_000_000_123_456_789);
            assert_eq!((packet.if_id, packet.caplen as usize, packet.origlen), (0, length, 70_000));
            assert_eq!(packet.data[..length], frame);
            assert_eq!(value(&packet.options, 1), comment.map(str::as_bytes));
            assert_eq!(value(&packet.options, 2).unwrap()[0], if length == 66 { 2 } else { 1 });
            assert_eq!(value(&packet.options, 5), Some(&5_000_000_000_u64.to_le_bytes()[..]));
            assert_eq!(value(&packet.options, 6), Some(&9_u32.to_le_bytes()[..]));
            let Read::InterfaceStatistics(statistics) = statistics else { panic!() };
            assert_eq!((statistics.ts_high, statistics.ts_low), (packet.ts_high, packet.ts_low));
            assert_eq!(value(&statistics.options, 4), Some(&12_u64.to_le_bytes()[..]));
            assert_eq!(value(&statistics.options, 5), Some(&3_u64.to_le_bytes()[..]));
        }
    }
}
