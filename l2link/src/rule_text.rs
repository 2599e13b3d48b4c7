//! [`RuleText`]: protocol addresses as people write them, in commands and configuration files.
//!
//! | text | is |
//! |---|---|
//! | `tcp/80`, `tcp/0.0.0.0:80`, `tcp/[::]:80` | a listener of any address, of both versions of IP or of one |
//! | `tcp/192.0.2.1:80`, `udp/[ff02::fb]:5353` | a listener of one address, which may be a group's |
//! | `tcp/192.0.2.1:4000 from 198.51.100.7:443` | a flow |
//! | `ip/ospf`, `ip/89`, `ip/ospf/224.0.0.5` | all packets of an IP protocol |
//! | `ethertype/0x88cc` | all frames of an EtherType |
//!
//! It is the language of [`crate::service`], of which each text is one item, with an address where it is wanted.

use crate::service::{Service, ServiceError};
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use frames::ProtocolAddress;
use frames::protocol_address::{Family, Local, protocol_name};

/// A protocol address in the form that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleText(pub ProtocolAddress);

/// A text that is no protocol address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleTextError {
    /// The part that names a service does not.
    Service(ServiceError),
    /// It names several, where one is needed.
    Several(String),
    /// The address is none.
    Address(String),
    /// The far end of a flow is none, or the near end is not whole.
    Flow(String),
}

impl fmt::Display for RuleTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(error) => error.fmt(f),
            Self::Several(text) => {
                write!(f, "\"{text}\" names more than one: a rule has one port or protocol")
            }
            Self::Address(text) => write!(
                f,
                "\"{text}\" has no address that can be read: write for example tcp/192.0.2.1:80, tcp/[2001:db8::1]:80 or \
                 ip/ospf/224.0.0.5"
            ),
            Self::Flow(text) => write!(
                f,
                "\"{text}\" is no flow: write both ends, of one version of IP, for example \"tcp/192.0.2.1:4000 from \
                 198.51.100.7:443\""
            ),
        }
    }
}

impl core::error::Error for RuleTextError {}

impl FromStr for RuleText {
    type Err = RuleTextError;

    fn from_str(text: &str) -> Result<Self, RuleTextError> {
        let mut words = text.split_whitespace();
        let near = words.next().unwrap_or_default();
        let listener = listener(near)?;
        let far = match (words.next(), words.next(), words.next()) {
            (None, ..) => return Ok(Self(listener)),
            (Some("from"), Some(far), None) => far,
            _ => return Err(RuleTextError::Flow(text.to_owned())),
        };
        flow(listener, far).map(Self).ok_or_else(|| RuleTextError::Flow(text.to_owned()))
    }
}

fn listener(text: &str) -> Result<ProtocolAddress, RuleTextError> {
    let unread = || RuleTextError::Address(text.to_owned());
    let (class, rest) = text.split_once('/').unwrap_or((text, ""));
    let (service, local) = match class {
        "ip" => match rest.split_once('/') {
            Some((protocol, address)) => {
                let address: IpAddr = address.parse().map_err(|_| unread())?;
                (format!("ip/{protocol}"), local(address))
            }
            None => (text.to_owned(), Local::Any(Family::Both)),
        },
        "ethertype" => (text.to_owned(), Local::Any(Family::Both)),
        _ => match rest.rsplit_once(':') {
            Some(("*", port)) => (format!("{class}/{port}"), Local::Any(Family::Both)),
            Some((_, port)) => {
                // The port is judged below, with the service.
                let host = rest.strip_suffix(port).unwrap_or(rest);
                let end: SocketAddr = format!("{host}0").parse().map_err(|_| unread())?;
                (format!("{class}/{port}"), local(end.ip()))
            }
            None => (text.to_owned(), Local::Any(Family::Both)),
        },
    };
    match service.parse().map_err(RuleTextError::Service)? {
        Service::Ports { protocol, ports } if ports.start() == ports.end() => {
            Ok(ProtocolAddress::Listener { protocol, local, port: *ports.start() })
        }
        Service::Ip(Some(protocol)) => Ok(ProtocolAddress::IpProtocol { protocol, local }),
        Service::EtherType(Some(ethertype)) => Ok(ProtocolAddress::EtherType(ethertype)),
        Service::Everything | Service::Ports { .. } | Service::Ip(None) | Service::EtherType(None) => {
            Err(RuleTextError::Several(text.to_owned()))
        }
    }
}

fn flow(near: ProtocolAddress, far: &str) -> Option<ProtocolAddress> {
    let ProtocolAddress::Listener { protocol, local: Local::Address(local), port: local_port } = near else {
        return None;
    };
    let far: SocketAddr = far.parse().ok()?;
    let remote = far.ip().to_canonical();
    let whole = far.port() > 0 && remote.is_ipv4() == local.is_ipv4() && !remote.is_unspecified();
    whole.then_some(ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port: far.port() })
}

fn local(address: IpAddr) -> Local {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => Local::Any(Family::V4),
        IpAddr::V6(v6) if v6.is_unspecified() => Local::Any(Family::V6),
        address => Local::Address(address),
    }
}

impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = |protocol: u8| protocol_name(protocol).unwrap_or("?");
        match self.0 {
            ProtocolAddress::Listener { protocol, local: Local::Any(Family::Both), port } => {
                write!(f, "{}/{port}", class(protocol))
            }
            ProtocolAddress::Listener { protocol, local, port } => {
                write!(f, "{}/{local_end}", class(protocol), local_end = End(local, port))
            }
            ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } => {
                let (near, far) = (SocketAddr::new(local, local_port), SocketAddr::new(remote, remote_port));
                write!(f, "{}/{near} from {far}", class(protocol))
            }
            ProtocolAddress::IpProtocol { protocol, local } => {
                Service::Ip(Some(protocol)).fmt(f)?;
                match local {
                    Local::Any(Family::Both) => Ok(()),
                    Local::Any(Family::V4) => f.write_str("/0.0.0.0"),
                    Local::Any(Family::V6) => f.write_str("/::"),
                    Local::Address(address) => write!(f, "/{address}"),
                }
            }
            ProtocolAddress::EtherType(ethertype) => Service::EtherType(Some(ethertype)).fmt(f),
        }
    }
}

/// A local end of a listener.
struct End(Local, u16);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Local::Address(address) => SocketAddr::new(address, self.1).fmt(f),
            any @ Local::Any(_) => write!(f, "{any}:{}", self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tcp/80")]
    #[case("tcp/0.0.0.0:80")]
    #[case("udp/[::]:53")]
    #[case("tcp/192.0.2.1:80")]
    #[case("sctp/[2001:db8::1]:9")]
    #[case("udp/[ff02::fb]:5353")]
    #[case("tcp/192.0.2.1:4000 from 198.51.100.7:443")]
    #[case("udp/[2001:db8::1]:4000 from [2001:db8::7]:53")]
    #[case("ip/ospf")]
    #[case("ip/254")]
    #[case("ip/ospf/224.0.0.5")]
    #[case("ip/ospf/0.0.0.0")]
    #[case("ip/icmp6/::")]
    #[case("ethertype/0x88cc")]
    fn display_is_what_was_parsed(#[case] text: &str) {
        assert_eq!(text.parse::<RuleText>().unwrap().to_string(), text);
    }

    #[rstest]
    #[case("tcp/80", Local::Any(Family::Both))]
    #[case("tcp/0.0.0.0:80", Local::Any(Family::V4))]
    #[case("tcp/[::]:80", Local::Any(Family::V6))]
    #[case("tcp/192.0.2.1:80", Local::Address([192, 0, 2, 1].into()))]
    fn an_address_of_zeros_is_any_of_its_version(#[case] text: &str, #[case] local: Local) {
        let rule = text.parse::<RuleText>().unwrap().0;
        assert_eq!(rule, ProtocolAddress::Listener { protocol: 6, local, port: 80 });
    }

    #[rstest]
    #[case("tcp/*:80", "tcp/80")]
    #[case("tcp/[::ffff:192.0.2.1]:80", "tcp/192.0.2.1:80")]
    #[case("ip/89", "ip/ospf")]
    #[case("ethertype/35020", "ethertype/0x88cc")]
    #[case(" tcp/80 ", "tcp/80")]
    fn other_words_for_the_same(#[case] text: &str, #[case] written: &str) {
        assert_eq!(text.parse::<RuleText>().unwrap().to_string(), written);
    }

    #[rstest]
    #[case("", "names no service")]
    #[case("80", "names no service")]
    #[case("tcp/0", "a port is a number from 1 to 65535")]
    #[case("tcp/192.0.2.1:65536", "a port is a number from 1 to 65535")]
    #[case("tcp/192.0.2.1:", "a port is a number from 1 to 65535")]
    #[case("tcq/80", "names no service")]
    #[case("tcp/*", "more than one")]
    #[case("tcp/80-81", "more than one")]
    #[case("ip/*", "more than one")]
    #[case("*", "more than one")]
    #[case("ip/255", "a number from 0 to 254")]
    #[case("ethertype/[::]:80", "an EtherType is a number")]
    #[case("tcp/192.0.2.300:80", "no address that can be read")]
    #[case("tcp/2001:db8::1:80", "no address that can be read")]
    #[case("ip/ospf/everybody", "no address that can be read")]
    #[case("tcp/80 from 192.0.2.1:1", "both ends")]
    #[case("tcp/192.0.2.1:80 from 2001:db8::1", "both ends")]
    #[case("tcp/192.0.2.1:80 from [2001:db8::1]:1", "both ends")]
    #[case("tcp/192.0.2.1:80 from 192.0.2.2:0", "both ends")]
    #[case("tcp/192.0.2.1:80 of 192.0.2.2:1", "both ends")]
    #[case("tcp/192.0.2.1:80 from", "both ends")]
    #[case("tcp/192.0.2.1:80 from 192.0.2.2:1 now", "both ends")]
    fn what_is_none(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<RuleText>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
