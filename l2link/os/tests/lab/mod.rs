//! Network namespaces for tests.
//!
//! They have no name: each lives as long as a descriptor of this process refers to it, so nothing is left over even
//! after `kill -9`.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use l2link_os::NetNs;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A new namespace with the loopback up and without duplicate address detection; `None`, said loudly, without root.
pub(crate) fn namespace() -> Option<NetNs> {
    let made = thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok::<_, nix::Error>(NetNs::current().unwrap())
    });
    match made.join().unwrap() {
        Ok(netns) => {
            ip(&netns, "link set lo up");
            write_sysctl(&netns, "net/ipv6/conf/default/accept_dad", "0");
            write_sysctl(&netns, "net/ipv6/conf/default/router_solicitations", "0");
            Some(netns)
        }
        Err(error) => {
            let name = thread::current().name().unwrap_or("a test").to_owned();
            // Past the capture of the test harness.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {name}: cannot make a network namespace ({error}); run as root"
            );
            None
        }
    }
}

/// A cable: `a_name` in `a` and `b_name` in `b`, both up.
pub(crate) fn cable(a: &NetNs, a_name: &str, b: &NetNs, b_name: &str) {
    let other = path(b);
    ip(a, &format!("link add {a_name} type veth peer name {b_name} netns {other}"));
    ip(a, &format!("link set {a_name} up"));
    ip(b, &format!("link set {b_name} up"));
}

/// Runs `ip ARGUMENTS` in the namespace.
pub(crate) fn ip(netns: &NetNs, arguments: &str) -> String {
    shell(netns, &format!("ip {arguments}"))
}

/// Runs a shell command in the namespace and returns what it prints.
pub(crate) fn shell(netns: &NetNs, command: &str) -> String {
    let output = netns.run(|| Command::new("sh").args(["-c", command]).output()).unwrap().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Reads a file, with the thread in the namespace: most of `/proc/net` and `/proc/sys/net` depends on it.
pub(crate) fn read(netns: &NetNs, path: &str) -> String {
    netns
        .run(|| std::fs::read_to_string(path.replace("/proc/net", "/proc/thread-self/net")))
        .unwrap()
        .unwrap()
}

pub(crate) fn write_sysctl(netns: &NetNs, path: &str, value: &str) {
    netns.run(|| std::fs::write(format!("/proc/sys/{path}"), value)).unwrap().unwrap();
}

/// Asks until there is an answer, for at most five seconds.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within five seconds: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Long enough that what had to arrive has arrived; for tests that something does not.
pub(crate) fn settle() {
    thread::sleep(Duration::from_millis(100));
}

/// A path by which other processes reach the namespace, as long as this one lives.
pub(crate) fn path(netns: &NetNs) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}
