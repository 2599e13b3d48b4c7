//! [`limit_mss`]: has the ends of a TCP connection send no longer packets than there is room for.

use super::checksum::Delta;
use super::segments::{TCP, TCP_CHECKSUM, put, tcp_header};
use super::translate::{PACKET, is_open, outer, place, two};
use super::transport::{self, TcpFlags};
use super::{ipv4, ipv6};

/// Lowers the maximum segment size that the TCP segment in a parcel (offload header and Ethernet frame) announces if it opens
/// a connection, so that the packets of who hears it have `packet_max` bytes at most, IP header included. The announcement
/// counts the fixed headers only: who sends options takes them off by itself (RFC 6691).
///
/// Returns whether it was larger. A segment that announces nothing is left alone: packets have 576 bytes then, or 1280
/// (RFC 9293, 3.7.1).
pub fn limit_mss(parcel: &mut [u8], packet_max: usize) -> bool {
    lower(parcel, packet_max).is_some()
}

fn lower(parcel: &mut [u8], packet_max: usize) -> Option<()> {
    let packet = parcel.get(PACKET..)?;
    let datagram = outer(parcel, packet)?;
    if datagram.protocol != TCP || datagram.fragment.is_some() {
        return None;
    }
    if !transport::tcp(TCP, datagram.payload).flags.contains(TcpFlags::SYN) {
        return None;
    }
    let headers = if datagram.source.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER };
    let limit = packet_max.checked_sub(headers)?.checked_sub(TCP_HEADER)?;
    let new = u16::try_from(limit).ok()?.to_be_bytes();
    let at = mss(datagram.payload.get(..tcp_header(datagram.payload).ok()?)?)?;
    let old = two(datagram.payload, at)?;
    if old <= new {
        return None;
    }
    let begin = place(packet, datagram.payload)?;
    let is_open = is_open(parcel, begin);
    let segment = parcel.get_mut(PACKET..)?.get_mut(begin..)?;
    put(segment, at, &new)?;
    if !is_open {
        let field = difference(at, old, new).checksum(two(segment, TCP_CHECKSUM)?);
        put(segment, TCP_CHECKSUM, &field)?;
    }
    Some(())
}

/// Where the value of the option stands in a TCP header with its options (RFC 9293, 3.1).
fn mss(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER;
    loop {
        match (*header.get(at)?, header.get(at.checked_add(1)?)) {
            (END, _) => return None,
            (NO_OPERATION, _) => at = at.checked_add(1)?,
            (MSS, Some(4)) => return at.checked_add(2),
            (_, Some(length @ 2..)) => at = at.checked_add(usize::from(*length))?,
            _ => return None,
        }
    }
}

/// What a change of two bytes at this place does to the sum, which is one over words.
fn difference(at: usize, old: [u8; 2], new: [u8; 2]) -> Delta {
    if at.is_multiple_of(2) {
        return Delta::of(&old, &new);
    }
    let [old, new] = [old, new].map(|[high, low]| [0, high, low, 0]);
    Delta::of(&old, &new)
}

/// Bytes of a TCP header without options, and kinds of them (RFC 9293, 3.1).
const TCP_HEADER: usize = 20;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
