//! Symbols that cannot be beside one another.

use super::Settings;
use super::symbol::{SymbolSection, SymbolSettings};
use control_core::{RefusedSymbol, SymbolConfig};
use l2link_os::config_file::ConfigSource;

impl Settings {
    /// Leaves symbols out that contradict earlier ones: the rest goes on.
    pub(super) fn leave_out(&mut self, sections: &[SymbolSection], source: &ConfigSource) {
        let mut kept: Vec<SymbolSettings> = Vec::new();
        for (section, symbol) in sections.iter().zip(std::mem::take(&mut self.symbols)) {
            let present: Vec<&SymbolConfig> = kept.iter().map(|symbol| &symbol.core).collect();
            let Some(contradiction) = contradiction(section, &symbol.core, &present) else {
                kept.push(symbol);
                continue;
            };
            let Contradiction { place, message, help } = contradiction;
            let kind = symbol.core.kind();
            let SymbolConfig { relay, port, name, netns, .. } = symbol.core;
            let refused =
                RefusedSymbol { kind: kind.to_owned(), relay, port, name, netns, reason: message.clone() };
            self.refused.push((source.error_at(place, message).help(help), refused));
        }
        self.symbols = kept;
    }
}

/// Why a symbol cannot be beside an earlier one.
pub(super) struct Contradiction {
    pub(super) place: core::ops::Range<usize>,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// What two symbols have in common that only one can have.
pub(crate) enum Clash {
    /// The files of a port.
    Files,
    /// A port, in one namespace.
    Port,
    /// The name of an interface.
    Name,
    /// An address.
    Address,
}

/// Two symbols cannot have one interface, two of one port in one namespace would be one station twice, and an address has
/// one symbol.
pub(crate) fn clash<'a>(
    own: &SymbolConfig,
    others: &[&'a SymbolConfig],
) -> Option<(Clash, &'a SymbolConfig)> {
    let all = || others.iter().copied();
    let same_port = |other: &&SymbolConfig| (&other.relay, &other.port) == (&own.relay, &own.port);
    if own.files.is_some() {
        let other = all().filter(|other| other.files.is_some()).find(same_port)?;
        return Some((Clash::Files, other));
    }
    let beside = || all().filter(|other| other.files.is_none() && other.netns == own.netns);
    let is_interface = |symbol: &&SymbolConfig| symbol.translation.is_none();
    if is_interface(&own)
        && let Some(other) = beside().filter(is_interface).find(same_port)
    {
        return Some((Clash::Port, other));
    }
    if let Some(other) = beside().find(|other| other.name == own.name) {
        return Some((Clash::Name, other));
    }
    let translation = own.translation?;
    let shares = |other: &&SymbolConfig| {
        other.relay == own.relay
            && other.translation.is_some_and(|other| {
                other.virtual_address == translation.virtual_address
                    || other.control_address == translation.control_address
            })
    };
    Some((Clash::Address, all().find(shares)?))
}

/// Why a symbol cannot be beside earlier ones.
pub(super) fn contradiction(
    section: &SymbolSection,
    own: &SymbolConfig,
    earlier: &[&SymbolConfig],
) -> Option<Contradiction> {
    let (clash, other) = clash(own, earlier)?;
    let (port, relay) = (&own.port, &own.relay);
    Some(match clash {
        Clash::Files => Contradiction {
            place: section.port.span(),
            message: format!("a second symbol of kind \"files\" of port {port} of {relay}"),
            help: "one serves all programs",
        },
        Clash::Port => Contradiction {
            place: section.port.span(),
            message: format!(
                "a second symbol of port {port} of {relay} in one namespace: {} is one already",
                other.name
            ),
            help: "one symbol serves all programs of its namespace; give this one another `netns`",
        },
        Clash::Name => Contradiction {
            place: section.name.as_ref().unwrap_or(&section.port).span(),
            message: format!("a second symbol with the interface name {}", own.name),
            help: "give it another `name`, or another `netns`",
        },
        Clash::Address => Contradiction {
            place: section.address.as_ref()?.span(),
            message: format!("{}: claimed twice, by symbol {} already", own.translation?, other.name),
            help: "one symbol for each address",
        },
    })
}
