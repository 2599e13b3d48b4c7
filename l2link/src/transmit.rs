//! From the owner to the wire: [`Link::poll_transmit`] and [`Link::send_parcel`].
//!
//! The order within [`Link::poll_transmit`]: what belongs to no session (hellos, handshakes, closes); then for every
//! peer in turn acknowledgements, the streams of events and rules, and a keepalive if one is due; then routes, which may
//! be many. A full batch ends it, and the next call begins with the next peer. Nothing waits for company: a rule that
//! was queued a moment ago goes out now, and one acknowledgement answers all segments that came since the last call.
//!
//! A parcel is written once, straight into the batch, and sealed there. Small parcels that wait in the batch for the
//! same peer share a frame, as a frame costs both ends far more than a second seal; nothing waits for it. If it fits no single frame it is cut into pieces
//! of the largest size; that of an Ethernet frame of 1,514 bytes over a segment of MTU 1,500 has two.

use crate::interface::Interface;
use crate::passage::Way;
use crate::peer::{Life, Peer};
use crate::ready::PeerSet;
use crate::session::{Session, body_max, flags};
use crate::{Batch, Counters, Link, PeerId, Time};
use frames::DropReason;
use frames::data::{DataHeader, PARCEL_MAX, PieceHeader, Tunnel};
use frames::discovery::Protection;
use frames::header::{Flags, Frame, Kind};
use frames::session::{Keepalive, Segment, Stream};
use zerocopy::IntoBytes;

/// No slot was left.
struct Full;

