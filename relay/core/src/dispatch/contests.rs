//! [`Contests`]: flows that a control told though the table gives them to another.
//!
//! That may be right: the control was cut off for a while, and is back with its connections. But a socket can also outlive
//! its connection: the client went without a word, came back by the same ports, and another control has it now. Who has
//! it is known to the one who would have it by the table, so that one is asked, and until it has answered the flow
//! is with the control that told it.

use super::ServerId;
use super::hash::FlowKey;
use frames::UpTunnel;
use std::collections::{BTreeMap, BTreeSet};

/// Most contests at once: 2 MiB. Further ones are not, and the control that tells a flow has it.
const CONTESTS_MAX: usize = 65_536;

/// A rule of a server.
pub(super) type ServerRule = (ServerId, UpTunnel);

#[derive(Debug, Default)]
pub(super) struct Contests {
    /// Who would have it by the table.
    flows: BTreeMap<FlowKey, ServerRule>,
    /// Those who are still to be asked.
    unasked: BTreeSet<ServerRule>,
}

impl Contests {
    /// A flow was told that would be `holder`'s.
    pub(super) fn begin(&mut self, flow: FlowKey, holder: ServerRule) {
        if self.flows.len() < CONTESTS_MAX {
            self.flows.insert(flow, holder);
            self.unasked.insert(holder);
        }
    }

    /// A server tells a flow. Returns whether that decides a contest.
    pub(super) fn decide(&mut self, flow: FlowKey, server: ServerId) -> bool {
        let decides = self.flows.get(&flow).is_some_and(|(holder, _)| *holder == server);
        if decides {
            self.flows.remove(&flow);
        }
        decides
    }

    /// A rule's flows are all told: what was not among them is another's. To be called before the next are asked.
    pub(super) fn told(&mut self, holder: ServerRule) {
        if !self.flows.is_empty() && !self.unasked.contains(&holder) {
            self.flows.retain(|_, known| *known != holder);
        }
    }

    /// Forgets the contests with those that `which` does not pick.
    pub(super) fn retain(&mut self, which: impl Fn(&ServerRule) -> bool) {
        self.flows.retain(|_, holder| which(holder));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Those who are to be asked now.
    pub(super) fn take_unasked(&mut self) -> BTreeSet<ServerRule> {
        core::mem::take(&mut self.unasked)
    }
}
