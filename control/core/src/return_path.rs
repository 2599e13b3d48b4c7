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
//! | TCP, not the first packet, of a socket that was closed a moment ago | nothing: likewise ([`Ended`](crate::ended::Ended)) |
//! | ARP, neighbor discovery, router solicitation | nothing: every symbol has a rule for the answers |
//! | ICMP error, IGMP, later fragment | nothing: nobody answers them |
//! | another IP protocol | the rule of its raw socket, which a look finds |
//! | multicast, broadcast | nothing: answers from anyone are for a listener rule, which a look finds |

use crate::flow::FlowKey;
use frames::inet::{EchoKind, Layer3, PacketView, Transport};

/// The flow that has to be covered by a rule for the answers to a packet, if any.
pub(crate) fn return_path(view: &PacketView) -> Option<FlowKey> {
    let Layer3::Ip(ip) = view.layer3 else { return None };
    match ip.transport {
        Transport::Ports { tcp, .. } if tcp.resets() => None,
        _ => conversation(view),
    }
}

/// The flow that a packet is of, if it is one that has answers.
pub(crate) fn conversation(view: &PacketView) -> Option<FlowKey> {
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
        Transport::Ports { source, destination, .. } => Some(flow(source, destination)),
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
