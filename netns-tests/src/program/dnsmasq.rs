//! dnsmasq.

use crate::netns::Netns;
use crate::process::Process;
use std::fs;
use std::path::Path;

/// Starts a DNS server for the name `l2.test` on port 53, by UDP and by TCP, v4 and v6.
#[must_use]
pub fn dnsmasq(netns: &Netns) -> Process {
    netns.spawn(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
         --log-facility=- --address=/l2.test/198.51.100.7 --address=/l2.test/2001:db8::7",
    )
}

/// Starts a DHCP server on an interface. `ranges` are arguments of `--dhcp-range`; with one of IPv6 it sends router
/// advertisements as well.
///
/// # Panics
/// When its lease file cannot be made.
#[must_use]
pub fn dhcp_server(netns: &Netns, folder: &Path, interface: &str, ranges: &[&str]) -> Process {
    let leases = folder.join(format!("dnsmasq-{}.leases", netns.name()));
    fs::write(&leases, "").expect("make a lease file");
    let ranges: String = ranges.iter().map(|range| format!(" --dhcp-range={range}")).collect();
    netns.spawn(&format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file= --log-facility=- --log-dhcp \
         --no-ping --dhcp-authoritative --interface={interface} --enable-ra --ra-param={interface},2,60 \
         --dhcp-leasefile={}{ranges}",
        leases.display()
    ))
}
