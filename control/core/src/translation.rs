//! Address symbols (M9): the control's half of the translation.
//!
//! # Theory of operation
//!
//! A symbol of kind address stands for one address of a relay's port, the *virtual* one. Its interface has that address and one of
//! the control's own, which stands for it on the segment; both without a network behind them. It asks for a translation
//! where an interface symbol asks for a down tunnel, and its parcels go through tunnel 0, which is none. Two of the patent's
//! tables are here, both of them small enough to be the symbols themselves:
//!
//! | table | from | to |
//! |---|---|---|
//! | receive (fig. 14) | relay and destination address of a parcel that comes up | the symbol, and its virtual address |
//! | send (fig. 15) | the symbol that a packet leaves through | the control's address: its source on the segment |
//!
//! Detection is that of all symbols ([`crate::seen`]): a socket on the virtual address or on any makes a rule for the virtual
//! address, as far as the address family fits. Rules are told when the relay has said yes to the translation. What differs is in one place each:
//!
//! - no rule for ARP, no packet sockets, no groups: there is no Ethernet behind the symbol;
//! - a socket on another address is not reached through it;
//! - what programs send from other addresses than the virtual one, or to groups, is dropped.
//!
//! The symbol is down while the port does not have the virtual address.

use crate::attributes::Attributes;
use crate::flow::FlowKey;
use crate::parcels::{LinkVerdict, take_in};
use crate::relay::Relay;
use crate::rule::Rule;
use crate::symbol::{Stage, Symbol};
use crate::symbol_rules::{Grant, Tables};
use crate::{Control, show::TranslationRow};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::data::OffloadHeader;
use frames::inet::{End, Layer3, Transport, addresses, classify, translate};
use frames::message::{Message, Status, Translation, TranslationReply, TranslationRequest};
use frames::{DownTunnel, DropReason, ProtocolAddress, UpTunnel};
use l2link::{Counters, PeerId, Time};

/// The down tunnel of a symbol whose translation is in force: none.
const NONE: DownTunnel = DownTunnel(0);

/// The address that stands for a virtual one on the segment if the configuration does not say: out of 100.64.0.0/10 (RFC
/// 6598: between devices of one operator) or fd6c:326c:696e::/48 (RFC 4193, "l2lin" in its middle), by a hash of who needs it
/// for what. Two that meet are told by the relay.
#[must_use]
pub fn default_control_address(control: &str, relay: &str, virtual_address: IpAddr) -> IpAddr {
    let text = format!("{control}\n{relay}\n{virtual_address}");
    // FNV-1a of 64 bits, mixed once more: close addresses are to be far apart.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = hash ^ (hash >> 27);
    match virtual_address {
        IpAddr::V4(_) => {
            let network = Ipv4Addr::new(100, 64, 0, 0).to_bits();
            #[expect(clippy::cast_possible_truncation, reason = "22 bits are left of it")]
            let host = hash as u32 & 0x003f_ffff;
            Ipv4Addr::from_bits(network | host).into()
        }
        IpAddr::V6(_) => {
            let network = Ipv6Addr::new(0xfd6c, 0x326c, 0x696e, 0, 0, 0, 0, 0).to_bits();
            Ipv6Addr::from_bits(network | u128::from(hash)).into()
        }
    }
}

impl Symbol {
    /// What the interface is built from: like the port, but of an address symbol with the addresses of the translation.
    pub(crate) fn shaped(&mut self, port: Attributes) -> Attributes {
        let Some(translation) = self.config.translation else { return port };
        let length = if translation.virtual_address.is_ipv4() { 32 } else { 128 };
        let addresses = vec![(translation.virtual_address, length), (translation.control_address, length)];
        self.port_attributes = Some(port.clone());
        Attributes { addresses, given: Vec::new(), ..port }
    }

    /// What the port is like.
    pub(crate) fn port_attributes(&self) -> Option<&Attributes> {
        self.port_attributes.as_ref().or(self.attributes.as_ref())
    }

