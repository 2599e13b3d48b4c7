//! The control messages that travel in the reliable streams.
//!
//! Every message begins with a [`MessageHeader`]; a fixed part and TLVs follow. A receiver skips messages of unknown
//! type by their length. One bad message is refused by itself and never ends the session.

use crate::discovery::NAME_MAX;
use crate::protocol_address::{ProtocolAddressWire, address, octets};
use crate::session::Stream;
use crate::tlv::{self, Tlvs};
use crate::{BufferTooSmall, DownTunnel, Mac, ParseError, PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use bitflags::bitflags;
use core::fmt;
use core::net::IpAddr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Longest message in bytes, header included: what a receiver must be ready to hold.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Longest text for a human, in bytes of UTF-8.
pub const TEXT_MAX: usize = 400;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |             type              |           reserved            |
/// +-------------------------------+-------------------------------+
/// |                            length                             |
/// +---------------------------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MessageHeader {
    /// [`MessageType`].
    pub kind: U16,
    reserved: U16,
    /// Bytes behind this header.
    pub length: U32,
}
const _: () = assert!(size_of::<MessageHeader>() == 8);

impl MessageHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();
}

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

/// How a request ended. A number space that may grow: unknown values are refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Status(pub u16);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// The relay has no port of that name, or it is not offered.
    pub const NO_SUCH_PORT: Self = Self(1);
    /// The interface permission list does not allow it.
    pub const NOT_PERMITTED: Self = Self(2);
    /// The relay keeps this service for itself (`relay_services`).
    pub const RESERVED: Self = Self(3);
    /// A table is full.
    pub const TABLE_FULL: Self = Self(4);
    /// Another control holds it and the port's policy does not share.
    pub const CONFLICT: Self = Self(5);
    /// The request contradicts itself or names something that the sender does not own.
    pub const BAD_REQUEST: Self = Self(6);
    /// This build does not do it.
    pub const UNSUPPORTED: Self = Self(7);
    /// The relay's kernel refused.
    pub const SYSTEM: Self = Self(8);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OK => f.write_str("ok"),
            Self::NO_SUCH_PORT => f.write_str("no such port"),
            Self::NOT_PERMITTED => f.write_str("not permitted"),
            Self::RESERVED => f.write_str("reserved for the relay"),
            Self::TABLE_FULL => f.write_str("table full"),
            Self::CONFLICT => f.write_str("conflict"),
            Self::BAD_REQUEST => f.write_str("bad request"),
            Self::UNSUPPORTED => f.write_str("unsupported"),
            Self::SYSTEM => f.write_str("refused by the kernel"),
            Self(other) => write!(f, "status {other}"),
        }
    }
}

/// State bits of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PortFlags(u32);

bitflags! {
    impl PortFlags: u32 {
        /// The interface exists on the relay.
        const PRESENT = 0x1;
        /// It is administratively up (`IFF_UP`).
        const UP = 0x2;
        /// It has carrier (`IFF_LOWER_UP`).
        const CARRIER = 0x4;
        const _ = !0;
    }
}

/// One address of a port with its prefix length.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                        address (128)                          |
/// |                                                               |
/// |                                                               |
/// +---------------+-----------------------------------------------+
/// | prefix length |                   reserved                    |
/// +---------------+-----------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PortAddress {
    address: [u8; 16],
    prefix_length: u8,
    reserved: [u8; 3],
}
const _: () = assert!(size_of::<PortAddress>() == 20);

impl PortAddress {
    /// An address with its prefix length in bits of its own version: 0 to 32, or 0 to 128.
    #[must_use]
    pub fn new(address: IpAddr, prefix_length: u8) -> Self {
        Self { address: octets(address), prefix_length, reserved: [0; 3] }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.address)
    }

    /// Its prefix length in bits.
    #[must_use]
    pub fn prefix_length(&self) -> u8 {
        self.prefix_length
    }
}

/// ```text
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |  TLVs: NAME (of the port)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest<'a> {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port's interface name on the relay.
    pub name: &'a str,
}

/// What a control needs to know of a port to build its symbol (M3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortAttributes<'a> {
    /// Rises with every change of the attributes; an older one is ignored.
    pub generation: u32,
    /// State.
    pub flags: PortFlags,
    /// Largest packet in bytes, Ethernet header excluded.
    pub mtu: u32,
    /// Speed in Mb/s, zero if unknown.
    pub speed: u32,
    /// Ethernet address.
    pub mac: Mac,
    /// Interface name.
    pub name: &'a str,
    /// Addresses in the relay's order.
    pub addresses: &'a [PortAddress],
}

