//! Address symbols (M9): the relay's half of the translation, and its messages.
//!
//! # Theory of operation
//! A symbol of kind address has no tunnels. Its control says which address of the port its programs listen for (the
//! *virtual* one) and which address of its own stands for it on the segment ([`TranslationRequest`], fig. 19 of the patent). Two of the
//! patent's tables are here:
//!
//! | table | from | to |
//! |---|---|---|
//! | dispatch (fig. 16) | the rule that a packet matches | its symbol's control address: destination of the packet on the segment |
//! | receive (fig. 17) | control and source address of a packet that comes down | the virtual address: its source from here on |
//!
//! Rules stand in the one dispatch table with those of interface symbols, under the virtual address: their controls write it
//! even where a program listens on any. A listener of any address serves at the named ones as well, so both kinds share.
//!
//! Several controls may have one virtual address, each with a control address of its own: that is how they share a service.
//! What comes down goes to other hosts only: by the kernel's routes it would reach the relay's own services, past all that
//! keeps strangers from them, the loopback's included.
//!
//! A virtual address that the port loses makes its translation rest; packets up do not come then, and those down are dropped.
//!
//! What comes down is handed to the shell to be sent by the kernel's own routes ([`Outlet`]). If it does not come through, its
//! sender gets the ICMP error that a router would send; those that the relay's own kernel makes go up like any from outside.

use crate::action::Action;
use crate::dispatch::Target;
use crate::grant::Refusal;
use crate::port::Ports;
use crate::relay::{LinkVerdict, OFFLOAD, PortVerdict, Relay};
use crate::routed::RoutedSources;
use core::net::IpAddr;
use frames::data::{PARCEL_MAX, Tunnel};
use frames::inet::{End, Layer3, Obstacle, Transport, addresses, classify, error_about, translate};
use frames::message::{
    Message, RuleAdd, Status, TranslatedRuleAdd, Translation, TranslationReply, TranslationRequest,
};
use frames::protocol_address::Local;
use frames::{DropReason, PortId, ProtocolAddress, SymbolId};
use l2link::counters::Traffic;
use l2link::{Batch, Counters, PeerId, Time};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// By what a packet that came down leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlet {
    /// Its source, an address of the relay: by it the kernel chooses the route.
    pub source: IpAddr,
    /// The port; link-local destinations are on its network.
    pub port: PortId,
    pub(crate) peer: PeerId,
    pub(crate) symbol: SymbolId,
}

/// The translations of all controls.
#[derive(Debug, Default)]
pub(crate) struct Translations {
    by_symbol: BTreeMap<(PeerId, SymbolId), Entry>,
    /// The receive table.
    by_source: FxHashMap<(PeerId, IpAddr), SymbolId>,
    /// Of packets that are routed without any translation.
    pub(crate) routed: RoutedSources,
    /// The packet that goes up, translated: other targets get it as it is.
    pub(crate) scratch: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) port: PortId,
    pub(crate) translation: Translation,
    /// Left from an earlier session of the control.
    stale: bool,
    pub(crate) down: Traffic,
}

impl Translations {
    pub(crate) fn get(&self, peer: PeerId, symbol: SymbolId) -> Option<&Entry> {
        self.by_symbol.get(&(peer, symbol))
    }

    /// The port of what a control sends from an address of its own, or gets there.
    pub(crate) fn port_of(&self, peer: PeerId, control_address: IpAddr) -> Option<PortId> {
        let symbol = *self.by_source.get(&(peer, control_address))?;
        self.get(peer, symbol).map(|entry| entry.port)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, SymbolId, &Entry)> {
        self.by_symbol.iter().map(|((peer, symbol), entry)| (*peer, *symbol, entry))
    }

    pub(crate) fn mark_stale(&mut self, peer: PeerId) {
        for ((owner, _), entry) in &mut self.by_symbol {
            entry.stale |= *owner == peer;
        }
    }

