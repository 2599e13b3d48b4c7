//! [`Discard`]: keeps the relay's kernel from answering for what belongs to controls.
//!
//! # Theory of operation
//!
//! A packet socket gets a copy; the packet itself goes on into the relay's kernel, which knows nothing of the program
//! on the control and would answer with a TCP reset or an ICMP error. So one nftables table, `inet l2relay`, discards
//! at prerouting what is addressed to the relay and came in by a port. Priority *raw* is before connection tracking,
//! which therefore never sees it, and which nothing here turns on. Packet sockets come before prerouting and see it.
//!
//! Spared, in this order:
//!
//! 1. Transit: only destinations that are the relay's own (`fib daddr type local`, or an anycast address) count.
//! 2. ICMP, ICMPv6 and IGMP: ping, neighbor discovery and group membership stay with the relay's kernel.
//! 3. Answers to the relay's DHCP clients (UDP 68 and 546), which come before there is any address.
//! 4. `relay_services`, as far as the kernel has a part in them: packet sockets need no sparing, and `ip/*` means the
//!    protocols without ports.
//! 5. What belongs to a connection that the relay itself began. `socket` finds the socket that would get the packet.
//!    A SYN without ACK always is for a listener, and a socket bound to the wildcard address is not connected: these
//!    are discarded. Any other socket found is a connected one, or what is left of one (TIME-WAIT, and FIN-WAIT-2
//!    after close(2), of which the kernel has no bound address to show, so that `wildcard 0` would not match).
//!
//! At a port of [`Spared::Sockets`] (`unmatched = "kernel"`) step 5 spares what any socket of the relay would get,
//! listeners included, and so are the protocols without ports. What is for no socket is discarded there too: it may be a
//! control's, and a kernel that answered it with a reset would end the control's connection.
//!
//! Only the first fragment of a packet has ports. Later ones are spared if the first one was, for the 30 s that the
//! kernel waits for them; so packets of controls do not fill the relay's reassembly memory.
//!
//! A second chain has nothing to do with that. What came from another relay by the interface that leads to it, and would leave
//! by such an interface, is a loop that nothing would end, as from relay to relay no hop is counted. It is marked by a hop
//! limit of zero, which no packet has that is forwarded, for the daemon to drop and to count.
//!
//! Limits. At a port of [`Spared::Sockets`] the relay must not listen where a control does: both would answer. A UDP socket of the relay that is bound to one address without being connected looks like a connected one:
//! its port gets its packets, as if it stood in `relay_services`. Connections of the relay itself over other protocols
//! than TCP and UDP (SCTP, tunnels) need an entry there.

use crate::{NetNs, SetupError};
use l2link::service::{Service, ServiceSet};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What is discarded at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDiscard {
    /// The port's interface.
    pub interface: String,
    /// What stays with the relay's kernel.
    pub relay_services: ServiceSet,
    /// What stays with it besides.
    pub spared: Spared,
}

/// What of the relay's own stays with its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// Connections that the relay began.
    Connections,
    /// Those, what its programs listen for, and the IP protocols without ports.
    Sockets,
}

/// The table `inet l2relay`. It is removed when this is dropped.
#[derive(Debug)]
pub struct Discard {
    netns: NetNs,
    installed: bool,
}

impl Discard {
    /// Puts in the table, or replaces the one that is there (of this process or of one that crashed), in one
    /// transaction.
    ///
    /// # Errors
    /// [`SetupError::NoNft`], [`SetupError::Nft`], [`SetupError::Capability`].
    pub fn install(netns: &NetNs, ports: &[PortDiscard]) -> Result<Self, SetupError> {
        run(netns, &rules(ports)?)?;
        Ok(Self { netns: netns.clone(), installed: true })
    }

    /// Replaces the table's rules in one transaction.
    ///
    /// # Errors
    /// As [`Discard::install`], with the old rules still in force.
    pub fn replace(&mut self, ports: &[PortDiscard]) -> Result<(), SetupError> {
        run(&self.netns, &rules(ports)?)
    }

    /// Removes the table.
    ///
    /// # Errors
    /// As [`Discard::install`].
    pub fn remove(mut self) -> Result<(), SetupError> {
        self.installed = false;
        run(&self.netns, REMOVE)
    }

    /// Leaves the table for a successor.
    pub fn leave(mut self) {
        self.installed = false;
    }

    /// Removes a table that a crash left behind, if there is one.
    ///
    /// # Errors
    /// As [`Discard::install`].
    pub fn sweep(netns: &NetNs) -> Result<(), SetupError> {
        run(netns, REMOVE)
    }
}

impl Drop for Discard {
    fn drop(&mut self) {
        if self.installed
            && let Err(error) = run(&self.netns, REMOVE)
        {
            log::error!("cannot remove the nftables table inet l2relay: {error}");
        }
    }
}

