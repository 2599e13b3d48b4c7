//! A segment with a relay core and controls that are bare links: what a test says, they send.
#![allow(dead_code, reason = "every test binary uses its own part")]

use frames::data::Tunnel;
use frames::discovery::{Protection, Role};
use frames::message::{
    Group, Membership, Message, PortAddress, PortFlags, PortRequest, RuleAdd, RuleDelete, Status,
    TunnelRequest,
};
use frames::protocol_address::{Family, Local};
use frames::{BootId, DownTunnel, DropReason, Mac, PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use l2link::recording::{Comparison, Memory, Recording, Step};
use l2link::service::ServiceSet;
use l2link::{Batch, Config, Event as LinkEvent, Link, PeerId, Rx, Security, Time};
use relay_core::police::Limits;
use relay_core::{
    Action, Beginning, ControlName, Event, FibConfig, LinkVerdict, Outlet, Permission, PortConfig, PortState,
    PortVerdict, Recorded, RelayConfig, ReplayedRelay, Unmatched,
};
use std::time::Duration;

pub(crate) const SYMBOL: SymbolId = SymbolId(1);
pub(crate) const PORT: PortId = PortId(1);
pub(crate) const PORT_MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);
const RELAY_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const LINK_MTU: u32 = 1500;

/// The segment, and time.
pub(crate) struct Segment {
    pub(crate) now: Time,
    /// What it is given is recorded.
    pub(crate) relay: Recorded,
    recording: Memory,
    pub(crate) controls: Vec<FakeControl>,
    /// Parcels that left by a port, without their offload headers.
    pub(crate) transmitted: Vec<(PortId, Vec<u8>)>,
    /// IP packets that left by the kernel's routes.
    pub(crate) routed: Vec<(Outlet, Vec<u8>)>,
    /// IP packets from another relay that leave by the kernel's routes, and parcels from there to this relay.
    pub(crate) forwarded: Vec<Vec<u8>>,
    pub(crate) own: Vec<(PortId, bool, Vec<u8>)>,
    pub(crate) actions: Vec<Action>,
}

/// Whatever the test was about, all of it happens again.
impl Drop for Segment {
    fn drop(&mut self) {
        self.relay.end();
        if !std::thread::panicking() {
            replay(&self.recording.bytes());
        }
    }
}

/// Replays a whole recording, and expects the same.
pub(crate) fn replay(recording: &[u8]) {
    let version = env!("CARGO_PKG_VERSION");
    let mut told = Recording::open(recording, version).unwrap().tell::<ReplayedRelay>().unwrap();
    loop {
        if let Step::End { comparison, .. } = told.step(false).unwrap() {
            assert_eq!(comparison, Comparison::Same);
            return;
        }
    }
}

/// A control's link, and what came out of it.
pub(crate) struct FakeControl {
    mac: Mac,
    link: Link,
    pub(crate) relay: Option<PeerId>,
    pub(crate) messages: Vec<String>,
    /// Granted port, down tunnel, statuses of rule replies: what a test asks for most.
    pub(crate) port: Option<PortId>,
    pub(crate) down: Option<DownTunnel>,
    pub(crate) statuses: Vec<Status>,
    /// Parcels that came up, without their offload headers.
    pub(crate) parcels: Vec<(Tunnel, Vec<u8>)>,
}

impl Segment {
    /// relay1 with port eth1 (192.0.2.1/24, 2001:db8::1/64), tcp/22 its own; control1 is permitted everything,
    /// control2 tcp/80, and control3 nothing.
    pub(crate) fn beginning() -> Beginning {
        let permission = |name: &str, services| Permission {
            control: ControlName::Named(name.into()),
            services,
            routes: (name == "control1").then(relay_core::RoutePermission::default),
            addressing: false,
            priority: 0,
        };
        let config = RelayConfig {
            fib: FibConfig::default(),
            name: "relay1".into(),
            ethertype: 0x88b5,
            ports: vec![PortConfig {
                interface: "eth1".into(),
                relay_services: ServiceSet::parse(&["tcp/22"]).unwrap(),
                unmatched: Unmatched::Drop,
                conflicts: relay_core::Conflicts::Share,
                allow: vec![
                    permission("control1", ServiceSet::all()),
                    permission("control2", ServiceSet::parse(&["tcp/80"]).unwrap()),
                ],
            }],
            limits: Limits::default(),
        };
        let link = link_config("relay1", Role::Relay, RELAY_MAC, 1);
        Beginning { config, link, seed: [1; 32].into(), remembered: None, now: Time(1_000_000) }
    }

