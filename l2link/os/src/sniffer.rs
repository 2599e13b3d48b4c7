//! [`Sniffer`]: all frames of one EtherType on an interface, as a capture shows them.

use crate::interfaces::LinkInfo;
use crate::packet_socket::PacketSocket;
use crate::{NetNs, Netlink, SetupError, capture_filter};
use nix::cmsg_space;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// A packet socket that gets every frame of an EtherType that passes an interface, in either direction and whoever it is
/// for. It disturbs nothing: a bridge's port may be watched as well.
#[derive(Debug)]
pub struct Sniffer {
    interface: String,
    socket: PacketSocket,
    buffer: Box<[u8]>,
}

/// A frame as it passed.
#[derive(Debug, Clone, Copy)]
pub struct Sniffed<'a> {
    /// When the kernel saw it, since 1970.
    pub time: Duration,
    /// The whole frame, Ethernet header first; cut if it is longer than the interface's MTU and 9,230 bytes allow.
    pub frame: &'a [u8],
    /// Its length in bytes on the wire.
    pub length: usize,
}

impl Sniffer {
    /// Opens the socket, not blocking. The interface is promiscuous for as long as it is open.
    ///
    /// # Errors
    /// If there is no such Ethernet interface, or CAP_NET_RAW is missing.
    pub fn open(interface: &str, ethertype: u16) -> Result<Self, SetupError> {
        let info = look_up(interface)?;
        let socket = PacketSocket::new(&info)?;
        let system = |action: &str| {
            let action = format!("{action} of a capture on {interface}");
            move |source| SetupError::system(action, source)
        };
        let program = capture_filter::ethertype_program(ethertype);
        socket.set_filter(&program).map_err(system("set the filter"))?;
        socket.set_promiscuous().map_err(system("set the promiscuous mode"))?;
        socket.set_receive_buffer();
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimestampns, &true)
            .map_err(|error| system("ask for the times")(error.into()))?;
        // Only those who ask for all protocols are shown what this machine sends.
        socket.bind(ALL_PROTOCOLS).map_err(system("begin"))?;
        let buffer = vec![0; ETHERNET_HEADER + info.mtu.max(JUMBO) as usize].into_boxed_slice();
        Ok(Self { interface: interface.to_owned(), socket, buffer })
    }

    /// The next frame, if one waits.
    ///
    /// # Errors
    /// `ENETDOWN` once when the interface goes down; the socket goes on when it is up again. One that is removed
    /// while it is down is not told: [`Sniffer::is_there`].
    pub fn receive(&mut self) -> io::Result<Option<Sniffed<'_>>> {
        let descriptor = self.socket.as_raw_fd();
        let mut control = cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        // With MSG_TRUNC the kernel returns the length on the wire.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let received = match recvmsg::<()>(descriptor, &mut parts, Some(&mut control), flags) {
            Ok(received) => received,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = received.bytes;
        let time = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(time.into()),
            _ => None,
        });
        let frame = &self.buffer[..length.min(self.buffer.len())];
        Ok(Some(Sniffed { time: time.unwrap_or_default(), frame, length }))
    }

    /// Whether the interface exists; another one may have taken its name over.
    #[must_use]
    pub fn is_there(&self) -> bool {
        if_nametoindex(&*self.interface).is_ok_and(|index| index.cast_signed() == self.socket.index())
    }

    /// Frames that the kernel dropped since the last question because the receive buffer was full.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.socket.overruns()
    }
}

impl AsFd for Sniffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn look_up(interface: &str) -> Result<LinkInfo, SetupError> {
    let mut netlink = Netlink::open(&NetNs::current()?)?;
    let info = netlink
        .link_by_name(interface)
        .map_err(|source| SetupError::system(format!("look up interface {interface}"), source))?
        .ok_or_else(|| SetupError::NoInterface { interface: interface.to_owned() })?;
    if !info.ethernet {
        let kind = "it carries no Ethernet frames";
        return Err(SetupError::NotEthernet { interface: interface.to_owned(), kind });
    }
    Ok(info)
}

const ETHERNET_HEADER: usize = 14;
/// Jumbo frames are taken whole even where the MTU is smaller.
const JUMBO: u32 = 9216;
/// `ETH_P_ALL` of linux/if_ether.h.
const ALL_PROTOCOLS: u16 = 0x0003;
