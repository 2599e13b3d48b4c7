//! [`Link`]: one device's end of the segment.

use crate::{Batch, Config, Counters, Event, PeerId, PeerInfo, Time};
use frames::data::Tunnel;
use frames::message::Message;
use frames::session::{CloseReason, Stream};
use frames::{DropReason, Mac};

/// One device's end of the segment: peers, sessions, reliable streams, parcels.
#[derive(Debug)]
pub struct Link {
    counters: Counters,
}

/// What became of a received frame.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Rx<'a> {
    /// A parcel for the owner: offload header and Ethernet frame, checked by [`frames::data::OffloadHeader::check`].
    Parcel {
        /// Its sender.
        peer: PeerId,
        /// The tunnel.
        tunnel: Tunnel,
        /// The bytes, in the frame itself or in the link's reassembly buffer.
        parcel: &'a mut [u8],
    },
    /// The link has dealt with it; events, timers and frames to send may have changed.
    Consumed,
    /// Dropped and counted.
    Drop(DropReason),
}

impl Link {
    /// A link that begins to look for peers. `seed` must be unpredictable in production.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Time) -> Self {
        let _ = (config, seed, now);
        todo!()
    }

    /// Takes a whole Ethernet frame that arrived on the link interface.
    pub fn handle_frame<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> Rx<'a> {
        let _ = (frame, now);
        todo!()
    }

    /// When [`Link::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }

    /// Lets time pass; harmless at any moment.
    pub fn handle_timeout(&mut self, now: Time) {
        let _ = now;
        todo!()
    }

    /// Writes waiting session and discovery frames into `batch` until nothing waits or the batch is full. Returns
    /// whether anything still waits.
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        let _ = (batch, now);
        todo!()
    }

    /// The next thing that happened. Taking messages gives their sender new credit.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// Queues a message for reliable delivery in its stream; without a session it is dropped silently, as the owner
    /// replays its tables on [`Event::PeerUp`].
    pub fn send_message(&mut self, peer: PeerId, message: &Message<'_>) {
        let _ = (peer, message);
        todo!()
    }

    /// Bytes queued and not yet acknowledged in a stream; senders in bulk pause while it is large.
    #[must_use]
    pub fn backlog(&self, peer: PeerId, stream: Stream) -> usize {
        let _ = (peer, stream);
        todo!()
    }

    /// Writes a parcel into `batch` as one `DATA` frame or several `PIECE` frames. The batch must have room for
    /// [`Link::parcel_frames_max`] frames.
    ///
    /// # Errors
    /// [`DropReason::NoSession`], [`DropReason::TooLarge`]; counted here.
    pub fn send_parcel(
        &mut self,
        peer: PeerId,
        tunnel: Tunnel,
        parcel: &[u8],
        batch: &mut Batch,
        now: Time,
    ) -> Result<(), DropReason> {
        let _ = (peer, tunnel, parcel, batch, now);
        todo!()
    }

    /// Most frames that one parcel can become.
    #[must_use]
    pub fn parcel_frames_max(&self) -> usize {
        todo!()
    }

    /// Longest frame that the link writes, Ethernet header included.
    #[must_use]
    pub fn frame_len_max(&self) -> usize {
        todo!()
    }

    /// The link interface got another address or MTU; sessions go on.
    pub fn set_interface(&mut self, mac: Mac, mtu: u32) {
        let _ = (mac, mtu);
        todo!()
    }

    /// Ends all sessions in order: queues `CLOSE` frames for [`Link::poll_transmit`].
    pub fn close(&mut self, reason: CloseReason, now: Time) {
        let _ = (reason, now);
        todo!()
    }

    /// All peers that were ever heard, by name.
    pub fn peers(&self) -> Vec<PeerInfo> {
        todo!()
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For drops that the owner decides.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}
