//! Rules of policy routing with the mark of this project.

use super::{Netlink, unless};
use crate::routes::PROTOCOL;
use core::net::IpAddr;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;

/// A rule that has packets looked up in a table: `ip rule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PolicyRule {
    /// Rules of lower numbers come first.
    pub(crate) priority: u32,
    pub(crate) packets: Packets,
    pub(crate) table: u32,
    /// Whether the table's default routes are passed over.
    pub(crate) but_defaults: bool,
}

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Packets {
    /// Those with this source.
    From(IpAddr),
    /// IPv4 packets of this host's own programs.
    LocalIpv4,
    /// The same, IPv6.
    LocalIpv6,
}

impl Netlink {
    /// The rules with the mark [`PROTOCOL`].
    pub(crate) fn marked_rules(&mut self) -> io::Result<Vec<PolicyRule>> {
        let answers = self.requests.dump(&RouteNetlinkMessage::GetRule(RuleMessage::default()))?;
        Ok(answers.iter().filter_map(marked_rule).collect())
    }

    /// Adds a rule; one that is there already is no error.
    pub(crate) fn add_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRule(rule_message(rule));
        unless(libc::EEXIST, self.requests.change(message, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Removes a rule that has the mark; one that is not there is no error.
    pub(crate) fn delete_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        unless(libc::ENOENT, self.requests.change(RouteNetlinkMessage::DelRule(rule_message(rule)), 0))
    }
}

const LOOPBACK: &str = "lo";
/// `FRA_SUPPRESS_PREFIXLEN` of a rule that passes nothing over.
const NOTHING: u32 = u32::MAX;

fn rule_message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let ipv4 = match rule.packets {
        Packets::From(source) => source.is_ipv4(),
        Packets::LocalIpv4 => true,
        Packets::LocalIpv6 => false,
    };
    message.header = RuleHeader {
        family: if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 },
        // Of a table beyond 255 the attribute tells.
        table: u8::try_from(rule.table).unwrap_or(0),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    match rule.packets {
        Packets::From(source) => {
            message.header.src_len = if source.is_ipv4() { 32 } else { 128 };
            message.attributes.push(RuleAttribute::Source(source));
        }
        Packets::LocalIpv4 | Packets::LocalIpv6 => {
            message.attributes.push(RuleAttribute::Iifname(LOOPBACK.to_owned()));
        }
    }
    if rule.but_defaults {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    message
}

/// A rule that [`rule_message`] can have made.
fn marked_rule(answer: &RouteNetlinkMessage) -> Option<PolicyRule> {
    let RouteNetlinkMessage::NewRule(message) = answer else { return None };
    let header = &message.header;
    let (mut source, mut local, mut marked) = (None, false, false);
    let (mut priority, mut table, mut suppressed) = (0, u32::from(header.table), NOTHING);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Source(address) => source = Some(*address),
            RuleAttribute::SuppressPrefixLen(length) => suppressed = *length,
            RuleAttribute::Iifname(name) => local = name == LOOPBACK,
            RuleAttribute::Protocol(protocol) => marked = *protocol == RouteProtocol::Other(PROTOCOL),
            _ => {}
        }
    }
    let packets = match (source, header.family) {
        (Some(source), _) => Packets::From(source),
        (None, AddressFamily::Inet) if local => Packets::LocalIpv4,
        (None, AddressFamily::Inet6) if local => Packets::LocalIpv6,
        (None, _) => return None,
    };
    marked.then_some(PolicyRule { priority, packets, table, but_defaults: suppressed == 0 })
}
