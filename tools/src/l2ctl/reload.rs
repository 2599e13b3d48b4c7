//! `reload` and `confirm`: the daemon reads its configuration again.

use crate::{Failure, daemon};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub(crate) fn reload(
    socket: &Path,
    check: bool,
    confirm: Option<Duration>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let confirm_ms = confirm.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let request = json!({"verb": "reload", "check": check, "confirm_ms": confirm_ms});
    let changes = daemon::request(socket, &request)?;
    if json {
        writeln!(out, "{:#}", Value::from(changes))?;
        return Ok(());
    }
    for change in &changes {
        let text = |key: &str| change[key].as_str().unwrap_or("?").to_owned();
        writeln!(out, "{}: {}", text("what"), text("change"))?;
    }
    if changes.is_empty() {
        writeln!(out, "nothing {}", if check { "would change" } else { "has changed" })?;
    }
    match confirm {
        Some(time) if changes.is_empty() => {
            writeln!(
                out,
                "waits {time:?} for `l2ctl confirm` all the same: until then no other reload is taken"
            )?;
        }
        Some(time) => writeln!(out, "goes back in {time:?}, unless `l2ctl confirm` comes first")?,
        None => {}
    }
    Ok(())
}

pub(crate) fn confirm(socket: &Path) -> Result<(), Failure> {
    daemon::request(socket, &json!({"verb": "confirm"}))?;
    Ok(())
}

/// A time in seconds, or with its unit.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let ms = match &text[digits.len()..] {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number: Option<u64> = digits.parse().ok();
    let ms = number.zip(ms).and_then(|(number, unit)| number.checked_mul(unit)).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| "write a time like 60s, 5m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("60s", Some(60_000))]
    #[case("60", Some(60_000))]
    #[case("5m", Some(300_000))]
    #[case("1h", Some(3_600_000))]
    #[case("250ms", Some(250))]
    #[case("0s", None)]
    #[case("s", None)]
    #[case("1.5s", None)]
    #[case("-1s", None)]
    #[case("5 weeks", None)]
    #[case("99999999999999999999h", None)]
    fn times(#[case] text: &str, #[case] ms: Option<u64>) {
        assert_eq!(time(text).ok(), ms.map(Duration::from_millis));
    }
}
