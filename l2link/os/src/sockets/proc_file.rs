//! A file below `/proc/net` of a namespace, read again and again by one descriptor.

use crate::NetNs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// An open file below `/proc/net`. The kernel makes its text anew whenever it is read from the start.
#[derive(Debug)]
pub(super) struct ProcFile {
    file: File,
    text: Vec<u8>,
}

impl ProcFile {
    /// Opens `/proc/net/NAME` of `netns`; `None` if the kernel has no such file.
    pub(super) fn open(netns: &NetNs, name: &str) -> io::Result<Option<Self>> {
        // Of the thread, not of the process: only the calling thread is in the namespace.
        match netns.run(|| File::open(format!("/proc/thread-self/net/{name}")))? {
            Ok(file) => Ok(Some(Self { file, text: Vec::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The present text.
    pub(super) fn read(&mut self) -> io::Result<&str> {
        const STEP: usize = 16 * 1024;
        let mut length = 0;
        loop {
            self.text.resize(length + STEP, 0);
            match self.file.read_at(&mut self.text[length..], length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.text.truncate(length);
        std::str::from_utf8(&self.text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}
