//! The decisions of `l2control`, without IO.
//!
//! [`Control`] is the whole of it: it owns the [`l2link::Link`] and the tables of the patent. Inputs are its
//! `handle_*` methods, outputs [`Control::poll_action`], [`Control::poll_transmit`] and [`Control::poll_timeout`].
//! What programs have open comes in as plain data ([`seen`]); what is to be done to the kernel goes out as
//! [`Action`]s.
//!
//! | module | holds |
//! |---|---|
//! | [`config`], [`exposure`] | what the operator wrote |
//! | [`seen`] | what the shell saw in the kernel: sockets, connections, groups |
//! | [`action`], [`report`], [`show`] | what goes out: to the shell, to `l2ctl monitor`, to `l2ctl show` |
//! | `control` | [`Control`]: relays, messages, parcels |
//! | `symbol` | a symbol and the stages of its life |
//! | `carrier` | its carrier, which outlives contact for a while |
//! | `receive_table`, `rule`, `symbol_rules` | up tunnels and rules |
//! | `fast` | what the fast path is told |
//! | `detection` | from open sockets to listener rules |
//! | `flows`, `return_path` | from connections and first packets to flow rules |
//! | [`files`] | file symbols: open files instead of sockets |
//! | `translation` | address symbols: translation instead of tunnels |
//! | `passage` | copies of parcels for captures |
//! | `weight` | shares of new flows |
//! | `reports` | live flows, for relays that share them out anew |
//! | `memberships` | multicast groups |
//! | `addresses` | what programs put on symbols, for their ports |
//! | `looks` | when to look at the sockets again |
//! | [`way_back`] | by which ways the answers to a symbol's clients leave |
//! | [`by_hand`], `peers` | what operators do and decide at run time |
//! | `routes` | the kernel's routes, and what relays were told of them |
//! | [`recorded`] | a control whose inputs are written down, and one that is given them again |
//! | `reload` | another configuration |
#![forbid(unsafe_code)]

pub mod action;
mod addresses;
pub mod attributes;
pub mod by_hand;
mod carrier;
pub mod config;
mod control;
mod detection;
mod ended;
pub mod exposure;
mod fast;
pub mod files;
mod flow;
mod flows;
mod looks;
mod memberships;
mod messages;
pub mod metrics;
mod namespace;
mod parcels;
mod passage;
mod peers;
mod receive_table;
pub mod recorded;
mod relay;
mod reload;
pub mod report;
mod reports;
mod return_path;
pub mod routes;
mod rule;
#[cfg(test)]
mod rules_property;
pub mod seen;
pub mod show;
mod socket_index;
mod symbol;
mod symbol_rules;
mod trace;
mod translation;
pub mod way_back;
mod weight;

pub use action::{Action, Failure};
pub use attributes::Attributes;
pub use by_hand::{Decided, HandError, Removed, Standing};
pub use config::{Addressing, Config, RefusedSymbol, SymbolConfig, Triggered};
pub use control::Control;
pub use exposure::Exposure;
pub use frames::message::Translation;
pub use metrics::Metrics;
pub use namespace::NamespaceId;
pub use parcels::{LinkVerdict, SymbolVerdict};
pub use recorded::{Beginning, Recorded, ReplayedControl};
pub use routes::{RoutesConfig, VerifyRow};
pub use trace::HeldSocket;
pub use translation::default_control_address;
pub use way_back::{Ground, WayBack};
pub use weight::Weight;
