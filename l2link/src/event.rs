//! What a [`crate::Link`] tells its owner.

use crate::{PublicKey, Time};
use core::fmt;
use core::time::Duration;
use frames::discovery::Role;
use frames::message::{MessageType, RawMessage};
use frames::route::RoutesDigest;
use frames::session::CloseReason;
use frames::{BootId, DropReason, Mac};

/// This device's handle of a peer: the same for the same role and name as long as this process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Event {
    /// A session with fresh streams is up: the owner replays its tables.
    PeerUp {
        /// The peer.
        peer: PeerId,
        /// Its role.
        role: Role,
        /// Its name.
        name: String,
        /// Its boot id: another one than before means that it lost its memory.
        boot: BootId,
    },
    /// Contact is lost. Always comes between two [`Event::PeerUp`] of one peer.
    PeerDown {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// A message arrived, in order within its stream, exactly once.
    Message {
        /// Its sender.
        peer: PeerId,
        /// The message.
        message: ReceivedMessage,
    },
    /// A relay said what it has of this device's routes. Of several that came since the last poll only the newest is told.
    RoutesDigest {
        /// The relay.
        peer: PeerId,
        /// What it has.
        digest: RoutesDigest,
    },
    /// A device was heard with which there can be no session; at most once a minute for each device and reason.
    Refused {
        /// Its name, if it could be read.
        name: String,
        /// Its address.
        mac: Mac,
        /// Why.
        reason: DropReason,
    },
}

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Its type.
    pub kind: MessageType,
    /// What follows its header.
    pub body: Vec<u8>,
}

impl ReceivedMessage {
    /// The form that [`frames::message::Message::parse`] takes.
    #[must_use]
    pub fn raw(&self) -> RawMessage<'_> {
        RawMessage { kind: self.kind, body: &self.body }
    }
}

/// Why contact with a peer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownReason {
    /// Nothing was heard for the liveness time.
    Timeout,
    /// The peer ended the session in order.
    Closed(CloseReason),
    /// The peer began a new session: it had restarted or lost contact first.
    Replaced,
    /// Its keys could not be replaced in time.
    KeysExpired,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("silent"),
            Self::Closed(reason) => reason.fmt(f),
            Self::Replaced => f.write_str("began a new session"),
            Self::KeysExpired => f.write_str("keys expired"),
        }
    }
}

/// Whether there is a session with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// A session is up.
    Up,
    /// There was one.
    Down,
    /// Heard, and refused for this reason.
    Refused(DropReason),
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

/// A peer as `show peers` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The handle.
    pub peer: PeerId,
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Where it was heard last.
    pub mac: Mac,
    /// The key that it proved, in mode `keys`.
    pub key: Option<PublicKey>,
    /// State.
    pub state: PeerState,
    /// When the state was entered.
    pub since: Time,
    /// Smoothed round-trip time, if measured.
    pub rtt: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_in_words() {
        let states = [PeerState::Up, PeerState::Down, PeerState::Refused(DropReason::BadGate)];
        assert_eq!(states.map(|state| state.to_string()), ["up", "down", "refused: bad-gate"]);
    }
}
