//! What an operator does by hand that the daemon else does by itself (M18): rules, symbols and routes at run time.
//!
//! # Theory of operation
//! What comes by hand is checked like what comes by itself, first here (the symbol, its `services` and hidden ports, what
//! its addresses allow), then by the relay (permission, reservation, conflicts). It is kept beside what was detected, not
//! mixed with it, so that neither removes the other's: see `symbol_rules::by_hand`, `routes::by_hand`. It outlives lost
//! contact and the relay's restarts as the rest does, because the relay is told everything anew in every session.
//!
//! A command is over when the relay has answered; the shell asks [`Control::rule_standing`],
//! [`Control::symbol_standing`] and [`Control::route_standing`] until then.
//!
//! [`Control::rule_standing`]: crate::Control::rule_standing
//! [`Control::symbol_standing`]: crate::Control::symbol_standing
//! [`Control::route_standing`]: crate::Control::route_standing

mod error;
mod rules;
mod symbols;

pub use error::HandError;
pub use l2link::by_hand::{Decided, Standing};
pub use symbols::Removed;
