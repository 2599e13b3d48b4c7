//! [`Netlink`]: interfaces, addresses and the default route of a namespace.

mod cable;
mod carrier;
pub(crate) mod extra_macs;
mod given;
mod no_arp;
pub(crate) mod policy_rules;
mod queues;

pub use cable::CableEnd;

use crate::rtnetlink::Requests;
use crate::{NetNs, SetupError, ethtool};
use core::fmt;
use frames::Mac;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo as Info,
    LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

/// Index of an interface, unique in its namespace as long as the namespace lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IfIndex(pub u32);

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface {}", self.0)
    }
}

/// An interface as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Index.
    pub ifindex: IfIndex,
    /// Name.
    pub name: String,
    /// Ethernet address; all zero for a loopback, `None` if the interface has no six-byte address.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it was set up (`ip link set up`).
    pub up: bool,
    /// Whether the cable is in, so to speak. Always false while it is down.
    pub carrier: bool,
    /// Mb/s, zero if unknown.
    pub speed: u32,
    /// Whether it carries Ethernet frames; a loopback does not.
    pub ethernet: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// The interface of which it is a part: a bridge, a bond, a VRF.
    pub master: Option<IfIndex>,
    /// The interface of this namespace on which it stands: that of a macvlan or a VLAN, or a cable's other end.
    pub link: Option<IfIndex>,
    /// Whether `master` is a bridge.
    pub bridge_port: bool,
    /// The kernel's word for its kind: `veth`, `bridge`, `tun`; `None` for hardware.
    pub kind: Option<String>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    /// The interface.
    pub ifindex: IfIndex,
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
}

/// Whether an IPv6 address is usable before duplicate address detection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dad {
    /// Duplicate address detection takes its time.
    On,
    /// The address is usable at once.
    Off,
}

/// A request socket for a namespace's interfaces. Calls wait for the kernel's answer only.
#[derive(Debug)]
pub struct Netlink {
    requests: Requests,
}

