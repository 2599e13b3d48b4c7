//! What the configuration says, as types.

use core::fmt;
use frames::ProtocolAddress;
use l2link::service::ServiceSet;

use crate::police::Limits;

/// What a [`crate::Relay`] is told at its start.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The relay's name.
    pub name: String,
    /// EtherType of the link protocol, which is never punted.
    pub ethertype: u16,
    /// The ports that are offered. Their ids are their places in this list, from 1.
    pub ports: Vec<PortConfig>,
    /// Rates of punts.
    pub limits: Limits,
}

/// One port that is offered.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// Interface name; the name under which controls ask for it.
    pub interface: String,
    /// Services of the relay itself: never punted, never granted.
    pub relay_services: ServiceSet,
    /// What becomes of packets to the port that no rule matches.
    pub unmatched: Unmatched,
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

/// One entry of the interface permission list.
#[derive(Debug, Clone)]
pub struct Permission {
    /// Who.
    pub control: ControlName,
    /// For which services.
    pub services: ServiceSet,
    /// Whether routes are taken from this control.
    pub routes: bool,
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

    fn port(allow: Vec<Permission>) -> PortConfig {
        PortConfig {
            interface: "eth1".into(),
            relay_services: ServiceSet::none(),
            unmatched: Unmatched::Drop,
            allow,
        }
    }

    fn permission(control: ControlName, services: &[&str]) -> Permission {
        Permission { control, services: ServiceSet::parse(services).unwrap(), routes: false }
    }

    fn listener(port: u16) -> ProtocolAddress {
        ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port }
    }
}
