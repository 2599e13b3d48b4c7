//! The link protocol between `l2relay` and `l2control`, without IO.
//!
//! [`Link`] is one device's end of the segment. Frames come in by [`Link::handle_frame`], time by
//! [`Link::handle_timeout`]; frames go out by [`Link::poll_transmit`] and [`Link::send_parcel`], and everything else
//! that happened by [`Link::poll_event`]. Nothing here reads a clock, draws a random number or touches a socket.
#![forbid(unsafe_code)]

pub mod batch;
pub mod config;
pub mod counters;
pub mod event;
pub mod link;
pub mod time;

pub use batch::Batch;
pub use config::{Config, Security};
pub use counters::Counters;
pub use event::{DownReason, Event, PeerId, PeerInfo, PeerState, ReceivedMessage};
pub use link::{Link, Rx};
pub use time::Time;
