//! `l2dump`: prints the frames of the link protocol, one a line, from a capture file or a live interface.
//!
//! The lines have the words of the Wireshark dissector (`tools/wireshark/l2link.lua`), and a test holds both together; so do
//! the fields of `--json`. With a key log it reads encrypted frames as well, and `--write` makes a capture of them that
//! Wireshark can read.
//!
//! # A frame's way
//!
//! [`capture`] takes it out of a file ([`capture_file`]) or off an interface ([`live`]) → [`key_ring`] decrypts it →
//! [`decode`] reads it, with what earlier frames began ([`streams`], [`parcels`]) → [`filter`] lets it pass →
//! [`printer`] prints it, [`capture_writer`] writes it.
//!
//! Exit code 0: done; 1: something could not be read or written; 2: the command line is wrong.

mod capture;
mod capture_file;
mod capture_writer;
mod decode;
mod fields;
mod filter;
mod key_ring;
mod live;
mod messages;
mod parcels;
mod printer;
mod streams;

use capture::Capture;
use capture_writer::CaptureWriter;
use clap::Parser;
use decode::Decoder;
use filter::{Filter, Peer};
use frames::header::{DEFAULT_ETHERTYPE, Kind};
use frames::message::MessageType;
use key_ring::KeyRing;
use l2link_os::SetupError;
use l2link_pages::{Page, Section};
use printer::Printer;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the frames of the link protocol, one a line: those of a capture file, or those that pass an interface.
#[derive(Debug, Parser)]
#[command(name = "l2dump", version, group(clap::ArgGroup::new("source").args(["interface", "read"]).required(true)))]
struct Arguments {
    /// Listen on this interface until interrupted
    #[arg(short, long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Read this capture, pcap or pcapng; "-" is standard input
    #[arg(short, long, value_name = "FILE")]
    read: Option<PathBuf>,
    /// Write the frames to this file (pcap) instead of printing them; "-" is standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    write: Option<PathBuf>,
    /// Read encrypted frames by the keys in this file, which a daemon wrote (`keylog_file` in its configuration)
    #[arg(short, long, value_name = "FILE")]
    keylog: Option<PathBuf>,
    /// End after so many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print JSON: one object a line, with the dissector's names of the fields
    #[arg(long)]
    json: bool,
    /// Print the time in seconds since 1970, instead of since the first frame
    #[arg(short, long)]
    time: bool,
    /// Only frames from or to this device: its MAC address, or its name as its hellos said it before
    #[arg(short, long, value_name = "MAC|NAME")]
    peer: Vec<Peer>,
    /// Only frames of this kind, such as HELLO
    #[arg(long, value_name = "KIND", value_parser = filter::kind)]
    kind: Vec<Kind>,
    /// Only frames in which a message of this type ends, such as RULE_ADD
    #[arg(short, long, value_name = "TYPE", value_parser = filter::message)]
    message: Vec<MessageType>,
    /// EtherType of the protocol
    #[arg(long, value_name = "NUMBER", default_value_t = EtherType(DEFAULT_ETHERTYPE), value_parser = ethertype)]
    ethertype: EtherType,
}

/// Shown as it is usually written.
#[derive(Debug, Clone, Copy)]
struct EtherType(u16);

impl std::fmt::Display for EtherType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

fn ethertype(text: &str) -> Result<EtherType, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    number.map(EtherType).ok_or_else(|| "write it as 0x88b5, or as a decimal number up to 65535".to_owned())
}

/// What the man page tells besides the command line.
const PAGE: Page = Page {
    sections: &[
        Section {
            title: "EXIT STATUS",
            entries: &[
                ("0", "Done."),
                ("1", "Something could not be read or written."),
                ("2", "The command line is wrong."),
            ],
        },
        Section {
            title: "NOTES",
            entries: &[
                (
                    "The wire",
                    "Kinds, messages and fields have the names of the link protocol's description, \
                     /usr/share/doc/l2link/book/reference/protocol.md.",
                ),
                (
                    "Wireshark",
                    "Shows the same by l2link.lua. It reads a capture of encrypted frames that --keylog and --write made \
                     readable.",
                ),
            ],
        },
    ],
    see_also: &["l2relay.toml(5)", "l2control.toml(5)", "l2ctl(8)", "tshark(1)"],
};

/// Why `l2dump` ends early. Exit code 1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", .path.display())]
    Capture { path: PathBuf, problem: String },
    #[error("{}:{line}: {source}", .path.display())]
    KeyLog { path: PathBuf, line: usize, source: l2link::session_keys::NotKeys },
    #[error("{}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Setup(#[from] SetupError),
    #[error("capturing on {interface}: {source}")]
    Live { interface: String, source: io::Error },
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    let arguments = l2link_pages::parse::<Arguments>(&PAGE);
    let Err(failure) = run(&arguments) else { return ExitCode::SUCCESS };
    if matches!(&failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to tell if this fails too.
    let _ = writeln!(io::stderr(), "error: {failure}");
    ExitCode::FAILURE
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let keys = arguments.keylog.as_deref().map(KeyRing::open).transpose()?;
    let mut capture = match (&arguments.interface, &arguments.read) {
        (Some(interface), _) => Capture::live(interface, arguments.ethertype.0)?,
        (None, Some(path)) => Capture::file(path, arguments.ethertype.0)?,
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let mut output = match &arguments.write {
        Some(path) => {
            let read: Vec<_> = arguments.read.iter().chain(&arguments.keylog).map(PathBuf::as_path).collect();
            Output::File(CaptureWriter::create(path, &read)?)
        }
        None => Output::Lines(Printer::new(arguments.json, arguments.time)),
    };
    let filter = Filter::new(&arguments.peer, &arguments.kind, &arguments.message);
    let mut decoder = Decoder::new(keys);
    let (mut number, mut left) = (0, arguments.count.unwrap_or(u64::MAX));
    while left > 0
        && let Some(frame) = capture.next_frame()?
    {
        number += 1;
        let report = decoder.decode(&frame)?;
        if filter.passes(&report, decoder.names()) {
            left -= 1;
            match &mut output {
                Output::Lines(printer) => printer.print(number, &frame, &report)?,
                Output::File(writer) => writer.write(&frame, &report)?,
            }
        }
        if capture.is_live() || left == 0 {
            output.flush()?;
        }
    }
    output.flush()?;
    capture.finish()
}

/// Where frames go.
enum Output {
    Lines(Printer),
    File(CaptureWriter),
}

impl Output {
    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Lines(printer) => Ok(printer.flush()?),
            Self::File(writer) => writer.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
