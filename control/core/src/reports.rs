//! Live flows, told to relays that share them out anew (M10).
//!
//! A relay asks for the flows of a listener (`FLOWS_REQUEST`). The sockets are looked at then, and not before: what a look
//! that was over had shown may miss a flow that began since.

use crate::flow::FlowKey;
use crate::seen::Connections;
use crate::{Control, NamespaceId};
use frames::message::{Flows, FlowsRequest, LiveFlow, Message};
use frames::{ProtocolAddress, RequestId, UpTunnel};
use l2link::{PeerId, Time};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// What relays asked for: the newest request for each rule.
#[derive(Debug, Default)]
pub(crate) struct Reports(BTreeMap<(PeerId, UpTunnel), RequestId>);

impl Control {
    pub(crate) fn handle_flows_request(&mut self, peer: PeerId, asked: FlowsRequest, now: Time) {
        let FlowsRequest { request, tunnel } = asked;
        let namespace = self.listener_of(peer, tunnel).map(|(namespace, _)| namespace);
        match namespace.filter(|namespace| self.is_inhabited(*namespace)) {
            Some(namespace) => {
                self.reports.0.insert((peer, tunnel), request);
                if let Some(place) = self.namespace_mut(namespace) {
                    place.connection_looks.ask(now);
                }
                self.look(now);
            }
            None => {
                let none = Flows { request, tunnel, last: true, flows: &[] };
                self.link.send_message(peer, &Message::Flows(none));
            }
        }
    }

    /// Answers what was asked of a namespace whose connections were looked at. Goes through them once, whatever was asked.
    pub(crate) fn report_flows(&mut self, namespace: NamespaceId, seen: &Connections) {
        let mut answers: Vec<(PeerId, UpTunnel, RequestId, Vec<LiveFlow>)> = Vec::new();
        let mut asked: FxHashMap<ProtocolAddress, Vec<usize>> = FxHashMap::default();
        for (peer, tunnel) in self.reports.0.keys().copied().collect::<Vec<_>>() {
            let listener = match self.listener_of(peer, tunnel) {
                Some((of, _)) if of != namespace => continue,
                listener => listener.map(|(_, listener)| listener),
            };
            let Some(request) = self.reports.0.remove(&(peer, tunnel)) else { continue };
            listener.into_iter().for_each(|listener| asked.entry(listener).or_default().push(answers.len()));
            answers.push((peer, tunnel, request, Vec::new()));
        }
        if !asked.is_empty() {
            let live = seen.connections.iter().filter(|connection| !connection.time_wait);
            for flow in live.filter_map(|connection| FlowKey::try_from(&connection.flow).ok()) {
                let places =
                    flow.listeners().into_iter().filter_map(|listener| asked.get(&listener)).flatten();
                for place in places {
                    let ends = ((flow.local, flow.local_port), (flow.remote, flow.remote_port));
                    answers[*place].3.push(LiveFlow::new(ends.0, ends.1));
                }
            }
        }
        for (peer, tunnel, request, flows) in answers {
            let mut parts = flows.chunks(Flows::MAX).peekable();
            loop {
                let flows = parts.next().unwrap_or_default();
                let last = parts.peek().is_none();
                self.link.send_message(peer, &Message::Flows(Flows { request, tunnel, last, flows }));
                if last {
                    break;
                }
            }
        }
    }

    /// A session is over: whoever comes back asks anew.
    pub(crate) fn forget_reports(&mut self, peer: PeerId) {
        self.reports.0.retain(|(asker, _), _| *asker != peer);
    }

    /// The listener that a tunnel is of, and where its sockets are.
    fn listener_of(&self, peer: PeerId, tunnel: UpTunnel) -> Option<(NamespaceId, ProtocolAddress)> {
        let rule = self.tables.receive.get(tunnel)?;
        let symbol = self.symbols.iter().find(|symbol| symbol.id == rule.symbol)?;
        symbol.rules.grant().filter(|grant| grant.peer == peer)?;
        match rule.protocol_address {
            listener @ ProtocolAddress::Listener { .. } => Some((symbol.namespace, listener)),
            ProtocolAddress::Flow { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => None,
        }
    }
}
