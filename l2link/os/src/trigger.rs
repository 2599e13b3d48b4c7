//! [`Trigger`]: wakes the daemon when a program may have opened a socket, 30 to 130 µs after it did.
//!
//! # Theory of operation
//!
//! A private instance of tracefs (`Documentation/trace/ftrace.rst`) traces four things, and its `trace_pipe` becomes
//! readable when one happened:
//!
//! | event | tells of |
//! |---|---|
//! | `sock:inet_sock_set_state`, into or out of `LISTEN`, but for accepted connections | TCP listeners; a `shutdown(2)` of one, which destroys nothing |
//! | `syscalls:sys_exit_listen`, success | the same, once the listener is in the kernel's table: the first one comes just before |
//! | `syscalls:sys_exit_bind`, success | UDP and its like; a packet socket that is bound later |
//! | `syscalls:sys_exit_socket` | raw and packet sockets, which receive from their birth |
//!
//! The last one cannot tell raw sockets from others by itself: the arguments are known at `sys_enter_socket` only. So
//! it is off, is switched on by a trigger on `sys_enter_socket` with a filter for raw and packet sockets, and is
//! switched off again by the next `setsockopt(2)` of anybody. It may be switched off by another process between the
//! two; raw and packet sockets, whose close nothing tells of, are dumped from time to time anyway.
//!
//! Tracepoints are global to the machine and carry no namespace, and programs of other architectures (32-bit ones) and
//! io_uring may pass by `syscalls:`. The events therefore only say that a dump is due, and a slow dump runs beside them. Of
//! their text no more is read than their names, which tell what is to be dumped ([`Told`]): the first two listeners, the others all but
//! these. What cannot be read, or tells that events were lost, may have been anything. The cost is about 40 ns for every system call of the machine while a `syscalls:` event is
//! on.
//!
//! An instance is locked (flock(2) on its directory) as long as its daemon lives. What a killed daemon left behind is
//! unlocked, and is removed by the next one, but not before it is at work: the kernel removes an instance when no processor
//! can be in its buffer any more, which on a busy machine takes up to a second, and one instance after the other.

use crate::SetupError;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

const TRACEFS: &str = "/sys/kernel/tracing";
/// What the instances' names begin with; the process id follows.
const PREFIX: &str = "l2control-";
/// Size of the buffer of each CPU: some hundred events. What does not fit is no loss, as the daemon is awake then.
const BUFFER_KIB: &str = "64";

/// Event, and the filter that it gets.
const EVENTS: [(&str, &str); 3] = [
    // 10 is TCP_LISTEN, 3 is TCP_SYN_RECV (net/tcp_states.h): a connection that a listener accepts begins as its copy
    // (inet_csk_clone_lock() of net/ipv4/inet_connection_sock.c), and is no news.
    ("sock/inet_sock_set_state", "newstate == 10 || (oldstate == 10 && newstate != 3)"),
    ("syscalls/sys_exit_listen", "ret == 0"),
    ("syscalls/sys_exit_bind", "ret == 0"),
];

/// Event, and the trigger that it gets. The numbers are AF_PACKET (17), AF_INET (2), AF_INET6 (10), and SOCK_RAW (3)
/// without and with SOCK_NONBLOCK (0x800) and SOCK_CLOEXEC (0x80000).
const TRIGGERS: [(&str, &str); 2] = [
    (
        "syscalls/sys_enter_socket",
        "enable_event:syscalls:sys_exit_socket if family == 17 || ((family == 2 || family == 10) && \
         (type == 0x3 || type == 0x803 || type == 0x80003 || type == 0x80803))",
    ),
    ("syscalls/sys_enter_setsockopt", "disable_event:syscalls:sys_exit_socket"),
];

/// Of what [`Trigger::drain`] found news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Sockets of `listen(2)`.
    pub listeners: bool,
    /// Sockets that need no `listen(2)`.
    pub others: bool,
}

/// Wakes when a socket may have been opened, anywhere on this machine.
#[derive(Debug)]
pub struct Trigger {
    // The order matters: an instance whose pipe is open cannot be removed.
    pipe: File,
    complete: bool,
    _instance: Instance,
}

