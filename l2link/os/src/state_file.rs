//! [`StateFile`]: what the successor of a daemon that was killed has to know.
//!
//! The file counts only for the namespace and the boot in which it was written: a new kernel has none of what it tells of.

use crate::{NetNs, SetupError};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file with a `T` that outlives the process.
#[derive(Debug)]
pub struct StateFile<T> {
    path: PathBuf,
    boot: String,
    netns: u64,
    state: PhantomData<T>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamped<T> {
    boot: String,
    netns: u64,
    state: T,
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    /// The file at `path`, and what an earlier process left in it, if anything. One that cannot be understood counts as none,
    /// with a warning.
    ///
    /// # Errors
    /// [`SetupError::System`] if the file is there and cannot be read, or the kernel does not tell which boot this is.
    pub fn open(netns: &NetNs, path: &Path) -> Result<(Self, Option<T>), SetupError> {
        let boot = fs::read_to_string(BOOT_ID)
            .map_err(|source| SetupError::system(format!("read {BOOT_ID}"), source))?;
        let boot = boot.trim_end().to_owned();
        let file = Self { path: path.to_owned(), boot, netns: netns.inode(), state: PhantomData };
        let left = match fs::read(path) {
            Ok(bytes) => file.understand(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(SetupError::system(format!("read {}", path.display()), source)),
        };
        Ok((file, left))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file in one step: a reader, and a successor, see the old one or the new one. It does not wait for a disk:
    /// what it tells of is gone when the machine is.
    ///
    /// # Errors
    /// The file system's. The old one is as it was then.
    pub fn save(&self, state: &T) -> io::Result<()> {
        let new = self.new_path();
        // One that a killed process left, or a link that somebody laid there.
        remove(&new)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let stamped = Stamped { boot: self.boot.clone(), netns: self.netns, state };
        file.write_all(&serde_json::to_vec(&stamped)?)?;
        // Where a file is renamed onto another, ext4 and btrfs write it out first (`auto_da_alloc` in the kernel's ext4.rst),
        // which on a busy disk takes longer than the link waits for a peer. Two files that change places are left alone.
        match renameat2(AT_FDCWD, &new, AT_FDCWD, &self.path, RenameFlags::RENAME_EXCHANGE) {
            // Where it stays, the next call removes it.
            Ok(()) => {
                let _ = remove(&new);
                Ok(())
            }
            // There was none, or the file system cannot.
            Err(_) => fs::rename(&new, &self.path),
        }
    }

    /// Removes the file, if there is one.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.new_path())?;
        remove(&self.path)
    }

    /// Where the next state is written, and the last one goes.
    fn new_path(&self) -> PathBuf {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        new.into()
    }

    fn understand(&self, bytes: &[u8]) -> Option<T> {
        let path = self.path.display();
        match serde_json::from_slice::<Stamped<T>>(bytes) {
            Ok(left) if left.boot == self.boot && left.netns == self.netns => Some(left.state),
            Ok(_) => {
                log::info!("{path} is of another boot or namespace, and not used");
                None
            }
            Err(error) => {
                log::warn!("{path} is not understood, and what it tells of stays as it is: {error}");
                None
            }
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_is_all_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let netns = NetNs::current().unwrap();
        let open = || StateFile::<u32>::open(&netns, &path).unwrap();
        let names =
            || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let (file, left) = open();
        assert_eq!(left, None);
        for state in 1..=3 {
            file.save(&state).unwrap();
            assert_eq!(open().1, Some(state));
            assert_eq!(names(), ["state"], "the one before it is gone");
        }
        fs::write(folder.path().join("state.new"), "a killed process left this").unwrap();
        file.save(&4).unwrap();
        assert_eq!((open().1, names()), (Some(4), vec!["state".into()]));
        fs::write(folder.path().join("state.new"), "and this").unwrap();
        file.remove().unwrap();
        assert_eq!((open().1, names()), (None, vec![]));
    }
}
