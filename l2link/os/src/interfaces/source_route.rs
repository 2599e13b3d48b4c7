//! Routing by source: what is sent from an address leaves by an interface, whatever the other routes say.
//!
//! A rule `from ADDRESS lookup TABLE`, and in that table a default route by the interface. The table's number is made of the
//! interface's, so that of each rule it can be told whether its interface is still there: the kernel removes routes with
//! their interface, but rules never. Rules and routes have the mark [`PROTOCOL`].

use super::{IfIndex, Netlink, family, unless};
use crate::routes::PROTOCOL;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;
use std::net::IpAddr;

/// Tables of these rules: this and the number of the interface.
const TABLES: u32 = 108_600_000;
/// Interface numbers that such a table can have.
const INTERFACES: u32 = 100_000;
/// Before the rule for the table *main* (32766), behind the one for local addresses (0).
const PRIORITY: u32 = 10_860;

impl Netlink {
    /// Switches ARP and neighbor discovery of an interface off: every address is taken to be behind it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_no_arp(&mut self, ifindex: IfIndex) -> io::Result<()> {
        let mut message = super::link_message(ifindex);
        message.header.change_mask = LinkFlags::Noarp;
        message.header.flags = LinkFlags::Noarp;
        self.requests.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Has what is sent from an address of the interface leave by it. What is there already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn route_source(&mut self, ifindex: IfIndex, source: IpAddr) -> io::Result<()> {
        let table = table(ifindex).ok_or(io::ErrorKind::InvalidInput)?;
        let route = RouteNetlinkMessage::NewRoute(default_route(ifindex, source, table));
        unless(libc::EEXIST, self.requests.change(route, NLM_F_CREATE | NLM_F_EXCL))?;
        let rule = RouteNetlinkMessage::NewRule(rule(source, table));
        unless(libc::EEXIST, self.requests.change(rule, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Takes [`Netlink::route_source`] back. What is not there is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unroute_source(&mut self, ifindex: IfIndex, source: IpAddr) -> io::Result<()> {
        let table = table(ifindex).ok_or(io::ErrorKind::InvalidInput)?;
        let rule = RouteNetlinkMessage::DelRule(rule(source, table));
        unless(libc::ENOENT, self.requests.change(rule, 0))?;
        let route = RouteNetlinkMessage::DelRoute(default_route(ifindex, source, table));
        unless(libc::ESRCH, self.requests.change(route, 0))
    }

    /// Sends all that has no other route by the interface, from that address of it. A route that is there already is no
    /// error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn route_all(&mut self, ifindex: IfIndex, source: IpAddr) -> io::Result<()> {
        let main = u32::from(RouteHeader::RT_TABLE_MAIN);
        let route = RouteNetlinkMessage::NewRoute(default_route(ifindex, source, main));
        unless(libc::EEXIST, self.requests.change(route, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Removes the rules of [`Netlink::route_source`] whose interface is gone, and says how many there were.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep_source_rules(&mut self) -> io::Result<usize> {
        let mut stale = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RuleMessage::default();
            all.header.family = family;
            let answers = match self.requests.dump(&RouteNetlinkMessage::GetRule(all)) {
                // A kernel without IPv6, or without policy routing, has no such rules.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
                    continue;
                }
                answers => answers?,
            };
            stale.extend(answers.into_iter().filter_map(own_rule));
        }
        let links = self.links()?;
        stale.retain(|(ifindex, _)| !links.iter().any(|link| link.ifindex == *ifindex));
        for (ifindex, source) in &stale {
            self.unroute_source(*ifindex, *source)?;
        }
        Ok(stale.len())
    }
}

fn table(ifindex: IfIndex) -> Option<u32> {
    (ifindex.0 < INTERFACES).then_some(TABLES + ifindex.0)
}

/// Interface and address of a rule, if it is one of ours.
fn own_rule(answer: RouteNetlinkMessage) -> Option<(IfIndex, IpAddr)> {
    let RouteNetlinkMessage::NewRule(RuleMessage { attributes, .. }) = answer else { return None };
    let marked = attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    let (mut source, mut ifindex) = (None, None);
    for attribute in attributes {
        match attribute {
            RuleAttribute::Source(address) => source = Some(address),
            RuleAttribute::Table(table) => ifindex = table.checked_sub(TABLES).map(IfIndex),
            _ => {}
        }
    }
    let ifindex = ifindex.filter(|ifindex| marked && ifindex.0 < INTERFACES)?;
    Some((ifindex, source?))
}

fn rule(source: IpAddr, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(source);
    message.header.src_len = if source.is_ipv4() { 32 } else { 128 };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(source),
        RuleAttribute::Table(table),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    message
}

fn default_route(ifindex: IfIndex, source: IpAddr, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(source);
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = if source.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Table(table),
        RouteAttribute::Oif(ifindex.0),
        RouteAttribute::PrefSource(RouteAddress::from(source)),
    ];
    message
}
