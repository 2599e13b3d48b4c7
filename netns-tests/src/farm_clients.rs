//! Clients of a farm: who is served by whom, and long downloads from every server.

use crate::address::PORT_V4;
use crate::download::Download;
use crate::farm::{Farm, name_of};
use crate::netns::Netns;
use crate::program::{SLOW, is_slow, spread};
use crate::wait::SOON;
use std::collections::BTreeMap;
use std::time::Duration;

/// Downloads of one length, each with the server from which it comes.
#[derive(Debug)]
pub struct Downloads {
    all: Vec<(usize, Download)>,
    bytes: u64,
}

/// What downloads there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Servers from which they come.
    pub servers: &'a [usize],
    /// The address that is asked, as in a URL.
    pub address: &'a str,
    /// Addresses that ask, in turn; none for whichever the client chooses.
    pub clients: &'a [&'a str],
    /// How long they take.
    pub seconds: u64,
}

impl Farm {
    /// Asks the nginxes at the port so often by new connections; how often each answered.
    ///
    /// # Panics
    /// When a request fails.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, count: u64) -> BTreeMap<String, u64> {
        spread(&self.lab.client, &format!("tcp {PORT_V4} 80 {count}"))
    }

    /// Downloads from `/slow` of an address that take so many seconds, at least one from each of these servers.
    ///
    /// # Panics
    /// When some server gets none of many.
    #[must_use]
    #[track_caller]
    pub fn downloads(&self, servers: &[usize], from: &Netns, address: &str, seconds: u64) -> Downloads {
        self.downloads_by(from, Wanted { servers, address, clients: &[], seconds }, &[0], |_, _| 0)
    }

    /// Downloads from `/slow` of which each server has at least one by each way. `way_of` says by which way the flow of a
    /// client's address and port goes.
    ///
    /// # Panics
    /// When of many none is of some server and way.
    #[must_use]
    #[track_caller]
    pub fn downloads_by(
        &self,
        from: &Netns,
        wanted: Wanted<'_>,
        ways: &[usize],
        way_of: impl Fn(&str, u16) -> usize,
    ) -> Downloads {
        let bytes = SLOW * wanted.seconds;
        let kinds = || wanted.servers.iter().flat_map(|server| ways.iter().map(|way| (*server, *way)));
        let mut all: Vec<((usize, usize), Download)> = Vec::new();
        let mut clients = wanted.clients.iter().cycle();
        // Ports tell flows apart, whatever their IP version.
        let first = if wanted.address.starts_with('[') { FIRST_PORT + ATTEMPTS } else { FIRST_PORT };
        for port in first..first + ATTEMPTS {
            let mut curl = from.command("curl");
            curl.args(["-sSf", "--local-port", &port.to_string(), "-r", &format!("0-{}", bytes - 1)]);
            let client = clients.next().copied().unwrap_or_default();
            if !client.is_empty() {
                curl.args(["--interface", &format!("host!{client}")]);
            }
            let url = format!("http://{}/slow", wanted.address);
            let download = Download::checked(curl.arg(url), is_slow);
            download.await_begin();
            let kind = (self.owner(port).expect("a server of a download"), way_of(client, port));
            // Two of each are enough; the others end here.
            if all.iter().filter(|(other, _)| *other == kind).count() < 2 {
                all.push((kind, download));
            }
            if kinds().all(|kind| all.iter().any(|(other, _)| *other == kind)) {
                let all = all.into_iter().map(|((server, _), download)| (server, download)).collect();
                return Downloads { all, bytes };
            }
        }
        let kinds: Vec<_> = all.iter().map(|(kind, _)| kind).collect();
        panic!("of many downloads none came to some server by some way: {kinds:?}");
    }

    /// The server that has a connection of this client's port.
    #[must_use]
    fn owner(&self, client_port: u16) -> Option<usize> {
        (0..self.count()).find(|server| {
            let line = format!("ss -Htn state established sport = :80 and dport = :{client_port}");
            !self.programs(*server).ok(&line).is_empty()
        })
    }
}

impl Downloads {
    /// Waits until all of them have ended well.
    ///
    /// # Panics
    /// When one breaks off, is cut short, or does not end.
    #[track_caller]
    pub fn finish(self) {
        self.finish_but(usize::MAX);
    }

    /// Waits until all of them have ended well but those from one server, which are left alone.
    ///
    /// # Panics
    /// When one breaks off, is cut short, or does not end.
    #[track_caller]
    pub fn finish_but(self, dead: usize) {
        // They may have begun just now.
        let patience = Duration::from_secs(self.bytes / SLOW) + 2 * SOON;
        for (server, download) in self.all.into_iter().filter(|(server, _)| *server != dead) {
            let progress = download.finish(patience);
            assert_eq!((progress.bytes, progress.intact), (self.bytes, true), "from {}", name_of(server));
        }
    }
}

/// Each server has about its share of the answers: within six standard deviations of a binomial distribution. A share of 0
/// is none at all.
///
/// # Panics
/// When one has not.
#[track_caller]
pub fn expect_shares(counts: &BTreeMap<String, u64>, shares: &[u64]) {
    let (all, sum) = (counts.values().sum::<u64>() as f64, shares.iter().sum::<u64>() as f64);
    for (server, share) in shares.iter().enumerate() {
        let got = counts.get(&name_of(server)).copied().unwrap_or(0) as f64;
        let share = *share as f64 / sum;
        let (expected, tolerance) = (all * share, 6.0 * (all * share * (1.0 - share)).sqrt());
        let fair = (got - expected).abs() <= tolerance;
        assert!(fair, "{} is to have {expected:.0} ± {tolerance:.0} of {counts:?}", name_of(server));
    }
}

/// Below the ephemeral ports of other clients' flows, above those of servers.
const FIRST_PORT: u16 = 20_000;
const ATTEMPTS: u16 = 200;
