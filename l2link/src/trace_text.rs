//! [`TraceText`]: what is to be traced, as people write it.
//!
//! | text | is |
//! |---|---|
//! | `tcp from 192.0.2.9:40000 to 192.0.2.1:80` | a packet at a port of the relay; a segment that opens a connection |
//! | `tcp … established` | a segment of a connection that is there |
//! | `udp from [2001:db8::9]:4000 to [2001:db8::1]:53` | a datagram, and so of the other protocols with ports |
//! | `icmp from 192.0.2.9 to 192.0.2.1` | an echo request; with `reply 7` the reply to the identifier 7, with `type 11` another message |
//! | `icmp … about udp from 192.0.2.1:4000 to 198.51.100.7:53` | an error about that packet; of `icmp6` in the same words |
//! | `icmp6 … who-has 2001:db8::1`, `icmp6 … is-at 2001:db8::9` | neighbor discovery |
//! | `ip ospf from 192.0.2.9 to 224.0.0.5`, `ip 89 from … to …` | any other protocol of IP |
//! | `arp who-has 192.0.2.1 tell 192.0.2.9`, `arp is-at 192.0.2.9 tell 192.0.2.1` | ARP |
//! | `ethertype 0x88cc` | any other frame |
//! | `198.51.100.0/24`, `2001:db8::7` | the routes to a prefix or an address |
//! | `tcp 0.0.0.0:80`, `tcp/80`, `ip ospf`, `tcp 192.0.2.1:4000 from 198.51.100.7:443` | a socket, in the words of [`RuleText`] |
//!
//! A packet may have `port NAME` behind it, where it arrives, and `mac ADDRESS`, for which station it is; else for the port.

use crate::rule_text::{RuleText, RuleTextError};
use crate::service::Service;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use frames::inet::{ArpOperation, EchoKind, IcmpInner, Ip, Layer3, PacketView, Tcp, TcpFlags, Transport};
use frames::route::Prefix;
use frames::{Mac, ProtocolAddress};

/// What is to be traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceText {
    /// A packet that arrives at a port.
    Packet(PacketText),
    /// The routes to this.
    Route(Prefix),
    /// A socket, by what it listens for or its flow.
    Socket(ProtocolAddress),
}

/// A packet in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketText {
    /// Its headers, without stations.
    view: PacketView,
    /// Where it arrives, if that was written.
    pub port: Option<String>,
    /// For which station it is, if that was written.
    pub mac: Option<Mac>,
}

/// A text that says nothing that can be traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceTextError {
    /// It is empty.
    Empty,
    /// A word is missing behind this one, or is not what stands there.
    Behind(String, &'static str),
    /// A word that does not belong there.
    Word(String),
    /// What looks like a prefix and has no address, or a length that is none of its version of IP.
    Prefix(String),
    /// Two addresses are of different versions of IP, or of none that the protocol has.
    Versions,
    /// It names no socket.
    Rule(RuleTextError),
}

impl fmt::Display for TraceTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "nothing to trace: write a packet (tcp from 192.0.2.9:40000 to 192.0.2.1:80), a socket (tcp 0.0.0.0:80), or a \
                 prefix (198.51.100.0/24)",
            ),
            Self::Behind(word, wanted) => write!(f, "\"{word}\" is to be followed by {wanted}"),
            Self::Word(word) => write!(f, "\"{word}\" does not belong there"),
            Self::Prefix(word) => {
                write!(f, "\"{word}\" is no prefix: write for example 198.51.100.0/24 or 2001:db8::/32")
            }
            Self::Versions => f.write_str("the addresses are of different versions of IP, or not of the protocol's"),
            Self::Rule(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TraceTextError {}

impl FromStr for TraceText {
    type Err = TraceTextError;

    fn from_str(text: &str) -> Result<Self, TraceTextError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let prefix = match words[..] {
            [] => return Err(TraceTextError::Empty),
            [word] => prefix(word)?,
            _ => None,
        };
        if let Some(prefix) = prefix {
            return Ok(Self::Route(prefix));
        }
        let is_packet =
            words[0] == "arp" || words[1..].iter().any(|word| matches!(*word, "to" | "port" | "mac"));
        if is_packet { packet(&words).map(Self::Packet) } else { socket(&words).map(Self::Socket) }
    }
}

