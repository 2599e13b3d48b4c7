//! [`Interfaces`]: what the kernel says of this machine's interfaces, and when to ask again.

use crate::complaint::Complaint;
use crate::source::Source;
use crate::wire::register;
use core::time::Duration;
use l2link::Time;
use l2link_os::{InterfaceAddress, LinkInfo, Monitor, NetNs, Netlink, SetupError};
use mio::Registry;
use std::io;

/// Interfaces and their addresses.
#[derive(Debug)]
pub(crate) struct Interfaces {
    netlink: Netlink,
    monitor: Monitor,
    /// When to look again, as something could not be opened.
    again: Option<Time>,
    complaint: Complaint,
}

impl Interfaces {
    /// Watches from now on.
    pub(crate) fn open(netns: &NetNs, registry: &Registry) -> Result<Self, SetupError> {
        let monitor = Monitor::open(netns)?;
        register(registry, &monitor, Source::Interfaces)
            .map_err(|error| SetupError::system("watching the interfaces", error))?;
        let netlink = Netlink::open(netns)?;
        Ok(Self { netlink, monitor, again: None, complaint: Complaint::default() })
    }

    /// All interfaces and all addresses.
    pub(crate) fn list(&mut self) -> io::Result<(Vec<LinkInfo>, Vec<InterfaceAddress>)> {
        Ok((self.netlink.links()?, self.netlink.addresses(None)?))
    }

    /// As [`Interfaces::list`], if anything has changed; `None` also if the kernel cannot be asked now.
    pub(crate) fn changed(&mut self, now: Time) -> Option<(Vec<LinkInfo>, Vec<InterfaceAddress>)> {
        let due = self.again.is_some_and(|again| again <= now);
        match self.monitor.drain() {
            Ok(false) if !due => return None,
            Ok(_) => {}
            Err(error) => self.complain(&error, now),
        }
        self.again = None;
        match self.list() {
            Ok(list) => Some(list),
            Err(error) => {
                self.complain(&error, now);
                self.look_again(now);
                None
            }
        }
    }

    /// Has [`Interfaces::changed`] list everything in a second, whether or not anything changes.
    pub(crate) fn look_again(&mut self, now: Time) {
        self.again = Some(now + RETRY);
    }

    /// When [`Interfaces::changed`] wants to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.again
    }

    fn complain(&mut self, error: &io::Error, now: Time) {
        self.complaint.warn("relay::port", format!("asking for the interfaces: {error}"), now);
    }
}

const RETRY: Duration = Duration::from_secs(1);
