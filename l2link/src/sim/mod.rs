//! Whole segments in virtual time, over a network that loses, reorders, repeats, corrupts, delays and cuts; all of it,
//! the devices' keys included, follows from one number.
//!
//! [`run`] draws a scenario from the seed: one or two relays and one to three controls, mode and protections, MTUs,
//! liveness, age of keys, and how bad the network is. For a few virtual seconds the devices send messages and parcels while they are
//! cut off, restarted, stalled, re-addressed, given other MTUs and too busy to read. Then the network heals, and some seconds later everything must have
//! come right. What is checked, in [`world`] and [`node`]:
//!
//! - the messages of each stream arrive exactly once and in order from the first one on, as long as their association
//!   lives; at the end all messages of the last association have arrived;
//! - `PeerUp` and `PeerDown` take turns;
//! - every relay and every control converge to "up" after the network healed, and stay so without a break;
//! - no parcel arrives that was not sent, byte for byte, where the configuration protects parcels;
//! - sessions, peers, attempts, half-open candidates and queues stay within their bounds; no timer spins.
//!
//! What [`run`] samples, [`exhaust`] goes through to the last: every way in which a few faults can strike a small segment's start.

mod dice;
mod exhaust;
mod network;
mod node;
mod scenario;
mod snapshot;
mod world;

pub use dice::Dice;
pub use exhaust::{Bounds, Covered, Fault, Schedule, exhaust};
pub use network::{Network, Weather};
pub use scenario::Scenario;
pub use snapshot::{AttemptSeen, CandidateSeen, PeerSeen, Snapshot};
pub use world::{Failure, Report, Trace, run, run_traced};
