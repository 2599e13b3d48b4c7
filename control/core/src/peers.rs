//! What an operator decided about relays: shares of new flows, draining, forgetting.
//!
//! A relay that is *drained* is told every listener with weight 0: it gives this control no new flow, and the flows that are
//! there live on. Decisions are by name, so that they outlive sessions and are there before the relay is.

use crate::by_hand::{Decided, HandError};
use crate::show::PeerRow;
use crate::{Control, SymbolConfig};
use l2link::{PeerInfo, PeerState, Time};
use log::info;

impl Control {
    /// Has all symbols of a relay have that share of new flows, whatever they say themselves; `None` for what they say. It
    /// is not drained any more.
    ///
    /// # Errors
    /// If no symbol is of this relay, and it was never heard.
    pub fn weigh(&mut self, relay: &str, weight: Option<u16>) -> Result<(), HandError> {
        self.check_relay(relay)?;
        self.decide(relay, Decided { weight, draining: false });
        Ok(())
    }

    /// Takes no new flow from a relay; or takes new flows again, as before.
    ///
    /// # Errors
    /// As [`Control::weigh`].
    pub fn drain(&mut self, relay: &str, draining: bool) -> Result<(), HandError> {
        self.check_relay(relay)?;
        self.decide(relay, Decided { draining, ..self.decided(relay) });
        Ok(())
    }

    /// Takes over what is decided about a relay, which may have to come yet.
    pub fn decide(&mut self, relay: &str, decided: Decided) {
        if self.decided(relay) == decided {
            return;
        }
        let what = match decided {
            Decided { draining: true, .. } => "takes no new flows any more".to_owned(),
            Decided { weight: Some(weight), .. } => format!("has weight {weight} now"),
            Decided { weight: None, .. } => "has the symbols' own weights".to_owned(),
        };
        info!(target: "control::peer", "relay {relay}: {what}");
        if decided == Decided::default() {
            self.decided.remove(relay);
        } else {
            self.decided.insert(relay.to_owned(), decided);
        }
        for symbol in self.symbols.iter_mut().filter(|symbol| symbol.config.relay == relay) {
            symbol.rules.give_weight(decided.share(), &mut self.tables);
        }
        self.flush();
    }

    /// Gives up at once what is held for a relay that is gone: the carrier of its symbols, listeners that are closed and
    /// wait for their last connection, what was decided about it, and that it ever was. With `force` one that is up loses its
    /// session, too, and begins anew.
    ///
    /// # Errors
    /// As [`Control::weigh`]; and without `force` if the relay is up.
    pub fn forget(&mut self, name: &str, force: bool, now: Time) -> Result<(), HandError> {
        self.check_relay(name)?;
        let peers = self.link.peers();
        let is_it = |peer: &&PeerInfo| peer.name == name && !matches!(peer.state, PeerState::Refused(_));
        let peer = peers.iter().find(is_it);
        if !force && peer.is_some_and(|peer| peer.state == PeerState::Up) {
            return Err(HandError::StillUp(name.to_owned()));
        }
        if let Some(peer) = peer {
            self.link.disconnect(peer.peer, now);
            self.handle_link_events(now);
            self.link.forget(peer.peer);
        }
        info!(target: "control::peer", "relay {name}: forgotten");
        self.decide(name, Decided::default());
        let relay = self.relay_named(name);
        for id in self.symbols_of(relay) {
            let Some(symbol) = self.symbols.iter_mut().find(|symbol| symbol.id == id) else { continue };
            symbol.hold = None;
            symbol.rules.forget_leaving(now, &mut self.tables);
            self.refresh(id, now);
        }
        self.end_rules(now);
        self.flush();
        Ok(())
    }

    /// What was decided about a relay.
    #[must_use]
    pub fn decided(&self, relay: &str) -> Decided {
        self.decided.get(relay).copied().unwrap_or_default()
    }

    /// The weight that the symbols of a relay have instead of their own.
    pub(crate) fn given_weight(&self, config: &SymbolConfig) -> Option<u16> {
        self.decided(&config.relay).share()
    }

    pub(crate) fn row_of_peer(&self, peer: &PeerInfo, now: Time) -> PeerRow {
        let Decided { weight, draining } = self.decided(&peer.name);
        PeerRow { weight, draining, ..PeerRow::new(peer, now) }
    }

    fn check_relay(&self, relay: &str) -> Result<(), HandError> {
        if self.relays.iter().any(|known| known.name == relay) {
            return Ok(());
        }
        let known = self.relays.iter().map(|known| known.name.clone()).collect();
        Err(HandError::NoRelay { name: relay.to_owned(), known })
    }
}
