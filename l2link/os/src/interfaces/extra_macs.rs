//! Unicast Ethernet addresses that an interface accepts besides its own.

use super::{IfIndex, Netlink};
use frames::Mac;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;

impl Netlink {
    /// Unicast Ethernet addresses that an interface accepts besides its own: those of interfaces that stand on it, as the
    /// macvlan of a VRRP daemon, and of packet sockets (`PACKET_MR_UNICAST`). The kernel tells nobody when they change.
    ///
    /// # Errors
    /// The kernel's.
    pub fn extra_macs(&mut self, ifindex: IfIndex) -> io::Result<Vec<Mac>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        // A bridge's table can be long: this one interface is enough. Kernels before 4.20 tell all the same.
        message.attributes.push(NeighbourAttribute::IfIndex(ifindex.0));
        let answers = self.requests.dump(&RouteNetlinkMessage::GetNeighbour(message))?;
        let own = |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(neighbor) if neighbor.header.ifindex == ifindex.0 => {
                extra_mac(&neighbor)
            }
            _ => None,
        };
        Ok(answers.into_iter().filter_map(own).collect())
    }
}

/// The address of a row that is of the interface itself: neither learned by a bridge, nor a group.
fn extra_mac(neighbor: &NeighbourMessage) -> Option<Mac> {
    let own = neighbor.header.flags.contains(NeighbourFlags::Own);
    let permanent = neighbor.header.state == NeighbourState::Permanent;
    mac(neighbor).filter(|mac| own && permanent && !mac.is_multicast())
}

/// The Ethernet address of a row.
pub(crate) fn mac(neighbor: &NeighbourMessage) -> Option<Mac> {
    neighbor.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}
