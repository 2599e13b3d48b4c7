//! [`OutputPath`]: what the kernel does with a packet of this machine's own before an interface has it.
//!
//! # Theory of operation
//!
//! Whoever gives a packet to an interface himself (packet(7)) passes by what the kernel would have done: routes, firewall,
//! IPsec, neighbors. That is right only where nothing but an Ethernet header would have come of it. So the kernel is asked:
//!
//! - The route (`RTM_GETROUTE`, with the source, as routing rules may go by it): one that leads out of an interface, without
//!   encapsulation, to one nexthop: of several the kernel chooses by more than it is told in the question. Its MTU may be that
//!   of a path which is narrower somewhere.
//! - The neighbor (`RTM_GETNEIGH`): one whose Ethernet address the kernel would use now. Before Linux 6.17 the question waits for
//!   whoever changes interfaces (`rtnl_lock`), so an answer counts until a neighbor changes, a second at most.
//! - The firewall: no chain of nftables at the hooks output and postrouting, no table of the older iptables (each of them has such
//!   a chain), no service of IPVS.
//! - IPsec: no policy.
//!
//! The sockets stay open: nftables makes who closes one wait for whoever changes its tables (`nft_rcv_nl_event`).
//!
//! What no list shows (programs of BPF at those hooks, SELinux) can only forbid a packet, which the caller hears if he
//! sends some of them by the kernel; but labels that SELinux puts into packets (CIPSO, CALIPSO) are passed by.

use crate::interfaces::extra_macs::mac;
use crate::routes::lookup::{Wayfarer, ask, leaves};
use crate::rtnetlink::Requests;
use crate::sockets::netlink::{Channel, Received};
use crate::{IfIndex, NetNs, SetupError};
use frames::Mac;
use netlink_packet_core::NlasIterator;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Questions to the kernel of a namespace about what leaves it.
#[derive(Debug)]
pub struct OutputPath {
    netns: NetNs,
    requests: Requests,
    /// Of nftables and IPsec; `None` if the kernel has none.
    chains: Option<Channel>,
    policies: Option<Channel>,
    /// They tell of changes of these.
    filter_changes: [Option<Channel>; 2],
    neighbors: HashMap<(IfIndex, IpAddr), (Option<Mac>, Instant)>,
    neighbor_changes: Option<Channel>,
}

/// Where a packet leaves, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The interface.
    pub interface: IfIndex,
    /// The Ethernet address of the neighbor.
    pub mac: Mac,
    /// Bytes that an IP packet may have on its path, if the kernel knows of less than the interface's MTU.
    pub path_mtu: Option<u32>,
}