/// A tracefs instance, removed when dropped.
#[derive(Debug)]
struct Instance {
    path: PathBuf,
    lock: Option<Flock<File>>,
}

impl Trigger {
    /// Makes an instance; mounts tracefs at its standard place if it is mounted nowhere there. `None`, with a warning
    /// in the log, where the kernel has no tracefs or does not allow it: dump often there.
    ///
    /// # Errors
    /// If something else fails.
    pub fn open() -> Result<Option<Self>, SetupError> {
        match Self::open_at(Path::new(TRACEFS)) {
            Ok(trigger) => {
                if !trigger.complete {
                    log::warn!(
                        "this kernel does not trace system calls: UDP, raw and packet sockets are found by polling"
                    );
                }
                Ok(Some(trigger))
            }
            Err(error) if is_unavailable(&error) => {
                log::warn!("tracefs at {TRACEFS} cannot be used ({error}): new sockets are found by polling");
                Ok(None)
            }
            Err(error) => {
                Err(SetupError::system(format!("preparing a tracefs instance in {TRACEFS}"), error))
            }
        }
    }

    fn open_at(tracefs: &Path) -> io::Result<Self> {
        let instances = tracefs.join("instances");
        if !instances.is_dir() {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tracefs"), tracefs, Some("tracefs"), flags, None::<&str>)?;
        }
        let instance = Instance::create(&instances)?;
        instance.write("buffer_size_kb", BUFFER_KIB)?;
        // Wake at the first event, not when half of the buffer is full.
        instance.write("buffer_percent", "0")?;
        let mut complete = true;
        for (event, filter) in EVENTS {
            complete &= instance.optional(event, || {
                instance.write(&format!("events/{event}/filter"), filter)?;
                instance.write(&format!("events/{event}/enable"), "1")
            })?;
        }
        for (event, trigger) in TRIGGERS {
            complete &=
                instance.optional(event, || instance.write(&format!("events/{event}/trigger"), trigger))?;
        }
        let mut options = OpenOptions::new();
        let pipe =
            options.read(true).custom_flags(libc::O_NONBLOCK).open(instance.path.join("trace_pipe"))?;
        Ok(Self { pipe, complete, _instance: instance })
    }

