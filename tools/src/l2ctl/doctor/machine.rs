//! What the kernel and the installed programs offer.

use super::Finding;
use super::interfaces::sysctl;
use l2link_os::privileges::{self, Capability};
use l2link_os::sockets::SocketTable;
use l2link_os::{NetNs, SetupError, clock};
use nix::sys::statfs::{TRACEFS_MAGIC, statfs};
use std::fs::OpenOptions;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;

/// Looks at what a relay needs, a control, or both; and what symbols of kind `files` do.
pub(super) fn examine(relay: bool, control: bool, files: bool, findings: &mut Vec<Finding>) {
    findings.push(capabilities(control));
    if relay {
        findings.push(nftables());
        findings.push(forwarding());
    }
    if control {
        findings.push(device("tun", "/dev/net/tun", "modprobe tun"));
        findings.push(tracefs());
        findings.push(socket_tables());
    }
    if files {
        findings.push(device("fuse", "/dev/fuse", "modprobe fuse"));
    }
    findings.push(synchronization());
}

fn capabilities(control: bool) -> Finding {
    const TOPIC: &str = "privileges";
    let mut needed = vec![Capability::NetAdmin, Capability::NetRaw];
    if control {
        needed.push(Capability::SysAdmin);
    }
    match privileges::require(&needed) {
        Ok(()) => {
            let names: Vec<_> = needed.iter().map(|capability| capability.name()).collect();
            Finding::ok(TOPIC, format!("this process has {}", names.join(", ")))
        }
        Err(error) => Finding::note(
            TOPIC,
            format!("{error}"),
            "`sudo l2ctl doctor` sees what the daemons would; without it some findings may be of this user's only",
        ),
    }
}

/// The relay's kernel must be kept from answering for controls.
fn nftables() -> Finding {
    const TOPIC: &str = "nftables";
    match Command::new("nft").args(["list", "tables"]).output() {
        Ok(output) if output.status.success() => Finding::ok(TOPIC, "nft runs and the kernel has nftables"),
        Ok(output) => Finding::wrong(
            TOPIC,
            format!("`nft list tables`: {}", String::from_utf8_lossy(&output.stderr).trim()),
            "run as root; `modprobe nf_tables`, or a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET",
        ),
        Err(error) => {
            Finding::wrong(TOPIC, SetupError::NoNft { source: error }.to_string(), "`apt install nftables`")
        }
    }
}

fn forwarding() -> Finding {
    const TOPIC: &str = "forwarding";
    let (v4, v6) = (sysctl("ipv4/ip_forward"), sysctl("ipv6/conf/all/forwarding"));
    let word = |on: u32| if on == 0 { "off" } else { "on" };
    // The daemon switches it on where it needs it, and back.
    Finding::ok(
        TOPIC,
        format!("IPv4 {}, IPv6 {}; l2relay switches it on if a port allows routes", word(v4), word(v6)),
    )
}

/// A device of the kernel that has to be there.
fn device(topic: &'static str, path: &str, load: &str) -> Finding {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) if !file.metadata().is_ok_and(|file| file.file_type().is_char_device()) => Finding::wrong(
            topic,
            format!("{path} is no device"),
            format!("remove it, and `{load}`; for a container, pass it the device"),
        ),
        Ok(_) => Finding::ok(topic, format!("{path} can be opened")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::wrong(
            topic,
            format!("{path} is missing"),
            format!("`{load}`; for a container, pass it the device"),
        ),
        Err(error) => Finding::wrong(
            topic,
            format!("{path} cannot be opened: {error}"),
            format!("run as root; for a container, allow it the device (of docker: `--device {path}`)"),
        ),
    }
}

/// What makes new sockets known within a millisecond.
fn tracefs() -> Finding {
    const TOPIC: &str = "detection";
    const PLACE: &str = "/sys/kernel/tracing";
    let slow = "new sockets are found by polling, in up to 250 ms";
    let place = Path::new(PLACE);
    let mounted = statfs(place).is_ok_and(|found| found.filesystem_type() == TRACEFS_MAGIC);
    if !mounted {
        return Finding::note(
            TOPIC,
            format!("no tracefs is mounted at {PLACE}; l2control mounts it if it may, else {slow}"),
            format!("`mount -t tracefs tracefs {PLACE}`"),
        );
    }
    let event = |name: &str| place.join("events").join(name).join("enable");
    if let Err(error) = OpenOptions::new().write(true).open(event("sock/inet_sock_set_state")) {
        return Finding::note(
            TOPIC,
            format!("the tracepoint of socket states cannot be used ({error}): {slow}"),
            "run as root; or a kernel with CONFIG_EVENT_TRACING; lockdown=confidentiality forbids it",
        );
    }
    if !event("syscalls/sys_exit_bind").exists() {
        return Finding::note(
            TOPIC,
            format!(
                "this kernel does not trace system calls: UDP, raw and packet sockets are found by polling ({slow})"
            ),
            "a kernel with CONFIG_FTRACE_SYSCALLS",
        );
    }
    Finding::ok(TOPIC, "tracefs can tell of new sockets at once")
}

/// The truth about sockets.
fn socket_tables() -> Finding {
    const TOPIC: &str = "socket tables";
    let looked = NetNs::current().and_then(|netns| SocketTable::open(&netns));
    let dumped = looked.and_then(|mut table| {
        table.dump_listeners().map_err(|error| SetupError::system("listing the sockets", error))
    });
    match dumped {
        Ok(sockets) => {
            Finding::ok(TOPIC, format!("the kernel lists its sockets: {} are open here", sockets.len()))
        }
        Err(error) => Finding::wrong(
            TOPIC,
            error.to_string(),
            "`modprobe -a inet_diag tcp_diag udp_diag af_packet_diag`, or a kernel with CONFIG_INET_DIAG and CONFIG_PACKET_DIAG",
        ),
    }
}

/// Nothing depends on it but the times in the log.
fn synchronization() -> Finding {
    const TOPIC: &str = "clock";
    if clock::is_synchronized() {
        return Finding::ok(TOPIC, "the clock is synchronized");
    }
    Finding::note(
        TOPIC,
        "the clock is not synchronized: links, rules and routes do not depend on it, but the times in logs do",
        "`timedatectl set-ntp true`, or install chrony",
    )
}
