//! [`HeldSocket`]: what a socket is that another process holds, asked of the socket itself.
//!
//! A descriptor of the process is copied (pidfd_getfd(2), Linux 5.6), for which the caller must be allowed to trace it; the socket is
//! asked, and the copy is closed. That tells of sockets of every family and in every namespace, which no table does.

use super::{SocketKind, SocketState, local};
use core::net::SocketAddr;
use frames::protocol_address::{Family, Local};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// A socket of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSocket {
    /// What it is.
    pub what: HeldKind,
    /// Number of its network namespace, as of [`crate::NetNs::inode`].
    pub namespace: u64,
    /// Name of the interface to which it is bound (`SO_BINDTODEVICE`), or its number of a packet socket.
    pub interface: Option<String>,
}

/// What a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldKind {
    /// One that packets of the outside world may be for.
    Network {
        /// Its kind.
        kind: SocketKind,
        /// As of [`super::Socket`].
        local: Local,
        /// Likewise; zero if it is bound to none.
        local_port: u16,
        /// The other end, if connected.
        remote: Option<SocketAddr>,
        /// [`SocketState::LISTEN`], [`SocketState::ESTABLISHED`] or [`SocketState::CLOSE`].
        state: SocketState,
    },
    /// A socket by which a program sends echo requests without privileges (icmp(7)).
    Ping,
    /// Any other one, by the name of its family.
    Other(&'static str),
}

impl HeldSocket {
    /// The socket behind descriptor `fd` of process `pid`.
    ///
    /// # Errors
    /// The kernel's: `ESRCH` and `EBADF` if it is gone, `EPERM` if the caller may not trace the process, `ENOTSOCK`.
    pub fn of(pid: u32, fd: RawFd) -> io::Result<Self> {
        let socket = copy(pid, fd)?;
        let namespace = namespace(&socket)?;
        let device = socket.device().ok().flatten().map(|name| String::from_utf8_lossy(&name).into_owned());
        let domain = socket.domain()?;
        if domain == Domain::PACKET {
            let (ethertype, interface) = packet_address(&socket)?;
            let what = HeldKind::Network {
                kind: SocketKind::Packet { ethertype },
                local: Local::Any(Family::Both),
                local_port: 0,
                remote: None,
                state: SocketState::CLOSE,
            };
            let interface = (interface != 0).then(|| format!("number {interface}"));
            return Ok(Self { what, namespace, interface });
        }
        let what = match kind(&socket, domain)? {
            Some(kind) => network(&socket, kind)?,
            None if domain == Domain::IPV4 || domain == Domain::IPV6 => HeldKind::Ping,
            None => HeldKind::Other(family(domain)),
        };
        Ok(Self { what, namespace, interface: device })
    }
}

/// The kind of a socket of IP; none of any other, and of a ping socket.
fn kind(socket: &Socket, domain: Domain) -> io::Result<Option<SocketKind>> {
    if domain != Domain::IPV4 && domain != Domain::IPV6 {
        return Ok(None);
    }
    let protocol = socket.protocol()?.map_or(0, i32::from);
    // MPTCP is TCP to the wire.
    let protocol = if protocol == libc::IPPROTO_MPTCP { libc::IPPROTO_TCP } else { protocol };
    let protocol = u8::try_from(protocol).unwrap_or(0);
    Ok(if socket.r#type()? == Type::RAW {
        Some(SocketKind::Raw { protocol })
    } else {
        SocketKind::of_port_protocol(protocol)
    })
}

fn network(socket: &Socket, kind: SocketKind) -> io::Result<HeldKind> {
    let own = socket.local_addr()?.as_socket();
    let own = own.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let is_raw = matches!(kind, SocketKind::Raw { .. });
    let v6only = is_raw || (own.is_ipv6() && socket.only_v6().unwrap_or(false));
    let remote = socket.peer_addr().ok().and_then(|remote| remote.as_socket());
    let remote = remote.map(|remote| SocketAddr::new(remote.ip().to_canonical(), remote.port()));
    let state = match remote {
        _ if socket.is_listener().unwrap_or(false) => SocketState::LISTEN,
        Some(_) => SocketState::ESTABLISHED,
        None => SocketState::CLOSE,
    };
    let local_port = if is_raw { 0 } else { own.port() };
    Ok(HeldKind::Network { kind, local: local(own.ip(), v6only), local_port, remote, state })
}

