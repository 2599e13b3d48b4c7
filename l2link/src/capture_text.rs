//! [`CaptureText`]: which packets a capture is to have, as people write it.
//!
//! | words | a packet that |
//! |---|---|
//! | `tcp`, `udp`, `icmp`, `icmp6`, `ospf`, `ip 89`, … | is of this protocol of IP |
//! | `ip`, `ip6`, `arp`, `ethertype 0x88cc` | is of this EtherType |
//! | `host 192.0.2.9`, `host 2001:db8::/32` | comes from there or goes there |
//! | `port 80` | comes from or goes to this port of TCP, UDP, … |
//! | `dropped` | was dropped |
//!
//! All of them have to hold; no word lets everything through. The words are those of tcpdump where it has them, but their meaning is
//! that of [`frames::inet::classify`]: a later fragment is of its protocol, and has no ports.

use crate::service::Service;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use frames::inet::{Layer3, PacketView, Transport, classify};
use frames::route::Prefix;

/// Which packets a capture is to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureText {
    conditions: Vec<Condition>,
    /// Only those that were dropped.
    pub dropped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    EtherType(u16),
    Protocol(u8),
    Host(Prefix),
    Port(u16),
}

/// Words that say nothing of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureTextError {
    /// A word that is none of them.
    Word(String),
    /// This has to stand behind that word.
    Behind(&'static str, &'static str),
}

impl fmt::Display for CaptureTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(
                f,
                "\"{word}\" says nothing of a packet; there are: tcp, udp, icmp, icmp6 and other protocols of IP, ip, ip6, arp, \
                 ethertype NUMBER, host ADDRESS, port NUMBER, dropped"
            ),
            Self::Behind(word, wanted) => write!(f, "\"{word}\" is to be followed by {wanted}"),
        }
    }
}

impl core::error::Error for CaptureTextError {}

impl FromStr for CaptureText {
    type Err = CaptureTextError;

    fn from_str(text: &str) -> Result<Self, CaptureTextError> {
        let mut read = Self::default();
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            read.conditions.push(match word {
                "dropped" => {
                    read.dropped = true;
                    continue;
                }
                "arp" => Condition::EtherType(ETHERTYPE_ARP),
                "ip6" => Condition::EtherType(ETHERTYPE_IPV6),
                "ip" => match words.peek().and_then(|number| number.parse().ok()) {
                    Some(number) => {
                        words.next();
                        Condition::Protocol(number)
                    }
                    None => Condition::EtherType(ETHERTYPE_IPV4),
                },
                "ethertype" => {
                    let text = format!("ethertype/{}", words.next().unwrap_or_default());
                    match text.parse() {
                        Ok(Service::EtherType(Some(ethertype))) => Condition::EtherType(ethertype),
                        _ => {
                            let wanted = "its number, for example 0x88cc";
                            return Err(CaptureTextError::Behind("ethertype", wanted));
                        }
                    }
                }
                "host" => {
                    let host = words.next().and_then(host);
                    let wanted = "an address or a prefix, for example 192.0.2.9 or 2001:db8::/32";
                    Condition::Host(host.ok_or(CaptureTextError::Behind("host", wanted))?)
                }
                "port" => {
                    let port = words.next().and_then(|word| word.parse().ok());
                    let wanted = "a number; where packets are captured is for --port NAME to say";
                    Condition::Port(port.ok_or(CaptureTextError::Behind("port", wanted))?)
                }
                word => {
                    let name = if word == "icmpv6" { "icmp6" } else { word };
                    match format!("ip/{name}").parse() {
                        Ok(Service::Ip(Some(protocol))) if name.parse::<u8>().is_err() => {
                            Condition::Protocol(protocol)
                        }
                        _ => return Err(CaptureTextError::Word(word.to_owned())),
                    }
                }
            });
        }
        Ok(read)
    }
}

impl CaptureText {
    /// Whether all is true of an Ethernet frame that can be told from its bytes; it may have been cut behind its headers.
    #[must_use]
    pub fn holds(&self, frame: &[u8]) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        let Ok(view) = classify(frame) else { return false };
        self.conditions.iter().all(|condition| condition.holds(&view))
    }
}

impl Condition {
    fn holds(self, view: &PacketView) -> bool {
        let of_ip = match view.layer3 {
            Layer3::Ip(ip) => Some(ip),
            Layer3::Arp { .. } | Layer3::Other => None,
        };
        match self {
            Self::EtherType(ethertype) => view.ethertype == ethertype,
            Self::Protocol(protocol) => of_ip.is_some_and(|ip| ip.protocol == protocol),
            Self::Host(prefix) => match view.layer3 {
                Layer3::Ip(ip) => lies_in(ip.source, prefix) || lies_in(ip.destination, prefix),
                Layer3::Arp { sender, target, .. } => {
                    lies_in(sender.into(), prefix) || lies_in(target.into(), prefix)
                }
                Layer3::Other => false,
            },
            Self::Port(port) => of_ip.is_some_and(|ip| match ip.transport {
                Transport::Ports { source, destination, .. } => source == port || destination == port,
                _ => false,
            }),
        }
    }
}

fn lies_in(address: IpAddr, prefix: Prefix) -> bool {
    Prefix::new(address, prefix.length()) == Some(prefix)
}

/// An address, or a prefix.
fn host(word: &str) -> Option<Prefix> {
    let (address, length) =
        word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    Prefix::new(address, length.map_or(Some(whole), |length| length.parse().ok())?)
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// TCP from 192.0.2.9:40000 to 192.0.2.1:80.
    fn tcp() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 9, 192, 0, 2, 1]);
        frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        frame
    }

    /// Who has 192.0.2.1, tell 192.0.2.9.
    fn arp() -> Vec<u8> {
        let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6];
        frame
            .extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
        frame
    }

    #[rstest]
    #[case("", true, true)]
    #[case("tcp", true, false)]
    #[case("ip 6 port 80", true, false)]
    #[case("port 40000", true, false)]
    #[case("port 81", false, false)]
    #[case("udp", false, false)]
    #[case("ip", true, false)]
    #[case("ip6", false, false)]
    #[case("arp", false, true)]
    #[case("ethertype 0x0806", false, true)]
    #[case("host 192.0.2.1", true, true)]
    #[case("host 192.0.2.8/30 tcp", true, false)]
    #[case("host 198.51.100.0/24", false, false)]
    #[case("host ::/0", false, false)]
    #[case("dropped tcp", true, false)]
    #[case("ospf", false, false)]
    fn words_pick_packets(#[case] text: &str, #[case] of_tcp: bool, #[case] of_arp: bool) {
        let read: CaptureText = text.parse().unwrap();
        assert_eq!((read.holds(&tcp()), read.holds(&arp())), (of_tcp, of_arp));
        assert_eq!(read.dropped, text.contains("dropped"));
        assert_eq!(read.holds(&[1, 2, 3]), text.is_empty(), "what cannot be read");
    }

    #[rstest]
    #[case("tcq", "\"tcq\" says nothing of a packet; there are: tcp, udp")]
    #[case("6", "\"6\" says nothing")]
    #[case("tcp/80", "\"tcp/80\" says nothing")]
    #[case("host", "\"host\" is to be followed by an address")]
    #[case("host 192.0.2.1/33", "\"host\" is to be followed by an address")]
    #[case("port eth1", "\"port\" is to be followed by a number; where packets are captured is for --port")]
    #[case("port", "\"port\" is to be followed by a number")]
    #[case("ethertype x", "\"ethertype\" is to be followed by its number")]
    fn what_says_nothing(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<CaptureText>().unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}
