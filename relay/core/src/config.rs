//! What the configuration says, as types.

use core::fmt;
use frames::ProtocolAddress;
use frames::route::{Prefix, RouteKey};
use l2link::service::ServiceSet;
use std::collections::BTreeSet;

use crate::fib::FibConfig;
use crate::police::Limits;

/// What a [`crate::Relay`] is told at its start.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The relay's name.
    pub name: String,
    /// EtherType of the link protocol, which is never punted.
    pub ethertype: u16,
    /// The ports that are offered. Their ids are their places in this list at the start, from 1; those that come later have
    /// further ids.
    pub ports: Vec<PortConfig>,
    /// Rates of punts.
    pub limits: Limits,
    /// Routes.
    pub fib: FibConfig,
}

impl RelayConfig {
    /// Controls that may have left routes in the kernel, by name; `None` if there is no telling. `remembered` are those
    /// that had some at the end of the daemon's earlier life, if that is known.
    pub(crate) fn route_claimants(&self, remembered: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let permissions = self.ports.iter().flat_map(|port| &port.allow);
        let names =
            permissions.filter(|permission| permission.routes.is_some()).map(|permission| match &permission
                .control
            {
                ControlName::Any => None,
                ControlName::Named(name) => Some(name.clone()),
            });
        match (names.collect::<Option<BTreeSet<_>>>(), remembered) {
            (Some(named), Some(remembered)) => Some(&named & &remembered),
            (named, remembered) => named.or(remembered),
        }
    }
}

/// One port that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Interface name; the name under which controls ask for it.
    pub interface: String,
    /// Services of the relay itself: never punted, never granted.
    pub relay_services: ServiceSet,
    /// What becomes of packets to the port that no rule matches.
    pub unmatched: Unmatched,
    /// Who gets new flows if several controls listen for them.
    pub conflicts: Conflicts,
    /// The interface permission list. Who is not on it gets nothing.
    pub allow: Vec<Permission>,
}

/// What becomes of packets to a port that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// They are discarded before the relay's kernel answers them.
    #[default]
    Drop,
    /// The programs of the relay have those that their sockets are for, and its kernel the protocols without ports. The
    /// rest is discarded too: an answer to what is a control's would end its connection.
    Kernel,
}

/// Who gets new flows if several controls listen for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflicts {
    /// All of them, by their weights.
    #[default]
    Share,
    /// The one that listened first; the next one when it is gone.
    First,
    /// The one of the greatest priority; of several, the one that listened first.
    Priority,
}

/// One entry of the interface permission list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Who.
    pub control: ControlName,
    /// For which services.
    pub services: ServiceSet,
    /// Which routes by the port are taken from this control; `None` for none at all.
    pub routes: Option<RoutePermission>,
    /// Whether it may give the port addresses.
    pub addressing: bool,
    /// Its rank under [`Conflicts::Priority`]: the greatest wins.
    pub priority: u16,
}

/// Which routes a control may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePermission {
    /// Prefixes in which the destination must lie; none for any destination.
    pub prefixes: Vec<Prefix>,
    /// Tables in which it may be.
    pub tables: Vec<u32>,
}

impl Default for RoutePermission {
    fn default() -> Self {
        Self { prefixes: Vec::new(), tables: vec![RouteKey::MAIN] }
    }
}

impl RoutePermission {
    fn permits(&self, key: &RouteKey) -> bool {
        let covered =
            self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| prefix.covers(&key.prefix));
        covered && self.tables.contains(&key.table)
    }
}

/// Who a [`Permission`] is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlName {
    /// Any control, written `*`.
    Any,
    /// The control of this name.
    Named(String),
}

impl PortConfig {
    /// Whether the control may have the port at all.
    #[must_use]
    pub fn permits(&self, control: &str) -> bool {
        self.permissions(control).next().is_some()
    }

    /// Whether the control may have a rule at the port. The rule for ARP and neighbour discovery goes with the port.
    #[must_use]
    pub fn permits_rule(&self, control: &str, address: &ProtocolAddress) -> bool {
        let neighbor = *address == ProtocolAddress::EtherType(ETHERTYPE_ARP);
        self.permissions(control).any(|permission| neighbor || permission.services.matches(address))
    }