/// Answer to [`PortRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortReply<'a> {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub symbol: SymbolId,
    /// Granted or refused, and why.
    pub status: Status,
    /// The port; zero if refused.
    pub port: PortId,
    /// For a human, when refused.
    pub text: &'a str,
    /// Present if granted.
    pub attributes: Option<PortAttributes<'a>>,
}

/// A granted port changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortUpdate<'a> {
    /// The port.
    pub port: PortId,
    /// Its attributes now. Without [`PortFlags::PRESENT`] the interface is gone for the time being.
    pub attributes: PortAttributes<'a>,
}

/// The control gives a port back; its rules and tunnels go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRelease {
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port.
    pub port: PortId,
}

/// Asks for a down tunnel (fig. 8). The patent's "control address" is the session's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelRequest {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port.
    pub port: PortId,
}

/// Answer to [`TunnelRequest`] (fig. 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelReply {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub symbol: SymbolId,
    /// The request's.
    pub port: PortId,
    /// The tunnel allotted; zero if refused.
    pub tunnel: DownTunnel,
    /// Granted or refused.
    pub status: Status,
}

/// The transfer request (fig. 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleAdd {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port.
    pub port: PortId,
    /// The tunnel that the sender allotted.
    pub tunnel: UpTunnel,
    /// Share of new flows among several controls with the same rule, 1 to 65,535; 0 means draining: no new flow.
    pub weight: u16,
    /// Which packets.
    pub protocol_address: ProtocolAddress,
}

/// Answer to [`RuleAdd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleReply<'a> {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub tunnel: UpTunnel,
    /// In force or refused.
    pub status: Status,
    /// For a human, when refused.
    pub text: &'a str,
}

/// Deletes a rule, or confirms that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleDelete {
    /// Pairs the answer.
    pub request: RequestId,
    /// The rule's tunnel.
    pub tunnel: UpTunnel,
}

/// A group address, or one more unicast address, that the port's interface must accept for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// An IP multicast group: the relay joins it, so that switches and routers learn of it.
    Ip(IpAddr),
    /// An Ethernet address: the interface accepts it.
    Ethernet(Mac),
}

/// A program joined or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The port.
    pub port: PortId,
    /// The group.
    pub group: Group,
}

/// What an operator should know; shown and logged, never acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice<'a> {
    /// What kind of trouble.
    pub status: Status,
    /// The text, at most [`TEXT_MAX`] bytes.
    pub text: &'a str,
}