impl OutputPath {
    /// Opens what it takes to ask.
    ///
    /// # Errors
    /// [`SetupError::Capability`] without CAP_NET_ADMIN, [`SetupError::System`] if there can be no sockets.
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let channel = |protocol, groups: &[u32]| match Channel::open(netns, protocol, groups, RECEIVE_BUFFER)
        {
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(None),
            Err(error) => Err(SetupError::capable(
                "asking what looks at packets on their way out",
                "CAP_NET_ADMIN",
                error,
            )),
            Ok(channel) => Ok(Some(channel)),
        };
        Ok(Self {
            netns: netns.clone(),
            requests: Requests::open(netns)?,
            chains: channel(NETLINK_NETFILTER, &[])?,
            policies: channel(NETLINK_XFRM, &[])?,
            filter_changes: [
                channel(NETLINK_NETFILTER, &[NFNLGRP_NFTABLES])?,
                channel(NETLINK_XFRM, &[XFRMNLGRP_POLICY])?,
            ],
            neighbors: HashMap::new(),
            neighbor_changes: channel(NETLINK_ROUTE, &[RTNLGRP_NEIGH])?,
        })
    }

    /// Where packets from an address of this machine to `destination` leave; `None` if more than an Ethernet header comes before
    /// that, or the neighbor is not known yet.
    ///
    /// # Errors
    /// The kernel's: those of [`crate::routes::look_up`].
    pub fn next_hop(&mut self, source: IpAddr, destination: IpAddr) -> io::Result<Option<NextHop>> {
        let packet = Wayfarer { source: Some(source), destination, arrives: None, transport: None };
        let route = ask(&mut self.requests, &packet, RouteFlags::empty())?;
        let (gateway, Some(interface)) = leaves(&route) else { return Ok(None) };
        if route.header.kind != RouteType::Unicast || is_encapsulated(&route) {
            return Ok(None);
        }
        if has_several_nexthops(&ask(&mut self.requests, &packet, RouteFlags::FibMatch)?) {
            return Ok(None);
        }
        let mac = self.neighbor(interface, gateway.unwrap_or(destination))?;
        Ok(mac.map(|mac| NextHop { interface, mac, path_mtu: path_mtu(&route) }))
    }

    /// The Ethernet address that the kernel would use for a neighbor without asking for it.
    fn neighbor(&mut self, interface: IfIndex, address: IpAddr) -> io::Result<Option<Mac>> {
        if has_something(self.neighbor_changes.as_mut()) || self.neighbors.len() >= NEIGHBORS_MAX {
            self.neighbors.clear();
        }
        if let Some((mac, asked)) = self.neighbors.get(&(interface, address))
            && asked.elapsed() < NEIGHBOR_COUNTS
        {
            return Ok(*mac);
        }
        let mac = self.ask_for_neighbor(interface, address)?;
        self.neighbors.insert((interface, address), (mac, Instant::now()));
        Ok(mac)
    }

    fn ask_for_neighbor(&mut self, interface: IfIndex, address: IpAddr) -> io::Result<Option<Mac>> {
        let mut message = NeighbourMessage::default();
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = interface.0;
        message.attributes.push(NeighbourAttribute::Destination(address.into()));
        let answers = match self.requests.get(RouteNetlinkMessage::GetNeighbour(message)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            answers => answers?,
        };
        Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(neighbor) => usable_mac(&neighbor),
            _ => None,
        }))
    }

    /// Whether nftables or IPsec have changed since the last call, so that [`OutputPath::is_unfiltered`] may have another answer. The
    /// older iptables tell nobody.
    pub fn has_changed(&mut self) -> bool {
        let [chains, policies] = &mut self.filter_changes;
        // Both are read.
        has_something(chains.as_mut()) | has_something(policies.as_mut())
    }

    /// Whether nothing looks at what this machine sends: no firewall at the hooks output and postrouting, no IPsec policy. What is for
    /// one version of IP only counts for both.
    ///
    /// # Errors
    /// The kernel's, which say that the answer is not known.
    pub fn is_unfiltered(&mut self) -> io::Result<bool> {
        Ok(!self.has_old_tables()? && !self.has_chains()? && !self.has_ipsec()?)
    }

    /// Whether nftables, or iptables on top of it, has a chain there.
    fn has_chains(&mut self) -> io::Result<bool> {
        let Some(chains) = &mut self.chains else { return Ok(false) };
        let mut found = false;
        let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
        // `struct nfgenmsg`: all families.
        chains.dump(kind, &[0; NFGENMSG_LEN], |chain| match chain {
            Some(chain) => found |= leaves_by(chain),
            None => found = false,
        })?;
        Ok(found)
    }

    /// Whether the iptables that came before nftables has a table, or IPVS a service.
    fn has_old_tables(&self) -> io::Result<bool> {
        self.netns.run(|| {
            let lines = |file: &str, headings: usize| match fs::read_to_string(format!("{PROC_NET}/{file}")) {
                Ok(text) => Ok(text.lines().count() > headings),
                // The kernel has no such thing, or has not loaded it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            };
            Ok(lines("ip_tables_names", 0)?
                || lines("ip6_tables_names", 0)?
                || lines("ip_vs", IP_VS_HEADINGS)?)
        })?
    }

    /// Whether there is a policy of IPsec.
    fn has_ipsec(&mut self) -> io::Result<bool> {
        let Some(policies) = &mut self.policies else { return Ok(false) };
        let mut found = false;
        policies.dump(XFRM_MSG_GETPOLICY, &[], |policy| found |= policy.is_some())?;
        Ok(found)
    }
}