    /// Whether the control may have a route by way of the port.
    #[must_use]
    pub fn permits_route(&self, control: &str, key: &RouteKey) -> bool {
        self.permissions(control)
            .filter_map(|permission| permission.routes.as_ref())
            .any(|all| all.permits(key))
    }

    /// Whether the control may have any routes by way of the port.
    #[must_use]
    pub fn permits_routing(&self, control: &str) -> bool {
        self.permissions(control).any(|permission| permission.routes.is_some())
    }

    /// Whether the control may give the port addresses.
    #[must_use]
    pub fn permits_addressing(&self, control: &str) -> bool {
        self.permissions(control).any(|permission| permission.addressing)
    }

    /// The control's rank under [`Conflicts::Priority`].
    #[must_use]
    pub fn priority(&self, control: &str) -> u16 {
        self.permissions(control).map(|permission| permission.priority).max().unwrap_or_default()
    }

    fn permissions<'a>(&'a self, control: &'a str) -> impl Iterator<Item = &'a Permission> {
        self.allow.iter().filter(move |permission| permission.control.is(control))
    }
}

impl ControlName {
    /// Whether it stands for this control.
    #[must_use]
    pub fn is(&self, control: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(name) => name == control,
        }
    }
}

impl fmt::Display for ControlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The EtherType of ARP. Its rule stands for ARP, neighbour discovery and router advertisements of a symbol.
pub const ETHERTYPE_ARP: u16 = 0x0806;

#[cfg(test)]
mod tests {
    use super::*;
    use frames::protocol_address::{Family, Local};

    #[test]
    fn nobody_is_permitted_by_default() {
        let port = port(Vec::new());
        assert!(!port.permits("control1"));
        assert!(!port.permits_rule("control1", &listener(80)));
        assert!(!port.permits_rule("control1", &ProtocolAddress::EtherType(ETHERTYPE_ARP)));
    }

    #[test]
    fn entries_add_up_and_the_neighbor_rule_goes_with_the_port() {
        let port = port(vec![
            permission(ControlName::Named("control1".into()), &["tcp/80"]),
            permission(ControlName::Any, &["tcp/443"]),
        ]);
        assert!(port.permits("control1") && port.permits("control2"));
        assert!(
            port.permits_rule("control1", &listener(80)) && port.permits_rule("control1", &listener(443))
        );
        assert!(
            !port.permits_rule("control2", &listener(80)) && port.permits_rule("control2", &listener(443))
        );
        assert!(port.permits_rule("control2", &ProtocolAddress::EtherType(ETHERTYPE_ARP)));
        assert!(!port.permits_rule("control2", &ProtocolAddress::EtherType(0x88cc)));
    }

    #[test]
    fn orphans_are_of_those_who_had_routes_and_may_have_them() {
        let names = |all: &[&str]| Some(all.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>());
        let config = |control| {
            let routes = RoutePermission::default();
            let permission = Permission { routes: Some(routes), ..permission(control, &[]) };
            RelayConfig {
                name: "relay1".into(),
                ethertype: 0,
                ports: vec![port(vec![permission])],
                limits: Limits::default(),
                fib: FibConfig::default(),
            }
        };
        let named = config(ControlName::Named("one".into()));
        assert_eq!(named.route_claimants(None), names(&["one"]));
        assert_eq!(named.route_claimants(names(&["one", "two"])), names(&["one"]));
        assert_eq!(named.route_claimants(names(&[])), names(&[]));
        let any = config(ControlName::Any);
        assert_eq!(any.route_claimants(None), None);
        assert_eq!(any.route_claimants(names(&["two"])), names(&["two"]));
    }

    fn port(allow: Vec<Permission>) -> PortConfig {
        PortConfig {
            interface: "eth1".into(),
            relay_services: ServiceSet::none(),
            unmatched: Unmatched::Drop,
            conflicts: crate::config::Conflicts::Share,
            allow,
        }
    }

    fn permission(control: ControlName, services: &[&str]) -> Permission {
        Permission {
            control,
            services: ServiceSet::parse(services).unwrap(),
            routes: None,
            addressing: false,
            priority: 0,
        }
    }

    fn listener(port: u16) -> ProtocolAddress {
        ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port }
    }
}
