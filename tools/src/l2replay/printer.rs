//! [`Printer`]: lines on standard output.

use core::fmt;
use frames::body::Body;
use frames::data::OffloadHeader;
use frames::header::{Flags, Frame};
use frames::inet::classify;
use l2link::Time;
use l2link::recording::Shown;
use std::io::{self, BufWriter, Stdout, Write};

/// Prints what went in and came out.
pub(crate) struct Printer {
    output: BufWriter<Stdout>,
    /// Added to the times.
    start: u64,
}

impl Printer {
    /// Times are since the daemon's start, which was then: µs since 1970, or nothing.
    pub(crate) fn new(start: Option<u64>) -> Self {
        Self { output: BufWriter::new(io::stdout()), start: start.unwrap_or_default() }
    }

    /// One line.
    pub(crate) fn print(&mut self, number: u64, time: Time, shown: &Shown) -> io::Result<()> {
        let time = seconds(Time(self.start.saturating_add(time.0)));
        writeln!(self.output, "{time} {number} {} {}", word(shown), text(shown))
    }

    /// A line about all of it.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.output, "{text}")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// As lines have it.
pub(crate) fn seconds(Time(micros): Time) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn word(shown: &Shown) -> &'static str {
    match shown {
        Shown::Frame { sent: true, .. } => "sent",
        Shown::Frame { sent: false, .. } => "received",
        Shown::Input(..) => "input",
        Shown::Verdict(..) => "verdict",
        Shown::Drop(_) => "drop",
        Shown::Action(_) => "action",
        Shown::Event(_) => "event",
        Shown::Answer(_) => "answer",
    }
}

/// What it is, in words.
pub(crate) fn text(shown: &Shown) -> String {
    match shown {
        Shown::Frame { frame, .. } => link_frame(frame),
        Shown::Input(text, parcel) | Shown::Verdict(text, parcel) => match parcel {
            Some(parcel) => format!("{text}: {}", packet(parcel)),
            None => text.clone(),
        },
        Shown::Drop(reason) => reason.to_string(),
        Shown::Action(text) | Shown::Event(text) | Shown::Answer(text) => text.clone(),
    }
}

/// In the words of `l2dump`, but for what would need earlier frames.
fn link_frame(bytes: &[u8]) -> String {
    let Ok(frame) = Frame::parse(bytes) else {
        return format!("{} bytes that are no link frame", bytes.len());
    };
    let (ethernet, header) = (frame.ethernet, frame.header);
    let head = format!("{} > {} {}", ethernet.source, ethernet.destination, header.kind);
    if header.flags().contains(Flags::ENCRYPTED) {
        return format!("{head} encrypted, {} bytes", frame.body.len());
    }
    match Body::parse(header.kind, frame.body) {
        Ok(body) => format!("{head} {body}"),
        Err(error) => format!("{head} {error}"),
    }
}

/// Offload header and Ethernet frame; or an IP packet, which has neither, and is told by its length.
fn packet(parcel: &[u8]) -> String {
    let view = parcel.get(size_of::<OffloadHeader>()..).and_then(|frame| classify(frame).ok());
    view.map_or_else(|| format!("{} bytes", parcel.len()), |view| view.to_string())
}
