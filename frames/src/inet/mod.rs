//! The outside world's packets as classification sees them: one pass over the headers of an Ethernet frame gives
//! everything that the relay's dispatch table and the control's send path ask for.

mod arp;
mod classify;
mod datagram;
mod display;
mod icmp;
mod ipv4;
mod ipv6;
mod transport;

pub use classify::{
    ArpOperation, EchoKind, Fragment, FragmentKey, IcmpInner, Ip, Layer3, PacketView, Transport, classify,
};
pub use transport::{Tcp, TcpFlags};
