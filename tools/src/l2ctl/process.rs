//! The sockets of a process, for `trace pid` and `trace program`.
//!
//! # Theory of operation
//! What a process holds stands in `/proc/PID/fd`; what each socket is, it tells itself ([`HeldSocket`]): both are this program's
//! work, as the daemon may not look into processes. What comes of a socket is the daemon's knowledge, which is asked by the numbers
//! of socket and namespace. Sockets that no packet of the outside world can be for are not asked about.

use crate::{Failure, daemon};
use l2link_os::sockets::{HeldKind, HeldSocket, SocketKind, SocketState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of which processes the sockets are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    /// One process, and one descriptor of it or all.
    Process(u32, Option<i32>),
    /// All that run a program.
    Program(String),
}

/// Who holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: u32,
    program: String,
    fd: i32,
}

impl Whose {
    /// What the words behind `trace` say, if they speak of processes.
    pub(crate) fn of_words(words: &[String]) -> Result<Option<Self>, Failure> {
        let words: Vec<&str> = words.iter().flat_map(|words| words.split_whitespace()).collect();
        let wrong = |text: String| Err(Failure::Usage(text));
        match words[..] {
            ["pid", which] => {
                let (pid, fd) = which.split_once('/').map_or((which, None), |(pid, fd)| (pid, Some(fd)));
                match (pid.parse(), fd.map(str::parse).transpose()) {
                    (Ok(pid), Ok(fd)) => Ok(Some(Self::Process(pid, fd))),
                    _ => wrong(format!(
                        "\"{which}\" names no process: write its number, and a descriptor if one is meant: pid 812/6"
                    )),
                }
            }
            ["program", name] => Ok(Some(Self::Program(name.to_owned()))),
            ["pid" | "program", ..] => {
                wrong("write pid NUMBER, pid NUMBER/DESCRIPTOR or program NAME".to_owned())
            }
            // Neither an address nor a service.
            [word]
                if word != "arp"
                    && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter)) =>
            {
                let process = if word.parse::<u32>().is_ok() { "pid" } else { "program" };
                let all = "a packet (tcp from 192.0.2.9:40000 to 192.0.2.1:80), a socket (tcp/80) or a prefix (198.51.100.0/24)";
                wrong(format!(
                    "\"{word}\" is nothing to trace: write {all}; for the sockets of a process: trace {process} {word}"
                ))
            }
            _ => Ok(None),
        }
    }
}

