//! [`DestroyEvents`]: the kernel's word that a TCP or UDP socket is gone.
//!
//! It comes when the last holder closed the socket and the last packet that it sent has left, 12 to 91 µs after that,
//! and the socket is in no dump any more. Raw and packet sockets are never told of.

use super::inet_diag;
use super::netlink::{Channel, Received};
use super::{Socket, SocketKind};
use crate::{NetNs, SetupError};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::ControlFlow;
use frames::protocol_address::{Family, Local};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// `SKNLGRP_INET_TCP_DESTROY`, `…UDP…`, `…INET6_TCP…`, `…INET6_UDP…` (`linux/sock_diag.h`).
const GROUPS: [u32; 4] = [1, 2, 3, 4];
/// Room for events: 6,500 closes while the daemon does something else. From half of it on the kernel takes its time with
/// telling more (`netlink_broadcast` yields).
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// What [`DestroyEvents::drain`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destroyed {
    /// The sockets that went.
    pub sockets: Vec<ClosedSocket>,
    /// Whether events were lost: everything has to be dumped afresh.
    pub overrun: bool,
}

/// A TCP or UDP socket that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClosedSocket {
    /// IP protocol number: 6 or 17, and whatever else the kernel tells of.
    pub protocol: u8,
    /// Its local address; IPv4 if it was IPv4-mapped. Unspecified for a wildcard: then the event does not tell
    /// whether `[::]` was dual-stack.
    pub local: IpAddr,
    /// Its local port.
    pub local_port: u16,
    /// The other end, if it was connected.
    pub remote: Option<SocketAddr>,
}

/// Tells of TCP and UDP sockets of one namespace that went.
#[derive(Debug)]
pub struct DestroyEvents {
    channel: Channel,
}

impl DestroyEvents {
    /// Subscribes in `netns`.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the kernel refuses.
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        Self::with_buffer(netns, RECEIVE_BUFFER)
    }

    fn with_buffer(netns: &NetNs, bytes: usize) -> Result<Self, SetupError> {
        let action = "listening for closed sockets";
        Ok(Self { channel: Channel::require(action, netns, NETLINK_SOCK_DIAG, &GROUPS, bytes)? })
    }

    /// Everything told since the last time. Does not block.
    ///
    /// # Errors
    /// Errors of the netlink socket other than lost events, which are [`Destroyed::overrun`].
    pub fn drain(&mut self) -> io::Result<Destroyed> {
        let mut destroyed = Destroyed::default();
        loop {
            match self.channel.receive()? {
                Received::Nothing => return Ok(destroyed),
                Received::Overrun => destroyed.overrun = true,
                Received::Datagram => {
                    let _: ControlFlow<()> = self.channel.messages(|message| {
                        destroyed.sockets.extend(parse(message.payload()));
                        ControlFlow::Continue(())
                    });
                }
            }
        }
    }
}

fn parse(message: &[u8]) -> Option<ClosedSocket> {
    // The attribute INET_DIAG_PROTOCOL, which a dump has for raw sockets only, tells the protocol.
    let (socket, _) = inet_diag::parse(message, SocketKind::of_port_protocol)?;
    let Socket { kind, local, local_port, remote, .. } = socket;
    if local_port == 0 {
        // It was never bound.
        return None;
    }
    let local = match local {
        Local::Address(address) => address,
        Local::Any(Family::V4) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Local::Any(Family::V6 | Family::Both) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(ClosedSocket { protocol: kind.port_protocol()?, local, local_port, remote })
}

impl AsRawFd for DestroyEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    /// Drains until `enough`; fails after ten seconds.
    fn drain_until(events: &mut DestroyEvents, enough: impl Fn(&Destroyed) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !enough(&events.drain().unwrap()) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn lost_events_are_an_overrun_and_the_next_ones_come() {
        let netns = NetNs::current().unwrap();
        let mut events = match DestroyEvents::with_buffer(&netns, 4096) {
            Ok(events) => events,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "SKIPPED lost_events: {error}");
                return;
            }
        };
        for _ in 0..200 {
            drop(UdpSocket::bind("127.0.0.1:0").unwrap());
        }
        std::thread::sleep(Duration::from_millis(50));
        drain_until(&mut events, |destroyed| destroyed.overrun);
        let last = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = last.local_addr().unwrap().port();
        drop(last);
        drain_until(&mut events, |destroyed| {
            destroyed.sockets.iter().any(|socket| socket.local_port == port)
        });
    }
}
