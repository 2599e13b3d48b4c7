//! Programs in the kernel (eBPF) that tell when sockets are opened and closed in namespaces that are watched: the control's
//! other trigger, beside [`l2link_os::trigger`].
//!
//! # Theory of operation
//!
//! As there, an event only says when to dump, and the dump is the truth. `socket_events.bpf.c` has the programs: at hooks of the root
//! of the cgroups, which see every program of the machine, and at two tracepoints. Unlike tracefs they know the namespace and the protocol, so
//! that nobody is woken for what nobody watches, and they cost a program nothing that opens no socket.
//!
//! Each namespace that is watched has a word in memory that the kernel shares with the daemon. A program sets a bit there, and wakes
//! the daemon if it was not set. The daemon clears it when it begins to dump ([`Watch::begin_look`]), and not when it hears of it: as long as a dump is
//! put off, because others have cost too much, nothing wakes it.
//!
//! The kernel keeps the programs as long as this process has their links: however it ends, they end with it.
//!
//! Built without the feature `ebpf`, or on a kernel without what this needs, [`SocketEvents::open`] says so, and there is no other way
//! to get one.

#[cfg(feature = "ebpf")]
mod cgroup;
mod error;
#[cfg(feature = "ebpf")]
mod kernel;
#[cfg(feature = "ebpf")]
mod places;
#[cfg(not(feature = "ebpf"))]
mod without;

pub use error::Error;
#[cfg(feature = "ebpf")]
pub use kernel::SocketEvents;
#[cfg(feature = "ebpf")]
pub use places::{Watch, Watcher};
#[cfg(not(feature = "ebpf"))]
pub use without::{SocketEvents, Watch, Watcher};

use l2link_os::trigger::Told;

/// What happened in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// The number that was given to [`Watcher::watch`].
    pub namespace: u32,
    /// Of which sockets.
    pub told: Told,
}