/// The whole transaction. Adding a table that exists is no error, so deleting one never is either.
fn rules(ports: &[PortDiscard]) -> Result<String, SetupError> {
    let mut text = format!("{REMOVE}table inet l2relay {{\n{COMMON}\tchain prerouting {{\n\t\t{HOOK}\n");
    for (index, port) in ports.iter().enumerate() {
        let interface = quoted(&port.interface)?;
        let _ =
            writeln!(text, "\t\tiifname {interface} fib daddr type {{ local, anycast }} goto port_{index}");
    }
    text.push_str("\t}\n");
    for (index, port) in ports.iter().enumerate() {
        let _ = write!(text, "\tchain port_{index} {{\n{BEFORE_SERVICES}");
        services(&port.relay_services, &mut text);
        text.push_str(match port.spared {
            Spared::Connections => "\t\tjump connected\n",
            Spared::Sockets => SPARE_SOCKETS,
        });
        let _ = writeln!(text, "\t\tcounter drop comment {}\n\t}}", quoted(&port.interface)?);
    }
    text.push_str(NO_LOOPS);
    text.push_str("}\n");
    Ok(text)
}

/// One rule per item, the exceptions first.
fn services(set: &ServiceSet, text: &mut String) {
    for (items, verdict) in [(set.exceptions(), "goto unspared"), (set.items(), "goto spared")] {
        for item in items {
            let _ = match item {
                Service::Everything => writeln!(text, "\t\t{verdict}"),
                Service::Ports { protocol, ports } => writeln!(
                    text,
                    "\t\tmeta l4proto {protocol} th dport {}-{} {verdict}",
                    ports.start(),
                    ports.end()
                ),
                Service::Ip(None) => writeln!(text, "\t\tmeta l4proto != {PROTOCOLS_WITH_PORTS} {verdict}"),
                Service::Ip(Some(protocol)) => writeln!(
                    text,
                    "\t\tmeta l4proto {protocol} meta l4proto != {PROTOCOLS_WITH_PORTS} {verdict}"
                ),
                Service::EtherType(_) => Ok(()),
            };
        }
    }
}

/// Whether nft takes the name of an interface as it is: in quotes nothing can be escaped, and a star at the end would stand for any
/// ending.
#[must_use]
pub fn takes(interface: &str) -> bool {
    let plain = |letter: char| !letter.is_control() && !letter.is_whitespace() && !"\"*\\".contains(letter);
    !interface.is_empty() && interface.len() < libc::IFNAMSIZ && interface.chars().all(plain)
}

/// The name as nft takes it.
fn quoted(interface: &str) -> Result<String, SetupError> {
    if !takes(interface) {
        return Err(SetupError::InterfaceName(interface.to_owned()));
    }
    Ok(format!("\"{interface}\""))
}

/// Gives `text` to nft in the namespace.
fn run(netns: &NetNs, text: &str) -> Result<(), SetupError> {
    let output = netns
        .run(|| start(text).and_then(|child| finish(child, PATIENCE)))
        .map_err(|source| {
            SetupError::capable("entering the network namespace for nft", "CAP_SYS_ADMIN", source)
        })?
        .map_err(|source| SetupError::NoNft { source })?;
    let Some(output) = output else {
        let message =
            format!("nft did not end within {PATIENCE:?} and was stopped; does `nft list ruleset` end?");
        return Err(SetupError::Nft { message });
    };
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if message.contains("Operation not permitted") {
        let action = "changing the nftables table inet l2relay".to_owned();
        return Err(SetupError::Capability { action, capability: "CAP_NET_ADMIN" });
    }
    Err(SetupError::Nft { message })
}

/// Starts nft on `text`, which waits for it in memory: writing into a pipe would wait for nft.
fn start(text: &str) -> io::Result<Child> {
    let mut input = File::from(memfd_create(c"l2relay.nft", MFdFlags::MFD_CLOEXEC)?);
    input.write_all(text.as_bytes())?;
    let spawn = |program: &str| {
        (&input).rewind()?;
        let mut command = Command::new(program);
        command
            .args(["-f", "-"])
            .stdin(input.try_clone()?)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    // Not every user's PATH has the system's programs in it.
    spawn("nft").or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => spawn("/usr/sbin/nft"),
        _ => Err(error),
    })
}

/// Waits for the end of a program and what it wrote to standard error; `None` if it had to be stopped.
fn finish(mut child: Child, patience: Duration) -> io::Result<Option<Output>> {
    let deadline = Instant::now() + patience;
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => {
                    child.kill()?;
                    child.wait()?;
                    return Ok(None);
                }
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut piece = [0; 4096];
            match stderr.read(&mut piece)? {
                0 => break,
                count => said.extend_from_slice(&piece[..count]),
            }
        }
    }
    // It has closed its end, as it does when it exits.
    let status = child.wait()?;
    Ok(Some(Output { status, stdout: Vec::new(), stderr: said }))
}

