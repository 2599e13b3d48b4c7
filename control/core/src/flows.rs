//! From connections to flow rules, and the end of flow rules.
//!
//! # Theory of operation
//!
//! A flow rule exists for a conversation that no listener rule covers: a client's connection, made known by its first
//! packet (`return_path`), and a connected datagram socket without a listener, made known by the look at the datagram
//! sockets. A connection of TCP keeps the rule of its listener, which is draining then. A flow rule ends with its socket, and sockets are the truth here too: a flow whose socket was seen once goes
//! when a look at the connections shows the socket no more. `TIME_WAIT` is a socket.
//!
//! Connections are looked at when a listener leaves, when the kernel tells that a socket of a flow was closed, when a
//! symbol's interface was made (connections may be older than this process), and every [`REGULAR`] while there are flows
//! of sockets (less often where there are so many that a look is dear), because nobody tells the end of `TIME_WAIT`.
//!
//! Some flows have no socket that a look could show: echo dialogues, and packets that this namespace forwards or
//! translates for others. They end when idle:
//!
//! | flow | idle time | where the number comes from |
//! |---|---|---|
//! | ICMP and ICMPv6 echo | 30 s | the kernel's own `nf_conntrack_icmp_timeout` |
//! | datagrams, no socket seen | 30 s | `nf_conntrack_udp_timeout` |
//! | TCP, SCTP, DCCP, no socket seen | 300 s | `nf_conntrack_tcp_timeout_max_retrans`; any packet out makes the rule anew |

use crate::exposure::Exposure;
use crate::flow::FlowKey;
use crate::looks::Pace;
use crate::rule::Rule;
use crate::seen::{ClosedSocket, Connection, Connections, SocketPart, TCP};
use crate::symbol::Seat;
use crate::symbol_rules::{SymbolRules, Tables};
use crate::{Control, NamespaceId};
use core::time::Duration;
use frames::UpTunnel;
use l2link::Time;
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// How often connections are looked at while there are flows of sockets.
const REGULAR: Duration = Duration::from_secs(2);
/// How often flows are searched for idle ones.
pub(crate) const SWEEP: Duration = Duration::from_secs(5);
const ECHO_IDLE: Duration = Duration::from_secs(30);
const DATAGRAM_IDLE: Duration = Duration::from_secs(30);
const CONNECTION_IDLE: Duration = Duration::from_secs(300);

impl Control {
    /// Takes the connections of a namespace.
    pub fn handle_connections(&mut self, namespace: NamespaceId, seen: &Connections, now: Time) {
        if !self.is_inhabited(namespace) {
            return;
        }
        let Some(place) = self.namespaces.iter_mut().find(|place| place.id == namespace) else { return };
        let datagram_ports = core::mem::take(&mut place.datagram_ports);
        self.latencies.connection_looks.record(seen.took);
        let all = self.addresses_in(namespace);
        let (mut flows, mut again) = (false, None);
        for index in 0..self.symbols.len() {
            let Some(seat) = self.seat(&self.symbols[index], &all) else { continue };
            let symbol = &mut self.symbols[index];
            if symbol.namespace != namespace {
                continue;
            }
            let exposure = &symbol.config.exposure;
            let news = Looked {
                detect: symbol.config.detect,
                seat: &seat,
                exposure,
                connections: &seen.connections,
                datagram_ports: &datagram_ports,
            };
            follow(&mut symbol.rules, &news, now, &mut self.tables);
            symbol.looked.connections = true;
            flows |= symbol.rules.flows().any(|(flow, _)| !flow.is_echo());
            flows |= !symbol.rules.leaving().is_empty();
            again = again.or_else(|| symbol.rules.lingers_until());
        }
        if let Some(place) = self.namespace_mut(namespace) {
            place.datagram_ports = datagram_ports;
            let pace = flows.then_some(Pace::safety(REGULAR, seen.took));
            place.connection_looks.done(seen.took, pace, now);
            again.into_iter().for_each(|time| place.connection_looks.at_latest(time));
        }
        self.end_rules(now);
        self.look(now);
        self.flush();
        self.report_flows(namespace, seen);
    }