impl Link {
    /// Writes waiting session and discovery frames into `batch` until nothing waits or the batch is full. Returns
    /// whether anything still waits.
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        let full = self.transmit_all(batch, now).is_err();
        self.cursor = (self.cursor + 1) % self.peers.len().max(1);
        full
    }

    fn transmit_all(&mut self, batch: &mut Batch, now: Time) -> Result<(), Full> {
        self.transmit_outbox(batch)?;
        let ready = self.ready.to_send;
        for index in ready.around(self.cursor) {
            self.transmit_urgent(index, batch, now).inspect_err(|Full| self.cursor = index)?;
        }
        for index in ready.around(self.cursor) {
            let routes =
                |sender: &mut Sender<'_>, life: &mut Life| sender.segments(life, Stream::Routes, batch, now);
            self.with_sender(index, routes).inspect_err(|Full| self.cursor = index)?;
        }
        self.ready.to_send = PeerSet::default();
        Ok(())
    }

    fn transmit_outbox(&mut self, batch: &mut Batch) -> Result<(), Full> {
        while let Some((kind, frame)) = self.outbox.front() {
            let slot = batch.slot().ok_or(Full)?;
            if let Some(slot) = slot.get_mut(..frame.len()) {
                slot.copy_from_slice(frame);
                self.counters.tx(*kind, frame.len());
                batch.commit(frame.len());
            }
            self.outbox.pop_front();
        }
        Ok(())
    }

    fn transmit_urgent(&mut self, index: usize, batch: &mut Batch, now: Time) -> Result<(), Full> {
        let interval = u32::try_from(self.keepalive.as_micros()).unwrap_or(u32::MAX);
        self.with_sender(index, |sender, life| {
            sender.acks(life, batch, now)?;
            sender.segments(life, Stream::Events, batch, now)?;
            sender.segments(life, Stream::Rules, batch, now)?;
            sender.keepalive(life, interval, batch, now)
        })
    }

    /// Runs `work` with all that is needed to send to a peer that is up.
    fn with_sender(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut Sender<'_>, &mut Life) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let Peer { mac, life: Some(life), .. } = &mut self.peers[index] else { return Ok(()) };
        let Some(session) = self.sessions.get_mut(life.current) else { return Ok(()) };
        let mut sender = Sender {
            session,
            interface: &self.interface,
            counters: &mut self.counters,
            flags: flags(self.control),
            destination: *mac,
        };
        let done = work(&mut sender, life);
        self.set_alarm(index);
        done
    }

    /// Writes a parcel into `batch` as one `DATA` frame or several `PIECE` frames. The batch must have room for
    /// [`Link::parcel_frames_max`] frames.
    ///
    /// # Errors
    /// [`DropReason::NoSession`], [`DropReason::TooLarge`], [`DropReason::LinkTxFull`] for a batch without that room;
    /// counted here.
    pub fn send_parcel(
        &mut self,
        peer: PeerId,
        tunnel: Tunnel,
        parcel: &[u8],
        batch: &mut Batch,
        now: Time,
    ) -> Result<(), DropReason> {
        let sent = self.write_parcel(peer, tunnel, parcel, batch, now);
        match (sent, &mut self.passages) {
            (Ok(()), None) => {}
            (Ok(()), Some(passages)) => passages.push(Way::Sent, peer, tunnel, parcel),
            (Err(reason), _) => self.counters.drop(reason),
        }
        sent
    }

    fn write_parcel(
        &mut self,
        peer: PeerId,
        tunnel: Tunnel,
        parcel: &[u8],
        batch: &mut Batch,
        now: Time,
    ) -> Result<(), DropReason> {
        if parcel.len() > PARCEL_MAX {
            return Err(DropReason::TooLarge);
        }
        let piece_max = self.piece_max();
        let peer = self.peers.get_mut(peer.0 as usize).ok_or(DropReason::NoSession)?;
        let Peer { mac, life: Some(life), .. } = peer else { return Err(DropReason::NoSession) };
        let session = self.sessions.get_mut(life.current).ok_or(DropReason::NoSession)?;
        if self.data != Protection::CLEAR || session.seal.is_none() {
            life.last_sent = now;
        }
        let bulk = if self.bulk.note(parcel, now) { Flags::BULK } else { Flags::empty() };
        let mut sender = Sender {
            session,
            interface: &self.interface,
            counters: &mut self.counters,
            flags: flags(self.data) | bulk,
            destination: *mac,
        };
        if parcel.len() <= piece_max + size_of::<PieceHeader>() - size_of::<DataHeader>() {
            let length = u16::try_from(parcel.len()).map_err(|_| DropReason::TooLarge)?;
            let header = DataHeader::new(tunnel, length);
            if sender.append(batch, header.as_bytes(), parcel) {
                return Ok(());
            }
            let body = |room: &mut [u8]| join(room, header.as_bytes(), parcel);
            return sender.frame(Kind::DATA, batch, body).map_err(|Full| DropReason::LinkTxFull);
        }
        if batch.room() < parcel.len().div_ceil(piece_max) {
            return Err(DropReason::LinkTxFull);
        }
        life.parcel = life.parcel.wrapping_add(1);
        let mut offset = 0;
        for piece in parcel.chunks(piece_max) {
            let last = offset as usize + piece.len() == parcel.len();
            let header = PieceHeader::new(tunnel, life.parcel, offset, last);
            let body = |room: &mut [u8]| join(room, header.as_bytes(), piece);
            sender.frame(Kind::PIECE, batch, body).map_err(|Full| DropReason::LinkTxFull)?;
            offset += u32::try_from(piece.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// Bytes of a parcel that one `PIECE` holds.
    pub(crate) fn piece_max(&self) -> usize {
        body_max(&self.interface, flags(self.data)) - size_of::<PieceHeader>()
    }
}

/// All that is needed to send to one peer.
struct Sender<'a> {
    session: &'a mut Session,
    interface: &'a Interface,
    counters: &'a mut Counters,
    flags: Flags,
    destination: frames::Mac,
}

impl Sender<'_> {
    /// Writes one frame into the batch. A body that does not fit is left out.
    #[inline]
    fn frame(
        &mut self,
        kind: Kind,
        batch: &mut Batch,
        body: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), Full> {
        let slot = batch.slot().ok_or(Full)?;
        let written = self.session.emit(slot, self.interface, self.destination, kind, self.flags, body);
        if let Some(length) = written {
            batch.commit(length);
            self.counters.tx(kind, length);
        }
        Ok(())
    }

    /// Adds a parcel to the newest frame of the batch, if that is a `DATA` of the same flags for the same peer with room. The frame is
    /// sealed anew, under a new counter. An encrypted one is left as it is: its body cannot be read any more.
    #[inline]
    fn append(&mut self, batch: &mut Batch, header: &[u8], parcel: &[u8]) -> bool {
        let Some((slot, length)) = batch.last_mut() else { return false };
        let Ok(frame) = Frame::parse(&slot[..length]) else { return false };
        let same = frame.header.kind == Kind::DATA
            && frame.header.receiver() == self.session.remote
            && frame.ethernet.destination == self.destination
            && frame.header.flags() == self.flags
            && !self.flags.contains(Flags::ENCRYPTED);
        if !same {
            return false;
        }
        let end = frame.body.len();
        let body = |room: &mut [u8]| Some(end + join(room.get_mut(end..)?, header, parcel)?);
        let written = self.session.emit(slot, self.interface, self.destination, Kind::DATA, self.flags, body);
        if let Some(longer) = written {
            batch.recommit(longer);
            self.counters.tx_more(Kind::DATA, longer - length);
        }
        written.is_some()
    }

    fn acks(&mut self, life: &mut Life, batch: &mut Batch, now: Time) -> Result<(), Full> {
        for stream in Stream::ALL {
            let receiver = life.streams.receive_mut(stream);
            if receiver.is_ack_due() {
                let sent = receiver
                    .ack(stream, |ack| self.frame(Kind::ACK, batch, |room| ack.emit(room).ok()).is_ok());
                if !sent {
                    return Err(Full);
                }
                life.last_sent = now;
            }
        }
        Ok(())
    }

    fn segments(
        &mut self,
        life: &mut Life,
        stream: Stream,
        batch: &mut Batch,
        now: Time,
    ) -> Result<(), Full> {
        let room = body_max(self.interface, self.flags) - Segment::PREFIX_LEN;
        let sending = life.streams.send_mut(stream);
        loop {
            if batch.room() == 0 {
                return if sending.is_waiting() { Err(Full) } else { Ok(()) };
            }
            let Some((offset, length)) = sending.take(room, now) else { return Ok(()) };
            life.last_sent = now;
            self.frame(Kind::SEGMENT, batch, |body| {
                let prefix = Segment { stream, offset, bytes: &[] }.emit(body).ok()?;
                sending.copy(offset, body.get_mut(prefix..prefix + length)?);
                Some(prefix + length)
            })?;
        }
    }

    fn keepalive(
        &mut self,
        life: &mut Life,
        interval: u32,
        batch: &mut Batch,
        now: Time,
    ) -> Result<(), Full> {
        if !life.keepalive_due {
            return Ok(());
        }
        let (echo, held) = self.session.echo.map_or((0, 0), |(sent, came)| {
            (sent, u32::try_from((now - came).as_micros()).unwrap_or(u32::MAX))
        });
        let keepalive = Keepalive { sent: now.0.max(1), echo, held, interval, routes: life.routes_here };
        self.frame(Kind::KEEPALIVE, batch, |room| keepalive.emit(room).ok())?;
        life.keepalive_due = false;
        (life.last_sent, life.last_keepalive) = (now, now);
        Ok(())
    }
}

/// Writes a header and what follows it.
#[inline]
fn join(room: &mut [u8], header: &[u8], rest: &[u8]) -> Option<usize> {
    let (front, back) = room.get_mut(..header.len() + rest.len())?.split_at_mut(header.len());
    front.copy_from_slice(header);
    back.copy_from_slice(rest);
    Some(header.len() + rest.len())
}
