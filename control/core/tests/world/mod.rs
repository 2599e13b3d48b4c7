//! A control and the model of a relay, joined by their real links in virtual time.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod routes;

use control_core::files::Ownership;
use control_core::report::Report;
use control_core::seen::{
    Connection, Connections, IfIndex, OpenSocket, OpenSockets, Route, RouteFamilies, SocketPart, SymbolGroups,
};
use control_core::{
    Action, Addressing, Attributes, Beginning, Config, Exposure, Failure, LinkVerdict, NamespaceId, Recorded,
    ReplayedControl, RoutesConfig, SymbolConfig, SymbolVerdict, Translation, Triggered,
};
use core::net::IpAddr;
use core::time::Duration;
use frames::data::Tunnel;
use frames::discovery::{Protection, Role};
use frames::message::{
    AddressReply, Group, Message, PortAddress, PortAddresses, PortAttributes, PortFlags, PortReply,
    PortUpdate, RuleAdd, RuleReply, Status, TranslatedRuleAdd, TranslationReply, TunnelReply,
};
use frames::route::RouteKey;
use frames::{BootId, DownTunnel, Mac, PortId, ProtocolAddress, SymbolId, UpTunnel};
use l2link::recording::{Comparison, Memory, Recording, Step};
use l2link::service::ServiceSet;
use l2link::{Batch, Event, Link, PeerId, Rx, Security, Time};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const SYMBOL: SymbolId = SymbolId(1);
pub(crate) const PORT: PortId = PortId(4);
pub(crate) const DOWN: DownTunnel = DownTunnel(9);
const CONTROL_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const RELAY_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

pub(crate) struct World {
    pub(crate) now: Time,
    /// What it is given is recorded.
    pub(crate) control: Recorded,
    recording: Memory,
    pub(crate) relay: RelayModel,
    /// What the shell would see.
    pub(crate) sockets: Vec<OpenSocket>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) kernel: BTreeMap<RouteKey, Route>,
    /// What programs put on the symbol.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// What programs joined at the symbol.
    pub(crate) groups: Vec<Group>,
    /// Why interfaces cannot be made.
    pub(crate) failure: Option<Failure>,
    /// What the core asked of the shell, looks left out.
    pub(crate) actions: Vec<String>,
    /// What the symbol was to be brought in line with.
    pub(crate) updates: Vec<Attributes>,
    /// Parcels that came out of the symbol.
    pub(crate) delivered: Vec<Vec<u8>>,
    /// Whether somebody monitors the control, and what that one is told.
    pub(crate) watched: bool,
    pub(crate) reports: Vec<Report>,
}

pub(crate) struct RelayModel {
    pub(crate) link: Link,
    pub(crate) control: Option<PeerId>,
    pub(crate) rules: BTreeMap<UpTunnel, ProtocolAddress>,
    /// Everything that it heard, in order.
    pub(crate) heard: Vec<String>,
    pub(crate) refuse_port: bool,
    pub(crate) refuse_rules: BTreeSet<ProtocolAddress>,
    /// The addresses that it was told last, and which of them it refuses, why.
    pub(crate) addresses: Vec<String>,
    pub(crate) refuse_addresses: BTreeMap<String, Status>,
    /// Every list of addresses that it was told.
    pub(crate) said: Vec<Vec<String>>,
    /// Why it refuses rules.
    pub(crate) refusal: Status,
    pub(crate) flags: PortFlags,
    /// Whether it answers no message.
    pub(crate) mute: bool,
    /// Whether no frame reaches it.
    pub(crate) deaf: bool,
    /// Whether the port changes right after it was granted.
    pub(crate) changes_at_once: bool,
    pub(crate) routes: routes::RoutesModel,
    /// The tunnel of the parcels that it gets.
    pub(crate) tunnel: Tunnel,
    pub(crate) parcels: Vec<Vec<u8>>,
    /// Why it refuses translations.
    pub(crate) refuse_translation: Option<Status>,
}

