//! [`Channel`]: a connection of daemon and keeper.

use super::message::{LONGEST, Message};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, getsockopt, recvmsg, sendmsg, sockopt,
};
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

/// How long one end waits for the other one to take a datagram. The kernel's queue has room for some ten.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// A connected socket of type `SOCK_SEQPACKET`.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
}

impl Channel {
    /// Connects to whoever listens at `path`.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        // Where too many wait already.
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect(&SockAddr::unix(path)?)?;
        Self::new(socket)
    }

    /// A connection, if its other end is of root or of this process's own user.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
        if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
            let message = format!("the other end is process {} of user {}", peer.pid(), peer.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(Self { socket })
    }

    /// Sends a datagram, and a device with it.
    pub(super) fn send(&self, message: &Message, device: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = message.encode()?;
        let descriptors: Vec<RawFd> = device.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(&bytes)];
        loop {
            match sendmsg(self.socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None::<&UnixAddr>)
            {
                Ok(_) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next datagram, and the device that came with it; `None` when the other end has gone. Waits for one.
    pub(super) fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = vec![0; LONGEST];
        let mut space = nix::cmsg_space!(RawFd);
        let (length, truncated, device) = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Ok(received) => {
                    let mut device = None;
                    for control in received.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(descriptors) = control {
                            for descriptor in descriptors {
                                // SAFETY: the kernel has just made this descriptor for this process, and nobody else
                                // knows its number. Each is taken into possession once; all but the last are closed.
                                device = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
                            }
                        }
                    }
                    break (received.bytes, received.flags.contains(MsgFlags::MSG_TRUNC), device);
                }
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ECONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        if truncated {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram is too long"));
        }
        if length == 0 {
            return Ok(None);
        }
        Message::parse(&bytes[..length]).map(|message| Some((message, device)))
    }

    /// Waits until the other end has gone, for at most as long as an answer may take.
    pub(super) fn await_end(&self) {
        // Whatever it is that ends the wait, nothing is left to be done.
        while let Ok(Some(_)) = self.receive() {}
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::Place;
    use std::fs::File;
    use std::io::{Read, Write};

    fn pair() -> (Channel, Channel) {
        let (a, b) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    #[test]
    fn a_descriptor_travels_with_its_datagram() {
        let (a, b) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let place = Place { netns: "router".into(), interface: "eth1".into() };
        let hold = Message::Hold(place, b"note".to_vec());
        a.send(&hold, Some(writer.as_fd())).unwrap();
        a.send(&Message::End, None).unwrap();
        drop((writer, a));
        let (message, device) = b.receive().unwrap().unwrap();
        assert_eq!(message, hold);
        File::from(device.unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through", "and it is open nowhere else");
        assert!(matches!(b.receive().unwrap(), Some((Message::End, None))));
        assert!(b.receive().unwrap().is_none(), "the other end has gone");
    }

    #[test]
    fn who_does_not_read_does_not_hold_up_the_other_end_for_ever() {
        let (a, _b) = pair();
        let full = (0..10_000).find_map(|_| a.send(&Message::End, None).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
