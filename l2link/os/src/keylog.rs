//! [`KeyLog`]: the file in which a daemon writes down the keys of its sessions, if the operator wants to read a capture of
//! encrypted frames (`keylog_file` in `[link]`).
//!
//! Whoever reads the file can read, and forge, everything under those keys. So it is only ever a regular file of this
//! user's own that nobody else may open, and a link in its place is not followed.

use crate::SetupError;
use core::fmt::Write as _;
use l2link::{SessionKeys, wipe_stack};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// An open key log.
#[derive(Debug)]
pub struct KeyLog {
    path: PathBuf,
    file: File,
}

impl KeyLog {
    /// Opens the file, or makes it with mode 0600. What is in it stays.
    ///
    /// # Errors
    /// [`SetupError::KeyLog`] if it is not this user's alone, [`SetupError::System`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, SetupError> {
        let failed = |source| SetupError::system(format!("open key log {}", path.display()), source);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        // Asked of the descriptor, so that it is the file that is written.
        inspect(path, &file.metadata().map_err(failed)?)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Refuses a file that [`KeyLog::open`] would refuse; one that is not there yet is none of them.
    ///
    /// # Errors
    /// [`SetupError::KeyLog`].
    pub fn check(path: &Path) -> Result<(), SetupError> {
        match path.symlink_metadata() {
            Ok(metadata) => inspect(path, &metadata),
            Err(_) => Ok(()),
        }
    }

    /// Appends the keys of a session. A failure is logged, and stops nothing.
    pub fn write(&mut self, keys: &SessionKeys) {
        // Of full size from the start: growing would leave copies of the keys in freed memory.
        let mut line = Zeroizing::new(String::with_capacity(LINE_MAX));
        // A string takes all that is written.
        let _ = writeln!(line, "{keys}");
        wipe_stack();
        // In one call, as others may write to the same file.
        if let Err(error) = self.append(&line) {
            log::warn!("key log {}: the keys of a session are lost: {error}", self.path.display());
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())
    }
}

/// More than a line has.
const LINE_MAX: usize = 256;

fn inspect(path: &Path, metadata: &Metadata) -> Result<(), SetupError> {
    let mode = metadata.mode() & 0o7777;
    let problem = if !metadata.is_file() {
        "it is not a regular file; name another one".to_owned()
    } else if mode & 0o177 != 0 {
        format!("it has mode {mode:04o}, and must have 0600: `chmod 600 {}`", path.display())
    } else if metadata.uid() != nix::unistd::geteuid().as_raw() {
        format!("it belongs to user {}; remove it, and the daemon makes its own", metadata.uid())
    } else {
        return Ok(());
    };
    Err(SetupError::KeyLog { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const LINE: &str = "L2LINK_AES_128_GCM 0000000000000005 00000007 00000008 \
                        01010101010101010101010101010101 02020202020202020202020202020202";

    #[test]
    fn lines_are_appended_to_a_file_of_mode_0600() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for _ in 0..2 {
            KeyLog::check(&path).unwrap();
            KeyLog::open(&path).unwrap().write(&LINE.parse().unwrap());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{LINE}\n{LINE}\n"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[rstest]
    fn a_file_open_to_others_is_refused(#[values(0o640, 0o604, 0o620, 0o666, 0o700)] mode: u32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyLog::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("`chmod 600 /"), "{error}");
        assert_eq!(KeyLog::check(&path).unwrap_err().to_string(), error);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn neither_a_link_nor_a_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("keys"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(KeyLog::open(&path).is_err());
        assert!(!target.exists());
        assert!(KeyLog::check(&path).unwrap_err().to_string().contains("not a regular file"));
        assert!(KeyLog::open(folder.path()).is_err());
    }
}
