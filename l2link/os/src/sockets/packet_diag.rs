//! `PACKET_DIAG`: packet sockets (`linux/packet_diag.h`).

use super::netlink::Channel;
use super::{Socket, SocketKind, SocketState};
use crate::IfIndex;
use frames::protocol_address::{Family, Local};
use netlink_packet_core::NlasIterator;
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use std::io;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const AF_PACKET: u8 = 17;
/// `PACKET_SHOW_INFO`: interface and owner.
const SHOW_INFO: u32 = 1;
/// Attribute `PACKET_DIAG_INFO`; begins with the interface's index.
const INFO: u16 = 0;
/// Attribute `PACKET_DIAG_UID`.
const UID: u16 = 5;

/// `struct packet_diag_req`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    family: u8,
    protocol: u8,
    pad: u16,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}
const _: () = assert!(size_of::<Request>() == 20);

/// `struct packet_diag_msg`.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Answer {
    family: u8,
    kind: u8,
    /// EtherType in host byte order; zero if the socket only sends.
    ethertype: u16,
    inode: u32,
    cookie: [u32; 2],
}
const _: () = assert!(size_of::<Answer>() == 16);

/// Adds the packet sockets that receive anything.
///
/// # Errors
/// `ENOENT` if the kernel has no `PACKET_DIAG`.
pub(super) fn dump(channel: &mut Channel, sockets: &mut Vec<Socket>) -> io::Result<()> {
    let request =
        Request { family: AF_PACKET, protocol: 0, pad: 0, inode: 0, show: SHOW_INFO, cookie: [0; 2] };
    let known = sockets.len();
    channel.dump(SOCK_DIAG_BY_FAMILY, request.as_bytes(), |message| match message {
        None => sockets.truncate(known),
        Some(message) => sockets.extend(parse(message)),
    })
}

/// Reads a description. `None` if it makes no sense, or the socket only sends.
fn parse(message: &[u8]) -> Option<Socket> {
    let (answer, attributes) = Answer::read_from_prefix(message).ok()?;
    let mut interface = None;
    let mut uid = 0;
    for attribute in NlasIterator::new(attributes).flatten() {
        let number = attribute.value().first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        match attribute.kind() {
            INFO => interface = number.filter(|index| *index != 0).map(IfIndex),
            UID => uid = number.unwrap_or(0),
            _ => {}
        }
    }
    (answer.ethertype != 0).then_some(Socket {
        kind: SocketKind::Packet { ethertype: answer.ethertype },
        local: Local::Any(Family::Both),
        local_port: 0,
        remote: None,
        interface,
        state: SocketState::CLOSE,
        inode: answer.inode,
        uid,
        queue: (0, 0),
    })
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// A packet socket for LLDP bound to interface 1 by user 0, by the structures of `linux/packet_diag.h`.
    const LLDP: [u8; 48] = [
        0x11, 0x02, 0xcc, 0x88, 0x2a, 0x1b, 0, 0, 0x01, 0x30, 0, 0, 0, 0, 0, 0, // message
        0x18, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, // PACKET_DIAG_INFO
        0x08, 0, 0x05, 0, 0, 0, 0, 0, // PACKET_DIAG_UID
    ];

    #[test]
    fn a_description_is_read() {
        let socket = parse(&LLDP).unwrap();
        assert_eq!(socket.kind, SocketKind::Packet { ethertype: 0x88cc });
        assert_eq!((socket.interface, socket.inode, socket.uid), (Some(IfIndex(1)), 0x1b2a, 0));
    }

    #[test]
    fn a_description_cut_short_is_no_harm() {
        for length in 0..LLDP.len() {
            let _ = parse(&LLDP[..length]);
        }
        let mut sends_only = LLDP;
        sends_only[2..4].fill(0);
        assert_eq!(parse(&sends_only), None);
    }
}
