//! The keeper: a small process that holds the TAP devices of a control, so that they outlive it.
//!
//! # Theory of operation
//!
//! A TAP device lives, with carrier, addresses and routes, for as long as any process has its descriptor. So the
//! daemon starts its own program again as a [process](run) that does nothing but hold duplicates, in a session of its
//! own, and hands it each device by `SCM_RIGHTS` over a unix socket ([`Keeper`]).
//!
//! ```text
//!  daemon                        keeper                      successor
//!    │ starts it, connects          │                            │
//!    ├─ HOLD place, note + device ─▶│  (each device)             │
//!    ├─ NOTE place, note ──────────▶│  (what the daemon set)     │
//!    ├─ FORGET place ──────────────▶│  (removed)                 │
//!    ✗ killed, or SIGUSR2           │ begins to count            │
//!                                   │◀───────────────────── TAKE ┤ connects
//!                                   ├─ HOLD place, note + device▶│  (each device)
//!                                   ├─ END ─────────────────────▶│
//!                                   │◀────────────────── GOODBYE ┤ has a keeper of its own that holds them
//!                                   ✗
//! ```
//!
//! - A keeper serves one life of a daemon and is of the same binary. A successor takes what it finds, starts a keeper of
//!   its own and dismisses the other one, so that no keeper is ever older than its daemon and both need to understand
//!   no more of each other than TAKE, HOLD, END and GOODBYE, whose form is fixed for that reason.
//! - At no moment of a hand-over is a device held by less than two processes, the moments after a crash excepted.
//! - A daemon that goes without GOODBYE leaves its devices for as long as it told the keeper at the start. Whoever comes
//!   and goes meanwhile does not prolong it: a daemon that dies again and again at its start does not hold programs up
//!   for ever. Then, or with nothing to hold, the keeper ends, and the devices vanish.
//! - The keeper takes one connection at a time, the first from its daemon. A second daemon is refused at the command
//!   socket long before; should it come here, it waits in vain and takes nothing.
//! - While nobody reads a device, the kernel's queue of it fills up and drops. What waits there is stale when the
//!   successor comes: [`Tap::discard`](crate::Tap::discard).
//! - The keeper is dismissed by GOODBYE or by SIGTERM. Its socket file, with which only root and the daemon's own user may
//!   connect, goes with it.

mod channel;
mod client;
mod message;
mod process;

pub use client::{Keeper, Kept, Predecessor};
pub use message::Place;
pub use process::{WORD, run};
