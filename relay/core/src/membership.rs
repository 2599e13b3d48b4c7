//! Groups that programs joined: the far interface must accept them.
//!
//! Each group of a port is counted by the controls that asked for it: the first makes the relay join, the last one
//! to go makes it leave. A control's memberships are marked stale when it begins a new session, as its rules are.

use frames::PortId;
use frames::message::Group;
use l2link::PeerId;
use std::collections::BTreeMap;

/// Most memberships of one control: more than any network interface filters in hardware.
pub(crate) const MEMBERSHIPS_PER_CONTROL: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// Who asked for a group, and whether that is left from an earlier session.
    groups: BTreeMap<(PortId, Group), BTreeMap<PeerId, Stale>>,
}

type Stale = bool;

impl Memberships {
    /// A control asks for a group. Returns whether it is the first.
    pub(crate) fn add(&mut self, port: PortId, group: Group, peer: PeerId) -> bool {
        let peers = self.groups.entry((port, group)).or_default();
        let first = peers.is_empty();
        peers.insert(peer, false);
        first
    }

    /// A control gives a group up. Returns whether it was the last.
    pub(crate) fn remove(&mut self, port: PortId, group: Group, peer: PeerId) -> bool {
        let Some(peers) = self.groups.get_mut(&(port, group)) else { return false };
        let last = peers.remove(&peer).is_some() && peers.is_empty();
        if last {
            self.groups.remove(&(port, group));
        }
        last
    }

    /// Gives up all groups of a control that `which` picks. Returns those for which it was the last.
    pub(crate) fn remove_where(
        &mut self,
        peer: PeerId,
        which: impl Fn(PortId, Stale) -> bool,
    ) -> Vec<(PortId, Group)> {
        let picked: Vec<_> = self
            .groups
            .iter()
            .filter(|((port, _), peers)| peers.get(&peer).is_some_and(|stale| which(*port, *stale)))
            .map(|(key, _)| *key)
            .collect();
        picked.into_iter().filter(|(port, group)| self.remove(*port, *group, peer)).collect()
    }

    /// Marks all groups of a control as left from an earlier session.
    pub(crate) fn mark_stale(&mut self, peer: PeerId) {
        for stale in self.groups.values_mut().filter_map(|peers| peers.get_mut(&peer)) {
            *stale = true;
        }
    }

    /// How many groups a control asked for.
    pub(crate) fn count(&self, peer: PeerId) -> usize {
        self.groups.values().filter(|peers| peers.contains_key(&peer)).count()
    }

    /// The groups of a port.
    pub(crate) fn of_port(&self, port: PortId) -> impl Iterator<Item = Group> {
        self.groups.keys().filter(move |(known, _)| *known == port).map(|(_, group)| *group)
    }

    /// Whether a program listens to this Ethernet address at the port.
    pub(crate) fn accepts(&self, port: PortId, mac: frames::Mac) -> bool {
        !self.groups.is_empty() && self.groups.contains_key(&(port, Group::Ethernet(mac)))
    }

    /// Whether a program of this control does.
    pub(crate) fn is_joined_by(&self, port: PortId, mac: frames::Mac, peer: PeerId) -> bool {
        self.groups.get(&(port, Group::Ethernet(mac))).is_some_and(|peers| peers.contains_key(&peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OSPF: Group = Group::Ip(core::net::IpAddr::V4(core::net::Ipv4Addr::new(224, 0, 0, 5)));
    const PORT: PortId = PortId(1);

    #[test]
    fn the_first_joins_and_the_last_leaves() {
        let mut memberships = Memberships::default();
        assert!(memberships.add(PORT, OSPF, PeerId(1)));
        assert!(
            !memberships.add(PORT, OSPF, PeerId(1)),
            "asked again: the kernel counts joins, and would keep one"
        );
        assert!(!memberships.add(PORT, OSPF, PeerId(2)));
        assert!(memberships.add(PortId(2), OSPF, PeerId(2)), "another port");
        assert!(!memberships.remove(PORT, OSPF, PeerId(1)));
        assert!(!memberships.remove(PORT, OSPF, PeerId(1)), "was not there any more");
        assert!(memberships.remove(PORT, OSPF, PeerId(2)));
        assert_eq!(memberships.of_port(PORT).count(), 0);
    }

    #[test]
    fn what_is_not_asked_for_again_is_swept() {
        let mut memberships = Memberships::default();
        let other = Group::Ethernet(frames::Mac([2, 0, 0, 0, 0, 9]));
        let _ = memberships.add(PORT, OSPF, PeerId(1));
        let _ = memberships.add(PORT, other, PeerId(1));
        memberships.mark_stale(PeerId(1));
        assert!(!memberships.add(PORT, OSPF, PeerId(2)));
        assert!(!memberships.add(PORT, OSPF, PeerId(1)));
        assert_eq!(memberships.remove_where(PeerId(1), |_, stale| stale), [(PORT, other)]);
        assert_eq!(memberships.count(PeerId(1)), 1);
    }
}
