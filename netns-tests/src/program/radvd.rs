//! radvd.

use crate::netns::Netns;
use crate::process::Process;
use std::fs;
use std::path::Path;

/// Starts it on an interface, to announce a prefix and this router to whoever asks and every few seconds.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn radvd(netns: &Netns, folder: &Path, interface: &str, prefix: &str) -> Process {
    let (config, pid) = (folder.join("radvd.conf"), folder.join("radvd.pid"));
    let text = format!(
        "interface {interface} {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
         prefix {prefix} {{ AdvOnLink on; AdvAutonomous on; }}; }};\n"
    );
    fs::write(&config, text).expect("write radvd.conf");
    // As radvd wants it of a router.
    netns.sysctl("net.ipv6.conf.all.forwarding=1");
    netns.spawn(&format!("radvd -n -m stderr -C {} -p {}", config.display(), pid.display()))
}