/// Whatever the test was about, all of it happens again.
impl Drop for World {
    fn drop(&mut self) {
        self.control.end();
        if !std::thread::panicking() {
            replay(&self.recording.bytes());
        }
    }
}

/// Replays a whole recording, and expects the same.
pub(crate) fn replay(recording: &[u8]) {
    let version = env!("CARGO_PKG_VERSION");
    let mut told = Recording::open(recording, version).unwrap().tell::<ReplayedControl>().unwrap();
    loop {
        if let Step::End { comparison, .. } = told.step(false).unwrap() {
            assert_eq!(comparison, Comparison::Same);
            return;
        }
    }
}

impl World {
    /// A world in which the carrier goes with the contact.
    pub(crate) fn new() -> Self {
        Self::holding(Duration::ZERO)
    }

    /// A world in which relays are told of routes.
    pub(crate) fn routing() -> Self {
        Self::with(Duration::from_secs(3), Some(RoutesConfig::default()), Addressing::Relay)
    }

    /// A world in which the carrier stays for a while without contact.
    pub(crate) fn holding(carrier_hold: Duration) -> Self {
        Self::with(carrier_hold, None, Addressing::Relay)
    }

    /// A world in which ports have the addresses that programs put on symbols.
    pub(crate) fn addressing() -> Self {
        Self::with(Duration::from_secs(3), None, Addressing::Control)
    }

    /// A world whose symbol is of kind address.
    pub(crate) fn translating(translation: Translation) -> Self {
        Self::of_kind((Some(translation), None, true), Duration::ZERO, None, Addressing::Relay)
    }

    /// A world whose symbol is of kind files.
    pub(crate) fn of_files(ownership: Ownership) -> Self {
        Self::of_kind((None, Some(ownership), true), Duration::ZERO, None, Addressing::Relay)
    }

    /// A world whose symbol has rules by hand only.
    pub(crate) fn undetected() -> Self {
        Self::of_kind((None, None, false), Duration::ZERO, None, Addressing::Relay)
    }

    fn with(carrier_hold: Duration, routes: Option<RoutesConfig>, addressing: Addressing) -> Self {
        Self::of_kind((None, None, true), carrier_hold, routes, addressing)
    }

    fn of_kind(
        (translation, files, detect): (Option<Translation>, Option<Ownership>, bool),
        carrier_hold: Duration,
        routes: Option<RoutesConfig>,
        addressing: Addressing,
    ) -> Self {
        let symbol = SymbolConfig {
            relay: "relay1".into(),
            port: "eth1".into(),
            name: "eth1".into(),
            netns: files.is_none().then(|| "router".into()),
            exposure: match files {
                Some(_) => Exposure::only(ServiceSet::all()),
                None => Exposure::standard(false),
            },
            translation,
            files,
            weight: control_core::Weight::default(),
            detect,
        };
        let link = control_link();
        let (symbols, refused) = (vec![symbol], Vec::new());
        let config = Config { symbols, refused, triggered: Triggered::All, carrier_hold, addressing, routes };
        let recording = Memory::default();
        let beginning = Beginning { config, link, seed: [1; 32].into(), now: Time(0) };
        Self {
            now: Time(0),
            control: Recorded::begin(beginning, Box::new(recording.clone()), 0),
            recording,
            relay: RelayModel::new(BootId(2), Time(0)),
            sockets: Vec::new(),
            connections: Vec::new(),
            kernel: BTreeMap::new(),
            addresses: Vec::new(),
            groups: Vec::new(),
            failure: None,
            actions: Vec::new(),
            updates: Vec::new(),
            delivered: Vec::new(),
            watched: false,
            reports: Vec::new(),
        }
    }

    /// What has been recorded so far.
    pub(crate) fn recording(&self) -> Vec<u8> {
        self.recording.bytes()
    }

