//! What the shell is asked to do, and what monitors are told.

use crate::fib::{RouteOperation, VerifyRow};
use crate::given::GivenAddress;
use crate::show::{PeerRow, PortRow, RuleRow, SymbolRow};
use frames::message::Group;
use frames::{Mac, PortId};
use l2link::PeerId;
use l2link::fast::Flow;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Something for the shell to do. The shell owes nothing in return.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Take only these of the port's frames from now on.
    SetCapture {
        /// The port.
        port: PortId,
        /// What to take.
        capture: Capture,
    },
    /// Let the port's interface accept a group. Asked for again when the interface was made anew.
    Join {
        /// The port.
        port: PortId,
        /// The group.
        group: Group,
    },
    /// Take a [`Action::Join`] back.
    Leave {
        /// The port.
        port: PortId,
        /// The group.
        group: Group,
    },
    /// The fast path, if there is one, is to forget what it knows of a flow at the port: packets of it may go elsewhere now.
    ForgetFlow {
        /// The port.
        port: PortId,
        /// The flow.
        flow: Flow,
    },
    /// Change the kernel's table. The shell owes [`crate::Relay::handle_routes_changed`], and asks for the next batch by
    /// [`crate::Relay::change_routes`].
    ChangeRoutes(Vec<RouteOperation>),
    /// Look at all routes with the project's mark. The shell owes [`crate::Relay::handle_look_begins`],
    /// [`crate::Relay::handle_route_seen`] for each, and [`crate::Relay::handle_look_ends`].
    LookAtRoutes,
    /// Keep the names of the controls that have routes or rules, for a daemon that may have to take over without warning.
    RememberControls(BTreeSet<String>),
    /// Give the port's interface an address, with the project's mark. The shell owes
    /// [`crate::Relay::handle_address_failure`] if that fails; if not, the port's state will show it.
    AddAddress(GivenAddress),
    /// Take an address with the project's mark from the port's interface. As [`Action::AddAddress`].
    DeleteAddress(GivenAddress),
    /// No control has this virtual address any more: nothing is sent from it for now.
    ForgetSource(IpAddr),
    /// Make an interface that leads to another relay. The shell owes [`crate::Relay::handle_transit_opened`], unless it fails,
    /// and [`crate::Relay::handle_transit`] for each parcel of it.
    OpenTransit {
        /// The other relay.
        peer: PeerId,
        /// Its name.
        relay: String,
    },
    /// Remove it, and the kernel's routes by it.
    CloseTransit {
        /// The other relay.
        peer: PeerId,
    },
    /// What [`crate::Relay::verify`] found; nothing if everything is as it should be.
    Verified(Vec<VerifyRow>),
    /// Tell the monitors.
    Tell(Box<Event>),
}

/// Which frames of a port the dispatch table wants to see. Unicast packets to addresses that are not the relay's are
/// transit and stay with the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// EtherType of the link protocol: such frames are never taken.
    pub link_ethertype: u16,
    /// The port's Ethernet address.
    pub mac: Mac,
    /// The other unicast addresses, which programs joined; IP packets to these are wanted whatever their destination,
    /// as the relay's kernel has no part in them.
    pub joined: Vec<Mac>,
    /// Every address of the relay.
    pub addresses: Vec<IpAddr>,
}

/// What monitors are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A session with a control is up.
    PeerUp(PeerRow),
    /// Contact is lost.
    PeerDown(PeerRow),
    /// A device was heard with which there can be no session.
    PeerRefused(PeerRow),
    /// A symbol was granted its port.
    SymbolUp(SymbolRow),
    /// A symbol is gone.
    SymbolDown(SymbolRow),
    /// A symbol was refused its port.
    SymbolRefused(SymbolRow),
    /// A rule is in force.
    RuleAdded(RuleRow),
    /// A rule was refused.
    RuleRefused(RuleRow),
    /// A rule is gone.
    RuleDeleted(RuleRow),
    /// A port changed.
    PortChanged(PortRow),
    /// What a control wants an operator to know.
    Notice {
        /// The control.
        control: String,
        /// What kind of trouble.
        status: String,
        /// The text.
        text: String,
    },
}
