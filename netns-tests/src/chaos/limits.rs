//! Faults of what the system gives: descriptors, memory, room for the log.

use super::daemons::{CONTROL1, RELAY};
use super::segment::plan;
use super::{Chaos, Fault, many};
use crate::{Daemon, Finished, SOON, binary, eventually};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

pub(crate) const FAULTS: &[Fault] = &[
    Fault { bounded: true, strike: descriptors, ..Fault::named("out of descriptors") },
    Fault {
        twice: true,
        ready: limit_memory,
        strike: much,
        undo: unlimit_memory,
        ..Fault::named("memory limit in a storm, routes and sockets")
    },
    Fault {
        bounded: true,
        ready: |chaos| restart(chaos, |_, daemon| daemon.start_logging_to(Path::new("/dev/full"))),
        strike: |chaos, _| say_much(chaos),
        undo: |chaos| restart(chaos, |_, daemon| daemon.start()),
        ..Fault::named("no room for the log")
    },
    Fault {
        ready: |chaos| restart(chaos, |name, daemon| daemon.start_logging_to(&pipe(name, daemon))),
        strike: unread_log,
        undo: |chaos| restart(chaos, |_, daemon| daemon.start()),
        ..Fault::named("nobody reads the log")
    },
];

/// No daemon may open anything any more, while sockets and ports come and go and `l2ctl` asks.
fn descriptors(chaos: &mut Chaos, long: bool) {
    let limits = chaos.daemons().map(|(_, daemon)| {
        let pid = daemon.process().pid();
        (pid, soft_limit(pid, "Max open files"))
    });
    for (pid, _) in &limits {
        set_limit(*pid, "nofile", "3");
    }
    for _ in 0..if long { 20 } else { 4 } {
        // It is answered, or refused; what must not happen is that the daemon dies of it.
        for (_, daemon) in chaos.daemons() {
            let mut command = Command::new("timeout");
            command.arg("0.2").arg(binary("l2ctl")).arg("--socket").arg(daemon.socket());
            let _ = Finished::new(command.args(["show", "peers"]));
        }
        let _ = chaos.lab.programs().run("timeout 0.1 socat TCP-LISTEN:7777 -");
        chaos.lab.relay_ns.ip(&["link set eth2 promisc on", "link set eth2 promisc off"]);
        chaos.lab.relay_ns.ip(&["link add spare type veth peer name erasp", "link del spare"]);
    }
    for (pid, before) in limits {
        set_limit(pid, "nofile", &before);
    }
}

/// Bytes that each daemon may have more than it has.
const MORE: u64 = 48 << 20;

fn limit_memory(chaos: &mut Chaos) {
    for (_, daemon) in chaos.daemons() {
        let pid = daemon.process().pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the state of a process");
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("its size");
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
        set_limit(pid, "as", &((kib << 10) + MORE).to_string());
    }
}

fn unlimit_memory(chaos: &mut Chaos) {
    for (_, daemon) in chaos.daemons() {
        set_limit(daemon.process().pid(), "as", "unlimited");
    }
}

fn much(chaos: &mut Chaos, long: bool) {
    plan(chaos, false, |plan| plan.storm = 50_000);
    chaos.wire.heal();
    many::routes(chaos, long);
    many::sockets(chaos, long);
}

fn soft_limit(pid: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the limits of a process");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
    line.split_whitespace().next().expect("the soft limit").to_owned()
}

fn set_limit(pid: u32, name: &str, soft: &str) {
    let mut command = Command::new("prlimit");
    command.arg("--pid").arg(pid.to_string()).arg(format!("--{name}={soft}:"));
    let _ = Finished::new(&mut command).expect_success();
}

/// Starts the hurt pair's daemons anew in some way.
fn restart(chaos: &mut Chaos, start: impl Fn(&str, &mut Daemon)) {
    for which in [RELAY, CONTROL1] {
        let (name, daemon) = &mut chaos.daemons()[which];
        daemon.kill_9();
        start(name, daemon);
    }
}

/// Both daemons log every packet, and what begins and ends.
fn say_much(chaos: &mut Chaos) {
    let _ = chaos.lab.programs().run("timeout 0.5 socat TCP-LISTEN:7777 -");
    chaos.wire_ns.ip(&["link set w0 down"]);
    sleep(Duration::from_secs(1));
    chaos.wire_ns.ip(&["link set w0 up"]);
    chaos.await_whole();
}

/// A pipe in a daemon's folder.
fn pipe(name: &str, daemon: &Daemon) -> PathBuf {
    let path = daemon.folder().join(format!("{name}.pipe"));
    if !path.exists() {
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("make a pipe");
    }
    path
}

/// The pipes are full before anything is said, and read in the end.
fn unread_log(chaos: &mut Chaos, _: bool) {
    let pipes = [RELAY, CONTROL1].map(|which| {
        let (name, daemon) = &chaos.daemons()[which];
        pipe(name, daemon)
    });
    let open = |path: &Path| {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(path).expect("open a pipe")
    };
    for path in &pipes {
        while open(path).write(&[b'.'; 4096]).is_ok() {}
    }
    say_much(chaos);
    for path in &pipes {
        let mut text = String::new();
        eventually(SOON, "the log says what is missing", || {
            let mut piece = vec![0; 1 << 20];
            // Nothing is there at the moment.
            let count = open(path).read(&mut piece).unwrap_or(0);
            text += &String::from_utf8_lossy(&piece[..count]);
            // It is said with the next record.
            let _ = chaos.lab.programs().run("timeout 0.1 socat TCP-LISTEN:7777 -");
            if text.contains(" records are lost") { Ok(()) } else { Err(format!("{} bytes", text.len())) }
        });
    }
}
