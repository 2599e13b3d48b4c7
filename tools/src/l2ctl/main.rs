//! `l2ctl`: looks into a running `l2relay` or `l2control` through its API socket.
//!
//! Everything that it prints comes from the daemon as JSON; [`columns`] knows the documented order of the keys and their
//! units, [`table`] lays rows out, [`socket`] finds the daemon, [`owners`] the processes behind tunnels. Exit code 0: done; 1: the daemon cannot be reached or
//! refused; 2: the command line is wrong.

mod columns;
mod daemon;
mod doctor;
mod monitor;
mod owners;
mod socket;
mod table;

use clap::{Parser, Subcommand};
use columns::Object;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Look into a running l2relay or l2control.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// API socket of the daemon [default: the one of /run/l2link/{relay,control}.sock that exists]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print one of the daemon's tables
    Show {
        /// Which one
        object: Object,
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
        /// Print counters that are zero as well
        #[arg(long)]
        all: bool,
    },
    /// Compare what the daemon means with what its kernel has; exit code 1 and the differences, if there are any
    Verify {
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
    /// Change how a relay treats one of its controls
    Peer {
        #[command(subcommand)]
        command: PeerCommand,
    },
    /// Look for what keeps this machine's daemon from working well, and tell what mends it; exit code 1 if something is wrong
    Doctor {
        /// Configuration file to look at [default: those of /etc/l2link/{relay,control}.toml that exist]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
    /// Print what happens, as it happens, until interrupted
    Monitor {
        /// Print JSON: one object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum PeerCommand {
    /// Give a control a share of new flows, until the relay ends
    Weight {
        /// Name of the control
        name: String,
        /// 0 for no new flow, to 65535; or "own" for what its own configuration says
        #[arg(value_parser = weight)]
        weight: Weight,
    },
}

/// A share of new flows; none for the control's own.
#[derive(Debug, Clone, Copy)]
struct Weight(Option<u16>);

fn weight(text: &str) -> Result<Weight, String> {
    match text {
        "own" => Ok(Weight(None)),
        _ => text.parse().map(|weight| Weight(Some(weight))).map_err(|_| "0 to 65535, or \"own\"".to_owned()),
    }
}

/// Why `l2ctl` ends without having done what it was asked to do.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The daemon cannot be reached, or refused: exit code 1.
    Daemon(String),
    /// The kernel has something else than the daemon means: exit code 1.
    Differences(usize),
    /// So many findings of `doctor` are wrong: exit code 1.
    Wrong(usize),
    /// The output cannot be written: exit code 1, or 0 if the reader has simply left.
    Output(io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Err(failure) = run(&arguments, &mut io::stdout().lock()) else { return ExitCode::SUCCESS };
    if matches!(&failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to tell if this fails too.
    let _ = writeln!(io::stderr(), "error: {failure}");
    ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    match &arguments.command {
        &Command::Show { object, json, all } => {
            if all && object != Object::Counters {
                return Err(Failure::Usage(format!(
                    "--all goes with `show counters`, not with `show {object}`"
                )));
            }
            let mut rows = daemon::show(&socket::find(arguments.socket.as_deref())?, object)?;
            if object == Object::Tunnels {
                owners::fill_in(Path::new("/proc"), &mut rows);
            }
            if json {
                writeln!(out, "{:#}", serde_json::Value::from(rows))?;
                return Ok(());
            }
            if object == Object::Tunnels {
                owners::leave_out_sockets(&mut rows);
            }
            if object == Object::Counters && !all {
                rows.retain(|row| row["value"] != 0);
            }
            table::print(out, object.name(), object.keys(), &rows)?;
        }
        &Command::Verify { json } => {
            let rows = daemon::verify(&socket::find(arguments.socket.as_deref())?)?;
            if json {
                writeln!(out, "{:#}", serde_json::Value::from(rows.clone()))?;
            } else if !rows.is_empty() {
                table::print(out, "differences", &["what", "difference"], &rows)?;
            }
            if !rows.is_empty() {
                return Err(Failure::Differences(rows.len()));
            }
        }
        Command::Peer { command: PeerCommand::Weight { name, weight: Weight(weight) } } => {
            daemon::weigh(&socket::find(arguments.socket.as_deref())?, name, *weight)?;
        }
        Command::Doctor { config, json } => {
            doctor::run(out, config.as_deref(), arguments.socket.as_deref(), *json)?;
        }
        &Command::Monitor { json } => {
            let socket = socket::find(arguments.socket.as_deref())?;
            for event in daemon::monitor(&socket)? {
                let event = event?;
                if json {
                    writeln!(out, "{event}")?
                } else {
                    monitor::print(out, &event)?
                }
                out.flush()?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Daemon(text) => f.write_str(text),
            Self::Differences(1) => f.write_str("1 difference"),
            Self::Differences(count) => write!(f, "{count} differences"),
            Self::Wrong(1) => f.write_str("1 thing is wrong"),
            Self::Wrong(count) => write!(f, "{count} things are wrong"),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
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

    #[test]
    fn all_is_refused_where_it_means_nothing() {
        let arguments = Arguments::parse_from(["l2ctl", "show", "rules", "--all"]);
        let failure = run(&arguments, &mut Vec::new()).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)), "{failure}");
    }
}
