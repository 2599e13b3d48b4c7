//! Addresses that a control gives to a relay's port, told from the relay's own by a mark in the kernel; and those that the
//! kernel itself makes.

use super::{IfIndex, InterfaceAddress, Netlink, interface_address, new_address};
use crate::routes::PROTOCOL;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use std::io;

impl Netlink {
    /// Adds an address with the mark [`PROTOCOL`] (`IFA_PROTO`), which tells a control's addresses from the relay's own.
    /// Duplicate address detection is as the interface has it. An address that is there already with the mark is no error.
    ///
    /// # Errors
    /// The kernel's, `EEXIST` for an address that is there without the mark; [`io::ErrorKind::Unsupported`], with the
    /// address not added, on a kernel that knows no mark (before Linux 5.18): what is not marked could never be told from
    /// the relay's own.
    pub fn add_given_address(&mut self, address: InterfaceAddress) -> io::Result<()> {
        let mut message = new_address(address);
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        let created = self.create_address(message);
        let exists = matches!(&created, Err(error) if error.raw_os_error() == Some(libc::EEXIST));
        if !exists {
            created?;
        }
        // An old kernel passes over the attribute without a word.
        match (self.given_addresses(Some(address.ifindex))?.contains(&address), exists) {
            (true, _) => Ok(()),
            (false, true) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
            (false, false) => {
                self.delete_address(address)?;
                let text = "this kernel does not mark addresses with who gave them: Linux 5.18 and later do";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    /// Those of [`Netlink::addresses`] that have the mark [`PROTOCOL`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn given_addresses(&mut self, ifindex: Option<IfIndex>) -> io::Result<Vec<InterfaceAddress>> {
        let of_all = self.marked_addresses()?.into_iter();
        let here = |address: &InterfaceAddress| ifindex.is_none_or(|ifindex| ifindex == address.ifindex);
        Ok(of_all.filter(|(address, given)| *given && here(address)).map(|(address, _)| address).collect())
    }

    /// The addresses of all interfaces in the kernel's order, each with whether it has the mark [`PROTOCOL`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn marked_addresses(&mut self) -> io::Result<Vec<(InterfaceAddress, bool)>> {
        let answers = self.requests.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let marked = |answer| interface_address(answer).map(|address| (address, is_given(answer)));
        Ok(answers.iter().filter_map(marked).collect())
    }

    /// Removes an address that has the mark [`PROTOCOL`]; one that is not there, or is without the mark, stays as it is and
    /// is no error.
    ///
    /// Linux removes with the first IPv4 address of a prefix all later ones of that prefix, unmarked ones too, unless
    /// `net/ipv4/conf/INTERFACE/promote_secondaries` is 1: set it before the first given address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_given_address(&mut self, address: InterfaceAddress) -> io::Result<()> {
        // The kernel does not compare the mark when it deletes.
        if self.given_addresses(Some(address.ifindex))?.contains(&address) {
            self.delete_address(address)?;
        }
        Ok(())
    }

    /// Removes the link-local addresses that the kernel has given an interface by itself.
    pub(super) fn delete_generated_addresses(&mut self, ifindex: IfIndex) -> io::Result<()> {
        let answers = self.requests.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let generated = answers.iter().filter(|answer| has_mark(answer, AddressProtocol::LinkLocal));
        for address in generated.filter_map(interface_address).filter(|address| address.ifindex == ifindex) {
            self.delete_address(address)?;
        }
        Ok(())
    }
}

fn is_given(answer: &RouteNetlinkMessage) -> bool {
    has_mark(answer, AddressProtocol::Other(PROTOCOL))
}

fn has_mark(answer: &RouteNetlinkMessage, mark: AddressProtocol) -> bool {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return false };
    message.attributes.contains(&AddressAttribute::Protocol(mark))
}
