//! What would become of a packet, and why: the decisions of the data path, asked without a packet.
//!
//! `select` decides here as it does there, from the same tables; nothing is remembered of it, counted or sent. What the relay's
//! kernel has is for the shell to ask it about ([`Trace::way`]).

mod packet;
mod reasons;
mod route;

pub use route::KernelWay;

use crate::relay::Relay;
use core::net::IpAddr;
use l2link::Time;
use l2link::trace::Hop;
use l2link::trace_text::{PacketText, TraceText};

/// The steps that were found, and what is to be asked next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The steps, in order.
    pub hops: Vec<Hop>,
    /// What the kernel is to be asked, whose answer is the last step.
    pub way: Option<Question>,
}

/// Which way the kernel sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The packet's source; none for one that the relay sends.
    pub source: Option<IpAddr>,
    /// Its destination.
    pub destination: IpAddr,
    /// Index of the port's interface; none for a packet that the relay sends.
    pub arrives: Option<u32>,
    /// Protocol, source and destination port of TCP and UDP.
    pub transport: Option<(u8, u16, u16)>,
}

impl Relay {
    /// What would become of this.
    ///
    /// # Errors
    /// In words: it is nothing that a relay can tell, or says too little.
    pub fn trace(&self, what: &TraceText, now: Time) -> Result<Trace, String> {
        use frames::ProtocolAddress::{EtherType, Flow, IpProtocol, Listener};
        match what {
            TraceText::Packet(packet) => self.trace_packet(packet, now),
            TraceText::Route(prefix) => Ok(self.trace_prefix(prefix)),
            TraceText::Socket(EtherType(ethertype)) => {
                self.trace_packet(&PacketText::of_ethertype(*ethertype), now)
            }
            TraceText::Socket(Listener { .. } | Flow { .. } | IpProtocol { .. }) => Err(
                "sockets are on controls: ask l2control about one; at a relay say which packet, for example \
                 tcp from 192.0.2.9:40000 to 192.0.2.1:80"
                    .to_owned(),
            ),
        }
    }
}
