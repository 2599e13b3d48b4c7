//! Having a changed carrier told at once.

use super::{IfIndex, Netlink};
use std::io;

impl Netlink {
    /// Has the kernel tell everybody of a carrier that has changed, now.
    ///
    /// By itself it may take its time with a *lost* one: of interfaces like a TAP it deals with such changes once in a
    /// second (`linkwatch_schedule_work` in `net/core/link_watch.c`), which a routing daemon would pay with a second of
    /// lost packets. To be asked for the interface has it deal with that interface first (`linkwatch_sync_dev`, since
    /// Linux 6.8; earlier kernels keep their second).
    ///
    /// # Errors
    /// The kernel's.
    pub fn settle_carrier(&mut self, ifindex: IfIndex) -> io::Result<()> {
        self.link_by_index(ifindex).map(|_| ())
    }
}
