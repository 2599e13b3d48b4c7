//! `l2relay`: offers its machine's network ports to controls on the same Ethernet segment.

mod actions;
mod answer;
mod arrivals;
mod by_hand;
mod capture;
mod complaint;
mod config;
mod cuts;
mod daemon;
mod failure;
mod fast_path;
mod forwarding;
mod interfaces;
mod metrics;
mod outlets;
mod own_routes;
mod ports;
mod quiet;
mod reload;
mod remembered;
mod routes;
mod shortcuts;
mod source;
mod trace;
mod transits;
mod wire;

use clap::Parser;
use config::Settings;
use daemon::Daemon;
use failure::Failure;
use l2link_os::confine::forbid_core_dumps;
use l2link_pages::{Page, Section};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The relay daemon: offers network ports of this machine to controls on the same Ethernet segment.
///
/// Its configuration says which control may have which port. It sends up what the programs of controls listen for, and puts the
/// routes of their routing daemons into this machine's kernel, which forwards by them.
#[derive(Debug, Parser)]
#[command(name = "l2relay", version)]
struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", default_value = "/etc/l2link/relay.toml")]
    config: PathBuf,
    /// Read the configuration, say whether it is right, and exit
    #[arg(long)]
    check: bool,
    /// Record everything that the relay decides by, for l2replay(8): the keys of the link and every packet are in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    record: Option<PathBuf>,
}

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
                (
                    "SIGTERM, SIGINT",
                    "Take leave of the controls, remove routes, addresses and discards from the kernel, and end.",
                ),
                (
                    "SIGUSR2",
                    "End, and leave everything to a successor: the kernel goes on forwarding by the routes, and answers for \
                     no control. This is how the service is restarted and upgraded.",
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
                     packet. Parts can be named, as in relay::dispatch=trace.",
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
                ("Needed", "CAP_NET_ADMIN and CAP_NET_RAW."),
                (
                    "Given up",
                    "Once it has started: all other capabilities (but CAP_DAC_OVERRIDE, if its configuration is \
                     somebody else's), system calls that it has no use for, core dumps, and more than that by any \
                     program that it starts. It writes below /proc/sys/net, the folders of its configuration, its command socket and its key log, and into its recording only.",
                ),
            ],
        },
        Section {
            title: "FILES",
            entries: &[
                ("/etc/l2link/relay.toml", "The configuration, l2relay.toml(5)."),
                ("/run/l2link/relay.sock", "The command socket, for l2ctl(8)."),
                (
                    "FILE of --record",
                    "The recording, for l2replay(8), with mode 0600. A file that is there is kept as FILE.old. Whoever reads it has \
                     the keys of the link and every packet; it grows with the traffic, and ends when the disk is full, as the \
                     log then says.",
                ),
                ("/etc/default/l2relay", "Environment of the service, such as RUST_LOG."),
                (
                    "/etc/iproute2/rt_protos.d/l2link.conf",
                    "The name by which ip route shows the routes of l2relay.",
                ),
            ],
        },
    ],
    see_also: &["l2relay.toml(5)", "l2ctl(8)", "l2top(8)", "l2replay(8)", "l2control(8)"],
};

fn main() -> ExitCode {
    let arguments = l2link_pages::parse::<Arguments>(&PAGE);
    l2link_os::log_output::begin("info");
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    forbid_core_dumps()?;
    let settings = Settings::load(&arguments.config)?;
    for warning in &settings.warnings {
        log::warn!(target: "relay::config", "{warning}");
    }
    if arguments.check {
        // As of a daemon whose output goes to nobody.
        let _ = writeln!(io::stdout(), "{}: ok", arguments.config.display());
        return Ok(());
    }
    Daemon::start(settings, arguments.config.clone(), arguments.record.as_deref())?.run()
}

#[expect(clippy::print_stderr, reason = "the one place where an error reaches the user of the command")]
fn report(failure: &Failure) {
    eprintln!("error: {failure}");
}
