//! The clock: read once per wake-up.

use core::time::Duration;
use l2link::Time;
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Time since the first call in this process, which a daemon makes at its start, by `CLOCK_MONOTONIC`: it never jumps,
/// and stands still while the machine sleeps, so that a woken machine does not take its peers for silent.
#[must_use]
pub fn now() -> Time {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    Time(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}

/// The processor's time that the calling thread has had, in the kernel too: what it does costs that much, however long others
/// are at work meanwhile.
///
/// # Errors
/// The kernel's; none is known.
pub fn worked() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The time of day in µs since 1970, for people.
#[must_use]
pub fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Whether something keeps the time of day right (adjtimex(2)). Only the times in logs depend on it.
#[must_use]
pub fn is_synchronized() -> bool {
    // SAFETY: timex is integers only, of which zero is a value; its `modes` of zero changes nothing.
    let mut timex: libc::timex = unsafe { core::mem::zeroed() };
    // SAFETY: the pointer is to the structure above.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_work() {
        let begin = worked().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let slept = worked().unwrap() - begin;
        assert!(slept < Duration::from_millis(25), "{slept:?}");
        while worked().unwrap() - begin < Duration::from_millis(1) {}
    }
}
