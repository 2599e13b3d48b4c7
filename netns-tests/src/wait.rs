//! Waiting for things to become true.

use std::panic::Location;
use std::time::{Duration, Instant};

/// Within this time everything that should happen by itself has happened, on a loaded two-core machine as well.
pub const SOON: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(10);

/// Probes until `probe` gives a value, and returns it.
///
/// # Panics
/// When the deadline has passed, with what the last probe complained about.
#[track_caller]
pub fn eventually<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let (start, caller) = (Instant::now(), Location::caller());
    loop {
        let complaint = match probe() {
            Ok(value) => return value,
            Err(complaint) => complaint,
        };
        assert!(start.elapsed() < deadline, "{caller}: not within {deadline:?}: {what}: {complaint}");
        std::thread::sleep(PAUSE);
    }
}

/// Probes for all of `period` that `probe` finds nothing to complain about.
///
/// # Panics
/// With the first complaint.
#[track_caller]
pub fn never(period: Duration, what: &str, mut probe: impl FnMut() -> Result<(), String>) {
    let (start, caller) = (Instant::now(), Location::caller());
    while start.elapsed() < period {
        if let Err(complaint) = probe() {
            panic!("{caller}: after {:?}: {what}: {complaint}", start.elapsed());
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eventually_returns_what_the_probe_finds() {
        let mut probes = 0;
        let value = eventually(SOON, "third probe", || {
            probes += 1;
            if probes == 3 { Ok(probes) } else { Err("not yet".into()) }
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "still dark")]
    fn eventually_gives_up_with_the_last_complaint() {
        eventually(PAUSE, "dawn", || Err::<(), _>("still dark".into()));
    }

    #[test]
    #[should_panic(expected = "rain")]
    fn never_complains_at_once() {
        never(SOON, "dry", || Err("rain".into()));
    }
}