/// Most time for nft, which takes some 10 ms: the kernel's lock on its tables may be held by another one for a while.
const PATIENCE: Duration = Duration::from_secs(5);

const REMOVE: &str = "add table inet l2relay\ndelete table inet l2relay\n";

const HOOK: &str = "type filter hook prerouting priority raw; policy accept;";

const NO_LOOPS: &str = "\
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname \"l2to*\" oifname \"l2to*\" meta nfproto ipv4 ip ttl set 0
\t\tiifname \"l2to*\" oifname \"l2to*\" meta nfproto ipv6 ip6 hoplimit set 0
\t}
";

const BEFORE_SERVICES: &str = "\
\t\tmeta l4proto { icmp, icmpv6, igmp } accept
\t\tip frag-off & 0x1fff != 0 goto later_v4
\t\tfrag frag-off != 0 goto later_v6
\t\tudp dport { 68, 546 } goto spared
";

/// For a port of [`Spared::Sockets`].
const SPARE_SOCKETS: &str = "\
\t\tsocket transparent { 0, 1 } goto spared
\t\tmeta l4proto != { 6, 17, 33, 132, 136 } goto spared
";

/// What the chains of all ports share.
const COMMON: &str = "\
\tset first_v4 {
\t\ttypeof ip saddr . ip daddr . ip id
\t\tflags dynamic,timeout; timeout 30s; size 4096
\t}
\tset first_v6 {
\t\ttypeof ip6 saddr . ip6 daddr . frag id
\t\tflags dynamic,timeout; timeout 30s; size 4096
\t}
\tchain spared {
\t\tip frag-off & 0x2000 != 0 update @first_v4 { ip saddr . ip daddr . ip id }
\t\tfrag more-fragments 1 update @first_v6 { ip6 saddr . ip6 daddr . frag id }
\t\taccept
\t}
\tchain unspared {
\t\tjump connected
\t\tcounter drop
\t}
\tchain connected {
\t\ttcp flags & (syn | ack) == syn return
\t\tsocket wildcard 1 return
\t\tsocket transparent { 0, 1 } goto spared
\t}
\tchain later_v4 {
\t\tip saddr . ip daddr . ip id @first_v4 accept
\t\tcounter drop
\t}
\tchain later_v6 {
\t\tip6 saddr . ip6 daddr . frag id @first_v6 accept
\t\tcounter drop
\t}
";

/// TCP, UDP, DCCP, SCTP, UDP-Lite: a raw socket of these gets copies only, the packet is a matter of its port.
const PROTOCOLS_WITH_PORTS: &str = "{ 6, 17, 33, 132, 136 }";

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], "")]
    #[case(&["tcp/22"], "\t\tmeta l4proto 6 th dport 22-22 goto spared\n")]
    #[case(&["udp/*"], "\t\tmeta l4proto 17 th dport 0-65535 goto spared\n")]
    #[case(&["ip/89"], "\t\tmeta l4proto 89 meta l4proto != { 6, 17, 33, 132, 136 } goto spared\n")]
    #[case(&["ip/*"], "\t\tmeta l4proto != { 6, 17, 33, 132, 136 } goto spared\n")]
    #[case(&["ethertype/0x88cc"], "")]
    #[case(&["*"], "\t\tgoto spared\n")]
    fn rules_of_services(#[case] items: &[&str], #[case] expected: &str) {
        let mut text = String::new();
        services(&ServiceSet::parse(items).unwrap(), &mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let program = |line: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            shell.spawn().unwrap()
        };
        let begin = Instant::now();
        assert!(finish(program("exec sleep 60"), Duration::from_millis(50)).unwrap().is_none());
        assert!(begin.elapsed() < Duration::from_secs(30));
        let output = finish(program("echo said >&2; exit 3"), Duration::from_secs(30)).unwrap().unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(3), &b"said\n"[..]));
    }

    #[test]
    fn exceptions_come_before_what_they_are_taken_from() {
        let set = ServiceSet::all().without(&ServiceSet::parse(&["tcp/80"]).unwrap());
        let mut text = String::new();
        services(&set, &mut text);
        assert_eq!(text, "\t\tmeta l4proto 6 th dport 80-80 goto unspared\n\t\tgoto spared\n");
    }

    #[rstest]
    #[case("eth1", true)]
    #[case("enp3s0.100@x", true)]
    #[case("außen0", true)]
    #[case("eth*", false)]
    #[case("e\" drop", false)]
    #[case("", false)]
    #[case("a-name-too-long0", false)]
    fn names_that_nft_takes_literally(#[case] interface: &str, #[case] taken: bool) {
        assert_eq!(quoted(interface).is_ok(), taken);
    }
}
