//! What the machine tells: its kernel, its system, its journal. Asked by the programs that an operator would ask.

use super::archive::Archive;
use l2link_os::hidden;
use std::fs;
use std::io;
use std::process::Command;

/// Seconds that a program may take.
const PATIENCE: &str = "10";
/// Last lines of each daemon.
const LINES: &str = "2000";

/// The files of a namespace, and the commands that make them.
const KERNEL: [(&str, &[&str]); 10] = [
    ("interfaces.txt", &["ip", "-details", "-statistics", "link"]),
    ("addresses.txt", &["ip", "address"]),
    ("neighbors.txt", &["ip", "neighbor"]),
    ("rules.txt", &["ip", "rule"]),
    ("rules6.txt", &["ip", "-6", "rule"]),
    ("routes.txt", &["ip", "-details", "route", "show", "table", "all"]),
    ("routes6.txt", &["ip", "-6", "-details", "route", "show", "table", "all"]),
    ("nexthops.txt", &["ip", "-details", "nexthop"]),
    ("nftables.txt", &["nft", "list", "ruleset"]),
    ("sockets.txt", &["ss", "-anpe"]),
];

/// Settings of each interface that a daemon sets or depends on.
const SETTINGS: [&str; 15] = [
    "ipv4/conf/*/forwarding",
    "ipv4/conf/*/rp_filter",
    "ipv4/conf/*/accept_local",
    "ipv4/conf/*/arp_ignore",
    "ipv4/conf/*/arp_announce",
    "ipv4/conf/*/arp_filter",
    "ipv4/conf/*/accept_redirects",
    "ipv4/conf/*/ignore_routes_with_linkdown",
    "ipv4/ip_forward",
    "ipv4/nexthop_compat_mode",
    "ipv6/conf/*/forwarding",
    "ipv6/conf/*/accept_dad",
    "ipv6/conf/*/accept_ra",
    "ipv6/conf/*/disable_ipv6",
    "ipv6/conf/*/ignore_routes_with_linkdown",
];

/// The name of this machine, as far as it can be part of a file's name.
pub(super) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    if name.is_empty() { "machine".to_owned() } else { name }
}

/// Of l2ctl, the system, and the programs that daemons use.
pub(super) fn versions() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let system = read("/etc/os-release");
    let system =
        system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").to_owned();
    let program = |command: &[&str]| match ask(command) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => error,
    };
    format!(
        "l2ctl: {}\nsystem: {system}\nkernel: {}\nip: {}\nnft: {}\n",
        env!("CARGO_PKG_VERSION"),
        read("/proc/version").trim(),
        program(&["ip", "-V"]),
        program(&["nft", "--version"]),
    )
}

/// What the kernel has, in a namespace or in that of l2ctl.
pub(super) fn kernel(archive: &mut Archive, netns: Option<&str>) -> io::Result<()> {
    let folder = netns.map_or("kernel".to_owned(), |name| format!("kernel/netns/{name}"));
    let inside = |command: &[&str]| {
        let enter = netns.map_or(Vec::new(), |name| vec!["ip", "netns", "exec", name]);
        ask(&[&enter, command].concat())
    };
    for (file, command) in KERNEL {
        put(archive, &format!("{folder}/{file}"), inside(command))?;
    }
    let files: Vec<String> = SETTINGS.iter().map(|setting| format!("/proc/sys/net/{setting}")).collect();
    let grep = format!("grep -s . {}; true", files.join(" "));
    put(archive, &format!("{folder}/sysctls.txt"), inside(&["sh", "-c", &grep]))?;
    if netns.is_none() {
        put(archive, "kernel/namespaces.txt", ask(&["ip", "netns", "list"]))?;
    }
    Ok(())
}

/// What the daemons said last, as far as a journal has it.
pub(super) fn logs(archive: &mut Archive) -> io::Result<()> {
    for unit in ["l2relay", "l2control"] {
        let command = ["journalctl", "--no-pager", "--quiet", "--unit", unit, "--lines", LINES];
        // A configuration that was refused is in it with the line that was wrong.
        put(archive, &format!("log/{unit}.txt"), ask(&command).map(|text| hidden::of_file(&text)))?;
    }
    Ok(())
}

fn put(archive: &mut Archive, name: &str, told: Result<String, String>) -> io::Result<()> {
    match told {
        Ok(text) => archive.add(name, text.as_bytes()),
        Err(error) => {
            archive.note(name, &error);
            Ok(())
        }
    }
}

/// What a program prints; in words why it does not.
fn ask(command: &[&str]) -> Result<String, String> {
    let line = command.join(" ");
    // By its exit code 124 it tells that the time is over.
    let output = Command::new("timeout").arg(PATIENCE).args(command).output();
    let output = output.map_err(|error| format!("`{line}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = match output.status.code() {
        Some(124) => format!("did not end within {PATIENCE} s"),
        Some(127) => "is not installed".to_owned(),
        _ => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    };
    Err(format!("`{line}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_is_not_there_says_so() {
        assert_eq!(ask(&["echo", "a b"]).unwrap(), "a b\n");
        assert_eq!(ask(&["no-such-program"]).unwrap_err(), "`no-such-program`: is not installed");
        assert_eq!(ask(&["sh", "-c", "echo no >&2; exit 3"]).unwrap_err(), "`sh -c echo no >&2; exit 3`: no");
    }

    #[test]
    fn versions_are_known() {
        let text = versions();
        assert!(text.starts_with(&format!("l2ctl: {}\nsystem: ", env!("CARGO_PKG_VERSION"))), "{text}");
        assert!(text.contains("kernel: Linux version "), "{text}");
    }
}