/// Any message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// `PORT_REQUEST`
    PortRequest(PortRequest<'a>),
    /// `PORT_REPLY`
    PortReply(PortReply<'a>),
    /// `PORT_UPDATE`
    PortUpdate(PortUpdate<'a>),
    /// `PORT_RELEASE`
    PortRelease(PortRelease),
    /// `TUNNEL_REQUEST`
    TunnelRequest(TunnelRequest),
    /// `TUNNEL_REPLY`
    TunnelReply(TunnelReply),
    /// `RULE_ADD`
    RuleAdd(RuleAdd),
    /// `RULE_REPLY`
    RuleReply(RuleReply<'a>),
    /// `RULE_DELETE`
    RuleDelete(RuleDelete),
    /// `RULE_DELETED`
    RuleDeleted(RuleDelete),
    /// `RULES_END`
    RulesEnd,
    /// `MEMBERSHIP_ADD`
    MembershipAdd(Membership),
    /// `MEMBERSHIP_DELETE`
    MembershipDelete(Membership),
    /// `NOTICE`
    Notice(Notice<'a>),
}

/// A whole message found at the front of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// Its type.
    pub kind: MessageType,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> RawMessage<'a> {
    /// Finds the message at the front of `bytes`: `Ok(None)` while it is incomplete, else the message and the bytes
    /// behind it.
    ///
    /// # Errors
    /// [`ParseError::Value`] if its length exceeds [`MESSAGE_MAX`]: the stream cannot be followed any further.
    pub fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ParseError> {
        let Ok((header, rest)) = MessageHeader::ref_from_prefix(bytes) else { return Ok(None) };
        let length = header.length.get() as usize;
        if length > MESSAGE_MAX.saturating_sub(MessageHeader::LEN) {
            return Err(ParseError::Value { field: "length", value: length as u64 });
        }
        Ok(rest
            .split_at_checked(length)
            .map(|(body, rest)| (Self { kind: MessageType(header.kind.get()), body }, rest)))
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortRequestWire {
    request: U32,
    symbol: U32,
}
const _: () = assert!(size_of::<PortRequestWire>() == 8);

/// ```text
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  if status is 0: attributes; TLVs: TEXT, NAME, ADDRESSES
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortReplyWire {
    request: U32,
    symbol: U32,
    port: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<PortReplyWire>() == 16);

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                          generation                           |
/// +---------------------------------------------------------------+
/// |                             flags                             |
/// +---------------------------------------------------------------+
/// |                              mtu                              |
/// +---------------------------------------------------------------+
/// |                             speed                             |
/// +---------------------------------------------------------------+
/// |                           mac (48)                            |
/// |                               +-------------------------------+
/// |                               |           reserved            |
/// +-------------------------------+-------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AttributesWire {
    generation: U32,
    flags: U32,
    mtu: U32,
    speed: U32,
    mac: Mac,
    reserved: U16,
}
const _: () = assert!(size_of::<AttributesWire>() == 24);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortUpdateWire {
    port: U32,
}
const _: () = assert!(size_of::<PortUpdateWire>() == 4);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortReleaseWire {
    symbol: U32,
    port: U32,
}
const _: () = assert!(size_of::<PortReleaseWire>() == 8);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TunnelRequestWire {
    request: U32,
    symbol: U32,
    port: U32,
}
const _: () = assert!(size_of::<TunnelRequestWire>() == 12);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TunnelReplyWire {
    request: U32,
    symbol: U32,
    port: U32,
    tunnel: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<TunnelReplyWire>() == 20);

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------------------------------------------------------+
/// |                           up tunnel                           |
/// +-------------------------------+-------------------------------+
/// |            weight             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  protocol address (40 bytes)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RuleAddWire {
    request: U32,
    symbol: U32,
    port: U32,
    tunnel: U32,
    weight: U16,
    reserved: U16,
    protocol_address: ProtocolAddressWire,
}
const _: () = assert!(size_of::<RuleAddWire>() == 60);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RuleReplyWire {
    request: U32,
    tunnel: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<RuleReplyWire>() == 12);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RuleDeleteWire {
    request: U32,
    tunnel: U32,
}
const _: () = assert!(size_of::<RuleDeleteWire>() == 8);

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------+-----------------------------------------------+
/// |     class     |                   reserved                    |
/// +---------------+-----------------------------------------------+
/// |                                                               |
/// |     group (128): an IP address, or 48 bits of Ethernet        |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MembershipWire {
    port: U32,
    class: u8,
    reserved: [u8; 3],
    group: [u8; 16],
}
const _: () = assert!(size_of::<MembershipWire>() == 24);

const GROUP_IP: u8 = 1;
const GROUP_ETHERNET: u8 = 2;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NoticeWire {
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<NoticeWire>() == 4);

impl<'a> Message<'a> {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> MessageType {
        match self {
            Self::PortRequest(_) => MessageType::PORT_REQUEST,
            Self::PortReply(_) => MessageType::PORT_REPLY,
            Self::PortUpdate(_) => MessageType::PORT_UPDATE,
            Self::PortRelease(_) => MessageType::PORT_RELEASE,
            Self::TunnelRequest(_) => MessageType::TUNNEL_REQUEST,
            Self::TunnelReply(_) => MessageType::TUNNEL_REPLY,
            Self::RuleAdd(_) => MessageType::RULE_ADD,
            Self::RuleReply(_) => MessageType::RULE_REPLY,
            Self::RuleDelete(_) => MessageType::RULE_DELETE,
            Self::RuleDeleted(_) => MessageType::RULE_DELETED,
            Self::RulesEnd => MessageType::RULES_END,
            Self::MembershipAdd(_) => MessageType::MEMBERSHIP_ADD,
            Self::MembershipDelete(_) => MessageType::MEMBERSHIP_DELETE,
            Self::Notice(_) => MessageType::NOTICE,
        }
    }

    /// The stream that it travels in.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        match self {
            Self::PortRequest(_)
            | Self::PortReply(_)
            | Self::PortUpdate(_)
            | Self::PortRelease(_)
            | Self::Notice(_) => Stream::Events,
            Self::TunnelRequest(_)
            | Self::TunnelReply(_)
            | Self::RuleAdd(_)
            | Self::RuleReply(_)
            | Self::RuleDelete(_)
            | Self::RuleDeleted(_)
            | Self::RulesEnd
            | Self::MembershipAdd(_)
            | Self::MembershipDelete(_) => Stream::Rules,
        }
    }

    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`ParseError::MessageType`] for an unknown type, others for a body that breaks its definition.
    pub fn parse(raw: &RawMessage<'a>) -> Result<Self, ParseError> {
        let body = raw.body;
        Ok(match raw.kind {
            MessageType::PORT_REQUEST => {
                let (wire, rest) = tlv::fixed::<PortRequestWire>(body)?;
                let extras = Extras::parse(rest)?;
                Self::PortRequest(PortRequest {
                    request: RequestId(wire.request.get()),
                    symbol: SymbolId(wire.symbol.get()),
                    name: extras.name()?,
                })
            }
            MessageType::PORT_REPLY => {
                let (wire, rest) = tlv::fixed::<PortReplyWire>(body)?;
                let status = Status(wire.status.get());
                let (attributes, text) = if status == Status::OK {
                    let (attributes, extras) = parse_attributes(rest)?;
                    (Some(attributes), extras.text)
                } else {
                    (None, Extras::parse(rest)?.text)
                };
                Self::PortReply(PortReply {
                    request: RequestId(wire.request.get()),
                    symbol: SymbolId(wire.symbol.get()),
                    status,
                    port: PortId(wire.port.get()),
                    text: text.unwrap_or(""),
                    attributes,
                })
            }
            MessageType::PORT_UPDATE => {
                let (wire, rest) = tlv::fixed::<PortUpdateWire>(body)?;
                let (attributes, _) = parse_attributes(rest)?;
                Self::PortUpdate(PortUpdate { port: PortId(wire.port.get()), attributes })
            }
            MessageType::PORT_RELEASE => {
                let wire = only::<PortReleaseWire>(body)?;
                Self::PortRelease(PortRelease {
                    symbol: SymbolId(wire.symbol.get()),
                    port: PortId(wire.port.get()),
                })
            }
            MessageType::TUNNEL_REQUEST => {
                let wire = only::<TunnelRequestWire>(body)?;
                Self::TunnelRequest(TunnelRequest {
                    request: RequestId(wire.request.get()),
                    symbol: SymbolId(wire.symbol.get()),
                    port: PortId(wire.port.get()),
                })
            }
            MessageType::TUNNEL_REPLY => {
                let wire = only::<TunnelReplyWire>(body)?;
                Self::TunnelReply(TunnelReply {
                    request: RequestId(wire.request.get()),
                    symbol: SymbolId(wire.symbol.get()),
                    port: PortId(wire.port.get()),
                    tunnel: DownTunnel(wire.tunnel.get()),
                    status: Status(wire.status.get()),
                })
            }
            MessageType::RULE_ADD => {
                let wire = only::<RuleAddWire>(body)?;
                Self::RuleAdd(RuleAdd {
                    request: RequestId(wire.request.get()),
                    symbol: SymbolId(wire.symbol.get()),
                    port: PortId(wire.port.get()),
                    tunnel: UpTunnel(nonzero("up tunnel", wire.tunnel.get())?),
                    weight: wire.weight.get(),
                    protocol_address: ProtocolAddress::from_wire(&wire.protocol_address)?,
                })
            }
            MessageType::RULE_REPLY => {
                let (wire, rest) = tlv::fixed::<RuleReplyWire>(body)?;
                Self::RuleReply(RuleReply {
                    request: RequestId(wire.request.get()),
                    tunnel: UpTunnel(wire.tunnel.get()),
                    status: Status(wire.status.get()),
                    text: Extras::parse(rest)?.text.unwrap_or(""),
                })
            }
            MessageType::RULE_DELETE => Self::RuleDelete(parse_rule_delete(body)?),
            MessageType::RULE_DELETED => Self::RuleDeleted(parse_rule_delete(body)?),
            MessageType::RULES_END => {
                Extras::parse(body)?;
                Self::RulesEnd
            }
            MessageType::MEMBERSHIP_ADD => Self::MembershipAdd(parse_membership(body)?),
            MessageType::MEMBERSHIP_DELETE => Self::MembershipDelete(parse_membership(body)?),
            MessageType::NOTICE => {
                let (wire, rest) = tlv::fixed::<NoticeWire>(body)?;
                Self::Notice(Notice {
                    status: Status(wire.status.get()),
                    text: Extras::parse(rest)?.text.unwrap_or(""),
                })
            }
            MessageType(other) => return Err(ParseError::MessageType(other)),
        })
    }

    /// Writes the whole message, header first, to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`]; [`MESSAGE_MAX`] bytes are enough for every message.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let have = buffer.len();
        let (head, body) = buffer
            .split_at_mut_checked(MessageHeader::LEN)
            .ok_or(BufferTooSmall { need: MessageHeader::LEN, have })?;
        let mut writer = tlv::Writer::new(body);
        self.emit_body(&mut writer)?;
        let length = writer.len();
        let header = MessageHeader {
            kind: U16::new(self.kind().0),
            reserved: U16::ZERO,
            length: U32::new(u32::try_from(length).unwrap_or(u32::MAX)),
        };
        tlv::Writer::new(head).fixed(&header)?;
        Ok(length.saturating_add(MessageHeader::LEN))
    }

    fn emit_body(&self, writer: &mut tlv::Writer<'_>) -> Result<(), BufferTooSmall> {
        match self {
            Self::PortRequest(message) => {
                writer.fixed(&PortRequestWire {
                    request: U32::new(message.request.0),
                    symbol: U32::new(message.symbol.0),
                })?;
                writer.tlv(tlv::NAME, message.name.as_bytes())
            }
            Self::PortReply(message) => {
                writer.fixed(&PortReplyWire {
                    request: U32::new(message.request.0),
                    symbol: U32::new(message.symbol.0),
                    port: U32::new(message.port.0),
                    status: U16::new(message.status.0),
                    reserved: U16::ZERO,
                })?;
                if let Some(attributes) = &message.attributes {
                    emit_attributes(writer, attributes)?;
                }
                emit_text(writer, message.text)
            }
            Self::PortUpdate(message) => {
                writer.fixed(&PortUpdateWire { port: U32::new(message.port.0) })?;
                emit_attributes(writer, &message.attributes)
            }
            Self::PortRelease(message) => writer.fixed(&PortReleaseWire {
                symbol: U32::new(message.symbol.0),
                port: U32::new(message.port.0),
            }),
            Self::TunnelRequest(message) => writer.fixed(&TunnelRequestWire {
                request: U32::new(message.request.0),
                symbol: U32::new(message.symbol.0),
                port: U32::new(message.port.0),
            }),
            Self::TunnelReply(message) => writer.fixed(&TunnelReplyWire {
                request: U32::new(message.request.0),
                symbol: U32::new(message.symbol.0),
                port: U32::new(message.port.0),
                tunnel: U32::new(message.tunnel.0),
                status: U16::new(message.status.0),
                reserved: U16::ZERO,
            }),
            Self::RuleAdd(message) => writer.fixed(&RuleAddWire {
                request: U32::new(message.request.0),
                symbol: U32::new(message.symbol.0),
                port: U32::new(message.port.0),
                tunnel: U32::new(message.tunnel.0),
                weight: U16::new(message.weight),
                reserved: U16::ZERO,
                protocol_address: message.protocol_address.to_wire(),
            }),
            Self::RuleReply(message) => {
                writer.fixed(&RuleReplyWire {
                    request: U32::new(message.request.0),
                    tunnel: U32::new(message.tunnel.0),
                    status: U16::new(message.status.0),
                    reserved: U16::ZERO,
                })?;
                emit_text(writer, message.text)
            }
            Self::RuleDelete(message) | Self::RuleDeleted(message) => writer.fixed(&RuleDeleteWire {
                request: U32::new(message.request.0),
                tunnel: U32::new(message.tunnel.0),
            }),
            Self::RulesEnd => Ok(()),
            Self::MembershipAdd(message) | Self::MembershipDelete(message) => {
                let (class, group) = match message.group {
                    Group::Ip(address) => (GROUP_IP, octets(address)),
                    Group::Ethernet(Mac([a, b, c, d, e, f])) => {
                        (GROUP_ETHERNET, [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                    }
                };
                writer.fixed(&MembershipWire {
                    port: U32::new(message.port.0),
                    class,
                    reserved: [0; 3],
                    group,
                })
            }
            Self::Notice(message) => {
                writer.fixed(&NoticeWire { status: U16::new(message.status.0), reserved: U16::ZERO })?;
                emit_text(writer, message.text)
            }
        }
    }
}

/// The TLVs that messages know.
#[derive(Default)]
struct Extras<'a> {
    name: Option<&'a str>,
    text: Option<&'a str>,
    addresses: &'a [PortAddress],
}

