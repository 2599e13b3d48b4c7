//! [`RouteMonitor`]: what happens to the routes of a namespace.
//!
//! # Theory of operation
//! Linux drops IPv4 routes without a word when their interface is set down or removed, when the address goes that made
//! their gateway reachable, and when the nexthop object goes that they use (`fib_sync_down_dev`, `fib_sync_down_addr` of
//! `net/ipv4/fib_semantics.c`). An IPv6 route by a group of nexthop objects loses those of an interface that is set down,
//! and those that are deleted, as quietly. Every event after which that may have happened becomes a
//! [`RouteEvent::Redump`], as does a receive buffer that overflowed: the owner then lists the routes anew and compares.

use super::Families;
use super::kernel_route::KernelRoute;
use crate::sockets::netlink::{Channel, Received};
use crate::{NetNs, SetupError};
use core::ops::ControlFlow;
use frames::route::RouteKey;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteEvent {
    /// There is a route.
    Set {
        /// The route.
        route: KernelRoute,
        /// How it came.
        how: Change,
    },
    /// A route is gone.
    Gone {
        /// Which.
        key: RouteKey,
        /// Who had made it.
        protocol: u8,
        /// How many nexthops of it are gone: of an IPv6 route others may be left.
        nexthops: usize,
    },
    /// Routes may be gone without a word: list them anew.
    Redump(Families),
    /// An interface or address changed: what could not be installed perhaps can be now.
    Interfaces,
}

impl RouteEvent {
    /// Whether an IPv6 route changed, or may have.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Set { route, .. } => route.key.prefix.address().is_ipv6(),
            Self::Gone { key, .. } => key.prefix.address().is_ipv6(),
            Self::Redump(families) => families.ipv6(),
            Self::Interfaces => false,
        }
    }
}

/// How a route came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// As a new one. If there is one of its key already, this is another one beside it.
    New,
    /// In the place of the one of its key.
    Replaced,
    /// Behind the one of its key.
    Appended,
}

/// Tells what happens to the routes of a namespace.
#[derive(Debug)]
pub struct RouteMonitor {
    channel: Channel,
    events: VecDeque<RouteEvent>,
    /// Whether interfaces were up and had carrier, by their index.
    up: HashMap<u32, bool>,
    overruns: u64,
}

/// RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, NEXTHOP of `linux/rtnetlink.h`.
const GROUPS: [u32; 6] = [1, 5, 7, 9, 11, 32];
/// Bytes: some 160,000 notifications. A routing daemon that starts makes more than a hundred thousand in a second.
const RECEIVE_BUFFER: usize = 64 << 20;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;

impl RouteMonitor {
    /// Opens the socket in `netns`, not blocking, ready for mio.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let channel = Channel::open(netns, NETLINK_ROUTE, &GROUPS, RECEIVE_BUFFER)
            .map_err(|source| SetupError::system("watch the routes by netlink", source))?;
        Ok(Self { channel, events: VecDeque::new(), up: HashMap::new(), overruns: 0 })
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next_event(&mut self) -> io::Result<Option<RouteEvent>> {
        while self.events.is_empty() {
            match self.channel.receive()? {
                Received::Nothing => return Ok(None),
                Received::Overrun => {
                    self.overruns += 1;
                    self.up.clear();
                    // What is still queued is older than what was lost, and must not be taken for news after the dump.
                    while !matches!(self.channel.receive()?, Received::Nothing) {}
                    self.events.push_back(RouteEvent::Redump(Families::Both));
                }
                Received::Datagram => self.read(),
            }
        }
        Ok(self.events.pop_front())
    }

    /// Leaves out what `writer` changes from now on: its owner knows.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ignore(&self, writer: &super::RouteWriter) -> io::Result<()> {
        self.channel.ignore(writer.port()?)
    }

    /// How often notifications were lost since the last call; each time came a [`RouteEvent::Redump`].
    pub fn overruns(&mut self) -> u64 {
        core::mem::take(&mut self.overruns)
    }

    fn read(&mut self) {
        let (events, up) = (&mut self.events, &mut self.up);
        let _: ControlFlow<()> = self.channel.messages(|message| {
            let (payload, flags) = (message.payload(), message.flags());
            match message.message_type() {
                RTM_NEWROUTE => {
                    let how = match flags {
                        flags if flags & NLM_F_APPEND != 0 => Change::Appended,
                        flags if flags & NLM_F_REPLACE != 0 => Change::Replaced,
                        _ => Change::New,
                    };
                    events.extend(KernelRoute::parse(payload).map(|route| RouteEvent::Set { route, how }));
                }
                RTM_DELROUTE => events.extend(KernelRoute::parse(payload).map(gone)),
                kind @ (RTM_NEWLINK | RTM_DELLINK) => {
                    if went_down(kind, payload, up) {
                        events.push_back(RouteEvent::Redump(Families::Both));
                    }
                    events.push_back(RouteEvent::Interfaces);
                }
                RTM_NEWADDR => events.push_back(RouteEvent::Interfaces),
                RTM_DELADDR => {
                    if payload.first() == Some(&AF_INET) {
                        events.push_back(RouteEvent::Redump(Families::Ipv4));
                    }
                    events.push_back(RouteEvent::Interfaces);
                }
                RTM_DELNEXTHOP => events.push_back(RouteEvent::Redump(Families::Both)),
                RTM_NEWNEXTHOP if flags & NLM_F_REPLACE != 0 => {
                    events.push_back(RouteEvent::Redump(Families::Both));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
    }
}

/// A route is gone. One that the key does not tell from others (of one type of service only, say) leaves them there.
fn gone(route: KernelRoute) -> RouteEvent {
    if route.unsupported.is_some() {
        let ipv4 = route.key.prefix.address().is_ipv4();
        return RouteEvent::Redump(if ipv4 { Families::Ipv4 } else { Families::Ipv6 });
    }
    RouteEvent::Gone { key: route.key, protocol: route.protocol, nexthops: route.nexthops.len() }
}

/// Whether an interface is down or has lost its carrier, and had not before, or was not known. Without carrier, nexthop
/// objects go (`nh_netdev_event` of `net/ipv4/nexthop.c`), and the routes that use them with them.
fn went_down(kind: u16, ifinfomsg: &[u8], up: &mut HashMap<u32, bool>) -> bool {
    // family, pad, type (2), index (4), flags (4), change (4)
    let number = |place: usize| ifinfomsg.get(place..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let (Some(index), Some(flags)) = (number(4), number(8)) else { return true };
    if kind == RTM_DELLINK {
        up.remove(&index);
        return true;
    }
    let is_up = flags & IFF_UP != 0 && flags & (IFF_RUNNING | IFF_LOWER_UP) != 0;
    let was_up = up.insert(index, is_up);
    !is_up && was_up != Some(false)
}

impl AsRawFd for RouteMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_raw_fd()
    }
}
