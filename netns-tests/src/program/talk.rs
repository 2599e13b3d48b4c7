//! A client that goes on talking to an echo server.

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::{SOON, eventually};

/// A running client that asks a UDP echo server from one socket, some hundred times a second, and goes on when it is not answered.
#[derive(Debug)]
pub struct Talk(Process);

impl Talk {
    /// Starts it, and waits for the first answers. `arguments`: `ADDRESS PORT LENGTH`.
    ///
    /// # Panics
    /// When none come.
    #[must_use]
    #[track_caller]
    pub fn start(from: &Netns, arguments: &str) -> Self {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let talk = Self(from.python(include_str!("talk.py"), &arguments));
        talk.await_more();
        talk
    }

    /// How often it was answered, with what it had asked, in steps of 20.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let log = self.0.log();
        let whole = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let last = whole.lines().last().and_then(|line| line.strip_prefix("answered "));
        last.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Waits until it has been answered more often than until now.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn await_more(&self) {
        let before = self.answered();
        eventually(2 * SOON, "a client is answered again", || match self.answered() {
            now if now > before + 20 => Ok(()),
            now => Err(format!("{before} answers, then {now}: {}", self.0.log())),
        });
    }
}
