//! The dispatch table for `benches/dispatch.rs`, which measures it from outside.

use crate::dispatch::{Dispatch, Ends};
use crate::rule::Rule;
use core::net::{IpAddr, Ipv4Addr};
use frames::message::LiveFlow;
use frames::protocol_address::{Family, Local};
use frames::{PortId, ProtocolAddress, SymbolId, UpTunnel};
use l2link::PeerId;

/// A table with many rules, and two controls that share one more service with many flows, each of which stays with its
/// server against the table.
#[derive(Debug)]
pub struct Table {
    dispatch: Dispatch,
}

const PORT: PortId = PortId(1);
const TCP: u8 = 6;
const SERVICE: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);

impl Table {
    /// A table with so many rules of listeners, and so many flows that the first server had before the second came: half of
    /// them are where the table would not have them.
    ///
    /// # Panics
    /// When there are more rules than two controls may have.
    #[must_use]
    pub fn new(rules: u32, flows: u32) -> Self {
        let mut dispatch = Dispatch::default();
        for peer in [1, 2] {
            dispatch.name(PeerId(peer), &format!("control{peer}"));
            dispatch
                .add(rule(peer, 1, listener(Local::Any(Family::Both), SERVICE.1)))
                .expect("room for the service");
        }
        for n in 0..rules {
            dispatch
                .add(rule(n % 2 + 1, n + 2, listener(Local::Address(address(n)), 443)))
                .expect("room for the rules");
        }
        let flows: Vec<LiveFlow> = (0..flows).map(|n| LiveFlow::new(SERVICE, ends(n).remote)).collect();
        for asked in dispatch.take_requests() {
            dispatch.report(asked, if asked.0 == PeerId(1) { &flows } else { &[] }, true);
        }
        Self { dispatch }
    }

    /// A table with so many rules, each of a control's own connection.
    ///
    /// # Panics
    /// When there are more than two controls may have.
    #[must_use]
    pub fn of_connections(rules: u32) -> Self {
        let mut dispatch = Dispatch::default();
        for n in 0..rules {
            let (local, remote) = (SERVICE, ends(n).remote);
            let connection = ProtocolAddress::Flow {
                protocol: TCP,
                local: local.0,
                local_port: local.1,
                remote: remote.0,
                remote_port: remote.1,
            };
            dispatch.add(rule(n % 2 + 1, n + 1, connection)).expect("room for the rules");
        }
        Self { dispatch }
    }

    /// How many flows stay against the table.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.dispatch.pinned()
    }

    /// Looks for the controls of the flows, or of the connections, of these numbers, as for packets that arrived together.
    /// Returns how many were found.
    pub fn flows<const N: usize>(&mut self, numbers: [u32; N]) -> usize {
        self.find(numbers.map(ends))
    }

    /// Looks for the controls of the listeners of these numbers, as for packets that arrived together. Returns how many
    /// were found.
    pub fn listeners<const N: usize>(&mut self, numbers: [u32; N]) -> usize {
        self.find(numbers.map(|n| Ends { local: (address(n), 443), remote: ends(n).remote }))
    }

    fn find<const N: usize>(&mut self, ends: [Ends; N]) -> usize {
        let sought = ends.map(|ends| self.dispatch.seek(PORT, TCP, ends));
        if N > 1 {
            self.dispatch.fetch(sought.iter());
        }
        sought.iter().filter(|sought| self.dispatch.find(sought, false).is_some()).count()
    }
}

fn address(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | n))
}

fn listener(local: Local, port: u16) -> ProtocolAddress {
    ProtocolAddress::Listener { protocol: TCP, local, port }
}

fn ends(n: u32) -> Ends {
    let port = u16::try_from(1024 + n % 16).unwrap_or(1024);
    Ends { local: SERVICE, remote: (IpAddr::V4(Ipv4Addr::from_bits(0xc633_0000 ^ (n / 16))), port) }
}

fn rule(peer: u32, tunnel: u32, protocol_address: ProtocolAddress) -> Rule {
    Rule {
        peer: PeerId(peer),
        tunnel: UpTunnel(tunnel),
        symbol: SymbolId(1),
        port: PORT,
        protocol_address,
        weight: 100,
        stale: false,
        since: 0,
        packets: 0,
        bytes: 0,
    }
}
