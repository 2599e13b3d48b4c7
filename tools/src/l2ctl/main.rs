//! `l2ctl`: looks into a running `l2relay` or `l2control` through its API socket, and changes it by hand.
//!
//! Everything that it prints comes from the daemon as JSON; [`columns`] knows the documented order of the keys and their
//! units, [`table`] lays rows out, [`topology`] draws, [`trace`] explains, [`capture`] copies packets, [`bundle`] gathers, [`keys`]
//! makes keys, [`socket`] finds the daemon, [`owners`] the processes behind tunnels, [`process`] what a process holds, [`by_hand`] has
//! the commands that change something, [`reload`] has it read its file again. Exit code 0: done;
//! 1: the daemon cannot be reached or refused; 2: the command line is wrong; 4: it is not for this user.

mod bundle;
mod by_hand;
mod calendar;
mod capture;
mod columns;
mod daemon;
mod doctor;
mod keys;
mod monitor;
mod owners;
mod process;
mod reload;
mod socket;
mod table;
mod topology;
mod trace;
mod watch;

use by_hand::{PeerCommand, RouteCommand, RuleCommand, SymbolCommand};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use columns::Object;
use l2link_pages::{Page, Section};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Look into a running l2relay or l2control, and change it by hand.
#[derive(Debug, Parser)]
#[command(name = "l2ctl", version)]
struct Arguments {
    /// API socket of the daemon; several for topology and support-bundle [default: the one of /run/l2link/{relay,control}.sock that exists]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Vec<PathBuf>,
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
        /// Look again and again, every second or so many: in place on a terminal, with what changed in reverse; elsewhere a block
        /// for each look, and with --json a line
        #[arg(
            long,
            value_name = "SECONDS",
            num_args = 0..=1,
            default_missing_value = "1",
            allow_negative_numbers = true,
            value_parser = watch::interval
        )]
        watch: Option<Duration>,
    },
    /// Print who has which port of whom, as seen by the daemon, or by several, each given by --socket
    Topology {
        #[command(flatten)]
        form: topology::Form,
    },
    /// Explain what would become of a packet at a relay's port, of a socket or of a program's sockets at a control, or of a route,
    /// and change nothing
    Trace {
        /// tcp from 192.0.2.9:40000 to 192.0.2.1:80 [port eth1]; icmp, udp, ip ospf, arp, ethertype 0x88cc in the same way; tcp
        /// 0.0.0.0:80 for a socket; pid 812, pid 812/6 or program nginx for those of processes; 198.51.100.0/24 for a route
        #[arg(required = true, value_name = "WHAT")]
        what: Vec<String>,
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
    /// Compare what the daemon means with what its kernel has; exit code 1 and the differences, if there are any
    Verify {
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
    /// Rules of a control by hand, beside those for its sockets
    Rule {
        #[command(subcommand)]
        command: RuleCommand,
    },
    /// Symbols of a control by hand, beside those of its configuration
    Symbol {
        #[command(subcommand)]
        command: SymbolCommand,
    },
    /// Routes by hand: of a control beside those of its kernel, of a relay beside those of its controls
    Route {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Change how a peer is treated: at a relay one of its controls, at a control a relay
    Peer {
        #[command(subcommand)]
        command: PeerCommand,
    },
    /// Have the daemon read its configuration again, and do what differs; nothing is changed if anything in it is wrong
    Reload {
        /// Only print what would change
        #[arg(long)]
        check: bool,
        /// Go back to the earlier configuration after this time (60s, 5m, 1h), unless `l2ctl confirm` comes first
        #[arg(long, value_name = "TIME", value_parser = reload::time, conflicts_with = "check")]
        confirm: Option<Duration>,
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
    /// Stay with the configuration of `reload --confirm`
    Confirm,
    /// Look for what keeps this machine's daemon from working well, and tell what mends it; exit code 1 if something is wrong
    Doctor {
        /// Configuration file to look at [default: that of the daemon at --socket, else those of
        /// /etc/l2link/{relay,control}.toml that exist, else those by which daemons run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
    /// Gather all that tells how this machine's daemons are into one file, without secrets, for who has to find out what is wrong
    SupportBundle {
        /// The file, a compressed tar archive, which must not exist; "-" is standard output [default: l2link-HOST-TIME.tar.gz in
        /// this folder]
        file: Option<PathBuf>,
        /// Configuration file to take in; may be repeated [default: those of the daemons at --socket, else those of
        /// /etc/l2link/{relay,control}.toml that exist, else those by which daemons run]
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
    },
    /// Print what happens, as it happens, until interrupted
    Monitor {
        /// Print JSON: one object a line
        #[arg(long)]
        json: bool,
    },
    /// Copy packets as they pass through the daemon into a file for Wireshark or tcpdump, until interrupted: what its kernel forwards
    /// does not
    ///
    /// At a relay they are seen at its ports and in the tunnels, at a control at its symbols and in the tunnels, readable whatever
    /// protects the link. The file is a pcapng; each of these sides is an interface of it, and a packet that was dropped has the reason
    /// as its comment. Packets that are not read fast enough are lost to the capture, never to their receivers, and counted.
    Capture {
        #[command(flatten)]
        form: capture::Form,
    },
    /// Print a new private key for security = "keys"; run it with umask 077
    Genkey,
    /// Print the public key of the private one that is read from standard input
    Pubkey,
    /// Print a new shared key, for `psk_file`; run it with umask 077
    Genpsk,
    /// Print a script by which a shell completes the words of l2ctl
    Completions {
        /// The shell
        shell: l2link_pages::Shell,
    },
}

/// A table, and how it is to be printed.
#[derive(Debug, Clone, Copy)]
struct Look {
    object: Object,
    json: bool,
}

/// Why `l2ctl` ends without having done what it was asked to do.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The daemon cannot be reached, or refused: exit code 1.
    Daemon(String),
    /// This user may not do that: exit code 4.
    Denied(String),
    /// The kernel has something else than the daemon means: exit code 1.
    Differences(usize),
    /// So many findings of `doctor` are wrong: exit code 1.
    Wrong(usize),
    /// The output cannot be written: exit code 1, or 0 if the reader has simply left.
    Output(io::Error),
}

/// What the man page tells besides the command line.
const PAGE: Page = Page {
    sections: &[
        Section {
            title: "EXIT STATUS",
            entries: &[
                ("0", "Done; with verify and doctor: nothing is wrong."),
                (
                    "1",
                    "The daemon cannot be reached or refused; verify found differences; doctor found something wrong; the \
                     output, or the file of support-bundle or capture, cannot be written.",
                ),
                ("2", "The command line is wrong, or it is not clear which daemon is meant."),
                (
                    "4",
                    "This user may not use the daemon, or not for this: [api] of its configuration says who may.",
                ),
            ],
        },
        Section {
            title: "FILES",
            entries: &[
                ("/run/l2link/relay.sock, /run/l2link/control.sock", "The command sockets of the daemons."),
                (
                    "/etc/l2link/relay.toml, /etc/l2link/control.toml",
                    "The configurations at which doctor looks, and which support-bundle takes in, unless others are named.",
                ),
                ("/usr/share/doc/l2link/book/reference/json.md", "The keys of what --json prints."),
            ],
        },
    ],
    see_also: &["l2relay(8)", "l2control(8)", "l2top(8)"],
};

fn main() -> ExitCode {
    let arguments = l2link_pages::try_parse::<Arguments>(&PAGE).unwrap_or_else(|error| refuse(&error));
    let Err(failure) = run(&arguments, &mut io::stdout().lock()) else { return ExitCode::SUCCESS };
    if matches!(&failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to tell if this fails too.
    let _ = writeln!(io::stderr(), "error: {failure}");
    ExitCode::from(match failure {
        Failure::Usage(_) => 2,
        // As LSB has it for insufficient privilege.
        Failure::Denied(_) => 4,
        Failure::Daemon(_) | Failure::Differences(_) | Failure::Wrong(_) | Failure::Output(_) => 1,
    })
}

/// Ends for a command line that is wrong. A word that is none of a command's, or is missing, is answered by those that are.
fn refuse(error: &clap::Error) -> ! {
    let given = std::env::args_os().skip(1);
    let (command, words) = right_words(given.map(|word| word.to_string_lossy().into_owned()));
    let asks = matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::MissingRequiredArgument);
    if asks && !words.is_empty() {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "{error}\n{command} knows: {words}");
        std::process::exit(2);
    }
    error.exit()
}

/// The last command that these words name, and the words that may follow it.
fn right_words(words: impl Iterator<Item = String>) -> (String, String) {
    let mut command = Arguments::command();
    for word in words {
        if let Some(next) = command.find_subcommand(&word) {
            command = next.clone();
        }
    }
    let verbs = command.get_subcommands().map(|verb| verb.get_name().to_owned());
    let values = command.get_positionals().flat_map(clap::Arg::get_possible_values);
    let follow: Vec<String> = verbs.chain(values.map(|value| value.get_name().to_owned())).collect();
    (command.get_name().to_owned(), follow.join(", "))
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let find = || socket::find(&arguments.socket);
    match &arguments.command {
        &Command::Show { object, json, all, watch } => {
            if all && object != Object::Counters {
                return Err(Failure::Usage(format!(
                    "--all goes with `show counters`, not with `show {object}`"
                )));
            }
            let (socket, what) = (find()?, Look { object, json });
            let look = || rows(&socket, what, all);
            match watch {
                Some(interval) => watch::run(out, &what, interval, look)?,
                None if json => writeln!(out, "{:#}", serde_json::Value::from(look()?))?,
                None => table::print(out, object.name(), object.keys(), &look()?)?,
            }
        }
        Command::Topology { form } => topology::run(out, &arguments.socket, form)?,
        Command::Trace { what, json } => trace::run(find, what, *json, out)?,
        &Command::Verify { json } => {
            let rows = daemon::verify(&find()?)?;
            if json {
                writeln!(out, "{:#}", serde_json::Value::from(rows.clone()))?;
            } else if !rows.is_empty() {
                table::print(out, "differences", &["what", "difference"], &rows)?;
            }
            if !rows.is_empty() {
                return Err(Failure::Differences(rows.len()));
            }
        }
        Command::Rule { command } => by_hand::rule(&find()?, command, out)?,
        Command::Symbol { command } => by_hand::symbol(&find()?, command, out)?,
        Command::Route { command } => by_hand::route(&find()?, command, out)?,
        Command::Peer { command } => by_hand::peer(&find()?, command, out)?,
        Command::Doctor { config, json } => {
            doctor::run(out, config.as_deref(), socket::one(&arguments.socket)?, *json)?;
        }
        Command::SupportBundle { file, config } => {
            bundle::run(out, file.as_deref(), config, &arguments.socket)?;
        }
        Command::Capture { form } => capture::run(&find()?, form)?,
        Command::Genkey => keys::genkey(out)?,
        Command::Pubkey => keys::pubkey(io::stdin().lock(), out)?,
        Command::Genpsk => keys::genpsk(out)?,
        &Command::Reload { check, confirm, json } => reload::reload(&find()?, check, confirm, json, out)?,
        Command::Confirm => reload::confirm(&find()?)?,
        &Command::Completions { shell } => l2link_pages::complete::<Arguments>(shell, out)?,
        &Command::Monitor { json } => {
            let socket = find()?;
            monitor::end_with_reader()?;
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

/// The rows of a table as they are printed. For people, what says little to them is left out.
fn rows(socket: &Path, Look { object, json }: Look, all: bool) -> Result<Vec<serde_json::Value>, Failure> {
    let mut rows = daemon::show(socket, object)?;
    if object == Object::Tunnels {
        owners::fill_in(Path::new("/proc"), &mut rows);
    }
    if json {
        return Ok(rows);
    }
    if object == Object::Tunnels {
        owners::leave_out_sockets(&mut rows);
    }
    by_hand::leave_out_usual(&mut rows);
    if object == Object::Counters && !all {
        rows.retain(|row| row["value"] != 0);
    }
    Ok(rows)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Daemon(text) | Self::Denied(text) => f.write_str(text),
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

    #[test]
    fn command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_word_is_answered_by_the_right_ones() {
        let words = |line: &str| right_words(line.split(' ').map(str::to_owned));
        assert_eq!(words("rule ad eth1"), ("rule".to_owned(), "add, del, list".to_owned()));
        assert!(words("show --json").1.starts_with("device, peers, ports"));
        assert_eq!(words("peer weight"), ("weight".to_owned(), String::new()));
        assert_eq!(words("peer drian"), ("peer".to_owned(), "weight, drain, forget".to_owned()));
        assert!(words("dance").1.starts_with("show, topology, trace, verify, rule, symbol, route, peer"));
    }

    #[test]
    fn all_is_refused_where_it_means_nothing() {
        let arguments = Arguments::parse_from(["l2ctl", "show", "rules", "--all"]);
        let failure = run(&arguments, &mut Vec::new()).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)), "{failure}");
    }
}