    /// A world in which the symbol is up.
    pub(crate) fn up() -> Self {
        Self::new().brought_up()
    }

    /// The same world when the symbol is up.
    pub(crate) fn brought_up(mut self) -> Self {
        self.run(Duration::from_secs(3));
        assert_eq!(self.symbol_state(), "up");
        self.relay.heard.clear();
        self.actions.clear();
        self
    }

    /// Lets time pass, in steps of 1 ms.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = Time(self.now.0 + 1000);
            self.control.handle_timeout(self.now);
            self.relay.link.handle_timeout(self.now);
            self.settle();
        }
    }

    /// Something changed in the kernel, and an event told so.
    pub(crate) fn hint(&mut self) {
        SocketPart::ALL.into_iter().for_each(|part| self.control.handle_hint(None, part, self.now));
        self.settle();
    }

    /// Actions and frames both ways, until there are none.
    pub(crate) fn settle(&mut self) {
        loop {
            self.control.pump_routes(self.now);
            self.act();
            let mut batch = new_batch(self.control.link());
            self.control.poll_transmit(&mut batch, self.now);
            let mut quiet = batch.is_empty();
            self.relay.receive(&batch, self.now);
            let mut batch = new_batch(&self.relay.link);
            self.relay.link.poll_transmit(&mut batch, self.now);
            quiet &= batch.is_empty();
            self.receive(&batch);
            if quiet {
                return;
            }
        }
    }

    /// A program sends a frame; the frames of the batch reach the relay in order.
    pub(crate) fn send(&mut self, frame: &[u8]) -> SymbolVerdict {
        let mut parcel = parcel(frame);
        let mut batch = new_batch(self.control.link());
        let verdict = self.control.handle_symbol_parcel(SYMBOL, &mut parcel, self.now, &mut batch);
        self.relay.receive(&batch, self.now);
        verdict
    }

    /// The relay sends a frame up.
    pub(crate) fn send_up(&mut self, tunnel: UpTunnel, frame: &[u8]) {
        assert_eq!(self.send_up_all(tunnel, &[frame]), 1);
    }

    /// The relay sends frames up at once. Returns how many link frames they became.
    pub(crate) fn send_up_all(&mut self, tunnel: UpTunnel, frames: &[&[u8]]) -> usize {
        let mut batch = new_batch(&self.relay.link);
        let peer = self.relay.control.expect("there is a session");
        for frame in frames {
            let parcel = parcel(frame);
            self.relay.link.send_parcel(peer, Tunnel(tunnel.0), &parcel, &mut batch, self.now).unwrap();
        }
        self.receive(&batch);
        batch.len()
    }

    pub(crate) fn symbol_state(&self) -> String {
        self.control.show_symbols()[0].state.clone()
    }

    /// State of each rule, by its protocol address as text.
    pub(crate) fn rules(&self) -> Vec<String> {
        let row = |row: &control_core::show::RuleRow| {
            let port = row.port_number.map(|port| format!(":{port}")).unwrap_or_default();
            let remote = row.remote.as_ref().map(|remote| format!(" from {remote}")).unwrap_or_default();
            format!("{} {}{port}{remote} {}", row.protocol, row.address, row.state)
        };
        self.control.show_rules().iter().map(row).collect()
    }

    /// The connected datagram sockets, if they are looked at together with this part.
    fn datagrams(&self, part: SocketPart) -> Vec<Connection> {
        let is_of = |connection: &&Connection| match connection.flow {
            ProtocolAddress::Flow { protocol, .. } => SocketPart::of_protocol(protocol) == part,
            _ => false,
        };
        self.connections.iter().filter(|_| part == SocketPart::Others).filter(is_of).copied().collect()
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.control.show_counters().iter().find(|row| row.name == name).map_or(0, |row| row.value)
    }

    fn receive(&mut self, batch: &Batch) {
        for frame in batch.frames() {
            let mut frame = frame.to_vec();
            let mut next = Some(self.control.handle_link_frame(&mut frame, self.now));
            while let Some(verdict) = next {
                match verdict {
                    LinkVerdict::Deliver { symbol, parcel } => {
                        assert_eq!(symbol, SYMBOL);
                        self.delivered.push(parcel.to_vec());
                    }
                    LinkVerdict::Queued | LinkVerdict::Consumed | LinkVerdict::Drop(_) => {}
                }
                next = self.control.next_parcel(&mut frame, self.now);
            }
        }
        self.control.handle_link_events(self.now);
    }

    fn act(&mut self) {
        let took = Duration::from_micros(50);
        while let Some(action) = self.control.poll_action() {
            match action {
                Action::CreateSymbol { symbol, .. } => {
                    self.actions.push("create".into());
                    match self.failure.clone() {
                        Some(failure) => self.control.handle_symbol_failed(symbol, failure, self.now),
                        None => {
                            self.control.handle_symbol_created(symbol, IfIndex(2), self.now);
                            self.list_routes(NamespaceId(0), RouteFamilies::BOTH);
                        }
                    }
                }
                Action::UpdateSymbol { attributes, .. } => {
                    self.updates.push(attributes.clone());
                    self.actions.push(format!("update {}", attributes.state()));
                }
                Action::SetCarrier { up, .. } => self.actions.push(format!("carrier {up}")),
                Action::RemoveSymbol { .. } => self.actions.push("remove".into()),
                Action::DumpSockets { namespace, part } => {
                    let sockets =
                        self.sockets.iter().filter(|socket| SocketPart::of(&socket.address) == part);
                    let seen = OpenSockets {
                        sockets: sockets.copied().collect(),
                        connections: self.datagrams(part),
                        queues: Vec::new(),
                        took,
                    };
                    self.control.handle_sockets(namespace, part, &seen, self.now);
                }
                Action::DumpConnections { namespace } => {
                    let seen = Connections { connections: self.connections.clone(), took };
                    self.control.handle_connections(namespace, &seen, self.now);
                }
                Action::DumpMemberships { namespace } => {
                    let groups = SymbolGroups { symbol: SYMBOL, groups: self.groups.clone() };
                    self.control.handle_memberships(namespace, &[groups], self.now);
                }
                Action::ListAddresses { .. } => self.list_addresses(),
                Action::DumpRoutes { namespace, families } => self.list_routes(namespace, families),
                Action::Verified { rows } => {
                    self.actions.extend(rows.iter().map(|row| format!("{}: {}", row.what, row.difference)));
                    self.actions.push("verified".into());
                }
                Action::Report(report) => {
                    assert!(self.watched, "nobody watches");
                    self.reports.push(*report);
                }
            }
        }
    }
}

