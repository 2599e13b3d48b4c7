//! [`Link`]: one device's end of the segment.

use crate::answered::Answered;
use crate::attempt::Attempt;
use crate::bucket::TokenBucket;
use crate::discovery::HelloTimer;
use crate::interface::Interface;
use crate::partner::Partner;
use crate::passage::Passages;
use crate::peer::{Life, PEERS_MAX, Peer};
use crate::random::Random;
use crate::ready::Ready;
use crate::receive::Rest;
use crate::refusal::Refusals;
use crate::session::{REKEY_AFTER, SessionTable};
use crate::session_keys::SessionKeys;
use crate::trust::Secrets;
use crate::{BulkFlows, Config, Counters, Event, Histogram, PeerId, PeerInfo, PeerState, Secret, Time};
use core::fmt;
use frames::data::Tunnel;
use frames::discovery::{Hello, Mode, Protection, Role};
use frames::header::Kind;
use frames::message::{MESSAGE_MAX, Message};
use frames::route::RoutesDigest;
use frames::session::{CloseReason, Stream};
use frames::{BootId, DropReason, Mac, SessionIndex};
use std::collections::{BTreeMap, VecDeque};

/// One device's end of the segment: peers, sessions, reliable streams, parcels.
pub struct Link {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) boot: BootId,
    pub(crate) control: Protection,
    pub(crate) data: Protection,
    pub(crate) keepalive: core::time::Duration,
    pub(crate) missed: u32,
    /// Age at which the control replaces the keys of a session.
    pub(crate) rekey_after: core::time::Duration,
    pub(crate) interface: Interface,
    pub(crate) secrets: Secrets,
    /// Relays that controls introduced to this one, by name.
    pub(crate) partners: BTreeMap<String, Partner>,
    pub(crate) random: Random,
    pub(crate) sessions: SessionTable,
    /// By [`PeerId`].
    pub(crate) peers: Vec<Peer>,
    /// Places of all peers, by role and name.
    pub(crate) names: BTreeMap<Role, BTreeMap<String, usize>>,
    pub(crate) ready: Ready,
    /// Handshakes that this device began.
    pub(crate) attempts: Vec<Attempt>,
    /// Sessions that this device answered for and that are not confirmed yet, oldest first.
    pub(crate) half_open: VecDeque<SessionIndex>,
    /// First handshake frames to which this device has answered.
    pub(crate) answered: Answered,
    pub(crate) handshakes: TokenBucket,
    pub(crate) answers: TokenBucket,
    pub(crate) refusals: Refusals,
    pub(crate) hello: HelloTimer,
    /// Discovery and handshake frames, and session frames of sessions that belong to no peer.
    pub(crate) outbox: VecDeque<(Kind, Vec<u8>)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) counters: Counters,
    /// Round-trip times of all sessions.
    pub(crate) round_trips: Histogram,
    /// The peer whose frames and messages come first next time.
    pub(crate) cursor: usize,
    pub(crate) closed: bool,
    /// Which flows are transfers.
    pub(crate) bulk: BulkFlows,
    /// What is left of the frame that was handled last.
    pub(crate) rest: Option<Rest>,
    /// Keys of new sessions that the owner did not take yet; `None` if it does not want them.
    pub(crate) session_keys: Option<VecDeque<SessionKeys>>,
    /// Copies of parcels that the owner did not take yet; `None` if it does not want them.
    pub(crate) passages: Option<Passages>,
    scratch: Vec<u8>,
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
    ///
    /// The security mode decides what the configured protections can be: in mode `none` both are
    /// [`Protection::CLEAR`], in the others session frames are at least [`Protection::SEALED`].
    #[must_use]
    pub fn new(config: Config, seed: impl Into<Secret>, now: Time) -> Self {
        let secrets = Secrets::new(config.security);
        let (control, data) = match (secrets.mode(), config.control) {
            (Mode::NONE, _) => (Protection::CLEAR, Protection::CLEAR),
            (_, Protection::CLEAR) => (Protection::SEALED, config.data),
            (_, control) => (control, config.data),
        };
        let mut link = Self {
            name: config.name,
            role: config.role,
            boot: config.boot,
            control,
            data,
            keepalive: config.keepalive,
            missed: config.missed.max(1),
            rekey_after: REKEY_AFTER,
            interface: Interface {
                mac: config.mac,
                ethertype: config.ethertype,
                mtu: usable_mtu(config.mtu),
            },
            secrets,
            partners: BTreeMap::new(),
            random: Random::new(&seed.into()),
            sessions: SessionTable::default(),
            peers: Vec::new(),
            names: BTreeMap::new(),
            ready: Ready::default(),
            attempts: Vec::new(),
            half_open: VecDeque::new(),
            answered: Answered::default(),
            handshakes: TokenBucket::new(HANDSHAKES_PER_SECOND, HANDSHAKES_AT_ONCE, now),
            answers: TokenBucket::new(ANSWERS_PER_SECOND, ANSWERS_AT_ONCE, now),
            refusals: Refusals::new(now),
            hello: HelloTimer::new(now),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            round_trips: Histogram::default(),
            cursor: 0,
            closed: false,
            rest: None,
            session_keys: None,
            passages: None,
            bulk: BulkFlows::default(),
            scratch: vec![0; MESSAGE_MAX],
        };
        link.handle_timeout(now);
        link
    }

    /// From now on [`Link::poll_session_keys`] gives the keys of every new session away.
    pub fn keep_session_keys(&mut self) {
        self.session_keys.get_or_insert_default();
    }

    /// Ends [`Link::keep_session_keys`].
    pub fn drop_session_keys(&mut self) {
        self.session_keys = None;
    }

    /// The keys of the next session that was made, before the first frame under them is sent: to be polled before
    /// [`Link::poll_transmit`]. Not every such session comes to be used.
    pub fn poll_session_keys(&mut self) -> Option<SessionKeys> {
        self.session_keys.as_mut()?.pop_front()
    }

    /// The next thing that happened. Taking messages gives their sender new credit.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            if let Some(digest) = self.take_routes_digest() {
                return Some(digest);
            }
            self.take_message();
        }
        self.events.pop_front()
    }

    /// Queues a message for reliable delivery in its stream; without a session it is dropped silently, as the owner
    /// replays its tables on [`Event::PeerUp`]. [`Link::poll_transmit`] sends it.
    ///
    /// Take all events first: a peer may have gone down and come up again since, and the message would be the first of
    /// its new session.
    pub fn send_message(&mut self, peer: PeerId, message: &Message<'_>) {
        let Ok(length) = message.emit(&mut self.scratch) else {
            log::error!(target: "link::stream", "a {} message is longer than a message may be", message.kind());
            return;
        };
        let bytes = &self.scratch[..length];
        if let Some(life) = self.peers.get_mut(peer.0 as usize).and_then(|peer| peer.life.as_mut()) {
            life.streams.send_mut(message.stream()).push(bytes);
            self.counters.message();
            self.ready.to_send.insert(peer.0 as usize);
        }
    }

    /// Bytes queued and not yet acknowledged in a stream; senders in bulk pause while it is large.
    #[must_use]
    pub fn backlog(&self, peer: PeerId, stream: Stream) -> usize {
        self.life(peer).map_or(0, |life| life.streams.send(stream).backlog())
    }

    /// What every keepalive to a control says from now on of the routes that this relay has of it, until another is set or
    /// the session ends; `None` says nothing. Without a session it is ignored.
    pub fn set_routes_digest(&mut self, peer: PeerId, digest: Option<RoutesDigest>) {
        if let Some(life) = self.peers.get_mut(peer.0 as usize).and_then(|peer| peer.life.as_mut()) {
            life.routes_here = digest;
        }
    }

    /// Most frames that one parcel can become.
    #[must_use]
    pub fn parcel_frames_max(&self) -> usize {
        frames::data::PARCEL_MAX.div_ceil(self.piece_max())
    }

    /// Longest frame that the link writes, Ethernet header included.
    #[must_use]
    pub fn frame_len_max(&self) -> usize {
        self.interface.frame_len_max()
    }

    /// Sends to live peers at least that often from now on, and misses one after `missed` silent intervals of its own.
    pub fn set_liveness(&mut self, keepalive: core::time::Duration, missed: u32) {
        (self.keepalive, self.missed) = (keepalive, missed.max(1));
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if let Some(life) = &mut peer.life {
                // It tells the other end how often it has to expect one.
                life.keepalive_due = true;
                self.ready.to_send.insert(index);
            }
        }
    }

    /// The link interface got another address or MTU; sessions go on. Every peer is told at once, so that it follows.
    pub fn set_interface(&mut self, mac: Mac, mtu: u32) {
        if mac != self.interface.mac {
            self.abandon_attempts();
        }
        self.interface = Interface { mac, mtu: usable_mtu(mtu), ..self.interface };
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if let Some(life) = &mut peer.life {
                life.keepalive_due = true;
                self.ready.to_send.insert(index);
            }
        }
        self.hello.hurry();
    }

    /// Ends all sessions in order: queues `CLOSE` frames for [`Link::poll_transmit`]. The link is mute and deaf from
    /// then on.
    pub fn close(&mut self, reason: CloseReason, now: Time) {
        for index in 0..self.peers.len() {
            if self.peers[index].life.is_some() {
                self.hang_up(index, reason, now);
            }
        }
        self.closed = true;
    }

    /// Ends the session with a peer in order, if there is one. It begins anew as soon as the two hear each other again.
    pub fn disconnect(&mut self, peer: PeerId, now: Time) {
        if self.life(peer).is_some() {
            self.hang_up(peer.0 as usize, CloseReason::SHUTDOWN, now);
        }
    }

    /// Leaves a peer that is down out of [`Link::peers`], and misses it no more, until it is up again.
    pub fn forget(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(peer.0 as usize) {
            peer.forgotten = peer.life.is_none();
        }
    }

    /// All peers that were ever heard and are not forgotten, by name, with the devices that are refused at present.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let is_known = |peer: &Peer| !peer.forgotten && self.meets_role(peer.role, &peer.name);
        let known = self.peers.iter().zip(0..).filter(|(peer, _)| is_known(peer));
        let known = known.map(|(peer, id)| PeerInfo {
            peer: PeerId(id),
            name: peer.name.clone(),
            role: peer.role,
            mac: peer.mac,
            key: peer.key,
            state: if peer.life.is_some() { PeerState::Up } else { PeerState::Down },
            since: peer.since,
            rtt: peer.life.as_ref().and(peer.rtt.smoothed()),
        });
        let mut infos: Vec<_> = known.chain(self.refusals.infos()).collect();
        infos.sort_by(|a, b| (&a.name, a.mac).cmp(&(&b.name, b.mac)));
        infos
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Every round-trip time that was measured since the start, of all sessions.
    #[must_use]
    pub fn round_trips(&self) -> &Histogram {
        &self.round_trips
    }

    /// For drops that the owner decides.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// What this device says of itself.
    pub(crate) fn own_hello(&self) -> Hello<'_> {
        Hello {
            role: self.role,
            mode: self.mode(),
            data: self.data,
            control: self.control,
            boot: self.boot,
            name: &self.name,
        }
    }

    pub(crate) fn life(&self, peer: PeerId) -> Option<&Life> {
        self.peers.get(peer.0 as usize)?.life.as_ref()
    }

    pub(crate) fn peer_named(&self, role: Role, name: &str) -> Option<usize> {
        self.names.get(&role)?.get(name).copied()
    }

    /// Queues a frame that belongs to no peer; when there are too many, the oldest goes.
    pub(crate) fn push_frame(&mut self, kind: Kind, frame: Vec<u8>) {
        if self.outbox.len() == OUTBOX_MAX {
            self.outbox.pop_front();
        }
        self.outbox.push_back((kind, frame));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = self.peers.iter().filter(|peer| peer.life.is_some()).count();
        f.debug_struct("Link").field("name", &self.name).field("role", &self.role).field("up", &up).finish()
    }
}

fn usable_mtu(mtu: u32) -> usize {
    mtu.clamp(Config::MTU_MIN, MTU_MAX) as usize
}

/// Largest MTU that is used: the length field of a frame has 16 bits.
const MTU_MAX: u32 = 65_535;
/// Handshakes that this device takes part in. One costs some 100 µs on either side.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// Enough for all controls of a segment after a relay's restart.
const HANDSHAKES_AT_ONCE: u64 = 300;
/// Hellos that this device sends in answer to others.
const ANSWERS_PER_SECOND: u64 = 100;
const ANSWERS_AT_ONCE: u64 = 300;
/// Frames that wait in the outbox: one for each handshake that may be under way at once, and room for answers.
const OUTBOX_MAX: usize = 2 * PEERS_MAX;