    /// Puts a translation in force. Whether it may be has been checked.
    fn insert(&mut self, peer: PeerId, symbol: SymbolId, port: PortId, translation: Translation) {
        let down = match self.remove(peer, symbol) {
            Some(before) if before.translation == translation => before.down,
            _ => Traffic::default(),
        };
        self.by_source.insert((peer, translation.control_address), symbol);
        self.by_symbol.insert((peer, symbol), Entry { port, translation, stale: false, down });
    }

    pub(crate) fn remove(&mut self, peer: PeerId, symbol: SymbolId) -> Option<Entry> {
        let entry = self.by_symbol.remove(&(peer, symbol))?;
        self.by_source.remove(&(peer, entry.translation.control_address));
        Some(entry)
    }

    /// Whether any control's symbol has the virtual address, or sends from it.
    pub(crate) fn has(&self, virtual_address: IpAddr) -> bool {
        let translated =
            self.by_symbol.values().any(|entry| entry.translation.virtual_address == virtual_address);
        translated || self.routed.has(virtual_address)
    }
}

/// Where a parcel of no tunnel goes that came from the link (fig. 23).
pub(crate) fn judge<'a>(
    peer: PeerId,
    parcel: &'a mut [u8],
    translations: &mut Translations,
    ports: &Ports,
    drops: &mut Counters,
) -> LinkVerdict<'a> {
    let outlet = outlet(peer, parcel, translations, ports);
    match outlet {
        Ok(outlet) => LinkVerdict::Route { outlet, parcel },
        Err(reason) => {
            drops.drop(reason);
            LinkVerdict::Drop(reason)
        }
    }
}

fn outlet(
    peer: PeerId,
    parcel: &mut [u8],
    translations: &mut Translations,
    ports: &Ports,
) -> Result<Outlet, DropReason> {
    let (source, destination) = addresses(parcel).ok_or(DropReason::NotTranslated)?;
    let symbol = *translations.by_source.get(&(peer, source)).ok_or(DropReason::NotTranslated)?;
    let entry = translations.by_symbol.get_mut(&(peer, symbol)).ok_or(DropReason::NotTranslated)?;
    let virtual_address = entry.translation.virtual_address;
    let port = ports.get(entry.port).filter(|port| port.is_present()).ok_or(DropReason::PortDown)?;
    if !port.addresses().any(|own| own == virtual_address) || !is_another_host(destination, ports) {
        return Err(DropReason::NotTranslated);
    }
    translate(parcel, End::Source, source, virtual_address).map_err(|_| DropReason::NotTranslated)?;
    entry.down.frames += 1;
    entry.down.bytes += parcel.len().saturating_sub(OFFLOAD) as u64;
    Ok(Outlet { source: virtual_address, port: entry.port, peer, symbol })
}

impl Relay {
    pub(crate) fn translation_request(&mut self, peer: PeerId, request: &TranslationRequest) {
        let TranslationRequest { request: id, symbol, port, translation } = *request;
        let admitted = self.admit_translation(peer, request);
        let (status, text) = match admitted {
            Ok(()) => {
                self.symbols.take_tunnel(peer, symbol);
                self.translations.insert(peer, symbol, port, translation);
                log::info!(
                    target: "relay::symbol",
                    "{symbol} of {}: {translation} at port {}", self.control_name(peer), self.port_name(port)
                );
                (Status::OK, String::new())
            }
            Err((status, text)) => {
                let control = self.control_name(peer).to_owned();
                log::warn!(target: "relay::symbol", "{symbol} of {control} refused: {status}: {text}");
                if self.symbols.port(peer, symbol) == Some(port) {
                    let name = self.port_name(port).to_owned();
                    self.give_up_symbol(peer, symbol);
                    self.symbols.refuse(peer, symbol, &name, status, &text);
                    self.tell_refused(peer, symbol);
                }
                (status, text)
            }
        };
        let reply = TranslationReply { request: id, symbol, status, text: &text };
        self.link.send_message(peer, &Message::TranslationReply(reply));
    }

