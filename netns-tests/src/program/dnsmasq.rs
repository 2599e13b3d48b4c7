//! dnsmasq.

use crate::netns::Netns;
use crate::process::Process;

/// Starts a DNS server for the name `l2.test` on port 53, by UDP and by TCP, v4 and v6.
#[must_use]
pub fn dnsmasq(netns: &Netns) -> Process {
    netns.spawn(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
         --log-facility=- --address=/l2.test/198.51.100.7 --address=/l2.test/2001:db8::7",
    )
}
