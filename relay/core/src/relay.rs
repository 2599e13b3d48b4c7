//! [`Relay`]: inputs and outputs of the core.

use crate::action::{Action, Capture, Event};
use crate::by_hand::Decided;
use crate::config::RelayConfig;
use crate::dispatch::{Dispatch, Target, Targets};
use crate::fib::{Fib, Partners};
use crate::fragment::Fragments;
use crate::given::Given;
use crate::membership::Memberships;
use crate::police::{Police, PuntClass};
use crate::port::{PortState, Ports};
use crate::routed;
use crate::show::{RuleRow, port_state};
use crate::symbol::Symbols;
use crate::transit;
use crate::translation::{self, Outlet, Translations};
use frames::data::{OffloadHeader, Tunnel};
use frames::message::{Group, Message, PortUpdate};
use frames::route::RouteKey;
use frames::session::CloseReason;
use frames::{DownTunnel, DropReason, Mac, PortId, UpTunnel};
use l2link::route_text::RouteText;
use l2link::{Batch, Counters, Link, PeerId, Rx, SessionKeys, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// The relay: its link, its ports, and its tables.
#[derive(Debug)]
pub struct Relay {
    pub(crate) config: RelayConfig,
    pub(crate) link: Link,
    pub(crate) ports: Ports,
    /// Every control that was ever up.
    pub(crate) controls: BTreeMap<PeerId, Control>,
    /// Relays that are up, by name.
    pub(crate) partners: BTreeMap<PeerId, String>,
    pub(crate) symbols: Symbols,
    pub(crate) dispatch: Dispatch,
    pub(crate) memberships: Memberships,
    pub(crate) fib: Fib,
    pub(crate) given: Given,
    /// Of the controls' address symbols.
    pub(crate) translations: Translations,
    /// Controls with routes or rules, as the shell was asked to remember them.
    pub(crate) remembered: BTreeSet<String>,
    /// What an operator decided about controls, by name.
    pub(crate) decided: BTreeMap<String, Decided>,
    /// Routes by hand.
    pub(crate) fixed: BTreeMap<RouteKey, RouteText>,
    /// Rules that were refused, until their control asks again, deletes them or goes.
    pub(crate) refusals: BTreeMap<(PeerId, UpTunnel), RuleRow>,
    pub(crate) actions: VecDeque<Action>,
    /// Drops at ports and in the shell; the link counts its own.
    pub(crate) drops: Counters,
    pub(crate) fragments: Fragments,
    /// Fragments whose first has come, on their way.
    pub(crate) released: VecDeque<(Target, PuntClass, Vec<u8>)>,
    /// What was asked for by [`Action::SetCapture`].
    pub(crate) captures: BTreeMap<PortId, Capture>,
    /// The packet being sent: its targets, and how many of them it was sent to.
    pub(crate) targets: Targets,
    pub(crate) copies: usize,
    pub(crate) class: PuntClass,
    /// See [`Relay::changes`].
    pub(crate) changes: u32,
}

/// A control.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) name: String,
    pub(crate) police: Police,
}

/// What becomes of a link frame.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum LinkVerdict<'a> {
    /// The parcel leaves by the port.
    Transmit {
        /// The port.
        port: PortId,
        /// Offload header and Ethernet frame.
        parcel: &'a mut [u8],
    },
    /// The packet leaves by the kernel's own routes, from the outlet's source. It may be a super-packet, with a checksum to
    /// be completed: [`frames::inet::Segments`] makes packets of it.
    Route {
        /// By what it leaves.
        outlet: Outlet,
        /// Offload header and Ethernet frame; the addresses in the Ethernet header mean nothing.
        parcel: &'a mut [u8],
    },
    /// The packet came from another relay, and leaves by the kernel's routes as if it had arrived at one of the ports: it goes
    /// into the kernel by the interface that leads to that relay.
    Forward {
        /// The other relay.
        peer: PeerId,
        /// Offload header and Ethernet frame; the addresses in the Ethernet header mean nothing.
        parcel: &'a mut [u8],
    },
    /// The packet came from another relay, and is addressed to this one as if it had arrived at this port: the shell owes
    /// [`Relay::handle_port_parcel`]. The kernel gets it as well if it is ICMP, or if that says
    /// [`DropReason::NotForPort`].
    Own {
        /// The other relay.
        peer: PeerId,
        /// The port with the address.
        port: PortId,
        /// Whether it is ICMP or ICMPv6.
        icmp: bool,
        /// Offload header and Ethernet frame.
        parcel: &'a mut [u8],
    },
    /// The link has dealt with it.
    Consumed,
    /// Dropped and counted.
    Drop(DropReason),
}

