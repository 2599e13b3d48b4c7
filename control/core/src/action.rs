//! [`Action`]: what the core asks of the shell.

use crate::report::Report;
use crate::routes::VerifyRow;
use crate::seen::{RouteFamilies, SocketPart};
use crate::{Attributes, NamespaceId};
use frames::SymbolId;

/// What the shell is to do, in the order given.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Action {
    /// Make the symbol's interface in its namespace, without carrier. The shell owes
    /// [`Control::handle_symbol_created`](crate::Control::handle_symbol_created) or
    /// [`Control::handle_symbol_failed`](crate::Control::handle_symbol_failed).
    CreateSymbol {
        /// The symbol.
        symbol: SymbolId,
        /// What to build it from.
        attributes: Attributes,
    },
    /// Bring the existing interface in line with changed attributes. The shell owes
    /// [`Control::handle_symbol_failed`](crate::Control::handle_symbol_failed) if that fails.
    UpdateSymbol {
        /// The symbol.
        symbol: SymbolId,
        /// What it should be now.
        attributes: Attributes,
    },
    /// Set the interface's carrier.
    SetCarrier {
        /// The symbol.
        symbol: SymbolId,
        /// With or without.
        up: bool,
    },
    /// Remove the interface.
    RemoveSymbol {
        /// The symbol.
        symbol: SymbolId,
    },
    /// Look at a part of the open sockets of a namespace. The shell owes
    /// [`Control::handle_sockets`](crate::Control::handle_sockets), or nothing if it cannot look.
    DumpSockets {
        /// The namespace.
        namespace: NamespaceId,
        /// The part.
        part: SocketPart,
    },
    /// Look at the connections of a namespace. The shell owes
    /// [`Control::handle_connections`](crate::Control::handle_connections), or nothing if it cannot look.
    DumpConnections {
        /// The namespace.
        namespace: NamespaceId,
    },
    /// Look at the groups joined in a namespace. The shell owes
    /// [`Control::handle_memberships`](crate::Control::handle_memberships), or nothing if it cannot look.
    DumpMemberships {
        /// The namespace.
        namespace: NamespaceId,
    },
    /// List the addresses of a namespace's symbols. The shell owes
    /// [`Control::handle_symbol_addresses`](crate::Control::handle_symbol_addresses) of each, or nothing if it cannot list
    /// them now; and again, unasked, whenever the addresses of an interface there change.
    ListAddresses {
        /// The namespace.
        namespace: NamespaceId,
    },
    /// List the routes of a namespace; if a list is under way, another one when it has ended. The shell owes
    /// [`Control::handle_route_dump_begins`](crate::Control::handle_route_dump_begins), then each route, then
    /// [`Control::handle_route_dump_ends`](crate::Control::handle_route_dump_ends).
    DumpRoutes {
        /// The namespace.
        namespace: NamespaceId,
        /// Which.
        families: RouteFamilies,
    },
    /// What [`Control::verify`](crate::Control::verify) found.
    Verified {
        /// The differences; none if everything is as it should be.
        rows: Vec<VerifyRow>,
    },
    /// Tell those who watch (`l2ctl monitor`). Asked only while
    /// [`Control::set_monitored`](crate::Control::set_monitored) says so.
    Report(Box<Report>),
}

/// Why a symbol's interface is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Its namespace does not exist (yet).
    NamespaceAbsent,
    /// The kernel refused; the text says what, why, and what to do.
    Refused(String),
    /// It was there, and somebody removed it.
    Removed,
}
