//! Clients that find out which of several servers serves them: a web server's page or a datagram's answer is its name.

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::SOON;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Starts a server that answers every datagram to a port, v4 and v6, with its name, and waits until it listens.
///
/// # Panics
/// When it does not come to listen.
#[must_use]
#[track_caller]
pub fn named_server(netns: &Netns, port: u16, name: &str) -> Process {
    let process = netns.python(include_str!("named_server.py"), &[&port.to_string(), name]);
    let _ = process.await_log("listening", SOON);
    process
}

/// Asks from new local ports, one after the other, and counts the answers by name. `arguments`:
/// `tcp|udp ADDRESS PORT COUNT [LENGTH]`: pages at `/` by TCP, datagrams of a length by UDP.
///
/// # Panics
/// When a request fails.
#[must_use]
#[track_caller]
pub fn spread(from: &Netns, arguments: &str) -> BTreeMap<String, u64> {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let counts = from.run_python(include_str!("spread.py"), &arguments).expect_success();
    serde_json::from_str(&counts).expect("counts")
}

/// A running client that asks every few milliseconds from a new local port.
#[derive(Debug)]
pub struct Prober(Process);

/// What a [`Prober`] has seen.
#[derive(Debug, Clone)]
pub struct Probes {
    /// Requests that were answered, by the answer.
    pub answered: BTreeMap<String, u64>,
    /// When each request was sent that was not answered within two seconds, in seconds since 1970.
    pub lost: Vec<f64>,
}

impl Prober {
    /// Starts it, and waits for the first answers. `arguments`: `tcp|udp ADDRESS PORT`.
    ///
    /// # Panics
    /// When none come.
    #[must_use]
    #[track_caller]
    pub fn start(from: &Netns, arguments: &str) -> Self {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let process = from.python(include_str!("prober.py"), &arguments);
        let _ = process.await_log("answered 20", SOON);
        Self(process)
    }

    /// Ends it, after it has waited for its last answers.
    ///
    /// # Panics
    /// When it does not tell.
    #[must_use]
    #[track_caller]
    pub fn end(mut self) -> Probes {
        self.0.signal(Signal::SIGTERM);
        let _ = self.0.wait(SOON);
        let log = self.0.log();
        let last: Value = serde_json::from_str(log.lines().last().unwrap_or_default()).expect("a summary");
        Probes {
            answered: serde_json::from_value(last["answered"].clone()).expect("counts"),
            lost: serde_json::from_value(last["lost"].clone()).expect("times"),
        }
    }
}

impl Probes {
    /// Milliseconds from `since` to the last request that was lost, below 0 if none was lost after it.
    #[must_use]
    pub fn dark_ms(&self, since: SystemTime) -> f64 {
        let since = since.duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64();
        self.lost.last().map_or(-1.0, |last| (last - since) * 1e3)
    }
}

/// Running clients with one long-lived UDP socket each, as QUIC has, that ask every 50 ms.
#[derive(Debug)]
pub struct UdpFlows(Process);

impl UdpFlows {
    /// Starts so many, and waits until each has been answered.
    ///
    /// # Panics
    /// When one is not.
    #[must_use]
    #[track_caller]
    pub fn start(from: &Netns, address: &str, port: u16, flows: usize) -> Self {
        let arguments = [address, &port.to_string(), &flows.to_string()];
        let process = from.python(include_str!("udp_flows.py"), &arguments);
        let _ = process.await_log("all answered", SOON);
        Self(process)
    }

    /// Who answers each flow, after some more rounds.
    ///
    /// # Panics
    /// When no round is completed.
    #[must_use]
    #[track_caller]
    pub fn servers(&self) -> Vec<String> {
        let round = |log: &str| log.lines().rev().find(|line| line.starts_with('[')).map(str::to_owned);
        let before = self.0.log().lines().count();
        let log = crate::eventually(SOON, "five rounds of the flows", || match self.0.log() {
            log if log.ends_with('\n') && log.lines().count() > before + 5 => Ok(log),
            log => Err(round(&log).unwrap_or_default()),
        });
        serde_json::from_str(&round(&log).expect("a round")).expect("names")
    }
}
