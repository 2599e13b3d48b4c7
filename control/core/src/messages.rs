//! What the relays say: sessions that come and go, answers, updates.

use crate::Control;
use crate::action::Action;
use crate::attributes::Attributes;
use crate::files::{FileError, error_of};
use crate::memberships;
use crate::relay::RelayId;
use crate::report::Event;
use crate::rule::{RuleState, Told};
use crate::show::{PeerRow, PortRow};
use crate::symbol::{Interface, RETRY_REFUSED, Stage, Symbol};
use crate::symbol_rules::Grant;
use frames::discovery::Role;
use frames::message::{
    Message, Notice, PortAttributes, PortRelease, PortReply, PortRequest, PortUpdate, RuleDelete, RuleReply,
    Status, TunnelReply, TunnelRequest,
};
use frames::{DropReason, RequestId, SymbolId, UpTunnel};
use l2link::{PeerId, PeerState, ReceivedMessage, Time};
use log::{debug, info, log, warn};
use std::collections::BTreeSet;

impl Control {
    /// Deals with what the frames received meant.
    pub fn handle_link_events(&mut self, now: Time) {
        while let Some(event) = self.link.poll_event() {
            match event {
                l2link::Event::PeerUp { peer, role: Role::Relay, name, .. } => {
                    self.relay_up(peer, &name, now)
                }
                l2link::Event::PeerUp { role: Role::Control, .. } => {}
                l2link::Event::PeerDown { peer, reason } => {
                    self.note_change();
                    if let Some(relay) = self.relay_of(peer) {
                        info!(target: "control::peer", "relay {}: down: {reason}", self.relays[relay.0].name);
                        self.relay_down(relay, peer, now);
                    }
                }
                l2link::Event::Message { peer, message } => self.handle_message(peer, &message, now),
                l2link::Event::RoutesDigest { peer, digest } => {
                    if let Some(relay) = self.relay_of(peer) {
                        self.handle_routes_digest(relay, peer, digest, now);
                    }
                }
                l2link::Event::Refused { name, mac, reason } => {
                    let text = reason.explanation().trim();
                    warn!(target: "control::peer", "device {name:?} at {mac}: refused: {reason}: {text}");
                    let state = PeerState::Refused(reason).to_string();
                    let (role, mac) = (Role::Relay.to_string(), mac.to_string());
                    let row = PeerRow {
                        weight: None,
                        draining: false,
                        public_key: None,
                        name,
                        role,
                        mac,
                        state,
                        session_age_ms: None,
                        rtt_us: None,
                    };
                    self.report(Event::PeerRefused(row), now);
                }
            }
        }
        self.flush();
    }

    /// The relay hears all that this side has, in any case: it may hold rules of an earlier session.
    fn relay_up(&mut self, peer: PeerId, name: &str, now: Time) {
        info!(target: "control::peer", "relay {name}: up");
        self.note_change();
        let relay = self.relay_named(name);
        self.relays[relay.0].peer = Some(peer);
        self.relays[relay.0].ended = false;
        self.begin_routes(relay);
        if let Some(row) = self.peer_row(peer, now) {
            self.report(Event::PeerUp(row), now);
        }
        for id in self.symbols_of(relay) {
            if let Some(symbol) = self.symbol_mut(id) {
                symbol.addresses.refused.clear();
            }
            self.request_port(id, now);
        }
        self.end_rules(now);
    }

    fn relay_down(&mut self, relay: RelayId, peer: PeerId, now: Time) {
        self.relays[relay.0].peer = None;
        self.forget_reports(peer);
        if let Some(row) = self.peer_row(peer, now) {
            self.report(Event::PeerDown(row), now);
        }
        for id in self.symbols_of(relay) {
            let end = now + self.carrier_hold;
            let Some(symbol) = self.symbols.iter_mut().find(|symbol| symbol.id == id) else { continue };
            symbol.hold_carrier(end, now);
            symbol.stage = Stage::Waiting;
            symbol.down_tunnel = None;
            symbol.rules.suspend(&mut self.tables);
            if symbol.ifindex().is_some() {
                symbol.retry = None;
            }
            self.refresh(id, now);
            self.fail_openings(id, FileError::Down, now);
        }
    }

