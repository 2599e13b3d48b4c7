//! [`SymbolInterface`]: the TAP device of one symbol, made to look like the relay's port.

use crate::keeper::Device;
use crate::kernel_settings;
use crate::symbol_note::Note;
use control_core::Attributes;
use core::net::IpAddr;
use core::num::NonZeroU32;
use frames::Mac;
use frames::message::PortFlags;
use l2link_os::keeper::{Kept, Place};
use l2link_os::{Dad, IfIndex, InterfaceAddress, NetNs, Netlink, SetupError, Tap};
use log::{debug, info, warn};
use std::io;
use std::os::fd::AsFd;

/// How often an Ethernet address is put back: who insists on another has it.
const MACS_RESTORED_MAX: u32 = 10;

/// The interface. [`SymbolInterface::remove`] removes it; dropping it does so only if no keeper holds it.
#[derive(Debug)]
pub(crate) struct SymbolInterface {
    pub(crate) tap: Tap,
    pub(crate) ifindex: IfIndex,
    name: String,
    /// Name of its namespace; empty for the daemon's own.
    netns: String,
    gateways: Vec<IpAddr>,
    by_address: Option<ByAddress>,
    /// Somebody has set it down.
    down: bool,
    /// How often its Ethernet address was put back.
    macs_restored: u32,
    /// How the fast path reaches it, if it does.
    pub(crate) fast: Option<FastInterface>,
    /// What somebody has put there that packets pass as they leave, and that the fast path would pass by (tc(8)).
    shaper: Option<String>,
    /// What was set last. Addresses that somebody else adds or removes are left alone.
    pub(crate) attributes: Attributes,
}

/// An interface as the fast path knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FastInterface {
    pub(crate) ifindex: u32,
    /// The near end of the crossing to it, if it is in another namespace than the daemon.
    pub(crate) near: Option<NonZeroU32>,
}

/// What has become of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is in its namespace.
    There {
        /// What somebody has done to it that keeps packets away.
        altered: Option<String>,
    },
    /// It was removed, or moved to another namespace.
    Gone,
}

/// What is different about the interface of an address symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByAddress {
    /// The address that it stands for. Nobody behind the interface answers ARP.
    pub(crate) virtual_address: IpAddr,
    /// Whether all leaves by it that has no other route.
    pub(crate) default_route: bool,
}

impl SymbolInterface {
    /// Makes the interface, without carrier, up. Its number is the kernel's choice, or this one.
    pub(crate) fn create(
        netns: &NetNs,
        netlink: &mut Netlink,
        name: &str,
        number: Option<IfIndex>,
        gateways: &[IpAddr],
        by_address: Option<ByAddress>,
        attributes: &Attributes,
    ) -> Result<Self, SetupError> {
        let tap = Tap::create(netns, name, number)?;
        let system = |action: &str| {
            let action = format!("{action} of symbol {name}");
            move |source| SetupError::system(action, source)
        };
        let ifindex = netlink
            .link_by_name(name)
            .map_err(system("look up the interface"))?
            .map(|link| link.ifindex)
            .ok_or_else(|| SetupError::NoInterface { interface: name.to_owned() })?;
        // No address of the kernel's own making may be there when it is up: the port's link-local address is among the
        // attributes. A program (FRR with addresses for it) may have set it up already, and the kernel made one of the
        // Ethernet address that the device had at first.
        if let Err(error) = netlink.set_addr_gen_none(ifindex) {
            warn!(target: "control::symbol", "symbol {name}: IPv6 is not available: {error}");
        }
        kernel_settings::apply(netns, name);
        netlink.set_mac(ifindex, attributes.mac).map_err(system("set the Ethernet address"))?;
        netlink.set_mtu(ifindex, attributes.mtu).map_err(system("set the MTU"))?;
        set_speed(netlink, name, attributes.speed);
        if by_address.is_some() {
            netlink.set_no_arp(ifindex).map_err(system("switch off ARP"))?;
        }
        netlink.set_up(ifindex, true).map_err(system("set up the interface"))?;
        let mut interface = Self {
            tap,
            ifindex,
            name: name.to_owned(),
            netns: netns.name().unwrap_or_default().to_owned(),
            gateways: gateways.to_vec(),
            by_address,
            down: false,
            macs_restored: 0,
            fast: None,
            shaper: None,
            attributes: Attributes { addresses: Vec::new(), ..attributes.clone() },
        };
        interface.set_addresses(netlink, &attributes.addresses);
        Ok(interface)
    }

