//! [`RouteDump`]: all routes of a namespace, a few at a time.

use super::Families;
use super::kernel_route::{KernelRoute, RTMSG_LEN, emit_table};
use crate::sockets::netlink::{Channel, Received};
use crate::{NetNs, SetupError};
use core::ops::ControlFlow;
use netlink_packet_core::NLM_F_DUMP_INTR;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

/// A list of routes under way. The kernel writes each part of it when the one before has been read, so a list of a million
/// holds nobody up for longer than one step.
#[derive(Debug)]
pub struct RouteDump {
    channel: Channel,
    /// What is still to be asked for.
    families: Vec<u8>,
    protocol: Option<u8>,
    table: Option<u32>,
    asked: bool,
    interrupted: bool,
}

/// How far a [`RouteDump`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There are more.
    More,
    /// That was all.
    Done,
    /// That was all, but routes changed while the kernel wrote the list: some may be missing, or be in it twice.
    Interrupted,
}

const RTM_GETROUTE: u16 = 26;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RECEIVE_BUFFER: usize = 1 << 20;

impl RouteDump {
    /// Begins a list of the routes in all tables, or of those of one protocol only.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn start(netns: &NetNs, families: Families, protocol: Option<u8>) -> Result<Self, SetupError> {
        let channel = Channel::open(netns, NETLINK_ROUTE, &[], RECEIVE_BUFFER)
            .map_err(|source| SetupError::system("list the routes by netlink", source))?;
        // Without it the kernel does not filter by protocol, which is done here as well.
        channel.check_strictly();
        let wanted = [(families.ipv6(), AF_INET6), (families.ipv4(), AF_INET)];
        Ok(Self {
            channel,
            families: wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, family)| family).collect(),
            protocol,
            table: None,
            asked: false,
            interrupted: false,
        })
    }

    /// Leaves out the routes of other tables, which the kernel then does not even look at (since Linux 4.20).
    #[must_use]
    pub fn of_table(self, table: u32) -> Self {
        Self { table: Some(table), ..self }
    }

    /// Hands the next routes to `each`, `budget` of them and what is left of the datagram that holds the last.
    ///
    /// # Errors
    /// The kernel's.
    pub fn step(&mut self, budget: usize, mut each: impl FnMut(KernelRoute)) -> io::Result<Progress> {
        let mut seen = 0;
        while seen < budget {
            let Some(family) = self.families.last().copied() else {
                return Ok(if self.interrupted { Progress::Interrupted } else { Progress::Done });
            };
            if !self.asked {
                let mut request = vec![0; RTMSG_LEN];
                request[0] = family;
                request[5] = self.protocol.unwrap_or(0);
                if let Some(table) = self.table {
                    emit_table(table, &mut request);
                }
                self.channel.ask_all(RTM_GETROUTE, &request)?;
                self.asked = true;
            }
            match self.channel.receive()? {
                Received::Datagram => {}
                // The kernel has the answer ready before it returns from the request.
                Received::Nothing => {
                    return Err(io::Error::other("the kernel did not finish a list of routes"));
                }
                Received::Overrun => {
                    self.interrupted = true;
                    continue;
                }
            }
            let (protocol, table, interrupted, sequence) =
                (self.protocol, self.table, &mut self.interrupted, self.channel.sequence());
            let end = self.channel.messages(|message| {
                if message.sequence_number() != sequence {
                    return ControlFlow::Continue(());
                }
                *interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_DONE | NLMSG_ERROR => {
                        ControlFlow::Break(crate::sockets::netlink::status(message.payload()))
                    }
                    _ => {
                        seen += 1;
                        if let Some(route) = KernelRoute::parse(message.payload())
                            && protocol.is_none_or(|protocol| protocol == route.protocol)
                            && table.is_none_or(|table| table == route.key.table)
                        {
                            each(route);
                        }
                        ControlFlow::Continue(())
                    }
                }
            });
            if let ControlFlow::Break(end) = end {
                // A kernel without IPv6 has none of its routes.
                match end {
                    Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                    // There has never been a route in that table.
                    Err(error) if self.table.is_some() && error.raw_os_error() == Some(libc::ENOENT) => {}
                    other => other?,
                }
                self.families.pop();
                self.asked = false;
            }
        }
        Ok(Progress::More)
    }
}
