//! Figures as a human reads them.

/// Packets, or anything else, per second.
pub(crate) fn rate(value: f64) -> String {
    match value {
        ..=0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.1}"),
        _ => scaled(value, ""),
    }
}

/// Bits per second, of bytes per second.
pub(crate) fn bits(bytes: f64) -> String {
    scaled(bytes * 8.0, "b/s")
}

/// A number of things.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn count(value: u64) -> String {
    scaled(value as f64, "")
}

/// A number of bytes.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(value: u64) -> String {
    scaled(value as f64, "B")
}

/// A time in µs.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => age(us / 1_000),
    }
}

/// A time in ms, in its two largest units.
pub(crate) fn age(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {:02} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {:02} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {:02} h", s / 86_400, s / 3_600 % 24),
    }
}

/// Three digits and a prefix of the SI.
fn scaled(value: f64, unit: &str) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would be rounded up to 1000 takes the next prefix.
    let step = steps.iter().find(|(factor, _)| value >= 0.9995 * factor);
    let (value, prefix) = step.map_or((value, ""), |(factor, prefix)| (value / factor, *prefix));
    let number = match value {
        _ if prefix.is_empty() => format!("{value:.0}"),
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let space = if prefix.is_empty() && unit.is_empty() { "" } else { " " };
    format!("{number}{space}{prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0.0, "0")]
    #[case(0.25, "0.2")]
    #[case(9.94, "9.9")]
    #[case(123.0, "123")]
    #[case(999.6, "1.00 k")]
    #[case(12_345.0, "12.3 k")]
    #[case(999_600.0, "1.00 M")]
    fn rates(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(rate(value), expected);
    }

    #[test]
    fn units() {
        assert_eq!(bits(0.0), "0 b/s");
        assert_eq!(bits(125_000.0), "1.00 Mb/s");
        assert_eq!((bytes(999), bytes(1_500_000)), ("999 B".to_owned(), "1.50 MB".to_owned()));
        assert_eq!((count(7), count(65_536)), ("7".to_owned(), "65.5 k".to_owned()));
        assert_eq!(
            (micros(85), micros(1_250), micros(2_000_000)),
            ("85 µs".into(), "1.2 ms".into(), "2 s".into())
        );
        assert_eq!((age(59_999), age(61_000)), ("59 s".to_owned(), "1 min 01 s".to_owned()));
        assert_eq!((age(3_725_000), age(90_000_000)), ("1 h 02 min".to_owned(), "1 d 01 h".to_owned()));
    }
}
