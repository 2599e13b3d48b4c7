//! `Given`: the addresses that controls give to ports.
//!
//! # Theory of operation
//! A control whose programs own the addressing says which addresses it wants a port to have besides the relay's own. What
//! is wanted is compared with what the port's interface has ([`PortState::addresses`](crate::port::PortState), where the
//! ones with the project's mark are flagged as given) whenever one of the two changes, and the difference becomes actions.
//! So an address that somebody deletes, or that went with its interface, comes back, and one that the kernel refused is
//! tried again.
//!
//! An address has one owner: the first control that said it. Another that says it too is refused until the owner gives it
//! up. An address that the relay has of its own, at whatever interface, is refused as long as it has it. The relay's own
//! addresses are never touched: only what has the mark is deleted.
//!
//! The addresses of a control that is gone stay for the *hold* time, as its routes do. Those of one that comes back stay
//! until it has said the port's addresses anew, which it does as soon as it is granted the port; one that has been granted
//! it and says nothing, or says that it has asked for all its ports and this is none of them, gives no addresses any more.
//! One that gives a port back on its way out is as one that is gone. What has the mark when the daemon starts is an *orphan*: it stays until
//! every control that may give the port addresses has said them, and for the hold time at most.

mod reconcile;
mod rows;
#[cfg(test)]
mod tests;

use crate::port::{Port, Ports};
use core::fmt;
use core::time::Duration;
use frames::PortId;
use frames::message::{PortAddress, Status};
use l2link::{PeerId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An address of a port's interface that is to come or to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenAddress {
    /// The port.
    pub port: PortId,
    /// Index of its interface.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_length: u8,
}

#[derive(Debug)]
pub(crate) struct Given {
    hold: Option<Duration>,
    /// What controls say of a port's addresses.
    said: BTreeMap<(PortId, PeerId), Said>,
    entries: BTreeMap<(PortId, Address), Entry>,
    /// Names of the controls that were up.
    names: BTreeMap<PeerId, String>,
    /// What the controls were told last, in this association.
    told: BTreeMap<(PeerId, PortId, Address), Refusal>,
    /// Controls that have said a port's addresses since the daemon started.
    spoke: BTreeSet<(PortId, String)>,
    /// Until when orphans stay at most: until the start is known, [`Orphans::Unseen`].
    orphans: Orphans,
    /// Something changed since the last comparison.
    changed: bool,
    /// Addresses that were lost and are there again.
    pub(crate) repaired: u64,
    /// Actions and answers that the last comparison led to.
    pub(crate) orders: Vec<Order>,
}

/// What a comparison leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Add(GivenAddress),
    Delete(GivenAddress),
    /// `ADDRESS_REPLY`
    Reply {
        peer: PeerId,
        port: PortId,
        address: PortAddress,
        refusal: Refusal,
    },
}

/// An address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    address: IpAddr,
    prefix_length: u8,
}

/// Why a control does not have its address; [`Status::OK`] if it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) text: String,
}

/// What one control wants of one port.
#[derive(Debug)]
struct Said {
    /// In the order in which it said them.
    addresses: Vec<Address>,
    /// Why it gets none of them.
    refusal: Option<Refusal>,
    phase: Phase,
}

/// Whether what was said still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Said in this association.
    Current,
    /// The control is gone: counts until then, `None` for ever.
    Gone(Option<Time>),
    /// The control is back, and has not been granted the port yet.
    Back,
    /// It has been granted the port, or has given it back, and is to say its addresses anew by then; `None` until the
    /// clock is known.
    Granted(Option<Time>),
}

/// An address that is wanted, or there.
#[derive(Debug, Default)]
struct Entry {
    owner: Option<PeerId>,
    /// The interface has it, with the mark.
    there: bool,
    /// It was there when the daemon started, and no control has wanted it since.
    adopted: bool,
    /// It was there and is not any more, through no doing of ours.
    lost: bool,
    state: State,
}

/// What was asked of the kernel.
#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Asked for at that time: the interface's addresses will tell.
    Asked(Time),
    /// It refused; to be tried again then.
    Failed(Refusal, Time),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orphans {
    /// Nothing has been compared yet.
    Unseen,
    /// They stay until then, `None` for ever.
    Stay(Option<Time>),
    Gone,
}

