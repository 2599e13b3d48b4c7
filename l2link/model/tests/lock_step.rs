//! The model and `l2link` go through the same things, and agree after each.
//!
//! Two controls and two relays, with real links, keys and frames. All frames that were ever sent are kept, and any may arrive at any
//! time, any number of times; each device has a clock of its own, which goes on when the dice say so. What happens to a link happens to
//! the model too, named by the frame's own bytes; what a timer did is read off the link. Then both must know the same
//! peers, handshakes and sessions, and must have taken the same messages.

use core::time::Duration;
use frames::discovery::{Handshake, Hello, Protection, Role};
use frames::header::{DEFAULT_ETHERTYPE, Frame, Kind};
use frames::message::{Message, RuleDelete};
use frames::{BootId, Mac, RequestId, SessionIndex, UpTunnel};
use l2link::sim::{Dice, Snapshot};
use l2link::{Batch, Config, Event, Link, PeerId, PeerState, Security, Time};
use session_model::segment::{ENTRIES, Law, Segment};
use session_model::table::{Kind as Table, Message as Said};
use session_model::wire::next;
use session_model::{Begins, Bounds, end};
use std::collections::BTreeMap;

#[test]
fn the_model_does_what_the_code_does() {
    let mut met = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            let what = world.step();
            *met.entry(what.clone()).or_insert(0_u32) += 1;
            world.compare().unwrap_or_else(|why| panic!("seed {seed}, step {step}, {what}: {why}"));
        }
    }
    println!("{met:?}");
    for what in [
        "Replace",
        "Rekey",
        "closed at a control",
        "closed at a relay",
        "expires",
        "forgets",
        "gives up",
        "message",
    ] {
        assert!(met.keys().any(|met| met.contains(what)), "never happened: {what}");
    }
}

const SEEDS: u64 = 120;
const STEPS: usize = 600;
const CONTROLS: usize = 2;
const RELAYS: usize = 2;
const LAW: Law = Law { table: Table::Rules, defect: None };

/// A device with its real link.
struct Device {
    role: Role,
    place: usize,
    link: Link,
    now: Time,
    life: u8,
    /// Messages taken in the present association, by place of the peer.
    taken: BTreeMap<usize, usize>,
}

impl Device {
    fn new(role: Role, place: usize, life: u8, now: Time, dice: &mut Dice) -> Self {
        let config = Config {
            name: format!("{role}{place}"),
            role,
            boot: boot(role, place, life),
            mac: mac(role, place),
            ethertype: DEFAULT_ETHERTYPE,
            mtu: 1500,
            security: Security::Psk([42; 32].into()),
            control: Protection::SEALED,
            data: Protection::SEALED,
            keepalive: Config::KEEPALIVE,
            missed: Config::MISSED,
        };
        let mut seed = [0; 32];
        seed.copy_from_slice(&Dice::bytes(dice.draw(), 32));
        let mut link = Link::new(config, seed, now);
        link.set_rekey_after(Duration::from_millis(dice.pick(&[150, 1_500])));
        Self { role, place, link, now, life, taken: BTreeMap::new() }
    }

    fn peer(&self, other: usize) -> Option<PeerId> {
        let up = self.link.peers().into_iter().filter(|peer| peer.state == PeerState::Up);
        up.into_iter().find(|peer| place_of(&peer.name) == other).map(|peer| peer.peer)
    }
}

