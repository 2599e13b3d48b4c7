//! Addresses that programs put on symbols, for the relays' ports: `addressing = "control"`.
//!
//! # Theory of operation
//! The shell tells what is on a symbol's interface besides what the daemon itself has put there. All of it is said to the
//! relay whenever the port is granted or something changes, so that no change can be missed; the relay tells of each
//! address whether the port has it. It then has the address among the port's attributes, marked as given, and the daemon
//! neither puts it on the symbol nor takes it away from there: it is the programs'.
//!
//! What is on a symbol that was just taken over from an earlier daemon, or made, is not known until the shell has listed
//! it. Nothing is said before, and the relay keeps what it has.

use crate::action::Action;
use crate::config::Addressing;
use crate::symbol::Symbol;
use crate::symbol_rules::Grant;
use crate::{Control, NamespaceId};
use core::net::IpAddr;
use frames::SymbolId;
use frames::message::{AddressReply, Message, PortAddress, PortAddresses, PortAttributes, Status};
use l2link::PeerId;
use log::{info, warn};
use std::collections::BTreeMap;

/// An address with the length of its prefix.
type Address = (IpAddr, u8);

/// What programs put on a symbol's interface.
#[derive(Debug, Default)]
pub(crate) struct SymbolAddresses {
    /// All of it; `None` until it was listed.
    pub(crate) present: Option<Vec<Address>>,
    /// What the port does not have, and why.
    pub(crate) refused: BTreeMap<Address, String>,
}

impl SymbolAddresses {
    /// The refused addresses as `show` prints them; `None` if there are none.
    pub(crate) fn refused_texts(&self) -> Option<Vec<String>> {
        let text = |(address, reason): (&Address, &String)| format!("{}: {reason}", text(address));
        (!self.refused.is_empty()).then(|| self.refused.iter().map(text).collect())
    }
}

impl Control {
    /// Takes the addresses that are on a symbol's interface and were not put there by [`Action::CreateSymbol`] or
    /// [`Action::UpdateSymbol`], with the lengths of their prefixes.
    pub fn handle_symbol_addresses(&mut self, symbol: SymbolId, addresses: &[(IpAddr, u8)]) {
        if self.addressing == Addressing::Relay {
            return;
        }
        let takes = |symbol: &&mut Symbol| symbol.ifindex().is_some() && symbol.config.translation.is_none();
        let Some(symbol) = self.symbol_mut(symbol).filter(takes) else {
            return;
        };
        if symbol.addresses.present.as_deref() == Some(addresses) {
            return;
        }
        symbol.addresses.present = Some(addresses.to_vec());
        symbol.addresses.refused.retain(|address, _| addresses.contains(address));
        if let Some(grant) = symbol.rules.grant() {
            self.say_addresses(grant);
            self.flush();
        }
    }

    /// Asks for the addresses of a namespace's symbols, if they matter.
    pub(crate) fn list_addresses(&mut self, namespace: NamespaceId) {
        if self.addressing == Addressing::Control {
            self.act(Action::ListAddresses { namespace });
        }
    }

    /// Says all addresses that a granted port is to have, if they are known. Several symbols may be of one port.
    pub(crate) fn say_addresses(&mut self, grant: Grant) {
        if self.addressing == Addressing::Relay {
            return;
        }
        let mut wanted: Vec<Address> = Vec::new();
        let of_port = |symbol: &&Symbol| symbol.rules.grant() == Some(grant);
        let speaking = |symbol: &&Symbol| symbol.config.translation.is_none();
        for symbol in self.symbols.iter().filter(of_port).filter(speaking) {
            match &symbol.addresses.present {
                Some(present) => wanted.extend(present),
                None => return,
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        for symbol in self.symbols.iter_mut().filter(|symbol| symbol.rules.grant() == Some(grant)) {
            let excess = wanted.get(PortAttributes::ADDRESSES_MAX..).unwrap_or_default();
            for address in symbol.addresses.present.iter().flatten().filter(|own| excess.contains(own)) {
                let reason = format!("a port gets at most {} addresses", PortAttributes::ADDRESSES_MAX);
                symbol.addresses.refused.insert(*address, reason);
            }
        }
        let addresses: Vec<_> =
            wanted.iter().map(|(address, length)| PortAddress::new(*address, *length)).collect();
        self.link.send_message(
            grant.peer,
            &Message::PortAddresses(PortAddresses { port: grant.port, addresses: &addresses }),
        );
    }

    pub(crate) fn handle_address_reply(&mut self, peer: PeerId, reply: &AddressReply<'_>) {
        let address = (reply.address.address(), reply.address.prefix_length());
        let grant = Grant { peer, port: reply.port };
        for symbol in self.symbols.iter_mut().filter(|symbol| symbol.rules.grant() == Some(grant)) {
            if !symbol.addresses.present.iter().flatten().any(|own| *own == address) {
                continue;
            }
            let (name, address_text) = (&symbol.config.name, text(&address));
            if reply.status == Status::OK {
                symbol.addresses.refused.remove(&address);
                info!(target: "control::symbol", "symbol {name}: its port has {address_text}");
                continue;
            }
            let reason = match reply.text {
                "" => reply.status.to_string(),
                text => format!("{}: {text}", reply.status),
            };
            if symbol.addresses.refused.get(&address) != Some(&reason) {
                warn!(target: "control::symbol", "symbol {name}: its port does not get {address_text}: {reason}");
                symbol.addresses.refused.insert(address, reason);
            }
        }
    }
}

fn text((address, length): &Address) -> String {
    format!("{address}/{length}")
}
