//! Memberships: what programs behind a symbol joined, mirrored to the relay's port.
//!
//! The relay's interface has to accept the groups, and switches and routers have to hear of them. Groups that every
//! host joins by itself are left out: the relay's own kernel joins them at the port too. So does it with the
//! solicited-node groups of the port's addresses; those of other addresses that stand on the symbol (virtual ones) it
//! has to be asked for. Ethernet groups are left out when they only are the image of an IP group, which the relay makes
//! by itself. A rule by hand for a group's address joins the group.
//!
//! Ethernet addresses that are no groups, such as a virtual router's, are mirrored likewise.

use crate::seen::SymbolGroups;
use crate::symbol::Symbol;
use crate::symbol_rules::{Grant, Tables};
use crate::{Control, NamespaceId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use frames::Mac;
use frames::message::{Group, Membership, Message};
use l2link::Time;
use std::collections::BTreeSet;

/// How often groups are looked at where the kernel does not tell of changes.
const REGULAR: Duration = Duration::from_secs(1);

impl Control {
    /// A program in the namespace joined or left a group.
    pub fn handle_memberships_changed(&mut self, namespace: NamespaceId, now: Time) {
        if self.is_inhabited(namespace)
            && let Some(place) = self.namespace_mut(namespace)
        {
            place.group_looks.ask(now);
            self.look(now);
        }
    }

    /// Takes the groups of a namespace's symbols.
    pub fn handle_memberships(&mut self, namespace: NamespaceId, seen: &[SymbolGroups], now: Time) {
        let on_ethernet = |symbol: &&mut Symbol| symbol.config.translation.is_none();
        let here = self.symbols.iter_mut().filter(|symbol| symbol.namespace == namespace);
        for symbol in here.filter(on_ethernet) {
            let Some(groups) = seen.iter().find(|groups| groups.symbol == symbol.id) else { continue };
            if symbol.config.detect {
                symbol.joined = mirrored(&groups.groups, &symbol.addresses().collect::<Vec<_>>());
            }
            symbol.tell_groups(&mut self.tables);
        }
        if self.is_inhabited(namespace)
            && let Some(place) = self.namespace_mut(namespace)
        {
            place.group_looks.done(Duration::ZERO, Some(REGULAR), now);
        }
        self.flush();
    }
}

impl Symbol {
    /// Brings the memberships in line with what programs joined and rules by hand need.
    pub(crate) fn tell_groups(&mut self, tables: &mut Tables) {
        let groups: BTreeSet<Group> =
            self.rules.groups_by_hand().chain(self.joined.iter().copied()).collect();
        if let Some(grant) = self.rules.grant() {
            tell(grant, &self.groups, &groups, tables);
        }
        self.groups = groups;
    }
}

/// Tells the relay the difference.
pub(crate) fn tell(grant: Grant, before: &BTreeSet<Group>, after: &BTreeSet<Group>, tables: &mut Tables) {
    for group in after.difference(before) {
        tables.send(grant.peer, Message::MembershipAdd(Membership { port: grant.port, group: *group }));
    }
    for group in before.difference(after) {
        tables.send(grant.peer, Message::MembershipDelete(Membership { port: grant.port, group: *group }));
    }
}

/// The groups that programs joined, in canonical form. `addresses` are the port's.
fn mirrored(groups: &[Group], addresses: &[IpAddr]) -> BTreeSet<Group> {
    let images: BTreeSet<Mac> = groups
        .iter()
        .filter_map(|group| match group {
            Group::Ip(address) => Some(image(*address)),
            Group::Ethernet(_) => None,
        })
        .collect();
    groups
        .iter()
        .copied()
        .filter(|group| match group {
            Group::Ip(address) => {
                let asked_anyway = addresses.iter().any(|own| solicited_node(own) == Some(*address));
                address.is_multicast() && !is_joined_by_every_host(*address) && !asked_anyway
            }
            Group::Ethernet(mac) => !images.contains(mac) && !IMPLIED.contains(mac),
        })
        .collect()
}

/// All systems, all nodes, and IEEE's images of them: joined by the kernel of every host.
const IMPLIED: [Mac; 3] = [Mac([0x01, 0x00, 0x5e, 0, 0, 1]), Mac([0x33, 0x33, 0, 0, 0, 1]), Mac::BROADCAST];

/// All systems (RFC 1112), all nodes (RFC 4291, 2.7.1).
fn is_joined_by_every_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4 == Ipv4Addr::new(224, 0, 0, 1),
        IpAddr::V6(v6) => {
            let all_nodes =
                [Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)];
            all_nodes.contains(&v6)
        }
    }
}

/// The group to which questions for an IPv6 address are sent (RFC 4291, 2.7.1).
fn solicited_node(address: &IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [.., g, h] = v6.segments();
    Some(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | g & 0xff, h)))
}

/// The Ethernet group of an IP group (RFC 1112, 6.4; RFC 2464, 7).
fn image(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            Mac([0x33, 0x33, a, b, c, d])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_programs_joined_is_mirrored() {
        let ip = |text: &str| Group::Ip(text.parse().unwrap());
        let mac = |text: &str| Group::Ethernet(text.parse().unwrap());
        let seen = [
            ip("224.0.0.1"),
            ip("224.0.0.5"),
            ip("ff02::1"),
            ip("ff01::1"),
            ip("ff02::5"),
            ip("ff02::1:ff00:1"),
            ip("ff02::1:ff12:3456"),
            mac("01:00:5e:00:00:01"),
            mac("01:00:5e:00:00:05"),
            mac("33:33:00:00:00:05"),
            mac("33:33:ff:00:00:01"),
            mac("33:33:ff:12:34:56"),
            mac("00:00:5e:00:02:01"),
            mac("01:80:c2:00:00:0e"),
        ];
        // The port has one of the two addresses that questions may be for.
        let port = ["192.0.2.1", "2001:db8:1::1"].map(|text| text.parse().unwrap());
        let expected = [
            ip("224.0.0.5"),
            ip("ff02::5"),
            ip("ff02::1:ff12:3456"),
            mac("00:00:5e:00:02:01"),
            mac("01:80:c2:00:00:0e"),
        ];
        assert_eq!(mirrored(&seen, &port), BTreeSet::from(expected));
    }
}
