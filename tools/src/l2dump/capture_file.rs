//! [`CaptureFile`]: frames of a file in pcap or pcapng, by `pcap-parser`.

use crate::Failure;
use crate::capture::Captured;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An open capture file.
pub(crate) struct CaptureFile {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Size of the reader's buffer in bytes.
    buffer: usize,
    form: Form,
}

/// What the file's headers have said so far.
#[derive(Default)]
struct Form {
    /// Units of a legacy file's times in a second.
    resolution: u64,
    /// Interfaces of the present section of a pcapng.
    interfaces: Vec<Interface>,
    /// Whether any section of a pcapng has one that carries Ethernet.
    has_ethernet: bool,
    /// What another one carries.
    other: Option<Linktype>,
}

struct Interface {
    is_ethernet: bool,
    /// Units of its times in a second.
    resolution: u64,
    /// To be added to its times, in seconds.
    offset: i64,
}

/// What a block of the file is to us.
enum Found {
    Frame(Captured),
    Other,
}

impl CaptureFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::Read { path: path.to_owned(), source };
        let input: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Box::new(file)
        };
        let reader = create_reader(BUFFER, Whole(input)).map_err(|error| explain(path, &error))?;
        Ok(Self { path: path.to_owned(), reader, buffer: BUFFER, form: Form::default() })
    }

    /// The next Ethernet frame, whatever its EtherType; `None` at the end.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Captured>, Failure> {
        loop {
            match self.reader.next() {
                Ok((length, block)) => {
                    let found = self.form.take(block);
                    self.reader.consume(length);
                    match found {
                        Ok(Found::Frame(frame)) => return Ok(Some(frame)),
                        Ok(Found::Other) => {}
                        Err(problem) => return Err(Failure::Capture { path: self.path.clone(), problem }),
                    }
                }
                Err(PcapError::Eof) => {
                    let problem = self.form.other.filter(|_| !self.form.has_ethernet).map(not_ethernet);
                    let failure = |problem| Err(Failure::Capture { path: self.path.clone(), problem });
                    return problem.map_or(Ok(None), failure);
                }
                Err(PcapError::Incomplete(_)) => {
                    self.reader.refill().map_err(|error| explain(&self.path, &error))?;
                }
                // A block that is longer than the buffer.
                Err(PcapError::BufferTooSmall) if self.buffer < BLOCK_MAX => {
                    self.buffer *= 2;
                    self.reader.grow(self.buffer);
                    self.reader.refill().map_err(|error| explain(&self.path, &error))?;
                }
                Err(error) => return Err(explain(&self.path, &error)),
            }
        }
    }
}

impl Form {
    fn take(&mut self, block: PcapBlockOwned<'_>) -> Result<Found, String> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                if header.network != Linktype::ETHERNET {
                    return Err(not_ethernet(header.network));
                }
                self.resolution = if header.is_nanosecond_precision() { NANOS } else { 1_000_000 };
                Ok(Found::Other)
            }
            PcapBlockOwned::Legacy(packet) => Ok(Found::Frame(Captured::new(
                time(packet.ts_sec.into(), packet.ts_usec.into(), self.resolution),
                packet.data,
                packet.origlen as usize,
            ))),
            PcapBlockOwned::NG(block) => Ok(self.take_block(&block)),
        }
    }

    fn take_block(&mut self, block: &Block<'_>) -> Found {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(description) => {
                let is_ethernet = description.linktype == Linktype::ETHERNET;
                self.has_ethernet |= is_ethernet;
                if !is_ethernet {
                    self.other = Some(description.linktype);
                }
                self.interfaces.push(Interface {
                    is_ethernet,
                    resolution: description.ts_resolution().unwrap_or(1_000_000),
                    offset: description.ts_offset(),
                });
            }
            Block::EnhancedPacket(packet) => {
                if let Some(interface) = self.ethernet(packet.if_id) {
                    return frame(packet, interface.time(packet.ts_high, packet.ts_low));
                }
            }
            // Has no time.
            Block::SimplePacket(packet) if self.ethernet(0).is_some() => {
                return frame(packet, Duration::ZERO);
            }
            _ => {}
        }
        Found::Other
    }

    /// An interface, if it carries Ethernet.
    fn ethernet(&self, interface: u32) -> Option<&Interface> {
        self.interfaces.get(interface as usize).filter(|interface| interface.is_ethernet)
    }
}

impl Interface {
    /// A time in its units, given in two halves.
    fn time(&self, high: u32, low: u32) -> Duration {
        let (units, resolution) = (u64::from(high) << 32 | u64::from(low), self.resolution.max(1));
        let seconds = (units / resolution).saturating_add_signed(self.offset);
        time(seconds, units % resolution, resolution)
    }
}

fn frame(packet: &impl PcapNGPacketBlock, time: Duration) -> Found {
    Found::Frame(Captured::new(time, packet.packet_data(), packet.orig_len() as usize))
}

fn time(seconds: u64, units: u64, resolution: u64) -> Duration {
    let nanos = u128::from(units) * u128::from(NANOS) / u128::from(resolution.max(1));
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn not_ethernet(link_type: Linktype) -> String {
    format!(
        "link type {link_type} is not Ethernet: capture on the interface of the segment itself, not on \"any\""
    )
}

fn explain<T: core::fmt::Debug>(path: &Path, error: &PcapError<T>) -> Failure {
    let problem = match error {
        PcapError::Eof => "it is empty".to_owned(),
        PcapError::UnexpectedEof | PcapError::Incomplete(_) => {
            "it ends in the middle of a frame: the capture was cut short".to_owned()
        }
        PcapError::HeaderNotRecognized => "it is neither pcap nor pcapng".to_owned(),
        PcapError::ReadError => "it cannot be read".to_owned(),
        PcapError::BufferTooSmall => format!("a block is longer than {BLOCK_MAX} bytes"),
        PcapError::NomError(..) | PcapError::OwnedNomError(..) => {
            "a block contradicts itself: the file is damaged".to_owned()
        }
    };
    Failure::Capture { path: path.to_owned(), problem }
}

/// Gives as much as is asked for, also from a pipe, so that the file's first bytes come as a whole.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while have < buffer.len().min(FIRST) {
            match self.0.read(&mut buffer[have..]) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(have)
    }
}

const NANOS: u64 = 1_000_000_000;
/// More than the first header of either format has.
const FIRST: usize = 24;
/// Bytes read at once: more than one frame has.
const BUFFER: usize = 256 * 1024;
/// Longest block of a file that is taken.
const BLOCK_MAX: usize = 64 * 1024 * 1024;
