//! What the tests of sockets stand on: a network namespace of one thread, and sockets of every kind.
#![allow(dead_code, reason = "every test binary uses a part")]

use l2link_os::NetNs;
use l2link_os::sockets::{Socket, SocketKind};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Runs a test in a thread that has a network namespace of its own, with nothing in it but `lo`. The namespace goes
/// with the thread. Without the right to make one the test is skipped, loudly.
pub(crate) fn in_namespace(test: impl FnOnce(&NetNs) + Send + 'static) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return skipped(&format!("a network namespace cannot be made ({error}): run the tests as root"));
        }
        ip("link set lo up");
        test(&NetNs::current().expect("namespace"));
    });
    let thread = thread.expect("thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says that a test, or a part of one, does not run here; not by a macro of the standard library, whose text is hidden
/// when the test passes.
pub(crate) fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a part of a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// Runs `ip` in the thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// A program that is killed with SIGKILL at the latest when the test ends.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> std::io::Result<Self> {
        Command::new(program).args(arguments).spawn().map(Self)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A TCP listener.
pub(crate) fn listener(address: &str) -> socket2::Socket {
    let socket = bound(Type::STREAM, None, address);
    socket.listen(16).expect("listen");
    socket
}

/// A bound UDP socket.
pub(crate) fn udp(address: &str) -> socket2::Socket {
    bound(Type::DGRAM, None, address)
}

/// A bound socket. `[::]` is dual-stack, as programs commonly have it.
pub(crate) fn bound(kind: Type, protocol: Option<Protocol>, address: &str) -> socket2::Socket {
    let address: SocketAddr = address.parse().expect("address");
    let socket = socket2::Socket::new(Domain::for_address(address), kind, protocol).expect("socket");
    if address.is_ipv6() {
        socket.set_only_v6(false).expect("IPV6_V6ONLY");
    }
    socket.bind(&SockAddr::from(address)).expect("bind");
    socket
}

/// A raw socket.
pub(crate) fn raw(domain: Domain, protocol: i32) -> socket2::Socket {
    socket2::Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).expect("raw socket")
}

/// A packet socket for an EtherType; zero for one that only sends.
pub(crate) fn packet(ethertype: u16) -> socket2::Socket {
    socket2::Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ethertype.to_be()))))
        .expect("packet socket")
}

/// Kind and `Display` form of what each socket receives, sorted.
pub(crate) fn shown(sockets: &[Socket]) -> Vec<String> {
    let mut shown: Vec<_> = sockets
        .iter()
        .map(|socket| socket.listens_for().map_or("nothing".into(), |what| what.to_string()))
        .collect();
    shown.sort_unstable();
    shown
}

/// The sockets of one kind.
pub(crate) fn of_kind(sockets: &[Socket], kind: SocketKind) -> Vec<Socket> {
    sockets.iter().filter(|socket| socket.kind == kind).cloned().collect()
}

/// Repeats `look` until it finds something; fails after ten seconds.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The median of some durations, in µs.
pub(crate) fn median(mut durations: Vec<Duration>) -> u128 {
    durations.sort_unstable();
    durations.get(durations.len() / 2).map_or(0, Duration::as_micros)
}