    /// The kernel told that a socket was closed.
    pub fn handle_socket_closed(&mut self, namespace: NamespaceId, closed: &ClosedSocket, now: Time) {
        if !self.is_inhabited(namespace) {
            return;
        }
        let mut flows = false;
        for symbol in self.symbols.iter().filter(|symbol| symbol.namespace == namespace) {
            for (flow, tunnel) in symbol.rules.flows_from(closed.protocol, closed.local_port) {
                let same = closed.remote.is_none_or(|remote| remote == (flow.remote, flow.remote_port));
                if same && let Some(rule) = self.tables.receive.get_mut(tunnel) {
                    rule.socket_seen = true;
                    flows = true;
                }
            }
            flows |= closed.remote.is_some() && symbol.rules.drains_at(closed.protocol, closed.local_port);
        }
        let Some(place) = self.namespace_mut(namespace) else { return };
        if let (TCP, Some((remote, remote_port))) = (closed.protocol, closed.remote) {
            let ClosedSocket { protocol, local, local_port, .. } = *closed;
            place.ended.note(&FlowKey { protocol, local_port, local, remote, remote_port }, now);
        }
        // One look is enough: the kernel tells when the socket is in its tables no more.
        if closed.remote.is_none() {
            place.socket_looks.of(SocketPart::of_protocol(closed.protocol)).ask(now);
        }
        if flows {
            place.connection_looks.ask(now);
        }
        self.look(now);
    }

    /// The kernel told of closed sockets faster than it was heard: everything has to be looked at.
    pub fn handle_closed_overrun(&mut self, namespace: NamespaceId, now: Time) {
        if self.is_inhabited(namespace)
            && let Some(place) = self.namespace_mut(namespace)
        {
            place.socket_looks.ask(now);
            place.connection_looks.ask(now);
            self.look(now);
        }
    }

    /// There is a flow: its socket has to be looked for from now on.
    pub(crate) fn watch_flow(&mut self, namespace: NamespaceId, now: Time) {
        if let Some(place) = self.namespace_mut(namespace) {
            place.connection_looks.at_latest(now + REGULAR);
        }
        self.sweep_at.get_or_insert(now + SWEEP);
    }

    /// Removes idle flows that have no socket.
    pub(crate) fn sweep_flows(&mut self, now: Time) {
        let mut any = false;
        for symbol in &mut self.symbols {
            let receive = &self.tables.receive;
            let idle = |flow: &FlowKey, tunnel| {
                receive
                    .get(tunnel)
                    .is_none_or(|rule| !rule.socket_seen && now - rule.last_used >= idle_time(flow))
            };
            let gone: Vec<_> =
                symbol.rules.flows().filter(|(flow, tunnel)| idle(flow, *tunnel)).map(rule_of).collect();
            for flow in gone {
                symbol.rules.remove(&flow, now, &mut self.tables);
            }
            any |= symbol.rules.flows().next().is_some();
        }
        self.sweep_at = any.then_some(now + SWEEP);
        self.flush();
    }
}

fn rule_of((flow, _): (&FlowKey, UpTunnel)) -> frames::ProtocolAddress {
    flow.rule()
}

fn idle_time(flow: &FlowKey) -> Duration {
    match flow.protocol {
        1 | 58 => ECHO_IDLE,
        17 | 136 => DATAGRAM_IDLE,
        _ => CONNECTION_IDLE,
    }
}

/// What a look at the connections found, and for whom.
pub(crate) struct Looked<'a> {
    /// Whether connections make rules.
    pub(crate) detect: bool,
    pub(crate) seat: &'a Seat,
    pub(crate) exposure: &'a Exposure,
    pub(crate) connections: &'a [Connection],
    /// Protocol and port of the unconnected datagram sockets.
    pub(crate) datagram_ports: &'a BTreeSet<(u8, u16)>,
}