impl<'a> Extras<'a> {
    fn parse(rest: &'a [u8]) -> Result<Self, ParseError> {
        let mut extras = Self::default();
        for item in Tlvs::new(rest) {
            let item = item?;
            match item.kind {
                tlv::NAME => extras.name = Some(tlv::text(item.value, "name", NAME_MAX)?),
                tlv::TEXT => extras.text = Some(tlv::text(item.value, "text", TEXT_MAX)?),
                tlv::ADDRESSES => extras.addresses = port_addresses(item.value)?,
                other => tlv::skip(other)?,
            }
        }
        Ok(extras)
    }

    fn name(&self) -> Result<&'a str, ParseError> {
        self.name.ok_or(ParseError::MissingTlv(tlv::NAME))
    }
}

fn port_addresses(value: &[u8]) -> Result<&[PortAddress], ParseError> {
    let addresses = <[PortAddress]>::ref_from_bytes(value).map_err(|_| ParseError::Truncated {
        need: value.len().next_multiple_of(size_of::<PortAddress>()),
        have: value.len(),
    })?;
    for item in addresses {
        let longest = if item.address().is_ipv4() { 32 } else { 128 };
        if item.prefix_length > longest {
            return Err(ParseError::Value { field: "prefix length", value: item.prefix_length.into() });
        }
    }
    Ok(addresses)
}

