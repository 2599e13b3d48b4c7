//! [`Node`]: the files and directories of all file symbols, `MOUNT/RELAY/PORT/…`.
//!
//! # Theory of operation
//!
//! A node is its number: everything that has to be known of it is in its bits, so nothing is remembered of what the kernel looked
//! up, and a number that it has kept means the same forever.
//!
//! ```text
//!  63 62    56 55                              24 23             0
//! +--+--------+----------------------------------+----------------+
//! |P | kind   | symbol, or place of the relay    | number         |
//! +--+--------+----------------------------------+----------------+
//! ```
//! P: a file of packets ([`PACKETS`]).

use super::name::{Class, PacketFile};
use crate::Control;
use crate::relay::RelayId;
use crate::symbol::Symbol;
use frames::SymbolId;

/// A file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The mount point.
    Root,
    /// `RELAY`, by its place.
    Relay(u32),
    /// `RELAY/PORT`: a symbol.
    Port(SymbolId),
    /// `RELAY/PORT/tcp` and the like.
    Class(SymbolId, Class),
    /// `RELAY/PORT/attributes` and the like.
    Text(SymbolId, Text),
    /// A file of packets.
    Packets(SymbolId, PacketFile),
}

/// A file that tells about the symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// What the port is like, in JSON.
    Attributes,
    /// A name and a value in each line.
    Counters,
    /// The symbol's rules, in JSON.
    Rules,
}

/// Whose a node is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ownership {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits of files.
    pub mode: u16,
}

/// Bit of the numbers of files of packets.
pub const PACKETS: u64 = 1 << 63;

impl Text {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Attributes, Self::Counters, Self::Rules];

    /// The file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attributes => "attributes",
            Self::Counters => "counters",
            Self::Rules => "rules",
        }
    }
}

impl Node {
    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        let number =
            |kind: u64, owner: u32, number: u32| kind << 56 | u64::from(owner) << 24 | u64::from(number);
        match self {
            Self::Root => 1,
            Self::Relay(place) => number(1, place, 0),
            Self::Port(symbol) => number(2, symbol.0, 0),
            Self::Class(symbol, class) => number(3, symbol.0, class as u32),
            Self::Text(symbol, text) => number(4, symbol.0, text as u32),
            Self::Packets(symbol, file) => {
                let (kind, which) = match file {
                    PacketFile::Packets => (5, 0),
                    PacketFile::Pcap => (6, 0),
                    PacketFile::Tcp(port) => (7, port.into()),
                    PacketFile::Udp(port) => (8, port.into()),
                    PacketFile::Ip(protocol) => (9, protocol.into()),
                    PacketFile::EtherType(ethertype) => (10, ethertype.into()),
                };
                PACKETS | number(kind, symbol.0, which)
            }
        }
    }

    /// The node of a number that [`Node::number`] gave.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        if number == 1 {
            return Some(Self::Root);
        }
        let owner = u32::try_from(number >> 24 & 0xffff_ffff).ok()?;
        let which = u16::try_from(number & 0x00ff_ffff).ok()?;
        let symbol = SymbolId(owner);
        let node = match number >> 56 & 0x7f {
            1 => Self::Relay(owner),
            2 => Self::Port(symbol),
            3 => Self::Class(symbol, *Class::ALL.get(usize::from(which))?),
            4 => Self::Text(symbol, *Text::ALL.get(usize::from(which))?),
            5 => Self::Packets(symbol, PacketFile::Packets),
            6 => Self::Packets(symbol, PacketFile::Pcap),
            7 => Self::Packets(symbol, PacketFile::Tcp(which)),
            8 => Self::Packets(symbol, PacketFile::Udp(which)),
            9 => Self::Packets(symbol, PacketFile::Ip(u8::try_from(which).ok()?)),
            10 => Self::Packets(symbol, PacketFile::EtherType(which)),
            _ => return None,
        };
        (node.number() == number).then_some(node)
    }

    /// Whether it is a directory.
    #[must_use]
    pub const fn is_directory(self) -> bool {
        match self {
            Self::Root | Self::Relay(_) | Self::Port(_) | Self::Class(..) => true,
            Self::Text(..) | Self::Packets(..) => false,
        }
    }

    /// Permission bits, if those of the symbol's files are to be `mode`: who may read a file may enter its directory, and nobody
    /// writes what can only be read.
    #[must_use]
    pub const fn mode(self, mode: u16) -> u16 {
        let read = mode & 0o444;
        match self {
            Self::Root | Self::Relay(_) => 0o555,
            Self::Port(_) | Self::Class(..) => read | read >> 2,
            Self::Text(..) | Self::Packets(_, PacketFile::Pcap) => read,
            Self::Packets(..) => mode,
        }
    }

    fn symbol(self) -> Option<SymbolId> {
        match self {
            Self::Root | Self::Relay(_) => None,
            Self::Port(symbol)
            | Self::Class(symbol, _)
            | Self::Text(symbol, _)
            | Self::Packets(symbol, _) => Some(symbol),
        }
    }
}

