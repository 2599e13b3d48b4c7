//! [`HandError`]: why something cannot be done by hand.

use core::fmt;
use frames::ProtocolAddress;
use frames::route::RouteKey;
use l2link::by_hand::list;
use l2link::rule_text::RuleText;

/// Why something cannot be done by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandError {
    /// There is no such symbol.
    NoSymbol {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Several symbols have the name, in these namespaces.
    SeveralSymbols {
        /// The name.
        name: String,
        /// Where they are.
        netns: Vec<String>,
    },
    /// There is no such relay.
    NoRelay {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The relay is there.
    StillUp(String),
    /// The symbol does not expose it.
    NotExposed {
        /// What.
        address: ProtocolAddress,
        /// The symbol.
        symbol: String,
    },
    /// Packets for it do not come through the symbol.
    NotReached {
        /// What.
        address: ProtocolAddress,
        /// The symbol.
        symbol: String,
        /// Why.
        why: &'static str,
    },
    /// Rules of a file symbol are its open files.
    OfFiles(String),
    /// There is such a rule by hand already.
    RuleExists(ProtocolAddress),
    /// There is no such rule by hand.
    NoRule {
        /// What was asked for.
        address: ProtocolAddress,
        /// Whether there is one that was detected.
        detected: bool,
    },
    /// There is such a route already, in the words of who has it.
    RouteExists(RouteKey, &'static str),
    /// There is no such route by hand.
    NoRoute(String),
    /// Several routes by hand are meant.
    SeveralRoutes(Vec<String>),
    /// A route cannot lead by an address symbol.
    NotARoutingSymbol(String),
    /// A route leads by symbols of several namespaces.
    SeveralNamespaces(Vec<String>),
    /// A route that leads nowhere needs its namespace to be named.
    WhichNamespace(Vec<String>),
    /// No symbol is in the namespace.
    NoNamespace {
        /// What was asked for.
        name: String,
        /// Where symbols are.
        known: Vec<String>,
    },
}

impl core::error::Error for HandError {}

impl fmt::Display for HandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSymbol { name, known } => write!(f, "there is no symbol {name}; there {}", list(known)),
            Self::SeveralSymbols { name, netns } => {
                write!(f, "several symbols are called {name}: add --netns and one of: {}", netns.join(", "))
            }
            Self::NoRelay { name, known } => {
                write!(f, "relay {name} has not been heard, and no symbol is of it; there {}", list(known))
            }
            Self::StillUp(name) => write!(
                f,
                "relay {name} is up: forget one that is gone, or add --force to end the session and begin anew"
            ),
            Self::NotExposed { address, symbol } => write!(
                f,
                "symbol {symbol} does not expose {}: `services` of its [[symbol]] says what it exposes, and without it some \
                 ports are hidden",
                RuleText(*address)
            ),
            Self::NotReached { address, symbol, why } => {
                write!(f, "{} is not reached through symbol {symbol}: {why}", RuleText(*address))
            }
            Self::OfFiles(symbol) => {
                write!(
                    f,
                    "symbol {symbol} is of kind files: an open file is its rule, for as long as it is open"
                )
            }
            Self::RuleExists(address) => write!(f, "there is a rule {} by hand already", RuleText(*address)),
            Self::NoRule { address, detected: false } => write!(f, "there is no rule {}", RuleText(*address)),
            Self::NoRule { address, detected: true } => write!(
                f,
                "the rule {} is not by hand: it is there for a socket, and goes with it (or with `detect = false`)",
                RuleText(*address)
            ),
            Self::RouteExists(key, whose) => {
                write!(f, "there is a route {key} already, {whose}: give this one another metric")
            }
            Self::NoRoute(words) => {
                write!(f, "there is no route by hand \"{words}\"; `show routes` marks them static")
            }
            Self::SeveralRoutes(routes) => {
                write!(f, "several routes by hand are meant; say which: {}", routes.join("; "))
            }
            Self::NotARoutingSymbol(symbol) => {
                write!(
                    f,
                    "symbol {symbol} stands for an address only: routes lead by symbols of kind interface"
                )
            }
            Self::SeveralNamespaces(names) => {
                write!(
                    f,
                    "a route leads by symbols of one namespace, and these are in several: {}",
                    names.join(", ")
                )
            }
            Self::WhichNamespace(names) => {
                write!(f, "symbols are in several namespaces: add netns and one of: {}", names.join(", "))
            }
            Self::NoNamespace { name, known } => {
                write!(f, "no symbol is in a namespace {name}; there {}", list(known))
            }
        }
    }
}
