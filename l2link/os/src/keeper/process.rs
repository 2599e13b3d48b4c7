//! The keeper's own process.

use super::channel::Channel;
use super::message::{Message, Place};
use crate::signals::{Signal, Signals};
use crate::{Crossing, NetNs, ReturnTables};
use core::ffi::CStr;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{chdir, setsid};
use socket2::Socket;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// First argument of a program that is to become a keeper.
pub const WORD: &str = "keeper";

/// What the kernel calls the process: not the daemon's name, so that `pkill l2control` leaves it alone.
const NAME: &CStr = c"l2keeper";

/// How long the daemon may take from starting the process to connecting.
const BEGIN: Duration = Duration::from_secs(10);

/// Becomes a keeper, until there is nothing to keep any more. Standard input is the listening socket; `arguments` are
/// those behind [`WORD`], as [`Keeper`](super::Keeper) gives them.
///
/// # Errors
/// If it was not started by a daemon, or if the kernel refuses what it needs.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let arguments = Arguments::parse(arguments).ok_or_else(|| io::Error::other(USAGE))?;
    if !getsockopt(&io::stdin(), sockopt::AcceptConn).is_ok_and(|listens| listens) {
        return Err(io::Error::other(USAGE));
    }
    close_inherited();
    // In a session of its own a keeper gets no signal of the daemon's terminal; it fails for a leader of one, which has
    // it already.
    let _ = setsid();
    chdir("/")?;
    prctl::set_name(NAME)?;
    raise_limit();
    let listener = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
    let signals = Signals::open().map_err(io::Error::other)?;
    let mut holder = Holder { listener, signals, devices: BTreeMap::new() };
    let last = holder.serve(arguments.keep);
    let dismissed = last.as_ref().is_ok_and(Option::is_some);
    let places: BTreeSet<String> = holder.devices.keys().map(|place| place.netns.clone()).collect();
    drop(holder);
    if !dismissed {
        // Nobody came for the interfaces, so nobody removes what does not go with them.
        places.iter().for_each(|netns| sweep(netns));
    }
    remove(&arguments.path, arguments.file)?;
    // Closed after all the rest: who dismissed the keeper waits for this.
    last.map(drop)
}

/// Removes what was there for interfaces that are gone. There is nobody to tell what fails, and the next daemon does it too.
fn sweep(netns: &str) {
    let netns = if netns.is_empty() { NetNs::current() } else { NetNs::named(netns) };
    if let Ok(netns) = netns {
        let _ = ReturnTables::sweep_in(&netns);
        let _ = Crossing::sweep_in(&netns);
    }
}

/// Removes a keeper's socket file, from its first or its last place, unless another one's has taken it.
pub(super) fn remove(path: &Path, file: (u64, u64)) -> io::Result<()> {
    for path in [path, &draft(path)] {
        if fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == file) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

const USAGE: &str = "a keeper is started by its daemon only";

/// Path of the socket file before the keeper is ready to be found: see [`Keeper`](super::Keeper).
pub(super) fn draft(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    draft.into()
}

/// What a keeper is told at its start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// How long devices are kept for a successor.
    pub(super) keep: Duration,
    /// Device and inode of the socket file.
    pub(super) file: (u64, u64),
    /// Its path. The last of the arguments, as it may be long.
    pub(super) path: PathBuf,
}

impl Arguments {
    /// As words of a command line.
    pub(super) fn words(&self) -> [OsString; 4] {
        let (device, inode) = self.file;
        let keep = self.keep.as_millis().to_string();
        [keep.into(), device.to_string().into(), inode.to_string().into(), self.path.clone().into()]
    }

    fn parse(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let [keep, device, inode] = core::array::from_fn(|_| words.next()?.to_str()?.parse().ok());
        let path = words.next()?.into();
        words.next().is_none().then_some(())?;
        Some(Self { keep: Duration::from_millis(keep?), file: (device?, inode?), path })
    }
}

