//! [`RateLimit`]: an error that comes back is told once in a while, with how often it came.

use core::fmt;
use core::time::Duration;
use l2link::Time;
use log::warn;

/// How long the same trouble is not told again.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    silent_until: Option<Time>,
    swallowed: u64,
}

impl RateLimit {
    /// Warns, or counts.
    pub(crate) fn warn(&mut self, now: Time, text: impl fmt::Display) {
        if self.silent_until.is_some_and(|until| now < until) {
            self.swallowed += 1;
            return;
        }
        match self.swallowed {
            0 => warn!(target: "control::daemon", "{text}"),
            times => warn!(target: "control::daemon", "{text} (and {times} times more since)"),
        }
        self.swallowed = 0;
        self.silent_until = Some(now + PAUSE);
    }
}
