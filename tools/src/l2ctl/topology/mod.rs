//! `l2ctl topology`: who has which port of whom, as text, JSON, or a drawing for Graphviz or Mermaid.

mod dot;
mod graph;
mod mermaid;
mod tree;

use crate::{Failure, socket};
use clap::Args;
use graph::Graph;
use l2link_os::api::{ApiClient, ClientError};
use l2link_tools::sample::Sample;
use l2link_tools::topology::{Source, Topology};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct Form {
    /// Print a drawing in the language of Graphviz, for example for `dot -Tsvg`
    #[arg(long, group = "form")]
    dot: bool,
    /// Print a drawing in the language of Mermaid, which many wikis show
    #[arg(long, group = "form")]
    mermaid: bool,
    /// Print JSON: an object with stable keys
    #[arg(long, group = "form")]
    json: bool,
}

/// Asks the daemons of these sockets, or those that run here, and prints what follows. One that tells nothing is told of,
/// unless none tells anything.
pub(crate) fn run(out: &mut impl Write, sockets: &[PathBuf], form: &Form) -> Result<(), Failure> {
    let sockets = socket::all(sockets)?;
    let mut told: Vec<_> = sockets.iter().map(|socket| ask(socket)).collect();
    if told.iter().all(Result::is_err)
        && let Some(Err(error)) = told.drain(..).next()
    {
        return Err(error.into());
    }
    let told: Vec<_> = told.into_iter().map(|told| told.map_err(|error| error.to_string())).collect();
    let names: Vec<String> = sockets
        .iter()
        .zip(&told)
        .map(|(socket, told)| {
            let name = told.as_ref().ok().and_then(Sample::name);
            name.map_or_else(|| socket.display().to_string(), str::to_owned)
        })
        .collect();
    let sources = names.iter().zip(&told).map(|(name, told)| Source {
        name,
        sample: told.as_ref().ok(),
        rates: None,
        trouble: told.as_ref().err().map(String::as_str),
    });
    let topology = Topology::new(&sources.collect::<Vec<_>>());
    match form {
        Form { dot: true, .. } => dot::print(out, &Graph::new(&topology))?,
        Form { mermaid: true, .. } => mermaid::print(out, &Graph::new(&topology))?,
        Form { json: true, .. } => {
            let json = serde_json::to_value(&topology).map_err(|error| Failure::Daemon(error.to_string()))?;
            writeln!(out, "{json:#}")?;
        }
        Form { .. } => tree::print(out, &topology)?,
    }
    Ok(())
}

fn ask(socket: &Path) -> Result<Sample, ClientError> {
    Sample::ask(&mut ApiClient::connect(socket)?, Duration::ZERO)
}

/// `rtt 85 µs`.
fn round_trip(rtt_us: Option<u64>) -> Option<String> {
    rtt_us.map(|rtt| format!("rtt {}", crate::columns::cell("rtt_us", &rtt.into())))
}

#[cfg(test)]
mod tests;
