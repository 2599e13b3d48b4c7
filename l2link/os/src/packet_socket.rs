//! [`PacketSocket`]: what link socket and port socket have in common.
//!
//! The order of making one is its whole point: a packet socket made with protocol 0 receives nothing, so filter and
//! options are in force before bind(2) lets the first frame in.

use crate::{IfIndex, LinkInfo, NetNs, Netlink, SetupError};
use frames::Mac;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// An AF_PACKET socket of type SOCK_RAW.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: Socket,
    ifindex: IfIndex,
}

impl PacketSocket {
    /// A socket that receives nothing yet; `interface` is for the errors' texts.
    pub(crate) fn new(interface: &LinkInfo) -> Result<Self, SetupError> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0))).map_err(|source| {
            SetupError::capable(
                format!("opening a packet socket on {}", interface.name),
                "CAP_NET_RAW",
                source,
            )
        })?;
        Ok(Self { socket, ifindex: interface.ifindex })
    }

    /// A socket that never receives: to send by one that somebody waits for costs each frame a look at who waits, as the kernel
    /// tells that there is room again (`sock_def_write_space`, `net/core/sock.c`).
    pub(crate) fn sending(interface: &LinkInfo) -> Result<Self, SetupError> {
        let socket = Self::new(interface)?;
        socket.set_send_buffer();
        socket.bind(0).map_err(|source| {
            SetupError::system(format!("bind the sending packet socket to {}", interface.name), source)
        })?;
        Ok(socket)
    }

    /// Sets one of the options of packet(7).
    pub(crate) fn set<T: Copy>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        // A `T` here is an option's `repr(C)` struct or integer, of a few bytes.
        let len = socklen::<T>();
        // SAFETY: `value` points at `len` bytes that live until the call returns; the kernel only reads them.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                core::ptr::from_ref(value).cast(),
                len,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the receive buffer large, for bursts while the daemon does something else. Without CAP_NET_ADMIN the system's
    /// limit stays.
    pub(crate) fn set_receive_buffer(&self) {
        if setsockopt(&self.socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = self.socket.set_recv_buffer_size(RECEIVE_BUFFER);
        }
    }

    /// Makes the send buffer so large that it is the first thing that fills up, before the queue of a network card (1,000
    /// frames) drops. Without CAP_NET_ADMIN the system's limit stays.
    fn set_send_buffer(&self) {
        if setsockopt(&self.socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
            let _ = self.socket.set_send_buffer_size(SEND_BUFFER);
        }
    }

    /// Replaces the filter, without a moment in which there is none.
    pub(crate) fn set_filter(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let program: Vec<SockFilter> =
            program.iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect();
        self.socket.attach_filter(&program)
    }

    /// As [`PacketSocket::set_filter`], by a program that the kernel has already.
    pub(crate) fn set_filter_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let descriptor = program.as_raw_fd();
        let (pointer, len) = (core::ptr::from_ref(&descriptor).cast(), socklen::<libc::c_int>());
        // SAFETY: `pointer` points at a descriptor of `len` bytes that lives until the call returns; the kernel only reads it.
        let result = unsafe {
            libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF, pointer, len)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Begins to receive frames of `protocol` (host byte order) from the interface; none if that is 0.
    pub(crate) fn bind(&self, protocol: u16) -> io::Result<()> {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
        address.sll_family = AF_PACKET;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = self.index();
        let (pointer, len) = (core::ptr::from_ref(&address).cast(), socklen::<libc::sockaddr_ll>());
        // SAFETY: `pointer` points at a `sockaddr_ll` of `len` bytes that lives until the call returns.
        let result = unsafe { libc::bind(self.socket.as_raw_fd(), pointer, len) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Lets the interface accept frames to `mac`, or takes that back.
    pub(crate) fn set_membership(&self, mac: Mac, member: bool) -> io::Result<()> {
        let mr_type = if mac.is_multicast() { MULTICAST } else { UNICAST };
        let [a, b, c, d, e, f] = mac.0;
        let request = libc::packet_mreq {
            mr_ifindex: self.index(),
            mr_type,
            mr_alen: 6,
            mr_address: [a, b, c, d, e, f, 0, 0],
        };
        self.set(if member { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP }, &request)
    }

    /// Lets the interface accept frames to any station for as long as the socket is open.
    pub(crate) fn set_promiscuous(&self) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: self.index(),
            mr_type: PROMISCUOUS,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Frames dropped for want of buffer since the last call (the kernel resets its counter).
    pub(crate) fn overruns(&self) -> u64 {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = socklen::<libc::tpacket_stats>();
        // SAFETY: the pointers are to a struct of `len` bytes and to `len`, both borrowed exclusively for the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        if result < 0 { 0 } else { statistics.tp_drops.into() }
    }

    pub(crate) fn ifindex(&self) -> IfIndex {
        self.ifindex
    }

    /// Whether the socket is at its interface. When that is removed, or goes to another namespace, the kernel takes
    /// the socket off for good, even if it comes back with the same index.
    pub(crate) fn is_bound(&self) -> bool {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
        let mut len = socklen::<libc::sockaddr_ll>();
        // SAFETY: the pointers are to a struct of `len` bytes and to `len`, both borrowed exclusively for the call.
        let result =
            unsafe { libc::getsockname(self.socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
        result == 0 && address.sll_ifindex == self.index()
    }

    pub(crate) fn index(&self) -> libc::c_int {
        self.ifindex.0.cast_signed()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Looks an interface up in the thread's namespace and refuses one on which a packet socket would be of no use.
pub(crate) fn ethernet_interface(name: &str) -> Result<LinkInfo, SetupError> {
    let system = |source| SetupError::system(format!("look up interface {name}"), source);
    let mut netlink = Netlink::open(&NetNs::current()?)?;
    let info = netlink
        .link_by_name(name)
        .map_err(system)?
        .ok_or_else(|| SetupError::NoInterface { interface: name.to_owned() })?;
    if !info.ethernet {
        let kind =
            if info.loopback { "the loopback" } else { "it carries IP packets without Ethernet headers" };
        return Err(SetupError::NotEthernet { interface: name.to_owned(), kind });
    }
    if info.bridge_port {
        let links = netlink.links().map_err(system)?;
        let bridge = links.into_iter().find(|link| Some(link.ifindex) == info.master);
        let bridge = bridge.map_or_else(|| "of unknown name".to_owned(), |bridge| bridge.name);
        return Err(SetupError::BridgePort { interface: name.to_owned(), bridge });
    }
    if !info.up {
        log::warn!("interface {name} is down; waiting for `ip link set {name} up`");
    }
    Ok(info)
}

#[expect(clippy::cast_possible_truncation, reason = "checked on the line above")]
const fn socklen<T>() -> libc::socklen_t {
    const { assert!(size_of::<T>() <= 128) };
    size_of::<T>() as libc::socklen_t
}

const AF_PACKET: libc::sa_family_t = 17;
const MULTICAST: libc::c_ushort = 0;
const UNICAST: libc::c_ushort = 3;
const PROMISCUOUS: libc::c_ushort = 1;
const _: () = assert!(
    AF_PACKET as libc::c_int == libc::AF_PACKET
        && MULTICAST as libc::c_int == libc::PACKET_MR_MULTICAST
        && UNICAST as libc::c_int == libc::PACKET_MR_UNICAST
        && PROMISCUOUS as libc::c_int == libc::PACKET_MR_PROMISC
);

/// Bytes; the kernel doubles it. At 1 Gb/s some 100 ms of full-size frames with what each costs besides.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Bytes; the kernel doubles it, and charges a full-size frame with some 2.3 KiB: 900 frames.
const SEND_BUFFER: usize = 1 << 20;
