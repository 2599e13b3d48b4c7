//! A device of the segment: a [`Link`], an owner that sends numbered messages and parcels by it, and the checks of what
//! arrives.

use super::{Dice, Scenario};
use crate::stream::SendStream;
use crate::{Batch, Event, Link, PeerId, ReceivedMessage, Rx, Time};
use core::net::{IpAddr, Ipv4Addr};
use frames::data::Tunnel;
use frames::message::{Message, PortAddress, PortAttributes, PortFlags, PortUpdate, RuleDelete};
use frames::session::Stream;
use frames::{Mac, PortId, RequestId, UpTunnel};
use std::collections::BTreeMap;

pub(super) struct Node {
    pub(super) link: Link,
    pub(super) mac: Mac,
    pub(super) mtu: u32,
    pub(super) reachable: bool,
    pub(super) batch: Batch,
    pub(super) next_send: Time,
    /// Until when the owner takes no events, if it is busy.
    pub(super) busy: Option<Time>,
    /// Until when its process gets no processor, if it is stalled, and the frames that wait for it.
    pub(super) stalled: Option<Time>,
    pub(super) waiting: Vec<Vec<u8>>,
    pub(super) peers: BTreeMap<PeerId, Association>,
    pub(super) tally: Tally,
    checks_parcels: bool,
}

/// What a device saw.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) parcels: u64,
    pub(super) ups: u64,
    pub(super) downs: u64,
}

/// One life of one peer, as this device sees it.
#[derive(Debug, Default)]
pub(super) struct Association {
    pub(super) up: bool,
    pub(super) name: String,
    /// Stands in every message of this association from here.
    pub(super) tag: u32,
    /// Messages sent: events, rules.
    pub(super) sent: [u32; 2],
    /// The tag of the other side's messages, and how many came: events, rules.
    pub(super) heard: Option<u32>,
    pub(super) received: [u32; 2],
}

impl Node {
    pub(super) fn new(
        scenario: &Scenario,
        device: usize,
        mac: Mac,
        mtu: u32,
        dice: &mut Dice,
        now: Time,
    ) -> Self {
        let mut seed = [0; 32];
        seed.copy_from_slice(&Dice::bytes(dice.draw(), 32));
        let config = scenario.config(device, dice.draw(), mac, mtu);
        let mut link = Link::new(config, seed, now);
        link.rekey_after = scenario.rekey_after;
        Self {
            batch: Batch::new(link.parcel_frames_max() + 8, link.frame_len_max()),
            link,
            mac,
            mtu,
            reachable: true,
            next_send: now,
            busy: None,
            stalled: None,
            waiting: Vec::new(),
            peers: BTreeMap::new(),
            tally: Tally::default(),
            checks_parcels: scenario.protects_parcels(),
        }
    }

    pub(super) fn set_interface(&mut self, mac: Mac, mtu: u32) {
        (self.mac, self.mtu) = (mac, mtu);
        self.link.set_interface(mac, mtu);
        self.batch = Batch::new(self.link.parcel_frames_max() + 8, self.link.frame_len_max());
    }

    /// A frame arrives.
    pub(super) fn handle_frame(&mut self, mut frame: Vec<u8>, now: Time) -> Result<(), String> {
        let mut next = Some(self.link.handle_frame(&mut frame, now));
        while let Some(received) = next {
            if let Rx::Parcel { tunnel, parcel, .. } = received {
                self.tally.parcels += 1;
                if self.checks_parcels && *parcel != *parcel_of(tunnel.0, parcel.len()) {
                    return Err(format!("a parcel of {} bytes arrived that was never sent", parcel.len()));
                }
            }
            next = self.link.next_parcel(&mut frame);
        }
        Ok(())
    }

    /// A frame arrives at a process that may be stalled. Returns whether it was taken.
    pub(super) fn arrive(&mut self, frame: Vec<u8>, now: Time) -> Result<bool, String> {
        if self.stalled.is_some() {
            self.waiting.push(frame);
            return Ok(false);
        }
        self.handle_frame(frame, now)?;
        Ok(true)
    }

    /// Ends a stall that is over, with what has arrived meanwhile: as in a daemon, that goes before the timers. Returns whether one
    /// was.
    pub(super) fn end_stall(&mut self, now: Time) -> Result<bool, String> {
        let over = self.stalled.take_if(|until| *until <= now).is_some();
        if over {
            for frame in core::mem::take(&mut self.waiting) {
                self.handle_frame(frame, now)?;
            }
        }
        Ok(over)
    }

