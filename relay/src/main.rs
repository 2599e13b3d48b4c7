//! `l2relay`: offers its machine's network ports to controls on the same Ethernet segment.

mod answer;
mod by_hand;
mod complaint;
mod config;
mod daemon;
mod failure;
mod forwarding;
mod interfaces;
mod metrics;
mod outlets;
mod own_routes;
mod ports;
mod quiet;
mod remembered;
mod routes;
mod source;
mod transits;
mod wire;

use clap::Parser;
use config::Settings;
use daemon::Daemon;
use failure::Failure;
use std::path::PathBuf;
use std::process::ExitCode;

/// Offers network ports of this machine to controls on the same Ethernet segment.
#[derive(Debug, Parser)]
#[command(name = "l2relay", version, about)]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration file and exit
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(filter).format_timestamp_millis().init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = Settings::load(&arguments.config)?;
    for warning in &settings.warnings {
        log::warn!(target: "relay::config", "{warning}");
    }
    if arguments.check {
        return Ok(());
    }
    Daemon::start(settings, arguments.config.clone())?.run()
}

#[expect(clippy::print_stderr, reason = "the one place where an error reaches the user of the command")]
fn report(failure: &Failure) {
    eprintln!("error: {failure}");
}
