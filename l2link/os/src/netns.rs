//! [`NetNs`]: a network namespace, and how to do something in it.
//!
//! A socket belongs for its whole life to the namespace in which it was made, so a daemon that serves a symbol in
//! another namespace enters it for the moment of making a socket and comes back. Only the calling thread moves.

use crate::SetupError;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A network namespace, held open: it lives at least as long as this.
#[derive(Debug, Clone)]
pub struct NetNs {
    file: Arc<File>,
    inode: u64,
    name: Option<String>,
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`SetupError::System`] without `/proc`.
    pub fn current() -> Result<Self, SetupError> {
        open_current()
            .and_then(|file| Self::new(file, None))
            .map_err(|source| SetupError::system(format!("open {CURRENT}"), source))
    }

    /// The namespace `NAME` of `ip netns`, held open under `/run/netns`.
    ///
    /// # Errors
    /// [`SetupError::NoNetNs`] while there is none, which a caller may wait for; [`SetupError::NotANetNs`].
    pub fn named(name: &str) -> Result<Self, SetupError> {
        let path = path_of(name);
        let absent = || SetupError::NoNetNs { name: name.to_owned() };
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(absent());
        }
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => absent(),
            _ => SetupError::system(format!("open {}", path.display()), source),
        })?;
        // `ip netns add` makes the file first and mounts the namespace on it then.
        match fstatfs(&file) {
            Ok(status) if status.filesystem_type() == NSFS_MAGIC => {}
            Ok(_) => return Err(SetupError::NotANetNs { path }),
            Err(source) => {
                return Err(SetupError::system(format!("look at {}", path.display()), source.into()));
            }
        }
        Self::new(file, Some(name.to_owned()))
            .map_err(|source| SetupError::system(format!("look at {}", path.display()), source))
    }

    /// Runs `work` with the calling thread in this namespace.
    ///
    /// # Errors
    /// The kernel's, `EPERM` without CAP_SYS_ADMIN, `EINVAL` if this is a namespace of another kind; then `work` did
    /// not run. Where the thread is in the namespace already nothing can fail but looking.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = open_current()?;
        if home.metadata()?.ino() == self.inode {
            return Ok(work());
        }
        setns(&*self.file, CloneFlags::CLONE_NEWNET)?;
        let _return = Return(home);
        Ok(work())
    }

    /// Tells a namespace from a later one of the same name: the kernel does not give the number to another one as
    /// long as this one is held open.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The number by which programs in the kernel know it (`SO_NETNS_COOKIE`, Linux 5.14).
    ///
    /// # Errors
    /// As of [`NetNs::run`]; `ENOPROTOOPT` on an older kernel.
    pub fn cookie(&self) -> io::Result<u64> {
        let socket = self.run(UnixDatagram::unbound)??;
        let mut cookie = 0_u64;
        let mut length: libc::socklen_t = 8;
        // SAFETY: the kernel writes at most `length` bytes to a u64 that is ours.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
    }

    /// The name as `ip netns` has it; `None` for [`NetNs::current`].
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn new(file: File, name: Option<String>) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { file: Arc::new(file), inode, name })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Brings the thread home, also when `work` panics.
struct Return(File);

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
            // Every socket made from here on would be in the wrong network.
            log::error!("cannot return to the network namespace that the thread came from: {error}");
            std::process::abort();
        }
    }
}

fn open_current() -> io::Result<File> {
    File::open(CURRENT)
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

const CURRENT: &str = "/proc/thread-self/ns/net";
