//! [`Symbol`]: what stands for a relay's port, and the stages of its life.
//!
//! # Theory of operation
//!
//! Three things have to come together, in any order and again after every loss (M17): the relay grants the port and
//! says its attributes ([`Stage`]), the shell makes the interface ([`Interface`]), and the relay allots a down tunnel.
//! A symbol is *up*, with carrier, while all three are there and the port itself can carry packets.
//!
//! | state | means |
//! |---|---|
//! | waiting | something that has not been there yet: the relay, its answer, the namespace |
//! | refused | the relay or the kernel said no; asked again every [`RETRY_REFUSED`] or [`RETRY_INTERFACE`] |
//! | up | packets can pass |
//! | down | it was there: contact is lost, or the port is down; the interface stays, without carrier ([`crate::carrier`]) |

use crate::addresses::SymbolAddresses;
use crate::attributes::Attributes;
use crate::config::SymbolConfig;
use crate::relay::RelayId;
use crate::seen::{IfIndex, Parts};
use crate::symbol_rules::SymbolRules;
use crate::{Failure, NamespaceId};
use core::net::IpAddr;
use core::time::Duration;
use frames::message::Group;
use frames::protocol_address::Local;
use frames::{DownTunnel, PortId, RequestId, SymbolId};
use l2link::Time;
use l2link::counters::Traffic;
use std::collections::BTreeSet;
use std::rc::Rc;

/// How long after a refusal the relay is asked again: its configuration may have changed.
pub(crate) const RETRY_REFUSED: Duration = Duration::from_secs(10);
/// How long after a failure the interface is tried again: the namespace may have appeared, the name become free.
pub(crate) const RETRY_INTERFACE: Duration = Duration::from_secs(1);

/// How far the relay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no contact.
    Waiting,
    /// The port has been requested.
    Requested,
    /// The relay said no.
    Refused(String),
    /// The relay said yes.
    Granted(PortId),
}

/// How far the interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interface {
    /// Its attributes are not known yet.
    None,
    /// The shell is at it.
    Creating,
    /// It is there.
    Created(IfIndex),
    /// It is not.
    Failed(Failure),
}