impl PacketText {
    /// A frame of an EtherType.
    #[must_use]
    pub fn of_ethertype(ethertype: u16) -> Self {
        Self { view: view(ethertype, Layer3::Other), port: None, mac: None }
    }

    /// Its headers as it arrives at the station `own`, the port.
    #[must_use]
    pub fn view(&self, own: Mac) -> PacketView {
        PacketView { destination: self.mac.unwrap_or(own), ..self.view }
    }

    /// Source and destination, if it is one of IP.
    #[must_use]
    pub fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        match self.view.layer3 {
            Layer3::Ip(ip) => Some((ip.source, ip.destination)),
            Layer3::Arp { .. } | Layer3::Other => None,
        }
    }
}

impl fmt::Display for PacketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.view.layer3 {
            Layer3::Ip(ip) => ip.fmt(f),
            Layer3::Arp { operation: ArpOperation::Request, sender, target } => {
                write!(f, "arp who-has {target} tell {sender}")
            }
            Layer3::Arp { sender, target, .. } => write!(f, "arp is-at {sender} tell {target}"),
            Layer3::Other => write!(f, "ethertype {:#06x}", self.view.ethertype),
        }
    }
}

/// An address or a prefix, if the word begins as one.
fn prefix(word: &str) -> Result<Option<Prefix>, TraceTextError> {
    let (address, length) =
        word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        // No protocol begins with a digit.
        let is_meant = address.starts_with(|letter: char| letter.is_ascii_digit()) && address.contains('.');
        return if is_meant { Err(TraceTextError::Prefix(word.to_owned())) } else { Ok(None) };
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(whole), |length| length.parse().ok());
    let prefix = length.and_then(|length| Prefix::new(address, length));
    prefix.map(Some).ok_or_else(|| TraceTextError::Prefix(word.to_owned()))
}

/// `tcp 0.0.0.0:80` is `tcp/0.0.0.0:80`.
fn socket(words: &[&str]) -> Result<ProtocolAddress, TraceTextError> {
    let flow = words.iter().position(|word| *word == "from").unwrap_or(words.len());
    let (near, far) = words.split_at(flow);
    let text = format!("{} {}", near.join("/"), far.join(" "));
    text.parse().map(|RuleText(address)| address).map_err(TraceTextError::Rule)
}

/// Words, one after the other.
struct Words<'a> {
    last: &'a str,
    rest: &'a [&'a str],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        (self.last, self.rest) = (first, rest);
        Some(first)
    }

    /// Takes this word, if it is the next one.
    fn take(&mut self, word: &str) -> bool {
        let is_it = self.rest.first() == Some(&word);
        is_it && self.next().is_some()
    }

    fn need(&mut self, word: &'static str) -> Result<(), TraceTextError> {
        if self.take(word) { Ok(()) } else { Err(self.wants(word)) }
    }

    /// The next word as what it has to be.
    fn read<T: FromStr>(&mut self, what: &'static str) -> Result<T, TraceTextError> {
        let read = self.rest.first().and_then(|word| word.parse().ok());
        let read = read.ok_or_else(|| self.wants(what))?;
        self.next();
        Ok(read)
    }

    fn wants(&self, what: &'static str) -> TraceTextError {
        TraceTextError::Behind(self.last.to_owned(), what)
    }
}

fn packet(words: &[&str]) -> Result<PacketText, TraceTextError> {
    let mut words = Words { last: "", rest: words };
    let view = match words.next() {
        Some("arp") => arp(&mut words)?,
        Some("ethertype") => {
            let text = format!("ethertype/{}", words.rest.first().copied().unwrap_or_default());
            let Ok(Service::EtherType(Some(ethertype))) = text.parse() else {
                return Err(words.wants("its number, for example 0x88cc"));
            };
            words.next();
            view(ethertype, Layer3::Other)
        }
        Some(class) => ip(class, &mut words)?,
        None => return Err(TraceTextError::Empty),
    };
    let (mut port, mut mac) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "port" => port = Some(words.read("the name of a port")?),
            "mac" => mac = Some(words.read("an Ethernet address")?),
            other => return Err(TraceTextError::Word(other.to_owned())),
        }
    }
    Ok(PacketText { view, port, mac })
}

