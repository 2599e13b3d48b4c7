//! Listeners that were closed: they take no new flow, and go with their last connection.
//!
//! Between the end of a listener and the moment when the relay knows of it, clients still come, and the kernel would refuse
//! them. Once the end was seen, a segment that opens a connection is not delivered any more. Before, the refusal is
//! *withheld* and the listener looked for: if it is gone, the client asks again and has another server by
//! then; if it is there, somebody else on this machine refuses, as a packet filter, and the next refusal is sent.

use super::{SymbolRules, Tables};
use crate::flow::FlowKey;
use crate::rule::{Resets, Rule, RuleState};
use crate::seen::SocketPart;
use core::time::Duration;
use frames::ProtocolAddress;
use l2link::Time;
use std::collections::BTreeSet;

/// How long a listener stays for the last packets of connections in `TIME_WAIT`: until the second look.
const LINGER: Duration = Duration::from_secs(1);

/// Whether a listener that is closed keeps its rule until its last connection is gone. Of others each connection has a rule
/// of its own then, as the relay does not know which of their packets begin a flow.
pub(crate) fn drains(listener: &ProtocolAddress) -> bool {
    matches!(listener, ProtocolAddress::Listener { protocol: 6, .. })
}

impl SymbolRules {
    pub(crate) fn leaving(&self) -> &BTreeSet<ProtocolAddress> {
        &self.leaving
    }

    /// Whether a listener at this port is draining.
    pub(crate) fn drains_at(&self, protocol: u8, local_port: u16) -> bool {
        self.leaving.iter().any(|listener| match listener {
            ProtocolAddress::Listener { protocol: known, port, .. } => {
                (*known, *port) == (protocol, local_port)
            }
            ProtocolAddress::Flow { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => false,
        })
    }

    /// The listener's socket is gone: the rule goes when a look at the connections shows none of it. It takes no new flow
    /// from now on. Returns whether that is news.
    pub(crate) fn leave(&mut self, listener: ProtocolAddress, tables: &mut Tables) -> bool {
        let is_news = self.leaving.insert(listener);
        if let Some(rule) = self.index.get(&listener).and_then(|tunnel| tables.receive.get_mut(*tunnel)) {
            (rule.resets, rule.draining) = (Resets::None, true);
        }
        if is_news && drains(&listener) {
            log::info!(target: "control::rule", "rule {listener}: draining");
            self.tell_weight(&listener, tables);
        }
        is_news
    }

    /// Lets leaving listeners go that have no connection; `ending` have some that are in `TIME_WAIT`, whose last packets may
    /// be under way.
    pub(crate) fn let_go(
        &mut self,
        draining: &BTreeSet<ProtocolAddress>,
        ending: &BTreeSet<ProtocolAddress>,
        now: Time,
        tables: &mut Tables,
    ) {
        self.quiet.retain(|listener, _| !draining.contains(listener));
        let idle: Vec<_> = self.leaving.difference(draining).copied().collect();
        for listener in idle {
            let since = *self.quiet.entry(listener).or_insert(now);
            if !ending.contains(&listener) || now - since >= LINGER {
                self.remove(&listener, now, tables);
            }
        }
    }

    /// Lets the datagram listeners go that leave.
    pub(crate) fn let_datagrams_go(&mut self, now: Time, tables: &mut Tables) {
        let datagrams = self.leaving.iter().filter(|listener| SocketPart::of(listener) == SocketPart::Others);
        let gone: Vec<_> = datagrams.copied().collect();
        gone.iter().for_each(|listener| self.remove(listener, now, tables));
    }

    /// Takes those out that leave, whatever connections they have.
    pub(crate) fn forget_leaving(&mut self, now: Time, tables: &mut Tables) {
        for listener in self.leaving.clone() {
            self.remove(&listener, now, tables);
        }
    }

    /// When the connections are to be looked at again because of a listener that stays for last packets only.
    pub(crate) fn lingers_until(&self) -> Option<Time> {
        self.quiet.values().min().map(|since| *since + LINGER)
    }

    /// The sockets of these listeners, which are in order, are there (again).
    pub(crate) fn stay(&mut self, listeners: &[ProtocolAddress], tables: &mut Tables) {
        let doubted = self.leaving.union(&self.suspected);
        let there: Vec<_> =
            doubted.filter(|listener| listeners.binary_search(listener).is_ok()).copied().collect();
        there.iter().for_each(|listener| self.stay_one(listener, tables));
    }

    fn stay_one(&mut self, listener: &ProtocolAddress, tables: &mut Tables) {
        if let Some(rule) = self.index.get(listener).and_then(|tunnel| tables.receive.get_mut(*tunnel)) {
            rule.draining = false;
            if rule.resets == Resets::Withheld {
                rule.resets = Resets::Meant;
            }
        }
        self.quiet.remove(listener);
        self.suspected.remove(listener);
        if self.leaving.remove(listener) && drains(listener) {
            log::info!(target: "control::rule", "rule {listener}: takes new flows again");
            self.tell_weight(listener, tables);
        }
    }

    /// Whether a refusal of this flow is to be withheld: a listener was seen where nobody listens. It is looked for then.
    pub(crate) fn withholds(&mut self, flow: &FlowKey, tables: &mut Tables) -> bool {
        let listener = self.covering_listener(flow, false, tables).filter(|_| self.flow(flow).is_none());
        let rule = listener.and_then(|tunnel| tables.receive.get_mut(tunnel));
        rule.is_some_and(|rule| {
            let meant = rule.resets == Resets::Meant;
            if !meant {
                rule.resets = Resets::Withheld;
                self.suspected.insert(rule.protocol_address);
            }
            !meant
        })
    }

    /// The state of a rule for `show`.
    pub(crate) fn state(&self, rule: &Rule) -> &'static str {
        match rule.state {
            RuleState::Active if self.leaving.contains(&rule.protocol_address) => "draining",
            RuleState::Pending | RuleState::Active | RuleState::Refused(_) | RuleState::Closing => {
                rule.state.name()
            }
        }
    }
}
