//! [`ServiceSet`]: which services a port allows, a symbol exposes, or a relay keeps for itself.
//!
//! | item | is |
//! |---|---|
//! | `tcp/80`, `udp/8000-8999`, `sctp/*` | listeners of a protocol with ports (tcp, udp, udplite, sctp, dccp) |
//! | `ip/ospf`, `ip/89`, `ip/*` | raw sockets of an IP protocol, by its name or number |
//! | `ethertype/0x88cc`, `ethertype/*` | packet sockets of an EtherType |
//! | `*` | everything |
//!
//! The classes are separate: `udp/*` says nothing of a raw socket for UDP, which is `ip/udp`.
//!
//! Two questions are asked of a set. [`ServiceSet::matches`] is the *permission*: may this rule be? A set restricts
//! what is offered to others, that is listeners, raw and packet sockets; flows are what a program began by itself
//! towards others, and a set never forbids them: with `services = ["tcp/80"]` the program behind it still reaches its
//! database. [`ServiceSet::covers`] is the *reservation* (`relay_services`): does the set hold everything that this
//! rule would take? There a flow counts by its local port, so that no flow takes a reserved port's packets.

use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;
use frames::ProtocolAddress;
use frames::protocol_address::protocol_name;

/// One item of a [`ServiceSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// Everything.
    Everything,
    /// Listeners of an IP protocol with ports.
    Ports {
        /// IP protocol number: 6, 17, 33, 132 or 136.
        protocol: u8,
        /// Local ports; 0 to 65,535 is written `*`.
        ports: RangeInclusive<u16>,
    },
    /// Raw sockets of this IP protocol, or of any.
    Ip(Option<u8>),
    /// Packet sockets of this EtherType, or of any.
    EtherType(Option<u16>),
}

/// A set of services: what its items name, less what its exceptions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSet {
    items: Vec<Service>,
    except: Vec<Service>,
}
crate::recorded_struct!(ServiceSet { items, except });

impl ServiceSet {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { items: vec![Service::Everything], except: Vec::new() }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { items: Vec::new(), except: Vec::new() }
    }

    /// The set of the items of a configuration file.
    ///
    /// # Errors
    /// [`ServiceError`] for the first item that is none.
    pub fn parse<T: AsRef<str>>(items: &[T]) -> Result<Self, ServiceError> {
        let items = items.iter().map(|item| item.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self { items, except: Vec::new() })
    }

    /// This set without the items of another one.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        self.except.extend_from_slice(&other.items);
        self
    }

    /// The items that the set names, in order; see [`ServiceSet::exceptions`].
    #[must_use]
    pub fn items(&self) -> &[Service] {
        &self.items
    }

    /// The items that are taken away again.
    #[must_use]
    pub fn exceptions(&self) -> &[Service] {
        &self.except
    }

    /// Whether a rule for `address` is permitted by this set. Flows always are.
    #[must_use]
    pub fn matches(&self, address: &ProtocolAddress) -> bool {
        match address {
            ProtocolAddress::Flow { .. } => true,
            ProtocolAddress::Listener { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => self.covers(address),
        }
    }

    /// Whether every packet that a rule for `address` would take is of this set. A flow counts by its local port.
    #[must_use]
    pub fn covers(&self, address: &ProtocolAddress) -> bool {
        match *address {
            ProtocolAddress::Listener { protocol, port, .. } => self.covers_port(protocol, port),
            ProtocolAddress::Flow { protocol, local_port, .. } => self.covers_port(protocol, local_port),
            ProtocolAddress::IpProtocol { protocol, .. } => {
                self.any(|item| matches!(item, Service::Ip(ip) if ip.is_none_or(|ip| ip == protocol)))
            }
            ProtocolAddress::EtherType(ethertype) => self.any(
                |item| matches!(item, Service::EtherType(known) if known.is_none_or(|known| known == ethertype)),
            ),
        }
    }

    /// Whether a local port of an IP protocol with ports is of this set.
    #[must_use]
    pub fn covers_port(&self, protocol: u8, port: u16) -> bool {
        self.any(|item| {
            matches!(item, Service::Ports { protocol: known, ports } if *known == protocol && ports.contains(&port))
        })
    }

    fn any(&self, names: impl Fn(&Service) -> bool) -> bool {
        let names = |item: &Service| *item == Service::Everything || names(item);
        self.items.iter().any(names) && !self.except.iter().any(names)
    }
}

