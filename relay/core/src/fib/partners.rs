//! [`Partners`]: other relays, at which routes may leave.
//!
//! # Theory of operation
//!
//! A control that has symbols of several relays is one router, and introduces the relays to one another: "this symbol of mine
//! is a port of that relay". A nexthop there names the symbol. While there is a session with that relay, an interface of this
//! relay's kernel leads to it, and such nexthops lead into the interface; without it they count as those by a port that is
//! down. A route has nexthops by own ports and by others' at once: those here are used as long as one of them can be,
//! so that no two relays send packets to and fro.
//!
//! What was introduced is the control's like its routes: it stays for the *hold* time when the control is gone, and what a
//! control that came back has not said again when its table ends goes then. No control, no partner.

use super::{Fib, Installed, Refusal};
use crate::port::Ports;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use frames::message::{self, RelayIntroduce, Status};
use frames::route::{RouteContent, RouteKey};
use frames::{Mac, SymbolId};
use l2link::{PeerId, PublicKey, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Most ports of other relays that one control introduces.
const INTRODUCED_MAX: usize = 1_024;
/// For how long after an introduction routes are not refused because there is no session yet: it takes milliseconds, if the
/// other relay has heard of it as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// Behind an interface to another relay there is nobody but it. Linux wants a neighbour all the same, or it would keep one for
/// every destination: the dummy address of RFC 7600, and one that is link-local.
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// Other relays.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    /// Their ports, by the control that introduced them and its symbol.
    ways: BTreeMap<(PeerId, SymbolId), Way>,
    /// Those with a session and an interface that leads to them, by name.
    links: BTreeMap<String, PartnerLink>,
    /// Those that were introduced just now, and until when a session is awaited without a word.
    expected: BTreeMap<String, Time>,
    /// Names that the link was told.
    told: BTreeSet<String>,
    changed: bool,
}

/// A port of another relay.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    relay: String,
    port: String,
    mac: Mac,
    salt: [u8; 32],
    /// In mode `keys`.
    key: Option<PublicKey>,
    /// Left from an earlier association.
    stale: bool,
}

#[derive(Debug, Clone, Copy)]
struct PartnerLink {
    peer: PeerId,
    ifindex: u32,
}

/// What the link is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// There may be a session with this relay.
    Introduce { relay: String, mac: Mac, key: Option<PublicKey>, salts: Vec<[u8; 32]> },
    /// Not any more.
    Dismiss { relay: String },
}

/// The nexthops of a route that can be used now.
#[derive(Debug)]
pub(super) struct Usable {
    /// As a control could have said them.
    pub(super) said: Vec<message::RouteNexthop>,
    /// As the kernel takes them.
    pub(super) nexthops: Vec<super::RouteNexthop>,
    /// Whether none is missing that would be used.
    pub(super) whole: bool,
}

impl Partners {
    /// Whether packets of this peer are those of another relay.
    pub(crate) fn is_linked(&self, peer: PeerId) -> bool {
        self.links.values().any(|link| link.peer == peer)
    }

    /// Relay and port of a control's symbol.
    pub(crate) fn names(&self, control: PeerId, symbol: SymbolId) -> Option<(&str, &str)> {
        let way = self.ways.get(&(control, symbol))?;
        Some((&way.relay, &way.port))
    }

    /// Whether a control introduced anything.
    pub(super) fn has(&self, control: PeerId) -> bool {
        self.ways.keys().any(|(known, _)| *known == control)
    }

    pub(super) fn mark_stale(&mut self, control: PeerId) {
        self.ways
            .iter_mut()
            .filter(|((known, _), _)| *known == control)
            .for_each(|(_, way)| way.stale = true);
    }

    /// Forgets what a control introduced, or only what is stale of it.
    pub(super) fn sweep(&mut self, control: PeerId, stale_only: bool) {
        let before = self.ways.len();
        self.ways.retain(|(known, _), way| *known != control || (stale_only && !way.stale));
        self.changed |= self.ways.len() != before;
    }

