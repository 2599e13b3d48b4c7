//! The control messages that travel in the reliable streams.
//!
//! Every message begins with a [`MessageHeader`]; a fixed part and TLVs follow. A receiver skips messages of unknown
//! type by their length, and fixed parts never grow: what comes later comes as TLVs. One bad message is refused by
//! itself and never ends the session.
//!
//! One file per group of messages, each with its wire form, parsing, emitting and one-line text side by side:
//! [`PortRequest`] to [`PortRelease`] in `port.rs`, [`PortAttributes`] in `attributes.rs`, [`PortRoute`] in `port_route.rs`, [`TunnelRequest`] and [`TunnelReply`] in `tunnel.rs`, [`RuleAdd`]
//! to [`RuleDelete`] in `rule.rs`, [`Membership`] in `membership.rs`, [`Notice`] in `notice.rs`, [`PortAddresses`] and
//! [`AddressReply`] in `addressing.rs`, [`RouteAdd`] to [`RoutesDigestReply`] in `route.rs`, [`TranslationRequest`] to
//! [`TranslatedRuleAdd`] in `translation.rs`, [`FlowsRequest`] and [`Flows`] in `flows.rs`, [`RelayIntroduce`] and
//! [`RelayDismiss`] in `introduction.rs`.

mod addressing;
mod attributes;
mod extras;
mod flows;
mod introduction;
mod kind;
mod membership;
mod notice;
mod port;
mod port_route;
mod route;
mod rule;
mod status;
mod translation;
mod tunnel;

pub use addressing::{AddressReply, PortAddresses};
pub use attributes::{PortAddress, PortAttributes, PortFlags};
pub use flows::{Flows, FlowsRequest, LiveFlow};
pub use introduction::{RelayDismiss, RelayIntroduce};
pub use kind::MessageType;
pub use membership::{Group, Membership};
pub use notice::Notice;
pub use port::{PortRelease, PortReply, PortRequest, PortUpdate};
pub use port_route::PortRoute;
pub use route::{
    RouteAdd, RouteDelete, RouteNexthop, RouteReply, RoutesDigestReply, RoutesDone, RoutesSlice,
};
pub(crate) use route::{RouteKeyWire, TableDigestWire};
pub use rule::{RuleAdd, RuleDelete, RuleReply};
pub use status::Status;
pub use translation::{TranslatedRuleAdd, Translation, TranslationReply, TranslationRequest};
pub use tunnel::{TunnelReply, TunnelRequest};

