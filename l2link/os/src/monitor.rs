//! [`Monitor`]: a bell that rings when interfaces or addresses change; rules of policy routing and queueing disciplines if wanted.
//!
//! The notifications themselves are thrown away: they can be lost, and they tell less than the kernel's present state,
//! for which the caller asks [`crate::Netlink`] then.

use crate::{NetNs, SetupError};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Tells that interfaces or addresses of a namespace have changed.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Opens the socket in `netns`, not blocking, ready for mio.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let system = |source| SetupError::system("watch the interfaces by netlink", source);
        let mut socket =
            netns.run(|| Socket::new(NETLINK_ROUTE)).and_then(|socket| socket).map_err(system)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            log::debug!("the netlink receive buffer keeps its size: CAP_NET_ADMIN is missing");
        }
        socket.set_non_blocking(true).map_err(system)?;
        socket.bind_auto().map_err(system)?;
        for group in GROUPS {
            socket.add_membership(group).map_err(system)?;
        }
        Ok(Self { socket })
    }

    /// Rings when rules of policy routing change, too. Some network managers remove those that are not theirs when they
    /// start.
    ///
    /// # Errors
    /// The kernel's.
    pub fn with_rules(self) -> io::Result<Self> {
        for group in RULE_GROUPS {
            self.socket.add_membership(group)?;
        }
        Ok(self)
    }

    /// Rings when queueing disciplines change, too.
    ///
    /// # Errors
    /// The kernel's.
    pub fn with_queues(self) -> io::Result<Self> {
        self.socket.add_membership(QUEUE_GROUP)?;
        Ok(self)
    }

    /// Whether anything has changed since the last call; the caller then asks [`crate::Netlink`].
    ///
    /// # Errors
    /// The kernel's; a lost notification counts as a change.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut changed = false;
        // One byte of each notification says enough; the rest is cut off.
        let mut byte = [0];
        loop {
            match recv(self.socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR of `linux/rtnetlink.h`.
const GROUPS: [u32; 3] = [1, 5, 9];
/// RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE.
const RULE_GROUPS: [u32; 2] = [8, 19];
/// RTNLGRP_TC.
const QUEUE_GROUP: u32 = 4;
/// Bytes; the default holds some 256 notifications.
const RECEIVE_BUFFER: usize = 4 << 20;
