//! A netlink socket in a namespace: one dump at a time, or a subscription.

use crate::{NetNs, SetupError};
use core::ops::ControlFlow;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Bytes that one datagram may have. The kernel fills datagrams of a dump up to 32 KiB if the reader has shown room
/// for it (`netlink_recvmsg`): the fewer datagrams, the fewer places where a dump is interrupted.
const DATAGRAM_MAX: usize = 64 * 1024;
/// How often a dump is begun anew because the kernel says that it changed meanwhile.
const DUMP_TRIES: u32 = 8;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_LEN: usize = 16;
/// Messages begin at multiples of this.
const ALIGNMENT: usize = 4;
/// Place of `nlmsg_pid` in `struct nlmsghdr`.
const NLMSG_PID: u32 = 12;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;

/// A netlink socket that stays in the namespace where it was opened.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// What one look into a channel found.
pub(crate) enum Received {
    /// A datagram, now in the buffer.
    Datagram,
    /// There is nothing to be read.
    Nothing,
    /// Datagrams were lost: the receive buffer was full.
    Overrun,
}

impl Channel {
    /// Opens a socket of a netlink protocol in `netns`, subscribed to `groups`, with room for `receive_buffer` bytes.
    pub(crate) fn open(
        netns: &NetNs,
        protocol: isize,
        groups: &[u32],
        receive_buffer: usize,
    ) -> io::Result<Self> {
        let mut socket = netns.run(|| Socket::new(protocol))??;
        socket.bind(&SocketAddr::new(0, 0))?;
        if setsockopt(&socket, RcvBufForce, &receive_buffer).is_err() {
            // Beyond net.core.rmem_max only with CAP_NET_ADMIN; a smaller buffer only means an overrun sooner.
            socket.set_rx_buf_sz(i32::try_from(receive_buffer).unwrap_or(i32::MAX))?;
        }
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Self { socket, buffer: vec![0; DATAGRAM_MAX], sequence: 0 })
    }

    /// As [`Channel::open`], for what a daemon cannot do without.
    pub(crate) fn require(
        action: &str,
        netns: &NetNs,
        protocol: isize,
        groups: &[u32],
        receive_buffer: usize,
    ) -> Result<Self, SetupError> {
        Self::open(netns, protocol, groups, receive_buffer)
            .map_err(|error| SetupError::capable(action, "CAP_SYS_ADMIN", error))
    }

    /// Asks for a dump and hands the body of each of its messages to `each`, until the kernel has no more. When the
    /// dump has to be begun anew, `each` gets `None` first and forgets what it had.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(Option<&[u8]>),
    ) -> io::Result<()> {
        for _ in 0..DUMP_TRIES {
            each(None);
            if self.dump_once(kind, body, &mut each)? {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the kernel's tables change faster than they can be read",
        ))
    }

    /// Returns whether the dump is consistent.
    fn dump_once(
        &mut self,
        kind: u16,
        body: &[u8],
        each: &mut impl FnMut(Option<&[u8]>),
    ) -> io::Result<bool> {
        self.ask_all(kind, body)?;
        let sequence = self.sequence;
        let mut consistent = true;
        loop {
            // The kernel makes the answer while it takes the request or the last datagram: it is always there.
            match self.receive()? {
                Received::Datagram => {}
                Received::Nothing => return Err(io::Error::other("the kernel did not finish a dump")),
                Received::Overrun => {
                    consistent = false;
                    continue;
                }
            }
            let end = self.messages(|message| {
                if message.sequence_number() != sequence {
                    return ControlFlow::Continue(());
                }
                consistent &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    NLMSG_DONE | NLMSG_ERROR => ControlFlow::Break(status(message.payload())),
                    _ => {
                        each(Some(message.payload()));
                        ControlFlow::Continue(())
                    }
                }
            });
            if let ControlFlow::Break(end) = end {
                return end.map(|()| consistent);
            }
        }
    }

    /// Sends the request for a dump.
    pub(crate) fn ask_all(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.claim(1);
        let length = HEADER_LEN + body.len();
        self.buffer.clear();
        self.buffer.resize(length, 0);
        let mut message = NetlinkBuffer::new(&mut self.buffer);
        message.set_length(u32::try_from(length).unwrap_or(u32::MAX));
        message.set_message_type(kind);
        message.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
        message.set_sequence_number(self.sequence);
        message.set_port_number(0);
        message.payload_mut().copy_from_slice(body);
        self.socket.send_to(&self.buffer, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// The sequence number of the last request.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Takes sequence numbers for `count` requests, and returns the first.
    pub(crate) fn claim(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    /// The kernel's name for this socket, which stands in what it tells others of changes that were asked for here.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Leaves out notifications of changes that were asked for at another socket.
    pub(crate) fn ignore(&self, port: u32) -> io::Result<()> {
        // The field is in host order, and the filter machine reads it in network order.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let step = |code: u32, jt, jf, k| SockFilter::new(u16::try_from(code).unwrap_or_default(), jt, jf, k);
        let filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NLMSG_PID),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, port),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        ];
        SockRef::from(&self.socket).attach_filter(&filter)
    }

    /// Sends messages as they are.
    pub(crate) fn send(&self, messages: &[u8]) -> io::Result<()> {
        self.socket.send_to(messages, &SocketAddr::new(0, 0), 0).map(|_| ())
    }

    /// Has the kernel check and honour every field of a request for a dump (`NETLINK_GET_STRICT_CHK`).
    pub(crate) fn check_strictly(&self) {
        if self.socket.set_netlink_get_strict_chk(true).is_err() {
            log::debug!("the kernel does not filter dumps");
        }
    }

    /// Has the kernel put words to its errors (`NETLINK_EXT_ACK`), without the request (`NETLINK_CAP_ACK`).
    pub(crate) fn explain_errors(&mut self) {
        let set = self.socket.set_ext_ack(true).and_then(|()| self.socket.set_cap_ack(true));
        if set.is_err() {
            log::debug!("the kernel does not explain its errors");
        }
    }

    /// Reads the next datagram of the kernel. Does not block.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, libc::MSG_DONTWAIT) {
                // Port 0 is the kernel; anyone else has no business here.
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(Received::Datagram),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return Ok(Received::Nothing),
                    Some(libc::ENOBUFS) => return Ok(Received::Overrun),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Walks through the messages of the datagram that was read last.
    pub(crate) fn messages<B>(
        &self,
        mut each: impl FnMut(NetlinkBuffer<&[u8]>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut rest = self.buffer.as_slice();
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            let length = (message.length() as usize).next_multiple_of(ALIGNMENT);
            each(message)?;
            rest = rest.get(length..).unwrap_or_default();
        }
        ControlFlow::Continue(())
    }
}

/// The error number at the head of NLMSG_DONE and NLMSG_ERROR.
pub(crate) fn status(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) {
        0.. => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// The error of an NLMSG_ERROR, none if it is an acknowledgement, and the kernel's words on it.
pub(crate) fn explained(payload: &[u8], flags: u16) -> (Option<io::Error>, String) {
    let error = status(payload).err();
    // The error number, the header of the request and, unless capped, its body.
    let length = payload.get(4..).and_then(|request| request.first_chunk());
    let length = length.map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize).max(HEADER_LEN);
    let skip = 4 + if flags & NLM_F_CAPPED == 0 { length } else { HEADER_LEN };
    let attributes = payload.get(skip.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    (error, if flags & NLM_F_ACK_TLVS == 0 { String::new() } else { words(attributes) })
}

/// The text among the attributes of an extended acknowledgement.
fn words(mut attributes: &[u8]) -> String {
    while let Some(([l0, l1, t0, t1], _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(value) = attributes.get(4..length) else { break };
        if u16::from_ne_bytes([*t0, *t1]) == NLMSGERR_ATTR_MSG {
            return String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        }
        attributes = attributes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    String::new()
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
