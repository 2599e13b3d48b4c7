//! Every system call that `l2relay` and `l2control` share, and the only crate with `unsafe`.
//!
//! Frames and packets: [`LinkSocket`] (the link's frames), [`PortSocket`] with its [`CaptureFilter`] (a relay's port),
//! [`Tap`] (a control's symbol), [`fuse`] (its files), [`IpSocket`] (what leaves by the machine's own routes), [`Sniffer`] (what
//! passes an interface); `coalescing` is for transfers, [`Damper`] for floods. The kernel's state: [`NetNs`], [`Netlink`], [`Monitor`], [`Sysctls`], [`Discard`], [`ReturnTables`],
//! [`Crossing`], [`OutputPath`].
//! What programs listen for: [`sockets`], and [`trigger`] for when to look. The daemon itself: [`config_file`], [`access`],
//! [`psk`], [`keylog`], [`record_file`], [`log_output`], [`api`], [`capture`], [`metrics`], [`keeper`], [`signals`], [`service_manager`], [`clock`],
//! [`seed`], [`privileges`], [`confine`], [`hidden`]. Whatever cannot be set up is a [`SetupError`].

pub mod access;
mod ahead;
pub mod api;
mod busy_poll;
pub mod capture;
pub mod capture_filter;
pub mod clock;
mod coalescing;
pub mod config_file;
pub mod confine;
mod conversations;
pub mod crossing;
mod damper;
pub mod discard_watch;
pub mod error;
pub mod ethtool;
pub mod fuse;
pub mod hidden;
pub mod interfaces;
pub mod ip_socket;
pub mod keeper;
pub mod keylog;
pub mod log_output;
pub mod metrics;
mod mmsg;
pub mod monitor;
pub mod netns;
pub mod nft;
mod offload;
pub mod output_path;
mod packet_socket;
pub mod port_socket;
pub mod privileges;
pub mod psk;
pub mod raw_socket;
pub mod record_file;
pub mod reload;
pub mod return_tables;
pub mod routes;
mod rtnetlink;
pub mod saved_sysctls;
pub mod seed;
pub mod service_manager;
pub mod signals;
pub mod sniffer;
mod socket_file;
pub mod sockets;
pub mod state_file;
pub mod sysctl;
pub mod tap;
pub mod trigger;
mod turn;

pub use busy_poll::BusyPoll;
pub use capture_filter::CaptureFilter;
pub use conversations::Conversations;
pub use crossing::Crossing;
pub use damper::Damper;
pub use discard_watch::DiscardWatch;
pub use error::SetupError;
pub use interfaces::{Dad, IfIndex, InterfaceAddress, LinkInfo, Netlink};
pub use ip_socket::{IpSocket, NotSent};
pub use keylog::KeyLog;
pub use mmsg::Sent;
pub use monitor::Monitor;
pub use netns::NetNs;
pub use nft::{Discard, PortDiscard, Spared};
pub use output_path::{NextHop, OutputPath};
pub use port_socket::PortSocket;
pub use raw_socket::LinkSocket;
pub use record_file::RecordFile;
pub use return_tables::{LastResort, ReturnPath, ReturnRoute, ReturnTables};
pub use saved_sysctls::SavedSysctls;
pub use service_manager::ServiceManager;
pub use sniffer::{Sniffed, Sniffer};
pub use state_file::StateFile;
pub use sysctl::Sysctls;
pub use tap::Tap;
pub use turn::Turn;
