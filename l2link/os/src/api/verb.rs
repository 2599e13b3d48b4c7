//! [`Verb`]: what a daemon can be asked, and who may ask it.

use crate::access::Permission;
use serde_json::Value;
use std::fmt;

/// First word of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A table.
    Show,
    /// Events, from now on.
    Monitor,
    /// What differs between what the daemon means and what its kernel has.
    Verify,
    /// What would become of a packet, a socket or a route.
    Trace,
    /// Packets as they pass, from now on.
    Capture,
    /// A rule by hand.
    Rule,
    /// A symbol by hand.
    Symbol,
    /// A route by hand.
    Route,
    /// How a peer is treated.
    Peer,
    /// To read the configuration again.
    Reload,
    /// To stay with it.
    Confirm,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Show,
        Self::Monitor,
        Self::Verify,
        Self::Trace,
        Self::Capture,
        Self::Rule,
        Self::Symbol,
        Self::Route,
        Self::Peer,
        Self::Reload,
        Self::Confirm,
    ];

    /// The one of a request; `None` if it has none that is known.
    #[must_use]
    pub fn of(request: &Value) -> Option<Self> {
        let word = request.get("verb")?.as_str()?;
        Self::ALL.into_iter().find(|verb| verb.name() == word)
    }

    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Monitor => "monitor",
            Self::Verify => "verify",
            Self::Trace => "trace",
            Self::Capture => "capture",
            Self::Rule => "rule",
            Self::Symbol => "symbol",
            Self::Route => "route",
            Self::Peer => "peer",
            Self::Reload => "reload",
            Self::Confirm => "confirm",
        }
    }

    /// What somebody needs to ask it. Whatever changes something, or shows what goes through the daemon or stands in its
    /// files, is more than looking: `reload` also without a change, as it shows lines of the configuration.
    #[must_use]
    pub const fn needs(self) -> Permission {
        match self {
            Self::Show | Self::Monitor | Self::Verify | Self::Trace => Permission::Look,
            Self::Capture
            | Self::Rule
            | Self::Symbol
            | Self::Route
            | Self::Peer
            | Self::Reload
            | Self::Confirm => Permission::Change,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_is_found_by_its_word() {
        for verb in Verb::ALL {
            assert_eq!(Verb::of(&json!({"verb": verb.name()})), Some(verb));
            assert_ne!(verb.needs(), Permission::Nothing);
        }
        for none in [json!({}), json!({"verb": 7}), json!({"verb": "Show"}), json!({"verb": ""})] {
            assert_eq!(Verb::of(&none), None, "{none}");
        }
    }
}