    /// Goes on with the interface of an earlier daemon, and tells whether it has a carrier. It stays as it is, with all
    /// that others have put on it, until [`SymbolInterface::update`].
    pub(crate) fn adopt(
        netns: &NetNs,
        netlink: &mut Netlink,
        name: &str,
        gateways: &[IpAddr],
        by_address: Option<ByAddress>,
        kept: Kept,
    ) -> Result<(Self, bool), SetupError> {
        let system = |source| SetupError::system(format!("take over symbol {name}"), source);
        let tap = Tap::adopt(kept.device, netns, name).map_err(system)?;
        let absent = || SetupError::NoInterface { interface: name.to_owned() };
        let link = netlink.link_by_name(name).map_err(system)?.ok_or_else(absent)?;
        kernel_settings::apply(netns, name);
        if !link.carrier {
            // One that is not up shows none, whatever its device has.
            tap.set_carrier(false).map_err(system)?;
        }
        let present = netlink.addresses(Some(link.ifindex)).map_err(system)?;
        let mut note = Note::parse(&kept.note);
        note.addresses.retain(|own| present.iter().any(|found| (found.address, found.prefix) == *own));
        for former in note.gateways.iter().filter(|former| !gateways.contains(former)) {
            netlink.delete_default_route(link.ifindex, *former).map_err(system)?;
        }
        let interface = Self {
            tap,
            ifindex: link.ifindex,
            name: name.to_owned(),
            netns: kept.place.netns,
            gateways: gateways.to_vec(),
            by_address,
            down: false,
            macs_restored: 0,
            fast: None,
            shaper: None,
            attributes: Attributes {
                generation: 0,
                mac: link.mac.unwrap_or(Mac([0; 6])),
                mtu: link.mtu,
                speed: link.speed,
                flags: PortFlags::empty(),
                addresses: note.addresses,
                given: Vec::new(),
                routes: Vec::new(),
            },
        };
        interface.add_default_routes(netlink);
        Ok((interface, link.carrier))
    }

    /// Those addresses of the interface that were not put there by this or an earlier daemon.
    pub(crate) fn foreign_addresses(&self, present: &[InterfaceAddress]) -> Vec<(IpAddr, u8)> {
        let here = present.iter().filter(|address| address.ifindex == self.ifindex);
        let all = here.map(|address| (address.address, address.prefix));
        all.filter(|address| !self.attributes.addresses.contains(address)).collect()
    }

    /// Notes what packets pass as they leave, and tells whether that is something else.
    pub(crate) fn note_shaper(&mut self, shaper: Option<&String>) -> bool {
        if self.shaper.as_ref() == shaper {
            return false;
        }
        let name = &self.name;
        match shaper {
            Some(kind) => {
                info!(target: "fast_path", "symbol {name}: what it sends goes by this daemon, for its {kind} (tc)")
            }
            None => info!(target: "fast_path", "symbol {name}: nothing shapes what it sends any more"),
        }
        self.shaper = shaper.cloned();
        true
    }

    /// Whether packets pass something as they leave that the fast path would pass by.
    pub(crate) fn is_shaped(&self) -> bool {
        self.shaper.is_some()
    }

