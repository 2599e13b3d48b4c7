//! Fixtures for black-box tests of the built daemons: network namespaces, real programs, and nothing left behind.
//!
//! A test starts a [`Lab`], runs programs in its namespaces and asks the daemons through `l2ctl`:
//!
//! ```text
//!  far ─────── client ── eth0 ═══ eth1 ── relay ── lan0 ═══ lan0 ── control ── symbol eth1
//!  (optional)                     port             segment
//! ```
//!
//! - [`Lab`] builds the namespaces and starts the daemons; [`address`] has every address that it uses.
//! - [`Netns`] is one namespace; dropping it kills all that runs inside. [`sweep`] is why a test that is killed leaves nothing.
//! - [`Mounts`] is a mount namespace, for what daemons mount.
//! - [`Process`] is a running program with its log; [`Daemon`] is one of ours with what `l2ctl` says about it.
//! - [`Lab::router`] is a lab whose pair routes between two ports; [`Ping`] counts what gets lost meanwhile.
//! - [`Joint`] is a lab with two relays that are one router.
//! - [`Farm`] is a lab with several controls, on which servers of one service run.
//! - [`Flood`] is a stranger who sends as many forged frames as it can; [`Recorder`] gives it genuine ones.
//! - [`program`] starts the real servers; [`Download`] watches a transfer for stalls.
//! - [`PrivateRoot`] is a file system in which packages are installed, and [`Service`] a daemon run by its unit file there.
//! - [`book`] is the documentation, whose commands and lists are tested.
//! - [`Needle`] is a secret in all its forms, to be looked for in what is said and, by [`memory_places`], in what is remembered.
//! - [`Terminal`] is a program in a pseudo-terminal, with keyboard and screen.
//! - [`chaos`] is a lab with a bad wire, and every fault that it must survive.
//! - [`eventually`] waits for something to become true, never by sleeping blindly.
//!
//! `L2LINK_FAST_PATH=require` has packets go by the kernel in all labs whose tests do not choose their path themselves.
//!
//! When a test fails the daemons' logs and tables are printed. `L2LINK_PAUSE=1` stops a failing test before it cleans up and
//! says how to enter its namespaces. Without root the tests say loudly that they are skipped.

pub mod address;
mod binary;
pub mod book;
pub mod chaos;
pub mod config;
mod daemon;
mod download;
mod farm;
mod farm_clients;
mod farm_relays;
mod flood;
pub mod joint;
mod key_pair;
mod lab;
mod mounts;
mod netns;
mod notifications;
mod path;
mod private_root;
mod process;
pub mod program;
mod router;
mod secrets;
mod service;
pub mod sweep;
mod terminal;
mod wait;

pub use binary::binary;
pub use daemon::Daemon;
pub use download::Download;
pub use farm::{Farm, Plan, name_of};
pub use farm_clients::{Downloads, Wanted, expect_shares};
pub use farm_relays::{client_end, relay_name, symbol_name};
pub use flood::{Flood, Recorder, Sort, mac_of};
pub use joint::Joint;
pub use key_pair::KeyPair;
pub use lab::{Lab, Layout, PSK};
pub use mounts::Mounts;
pub use netns::Netns;
pub use notifications::Notifications;
pub use path::has_fast_path;
pub use private_root::PrivateRoot;
pub use process::{Finished, Process};
pub use router::{Ping, words};
pub use secrets::{Needle, memory_places};
pub use service::{Service, Unit};
pub use terminal::Terminal;
pub use wait::{SOON, eventually, never};