impl fmt::Display for ServiceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.items.is_empty() {
            return f.write_str("nothing");
        }
        list(&self.items, f)?;
        if self.except.is_empty() {
            return Ok(());
        }
        f.write_str(" but not ")?;
        list(&self.except, f)
    }
}

fn list(items: &[Service], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Ports { protocol, ports } => {
                write!(f, "{}/", protocol_name(*protocol).unwrap_or("?"))?;
                match (*ports.start(), *ports.end()) {
                    (0, u16::MAX) => f.write_str("*"),
                    (first, last) if first == last => write!(f, "{first}"),
                    (first, last) => write!(f, "{first}-{last}"),
                }
            }
            Self::Ip(None) => f.write_str("ip/*"),
            Self::Ip(Some(protocol)) => match protocol_name(*protocol) {
                Some(name) => write!(f, "ip/{name}"),
                None => write!(f, "ip/{protocol}"),
            },
            Self::EtherType(None) => f.write_str("ethertype/*"),
            Self::EtherType(Some(ethertype)) => write!(f, "ethertype/{ethertype:#06x}"),
        }
    }
}

/// A text that names no service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    item: String,
    problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Form,
    Class,
    Port,
    Range,
    Protocol,
    EtherType,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Form => "write PROTOCOL/PORT, for example \"tcp/80\", or \"*\" for everything",
            Problem::Class => {
                "before the slash one of tcp, udp, udplite, sctp, dccp, ip, ethertype is needed \
                 (\"ip/NAME\" for other IP protocols)"
            }
            Problem::Port => "a port is a number from 1 to 65535, a range like 8000-8999, or *",
            Problem::Range => "the range's first port is larger than its last",
            Problem::Protocol => "an IP protocol is a name like ospf, a number from 0 to 254, or *",
            Problem::EtherType => "an EtherType is a number like 0x88cc, or *",
        };
        write!(f, "\"{}\" names no service: {problem}", self.item)
    }
}

