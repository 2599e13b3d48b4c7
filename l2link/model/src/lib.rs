//! A model of sessions and tables on a segment, for a search through everything that can happen.
//!
//! # Theory of operation
//! `l2link`'s simulator and its schedules of faults run the devices' own code, under their own timers: what takes an unlikely
//! order of events and time-outs they may never meet. Here is what that code decides, without bytes, keys and clocks, so small that a
//! model checker (stateright) can go through every order: [`end`] is `l2link`'s `association.rs` and `attempt.rs`, [`table`] what
//! `relay-core` makes of it. `tests/lock_step.rs` holds `l2link` to the former, `relay/core/tests/tables.rs` the relay to the latter.
//!
//! *The network* is a set: what was ever sent may arrive at any time, any number of times, or never. So loss, repetition, delay and
//! reordering need no events of their own, and neither do the tries of a handshake. What a seal and the replay window keep out is
//! left out: a frame under keys counts at most once, and only at those who have the keys.
//!
//! *Time* is nobody's: every timer may go off at any moment. One that goes off although nothing is wrong is a *fault*, as is all
//! that does not follow by itself: a restart, a socket that opens, a recording that is played. A run has a bounded number of
//! faults ([`Bounds`]), and is exhausted otherwise.
//!
//! *That things come right in the end* is asked of each state: from it, a network that loses nothing must lead to a segment where all are
//! up and all tables are right ([`fair`]). That is more than stateright's `eventually` finds out, which does not
//! follow a path into a state that another path has visited.
//!
//! *What is not in it*: relays that are partners, names in use by two devices, what relays send to controls (replies, for
//! which the streams are the same code), limits of rate and number.

pub mod end;
pub mod fair;
mod forget;
pub mod segment;
pub mod table;
pub mod wire;

mod search;

pub use search::{Action, Model};

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Controls; each has a symbol of each relay.
    pub controls: usize,
    /// Relays.
    pub relays: usize,
    /// Faults of a run, at most.
    pub faults: u8,
    /// What the relays' tables hold.
    pub table: table::Kind,
    /// What was before the search.
    pub begins: Begins,
}

/// How a segment is when a search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// All devices have just started.
    Apart,
    /// All is right.
    Together,
}

/// A defect to be found: what the code would do if a line of it were missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A handshake is of the same association whatever life of the peer it is with.
    ForgetsBoot,
    /// A dead peer's association is taken up again.
    RevivesTheDead,
    /// An association that another one has replaced is taken up again.
    ForgetsTheReplaced,
    /// A relay draws the same session indexes and keys in each of its lives.
    RepeatsItself,
    /// A relay sweeps nothing when its control has said all.
    NeverSweeps,
    /// A relay sweeps what all controls have left, when one of them has said all.
    SweepsOthers,
    /// A relay does not mark what it has as stale when a session begins.
    NothingIsStale,
    /// A device that lost its peer does not look for it again.
    NeverTriesAgain,
}
