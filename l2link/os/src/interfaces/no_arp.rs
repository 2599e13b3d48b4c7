//! Interfaces behind which every address is: no neighbor has to be asked for.

use super::{IfIndex, Netlink, family, unless};
use crate::routes::PROTOCOL;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use std::io;
use std::net::IpAddr;

impl Netlink {
    /// Switches ARP and neighbor discovery of an interface off.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_no_arp(&mut self, ifindex: IfIndex) -> io::Result<()> {
        let mut message = super::link_message(ifindex);
        message.header.change_mask = LinkFlags::Noarp;
        message.header.flags = LinkFlags::Noarp;
        self.requests.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sends all that has no other route by the interface, from that address of it. A route that is there already is no
    /// error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn route_all(&mut self, ifindex: IfIndex, source: IpAddr) -> io::Result<()> {
        let route = RouteNetlinkMessage::NewRoute(all(ifindex, source));
        unless(libc::EEXIST, self.requests.change(route, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Removes what [`Netlink::route_all`] added; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unroute_all(&mut self, ifindex: IfIndex, source: IpAddr) -> io::Result<()> {
        unless(libc::ESRCH, self.requests.change(RouteNetlinkMessage::DelRoute(all(ifindex, source)), 0))
    }
}

fn all(ifindex: IfIndex, source: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(source);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = if source.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Oif(ifindex.0), RouteAttribute::PrefSource(RouteAddress::from(source))];
    message
}
