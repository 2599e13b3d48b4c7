//! The service manager's end of sd_notify(3).

use crate::wait::{SOON, eventually};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// What a daemon tells its service manager.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Notifications {
    /// Listens at a path, for `NOTIFY_SOCKET`.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bind a socket for notifications");
        socket.set_nonblocking(true).expect("set a socket to non-blocking");
        Self { socket, heard: Vec::new() }
    }

    /// Everything that was told, in order, `KEY=VALUE`.
    ///
    /// # Panics
    /// When the socket breaks.
    pub fn heard(&mut self) -> &[String] {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    self.heard.extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return &self.heard,
                Err(error) => panic!("reading notifications: {error}"),
            }
        }
    }

    /// Forgets what was told so far.
    pub fn forget(&mut self) {
        let _ = self.heard();
        self.heard.clear();
    }

    /// Waits until this was told.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn await_text(&mut self, text: &str) {
        eventually(SOON, &format!("the service manager hears {text:?}"), || {
            let heard = self.heard();
            if heard.iter().any(|heard| heard == text) { Ok(()) } else { Err(format!("it heard {heard:?}")) }
        });
    }

    /// Signs of life so far.
    #[must_use]
    pub fn signs_of_life(&mut self) -> usize {
        self.heard().iter().filter(|heard| *heard == "WATCHDOG=1").count()
    }
}