impl LinkVerdict<'_> {
    /// The parcel, if there is one to be passed on.
    #[must_use]
    pub fn parcel(&self) -> Option<&[u8]> {
        match self {
            Self::Transmit { parcel, .. }
            | Self::Route { parcel, .. }
            | Self::Forward { parcel, .. }
            | Self::Own { parcel, .. } => Some(parcel),
            Self::Consumed | Self::Drop(_) => None,
        }
    }
}

/// What becomes of a parcel from a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PortVerdict {
    /// It is in the batch, for each control that gets it.
    Sent,
    /// The batch is full. Flush it and call [`Relay::resume_port_parcel`] with the same parcel, before anything else.
    Full,
    /// It waits for the first fragment of its packet.
    Held,
    /// Dropped and counted.
    Drop(DropReason),
}

impl Relay {
    /// A relay that has not seen any of its ports yet. `remembered` is what the last [`Action::RememberControls`] of an
    /// earlier life asked for, if that is known.
    #[must_use]
    pub fn new(config: RelayConfig, mut link: Link, remembered: Option<BTreeSet<String>>) -> Self {
        let before = remembered.clone().unwrap_or_default();
        let dispatch = Dispatch::new(&config.ports, before, || link.draw_salt());
        let fib = Fib::new(config.fib.clone(), config.route_claimants(remembered));
        let given = Given::new(config.fib.hold);
        Self {
            ports: Ports::new(config.ports.clone()),
            config,
            link,
            controls: BTreeMap::new(),
            partners: BTreeMap::new(),
            symbols: Symbols::default(),
            dispatch,
            memberships: Memberships::default(),
            fib,
            given,
            translations: Translations::default(),
            remembered: BTreeSet::new(),
            decided: BTreeMap::new(),
            fixed: BTreeMap::new(),
            refusals: BTreeMap::new(),
            actions: VecDeque::new(),
            drops: Counters::default(),
            fragments: Fragments::default(),
            released: VecDeque::new(),
            captures: BTreeMap::new(),
            targets: Targets::default(),
            copies: 0,
            class: PuntClass::Raw,
            changes: 0,
        }
    }