    /// When [`Partners::expire`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.expected.values().min().copied()
    }

    /// Gives up waiting for sessions. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let before = self.expected.len();
        self.expected.retain(|_, until| *until > now);
        self.expected.len() != before
    }

    /// Whether a route that has no nexthop to use may have one in a moment.
    pub(super) fn may_come(&self, content: &RouteContent<'_>, control: PeerId) -> bool {
        let mut symbols = content.nexthops.iter().filter_map(message::RouteNexthop::symbol);
        symbols.any(|symbol| {
            let way = self.ways.get(&(control, symbol));
            way.is_some_and(|way| self.expected.contains_key(&way.relay))
        })
    }

    /// What of it is news to the link.
    pub(crate) fn take_meetings(&mut self) -> Vec<Meeting> {
        if !core::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let mut wanted: BTreeMap<&String, (&Way, BTreeSet<[u8; 32]>)> = BTreeMap::new();
        for way in self.ways.values() {
            let (newest, salts) = wanted.entry(&way.relay).or_insert_with(|| (way, BTreeSet::new()));
            *newest = way;
            salts.insert(way.salt);
        }
        let gone: Vec<String> = self.told.iter().filter(|name| !wanted.contains_key(name)).cloned().collect();
        let mut meetings: Vec<Meeting> = wanted
            .into_iter()
            .map(|(relay, (way, salts))| {
                let (relay, salts) = (relay.clone(), salts.into_iter().collect());
                Meeting::Introduce { relay, mac: way.mac, key: way.key, salts }
            })
            .collect();
        self.told = meetings
            .iter()
            .filter_map(|meeting| match meeting {
                Meeting::Introduce { relay, .. } => Some(relay.clone()),
                Meeting::Dismiss { .. } => None,
            })
            .collect();
        meetings.extend(gone.into_iter().map(|relay| Meeting::Dismiss { relay }));
        meetings
    }

    /// The nexthops of a control's route that can be used.
    pub(super) fn usable(
        &self,
        key: &RouteKey,
        content: &RouteContent<'_>,
        control: PeerId,
        ports: &Ports,
    ) -> Usable {
        let (own, elsewhere): (Vec<&message::RouteNexthop>, Vec<_>) =
            content.nexthops.iter().partition(|nexthop| nexthop.symbol().is_none());
        let here = own.iter().filter_map(|said| {
            let port = ports.get(said.port()).filter(|port| port.is_up())?;
            let (gateway, weight, onlink) = (said.gateway(), said.weight(), said.onlink());
            Some((**said, super::RouteNexthop { ifindex: port.state.ifindex, gateway, weight, onlink }))
        });
        let (said, nexthops): (Vec<_>, Vec<_>) = here.unzip();
        if !said.is_empty() || elsewhere.is_empty() {
            return Usable { whole: said.len() == own.len(), said, nexthops };
        }
        let mut whole = own.is_empty();
        let mut weights: BTreeMap<PeerId, (u32, u16)> = BTreeMap::new();
        for nexthop in elsewhere {
            let link = nexthop
                .symbol()
                .and_then(|symbol| self.ways.get(&(control, symbol)))
                .and_then(|way| self.links.get(&way.relay));
            match link {
                Some(link) => {
                    let (_, weight) = weights.entry(link.peer).or_insert((link.ifindex, 0));
                    *weight = weight.saturating_add(nexthop.weight());
                }
                None => whole = false,
            }
        }
        let gateway = if key.prefix.address().is_ipv4() { GATEWAY_V4 } else { GATEWAY_V6 };
        let there = weights.into_iter().map(|(peer, (ifindex, weight))| {
            let kernel =
                super::RouteNexthop { ifindex, gateway: Some(gateway), weight, onlink: gateway.is_ipv4() };
            (said_at(peer, weight), kernel)
        });
        let (said, nexthops) = there.unzip();
        Usable { said, nexthops, whole }
    }

    /// Why none of a route's nexthops can be used.
    pub(super) fn obstacles(&self, content: &RouteContent<'_>, control: PeerId, ports: &Ports) -> String {
        let obstacle = |nexthop: &message::RouteNexthop| match nexthop.symbol() {
            None => {
                let port = ports.get(nexthop.port())?;
                Some(format!("port {} is {}", port.name(), port.state.flags))
            }
            Some(symbol) => Some(match self.names(control, symbol) {
                Some((relay, _)) => format!("there is no session with relay {relay}"),
                None => format!("no relay was introduced for {symbol}"),
            }),
        };
        let mut texts: Vec<String> = content.nexthops.iter().filter_map(obstacle).collect();
        texts.dedup();
        texts.join(", ")
    }

    /// What a control could have said of a nexthop of the kernel, if it leads to another relay.
    pub(super) fn said(&self, nexthop: &super::RouteNexthop) -> Option<message::RouteNexthop> {
        let link = self.links.values().find(|link| link.ifindex == nexthop.ifindex)?;
        Some(said_at(link.peer, nexthop.weight))
    }
}

