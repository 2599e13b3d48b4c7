//! The fast path beside the daemon: what it is told, and what it has counted.

use crate::daemon::Daemon;
use crate::symbol_interface::FastInterface;
use ::fast_path::{Cache, Counted, Counts, Outlet};
use control_core::Control;
use frames::data::Tunnel;
use frames::header::EthernetHeader;
use frames::{Mac, SessionIndex, SymbolId};
use l2link::Time;

impl Daemon {
    /// Comes in line with the core and the interfaces, before anything of what changed is told.
    pub(crate) fn follow_fast_path(&mut self, now: Time) {
        let Some(cache) = &mut self.cache else { return };
        self.symbols.follow_fast_path(cache, &mut self.namespaces);
        // What is captured goes by the daemon.
        let active = !self.captures.is_active();
        cache.follow(self.control.changes(), active, self.control.link().fast_peers(), now);
        if cache.is_link_due(now) {
            cache.follow_link(self.link.fast_link());
        }
        if cache.is_count_due(now) {
            self.take_fast_counts(now);
        }
    }

    /// Comes in line with the link's interface.
    pub(crate) fn follow_fast_link(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.follow_link(self.link.fast_link());
        }
    }

    /// The packets that were read at a symbol of this interface wait to be sent. `drained`: no others wait there.
    pub(crate) fn commit_flows(&mut self, ifindex: Option<u32>, drained: bool, now: Time) {
        let Some(cache) = &mut self.cache else { return };
        if cache.has_learned() && drained {
            // They leave, and the rules that they need, before those that go by what was learned.
            self.transmit(now);
        }
        if let (Some(cache), Some(ifindex)) = (&mut self.cache, ifindex) {
            cache.commit(ifindex, drained);
        }
    }

    /// Has the core count what went the fast way.
    pub(crate) fn take_fast_counts(&mut self, now: Time) {
        let Some(cache) = &mut self.cache else { return };
        for Counted { what, traffic } in cache.take_counts(now) {
            match what {
                Counts::Sent(way) => self.control.handle_fast_sent(way, &traffic),
                Counts::Received(way) => self.control.handle_fast_received(way, &traffic, now),
            }
        }
    }
}

/// Takes over that the packets of a tunnel are received by a symbol, at an interface of this MTU.
pub(crate) fn learn_tunnel(
    cache: &mut Cache,
    control: &Control,
    tunnel: (SessionIndex, Tunnel),
    symbol: SymbolId,
    (interface, mtu): (FastInterface, usize),
) {
    let FastInterface { ifindex, near } = interface;
    if !control.may_be_fast(symbol) || !cache.has(ifindex) {
        return;
    }
    if let Some(peer) = control.link().fast_sender(tunnel.0) {
        let frame_max = mtu + size_of::<EthernetHeader>();
        // Nobody sends to the address of zeros.
        let outlet = Outlet { peer, ifindex, near, receives: true, frame_max, own: Mac::default() };
        cache.learn_tunnel(tunnel, &outlet);
    }
}
