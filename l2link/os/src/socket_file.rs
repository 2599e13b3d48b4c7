//! [`SocketFile`]: a listening UNIX socket that is there in the file system for as long as its owner lives.

use crate::SetupError;
use crate::access::Access;
use core::ops::{Deref, DerefMut};
use mio::net::UnixListener;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
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
    /// Listens at `path`, with a file that lets no more than `access` says connect, if that can be had. The folder is made if it
    /// is missing. A socket file of a daemon that is gone is replaced. `what` names the socket in errors.
    ///
    /// # Errors
    /// [`SetupError::SocketInUse`] if another daemon listens there; [`SetupError::System`] if the file cannot be made.
    pub(crate) fn listen(path: &Path, access: &Access, what: &str) -> Result<Self, SetupError> {
        let failed = |action: &str| {
            let action = format!("{action} {what} {}", path.display());
            move |error| SetupError::system(action, error)
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed("making the folder of"))?;
        }
        remove_stale(path, what)?;
        let listener = listen(path).map_err(failed("making"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("looking at"))?;
        let file = Self { path: path.to_owned(), file: (metadata.dev(), metadata.ino()), listener };
        file.open_to(access).map_err(failed("opening"))?;
        Ok(file)
    }

    /// Lets others connect than before.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn open_to(&self, access: &Access) -> io::Result<()> {
        let ours = self.metadata()?;
        let mode = match access.file_group() {
            Some(group) if ours.gid() == group.gid => 0o660,
            Some(group) => {
                // Nobody may connect in the meantime who could not before or cannot afterwards.
                fs::set_permissions(&self.path, fs::Permissions::from_mode(0o600))?;
                match chown(&self.path, None, Some(group.gid)) {
                    Ok(()) => 0o660,
                    Err(error) => {
                        let (path, name) = (self.path.display(), &group.name);
                        log::info!(
                            target: "api",
                            "{path} cannot be given to group {name} ({error}): anybody can connect, and the daemon refuses others"
                        );
                        0o666
                    }
                }
            }
            None if access.is_open() => 0o666,
            None => 0o600,
        };
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }

    /// Of the file, if it is still ours.
    fn metadata(&self) -> io::Result<fs::Metadata> {
        let metadata = fs::symlink_metadata(&self.path)?;
        if (metadata.dev(), metadata.ino()) == self.file {
            Ok(metadata)
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its place"))
        }
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
        if self.metadata().is_ok()
            && let Err(error) = fs::remove_file(&self.path)
        {
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

/// Listens with a file that is this user's alone from its first moment: Linux takes over the permission bits of the socket, less
/// the umask.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket))))
}