/// Brings a symbol's flow rules in line with the connections, then lets leaving listeners go that have none.
pub(crate) fn follow(rules: &mut SymbolRules, looked: &Looked<'_>, now: Time, tables: &mut Tables) {
    let mut present = FxHashSet::default();
    let (mut draining, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for connection in looked.connections {
        let Ok(flow) = FlowKey::try_from(&connection.flow) else { continue };
        present.insert(flow);
        if let Some(tunnel) = rules.covering_listener(&flow, true, tables)
            && let Some(rule) = tables.receive.get_mut(tunnel)
        {
            rule.socket_seen = true;
            let stays = |listener| rules.contains(listener) && !rules.leaving().contains(listener);
            if rules.leaving().contains(&rule.protocol_address)
                && !flow.listeners().iter().any(stays)
                && is_ours(rules, looked, &flow)
            {
                let of = if connection.time_wait { &mut ending } else { &mut draining };
                of.insert(rule.protocol_address);
            }
        }
        if !connection.time_wait {
            adopt(rules, looked, &flow, now, tables);
        }
    }
    let mut gone = Vec::new();
    for (flow, tunnel) in rules.flows().filter(|(flow, _)| !flow.is_echo()) {
        let has_socket =
            present.contains(flow) || looked.datagram_ports.contains(&(flow.protocol, flow.local_port));
        let covered = rules.covering_listener(flow, true, tables).is_some();
        let Some(rule) = tables.receive.get_mut(tunnel) else { continue };
        if covered || is_over(rule, has_socket) {
            gone.push(flow.rule());
        }
    }
    for address in gone {
        rules.remove(&address, now, tables);
    }
    rules.let_go(&draining, &ending, now, tables);
}

/// Gives connected datagram sockets that no listener covers rules of their own, then lets the datagram listeners go that leave. Returns
/// whether there are new rules.
pub(crate) fn follow_datagrams(
    rules: &mut SymbolRules,
    looked: &Looked<'_>,
    now: Time,
    tables: &mut Tables,
) -> bool {
    let mut adopted = false;
    for flow in looked.connections.iter().filter_map(|connection| FlowKey::try_from(&connection.flow).ok()) {
        adopted |= adopt(rules, looked, &flow, now, tables);
    }
    rules.let_datagrams_go(now, tables);
    adopted
}

/// Makes the rule of a connection that needs one of its own. Returns whether it did.
fn adopt(
    rules: &mut SymbolRules,
    looked: &Looked<'_>,
    flow: &FlowKey,
    now: Time,
    tables: &mut Tables,
) -> bool {
    let needed = looked.detect
        && is_ours(rules, looked, flow)
        && rules.flow(flow).is_none()
        && rules.covering_listener(flow, true, tables).is_none()
        && looked.exposure.sends(flow.protocol, flow.local_port);
    if needed {
        let tunnel = rules.add(flow.rule(), now, tables);
        if let Some(rule) = tables.receive.get_mut(tunnel) {
            rule.socket_seen = true;
        }
    }
    needed
}

/// Whether a connection's packets come through this symbol: its local address is the port's, or it was accepted through
/// a listener that leaves this symbol.
fn is_ours(rules: &SymbolRules, looked: &Looked<'_>, flow: &FlowKey) -> bool {
    if looked.seat.is_inside(flow.remote) {
        return false;
    }
    let leaves = || flow.listeners().iter().any(|listener| rules.leaving().contains(listener));
    looked.seat.holds(flow.local) || (looked.seat.reaches_beyond(flow.local) && leaves())
}

/// Notes whether the socket is there; a flow is over when it was there and is not any more.
fn is_over(rule: &mut Rule, has_socket: bool) -> bool {
    rule.socket_seen |= has_socket;
    rule.socket_seen && !has_socket
}