/// A copy of another process's descriptor.
fn copy(pid: u32, fd: RawFd) -> io::Result<Socket> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: pidfd_open(2) takes a number and flags, and gives a descriptor or -1.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: pidfd_getfd(2) takes a descriptor that is open, a number and flags, and gives a descriptor or -1.
    let copy = owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
    Ok(Socket::from(copy))
}

/// What a system call that makes a descriptor has given.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Number of the network namespace of a socket.
fn namespace(socket: &Socket) -> io::Result<u64> {
    /// `SIOCGSKNS` of linux/sockios.h.
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no argument, and gives a descriptor or -1.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    let file = File::from(owned(fd.into())?);
    Ok(file.metadata()?.ino())
}

/// EtherType and interface of a packet socket (packet(7)).
fn packet_address(socket: &Socket) -> io::Result<(u16, i32)> {
    let mut address = libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // The kernel gives no more of the hardware address than there is of it, which nix takes for an error.
    let mut length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    let place = (&raw mut address).cast::<libc::sockaddr>();
    // SAFETY: both places are valid and as long as they are said to be.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), place, &raw mut length) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((u16::from_be(address.sll_protocol), address.sll_ifindex))
}

/// The name of a family of address_families(7).
fn family(domain: Domain) -> &'static str {
    match i32::from(domain) {
        libc::AF_UNIX => "UNIX",
        libc::AF_NETLINK => "netlink",
        libc::AF_VSOCK => "vsock",
        libc::AF_ALG => "cryptography",
        libc::AF_XDP => "XDP",
        libc::AF_BLUETOOTH => "Bluetooth",
        libc::AF_CAN => "CAN",
        libc::AF_KEY => "key management",
        _ => "another family's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetNs;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn of(socket: &impl AsRawFd) -> HeldSocket {
        HeldSocket::of(std::process::id(), socket.as_raw_fd()).unwrap()
    }

    #[test]
    fn a_socket_tells_what_it_is_and_where() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = of(&listener);
        assert_eq!(held.namespace, NetNs::current().unwrap().inode());
        assert_eq!(held.interface, None);
        let local = Local::Address([127, 0, 0, 1].into());
        let expected = HeldKind::Network {
            kind: SocketKind::Tcp,
            local,
            local_port: port,
            remote: None,
            state: SocketState::LISTEN,
        };
        assert_eq!(held.what, expected);

        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let HeldKind::Network { remote, state, .. } = of(&client).what else { panic!() };
        assert_eq!((remote, state), (Some(listener.local_addr().unwrap()), SocketState::ESTABLISHED));

        let datagrams = UdpSocket::bind("[::]:0").unwrap();
        let HeldKind::Network { kind, local, .. } = of(&datagrams).what else { panic!() };
        assert_eq!((kind, local), (SocketKind::Udp, Local::Any(Family::Both)));

        // Where root may make one.
        if let Ok(lldp) = Socket::new(Domain::PACKET, Type::RAW, Some(i32::from(0x88cc_u16.to_be()).into())) {
            let HeldKind::Network { kind, .. } = of(&lldp).what else { panic!() };
            assert_eq!(kind, SocketKind::Packet { ethertype: 0x88cc });
        }

        let (local, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(of(&local).what, HeldKind::Other("UNIX"));
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = File::open("/dev/null").unwrap();
        let error = HeldSocket::of(std::process::id(), file.as_raw_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY), "{error}");
        let error = HeldSocket::of(std::process::id(), 9999).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
    }
}
