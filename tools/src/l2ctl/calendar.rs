//! Points in time as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in seconds since 1970, as `20261126T014500Z` (ISO 8601, basic format).
pub(crate) fn basic(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = clock(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// This moment as in the daemons' logs: `2026-11-26T01:45:00.123Z` (ISO 8601, UTC).
pub(crate) fn now() -> String {
    extended(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn extended(since_1970: Duration) -> String {
    let (seconds, ms) = (since_1970.as_secs(), since_1970.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = clock(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn clock(seconds: u64) -> (u64, u64, u64) {
    let second = seconds % 86_400;
    (second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of so many days after the first of 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, with which leap days are at the ends of years (Hinnant, chrono-Compatible Low-Level Date Algorithms).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "19700101T000000Z")]
    #[case(951_782_399, "20000228T235959Z")]
    #[case(951_782_400, "20000229T000000Z")]
    #[case(951_868_800, "20000301T000000Z")]
    #[case(1_735_689_599, "20241231T235959Z")]
    #[case(4_107_542_400, "21000301T000000Z")]
    fn time_is_told_by_the_calendar(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(basic(seconds), expected);
    }

    #[test]
    fn a_moment_is_told_as_in_logs() {
        assert_eq!(extended(Duration::from_millis(951_782_399_007)), "2000-02-28T23:59:59.007Z");
        assert!(now().starts_with("20") && now().len() == 24);
    }
}
