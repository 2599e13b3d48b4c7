//! From open sockets to listener rules (M5, M6).
//!
//! # Theory of operation
//!
//! A look at a part of a namespace's sockets ([`SocketPart`]) gives all of them that are open at that moment. From it follows, for
//! each symbol, the set of that part's rules that there must be: [`desired`]. The rules are made equal to that set by difference ([`reconcile`]), so it
//! does not matter what was missed between two looks, in what order things happened, or how many sockets share one
//! protocol address: twins by `SO_REUSEPORT`, sockets inherited by fork, and both halves of an MPTCP listener are one
//! element of the set, which is gone when the last of them is.
//!
//! A listener rule that is no longer desired does not go at once: connections that it accepted still need it. It
//! *leaves*: the relay is told at once that it takes no new flows, the connections are looked at, and when there are none
//! of it any more it goes (`flows`).
//! Only a listener to which nobody ever spoke (no parcel came by its rule, none left from its port, and no look showed a
//! connection of it) goes at once, as a look at the connections takes longer than all the rest: the kernel walks through
//! a table of 100,000 places or more.
//!
//! A datagram socket that is connected listens no more, and nobody has to speak for that. The connected ones are seen in
//! the same look as the others: what is theirs has a rule of its own before the listener goes, which it does at once.

use crate::exposure::Exposure;
use crate::flows::{Looked, follow_datagrams};
use crate::looks::Found;
use crate::seen::{OpenSocket, OpenSockets, SocketPart, TCP};
use crate::symbol::{Interface, Seat, Symbol};
use crate::symbol_rules::{NEIGHBORS, SymbolRules, Tables};
use crate::translation::{at_address, can_reach};
use crate::weight::{self, Weight};
use crate::{Control, NamespaceId};
use core::net::IpAddr;
use frames::ProtocolAddress;
use frames::protocol_address::Local;
use l2link::Time;
use std::rc::Rc;

impl Control {
    /// Something of this part may have been opened or closed, in a namespace or anywhere on this machine.
    pub fn handle_hint(&mut self, namespace: Option<NamespaceId>, part: SocketPart, now: Time) {
        for index in 0..self.namespaces.len() {
            let id = self.namespaces[index].id;
            if namespace.is_none_or(|namespace| namespace == id) && self.is_inhabited(id) {
                self.namespaces[index].socket_looks.of(part).hint(now);
            }
        }
        self.look(now);
    }

    /// Takes the open sockets of a part of a namespace.
    pub fn handle_sockets(
        &mut self,
        namespace: NamespaceId,
        part: SocketPart,
        seen: &OpenSockets,
        now: Time,
    ) {
        if !self.is_inhabited(namespace) {
            return;
        }
        let (triggered, all_told) = self.triggered.of(part);
        let Some(place) = self.namespace_mut(namespace) else { return };
        let changed = place.replace_sockets(part, seen);
        self.tables.noticed = place.socket_looks.of(part).cause();
        self.latencies.socket_looks.record(seen.took);
        let all = self.addresses_in(namespace);
        let (mut untold, mut queued) = (!all_told, false);
        for index in 0..self.symbols.len() {
            if self.symbols[index].namespace == namespace {
                self.reconcile_part(index, part, &all, now);
                untold |= self.symbols[index].rules.listeners_of(part).any(ends_untold);
                let symbol = &mut self.symbols[index];
                if part == SocketPart::Listeners && symbol.config.weight == Weight::Auto {
                    weight::follow_queues(&mut symbol.rules, seen, now, &mut self.tables);
                    queued = true;
                }
            }
        }
        self.tables.noticed = None;
        let Some(place) = self.namespace_mut(namespace) else { return };
        place.socket_looks.done(part, seen.took, Found { changed, untold }, triggered, now);
        if queued {
            place.socket_looks.of(part).at_latest(now + weight::LOOK);
        }
        self.end_rules(now);
        self.look(now);
        self.flush();
    }

