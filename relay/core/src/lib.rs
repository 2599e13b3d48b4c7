//! The decisions of `l2relay`, without IO.
//!
//! [`Relay`] owns the link and every table of the relay. What happens goes in by `handle_*`: link frames, packets at
//! the ports, changes of the ports, time. A packet comes back as a verdict at once; everything else is fetched by
//! `poll_action`, `poll_transmit` and `poll_timeout`.
//!
//! | module | holds |
//! |---|---|
//! | [`relay`] | [`Relay`]: inputs and outputs |
//! | [`config`] | what the configuration file says, as types |
//! | [`fib`] | routes: what controls want, and what the kernel has |
//! | [`given`] | addresses that controls give to ports |
//! | [`by_hand`] | what operators do and decide at run time |
//! | [`action`] | what the shell is asked to do, and what monitors are told |
//! | [`port`] | the ports with their attributes |
//! | [`ways_out`] | the relay's own routes by its ports |
//! | [`show`] | the rows of `l2ctl show` |
//! | [`police`] | limits of the rate of punts |
//! | `session` | the controls' sessions, and what they say |
//! | `grant` | grants of ports, and down tunnels |
//! | `transfer` | rules as controls ask for them |
//! | `symbol` | who was granted what, and the receive table |
//! | `dispatch` | the dispatch table, and who of several controls gets a flow |
//! | `balance` | live flows between link and dispatch table |
//! | `punt` | packets at a port, on their way up |
//! | `select` | whom a packet is for |
//! | `fragment` | fragments follow their first |
//! | `routes` | routes between link, table and shell |
//! | [`translation`] | address symbols: translation instead of tunnels |
//! | `routed` | packets that are routed without translation: file symbols |
//! | `addresses` | given addresses between link, table and shell |
//! | `transit` | packets from relay to relay |
//! | `fast` | what the fast path is told |
//! | [`recorded`] | a relay whose inputs are written down, and one that is given them again |
//! | [`trace`] | what would become of a packet, and why |
//! | `passage` | copies of parcels for captures |
//! | `membership` | groups that programs joined |
//! | `reload` | another configuration |
#![forbid(unsafe_code)]

pub mod action;
pub mod by_hand;
pub mod config;
pub mod fib;
pub mod given;
pub mod metrics;
pub mod police;
pub mod port;
pub mod recorded;
pub mod relay;
pub mod show;
pub mod trace;
pub mod ways_out;

mod addresses;
mod balance;
#[cfg(feature = "bench")]
pub mod bench;
mod dispatch;
mod fast;
mod fragment;
mod grant;
mod membership;
mod passage;
mod punt;
mod reload;
mod routed;
mod routes;
mod rule;
mod select;
mod session;
mod symbol;
mod transfer;
mod transit;
pub mod translation;

pub use action::{Action, Capture, Event};
pub use by_hand::{Decided, HandError, Standing};
pub use config::{Conflicts, ControlName, Permission, PortConfig, RelayConfig, RoutePermission, Unmatched};
pub use fib::{FibConfig, RouteFailure, RouteNexthop, RouteOperation, RouteSeen, RoutesSeen, VerifyRow};
pub use given::GivenAddress;
pub use metrics::Metrics;
pub use port::PortState;
pub use punt::Arrival;
pub use recorded::{Beginning, Recorded, ReplayedRelay};
pub use relay::{LinkVerdict, PortVerdict, Relay};
pub use trace::{KernelWay, Question, Trace};
pub use translation::Outlet;
pub use ways_out::{WayOut, WaysOut};
