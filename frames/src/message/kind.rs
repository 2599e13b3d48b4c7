//! The number space of message types.

use crate::session::Stream;
use core::fmt;

/// What a message says. A number space that may grow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u16);

macro_rules! message_types {
    ($($(#[$doc:meta])* $constant:ident = $value:literal, $stream:ident;)*) => {
        impl MessageType {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*

            /// Every type that this build handles, with its name in `PROTOCOL.md` and its stream.
            pub const ALL: &'static [(Self, &'static str, Stream)] =
                &[$((Self::$constant, stringify!($constant), Stream::$stream),)*];
        }
    };
}

message_types! {
    /// Control to relay: "I want a symbol of this port" (M3).
    PORT_REQUEST = 0x0001, Events;
    /// Relay to control: granted with attributes, or refused (M3).
    PORT_REPLY = 0x0002, Events;
    /// Relay to control: a granted port changed, appeared or vanished.
    PORT_UPDATE = 0x0003, Events;
    /// Control to relay: the symbol is gone.
    PORT_RELEASE = 0x0004, Events;
    /// Control to relay: "allot me a down tunnel" (M4).
    TUNNEL_REQUEST = 0x0010, Rules;
    /// Relay to control: the down tunnel's id (M4).
    TUNNEL_REPLY = 0x0011, Rules;
    /// Control to relay: the transfer request: send me these packets through this up tunnel (M5).
    RULE_ADD = 0x0020, Rules;
    /// Relay to control: the rule is in force, or refused (M5).
    RULE_REPLY = 0x0021, Rules;
    /// Control to relay: the socket closed, delete the rule (M6).
    RULE_DELETE = 0x0022, Rules;
    /// Relay to control: the rule is gone, its up tunnel may be used again (M6).
    RULE_DELETED = 0x0023, Rules;
    /// Control to relay: all rules and memberships that I own have been sent; sweep the others.
    RULES_END = 0x0024, Rules;
    /// Control to relay: a program joined a multicast group, or listens to one more unicast address.
    MEMBERSHIP_ADD = 0x0030, Rules;
    /// Control to relay: it left.
    MEMBERSHIP_DELETE = 0x0031, Rules;
    /// Either way: what an operator should know.
    NOTICE = 0x0040, Events;
}

impl MessageType {
    /// The type's name in `PROTOCOL.md`, if this build handles it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map(|(_, name, _)| *name)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "message {:#06x}", self.0),
        }
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