    /// Asks the symbol's relay for its port, if there is contact (M3).
    pub(crate) fn request_port(&mut self, id: SymbolId, now: Time) {
        let Some(symbol) = self.symbols.iter_mut().find(|symbol| symbol.id == id) else { return };
        let Some(peer) = self.relays[symbol.relay.0].peer else { return };
        symbol.request = self.tables.request();
        symbol.stage = match symbol.stage {
            // A refusal stays visible until the relay says yes.
            Stage::Refused(ref reason) => Stage::Refused(reason.clone()),
            Stage::Waiting | Stage::Requested | Stage::Granted(_) => Stage::Requested,
        };
        let request = PortRequest { request: symbol.request, symbol: id, name: &symbol.config.port };
        self.link.send_message(peer, &Message::PortRequest(request));
        self.refresh(id, now);
    }

    fn handle_message(&mut self, peer: PeerId, received: &ReceivedMessage, now: Time) {
        let Ok(message) = Message::parse(&received.raw()) else {
            self.drops.drop(DropReason::BadMessage);
            return;
        };
        if matches!(
            message,
            Message::PortReply(_) | Message::PortUpdate(_) | Message::TunnelReply(_) | Message::Notice(_)
        ) {
            self.note_change();
        }
        match message {
            Message::PortReply(reply) => self.handle_port_reply(peer, &reply, now),
            Message::PortUpdate(update) => self.handle_port_update(peer, &update, now),
            Message::TunnelReply(reply) => self.handle_tunnel_reply(peer, &reply, now),
            Message::TranslationReply(reply) => self.handle_translation_reply(peer, &reply, now),
            Message::RuleReply(reply) => self.handle_rule_reply(peer, &reply, now),
            Message::RuleDeleted(deleted) => self.handle_rule_deleted(peer, &deleted, now),
            Message::Notice(notice) => self.handle_notice(peer, &notice, now),
            Message::FlowsRequest(asked) => self.handle_flows_request(peer, asked, now),
            Message::Flows(_)
            | Message::PortRequest(_)
            | Message::PortRelease(_)
            | Message::TunnelRequest(_)
            | Message::RuleAdd(_)
            | Message::RuleDelete(_)
            | Message::RulesEnd
            | Message::MembershipAdd(_)
            | Message::MembershipDelete(_)
            | Message::PortAddresses(_)
            | Message::RouteAdd(_)
            | Message::RouteDelete(_)
            | Message::RoutesBegin(_)
            | Message::RoutesEnd(_)
            | Message::RoutesDigestRequest(_)
            | Message::TranslationRequest(_)
            | Message::TranslatedRuleAdd(_)
            | Message::RelayIntroduce(_)
            | Message::RelayDismiss(_) => self.drops.drop(DropReason::BadMessage),
            Message::AddressReply(reply) => self.handle_address_reply(peer, &reply),
            Message::RouteReply(_) | Message::RoutesDone(_) | Message::RoutesDigestReply(_) => {
                let Some(relay) = self.relay_of(peer) else { return };
                match message {
                    Message::RouteReply(reply) => self.handle_route_reply(relay, &reply),
                    Message::RoutesDone(done) => self.handle_routes_done(relay, done, now),
                    Message::RoutesDigestReply(reply) => {
                        self.handle_routes_digest_reply(relay, peer, &reply, now);
                    }
                    _ => {}
                }
            }
        }
    }

