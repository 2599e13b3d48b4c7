//! [`Tracks`]: where flows of datagrams went.
//!
//! A server's datagram socket tells nothing of its clients, so the relay remembers itself which server each flow has, as long as
//! packets come. Two tables stand behind each other: a flow is noted in the first, and when that is old or full it becomes
//! the second, and the former second goes as a whole. So a flow is remembered for one to two ages after its last packet,
//! and forgetting costs nothing.

use super::ServerId;
use super::hash::FlowId;
use core::time::Duration;
use l2link::Time;
use rustc_hash::FxHashMap;

/// A flow without a packet is remembered for one to two of these: longer than `nf_conntrack_udp_timeout_stream` (120 s) and
/// than the idle times that QUIC's endpoints agree on (30 s as a rule; RFC 9000, 10.1).
const AGE: Duration = Duration::from_secs(120);
/// Flows in one table. With more at once, they are forgotten the earlier.
const FLOWS_MAX: usize = 500_000;

#[derive(Debug, Default)]
pub(super) struct Tracks {
    young: FxHashMap<FlowId, ServerId>,
    old: FxHashMap<FlowId, ServerId>,
    turn_at: Option<Time>,
}

/// Where a flow went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) server: ServerId,
    pub(super) is_old: bool,
}

impl Tracks {
    /// What is known of a flow. An old track is to be noted anew if the flow has a packet now.
    pub(super) fn get(&self, flow: &FlowId) -> Option<Track> {
        if let Some(server) = self.young.get(flow) {
            return Some(Track { server: *server, is_old: false });
        }
        Some(Track { server: *self.old.get(flow)?, is_old: true })
    }

    /// Notes the server of a flow.
    pub(super) fn note(&mut self, flow: FlowId, server: ServerId) {
        if self.young.len() >= FLOWS_MAX {
            self.turn();
        }
        self.young.insert(flow, server);
    }

    /// The servers of all flows.
    pub(super) fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.young.values().chain(self.old.values()).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.turn_at
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.turn_at.is_some_and(|at| at <= now) {
            self.turn();
            self.turn_at = None;
        }
        if self.turn_at.is_none() && self.len() > 0 {
            self.turn_at = Some(now + AGE);
        }
    }

    fn turn(&mut self) {
        self.old = core::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::PortId;

    #[test]
    fn a_flow_is_forgotten_when_it_was_idle() {
        let (mut tracks, server) = (Tracks::default(), ServerId(1));
        let flow =
            |port| FlowId::new(PortId(1), 17, ([10, 0, 0, 1].into(), 53), ([10, 0, 0, 2].into(), port));
        let age = |n: u32| Time(0) + AGE * n;
        tracks.note(flow(1), server);
        tracks.note(flow(2), server);
        tracks.handle_timeout(Time(0));
        for n in 1..5 {
            tracks.handle_timeout(age(n));
            assert_eq!(tracks.get(&flow(1)), Some(Track { server, is_old: true }));
            tracks.note(flow(1), server);
            assert_eq!(tracks.get(&flow(1)), Some(Track { server, is_old: false }));
            assert_eq!(tracks.poll_timeout(), Some(age(n + 1)));
        }
        assert_eq!(tracks.get(&flow(2)), None);
        tracks.handle_timeout(age(5));
        tracks.handle_timeout(age(6));
        assert_eq!((tracks.len(), tracks.poll_timeout()), (0, None));
    }
}
