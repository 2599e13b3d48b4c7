//! From the wire to the owner: [`Link::handle_frame`].
//!
//! A frame is dropped by the first check that it fails, in the order of [`DropReason`]: length, version, own address;
//! then by range of kind: gate and handshake; or session index, protection demanded by the configuration, replay window,
//! seal, body. Only what is authentic has an effect beyond a counter: it is a sign of life, it moves the replay window,
//! and its source address is where the peer is from now on. In mode `none` everything counts as authentic, and there is
//! no replay window, as a forged counter could close it for all that follows. Data frames that the configuration leaves clear
//! in a secured mode, and a `PACKET` in every mode, as its sender cannot number it, are delivered and touch nothing else.

use crate::interface::Head;
use crate::link::Rx;
use crate::passage::Way;
use crate::reassembly::Progress;
use crate::session::{Owner, flags};
use crate::{DownReason, Event, Link, PeerId, Time};
use core::ops::Range;
use core::time::Duration;
use frames::data::{Data, DataHeader, OffloadHeader, Packet, PacketHeader, Piece, Tunnel};
use frames::discovery::Protection;
use frames::header::{Flags, Frame, HEADERS_LEN, Kind, KindRange};
use frames::session::{Ack, Close, CloseReason, Keepalive, Segment, Stream};
use frames::{DropReason, ParseError};
use zerocopy::FromBytes;

/// What a frame held, and where the bytes of its parcel lie.
enum Received {
    Nothing,
    Parcel { peer: usize, tunnel: Tunnel, place: Place, bulk: Option<Time> },
}

enum Place {
    Frame(Range<usize>),
    Slot(usize),
}

/// The parcels of a `DATA` that were not handed over yet: where they lie in the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    peer: usize,
    at: usize,
    end: usize,
    /// When they came, if they are of transfers.
    bulk: Option<Time>,
}

/// A frame that passed the checks of its session.
struct Opened {
    owner: Result<usize, Candidacy>,
    authentic: bool,
    /// Whether no later frame of the session came before it.
    newest: bool,
}

/// The session is nobody's yet.
struct Candidacy;