fn parse_attributes(bytes: &[u8]) -> Result<(PortAttributes<'_>, Extras<'_>), ParseError> {
    let (wire, rest) = tlv::fixed::<AttributesWire>(bytes)?;
    let extras = Extras::parse(rest)?;
    let attributes = PortAttributes {
        generation: wire.generation.get(),
        flags: PortFlags::from_bits_retain(wire.flags.get()),
        mtu: wire.mtu.get(),
        speed: wire.speed.get(),
        mac: wire.mac,
        name: extras.name()?,
        addresses: extras.addresses,
    };
    Ok((attributes, extras))
}

fn emit_attributes(writer: &mut tlv::Writer<'_>, attributes: &PortAttributes<'_>) -> Result<(), BufferTooSmall> {
    writer.fixed(&AttributesWire {
        generation: U32::new(attributes.generation),
        flags: U32::new(attributes.flags.bits()),
        mtu: U32::new(attributes.mtu),
        speed: U32::new(attributes.speed),
        mac: attributes.mac,
        reserved: U16::ZERO,
    })?;
    writer.tlv(tlv::NAME, attributes.name.as_bytes())?;
    if attributes.addresses.is_empty() {
        return Ok(());
    }
    writer.tlv(tlv::ADDRESSES, attributes.addresses.as_bytes())
}