    /// The virtual address, if the port does not have it.
    pub(crate) fn lacking_address(&self) -> Option<IpAddr> {
        let virtual_address = self.config.translation?.virtual_address;
        let port = self.port_attributes.as_ref()?;
        (!port.has(virtual_address)).then_some(virtual_address)
    }

    /// The row of an address symbol in the receive table.
    fn receives(&self, peer: PeerId, destination: IpAddr, relays: &[Relay]) -> Option<Translation> {
        let translation = self.config.translation?;
        let mine = relays.get(self.relay.0).is_some_and(|relay| relay.peer == Some(peer));
        (mine && translation.control_address == destination).then_some(translation)
    }
}

impl Control {
    /// Asks for a translation, and goes on when the relay has answered.
    pub(crate) fn request_translation(&mut self, index: usize, grant: Grant, translation: Translation) {
        let symbol = &mut self.symbols[index];
        symbol.request = self.tables.request();
        let request =
            TranslationRequest { request: symbol.request, symbol: symbol.id, port: grant.port, translation };
        self.tables.send(grant.peer, Message::TranslationRequest(request));
    }

    pub(crate) fn handle_translation_reply(&mut self, peer: PeerId, reply: &TranslationReply<'_>, now: Time) {
        let Some(index) = self.addressed(peer, reply.symbol) else { return };
        let symbol = &mut self.symbols[index];
        let Stage::Granted(port) = symbol.stage else { return };
        if symbol.request != reply.request || symbol.config.translation.is_none() {
            return;
        }
        if reply.status != Status::OK {
            self.refuse(index, reply.status, reply.text, now);
            return;
        }
        symbol.down_tunnel = Some(NONE);
        symbol.rules.replay(Grant { peer, port }, now, &mut self.tables);
        let id = symbol.id;
        self.refresh(id, now);
        self.end_rules(now);
    }

    /// `show translations`.
    #[must_use]
    pub fn show_translations(&self) -> Vec<TranslationRow> {
        let receive = self.tables.receive.iter().filter_map(|(_, rule)| {
            let symbol = self.symbol(rule.symbol)?;
            Some(TranslationRow::received(symbol, rule, symbol.config.translation?))
        });
        let send = self.symbols.iter().filter_map(|symbol| {
            let translation = symbol.config.translation.filter(|_| symbol.down_tunnel.is_some())?;
            Some(TranslationRow::sent(symbol, translation))
        });
        receive.chain(send).collect()
    }
}

/// The symbol that a parcel of no tunnel is for (fig. 22).
pub(crate) fn judge<'a>(
    peer: PeerId,
    parcel: &'a mut [u8],
    tables: &mut Tables,
    symbols: &mut [Symbol],
    relays: &[Relay],
    drops: &mut Counters,
    now: Time,
) -> LinkVerdict<'a> {
    let destination = addresses(parcel).map(|(_, destination)| destination);
    let found = destination.and_then(|destination| {
        symbols.iter_mut().find_map(|symbol| {
            let translation = symbol.receives(peer, destination, relays)?;
            Some((symbol, translation))
        })
    });
    let translated = found.filter(|(_, Translation { virtual_address, control_address })| {
        translate(parcel, End::Destination, *control_address, *virtual_address).is_ok()
    });
    let Some((symbol, _)) = translated else {
        drops.drop(DropReason::NotTranslated);
        return LinkVerdict::Drop(DropReason::NotTranslated);
    };
    if let Some(tunnel) = rule_of(symbol, parcel, tables)
        && let Some(rule) = tables.receive.get_mut(tunnel)
        && let Err(reason) = take_in(rule, parcel, now)
    {
        drops.drop(reason);
        return LinkVerdict::Drop(reason);
    }
    symbol.received.add(parcel.len());
    LinkVerdict::Deliver { symbol: symbol.id, parcel }
}

