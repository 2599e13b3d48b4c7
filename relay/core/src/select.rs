//! From a packet to the controls that get it.
//!
//! # Theory of operation
//! A packet that is for the relay goes through the stages of a host's own delivery:
//!
//! 1. *The socket.* The exact flow, else the listener of that address, else the listener of any address: one control
//!    gets it. A packet to a group (broadcast, multicast) has many receivers on a host, so every control with such a
//!    listener gets it.
//! 2. *Raw sockets*, by IP protocol: every control that has one gets a copy.
//! 3. *Packet sockets*, by EtherType, and those for all EtherTypes: every control that has one gets a copy, but not of
//!    IP packets to an address of the relay, ICMP excepted. These belong to the socket that stages 1 and 2 find, if need
//!    be one of the relay itself; the kernel of a control that only watches (`tcpdump`) would answer a copy with a TCP
//!    reset or an ICMP error and end somebody else's connection.
//!
//! A symbol gets a packet once, however many of its rules match.
//!
//! A packet to a unicast Ethernet address that a control joined (a virtual router's) is not the relay's at all: its
//! kernel passes over it. The symbols of that control get all of it, echo requests and transit included.
//!
//! What the relay's kernel answers itself is never punted: ARP requests and neighbour solicitations for an address of
//! the relay, echo requests, and `relay_services`. Everything else of ARP, neighbour and router discovery
//! goes to every symbol: each has a rule for the EtherType of ARP that stands for all of these. An ICMP
//! error goes the way of the packet that it is about, looked up in reverse: what that packet was from is local here.

use crate::config::ETHERTYPE_ARP;
use crate::dispatch::{Cause, Decision, Dispatch, Ends, Sought, Targets};
use crate::membership::Memberships;
use crate::police::PuntClass;
use crate::port::{Port, Ports};
use crate::rule::{Key, any_like};
use core::net::IpAddr;
use frames::inet::{ArpOperation, EchoKind, IcmpInner, Ip, Layer3, PacketView, Transport};
use frames::protocol_address::{ETHERTYPE_ALL, Family, Local};
use frames::{DropReason, ProtocolAddress};

/// Whom a packet at a port is for. Reads the tables, fills `targets` and `decision`, and changes nothing else.
pub(crate) struct Selector<'a> {
    pub(crate) link_ethertype: u16,
    pub(crate) ports: &'a Ports,
    pub(crate) dispatch: &'a Dispatch,
    pub(crate) memberships: &'a Memberships,
    pub(crate) targets: &'a mut Targets,
    /// The packet's flow, if it has one.
    pub(crate) sought: Option<Sought>,
    /// What was decided about its socket, if that was looked for: to be committed if the packet is there.
    pub(crate) decision: Option<Decision>,
}

/// Why no control gets a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// A frame of the link protocol.
    Link,
    /// It is for the Ethernet address of another station.
    Station,
    /// It is for an IP address that is not the relay's.
    Transit,
    /// It is of the relay's own services.
    Service,
    /// The relay's kernel answers echo requests.
    Echo,
    /// The relay's kernel answers who asks for its addresses.
    Neighbor,
    /// No rule matches.
    Unmatched,
    /// It is not known yet which control has the flow.
    Learning,
}

impl Left {
    /// How it is counted.
    pub(crate) const fn reason(self) -> DropReason {
        match self {
            Self::Link | Self::Station | Self::Transit | Self::Service | Self::Echo | Self::Neighbor => {
                DropReason::NotForPort
            }
            Self::Unmatched | Self::Learning => DropReason::Unmatched,
        }
    }
}

