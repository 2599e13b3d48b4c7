//! [`SavedSysctls`]: settings that a daemon changes for as long as it serves, and that survive its death.
//!
//! # Theory of operation
//! [`crate::Sysctls`] knows the old values only as long as the process lives. A daemon that is killed leaves its values in
//! the kernel, where they do no harm and forwarding goes on; but its successor would take them for the original ones. So
//! the old values stand in a file, written before the kernel's value is changed, and removed when all are back.
//!
//! A value that somebody else has changed meanwhile stays as it is.
//!
//! Some settings change others: `net/ipv4/ip_forward` and `net/ipv6/conf/all/forwarding` set the `forwarding` of every
//! interface (`inet_forward_change` of `net/ipv4/devinet.c`, `addrconf_fixup_forwarding` of `net/ipv6/addrconf.c`).
//! [`SavedSysctls::preserve`] keeps the others' values, if it is called first.

use crate::{NetNs, SetupError, StateFile};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};
use std::{fs, io};

/// Settings of one namespace that were changed, with their old values, put back in reverse order when this is dropped.
#[derive(Debug)]
pub struct SavedSysctls {
    netns: NetNs,
    file: StateFile<Vec<Changed>>,
    changed: Vec<Changed>,
    /// The paths that an earlier process left and this one has not asked for yet.
    left: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    /// Below `/proc/sys`.
    path: String,
    old: String,
    /// The value that was set; none if the setting is one that others change.
    ours: Option<String>,
}

impl SavedSysctls {
    /// Takes over what an earlier process left in `file`, if anything, without touching a setting. A file that cannot be
    /// understood counts as none, with a warning.
    ///
    /// # Errors
    /// [`SetupError::System`] if the file is there and cannot be read, or the kernel does not tell which boot this is.
    pub fn open(netns: &NetNs, file: &Path) -> Result<Self, SetupError> {
        let (file, left) = StateFile::open(netns, file)?;
        let mut changed: Vec<Changed> = left.unwrap_or_default();
        changed.retain(|changed| is_network_setting(&changed.path));
        let left = changed.iter().map(|changed| changed.path.clone()).collect();
        Ok(Self { netns: netns.clone(), file, changed, left })
    }

    /// Sets `path` below `/proc/sys` (`net/ipv4/ip_forward`) to `value`, and saves the old value first if it differs.
    ///
    /// # Errors
    /// The kernel's, `ENOENT` if it has no such setting; the file's if the old value cannot be saved. The setting is as it
    /// was then.
    pub fn set(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.left.retain(|left| left != path);
        let old = self.read(path)?;
        match self.changed.iter_mut().find(|changed| changed.path == path) {
            Some(changed) => {
                let before = changed.ours.replace(value.to_owned());
                if before.as_deref() != Some(value)
                    && let Err(error) = self.save()
                {
                    self.restate(path, before);
                    return Err(error);
                }
            }
            None if old == value => return Ok(()),
            None => {
                self.remember(Changed { path: path.to_owned(), old: old.clone(), ours: Some(value.into()) })?
            }
        }
        if old == value { Ok(()) } else { self.write(path, value) }
    }

    /// Saves the value of a setting that another one changes along with itself, before that is set.
    ///
    /// # Errors
    /// As [`SavedSysctls::set`].
    pub fn preserve(&mut self, path: &str) -> io::Result<()> {
        self.left.retain(|left| left != path);
        if self.changed.iter().any(|changed| changed.path == path) {
            return Ok(());
        }
        let old = self.read(path)?;
        self.remember(Changed { path: path.to_owned(), old, ours: None })
    }

    /// Puts back what an earlier process had changed and this one has not asked for: the configuration is another one now.
    pub fn put_back_unclaimed(&mut self) {
        let left = core::mem::take(&mut self.left);
        self.put_back(|changed| left.contains(&changed.path));
    }

    /// Puts back those settings that `which` picks by their paths: this process wants them no more.
    pub fn put_back_those(&mut self, which: impl Fn(&str) -> bool) {
        self.put_back(|changed| which(&changed.path));
    }

    /// Ends this without putting anything back: a successor takes over.
    pub fn keep(mut self) {
        // What is not in `changed` is not put back by drop; the file has it all.
        self.changed.clear();
    }

    /// Puts back those settings, the last first, and saves what is left.
    fn put_back(&mut self, wanted: impl Fn(&Changed) -> bool) {
        if self.changed.is_empty() {
            return;
        }
        for changed in self.changed.iter().rev().filter(|changed| wanted(changed)) {
            match self.put_back_one(changed) {
                Ok(()) => {}
                // The interface went first, and its settings with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn!("cannot put {} back to {}: {error}", changed.path, changed.old),
            }
        }
        self.changed.retain(|changed| !wanted(changed));
        if let Err(error) = self.save() {
            log::warn!("cannot write {}: {error}", self.file.path().display());
        }
    }

    fn put_back_one(&self, changed: &Changed) -> io::Result<()> {
        let now = self.read(&changed.path)?;
        if changed.ours.as_ref().is_some_and(|ours| *ours != now) {
            log::info!("{} is {now} now, by somebody else: left as it is", changed.path);
            return Ok(());
        }
        if now == changed.old { Ok(()) } else { self.write(&changed.path, &changed.old) }
    }

    fn restate(&mut self, path: &str, ours: Option<String>) {
        if let Some(changed) = self.changed.iter_mut().find(|changed| changed.path == path) {
            changed.ours = ours;
        }
    }

    fn remember(&mut self, changed: Changed) -> io::Result<()> {
        self.changed.push(changed);
        self.save().inspect_err(|_| drop(self.changed.pop()))
    }

    fn save(&self) -> io::Result<()> {
        if self.changed.is_empty() { self.file.remove() } else { self.file.save(&self.changed) }
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let path = Path::new(SYSCTLS).join(path);
        Ok(self.netns.run(|| fs::read_to_string(path))??.trim_end().to_owned())
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let path = Path::new(SYSCTLS).join(path);
        self.netns.run(|| fs::write(path, value))?
    }
}

impl Drop for SavedSysctls {
    fn drop(&mut self) {
        self.put_back(|_| true);
    }
}

/// Whether the path stays below `/proc/sys/net`.
fn is_network_setting(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.next() == Some(Component::Normal("net".as_ref()))
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

const SYSCTLS: &str = "/proc/sys";
