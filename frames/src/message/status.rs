//! The number space of statuses.

use core::fmt;

/// How a request ended. A number space that may grow: unknown values are refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($(#[$doc:meta])* $constant:ident = $value:literal, $text:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*

            /// Every status that this build knows, with its name in `PROTOCOL.md`.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$constant, stringify!($constant)),)*];
        }

        impl fmt::Display for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$constant => f.write_str($text),)*
                    Self(other) => write!(f, "status {other}"),
                }
            }
        }
    };
}

statuses! {
    /// Done.
    OK = 0, "ok";
    /// The relay has no port of that name, or it is not offered.
    NO_SUCH_PORT = 1, "no such port";
    /// The interface permission list does not allow it.
    NOT_PERMITTED = 2, "not permitted";
    /// The relay keeps this service for itself (`relay_services`).
    RESERVED = 3, "reserved for the relay";
    /// A table is full.
    TABLE_FULL = 4, "table full";
    /// Another control or the relay itself holds it, and the port's policy does not share.
    CONFLICT = 5, "conflict";
    /// The request contradicts itself or names something that the sender does not own.
    BAD_REQUEST = 6, "bad request";
    /// This build does not do it.
    UNSUPPORTED = 7, "unsupported";
    /// The relay's kernel refused.
    SYSTEM = 8, "refused by the kernel";
    /// The relay's port does not have that address.
    NO_SUCH_ADDRESS = 9, "no such address";
}
