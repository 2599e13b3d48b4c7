//! [`FuseMount`]: a tree where programs find it.
//!
//! A daemon that was killed leaves its mount behind, at which every access fails with `ENOTCONN`. The next one knows it by its type
//! and takes it away.

use super::FuseDevice;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A mounted tree. Dropping it unmounts it.
#[derive(Debug)]
pub struct FuseMount {
    path: PathBuf,
    /// The kernel's number of the mount.
    id: Option<u64>,
    /// Whether the directory was made for it.
    made: bool,
}

/// Why a tree cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel has no FUSE, or not here.
    #[error(
        "/dev/fuse cannot be used ({source}): load the kernel module with `modprobe fuse`, or pass the device to the container, or allow it to the service (l2control.toml(5), [files])"
    )]
    NoFuse {
        /// Why.
        source: io::Error,
    },
    /// The mount point has files of its own, which nobody would see any more.
    #[error("{} is not empty: choose another directory as `mount` in [files]", .path.display())]
    NotEmpty {
        /// The mount point.
        path: PathBuf,
    },
    /// Something is mounted there.
    #[error("something ({kind}) is mounted at {} already: unmount it, or choose another directory as `mount` in [files]", .path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
        /// Type of the file system.
        kind: String,
    },
    /// The mount point is not a directory, or something else is the matter with it.
    #[error("{}: {action}: {source}", .path.display())]
    System {
        /// The mount point.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl FuseMount {
    /// Mounts a tree at a directory, which is made if it is not there. Besides the kernel's end of it gives the descriptor that
    /// the library is to take for a FUSE device.
    ///
    /// # Errors
    /// [`MountError`]: nothing has been changed.
    pub fn new(path: &Path) -> Result<(Self, FuseDevice, OwnedFd), MountError> {
        sweep(path)?;
        let mut made = false;
        if !path.is_dir() && !path.exists() {
            fs::create_dir_all(path).map_err(system(path, "making the directory"))?;
            made = true;
        }
        let mounted = Self::mount(path, made);
        if mounted.is_err() && made {
            let _ = fs::remove_dir(path);
        }
        mounted
    }

    fn mount(path: &Path, made: bool) -> Result<(Self, FuseDevice, OwnedFd), MountError> {
        let mut entries = fs::read_dir(path).map_err(system(path, "looking into the directory"))?;
        if entries.next().is_some() {
            return Err(MountError::NotEmpty { path: path.to_owned() });
        }
        let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/fuse");
        let device: File = open.map_err(|source| MountError::NoFuse { source })?;
        let options = format!(
            "fd={},rootmode=40555,user_id=0,group_id=0,default_permissions,allow_other",
            device.as_raw_fd()
        );
        let (device, library) = FuseDevice::new(device).map_err(system(path, "making a socket"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("l2control"), path, Some(KIND), flags, Some(options.as_str())).map_err(
            |errno| match errno {
                Errno::ENODEV => MountError::NoFuse { source: errno.into() },
                other => system(path, "mounting")(other.into()),
            },
        )?;
        let id = mounted_at(path).map(|top| top.id);
        Ok((Self { path: path.to_owned(), id, made }, device, library))
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        // Somebody may have unmounted it, and mounted something else.
        let own = mounted_at(&self.path).filter(|top| Some(top.id) == self.id);
        if own.is_some()
            && let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH)
        {
            log::warn!(target: "os::fuse", "{}: unmounting: {error}", self.path.display());
        }
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Whether this process has mounts of its own (mount_namespaces(7)), so that the machine's programs may not see what it mounts.
#[must_use]
pub fn has_own_mounts() -> bool {
    match ["self", "1"].map(|process| fs::read_link(format!("/proc/{process}/ns/mnt"))) {
        [Ok(own), Ok(machines)] => own != machines,
        // A service may not look at process 1.
        _ => fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| text.lines().any(is_slave_root)),
    }
}

/// Whether this is the line of a root that gets mounts from elsewhere and gives none, as services have.
fn is_slave_root(line: &str) -> bool {
    let mut words = line.split(' ').skip(4);
    words.next() == Some("/") && words.take_while(|word| *word != "-").any(|word| word.starts_with("master:"))
}

/// Takes away what daemons that were killed have left.
fn sweep(path: &Path) -> Result<(), MountError> {
    while let Some(Mounted { kind, .. }) = mounted_at(path) {
        let is_left = kind == KIND && is_dead(path);
        if !is_left {
            return Err(MountError::Mounted { path: path.to_owned(), kind });
        }
        umount2(path, MntFlags::MNT_DETACH)
            .map_err(|errno| system(path, "unmounting what an earlier l2control left")(errno.into()))?;
        log::info!(target: "os::fuse", "{}: what an earlier l2control left is unmounted", path.display());
    }
    Ok(())
}

/// Whether nobody answers for what is mounted.
fn is_dead(path: &Path) -> bool {
    fs::read_dir(path).is_err_and(|error| {
        matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV))
    })
}

struct Mounted {
    id: u64,
    kind: String,
}

/// What is mounted at a path, topmost: the last line of proc_pid_mountinfo(5) that names it.
fn mounted_at(path: &Path) -> Option<Mounted> {
    let text = fs::read("/proc/self/mountinfo").ok()?;
    let wanted = resolved(path);
    let mut lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let place = unescaped(words.nth(3)?);
        let kind = words.skip_while(|word| *word != b"-").nth(1)?;
        (place == wanted.as_os_str().as_bytes())
            .then(|| Mounted { id, kind: String::from_utf8_lossy(kind).into_owned() })
    });
    lines.next_back()
}

/// The path as the kernel knows it. The last part may be a tree that does not answer, and is not looked at.
fn resolved(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    fs::canonicalize(parent).map_or_else(|_| path.to_owned(), |parent| parent.join(name))
}

/// Space, tab, newline and backslash stand as three octal digits behind a backslash.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = (*first == b'\\').then(|| tail.first_chunk::<3>()).flatten();
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                plain.push(code);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

fn system(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> MountError {
    move |source| MountError::System { path: path.to_owned(), action, source }
}

/// By it `mount` shows whose it is, and a later daemon knows what it may take away.
const KIND: &str = "fuse.l2control";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_service() {
        let root = |fields: &str| format!("401 300 254:1 / / rw,relatime {fields}- ext4 /dev/root rw");
        assert!(is_slave_root(&root("master:1 ")) && is_slave_root(&root("shared:7 master:1 ")));
        assert!(!is_slave_root(&root("shared:1 ")) && !is_slave_root(&root("")));
        assert!(!is_slave_root(&root("master:1 ").replace(" / / ", " / /tmp ")));
    }

    #[test]
    fn names_of_mount_points() {
        assert_eq!(unescaped(br"/a\040b\134c"), b"/a b\\c");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
        let root = mounted_at(Path::new("/proc")).unwrap();
        assert_eq!(root.kind, "proc");
        assert!(mounted_at(Path::new("/proc/self")).is_none());
    }

    #[test]
    fn what_cannot_be_a_mount_point() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(FuseMount::new(folder.path()), Err(MountError::NotEmpty { .. })));
        let file = FuseMount::new(&folder.path().join("file")).unwrap_err().to_string();
        assert!(file.contains("looking into the directory"), "{file}");
        assert!(
            matches!(FuseMount::new(Path::new("/proc")), Err(MountError::Mounted { kind, .. }) if kind == "proc")
        );
    }
}
