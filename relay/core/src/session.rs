//! The controls' sessions, and what they say.
//!
//! # Theory of operation
//! Every message is checked for itself against what its sender was granted and permitted; a refusal is answered,
//! logged, told to monitors, and kept for `show` until the control asks again or goes.
//!
//! A control that goes (it said so, or fell silent) loses everything at once, as packets could reach it no more and
//! other controls are to have its share. A control that begins a new session without having been missed keeps its
//! symbols, rules and memberships, marked stale and in force, until it says `RULES_END`; what it did not ask for again
//! by then is swept. So a restart that is fast enough loses no packet, and leaves nothing behind.

use crate::action::{Action, Event};
use crate::membership::MEMBERSHIPS_PER_CONTROL;
use crate::police::Police;
use crate::relay::{Control, Relay};
use crate::show::PeerRow;
use frames::discovery::{Mode, Role};
use frames::message::{
    Group, Membership, Message, Notice, RelayIntroduce, RoutesDigestReply, RoutesSlice, Status,
};
use frames::session::Stream;
use frames::{DropReason, PortId};
use l2link::{DownReason, Event as LinkEvent, PeerId, ReceivedMessage, Time};

impl Relay {
    /// Takes in what the link has to tell. To be called when a batch of link frames ends.
    pub fn handle_link_events(&mut self, now: Time) {
        let mut heard = false;
        while let Some(event) = self.link.poll_event() {
            heard = true;
            match event {
                LinkEvent::PeerUp { peer, role: Role::Control, name, boot } => {
                    log::info!(target: "relay::peer", "control {name} is up (boot {boot})");
                    self.peer_up(peer, name, now);
                }
                LinkEvent::PeerUp { peer, role: Role::Relay, name, .. } => self.partner_up(peer, name, now),
                LinkEvent::RoutesDigest { .. } => {}
                LinkEvent::PeerDown { peer, reason } => self.peer_down(peer, reason, now),
                LinkEvent::Message { peer, message } => self.message(peer, &message, now),
                LinkEvent::Refused { name, mac, reason } => {
                    let explanation = reason.explanation().trim();
                    log::warn!(target: "relay::peer", "{name} at {mac} refused: {reason}: {explanation}");
                    self.tell(Event::PeerRefused(PeerRow {
                        name,
                        role: Role::Control.to_string(),
                        mac: mac.to_string(),
                        state: format!("refused: {reason}"),
                        session_age_ms: None,
                        rtt_us: None,
                        weight: None,
                        draining: false,
                        public_key: None,
                    }));
                }
            }
        }
        if heard {
            self.answer_routes();
            self.meet_relays(now);
            self.ask_for_flows();
        }
    }

    fn peer_up(&mut self, peer: PeerId, name: String, now: Time) {
        self.note_change();
        self.fib.peer_up(peer, &name);
        self.given.peer_up(peer, &name);
        self.dispatch.name(peer, &name);
        self.dispatch.returns(peer, now);
        match self.controls.get_mut(&peer) {
            Some(control) => control.name = name,
            None => {
                let police = Police::new(&self.config.limits, now);
                self.controls.insert(peer, Control { name, police });
            }
        }
        self.symbols.mark_stale(peer);
        self.translations.mark_stale(peer);
        self.dispatch.mark_stale(peer);
        self.memberships.mark_stale(peer);
        self.forget_refusals(peer);
        if let Some(row) = self.peer_row(peer, now) {
            self.tell(Event::PeerUp(row));
        }
    }

    fn peer_down(&mut self, peer: PeerId, reason: DownReason, now: Time) {
        self.note_change();
        if self.partner_down(peer, reason, now) {
            return;
        }
        log::info!(target: "relay::peer", "control {} is down: {reason}", self.control_name(peer));
        self.fib.peer_down(peer, now);
        self.given.peer_down(peer, now);
        match reason {
            DownReason::Timeout | DownReason::KeysExpired | DownReason::Closed(_) => {
                let held = self.dispatch.held(peer);
                for symbol in self.symbols.of_peer(peer, |_| true) {
                    self.release_symbol(peer, symbol);
                }
                if matches!(reason, DownReason::Closed(_)) {
                    self.dispatch.left(peer, held, now);
                } else {
                    self.dispatch.missed(peer, held, now);
                }
                self.forget_refusals(peer);
            }
            // A new session follows at once, and decides what stays.
            DownReason::Replaced => {}
        }
        if let Some(row) = self.peer_row(peer, now) {
            self.tell(Event::PeerDown(row));
        }
    }

