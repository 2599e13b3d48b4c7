//! [`Attributes`]: what a relay says of a port, owned.

use crate::Addressing;
use core::net::IpAddr;
use frames::Mac;
use frames::message::{PortAddress, PortAttributes, PortFlags, PortRoute};

/// What a symbol is built from (M3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Rises with every change, for as long as the relay's process lives.
    pub generation: u32,
    /// Ethernet address.
    pub mac: Mac,
    /// Largest packet in bytes, Ethernet header excluded.
    pub mtu: u32,
    /// Speed in Mb/s, zero if unknown.
    pub speed: u32,
    /// Present, up, carrier.
    pub flags: PortFlags,
    /// Addresses with their prefix lengths, in the relay's order: those that the symbol is to have like its port.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The port's other addresses, which it has from this control's programs.
    pub given: Vec<(IpAddr, u8)>,
    /// The relay's own routes by the port.
    pub routes: Vec<PortRoute>,
}

impl Attributes {
    /// Whether the port can carry packets now.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.flags.contains(PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER)
    }

    /// The port's state in one word, as `show ports` has it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if !self.flags.contains(PortFlags::PRESENT) {
            "absent"
        } else if !self.flags.contains(PortFlags::UP) {
            "down"
        } else if !self.flags.contains(PortFlags::CARRIER) {
            "no-carrier"
        } else {
            "up"
        }
    }

    /// Whether the port has this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.all_addresses().any(|(known, _)| *known == address)
    }

    /// All addresses of the port with their prefix lengths.
    pub(crate) fn all_addresses(&self) -> impl Iterator<Item = &(IpAddr, u8)> {
        self.addresses.iter().chain(&self.given)
    }

    /// The relay's own routes as `show` prints them; `None` if there are none.
    pub(crate) fn way_out_texts(&self) -> Option<Vec<String>> {
        (!self.routes.is_empty()).then(|| self.routes.iter().map(ToString::to_string).collect())
    }

    /// The addresses as `show` prints them.
    #[must_use]
    pub fn address_texts(&self) -> Vec<String> {
        self.all_addresses().map(|(address, length)| format!("{address}/{length}")).collect()
    }
}

impl Attributes {
    /// What the relay says. Under [`Addressing::Control`] the addresses that controls gave are this control's own: a port
    /// has one control that owns its addresses, as a rule.
    pub(crate) fn new(wire: &PortAttributes<'_>, addressing: Addressing) -> Self {
        let ours = |address: &&PortAddress| addressing == Addressing::Control && address.is_given();
        let (given, addresses): (Vec<_>, Vec<_>) = wire.addresses.iter().partition(ours);
        let with_lengths = |all: Vec<&PortAddress>| all.into_iter().map(address_with_length).collect();
        Self {
            generation: wire.generation,
            mac: wire.mac,
            mtu: wire.mtu,
            speed: wire.speed,
            flags: wire.flags,
            addresses: with_lengths(addresses),
            given: with_lengths(given),
            routes: wire.routes.to_vec(),
        }
    }
}

fn address_with_length(address: &PortAddress) -> (IpAddr, u8) {
    (address.address(), address.prefix_length())
}
