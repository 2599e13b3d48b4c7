//! [`SocketFile`]: a listening UNIX socket that is there in the file system for as long as its owner lives.

use crate::SetupError;
use core::ops::{Deref, DerefMut};
use mio::net::UnixListener;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A listener. Its file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file: another one of the same name is not ours to remove.
    file: (u64, u64),
    listener: UnixListener,
}

impl SocketFile {
    /// Listens at `path`, with the permission bits `mode`. The folder is made if it is missing. A socket file of a
    /// daemon that is gone is replaced. `what` names the socket in errors.
    ///
    /// # Errors
    /// [`SetupError::SocketInUse`] if another daemon listens there; [`SetupError::System`] if the file cannot be made.
    pub(crate) fn listen(path: &Path, mode: u32, what: &str) -> Result<Self, SetupError> {
        let failed = |action: &str| {
            let action = format!("{action} {what} {}", path.display());
            move |error| SetupError::system(action, error)
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed("making the folder of"))?;
        }
        remove_stale(path, what)?;
        let listener = listen(path, mode).map_err(failed("making"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("opening"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("looking at"))?;
        Ok(Self { path: path.to_owned(), file: (metadata.dev(), metadata.ino()), listener })
    }
}

impl Deref for SocketFile {
    type Target = UnixListener;

    fn deref(&self) -> &UnixListener {
        &self.listener
    }
}

impl DerefMut for SocketFile {
    fn deref_mut(&mut self) -> &mut UnixListener {
        &mut self.listener
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!(target: "api", "{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Removes the socket file of a daemon that is gone. Anything that is no socket stays where it is.
fn remove_stale(path: &Path, what: &str) -> Result<(), SetupError> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => {
            let cause = io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket");
            return Err(SetupError::system(format!("making {what} {}", path.display()), cause));
        }
        Err(_) => return Ok(()),
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::debug!(target: "api", "removing {}, which a killed daemon left behind", path.display());
            fs::remove_file(path).map_err(|error| {
                SetupError::system(format!("removing the old socket {}", path.display()), error)
            })
        }
        Ok(_) => Err(SetupError::SocketInUse { path: path.to_owned() }),
        // A backlog that is full: somebody listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SetupError::SocketInUse { path: path.to_owned() })
        }
        Err(error) => Err(SetupError::system(format!("looking for a daemon at {}", path.display()), error)),
    }
}

/// Listens with a file that has no more than the permission bits `mode` from its first moment: Linux takes over those of
/// the socket, less the umask.
fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket))))
}
