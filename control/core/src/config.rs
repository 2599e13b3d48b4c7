//! What the core is told at its start.

use crate::Exposure;
use crate::files::Ownership;
use crate::routes::RoutesConfig;
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
    /// Whether something tells when sockets are opened; without it the core asks for looks more often.
    pub triggered: bool,
    /// How long a symbol keeps its carrier without contact to its relay, after contact was lost and after an interface
    /// was adopted. Zero takes it at once.
    pub carrier_hold: Duration,
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
