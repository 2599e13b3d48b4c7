//! The carrier of a symbol, which outlives contact with its relay for a while.
//!
//! # Theory of operation
//!
//! A program that sees a cable pulled gives up neighbors, routes and connections. So the carrier follows the *port* at
//! once, and contact with the relay only after the *hold*: what the port does without the relay's daemon is not known,
//! and most often it goes on, as transit does. A restart of either daemon is over before anybody has noticed it; `show
//! symbols` says at once what is the matter.
//!
//! - The hold begins when contact is lost, or when an interface is adopted that an earlier daemon left with a carrier. A
//!   relay that comes and goes without ever answering does not prolong it.
//! - It ends when the symbol is up again, with the carrier as it was; at its time, without; and without at once when the
//!   relay says that the port is down or not to be had, or when the interface is gone.
//! - A hold never gives a carrier to an interface that has none.

use crate::Control;
use crate::seen::IfIndex;
use crate::symbol::{Interface, Stage, State, Symbol};
use frames::SymbolId;
use l2link::Time;
use log::info;

impl Control {
    /// The symbol's interface is there from an earlier life of the daemon, and `carrier` is its own. To be called before
    /// anything else is. It is brought in line with the port when the relay says what that is like.
    pub fn handle_symbol_adopted(&mut self, symbol: SymbolId, interface: IfIndex, carrier: bool, now: Time) {
        let end = now + self.carrier_hold;
        let Some(symbol) = self.symbol_mut(symbol) else { return };
        symbol.interface = Interface::Created(interface);
        symbol.carrier = carrier;
        symbol.hold_carrier(end, now);
        let (id, namespace) = (symbol.id, symbol.namespace);
        info!(target: "control::symbol", "symbol {}: goes on with its interface", symbol.config.name);
        self.refresh(id, now);
        self.list_addresses(namespace);
    }

    /// The relay was away for too long.
    pub(crate) fn end_hold(&mut self, id: SymbolId, now: Time) {
        let Some(symbol) = self.symbol_mut(id) else { return };
        symbol.hold = None;
        self.refresh(id, now);
    }
}

impl Symbol {
    /// Begins a hold until `end`, unless one has begun.
    pub(crate) fn hold_carrier(&mut self, end: Time, now: Time) {
        if self.carrier && end > now {
            self.hold.get_or_insert(end);
        }
    }

    /// Whether the interface should have a carrier in this state. Ends a hold that has no more to say.
    pub(crate) fn wants_carrier(&mut self, state: State) -> bool {
        let port_is_down = self.attributes.as_ref().is_some_and(|attributes| !attributes.usable());
        let told = matches!(self.stage, Stage::Granted(_)) && port_is_down;
        if matches!(state, State::Up | State::Refused) || told || self.ifindex().is_none() {
            self.hold = None;
        }
        state == State::Up || (self.carrier && self.hold.is_some())
    }
}
