//! [`SocketEvents`] of a program that was built without it.

use crate::{Error, News};
use core::convert::Infallible;
use l2link_os::sockets::Part;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// There are none.
#[derive(Debug)]
pub struct SocketEvents(Infallible);

/// There is none.
#[derive(Debug, Clone)]
pub struct Watcher(Infallible);

/// There is none.
#[derive(Debug)]
pub struct Watch(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, reason = "nobody can call it")]
impl SocketEvents {
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn open() -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    #[must_use]
    pub fn tells_of_packet_sockets(&self) -> bool {
        match self.0 {}
    }

    #[must_use]
    pub fn watcher(&self) -> Watcher {
        match self.0 {}
    }

    pub fn drain(&mut self) -> io::Result<Vec<News>> {
        match self.0 {}
    }
}

impl AsRawFd for SocketEvents {
    fn as_raw_fd(&self) -> RawFd {
        match self.0 {}
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "nobody can call it")]
impl Watcher {
    pub fn watch(&self, _cookie: u64, _namespace: u32) -> Result<Watch, Error> {
        match self.0 {}
    }
}

#[allow(missing_docs, reason = "nobody can call it")]
impl Watch {
    pub fn begin_look(&self, _part: Part) {
        match self.0 {}
    }
}
