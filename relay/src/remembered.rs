//! [`Remembered`]: the controls that have routes, in a file beside the command socket.
//!
//! A daemon that takes over from one that was killed finds routes in the kernel, and no word of whose they are. As soon as
//! each of these controls has said its table anew, what nobody said is a leftover.

use l2link_os::{NetNs, SetupError, StateFile};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// The names of those controls.
#[derive(Debug)]
pub(crate) struct Remembered(StateFile<BTreeSet<String>>);

impl Remembered {
    /// The file, and what an earlier process left in it.
    pub(crate) fn open(
        netns: &NetNs,
        api_socket: &Path,
    ) -> Result<(Self, Option<BTreeSet<String>>), SetupError> {
        let mut name = OsString::from(api_socket);
        name.push(".controls");
        let (file, names) = StateFile::open(netns, name.as_ref())?;
        Ok((Self(file), names))
    }

    /// Remembers these, and no others.
    pub(crate) fn set(&self, names: &BTreeSet<String>) {
        if let Err(error) = self.0.save(names) {
            let path = self.0.path().display();
            log::warn!(
                target: "relay::route",
                "cannot write {path}: {error}; if the daemon is killed, routes that end meanwhile stay for the hold time"
            );
        }
    }

    /// There is nothing left to remember them for.
    pub(crate) fn forget(&self) {
        if let Err(error) = self.0.remove() {
            log::warn!(target: "relay::route", "cannot remove {}: {error}", self.0.path().display());
        }
    }
}
