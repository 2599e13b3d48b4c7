//! [`Wire`]: the relay's end of the segment.

use crate::complaint::Complaint;
use crate::source::Source;
use frames::{DropReason, Mac};
use l2link::{Batch, Time};
use l2link_os::{Damper, IfIndex, LinkInfo, LinkSocket, SetupError};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use relay_core::{Recorded, Relay};
use std::io;
use std::os::fd::AsRawFd;

/// The link's socket, and the frames that wait to be sent.
#[derive(Debug)]
pub(crate) struct Wire {
    interface: String,
    ethertype: u16,
    /// `None` while there is no such interface.
    socket: Option<LinkSocket>,
    pub(crate) batch: Batch,
    complaint: Complaint,
    damper: Damper,
}

impl Wire {
    /// Opens the interface, which must exist when the daemon starts.
    pub(crate) fn open(interface: &str, ethertype: u16, registry: &Registry) -> Result<Self, SetupError> {
        let socket = open(interface, ethertype, registry)?;
        Ok(Self {
            interface: interface.to_owned(),
            ethertype,
            socket: Some(socket),
            batch: Batch::new(0, 0),
            complaint: Complaint::default(),
            damper: Damper::default(),
        })
    }

    /// The name of the interface.
    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's address and MTU as the socket knows them.
    pub(crate) fn attributes(&self) -> Option<(IfIndex, Mac, u32)> {
        self.socket.as_ref().map(|socket| (socket.ifindex(), socket.mac(), socket.mtu()))
    }

    /// The interface, while it is there, for the fast path.
    pub(crate) fn fast_link(&self) -> Option<::fast_path::LinkInterface<'_>> {
        Some(self.socket.as_ref()?.fast_link(&self.interface))
    }

    /// Makes the batch as large as the link wants it.
    pub(crate) fn size_batch(&mut self, relay: &Relay) {
        let (frames, longest) = (relay.parcel_frames_max(), relay.frame_len_max());
        let slots = (BATCH_BYTES / longest.max(1)).min(BATCH_FRAMES).max(2 * frames);
        self.batch = Batch::new(slots, longest);
    }

    /// Follows the interface: another one of the same name, another address or MTU, none. Returns whether to look
    /// again soon.
    pub(crate) fn follow(
        &mut self,
        info: Option<&LinkInfo>,
        relay: &mut Recorded,
        registry: &Registry,
        now: Time,
    ) -> bool {
        let Some(info) = info else {
            if self.socket.take().is_some() {
                log::warn!(target: "relay::link", "{}: the interface is gone; waiting for it", self.interface);
            }
            return false;
        };
        let wanted = (info.ifindex, info.mac.unwrap_or_default(), info.mtu);
        if self.attributes() == Some(wanted) && self.socket.as_ref().is_some_and(LinkSocket::is_bound) {
            return false;
        }
        // What waits was written for the former address and MTU.
        self.flush(relay);
        if !self.socket.as_mut().is_some_and(|socket| socket.follow(info)) {
            // The old socket goes first: the kernel then has no more use for the old buffers.
            self.socket = None;
            match open(&self.interface, self.ethertype, registry) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => {
                    self.complaint.warn("relay::link", error.to_string(), now);
                    return true;
                }
            }
        }
        if let Some((_, mac, mtu)) = self.attributes() {
            log::info!(target: "relay::link", "{}: address {mac}, MTU {mtu}", self.interface);
            self.complaint.clear();
            relay.handle_link_interface(mac, mtu);
            self.size_batch(relay);
        }
        false
    }

    /// Takes frames out of the socket; zero if none waits. After a failure, which ends with the call, there may be.
    pub(crate) fn receive(&mut self, relay: &mut Recorded, now: Time) -> Result<usize, Failed> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        let received = socket.receive();
        relay.handle_drops(DropReason::LinkRxOverrun, socket.overruns());
        received.map_err(|error| {
            if error.kind() != io::ErrorKind::NetworkDown {
                let text = format!("receiving on {}: {error}", self.interface);
                self.complaint.warn("relay::link", text, now);
            }
            Failed
        })
    }

    /// Whether the frames that [`Wire::receive`] took are of transfers.
    pub(crate) fn took_transfers(&self) -> bool {
        self.socket.as_ref().is_some_and(LinkSocket::took_transfers)
    }

    /// Notes what became of the frames of a turn, the last of which left `more` in the socket or not.
    pub(crate) fn damp(&mut self, taken: Taken, more: bool, registry: &Registry, now: Time) {
        self.damper.note(taken.kept, taken.dropped, now);
        if let (false, Some(socket)) = (more, &mut self.socket) {
            self.damper.rest(registry, socket, now);
        }
    }

    /// Whether a rest of the socket is over, and it is to be read.
    pub(crate) fn wake(&mut self, registry: &Registry, now: Time) -> bool {
        self.damper.wake(registry, self.socket.as_mut(), Source::Link.token(), now)
    }

    /// When to call [`Wire::wake`].
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.damper.poll_timeout()
    }

    /// Frame `index` of those that [`Wire::receive`] took.
    pub(crate) fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        self.socket.as_mut().map_or(&mut [], |socket| socket.frame_mut(index))
    }

    /// Sees to it that the batch has room for a parcel.
    pub(crate) fn make_room(&mut self, relay: &mut Recorded) {
        if self.batch.room() < relay.parcel_frames_max() {
            self.flush(relay);
        }
    }

    /// Sends the frames that wait.
    pub(crate) fn flush(&mut self, relay: &mut Recorded) {
        if self.batch.is_empty() {
            return;
        }
        match &mut self.socket {
            Some(socket) => {
                let sent = socket.send(&self.batch);
                relay.handle_drops(DropReason::LinkTxFull, sent.full);
                relay.handle_drops(DropReason::LinkTxError, sent.errors);
            }
            None => relay.handle_drops(DropReason::LinkTxError, self.batch.len() as u64),
        }
        self.batch.clear();
    }
}

/// Frames that led to something, and those that were dropped.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) kept: usize,
    pub(crate) dropped: usize,
}

/// A call of the kernel failed, and that has been said where it is news: an interface that is down is not.
#[derive(Debug)]
pub(crate) struct Failed;

fn open(interface: &str, ethertype: u16, registry: &Registry) -> Result<LinkSocket, SetupError> {
    let mut socket = LinkSocket::open(interface, ethertype)?;
    registry
        .register(&mut socket, Source::Link.token(), Interest::READABLE)
        .map_err(|error| SetupError::system(format!("watching {interface}"), error))?;
    Ok(socket)
}

/// Registers a descriptor. Closing it is what ends the registration.
pub(crate) fn register(registry: &Registry, file: &impl AsRawFd, source: Source) -> io::Result<()> {
    registry.register(&mut SourceFd(&file.as_raw_fd()), source.token(), Interest::READABLE)
}

/// Most frames that wait: more than the kernel takes with one system call serve nothing.
const BATCH_FRAMES: usize = 256;
/// Bytes of waiting frames, unless one parcel alone needs more: what stays in the processor's second cache.
const BATCH_BYTES: usize = 512 * 1024;