    fn message(&mut self, peer: PeerId, received: &ReceivedMessage, now: Time) {
        if self.partners.contains_key(&peer) {
            // Relays have nothing to say to each other in this version.
            return;
        }
        let message = match Message::parse(&received.raw()) {
            Ok(message) => message,
            Err(error) => {
                let control = self.control_name(peer);
                log::debug!(target: "relay::peer", "{control}: {}: {error}", received.kind);
                self.drop(DropReason::BadMessage);
                return;
            }
        };
        log::debug!(target: "relay::peer", "from {}: {message:?}", self.control_name(peer));
        // Of rules more is known where they are dealt with.
        let of_rule = matches!(message, Message::RuleAdd(_) | Message::RuleDelete(_));
        if message.stream() != Stream::Routes && !of_rule {
            self.note_change();
        }
        match message {
            Message::PortRequest(request) => self.port_request(peer, &request),
            Message::PortRelease(release) => {
                let granted = self.symbols.port(peer, release.symbol);
                if granted.is_none() {
                    // One that was refused, which nobody wants to be shown any more.
                    let _ = self.symbols.remove(peer, release.symbol);
                } else if granted == Some(release.port) {
                    self.release_symbol(peer, release.symbol);
                    if !self.symbols.has(peer, release.port) {
                        self.given.released(peer, release.port);
                    }
                }
            }
            Message::TunnelRequest(request) => self.tunnel_request(peer, &request),
            Message::RuleAdd(rule) => self.rule_add(peer, &rule),
            Message::TranslationRequest(request) => self.translation_request(peer, &request),
            Message::TranslatedRuleAdd(add) => self.translated_rule_add(peer, &add),
            Message::RuleDelete(delete) => self.rule_delete(peer, delete),
            Message::RulesEnd => self.sweep(peer),
            Message::MembershipAdd(membership) => self.membership_add(peer, membership),
            Message::MembershipDelete(Membership { port, group }) => {
                if self.memberships.remove(port, group, peer) {
                    self.left(port, group);
                }
            }
            Message::Notice(notice) => self.notice(peer, &notice),
            Message::Flows(flows) => self.flows(peer, &flows),
            Message::FlowsRequest(_)
            | Message::PortReply(_)
            | Message::PortUpdate(_)
            | Message::TunnelReply(_)
            | Message::RuleReply(_)
            | Message::RuleDeleted(_)
            | Message::AddressReply(_)
            | Message::RouteReply(_)
            | Message::RoutesDone(_)
            | Message::RoutesDigestReply(_)
            | Message::TranslationReply(_) => self.drop(DropReason::BadMessage),
            Message::PortAddresses(addresses) => self.port_addresses(peer, &addresses),
            Message::RouteAdd(add) => self.fib.add(peer, &add, &self.ports),
            Message::RelayIntroduce(introduction) => self.introduced(peer, &introduction, now),
            Message::RelayDismiss(dismissal) => self.fib.dismiss(peer, dismissal.symbol),
            Message::RouteDelete(delete) => self.fib.delete(peer, delete.key, delete.request.0),
            Message::RoutesBegin(RoutesSlice { request, slice }) => self.fib.begin(peer, slice, request.0),
            Message::RoutesEnd(RoutesSlice { request, slice }) => self.fib.end(peer, slice, request.0),
            Message::RoutesDigestRequest(of) => {
                let parts = self.fib.digests(peer, of.slice);
                let reply = RoutesDigestReply { of, parts };
                self.link.send_message(peer, &Message::RoutesDigestReply(reply));
            }
        }
    }

    /// The control has asked for all that it wants: the rest is left from an earlier session.
    fn sweep(&mut self, peer: PeerId) {
        for symbol in self.symbols.of_peer(peer, |symbol| symbol.stale) {
            self.give_up_symbol(peer, symbol);
        }
        self.given.asked_for_all(peer);
        for rule in self.dispatch.remove_where(peer, |rule| rule.stale) {
            self.deleted(&rule);
        }
        for (port, group) in self.memberships.remove_where(peer, |_, stale| stale) {
            self.left(port, group);
        }
        if let Some(control) = self.controls.get(&peer) {
            self.dispatch.said_all(peer, &control.name);
        }
    }

    fn membership_add(&mut self, peer: PeerId, Membership { port, group }: Membership) {
        let sensible = match group {
            Group::Ip(address) => address.is_multicast(),
            Group::Ethernet(_) => true,
        };
        let refusal = if !self.symbols.has(peer, port) {
            Some((Status::BAD_REQUEST, "was not granted the port"))
        } else if !sensible {
            Some((Status::BAD_REQUEST, "is not a group"))
        } else if self.memberships.count(peer) >= MEMBERSHIPS_PER_CONTROL {
            Some((Status::TABLE_FULL, "has as many memberships as it can"))
        } else {
            None
        };
        if let Some((status, why)) = refusal {
            let text =
                format!("membership {group:?} of {} at {port} refused: {why}", self.control_name(peer));
            log::warn!(target: "relay::port", "{text}");
            self.link.send_message(peer, &Message::Notice(Notice { status, text: &text }));
        } else if self.memberships.add(port, group, peer) {
            if self.ports.get(port).is_some_and(|port| port.is_present()) {
                self.actions.push_back(Action::Join { port, group });
            }
            self.refresh_captures();
        }
    }

    pub(crate) fn left(&mut self, port: PortId, group: Group) {
        if self.ports.get(port).is_some_and(|port| port.is_present()) {
            self.actions.push_back(Action::Leave { port, group });
        }
        self.refresh_captures();
    }

    fn introduced(&mut self, peer: PeerId, introduction: &RelayIntroduce<'_>, now: Time) {
        let introduced = match introduction.key {
            None if self.link.mode() == Mode::KEYS => {
                Err((Status::BAD_REQUEST, "its public key is not said, which security = \"keys\" needs"))
            }
            _ => self.fib.introduce(peer, introduction, &self.ports, now),
        };
        let Err((status, why)) = introduced else { return };
        let control = self.control_name(peer);
        let text = format!("relay {}, introduced by {control}, is no partner: {why}", introduction.relay);
        log::warn!(target: "relay::peer", "{text}");
        self.link.send_message(peer, &Message::Notice(Notice { status, text: &text }));
    }

    fn notice(&mut self, peer: PeerId, notice: &Notice<'_>) {
        let control = self.control_name(peer).to_owned();
        log::warn!(target: "relay::peer", "{control}: {}: {}", notice.status, notice.text);
        self.tell(Event::Notice { control, status: notice.status.to_string(), text: notice.text.to_owned() });
    }

    fn forget_refusals(&mut self, peer: PeerId) {
        self.refusals.retain(|(known, _), _| *known != peer);
    }

    pub(crate) fn peer_row(&self, peer: PeerId, now: Time) -> Option<PeerRow> {
        let peers = self.link.peers();
        peers.iter().find(|known| known.peer == peer).map(|known| self.row_of_peer(known, now))
    }
}