    /// What the keeper is to hold.
    pub(crate) fn device(&self) -> Device<'_> {
        let place = Place { netns: self.netns.clone(), interface: self.name.clone() };
        let note =
            Note { addresses: self.attributes.addresses.clone(), gateways: self.gateways.clone() }.to_bytes();
        Device { place, note, descriptor: self.tap.as_fd() }
    }

    /// Removes the interface at once, whoever else holds its device.
    pub(crate) fn remove(self, netns: &NetNs, netlink: &mut Netlink) {
        // One that was renamed or moved is left to the closing of its device: its number may be another one's here.
        let removed = match self.tap.stands_as(netns, &self.name) {
            Ok(true) => netlink.delete_link(self.ifindex),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            warn!(target: "control::symbol", "symbol {}: removing its interface: {error}", self.name);
        }
    }

    /// Brings the interface in line with changed attributes, by difference.
    pub(crate) fn update(&mut self, netlink: &mut Netlink, attributes: &Attributes) -> io::Result<()> {
        if self.attributes.mac != attributes.mac {
            netlink.set_mac(self.ifindex, attributes.mac)?;
        }
        if self.attributes.mtu != attributes.mtu {
            netlink.set_mtu(self.ifindex, attributes.mtu)?;
        }
        if self.attributes.speed != attributes.speed {
            set_speed(netlink, &self.name, attributes.speed);
        }
        self.set_addresses(netlink, &attributes.addresses);
        self.attributes = attributes.clone();
        Ok(())
    }

    /// Has all that has no other route leave by these ways, and by its former ones no more.
    pub(crate) fn set_ways_out(
        &mut self,
        netlink: &mut Netlink,
        gateways: &[IpAddr],
        by_address: Option<ByAddress>,
    ) {
        let (ifindex, name) = (self.ifindex, &self.name);
        let complain = |result: io::Result<()>| {
            if let Err(error) = result {
                warn!(target: "control::symbol", "symbol {name}: remove a default route: {error}");
            }
        };
        for former in self.gateways.iter().filter(|former| !gateways.contains(former)) {
            complain(netlink.delete_default_route(ifindex, *former));
        }
        if let Some(ByAddress { virtual_address, default_route: true }) = self.by_address
            && by_address.is_none_or(|wanted| !wanted.default_route)
        {
            complain(netlink.unroute_all(ifindex, virtual_address));
        }
        self.gateways = gateways.to_vec();
        self.by_address = by_address;
        self.add_default_routes(netlink);
    }

    /// Looks at what somebody may have done to the interface, and puts back what a symbol cannot be without:
    ///
    /// - its Ethernet address, as nobody sends to any other than the port's;
    /// - what the kernel has taken if somebody set the interface down and up again, as FRR does for `shutdown` and `no
    ///   shutdown`: the IPv6 addresses, of which a port's link-local one at least would come back by itself, and the default
    ///   routes.
    ///
    /// What else somebody has meant stays, and is told. `present`: the addresses of the namespace.
    pub(crate) fn follow(
        &mut self,
        netns: &NetNs,
        netlink: &mut Netlink,
        present: &[InterfaceAddress],
    ) -> io::Result<Standing> {
        let Some(present_name) = self.tap.name_in(netns)? else { return Ok(Standing::Gone) };
        let Some(link) = netlink.link_by_index(self.ifindex)? else { return Ok(Standing::Gone) };
        let mac = match link.mac {
            Some(mac) if mac != self.attributes.mac => self.restore_mac(netlink, mac)?,
            _ => self.attributes.mac,
        };
        let restored = self.restore_addresses(netlink, link.up, present);
        let name = &self.name;
        let missing: Vec<String> = self
            .addresses()
            .filter(|own| !present.contains(own) && !restored.contains(own))
            .map(|own| format!("{}/{}", own.address, own.prefix))
            .collect();
        let altered = if present_name != *name {
            Some(format!("its interface is called {present_name} now"))
        } else if !link.up {
            Some("its interface is set down".to_owned())
        } else if mac != self.attributes.mac {
            Some(format!("its interface has the Ethernet address {mac}, which is not its port's"))
        } else if !missing.is_empty() {
            Some(format!("its interface lacks {}", missing.join(", ")))
        } else {
            None
        };
        Ok(Standing::There { altered })
    }

    /// Puts the port's Ethernet address in the place of another; says which one it is then.
    fn restore_mac(&mut self, netlink: &mut Netlink, found: Mac) -> io::Result<Mac> {
        let (name, own) = (&self.name, self.attributes.mac);
        if self.macs_restored == MACS_RESTORED_MAX {
            return Ok(found);
        }
        netlink.set_mac(self.ifindex, own)?;
        self.macs_restored += 1;
        warn!(target: "control::symbol", "symbol {name}: somebody gave its interface the Ethernet address {found}; its port's, {own}, is back");
        Ok(own)
    }

    /// Puts back what the kernel has taken, and says which addresses these are. If only some of a kind are missing, somebody has
    /// deleted those.
    fn restore_addresses(
        &mut self,
        netlink: &mut Netlink,
        up: bool,
        present: &[InterfaceAddress],
    ) -> Vec<InterfaceAddress> {
        let was_down = core::mem::replace(&mut self.down, !up);
        let (v6, v4): (Vec<_>, Vec<_>) = self.addresses().partition(|own| own.address.is_ipv6());
        let lost: Vec<_> = v6.iter().filter(|own| !present.contains(own)).copied().collect();
        // The kernel leaves those of IPv4 where they are.
        let has_v4 = v4.is_empty() || v4.iter().any(|own| present.contains(own));
        let all_lost = !lost.is_empty() && lost.len() == v6.len() && has_v4;
        if !up || !(was_down || all_lost) {
            return Vec::new();
        }
        let mut restored = Vec::new();
        for own in lost {
            match netlink.add_address(own, Dad::Off) {
                Ok(()) => restored.push(own),
                // They were refused when they were set: IPv6 is off.
                Err(error) => {
                    debug!(target: "control::symbol", "symbol {}: {}: {error}", self.name, own.address);
                }
            }
        }
        if was_down || !restored.is_empty() {
            info!(target: "control::symbol", "symbol {}: was set down and up; its addresses and routes are back", self.name);
            self.add_default_routes(netlink);
        }
        restored
    }

    /// The addresses that were set.
    fn addresses(&self) -> impl Iterator<Item = InterfaceAddress> {
        let ifindex = self.ifindex;
        let all = self.attributes.addresses.iter();
        all.map(move |(address, prefix)| InterfaceAddress { ifindex, address: *address, prefix: *prefix })
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
            self.add_default_routes(netlink);
        }
        self.attributes.addresses = addresses.to_vec();
    }

    fn add_default_routes(&self, netlink: &mut Netlink) {
        if let Some(ByAddress { virtual_address, default_route: true }) = self.by_address
            && let Err(error) = netlink.route_all(self.ifindex, virtual_address)
        {
            let name = &self.name;
            warn!(target: "control::symbol", "symbol {name}: add a default route: {error}");
        }
        for gateway in &self.gateways {
            if let Err(error) = netlink.add_default_route(self.ifindex, *gateway) {
                let name = &self.name;
                warn!(target: "control::symbol", "symbol {name}: add a default route by way of {gateway}: {error}");
            }
        }
    }
}

/// Routing daemons take costs from it; a port that does not know its own leaves the TAP's. None of this keeps a packet from
/// passing.
fn set_speed(netlink: &mut Netlink, name: &str, speed: u32) {
    if speed == 0 {
        return;
    }
    if let Err(error) = netlink.set_speed(name, speed) {
        warn!(target: "control::symbol", "symbol {name}: setting the speed: {error}");
    }
}
