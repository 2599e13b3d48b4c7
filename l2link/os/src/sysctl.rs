//! [`Sysctls`]: kernel settings of a namespace, put back at the end.

use crate::NetNs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Settings that were changed, with their old values, put back in reverse order when this is dropped.
#[derive(Debug, Default)]
pub struct Sysctls {
    changed: Vec<Changed>,
}

#[derive(Debug)]
struct Changed {
    netns: NetNs,
    path: PathBuf,
    old: String,
}

impl Sysctls {
    /// Sets `path` below `/proc/sys` (`net/ipv4/conf/eth1/rp_filter`) to `value` in `netns`, and remembers the old
    /// value if it differs.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` if the kernel has no such setting.
    pub fn set(&mut self, netns: &NetNs, path: &str, value: &str) -> io::Result<()> {
        let path = Path::new("/proc/sys").join(path);
        let old = netns.run(|| fs::read_to_string(&path))??.trim_end().to_owned();
        if old == value {
            return Ok(());
        }
        netns.run(|| fs::write(&path, value))??;
        if !self.changed.iter().any(|changed| changed.path == path && changed.netns.inode() == netns.inode())
        {
            self.changed.push(Changed { netns: netns.clone(), path, old });
        }
        Ok(())
    }

    /// Forgets the old values: the interface that the settings belonged to is gone, or they shall stay.
    pub fn forget(&mut self) {
        self.changed.clear();
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        for Changed { netns, path, old } in self.changed.drain(..).rev() {
            match netns.run(|| fs::write(&path, &old)).and_then(|written| written) {
                Ok(()) => {}
                // The interface went first, and its settings with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn!("cannot put {} back to {old}: {error}", path.display()),
            }
        }
    }
}
