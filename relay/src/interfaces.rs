//! [`Interfaces`]: what the kernel says of this machine's interfaces, and when to ask again.

use crate::complaint::Complaint;
use crate::source::Source;
use crate::wire::register;
use core::time::Duration;
use l2link::Time;
use l2link_os::{IfIndex, InterfaceAddress, LinkInfo, Monitor, NetNs, Netlink, SetupError};
use mio::Registry;
use relay_core::GivenAddress;
use std::io;

/// An address of an interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) at: InterfaceAddress,
    /// Whether a control gave it.
    pub(crate) given: bool,
}

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
    pub(crate) fn list(&mut self) -> io::Result<(Vec<LinkInfo>, Vec<Address>)> {
        let addresses = self.netlink.marked_addresses()?;
        let address = |(at, given)| Address { at, given };
        Ok((self.netlink.links()?, addresses.into_iter().map(address).collect()))
    }

    /// Gives an interface an address.
    pub(crate) fn add(&mut self, address: &GivenAddress) -> io::Result<()> {
        self.netlink.add_given_address(interface_address(address))
    }

    /// Takes a given address from an interface.
    pub(crate) fn delete(&mut self, address: &GivenAddress) -> io::Result<()> {
        self.netlink.delete_given_address(interface_address(address))
    }

    /// Takes all given addresses from those interfaces. Returns whether there was any.
    pub(crate) fn delete_all(&mut self, from: impl Fn(IfIndex) -> bool) -> io::Result<bool> {
        let mut given = self.netlink.given_addresses(None)?;
        given.retain(|address| from(address.ifindex));
        given.iter().try_for_each(|address| self.netlink.delete_given_address(*address))?;
        Ok(!given.is_empty())
    }

    /// As [`Interfaces::list`], if anything has changed; `None` also if the kernel cannot be asked now.
    pub(crate) fn changed(&mut self, now: Time) -> Option<(Vec<LinkInfo>, Vec<Address>)> {
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

    /// Has [`Interfaces::changed`] list everything the next time.
    pub(crate) fn look_now(&mut self, now: Time) {
        self.again = Some(now);
    }

    /// When [`Interfaces::changed`] wants to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.again
    }

    fn complain(&mut self, error: &io::Error, now: Time) {
        self.complaint.warn("relay::port", format!("asking for the interfaces: {error}"), now);
    }
}

fn interface_address(address: &GivenAddress) -> InterfaceAddress {
    let GivenAddress { ifindex, address, prefix_length, .. } = *address;
    InterfaceAddress { ifindex: IfIndex(ifindex), address, prefix: prefix_length }
}

const RETRY: Duration = Duration::from_secs(1);
