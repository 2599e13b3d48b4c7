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
    /// Control to relay: the addresses that the port is to have besides the relay's own.
    PORT_ADDRESSES = 0x0005, Events;
    /// Relay to control: the port has such an address, or why not.
    ADDRESS_REPLY = 0x0006, Events;
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
    /// Control to relay: this route is in my table (M12).
    ROUTE_ADD = 0x0050, Routes;
    /// Control to relay: it is no more.
    ROUTE_DELETE = 0x0051, Routes;
    /// Relay to control: the route is not in my kernel's table, or is after all.
    ROUTE_REPLY = 0x0052, Routes;
    /// Relay to control: all route messages up to this one have been dealt with.
    ROUTES_DONE = 0x0053, Routes;
    /// Control to relay: this part of my table comes anew.
    ROUTES_BEGIN = 0x0054, Routes;
    /// Control to relay: this part of my table has been sent; sweep what else you have of it.
    ROUTES_END = 0x0055, Routes;
    /// Control to relay: "what do you have of this part of my table?"
    ROUTES_DIGEST_REQUEST = 0x0056, Routes;
    /// Relay to control: the digests of its sixteen parts.
    ROUTES_DIGEST_REPLY = 0x0057, Routes;
    /// Control to relay: these two addresses stand for each other (M9).
    TRANSLATION_REQUEST = 0x0060, Rules;
    /// Relay to control: they do, or not (M9).
    TRANSLATION_REPLY = 0x0061, Rules;
    /// Control to relay: the transfer request of an address symbol (M9).
    TRANSLATED_RULE_ADD = 0x0062, Rules;
    /// Relay to control: "which flows of this listener are there?" (M10)
    FLOWS_REQUEST = 0x0070, Rules;
    /// Control to relay: these.
    FLOWS = 0x0071, Rules;
    /// Control to relay: this symbol of mine is a port of that relay; send it what leaves by it (M15).
    RELAY_INTRODUCE = 0x0080, Routes;
    /// Control to relay: nothing leaves by it any more.
    RELAY_DISMISS = 0x0081, Routes;
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