    fn handle_port_reply(&mut self, peer: PeerId, reply: &PortReply<'_>, now: Time) {
        let Some(index) = self.addressed(peer, reply.symbol) else {
            // It was given up meanwhile.
            if self.symbol(reply.symbol).is_none() {
                let release = PortRelease { symbol: reply.symbol, port: reply.port };
                self.tables.send(peer, Message::PortRelease(release));
            }
            return;
        };
        let symbol = &mut self.symbols[index];
        if reply.request == UNASKED && reply.status != Status::OK && matches!(symbol.stage, Stage::Granted(_))
        {
            // The relay takes it back.
            self.refuse(index, reply.status, reply.text, now);
            return;
        }
        if symbol.request != reply.request {
            return;
        }
        let Some(attributes) = reply.attributes.as_ref().filter(|_| reply.status == Status::OK) else {
            self.refuse(index, reply.status, reply.text, now);
            return;
        };
        let grant = Grant { peer, port: reply.port };
        symbol.stage = Stage::Granted(reply.port);
        if let Some(translation) = symbol.config.translation {
            self.request_translation(index, grant, translation);
            self.take_attributes(index, attributes, now);
            return;
        }
        let request = self.tables.request();
        symbol.request = request;
        let tunnel_request = TunnelRequest { request, symbol: symbol.id, port: reply.port };
        self.tables.send(peer, Message::TunnelRequest(tunnel_request));
        symbol.rules.replay(grant, now, &mut self.tables);
        memberships::tell(grant, &BTreeSet::new(), &symbol.groups, &mut self.tables);
        self.take_attributes(index, attributes, now);
        self.say_addresses(grant);
        self.end_rules(now);
    }

    fn handle_port_update(&mut self, peer: PeerId, update: &PortUpdate<'_>, now: Time) {
        let relay = self.relay_of(peer);
        let granted =
            |symbol: &Symbol| Some(symbol.relay) == relay && symbol.stage == Stage::Granted(update.port);
        for index in 0..self.symbols.len() {
            let symbol = &self.symbols[index];
            let newer = symbol
                .attributes
                .as_ref()
                .is_none_or(|known| known.generation < update.attributes.generation);
            if newer && granted(symbol) {
                self.take_attributes(index, &update.attributes, now);
            }
        }
    }

    /// Brings the interface in line with what the relay says of the port.
    fn take_attributes(&mut self, index: usize, wire: &PortAttributes<'_>, now: Time) {
        let symbol = &mut self.symbols[index];
        let (id, namespace) = (symbol.id, symbol.namespace);
        let attributes = symbol.shaped(Attributes::new(wire, self.addressing));
        let before = symbol.attributes.replace(attributes.clone());
        match symbol.interface {
            Interface::None => self.create_symbol(id),
            // Adopted: the looks begin now that the addresses are known.
            Interface::Created(_) if before.is_none() => {
                symbol.looked = symbol.unlooked();
                self.act(Action::UpdateSymbol { symbol: id, attributes });
                self.begin_looks(namespace, now);
            }
            Interface::Created(_) if before.as_ref() != Some(&attributes) => {
                self.act(Action::UpdateSymbol { symbol: id, attributes });
                // Which sockets are reached through which symbol depends on the addresses.
                if let Some(place) = self.namespace_mut(namespace) {
                    place.socket_looks.ask(now);
                }
                self.look(now);
            }
            // It was adopted and lost again before anybody knew how to make it.
            Interface::Failed(_) if before.is_none() => self.create_symbol(id),
            // The next try takes the new ones, or the interface is brought in line when it is there.
            Interface::Creating | Interface::Created(_) | Interface::Failed(_) => {}
        }
        if let Some(row) = PortRow::of(&self.symbols[index]) {
            self.report(Event::PortChanged(row), now);
        }
        self.refresh(id, now);
    }

    fn handle_tunnel_reply(&mut self, peer: PeerId, reply: &TunnelReply, now: Time) {
        let Some(index) = self.addressed(peer, reply.symbol) else { return };
        let symbol = &mut self.symbols[index];
        if symbol.request != reply.request {
            return;
        }
        if reply.status != Status::OK || reply.tunnel.0 == 0 {
            self.refuse(index, reply.status, "", now);
            return;
        }
        symbol.down_tunnel = Some(reply.tunnel);
        let id = symbol.id;
        self.refresh(id, now);
    }

