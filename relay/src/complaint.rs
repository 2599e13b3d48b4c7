//! [`Complaint`]: a repeated error is logged once a minute.

use core::time::Duration;
use l2link::Time;

/// What was complained about last, and when.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    last: Option<(String, Time)>,
}

impl Complaint {
    /// Logs a warning, unless it was logged within the last minute.
    pub(crate) fn warn(&mut self, target: &str, text: String, now: Time) {
        let repeated = self.last.as_ref().is_some_and(|(last, at)| *last == text && now - *at < QUIET);
        if !repeated {
            log::warn!(target: target, "{text}");
            self.last = Some((text, now));
        }
    }

    /// The cause is gone: the next error is news again.
    pub(crate) fn clear(&mut self) {
        self.last = None;
    }
}

const QUIET: Duration = Duration::from_secs(60);
