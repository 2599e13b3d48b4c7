//! The fast path beside the daemon: what it is told, and what it has counted.

use crate::daemon::Daemon;
use ::fast_path::{Cache, Counted, Counts, Outlet, tunnel_of};
use frames::data::Tunnel;
use frames::header::EthernetHeader;
use frames::{PortId, SessionIndex};
use l2link::Time;
use relay_core::{Arrival, PortVerdict, Relay};

impl Daemon {
    /// Comes in line with the core, before anything of what changed is told.
    pub(crate) fn follow_fast_path(&mut self, now: Time) {
        let Some(cache) = &mut self.cache else { return };
        // What is captured goes by the daemon.
        let active = !self.captures.is_active();
        cache.follow(self.relay.changes(), active, self.relay.link().fast_peers(), now);
        if cache.is_link_due(now) {
            cache.follow_link(self.wire.fast_link());
        }
        if cache.is_count_due(now) {
            self.take_fast_counts(now);
        }
    }

    /// Has the core count what went the fast way.
    pub(crate) fn take_fast_counts(&mut self, now: Time) {
        let Some(cache) = &mut self.cache else { return };
        for Counted { what, traffic } in cache.take_counts(now) {
            match what {
                Counts::Sent(way) => self.relay.handle_fast_sent(way, &traffic),
                Counts::Received(way) => self.relay.handle_fast_received(way, &traffic),
            }
        }
    }

    /// What is known of the tunnel of a link frame before it is handled.
    pub(crate) fn tunnel_of(&mut self, index: usize) -> Option<(SessionIndex, Tunnel)> {
        self.cache.as_ref().and_then(|_| tunnel_of(self.wire.frame_mut(index)))
    }

    /// The packets that were read at a port are on their way. `drained`: no others wait there.
    pub(crate) fn commit_flows(&mut self, port: PortId, drained: bool) {
        if let Some(cache) = &mut self.cache {
            cache.commit(self.ports.ifindex(port).0, drained);
        }
    }
}

/// Takes over what became of a packet at a port.
pub(crate) fn learn_flow(
    cache: Option<&mut Cache>,
    relay: &Relay,
    ifindex: u32,
    arrival: &Arrival,
    parcel: &[u8],
    verdict: PortVerdict,
) {
    if let (Some(cache), PortVerdict::Sent) = (cache, verdict)
        && let Some(flow) = relay.fast_flow(arrival, parcel)
    {
        cache.learn_flow(ifindex, flow);
    }
}

/// Takes over that the packets of a tunnel leave by a port.
pub(crate) fn learn_tunnel(cache: &mut Cache, relay: &Relay, tunnel: (SessionIndex, Tunnel), port: PortId) {
    if let (Some(peer), Some((ifindex, own, mtu))) =
        (relay.link().fast_sender(tunnel.0), relay.port_interface(port))
    {
        let frame_max = mtu + size_of::<EthernetHeader>();
        cache.learn_tunnel(tunnel, &Outlet { peer, ifindex, near: None, receives: false, frame_max, own });
    }
}
