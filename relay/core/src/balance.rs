//! Live flows between the link and the [dispatch table](crate::dispatch).

use crate::dispatch::Standing;
use crate::relay::Relay;
use crate::rule::Rule;
use crate::show::CounterRow;
use frames::message::{Flows, FlowsRequest, Message};
use l2link::PeerId;

impl Relay {
    pub(crate) fn flows(&mut self, peer: PeerId, flows: &Flows<'_>) {
        self.dispatch.report((peer, flows.tunnel, flows.request), flows.flows, flows.last);
    }

    /// Sends what the table wants to know.
    pub(crate) fn ask_for_flows(&mut self) {
        for (peer, tunnel, request) in self.dispatch.take_requests() {
            self.link.send_message(peer, &Message::FlowsRequest(FlowsRequest { request, tunnel }));
        }
    }

    pub(crate) fn rule_state(&self, rule: &Rule) -> &'static str {
        match self.dispatch.standing(rule) {
            Standing::Active => "active",
            Standing::Standby => "standby",
            Standing::Draining => "draining",
        }
    }

    pub(crate) fn flow_counters(&self) -> impl Iterator<Item = CounterRow> + use<> {
        let rows = [
            ("flows-pinned", self.dispatch.pinned() as u64),
            ("flows-unpinned", self.dispatch.unpinned()),
            ("flows-tracked", self.dispatch.tracked() as u64),
        ];
        rows.into_iter().map(|(name, value)| CounterRow { name: name.to_owned(), value })
    }
}
