//! Rows as aligned text.

use crate::columns::{cell, heading, is_quantity, keys_of};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{self, Write};

const GAP: &str = "  ";

/// The keys of each row whose cells are to be marked.
pub(crate) type Marks = Vec<BTreeSet<String>>;

/// Prints rows under their headings, those of the `documented` keys first; or that there are none of `what`.
pub(crate) fn print(
    out: &mut impl Write,
    what: &str,
    documented: &'static [&'static str],
    rows: &[Value],
) -> io::Result<()> {
    print_marked(out, what, documented, rows, None)
}

/// As [`print()`], with some cells in reverse.
pub(crate) fn print_marked(
    out: &mut impl Write,
    what: &str,
    documented: &'static [&'static str],
    rows: &[Value],
    marks: Option<&Marks>,
) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "no {what}");
    }
    let columns: Vec<Column<'_>> =
        keys_of(documented, rows).into_iter().map(|key| Column::new(key, rows)).collect();
    for line in 0..=rows.len() {
        let marked = line.checked_sub(1).and_then(|row| marks?.get(row));
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let cell = column.padded(line);
                let is_marked = marked.is_some_and(|marked| marked.contains(column.key));
                if is_marked { format!("\x1b[7m{cell}\x1b[0m") } else { cell }
            })
            .collect();
        writeln!(out, "{}", cells.join(GAP).trim_end())?;
    }
    Ok(())
}

struct Column<'a> {
    key: &'a str,
    /// The heading, then a cell for each row.
    cells: Vec<String>,
    width: usize,
    right: bool,
}

impl<'a> Column<'a> {
    fn new(key: &'a str, rows: &[Value]) -> Self {
        let values = || rows.iter().map(|row| &row[key]);
        let cells: Vec<String> =
            std::iter::once(heading(key)).chain(values().map(|value| cell(key, value))).collect();
        Self {
            key,
            width: cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0),
            right: values().all(|value| value.is_null() || is_quantity(key, value)),
            cells,
        }
    }

    fn padded(&self, line: usize) -> String {
        let (cell, width) = (&self.cells[line], self.width);
        if self.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Object;
    use serde_json::json;

    fn printed(object: Object, rows: &[Value]) -> String {
        let mut out = Vec::new();
        print(&mut out, object.name(), object.keys(), rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let rows = [
            json!({"name": "control1", "role": "control", "state": "up", "rtt_us": 85, "session_age_ms": 1200}),
            json!({"name": "c2", "role": "control", "state": "down", "rtt_us": null, "session_age_ms": 99_000}),
        ];
        assert_eq!(
            printed(Object::Peers, &rows),
            "NAME      ROLE     STATE  SESSION AGE    RTT\n\
             control1  control  up           1.2 s  85 µs\n\
             c2        control  down    1 min 39 s      -\n"
        );
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(printed(Object::Rules, &[]), "no rules\n");
    }
}
