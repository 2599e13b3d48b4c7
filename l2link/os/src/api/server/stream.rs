//! [`Stream`]: bytes other than answers, to one client of the command socket.

use super::connection::Connection;
use std::io;

/// A client that reads a stream of bytes. Nothing here blocks.
#[derive(Debug)]
pub struct Stream<'a>(&'a mut Connection);

impl<'a> Stream<'a> {
    pub(super) const fn new(connection: &'a mut Connection) -> Self {
        Self(connection)
    }

    /// Bytes that have room. Whoever pushes more makes the daemon's memory grow.
    #[must_use]
    pub fn room(&self) -> usize {
        self.0.room()
    }

    /// Where bytes are added. They leave with the next [`Stream::flush`], or when the client has read what waits before them.
    pub const fn output(&mut self) -> &mut Vec<u8> {
        self.0.output()
    }

    /// Whether the client has said that it is enough, by shutting its end down for writing, or is gone.
    #[must_use]
    pub const fn has_hung_up(&self) -> bool {
        self.0.hung_up
    }

    /// Writes as much as the client reads.
    ///
    /// # Errors
    /// The kernel's: the client is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