    /// The relay of [`Segment::beginning`] without any control.
    pub(crate) fn new() -> Self {
        let beginning = Self::beginning();
        let now = beginning.now;
        let recording = Memory::default();
        let relay = Recorded::begin(beginning, Box::new(recording.clone()), 0);
        Self {
            now,
            relay,
            recording,
            controls: Vec::new(),
            transmitted: Vec::new(),
            routed: Vec::new(),
            forwarded: Vec::new(),
            own: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Ends the recording, and gives it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.relay.end();
        self.recording.bytes()
    }

    /// As [`Segment::new`], with the port there and control1 up, granted, and with a down tunnel.
    pub(crate) fn with_control() -> Self {
        let mut segment = Self::new();
        segment.relay.handle_port_state(PORT, Some(port_state()));
        segment.join("control1");
        segment
    }

    /// Adds a control, and has it ask for its symbol and tunnel. Returns its place.
    pub(crate) fn join(&mut self, name: &str) -> usize {
        let place = self.add(name, 100 + self.controls.len() as u64);
        self.ask(place);
        place
    }

    /// Adds a control and waits until it is up.
    pub(crate) fn add(&mut self, name: &str, boot: u64) -> usize {
        let place = self.add_stranger(name, boot);
        self.until(|segment| segment.controls[place].relay.is_some());
        place
    }

    /// Adds a control that may never be up. Returns its place.
    pub(crate) fn add_stranger(&mut self, name: &str, boot: u64) -> usize {
        let place = self.controls.len();
        let mac = Mac([2, 0, 0, 0, 2, u8::try_from(place).unwrap()]);
        self.controls.push(FakeControl::new(name, mac, boot, self.now));
        place
    }

    /// The control of this place dies without a word, and another process takes its place.
    pub(crate) fn restart(&mut self, place: usize, name: &str, boot: u64) {
        let mac = self.controls[place].mac;
        self.controls[place] = FakeControl::new(name, mac, boot, self.now);
        self.until(|segment| segment.controls[place].relay.is_some());
    }

    /// Asks for eth1, and if it is granted for a down tunnel.
    pub(crate) fn ask(&mut self, place: usize) {
        self.say(
            place,
            &Message::PortRequest(PortRequest { request: RequestId(1), symbol: SYMBOL, name: "eth1" }),
        );
        if let Some(port) = self.controls[place].port {
            let request = TunnelRequest { request: RequestId(2), symbol: SYMBOL, port };
            self.say(place, &Message::TunnelRequest(request));
        }
    }

    pub(crate) fn rule(&mut self, place: usize, tunnel: u32, protocol_address: ProtocolAddress) -> Status {
        let rule = RuleAdd {
            request: RequestId(tunnel),
            symbol: SYMBOL,
            port: PORT,
            tunnel: UpTunnel(tunnel),
            weight: 1,
            protocol_address,
        };
        self.say(place, &Message::RuleAdd(rule));
        *self.controls[place].statuses.last().unwrap()
    }

    pub(crate) fn delete(&mut self, place: usize, tunnel: u32) {
        let delete = RuleDelete { request: RequestId(9), tunnel: UpTunnel(tunnel) };
        self.say(place, &Message::RuleDelete(delete));
    }

    pub(crate) fn member(&mut self, place: usize, group: Group) {
        self.say(place, &Message::MembershipAdd(Membership { port: PORT, group }));
    }

    /// A control sends a message, and everything that follows from it happens.
    pub(crate) fn say(&mut self, place: usize, message: &Message<'_>) {
        let control = &mut self.controls[place];
        control.link.send_message(control.relay.unwrap(), message);
        self.pass(Duration::from_millis(20));
    }

    /// A control sends a packet down.
    pub(crate) fn send_down(&mut self, place: usize, tunnel: Tunnel, frame: &[u8]) {
        self.send_down_all(place, tunnel, &[frame]);
    }

    /// A control sends packets down at once. Returns how many link frames they became.
    pub(crate) fn send_down_all(&mut self, place: usize, tunnel: Tunnel, packets: &[&[u8]]) -> usize {
        let control = &mut self.controls[place];
        let mut batch = Batch::new(4 * control.link.parcel_frames_max(), control.link.frame_len_max());
        for packet in packets {
            let relay = control.relay.unwrap();
            control.link.send_parcel(relay, tunnel, &parcel(packet), &mut batch, self.now).unwrap();
        }
        batch.frames().for_each(|frame| self.give_relay(frame.to_vec()));
        batch.len()
    }

    /// A packet arrives at eth1.
    pub(crate) fn arrive(&mut self, frame: &[u8]) -> PortVerdict {
        self.arrive_parcel(&parcel(frame))
    }

    /// A packet arrives at eth1, behind an offload header.
    pub(crate) fn arrive_parcel(&mut self, parcel: &[u8]) -> PortVerdict {
        let mut batch = Batch::new(self.relay.parcel_frames_max(), self.relay.frame_len_max());
        let arrival = self.relay.classify_port_parcel(PORT, parcel);
        let mut verdict = self.relay.handle_port_parcel(&arrival, parcel, self.now, &mut batch);
        loop {
            self.give_controls(&batch);
            batch.clear();
            if verdict != PortVerdict::Full {
                self.exchange();
                return verdict;
            }
            verdict = self.relay.resume_port_parcel(parcel, self.now, &mut batch);
        }
    }

    /// Gives the controls what the relay sends.
    pub(crate) fn receive(&mut self, batch: &Batch) {
        self.give_controls(batch);
    }

    /// Lets time pass, with all that happens in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            let links = self.controls.iter().map(|control| control.link.poll_timeout());
            let next = links.chain([self.relay.poll_timeout()]).flatten().min();
            match next {
                Some(next) if next <= end => self.now = next.max(Time(self.now.0 + 1)),
                Some(_) | None => break,
            }
            self.relay.handle_timeout(self.now);
            for control in &mut self.controls {
                control.link.handle_timeout(self.now);
            }
        }
        self.now = end;
        self.exchange();
    }

    /// Lets time pass until something is so; ten seconds are enough for everything.
    pub(crate) fn until(&mut self, so: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if so(self) {
                return;
            }
            self.pass(Duration::from_millis(10));
        }
        panic!("did not come about within ten seconds");
    }

    /// Adds another relay, to which this one has been introduced under a salt.
    pub(crate) fn add_relay(&mut self, name: &str, salt: [u8; 32]) -> usize {
        let place = self.controls.len();
        let mac = Mac([2, 0, 0, 0, 2, u8::try_from(place).unwrap()]);
        let mut other = FakeControl::new(name, mac, 200, self.now);
        other.link = link(name, Role::Relay, mac, 200, self.now);
        other.link.introduce("relay1", RELAY_MAC, None, &[salt], self.now);
        self.controls.push(other);
        place
    }

    /// The address of a device of this place.
    pub(crate) fn mac(&self, place: usize) -> Mac {
        self.controls[place].mac
    }

    /// The control of this place ends in order.
    pub(crate) fn close(&mut self, place: usize) {
        self.controls[place].link.close(frames::session::CloseReason::SHUTDOWN, self.now);
        self.exchange();
    }

    /// Names of the events since the last call.
    pub(crate) fn told(&mut self) -> Vec<&'static str> {
        let told = self.actions.iter().filter_map(|action| match action {
            Action::Tell(event) => Some(name(event)),
            Action::SetCapture { .. }
            | Action::Join { .. }
            | Action::Leave { .. }
            | Action::ChangeRoutes(_)
            | Action::AddAddress(_)
            | Action::DeleteAddress(_)
            | Action::Verified(_)
            | Action::LookAtRoutes
            | Action::ForgetFlow { .. }
            | Action::ForgetSource(_)
            | Action::OpenTransit { .. }
            | Action::CloseTransit { .. }
            | Action::RememberControls(_) => None,
        });
        let told = told.collect();
        self.actions.clear();
        told
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.relay.dropped(reason)
    }

    /// Carries frames to and fro until none waits.
    fn exchange(&mut self) {
        loop {
            let mut batch = Batch::new(256, self.relay.frame_len_max());
            self.relay.poll_transmit(&mut batch, self.now);
            let mut quiet = batch.is_empty();
            self.give_controls(&batch);
            for place in 0..self.controls.len() {
                let control = &mut self.controls[place];
                batch = Batch::new(256, control.link.frame_len_max());
                control.link.poll_transmit(&mut batch, self.now);
                let frames: Vec<_> = batch.frames().map(<[u8]>::to_vec).collect();
                quiet &= frames.is_empty();
                frames.into_iter().for_each(|frame| self.give_relay(frame));
            }
            while let Some(action) = self.relay.poll_action() {
                self.actions.push(action);
            }
            if quiet {
                return;
            }
        }
    }

    fn give_relay(&mut self, mut frame: Vec<u8>) {
        let mut next = Some(self.relay.handle_link_frame(&mut frame, self.now));
        while let Some(verdict) = next {
            match verdict {
                LinkVerdict::Transmit { port, parcel } => {
                    self.transmitted.push((port, parcel[10..].to_vec()))
                }
                LinkVerdict::Route { outlet, parcel } => self.routed.push((outlet, parcel[24..].to_vec())),
                LinkVerdict::Forward { parcel, .. } => self.forwarded.push(parcel[24..].to_vec()),
                LinkVerdict::Own { port, icmp, parcel, .. } => self.own.push((port, icmp, parcel.to_vec())),
                LinkVerdict::Consumed | LinkVerdict::Drop(_) => {}
            }
            next = self.relay.next_parcel(&mut frame);
        }
        self.relay.handle_link_events(self.now);
    }

    fn give_controls(&mut self, batch: &Batch) {
        for frame in batch.frames() {
            for control in &mut self.controls {
                if frame[0] & 1 != 0 || frame[..6] == control.mac.0 {
                    control.receive(frame.to_vec(), self.now);
                }
            }
        }
    }
}

