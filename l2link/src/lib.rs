//! The link protocol between `l2relay` and `l2control`, without IO.
//!
//! [`Link`] is one device's end of the segment. Frames come in by [`Link::handle_frame`], time by
//! [`Link::handle_timeout`]; frames go out by [`Link::poll_transmit`] and [`Link::send_parcel`], and everything else
//! that happened by [`Link::poll_event`]. Nothing here reads a clock, draws a random number or touches a socket.
#![forbid(unsafe_code)]

mod answered;
mod association;
mod attempt;
pub mod batch;
mod bucket;
mod bulk;
pub mod by_hand;
pub mod capture_text;
mod cipher;
pub mod config;
pub mod counters;
mod dh;
mod discovery;
pub mod event;
pub mod fast;
mod gate;
mod handshake;
pub mod histogram;
mod interface;
pub mod key;
pub mod link;
mod partner;
pub mod passage;
mod peer;
mod random;
mod ready;
mod reassembly;
mod receive;
pub mod recording;
mod refusal;
mod replay;
pub mod route_text;
pub mod routes;
mod rtt;
pub mod rule_text;
mod seal;
pub mod secret;
pub mod service;
mod session;
pub mod session_keys;
#[cfg(feature = "sim")]
pub mod sim;
mod stream;
pub mod time;
mod timers;
pub mod trace;
pub mod trace_text;
mod transmit;
mod trust;

pub use batch::Batch;
pub use bulk::BulkFlows;
pub use config::{Config, Keys, Security};
pub use counters::Counters;
pub use event::{DownReason, Event, PeerId, PeerInfo, PeerState, ReceivedMessage};
pub use histogram::Histogram;
pub use key::{PrivateKey, PublicKey};
pub use link::{Link, Rx};
pub use passage::{Passage, Way};
pub use secret::{Secret, wipe_stack};
pub use service::{Service, ServiceError, ServiceSet};
pub use session_keys::SessionKeys;
pub use time::Time;