impl Netlink {
    /// Opens the socket in `netns`.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        Ok(Self { requests: Requests::open(netns)? })
    }

    /// All interfaces.
    ///
    /// # Errors
    /// The kernel's.
    pub fn links(&mut self) -> io::Result<Vec<LinkInfo>> {
        let answers = self.requests.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(|answer| self.link_info(answer)).collect())
    }

    /// The interface of this name, `None` if there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link_by_name(&mut self, name: &str) -> io::Result<Option<LinkInfo>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.requests.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| self.link_info(answer))),
            // A name that is too long for any interface is out of range.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The interface with this index, `None` if there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link_by_index(&mut self, ifindex: IfIndex) -> io::Result<Option<LinkInfo>> {
        match self.requests.get(RouteNetlinkMessage::GetLink(link_message(ifindex))) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| self.link_info(answer))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Addresses of an interface, or of all, in the kernel's order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&mut self, ifindex: Option<IfIndex>) -> io::Result<Vec<InterfaceAddress>> {
        let answers = self.requests.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let mut addresses: Vec<_> = answers.iter().filter_map(interface_address).collect();
        addresses.retain(|address| ifindex.is_none_or(|ifindex| ifindex == address.ifindex));
        Ok(addresses)
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&mut self, ifindex: IfIndex, up: bool) -> io::Result<()> {
        let mut message = link_message(ifindex);
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.requests.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes an interface; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel's, `EOPNOTSUPP` for one that is no virtual interface.
    pub fn delete_link(&mut self, ifindex: IfIndex) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelLink(link_message(ifindex));
        unless(libc::ENODEV, self.requests.change(message, 0))
    }

    /// Sets the Ethernet address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mac(&mut self, ifindex: IfIndex, mac: Mac) -> io::Result<()> {
        self.set_attribute(ifindex, LinkAttribute::Address(mac.0.to_vec()))
    }

    /// Sets the MTU in bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mtu(&mut self, ifindex: IfIndex, mtu: u32) -> io::Result<()> {
        self.set_attribute(ifindex, LinkAttribute::Mtu(mtu))
    }

    /// Sets the speed in Mb/s that the interface shows, full duplex; a TAP takes any.
    ///
    /// # Errors
    /// The kernel's, `EOPNOTSUPP` if the driver does not let it be set.
    pub fn set_speed(&mut self, interface: &str, speed: u32) -> io::Result<()> {
        ethtool::set_speed(self.requests.as_fd(), interface, speed)
    }

    /// Keeps the kernel from giving the interface an IPv6 link-local address of its own making, and removes what it has
    /// given it already (known by its mark, since Linux 5.18).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_addr_gen_none(&mut self, ifindex: IfIndex) -> io::Result<()> {
        let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        self.set_attribute(ifindex, LinkAttribute::AfSpecUnspec(vec![mode]))?;
        self.delete_generated_addresses(ifindex)
    }

    /// Adds an address with its real prefix length; an address that is there already is no error. IPv4 addresses get
    /// the broadcast address of their prefix.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_address(&mut self, address: InterfaceAddress, dad: Dad) -> io::Result<()> {
        let mut message = new_address(address);
        if dad == Dad::Off && address.address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        unless(libc::EEXIST, self.create_address(message))
    }

    /// Removes an address; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_address(&mut self, address: InterfaceAddress) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelAddress(address_message(address));
        unless(libc::EADDRNOTAVAIL, self.requests.change(message, 0))
    }

    /// Adds a default route by way of `gateway` behind those that are not this project's. Of its own, IPv4 takes the first whose
    /// interface has a carrier, and IPv6 shares among all that have one (where `ignore_routes_with_linkdown` is set). The same once
    /// more is no error.
    ///
    /// # Errors
    /// The kernel's, `ENETUNREACH` or `EHOSTUNREACH` if no address of the interface shares a prefix with the gateway.
    pub fn add_default_route(&mut self, ifindex: IfIndex, gateway: IpAddr) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(default_route(ifindex, gateway));
        unless(libc::EEXIST, self.requests.change(message, NLM_F_CREATE | NLM_F_APPEND))
    }

    /// Removes what [`Netlink::add_default_route`] added; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_default_route(&mut self, ifindex: IfIndex, gateway: IpAddr) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelRoute(default_route(ifindex, gateway));
        unless(libc::ESRCH, self.requests.change(message, 0))
    }

    fn create_address(&mut self, message: AddressMessage) -> io::Result<()> {
        self.requests.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn set_attribute(&mut self, ifindex: IfIndex, attribute: LinkAttribute) -> io::Result<()> {
        let mut message = link_message(ifindex);
        message.attributes.push(attribute);
        self.requests.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    fn link_info(&self, answer: RouteNetlinkMessage) -> Option<LinkInfo> {
        let RouteNetlinkMessage::NewLink(LinkMessage { header, attributes, .. }) = answer else {
            return None;
        };
        let up = header.flags.contains(LinkFlags::Up);
        let mut info = LinkInfo {
            ifindex: IfIndex(header.index),
            name: String::new(),
            mac: None,
            mtu: 0,
            up,
            carrier: up && header.flags.contains(LinkFlags::LowerUp),
            speed: 0,
            ethernet: header.link_layer_type == LinkLayerType::Ether,
            loopback: header.link_layer_type == LinkLayerType::Loopback,
            master: None,
            link: None,
            bridge_port: false,
            kind: None,
        };
        let mut link_elsewhere = false;
        for attribute in attributes {
            match attribute {
                LinkAttribute::IfName(name) => info.name = name,
                LinkAttribute::Link(index) => info.link = (index != 0).then_some(IfIndex(index)),
                LinkAttribute::LinkNetNsId(_) => link_elsewhere = true,
                LinkAttribute::Mtu(mtu) => info.mtu = mtu,
                LinkAttribute::Address(bytes) => info.mac = bytes.try_into().ok().map(Mac),
                LinkAttribute::Controller(index) => info.master = Some(IfIndex(index)),
                LinkAttribute::LinkInfo(details) => {
                    for detail in details {
                        match detail {
                            Info::Kind(kind) => info.kind = Some(kind.to_string()),
                            Info::PortKind(kind) => info.bridge_port = kind == InfoPortKind::Bridge,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        info.link = info.link.filter(|_| !link_elsewhere);
        if info.ethernet {
            info.speed = ethtool::speed(self.requests.as_fd(), &info.name);
        }
        Some(info)
    }
}

fn interface_address(answer: &RouteNetlinkMessage) -> Option<InterfaceAddress> {
    let RouteNetlinkMessage::NewAddress(message) = answer else {
        return None;
    };
    // With a point-to-point interface `Address` is the far end's; for IPv6 there is no `Local` otherwise.
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    Some(InterfaceAddress {
        ifindex: IfIndex(message.header.index),
        address: find(true).or_else(|| find(false))?,
        prefix: message.header.prefix_len,
    })
}

fn link_message(ifindex: IfIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex.0;
    message
}

/// Metric of default routes: greater than what the kernel (IPv6: 1024) and those who configure interfaces (up to 1024) give theirs. With
/// the same, IPv6 would share what the machine sends between its own way out and a symbol.
const BEHIND_OTHERS: u32 = 1_025;

fn default_route(ifindex: IfIndex, gateway: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(crate::routes::PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Gateway(RouteAddress::from(gateway)),
        RouteAttribute::Oif(ifindex.0),
        RouteAttribute::Priority(BEHIND_OTHERS),
    ];
    message
}

fn address_message(address: InterfaceAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address);
    message.header.prefix_len = address.prefix;
    message.header.index = address.ifindex.0;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    message
}

/// As [`address_message`], with the broadcast address of an IPv4 prefix that has one.
fn new_address(address: InterfaceAddress) -> AddressMessage {
    let mut message = address_message(address);
    if let (IpAddr::V4(v4), 0..=30) = (address.address, address.prefix) {
        let host = u32::MAX.checked_shr(address.prefix.into()).unwrap_or(0);
        let broadcast = Ipv4Addr::from_bits(v4.to_bits() | host);
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The result, with this error taken for success.
fn unless(errno: i32, result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.raw_os_error() == Some(errno) { Ok(()) } else { Err(error) })
}