impl FakeControl {
    fn new(name: &str, mac: Mac, boot: u64, now: Time) -> Self {
        Self {
            mac,
            link: link(name, Role::Control, mac, boot, now),
            relay: None,
            messages: Vec::new(),
            port: None,
            down: None,
            statuses: Vec::new(),
            parcels: Vec::new(),
        }
    }

    fn receive(&mut self, mut frame: Vec<u8>, now: Time) {
        let mut next = Some(self.link.handle_frame(&mut frame, now));
        while let Some(received) = next {
            match received {
                Rx::Parcel { tunnel, parcel, .. } => self.parcels.push((tunnel, parcel[10..].to_vec())),
                Rx::Consumed | Rx::Drop(_) => {}
            }
            next = self.link.next_parcel(&mut frame);
        }
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::PeerUp { peer, .. } => self.relay = Some(peer),
                LinkEvent::PeerDown { .. } => self.relay = None,
                LinkEvent::Message { message, .. } => {
                    let message = Message::parse(&message.raw()).unwrap();
                    match &message {
                        Message::PortReply(reply) if reply.status == Status::OK => {
                            self.port = Some(reply.port)
                        }
                        Message::TunnelReply(reply) if reply.status == Status::OK => {
                            self.down = Some(reply.tunnel);
                        }
                        Message::RuleReply(reply) => self.statuses.push(reply.status),
                        _ => {}
                    }
                    self.messages.push(format!("{message:?}"));
                }
                LinkEvent::RoutesDigest { .. } | LinkEvent::Refused { .. } => {}
            }
        }
    }
}

