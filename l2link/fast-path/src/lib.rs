//! Packets of known flows between ports or symbols and the link, in the kernel: the daemons' fast path.
//!
//! # Theory of operation
//!
//! Programs for the kernel (`fast_path.bpf.c`) move packets of flows and tunnels that a daemon's core has decided about, and hand all
//! others to the daemon as if they were not there. What they know is a cache: an entry holds for one *generation* of the daemon's
//! tables, and for [`FAST_LEASE`](l2link::fast::FAST_LEASE) at most; then the next packet goes the daemon's way, whose core decides anew, counts the flow as in use,
//! and makes the entry again. To change the tables is to begin the next generation, before the change is in force.
//!
//! The kernel keeps the programs as long as this process has their links: however it ends, they end with it.
//!
//! Packets leave by the link as `PACKET` (PROTOCOL.md), in clear. Nothing in their headers depends on the packet, so that the kernel
//! may cut super-packets behind them. It also completes checksums, but only where the link interface does not claim to do so
//! itself: what hardware makes of a frame of this EtherType is its own affair, and a veth leaves it to the receiver, who
//! could not know.
//!
//! Built without the feature `ebpf`, or on a kernel without what this needs, [`FastPath::load`] says so, and there is no other way to
//! get one.

mod cache;
mod error;
#[cfg(feature = "ebpf")]
mod kernel;
#[cfg(feature = "ebpf")]
mod map;
mod newcomers;
#[cfg(not(feature = "ebpf"))]
mod without;

pub use cache::{Cache, LinkInterface, Offloads, Policy, tunnel_of};
pub use error::Error;
#[cfg(feature = "ebpf")]
pub use kernel::FastPath;
#[cfg(not(feature = "ebpf"))]
pub use without::FastPath;

use core::net::IpAddr;
use core::num::NonZeroU32;
use core::ops::RangeInclusive;
use frames::Mac;
use frames::data::PacketHeader;
use frames::header::HEADERS_LEN;
use l2link::PeerId;
use l2link::fast::{FastTraffic, FastWay};

/// Bytes of a link frame before the Ethernet frame of its packet.
pub const LINK_HEADERS: usize = HEADERS_LEN + size_of::<PacketHeader>();

/// Number of the far end of a crossing, by which packets reach symbols in another namespace; see `fast_path.bpf.c`. It is far beyond
/// what the kernel counts up to.
pub const CROSSING: u32 = 1_000_000;

/// Numbers of the interfaces of symbols in other namespaces. A symbol that has another one there has no fast path.
pub const ELSEWHERE: RangeInclusive<u32> = CROSSING + 1..=CROSSING + 4094;

/// Where the packets of a tunnel go that come by a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlet {
    /// Whose session it is.
    pub peer: PeerId,
    /// The interface.
    pub ifindex: u32,
    /// The near end of the crossing that leads to it, if it is in another namespace.
    pub near: Option<NonZeroU32>,
    /// Whether the packets are received there, or sent.
    pub receives: bool,
    /// Longest Ethernet frame in bytes.
    pub frame_max: usize,
    /// Frames to this address are left to the daemon.
    pub own: Mac,
}

/// What a packet socket at a port takes.
#[derive(Debug, Clone, Copy)]
pub struct Capture<'a> {
    /// The port's address.
    pub mac: Mac,
    /// Other unicast addresses that are taken.
    pub joined: &'a [Mac],
    /// The relay's addresses.
    pub addresses: &'a [IpAddr],
}

/// What went the fast way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// By which tunnel.
    pub what: Counts,
    /// How much since the last time.
    pub traffic: FastTraffic,
}

/// Which packets were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Those to a peer.
    Sent(FastWay),
    /// Those from a peer, by a tunnel here.
    Received(FastWay),
}