use crate::session::Stream;
use crate::tlv::Writer;
use crate::{BufferTooSmall, ParseError};
use core::fmt;
use extras::Extras;
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
    /// `PORT_ADDRESSES`
    PortAddresses(PortAddresses<'a>),
    /// `ADDRESS_REPLY`
    AddressReply(AddressReply<'a>),
    /// `ROUTE_ADD`
    RouteAdd(RouteAdd<'a>),
    /// `ROUTE_DELETE`
    RouteDelete(RouteDelete),
    /// `ROUTE_REPLY`
    RouteReply(RouteReply<'a>),
    /// `ROUTES_DONE`
    RoutesDone(RoutesDone),
    /// `ROUTES_BEGIN`
    RoutesBegin(RoutesSlice),
    /// `ROUTES_END`
    RoutesEnd(RoutesSlice),
    /// `ROUTES_DIGEST_REQUEST`
    RoutesDigestRequest(RoutesSlice),
    /// `ROUTES_DIGEST_REPLY`
    RoutesDigestReply(RoutesDigestReply),
    /// `TRANSLATION_REQUEST`
    TranslationRequest(TranslationRequest),
    /// `TRANSLATION_REPLY`
    TranslationReply(TranslationReply<'a>),
    /// `TRANSLATED_RULE_ADD`
    TranslatedRuleAdd(TranslatedRuleAdd),
    /// `FLOWS_REQUEST`
    FlowsRequest(FlowsRequest),
    /// `FLOWS`
    Flows(Flows<'a>),
    /// `RELAY_INTRODUCE`
    RelayIntroduce(RelayIntroduce<'a>),
    /// `RELAY_DISMISS`
    RelayDismiss(RelayDismiss),
}

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
            Self::PortAddresses(_) => MessageType::PORT_ADDRESSES,
            Self::AddressReply(_) => MessageType::ADDRESS_REPLY,
            Self::RouteAdd(_) => MessageType::ROUTE_ADD,
            Self::RouteDelete(_) => MessageType::ROUTE_DELETE,
            Self::RouteReply(_) => MessageType::ROUTE_REPLY,
            Self::RoutesDone(_) => MessageType::ROUTES_DONE,
            Self::RoutesBegin(_) => MessageType::ROUTES_BEGIN,
            Self::RoutesEnd(_) => MessageType::ROUTES_END,
            Self::RoutesDigestRequest(_) => MessageType::ROUTES_DIGEST_REQUEST,
            Self::RoutesDigestReply(_) => MessageType::ROUTES_DIGEST_REPLY,
            Self::TranslationRequest(_) => MessageType::TRANSLATION_REQUEST,
            Self::TranslationReply(_) => MessageType::TRANSLATION_REPLY,
            Self::TranslatedRuleAdd(_) => MessageType::TRANSLATED_RULE_ADD,
            Self::FlowsRequest(_) => MessageType::FLOWS_REQUEST,
            Self::Flows(_) => MessageType::FLOWS,
            Self::RelayIntroduce(_) => MessageType::RELAY_INTRODUCE,
            Self::RelayDismiss(_) => MessageType::RELAY_DISMISS,
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
            | Self::PortAddresses(_)
            | Self::AddressReply(_)
            | Self::Notice(_) => Stream::Events,
            Self::TunnelRequest(_)
            | Self::TunnelReply(_)
            | Self::RuleAdd(_)
            | Self::RuleReply(_)
            | Self::RuleDelete(_)
            | Self::RuleDeleted(_)
            | Self::RulesEnd
            | Self::MembershipAdd(_)
            | Self::MembershipDelete(_)
            | Self::TranslationRequest(_)
            | Self::TranslationReply(_)
            | Self::TranslatedRuleAdd(_)
            | Self::FlowsRequest(_)
            | Self::Flows(_) => Stream::Rules,
            Self::RouteAdd(_)
            | Self::RouteDelete(_)
            | Self::RouteReply(_)
            | Self::RoutesDone(_)
            | Self::RoutesBegin(_)
            | Self::RoutesEnd(_)
            | Self::RoutesDigestRequest(_)
            | Self::RoutesDigestReply(_)
            | Self::RelayIntroduce(_)
            | Self::RelayDismiss(_) => Stream::Routes,
        }
    }

    /// Parses the body of a message.
    ///
    /// # Errors
    /// [`ParseError::MessageType`] for an unknown type, others for a body that breaks its definition.
    pub fn parse(raw: &RawMessage<'a>) -> Result<Self, ParseError> {
        let body = raw.body;
        Ok(match raw.kind {
            MessageType::PORT_REQUEST => Self::PortRequest(PortRequest::parse(body)?),
            MessageType::PORT_REPLY => Self::PortReply(PortReply::parse(body)?),
            MessageType::PORT_UPDATE => Self::PortUpdate(PortUpdate::parse(body)?),
            MessageType::PORT_RELEASE => Self::PortRelease(PortRelease::parse(body)?),
            MessageType::TUNNEL_REQUEST => Self::TunnelRequest(TunnelRequest::parse(body)?),
            MessageType::TUNNEL_REPLY => Self::TunnelReply(TunnelReply::parse(body)?),
            MessageType::RULE_ADD => Self::RuleAdd(RuleAdd::parse(body)?),
            MessageType::RULE_REPLY => Self::RuleReply(RuleReply::parse(body)?),
            MessageType::RULE_DELETE => Self::RuleDelete(RuleDelete::parse(body)?),
            MessageType::RULE_DELETED => Self::RuleDeleted(RuleDelete::parse(body)?),
            MessageType::RULES_END => {
                Extras::parse(body)?;
                Self::RulesEnd
            }
            MessageType::MEMBERSHIP_ADD => Self::MembershipAdd(Membership::parse(body)?),
            MessageType::MEMBERSHIP_DELETE => Self::MembershipDelete(Membership::parse(body)?),
            MessageType::NOTICE => Self::Notice(Notice::parse(body)?),
            MessageType::PORT_ADDRESSES => Self::PortAddresses(PortAddresses::parse(body)?),
            MessageType::ADDRESS_REPLY => Self::AddressReply(AddressReply::parse(body)?),
            MessageType::ROUTE_ADD => Self::RouteAdd(RouteAdd::parse(body)?),
            MessageType::ROUTE_DELETE => Self::RouteDelete(RouteDelete::parse(body)?),
            MessageType::ROUTE_REPLY => Self::RouteReply(RouteReply::parse(body)?),
            MessageType::ROUTES_DONE => Self::RoutesDone(RoutesDone::parse(body)?),
            MessageType::ROUTES_BEGIN => Self::RoutesBegin(RoutesSlice::parse(body)?),
            MessageType::ROUTES_END => Self::RoutesEnd(RoutesSlice::parse(body)?),
            MessageType::ROUTES_DIGEST_REQUEST => Self::RoutesDigestRequest(RoutesSlice::parse(body)?),
            MessageType::ROUTES_DIGEST_REPLY => Self::RoutesDigestReply(RoutesDigestReply::parse(body)?),
            MessageType::TRANSLATION_REQUEST => Self::TranslationRequest(TranslationRequest::parse(body)?),
            MessageType::TRANSLATION_REPLY => Self::TranslationReply(TranslationReply::parse(body)?),
            MessageType::TRANSLATED_RULE_ADD => Self::TranslatedRuleAdd(TranslatedRuleAdd::parse(body)?),
            MessageType::FLOWS_REQUEST => Self::FlowsRequest(FlowsRequest::parse(body)?),
            MessageType::FLOWS => Self::Flows(Flows::parse(body)?),
            MessageType::RELAY_INTRODUCE => Self::RelayIntroduce(RelayIntroduce::parse(body)?),
            MessageType::RELAY_DISMISS => Self::RelayDismiss(RelayDismiss::parse(body)?),
            MessageType(other) => return Err(ParseError::MessageType(other)),
        })
    }

    /// Writes the whole message, header first, to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`]; [`MESSAGE_MAX`] bytes are enough for every message whose names keep their limit.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let have = buffer.len();
        let (head, body) = buffer
            .split_at_mut_checked(MessageHeader::LEN)
            .ok_or(BufferTooSmall { need: MessageHeader::LEN, have })?;
        let mut writer = Writer::new(body);
        self.emit_body(&mut writer)?;
        let length = writer.len();
        let header = MessageHeader {
            kind: U16::new(self.kind().0),
            reserved: U16::ZERO,
            length: U32::new(u32::try_from(length).unwrap_or(u32::MAX)),
        };
        Writer::new(head).fixed(&header)?;
        Ok(length.saturating_add(MessageHeader::LEN))
    }

    fn emit_body(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        match self {
            Self::PortRequest(message) => message.emit(writer),
            Self::PortReply(message) => message.emit(writer),
            Self::PortUpdate(message) => message.emit(writer),
            Self::PortRelease(message) => message.emit(writer),
            Self::TunnelRequest(message) => message.emit(writer),
            Self::TunnelReply(message) => message.emit(writer),
            Self::RuleAdd(message) => message.emit(writer),
            Self::RuleReply(message) => message.emit(writer),
            Self::RuleDelete(message) | Self::RuleDeleted(message) => message.emit(writer),
            Self::RulesEnd => Ok(()),
            Self::MembershipAdd(message) | Self::MembershipDelete(message) => message.emit(writer),
            Self::Notice(message) => message.emit(writer),
            Self::PortAddresses(message) => message.emit(writer),
            Self::AddressReply(message) => message.emit(writer),
            Self::RouteAdd(message) => message.emit(writer),
            Self::RouteDelete(message) => message.emit(writer),
            Self::RouteReply(message) => message.emit(writer),
            Self::RoutesDone(message) => message.emit(writer),
            Self::RoutesBegin(message) | Self::RoutesEnd(message) | Self::RoutesDigestRequest(message) => {
                message.emit(writer)
            }
            Self::RoutesDigestReply(message) => message.emit(writer),
            Self::TranslationRequest(message) => message.emit(writer),
            Self::TranslationReply(message) => message.emit(writer),
            Self::TranslatedRuleAdd(message) => message.emit(writer),
            Self::FlowsRequest(message) => message.emit(writer),
            Self::Flows(message) => message.emit(writer),
            Self::RelayIntroduce(message) => message.emit(writer),
            Self::RelayDismiss(message) => message.emit(writer),
        }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)?;
        match self {
            Self::PortRequest(message) => write!(f, " {message}"),
            Self::PortReply(message) => write!(f, " {message}"),
            Self::PortUpdate(message) => write!(f, " {message}"),
            Self::PortRelease(message) => write!(f, " {message}"),
            Self::TunnelRequest(message) => write!(f, " {message}"),
            Self::TunnelReply(message) => write!(f, " {message}"),
            Self::RuleAdd(message) => write!(f, " {message}"),
            Self::RuleReply(message) => write!(f, " {message}"),
            Self::RuleDelete(message) | Self::RuleDeleted(message) => write!(f, " {message}"),
            Self::RulesEnd => Ok(()),
            Self::MembershipAdd(message) | Self::MembershipDelete(message) => write!(f, " {message}"),
            Self::Notice(message) => write!(f, " {message}"),
            Self::PortAddresses(message) => write!(f, " {message}"),
            Self::AddressReply(message) => write!(f, " {message}"),
            Self::RouteAdd(message) => write!(f, " {message}"),
            Self::RouteDelete(message) => write!(f, " {message}"),
            Self::RouteReply(message) => write!(f, " {message}"),
            Self::RoutesDone(message) => write!(f, " {message}"),
            Self::RoutesBegin(message) | Self::RoutesEnd(message) | Self::RoutesDigestRequest(message) => {
                write!(f, " {message}")
            }
            Self::RoutesDigestReply(message) => write!(f, " {message}"),
            Self::TranslationRequest(message) => write!(f, " {message}"),
            Self::TranslationReply(message) => write!(f, " {message}"),
            Self::TranslatedRuleAdd(message) => write!(f, " {message}"),
            Self::FlowsRequest(message) => write!(f, " {message}"),
            Self::Flows(message) => write!(f, " {message}"),
            Self::RelayIntroduce(message) => write!(f, " {message}"),
            Self::RelayDismiss(message) => write!(f, " {message}"),
        }
    }
}

impl fmt::Display for RawMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} length {}", self.kind, self.body.len())
    }
}