    fn admit_translation(&mut self, peer: PeerId, request: &TranslationRequest) -> Result<(), Refusal> {
        let TranslationRequest { symbol, port, translation, .. } = *request;
        let Translation { virtual_address, control_address } = translation;
        let granted = self.symbols.port(peer, symbol) == Some(port);
        let Some(port) = self.ports.get(port).filter(|_| granted) else {
            let text = format!("{symbol} of control {} was not granted {port}", self.control_name(peer));
            return Err((Status::BAD_REQUEST, text));
        };
        for address in [virtual_address, control_address] {
            if !can_be_translated(address) || virtual_address == control_address {
                return Err((Status::BAD_REQUEST, format!("{address} cannot be translated: {translation}")));
            }
        }
        if !port.addresses().any(|own| own == virtual_address) {
            let held: Vec<String> = port.addresses().map(|own| own.to_string()).collect();
            let text = format!(
                "port {} of relay {} does not have the address {virtual_address}; it has {}",
                port.name(),
                self.config.name,
                if held.is_empty() { "none".to_owned() } else { held.join(", ") }
            );
            return Err((Status::NO_SUCH_ADDRESS, text));
        }
        let same = |entry: &Entry| {
            entry.translation.control_address == control_address
                || (entry.port == port.id && entry.translation.virtual_address == virtual_address)
        };
        let mine: Vec<SymbolId> = self
            .translations
            .iter()
            .filter(|(owner, other, entry)| *owner == peer && *other != symbol && same(entry))
            .map(|(_, other, _)| other)
            .collect();
        for other in mine {
            // Symbols may have other numbers than before the control was started anew.
            if self.translations.get(peer, other).is_some_and(|entry| entry.stale) {
                self.translations.remove(peer, other);
                continue;
            }
            let text =
                format!("{other} of control {} claims it already: {translation}", self.control_name(peer));
            return Err((Status::CONFLICT, text));
        }
        let anothers = self
            .translations
            .iter()
            .find(|(owner, _, entry)| *owner != peer && entry.translation.control_address == control_address);
        if let Some((owner, ..)) = anothers {
            let text = format!(
                "control {} has the address {control_address} on the segment; give this one another `local`",
                self.control_name(owner)
            );
            return Err((Status::CONFLICT, text));
        }
        Ok(())
    }

    /// The transfer request of an address symbol (fig. 20).
    pub(crate) fn translated_rule_add(&mut self, peer: PeerId, add: &TranslatedRuleAdd) {
        let entry = self.translations.get(peer, add.rule.symbol);
        let known = entry.is_some_and(|entry| entry.translation == add.translation);
        if known {
            self.rule_add(peer, &add.rule)
        } else {
            self.refuse_rule_add(peer, &add.rule, NO_TRANSLATION)
        }
    }

    /// Whether a rule is one that its symbol can have: that of an address symbol is for its virtual address.
    pub(crate) fn admit_translated(&self, peer: PeerId, rule: &RuleAdd) -> Result<(), Refusal> {
        let Some(entry) = self.translations.get(peer, rule.symbol) else { return Ok(()) };
        let virtual_address = entry.translation.virtual_address;
        let fits = match rule.protocol_address {
            ProtocolAddress::Listener { local, .. } | ProtocolAddress::IpProtocol { local, .. } => {
                local == Local::Address(virtual_address)
            }
            ProtocolAddress::Flow { local, .. } => local == virtual_address,
            ProtocolAddress::EtherType(_) => false,
        };
        if fits {
            return Ok(());
        }
        let text = format!("{} is not of the virtual address {virtual_address}", rule.protocol_address);
        Err((Status::BAD_REQUEST, text))
    }

    /// A symbol has no translation any more, if it had one.
    pub(crate) fn drop_translation(&mut self, peer: PeerId, symbol: SymbolId) {
        let Some(entry) = self.translations.remove(peer, symbol) else { return };
        let source = entry.translation.virtual_address;
        if !self.translations.has(source) {
            self.actions.push_back(Action::ForgetSource(source));
        }
    }