impl Control {
    /// Whose a node is and its permission bits; `None` if it is not there.
    #[must_use]
    pub fn file_ownership(&self, node: Node) -> Option<Ownership> {
        let relay = |place: u32| self.file_symbols().any(|symbol| is_place(symbol.relay, place));
        match node.symbol() {
            None if matches!(node, Node::Relay(place) if !relay(place)) => None,
            None => Some(Ownership { uid: 0, gid: 0, mode: node.mode(0) }),
            Some(symbol) => {
                let owner = self.symbol(symbol)?.config.files?;
                Some(Ownership { mode: node.mode(owner.mode), ..owner })
            }
        }
    }

    /// The node of this name in a directory. One that is opened to make a rule is always there, listed or not.
    #[must_use]
    pub fn file_named(&self, directory: Node, name: &str) -> Option<Node> {
        match directory {
            Node::Class(symbol, class) => {
                self.file_ownership(directory)?;
                Some(Node::Packets(symbol, class.file(name)?))
            }
            Node::Root | Node::Relay(_) | Node::Port(_) | Node::Text(..) | Node::Packets(..) => {
                let found = self.files_in(directory).into_iter().find(|(known, _)| known == name);
                found.map(|(_, node)| node)
            }
        }
    }

    /// What a directory lists; of the files that are there when they are opened, those that are open.
    #[must_use]
    pub fn files_in(&self, directory: Node) -> Vec<(String, Node)> {
        match directory {
            Node::Root => {
                let mut relays: Vec<_> = self.file_symbols().map(|symbol| symbol.relay).collect();
                relays.sort_unstable();
                relays.dedup();
                let named = |relay: RelayId| {
                    Some((self.relays.get(relay.0)?.name.clone(), Node::Relay(u32::try_from(relay.0).ok()?)))
                };
                relays.into_iter().filter_map(named).collect()
            }
            Node::Relay(place) => {
                let here = self.file_symbols().filter(|symbol| is_place(symbol.relay, place));
                here.map(|symbol| (symbol.config.port.clone(), Node::Port(symbol.id))).collect()
            }
            Node::Port(symbol) if self.file_ownership(directory).is_some() => {
                let texts = Text::ALL.map(|text| (text.name().to_owned(), Node::Text(symbol, text)));
                let files = [PacketFile::Packets, PacketFile::Pcap];
                let files = files.map(|file| (file.to_string(), Node::Packets(symbol, file)));
                let classes = Class::ALL.map(|class| (class.name().to_owned(), Node::Class(symbol, class)));
                texts.into_iter().chain(files).chain(classes).collect()
            }
            Node::Class(symbol, class) => {
                let open = self.files.open_in(symbol).filter(|file| file.class() == Some(class));
                open.map(|file| (file.to_string(), Node::Packets(symbol, file))).collect()
            }
            Node::Port(_) | Node::Text(..) | Node::Packets(..) => Vec::new(),
        }
    }

    fn file_symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.config.files.is_some())
    }
}

fn is_place(relay: RelayId, place: u32) -> bool {
    usize::try_from(place).is_ok_and(|place| place == relay.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_node_has_its_number() {
        let symbol = SymbolId(u32::MAX);
        let files = [
            PacketFile::Packets,
            PacketFile::Pcap,
            PacketFile::Tcp(65_535),
            PacketFile::Udp(1),
            PacketFile::Ip(254),
            PacketFile::EtherType(0xffff),
        ];
        let others = [Node::Root, Node::Relay(0), Node::Relay(7), Node::Port(symbol)];
        let nodes: Vec<Node> = others
            .into_iter()
            .chain(Class::ALL.map(|class| Node::Class(symbol, class)))
            .chain(Text::ALL.map(|text| Node::Text(symbol, text)))
            .chain(files.map(|file| Node::Packets(symbol, file)))
            .collect();
        for node in &nodes {
            assert_eq!(Node::of(node.number()), Some(*node));
            assert_eq!(node.number() & PACKETS != 0, matches!(node, Node::Packets(..)), "{node:?}");
        }
        let numbers: std::collections::BTreeSet<u64> = nodes.iter().map(|node| node.number()).collect();
        assert_eq!(numbers.len(), nodes.len());
    }

    #[test]
    fn modes_follow_the_configured_one() {
        let symbol = SymbolId(1);
        let mode = |node: Node| node.mode(0o640);
        assert_eq!(mode(Node::Packets(symbol, PacketFile::Tcp(80))), 0o640);
        assert_eq!(mode(Node::Packets(symbol, PacketFile::Pcap)), 0o440);
        assert_eq!(mode(Node::Text(symbol, Text::Rules)), 0o440);
        assert_eq!(mode(Node::Class(symbol, Class::Tcp)), 0o550);
        assert_eq!(mode(Node::Root), 0o555);
    }

    proptest! {
        #[test]
        fn any_number_is_one_node_or_none(number: u64) {
            if let Some(node) = Node::of(number) {
                prop_assert_eq!(node.number(), number);
            }
        }
    }
}