/// Allows as many descriptors as may be: one for each device.
fn raise_limit() {
    // Without it there is room for a thousand, as for the daemon.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

/// Closes what the daemon's parent left open in it. Standard input, output and error stay.
fn close_inherited() {
    let first: libc::c_uint = 3;
    // SAFETY: the process has just begun and has one thread, and nothing in it has opened a descriptor yet that anybody
    // would use afterwards. Kernels before 5.9 lack the call, and these descriptors stay open.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// All that a keeper has.
struct Holder {
    listener: Socket,
    signals: Signals,
    devices: BTreeMap<Place, Held>,
}

struct Held {
    device: OwnedFd,
    note: Vec<u8>,
}

/// Why a connection ended.
enum End {
    /// Nothing is to be kept.
    Dismissed,
    /// The other end has gone without a word, or talks nonsense.
    Gone,
}

impl Holder {
    /// Serves the daemon, then waits for a successor for as long as `keep`. Returns the connection that dismissed the
    /// keeper, if one did.
    fn serve(&mut self, keep: Duration) -> io::Result<Option<Channel>> {
        let mut deadline = None;
        loop {
            let patience = deadline.unwrap_or_else(|| Instant::now() + BEGIN);
            let Some(channel) = self.accept(patience)? else { return Ok(None) };
            match self.converse(&channel, deadline)? {
                End::Dismissed => return Ok(Some(channel)),
                End::Gone => {}
            }
            deadline.get_or_insert_with(|| Instant::now() + keep);
            if self.devices.is_empty() {
                return Ok(None);
            }
        }
    }

    /// The next connection; `None` when it is time to end.
    fn accept(&mut self, deadline: Instant) -> io::Result<Option<Channel>> {
        while self.await_input(None, Some(deadline))? {
            // An error is somebody who may not, or who has gone already.
            if let Ok(channel) = self.listener.accept().and_then(|(socket, _)| Channel::new(socket)) {
                return Ok(Some(channel));
            }
        }
        Ok(None)
    }

    fn converse(&mut self, channel: &Channel, deadline: Option<Instant>) -> io::Result<End> {
        while self.await_input(Some(channel.as_fd()), deadline)? {
            match channel.receive() {
                Ok(Some((Message::Hold(place, note), Some(device)))) => {
                    self.devices.insert(place, Held { device, note });
                }
                Ok(Some((Message::Note(place, note), _))) => {
                    if let Some(held) = self.devices.get_mut(&place) {
                        held.note = note;
                    }
                }
                Ok(Some((Message::Forget(place), _))) => {
                    self.devices.remove(&place);
                }
                Ok(Some((Message::Take, _))) => {
                    if self.give(channel).is_err() {
                        return Ok(End::Gone);
                    }
                }
                Ok(Some((Message::Goodbye, _))) => return Ok(End::Dismissed),
                Ok(Some((Message::Hold(_, _), None) | (Message::End, _)) | None) | Err(_) => {
                    return Ok(End::Gone);
                }
            }
        }
        Ok(End::Dismissed)
    }

    fn give(&self, channel: &Channel) -> io::Result<()> {
        for (place, Held { device, note }) in &self.devices {
            channel.send(&Message::Hold(place.clone(), note.clone()), Some(device.as_fd()))?;
        }
        channel.send(&Message::End, None)
    }

    /// Waits for something on `channel`, or on the listener if there is none. False when the time is over, or a signal
    /// says that the keeper is to end.
    fn await_input(
        &mut self,
        channel: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        loop {
            let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => PollTimeout::NONE,
                Some(Duration::ZERO) => return Ok(false),
                // Rounded up: a wait of no time at all would be repeated until the deadline.
                Some(left) => {
                    PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
                }
            };
            let input = channel.unwrap_or_else(|| self.listener.as_fd());
            let readable = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
            let mut wanted = [readable(self.signals.as_fd()), readable(input)];
            match poll(&mut wanted, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [signalled, readable] = wanted.map(|polled| polled.any().unwrap_or(false));
            while signalled && let Some(signal) = self.signals.next()? {
                match signal {
                    Signal::Stop => return Ok(false),
                    // The daemon's business, which a process group or a service manager may have sent to all.
                    Signal::Reload | Signal::Leave => {}
                }
            }
            if readable {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests;
