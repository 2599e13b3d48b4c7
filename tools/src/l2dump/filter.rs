//! [`Filter`]: which frames are of interest.

use crate::decode::Report;
use frames::Mac;
use frames::header::Kind;
use frames::message::MessageType;
use std::collections::BTreeMap;
use std::str::FromStr;

/// A device, by its address or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    Mac(Mac),
    Name(String),
}

impl FromStr for Peer {
    type Err = core::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Mac))
    }
}

/// A kind by its name.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    found.map(|(kind, _)| *kind).ok_or_else(|| one_of(Kind::ALL.iter().map(|(_, name)| *name)))
}

/// A message type by its name.
pub(crate) fn message(text: &str) -> Result<MessageType, String> {
    let found = MessageType::ALL.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(kind, ..)| *kind).ok_or_else(|| one_of(MessageType::ALL.iter().map(|(_, name, _)| *name)))
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("it is one of {}", names.collect::<Vec<_>>().join(", "))
}

/// What a frame must have: one of the peers, of the kinds, and of the messages. No list, no condition.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    peers: &'a [Peer],
    kinds: &'a [Kind],
    messages: &'a [MessageType],
}

impl<'a> Filter<'a> {
    pub(crate) fn new(peers: &'a [Peer], kinds: &'a [Kind], messages: &'a [MessageType]) -> Self {
        Self { peers, kinds, messages }
    }

    /// `names` are those of devices that have said hello.
    pub(crate) fn passes(&self, report: &Report, names: &BTreeMap<Mac, String>) -> bool {
        let ends = [report.source, report.destination];
        let is_end = |peer: &Peer| match peer {
            Peer::Mac(mac) => ends.contains(&Some(*mac)),
            Peer::Name(name) => ends.iter().flatten().any(|mac| names.get(mac) == Some(name)),
        };
        (self.peers.is_empty() || self.peers.iter().any(is_end))
            && (self.kinds.is_empty() || report.kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && (self.messages.is_empty() || report.messages.iter().any(|kind| self.messages.contains(kind)))
    }
}