    /// What happened, unless the owner is busy.
    pub(super) fn take_event(&mut self) -> Option<Event> {
        if self.busy.is_some() { None } else { self.link.poll_event() }
    }

    /// Takes what happened. `tag` is the next free tag of the whole segment.
    pub(super) fn handle_event(&mut self, event: Event, tag: &mut u32) -> Result<(), String> {
        match event {
            Event::PeerUp { peer, name, .. } => {
                *tag += 1;
                self.tally.ups += 1;
                let fresh = Association { up: true, name, tag: *tag, ..Association::default() };
                let before = self.peers.insert(peer, fresh);
                if before.is_some_and(|before| before.up) {
                    return Err("PeerUp of a peer that is up".into());
                }
            }
            Event::PeerDown { peer, .. } => {
                self.tally.downs += 1;
                let known = self.peers.get_mut(&peer).ok_or("PeerDown of a peer that never was up")?;
                if !core::mem::take(&mut known.up) {
                    return Err("PeerDown of a peer that is down".into());
                }
            }
            Event::Message { peer, message } => {
                self.tally.messages += 1;
                let known = self.peers.get_mut(&peer).filter(|peer| peer.up);
                known.ok_or("a message of a peer that is not up")?.receive(&message)?;
            }
            Event::RoutesDigest { peer, .. } => {
                self.peers.get(&peer).filter(|peer| peer.up).ok_or("a digest of a peer that is not up")?;
            }
            Event::Refused { .. } => {}
        }
        Ok(())
    }

    /// Sends something to some peer that is up.
    pub(super) fn send(&mut self, dice: &mut Dice, now: Time) {
        let up: Vec<PeerId> =
            self.peers.iter().filter(|(_, known)| known.up).map(|(peer, _)| *peer).collect();
        if up.is_empty() {
            return;
        }
        let peer = up[dice.index(up.len())];
        if dice.chance(300) {
            let length = if dice.chance(200) { dice.between(24, 65_000) } else { dice.between(24, 3_000) };
            let tunnel = Tunnel(u32::try_from(dice.below(1 << 32)).unwrap_or(0));
            let parcel = parcel_of(tunnel.0, usize::try_from(length).unwrap_or(24));
            let _refused = self.link.send_parcel(peer, tunnel, &parcel, &mut self.batch, now);
            return;
        }
        let large = dice.chance(20);
        let count = if dice.chance(5) { BURST } else { dice.between(1, 4) };
        if let Some(known) = self.peers.get_mut(&peer) {
            for _ in 0..count {
                known.send(&mut self.link, peer, dice.chance(500), large);
            }
        }
    }

    /// Whether every message that either side queued has arrived, as far as this side can see.
    pub(super) fn backlog(&self) -> usize {
        let peers = self.peers.keys();
        peers.flat_map(|peer| Stream::ALL.map(|stream| self.link.backlog(*peer, stream))).sum()
    }

    /// Checks what must stay bounded.
    pub(super) fn check_bounds(&self, devices: usize) -> Result<(), String> {
        let link = &self.link;
        let sizes = [
            ("sessions", link.sessions.len(), 2 * devices + 2 * HANDSHAKES),
            ("peers", link.peers.len(), devices),
            ("attempts", link.attempts.len(), HANDSHAKES),
            ("half-open sessions", link.half_open.len(), HANDSHAKES),
            ("events", if self.busy.is_some() { 0 } else { link.events.len() }, 0),
            ("frames in the outbox", link.outbox.len(), 0),
        ];
        match sizes.iter().find(|(_, size, bound)| size > bound) {
            Some((what, size, bound)) => Err(format!("{size} {what}, more than {bound}")),
            None => link.check_ready(),
        }
    }
}

/// Checks that every device has all of the other role up.
pub(super) fn check_up(scenario: &Scenario, nodes: &[Node]) -> Result<(), String> {
    for (device, node) in nodes.iter().enumerate() {
        let up = node.peers.values().filter(|known| known.up).count();
        let others = if device < scenario.relays { scenario.controls } else { scenario.relays };
        if up != others {
            return Err(format!("device {device} has {up} of {others} peers up after the network healed"));
        }
    }
    Ok(())
}

