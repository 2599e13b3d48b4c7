//! Transfer requests (M5) and their end (M6): rules as controls ask for them.

use crate::action::Event;
use crate::config::ETHERTYPE_ARP;
use crate::dispatch::{Added, TableFull};
use crate::grant::Refusal;
use crate::port::Port;
use crate::relay::Relay;
use crate::rule::{Key, Rule, any_like};
use crate::show::RuleRow;
use frames::ProtocolAddress;
use frames::message::{Message, RuleAdd, RuleDelete, RuleReply, Status};
use frames::protocol_address::Local;
use l2link::PeerId;

impl Relay {
    pub(crate) fn rule_add(&mut self, peer: PeerId, rule: &RuleAdd) {
        let result = self.admit(peer, rule).and_then(|()| self.put_in_force(peer, rule));
        self.answer_rule(peer, rule, result);
    }

    /// Refuses a rule that contradicts itself.
    pub(crate) fn refuse_rule_add(&mut self, peer: PeerId, rule: &RuleAdd, why: &str) {
        self.answer_rule(peer, rule, Err((Status::BAD_REQUEST, why.to_owned())));
    }

    pub(crate) fn answer_rule(&mut self, peer: PeerId, rule: &RuleAdd, result: Result<(), Refusal>) {
        let (status, text) = match result {
            Ok(()) => {
                self.refusals.remove(&(peer, rule.tunnel));
                (Status::OK, String::new())
            }
            Err((status, text)) => {
                self.refuse_rule(peer, rule, format!("{status}: {text}"));
                (status, text)
            }
        };
        self.link.send_message(
            peer,
            &Message::RuleReply(RuleReply {
                request: rule.request,
                tunnel: rule.tunnel,
                status,
                text: &text,
            }),
        );
    }

    /// Whether the control may have the rule.
    fn admit(&self, peer: PeerId, rule: &RuleAdd) -> Result<(), Refusal> {
        let (control, address) = (self.control_name(peer), &rule.protocol_address);
        let granted = self.symbols.port(peer, rule.symbol) == Some(rule.port);
        let Some(port) = self.ports.get(rule.port).filter(|_| granted) else {
            let text = format!("{} of control {control} was not granted {}", rule.symbol, rule.port);
            return Err((Status::BAD_REQUEST, text));
        };
        self.admit_translated(peer, rule)?;
        if *address == ProtocolAddress::EtherType(self.config.ethertype) {
            return Err((Status::BAD_REQUEST, "frames of the link itself are never sent up".to_owned()));
        }
        self.permit_rule(control, port, address)?;
        if self.is_anothers(peer, control, port, address) {
            let text = format!("another control has the packets of {address} at port {}", port.name());
            return Err((Status::CONFLICT, text));
        }
        Ok(())
    }

    /// Whether the configuration lets a control have a rule at a port. The rule for ARP goes with the port.
    pub(crate) fn permit_rule(
        &self,
        control: &str,
        port: &Port,
        address: &ProtocolAddress,
    ) -> Result<(), Refusal> {
        let (relay, name) = (&self.config.name, port.name());
        if *address == ProtocolAddress::EtherType(ETHERTYPE_ARP) {
            return Ok(());
        }
        if port.config.relay_services.covers(address) {
            let text = format!("relay {relay} keeps {address} at port {name} for itself (relay_services)");
            return Err((Status::RESERVED, text));
        }
        if !port.config.permits_rule(control, address) {
            return Err((
                Status::NOT_PERMITTED,
                format!(
                    "relay {relay} does not permit {address} at port {name} to control {control}; add it to \
                     `services` of its [[port.allow]] in the relay's configuration"
                ),
            ));
        }
        Ok(())
    }

