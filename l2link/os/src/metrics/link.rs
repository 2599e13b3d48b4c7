//! What both daemons tell: of themselves and of their link.

use super::{Exposition, Metric};
use frames::DropReason;
use l2link::{Link, PeerInfo, PeerState, Time};

/// The daemon itself.
#[derive(Debug, Clone, Copy)]
pub struct Daemon<'a> {
    /// Its configured name.
    pub name: &'a str,
    /// `relay` or `control`.
    pub role: &'a str,
    /// Version of the program.
    pub version: &'a str,
}

/// Adds what both daemons have: themselves, their link, and their drops.
pub fn add_daemon(
    exposition: &mut Exposition,
    daemon: Daemon<'_>,
    link: &Link,
    drops: &[(DropReason, u64)],
    now: Time,
) {
    exposition.add(Metric::Daemon, &[daemon.name, daemon.role, daemon.version], 1);
    for (kind, rx, tx) in link.counters().kinds() {
        for (direction, traffic) in [("rx", rx), ("tx", tx)] {
            exposition.add(Metric::LinkFrames, &[direction, kind], traffic.frames);
            exposition.add(Metric::LinkBytes, &[direction, kind], traffic.bytes);
        }
    }
    exposition.add_each(Metric::Drops, drops.iter().map(|(reason, count)| (reason.name(), *count)));
    exposition.add(Metric::SessionRtt, &[], link.round_trips());
    add_peers(exposition, &link.peers(), now);
}

fn add_peers(exposition: &mut Exposition, peers: &[PeerInfo], now: Time) {
    let count = |is: fn(PeerState) -> bool| peers.iter().filter(|peer| is(peer.state)).count() as u64;
    exposition.add(Metric::Peers, &["up"], count(|state| state == PeerState::Up));
    exposition.add(Metric::Peers, &["down"], count(|state| state == PeerState::Down));
    exposition.add(Metric::Peers, &["refused"], count(|state| matches!(state, PeerState::Refused(_))));
    for peer in peers {
        // Those that are refused may have the name of another one.
        let up = match peer.state {
            PeerState::Up => true,
            PeerState::Down => false,
            PeerState::Refused(_) => continue,
        };
        exposition.add(Metric::PeerUp, &[&peer.name], up);
        if up {
            exposition.add(Metric::SessionAge, &[&peer.name], now - peer.since);
        }
        if let Some(rtt) = peer.rtt {
            exposition.add(Metric::SessionSmoothedRtt, &[&peer.name], rtt);
        }
    }
}
