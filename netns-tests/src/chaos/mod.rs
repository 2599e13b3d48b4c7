//! Faults of every kind against a pair with real programs on top, and the judgement of each.
//!
//! ```text
//!  client2 ── eth2 ┐                                    ┌─ wire ── lan0 control1: FRR, nginx   (the pair that is hurt)
//!                  relay ── lan0 ── s0 [bridge segment] ┤
//!  client ─── eth1 ┘                                    └───────── lan0 control2: UDP server   (the healthy pair)
//! ```
//!
//! FRR on control1 speaks OSPF with FRR on the client, and the relay forwards between its ports by what they find out. During
//! each [`Fault`] three things go on: pings in transit, requests to the server of control2, and a download from nginx on control1
//! of which every byte is checked. After it [`Chaos::suffer`] waits until everything works again, and then sees to it that
//! no process has died, `l2ctl verify` finds nothing on any of the three, memory (5 %, at least 2 MiB) and descriptors are what they
//! were, the download goes on, and the kernels have what they had before. Times are told, and never judged.

mod daemons;
mod figures;
mod health;
mod kernel;
mod lab;
mod limits;
mod many;
mod peers;
mod plan;
mod segment;
mod traffic;
mod wire;

pub use figures::{Figures, table};
pub use lab::Chaos;
pub use plan::Plan;
pub use wire::{Counts, Wire};

/// A fault, and what it must not touch.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// Whether it is part of every test run.
    pub bounded: bool,
    /// What goes on without losing a packet.
    pub spares: Spares,
    /// Whether it strikes once before it is judged: it makes the daemons hold much at once, and what the allocator keeps of
    /// that may not grow with the second time.
    pub twice: bool,
    /// Makes what it needs, before anything is judged.
    pub ready: fn(&mut Chaos),
    /// Lets it happen, and ends it. Asked for the long form, it may take a minute, else some seconds.
    pub strike: fn(&mut Chaos, long: bool),
    /// Takes back what `ready` made, after all was judged; its programs end by themselves.
    pub undo: fn(&mut Chaos),
}

/// What a fault must not touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spares {
    /// Transit, and the pair of control2.
    All,
    /// Transit only: it concerns the relay's daemon or its port.
    Transit,
    /// The pair of control2 only: it takes the routes or a port away.
    Healthy,
}

impl Fault {
    /// One that spares everything and is not part of every test run; `strike` is yet to be filled in.
    const fn named(name: &'static str) -> Self {
        Self {
            name,
            bounded: false,
            spares: Spares::All,
            twice: false,
            ready: |_| {},
            strike: |_, _| {},
            undo: |_| {},
        }
    }
}

/// All of them, from the gentle to the rough.
#[must_use]
pub fn faults() -> Vec<Fault> {
    [segment::FAULTS, peers::FAULTS, daemons::FAULTS, limits::FAULTS, kernel::FAULTS, many::FAULTS].concat()
}
