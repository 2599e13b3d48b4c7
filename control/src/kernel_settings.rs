//! Kernel settings of a symbol's interface: where the defaults of Linux do not fit an interface that stands for a port
//! of another machine. They belong to the interface and go with it.

use l2link_os::{NetNs, Sysctls};
use log::warn;
use std::fs;
use std::io;

/// Setting below `net/`, with `{}` for the interface's name, and its value.
///
/// | setting | why |
/// |---|---|
/// | `ipv6 accept_dad`, `dad_transmits` | the relay's port has probed the address already, and would answer the probe itself |
/// | `ipv6 autoconf` | addresses are the relay's; the prefix of a router advertisement must not add others (routes may) |
/// | `ipv4 accept_local` | several symbols of one namespace may stand on one LAN, and packets between them carry local sources |
/// | `ipv4 arp_ignore`, `arp_announce` | likewise: each symbol speaks for its own addresses only, as separate machines would |
/// | `ipv4 promote_secondaries` | an address that goes with the relay's must not take those of the same prefix along that programs put there |
/// | `ipv4`, `ipv6 ignore_routes_with_linkdown` | when a relay is lost, answers from an address that several relays have leave by one that is there; routing daemons want it, too |
/// | `ipv4 send_redirects` | the relay's kernel forwards; what the control says of routes would be about the wrong machine |
const SETTINGS: [(&str, &str); 10] = [
    ("ipv6/conf/{}/accept_dad", "0"),
    ("ipv6/conf/{}/dad_transmits", "0"),
    ("ipv6/conf/{}/autoconf", "0"),
    ("ipv4/conf/{}/accept_local", "1"),
    ("ipv4/conf/{}/arp_ignore", "1"),
    ("ipv4/conf/{}/arp_announce", "2"),
    ("ipv4/conf/{}/promote_secondaries", "1"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/ignore_routes_with_linkdown", "1"),
    ("ipv6/conf/{}/ignore_routes_with_linkdown", "1"),
];

/// Applies them. What the kernel does not have (IPv6 may be switched off) is left out.
pub(crate) fn apply(netns: &NetNs, interface: &str) {
    let mut sysctls = Sysctls::default();
    let rp_filter = (("ipv4/conf/{}/rp_filter"), reverse_path_filter(netns));
    for (path, value) in SETTINGS.into_iter().chain([rp_filter]) {
        // A dot in an interface name is a dot in the path too: this is the file, not the dotted name of sysctl(8).
        let path = format!("net/{}", path.replace("{}", interface));
        match sysctls.set(netns, &path, value) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(target: "control::symbol", "symbol {interface}: setting {path}: {error}"),
        }
    }
    sysctls.forget();
}

/// Which source addresses are right is for the relay to judge, with its own routes: strict filtering here would drop what
/// came by an asymmetric route. The kernel takes the larger of this value and that for all interfaces, so where filtering
/// is on for all, *loose* (2) is the way out of *strict* (1).
fn reverse_path_filter(netns: &NetNs) -> &'static str {
    let all = netns.run(|| fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter"));
    match all {
        Ok(Ok(value)) if value.trim() != "0" => "2",
        Ok(_) | Err(_) => "0",
    }
}
