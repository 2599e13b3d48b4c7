//! `l2replay`: gives a recorded daemon's core once more what it was given, and prints what comes out (`l2relay --record`).
//!
//! # A record's way
//!
//! [`l2link::recording`] reads it and gives it to the core that it is of, made anew in this process and without any IO →
//! [`selection`] says whether it is to be seen → [`printer`] prints it.
//!
//! Exit code 0: the same came out, as far as the recording goes; 1: something else came out, or the recording cannot be read;
//! 2: the command line is wrong.

mod printer;
mod selection;

use clap::Parser;
use control_core::ReplayedControl;
use frames::DropReason;
use l2link::Time;
use l2link::recording::{Comparison, Header, NotReplayed, Recording, Replay, Step};
use l2link_os::SetupError;
use l2link_os::confine::forbid_core_dumps;
use l2link_pages::{Page, Section};
use printer::Printer;
use relay_core::ReplayedRelay;
use selection::{Selection, What};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Replay what a daemon recorded: give its core the same once more, and print what comes out.
///
/// Nothing is sent and nothing is changed: the core runs in this program, alone.
#[derive(Debug, Parser)]
#[command(name = "l2replay", version)]
struct Arguments {
    /// The recording (`l2relay --record FILE`, `l2control --record FILE`)
    file: PathBuf,
    /// Print only what happened from then on: seconds, as the lines have them
    #[arg(long, value_name = "SECONDS", value_parser = selection::seconds)]
    from: Option<Time>,
    /// Print only what happened until then
    #[arg(long, value_name = "SECONDS", value_parser = selection::seconds)]
    to: Option<Time>,
    /// Print only this; several can be named, with commas between
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    only: Vec<What>,
    /// Print only how it ends
    #[arg(short, long, conflicts_with = "only")]
    quiet: bool,
    /// Print the time in seconds since 1970, instead of since the daemon's start
    #[arg(short, long)]
    time: bool,
}

/// What the man page tells besides the command line.
const PAGE: Page = Page {
    sections: &[
        Section {
            title: "OUTPUT",
            entries: &[
                (
                    "Lines",
                    "Time, number of the input, a word, a text. What went in: received (a link frame), input (all else). What \
                     came out of it: verdict (what became of a frame or packet), drop (why it went nowhere), sent (a link \
                     frame), action (what the daemon was asked to do), event (what l2ctl monitor shows), answer (what a \
                     command was told).",
                ),
                (
                    "End",
                    "How often each reason to drop occurred, and whether the same came out as when it was recorded; if not, \
                     of which input something else came.",
                ),
            ],
        },
        Section {
            title: "EXIT STATUS",
            entries: &[
                ("0", "The same came out, as far as the recording goes."),
                ("1", "Something else came out, or the recording cannot be read."),
                ("2", "The command line is wrong."),
            ],
        },
        Section {
            title: "NOTES",
            entries: &[
                (
                    "Versions",
                    "A recording is read by the l2replay of the version that recorded it: another one would do something else.",
                ),
                (
                    "Secrets",
                    "A recording has the keys of the link and every packet in it. Give it to nobody who may not have these.",
                ),
                ("Killed daemons", "Their recordings have no end. What is there of them is replayed."),
            ],
        },
    ],
    see_also: &["l2relay(8)", "l2control(8)", "l2ctl(8)", "l2dump(8)"],
};

/// Why `l2replay` ends early. Exit code 1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}: {source}", .path.display())]
    Recording { path: PathBuf, source: NotReplayed },
    #[error("{0}")]
    Setup(#[from] SetupError),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    let arguments = l2link_pages::parse::<Arguments>(&PAGE);
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the same came out.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    // The keys of the link are read below.
    forbid_core_dumps()?;
    let failed = |source| Failure::Recording { path: arguments.file.clone(), source };
    let file = File::open(&arguments.file).map_err(NotReplayed::Io).map_err(failed)?;
    let recording = Recording::open(BufReader::new(file), env!("CARGO_PKG_VERSION")).map_err(failed)?;
    let only = if arguments.quiet { Some(Vec::new()) } else { named(&arguments.only) };
    let selection = Selection { from: arguments.from, to: arguments.to, only };
    match recording.header().program.clone() {
        program if program == ReplayedRelay::PROGRAM => {
            tell::<ReplayedRelay>(recording, arguments, &selection)
        }
        program if program == ReplayedControl::PROGRAM => {
            tell::<ReplayedControl>(recording, arguments, &selection)
        }
        program => Err(failed(NotReplayed::Program(program))),
    }
}

fn named(only: &[What]) -> Option<Vec<What>> {
    (!only.is_empty()).then(|| only.to_vec())
}

fn tell<C: Replay>(
    recording: Recording<impl Read>,
    arguments: &Arguments,
    selection: &Selection,
) -> Result<bool, Failure> {
    let failed = |source| Failure::Recording { path: arguments.file.clone(), source };
    let header = recording.header().clone();
    let mut told = recording.tell::<C>().map_err(failed)?;
    // The core was made, and its clock read, when the recording began.
    let mut printer = Printer::new(arguments.time.then_some(header.wall));
    loop {
        match told.step(selection.wants_any()).map_err(failed)? {
            Step::Input { number, time, shown } => {
                for shown in shown.iter().filter(|shown| selection.wants(time, shown)) {
                    printer.print(number, time, shown)?;
                }
            }
            Step::End { inputs, time, comparison } => {
                for (reason, times) in
                    DropReason::ALL.iter().map(|reason| (reason, told.core().dropped(*reason)))
                {
                    if times > 0 && selection.is_of(What::Drops) {
                        printer.line(format_args!("dropped {reason}: {times}"))?;
                    }
                }
                printer.line(format_args!("{}", end(&header, inputs, time, &comparison)))?;
                printer.flush()?;
                return Ok(!matches!(comparison, Comparison::Differs { .. }));
            }
        }
    }
}

/// How it ended.
fn end(header: &Header, inputs: u64, time: Time, comparison: &Comparison) -> String {
    let Header { program, version, .. } = header;
    let seconds = printer::seconds(time);
    let all = format!("{program} {version}, {inputs} inputs in {seconds} s");
    match comparison {
        Comparison::Same => format!("{all}: the same came out"),
        Comparison::Cut => {
            format!("{all}: the recording is cut short here; the same came out as far as it goes")
        }
        Comparison::Differs { input } => {
            let input = input.as_ref().map_or("the beginning".to_owned(), printer::text);
            format!("{all}: something else came of the last one than was recorded: {input}")
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
