//! The outside world's packets as classification sees them: one pass over the headers of an Ethernet frame gives
//! everything that the relay's dispatch table and the control's send path ask for.

mod classify;

pub use classify::{ArpOperation, EchoKind, Fragment, IcmpInner, Ip, Layer3, PacketView, Transport, classify};
