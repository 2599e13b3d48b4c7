//! [`MembershipTable`] and [`MembershipEvents`]: the multicast groups that programs joined, so that the relay's port can
//! listen for them too.

use super::netlink::{Channel, Received};
use super::proc_file::ProcFile;
use crate::{IfIndex, NetNs, SetupError};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::Mac;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// `RTNLGRP_IPV4_MCADDR` and `RTNLGRP_IPV6_MCADDR` (`linux/rtnetlink.h`).
const GROUPS: [u32; 2] = [37, 38];
/// Room for events; losing them does no harm.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// A group to which an interface listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Membership {
    /// An IP multicast group, joined by programs or by the kernel itself (all-systems, solicited-node).
    Group {
        /// The interface.
        interface: IfIndex,
        /// The group.
        group: IpAddr,
    },
    /// A multicast Ethernet address of the interface's filter, those of the IP groups included.
    Ethernet {
        /// The interface.
        interface: IfIndex,
        /// The address.
        mac: Mac,
    },
}

/// The multicast groups of one namespace's interfaces.
#[derive(Debug)]
pub struct MembershipTable {
    igmp: Option<ProcFile>,
    igmp6: Option<ProcFile>,
    dev_mcast: Option<ProcFile>,
}

impl MembershipTable {
    /// Opens what is needed to look into `netns`.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the files cannot be opened.
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let file = |name: &str| {
            ProcFile::open(netns, name)
                .map_err(|error| SetupError::system(format!("opening /proc/net/{name}"), error))
        };
        Ok(Self { igmp: file("igmp")?, igmp6: file("igmp6")?, dev_mcast: file("dev_mcast")? })
    }

    /// All memberships, sorted, each once.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn memberships(&mut self) -> io::Result<Vec<Membership>> {
        let mut memberships = Vec::new();
        if let Some(file) = &mut self.igmp {
            parse_igmp(file.read()?, &mut memberships);
        }
        if let Some(file) = &mut self.igmp6 {
            memberships.extend(file.read()?.lines().filter_map(igmp6_line));
        }
        if let Some(file) = &mut self.dev_mcast {
            memberships.extend(file.read()?.lines().filter_map(dev_mcast_line));
        }
        memberships.sort_unstable();
        memberships.dedup();
        Ok(memberships)
    }
}

/// A line of an interface begins with its index; the lines of its groups follow, indented by tabs.
fn parse_igmp(text: &str, memberships: &mut Vec<Membership>) {
    let mut interface = None;
    for line in text.lines() {
        let Some(field) = line.split_ascii_whitespace().next() else { continue };
        if !line.starts_with('\t') {
            interface = field.parse().ok().map(IfIndex);
        } else if let (Some(interface), Ok(group)) = (interface, u32::from_str_radix(field, 16)) {
            // The address in the machine's byte order.
            let group = IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes()));
            memberships.push(Membership::Group { interface, group });
        }
    }
}

/// `INDEX NAME GROUP USERS FLAGS TIMER`.
fn igmp6_line(line: &str) -> Option<Membership> {
    let mut fields = line.split_ascii_whitespace();
    let interface = IfIndex(fields.next()?.parse().ok()?);
    let group = u128::from_str_radix(fields.nth(1)?, 16).ok()?;
    Some(Membership::Group { interface, group: IpAddr::V6(Ipv6Addr::from_bits(group)) })
}

/// `INDEX NAME USERS GLOBAL ADDRESS`; addresses of other than six bytes are not Ethernet's.
fn dev_mcast_line(line: &str) -> Option<Membership> {
    let mut fields = line.split_ascii_whitespace();
    let interface = IfIndex(fields.next()?.parse().ok()?);
    let address = fields.nth(3).filter(|digits| digits.len() == 12)?;
    let address = u64::from_str_radix(address, 16).ok()?.to_be_bytes();
    let [_, _, mac @ ..] = address;
    Some(Membership::Ethernet { interface, mac: Mac(mac) })
}

/// Tells that a membership of one namespace changed.
#[derive(Debug)]
pub struct MembershipEvents {
    channel: Channel,
}

impl MembershipEvents {
    /// Subscribes in `netns`; `None` on a kernel that does not tell, as Debian 12's 6.1: look from time to time there.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn open(netns: &NetNs) -> Result<Option<Self>, SetupError> {
        match Channel::open(netns, NETLINK_ROUTE, &GROUPS, RECEIVE_BUFFER) {
            Ok(channel) => Ok(Some(Self { channel })),
            // A group beyond those that the kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            Err(error) => {
                Err(SetupError::capable("listening for multicast memberships", "CAP_SYS_ADMIN", error))
            }
        }
    }

    /// Whether anything changed since the last time. Does not block.
    ///
    /// # Errors
    /// Errors of the netlink socket other than lost events, which count as a change.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match self.channel.receive()? {
                Received::Nothing => return Ok(changed),
                Received::Datagram | Received::Overrun => changed = true,
            }
        }
    }
}

impl AsRawFd for MembershipEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_raw_fd()
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// In the form of `igmp_mc_seq_show`, `igmp6_mc_seq_show` and `dev_mc_seq_show` of the kernel.
    const IGMP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
7\teth1      :     2      V3
\t\t\t\t050000E0     1 0:00000000\t\t0
\t\t\t\t010000E0     1 0:00000000\t\t0
";
    const IGMP6: &str = "7    eth1            ff020000000000000000000000000005     1 0000000C 0
x    eth1            ff02     1 0000000C 0
";
    const DEV_MCAST: &str = "7    eth1            1     0     01005e000005
8    ib0             1     0     00ffffffff12401bffff000000000000ffffffff
";

    #[test]
    fn the_files_are_read() {
        let group = |index, group: &str| Membership::Group {
            interface: IfIndex(index),
            group: group.parse().unwrap(),
        };
        let mut memberships = Vec::new();
        parse_igmp(IGMP, &mut memberships);
        assert_eq!(memberships, [group(1, "224.0.0.1"), group(7, "224.0.0.5"), group(7, "224.0.0.1")]);
        let six: Vec<_> = IGMP6.lines().filter_map(igmp6_line).collect();
        assert_eq!(six, [group(7, "ff02::5")]);
        let ethernet: Vec<_> = DEV_MCAST.lines().filter_map(dev_mcast_line).collect();
        let mac = Mac([0x01, 0, 0x5e, 0, 0, 5]);
        assert_eq!(ethernet, [Membership::Ethernet { interface: IfIndex(7), mac }]);
    }
}