impl World {
    /// The addresses that programs put on the symbol, as the shell lists them.
    pub(crate) fn list_addresses(&mut self) {
        self.control.handle_symbol_addresses(SYMBOL, &self.addresses);
    }

    /// The kernel's whole table, as the shell lists it.
    pub(crate) fn list_routes(&mut self, namespace: NamespaceId, families: RouteFamilies) {
        self.control.handle_route_dump_begins(namespace, families);
        let wanted = |key: &RouteKey| {
            if key.prefix.address().is_ipv4() { families.ipv4 } else { families.ipv6 }
        };
        for route in self.kernel.values().filter(|route| wanted(&route.key)) {
            self.control.handle_route_dumped(namespace, route);
        }
        self.control.handle_route_dump_ends(namespace, families, self.now);
    }
}

impl RelayModel {
    pub(crate) fn new(boot: BootId, now: Time) -> Self {
        let [seed, ..] = boot.0.to_le_bytes();
        Self {
            link: Link::new(link_config("relay1", Role::Relay, RELAY_MAC, boot), [seed; 32], now),
            control: None,
            rules: BTreeMap::new(),
            heard: Vec::new(),
            refuse_port: false,
            refuse_rules: BTreeSet::new(),
            refusal: Status::RESERVED,
            addresses: Vec::new(),
            refuse_addresses: BTreeMap::new(),
            said: Vec::new(),
            mute: false,
            deaf: false,
            changes_at_once: false,
            routes: routes::RoutesModel::default(),
            tunnel: Tunnel(DOWN.0),
            parcels: Vec::new(),
            refuse_translation: None,
            flags: PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER,
        }
    }

