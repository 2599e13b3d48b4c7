//! `l2ctl show … --watch`: a table again and again.
//!
//! On a terminal the picture is drawn in place, as much of it as there is room for, and what has changed since the last look is
//! marked: a cell of a row that was there before, or a new row as a whole. Elsewhere each look is a block, or with `--json` a line.
//! A daemon that is gone is waited for on a terminal; elsewhere it is the end.

use crate::columns::{Object, identity};
use crate::table::{self, Marks};
use crate::{Failure, Look};
use serde_json::Value;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// Prints what `look` says every `interval`, until there is an error, or the reader is gone.
pub(crate) fn run(
    out: &mut impl Write,
    what: &Look,
    interval: Duration,
    mut look: impl FnMut() -> Result<Vec<Value>, Failure>,
) -> Result<(), Failure> {
    let is_terminal = nix::unistd::isatty(io::stdout()).unwrap_or(false);
    let mut before: Option<Vec<Value>> = None;
    loop {
        match look() {
            Ok(rows) if what.json => writeln!(out, "{}", Value::from(rows))?,
            Ok(rows) => {
                let marks =
                    before.as_ref().filter(|_| is_terminal).map(|before| changes(what.object, before, &rows));
                let mut picture = Vec::new();
                table::print_marked(
                    &mut picture,
                    what.object.name(),
                    what.object.keys(),
                    &rows,
                    marks.as_ref(),
                )?;
                if is_terminal {
                    redraw(out, &picture)?
                } else {
                    block(out, &picture, before.is_none())?
                }
                before = Some(rows);
            }
            Err(failure) if is_terminal && before.is_some() && !what.json => {
                redraw(out, format!("waiting: {failure}\n").as_bytes())?;
            }
            Err(failure) => return Err(failure),
        }
        out.flush()?;
        thread::sleep(interval);
    }
}

/// Blocks are apart by an empty line.
fn block(out: &mut impl Write, picture: &[u8], first: bool) -> io::Result<()> {
    if !first {
        writeln!(out)?;
    }
    out.write_all(picture)
}

/// Which cells of the new rows are not as they were.
fn changes(object: Object, before: &[Value], rows: &[Value]) -> Marks {
    let known: std::collections::BTreeMap<String, &Value> =
        before.iter().map(|row| (identity(object, row), row)).collect();
    rows.iter()
        .map(|row| {
            let old = known.get(&identity(object, row));
            let keys = row.as_object().into_iter().flatten();
            // An age changes always, which says nothing.
            let keys = keys.filter(|(key, _)| *key != "session_age_ms");
            let changed = keys.filter(|(key, value)| old.is_none_or(|old| old[key.as_str()] != **value));
            changed.map(|(key, _)| key.clone()).collect()
        })
        .collect()
}

/// Draws from the upper left corner, over what is there, cut to the size of the terminal.
fn redraw(out: &mut impl Write, picture: &[u8]) -> io::Result<()> {
    let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
    let text = String::from_utf8_lossy(picture);
    let lines: Vec<&str> = text.lines().collect();
    let room = usize::from(height).saturating_sub(1).max(1);
    write!(out, "\x1b[H")?;
    let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
    for line in &lines[..shown] {
        writeln!(out, "{}\x1b[0m\x1b[K", cut(line, width.into()))?;
    }
    if shown < lines.len() {
        writeln!(out, "… {} more lines\x1b[K", lines.len() - shown)?;
    }
    write!(out, "\x1b[J")
}

/// A line of so many letters at most, of which marks are none; the last one says that there are more.
fn cut(line: &str, width: usize) -> String {
    let fitting = begin(line, width);
    if fitting.len() == line.len() || width == 0 {
        return fitting.to_owned();
    }
    format!("{}…", begin(line, width - 1))
}

/// As much of a line as has so many letters.
fn begin(line: &str, width: usize) -> &str {
    let (mut room, mut is_mark) = (width, false);
    let fits = |letter: &char| {
        is_mark |= *letter == '\x1b';
        let takes = usize::from(!is_mark);
        is_mark &= *letter != 'm';
        let fits = room >= takes;
        room = room.saturating_sub(takes);
        fits
    };
    let end: usize = line.chars().take_while(fits).map(char::len_utf8).sum();
    &line[..end]
}

/// Seconds between two looks.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || "0.1 to 3600 seconds".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(json: bool) -> Look {
        Look { object: Object::Counters, json }
    }

    fn printed(what: &Look, looks: &[Value]) -> (String, Failure) {
        let (mut out, mut looks) = (Vec::new(), looks.iter());
        let rows = |value: &Value| vec![json!({"name": "drop.unmatched", "value": value})];
        let gone = || Failure::Daemon("gone".to_owned());
        let failure =
            run(&mut out, what, Duration::ZERO, || looks.next().map(rows).ok_or_else(gone)).unwrap_err();
        (String::from_utf8(out).unwrap(), failure)
    }

    #[test]
    fn a_pipe_has_a_block_or_a_line_for_each_look() {
        let (text, failure) = printed(&look(false), &[json!(1), json!(22)]);
        assert_eq!(
            text,
            "NAME            VALUE\ndrop.unmatched      1\n\nNAME            VALUE\ndrop.unmatched     22\n"
        );
        assert!(matches!(failure, Failure::Daemon(_)));
        let (text, _) = printed(&look(true), &[json!(1), json!(22)]);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[1], json!([{"name": "drop.unmatched", "value": 22}]));
    }

    #[test]
    fn changed_cells_and_new_rows_are_marked() {
        let before = [json!({"name": "a", "value": 1}), json!({"name": "b", "value": 2})];
        let rows = [
            json!({"name": "b", "value": 3}),
            json!({"name": "a", "value": 1}),
            json!({"name": "c", "value": 9}),
        ];
        let marks = changes(Object::Counters, &before, &rows);
        let mut out = Vec::new();
        table::print_marked(&mut out, "counters", Object::Counters.keys(), &rows, Some(&marks)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected =
            "NAME  VALUE\nb     \x1b[7m    3\x1b[0m\na         1\n\x1b[7mc   \x1b[0m  \x1b[7m    9\x1b[0m\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_is_cut_by_its_letters() {
        assert_eq!(cut("a\x1b[7mµb\x1b[0mc", 3), "a\x1b[7mµ…");
        assert_eq!(cut("a\x1b[7mµb\x1b[0m", 3), "a\x1b[7mµb\x1b[0m");
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn intervals_are_bounded() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "soon", "1e9", "NaN"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