    /// Brings a symbol's listener rules in line with the sockets seen last.
    pub(crate) fn reconcile_symbol(&mut self, index: usize, all: &Rc<[IpAddr]>, now: Time) {
        SocketPart::ALL.into_iter().for_each(|part| self.reconcile_part(index, part, all, now));
    }

    fn reconcile_part(&mut self, index: usize, part: SocketPart, all: &Rc<[IpAddr]>, now: Time) {
        let Some(seat) = self.seat(&self.symbols[index], all) else { return };
        let symbol = &mut self.symbols[index];
        let Some(place) = self.namespaces.iter_mut().find(|place| place.id == symbol.namespace) else {
            return;
        };
        let sockets = if symbol.config.detect { &place.sockets.of(part)[..] } else { &[] };
        let mut desired = desired(&seat, &symbol.config.exposure, part, sockets);
        let by_hand = symbol.rules.listeners_by_hand(&seat);
        desired.extend(by_hand.filter(|rule| SocketPart::of(rule) == part));
        in_order(&mut desired);
        let known = symbol.looked.connections;
        if reconcile(&mut symbol.rules, part, &desired, known, now, &mut self.tables) {
            place.connection_looks.ask(now);
        }
        let (namespace, mut adopted) = (symbol.namespace, false);
        if part == SocketPart::Others {
            let looked = Looked {
                detect: symbol.config.detect,
                seat: &seat,
                exposure: &symbol.config.exposure,
                connections: &place.datagrams,
                datagram_ports: &place.datagram_ports,
            };
            adopted = follow_datagrams(&mut symbol.rules, &looked, now, &mut self.tables);
        }
        *symbol.looked.sockets.of_mut(part) = true;
        symbol.rules.restore_flows(&seat, now, &mut self.tables);
        if adopted {
            self.watch_flow(namespace, now);
        }
        self.join_by_hand(index);
    }

    /// The addresses of a namespace's symbols, in order.
    pub(crate) fn addresses_in(&self, namespace: NamespaceId) -> Rc<[IpAddr]> {
        let symbols = self.symbols.iter().filter(|symbol| symbol.namespace == namespace);
        let mut addresses: Vec<IpAddr> = symbols.flat_map(Symbol::addresses).collect();
        addresses.sort_unstable();
        addresses.into()
    }

    /// Where a symbol stands among all of its namespace ([`Control::addresses_in`]), while its interface is there and its
    /// addresses are known.
    pub(crate) fn seat(&self, symbol: &Symbol, all: &Rc<[IpAddr]>) -> Option<Seat> {
        let interface = symbol.attributes.as_ref().and(symbol.ifindex())?;
        let virtual_address = symbol.config.translation.map(|translation| translation.virtual_address);
        let own = match virtual_address {
            Some(address) => vec![address],
            None => symbol.addresses().collect(),
        };
        Some(Seat { interface, own, all: all.clone(), virtual_address })
    }

    /// Whether a symbol's interface stands in the namespace.
    pub(crate) fn is_inhabited(&self, namespace: NamespaceId) -> bool {
        self.symbols
            .iter()
            .any(|symbol| symbol.namespace == namespace && matches!(symbol.interface, Interface::Created(_)))
    }
}

/// The rules that these open sockets of one part need on one symbol, in order, each once; [`NEIGHBORS`] is one of the others.
pub(crate) fn desired(
    seat: &Seat,
    exposure: &Exposure,
    part: SocketPart,
    sockets: &[OpenSocket],
) -> Vec<ProtocolAddress> {
    let neighbors = (part == SocketPart::Others && seat.virtual_address.is_none()).then_some(NEIGHBORS);
    let addresses = sockets.iter().filter_map(|socket| wanted(seat, exposure, socket).ok());
    let mut desired: Vec<_> = addresses.chain(neighbors).collect();
    in_order(&mut desired);
    desired
}