    /// Whether sockets of all kinds are told of. If not, only TCP listeners are.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// What was told since the last time. Does not block.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn drain(&mut self) -> io::Result<Told> {
        let mut text = [0; 8192];
        let mut told = Told::default();
        loop {
            match self.pipe.read(&mut text) {
                Ok(0) => return Ok(told),
                // A line that is cut in two counts as not understood.
                Ok(length) => told.read(text.get(..length).unwrap_or_default()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(told),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Told {
    /// Anything may be new.
    pub const ANYTHING: Self = Self { listeners: true, others: true };

    /// Whether anything was told.
    #[must_use]
    pub const fn is_anything(self) -> bool {
        self.listeners || self.others
    }

    /// Takes lines of `trace_pipe`, as `NAME-PID [CPU] FLAGS TIME: EVENT…` (`trace_print_context`).
    fn read(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if *self == Self::ANYTHING {
                return;
            }
            match event(line) {
                Some(b"inet_sock_set_state:" | b"sys_listen") => self.listeners = true,
                Some(b"sys_bind" | b"sys_socket") => self.others = true,
                _ => *self = Self::ANYTHING,
            }
        }
    }
}

/// The first word of what a line tells. The program's name before it may hold anything, so that is found from the end of the time:
/// digits, a point, six digits, a colon.
fn event(line: &[u8]) -> Option<&[u8]> {
    let is_time = |word: &[u8]| {
        let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        let time = word.strip_suffix(b":").and_then(|time| time.split_last_chunk::<7>());
        time.is_some_and(|(seconds, [point, fraction @ ..])| {
            digits(seconds) && *point == b'.' && digits(fraction)
        })
    };
    let mut words = line.split(|byte| *byte == b' ').skip_while(|word| !is_time(word)).skip(1);
    let event = words.next();
    // A program that is named as an event is taken for what it is: not understood.
    if words.any(is_time) { None } else { event }
}

impl AsRawFd for Trigger {
    fn as_raw_fd(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }
}

impl Instance {
    fn create(instances: &Path) -> io::Result<Self> {
        let mut number = 0;
        loop {
            number += 1;
            let path = instances.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match lock(&path) {
                Ok(Some(lock)) if path.is_dir() => return Ok(Self { path, lock: Some(lock) }),
                // Another daemon's sweep was faster.
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {}
                Err(error) => {
                    remove(&path);
                    return Err(error);
                }
            }
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.path.join(file))?;
        file.write_all(text.as_bytes())
    }

    /// Does `work` if the kernel has the event; returns whether it has.
    fn optional(&self, event: &str, work: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        if !self.path.join("events").join(event).is_dir() {
            return Ok(false);
        }
        work().map(|()| true)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.lock = None;
        remove(&self.path);
    }
}

/// Removes the instances of daemons that are no more, on a thread of its own, which ends when it has done so.
pub fn sweep() {
    let instances = Path::new(TRACEFS).join("instances");
    let swept = thread::Builder::new().name("sweep".to_owned()).spawn(move || sweep_in(&instances));
    if let Err(error) = swept {
        log::warn!("what killed daemons left in {TRACEFS} stays: {error}");
    }
}

fn sweep_in(instances: &Path) {
    // Where there is no tracefs, nobody left anything in it.
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // The lock is held until it is gone: another daemon that starts now does not take it for its own.
        if let Ok(Some(_lock)) = lock(&entry.path())
            && entry.path().is_dir()
        {
            log::info!("removing {}, which a killed daemon left behind", entry.path().display());
            remove(&entry.path());
        }
    }
}

/// The lock of an instance; `None` if another process has it.
fn lock(instance: &Path) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(File::open(instance)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

fn remove(instance: &Path) {
    match fs::remove_dir(instance) {
        // Another daemon removes it at this moment.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {}
        Err(error) => log::warn!("{} cannot be removed: {error}", instance.display()),
        Ok(()) => {}
    }
}

/// Whether an error means that tracefs is not there or not allowed.
fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::ENODEV
                | libc::EPERM
                | libc::EACCES
                | libc::EROFS
                | libc::ENOSYS
                | libc::EOPNOTSUPP
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const LISTENERS: Told = Told { listeners: true, others: false };
    const OTHERS: Told = Told { listeners: false, others: true };

    #[rstest]
    #[case(
        "  python3-10207   [001] ..... 70033.601256: inet_sock_set_state: family=AF_INET oldstate=TCP_CLOSE newstate=TCP_LISTEN\n",
        LISTENERS
    )]
    #[case("  python3-10207   [001] ..... 70033.601259: sys_listen -> 0x0\n", LISTENERS)]
    #[case("  python3-10207   [001] ..... 70033.601251: sys_bind -> 0x0\n", OTHERS)]
    #[case("  ospfd-7         [000] ..... 70033.601251: sys_socket -> 0x5\n", OTHERS)]
    #[case("  a 1.234567: b-7 [000] ..... 70033.601251: sys_bind -> 0x0\n", Told::ANYTHING)]
    #[case("  my program:-7   [000] ..... 70033.601251: sys_bind -> 0x0\n", OTHERS)]
    #[case("CPU:1 [LOST 6630 EVENTS]\n", Told::ANYTHING)]
    #[case("  python3-10207   [001] ..... 70033.601259: sys_listen", LISTENERS)]
    #[case("  python3-10207   [001] ..... 70033.601259:", Told::ANYTHING)]
    #[case("  python3-10207   [001] ..... 70033.601259: something_new: a=1\n", Told::ANYTHING)]
    #[case(
        "  x-1 [0] . 1.000001: sys_bind -> 0x0\n  x-1 [0] . 1.000002: sys_listen -> 0x0\n",
        Told::ANYTHING
    )]
    #[case("", Told::default())]
    fn an_event_tells_a_part(#[case] text: &str, #[case] expected: Told) {
        let mut told = Told::default();
        told.read(text.as_bytes());
        assert_eq!(told, expected);
    }
}
