//! Small servers for every way in which a program can open a port, and a client for them.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::wait::SOON;

/// Starts a server that sends back what it gets, and waits until it listens. `arguments`: `tcp|udp|mptcp ADDRESS PORT`
/// and any of `reuseport`, `v6only`, `dual`, `device=NAME`, `fork` (the listener is shared with a child process).
///
/// # Panics
/// When it does not come to listen.
#[must_use]
#[track_caller]
pub fn echo_server(netns: &Netns, arguments: &str) -> Process {
    let process = netns.python(include_str!("echo_server.py"), &split(arguments));
    process.await_log("listening", SOON);
    process
}

/// Sends bytes to a server and compares what comes back. `arguments`: `tcp|udp ADDRESS PORT BYTES`.
#[must_use]
pub fn echo(netns: &Netns, arguments: &str) -> Finished {
    netns.run_python(include_str!("echo_client.py"), &split(arguments))
}

fn split(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}
