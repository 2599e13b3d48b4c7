//! [`LogOutput`]: the log, of which nobody has to keep up with reading.
//!
//! The pipe, socket or terminal that standard error is fills up when whoever reads it is stopped, and write(2) would hold the
//! daemon up with every packet. A line for which there is no room, on a full disk too, is lost instead, and the next one for
//! which there is some is preceded by how many were.
//!
//! poll(2) tells of room for [`PIPE_BUF`] bytes at least (pipe(7); a stream socket has a quarter of its buffer free, a terminal
//! is asked about less), so that much is written at a time. Limit: a file is always ready, and its disk may take its time.

use env_logger::{Builder, Env, Target, WriteStyle};
use nix::errno::Errno;
use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;

/// Begins to log to standard error, as `RUST_LOG` says or else like this.
///
/// # Panics
/// When the process has begun already.
pub fn begin(default_filter: &str) {
    let mut builder = Builder::from_env(Env::default().default_filter_or(default_filter));
    if std::env::var_os("RUST_LOG_STYLE").is_none() {
        let colored = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        builder.write_style(if colored { WriteStyle::Always } else { WriteStyle::Never });
    }
    builder.format_timestamp_millis().target(Target::Pipe(Box::new(LogOutput::new(io::stderr())))).init();
}

/// Writes what there is room for. Each [`Write::write`] is one record, and takes all of it.
#[derive(Debug)]
pub struct LogOutput<F> {
    descriptor: F,
    /// Records lost since the last one that was written.
    lost: u64,
    /// Whether a record was written only in part.
    broken_off: bool,
}

impl<F: AsFd> LogOutput<F> {
    /// Writes to this.
    pub fn new(descriptor: F) -> Self {
        Self { descriptor, lost: 0, broken_off: false }
    }

    fn try_write(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut descriptors, PollTimeout::ZERO) {
                Ok(0) => return Err(Errno::EAGAIN),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            }
            let piece = bytes.get(..PIPE_BUF).unwrap_or(bytes);
            match nix::unistd::write(&self.descriptor, piece) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            }
            self.broken_off = !bytes.is_empty();
        }
        Ok(())
    }
}

impl<F: AsFd> Write for LogOutput<F> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let notice = match self.lost {
            0 => String::new(),
            lost => format!("{}[{lost} records are lost: there was no room for them]\n", self.line_end()),
        };
        if self.try_write(notice.as_bytes()).is_err() {
            self.lost += 1;
            return Ok(record.len());
        }
        self.lost = 0;
        if self.try_write(record).is_err() {
            self.lost = 1;
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F> LogOutput<F> {
    fn line_end(&self) -> &'static str {
        if self.broken_off { "\n" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    const RECORD: &str = "one record of the log, of the usual length\n";

    fn pipe() -> (File, LogOutput<OwnedFd>) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        (reader.into(), LogOutput::new(writer))
    }

    /// More than a pipe holds.
    fn fill(output: &mut LogOutput<OwnedFd>, record: &str) -> u64 {
        let records = (1 << 20) / record.len();
        for _ in 0..records {
            output.write_all(record.as_bytes()).unwrap();
        }
        records as u64
    }

    fn read_all(mut reader: File) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    fn take(reader: &mut File, bytes: usize) -> String {
        let mut text = vec![0; bytes];
        reader.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_nobody_reads_is_lost_and_counted() {
        let (mut reader, mut output) = pipe();
        let written = fill(&mut output, RECORD);
        let lost = output.lost;
        assert!(lost > 0);
        let kept = take(&mut reader, usize::try_from(written - lost).unwrap() * RECORD.len());
        assert!(kept.lines().all(|line| RECORD.trim() == line));
        output.write_all(b"the next\n").unwrap();
        drop(output);
        assert_eq!(
            read_all(reader),
            format!("[{lost} records are lost: there was no room for them]\nthe next\n")
        );
    }

    #[test]
    fn a_record_that_is_broken_off_does_not_run_into_the_next() {
        let (mut reader, mut output) = pipe();
        // Three pages each, of which a pipe holds 16.
        let long = format!("{}\n", "x".repeat(2 * PIPE_BUF));
        fill(&mut output, &long);
        assert!(output.broken_off);
        let lost = output.lost;
        let mut held = vec![0; 1 << 20];
        let length = reader.read(&mut held).unwrap();
        assert_ne!(held[length - 1], b'\n');
        output.write_all(b"the next\n").unwrap();
        drop(output);
        assert_eq!(
            read_all(reader),
            format!("\n[{lost} records are lost: there was no room for them]\nthe next\n")
        );
    }

    #[test]
    fn a_full_disk_stops_nothing() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut output = LogOutput::new(full);
        output.write_all(RECORD.as_bytes()).unwrap();
        output.write_all(RECORD.as_bytes()).unwrap();
        assert_eq!(output.lost, 2);
    }

    #[test]
    fn a_reader_that_has_gone_stops_nothing() {
        let (reader, mut output) = pipe();
        drop(reader);
        output.write_all(RECORD.as_bytes()).unwrap();
        assert_eq!(output.lost, 1);
    }
}
