//! A device of the segment: a core, and what its shell would do for it, without a kernel.

use crate::allotted;
use control_core::seen::{Connections, IfIndex, OpenSocket, OpenSockets, RouteFamilies, SocketPart};
use control_core::{Addressing, Control, Exposure, SymbolConfig, Triggered, Weight};
use core::time::Duration;
use frames::discovery::{Protection, Role};
use frames::message::{PortAddress, PortFlags};
use frames::{BootId, Mac, PortId};
use l2link::{Batch, Config, Link, PeerState, Security, ServiceSet, Time};
use relay_core::{
    Conflicts, ControlName, FibConfig, Permission, PortConfig, PortState, Relay, RelayConfig, RoutesSeen,
    Unmatched,
};
use std::collections::BTreeSet;

pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) mac: Mac,
    /// None while it is dead.
    pub(crate) core: Option<Core>,
    /// Of a control: what its programs have open.
    pub(crate) sockets: BTreeSet<OpenSocket>,
    /// Bytes that the core has allotted.
    pub(crate) memory: i64,
    /// Messages of its former lives.
    messages: u64,
    /// Of a relay: the controls that it was to remember.
    remembered: BTreeSet<String>,
}

pub(crate) enum Core {
    Relay(Box<Relay>),
    Control(Box<Control>),
}

impl Device {
    pub(crate) fn relay(place: usize) -> Self {
        Self::new(format!("relay{place:03}"), mac(b'R', place))
    }

    pub(crate) fn control(place: usize) -> Self {
        Self::new(format!("control{place:03}"), mac(b'C', place))
    }

    fn new(name: String, mac: Mac) -> Self {
        let (sockets, remembered) = (BTreeSet::new(), BTreeSet::new());
        Self { name, mac, core: None, sockets, memory: 0, messages: 0, remembered }
    }

    /// A relay begins a life, and knows of the former one whom it is to remember.
    pub(crate) fn start_relay(&mut self, boot: u64, seed: [u8; 32], now: Time) {
        self.weigh(|device| {
            let permission = Permission {
                control: ControlName::Any,
                services: ServiceSet::all(),
                routes: None,
                addressing: false,
                priority: 0,
            };
            let port = PortConfig {
                interface: PORT.into(),
                relay_services: ServiceSet::none(),
                unmatched: Unmatched::Drop,
                conflicts: Conflicts::Share,
                allow: vec![permission],
            };
            let config = RelayConfig {
                name: device.name.clone(),
                ethertype: frames::header::DEFAULT_ETHERTYPE,
                ports: vec![port],
                limits: relay_core::police::Limits::default(),
                fib: FibConfig::default(),
            };
            let link = Link::new(device.link(Role::Relay, boot), seed, now);
            let mut relay = Relay::new(config, link, Some(device.remembered.clone()));
            relay.handle_port_state(PortId(1), Some(device.port_state()));
            device.core = Some(Core::Relay(Box::new(relay)));
        });
    }

    /// A control begins a life, with a symbol of the port of each of so many relays.
    pub(crate) fn start_control(&mut self, relays: usize, boot: u64, seed: [u8; 32], now: Time) {
        self.weigh(|device| {
            let symbol = |place| SymbolConfig {
                relay: Self::relay(place).name,
                port: PORT.into(),
                name: format!("eth{place}"),
                netns: Some("router".into()),
                exposure: Exposure::standard(false),
                translation: None,
                files: None,
                detect: true,
                weight: Weight::default(),
            };
            let config = control_core::Config {
                symbols: (0..relays).map(symbol).collect(),
                refused: Vec::new(),
                addressing: Addressing::Relay,
                routes: None,
                triggered: Triggered::All,
                carrier_hold: Duration::ZERO,
            };
            let control = Control::new(config, device.link(Role::Control, boot), seed, now);
            device.core = Some(Core::Control(Box::new(control)));
        });
    }

    /// It dies without a word.
    pub(crate) fn kill(&mut self) {
        self.messages = self.messages();
        self.weigh(|device| device.core = None);
    }

    /// Messages that it has sent in all of its lives.
    pub(crate) fn messages(&self) -> u64 {
        self.messages + self.link_of().map_or(0, |link| link.counters().messages())
    }

    /// With how many others there is a session.
    pub(crate) fn peers_up(&self) -> usize {
        let peers = self.link_of().map(Link::peers).unwrap_or_default();
        peers.iter().filter(|peer| peer.state == PeerState::Up).count()
    }

    /// Rules that a control has at each relay: one for each socket, and one for ARP and neighbor discovery.
    pub(crate) fn rules_expected(&self) -> usize {
        self.sockets.len() + 1
    }

    /// Rules of a relay.
    pub(crate) fn rules(&self) -> u64 {
        match &self.core {
            Some(Core::Relay(relay)) => relay.metrics().rules.iter().map(|(_, count)| count).sum(),
            Some(Core::Control(_)) | None => 0,
        }
    }