impl Selector<'_> {
    /// Whether the packet is the relay's, neither transit nor somebody else's.
    pub(crate) fn check_for_port(&self, port: &Port, view: &PacketView) -> Result<(), Left> {
        let own = view.destination.is_multicast() || view.destination == port.state.mac;
        let joined = !own && self.memberships.accepts(port.id, view.destination);
        if !(own || joined) {
            return Err(Left::Station);
        }
        let addressed = match view.layer3 {
            Layer3::Ip(ip) => {
                joined
                    || self.ports.is_local(port, &ip.destination)
                    || port.is_group(&ip.destination)
                    || is_lease(&ip)
            }
            Layer3::Arp { .. } | Layer3::Other => true,
        };
        match addressed {
            false => Err(Left::Transit),
            true if view.ethertype == self.link_ethertype => Err(Left::Link),
            true => Ok(()),
        }
    }

    /// Fills the targets of a packet that passes [`Selector::check_for_port`]; at least one, if it is not dropped.
    pub(crate) fn select(&mut self, port: &Port, view: &PacketView) -> Result<PuntClass, Left> {
        self.targets.clear();
        if !view.destination.is_multicast() && view.destination != port.state.mac {
            return self.station(port, view);
        }
        let class = match &view.layer3 {
            Layer3::Arp { operation, target, .. } => {
                let asked =
                    *operation == ArpOperation::Request && self.ports.is_local(port, &IpAddr::V4(*target));
                if asked {
                    return Err(Left::Neighbor);
                }
                self.neighbors(port)
            }
            Layer3::Ip(ip) => {
                let class = self.socket(port, ip)?;
                self.copies(&Key::ip_protocol(port.id, ip.protocol, ip.destination));
                self.copies(&Key::ip_protocol(port.id, ip.protocol, any_like(ip.destination)));
                class
            }
            Layer3::Other => {
                keep(port, &ProtocolAddress::EtherType(view.ethertype))?;
                PuntClass::Raw
            }
        };
        if is_watched(port, view) {
            self.copies(&Key::ethertype(port.id, view.ethertype));
            self.copies(&Key::ethertype(port.id, ETHERTYPE_ALL));
        }
        self.outcome(class)
    }

    fn outcome(&self, class: PuntClass) -> Result<PuntClass, Left> {
        match self.decision {
            _ if !self.targets.is_empty() => Ok(class),
            Some(Decision { cause: Cause::Learning, .. }) => Err(Left::Learning),
            Some(_) | None => Err(Left::Unmatched),
        }
    }

    /// What is for another station that controls stand for.
    fn station(&mut self, port: &Port, view: &PacketView) -> Result<PuntClass, Left> {
        let joined = |peer| self.memberships.is_joined_by(port.id, view.destination, peer);
        self.dispatch.copies_of(&Key::ethertype(port.id, ETHERTYPE_ARP), joined, self.targets);
        let class = match &view.layer3 {
            Layer3::Arp { .. } => PuntClass::Neighbor,
            Layer3::Ip(ip) if matches!(ip.protocol, ICMP | ICMPV6) => PuntClass::Icmp,
            Layer3::Ip(_) => PuntClass::Transport,
            Layer3::Other => PuntClass::Raw,
        };
        self.outcome(class)
    }

    /// Stage 1: what the packet's socket gets. The class is that of the packet as a whole.
    fn socket(&mut self, port: &Port, ip: &Ip) -> Result<PuntClass, Left> {
        match ip.transport {
            Transport::Ports { source, destination, tcp } => {
                keep_port(port, ip.protocol, destination)?;
                let (local, remote) = ((ip.destination, destination), (ip.source, source));
                if port.is_group(&ip.destination) {
                    self.copies(&Key::listener(port.id, ip.protocol, local.0, local.1));
                    self.copies(&Key::listener(port.id, ip.protocol, any_like(local.0), local.1));
                    return Ok(PuntClass::Group);
                }
                let seek = || self.dispatch.seek(port.id, ip.protocol, Ends { local, remote });
                let sought = self.sought.unwrap_or_else(seek);
                self.unicast(&sought, tcp.opens());
                Ok(if self.targets.is_empty() { PuntClass::Raw } else { PuntClass::Transport })
            }
            Transport::Echo { kind: EchoKind::Request, .. } => Err(Left::Echo),
            Transport::Echo { kind: EchoKind::Reply, id } => {
                let ends = Ends { local: (ip.destination, id), remote: (ip.source, 0) };
                self.unicast(&self.dispatch.seek(port.id, ip.protocol, ends), false);
                Ok(PuntClass::Icmp)
            }
            Transport::IcmpError(inner) => {
                if let Some((source, _)) = inner.ports {
                    keep_port(port, inner.protocol, source)?;
                }
                self.error(port, &inner);
                Ok(PuntClass::Icmp)
            }
            Transport::NeighborSolicitation(target) if self.ports.is_local(port, &IpAddr::V6(target)) => {
                Err(Left::Neighbor)
            }
            Transport::NeighborSolicitation(_) | Transport::NeighborAdvertisement(_) => {
                Ok(self.neighbors(port))
            }
            Transport::Icmp(ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT) if ip.protocol == ICMPV6 => {
                Ok(self.neighbors(port))
            }
            Transport::Icmp(_) => keep(port, &raw(ip.protocol)).map(|()| PuntClass::Icmp),
            Transport::Other | Transport::LaterFragment => {
                keep(port, &raw(ip.protocol)).map(|()| PuntClass::Raw)
            }
        }
    }

    /// The one control of a flow.
    fn unicast(&mut self, sought: &Sought, opens: bool) {
        let decision = self.dispatch.decide(sought, opens);
        if let Some(target) = decision.target {
            self.targets.push(target);
        }
        self.decision = Some(decision);
    }

    fn error(&mut self, port: &Port, inner: &IcmpInner) {
        match inner.ports {
            Some((source, destination)) => {
                let ends = Ends { local: (inner.source, source), remote: (inner.destination, destination) };
                self.unicast(&self.dispatch.seek(port.id, inner.protocol, ends), false);
            }
            None => {
                self.copies(&Key::ip_protocol(port.id, inner.protocol, inner.source));
                self.copies(&Key::ip_protocol(port.id, inner.protocol, any_like(inner.source)));
            }
        }
    }

    /// Every symbol of the port.
    fn neighbors(&mut self, port: &Port) -> PuntClass {
        self.copies(&Key::ethertype(port.id, ETHERTYPE_ARP));
        PuntClass::Neighbor
    }

    fn copies(&mut self, key: &Key) {
        self.dispatch.copies(key, self.targets);
    }
}