fn arp(words: &mut Words<'_>) -> Result<PacketView, TraceTextError> {
    let (operation, about) = match words.next() {
        Some("who-has") => (ArpOperation::Request, words.read("an IPv4 address")?),
        Some("is-at") => (ArpOperation::Reply, words.read("an IPv4 address")?),
        _ => return Err(TraceTextError::Behind("arp".to_owned(), "who-has or is-at")),
    };
    words.need("tell")?;
    let told = words.read("an IPv4 address")?;
    let (sender, target) = if operation == ArpOperation::Request { (told, about) } else { (about, told) };
    Ok(view(ETHERTYPE_ARP, Layer3::Arp { operation, sender, target }))
}

fn ip(class: &str, words: &mut Words<'_>) -> Result<PacketView, TraceTextError> {
    let ip = match protocol(class, words)? {
        (protocol, true) => {
            let (source, destination) = ends::<SocketAddr>(words, "an address and a port")?;
            let mut flags = TcpFlags::empty();
            if protocol == TCP {
                flags = if words.take("established") { TcpFlags::ACK } else { TcpFlags::SYN };
            }
            let tcp = Tcp { flags, ..Tcp::NONE };
            let transport = Transport::Ports { source: source.port(), destination: destination.port(), tcp };
            whole(protocol, (source.ip(), destination.ip()), transport)
        }
        (protocol, false) => {
            let ends = ends::<IpAddr>(words, "an address")?;
            let transport =
                if matches!(protocol, ICMP | ICMPV6) { icmp(protocol, words)? } else { Transport::Other };
            whole(protocol, ends, transport)
        }
    }?;
    let fits = match ip.protocol {
        ICMP => ip.source.is_ipv4(),
        ICMPV6 => ip.source.is_ipv6(),
        _ => true,
    };
    if !fits {
        return Err(TraceTextError::Versions);
    }
    Ok(view(if ip.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }, Layer3::Ip(ip)))
}

/// The protocol of IP, and whether it has ports.
fn protocol(class: &str, words: &mut Words<'_>) -> Result<(u8, bool), TraceTextError> {
    let text = match class {
        "icmpv6" => "ip/icmp6".to_owned(),
        "ip" => {
            let which = words.next().unwrap_or_default();
            format!("ip/{which}")
        }
        class => format!("{class}/*"),
    };
    let service = text.parse().or_else(|error| format!("ip/{class}").parse().map_err(|_| error));
    match service {
        Ok(Service::Ports { protocol, .. }) => Ok((protocol, true)),
        // The protocols that have ports by their numbers, too.
        Ok(Service::Ip(Some(protocol))) => Ok((protocol, matches!(protocol, TCP | UDP | 33 | 132 | 136))),
        Ok(Service::Everything | Service::Ip(None) | Service::EtherType(_)) | Err(_) => {
            Err(TraceTextError::Word(text.trim_end_matches("/*").to_owned()))
        }
    }
}

fn ends<T: FromStr>(words: &mut Words<'_>, what: &'static str) -> Result<(T, T), TraceTextError> {
    words.need("from")?;
    let source = words.read(what)?;
    words.need("to")?;
    Ok((source, words.read(what)?))
}

fn whole(
    protocol: u8,
    (source, destination): (IpAddr, IpAddr),
    transport: Transport,
) -> Result<Ip, TraceTextError> {
    let (source, destination) = (source.to_canonical(), destination.to_canonical());
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(TraceTextError::Versions);
    }
    Ok(Ip { source, destination, protocol, fragment: None, transport })
}