    /// Takes a whole Ethernet frame that arrived on the link interface, and gives the verdict on its first parcel;
    /// [`Relay::next_parcel`] gives those on the others. What it tells besides a parcel is taken in
    /// with the next frame, or by [`Relay::handle_link_events`].
    pub fn handle_link_frame<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> LinkVerdict<'a> {
        // What came before this frame is in force for it.
        self.handle_link_events(now);
        let received = self.link.handle_frame(frame, now);
        let tables = (&mut self.symbols, &mut self.translations, &self.fib.partners);
        judge(received, tables, &self.ports, &mut self.drops)
    }

    /// The verdict on the next parcel of the frame that was given to [`Relay::handle_link_frame`] just now; `None` if it
    /// holds no more.
    pub fn next_parcel<'a>(&'a mut self, frame: &'a mut [u8]) -> Option<LinkVerdict<'a>> {
        let received = self.link.next_parcel(frame)?;
        let tables = (&mut self.symbols, &mut self.translations, &self.fib.partners);
        Some(judge(received, tables, &self.ports, &mut self.drops))
    }

    /// Takes over what a port's interface is like; `None` while there is none that can be used.
    pub fn handle_port_state(&mut self, id: PortId, state: Option<PortState>) {
        let Some((before, was_present, before_state, addresses)) = self.ports.get(id).map(|port| {
            let addresses: Vec<IpAddr> = port.addresses().collect();
            (port.state.ifindex, port.is_present(), port_state(port.state.flags), addresses)
        }) else {
            return;
        };
        if !self.ports.set_state(id, state) {
            return;
        }
        self.note_change();
        self.given.ports_changed();
        let Some(port) = self.ports.get(id) else { return };
        let row = self.port_row(port);
        if row.state != before_state {
            log::info!(target: "relay::port", "port {} is {}", row.name, row.state);
        }
        log::debug!(target: "relay::port", "port {}: {:?}", row.name, port.state);
        let message = Message::PortUpdate(PortUpdate { port: id, attributes: port.attributes() });
        for peer in self.symbols.controls(id) {
            self.link.send_message(peer, &message);
        }
        let has_another = port.addresses().any(|address| !addresses.contains(&address));
        let remade = port.state.ifindex != before;
        self.fib.ports_changed(remade || port.is_present() != was_present);
        if remade || !port.is_present() {
            // The socket at the new interface knows nothing of what the old one was told.
            self.captures.remove(&id);
        }
        if port.is_present() && !self.captures.contains_key(&id) {
            let joins = self.memberships.of_port(id).map(|group| Action::Join { port: id, group });
            self.actions.extend(joins);
        }
        if has_another {
            let controls = self.symbols.controls_with(|symbol| symbol.lacks_address(&row.name));
            self.have_ask_again(controls, &format!("port {} has another address", row.name));
        }
        self.tell(Event::PortChanged(row));
        self.refresh_captures();
    }

    /// Takes over the addresses of all the relay's interfaces that are not ports.
    pub fn handle_addresses(&mut self, addresses: &[IpAddr]) {
        if self.ports.set_elsewhere(addresses) {
            self.note_change();
            self.given.ports_changed();
            self.refresh_captures();
        }
    }

    /// The link interface is another one, or has another address or MTU. Afterwards [`Relay::frame_len_max`] and
    /// [`Relay::parcel_frames_max`] may be others.
    pub fn handle_link_interface(&mut self, mac: Mac, mtu: u32) {
        self.link.set_interface(mac, mtu);
    }

    /// Lets time pass; harmless at any moment.
    pub fn handle_timeout(&mut self, now: Time) {
        self.link.handle_timeout(now);
        self.handle_link_events(now);
        self.fib.handle_timeout(now);
        self.answer_routes();
        self.meet_relays(now);
        self.given.handle_timeout(&self.ports, now);
        self.order_addresses();
        if self.dispatch.poll_timeout().is_some_and(|time| time <= now) {
            self.note_change();
        }
        self.dispatch.handle_timeout(now);
        self.ask_for_flows();
        let orphans = self.fragments.expire(now);
        self.drops.drops(DropReason::OrphanFragment, orphans);
    }

    /// Counts what the shell saw dropped.
    pub fn handle_drops(&mut self, reason: DropReason, times: u64) {
        self.drops.drops(reason, times);
    }

    /// Says goodbye to all peers: to be followed by a last [`Relay::poll_transmit`].
    pub fn close(&mut self, now: Time) {
        self.link.close(CloseReason::SHUTDOWN, now);
        self.handle_link_events(now);
    }

    /// From now on [`Relay::poll_session_keys`] gives the keys of new sessions away, for a key log.
    pub fn keep_session_keys(&mut self) {
        self.link.keep_session_keys();
    }

    /// Ends [`Relay::keep_session_keys`].
    pub fn drop_session_keys(&mut self) {
        self.link.drop_session_keys();
    }

    /// The keys of the next session that was made; to be polled before [`Relay::poll_transmit`].
    pub fn poll_session_keys(&mut self) -> Option<SessionKeys> {
        self.link.poll_session_keys()
    }

    /// The next thing for the shell to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Writes waiting frames into `batch` until none waits or the batch is full. Returns whether any still waits.
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        self.transmit_released(batch, now) || self.link.poll_transmit(batch, now)
    }

    /// When [`Relay::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let (link, fragments) = (self.link.poll_timeout(), self.fragments.poll_timeout());
        let (fib, given) = (self.fib.poll_timeout(), self.given.poll_timeout());
        [link, fragments, fib, given, self.dispatch.poll_timeout()].into_iter().flatten().min()
    }

    /// Most link frames that one parcel can become.
    #[must_use]
    pub fn parcel_frames_max(&self) -> usize {
        self.link.parcel_frames_max()
    }

    /// Longest link frame, Ethernet header included.
    #[must_use]
    pub fn frame_len_max(&self) -> usize {
        self.link.frame_len_max()
    }

    /// How often a reason to drop occurred, anywhere in the relay.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.link.counters().dropped(reason) + self.drops.dropped(reason)
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops.drop(reason);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.actions.push_back(Action::Tell(Box::new(event)));
    }

    pub(crate) fn control_name(&self, peer: PeerId) -> &str {
        self.controls.get(&peer).map_or("?", |control| &control.name)
    }

    pub(crate) fn port_name(&self, port: PortId) -> &str {
        self.ports.get(port).map_or("?", |port| port.name())
    }

    /// Asks for a capture of each port whose capture is not what it should be.
    pub(crate) fn refresh_captures(&mut self) {
        let addresses = self.ports.locals();
        for port in self.ports.iter().filter(|port| port.is_present()) {
            let own = port.state.mac;
            let joined = self.memberships.of_port(port.id).filter_map(|group| match group {
                Group::Ethernet(mac) if !mac.is_multicast() && mac != own => Some(mac),
                Group::Ethernet(_) | Group::Ip(_) => None,
            });
            let capture = Capture {
                link_ethertype: self.config.ethertype,
                mac: own,
                joined: joined.collect(),
                addresses: addresses.clone(),
            };
            if self.captures.get(&port.id) != Some(&capture) {
                self.captures.insert(port.id, capture.clone());
                self.actions.push_back(Action::SetCapture { port: port.id, capture });
            }
        }
    }
}