/// Why a socket needs no rule on a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// It cannot be reached by the one address of an address symbol.
    Virtual,
    /// It is bound to another address or interface.
    Elsewhere,
    /// The outside world is not to reach it.
    Hidden,
}

/// The rule that an open socket needs on one symbol.
pub(crate) fn wanted(
    seat: &Seat,
    exposure: &Exposure,
    socket: &OpenSocket,
) -> Result<ProtocolAddress, Unreached> {
    let local = match socket.address {
        ProtocolAddress::Listener { local, .. } | ProtocolAddress::IpProtocol { local, .. } => local,
        ProtocolAddress::Flow { local, .. } => Local::Address(local),
        ProtocolAddress::EtherType(_) => Local::Any(frames::protocol_address::Family::Both),
    };
    if seat.virtual_address.is_some_and(|address| !can_reach(address, &socket.address)) {
        return Err(Unreached::Virtual);
    }
    if !seat.reaches(local, socket.interface) {
        return Err(Unreached::Elsewhere);
    }
    if !exposure.listens(&socket.address) {
        return Err(Unreached::Hidden);
    }
    Ok(match seat.virtual_address {
        Some(virtual_address) => at_address(socket.address, virtual_address),
        None => socket.address,
    })
}

/// Sorts them, and leaves out those that are there twice.
fn in_order(rules: &mut Vec<ProtocolAddress>) {
    // Most are in order: this sort makes use of it.
    rules.sort();
    rules.dedup();
}

/// Makes the listener rules of one part equal to `desired`, which is in order, but for listeners that leave. `known` says that the connections have been
/// looked at since the symbol's interface was made. Returns whether they have to be looked at now, as a listener leaves.
pub(crate) fn reconcile(
    rules: &mut SymbolRules,
    part: SocketPart,
    desired: &[ProtocolAddress],
    known: bool,
    now: Time,
    tables: &mut Tables,
) -> bool {
    rules.stay(desired, tables);
    let (missing, gone) = difference(desired, rules.listeners_of(part));
    for address in missing {
        rules.add(address, now, tables);
        remove_covered_flows(rules, &address, now, tables);
    }
    let mut leaves = false;
    for address in gone {
        match address {
            // Whether it has connections the same look says.
            ProtocolAddress::Listener { .. } if part == SocketPart::Others => {
                rules.leave(address, tables);
            }
            ProtocolAddress::Listener { .. } if !known || rules.has_conversed(&address, tables) => {
                leaves |= rules.leave(address, tables);
            }
            ProtocolAddress::Listener { .. }
            | ProtocolAddress::Flow { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => rules.remove(&address, now, tables),
        }
    }
    leaves
}

/// What is in `desired` only, and what is in `present` only; both are in order.
fn difference<'a>(
    desired: &[ProtocolAddress],
    present: impl Iterator<Item = &'a ProtocolAddress>,
) -> (Vec<ProtocolAddress>, Vec<ProtocolAddress>) {
    let (mut missing, mut gone) = (Vec::new(), Vec::new());
    let mut desired = desired.iter().peekable();
    for rule in present {
        while let Some(earlier) = desired.next_if(|wanted| *wanted < rule) {
            missing.push(*earlier);
        }
        if desired.next_if(|wanted| *wanted == rule).is_none() {
            gone.push(*rule);
        }
    }
    missing.extend(desired);
    (missing, gone)
}

/// Whether the kernel tells nobody when the socket of this rule is closed.
fn ends_untold(rule: &ProtocolAddress) -> bool {
    match *rule {
        NEIGHBORS => false,
        ProtocolAddress::Listener { protocol, .. } => !matches!(protocol, TCP | UDP),
        ProtocolAddress::IpProtocol { .. } | ProtocolAddress::EtherType(_) => true,
        ProtocolAddress::Flow { .. } => false,
    }
}

const UDP: u8 = 17;