/// The rule by which the relay sent a packet, as no tunnel says it. Errors and fragments are not counted.
fn rule_of(symbol: &Symbol, parcel: &[u8], tables: &Tables) -> Option<UpTunnel> {
    let view = classify(parcel.get(size_of::<OffloadHeader>()..)?).ok()?;
    let Layer3::Ip(ip) = view.layer3 else { return None };
    let (local_port, remote_port) = match ip.transport {
        Transport::Ports { source, destination, .. } => (destination, source),
        Transport::Echo { id, .. } => (id, 0),
        _ => return None,
    };
    let flow =
        FlowKey { protocol: ip.protocol, local_port, local: ip.destination, remote: ip.source, remote_port };
    symbol.rules.flow(&flow).or_else(|| symbol.rules.covering_listener(&flow, false, tables))
}

impl TranslationRow {
    fn received(symbol: &Symbol, rule: &Rule, translation: Translation) -> Self {
        let row = Self::sent(symbol, translation);
        Self {
            table: "receive",
            protocol_address: Some(rule.protocol_address.to_string()),
            from: row.to,
            to: row.from,
            packets: rule.packets,
            bytes: rule.bytes,
            ..row
        }
    }

    fn sent(symbol: &Symbol, translation: Translation) -> Self {
        Self {
            table: "send",
            relay: symbol.config.relay.clone(),
            symbol: symbol.config.name.clone(),
            port: symbol.config.port.clone(),
            protocol_address: None,
            from: translation.virtual_address.to_string(),
            to: translation.control_address.to_string(),
            packets: symbol.sent.frames,
            bytes: symbol.sent.bytes,
        }
    }
}

/// Whether a socket that listens for this can be reached by a virtual address.
pub(crate) fn can_reach(virtual_address: IpAddr, address: &ProtocolAddress) -> bool {
    use frames::protocol_address::{Family, Local};
    let local = match address {
        ProtocolAddress::Listener { local, .. } | ProtocolAddress::IpProtocol { local, .. } => *local,
        ProtocolAddress::Flow { .. } | ProtocolAddress::EtherType(_) => return false,
    };
    match local {
        Local::Any(Family::Both) => true,
        Local::Any(Family::V4) => virtual_address.is_ipv4(),
        Local::Any(Family::V6) => virtual_address.is_ipv6(),
        Local::Address(address) => address == virtual_address,
    }
}

/// The rule of a socket that can be reached by a virtual address: for that address, even if the socket listens on any.
pub(crate) fn at_address(address: ProtocolAddress, virtual_address: IpAddr) -> ProtocolAddress {
    use frames::protocol_address::Local;
    let local = Local::Address(virtual_address);
    match address {
        ProtocolAddress::Listener { protocol, port, .. } => {
            ProtocolAddress::Listener { protocol, local, port }
        }
        ProtocolAddress::IpProtocol { protocol, .. } => ProtocolAddress::IpProtocol { protocol, local },
        ProtocolAddress::Flow { .. } | ProtocolAddress::EtherType(_) => address,
    }
}

/// Writes the control's address into a parcel that leaves through an address symbol (fig. 23).
pub(crate) fn send(parcel: &mut [u8], translation: Translation) -> Result<(), DropReason> {
    let Translation { virtual_address, control_address } = translation;
    let to_host = addresses(parcel).is_some_and(|(_, destination)| !destination.is_multicast());
    if !to_host {
        return Err(DropReason::NotTranslated);
    }
    translate(parcel, End::Source, virtual_address, control_address).map_err(|_| DropReason::NotTranslated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_addresses_are_private_and_differ() {
        let of = |control: &str, address: &str| {
            default_control_address(control, "relay1", address.parse().unwrap())
        };
        let first = of("control1", "192.0.2.10");
        assert_eq!(first, of("control1", "192.0.2.10"), "always the same");
        assert!(matches!(first, IpAddr::V4(v4) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64));
        let v6 = of("control1", "2001:db8::10");
        assert!(matches!(v6, IpAddr::V6(v6) if v6.segments()[..4] == [0xfd6c, 0x326c, 0x696e, 0]), "{v6}");
        let all: std::collections::BTreeSet<IpAddr> =
            (0..100).map(|number| of(&format!("control{number}"), "192.0.2.10")).collect();
        assert_eq!(all.len(), 100);
    }
}
