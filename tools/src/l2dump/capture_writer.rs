//! [`CaptureWriter`]: frames into a file that Wireshark reads.
//!
//! The format is pcap 2.4 with times in nanoseconds (draft-ietf-opsawg-pcap): a header of 24 bytes, then each frame behind 16
//! of its own. Frames that were decrypted are written as they would be without encryption.

use crate::Failure;
use crate::capture::Captured;
use crate::decode::Report;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A capture file that is being written.
pub(crate) struct CaptureWriter {
    path: PathBuf,
    output: BufWriter<Box<dyn Write>>,
}

impl CaptureWriter {
    /// Makes the file, which must be none of those that are read: it would be emptied.
    pub(crate) fn create(path: &Path, read: &[&Path]) -> Result<Self, Failure> {
        let failed = |source| Failure::Write { path: path.to_owned(), source };
        let output: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else if read.iter().any(|other| is_same_file(path, other)) {
            return Err(failed(io::Error::other("it is being read: name another file")));
        } else {
            Box::new(File::create(path).map_err(failed)?)
        };
        let mut writer = Self { path: path.to_owned(), output: BufWriter::new(output) };
        writer.words(&[MAGIC_NANOSECONDS, VERSION, 0, 0, SNAP_LENGTH, LINK_TYPE_ETHERNET])?;
        Ok(writer)
    }

    pub(crate) fn write(&mut self, frame: &Captured, report: &Report) -> Result<(), Failure> {
        let bytes = report.plain.as_deref().unwrap_or(&frame.bytes);
        let (addresses, rest) = bytes.split_at(bytes.len().min(ADDRESSES));
        let word = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        self.words(&[
            word(frame.time.as_secs()),
            frame.time.subsec_nanos(),
            word((bytes.len() + frame.tags.len()) as u64),
            word((frame.length + frame.tags.len()) as u64),
        ])?;
        [addresses, &frame.tags, rest].iter().try_for_each(|part| self.bytes(part))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.output.flush();
        self.explain(flushed)
    }

    fn words(&mut self, words: &[u32]) -> Result<(), Failure> {
        words.iter().try_for_each(|word| self.bytes(&word.to_le_bytes()))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.output.write_all(bytes);
        self.explain(written)
    }

    fn explain(&self, result: io::Result<()>) -> Result<(), Failure> {
        result.map_err(|source| Failure::Write { path: self.path.clone(), source })
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Length of the addresses, behind which tags stand.
const ADDRESSES: usize = 12;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// 2.4: two numbers of 16 bits.
const VERSION: u32 = 0x0004_0002;
const SNAP_LENGTH: u32 = 262_144;
const LINK_TYPE_ETHERNET: u32 = 1;
