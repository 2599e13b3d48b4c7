//! [`KeyRing`]: the keys of a key log, by the session's indices.

use crate::Failure;
use frames::SessionIndex;
use frames::header::{Flags, Frame};
use l2link::SessionKeys;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A key log, which may still grow.
pub(crate) struct KeyRing {
    path: PathBuf,
    file: File,
    /// Where the lines begin that are not read yet, and how many were.
    at: u64,
    lines: usize,
    /// Newest last. Several sessions may have had one index, one after the other or at several devices.
    keys: BTreeMap<SessionIndex, Vec<SessionKeys>>,
}

impl KeyRing {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
        let mut ring = Self { path: path.to_owned(), file, at: 0, lines: 0, keys: BTreeMap::new() };
        ring.read_on()?;
        Ok(ring)
    }

    /// The frame as it would be without encryption; `None` if it is not encrypted, or no key opens it.
    pub(crate) fn open_frame(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let Ok(view) = Frame::parse(frame) else { return Ok(None) };
        if !view.header.flags().contains(Flags::ENCRYPTED) {
            return Ok(None);
        }
        let receiver = view.header.receiver();
        if let Some(opened) = self.try_all(receiver, frame) {
            return Ok(Some(opened));
        }
        // A daemon may have added some.
        let opened = if self.read_on()? { self.try_all(receiver, frame) } else { None };
        Ok(opened)
    }

    fn try_all(&self, receiver: SessionIndex, frame: &[u8]) -> Option<Vec<u8>> {
        self.keys.get(&receiver)?.iter().rev().find_map(|keys| keys.open(frame))
    }

    /// Reads the lines that were added. Returns whether there were any.
    fn read_on(&mut self) -> Result<bool, Failure> {
        let mut bytes = vec![];
        let read = self.file.seek(SeekFrom::Start(self.at)).and_then(|_| self.file.read_to_end(&mut bytes));
        read.map_err(|source| Failure::Read { path: self.path.clone(), source })?;
        self.at += bytes.len() as u64;
        // A daemon writes each line by one call: none is seen half.
        for line in String::from_utf8_lossy(&bytes).lines() {
            self.lines += 1;
            self.take(line)?;
        }
        Ok(!bytes.is_empty())
    }

    fn take(&mut self, line: &str) -> Result<(), Failure> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let keys = line.parse().map_err(|source| Failure::KeyLog {
            path: self.path.clone(),
            line: self.lines,
            source,
        })?;
        self.insert(keys);
        Ok(())
    }

    /// Both devices may have written the same line.
    fn insert(&mut self, keys: SessionKeys) {
        for receiver in keys.receivers() {
            let known = self.keys.entry(receiver).or_default();
            if !known.contains(&keys) {
                known.push(keys.clone());
            }
        }
    }
}
