//! [`Keeper`]: the keeper as its daemon sees it.

use super::channel::Channel;
use super::message::{Message, Place};
use super::process::{Arguments, WORD, draft, remove};
use crate::SetupError;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A device that a keeper held for this daemon's predecessor.
#[derive(Debug)]
pub struct Kept {
    /// Where it belongs.
    pub place: Place,
    /// What the predecessor wrote down about it.
    pub note: Vec<u8>,
    /// The device.
    pub device: OwnedFd,
}

/// A daemon's keeper: a child process. Dropping this leaves the process with all that it holds, for a successor;
/// [`Keeper::dismiss`] ends it.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    channel: Channel,
    process: Child,
    /// Device and inode of the socket file.
    file: (u64, u64),
    /// The keeper of this daemon's predecessor, until its devices are safe with this one.
    predecessor: Option<Channel>,
}

/// Permission bits of the socket file: the daemon's user alone.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

impl Keeper {
    /// Takes over what a keeper at `path` holds; nothing if there is none. That keeper goes on holding it until the
    /// connection that is returned is dismissed, by [`Keeper::start`] and [`Keeper::publish`] or by
    /// [`Predecessor::dismiss`].
    ///
    /// # Errors
    /// `InvalidData` if a keeper is there that speaks another language; it is dismissed. `WouldBlock` if it has a daemon.
    pub fn take_over(path: &Path) -> io::Result<(Option<Predecessor>, Vec<Kept>)> {
        let channel = match Channel::connect(path) {
            Ok(channel) => channel,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Of a keeper that was killed.
                fs::remove_file(path)?;
                return Ok((None, Vec::new()));
            }
            Err(error) => return Err(error),
        };
        match take_all(&channel) {
            Ok(kept) => Ok((Some(Predecessor(channel)), kept)),
            Err(error) => {
                // The interfaces of one that cannot be understood must not be in the way of new ones.
                if error.kind() == io::ErrorKind::InvalidData {
                    Predecessor(channel).dismiss();
                }
                Err(error)
            }
        }
    }

    /// Starts a keeper, which will keep what it holds for `keep` after this process has gone. It is found at `path` by
    /// a successor only after [`Keeper::publish`], so that until then the predecessor's is.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn start(path: &Path, keep: Duration, predecessor: Option<Predecessor>) -> Result<Self, SetupError> {
        let failed = |action: &str| {
            let action = format!("{action} {}", path.display());
            move |error| SetupError::system(action, error)
        };
        let draft = draft(path);
        let listener = listen(&draft).map_err(failed("making the keeper's socket"))?;
        let file = fs::symlink_metadata(&draft).map_err(failed("looking at the keeper's socket"))?;
        // It waits in the listener's queue until the process takes it.
        let channel = Channel::connect(&draft).map_err(failed("connecting to the keeper's socket"))?;
        let file = (file.dev(), file.ino());
        // The process works elsewhere.
        let absolute = std::path::absolute(path).map_err(failed("finding the folder of"))?;
        let arguments = Arguments { keep, file, path: absolute };
        let process = Command::new("/proc/self/exe")
            .arg0(PROGRAM)
            .arg(WORD)
            .args(arguments.words())
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("starting the keeper of"))?;
        let predecessor = predecessor.map(|Predecessor(channel)| channel);
        Ok(Self { path: path.to_owned(), channel, process, file, predecessor })
    }

    /// Hands over a duplicate of a device. One of the same place is replaced.
    ///
    /// # Errors
    /// If the keeper is not there any more, or does not take it within half a second: it has to be replaced.
    pub fn hold(&mut self, place: &Place, note: &[u8], device: BorrowedFd<'_>) -> io::Result<()> {
        self.channel.send(&Message::Hold(place.clone(), note.to_vec()), Some(device))
    }

    /// Replaces what is written down about a device.
    ///
    /// # Errors
    /// As [`Keeper::hold`].
    pub fn note(&mut self, place: &Place, note: &[u8]) -> io::Result<()> {
        self.channel.send(&Message::Note(place.clone(), note.to_vec()), None)
    }

    /// Has a device closed.
    ///
    /// # Errors
    /// As [`Keeper::hold`].
    pub fn forget(&mut self, place: &Place) -> io::Result<()> {
        self.channel.send(&Message::Forget(place.clone()), None)
    }

    /// Lets a successor find this keeper, and dismisses the predecessor's: whatever it alone held vanishes.
    ///
    /// # Errors
    /// If the socket file cannot be put in its place.
    pub fn publish(&mut self) -> io::Result<()> {
        fs::rename(draft(&self.path), &self.path)?;
        if let Some(channel) = self.predecessor.take() {
            Predecessor(channel).dismiss();
        }
        Ok(())
    }

    /// Process id of the keeper.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the keeper, with all that it holds, and waits for its end.
    pub fn dismiss(mut self) {
        if self.channel.send(&Message::Goodbye, None).is_ok() {
            self.channel.await_end();
        }
        self.end();
        if let Err(error) = remove(&self.path, self.file) {
            log::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }

    /// Ends a keeper that does not do its part. To be followed by [`Keeper::start`].
    pub fn end(&mut self) {
        // It has ended already, or it must: one that was merely stopped would come back with devices of the past.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl AsRawFd for Keeper {
    /// Readable when the keeper has gone: it says nothing by itself.
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_fd().as_raw_fd()
    }
}

/// The keeper of this daemon's predecessor, which still holds what it has given. Dropping this leaves it.
#[derive(Debug)]
pub struct Predecessor(Channel);

impl Predecessor {
    /// Ends it: what it alone holds vanishes. Waits for that.
    pub fn dismiss(self) {
        if self.0.send(&Message::Goodbye, None).is_ok() {
            self.0.await_end();
        }
    }
}

fn take_all(channel: &Channel) -> io::Result<Vec<Kept>> {
    channel.send(&Message::Take, None)?;
    let mut kept = Vec::new();
    loop {
        match channel.receive()? {
            Some((Message::Hold(place, note), Some(device))) => kept.push(Kept { place, note, device }),
            Some((Message::End, _)) => return Ok(kept),
            Some(_) => {
                let message = "an answer that was not asked for";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Listens with a file that nobody else can connect to.
fn listen(path: &Path) -> io::Result<Socket> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    fchmod(&socket, MODE)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// The daemon, and a successor that comes before the keeper has noticed the daemon's end.
const BACKLOG: i32 = 4;

/// The name under which ps(1) shows it, with [`WORD`] behind.
const PROGRAM: &str = "l2control";