/// The steps of each socket, with `owners` and `socket`, its number, in each step.
pub(crate) fn trace(
    proc: &Path,
    whose: &Whose,
    socket: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Result<Vec<Vec<Value>>, Failure> {
    let pids = match whose {
        Whose::Process(pid, _) => vec![*pid],
        Whose::Program(name) => running(proc, name)?,
    };
    let only = if let Whose::Process(_, fd) = whose { *fd } else { None };
    let mut held: BTreeMap<u64, Vec<Owner>> = BTreeMap::new();
    for pid in &pids {
        match sockets(proc, *pid, only) {
            Ok(sockets) => {
                sockets.into_iter().for_each(|(inode, owner)| held.entry(inode).or_default().push(owner))
            }
            // One of several may end meanwhile.
            Err(_) if pids.len() > 1 && !proc.join(pid.to_string()).exists() => {}
            Err(failure) => return Err(failure),
        }
    }
    if held.is_empty() {
        let text = format!("{} has no sockets", names(proc, &pids));
        return Ok(vec![vec![step("none", &text)]]);
    }
    let mut looked: Vec<Looked> =
        held.into_iter().map(|(inode, owners)| Looked::new(proc, inode, owners)).collect();
    ask(&mut looked, socket)?;
    Ok(looked.into_iter().map(Looked::rows).collect())
}

/// What was found of a socket.
struct Looked {
    inode: u64,
    owners: Vec<Owner>,
    /// Its namespace, if the daemon is to be asked.
    namespace: Option<u64>,
    steps: Vec<Value>,
}

impl Looked {
    fn new(proc: &Path, inode: u64, owners: Vec<Owner>) -> Self {
        let found = match owners.first() {
            Some(owner) => HeldSocket::of(owner.pid, owner.fd),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let (namespace, outcome, text) = match found {
            Ok(socket) => {
                let (receives, text) = describe(&socket);
                let place = place(proc, socket.namespace);
                let bound = socket
                    .interface
                    .as_ref()
                    .map_or(String::new(), |name| format!(", bound to interface {name}"));
                let outcome = if receives { "passes" } else { "none" };
                (receives.then_some(socket.namespace), outcome, format!("{text}{bound}, in {place}"))
            }
            Err(error) => (None, "none", format!("it cannot be looked at: {error}")),
        };
        let who = owners.iter().map(|Owner { pid, program, fd }| format!("{program} {pid}/{fd}"));
        let who = who.collect::<Vec<_>>().join(", ");
        Self { inode, namespace, steps: vec![step(outcome, &format!("{who}: {text}"))], owners }
    }

    /// Its steps, each with whose it is.
    fn rows(self) -> Vec<Value> {
        let Self { inode, owners, mut steps, .. } = self;
        let owners: Vec<Value> = owners
            .iter()
            .map(|owner| json!({"pid": owner.pid, "program": owner.program, "fd": owner.fd}))
            .collect();
        for step in &mut steps {
            step["socket"] = inode.into();
            step["owners"] = owners.clone().into();
        }
        steps
    }
}

/// Sockets in one request: an answer of them stays below what the daemon sends at once.
const AT_ONCE: usize = 200;

/// Has the daemon tell what comes of the sockets.
fn ask(looked: &mut [Looked], socket: impl FnOnce() -> Result<PathBuf, Failure>) -> Result<(), Failure> {
    let asked: Vec<Value> = looked
        .iter()
        .filter_map(|socket| Some(json!({"inode": socket.inode, "namespace": socket.namespace?})))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let path = socket()?;
    let mut told: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for some in asked.chunks(AT_ONCE) {
        for row in daemon::request(&path, &json!({"verb": "trace", "sockets": some}))? {
            let hops = row["hops"].as_array().cloned().unwrap_or_default();
            told.insert(row["inode"].as_u64().unwrap_or(0), hops);
        }
    }
    for socket in looked.iter_mut().filter(|socket| socket.namespace.is_some()) {
        socket.steps.extend(told.remove(&socket.inode).unwrap_or_default());
    }
    Ok(())
}

/// A step of this program's own, with the keys that a daemon's have.
fn step(outcome: &str, text: &str) -> Value {
    json!({"stage": "process", "outcome": outcome, "peer": null, "up_tunnel": null, "reason": null, "text": text})
}

/// What a socket is, in words, and whether packets of the outside world may be for it.
fn describe(socket: &HeldSocket) -> (bool, String) {
    let HeldKind::Network { kind, local, local_port, remote, state } = &socket.what else {
        return match socket.what {
            HeldKind::Other(family) => {
                (false, format!("{family} socket, for which no packets of a network are"))
            }
            _ => (false, "socket for echo requests: each makes a flow as it leaves".to_owned()),
        };
    };
    let name = match kind {
        SocketKind::Tcp => "tcp",
        SocketKind::Udp => "udp",
        SocketKind::UdpLite => "udplite",
        SocketKind::Sctp => "sctp",
        SocketKind::Dccp => "dccp",
        SocketKind::Raw { protocol: 255 } => return (false, "raw socket that only sends".to_owned()),
        SocketKind::Raw { protocol } => {
            return (true, format!("raw socket of IP protocol {protocol}, {local}"));
        }
        SocketKind::Packet { ethertype: 0 } => return (false, "packet socket that only sends".to_owned()),
        SocketKind::Packet { ethertype } => {
            return (true, format!("packet socket of EtherType {ethertype:#06x}"));
        }
    };
    match (*state, remote) {
        (SocketState::LISTEN, _) => (true, format!("{name} {local} port {local_port}, listens")),
        (_, Some(remote)) => (true, format!("{name} {local} port {local_port}, connected to {remote}")),
        _ if *kind != SocketKind::Tcp && *local_port != 0 => {
            (true, format!("{name} {local} port {local_port}"))
        }
        _ => (false, format!("{name} socket that neither listens nor is connected")),
    }
}

/// The number of a namespace as people call it: by its name in `/run/netns`, if it has one.
fn place(proc: &Path, inode: u64) -> String {
    let number = |path: PathBuf| fs::metadata(path).ok().map(|file| file.ino());
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let named = named.filter(|entry| number(entry.path()) == Some(inode)).map(|entry| entry.file_name());
    match named.min() {
        Some(name) => format!("network namespace {}", name.display()),
        None if number(proc.join("self/ns/net")) == Some(inode) => {
            "the network namespace of this command".to_owned()
        }
        None => format!("a network namespace without a name (net:[{inode}])"),
    }
}

/// Processes that run a program, by the name that `ps -o comm` shows.
fn running(proc: &Path, name: &str) -> Result<Vec<u32>, Failure> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let pids = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // The kernel keeps that many letters (TASK_COMM_LEN).
    let mut pids: Vec<u32> =
        pids.filter(|pid| program(proc, *pid) == name.get(..15).unwrap_or(name)).collect();
    pids.sort_unstable();
    if pids.is_empty() { Err(Failure::Daemon(format!("no process runs a program {name}"))) } else { Ok(pids) }
}

fn program(proc: &Path, pid: u32) -> String {
    let name = fs::read(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

fn names(proc: &Path, pids: &[u32]) -> String {
    let names = pids.iter().map(|pid| format!("{} {pid}", program(proc, *pid)));
    names.collect::<Vec<_>>().join(", ")
}

/// The sockets that a process holds by descriptors, or by this one.
fn sockets(proc: &Path, pid: u32, only: Option<i32>) -> Result<Vec<(u64, Owner)>, Failure> {
    let folder = proc.join(pid.to_string()).join("fd");
    let failed = |error: io::Error| {
        Failure::Daemon(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no process {pid}"),
            io::ErrorKind::PermissionDenied => {
                format!("the descriptors of process {pid} are another user's: run as root")
            }
            _ => format!("the descriptors of process {pid} cannot be read: {error}"),
        })
    };
    let program = program(proc, pid);
    let entries = fs::read_dir(&folder).map_err(failed)?.flatten();
    let mut found = Vec::new();
    for entry in entries {
        let fd = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        // A descriptor may be closed meanwhile.
        let (Some(fd), Ok(link)) = (fd, fs::read_link(entry.path())) else { continue };
        if only.is_some_and(|only| only != fd) {
            continue;
        }
        match crate::owners::inode(&link) {
            Some(inode) => found.push((inode, Owner { pid, program: program.clone(), fd })),
            None if only.is_some() => {
                return Err(Failure::Daemon(format!(
                    "descriptor {fd} of process {pid} is no socket, but {}",
                    link.display()
                )));
            }
            None => {}
        }
    }
    match only {
        Some(fd) if found.is_empty() => Err(Failure::Daemon(format!("process {pid} has no descriptor {fd}"))),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::protocol_address::{Family, Local};
    use rstest::rstest;
    use std::os::unix::fs::symlink;

    #[rstest]
    #[case("pid 812", Some(Whose::Process(812, None)))]
    #[case("pid 812/6", Some(Whose::Process(812, Some(6))))]
    #[case("program nginx", Some(Whose::Program("nginx".to_owned())))]
    #[case("tcp 0.0.0.0:80", None)]
    #[case("tcp/80", None)]
    #[case("2001:db8::7", None)]
    #[case("192.0.2.1", None)]
    fn words_speak_of_processes_or_not(#[case] text: &str, #[case] expected: Option<Whose>) {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        assert_eq!(Whose::of_words(&words).unwrap(), expected);
        assert_eq!(Whose::of_words(&[text.to_owned()]).unwrap(), expected, "in quotation marks");
    }

    #[rstest]
    #[case("pid nginx")]
    #[case("pid 812/x")]
    #[case("nginx")]
    #[case("812")]
    #[case("pid")]
    #[case("program a b")]
    fn other_words_are_refused(#[case] text: &str) {
        assert!(matches!(Whose::of_words(&[text.to_owned()]), Err(Failure::Usage(_))));
    }

    /// A `/proc` of one process 7 with these descriptors.
    fn proc(links: &[&str]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("7/fd")).unwrap();
        fs::write(proc.path().join("7/comm"), "server\n").unwrap();
        for (number, link) in links.iter().enumerate() {
            symlink(link, proc.path().join(format!("7/fd/{number}"))).unwrap();
        }
        proc
    }

    #[test]
    fn sockets_are_found_by_descriptor() {
        let proc = proc(&["/dev/null", "socket:[40]", "socket:[40]", "pipe:[41]"]);
        let proc = proc.path();
        let fds = |only| {
            sockets(proc, 7, only)
                .unwrap()
                .iter()
                .map(|(inode, owner)| (*inode, owner.fd))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            {
                let mut all = fds(None);
                all.sort_unstable();
                all
            },
            [(40, 1), (40, 2)]
        );
        assert_eq!(fds(Some(2)), [(40, 2)]);
        let said = |pid, only| sockets(proc, pid, only).unwrap_err().to_string();
        assert_eq!(said(8, None), "there is no process 8");
        assert_eq!(said(7, Some(9)), "process 7 has no descriptor 9");
        assert_eq!(said(7, Some(3)), "descriptor 3 of process 7 is no socket, but pipe:[41]");
        assert_eq!(running(proc, "/usr/sbin/server").unwrap(), [7]);
        assert_eq!(running(proc, "other").unwrap_err().to_string(), "no process runs a program other");
    }

    #[test]
    fn nobody_is_asked_about_a_process_without_sockets() {
        let proc = proc(&["/dev/null"]);
        let hops = trace(proc.path(), &Whose::Process(7, None), || panic!("it asks the daemon")).unwrap();
        assert_eq!(hops, [[step("none", "server 7 has no sockets")]]);
    }

    #[rstest]
    #[case(SocketKind::Tcp, 80, SocketState::LISTEN, true, "tcp 0.0.0.0 port 80, listens")]
    #[case(
        SocketKind::Tcp,
        80,
        SocketState::CLOSE,
        false,
        "tcp socket that neither listens nor is connected"
    )]
    #[case(SocketKind::Udp, 53, SocketState::CLOSE, true, "udp 0.0.0.0 port 53")]
    #[case(SocketKind::Udp, 0, SocketState::CLOSE, false, "udp socket that neither listens nor is connected")]
    #[case(SocketKind::Raw { protocol: 255 }, 0, SocketState::CLOSE, false, "raw socket that only sends")]
    #[case(SocketKind::Packet { ethertype: 3 }, 0, SocketState::CLOSE, true, "packet socket of EtherType 0x0003")]
    fn sockets_are_told_apart(
        #[case] kind: SocketKind,
        #[case] local_port: u16,
        #[case] state: SocketState,
        #[case] receives: bool,
        #[case] text: &str,
    ) {
        let what = HeldKind::Network { kind, local: Local::Any(Family::V4), local_port, remote: None, state };
        let socket = HeldSocket { what, namespace: 1, interface: None };
        assert_eq!(describe(&socket), (receives, text.to_owned()));
    }
}