/// How long a control has to say its addresses after it was granted the port: many times what a slow one needs.
const ANEW: Duration = Duration::from_secs(60);
/// Pause after which what was asked for and did not come is asked for again.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pause after a refusal by the kernel, if nothing changes.
const RETRY: Duration = Duration::from_secs(5);

impl Given {
    pub(crate) fn new(hold: Option<Duration>) -> Self {
        Self {
            hold,
            said: BTreeMap::new(),
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            told: BTreeMap::new(),
            spoke: BTreeSet::new(),
            orphans: Orphans::Unseen,
            changed: false,
            repaired: 0,
            orders: Vec::new(),
        }
    }

    /// A control says all addresses that it wants a port to have. `granted`: whether it has a symbol of the port.
    pub(crate) fn say(
        &mut self,
        peer: PeerId,
        id: PortId,
        addresses: &[PortAddress],
        granted: bool,
        ports: &Ports,
    ) {
        let (Some(port), Some(name)) = (ports.get(id), self.names.get(&peer)) else { return };
        let refusal = if !granted {
            Some(Refusal::new(Status::BAD_REQUEST, format!("{name} was not granted port {}", port.name())))
        } else {
            prohibition(port, name)
        };
        if refusal.is_none() {
            self.spoke.insert((id, name.clone()));
        }
        let mut wanted: Vec<Address> = Vec::new();
        for address in addresses.iter().map(Address::of) {
            if !wanted.contains(&address) {
                wanted.push(address);
            }
        }
        self.told.retain(|(to, at, address), _| (*to, *at) != (peer, id) || wanted.contains(address));
        self.said.insert((id, peer), Said { addresses: wanted, refusal, phase: Phase::Current });
        self.changed = true;
    }

    /// Ports are offered on other conditions: who may give addresses is judged anew.
    pub(crate) fn permit_again(&mut self, ports: &Ports) {
        for ((id, peer), said) in &mut self.said {
            let (Some(port), Some(name)) = (ports.get(*id), self.names.get(peer)) else { continue };
            let judged = said.refusal.as_ref().is_none_or(|refusal| refusal.status == Status::NOT_PERMITTED);
            if judged {
                said.refusal = prohibition(port, name);
            }
        }
        self.changed = true;
    }

    /// A port is offered no more: what controls gave it goes.
    pub(crate) fn retire(&mut self, port: &Port) {
        self.said.retain(|(id, _), _| *id != port.id);
        self.told.retain(|(_, id, _), _| *id != port.id);
        let there = self.entries.iter().filter(|((id, _), entry)| *id == port.id && entry.there);
        self.orders.extend(there.map(|((_, address), _)| {
            Order::Delete(GivenAddress {
                port: port.id,
                ifindex: port.state.ifindex,
                address: address.address,
                prefix_length: address.prefix_length,
            })
        }));
        self.entries.retain(|(id, _), _| *id != port.id);
        self.changed = true;
    }

    /// How long the addresses of a control stay that goes from now on.
    pub(crate) fn set_hold(&mut self, hold: Option<Duration>) {
        self.hold = hold;
    }

    /// A control has asked for all ports that it wants.
    pub(crate) fn asked_for_all(&mut self, peer: PeerId) {
        let before = self.said.len();
        self.said.retain(|(_, known), said| *known != peer || said.phase != Phase::Back);
        self.changed |= self.said.len() != before;
    }

    /// A control has given back its last symbol of a port: because it stops, as a rule, and then it will be gone at once.
    pub(crate) fn released(&mut self, peer: PeerId, port: PortId) {
        if let Some(said) = self.said.get_mut(&(port, peer)) {
            said.phase = Phase::Granted(None);
            self.changed = true;
        }
    }

    /// A control does not ask for a port any more, or may not have it.
    pub(crate) fn withdraw(&mut self, peer: PeerId, port: PortId) {
        self.changed |= self.said.remove(&(port, peer)).is_some();
        self.told.retain(|(to, at, _), _| (*to, *at) != (peer, port));
    }

