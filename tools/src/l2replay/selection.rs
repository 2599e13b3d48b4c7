//! [`Selection`]: what of a replay is printed.

use l2link::Time;
use l2link::recording::Shown;

/// What of a replay is printed.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) from: Option<Time>,
    pub(crate) to: Option<Time>,
    /// `None` for everything.
    pub(crate) only: Option<Vec<What>>,
}

/// Kinds of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// What went in, link frames excepted
    Inputs,
    /// Link frames, both ways
    Frames,
    /// What became of frames and packets
    Verdicts,
    /// Why some went nowhere, and how often in the end
    Drops,
    /// What the daemon was asked to do
    Actions,
    /// What `l2ctl monitor` shows
    Events,
    /// What commands were told
    Answers,
}

impl Selection {
    /// Whether there is anything to print.
    pub(crate) fn wants_any(&self) -> bool {
        self.only.as_ref().is_none_or(|only| !only.is_empty())
    }

    pub(crate) fn is_of(&self, what: What) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&what))
    }

    /// Whether this is printed.
    pub(crate) fn wants(&self, time: Time, shown: &Shown) -> bool {
        let what = match shown {
            Shown::Frame { .. } => What::Frames,
            Shown::Input(..) => What::Inputs,
            Shown::Verdict(..) => What::Verdicts,
            Shown::Drop(_) => What::Drops,
            Shown::Action(_) => What::Actions,
            Shown::Event(_) => What::Events,
            Shown::Answer(_) => What::Answers,
        };
        let after = self.from.is_none_or(|from| time >= from);
        after && self.to.is_none_or(|to| time <= to) && self.is_of(what)
    }
}

/// Reads seconds, such as `12.5`.
pub(crate) fn seconds(text: &str) -> Result<Time, String> {
    let expected = || "write seconds, such as 12 or 12.000345".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
        return Err(expected());
    }
    let whole: u64 = whole.parse().map_err(|_| expected())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| expected())?;
    whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(part)).map(Time).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0", Some(0))]
    #[case("12", Some(12_000_000))]
    #[case("12.5", Some(12_500_000))]
    #[case("12.000345", Some(12_000_345))]
    #[case("12.0003451", None)]
    #[case("", None)]
    #[case(".5", None)]
    #[case("-1", None)]
    #[case("1.+5", None)]
    #[case("99999999999999999999", None)]
    #[case("18446744073710", None)]
    fn seconds_are_read(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(seconds(text).ok(), expected.map(Time));
    }

    #[test]
    fn from_and_to_are_of_it() {
        let selection = Selection { from: Some(Time(5)), to: Some(Time(7)), only: Some(vec![What::Actions]) };
        let action = Shown::Action("CloseTransit".into());
        let wanted: Vec<u64> = (0..10).filter(|time| selection.wants(Time(*time), &action)).collect();
        assert_eq!(wanted, [5, 6, 7]);
        assert!(!selection.wants(Time(6), &Shown::Answer("Ok(())".into())));
    }
}