/// Whether the kernel has told of a change, or of so many that some are lost.
fn has_something(changes: Option<&mut Channel>) -> bool {
    let Some(changes) = changes else { return false };
    let mut changed = false;
    loop {
        match changes.receive() {
            Ok(Received::Nothing) => return changed,
            Ok(Received::Datagram | Received::Overrun) => changed = true,
            Err(_) => return true,
        }
    }
}

fn is_encapsulated(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| {
        use RouteAttribute::{Encap, EncapType, NewDestination};
        matches!(attribute, Encap(_) | EncapType(_) | NewDestination(_))
    })
}

/// Whether a route as it stands in its table has several nexthops, or does not tell (`net.ipv4.nexthop_compat_mode` 0).
fn has_several_nexthops(route: &RouteMessage) -> bool {
    let has = |wanted: fn(&RouteAttribute) -> bool| route.attributes.iter().any(wanted);
    has(|attribute| matches!(attribute, RouteAttribute::MultiPath(_)))
        || !has(|attribute| matches!(attribute, RouteAttribute::Oif(_)))
}

fn path_mtu(route: &RouteMessage) -> Option<u32> {
    let metrics = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    metrics?.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// `NUD_VALID` of include/net/neighbour.h, without those that no Ethernet address belongs to.
fn usable_mac(neighbor: &NeighbourMessage) -> Option<Mac> {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    let is_usable = matches!(neighbor.header.state, Reachable | Stale | Delay | Probe | Permanent);
    if is_usable { mac(neighbor) } else { None }
}

/// Whether a chain of nftables hangs at a hook that packets of this machine pass. The numbers mean something else to bridges
/// and devices, which tell packets apart by themselves.
fn leaves_by(chain: &[u8]) -> bool {
    let family = chain.first().copied().unwrap_or_default();
    let attributes = chain.get(NFGENMSG_LEN..).unwrap_or_default();
    let hook = attribute(attributes, NFTA_CHAIN_HOOK).and_then(|hook| attribute(hook, NFTA_HOOK_HOOKNUM));
    let number = hook.and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
    [NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6].contains(&family)
        && number.is_some_and(|number| [NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING].contains(&number))
}

/// The value of the attribute of this kind.
fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let found =
        NlasIterator::new(attributes).map_while(Result::ok).find(|attribute| attribute.kind() == kind)?;
    let end = usize::from(found.length());
    found.into_inner().get(NLA_HEADER..end)
}

/// That of the calling thread.
const PROC_NET: &str = "/proc/thread-self/net";
/// Lines that `/proc/net/ip_vs` always has.
const IP_VS_HEADINGS: usize = 3;
/// Bytes; the answers wait for nobody.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How long the kernel's answer about a neighbor counts if none changes.
const NEIGHBOR_COUNTS: Duration = Duration::from_secs(1);
/// So many answers are kept.
const NEIGHBORS_MAX: usize = 4096;
/// linux/netlink.h.
const NETLINK_ROUTE: isize = 0;
const NETLINK_XFRM: isize = 6;
const NETLINK_NETFILTER: isize = 12;
/// linux/rtnetlink.h.
const RTNLGRP_NEIGH: u32 = 3;
/// linux/netfilter/nfnetlink.h.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNLGRP_NFTABLES: u32 = 7;
/// Bytes of `struct nfgenmsg`.
const NFGENMSG_LEN: usize = 4;
/// linux/netfilter/nf_tables.h.
const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
/// linux/netfilter.h.
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_INET_LOCAL_OUT: u32 = 3;
const NF_INET_POST_ROUTING: u32 = 4;
/// linux/xfrm.h.
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRMNLGRP_POLICY: u32 = 4;
/// Bytes of `struct nlattr`.
const NLA_HEADER: usize = 4;