    /// Sends one copy of a parcel up by the translation of its target (fig. 22); `None` if it has none.
    pub(crate) fn send_translated(
        &mut self,
        target: &Target,
        parcel: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> Option<Result<(), DropReason>> {
        let Translation { virtual_address, control_address } =
            self.translations.get(target.peer, target.symbol)?.translation;
        let mut scratch = core::mem::take(&mut self.translations.scratch);
        scratch.clear();
        scratch.extend_from_slice(parcel);
        let sent = match translate(&mut scratch, End::Destination, virtual_address, control_address) {
            Ok(()) => self.link.send_parcel(target.peer, Tunnel::NONE, &scratch, batch, now),
            Err(_) => {
                self.drops.drop(DropReason::NotTranslated);
                Err(DropReason::NotTranslated)
            }
        };
        self.translations.scratch = scratch;
        Some(sent)
    }

    /// A packet that came down does not come through: its sender is told, as a router would. Write the batch afterwards.
    pub fn handle_obstacle(
        &mut self,
        outlet: &Outlet,
        packet: &[u8],
        obstacle: Obstacle,
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let Some(entry) = self.translations.get(outlet.peer, outlet.symbol) else {
            return self.handle_routed_obstacle(outlet, packet, obstacle, now, batch);
        };
        let Translation { virtual_address, control_address } = entry.translation;
        let station = self.ports.get(entry.port).map(|port| port.state.mac).unwrap_or_default();
        let mut scratch = core::mem::take(&mut self.translations.scratch);
        scratch.resize(PARCEL_MAX, 0);
        let sent = match error_about(packet, obstacle, station, &mut scratch) {
            None => Err(DropReason::NotTranslated),
            Some(len) => {
                scratch.truncate(len);
                translate(&mut scratch, End::Destination, virtual_address, control_address)
                    .map_err(|_| DropReason::NotTranslated)
                    .and_then(|()| self.link.send_parcel(outlet.peer, Tunnel::NONE, &scratch, batch, now))
            }
        };
        self.translations.scratch = scratch;
        sent.map_or_else(PortVerdict::Drop, |()| PortVerdict::Sent)
    }

    /// Somebody says something by ICMP to a virtual address of the port (`packet` is an IP packet). Errors of the relay's own
    /// kernel go the way of those from outside, which come by the port. The batch must have room for a parcel.
    pub fn handle_own_error(
        &mut self,
        port: PortId,
        packet: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let Some(own) = self.ports.get(port) else { return PortVerdict::Drop(DropReason::PortDown) };
        let (station, is_v4) = (own.state.mac, packet.first().is_some_and(|first| first >> 4 == 4));
        let ethertype = if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let frame = [&station.0[..], &station.0, &ethertype, packet].concat();
        let is_own_error = classify(&frame).is_ok_and(|view| match view.layer3 {
            Layer3::Ip(ip) => {
                matches!(ip.transport, Transport::IcmpError(_)) && self.ports.is_local(own, &ip.source)
            }
            Layer3::Arp { .. } | Layer3::Other => false,
        });
        if !is_own_error {
            return PortVerdict::Drop(DropReason::NotForPort);
        }
        let parcel = [&[0; OFFLOAD][..], &frame].concat();
        let arrival = self.classify_port_parcel(port, &parcel);
        self.handle_port_parcel(&arrival, &parcel, now, batch)
    }
}

/// Whether packets to this address may come down: not to groups, and not to the relay itself. Its kernel would take them for
/// those of a program of its own, and so would its services that trust such programs.
pub(crate) fn is_another_host(destination: IpAddr, ports: &Ports) -> bool {
    let mapped = matches!(destination, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    !destination.is_multicast()
        && !destination.is_loopback()
        && !destination.is_unspecified()
        && !mapped
        && !ports.is_own(&destination)
}

/// Whether an address can be one of a translation: that of a host, and not on one network only.
fn can_be_translated(address: IpAddr) -> bool {
    let narrow = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !narrow && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

const NO_TRANSLATION: &str = "the symbol has no translation, or another one";
