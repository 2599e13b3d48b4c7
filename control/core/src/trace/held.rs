//! What comes of the sockets that a process holds, each by its number.

use crate::rule::RuleState;
use crate::seen::{NumberedSocket, OpenSocket, TCP};
use crate::symbol::{State, Symbol};
use crate::{Control, NamespaceId};
use core::net::{IpAddr, SocketAddr};
use frames::ProtocolAddress;
use frames::protocol_address::{Family, Local, protocol_name};
use l2link::trace::Stage::{Packet, Socket};
use l2link::trace::{Hop, Outcome};

/// A socket that a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSocket {
    /// Inode number, as `/proc/PID/fd` shows it.
    pub inode: u32,
    /// Where it is; none if no symbol stands there.
    pub namespace: Option<NamespaceId>,
}

impl Control {
    /// What comes of a socket that a process holds. `sockets`: those of all namespaces, at this moment.
    #[must_use]
    pub fn trace_held(&self, held: &HeldSocket, sockets: &[NumberedSocket]) -> Vec<Hop> {
        let Some(namespace) = held.namespace else { return vec![self.unwatched()] };
        let place = self.place_name(namespace);
        let is_it = |socket: &&NumberedSocket| (socket.namespace, socket.inode) == (namespace, held.inode);
        let mut found: Vec<&NumberedSocket> = sockets.iter().filter(is_it).collect();
        found.dedup();
        if found.is_empty() {
            let text = format!(
                "the kernel does not list it in {place}: it was closed just now, or waits for no packet"
            );
            return vec![Hop::new(Socket, Outcome::None, text)];
        }
        let mut hops =
            vec![Hop::new(Socket, Outcome::Passes, format!("{} is open in {place}", found[0].address))];
        for NumberedSocket { address, interface, .. } in found.into_iter().copied() {
            let socket = OpenSocket { address, interface };
            hops.extend(self.at_symbols(namespace, &socket, true));
            let here = self.symbols.iter().filter(|symbol| symbol.namespace == namespace);
            hops.extend(here.filter_map(|symbol| self.packet_for(symbol, &socket)));
        }
        hops
    }

    /// It is where no symbol stands.
    fn unwatched(&self) -> Hop {
        let places = self.namespaces.iter().filter(|place| {
            self.symbols.iter().any(|symbol| symbol.namespace == place.id && symbol.config.files.is_none())
        });
        let places: Vec<String> = places.map(|place| self.place_name(place.id)).collect();
        let text = if places.is_empty() {
            "no namespace is looked at: there is no symbol of kind interface or address".to_owned()
        } else {
            format!(
                "no symbol stands in its network namespace, but in {}: start the program there",
                places.join(", ")
            )
        };
        Hop::new(Socket, Outcome::None, text)
    }

    /// What would become of a packet for a socket that has a rule at this symbol, or lives by one.
    fn packet_for(&self, symbol: &Symbol, socket: &OpenSocket) -> Option<Hop> {
        let all = self.addresses_in(symbol.namespace);
        let seat = self.seat(symbol, &all)?;
        let (tunnel, rule) = match socket.address {
            ProtocolAddress::Flow { .. } => self.rule_of_flow(symbol, &socket.address)?,
            _ => self.rule_of(symbol, &super::wanted(&seat, &symbol.config.exposure, socket).ok()?)?,
        };
        let (port, relay) = (&symbol.config.port, &symbol.config.relay);
        let (packet, line) = example(&socket.address, symbol)?;
        let at = format!("{packet} that arrives at port {port} of {relay}");
        let ask = format!("; there `l2ctl trace {line}` tells more");
        let (outcome, text) = match (&rule.state, symbol.state().0) {
            (RuleState::Refused(_), _) => (Outcome::Dropped, format!("{at} does not come up here{ask}")),
            (_, State::Waiting | State::Refused | State::Down) => {
                (Outcome::Dropped, format!("{at} does not come up until the symbol is up"))
            }
            (RuleState::Active, State::Up) if symbol.rules.state(rule) == "draining" => {
                (Outcome::Sent, format!("{at} comes up if it is of an old flow; new ones go elsewhere{ask}"))
            }
            // Only the relay knows who else has the rule.
            (RuleState::Active, State::Up) => {
                (Outcome::Sent, format!("{at} comes up here, or to another control with this rule{ask}"))
            }
            (RuleState::Pending | RuleState::Closing, State::Up) => {
                (Outcome::Waits, format!("{at} comes up as soon as the relay has the rule"))
            }
        };
        let hop = Hop::new(Packet, outcome, text).about(&**relay);
        Some(if symbol.config.translation.is_some() { hop } else { hop.by(tunnel) })
    }

    /// The rule of a flow, or that of the listener by which its packets come.
    fn rule_of_flow(&self, symbol: &Symbol, address: &ProtocolAddress) -> Option<(u32, &crate::rule::Rule)> {
        let flow = crate::flow::FlowKey::try_from(address).ok()?;
        let own = symbol.rules.flow(&flow).and_then(|_| self.rule_of(symbol, &flow.rule()));
        own.or_else(|| {
            let tunnel = symbol.rules.covering_listener(&flow, false, &self.tables)?;
            Some((tunnel.0, self.tables.receive.get(tunnel)?))
        })
    }
}

/// A packet for a socket in words, and as `trace` at the relay has it. From documentation addresses (RFC 5737, RFC 3849), unless
/// the other end is known.
fn example(address: &ProtocolAddress, symbol: &Symbol) -> Option<(String, String)> {
    let port = &symbol.config.port;
    let of_symbol = |local: Local| match local {
        Local::Address(address) => Some(address),
        Local::Any(family) => {
            let fits = |address: &IpAddr| match family {
                Family::Both => true,
                Family::V4 => address.is_ipv4(),
                Family::V6 => address.is_ipv6(),
            };
            let virtual_address = symbol.config.translation.map(|translation| translation.virtual_address);
            virtual_address.into_iter().chain(symbol.addresses()).find(fits)
        }
    };
    let outside = |address: &IpAddr| -> IpAddr {
        if address.is_ipv4() { [198, 51, 100, 7].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into() }
    };
    let name = |protocol: u8| protocol_name(protocol).map_or(format!("ip {protocol}"), str::to_owned);
    Some(match *address {
        ProtocolAddress::Listener { protocol, local, port: number } => {
            let to = of_symbol(local)?;
            let (from, to) = (SocketAddr::new(outside(&to), 40000), SocketAddr::new(to, number));
            let name = name(protocol);
            (format!("{name} to {to}"), format!("{name} from {from} to {to} port {port}"))
        }
        ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } => {
            let (from, to) = (SocketAddr::new(remote, remote_port), SocketAddr::new(local, local_port));
            let name = name(protocol);
            let established = if protocol == TCP { " established" } else { "" };
            (format!("{name} from {from}"), format!("{name} from {from} to {to}{established} port {port}"))
        }
        ProtocolAddress::IpProtocol { protocol, local } => {
            let to = of_symbol(local)?;
            (
                format!("IP protocol {protocol}"),
                format!("ip {protocol} from {} to {to} port {port}", outside(&to)),
            )
        }
        ProtocolAddress::EtherType(ethertype) if ethertype >= LEAST_ETHERTYPE => {
            let word = format!("ethertype {ethertype:#06x}");
            (format!("a frame of {word}"), format!("{word} port {port}"))
        }
        ProtocolAddress::EtherType(_) => ("a frame".to_owned(), format!("ethertype 0x88cc port {port}")),
    })
}

/// Below are lengths, and Linux's own types (IEEE 802.3, 3.2.6).
const LEAST_ETHERTYPE: u16 = 0x600;
