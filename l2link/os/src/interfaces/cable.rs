//! A cable between two namespaces: a pair of veth(4) interfaces.

use super::{Netlink, link_message};
use crate::{IfIndex, NetNs};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// What one end of a cable is to be.
#[derive(Debug, Clone, Copy)]
pub struct CableEnd<'a> {
    /// Its name; `%d` in it stands for the first number that is free.
    pub name: &'a str,
    /// Its number; the kernel's choice if it is zero.
    pub ifindex: IfIndex,
    /// In bytes.
    pub mtu: u32,
}

impl Netlink {
    /// Makes a cable whose ends are `near` in this namespace and `far` in another one, both down.
    ///
    /// # Errors
    /// The kernel's, `EEXIST` or `EBUSY` if a name or number is taken.
    pub fn add_cable(&mut self, near: CableEnd<'_>, far: CableEnd<'_>, elsewhere: &NetNs) -> io::Result<()> {
        let mut message = end(near);
        let mut peer = end(far);
        peer.attributes.push(LinkAttribute::NetNsFd(elsewhere.as_fd().as_raw_fd()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.requests.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Number of a cable's other end, in whose namespace it may be; none if this is no cable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn other_end(&mut self, ifindex: IfIndex) -> io::Result<Option<IfIndex>> {
        let answers = self.requests.get(RouteNetlinkMessage::GetLink(link_message(ifindex)))?;
        Ok(answers.into_iter().find_map(|answer| {
            let RouteNetlinkMessage::NewLink(LinkMessage { attributes, .. }) = answer else { return None };
            attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::Link(index) if index != 0 => Some(IfIndex(index)),
                _ => None,
            })
        }))
    }
}

fn end(CableEnd { name, ifindex, mtu }: CableEnd<'_>) -> LinkMessage {
    let mut message = link_message(ifindex);
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
    message
}
