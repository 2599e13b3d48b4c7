//! The outside world's packets as classification sees them: one pass over the headers of an Ethernet frame gives
//! everything that the relay's dispatch table and the control's send path ask for. [`translate()`] changes an address,
//! [`Segments`] cuts super-packets ([`offloads_inner`]: those inside tunnels), [`limit_mss`] has TCP send shorter ones, [`Fragments`] and [`error_about`] are for packets that do not come through,
//! [`without_padding`] finds where a frame ends.

mod arp;
mod checksum;
mod classify;
mod datagram;
mod display;
mod hop;
mod icmp;
mod inner;
mod ipv4;
mod ipv6;
mod mss;
mod padding;
mod path;
mod segments;
mod translate;
mod transport;

pub use classify::{
    ArpOperation, EchoKind, Fragment, FragmentKey, IcmpInner, Ip, Layer3, PacketView, Transport, classify,
};
pub use hop::{give_hop_back, hops};
pub use inner::offloads_inner;
pub use mss::limit_mss;
pub use padding::without_padding;
pub use path::{Fragments, Obstacle, error_about};
pub use segments::{Segments, set_ipv4_checksum};
pub use translate::{End, NotTranslatable, addresses, translate};
pub use transport::{Tcp, TcpFlags};
