//! [`HandError`]: why something cannot be done by hand.

use core::fmt;
use frames::route::RouteKey;
use l2link::by_hand::list;

/// Why something cannot be done by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandError {
    /// There is no such control.
    NoControl {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The control is there.
    StillUp(String),
    /// There is no such port.
    NoPort {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Namespaces are a control's matter.
    Namespace,
    /// There is such a route by hand already.
    RouteExists(RouteKey),
    /// A control has it.
    RouteTaken(RouteKey, String),
    /// There are as many routes as there may be.
    TableFull(usize),
    /// There is no such route by hand.
    NoRoute(String),
    /// Several routes by hand are meant.
    SeveralRoutes(Vec<String>),
}

impl core::error::Error for HandError {}

impl fmt::Display for HandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoControl { name, known } => {
                write!(
                    f,
                    "no control {name} has been here, nor does a [[port.allow]] name it; there {}",
                    list(known)
                )
            }
            Self::StillUp(name) => write!(
                f,
                "control {name} is up: forget one that is gone, or add --force to end the session and begin anew"
            ),
            Self::NoPort { name, known } => {
                write!(f, "{name} is no port of this relay, and routes lead by ports; there {}", list(known))
            }
            Self::Namespace => {
                f.write_str("netns is for routes of controls: a relay's are in the namespace of its ports")
            }
            Self::RouteExists(key) => {
                write!(f, "there is a route {key} by hand already: give this one another metric")
            }
            Self::RouteTaken(key, control) => {
                write!(f, "control {control} has a route {key}: give this one another metric")
            }
            Self::TableFull(max) => write!(f, "there are {max} routes, as many as `max` of [routes] allows"),
            Self::NoRoute(words) => {
                write!(f, "there is no route by hand \"{words}\"; `show routes` marks them static")
            }
            Self::SeveralRoutes(routes) => {
                write!(f, "several routes by hand are meant; say which: {}", routes.join("; "))
            }
        }
    }
}
