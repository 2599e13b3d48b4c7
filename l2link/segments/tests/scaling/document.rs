//! The table of `docs/book/src/inside/scaling.md`.

use crate::measure::Figure;
use std::path::Path;

/// How far the document may be from what is counted, in percent: it is there for orders of magnitude.
const TOLERANCE: u64 = 10;

/// Prints the table, and fails where the document tells anything else.
pub(crate) fn compare(sizes: &[Vec<Figure>]) {
    let Some(first) = sizes.first() else { return };
    let rows = first.iter().enumerate().map(|(row, figure)| {
        let cells: Vec<u64> = sizes.iter().map(|figures| figures[row].value).collect();
        (figure, cells)
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/src/inside/scaling.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut wrong = Vec::new();
    for (figure, cells) in rows {
        let shown: Vec<String> = cells.iter().map(|cell| with_commas(*cell)).collect();
        println!("| {} | {} | {} |", figure.what, shown.join(" | "), figure.grows);
        let written = written(&text, figure.what);
        let agrees = |(cell, written): (&u64, &u64)| cell.abs_diff(*written) * 100 <= cell * TOLERANCE;
        let all_agree = written.len() == cells.len() && cells.iter().zip(&written).all(agrees);
        if !(all_agree || figure.varies && written.len() == cells.len()) {
            wrong.push(figure.what);
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/book/src/inside/scaling.md should have what is printed above for: {wrong:?}"
    );
}

/// The numbers of a row.
fn written(text: &str, what: &str) -> Vec<u64> {
    let begin = format!("| {what} |");
    let cells = text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_default();
    cells.split('|').filter_map(|cell| cell.replace(',', "").trim().parse().ok()).collect()
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