fn icmp(protocol: u8, words: &mut Words<'_>) -> Result<Transport, TraceTextError> {
    let is_v6 = protocol == ICMPV6;
    Ok(if words.take("reply") {
        Transport::Echo { kind: EchoKind::Reply, id: words.read("the identifier, a number")? }
    } else if words.take("type") {
        Transport::Icmp(words.read("a number")?)
    } else if is_v6 && words.take("who-has") {
        Transport::NeighborSolicitation(words.read("an IPv6 address")?)
    } else if is_v6 && words.take("is-at") {
        Transport::NeighborAdvertisement(words.read("an IPv6 address")?)
    } else if words.take("about") {
        let class = words.next().unwrap_or_default();
        let Layer3::Ip(inner) = ip(class, words)?.layer3 else { return Err(TraceTextError::Versions) };
        let ports = match inner.transport {
            Transport::Ports { source, destination, .. } => Some((source, destination)),
            _ => None,
        };
        Transport::IcmpError(IcmpInner {
            source: inner.source,
            destination: inner.destination,
            protocol: inner.protocol,
            ports,
        })
    } else {
        Transport::Echo { kind: EchoKind::Request, id: 0 }
    })
}

fn view(ethertype: u16, layer3: Layer3) -> PacketView {
    PacketView { destination: Mac::default(), source: Mac::default(), ethertype, layer3 }
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tcp from 192.0.2.9:40000 to 192.0.2.1:80", "192.0.2.9:40000 > 192.0.2.1:80 tcp")]
    #[case(
        "udp from [2001:db8::9]:53 to [2001:db8::1]:53 port eth1",
        "[2001:db8::9]:53 > [2001:db8::1]:53 udp"
    )]
    #[case("sctp from 192.0.2.9:1 to 192.0.2.1:2", "192.0.2.9:1 > 192.0.2.1:2 sctp")]
    #[case("ip 6 from 192.0.2.9:1 to 192.0.2.1:2", "192.0.2.9:1 > 192.0.2.1:2 tcp")]
    #[case("icmp from 192.0.2.9 to 192.0.2.1", "192.0.2.9 > 192.0.2.1 icmp echo request id 0")]
    #[case("icmp from 192.0.2.9 to 192.0.2.1 reply 7", "192.0.2.9 > 192.0.2.1 icmp echo reply id 7")]
    #[case("icmpv6 from 2001:db8::9 to 2001:db8::1", "2001:db8::9 > 2001:db8::1 icmp6 echo request id 0")]
    #[case("icmp6 from fe80::9 to ff02::1 who-has fe80::1", "fe80::9 > ff02::1 icmp6 who-has fe80::1")]
    #[case("icmp from 192.0.2.9 to 192.0.2.1 type 13", "192.0.2.9 > 192.0.2.1 icmp type 13")]
    #[case(
        "icmp from 192.0.2.254 to 192.0.2.1 about udp from 192.0.2.1:4000 to 198.51.100.7:53 port eth1",
        "192.0.2.254 > 192.0.2.1 icmp error about 192.0.2.1:4000 > 198.51.100.7:53 udp"
    )]
    #[case("ip ospf from 192.0.2.9 to 224.0.0.5", "192.0.2.9 > 224.0.0.5 ospf")]
    #[case("ospf from 192.0.2.9 to 224.0.0.5", "192.0.2.9 > 224.0.0.5 ospf")]
    #[case("ip 253 from 192.0.2.9 to 192.0.2.1", "192.0.2.9 > 192.0.2.1 protocol 253")]
    #[case("arp who-has 192.0.2.1 tell 192.0.2.9", "arp who-has 192.0.2.1 tell 192.0.2.9")]
    #[case("arp is-at 192.0.2.9 tell 192.0.2.1 mac 02:00:00:00:00:01", "arp is-at 192.0.2.9 tell 192.0.2.1")]
    #[case("ethertype 0x88cc port eth1", "ethertype 0x88cc")]
    fn packets(#[case] text: &str, #[case] written: &str) {
        let TraceText::Packet(packet) = text.parse().unwrap() else { panic!("{text} is no packet") };
        assert_eq!(packet.to_string(), written);
        assert_eq!(packet.port.as_deref(), text.ends_with("port eth1").then_some("eth1"));
        let own = Mac([2, 0, 0, 0, 0, 9]);
        assert_eq!(packet.view(own).destination == own, packet.mac.is_none());
    }

    #[test]
    fn packets_of_ip_have_ends() {
        let ends = |text: &str| {
            let TraceText::Packet(packet) = text.parse().unwrap() else { panic!("{text} is no packet") };
            packet.ends()
        };
        let both = ([192, 0, 2, 9].into(), [192, 0, 2, 1].into());
        assert_eq!(ends("icmp from 192.0.2.9 to 192.0.2.1"), Some(both));
        assert_eq!(ends("arp who-has 192.0.2.1 tell 192.0.2.9"), None);
    }

    #[test]
    fn a_segment_opens_a_connection_unless_it_is_of_one() {
        for (word, opens) in [("", true), (" established", false)] {
            let text = format!("tcp from 192.0.2.9:1 to 192.0.2.1:80{word}");
            let TraceText::Packet(packet) = text.parse().unwrap() else { panic!() };
            let Layer3::Ip(Ip { transport: Transport::Ports { tcp, .. }, .. }) = packet.view.layer3 else {
                panic!()
            };
            assert_eq!(tcp.opens(), opens);
        }
    }

    #[rstest]
    #[case("198.51.100.7/24", "198.51.100.0/24")]
    #[case("198.51.100.7", "198.51.100.7/32")]
    #[case("2001:db8::/32", "2001:db8::/32")]
    #[case("::", "::/128")]
    fn routes(#[case] text: &str, #[case] written: &str) {
        let TraceText::Route(prefix) = text.parse().unwrap() else { panic!("{text} is no route") };
        assert_eq!(prefix.to_string(), written);
    }

    #[rstest]
    #[case("tcp 0.0.0.0:80", "tcp/0.0.0.0:80")]
    #[case("tcp/80", "tcp/80")]
    #[case("tcp 80", "tcp/80")]
    #[case("udp [2001:db8::1]:53", "udp/[2001:db8::1]:53")]
    #[case("ip ospf", "ip/ospf")]
    #[case("ip ospf 224.0.0.5", "ip/ospf/224.0.0.5")]
    #[case("ethertype 0x88cc", "ethertype/0x88cc")]
    #[case("tcp 192.0.2.1:4000 from 198.51.100.7:443", "tcp/192.0.2.1:4000 from 198.51.100.7:443")]
    fn sockets(#[case] text: &str, #[case] written: &str) {
        let TraceText::Socket(address) = text.parse().unwrap() else { panic!("{text} is no socket") };
        assert_eq!(RuleText(address).to_string(), written);
    }

    #[rstest]
    #[case("", "nothing to trace")]
    #[case("tcp from 192.0.2.9 to 192.0.2.1:80", "\"from\" is to be followed by an address and a port")]
    #[case("tcp from 192.0.2.9:1 to", "\"to\" is to be followed by an address and a port")]
    #[case("tcp to 192.0.2.9:1", "\"tcp\" is to be followed by from")]
    #[case("tcp from 192.0.2.9:1 to [2001:db8::1]:80", "different versions")]
    #[case("icmp from 2001:db8::9 to 2001:db8::1", "not of the protocol's")]
    #[case("icmp6 from 192.0.2.9 to 192.0.2.1", "not of the protocol's")]
    #[case("tcp from 192.0.2.9:1 to 192.0.2.1:80 now", "\"now\" does not belong there")]
    #[case("tcp from 192.0.2.9:1 to 192.0.2.1:80 port", "\"port\" is to be followed by the name")]
    #[case("tcq from 192.0.2.9:1 to 192.0.2.1:80", "\"tcq\" does not belong there")]
    #[case("arp 192.0.2.9 to 192.0.2.1", "\"arp\" is to be followed by who-has or is-at")]
    #[case("ethertype port eth1", "\"ethertype\" is to be followed by its number")]
    #[case("tcp 0.0.0.0", "a port is a number")]
    #[case("198.51.100.0/33", "is no prefix")]
    #[case("2001:db8::/x", "is no prefix")]
    #[case("300.0.0.0/8", "is no prefix")]
    #[case("198.51.100", "is no prefix")]
    fn what_is_nothing(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<TraceText>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