/// A new listener covers these flows from now on; it may still be refused, in which case the flows come back with their
/// next packet or with the next look at the connections.
fn remove_covered_flows(rules: &mut SymbolRules, listener: &ProtocolAddress, now: Time, tables: &mut Tables) {
    let ProtocolAddress::Listener { protocol, port, .. } = *listener else { return };
    let covered: Vec<_> = rules
        .flows_from(protocol, port)
        .filter(|(flow, _)| flow.listeners().contains(listener))
        .map(|(flow, _)| flow.rule())
        .collect();
    if !covered.is_empty() {
        rules.note_conversation(listener, tables);
    }
    for flow in covered {
        rules.remove(&flow, now, tables);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::IfIndex;
    use frames::protocol_address::Family;
    use l2link::service::ServiceSet;
    use rstest::rstest;

    const HERE: IfIndex = IfIndex(5);
    const ELSEWHERE: IfIndex = IfIndex(6);
    const LISTENERS: SocketPart = SocketPart::Listeners;

    #[rstest]
    // Wildcards are reached through every symbol.
    #[case(tcp(Local::Any(Family::Both)), None, true)]
    #[case(tcp(Local::Any(Family::V4)), None, true)]
    #[case(tcp(Local::Any(Family::V6)), None, true)]
    // An address of a port through that port only.
    #[case(tcp(at("192.0.2.1")), None, true)]
    #[case(tcp(at("2001:db8::1")), None, true)]
    #[case(tcp(at("192.0.2.129")), None, false)]
    // Any other address through every port, unless it is this host's own.
    #[case(tcp(at("203.0.113.7")), None, true)]
    #[case(tcp(at("224.0.0.251")), None, true)]
    #[case(tcp(at("127.0.0.1")), None, false)]
    #[case(tcp(at("127.0.0.53")), None, false)]
    #[case(tcp(at("::1")), None, false)]
    // A link-local address belongs to its interface.
    #[case(tcp(at("fe80::1")), Some(HERE), true)]
    #[case(tcp(at("fe80::2")), Some(ELSEWHERE), false)]
    #[case(tcp(at("fe80::3")), None, false)]
    // Bound to an interface.
    #[case(tcp(Local::Any(Family::Both)), Some(HERE), true)]
    #[case(tcp(Local::Any(Family::Both)), Some(ELSEWHERE), false)]
    #[case(raw(89), None, true)]
    #[case(raw(89), Some(ELSEWHERE), false)]
    #[case(raw(1), None, false)]
    #[case(raw(255), None, false)]
    #[case(ProtocolAddress::EtherType(0x88cc), Some(HERE), true)]
    #[case(ProtocolAddress::EtherType(0x0003), None, true)]
    #[case(ProtocolAddress::EtherType(0x0003), Some(ELSEWHERE), false)]
    fn which_sockets_are_reached(
        #[case] address: ProtocolAddress,
        #[case] interface: Option<IfIndex>,
        #[case] reached: bool,
    ) {
        let part = SocketPart::of(&address);
        let found = desired(&seat(), &Exposure::standard(false), part, &[OpenSocket { address, interface }]);
        let neighbors = (part == SocketPart::Others).then_some(NEIGHBORS);
        let mut expected: Vec<_> = reached.then_some(address).into_iter().chain(neighbors).collect();
        in_order(&mut expected);
        assert_eq!(found, expected);
    }

    #[test]
    fn services_decide_and_neighbors_are_no_service() {
        let exposure = Exposure::only(ServiceSet::parse(&["tcp/81"]).unwrap());
        let sockets = [OpenSocket { address: tcp(Local::Any(Family::Both)), interface: None }];
        assert_eq!(desired(&seat(), &exposure, SocketPart::Listeners, &sockets), []);
        assert_eq!(desired(&seat(), &exposure, SocketPart::Others, &[]), [NEIGHBORS]);
    }

    #[test]
    fn twins_are_one_rule_until_the_last_is_gone() {
        let (mut rules, mut tables) =
            (SymbolRules::new(frames::SymbolId(1), None, Weight::USUAL), Tables::new(0));
        let twin = OpenSocket { address: raw(89), interface: None };
        for (sockets, there) in [(vec![twin, twin], true), (vec![twin], true), (vec![], false)] {
            let desired = desired(&seat(), &Exposure::standard(false), SocketPart::Others, &sockets);
            assert!(!reconcile(&mut rules, SocketPart::Others, &desired, true, Time(0), &mut tables));
            assert_eq!(rules.contains(&raw(89)), there);
        }
    }

    #[test]
    fn a_look_at_one_part_leaves_the_other_as_it_is() {
        let (mut rules, mut tables) =
            (SymbolRules::new(frames::SymbolId(1), None, Weight::USUAL), Tables::new(0));
        let http = tcp(Local::Any(Family::Both));
        let dns = ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::Both), port: 53 };
        let _ = reconcile(&mut rules, LISTENERS, &[http], true, Time(0), &mut tables);
        let _ = reconcile(&mut rules, SocketPart::Others, &[dns, NEIGHBORS], true, Time(0), &mut tables);
        assert_eq!(rules.listeners().copied().collect::<Vec<_>>(), [http, dns, NEIGHBORS]);
        let _ = reconcile(&mut rules, LISTENERS, &[], true, Time(0), &mut tables);
        assert_eq!(rules.listeners().copied().collect::<Vec<_>>(), [dns, NEIGHBORS]);
    }

    #[test]
    fn a_listener_that_comes_back_stays() {
        let (mut rules, mut tables) =
            (SymbolRules::new(frames::SymbolId(1), None, Weight::USUAL), Tables::new(0));
        let http = tcp(Local::Any(Family::Both));
        let with = [http];
        let _ = reconcile(&mut rules, LISTENERS, &with, true, Time(0), &mut tables);
        rules.note_conversation(&http, &mut tables);
        assert!(reconcile(&mut rules, LISTENERS, &[], true, Time(0), &mut tables));
        assert!(rules.contains(&http) && rules.leaving().contains(&http));
        assert!(!reconcile(&mut rules, LISTENERS, &[], true, Time(0), &mut tables), "no news");
        assert!(!reconcile(&mut rules, LISTENERS, &with, true, Time(0), &mut tables));
        assert!(rules.contains(&http) && rules.leaving().is_empty());
    }

    #[test]
    fn a_listener_to_which_nobody_spoke_goes_at_once() {
        let http = tcp(Local::Any(Family::Both));
        for (known, leaves) in [(true, false), (false, true)] {
            let (mut rules, mut tables) =
                (SymbolRules::new(frames::SymbolId(1), None, Weight::USUAL), Tables::new(0));
            let _ = reconcile(&mut rules, LISTENERS, &[http], known, Time(0), &mut tables);
            let _ = reconcile(&mut rules, LISTENERS, &[], known, Time(0), &mut tables);
            assert_eq!((rules.contains(&http), rules.leaving().contains(&http)), (leaves, leaves));
        }
    }

    fn seat() -> Seat {
        let own = ["192.0.2.1", "2001:db8::1", "fe80::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let all = ["192.0.2.1", "192.0.2.129"].map(|address| address.parse().unwrap()).into();
        Seat { interface: HERE, own, all, virtual_address: None }
    }

    fn at(address: &str) -> Local {
        Local::Address(address.parse::<IpAddr>().unwrap())
    }

    fn tcp(local: Local) -> ProtocolAddress {
        ProtocolAddress::Listener { protocol: 6, local, port: 80 }
    }

    fn raw(protocol: u8) -> ProtocolAddress {
        ProtocolAddress::IpProtocol { protocol, local: Local::Any(Family::V4) }
    }
}
