//! Decisions about controls: shares of new flows, draining, forgetting.
//!
//! A control that is *drained* gets no new flow where others serve the same, and keeps those that it has. Decisions are by
//! name, so that they outlive sessions and are there before the control is.

use super::{Decided, HandError};
use crate::config::ControlName;
use crate::relay::Relay;
use crate::show::PeerRow;
use l2link::{PeerId, PeerInfo, PeerState, Time};
use std::collections::BTreeSet;

impl Relay {
    /// Gives a control that share of new flows, whatever it says itself: 0 for none, `None` for what it says. It is not
    /// drained any more.
    ///
    /// # Errors
    /// Nobody knows a control of this name.
    pub fn weigh(&mut self, control: &str, weight: Option<u16>) -> Result<(), HandError> {
        self.check_control(control)?;
        self.decide(control, Decided { weight, draining: false });
        Ok(())
    }

    /// Gives a control no new flow; or new flows again, as before.
    ///
    /// # Errors
    /// As [`Relay::weigh`].
    pub fn drain(&mut self, control: &str, draining: bool) -> Result<(), HandError> {
        self.check_control(control)?;
        self.decide(control, Decided { draining, ..self.decided(control) });
        Ok(())
    }

    /// Takes over what is decided about a control, which may have to come yet.
    pub fn decide(&mut self, control: &str, decided: Decided) {
        if self.decided(control) == decided {
            return;
        }
        let what = match decided {
            Decided { draining: true, .. } => "gets no new flows any more".to_owned(),
            Decided { weight: Some(weight), .. } => format!("has weight {weight} now"),
            Decided { weight: None, .. } => "has its own weight".to_owned(),
        };
        log::info!(target: "relay::dispatch", "control {control} {what}");
        if decided == Decided::default() {
            self.decided.remove(control);
        } else {
            self.decided.insert(control.to_owned(), decided);
        }
        self.dispatch.weigh(control, decided.share());
        self.note_change();
        self.ask_for_flows();
    }

    /// What was decided about a control.
    #[must_use]
    pub fn decided(&self, control: &str) -> Decided {
        self.decided.get(control).copied().unwrap_or_default()
    }

    /// Gives up at once what is held for a control that is gone: its routes, the addresses that it gave, what was decided
    /// about it, and that it ever was. With `force` one that is up loses its session with all that it has, and begins anew.
    ///
    /// # Errors
    /// As [`Relay::weigh`]; and without `force` if the control is up.
    pub fn forget(&mut self, control: &str, force: bool, now: Time) -> Result<(), HandError> {
        self.check_control(control)?;
        let is_up = |peer: &PeerInfo| peer.name == control && peer.state == PeerState::Up;
        if !force && self.link.peers().iter().any(is_up) {
            return Err(HandError::StillUp(control.to_owned()));
        }
        self.note_change();
        let named = self.controls.iter().filter(|(_, known)| known.name == control);
        let peers: Vec<PeerId> = named.map(|(peer, _)| *peer).collect();
        for peer in &peers {
            self.link.disconnect(*peer, now);
        }
        // What the end of a session takes with it.
        self.handle_link_events(now);
        self.fib.forget(&peers, control);
        self.dispatch.forget(control);
        self.decide(control, Decided::default());
        for peer in peers {
            self.given.forget(peer);
            self.link.forget(peer);
            self.controls.remove(&peer);
        }
        log::info!(target: "relay::peer", "control {control} is forgotten");
        self.answer_routes();
        Ok(())
    }

    pub(crate) fn row_of_peer(&self, peer: &PeerInfo, now: Time) -> PeerRow {
        let Decided { weight, draining } = self.decided(&peer.name);
        PeerRow { weight, draining, ..PeerRow::new(peer, now) }
    }

    fn check_control(&self, control: &str) -> Result<(), HandError> {
        let heard = self.controls.values().map(|known| &known.name);
        let permitted = self.config.ports.iter().flat_map(|port| &port.allow);
        let permitted = permitted.filter_map(|permission| match &permission.control {
            ControlName::Named(name) => Some(name),
            ControlName::Any => None,
        });
        let known: BTreeSet<&String> =
            heard.chain(permitted).chain(self.decided.keys()).chain(self.fib.holders()).collect();
        if known.iter().any(|known| *known == control) {
            return Ok(());
        }
        let known = known.into_iter().cloned().collect();
        Err(HandError::NoControl { name: control.to_owned(), known })
    }
}
