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
//! | TCP reset | nothing: it is the last packet of something that is over; one that refuses a connection is not even sent as long as a listener's rule is in force |
//! | ARP, neighbor discovery, router solicitation | nothing: every symbol has a rule for the answers |
//! | ICMP error, IGMP, later fragment | nothing: nobody answers them |
//! | another IP protocol | the rule of its raw socket, which a look finds |
//! | multicast, broadcast | nothing: answers from anyone are for a listener rule, which a look finds |

use crate::flow::FlowKey;
use frames::inet::{EchoKind, Layer3, PacketView, TcpFlags, Transport};

/// The flow whose first segment a packet refuses, if it does. A kernel without a listener answers a SYN by a reset of sequence
/// number 0 that acknowledges (RFC 9293, 3.10.7.1); a program that aborts a connection sends other numbers.
pub(crate) fn refusal(view: &PacketView, frame: &[u8]) -> Option<FlowKey> {
    let Layer3::Ip(ip) = view.layer3 else { return None };
    let Transport::Ports { source, destination, tcp } = ip.transport else { return None };
    if !tcp.contains(TcpFlags::RST | TcpFlags::ACK) || sequence_number(frame) != Some(0) {
        return None;
    }
    Some(FlowKey {
        protocol: ip.protocol,
        local_port: source,
        local: ip.source,
        remote: ip.destination,
        remote_port: destination,
    })
}

/// The sequence number of a TCP segment directly behind a plain IP header.
fn sequence_number(frame: &[u8]) -> Option<u32> {
    const ETHERNET: usize = 14;
    const SEQUENCE_NUMBER: usize = 4;
    let header = match frame.get(ETHERNET)? {
        first if first >> 4 == 4 => usize::from(first & 0x0f) * 4,
        _ => 40,
    };
    let at = ETHERNET + header + SEQUENCE_NUMBER;
    frame.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The flow that has to be covered by a rule for the answers to a packet, if any.
pub(crate) fn return_path(view: &PacketView) -> Option<FlowKey> {
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
        Transport::Ports { tcp, .. } if tcp.contains(TcpFlags::RST) => None,
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
