//! [`DiscardWatch`]: tells when somebody else removed the discard table.
//!
//! A firewall that is loaded anew commonly begins with `flush ruleset`, which takes every table with it; from then on
//! the relay's kernel would reset the connections of controls. The kernel tells of each table that comes or goes
//! (`NETLINK_NETFILTER`, group `NFNLGRP_NFTABLES`); of ours the last word counts, as replacing it is removing and
//! adding.

use crate::{NetNs, SetupError};
use netlink_packet_core::NetlinkBuffer;
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Watches the table `inet l2relay` of a namespace.
#[derive(Debug)]
pub struct DiscardWatch {
    socket: Socket,
}

impl DiscardWatch {
    /// Opens the socket in `netns`, not blocking, ready for mio.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let system = |source| SetupError::system("watch the nftables by netlink", source);
        let mut socket =
            netns.run(|| Socket::new(NETLINK_NETFILTER)).and_then(|socket| socket).map_err(system)?;
        socket.set_non_blocking(true).map_err(system)?;
        socket.bind_auto().map_err(system)?;
        socket.add_membership(NFNLGRP_NFTABLES).map_err(system)?;
        Ok(Self { socket })
    }

    /// Whether the table went since the last call, and has not come back. True as well if notifications were lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_gone(&mut self) -> io::Result<bool> {
        let mut gone = false;
        let mut buffer = vec![0; BUFFER];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => gone = last_word(buffer.get(..len).unwrap_or_default()).unwrap_or(gone),
                Err(Errno::ENOBUFS) => gone = true,
                Err(Errno::EAGAIN) => return Ok(gone),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsRawFd for DiscardWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Whether the last message about our table says that it went; `None` without any.
fn last_word(mut messages: &[u8]) -> Option<bool> {
    let mut gone = None;
    while let Ok(message) = NetlinkBuffer::new_checked(messages) {
        let kind = message.message_type();
        if matches!(kind, NEW_TABLE | DELETE_TABLE) && is_ours(message.payload()) {
            gone = Some(kind == DELETE_TABLE);
        }
        messages = messages.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    gone
}

/// `nfgenmsg` of 4 bytes, its family first; then the attribute `NFTA_TABLE_NAME`, which the kernel writes first.
fn is_ours(payload: &[u8]) -> bool {
    let name = payload.get(8..).unwrap_or_default();
    payload.first() == Some(&NFPROTO_INET) && name.starts_with(b"l2relay\0")
}

const NFPROTO_INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE`, and `NFT_MSG_DELTABLE`.
const NEW_TABLE: u16 = 0x0a00;
const DELETE_TABLE: u16 = 0x0a02;
const NFNLGRP_NFTABLES: u32 = 7;
/// Bytes of a datagram of notifications at most: a page, or 8 KiB where pages are larger.
const BUFFER: usize = 16 << 10;