pub(crate) fn port_state() -> PortState {
    PortState {
        ifindex: 5,
        mac: PORT_MAC,
        mtu: 1500,
        speed: 0,
        flags: PortFlags::UP | PortFlags::CARRIER,
        routes: Vec::new(),
        addresses: vec![
            PortAddress::new("192.0.2.1".parse().unwrap(), 24),
            PortAddress::new("2001:db8::1".parse().unwrap(), 64),
        ],
    }
}

pub(crate) fn tcp_listener(port: u16) -> ProtocolAddress {
    ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port }
}

pub(crate) fn udp_listener(port: u16) -> ProtocolAddress {
    ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::V4), port }
}

/// A TCP segment that opens a connection, without options, from 192.0.2.9 to 192.0.2.1.
pub(crate) fn tcp(source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&source_port.to_be_bytes());
    segment[2..4].copy_from_slice(&destination_port.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = SYN;
    ipv4(6, 1, 0, false, &segment)
}

const SYN: u8 = 0x02;

/// An IPv4 packet, or a fragment of one at `offset` bytes, from 192.0.2.9 to 192.0.2.1.
pub(crate) fn ipv4(protocol: u8, id: u16, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::from(PORT_MAC.0);
    frame.extend([2, 0, 0, 0, 9, 9, 0x08, 0x00]);
    let length = u16::try_from(20 + payload.len()).unwrap();
    let flags = (offset / 8) | (u16::from(more) << 13);
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend(flags.to_be_bytes());
    frame.extend([64, protocol, 0, 0, 192, 0, 2, 9, 192, 0, 2, 1]);
    frame.extend(payload);
    frame
}

fn parcel(frame: &[u8]) -> Vec<u8> {
    [&[0; 10], frame].concat()
}

fn link(name: &str, role: Role, mac: Mac, boot: u64, now: Time) -> Link {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&boot.to_be_bytes());
    seed[8..14].copy_from_slice(&mac.0);
    Link::new(link_config(name, role, mac, boot), seed, now)
}

fn link_config(name: &str, role: Role, mac: Mac, boot: u64) -> Config {
    Config {
        name: name.into(),
        role,
        boot: BootId(boot),
        mac,
        ethertype: 0x88b5,
        mtu: LINK_MTU,
        security: Security::None,
        control: Protection::CLEAR,
        data: Protection::CLEAR,
        keepalive: Config::KEEPALIVE,
        missed: Config::MISSED,
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::PeerUp(_) => "peer-up",
        Event::PeerDown(_) => "peer-down",
        Event::PeerRefused(_) => "peer-refused",
        Event::SymbolUp(_) => "symbol-up",
        Event::SymbolDown(_) => "symbol-down",
        Event::SymbolRefused(_) => "symbol-refused",
        Event::RuleAdded(_) => "rule-added",
        Event::RuleRefused(_) => "rule-refused",
        Event::RuleDeleted(_) => "rule-deleted",
        Event::PortChanged(_) => "port-changed",
        Event::Notice { .. } => "notice",
    }
}
