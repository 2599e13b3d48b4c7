//! dhclient of ISC.

use crate::netns::Netns;
use crate::process::Process;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Puts the address on the interface, and touches nothing of the host.
const SCRIPT: &str = r#"#!/bin/sh
case $reason in
    PREINIT) ip link set "$interface" up ;;
    BOUND | RENEW | REBIND) ip addr replace "$new_ip_address/24" dev "$interface" ;;
    BOUND6 | RENEW6) ip addr replace "$new_ip6_address/128" dev "$interface" ;;
esac
echo "$reason $new_ip_address$new_ip6_address"
"#;

/// Starts it on an interface; `version` is `-4` or `-6`. It prints `BOUND` or `BOUND6` with its address.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn dhclient(netns: &Netns, folder: &Path, interface: &str, version: &str) -> Process {
    let file = |name: &str| folder.join(format!("dhclient{version}-{}.{name}", netns.name()));
    let script = file("script");
    fs::write(&script, SCRIPT).expect("write a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("set permissions");
    fs::write(file("conf"), "").expect("write dhclient.conf");
    netns.spawn(&format!(
        "dhclient {version} -d -v -cf {} -sf {} -lf {} -pf {} {interface}",
        file("conf").display(),
        script.display(),
        file("leases").display(),
        file("pid").display()
    ))
}