/// All nexthops by one relay are one here, under a number of this relay's own.
fn said_at(peer: PeerId, weight: u16) -> message::RouteNexthop {
    message::RouteNexthop::at_relay(SymbolId(peer.0), None, weight)
}

impl Fib {
    /// A control introduces a port of another relay.
    pub(crate) fn introduce(
        &mut self,
        control: PeerId,
        introduction: &RelayIntroduce<'_>,
        ports: &Ports,
        now: Time,
    ) -> Result<(), (Status, &'static str)> {
        let Some(speaker) = self.speakers.get(&control) else { return Ok(()) };
        if !ports.iter().any(|port| port.config.permits_routing(&speaker.name)) {
            return Err((Status::NOT_PERMITTED, "no port's permission list allows it routes"));
        }
        let key = (control, introduction.symbol);
        let many = self.partners.ways.keys().filter(|(known, _)| *known == control).count() >= INTRODUCED_MAX;
        if many && !self.partners.ways.contains_key(&key) {
            return Err((Status::TABLE_FULL, "it has introduced as many as it can"));
        }
        let RelayIntroduce { mac, salt, relay, port, .. } = *introduction;
        let public_key = introduction.key.map(PublicKey);
        let is_other = |way: &Way| way.relay == relay && way.key != public_key;
        if self.partners.ways.iter().any(|((known, _), way)| *known != control && is_other(way)) {
            return Err((Status::CONFLICT, "another control introduced it under another key"));
        }
        // One relay has one key, whatever this control said of it before.
        let own =
            self.partners.ways.iter_mut().filter(|((known, _), way)| *known == control && way.relay == relay);
        own.for_each(|(_, way)| way.key = public_key);
        if !self.partners.ways.values().any(|way| way.relay == relay) {
            self.partners.expected.insert(relay.to_owned(), now + PATIENCE);
        }
        let way =
            Way { relay: relay.to_owned(), port: port.to_owned(), mac, salt, key: public_key, stale: false };
        let before = self.partners.ways.insert(key, way.clone());
        if before.as_ref().is_none_or(|before| Way { stale: false, ..before.clone() } != way) {
            self.partners.changed = true;
            // What waits for it.
            self.retry_at = Some(Time(0));
        }
        Ok(())
    }

    /// A control takes an introduction back.
    pub(crate) fn dismiss(&mut self, control: PeerId, symbol: SymbolId) {
        self.partners.changed |= self.partners.ways.remove(&(control, symbol)).is_some();
    }

    /// An interface leads to another relay from now on.
    pub(crate) fn partner_linked(&mut self, peer: PeerId, relay: &str, ifindex: u32) {
        self.partners.links.insert(relay.to_owned(), PartnerLink { peer, ifindex });
        self.partners.expected.remove(relay);
        self.retry_pause = super::RETRY;
        self.retry_at = Some(Time(0));
    }

    /// The interface is gone, and the kernel's routes by it.
    pub(crate) fn partner_lost(&mut self, peer: PeerId) {
        let links = self.partners.links.len();
        self.partners.links.retain(|_, link| link.peer != peer);
        if self.partners.links.len() == links {
            return;
        }
        let leads = |nexthop: &message::RouteNexthop| nexthop.symbol() == Some(SymbolId(peer.0));
        let affected: Vec<RouteKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| match entry.installed {
                Installed::Content(content) => self.contents.get(content).nexthops.iter().any(leads),
                Installed::No | Installed::Other => false,
            })
            .map(|(key, _)| *key)
            .collect();
        for key in affected {
            let all = self.entries.get(&key).is_some_and(|entry| match entry.installed {
                Installed::Content(content) => self.contents.get(content).nexthops.iter().all(leads),
                Installed::No | Installed::Other => false,
            });
            if all {
                self.lose(key);
            } else {
                self.queue(key);
            }
        }
    }

    pub(super) fn unusable(&self, content: &RouteContent<'_>, control: PeerId, ports: &Ports) -> Refusal {
        Refusal { status: Status::SYSTEM, text: self.partners.obstacles(content, control, ports) }
    }
}