    /// The relay will not give the port or a tunnel.
    pub(crate) fn refuse(&mut self, index: usize, status: Status, text: &str, now: Time) {
        let symbol = &mut self.symbols[index];
        symbol.stage = Stage::Refused(reason(status, text));
        symbol.retry = Some(now + RETRY_REFUSED);
        symbol.down_tunnel = None;
        symbol.rules.suspend(&mut self.tables);
        let id = symbol.id;
        self.refresh(id, now);
        self.fail_openings(id, error_of(status).unwrap_or(FileError::Down), now);
        self.end_rules(now);
    }

    fn handle_rule_reply(&mut self, peer: PeerId, reply: &RuleReply<'_>, now: Time) {
        let Some(rule) = self.tables.receive.get(reply.tunnel) else { return };
        let unasked = reply.request == UNASKED && reply.status != Status::OK;
        let answered = (unasked || rule.request == reply.request) && rule.told == Told::Now;
        if !answered || rule.state == RuleState::Closing || self.addressed(peer, rule.symbol).is_none() {
            return;
        }
        let Some(rule) = self.tables.receive.get_mut(reply.tunnel) else { return };
        let accepted = reply.status == Status::OK;
        if accepted && rule.state == RuleState::Active {
            // Only its weight is another one.
            return;
        }
        let needed = rule.needed.take();
        if accepted {
            rule.state = RuleState::Active;
            if let Some(needed) = needed {
                self.latencies.rule(&rule.protocol_address).record(now - needed);
            }
        } else {
            rule.state = RuleState::Refused(reason(reply.status, reply.text).into());
            rule.told = Told::Never;
            rule.passing = matches!(reply.status, Status::TABLE_FULL | Status::CONFLICT | Status::SYSTEM);
            if rule.passing {
                self.ask_again_at.get_or_insert(now + RETRY_REFUSED);
            }
        }
        self.rule_changed(reply.tunnel, now);
        self.follow_file_rule(reply.tunnel, reply.status, now);
    }

    fn handle_rule_deleted(&mut self, peer: PeerId, deleted: &RuleDelete, now: Time) {
        let Some(rule) = self.tables.receive.get(deleted.tunnel) else { return };
        if self.addressed(peer, rule.symbol).is_none() {
            return;
        }
        if rule.state == RuleState::Closing {
            if rule.request == deleted.request {
                self.rule_gone(deleted.tunnel, now);
            }
            return;
        }
        let Some(rule) = self.tables.receive.get_mut(deleted.tunnel) else { return };
        rule.state = RuleState::Refused("deleted by the relay".into());
        (rule.told, rule.passing) = (Told::Never, true);
        self.ask_again_at.get_or_insert(now + RETRY_REFUSED);
        self.rule_changed(deleted.tunnel, now);
        self.follow_file_rule(deleted.tunnel, Status::SYSTEM, now);
    }

    fn handle_notice(&mut self, peer: PeerId, notice: &Notice<'_>, now: Time) {
        let Some(relay) = self.relay_of(peer) else { return };
        let name = self.relays[relay.0].name.clone();
        let level = if notice.status == Status::OK { log::Level::Info } else { log::Level::Warn };
        log!(target: "control::peer", level, "relay {name} says: {}: {}", notice.status, notice.text);
        let (status, text) = (notice.status.to_string(), notice.text.to_owned());
        self.report(Event::Notice { relay: name, status, text }, now);
        for symbol in self.symbols_of(relay) {
            if self.symbol(symbol).is_some_and(|symbol| matches!(symbol.stage, Stage::Refused(_))) {
                self.request_port(symbol, now);
            }
            if notice.status == Status::OK
                && let Some(index) = crate::parcels::place(&self.symbols, symbol)
            {
                self.symbols[index].rules.ask_again(true, &mut self.tables);
            }
        }
        self.flush();
    }

