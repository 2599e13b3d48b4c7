//! [`Requests`]: rtnetlink(7) as questions and answers.

use crate::{NetNs, SetupError};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A socket for requests, of which one is under way at a time. The kernel answers within the system call that sends
/// the request, so waiting for the answer is not waiting for anyone.
#[derive(Debug)]
pub(crate) struct Requests {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Requests {
    pub(crate) fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let system = |source| SetupError::system("open a netlink socket", source);
        let mut socket =
            netns.run(|| Socket::new(NETLINK_ROUTE)).and_then(|socket| socket).map_err(system)?;
        socket.bind_auto().map_err(system)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(system)?;
        // Lists are filtered by the kernel as the request says; before Linux 4.20 they are complete.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM_MAX), sequence: 0 })
    }

    /// Asks for a change. `flags` in addition to those of every request.
    pub(crate) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags)?;
        self.answers().map(|_| ())
    }

    /// Asks for one object.
    pub(crate) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.ask(message, NLM_F_ACK)?;
        self.answers().map(|answers| answers.messages)
    }

    /// Asks for all objects. A list that changed while the kernel wrote it is asked for again.
    pub(crate) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            self.ask(message.clone(), NLM_F_DUMP)?;
            let answers = self.answers()?;
            if !answers.interrupted {
                return Ok(answers.messages);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    /// Reads until the request's acknowledgement, error or end of list.
    fn answers(&mut self) -> io::Result<Answers> {
        let mut answers = Answers::default();
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = &self.buffer[..];
            while !rest.is_empty() {
                let header = NetlinkBuffer::new_checked(rest).map_err(invalid)?;
                let len = header.length() as usize;
                // An answer to an earlier request, of which an error was found before its end.
                let stale = header.sequence_number() != self.sequence;
                answers.interrupted |= !stale && header.flags() & NLM_F_DUMP_INTR != 0;
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..len]);
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
                if stale {
                    continue;
                }
                match message.map(|message| message.payload) {
                    Ok(NetlinkPayload::InnerMessage(message)) => answers.messages.push(message),
                    Ok(NetlinkPayload::Done(done)) if done.code == 0 => return Ok(answers),
                    Ok(NetlinkPayload::Done(done)) => return Err(io::Error::from_raw_os_error(-done.code)),
                    Ok(NetlinkPayload::Error(error)) if error.code.is_none() => return Ok(answers),
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(_) => {}
                    // One object of a kind that is newer than the library must not hide the others.
                    Err(error) => {
                        log::warn!("the kernel sent a netlink message that cannot be read: {error}")
                    }
                }
            }
        }
    }
}

impl AsFd for Requests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[derive(Default)]
struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

fn invalid(error: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Bytes that one datagram may have. The kernel fills those of a list up to 32 KiB if the reader has shown room for it
/// (`netlink_recvmsg`), and locks all interfaces for each of them: the fewer there are, the less a list waits for others.
const DATAGRAM_MAX: usize = 64 << 10;

/// While interfaces come and go by the hundred every list is interrupted: the caller has other things to do, and tries again.
const DUMP_ATTEMPTS: usize = 3;