/// Bytes before the Ethernet frame of a parcel.
pub(crate) const OFFLOAD: usize = size_of::<OffloadHeader>();

/// Where a parcel from the link goes.
fn judge<'a>(
    received: Rx<'a>,
    (symbols, translations, partners): (&mut Symbols, &mut Translations, &Partners),
    ports: &Ports,
    drops: &mut Counters,
) -> LinkVerdict<'a> {
    let (peer, tunnel, parcel) = match received {
        Rx::Parcel { peer, tunnel, parcel } => (peer, tunnel, parcel),
        Rx::Consumed => return LinkVerdict::Consumed,
        Rx::Drop(reason) => return LinkVerdict::Drop(reason),
    };
    if tunnel == Tunnel::NONE && partners.is_linked(peer) {
        return transit::judge(peer, parcel, ports, drops);
    }
    if tunnel == Tunnel::NONE {
        return translation::judge(peer, parcel, translations, ports, drops);
    }
    let bytes = parcel.len().saturating_sub(OFFLOAD);
    let reason = match symbols.receive(peer, DownTunnel(tunnel.0), bytes) {
        Some(port) => match ports.get(port).filter(|port| port.is_up()) {
            Some(own) if routed::is_to_be_routed(parcel, own) => {
                let tunnel = DownTunnel(tunnel.0);
                return routed::judge(tunnel, parcel, own, symbols, translations, ports, drops);
            }
            Some(_) => return LinkVerdict::Transmit { port, parcel },
            None => DropReason::PortDown,
        },
        None => DropReason::UnknownTunnel,
    };
    drops.drop(reason);
    LinkVerdict::Drop(reason)
}