    /// Whether a flow is another control's. Flows need no permission of their own, as programs begin them towards
    /// anybody; so an exact flow is of the control that had it first, and a control that may not listen at a port
    /// takes no flow away from one that does.
    fn is_anothers(&self, peer: PeerId, control: &str, port: &Port, address: &ProtocolAddress) -> bool {
        let ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } = *address else {
            return false;
        };
        let flow = Key::flow(port.id, protocol, (local, local_port), (remote, remote_port));
        let listener = ProtocolAddress::Listener { protocol, local: Local::Address(local), port: local_port };
        let listens =
            |address| self.dispatch.is_anothers(&Key::listener(port.id, protocol, address, local_port), peer);
        self.dispatch.is_anothers(&flow, peer)
            || (!port.config.permits_rule(control, &listener) && (listens(local) || listens(any_like(local))))
    }

    fn put_in_force(&mut self, peer: PeerId, rule: &RuleAdd) -> Result<(), Refusal> {
        let rule = Rule {
            peer,
            tunnel: rule.tunnel,
            symbol: rule.symbol,
            port: rule.port,
            protocol_address: rule.protocol_address,
            weight: rule.weight,
            stale: false,
            since: 0,
            packets: 0,
            bytes: 0,
        };
        let row = self.rule_row(&rule);
        self.note_rule(&rule);
        match self.dispatch.add(rule.clone()) {
            Ok(Added::Again) => {}
            Ok(Added::New) => {
                log_rule(self, &rule, "added");
                self.tell(Event::RuleAdded(row));
            }
            Ok(Added::InsteadOf(old)) => {
                self.deleted(&old);
                log_rule(self, &rule, "added");
                self.tell(Event::RuleAdded(row));
            }
            Err(TableFull) => {
                let text = format!("relay {} holds as many rules as it can", self.config.name);
                return Err((Status::TABLE_FULL, text));
            }
        }
        Ok(())
    }

    fn refuse_rule(&mut self, peer: PeerId, rule: &RuleAdd, reason: String) {
        // What the tunnel stood for before is not what the control wants any more.
        if let Some(old) = self.dispatch.remove(peer, rule.tunnel) {
            self.deleted(&old);
        }
        let (control, port) = (self.control_name(peer), self.port_name(rule.port));
        log::warn!(
            target: "relay::dispatch",
            "rule refused: {} at {port} for {control}: {reason}", rule.protocol_address
        );
        let row = self.refused_row(peer, port, rule.tunnel, &rule.protocol_address, reason);
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.insert((peer, rule.tunnel), row.clone());
        }
        self.tell(Event::RuleRefused(row));
    }

    pub(crate) fn rule_delete(&mut self, peer: PeerId, delete: RuleDelete) {
        if let Some(rule) = self.dispatch.remove(peer, delete.tunnel) {
            self.deleted(&rule);
        }
        self.refusals.remove(&(peer, delete.tunnel));
        // A rule that is not there is deleted as well: the control may use the tunnel's number again.
        self.link.send_message(peer, &Message::RuleDeleted(delete));
    }

    pub(crate) fn deleted(&mut self, rule: &Rule) {
        self.note_rule(rule);
        log_rule(self, rule, "deleted");
        let row = RuleRow { state: "closing", ..self.rule_row(rule) };
        self.tell(Event::RuleDeleted(row));
    }
}

/// Servers' rules come and go with operators; flows come and go with packets.
fn log_rule(relay: &Relay, rule: &Rule, what: &str) {
    let level = match rule.protocol_address {
        ProtocolAddress::Flow { .. } => log::Level::Debug,
        ProtocolAddress::Listener { .. }
        | ProtocolAddress::IpProtocol { .. }
        | ProtocolAddress::EtherType(_) => log::Level::Info,
    };
    log::log!(
        target: "relay::dispatch",
        level,
        "rule {what}: {} at {} for {}, {}",
        rule.protocol_address,
        relay.port_name(rule.port),
        relay.control_name(rule.peer),
        rule.tunnel
    );
}

/// Most refused rules that are kept for `show`, of all controls.
const REFUSALS_MAX: usize = 4_096;
