//! [`SymbolInterface`]: the TAP device of one symbol, made to look like the relay's port.

use crate::kernel_settings;
use control_core::Attributes;
use core::net::IpAddr;
use l2link_os::{Dad, IfIndex, InterfaceAddress, NetNs, Netlink, SetupError, Tap};
use log::warn;
use std::io;

/// The interface; removed when dropped.
#[derive(Debug)]
pub(crate) struct SymbolInterface {
    pub(crate) tap: Tap,
    pub(crate) ifindex: IfIndex,
    name: String,
    gateways: Vec<IpAddr>,
    /// What was set last. Addresses that somebody else adds or removes are left alone.
    attributes: Attributes,
}

impl SymbolInterface {
    /// Makes the interface, without carrier, up.
    pub(crate) fn create(
        netns: &NetNs,
        netlink: &mut Netlink,
        name: &str,
        gateways: &[IpAddr],
        attributes: &Attributes,
    ) -> Result<Self, SetupError> {
        let tap = Tap::create(netns, name)?;
        let system = |action: &str| {
            let action = format!("{action} of symbol {name}");
            move |source| SetupError::system(action, source)
        };
        let ifindex = netlink
            .link_by_name(name)
            .map_err(system("look up the interface"))?
            .map(|link| link.ifindex)
            .ok_or_else(|| SetupError::NoInterface { interface: name.to_owned() })?;
        kernel_settings::apply(netns, name);
        // Before it is up, so that no address of the kernel's own making appears: the port's link-local address is
        // among the attributes.
        if let Err(error) = netlink.set_addr_gen_none(ifindex) {
            warn!(target: "control::symbol", "symbol {name}: IPv6 is not available: {error}");
        }
        netlink.set_mac(ifindex, attributes.mac).map_err(system("set the Ethernet address"))?;
        netlink.set_mtu(ifindex, attributes.mtu).map_err(system("set the MTU"))?;
        netlink.set_up(ifindex, true).map_err(system("set up the interface"))?;
        let mut interface = Self {
            tap,
            ifindex,
            name: name.to_owned(),
            gateways: gateways.to_vec(),
            attributes: Attributes { addresses: Vec::new(), ..attributes.clone() },
        };
        interface.set_addresses(netlink, &attributes.addresses);
        Ok(interface)
    }

    /// Brings the interface in line with changed attributes, by difference.
    pub(crate) fn update(&mut self, netlink: &mut Netlink, attributes: &Attributes) -> io::Result<()> {
        if self.attributes.mac != attributes.mac {
            netlink.set_mac(self.ifindex, attributes.mac)?;
        }
        if self.attributes.mtu != attributes.mtu {
            netlink.set_mtu(self.ifindex, attributes.mtu)?;
        }
        self.set_addresses(netlink, &attributes.addresses);
        self.attributes = attributes.clone();
        Ok(())
    }

    /// An address that the kernel refuses (IPv6 is off) must not take the others with it.
    fn set_addresses(&mut self, netlink: &mut Netlink, addresses: &[(IpAddr, u8)]) {
        let ifindex = self.ifindex;
        let interface_address = |(address, prefix)| InterfaceAddress { ifindex, address, prefix };
        let complain = |result: io::Result<()>, name: &str, action: &str| {
            if let Err(error) = result {
                warn!(target: "control::symbol", "symbol {name}: {action}: {error}");
            }
        };
        let mut changed = false;
        for old in self.attributes.addresses.iter().filter(|old| !addresses.contains(old)) {
            let result = netlink.delete_address(interface_address(*old));
            complain(result, &self.name, &format!("delete address {}/{}", old.0, old.1));
            changed = true;
        }
        for new in addresses.iter().filter(|new| !self.attributes.addresses.contains(new)) {
            let result = netlink.add_address(interface_address(*new), Dad::Off);
            complain(result, &self.name, &format!("add address {}/{}", new.0, new.1));
            changed = true;
        }
        if changed {
            // The kernel drops routes with the address that made their gateway reachable.
            for gateway in &self.gateways {
                let result = netlink.add_default_route(ifindex, *gateway);
                complain(result, &self.name, &format!("add a default route by way of {gateway}"));
            }
        }
        self.attributes.addresses = addresses.to_vec();
    }
}
