//! The routes of a namespace: [`RouteDump`] reads them, [`RouteMonitor`] tells of changes, [`RouteWriter`] changes them,
//! [`look_up`] asks which of them a packet takes.
//!
//! The first three work on rtnetlink(7) messages of `struct rtmsg` in `kernel_route`, by themselves rather than by a library's
//! types, as a full table has a million of them. None holds more than a datagram at a time.

mod dump;
mod kernel_route;
pub(crate) mod lookup;
mod monitor;
mod writer;

pub use dump::{Progress, RouteDump};
pub use kernel_route::{KernelNexthop, KernelRoute};
pub use lookup::{Way, Wayfarer, look_up};
pub use monitor::{Change, RouteEvent, RouteMonitor};
pub use writer::{RouteChange, RouteFailure, RouteWriter};

/// The mark of the routes and addresses that a daemon of this project puts into a kernel (`rtm_protocol` of
/// `linux/rtnetlink.h`, `IFA_PROTO` of `linux/if_addr.h`); unassigned in `rt_protos` of iproute2.
pub const PROTOCOL: u8 = 108;

/// Of which versions of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Both.
    Both,
}

impl Families {
    /// Whether IPv4 is among them.
    #[must_use]
    pub const fn ipv4(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Both)
    }

    /// Whether IPv6 is among them.
    #[must_use]
    pub const fn ipv6(self) -> bool {
        matches!(self, Self::Ipv6 | Self::Both)
    }

    /// Those of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }
}
