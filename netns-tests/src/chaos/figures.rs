//! The table.

use std::fmt::Write as _;
use std::time::Duration;

/// What a fault came to.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Its name.
    pub fault: &'static str,
    /// From its beginning until a daemon missed its peer; none if none did.
    pub detected: Option<Duration>,
    /// From its end until everything worked, as far as it was seen from outside.
    pub converged: Duration,
    /// Frames of the segment that the wire lost.
    pub wire_lost: u64,
    /// Frames that the wire made, as in a storm.
    pub wire_made: u64,
    /// Packets in transit, sent and lost.
    pub transit: (u64, u64),
    /// Requests to the healthy pair, sent and lost.
    pub healthy: (u64, u64),
    /// Greatest growth of a daemon's resident memory, in KiB.
    pub memory: u64,
    /// What the fault found out besides.
    pub remark: String,
}

/// The figures as a table of Markdown.
#[must_use]
pub fn table(figures: &[Figures]) -> String {
    let mut text = "| fault | missed after, ms | whole again after, ms | wire lost, frames | wire made, frames | transit: lost of sent \
        | healthy pair: lost of sent | memory, KiB | besides |\n|---|--:|--:|--:|--:|--:|--:|--:|---|\n"
        .to_owned();
    for row in figures {
        let detected = row.detected.map_or("-".to_owned(), |time| time.as_millis().to_string());
        let _ = writeln!(
            text,
            "| {} | {detected} | {} | {} | {} | {} of {} | {} of {} | {:+} | {} |",
            row.fault,
            row.converged.as_millis(),
            row.wire_lost,
            row.wire_made,
            row.transit.1,
            row.transit.0,
            row.healthy.1,
            row.healthy.0,
            row.memory,
            row.remark
        );
    }
    text
}