/// Keeps with the relay what is of its services, from copies to raw and packet sockets too.
fn keep(port: &Port, address: &ProtocolAddress) -> Result<(), Left> {
    if port.config.relay_services.covers(address) { Err(Left::Service) } else { Ok(()) }
}

/// As [`keep`], for a local port.
fn keep_port(port: &Port, protocol: u8, local_port: u16) -> Result<(), Left> {
    let kept = port.config.relay_services.covers_port(protocol, local_port);
    if kept { Err(Left::Service) } else { Ok(()) }
}

/// Whether packet sockets get copies: whatever no kernel would answer.
fn is_watched(port: &Port, view: &PacketView) -> bool {
    match &view.layer3 {
        Layer3::Ip(ip) => {
            port.is_group(&ip.destination) || matches!(ip.protocol, ICMP | ICMPV6) || is_lease(ip)
        }
        Layer3::Arp { .. } | Layer3::Other => true,
    }
}

/// Whether a DHCP server speaks to a client, which may have no address yet: the packet is to the one that it is offered
/// (RFC 2131, 4.1).
fn is_lease(ip: &Ip) -> bool {
    let ports =
        matches!(ip.transport, Transport::Ports { source: DHCP_SERVER, destination: DHCP_CLIENT, .. });
    ip.destination.is_ipv4() && ip.protocol == UDP && ports
}

fn raw(protocol: u8) -> ProtocolAddress {
    ProtocolAddress::IpProtocol { protocol, local: Local::Any(Family::Both) }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// RFC 4861, 4.1 and 4.2.
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const UDP: u8 = 17;
/// RFC 2131, 4.1.
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;

#[cfg(test)]
mod tests;
