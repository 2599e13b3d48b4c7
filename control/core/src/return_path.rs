//! What a packet that leaves through a symbol needs for its answers to come back.
//!
//! # Theory of operation
//!
//! A client's socket makes no listener, and its port is known only when it sends. So the first packet of a flow makes
//! the rule, *before* it is sent on itself: the rule travels in front of it on the same link, so the answer cannot
//! arrive before the rule does.
//!
//! | packet | needs |
//! |---|---|
//! | unicast with ports (TCP, UDP, …) | a flow, unless a listener covers its local port |
//! | unicast echo request | a flow with the identifier |
//! | TCP reset | nothing: it is the last packet of something that is over |
//! | ARP, neighbor discovery, router solicitation | nothing: every symbol has a rule for the answers |
//! | ICMP error, IGMP, later fragment | nothing: nobody answers them |
//! | another IP protocol | the rule of its raw socket, which a look finds |
//! | multicast, broadcast | nothing: answers from anyone are for a listener rule, which a look finds |

use crate::flow::FlowKey;
use frames::inet::{EchoKind, Layer3, PacketView, Transport};

/// The flow that has to be covered by a rule for the answers to a packet, if any. `frame` is the frame that `view` is
/// the view of.
pub(crate) fn return_path(view: &PacketView, frame: &[u8]) -> Option<FlowKey> {
    let Layer3::Ip(ip) = view.layer3 else { return None };
    let unicast = !view.destination.is_multicast() && !ip.destination.is_multicast();
    let flow = |local_port, remote_port| FlowKey {
        protocol: ip.protocol,
        local_port,
        local: ip.source,
        remote: ip.destination,
        remote_port,
    };
    match ip.transport {
        Transport::Ports { .. } if ip.source.is_unspecified() || !unicast => None,
        Transport::Ports { .. } if ip.protocol == TCP && is_reset(frame) => None,
        Transport::Ports { source, destination } => Some(flow(source, destination)),
        Transport::Echo { kind: EchoKind::Request, id } if unicast => Some(flow(id, 0)),
        Transport::Echo { .. }
        | Transport::IcmpError(_)
        | Transport::NeighborSolicitation(_)
        | Transport::NeighborAdvertisement(_)
        | Transport::Icmp(_)
        | Transport::LaterFragment
        | Transport::Other => None,
    }
}

const TCP: u8 = 6;

/// Whether a TCP segment directly behind a plain IP header has its RST bit set (RFC 9293, 3.1).
fn is_reset(frame: &[u8]) -> bool {
    const ETHERNET: usize = 14;
    const FLAGS: usize = 13;
    const RST: u8 = 0x04;
    let header = match frame.get(ETHERNET) {
        Some(first) if first >> 4 == 4 => usize::from(first & 0x0f) * 4,
        Some(first) if first >> 4 == 6 => 40,
        _ => return false,
    };
    frame.get(ETHERNET + header + FLAGS).is_some_and(|flags| flags & RST != 0)
}
