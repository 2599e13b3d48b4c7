//! Real programs, started as their manuals say.

mod bird;
mod crowd;
mod dhclient;
mod dnsmasq;
mod echo;
mod frr;
mod keepalived;
mod lldpd;
mod nginx;
mod packet;
mod prometheus;
mod radvd;
mod sshd;
mod talk;
mod wrk;

pub use bird::Bird;
pub use crowd::{Prober, Probes, UdpFlows, named_server, spread};
pub use dhclient::dhclient;
pub use dnsmasq::{dhcp_server, dnsmasq};
pub use echo::{echo, echo_server};
pub use frr::Frr;
pub use keepalived::{Keepalived, Vrrp};
pub use lldpd::Lldpd;
pub use nginx::{Nginx, PAGE, SLOW, is_slow};
pub use packet::{packet_receiver, raw_receiver, send_packet, send_raw};
pub use prometheus::Prometheus;
pub use radvd::radvd;
pub use sshd::Sshd;
pub use talk::Talk;
pub use wrk::{Load, Wrk};