    /// A control is not to be remembered: its addresses go.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.said.retain(|(_, known), _| *known != peer);
        self.told.retain(|(to, ..), _| *to != peer);
        self.names.remove(&peer);
        self.changed = true;
    }

    /// A control begins an association.
    pub(crate) fn peer_up(&mut self, peer: PeerId, name: &str) {
        self.names.insert(peer, name.to_owned());
        self.set_phase(peer, Phase::Back);
        self.told.retain(|(to, ..), _| *to != peer);
    }

    /// A control is gone.
    pub(crate) fn peer_down(&mut self, peer: PeerId, now: Time) {
        self.set_phase(peer, Phase::Gone(self.hold.map(|hold| now + hold)));
    }

    /// A control has been granted a port, and is to say its addresses now, if it has any.
    pub(crate) fn granted(&mut self, peer: PeerId, port: PortId) {
        if let Some(said) = self.said.get_mut(&(port, peer)).filter(|said| said.phase == Phase::Back) {
            said.phase = Phase::Granted(None);
            self.changed = true;
        }
    }

    /// Ports or addresses of the relay changed.
    pub(crate) fn ports_changed(&mut self) {
        self.changed = true;
        for entry in self.entries.values_mut() {
            if matches!(entry.state, State::Failed(..)) {
                entry.state = State::Idle;
            }
        }
    }

    /// The kernel refused what was asked for.
    pub(crate) fn failed(&mut self, failed: &GivenAddress, refusal: Refusal, now: Time) {
        let address = Address { address: failed.address, prefix_length: failed.prefix_length };
        if let Some(entry) = self.entries.get_mut(&(failed.port, address)) {
            log::debug!(target: "relay::port", "address {address}: {}", refusal.text);
            entry.state = State::Failed(refusal, now + RETRY);
            self.changed = true;
        }
    }

    /// When [`Given::handle_timeout`] wants to be called: at once after a change.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        if self.changed {
            return Some(Time(0));
        }
        let said = self.said.values().filter_map(|said| said.phase.end());
        let entries = self.entries.values().filter_map(Entry::next);
        let orphans = match self.orphans {
            Orphans::Stay(until) if self.entries.values().any(|entry| entry.adopted) => until,
            Orphans::Unseen | Orphans::Stay(_) | Orphans::Gone => None,
        };
        said.chain(entries).chain(orphans).min()
    }

    /// Lets time pass, and compares what is wanted with what is there. What follows from it is in `orders`.
    pub(crate) fn handle_timeout(&mut self, ports: &Ports, now: Time) {
        if self.poll_timeout().is_none_or(|next| next > now) {
            return;
        }
        self.changed = false;
        for said in self.said.values_mut() {
            if said.phase == Phase::Granted(None) {
                said.phase = Phase::Granted(Some(now + ANEW));
            }
        }
        self.said.retain(|_, said| said.phase.end().is_none_or(|end| end > now));
        self.reconcile(ports, now);
    }

    fn set_phase(&mut self, peer: PeerId, phase: Phase) {
        let of_peer = self.said.iter_mut().filter(|((_, known), _)| *known == peer);
        of_peer.for_each(|(_, said)| said.phase = phase);
        self.changed = true;
    }
}

/// Why a control may not give a port addresses, if it may not.
fn prohibition(port: &Port, control: &str) -> Option<Refusal> {
    if port.config.permits_addressing(control) {
        return None;
    }
    let port = port.name();
    let text = format!(
        "the relay does not let {control} give port {port} addresses; in its configuration, below the \
         [[port.allow]] of {control} at {port}, add: addressing = true"
    );
    Some(Refusal::new(Status::NOT_PERMITTED, text))
}

impl Phase {
    fn end(self) -> Option<Time> {
        match self {
            Self::Gone(end) | Self::Granted(end) => end,
            Self::Current | Self::Back => None,
        }
    }
}

impl Entry {
    fn next(&self) -> Option<Time> {
        match self.state {
            State::Asked(at) => Some(at + PATIENCE),
            State::Failed(_, at) => Some(at),
            State::Idle => None,
        }
    }
}

impl Refusal {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl Address {
    fn of(address: &PortAddress) -> Self {
        Self { address: address.address(), prefix_length: address.prefix_length() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}
