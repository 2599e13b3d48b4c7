//! [`RouteWriter`]: changes of routes, many with one system call.

use super::kernel_route::{KernelRoute, emit_delete};
use crate::sockets::netlink::{Channel, HEADER_LEN, Received};
use crate::{NetNs, SetupError};
use core::ops::ControlFlow;
use frames::route::RouteKey;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// A route where there is none of its key, whoever made it.
    Add(KernelRoute),
    /// A route in the place of that of its key, whoever made it: only for what is known to be ours.
    Replace(KernelRoute),
    /// No route of this key and protocol any more.
    Delete(RouteKey, u8),
}

impl RouteChange {
    /// Whether it is about an IPv6 route.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        let (Self::Add(KernelRoute { key, .. })
        | Self::Replace(KernelRoute { key, .. })
        | Self::Delete(key, _)) = self;
        key.prefix.address().is_ipv6()
    }
}

/// A change that the kernel refused.
#[derive(Debug)]
pub struct RouteFailure {
    /// Its place in the list.
    pub index: usize,
    /// The kernel's error.
    pub error: io::Error,
    /// The kernel's own words on it, if it has any.
    pub text: String,
}

/// Changes the routes of a namespace. Calls wait for the kernel only.
#[derive(Debug)]
pub struct RouteWriter {
    channel: Channel,
    out: Vec<u8>,
}

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const NLMSG_ERROR: u16 = 2;
/// Room for the answers to one send: an error with its text for each change.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Bytes of one send: less than the kernel's least send buffer.
const SEND_MAX: usize = 128 * 1024;
/// Changes of one send.
const CHANGES_MAX: usize = 256;

impl RouteWriter {
    /// Opens the socket in `netns`.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let mut channel = Channel::open(netns, NETLINK_ROUTE, &[], RECEIVE_BUFFER)
            .map_err(|source| SetupError::system("change routes by netlink", source))?;
        channel.explain_errors();
        Ok(Self { channel, out: Vec::new() })
    }

    /// Makes the changes in order, each by itself, and returns those that the kernel refused. Deleting what is not there
    /// is a refusal (`ESRCH`), too.
    ///
    /// # Errors
    /// The kernel's, if it cannot be asked at all.
    pub fn apply(&mut self, changes: &[RouteChange]) -> io::Result<Vec<RouteFailure>> {
        let mut failures = Vec::new();
        let mut done = 0;
        while done < changes.len() {
            let count = self.write(&changes[done..]);
            let first = self.channel.claim(count);
            self.number(first);
            self.channel.send(&self.out)?;
            self.answers(first, count, |place, error, text| {
                failures.push(RouteFailure { index: done + place as usize, error, text });
            })?;
            done += count as usize;
        }
        Ok(failures)
    }

    pub(super) fn port(&self) -> io::Result<u32> {
        self.channel.port()
    }

    /// Writes as many changes as one send may hold, at least one, and returns their number.
    fn write(&mut self, changes: &[RouteChange]) -> u32 {
        self.out.clear();
        let (mut count, mut last) = (0, 0);
        for change in changes.iter().take(CHANGES_MAX) {
            let start = self.out.len();
            if start > SEND_MAX {
                break;
            }
            last = start;
            self.out.resize(start + HEADER_LEN, 0);
            let (kind, flags) = match change {
                RouteChange::Add(route) => {
                    route.emit(&mut self.out);
                    (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)
                }
                RouteChange::Replace(route) => {
                    route.emit(&mut self.out);
                    (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE)
                }
                RouteChange::Delete(key, protocol) => {
                    emit_delete(key, *protocol, &mut self.out);
                    (RTM_DELROUTE, 0)
                }
            };
            let length = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
            let header = &mut self.out[start..start + HEADER_LEN];
            header[..4].copy_from_slice(&length.to_ne_bytes());
            header[4..6].copy_from_slice(&kind.to_ne_bytes());
            header[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
            count += 1;
        }
        // One acknowledgement says that all have been dealt with; refusals come for each.
        if let Some(flags) = self.out.get_mut(last + 6..last + 8) {
            let with_ack = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&with_ack.to_ne_bytes());
        }
        count
    }

    /// Gives the messages their sequence numbers.
    fn number(&mut self, first: u32) {
        let (mut start, mut sequence) = (0, first);
        while let Some(header) = self.out.get_mut(start..start + HEADER_LEN) {
            header[8..12].copy_from_slice(&sequence.to_ne_bytes());
            start += u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            sequence = sequence.wrapping_add(1);
        }
    }

    /// Reads answers up to that to the last change.
    fn answers(
        &mut self,
        first: u32,
        count: u32,
        mut refused: impl FnMut(u32, io::Error, String),
    ) -> io::Result<()> {
        loop {
            match self.channel.receive()? {
                Received::Datagram => {}
                Received::Nothing | Received::Overrun => {
                    return Err(io::Error::other("the kernel did not answer to changes of routes"));
                }
            }
            let end = self.channel.messages(|message| {
                let place = message.sequence_number().wrapping_sub(first);
                if message.message_type() != NLMSG_ERROR || place >= count {
                    return ControlFlow::Continue(());
                }
                let (error, text) = crate::sockets::netlink::explained(message.payload(), message.flags());
                if let Some(error) = error {
                    refused(place, error, text);
                }
                if place + 1 == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if end.is_break() {
                return Ok(());
            }
        }
    }
}
