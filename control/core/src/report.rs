//! [`Report`]: what `l2ctl monitor` prints.

use crate::show::{PeerRow, PortRow, RuleRow, SymbolRow};
use serde::Serialize;

/// Something that happened, with its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// µs since the daemon's start.
    pub time_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. Each carries the same keys as the row of `show`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A session with a relay is up.
    PeerUp(PeerRow),
    /// Contact with a relay is lost.
    PeerDown(PeerRow),
    /// A device was heard with which there can be no session.
    PeerRefused(PeerRow),
    /// Packets can pass through a symbol.
    SymbolUp(SymbolRow),
    /// They cannot any more.
    SymbolDown(SymbolRow),
    /// A symbol cannot be had; asked again later.
    SymbolRefused(SymbolRow),
    /// A rule is in force on the relay.
    RuleAdded(RuleRow),
    /// A rule was refused by the relay.
    RuleRefused(RuleRow),
    /// A rule is gone from the relay.
    RuleDeleted(RuleRow),
    /// A relay's port changed.
    PortChanged(PortRow),
    /// A relay says something.
    Notice {
        /// The relay's name.
        relay: String,
        /// What kind of trouble.
        status: String,
        /// The text.
        text: String,
    },
}
