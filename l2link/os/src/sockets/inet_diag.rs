//! `INET_DIAG`: requests for, and descriptions of, the sockets of IPv4 and IPv6 (`linux/inet_diag.h`).

use super::netlink::Channel;
use super::{Socket, SocketKind, SocketState, local};
use crate::IfIndex;
use core::net::SocketAddr;
use frames::protocol_address::{Family, Local};
use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY};
use std::io;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    /// IP protocol number; 255 asks for raw sockets of all protocols.
    pub(super) protocol: u8,
    /// Which states.
    pub(super) states: u32,
    /// Where they are bound.
    pub(super) bound: Bound,
}

/// Which local addresses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Any.
    Anywhere,
    /// None of the loopback network: nobody outside of this host reaches that (RFC 1122, 3.2.1.3 (g)). The kernel leaves out the
    /// sockets there before it describes them, which is most of a dump's work.
    BeyondLoopback,
}

/// The states of a TCP connection: all but `CLOSE` (7), `LISTEN` (10) and `BOUND_INACTIVE` (13).
pub(super) const CONNECTION_STATES: u32 = 0x1b7e;
/// The state of a TCP listener.
pub(super) const LISTEN_STATES: u32 = 1 << SocketState::LISTEN.0;
/// The state of a UDP or raw socket that is not connected.
pub(super) const UNCONNECTED_STATES: u32 = 1 << SocketState::CLOSE.0;
/// The state of a UDP socket that is connected.
pub(super) const CONNECTED_STATES: u32 = 1 << SocketState::ESTABLISHED.0;

