//! [`Exposure`]: which of the programs behind a symbol the outside world may reach.
//!
//! A wildcard socket listens "everywhere", and since a symbol is one more interface, that would include the relay's
//! port. For a few services this is never what the operator wants: they are *hidden* unless `services` is written.
//!
//! | hidden by default | because |
//! |---|---|
//! | udp/68, udp/546 | the relay may itself be a DHCP client at the port |
//! | udp/5353, udp/5355 | mDNS and LLMNR responders would answer for the relay's name |
//! | raw sockets of TCP, UDP, SCTP, DCCP, UDP-Lite | the kernel behind the symbol would see connections of others and reset them |
//! | tcp/22, in the daemon's own namespace only | the host's own sshd |
//!
//! Packets *from* a hidden port do not leave through the symbol either: half of a conversation is worse than none.
//! With `services` written, the operator has said what is exposed, and nothing else is hidden. Flows that a program
//! begins by itself are never restricted (see [`ServiceSet`]).
//!
//! Raw sockets of ICMP and ICMPv6 never make a rule: echo replies come by the flow of their request, errors by the flow
//! they speak of, and everything else of ICMP is the relay's own.

use frames::ProtocolAddress;
use l2link::service::{Service, ServiceSet};

/// Which sockets behind a symbol make rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    services: ServiceSet,
    hidden: ServiceSet,
}
l2link::recorded_struct!(Exposure { services, hidden });

impl Exposure {
    /// Everything but what is hidden by default.
    #[must_use]
    pub fn standard(own_namespace: bool) -> Self {
        let hidden = hidden(own_namespace);
        Self { services: ServiceSet::all().without(&hidden), hidden }
    }

    /// Exactly these services.
    #[must_use]
    pub fn only(services: ServiceSet) -> Self {
        Self { services, hidden: ServiceSet::none() }
    }

    /// Whether a socket that listens for `address` makes a rule.
    #[must_use]
    pub fn listens(&self, address: &ProtocolAddress) -> bool {
        match *address {
            ProtocolAddress::IpProtocol { protocol: ICMP | ICMPV6 | RAW_SEND_ONLY, .. }
            | ProtocolAddress::EtherType(0)
            | ProtocolAddress::Flow { .. } => false,
            ProtocolAddress::Listener { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => self.services.matches(address),
        }
    }

    /// Why a socket that listens for `address` makes no rule.
    pub(crate) fn why_hidden(&self, address: &ProtocolAddress) -> &'static str {
        match *address {
            ProtocolAddress::IpProtocol { protocol: ICMP | ICMPV6, .. } => {
                "sockets of ICMP make no rule: errors and echo replies come by the flows that they are about, the rest is the relay's"
            }
            ProtocolAddress::IpProtocol { protocol: RAW_SEND_ONLY, .. } | ProtocolAddress::EtherType(0) => {
                "the socket only sends"
            }
            _ if self.hidden.covers(address) => {
                "it is not exposed: it is among those that are hidden by default; `services` of the symbol can name it"
            }
            _ => "it is not exposed: `services` of the symbol does not name it",
        }
    }

    /// Whether a file for `address` may be opened.
    #[must_use]
    pub fn permits(&self, address: &ProtocolAddress) -> bool {
        self.services.matches(address)
    }

    /// Whether packets from this local port may leave through the symbol, and make flows.
    #[must_use]
    pub fn sends(&self, protocol: u8, local_port: u16) -> bool {
        !self.hidden.covers_port(protocol, local_port)
    }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// `IPPROTO_RAW`: such a socket does not receive (raw(7)).
const RAW_SEND_ONLY: u8 = 255;

const HIDDEN: [&str; 9] =
    ["udp/68", "udp/546", "udp/5353", "udp/5355", "ip/tcp", "ip/udp", "ip/dccp", "ip/sctp", "ip/udplite"];
const HIDDEN_IN_OWN_NAMESPACE: &str = "tcp/22";

fn hidden(own_namespace: bool) -> ServiceSet {
    let own = own_namespace.then_some(HIDDEN_IN_OWN_NAMESPACE);
    let items: Vec<&str> = HIDDEN.into_iter().chain(own).collect();
    debug_assert!(items.iter().all(|item| item.parse::<Service>().is_ok()));
    ServiceSet::parse(&items).unwrap_or_else(|_| ServiceSet::none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::protocol_address::{Family, Local};
    use rstest::rstest;

    #[rstest]
    #[case(listener(6, 80), true)]
    #[case(listener(17, 68), false)]
    #[case(listener(6, 68), true)]
    #[case(listener(17, 546), false)]
    #[case(listener(17, 5353), false)]
    #[case(listener(17, 5355), false)]
    #[case(listener(6, 22), true)]
    #[case(raw(89), true)]
    #[case(raw(1), false)]
    #[case(raw(58), false)]
    #[case(raw(6), false)]
    #[case(raw(255), false)]
    #[case(ProtocolAddress::EtherType(3), true)]
    #[case(ProtocolAddress::EtherType(0), false)]
    fn standard_exposure(#[case] address: ProtocolAddress, #[case] exposed: bool) {
        assert_eq!(Exposure::standard(false).listens(&address), exposed);
    }

    #[test]
    fn the_hosts_own_sshd_is_hidden() {
        let exposure = Exposure::standard(true);
        assert!(!exposure.listens(&listener(6, 22)) && !exposure.sends(6, 22));
        assert!(Exposure::standard(false).sends(6, 22));
    }

    #[test]
    fn what_is_written_is_what_is_exposed() {
        let exposure = Exposure::only(ServiceSet::parse(&["udp/5353", "ip/*"]).unwrap());
        assert!(exposure.listens(&listener(17, 5353)) && exposure.sends(17, 5353));
        assert!(!exposure.listens(&listener(6, 80)));
        assert!(exposure.listens(&raw(6)) && !exposure.listens(&raw(1)));
    }

    fn listener(protocol: u8, port: u16) -> ProtocolAddress {
        ProtocolAddress::Listener { protocol, local: Local::Any(Family::Both), port }
    }

    fn raw(protocol: u8) -> ProtocolAddress {
        ProtocolAddress::IpProtocol { protocol, local: Local::Any(Family::V4) }
    }
}