    pub(crate) fn link_of(&self) -> Option<&Link> {
        match self.core.as_ref()? {
            Core::Relay(relay) => Some(relay.link()),
            Core::Control(control) => Some(control.link()),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        match self.core.as_ref()? {
            Core::Relay(relay) => relay.poll_timeout(),
            Core::Control(control) => control.poll_timeout(),
        }
    }

    /// A frame arrives.
    pub(crate) fn receive(&mut self, frame: &mut [u8], now: Time) {
        self.weigh(|device| match &mut device.core {
            Some(Core::Relay(relay)) => _ = relay.handle_link_frame(frame, now),
            Some(Core::Control(control)) => _ = control.handle_link_frame(frame, now),
            None => {}
        });
    }

    /// A program opened or closed something, and an event told so.
    pub(crate) fn hint(&mut self, now: Time) {
        self.weigh(|device| match &mut device.core {
            Some(Core::Control(control)) => {
                SocketPart::ALL.into_iter().for_each(|part| control.handle_hint(None, part, now));
            }
            Some(Core::Relay(_)) | None => {}
        });
    }

    /// Lets time pass and does what the core asks for, as a shell at the end of a wake-up.
    pub(crate) fn work(&mut self, now: Time) {
        self.weigh(|device| match &mut device.core {
            Some(Core::Relay(relay)) => work_relay(relay, &mut device.remembered, now),
            Some(Core::Control(control)) => work_control(control, &device.sockets, now),
            None => {}
        });
    }

    /// Puts frames into the batch; returns whether others wait.
    pub(crate) fn transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        self.weigh(|device| match &mut device.core {
            Some(Core::Relay(relay)) => relay.poll_transmit(batch, now),
            Some(Core::Control(control)) => control.poll_transmit(batch, now),
            None => false,
        })
    }

    /// Runs what the core does, and counts its memory.
    fn weigh<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = allotted();
        let result = work(self);
        self.memory += allotted() - before;
        result
    }

    fn link(&self, role: Role, boot: u64) -> Config {
        Config {
            name: self.name.clone(),
            role,
            boot: BootId(boot),
            mac: self.mac,
            ethertype: frames::header::DEFAULT_ETHERTYPE,
            mtu: 1500,
            security: Security::Psk([42; 32].into()),
            control: Protection::SEALED,
            data: Protection::SEALED,
            keepalive: Config::KEEPALIVE,
            missed: Config::MISSED,
        }
    }

    fn port_state(&self) -> PortState {
        let [.., high, low] = self.mac.0;
        PortState {
            ifindex: 5,
            mac: Mac([2, b'P', 0, 0, high, low]),
            mtu: 1500,
            speed: 0,
            flags: PortFlags::UP | PortFlags::CARRIER,
            addresses: vec![PortAddress::new([10, high, low, 1].into(), 24)],
            routes: Vec::new(),
        }
    }
}

fn work_relay(relay: &mut Relay, remembered: &mut BTreeSet<String>, now: Time) {
    relay.handle_timeout(now);
    relay.handle_link_events(now);
    while let Some(action) = relay.poll_action() {
        match action {
            relay_core::Action::RememberControls(names) => *remembered = names,
            relay_core::Action::LookAtRoutes => {
                relay.handle_look_begins();
                relay.handle_look_ends(RoutesSeen { ipv4: true, ipv6: true }, now);
            }
            relay_core::Action::ChangeRoutes(operations) => panic!("nobody has routes: {operations:?}"),
            relay_core::Action::OpenTransit { relay, .. } => panic!("nobody introduces {relay}"),
            relay_core::Action::SetCapture { .. }
            | relay_core::Action::Join { .. }
            | relay_core::Action::Leave { .. }
            | relay_core::Action::AddAddress(_)
            | relay_core::Action::DeleteAddress(_)
            | relay_core::Action::ForgetFlow { .. }
            | relay_core::Action::ForgetSource(_)
            | relay_core::Action::CloseTransit { .. }
            | relay_core::Action::Verified(_)
            | relay_core::Action::Tell(_) => {}
        }
    }
}

fn work_control(control: &mut Control, sockets: &BTreeSet<OpenSocket>, now: Time) {
    control.handle_timeout(now);
    control.handle_link_events(now);
    while let Some(action) = control.poll_action() {
        use control_core::Action;
        match action {
            Action::CreateSymbol { symbol, .. } => {
                control.handle_symbol_created(symbol, IfIndex(symbol.0 + 1), now);
            }
            Action::DumpSockets { namespace, part } => {
                let of_part = |socket: &&OpenSocket| SocketPart::of(&socket.address) == part;
                let sockets = sockets.iter().filter(of_part).copied().collect();
                control.handle_sockets(
                    namespace,
                    part,
                    &OpenSockets { sockets, took: LOOK, ..OpenSockets::default() },
                    now,
                );
            }
            Action::DumpConnections { namespace } => {
                control.handle_connections(
                    namespace,
                    &Connections { connections: Vec::new(), took: LOOK },
                    now,
                );
            }
            Action::DumpMemberships { namespace } => control.handle_memberships(namespace, &[], now),
            Action::DumpRoutes { namespace, .. } => {
                control.handle_route_dump_begins(namespace, RouteFamilies::BOTH);
                control.handle_route_dump_ends(namespace, RouteFamilies::BOTH, now);
            }
            Action::ListAddresses { .. }
            | Action::UpdateSymbol { .. }
            | Action::SetCarrier { .. }
            | Action::RemoveSymbol { .. }
            | Action::Verified { .. }
            | Action::Report(_) => {}
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the octets of a small number")]
fn mac(kind: u8, place: usize) -> Mac {
    Mac([2, kind, 0, 0, (place >> 8) as u8, place as u8])
}

/// The only port of every relay.
const PORT: &str = "eth1";
/// What a look at some hundred sockets takes.
const LOOK: Duration = Duration::from_micros(100);
