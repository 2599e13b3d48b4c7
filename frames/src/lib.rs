//! Every byte on the wire between `l2relay` and `l2control`, and the views of the outside world's packets that
//! classification needs.
//!
//! Nothing here allocates, logs, reads a clock or panics on any input. Parsing returns views into the caller's
//! bytes; emitting writes into the caller's buffer. `PROTOCOL.md` beside this crate's manifest is the specification.
//!
//! | module | holds |
//! |---|---|
//! | [`header`] | Ethernet and link header: version, kind, length, session, counter |
//! | [`body`] | the body of a frame of any kind, for traces and tools |
//! | [`discovery`] | `HELLO` and the two handshake frames |
//! | [`session`] | `KEEPALIVE`, `SEGMENT`, `ACK`, `CLOSE` |
//! | [`data`] | `DATA`, `PIECE` and `PACKET`: tunnelled packets, the former two with their offload header |
//! | [`message`] | the control messages that travel in the reliable streams |
//! | [`protocol_address`] | what a socket listens for, as rules name it |
//! | [`route`] | routes, and digests that compare tables of them |
//! | [`inet`] | Ethernet, ARP, IPv4/6, TCP, UDP, ICMP as classification sees them, and their translation |
//! | [`drop_reason`] | every reason for which either daemon drops a frame |
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

pub mod body;
pub mod data;
pub mod discovery;
pub mod drop_reason;
pub mod error;
pub mod header;
pub mod id;
pub mod inet;
pub mod mac;
pub mod message;
pub mod protocol_address;
pub mod route;
pub mod session;
pub mod tlv;

pub use drop_reason::DropReason;
pub use error::{BufferTooSmall, ParseError};
pub use id::{BootId, DownTunnel, PortId, RequestId, SessionIndex, SymbolId, UpTunnel};
pub use mac::Mac;
pub use protocol_address::ProtocolAddress;
