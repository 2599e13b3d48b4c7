//! Real programs, started as their manuals say.

mod dnsmasq;
mod echo;
mod nginx;
mod sshd;

pub use dnsmasq::dnsmasq;
pub use echo::{echo, echo_server};
pub use nginx::{Nginx, PAGE};
pub use sshd::Sshd;