impl core::error::Error for ServiceError {}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        parse(text.trim()).map_err(|problem| ServiceError { item: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Service, Problem> {
    if text == "*" {
        return Ok(Service::Everything);
    }
    let (class, which) = text.split_once('/').ok_or(Problem::Form)?;
    let protocol = match class {
        "ip" if which == "*" => return Ok(Service::Ip(None)),
        "ip" => return Ok(Service::Ip(Some(ip_protocol(which).ok_or(Problem::Protocol)?))),
        "ethertype" if which == "*" => return Ok(Service::EtherType(None)),
        "ethertype" => return Ok(Service::EtherType(Some(ethertype(which).ok_or(Problem::EtherType)?))),
        class => WITH_PORTS
            .into_iter()
            .find(|protocol| protocol_name(*protocol) == Some(class))
            .ok_or(Problem::Class)?,
    };
    let ports = match which.split_once('-') {
        None if which == "*" => 0..=u16::MAX,
        None => port(which)?..=port(which)?,
        Some((first, last)) => port(first)?..=port(last)?,
    };
    if ports.is_empty() {
        return Err(Problem::Range);
    }
    Ok(Service::Ports { protocol, ports })
}

fn port(text: &str) -> Result<u16, Problem> {
    text.parse().ok().filter(|port| *port > 0).ok_or(Problem::Port)
}

fn ip_protocol(text: &str) -> Option<u8> {
    let number = text.parse().ok().filter(|protocol| *protocol < u8::MAX);
    number.or_else(|| (0..u8::MAX).find(|protocol| protocol_name(*protocol) == Some(text)))
}

fn ethertype(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// TCP, UDP, DCCP, SCTP, UDP-Lite: protocols whose header begins with two port numbers.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};
    use frames::protocol_address::{Family, Local};
    use rstest::rstest;

    #[rstest]
    #[case("tcp/80")]
    #[case("udp/*")]
    #[case("tcp/8000-8999")]
    #[case("sctp/1")]
    #[case("ip/ospf")]
    #[case("ip/254")]
    #[case("ip/*")]
    #[case("ethertype/0x88cc")]
    #[case("ethertype/*")]
    #[case("*")]
    fn display_is_what_was_parsed(#[case] text: &str) {
        assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
    }

    #[rstest]
    #[case("80", Problem::Form)]
    #[case("", Problem::Form)]
    #[case("ospf/1", Problem::Class)]
    #[case("tcp/", Problem::Port)]
    #[case("tcp/0", Problem::Port)]
    #[case("tcp/65536", Problem::Port)]
    #[case("tcp/1-", Problem::Port)]
    #[case("tcp/9-8", Problem::Range)]
    #[case("ip/255", Problem::Protocol)]
    #[case("ip/nothing", Problem::Protocol)]
    #[case("ethertype/0x12345", Problem::EtherType)]
    fn what_is_no_service(#[case] text: &str, #[case] problem: Problem) {
        let error = text.parse::<Service>().unwrap_err();
        assert_eq!(error.problem, problem);
        assert!(error.to_string().starts_with(&format!("\"{text}\" names no service: ")));
    }

    #[test]
    fn listeners_are_restricted_and_flows_are_not() {
        let set = ServiceSet::parse(&["tcp/80", "udp/8000-8999", "ip/89", "ethertype/0x88cc"]).unwrap();
        assert!(set.matches(&listener(6, 80)));
        assert!(!set.matches(&listener(6, 81)));
        assert!(!set.matches(&listener(17, 80)));
        assert!(set.matches(&listener(17, 8000)) && set.matches(&listener(17, 8999)));
        assert!(!set.matches(&listener(17, 9000)));
        assert!(set.matches(&raw(89)) && !set.matches(&raw(6)));
        assert!(set.matches(&ProtocolAddress::EtherType(0x88cc)));
        assert!(!set.matches(&ProtocolAddress::EtherType(0x0806)));
        assert!(set.matches(&flow(40_000)) && set.matches(&flow(80)));
        assert!(set.covers(&flow(80)) && !set.covers(&flow(40_000)));
    }

    #[test]
    fn everything_less_the_exceptions() {
        let set = ServiceSet::all().without(&ServiceSet::parse(&["udp/68", "tcp/22"]).unwrap());
        assert!(!set.matches(&listener(17, 68)) && set.matches(&listener(6, 68)));
        assert!(!set.covers_port(6, 22) && set.covers_port(17, 22));
        assert!(set.matches(&raw(89)) && set.matches(&ProtocolAddress::EtherType(3)));
        assert_eq!(set.to_string(), "* but not udp/68, tcp/22");
        assert_eq!(set.exceptions(), ServiceSet::parse(&["udp/68", "tcp/22"]).unwrap().items());
    }

    #[test]
    fn nothing_matches_none() {
        assert!(!ServiceSet::none().matches(&listener(6, 80)));
        assert_eq!(ServiceSet::none().to_string(), "nothing");
    }

    fn listener(protocol: u8, port: u16) -> ProtocolAddress {
        ProtocolAddress::Listener { protocol, local: Local::Any(Family::Both), port }
    }

    fn raw(protocol: u8) -> ProtocolAddress {
        ProtocolAddress::IpProtocol { protocol, local: Local::Any(Family::V4) }
    }

    fn flow(local_port: u16) -> ProtocolAddress {
        let local = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        ProtocolAddress::Flow { protocol: 6, local, local_port, remote: local, remote_port: 443 }
    }
}