    /// Says `RULES_END` to every relay that has heard all rules, so that it sweeps what it holds besides them.
    pub(crate) fn end_rules(&mut self, now: Time) {
        for index in 0..self.relays.len() {
            let relay = &self.relays[index];
            let Some(peer) = relay.peer.filter(|_| !relay.ended) else { continue };
            if self.symbols.iter().any(|symbol| symbol.relay == RelayId(index) && !symbol.settled()) {
                continue;
            }
            self.relays[index].ended = true;
            self.tables.send(peer, Message::RulesEnd);
            let swept: Vec<UpTunnel> = self
                .tables
                .receive
                .iter()
                .filter(|(_, rule)| rule.state == RuleState::Closing && rule.told == Told::Earlier)
                .filter(|(_, rule)| {
                    self.symbol(rule.symbol).is_some_and(|symbol| symbol.relay == RelayId(index))
                })
                .map(|(tunnel, _)| tunnel)
                .collect();
            for tunnel in swept {
                self.rule_gone(tunnel, now);
            }
        }
    }

    /// The relay no longer has the rule: its up tunnel is free.
    fn rule_gone(&mut self, tunnel: UpTunnel, now: Time) {
        let Some(rule) = self.tables.receive.remove(tunnel, now) else { return };
        log!(target: "control::rule", level(&rule.protocol_address), "rule {}: deleted", rule.protocol_address);
        if let Some(row) = self.rule_row(tunnel, &rule) {
            self.report(Event::RuleDeleted(row), now);
        }
    }

    /// The relay accepted or refused a rule.
    fn rule_changed(&mut self, tunnel: UpTunnel, now: Time) {
        let Some(rule) = self.tables.receive.get(tunnel) else { return };
        let Some(row) = self.rule_row(tunnel, rule) else { return };
        let (address, level) = (rule.protocol_address, level(&rule.protocol_address));
        match &rule.state {
            RuleState::Active => {
                log!(target: "control::rule", level, "rule {address}: added, {tunnel}");
                self.report(Event::RuleAdded(row), now);
            }
            RuleState::Refused(reason) => {
                log!(target: "control::rule", level, "rule {address}: refused by relay {}: {reason}", row.relay);
                self.report(Event::RuleRefused(row), now);
            }
            RuleState::Pending | RuleState::Closing => {
                debug!(target: "control::rule", "rule {address}: asked")
            }
        }
    }

    /// Place of a symbol, if the peer is its relay.
    pub(crate) fn addressed(&self, peer: PeerId, id: SymbolId) -> Option<usize> {
        let symbol = self.symbol(id)?;
        let relay = self.relays.get(symbol.relay.0)?;
        (relay.peer == Some(peer)).then(|| crate::parcels::place(&self.symbols, id)).flatten()
    }

    pub(crate) fn relay_of(&self, peer: PeerId) -> Option<RelayId> {
        self.relays.iter().position(|relay| relay.peer == Some(peer)).map(RelayId)
    }

    pub(crate) fn symbols_of(&self, relay: RelayId) -> Vec<SymbolId> {
        self.symbols.iter().filter(|symbol| symbol.relay == relay).map(|symbol| symbol.id).collect()
    }

    fn peer_row(&self, peer: PeerId, now: Time) -> Option<PeerRow> {
        self.link.peers().iter().find(|info| info.peer == peer).map(|info| self.row_of_peer(info, now))
    }
}

/// The request of an answer by which a relay takes back what it gave.
const UNASKED: RequestId = RequestId(0);

fn reason(status: Status, text: &str) -> String {
    if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
}

/// Rules of flows come and go by the thousand; those of listeners are what an operator wants to see.
fn level(address: &frames::ProtocolAddress) -> log::Level {
    match address {
        frames::ProtocolAddress::Flow { .. } => log::Level::Debug,
        frames::ProtocolAddress::Listener { .. }
        | frames::ProtocolAddress::IpProtocol { .. }
        | frames::ProtocolAddress::EtherType(_) => log::Level::Info,
    }
}
