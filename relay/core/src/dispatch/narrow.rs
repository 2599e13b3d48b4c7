//! Rules of address symbols, which stand in the table like all others and take packets to one address only.
//!
//! A program that listens on any address makes a rule for any address, so that it shares its service with programs behind
//! interface symbols that do. Of a key without an address the packet may be for another one than that of the chosen member's
//! symbol. Then the choice is made again among the rest, by rendezvous hashing: always the same member for the same flow.

use super::{Dispatch, FlowHash, Target, Targets, mix};
use crate::rule::Key;
use frames::SymbolId;

impl Dispatch {
    /// As [`Dispatch::choose`], of the members that `takes` lets have the packet.
    pub(crate) fn choose_of(
        &self,
        key: &Key,
        flow: FlowHash,
        takes: impl Fn(&Target) -> bool,
    ) -> Option<Target> {
        let chosen = self.choose(key, flow)?;
        if takes(&chosen) {
            return Some(chosen);
        }
        let others = self.members(key).iter().filter(|member| member.weight > 0 && takes(&member.target));
        let lot =
            |target: &Target| mix(flow.0 ^ mix(u64::from(target.peer.0) << 32 | u64::from(target.symbol.0)));
        others.map(|member| member.target).max_by_key(lot)
    }
}

impl Target {
    /// The control's symbol.
    pub(crate) fn symbol(&self) -> SymbolId {
        self.symbol
    }
}

impl Targets {
    /// Keeps the targets that `takes` lets have the packet.
    pub(crate) fn retain(&mut self, takes: impl Fn(&Target) -> bool) {
        self.0.retain(takes);
    }
}
