//! [`IpSocket`]: whole IP packets, sent as the machine's own, and what the kernel says to them.
//!
//! # Theory of operation
//!
//! A raw socket whose packets bring their header (`IP_HDRINCL`, raw(7)) gives them to the kernel as if a local program had
//! made them: its routes, policy rules, neighbors and output filters decide, and the time to live stays. Packets written
//! to a TUN device would be *forwarded*: forwarding would have to be on, filters for transit would apply, and a local
//! source address counts as a forgery (`accept_local`, `rp_filter`). A socket leaves nothing behind.
//!
//! The socket is bound to the source address, so that policy rules see it when the route is looked up. Its protocol number
//! is 255, of which it receives nothing. What such a socket does not do: cut super-packets, complete checksums, or cut
//! packets that are larger than the interface (`EMSGSIZE`); that is the caller's.
//!
//! What the kernel finds out behind the system call (a neighbor that does not answer) it says to the source by an ICMP error,
//! as there is no socket of that connection here. A second socket hears these, and those of others too: the kernel counts
//! what it says to itself as received by the interface that has the address, so that only the sender tells them apart.

use crate::IfIndex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

/// Sends packets from one address.
#[derive(Debug)]
pub struct IpSocket {
    socket: Socket,
    source: IpAddr,
    /// Of destinations that mean an interface's network only.
    scope: IfIndex,
    /// Hears ICMP. The kernel takes any kind of socket for a datagram socket.
    errors: UdpSocket,
}

/// Why a packet was not sent.
#[derive(Debug)]
pub enum NotSent {
    /// It is larger than the interface by which it would leave.
    TooLarge,
    /// There is no room for it now.
    Full,
    /// There is no route to its destination.
    NoRoute,
    /// A filter forbids it, or something else is the matter.
    Refused(io::Error),
}

impl IpSocket {
    /// Opens a socket for packets from `source`, which must be an address of this machine. Link-local addresses of
    /// IPv6 are on the network of the interface `scope`.
    ///
    /// # Errors
    /// The kernel's, `EADDRNOTAVAIL` for an address that is not there.
    pub fn open(source: IpAddr, scope: IfIndex) -> io::Result<Self> {
        let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.bind(&scoped(source, 0, scope).into())?;
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
            let _ = socket.set_send_buffer_size(SEND_BUFFER);
        }
        Ok(Self { socket, source, scope, errors: errors(source, scope)? })
    }

    /// Sends a whole packet to `destination`, which its header has too. Never waits.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> Result<(), NotSent> {
        match self.socket.send_to(packet, &SockAddr::from(scoped(destination, 0, self.scope))) {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::EMSGSIZE) => NotSent::TooLarge,
                Some(libc::EAGAIN | libc::ENOBUFS) => NotSent::Full,
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => NotSent::NoRoute,
                _ => NotSent::Refused(error),
            }),
        }
    }

    /// The next ICMP message that came to the source, from this machine or others: a whole IP packet at the front of `buffer`,
    /// and its length. `None` if none waits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next_error(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let before = if self.source.is_ipv4() { 0 } else { IPV6_HEADER };
        let room = buffer.get_mut(before..).unwrap_or_default();
        let (len, from) = match self.errors.recv_from(room) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if let (IpAddr::V6(from), IpAddr::V6(to)) = (from.ip(), self.source) {
            // The kernel keeps the header of IPv6 to itself.
            let length = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            let begin = [0x60, 0, 0, 0, length[0], length[1], ICMPV6, HOPS];
            let header = [&begin[..], &from.octets(), &to.octets()].concat();
            buffer[..IPV6_HEADER].copy_from_slice(&header);
        }
        Ok(Some(before + len))
    }

    /// The MTU of the way to `destination` as the kernel knows it.
    ///
    /// # Errors
    /// The kernel's, `ENETUNREACH` if there is no way.
    pub fn mtu_towards(&self, destination: IpAddr) -> io::Result<u32> {
        let socket = UdpSocket::bind(scoped(self.source, 0, self.scope))?;
        // Nothing is sent by it. Discard (RFC 863), as a port has to be said.
        socket.connect(scoped(destination, 9, self.scope))?;
        let (level, option) = match destination {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let mut mtu: libc::c_int = 0;
        let mut len = INT_LEN;
        // SAFETY: `mtu` has `len` bytes, which live until the call returns, and any bytes are an integer.
        let result = unsafe {
            libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut len)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        u32::try_from(mtu).map_err(io::Error::other)
    }
}

/// Link-local addresses of IPv6 mean an interface's network.
fn scoped(address: IpAddr, port: u16, scope: IfIndex) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, scope.0).into(),
        other => SocketAddr::new(other, port),
    }
}

fn errors(source: IpAddr, scope: IfIndex) -> io::Result<UdpSocket> {
    let (domain, protocol) = match source {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
    socket.bind(&scoped(source, 0, scope).into())?;
    Ok(socket.into())
}

impl AsRawFd for IpSocket {
    /// That of the socket for errors: nothing else is ever to be read.
    fn as_raw_fd(&self) -> RawFd {
        self.errors.as_raw_fd()
    }
}

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
const HOPS: u8 = 64;
/// As of the relay's other sockets: what some 100 super-packets need.
const SEND_BUFFER: usize = 8 << 20;
#[expect(clippy::cast_possible_truncation, reason = "the size of an integer")]
const INT_LEN: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