impl Link {
    /// Takes a whole Ethernet frame that arrived on the link interface. It may hold several parcels: this gives the
    /// first, and [`Link::next_parcel`] the others.
    pub fn handle_frame<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> Rx<'a> {
        self.rest = None;
        let received = self.receive(frame, now);
        self.hand_over(frame, received)
    }

    /// The next parcel of the frame that was given to [`Link::handle_frame`] just now, `None` if there is none.
    pub fn next_parcel<'a>(&'a mut self, frame: &'a mut [u8]) -> Option<Rx<'a>> {
        let rest = self.rest.take()?;
        let received = self.take_parcel(frame, rest);
        Some(self.hand_over(frame, received))
    }

    fn hand_over<'a>(&'a mut self, frame: &'a mut [u8], received: Result<Received, DropReason>) -> Rx<'a> {
        match received {
            Ok(Received::Nothing) => Rx::Consumed,
            Ok(Received::Parcel { peer, tunnel, place, bulk }) => {
                let id = crate::association::id(peer);
                let parcel = match place {
                    Place::Frame(range) => frame.get_mut(range),
                    Place::Slot(slot) => {
                        self.peers[peer].life.as_mut().and_then(|life| life.reassembly.parcel(slot))
                    }
                };
                let Some(parcel) = parcel else { return Rx::Consumed };
                if let Some(now) = bulk {
                    self.bulk.mark(parcel, now);
                }
                if let Some(passages) = &mut self.passages {
                    passages.push(Way::Received, id, tunnel, parcel);
                }
                Rx::Parcel { peer: id, tunnel, parcel }
            }
            Err(reason) => {
                self.counters.drop(reason);
                Rx::Drop(reason)
            }
        }
    }

    fn receive(&mut self, frame: &mut [u8], now: Time) -> Result<Received, DropReason> {
        let view = Frame::parse(frame).map_err(|error| match error {
            ParseError::Version(_) => DropReason::Version,
            _ => DropReason::Truncated,
        })?;
        let head = Head { source: view.ethernet.source, header: *view.header, body_len: view.body.len() };
        self.counters.rx(head.header.kind, frame.len());
        if head.source == self.interface.mac {
            return Err(DropReason::OwnFrame);
        }
        if self.closed {
            return Ok(Received::Nothing);
        }
        match head.header.kind.range() {
            KindRange::Discovery => self.receive_discovery(frame, &head, now).map(|()| Received::Nothing),
            KindRange::Session => self.receive_session(frame, &head, now).map(|()| Received::Nothing),
            KindRange::Data => self.receive_data(frame, &head, now),
            KindRange::Reserved => Err(DropReason::UnknownKind),
        }
    }

    /// Finds the session of a frame and opens its seal.
    #[inline]
    fn open(&mut self, frame: &mut [u8], head: &Head, protection: Protection) -> Result<Opened, DropReason> {
        let session = self.sessions.get_mut(head.header.receiver()).ok_or(DropReason::UnknownSession)?;
        let demanded = flags(protection);
        if head.header.flags().intersection(KNOWN_FLAGS) != demanded {
            return Err(DropReason::NotSealed);
        }
        let owner = match session.owner {
            Owner::Peer(index) => Ok(index),
            Owner::Candidate(_) => Err(Candidacy),
        };
        let Some(seal) = &session.seal else { return Ok(Opened { owner, authentic: true, newest: true }) };
        if demanded.is_empty() {
            return Ok(Opened { owner, authentic: false, newest: false });
        }
        let counter = head.header.counter.get();
        let bulk = head.header.flags().contains(Flags::BULK);
        if !session.is_fresh(counter, bulk) {
            return Err(DropReason::Replayed);
        }
        if !seal.open(frame, head.body_len, counter, demanded.contains(Flags::ENCRYPTED)) {
            return Err(DropReason::BadSeal);
        }
        Ok(Opened { owner, authentic: true, newest: session.accept(counter, bulk) })
    }

    /// Notes a sign of life.
    #[inline]
    fn heard(&mut self, index: usize, head: &Head, newest: bool, now: Time) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(life) = &mut peer.life else { return };
        life.last_heard = now;
        if newest && peer.mac != head.source && life.current == head.header.receiver() {
            log::debug!(target: "link::peer", "{} is at {} now", peer.name, head.source);
            peer.mac = head.source;
        }
    }

    fn receive_session(&mut self, frame: &mut [u8], head: &Head, now: Time) -> Result<(), DropReason> {
        let opened = self.open(frame, head, self.control)?;
        let session = head.header.receiver();
        let body = head.body(frame);
        let index = match opened.owner {
            Ok(index) => index,
            Err(Candidacy) if head.header.kind == Kind::CLOSE => {
                return self.receive_refusal(body, head, now);
            }
            Err(Candidacy) => self.establish(session, head.source, now)?,
        };
        self.heard(index, head, opened.newest, now);
        let taken = match head.header.kind {
            Kind::KEEPALIVE => self.receive_keepalive(index, body, head, now),
            Kind::SEGMENT => self.receive_segment(index, body),
            Kind::ACK => self.receive_ack(index, body, now),
            Kind::CLOSE => {
                let close = Close::parse(body).map_err(|_| DropReason::Malformed)?;
                self.take_down(index, DownReason::Closed(close.reason), now);
                Ok(())
            }
            _ => Err(DropReason::UnknownKind),
        };
        self.note(index);
        taken
    }

    /// The other side will not have the session that was being made.
    fn receive_refusal(&mut self, body: &[u8], head: &Head, now: Time) -> Result<(), DropReason> {
        let close = Close::parse(body).map_err(|_| DropReason::Malformed)?;
        let session = head.header.receiver();
        let reason = match close.reason {
            CloseReason::NAME_IN_USE => Some(DropReason::NameInUse),
            CloseReason::NOT_A_PEER => Some(DropReason::NotItsPeer),
            _ => None,
        };
        if let Some(Owner::Candidate(candidate)) = self.sessions.get(session).map(|session| &session.owner)
            && let Some(reason) = reason
        {
            let (role, name) = (candidate.role, candidate.name.clone());
            self.refuse(&name, role, head.source, reason, now);
        }
        self.discard(session);
        Ok(())
    }

    fn receive_keepalive(
        &mut self,
        index: usize,
        body: &[u8],
        head: &Head,
        now: Time,
    ) -> Result<(), DropReason> {
        let keepalive = Keepalive::parse(body).map_err(|_| DropReason::Malformed)?;
        if let Some(session) = self.sessions.get_mut(head.header.receiver()) {
            session.echo = Some((keepalive.sent, now));
        }
        let peer = &mut self.peers[index];
        let Some(life) = &mut peer.life else { return Ok(()) };
        life.routes_there = keepalive.routes.or(life.routes_there);
        if keepalive.routes.is_some() {
            self.ready.digests.insert(index);
        }
        life.interval = Duration::from_micros(keepalive.interval.into()).clamp(INTERVAL_MIN, INTERVAL_MAX);
        if keepalive.echo == 0 {
            life.keepalive_due = true;
        } else if let Some(elapsed) = now.0.checked_sub(keepalive.echo)
            && let Some(rtt) = elapsed.checked_sub(keepalive.held.into()).map(Duration::from_micros)
            && rtt < INTERVAL_MAX
        {
            peer.rtt.sample(rtt);
            self.round_trips.record(rtt);
        }
        Ok(())
    }

    fn receive_segment(&mut self, index: usize, body: &[u8]) -> Result<(), DropReason> {
        let segment = Segment::parse(body).map_err(|_| DropReason::Malformed)?;
        let Some(life) = &mut self.peers[index].life else { return Ok(()) };
        life.streams.receive_mut(segment.stream).insert(segment.offset, segment.bytes)?;
        self.ready.messages[segment.stream as usize].insert(index);
        Ok(())
    }

    fn receive_ack(&mut self, index: usize, body: &[u8], now: Time) -> Result<(), DropReason> {
        let ack = Ack::parse(body).map_err(|_| DropReason::Malformed)?;
        let peer = &mut self.peers[index];
        let Some(life) = &mut peer.life else { return Ok(()) };
        let rtt = life.streams.send_mut(ack.stream).handle_ack(&ack, now);
        if let Some(rtt) = rtt.map_err(|_never_sent| DropReason::Malformed)? {
            peer.rtt.sample(rtt);
            self.round_trips.record(rtt);
        }
        Ok(())
    }

    fn receive_data(&mut self, frame: &mut [u8], head: &Head, now: Time) -> Result<Received, DropReason> {
        if head.header.kind == Kind::PACKET {
            return self.receive_packet(frame, head);
        }
        let opened = self.open(frame, head, self.data)?;
        let peer = opened.owner.map_err(|Candidacy| DropReason::UnknownSession)?;
        if opened.authentic {
            self.heard(peer, head, opened.newest, now);
        }
        let bulk = head.header.flags().contains(Flags::BULK).then_some(now);
        match head.header.kind {
            Kind::DATA => {
                let end = HEADERS_LEN + head.body_len;
                self.take_parcel(frame, Rest { peer, at: HEADERS_LEN, end, bulk })
            }
            Kind::PIECE => {
                let piece = Piece::parse(head.body(frame)).map_err(|_| DropReason::Malformed)?;
                self.receive_piece(peer, &piece, bulk)
            }
            _ => Err(DropReason::UnknownKind),
        }
    }

    /// Takes the first parcel of what is left of a `DATA`.
    #[inline]
    fn take_parcel(&mut self, frame: &[u8], rest: Rest) -> Result<Received, DropReason> {
        let Rest { peer, at, end, bulk } = rest;
        let bytes = frame.get(at..end).unwrap_or_default();
        let (data, behind) = Data::split(bytes).map_err(|_| DropReason::Malformed)?;
        if !behind.is_empty() {
            self.rest = Some(Rest { at: end - behind.len(), ..rest });
        }
        check_offload(data.parcel)?;
        let start = at + size_of::<DataHeader>();
        let place = Place::Frame(start..start + data.parcel.len());
        Ok(Received::Parcel { peer, tunnel: data.tunnel, place, bulk })
    }

    /// Takes a packet of a kernel's fast path, and makes it a parcel where it lies: the offload header takes the place of the
    /// tunnel and of the end of the link header. The frame is authentic in no mode: it has no seal and no number.
    #[inline]
    fn receive_packet(&mut self, frame: &mut [u8], head: &Head) -> Result<Received, DropReason> {
        let session = self.sessions.get(head.header.receiver()).ok_or(DropReason::UnknownSession)?;
        if !flags(self.data).is_empty() || head.header.flags().intersects(KNOWN_FLAGS) {
            return Err(DropReason::NotSealed);
        }
        let Owner::Peer(peer) = session.owner else { return Err(DropReason::UnknownSession) };
        if head.header.length.get() != 0 {
            return Err(DropReason::Malformed);
        }
        let packet = Packet::parse(head.body(frame)).map_err(|_| DropReason::Malformed)?;
        let (tunnel, length) = (packet.tunnel, packet.frame.len());
        let start = PACKET_FRAME - size_of::<OffloadHeader>();
        frame[start..PACKET_FRAME].fill(0);
        Ok(Received::Parcel { peer, tunnel, place: Place::Frame(start..PACKET_FRAME + length), bulk: None })
    }

    fn receive_piece(
        &mut self,
        peer: usize,
        piece: &Piece<'_>,
        bulk: Option<Time>,
    ) -> Result<Received, DropReason> {
        let Some(life) = &mut self.peers[peer].life else { return Err(DropReason::UnknownSession) };
        let mut given_up = 0;
        let progress = life.reassembly.insert(piece, &mut given_up);
        self.counters.drops(DropReason::IncompleteParcel, given_up);
        match progress? {
            Progress::Partial => Ok(Received::Nothing),
            Progress::Whole(slot) => {
                check_offload(life.reassembly.parcel(slot).unwrap_or_default())?;
                Ok(Received::Parcel { peer, tunnel: piece.tunnel, place: Place::Slot(slot), bulk })
            }
        }
    }

    /// The newest digest of any peer that the owner was not told yet.
    pub(crate) fn take_routes_digest(&mut self) -> Option<Event> {
        self.ready.digests.around(0).find_map(|index| {
            self.ready.digests.remove(index);
            let digest = self.peers[index].life.as_mut()?.routes_there.take()?;
            Some(Event::RoutesDigest { peer: crate::association::id(index), digest })
        })
    }

    /// Moves the next message of any peer to the events, those of the first stream first, peers in turn.
    pub(crate) fn take_message(&mut self) {
        for stream in Stream::ALL {
            let ready = self.ready.messages[stream as usize];
            for index in ready.around(self.cursor) {
                let life = self.peers[index].life.as_mut();
                match life.map_or(Ok(None), |life| life.streams.receive_mut(stream).next_message()) {
                    Ok(None) => self.ready.messages[stream as usize].remove(index),
                    Ok(Some(message)) => {
                        self.cursor = index;
                        // The sender may be told of its new credit.
                        self.ready.to_send.insert(index);
                        let peer = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
                        self.events.push_back(Event::Message { peer, message });
                        return;
                    }
                    Err(_) => {
                        self.counters.drop(DropReason::BadMessage);
                        let since = self.peers[index].life.as_ref().map_or(Time(0), |life| life.last_heard);
                        self.hang_up(index, CloseReason::BAD_STREAM, since);
                        return;
                    }
                }
            }
        }
    }
}

/// Checks that a parcel is an offload header that fits the Ethernet frame behind it.
fn check_offload(parcel: &[u8]) -> Result<(), DropReason> {
    let (offload, ethernet) = OffloadHeader::ref_from_prefix(parcel).map_err(|_| DropReason::Malformed)?;
    if ethernet.len() < ETHERNET_HEADER {
        return Err(DropReason::Malformed);
    }
    offload.check(ethernet.len()).map_err(|_| DropReason::BadOffload)
}

const KNOWN_FLAGS: Flags = Flags::SEALED.union(Flags::ENCRYPTED).union(Flags::GATED);
const ETHERNET_HEADER: usize = 14;
/// Where the Ethernet frame in a `PACKET` begins.
const PACKET_FRAME: usize = HEADERS_LEN + size_of::<PacketHeader>();
const _: () = assert!(PACKET_FRAME >= size_of::<OffloadHeader>());
/// Bounds of a peer's keepalive interval that is believed.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(10);
