//! `l2control`: the control daemon.
//!
//! A thin shell around `control-core`: it reads the configuration, opens what the kernel offers, and carries frames,
//! looks and actions between the two.

mod actions;
mod api;
mod by_hand;
mod capture;
mod config;
mod crossings;
mod daemon;
mod fast_path;
mod files;
mod keeper;
mod kernel_settings;
mod link_interface;
mod metrics;
mod namespaces;
mod packets;
mod rate_limit;
mod ready;
mod reload;
mod routes;
mod source;
mod symbol_interface;
mod symbol_note;
mod symbols;
mod trigger;
mod way_back;

use clap::Parser;
use config::Settings;
use core::error::Error;
use l2link_os::RecordFile;
use l2link_os::config_file::ConfigError;
use l2link_os::confine::{Confinement, forbid_core_dumps};
use l2link_os::privileges::{self, Capability};
use l2link_os::signals::Signals;
use l2link_pages::{Page, Section};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The control daemon: gives programs on this machine the network ports of relays.
///
/// Each port that its configuration names appears as a symbol, a network interface or an address. What programs listen for there,
/// and their routes if the configuration says so, is told to the relay for as long as the sockets and routes live.
#[derive(Debug, Parser)]
#[command(name = "l2control", version)]
struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", default_value = "/etc/l2link/control.toml")]
    config: PathBuf,
    /// Read the configuration, say whether it is right, and exit.
    #[arg(long)]
    check: bool,
    /// Record everything that the control decides by, for l2replay(8): the keys of the link and every packet are in FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    record: Option<PathBuf>,
}

/// What it cannot do without: interfaces and addresses; packet sockets; network namespaces, tracefs and FUSE.
const CAPABILITIES: &[Capability] = &[Capability::NetAdmin, Capability::NetRaw, Capability::SysAdmin];

/// What is logged unless `RUST_LOG` says otherwise. The library of files warns of each request that it leaves out.
const LOG_FILTER: &str = "info,fuser=error";

/// What the man page tells besides the command line.
const PAGE: Page = Page {
    sections: &[
        Section {
            title: "SIGNALS",
            entries: &[
                (
                    "SIGHUP",
                    "Read the configuration again, and do what differs; if anything in it is wrong, nothing. As l2ctl reload, \
                     with the log for an answer.",
                ),
                ("SIGTERM, SIGINT", "Remove every symbol, give the ports back, and end."),
                (
                    "SIGUSR2",
                    "End, and leave everything to a successor: symbols stay, with carrier, addresses and routes, for \
                     keep_symbols_ms. This is how the service is restarted and upgraded.",
                ),
            ],
        },
        Section {
            title: "EXIT STATUS",
            entries: &[
                ("0", "Stopped by a signal, or, with --check, the configuration can be used."),
                ("1", "Something of the system could not be set up, or the event loop broke."),
                ("2", "The command line or the configuration is wrong."),
            ],
        },
        Section {
            title: "ENVIRONMENT",
            entries: &[
                (
                    "RUST_LOG",
                    "What is logged to standard error: info by default; debug adds every control message, trace every \
                     packet. Parts can be named, as in control::detection=debug.",
                ),
                (
                    "L2LINK_SECCOMP",
                    "kill: a system call that is not foreseen ends the daemon, in place of failing, for tests; off: none is \
                     refused, for measurements.",
                ),
            ],
        },
        Section {
            title: "PRIVILEGES",
            entries: &[
                ("Needed", "CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN."),
                (
                    "Given up",
                    "Once it has started: all other capabilities (but CAP_DAC_OVERRIDE, if its configuration is \
                     somebody else's), system calls that it has no use for, core dumps, and more than that by any \
                     program that it starts.",
                ),
            ],
        },
        Section {
            title: "FILES",
            entries: &[
                ("/etc/l2link/control.toml", "The configuration, l2control.toml(5)."),
                ("/run/l2link/control.sock", "The command socket, for l2ctl(8)."),
                (
                    "/run/l2link/control.sock.keeper",
                    "The socket of the keeper, which holds the symbols in between.",
                ),
                (
                    "FILE of --record",
                    "The recording, for l2replay(8), with mode 0600. A file that is there is kept as FILE.old. Whoever reads it has \
                     the keys of the link and every packet; it grows with the traffic, and ends when the disk is full, as the \
                     log then says.",
                ),
                ("/etc/default/l2control", "Environment of the service, such as RUST_LOG."),
            ],
        },
    ],
    see_also: &["l2control.toml(5)", "l2ctl(8)", "l2top(8)", "l2replay(8)", "l2relay(8)"],
};

/// Exit code for a configuration that cannot be used.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    // The daemon starts its own program again: it must not look at the configuration, nor hold anything yet.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == l2link_os::keeper::WORD) {
        return exit_code(l2link_os::keeper::run(words).map_err(Into::into));
    }
    let arguments = l2link_pages::parse::<Arguments>(&PAGE);
    l2link_os::log_output::begin(LOG_FILTER);
    exit_code(run(&arguments))
}

fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_configuration = error.downcast_ref::<ConfigError>().is_some();
            tell(error.as_ref());
            if bad_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    forbid_core_dumps()?;
    let settings = Settings::load(&arguments.config)?;
    if arguments.check {
        if let Some((error, _)) = settings.refused.into_iter().next() {
            return Err(error.into());
        }
        writeln!(std::io::stdout(), "{}: ok", arguments.config.display())?;
        return Ok(());
    }
    privileges::require(CAPABILITIES)?;
    // Before any thread is started, so that all inherit the mask.
    let signals = Signals::open()?;
    let (record, writer) = arguments.record.as_deref().map(RecordFile::create).transpose()?.unzip();
    let daemon = daemon::Daemon::new(settings, arguments.config.clone(), signals, record)?;
    Confinement::new(CAPABILITIES)
        .using(&arguments.config)
        .with_namespaces()
        .with_bpf(daemon.cache.is_some() || daemon.trigger.is_bpf())
        .begin()?;
    if let Some(writer) = writer {
        writer.start()?;
    }
    l2link_os::trigger::sweep();
    daemon.run()?;
    Ok(())
}

/// Prints an error with its causes, unless the error has said them itself.
fn tell(error: &dyn Error) {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    // Nothing is left to be done if this fails, too.
    let _ = writeln!(std::io::stderr(), "{text}");
}