    pub(crate) fn attributes<'a>(&self, generation: u32, addresses: &'a [PortAddress]) -> PortAttributes<'a> {
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        PortAttributes {
            generation,
            flags: self.flags,
            mtu: 1500,
            speed: 0,
            mac,
            name: "eth1",
            addresses,
            routes: &[],
        }
    }

    pub(crate) fn send(&mut self, message: &Message<'_>) {
        self.link.send_message(self.control.expect("there is a session"), message);
    }

    fn receive(&mut self, batch: &Batch, now: Time) {
        if self.deaf {
            return;
        }
        for frame in batch.frames() {
            let mut frame = frame.to_vec();
            let mut parcels = 0;
            let mut next = Some(self.link.handle_frame(&mut frame, now));
            while let Some(received) = next {
                match received {
                    Rx::Parcel { tunnel, parcel, .. } => {
                        assert_eq!(tunnel, self.tunnel);
                        self.parcels.push(parcel.to_vec());
                        parcels += 1;
                    }
                    Rx::Consumed | Rx::Drop(_) => {}
                }
                next = self.link.next_parcel(&mut frame);
            }
            self.handle_events();
            self.heard.extend((0..parcels).map(|_| "parcel".to_owned()));
        }
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::PeerUp { peer, .. } => {
                    self.control = Some(peer);
                    self.routes.begin();
                }
                Event::PeerDown { .. } => self.control = None,
                Event::Message { peer, message } => {
                    let message = Message::parse(&message.raw()).unwrap();
                    self.answer(peer, &message);
                }
                Event::RoutesDigest { .. } => {}
                Event::Refused { reason, .. } => panic!("refused: {reason}"),
            }
        }
    }

    fn answer(&mut self, peer: PeerId, message: &Message<'_>) {
        let text = match message {
            Message::RuleAdd(RuleAdd { weight: 0, protocol_address, .. }) => {
                format!("drain {protocol_address}")
            }
            Message::RuleAdd(add) => format!("add {}", add.protocol_address),
            Message::TranslatedRuleAdd(add) => {
                format!("add {} by {}", add.rule.protocol_address, add.translation)
            }
            Message::Flows(flows) => {
                let last = if flows.last { " last" } else { "" };
                format!("flows {} {}{last}", flows.request, flows.flows.len())
            }
            Message::RuleDelete(delete) => match self.rules.get(&delete.tunnel) {
                Some(address) => format!("delete {address}"),
                None => message.kind().to_string(),
            },
            other => other.kind().to_string(),
        };
        self.heard.push(text);
        self.routes.take(message, peer, &mut self.link);
        if self.mute {
            return;
        }
        if let Message::PortAddresses(said) = message {
            self.take_addresses(peer, said);
        }
        let addresses = [PortAddress::new([192, 0, 2, 1].into(), 24)];
        let answer = match message {
            Message::PortRequest(request) => {
                let granted = !self.refuse_port;
                Message::PortReply(PortReply {
                    request: request.request,
                    symbol: request.symbol,
                    status: if granted { Status::OK } else { Status::NOT_PERMITTED },
                    port: if granted { PORT } else { PortId(0) },
                    text: if granted { "" } else { "not in the list" },
                    attributes: granted.then(|| self.attributes(1, &addresses)),
                })
            }
            Message::TunnelRequest(request) => Message::TunnelReply(TunnelReply {
                request: request.request,
                symbol: request.symbol,
                port: request.port,
                tunnel: DOWN,
                status: Status::OK,
            }),
            Message::TranslationRequest(request) => {
                let status = self.refuse_translation.unwrap_or(Status::OK);
                self.tunnel = Tunnel::NONE;
                let (request, symbol) = (request.request, request.symbol);
                Message::TranslationReply(TranslationReply { request, symbol, status, text: "" })
            }
            Message::RuleAdd(add) | Message::TranslatedRuleAdd(TranslatedRuleAdd { rule: add, .. }) => {
                let refused = self.refuse_rules.contains(&add.protocol_address);
                if !refused {
                    self.rules.insert(add.tunnel, add.protocol_address);
                }
                let status = if refused { self.refusal } else { Status::OK };
                Message::RuleReply(RuleReply { request: add.request, tunnel: add.tunnel, status, text: "" })
            }
            Message::RuleDelete(delete) => {
                self.rules.remove(&delete.tunnel);
                Message::RuleDeleted(*delete)
            }
            _ => return,
        };
        self.link.send_message(peer, &answer);
        if self.changes_at_once && matches!(message, Message::PortRequest(_)) {
            let attributes = PortAttributes { mtu: 1400, ..self.attributes(2, &addresses) };
            self.link.send_message(peer, &Message::PortUpdate(PortUpdate { port: PORT, attributes }));
        }
    }
}