/// Adds the sockets for which `query` asks, of both IP versions.
///
/// # Errors
/// `ENOENT` if the kernel has no diagnosis of this protocol.
pub(super) fn dump(
    channel: &mut Channel,
    query: Query,
    kind: impl Fn(u8) -> Option<SocketKind>,
    sockets: &mut Vec<Socket>,
) -> io::Result<()> {
    if query.protocol == TCP {
        return dump_once(channel, TCPDIAG_GETSOCK, &request_of_tcp(query), &kind, sockets);
    }
    dump_family(channel, AF_INET, query, &kind, sockets)?;
    match dump_family(channel, AF_INET6, query, &kind, sockets) {
        // A kernel started with ipv6.disable=1.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn dump_family(
    channel: &mut Channel,
    family: u8,
    query: Query,
    kind: &impl Fn(u8) -> Option<SocketKind>,
    sockets: &mut Vec<Socket>,
) -> io::Result<()> {
    let request = InetRequest {
        family,
        protocol: query.protocol,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::from_bits_retain(query.states),
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    };
    let mut body = vec![0; request.buffer_len()];
    request.emit(&mut body);
    if query.bound == Bound::BeyondLoopback {
        body.extend(not_loopback(&[family]));
    }
    dump_once(channel, SOCK_DIAG_BY_FAMILY, &body, kind, sockets)
}

/// The request for TCP sockets of both families (`struct inet_diag_req`). It is that of old, which knows of no family, and makes
/// the kernel walk through its table once in place of twice.
fn request_of_tcp(query: Query) -> Vec<u8> {
    // A family that does not count, no prefixes, no extensions, no addresses and ports.
    let mut body = vec![0; 4 + SOCKET_ID];
    body.extend(query.states.to_ne_bytes());
    // The table: any.
    body.extend([0; 4]);
    if query.bound == Bound::BeyondLoopback {
        body.extend(not_loopback(&[AF_INET, AF_INET6]));
    }
    body
}

fn dump_once(
    channel: &mut Channel,
    request: u16,
    body: &[u8],
    kind: &impl Fn(u8) -> Option<SocketKind>,
    sockets: &mut Vec<Socket>,
) -> io::Result<()> {
    let known = sockets.len();
    // A socket that moves within the kernel's table while it is dumped may be told twice.
    let mut cookies = Vec::new();
    channel.dump(request, body, |message| match message {
        None => {
            sockets.truncate(known);
            cookies.clear();
        }
        Some(message) => {
            if let Some((socket, cookie)) = parse(message, kind) {
                sockets.push(socket);
                cookies.push(cookie);
            }
        }
    })?;
    remove_doubles(sockets, known, &cookies);
    Ok(())
}

/// The attribute `INET_DIAG_REQ_BYTECODE` with a program that takes a socket unless its local address is of the loopback network
/// of one of these families (`inet_diag_bc_run` of net/ipv4/inet_diag.c): for each a condition, and if it holds a jump over the
/// end, which rejects. Where an IPv6 socket has an IPv4-mapped address, that counts.
fn not_loopback(families: &[u8]) -> Vec<u8> {
    let mut program = Vec::new();
    for family in families.iter().rev() {
        let (prefix_length, address): (u8, &[u8]) = match *family {
            AF_INET => (8, &[127, 0, 0, 0]),
            _ => (128, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        };
        let length = OPERATION + CONDITION + if *family == AF_INET { 4 } else { 16 };
        let [over0, over1] = u16::from(length + OPERATION).to_ne_bytes();
        let mut step = vec![LOCAL_ADDRESS, length, over0, over1, *family, prefix_length, 0, 0];
        step.extend((-1_i32).to_ne_bytes());
        step.extend(address);
        // From the jump over itself, the rest, and the place behind the end.
        let [end0, end1] =
            u16::try_from(program.len() + 2 * usize::from(OPERATION)).unwrap_or(0).to_ne_bytes();
        step.extend([JUMP, OPERATION, end0, end1]);
        step.append(&mut program);
        program = step;
    }
    let attribute = u16::try_from(program.len() + 4).unwrap_or(0);
    let header = [attribute.to_ne_bytes(), REQUEST_BYTECODE.to_ne_bytes()].concat();
    [header, program].concat()
}

const TCP: u8 = 6;
/// The request of old for TCP sockets, and the length of `struct inet_diag_sockid` in it (`linux/inet_diag.h`).
const TCPDIAG_GETSOCK: u16 = 18;
const SOCKET_ID: usize = 48;
/// `INET_DIAG_REQ_BYTECODE`, and the operations `INET_DIAG_BC_S_COND` and `INET_DIAG_BC_JMP` (`linux/inet_diag.h`).
const REQUEST_BYTECODE: u16 = 1;
const LOCAL_ADDRESS: u8 = 7;
const JUMP: u8 = 1;
/// Length of an operation: its code, where to go on if it holds and, in two bytes, where to go on if not.
const OPERATION: u8 = 4;
/// Length of `struct inet_diag_hostcond`: family, length of the prefix, two bytes of padding, port (-1 is any); an address follows.
const CONDITION: u8 = 8;

/// Removes the sockets from `known` on whose cookie an earlier one of them has.
fn remove_doubles(sockets: &mut Vec<Socket>, known: usize, cookies: &[u64]) {
    let mut sorted = cookies.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).all(|pair| pair[0] != pair[1]) {
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut fresh = cookies.iter().map(|cookie| seen.insert(*cookie));
    let mut index = 0;
    sockets.retain(|_| {
        index += 1;
        index <= known || fresh.next().unwrap_or(true)
    });
}

/// Reads a description, with the cookie that tells sockets apart. `None` if it makes no sense.
pub(super) fn parse(message: &[u8], kind: impl Fn(u8) -> Option<SocketKind>) -> Option<(Socket, u64)> {
    let InetResponse { header, nlas } = InetResponse::parse(message).ok()?;
    let id = header.socket_id;
    let mut v6only = false;
    let mut protocol = 0;
    for nla in &nlas {
        match nla {
            Nla::SkV6Only(only) => v6only = *only,
            Nla::Protocol(number) => protocol = *number,
            _ => {}
        }
    }
    let kind = kind(protocol)?;
    let raw = matches!(kind, SocketKind::Raw { .. });
    let remote = id.destination_address.to_canonical();
    let connected = !remote.is_unspecified() || (id.destination_port != 0 && !raw);
    let socket = Socket {
        kind,
        local: match local(id.source_address, v6only) {
            // Raw sockets of IPv6 get no IPv4 packets.
            Local::Any(Family::Both) if raw => Local::Any(Family::V6),
            local => local,
        },
        // Raw sockets have their protocol there.
        local_port: if raw { 0 } else { id.source_port },
        remote: connected.then(|| SocketAddr::new(remote, if raw { 0 } else { id.destination_port })),
        interface: (id.interface_id != 0).then_some(IfIndex(id.interface_id)),
        state: SocketState(header.state),
        inode: header.inode,
        uid: header.uid,
        queue: match SocketState(header.state) {
            SocketState::LISTEN => (header.recv_queue, header.send_queue),
            _ => (0, 0),
        },
    };
    Some((socket, u64::from_ne_bytes(id.cookie)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct inet_diag_msg` as `linux/inet_diag.h` has it, and one attribute of one byte.
    fn message(family: u8, ports: [u16; 2], local: [u8; 16], attribute: (u8, u8)) -> Vec<u8> {
        let mut message = vec![family, SocketState::CLOSE.0, 0, 0];
        message.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        message.extend(local);
        message.extend([0; 16]);
        message.extend(5_u32.to_ne_bytes());
        message.extend(0x0102_0304_0506_0708_u64.to_ne_bytes());
        message.extend([0; 12]);
        message.extend(1000_u32.to_ne_bytes());
        message.extend(4242_u32.to_ne_bytes());
        message.extend(5_u16.to_ne_bytes());
        message.extend([attribute.0, 0, attribute.1, 0, 0, 0]);
        message
    }

    const SKV6ONLY: u8 = 11;
    const PROTOCOL: u8 = 10;

    #[test]
    fn the_wildcard_of_ipv6_is_dual_stack_unless_told_otherwise() {
        for (only, expected) in [(0, Family::Both), (1, Family::V6)] {
            let message = message(AF_INET6, [53, 0], [0; 16], (SKV6ONLY, only));
            let (socket, cookie) = parse(&message, |_| Some(SocketKind::Udp)).unwrap();
            assert_eq!((socket.local, socket.local_port), (Local::Any(expected), 53));
            assert_eq!((socket.interface, socket.inode, socket.uid), (Some(IfIndex(5)), 4242, 1000));
            assert_eq!((socket.remote, cookie), (None, 0x0102_0304_0506_0708));
        }
    }

    #[test]
    fn a_raw_socket_has_its_protocol_in_an_attribute_and_no_port() {
        let message = message(AF_INET6, [89, 0], [0; 16], (PROTOCOL, 89));
        let kind = |protocol| Some(SocketKind::Raw { protocol });
        let (socket, _) = parse(&message, kind).unwrap();
        assert_eq!(socket.kind, SocketKind::Raw { protocol: 89 });
        assert_eq!((socket.local, socket.local_port), (Local::Any(Family::V6), 0));
        for length in 0..message.len() {
            let _ = parse(&message[..length], kind);
        }
    }

    #[test]
    fn a_socket_told_twice_is_kept_once() {
        let (socket, _) =
            parse(&message(AF_INET, [1, 0], [0; 16], (0, 0)), |_| Some(SocketKind::Udp)).unwrap();
        let mut sockets: Vec<_> = (0..5).map(|port| Socket { local_port: port, ..socket.clone() }).collect();
        remove_doubles(&mut sockets, 1, &[7, 8, 7, 9]);
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_port).collect();
        assert_eq!(ports, [0, 1, 2, 4]);
    }
}
