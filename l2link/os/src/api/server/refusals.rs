//! [`Refusals`]: who was refused, counted and now and then logged.

use core::time::Duration;
use l2link::Time;

/// Why a client, or its request, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is not for this user.
    NotPermitted,
    /// There are too many clients.
    TooMany,
}

#[derive(Debug, Default)]
pub(super) struct Refusals {
    not_permitted: u64,
    too_many: u64,
    silent_until: Option<Time>,
    /// Since the last line of the log.
    swallowed: u64,
}

/// How long the log is silent after a line: anybody may be able to cause one.
const PAUSE: Duration = Duration::from_secs(10);

impl Refusals {
    pub(super) fn note(&mut self, why: Why, text: &str, now: Time) {
        match why {
            Why::NotPermitted => self.not_permitted += 1,
            Why::TooMany => self.too_many += 1,
        }
        if self.silent_until.is_some_and(|until| now < until) {
            self.swallowed += 1;
            return;
        }
        match std::mem::take(&mut self.swallowed) {
            0 => log::warn!(target: "api", "the command socket: {text}"),
            times => {
                log::warn!(target: "api", "the command socket: {text} (and {times} more refusals since)")
            }
        }
        self.silent_until = Some(now + PAUSE);
    }

    /// By reason, as the figures for monitoring call them.
    pub(super) const fn counts(&self) -> [(&'static str, u64); 2] {
        [("not-permitted", self.not_permitted), ("too-many", self.too_many)]
    }
}
