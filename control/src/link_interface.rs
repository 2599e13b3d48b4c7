//! [`LinkInterface`]: the socket on the segment, which follows its interface by name.

use crate::rate_limit::RateLimit;
use crate::source::Source;
use frames::Mac;
use l2link::{Batch, Time};
use l2link_os::{Damper, LinkSocket, Monitor, NetNs, Netlink, Sent, SetupError, clock};
use log::{info, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::AsRawFd;

/// The link's end in the kernel. The interface must be there at the start; after that it may go down, vanish, and come
/// back as another one.
#[derive(Debug)]
pub(crate) struct LinkInterface {
    name: String,
    ethertype: u16,
    socket: Option<LinkSocket>,
    monitor: Monitor,
    netlink: Netlink,
    complaint: RateLimit,
    damper: Damper,
}

impl LinkInterface {
    pub(crate) fn open(name: &str, ethertype: u16, registry: &Registry) -> Result<Self, SetupError> {
        let own = NetNs::current()?;
        let monitor = Monitor::open(&own)?;
        let netlink = Netlink::open(&own)?;
        registry
            .register(&mut SourceFd(&monitor.as_raw_fd()), Source::Monitor.token(), Interest::READABLE)
            .map_err(watching(Source::Monitor))?;
        let socket = open(name, ethertype, registry)?;
        Ok(Self {
            name: name.to_owned(),
            ethertype,
            socket: Some(socket),
            monitor,
            netlink,
            complaint: RateLimit::default(),
            damper: Damper::default(),
        })
    }

    /// Ethernet address and MTU of the interface.
    pub(crate) fn address(&self) -> (Mac, u32) {
        self.socket
            .as_ref()
            .map_or((Mac::default(), l2link::Config::MTU_MIN), |socket| (socket.mac(), socket.mtu()))
    }

    /// The interface, while it is there, for the fast path.
    pub(crate) fn fast_link(&self) -> Option<::fast_path::LinkInterface<'_>> {
        Some(self.socket.as_ref()?.fast_link(&self.name))
    }

    pub(crate) fn socket(&mut self) -> Option<&mut LinkSocket> {
        self.socket.as_mut()
    }

    /// Notes how many frames of a turn led to something, and how many were dropped. `empty`: none is left in the socket.
    pub(crate) fn damp(&mut self, kept: usize, dropped: usize, empty: bool, registry: &Registry, now: Time) {
        self.damper.note(kept, dropped, now);
        if let (true, Some(socket)) = (empty, &mut self.socket) {
            self.damper.rest(registry, socket, now);
        }
    }

    /// Whether a rest of the socket is over, and it is to be read.
    pub(crate) fn wake(&mut self, registry: &Registry, now: Time) -> bool {
        self.damper.wake(registry, self.socket.as_mut(), Source::Link.token(), now)
    }

    /// When to call [`LinkInterface::wake`].
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.damper.poll_timeout()
    }

    /// Sends the frames of a batch and empties it.
    pub(crate) fn send(&mut self, batch: &mut Batch) -> Sent {
        let waiting = batch.len() as u64;
        let sent = match &mut self.socket {
            Some(socket) if waiting > 0 => socket.send(batch),
            Some(_) => Sent::default(),
            None => Sent { errors: waiting, ..Sent::default() },
        };
        batch.clear();
        sent
    }

    /// Whether interfaces have changed, and [`LinkInterface::follow`] should look.
    pub(crate) fn is_changed(&mut self) -> io::Result<bool> {
        self.monitor.drain()
    }

    /// Comes in line with the link's interface: its address and MTU, or another interface of that name, for which the socket is
    /// opened anew.
    pub(crate) fn follow(&mut self, registry: &Registry) -> io::Result<Followed> {
        let Some(info) = self.netlink.link_by_name(&self.name)? else {
            if self.socket.take().is_some() {
                warn!(target: "control::link", "interface {} is gone; waiting for it", self.name);
            }
            return Ok(Followed::Same);
        };
        let now = (info.ifindex, info.mac.unwrap_or_default(), info.mtu);
        let bound = self.socket.as_ref().filter(|socket| socket.is_bound());
        if bound.map(|socket| (socket.ifindex(), socket.mac(), socket.mtu())) == Some(now) {
            return Ok(Followed::Same);
        }
        if !self.socket.as_mut().is_some_and(|socket| socket.follow(&info))
            && let Err(error) = self.reopen(registry)
        {
            self.complaint.warn(clock::now(), format_args!("interface {}: {error}", self.name));
            return Ok(Followed::Failed);
        }
        let (ifindex, mac, mtu) = now;
        info!(target: "control::link", "interface {} is now {ifindex}, {mac}, MTU {mtu}", self.name);
        Ok(Followed::Changed)
    }

    fn reopen(&mut self, registry: &Registry) -> Result<(), SetupError> {
        self.socket = None;
        self.socket = Some(open(&self.name, self.ethertype, registry)?);
        Ok(())
    }
}

fn open(name: &str, ethertype: u16, registry: &Registry) -> Result<LinkSocket, SetupError> {
    let mut socket = LinkSocket::open(name, ethertype)?;
    registry
        .register(&mut socket, Source::Link.token(), Interest::READABLE)
        .map_err(watching(Source::Link))?;
    Ok(socket)
}

fn watching(source: Source) -> impl Fn(io::Error) -> SetupError {
    move |error| SetupError::system(format!("watch {source}"), error)
}

/// What became of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It is as it was, or its interface is not there.
    Same,
    /// It may be another one, of another address and MTU.
    Changed,
    /// The interface is there and cannot be used: try again later.
    Failed,
}