/// Checks that all messages of the associations that live have arrived.
pub(super) fn check_all_arrived(nodes: &[Node]) -> Result<(), String> {
    for (device, node) in nodes.iter().enumerate() {
        if node.backlog() > 0 {
            return Err(format!("device {device} still holds {} bytes", node.backlog()));
        }
        for known in node.peers.values() {
            let other = nodes.iter().find(|other| other.link.name == known.name);
            let other = other.ok_or("a peer that is nobody")?;
            let mine = other.peers.values().find(|mirror| node.link.name == mirror.name);
            let mine = mine.ok_or("a peer that does not know it")?;
            if mine.received != known.sent {
                return Err(format!("{device} sent {:?}, {:?} arrived", known.sent, mine.received));
            }
        }
    }
    Ok(())
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.parcels += other.parcels;
        self.ups += other.ups;
        self.downs += other.downs;
    }
}

impl Link {
    /// Checks that nothing waits for a look that nobody will take.
    fn check_ready(&self) -> Result<(), String> {
        for (index, peer) in self.peers.iter().enumerate() {
            let Some(life) = &peer.life else { continue };
            if life.keepalive_due || life.streams.senders().iter().any(SendStream::is_waiting) {
                return Err(format!("something for {} was not sent", peer.name));
            }
            let (deadline, alarm) = (self.peer_deadline(index), self.ready.alarm_of(index));
            if alarm.is_none_or(|alarm| deadline.is_some_and(|deadline| deadline < alarm)) {
                return Err(format!(
                    "{} is due at {deadline:?}, and the alarm is set to {alarm:?}",
                    peer.name
                ));
            }
        }
        Ok(())
    }
}

impl Association {
    pub(super) fn send(&mut self, link: &mut Link, peer: PeerId, event: bool, large: bool) {
        if event {
            let sequence = self.sent[0];
            let addresses = addresses(sequence, large);
            let attributes = PortAttributes {
                generation: self.tag,
                flags: PortFlags::empty(),
                mtu: 0,
                speed: 0,
                mac: Mac::default(),
                name: "eth1",
                addresses: &addresses,
                routes: &[],
            };
            link.send_message(peer, &Message::PortUpdate(PortUpdate { port: PortId(sequence), attributes }));
            self.sent[0] += 1;
        } else {
            let (request, tunnel) = (RequestId(self.sent[1]), UpTunnel(self.tag));
            link.send_message(peer, &Message::RuleDelete(RuleDelete { request, tunnel }));
            self.sent[1] += 1;
        }
    }

    fn receive(&mut self, message: &ReceivedMessage) -> Result<(), String> {
        let (stream, tag, sequence) = match Message::parse(&message.raw()) {
            Ok(Message::PortUpdate(update)) => {
                let sent = addresses(update.port.0, update.attributes.addresses.len() > SMALL as usize);
                if update.attributes.addresses != sent {
                    return Err(format!("the message about {} arrived changed", update.port));
                }
                (0, update.attributes.generation, update.port.0)
            }
            Ok(Message::RuleDelete(rule)) => (1, rule.tunnel.0, rule.request.0),
            other => return Err(format!("a message arrived that was never sent: {other:?}")),
        };
        if *self.heard.get_or_insert(tag) != tag {
            return Err(format!("messages of two associations, {tag} and {:?}, in one", self.heard));
        }
        let expected = self.received[stream];
        if sequence != expected {
            return Err(format!("message {sequence} of stream {stream} arrived instead of {expected}"));
        }
        self.received[stream] += 1;
        Ok(())
    }
}

/// The parcel of this number and length.
fn parcel_of(number: u32, length: usize) -> Vec<u8> {
    let mut parcel = vec![0; 10];
    parcel.extend(Dice::bytes(number.into(), length.saturating_sub(10)));
    parcel
}

/// What a port update of this number carries: often more than fits a frame.
fn addresses(sequence: u32, large: bool) -> Vec<PortAddress> {
    let count = if large { LARGE } else { sequence % SMALL };
    let address = |index| IpAddr::V4(Ipv4Addr::from(sequence.wrapping_mul(65_537).wrapping_add(index)));
    (0..count).map(|index| PortAddress::new(address(index), 24)).collect()
}

/// Handshakes under way that a segment with a few devices cannot have more of, however bad the network.
const HANDSHAKES: usize = 64;
/// Messages at once that are more than a stream's credit.
const BURST: u64 = 400;
const SMALL: u32 = 100;
const LARGE: u32 = 1_000;