impl RelayModel {
    fn take_addresses(&mut self, peer: PeerId, said: &PortAddresses<'_>) {
        self.addresses.clear();
        for address in said.addresses {
            let text = format!("{}/{}", address.address(), address.prefix_length());
            let status = self.refuse_addresses.get(&text).copied().unwrap_or(Status::OK);
            self.addresses.push(text);
            let reply = AddressReply { port: said.port, address: *address, status, text: "" };
            self.link.send_message(peer, &Message::AddressReply(reply));
        }
        self.said.push(self.addresses.clone());
    }
}

pub(crate) fn control_link() -> l2link::Config {
    link_config("control1", Role::Control, CONTROL_MAC, BootId(1))
}

fn link_config(name: &str, role: Role, mac: Mac, boot: BootId) -> l2link::Config {
    l2link::Config {
        name: name.into(),
        role,
        boot,
        mac,
        ethertype: 0x88b5,
        mtu: 1500,
        security: Security::None,
        control: Protection::CLEAR,
        data: Protection::CLEAR,
        keepalive: l2link::Config::KEEPALIVE,
        missed: l2link::Config::MISSED,
    }
}

fn new_batch(link: &Link) -> Batch {
    Batch::new(link.parcel_frames_max() + 16, link.frame_len_max())
}

fn parcel(frame: &[u8]) -> Vec<u8> {
    [&[0; 10], frame].concat()
}

/// A symbol of kind `interface` that shows this port.
pub(crate) fn symbol_config(name: &str, port: &str, netns: Option<&str>) -> control_core::SymbolConfig {
    control_core::SymbolConfig {
        relay: "relay1".into(),
        port: port.into(),
        name: name.into(),
        netns: netns.map(Into::into),
        exposure: control_core::Exposure::standard(false),
        translation: None,
        files: None,
        weight: control_core::Weight::default(),
        detect: true,
    }
}

/// A symbol of the file that another one contradicts.
pub(crate) fn contradicted() -> control_core::RefusedSymbol {
    control_core::RefusedSymbol {
        name: "eth7".into(),
        kind: "interface".into(),
        netns: None,
        relay: "relay1".into(),
        port: "eth7".into(),
        reason: "two symbols have this name".into(),
    }
}

/// A TCP segment from 192.0.2.1 to 192.0.2.2.
pub(crate) fn tcp_segment(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([source.to_be_bytes(), destination.to_be_bytes()].concat());
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame
}
