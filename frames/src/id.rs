//! The identifiers of the protocol, each a type of its own.

use core::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($int:ty) $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// A relay's port, allotted by the relay, constant while that relay process lives. Zero is never allotted.
    PortId(u32) "port ";
    /// A control's symbol, allotted by the control, constant while that control process lives.
    SymbolId(u32) "symbol ";
    /// A tunnel from relay to control, one per rule, allotted by the control. Zero is never allotted.
    UpTunnel(u32) "up ";
    /// A tunnel from control to relay, one per symbol, allotted by the relay. Zero is never allotted.
    DownTunnel(u32) "down ";
    /// Pairs a reply with its request, per sender.
    RequestId(u32) "request ";
    /// The receiver's name for a session, in every frame after the first; allotted by the receiver. Zero: no session.
    SessionIndex(u32) "session ";
}

/// Random number drawn by a daemon when it starts: a peer with another boot id has lost its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootId(pub u64);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