fn emit_text(writer: &mut tlv::Writer<'_>, text: &str) -> Result<(), BufferTooSmall> {
    if text.is_empty() {
        return Ok(());
    }
    let end = text.floor_char_boundary(TEXT_MAX);
    writer.tlv(tlv::TEXT, text.get(..end).unwrap_or_default().as_bytes())
}

/// A fixed part with nothing but skippable TLVs behind it.
fn only<T: FromBytes + KnownLayout + Immutable + Unaligned>(body: &[u8]) -> Result<&T, ParseError> {
    let (wire, rest) = tlv::fixed::<T>(body)?;
    Extras::parse(rest)?;
    Ok(wire)
}

fn nonzero(field: &'static str, value: u32) -> Result<u32, ParseError> {
    if value == 0 { Err(ParseError::Value { field, value: 0 }) } else { Ok(value) }
}

fn parse_rule_delete(body: &[u8]) -> Result<RuleDelete, ParseError> {
    let wire = only::<RuleDeleteWire>(body)?;
    Ok(RuleDelete { request: RequestId(wire.request.get()), tunnel: UpTunnel(wire.tunnel.get()) })
}

fn parse_membership(body: &[u8]) -> Result<Membership, ParseError> {
    let wire = only::<MembershipWire>(body)?;
    let group = match wire.class {
        GROUP_IP => Group::Ip(address(wire.group)),
        GROUP_ETHERNET => {
            let (mac, _) = tlv::fixed::<Mac>(&wire.group)?;
            Group::Ethernet(*mac)
        }
        class => return Err(ParseError::Value { field: "class", value: class.into() }),
    };
    Ok(Membership { port: PortId(wire.port.get()), group })
}
