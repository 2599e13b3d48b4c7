//! [`PacketFile`]: what a file stands for, and its name.

use core::fmt;
use frames::ProtocolAddress;
use frames::protocol_address::{ETHERTYPE_ALL, Family, Local, protocol_name};

/// A file that is opened to receive and to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketFile {
    /// `packets`: frames, all that the symbol gets.
    Packets,
    /// `packets.pcap`: the same, and what the symbol sends, as a stream in the format of pcap; for reading only.
    Pcap,
    /// `tcp/PORT`: packets.
    Tcp(u16),
    /// `udp/PORT`: packets.
    Udp(u16),
    /// `ip/PROTOCOL`: packets.
    Ip(u8),
    /// `ethertype/HEX`: frames.
    EtherType(u16),
}

/// A directory of files that are there when they are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `ip`
    Ip,
    /// `ethertype`
    EtherType,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Ip, Self::EtherType];

    /// The directory's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Ip => "ip",
            Self::EtherType => "ethertype",
        }
    }

    /// The file of this name, if there can be one: numbers without leading zeros, IP protocols also by name, EtherTypes as up
    /// to four hexadecimal digits with or without `0x`. `ethertype/0004` is for all frames with a length instead of an EtherType
    /// (`ETH_P_802_2`).
    #[must_use]
    pub fn file(self, name: &str) -> Option<PacketFile> {
        match self {
            Self::Tcp => Some(PacketFile::Tcp(port(name)?)),
            Self::Udp => Some(PacketFile::Udp(port(name)?)),
            Self::Ip => {
                let named = || (0..RAW).find(|protocol| protocol_name(*protocol) == Some(name));
                let number = decimal(name).and_then(|number| u8::try_from(number).ok());
                Some(PacketFile::Ip(number.filter(|protocol| *protocol < RAW).or_else(named)?))
            }
            Self::EtherType => {
                let digits = name.strip_prefix("0x").unwrap_or(name);
                let all_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let number =
                    u16::from_str_radix(digits, 16).ok().filter(|_| all_digits && digits.len() <= 4)?;
                (number >= ETHERTYPE_MIN || number == ETHERTYPE_802_2)
                    .then_some(PacketFile::EtherType(number))
            }
        }
    }
}

impl PacketFile {
    /// The rule that must be in force while it is open.
    #[must_use]
    pub fn address(self) -> ProtocolAddress {
        let local = Local::Any(Family::Both);
        match self {
            Self::Packets | Self::Pcap => ProtocolAddress::EtherType(ETHERTYPE_ALL),
            Self::Tcp(port) => ProtocolAddress::Listener { protocol: TCP, local, port },
            Self::Udp(port) => ProtocolAddress::Listener { protocol: UDP, local, port },
            Self::Ip(protocol) => ProtocolAddress::IpProtocol { protocol, local },
            Self::EtherType(ethertype) => ProtocolAddress::EtherType(ethertype),
        }
    }

    /// Whether a read gives, and a write takes, a whole Ethernet frame; else a packet from the IP header on.
    #[must_use]
    pub const fn is_of_frames(self) -> bool {
        match self {
            Self::Packets | Self::Pcap | Self::EtherType(_) => true,
            Self::Tcp(_) | Self::Udp(_) | Self::Ip(_) => false,
        }
    }

    /// Whether several that have it open share its packets; else each gets a copy.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        match self {
            Self::Tcp(_) | Self::Udp(_) => true,
            Self::Packets | Self::Pcap | Self::Ip(_) | Self::EtherType(_) => false,
        }
    }

    /// The directory that it is in; `None` for those beside the directories.
    #[must_use]
    pub const fn class(self) -> Option<Class> {
        match self {
            Self::Packets | Self::Pcap => None,
            Self::Tcp(_) => Some(Class::Tcp),
            Self::Udp(_) => Some(Class::Udp),
            Self::Ip(_) => Some(Class::Ip),
            Self::EtherType(_) => Some(Class::EtherType),
        }
    }
}

/// Its name in its directory.
impl fmt::Display for PacketFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Packets => f.write_str("packets"),
            Self::Pcap => f.write_str("packets.pcap"),
            Self::Tcp(port) | Self::Udp(port) => port.fmt(f),
            Self::Ip(protocol) => protocol.fmt(f),
            Self::EtherType(ethertype) => write!(f, "{ethertype:04x}"),
        }
    }
}

fn port(name: &str) -> Option<u16> {
    decimal(name).and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

/// A number as it is listed: with one name for each.
fn decimal(name: &str) -> Option<u32> {
    let plain = name.bytes().all(|digit| digit.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    name.parse().ok().filter(|_| plain)
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// `IPPROTO_RAW`: nothing is received by it (raw(7)).
const RAW: u8 = 255;
/// `ETH_P_802_2`.
const ETHERTYPE_802_2: u16 = 0x0004;
/// Less is a length (IEEE 802.3, 3.2.6).
pub(super) const ETHERTYPE_MIN: u16 = 0x0600;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Class::Tcp, "80", Some(PacketFile::Tcp(80)))]
    #[case(Class::Udp, "65535", Some(PacketFile::Udp(65_535)))]
    #[case(Class::Udp, "65536", None)]
    #[case(Class::Tcp, "0", None)]
    #[case(Class::Tcp, "080", None)]
    #[case(Class::Tcp, "+80", None)]
    #[case(Class::Tcp, "", None)]
    #[case(Class::Tcp, "http", None)]
    #[case(Class::Ip, "0", Some(PacketFile::Ip(0)))]
    #[case(Class::Ip, "89", Some(PacketFile::Ip(89)))]
    #[case(Class::Ip, "ospf", Some(PacketFile::Ip(89)))]
    #[case(Class::Ip, "254", Some(PacketFile::Ip(254)))]
    #[case(Class::Ip, "255", None)]
    #[case(Class::Ip, "256", None)]
    #[case(Class::EtherType, "88cc", Some(PacketFile::EtherType(0x88cc)))]
    #[case(Class::EtherType, "0x88CC", Some(PacketFile::EtherType(0x88cc)))]
    #[case(Class::EtherType, "800", Some(PacketFile::EtherType(0x0800)))]
    #[case(Class::EtherType, "0004", Some(PacketFile::EtherType(4)))]
    #[case(Class::EtherType, "0003", None)]
    #[case(Class::EtherType, "05ff", None)]
    #[case(Class::EtherType, "088cc", None)]
    #[case(Class::EtherType, "+8cc", None)]
    #[case(Class::EtherType, "", None)]
    fn names(#[case] class: Class, #[case] name: &str, #[case] expected: Option<PacketFile>) {
        assert_eq!(class.file(name), expected);
        if let Some(file) = expected {
            assert_eq!(class.file(&file.to_string()), expected, "it is found by the name that is listed");
            assert_eq!(file.class(), Some(class));
        }
    }
}
