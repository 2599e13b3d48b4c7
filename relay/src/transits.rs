//! [`Transits`]: the interfaces that lead to other relays of one router.
//!
//! A TAP device for each, `l2to1`, `l2to2`, …, which lives as long as the session: with it the kernel's routes by it go, at
//! once and whatever their number, and a crash leaves nothing. Nobody has to be asked for behind it (no ARP), it has no
//! addresses, and it takes packets of any size, as the link cuts what is larger than it: what is too large for the port
//! where it leaves is answered by the kernel of either relay.

use crate::complaint::Complaint;
use crate::source::Source;
use crate::wire::register;
use frames::Mac;
use frames::data::OffloadHeader;
use l2link::{PeerId, Time};
use l2link_os::{Conversations, IfIndex, LinkInfo, NetNs, Netlink, SetupError, Tap};
use mio::Registry;
use std::fs;
use std::io;
use std::path::Path;

/// The interfaces, each at a place of its own.
#[derive(Debug)]
pub(crate) struct Transits {
    netns: NetNs,
    netlink: Netlink,
    places: Vec<Option<Transit>>,
    complaint: Complaint,
}

#[derive(Debug)]
struct Transit {
    peer: PeerId,
    ifindex: IfIndex,
    tap: Tap,
}

impl Transits {
    /// None yet.
    pub(crate) fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let netlink = Netlink::open(netns)?;
        Ok(Self { netns: netns.clone(), netlink, places: Vec::new(), complaint: Complaint::default() })
    }

    /// Makes the interface to a relay. Returns its index; without one there is no transit by that relay.
    pub(crate) fn add(
        &mut self,
        peer: PeerId,
        relay: &str,
        registry: &Registry,
        now: Time,
    ) -> Option<IfIndex> {
        self.remove(peer);
        let place = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        match self.create(place, registry) {
            Ok((tap, name, ifindex)) => {
                log::info!(target: "relay::peer", "relay {relay} is reached by interface {name}");
                if place == self.places.len() {
                    self.places.push(None);
                }
                self.places[place] = Some(Transit { peer, ifindex, tap });
                Some(ifindex)
            }
            Err(error) => {
                let text = format!("no interface to relay {relay}, and nothing is forwarded to it: {error}");
                self.complaint.warn("relay::peer", text, now);
                None
            }
        }
    }

    fn create(&mut self, place: usize, registry: &Registry) -> Result<(Tap, String, IfIndex), SetupError> {
        let (tap, name) = self.make(place)?;
        let system = |action: &str| {
            let action = format!("{action} of {name}");
            move |source| SetupError::system(action, source)
        };
        let absent = || SetupError::NoInterface { interface: name.clone() };
        let link = self.netlink.link_by_name(&name).map_err(system("look up the interface"))?;
        let ifindex = link.ok_or_else(absent)?.ifindex;
        if let Err(error) = self.netlink.set_addr_gen_none(ifindex) {
            log::warn!(target: "relay::peer", "{name}: IPv6 is not available: {error}");
        }
        // Packets may come from where the way back is another one.
        let rp_filter = Path::new("/proc/sys/net/ipv4/conf").join(&name).join("rp_filter");
        fs::write(rp_filter, "0").map_err(system("switch off the reverse path filter"))?;
        self.netlink.set_mac(ifindex, MAC).map_err(system("set the Ethernet address"))?;
        self.netlink.set_no_arp(ifindex).map_err(system("switch off ARP"))?;
        self.netlink.set_mtu(ifindex, MTU).map_err(system("set the MTU"))?;
        self.netlink.set_up(ifindex, true).map_err(system("set up the interface"))?;
        tap.set_carrier(true).map_err(system("set the carrier"))?;
        self.netlink.settle_carrier(ifindex).map_err(system("settle the carrier"))?;
        register(registry, &tap, Source::Transit(place)).map_err(system("watching"))?;
        Ok((tap, name, ifindex))
    }

    /// Makes the device under the first free name.
    fn make(&self, place: usize) -> Result<(Tap, String), SetupError> {
        let mut number = place + 1;
        loop {
            let name = format!("{PREFIX}{number}");
            match Tap::create(&self.netns, &name, None) {
                Ok(tap) => return Ok((tap, name)),
                Err(SetupError::NameTaken { .. }) if number < NUMBER_MAX => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Relays to which nothing leads any more, as somebody removed the interface or set it down.
    pub(crate) fn cut_off(&self, links: &[LinkInfo]) -> Vec<PeerId> {
        let leads = |transit: &&Transit| links.iter().any(|link| link.ifindex == transit.ifindex && link.up);
        self.places.iter().flatten().filter(|transit| !leads(transit)).map(|transit| transit.peer).collect()
    }

    /// How many places there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Removes the interface to a relay.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        let at = |transit: &Option<Transit>| transit.as_ref().is_some_and(|transit| transit.peer == peer);
        if let Some(place) = self.places.iter_mut().find(|place| at(place)) {
            *place = None;
        }
    }

    /// Takes a parcel that the kernel forwarded into the interface at this place; `None` if none waits.
    pub(crate) fn read(
        &mut self,
        place: usize,
        conversations: &mut Conversations,
        now: Time,
    ) -> Option<(PeerId, &mut [u8])> {
        let transit = self.places.get_mut(place)?.as_mut()?;
        match transit.tap.read(conversations, now) {
            Ok(parcel) => Some((transit.peer, parcel?)),
            Err(error) => {
                if error.kind() != io::ErrorKind::NetworkDown {
                    self.complaint.warn("relay::peer", format!("reading transit: {error}"), now);
                }
                None
            }
        }
    }

    /// Gives the kernel a parcel that came from a relay. Returns whether it took it.
    pub(crate) fn write(&mut self, peer: PeerId, parcel: &mut [u8]) -> bool {
        let transit = self.places.iter_mut().flatten().find(|transit| transit.peer == peer);
        let Some(transit) = transit else { return false };
        if let Some(addresses) = parcel.get_mut(ADDRESSES) {
            addresses[..6].copy_from_slice(&MAC.0);
            addresses[6..].copy_from_slice(&FAR_MAC.0);
        }
        transit.tap.write(parcel).is_ok()
    }
}

/// What the names of the interfaces begin with; the nftables table knows them by it.
const PREFIX: &str = "l2to";
/// Largest number that makes a name short enough.
const NUMBER_MAX: usize = 9_999;
/// Ethernet addresses of both ends, which nobody else sees: locally administered.
const MAC: Mac = Mac([0x02, 0x6c, 0x32, 0, 0, 1]);
const FAR_MAC: Mac = Mac([0x02, 0x6c, 0x32, 0, 0, 2]);
/// Where they stand in a parcel.
const ADDRESSES: core::ops::Range<usize> = size_of::<OffloadHeader>()..size_of::<OffloadHeader>() + 12;
/// The greatest that the kernel lets a TAP have: 65,535 bytes with the Ethernet header.
const MTU: u32 = 65_521;