/// The state that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Refused,
    Up,
    Down,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Symbol {
    pub(crate) id: SymbolId,
    pub(crate) config: SymbolConfig,
    pub(crate) relay: RelayId,
    pub(crate) namespace: NamespaceId,
    pub(crate) stage: Stage,
    pub(crate) interface: Interface,
    /// What the interface is like, or is to be.
    pub(crate) attributes: Option<Attributes>,
    /// What the port of an address symbol is like.
    pub(crate) port_attributes: Option<Attributes>,
    /// What the interface was asked to be built from.
    pub(crate) blueprint: Option<Attributes>,
    pub(crate) down_tunnel: Option<DownTunnel>,
    /// The port or tunnel request under way.
    pub(crate) request: RequestId,
    /// When a refusal is tried again.
    pub(crate) retry: Option<Time>,
    /// Carrier as the shell was told last.
    pub(crate) carrier: bool,
    /// Until when a carrier stays that was there when contact was lost.
    pub(crate) hold: Option<Time>,
    /// State and reason that were told last.
    pub(crate) told: (State, Option<String>),
    pub(crate) rules: SymbolRules,
    /// What somebody has done to its interface.
    pub(crate) altered: Option<String>,
    /// What programs put on its interface.
    pub(crate) addresses: SymbolAddresses,
    /// The open sockets and the connections have been looked at since the interface was made.
    pub(crate) looked: Looked,
    /// Groups that programs joined, those that the kernel joins by itself excluded.
    pub(crate) joined: BTreeSet<Group>,
    /// Those, and the groups of rules by hand: the memberships that the relay is told of.
    pub(crate) groups: BTreeSet<Group>,
    /// Parcels and their bytes that left through the down tunnel.
    pub(crate) sent: Traffic,
    /// Those that came up for it.
    pub(crate) received: Traffic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Looked {
    pub(crate) sockets: Parts<bool>,
    pub(crate) connections: bool,
}

impl Looked {
    /// Whether both parts of the sockets have been looked at.
    pub(crate) fn all_sockets(&self) -> bool {
        self.sockets.all().all(|looked| *looked)
    }
}

impl Symbol {
    pub(crate) fn new(id: SymbolId, config: SymbolConfig, relay: RelayId, namespace: NamespaceId) -> Self {
        let rules = SymbolRules::new(id, config.translation, config.weight.first());
        let rules = if config.files.is_some() { rules.without_neighbors() } else { rules };
        Self {
            id,
            config,
            relay,
            namespace,
            stage: Stage::Waiting,
            interface: Interface::None,
            attributes: None,
            port_attributes: None,
            blueprint: None,
            down_tunnel: None,
            request: RequestId(0),
            retry: None,
            carrier: false,
            hold: None,
            told: (State::Waiting, None),
            rules,
            altered: None,
            addresses: SymbolAddresses::default(),
            looked: Looked::default(),
            joined: BTreeSet::new(),
            groups: BTreeSet::new(),
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }

    /// What has yet to be looked at since its interface was made: nothing where there are no sockets.
    pub(crate) fn unlooked(&self) -> Looked {
        let files = self.config.files.is_some();
        let mut sockets = Parts::default();
        sockets.all_mut().for_each(|looked| *looked = files);
        Looked { sockets, connections: files }
    }

    pub(crate) fn ifindex(&self) -> Option<IfIndex> {
        match self.interface {
            Interface::Created(ifindex) => Some(ifindex),
            Interface::None | Interface::Creating | Interface::Failed(_) => None,
        }
    }

    /// The addresses of its port.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.attributes.iter().flat_map(Attributes::all_addresses).map(|(address, _)| *address)
    }

    /// Whether everything that this symbol needs on the relay has been said, or never can be for now.
    pub(crate) fn settled(&self) -> bool {
        match (&self.stage, &self.interface) {
            (Stage::Waiting | Stage::Requested, _) => false,
            (Stage::Refused(_), _) | (Stage::Granted(_), Interface::Failed(_)) => true,
            (Stage::Granted(_), Interface::None | Interface::Creating) => false,
            (Stage::Granted(_), Interface::Created(_)) => {
                self.looked.all_sockets() && self.looked.connections && self.rules.grant().is_some()
            }
        }
    }

    /// State and, unless it is up, the reason for it; of one that is up, what keeps packets away all the same.
    pub(crate) fn state(&self) -> (State, Option<String>) {
        let relay = &self.config.relay;
        let with = |state, reason: String| (state, Some(reason));
        match (&self.stage, &self.attributes) {
            // Adopted, and not heard of since.
            (Stage::Waiting | Stage::Requested, None) if self.ifindex().is_some() => {
                return with(State::Down, format!("no contact with relay {relay}"));
            }
            (Stage::Waiting, None) => {
                return with(State::Waiting, format!("relay {relay} has not been heard"));
            }
            (Stage::Waiting | Stage::Requested, Some(_)) => {
                return with(State::Down, format!("no contact with relay {relay}"));
            }
            (Stage::Requested, None) => return with(State::Waiting, format!("relay {relay} has been asked")),
            (Stage::Refused(reason), _) => return with(State::Refused, format!("relay {relay}: {reason}")),
            (Stage::Granted(_), _) => {}
        }
        match &self.interface {
            Interface::None | Interface::Creating => {
                let what = if self.config.files.is_some() { "files are" } else { "interface is" };
                return with(State::Waiting, format!("the {what} being made"));
            }
            Interface::Failed(Failure::NamespaceAbsent) => {
                let name = self.config.netns.as_deref().unwrap_or_default();
                return with(State::Waiting, format!("there is no network namespace {name}"));
            }
            Interface::Failed(Failure::Refused(reason)) => return with(State::Refused, reason.clone()),
            Interface::Failed(Failure::Removed) if self.config.files.is_some() => {
                return with(State::Waiting, "the files were unmounted".to_owned());
            }
            Interface::Failed(Failure::Removed) => {
                return with(State::Waiting, format!("the interface {} was removed", self.config.name));
            }
            Interface::Created(_) => {}
        }
        let port = &self.config.port;
        if let Some(address) = self.lacking_address() {
            return with(
                State::Down,
                format!("port {port} of relay {relay} does not have the address {address}"),
            );
        }
        match (&self.attributes, self.down_tunnel) {
            (Some(attributes), _) if !attributes.usable() => {
                with(State::Down, format!("port {port} of relay {relay}: {}", attributes.state()))
            }
            (Some(_), Some(_)) => (State::Up, self.altered.clone()),
            (None, _) | (_, None) => {
                let what =
                    if self.config.translation.is_some() { "translate" } else { "allot a down tunnel" };
                with(State::Waiting, format!("relay {relay} has yet to {what}"))
            }
        }
    }
}

/// Where a symbol stands among the others of its namespace: decides which sockets are reached through it.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) interface: IfIndex,
    /// Addresses of its port.
    pub(crate) own: Vec<IpAddr>,
    /// Addresses of the ports of all symbols of the namespace, in order.
    pub(crate) all: Rc<[IpAddr]>,
    /// The one address by which it is reached, of an address symbol.
    pub(crate) virtual_address: Option<IpAddr>,
}

impl Seat {
    /// Whether packets for a socket bound to this address and interface come through this symbol.
    ///
    /// An address of a port is reached through that port. Any other address that is not of this host alone may be
    /// reached through every port (an address of the loopback interface that is announced, a virtual address, a
    /// group): Linux accepts it from every interface too.
    pub(crate) fn reaches(&self, local: Local, interface: Option<IfIndex>) -> bool {
        let here = interface.is_none_or(|interface| interface == self.interface);
        here && match local {
            Local::Any(_) => true,
            Local::Address(address) => self.holds(address) || self.reaches_beyond(address),
        }
    }

    /// Whether the symbol itself has the address.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Whether the address is of no symbol, and may be reached through any.
    pub(crate) fn reaches_beyond(&self, address: IpAddr) -> bool {
        let of_this_host_alone = match address {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        !of_this_host_alone
            && self.virtual_address.is_none()
            && !self.holds(address)
            && self.all.binary_search(&address).is_err()
    }

    /// Whether both ends of a conversation with this remote end are here, so that it never leaves.
    pub(crate) fn is_inside(&self, remote: IpAddr) -> bool {
        remote.is_loopback() || self.holds(remote) || self.all.binary_search(&remote).is_ok()
    }
}
