//! Every reason for which either daemon drops a frame or a packet. The enum is closed: each variant is a counter, a
//! trace line, a row of `l2ctl show counters` and a paragraph of `PROTOCOL.md`.

use core::fmt;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// Why a frame or a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum DropReason {
            $($(#[doc = $doc])* $variant,)*
        }

        impl DropReason {
            /// All of them, in order of declaration: `ALL[reason as usize] == reason`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in counters, traces and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence that says what happened.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

drop_reasons! {
    // Link frames, in the order in which they are checked.
    /// A link frame is shorter than its headers or its length field say.
    Truncated = "truncated",
    /// A link frame is of a protocol version that this build does not speak.
    Version = "version",
    /// A link frame is of a kind that this build does not know.
    UnknownKind = "unknown-kind",
    /// A link frame came from this device's own address: a loop on the segment.
    OwnFrame = "own-frame",
    /// A discovery or handshake frame does not carry the right keyed hash: another psk, or a forger.
    BadGate = "bad-gate",
    /// A discovery frame is of the same role as this device.
    SameRole = "same-role",
    /// A peer's security mode or data protection is not the one configured here.
    ModeMismatch = "mode-mismatch",
    /// A peer's name is in use by another live peer.
    NameInUse = "name-in-use",
    /// A device is not among the configured peers.
    UnknownPeer = "unknown-peer",
    /// A device is not under the key that is configured for its name: another key, another psk, or a forger.
    WrongKey = "wrong-key",
    /// A peer does not have this device, by its name and key, among its own peers.
    NotItsPeer = "not-its-peer",
    /// More handshakes than this device answers per second.
    HandshakeLimit = "handshake-limit",
    /// A handshake message failed its authentication or came out of turn.
    BadHandshake = "bad-handshake",
    /// A session frame names a session that this device does not have.
    UnknownSession = "unknown-session",
    /// A session frame is not protected as the configuration demands.
    NotSealed = "not-sealed",
    /// A session frame failed its authentication.
    BadSeal = "bad-seal",
    /// A session frame was received before, or is too old to tell.
    Replayed = "replayed",
    /// A frame's body breaks its definition.
    Malformed = "malformed",
    /// A segment goes beyond the credit that its reader gave.
    OverCredit = "over-credit",
    /// A message in a stream breaks its definition; the message is refused, the session goes on.
    BadMessage = "bad-message",
    /// A piece did not fit the rest of its parcel.
    BadPiece = "bad-piece",
    /// A parcel was given up because pieces of it did not arrive.
    IncompleteParcel = "incomplete-parcel",
    /// A parcel's offload header contradicts its packet.
    BadOffload = "bad-offload",
    /// A data frame names a tunnel that its sender does not own.
    UnknownTunnel = "unknown-tunnel",
    /// There is no session with the peer that the packet is for.
    NoSession = "no-session",
    /// A packet is larger than a parcel may be.
    TooLarge = "too-large",
    /// The kernel's queue of the link interface was full.
    LinkTxFull = "link-tx-full",
    /// The kernel refused a link frame.
    LinkTxError = "link-tx-error",
    /// The kernel's receive queue of the link interface overflowed.
    LinkRxOverrun = "link-rx-overrun",

    // Packets at a relay's port.
    /// A packet at a port is too short or contradicts itself.
    BadPacket = "bad-packet",
    /// A super-packet at a port is in a tunnel of a kind that cannot be cut.
    TunnelOffload = "tunnel-offload",
    /// A packet is addressed to the port and no rule matches it.
    Unmatched = "unmatched",
    /// A packet at a port is not for the port; the relay's kernel forwards or ignores it.
    NotForPort = "not-for-port",
    /// A later fragment came without its first one.
    OrphanFragment = "orphan-fragment",
    /// A packet matched, but its class, source or control had used up its rate.
    PuntLimit = "punt-limit",
    /// The port is down or gone.
    PortDown = "port-down",
    /// The kernel's queue of the port was full.
    PortTxFull = "port-tx-full",
    /// The kernel refused a packet at the port.
    PortTxError = "port-tx-error",
    /// The kernel's receive queue of the port overflowed.
    PortRxOverrun = "port-rx-overrun",

    // Packets at a control's symbol.
    /// A packet left through a symbol that has no down tunnel (yet).
    NoDownTunnel = "no-down-tunnel",
    /// A packet left through a symbol from a service that the symbol does not expose.
    NotExposed = "not-exposed",
    /// A connection was neither taken nor refused: the listener has just been closed, and another server may take it.
    Refusal = "refusal",
    /// The symbol's interface refused a packet.
    SymbolTxError = "symbol-tx-error",
    /// A packet of an address symbol is not between its virtual address and another host's.
    NotTranslated = "not-translated",
    /// A packet came for an open file whose queue was full, as its program reads too slowly.
    FileQueueFull = "file-queue-full",
    /// A packet came for a file symbol, and no open file takes it (any more).
    NoReader = "no-reader",

    // Packets that a relay is to route.
    /// A packet that the relay is to route is not from an address of its symbol's port to another host.
    NotRoutable = "not-routable",

    // Packets from relay to relay.
    /// A packet that came from another relay would leave to a relay again.
    RelayLoop = "relay-loop",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
