//! Rules by hand.

use super::{HandError, Standing};
use crate::Control;
use crate::flow::FlowKey;
use crate::rule::RuleState;
use crate::show::RuleRow;
use crate::symbol::{Interface, Stage, Symbol};
use crate::symbol_rules::NEIGHBORS;
use crate::translation::{at_address, can_reach};
use core::net::IpAddr;
use frames::protocol_address::Local;
use frames::{ProtocolAddress, SymbolId};
use l2link::Time;
use log::info;

impl Control {
    /// The symbol of this name; `netns` and `kind` tell several apart. Of a directory and an interface of one name the
    /// interface is meant, unless `kind` says otherwise.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn symbol_named(
        &self,
        name: &str,
        netns: Option<&str>,
        kind: Option<&str>,
    ) -> Result<SymbolId, HandError> {
        let named = self.symbols.iter().filter(|symbol| symbol.config.name == name);
        let fits = |symbol: &&Symbol| {
            (netns.is_none() || symbol.config.netns.as_deref() == netns)
                && kind.is_none_or(|kind| symbol.config.kind() == kind)
        };
        let mut found: Vec<&Symbol> = named.filter(fits).collect();
        if found.iter().any(|symbol| symbol.config.files.is_none()) {
            found.retain(|symbol| symbol.config.files.is_none());
        }
        match found[..] {
            [only] => Ok(only.id),
            [] => {
                let known = self.symbols.iter().map(|symbol| symbol.config.name.clone()).collect();
                Err(HandError::NoSymbol { name: name.to_owned(), known })
            }
            _ => {
                let netns =
                    found.iter().map(|symbol| symbol.config.netns.clone().unwrap_or_else(|| "-".to_owned()));
                Err(HandError::SeveralSymbols { name: name.to_owned(), netns: netns.collect() })
            }
        }
    }

    /// The rule that stands for a protocol address at a symbol: of an address symbol one of its virtual address.
    #[must_use]
    pub fn rule_at(&self, symbol: SymbolId, address: ProtocolAddress) -> ProtocolAddress {
        let translation = self.symbol(symbol).and_then(|symbol| symbol.config.translation);
        match translation {
            Some(translation) if can_reach(translation.virtual_address, &address) => {
                at_address(address, translation.virtual_address)
            }
            Some(_) | None => address,
        }
    }

    /// Makes a rule by hand. It is in force as soon as the symbol's interface is there and the relay has accepted it.
    ///
    /// # Errors
    /// If there is one already, or the symbol does not expose it, or cannot get its packets.
    pub fn add_rule(&mut self, id: SymbolId, address: ProtocolAddress, now: Time) -> Result<(), HandError> {
        let address = self.rule_at(id, address);
        let Some(symbol) = self.symbol(id) else { return Ok(()) };
        self.check_rule(symbol, &address)?;
        let Some(symbol) = self.symbol_mut(id) else { return Ok(()) };
        if !symbol.rules.hold(address) {
            return Err(HandError::RuleExists(address));
        }
        info!(target: "control::rule", "rule {address}: by hand at symbol {}", symbol.config.name);
        self.compare(id, now);
        Ok(())
    }

    /// Ends a rule by hand. If a socket listens for the same, the rule stays for that.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete_rule(
        &mut self,
        id: SymbolId,
        address: ProtocolAddress,
        now: Time,
    ) -> Result<(), HandError> {
        let address = self.rule_at(id, address);
        let Some(symbol) = self.symbols.iter_mut().find(|symbol| symbol.id == id) else { return Ok(()) };
        if !symbol.rules.let_loose(&address, &mut self.tables) {
            return Err(HandError::NoRule { address, detected: symbol.rules.contains(&address) });
        }
        info!(target: "control::rule", "rule {address}: by hand no more at symbol {}", symbol.config.name);
        let (namespace, detect) = (symbol.namespace, symbol.config.detect);
        if FlowKey::try_from(&address).is_ok() {
            if detect {
                // Whether a socket has the flow, a look shows.
                if let Some(place) = self.namespace_mut(namespace) {
                    place.connection_looks.ask(now);
                }
                self.look(now);
            } else {
                symbol.rules.remove(&address, now, &mut self.tables);
            }
        }
        self.compare(id, now);
        Ok(())
    }

    /// Brings the rules of a symbol in line with what is wanted, unless that is to come anyway.
    pub(crate) fn compare(&mut self, id: SymbolId, now: Time) {
        let place = crate::parcels::place(&self.symbols, id);
        if let Some(index) = place.filter(|index| self.symbols[*index].looked.all_sockets()) {
            let all = self.addresses_in(self.symbols[index].namespace);
            self.reconcile_symbol(index, &all, now);
            self.look(now);
        }
        self.flush();
    }

    /// Tells the relay the groups of a symbol's rules by hand.
    pub(crate) fn join_by_hand(&mut self, index: usize) {
        let symbol = &mut self.symbols[index];
        if symbol.config.translation.is_none() {
            symbol.tell_groups(&mut self.tables);
        }
    }

    /// How far a rule by hand is; none if there is no such.
    #[must_use]
    pub fn rule_standing(&self, id: SymbolId, address: ProtocolAddress) -> Option<Standing> {
        let address = self.rule_at(id, address);
        let symbol = self.symbol(id)?;
        symbol.rules.is_by_hand(&address).then(|| self.standing(symbol, &address))
    }

    fn standing(&self, symbol: &Symbol, address: &ProtocolAddress) -> Standing {
        let state = symbol
            .rules
            .tunnel(address)
            .and_then(|tunnel| self.tables.receive.get(tunnel))
            .map(|rule| &rule.state);
        match state {
            Some(RuleState::Active) => Standing::InForce,
            Some(RuleState::Refused(reason)) => Standing::Refused(reason.to_string()),
            Some(RuleState::Pending) if symbol.rules.grant().is_some() => Standing::Asked,
            Some(RuleState::Pending | RuleState::Closing) | None => {
                match (&symbol.stage, &symbol.interface) {
                    (Stage::Granted(_), Interface::Created(_)) if !symbol.looked.all_sockets() => {
                        Standing::Asked
                    }
                    (Stage::Granted(_), Interface::Created(_)) => Standing::Waits(format!(
                        "its address is not reached through symbol {}",
                        symbol.config.name
                    )),
                    _ => Standing::Waits(
                        symbol.state().1.unwrap_or_else(|| "the symbol is being made".to_owned()),
                    ),
                }
            }
        }
    }

    /// Rows of the rules by hand that are not in the receive table.
    pub(crate) fn waiting_rows(&self) -> impl Iterator<Item = RuleRow> {
        self.symbols.iter().flat_map(|symbol| {
            let waiting = symbol.rules.by_hand().filter(|address| !symbol.rules.contains(address));
            waiting.map(|address| {
                let reason = match self.standing(symbol, address) {
                    Standing::Waits(reason) | Standing::Refused(reason) => Some(reason),
                    Standing::InForce | Standing::Asked => None,
                };
                RuleRow::waiting(address, symbol, &self.name, reason)
            })
        })
    }

    fn check_rule(&self, symbol: &Symbol, address: &ProtocolAddress) -> Result<(), HandError> {
        let name = || symbol.config.name.clone();
        let unreached = |why| Err(HandError::NotReached { address: *address, symbol: name(), why });
        if symbol.config.files.is_some() {
            return Err(HandError::OfFiles(name()));
        }
        let exposure = &symbol.config.exposure;
        let (local, exposed) = match *address {
            NEIGHBORS => {
                return unreached(
                    "every symbol of kind interface has the rule for ARP, and of kind address none",
                );
            }
            ProtocolAddress::Flow { protocol, local, local_port, .. } => {
                (Local::Address(local), exposure.sends(protocol, local_port))
            }
            ProtocolAddress::Listener { local, .. } | ProtocolAddress::IpProtocol { local, .. } => {
                (local, exposure.listens(address))
            }
            ProtocolAddress::EtherType(_) => {
                (Local::Any(frames::protocol_address::Family::Both), exposure.listens(address))
            }
        };
        if !exposed {
            return Err(HandError::NotExposed { address: *address, symbol: name() });
        }
        let own = match local {
            Local::Address(own) => own,
            Local::Any(_) if symbol.config.translation.is_none() => return Ok(()),
            Local::Any(_) => return unreached("an address symbol gets what is for its address"),
        };
        let of_this_host_alone = match own {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_loopback(),
        };
        if of_this_host_alone {
            return unreached("the address is of one machine or one network only");
        }
        match symbol.config.translation {
            Some(translation) if translation.virtual_address != own => {
                return unreached("an address symbol gets what is for its address");
            }
            Some(_) | None => {}
        }
        match self.seat(symbol, &self.addresses_in(symbol.namespace)) {
            Some(seat) if !seat.takes(address) => {
                unreached("the address is that of another symbol's port, or of no port")
            }
            Some(_) | None => Ok(()),
        }
    }
}