struct World {
    dice: Dice,
    devices: Vec<Device>,
    /// Receiver, and the whole frame.
    sent: Vec<(usize, Vec<u8>)>,
    /// So many of them had their chance to arrive in time.
    arrived: usize,
    /// How often anything goes wrong, of 1,000.
    unrest: u64,
    batch: Batch,
    model: Segment,
    /// By control, relay and the control's index: place among the handshakes begun.
    begun: BTreeMap<(usize, usize, SessionIndex), u8>,
    /// By relay, control and the relay's index: place among the sessions.
    answered: BTreeMap<(usize, usize, SessionIndex), u8>,
    /// By control, relay and the control's index: the session that it became.
    confirmed: BTreeMap<(usize, usize, SessionIndex), u8>,
    associations: BTreeMap<(usize, usize, u64), u8>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let bounds =
            Bounds { controls: CONTROLS, relays: RELAYS, faults: 0, table: LAW.table, begins: Begins::Apart };
        let controls = (0..CONTROLS).map(|place| (Role::Control, place));
        let all = controls.chain((0..RELAYS).map(|place| (Role::Relay, place)));
        let devices = all.map(|(role, place)| Device::new(role, place, 0, Time(1_000_000), &mut dice));
        let devices: Vec<Device> = devices.collect();
        let mut world = Self {
            devices,
            sent: Vec::new(),
            arrived: 0,
            unrest: dice.pick(&[10, 50, 200, 600]),
            batch: Batch::new(64, 1514),
            model: Segment::new(&bounds),
            begun: BTreeMap::new(),
            answered: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            associations: BTreeMap::new(),
            dice,
        };
        (0..world.devices.len()).for_each(|device| world.transmit(device));
        world
    }

    /// Something happens. Returns what.
    fn step(&mut self) -> String {
        if self.dice.chance(self.unrest) {
            let device = self.dice.index(self.devices.len());
            return match self.dice.below(10) {
                0..=1 => self.wait(device, Duration::from_millis(400)),
                2 => self.restart(device),
                3..=4 => self.toggle(),
                5 => self.close(device),
                _ => {
                    let recorded = self.dice.index(self.sent.len());
                    self.deliver(recorded)
                }
            };
        }
        if self.arrived == self.sent.len() || self.dice.chance(20) {
            let due = |device: &usize| self.devices[*device].link.poll_timeout();
            let next = (0..self.devices.len()).min_by_key(due).unwrap_or(0);
            return self.wait(next, Duration::ZERO);
        }
        self.arrived += 1;
        if self.dice.chance(self.unrest) { "lost".into() } else { self.deliver(self.arrived - 1) }
    }

    /// A frame arrives.
    fn deliver(&mut self, number: usize) -> String {
        let (receiver, mut frame) = self.sent[number].clone();
        let Frame { ethernet, header, body, .. } = Frame::parse(&frame).expect("a frame");
        let (sender, kind, index) = (ethernet.source, header.kind, header.receiver());
        let sender =
            self.devices.iter().position(|device| mac(device.role, device.place) == sender).expect("one");
        if self.devices[sender].role == self.devices[receiver].role {
            let Device { link, now, .. } = &mut self.devices[receiver];
            let _ = link.handle_frame(&mut frame, *now);
            return "a hello of its own role".into();
        }
        let to_relay = self.devices[receiver].role == Role::Relay;
        let (control, relay) = if to_relay { (sender, receiver) } else { (receiver, sender) };
        let (c, r) = (self.devices[control].place, self.devices[relay].place);
        let handshake = Handshake::parse(body).ok().map(|body| body.sender);
        let life = Hello::parse(body).ok().and_then(|hello| u8::try_from(hello.boot.0 & 0xff).ok());
        let before = self.devices[receiver].link.snapshot();
        let taken = self.devices[receiver].taken.get(&c).copied().unwrap_or(0);
        let now = self.devices[receiver].now;
        let _ = self.devices[receiver].link.handle_frame(&mut frame, now);
        let after = self.devices[receiver].link.snapshot();

        let mut what = format!("{kind} at a {}", self.devices[receiver].role);
        match (kind, to_relay) {
            (Kind::HELLO, false) => _ = self.model.hear(c, r, life.expect("a hello"), LAW),
            (Kind::HELLO, true) => {}
            (Kind::HANDSHAKE_INIT, true) => {
                let begun = self.begun[&(c, r, handshake.expect("an index"))];
                if self.model.init(c, r, begun, LAW) {
                    let new = after.candidates.iter().find(|new| !before.candidates.contains(new));
                    let new = new.unwrap_or_else(|| panic!("the relay did not answer {begun}"));
                    self.answered.insert((r, c, new.index), next(&self.model.wires[c][r].sessions) - 1);
                }
            }
            (Kind::HANDSHAKE_RESPONSE, false) => {
                let session = self.answered[&(r, c, handshake.expect("an index"))];
                let confirms = |model: &Segment| {
                    model.controls[c].attempts.iter().any(|it| it.other == r && it.session == Some(session))
                };
                let before = confirms(&self.model);
                self.model.response(c, r, session, LAW);
                if !before && confirms(&self.model) {
                    self.confirmed.insert((c, r, index), session);
                }
            }
            (_, true) => {
                let session = self.answered[&(r, c, index)];
                if kind == Kind::CLOSE {
                    if self.model.closed_at_relay(c, r, session, LAW) {
                        what = "closed at a relay".into();
                    }
                } else {
                    let life = self.model.wires[c][r].begun
                        [usize::from(self.model.wires[c][r].session(session).begun)]
                    .life;
                    let association = self.model.wires[c][r].association(session);
                    let meeting = self.model.relays[r].meets(c, life, association, None);
                    if self.model.confirm(c, r, session, LAW) {
                        what = format!("established at a relay: {meeting:?}");
                    }
                }
            }
            (_, false) => {
                let session = self.confirmed[&(c, r, index)];
                if kind == Kind::CLOSE {
                    if self.model.closed_at_control(c, r, session) {
                        what = "closed at a control".into();
                    }
                } else if self.model.open(c, r, session, LAW) {
                    what = "established at a control".into();
                }
            }
        }
        self.begin_attempts(control);
        let fresh = self.take_events(receiver);
        if to_relay {
            let from = if fresh { 0 } else { taken };
            for _ in from..self.devices[receiver].taken.get(&c).copied().unwrap_or(0) {
                what = "message".into();
                assert!(self.model.message(c, r, LAW), "a message that the model does not know");
            }
        }
        self.transmit(receiver);
        what
    }

    /// Time passes for a device until a timer goes off, or for so long.
    fn wait(&mut self, device: usize, at_least: Duration) -> String {
        let before = self.devices[device].link.snapshot();
        let it = &mut self.devices[device];
        let due = it.link.poll_timeout().unwrap_or(it.now);
        it.now = due.max(it.now + at_least);
        it.link.handle_timeout(it.now);
        let after = it.link.snapshot();
        let (role, place) = (it.role, it.place);
        let mut what = if role == Role::Control {
            self.control_waited(place, &before, &after)
        } else {
            self.relay_waited(place, &before, &after)
        };
        if what.is_empty() {
            what.push_str("nothing");
        }
        self.begin_attempts(device);
        self.take_events(device);
        self.transmit(device);
        what
    }

    fn control_waited(&mut self, c: usize, before: &Snapshot, after: &Snapshot) -> String {
        let mut what = String::new();
        let gone = |peer: &str| {
            let up = |snapshot: &Snapshot| snapshot.peers.iter().any(|it| it.name == peer && it.up.is_some());
            up(before) && !up(after)
        };
        for attempt in &before.attempts {
            let (r, stays) =
                (place_of(&attempt.name), after.attempts.iter().any(|it| it.index == attempt.index));
            // Its session took it along.
            let goes_too = attempt.rekey && gone(&attempt.name);
            if stays || goes_too {
                continue;
            }
            let begun = self.begun[&(c, r, attempt.index)];
            self.model.controls[c].attempts.retain(|it| it.other != r || it.begun != begun);
            what.push_str("gives up ");
        }
        for peer in &before.peers {
            let r = place_of(&peer.name);
            if gone(&peer.name) {
                self.model.control_misses(c, r, LAW);
                what.push_str("misses ");
            }
            let now = after.peers.iter().find(|it| it.name == peer.name).and_then(|it| it.up);
            if let (Some((_, Some(_))), Some((_, None))) = (peer.up, now) {
                self.model.controls[c].up_mut(r).expect("it is up").previous = None;
                what.push_str("forgets ");
            }
            let rekeys =
                |snapshot: &Snapshot| snapshot.attempts.iter().any(|it| it.rekey && it.name == peer.name);
            if !rekeys(before) && rekeys(after) {
                assert!(self.model.rekey(c, r));
                what.push_str("rekeys ");
            }
        }
        what
    }

    fn relay_waited(&mut self, r: usize, before: &Snapshot, after: &Snapshot) -> String {
        let mut what = String::new();
        for candidate in before.candidates.iter().filter(|candidate| !after.candidates.contains(candidate)) {
            let c = place_of(&candidate.name);
            let session = self.answered[&(r, c, candidate.index)];
            self.model.relays[r].discard(c, session);
            what.push_str("expires ");
        }
        for (peer, now) in before.peers.iter().zip(&after.peers) {
            let c = place_of(&peer.name);
            match (peer.up, now.up) {
                (Some(_), None) => {
                    self.model.relay_misses(c, r, LAW);
                    what.push_str("misses ");
                }
                (Some((_, Some(_))), Some((_, None))) => {
                    self.model.relays[r].up_mut(c).expect("it is up").previous = None;
                    what.push_str("forgets ");
                }
                _ => {}
            }
        }
        what
    }

    /// A device is killed and starts again.
    fn restart(&mut self, device: usize) -> String {
        let Device { role, place, now, life, .. } = self.devices[device];
        self.devices[device] = Device::new(role, place, life + 1, now, &mut self.dice);
        match role {
            Role::Control => self.model.restart_control(place),
            Role::Relay => self.model.restart_relay(place, LAW),
        }
        self.transmit(device);
        "restart".into()
    }

    /// A socket of a control is opened or closed.
    fn toggle(&mut self) -> String {
        let (control, entry) = (self.dice.index(CONTROLS), self.dice.pick(&ENTRIES));
        let open = self.model.open[control] & entry == 0;
        self.model.toggle(control, entry);
        for r in 0..RELAYS {
            if let Some(peer) = self.devices[control].peer(r) {
                say(
                    &mut self.devices[control].link,
                    peer,
                    if open { Said::Add(entry) } else { Said::Delete(entry) },
                );
            }
        }
        self.transmit(control);
        "toggle".into()
    }

    /// A device ends a session.
    fn close(&mut self, device: usize) -> String {
        let it = &mut self.devices[device];
        let other = self.dice.index(if it.role == Role::Control { RELAYS } else { CONTROLS });
        let Some(peer) = it.peer(other) else { return "nothing".into() };
        it.link.disconnect(peer, it.now);
        match it.role {
            Role::Control => self.model.control_closes(it.place, other),
            Role::Relay => self.model.relay_closes(other, it.place, LAW),
        };
        self.take_events(device);
        self.transmit(device);
        "close".into()
    }

    /// What the owner does. Whether a session with fresh streams began.
    fn take_events(&mut self, device: usize) -> bool {
        let mut fresh = false;
        while let Some(event) = self.devices[device].link.poll_event() {
            match event {
                Event::PeerUp { peer, name, .. } => {
                    fresh = true;
                    let other = place_of(&name);
                    let it = &mut self.devices[device];
                    it.taken.insert(other, 0);
                    if it.role == Role::Control {
                        let open = session_model::segment::entries(self.model.open[it.place]).map(Said::Add);
                        open.chain([Said::End]).for_each(|said| say(&mut it.link, peer, said));
                        assert!(self.model.end(it.place, other), "not up in the model");
                    }
                }
                Event::Message { peer, message } => {
                    let it = &mut self.devices[device];
                    let name =
                        it.link.peers().into_iter().find(|known| known.peer == peer).expect("known").name;
                    let c = place_of(&name);
                    let number = it.taken.entry(c).or_insert(0);
                    let peer =
                        self.model.relays[it.place].peers[c].as_ref().expect("the model's relay knows it");
                    let log = self.model.wires[c][it.place].log(peer.association);
                    let Ok(Message::RuleDelete(message)) = Message::parse(&message.raw()) else {
                        panic!("another")
                    };
                    assert_eq!(log.get(*number).copied().map(code), Some(message), "message {number}");
                    *number += 1;
                }
                Event::PeerDown { .. } | Event::RoutesDigest { .. } | Event::Refused { .. } => {}
            }
        }
        fresh
    }

    /// Names the handshakes that a control has just begun.
    fn begin_attempts(&mut self, device: usize) {
        let it = &self.devices[device];
        if it.role != Role::Control {
            return;
        }
        let c = it.place;
        for attempt in it.link.snapshot().attempts {
            let r = place_of(&attempt.name);
            let known = self.begun.get(&(c, r, attempt.index)).copied();
            let begun = known.unwrap_or_else(|| {
                let named: Vec<u8> =
                    self.begun.iter().filter(|(key, _)| (key.0, key.1) == (c, r)).map(|it| *it.1).collect();
                let all = 0..next(&self.model.wires[c][r].begun);
                all.into_iter()
                    .find(|place| !named.contains(place))
                    .expect("the model did not begin a handshake")
            });
            self.begun.insert((c, r, attempt.index), begun);
            let association = self.model.wires[c][r].begun[usize::from(begun)].association;
            let named = *self.associations.entry((c, r, attempt.association)).or_insert(association);
            assert_eq!(named, association, "two associations are one");
        }
    }

    fn transmit(&mut self, device: usize) {
        loop {
            let it = &mut self.devices[device];
            let waits = it.link.poll_transmit(&mut self.batch, it.now);
            let frames: Vec<Vec<u8>> = self.batch.frames().map(<[u8]>::to_vec).collect();
            self.batch.clear();
            for frame in frames {
                let to = Frame::parse(&frame).expect("a frame").ethernet.destination;
                for (receiver, other) in self.devices.iter().enumerate() {
                    if receiver != device && (to.is_multicast() || to == mac(other.role, other.place)) {
                        self.sent.push((receiver, frame.clone()));
                    }
                }
            }
            if !waits {
                return;
            }
        }
    }

    /// Whether links and model know the same.
    fn compare(&self) -> Result<(), String> {
        for device in &self.devices {
            let controls = device.role == Role::Control;
            let model =
                if controls { &self.model.controls[device.place] } else { &self.model.relays[device.place] };
            let mut model = model.clone();
            let mut seen = self.seen(device, &device.link.snapshot(), model.peers.len());
            for end in [&mut model, &mut seen] {
                end.attempts.sort_by_key(|attempt| (attempt.other, attempt.begun));
                end.candidates.sort_by_key(|candidate| (candidate.other, candidate.session));
                for up in end.peers.iter_mut().flatten().filter_map(|peer| peer.up.as_mut()) {
                    up.fresh = 0;
                    up.messages = if controls { 0 } else { up.messages };
                }
            }
            if seen != model {
                return Err(format!(
                    "{}{}:\n{seen:?}, and in the model\n{model:?}",
                    device.role, device.place
                ));
            }
        }
        Ok(())
    }

    /// A link in the model's words.
    fn seen(&self, device: &Device, snapshot: &Snapshot, others: usize) -> end::End {
        let own = device.place;
        let controls = device.role == Role::Control;
        let pair = |other: usize| if controls { (own, other) } else { (other, own) };
        let association = |other: usize, raw: u64| {
            let (c, r) = pair(other);
            self.associations.get(&(c, r, raw)).copied().expect("an association that a control began")
        };
        let session = |other: usize, index: SessionIndex| {
            let names = if controls { &self.confirmed } else { &self.answered };
            names.get(&(own, other, index)).copied().unwrap_or(u8::MAX)
        };
        let attempts = snapshot.attempts.iter().map(|attempt| {
            let other = place_of(&attempt.name);
            end::Attempt {
                other,
                begun: self.begun[&(own, other, attempt.index)],
                heard: life_of(attempt.boot),
                session: attempt.confirms.then(|| session(other, attempt.index)),
            }
        });
        let candidates = snapshot.candidates.iter().map(|candidate| {
            let other = place_of(&candidate.name);
            end::Candidate { other, session: session(other, candidate.index) }
        });
        let mut peers = vec![None; others];
        for peer in &snapshot.peers {
            let other = place_of(&peer.name);
            let up = peer.up.map(|(current, previous)| end::Up {
                current: session(other, current),
                previous: previous.map(|previous| session(other, previous)),
                fresh: 0,
                messages: device.taken.get(&other).and_then(|taken| u8::try_from(*taken).ok()).unwrap_or(0),
            });
            peers[other] = Some(end::Peer {
                life: life_of(peer.boot),
                association: association(other, peer.association),
                ended: peer.ended.iter().map(|ended| association(other, *ended)).collect(),
                up,
            });
        }
        end::End { life: device.life, attempts: attempts.collect(), candidates: candidates.collect(), peers }
    }
}

fn say(link: &mut Link, peer: PeerId, said: Said) {
    link.send_message(peer, &Message::RuleDelete(code(said)));
}

/// Any message of the stream will do.
fn code(said: Said) -> RuleDelete {
    let (request, tunnel) = match said {
        Said::Add(entry) => (1, entry),
        Said::Delete(entry) => (2, entry),
        Said::End => (3, 0),
    };
    RuleDelete { request: RequestId(request), tunnel: UpTunnel(tunnel.into()) }
}

#[allow(clippy::cast_possible_truncation, reason = "there are a few devices")]
fn mac(role: Role, place: usize) -> Mac {
    Mac([2, 0, 0, 0, role as u8, place as u8])
}

fn boot(role: Role, place: usize, life: u8) -> BootId {
    BootId((role as u64) << 56 | (place as u64) << 48 | 0x5555_0000 | u64::from(life))
}

fn life_of(boot: BootId) -> u8 {
    u8::try_from(boot.0 & 0xff).unwrap_or(u8::MAX)
}

fn place_of(name: &str) -> usize {
    name.trim_start_matches(char::is_alphabetic).parse().expect("a number behind the role")
}
