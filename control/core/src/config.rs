//! What the core is told at its start.

use crate::Exposure;
use crate::files::Ownership;
use crate::routes::RoutesConfig;
use crate::seen::SocketPart;
use crate::weight::Weight;
use core::time::Duration;
use frames::message::Translation;

/// The control's part of the configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The symbols, in the file's order.
    pub symbols: Vec<SymbolConfig>,
    /// Symbols that are left out, for `show`.
    pub refused: Vec<RefusedSymbol>,
    /// Whose the addresses of ports are.
    pub addressing: Addressing,
    /// Which routes relays are told; `None` for none.
    pub routes: Option<RoutesConfig>,
    /// Which sockets something tells of when they are opened; the core asks more often for looks at others.
    pub triggered: Triggered,
    /// How long a symbol keeps its carrier without contact to its relay, after contact was lost and after an interface
    /// was adopted. Zero takes it at once.
    pub carrier_hold: Duration,
}

/// Which sockets something tells of when they are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Triggered {
    /// None for sure.
    #[default]
    Nothing,
    /// All but packet sockets.
    AllButPackets,
    /// All.
    All,
}

impl Triggered {
    /// Whether something tells of a part of the sockets, and whether it does of all of it.
    pub(crate) fn of(self, part: SocketPart) -> (bool, bool) {
        match self {
            Self::Nothing => (false, true),
            Self::AllButPackets => (true, part == SocketPart::Listeners),
            Self::All => (true, true),
        }
    }
}

/// Who gives ports their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// The relay: a symbol has all addresses of its port.
    #[default]
    Relay,
    /// Programs of the control as well: what they put on a symbol, its port is to have besides the relay's own.
    Control,
}

/// One symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolConfig {
    /// Name of the relay.
    pub relay: String,
    /// Interface name of the port on the relay.
    pub port: String,
    /// Interface name of the symbol.
    pub name: String,
    /// Name of the network namespace; the daemon's own if none.
    pub netns: Option<String>,
    /// Which programs the outside world may reach through it.
    pub exposure: Exposure,
    /// Of a symbol of kind `address`, the address that it stands for and the control's own; `None` for one of kind
    /// `interface`.
    pub translation: Option<Translation>,
    /// Of a symbol of kind `files`, whose its files are; `None` for the other kinds.
    pub files: Option<Ownership>,
    /// Share of new flows among the controls that serve the same.
    pub weight: Weight,
    /// Whether sockets, first packets and memberships make rules; without it only rules by hand apply.
    pub detect: bool,
}

impl SymbolConfig {
    /// `interface`, `address` or `files`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match (&self.translation, &self.files) {
            (Some(_), _) => "address",
            (None, Some(_)) => "files",
            (None, None) => "interface",
        }
    }
}

/// A symbol that the configuration contradicts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RefusedSymbol {
    pub name: String,
    /// `interface`, `address` or `files`.
    pub kind: String,
    pub netns: Option<String>,
    pub relay: String,
    pub port: String,
    /// Which contradiction.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Of packet sockets the other part is; where nobody tells of them it is looked at as often as where their end is not told.
    #[rstest]
    #[case(Triggered::Nothing, (false, true), (false, true))]
    #[case(Triggered::AllButPackets, (true, true), (true, false))]
    #[case(Triggered::All, (true, true), (true, true))]
    fn what_is_told(#[case] of: Triggered, #[case] listeners: (bool, bool), #[case] others: (bool, bool)) {
        assert_eq!(of.of(SocketPart::Listeners), listeners);
        assert_eq!(of.of(SocketPart::Others), others);
    }
}
