//! What operators do, by commands and by another configuration.

use super::{Input, Recorded};
use crate::config::{RefusedSymbol, SymbolConfig};
use crate::routes::RoutesConfig;
use crate::{Decided, HandError, Removed};
use core::time::Duration;
use frames::{ProtocolAddress, SymbolId};
use l2link::route_text::RouteText;
use l2link::{PublicKey, Time};
use std::borrow::Cow;

/// Each as the method of [`Control`](crate::Control) of the same name.
#[allow(missing_docs, clippy::missing_errors_doc, reason = "the control's methods say what they do")]
impl Recorded {
    /// Written down only if it changes.
    pub fn set_monitored(&mut self, monitored: bool) {
        if monitored != self.control.is_monitored() {
            self.note(|| Input::Monitored { monitored });
        }
        self.control.set_monitored(monitored);
    }

    pub fn weigh(&mut self, relay: &str, weight: Option<u16>) -> Result<(), HandError> {
        self.note(|| Input::Weigh { relay: relay.into(), weight });
        let done = self.control.weigh(relay, weight);
        self.answer(done)
    }

    pub fn drain(&mut self, relay: &str, draining: bool) -> Result<(), HandError> {
        self.note(|| Input::Drain { relay: relay.into(), draining });
        let done = self.control.drain(relay, draining);
        self.answer(done)
    }

    pub fn decide(&mut self, relay: &str, decided: Decided) {
        self.note(|| Input::Decide { relay: relay.into(), decided });
        self.control.decide(relay, decided);
    }

    pub fn forget(&mut self, name: &str, force: bool, now: Time) -> Result<(), HandError> {
        self.note(|| Input::Forget { relay: name.into(), force, now });
        let done = self.control.forget(name, force, now);
        self.answer(done)
    }

    pub fn add_rule(&mut self, id: SymbolId, address: ProtocolAddress, now: Time) -> Result<(), HandError> {
        self.note(|| Input::AddRule { symbol: id, address, now });
        let done = self.control.add_rule(id, address, now);
        self.answer(done)
    }

    pub fn delete_rule(
        &mut self,
        id: SymbolId,
        address: ProtocolAddress,
        now: Time,
    ) -> Result<(), HandError> {
        self.note(|| Input::DeleteRule { symbol: id, address, now });
        let done = self.control.delete_rule(id, address, now);
        self.answer(done)
    }

    pub fn add_symbol(&mut self, config: SymbolConfig, now: Time) -> SymbolId {
        self.note(|| Input::AddSymbol { config: Cow::Borrowed(&config), now });
        let symbol = self.control.add_symbol(config, now);
        self.answer(symbol)
    }

    pub fn delete_symbol(&mut self, id: SymbolId, now: Time) -> Removed {
        self.note(|| Input::DeleteSymbol { symbol: id, now });
        let removed = self.control.delete_symbol(id, now);
        self.answer(removed)
    }

    pub fn delete_refused_symbol(&mut self, name: &str, netns: Option<&str>, kind: Option<&str>) -> bool {
        self.note(|| Input::DeleteRefusedSymbol {
            name: name.into(),
            netns: netns.map(Cow::from),
            kind: kind.map(Cow::from),
        });
        let deleted = self.control.delete_refused_symbol(name, netns, kind);
        self.answer(deleted)
    }

    pub fn change_symbol(&mut self, id: SymbolId, config: SymbolConfig, now: Time) {
        self.note(|| Input::ChangeSymbol { symbol: id, config: Cow::Borrowed(&config), now });
        self.control.change_symbol(id, config, now);
    }

    pub fn add_route(&mut self, text: &RouteText) -> Result<(), HandError> {
        self.note(|| Input::AddRoute { route: Cow::Borrowed(text) });
        let done = self.control.add_route(text);
        self.answer(done)
    }

    pub fn delete_route(&mut self, selector: &RouteText) -> Result<RouteText, HandError> {
        self.note(|| Input::DeleteRoute { selector: Cow::Borrowed(selector) });
        let done = self.control.delete_route(selector);
        self.answer(done)
    }

    pub fn set_routes(&mut self, config: Option<RoutesConfig>) {
        self.note(|| Input::SetRoutes { config: Cow::Borrowed(&config) });
        self.control.set_routes(config);
    }

    pub fn set_carrier_hold(&mut self, hold: Duration) {
        self.note(|| Input::SetCarrierHold { hold });
        self.control.set_carrier_hold(hold);
    }

    pub fn set_liveness(&mut self, keepalive: Duration, missed: u32) {
        self.note(|| Input::SetLiveness { keepalive, missed });
        self.control.set_liveness(keepalive, missed);
    }

    pub fn set_peers(&mut self, peers: &[(String, PublicKey)], now: Time) {
        self.note(|| Input::SetPeers { peers: peers.into(), now });
        self.control.set_peers(peers, now);
    }

    pub fn set_refused(&mut self, refused: Vec<RefusedSymbol>) {
        self.note(|| Input::SetRefused { refused: refused[..].into() });
        self.control.set_refused(refused);
    }
}
