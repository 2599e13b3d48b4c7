//! Large segments: relays and controls by the hundred, the daemons' real cores over the real link, in one process and
//! virtual time, with the network of `l2link`'s simulator.
//!
//! What is checked: after loss, reordering, restarts and deaths every relay holds exactly the rules of the controls that
//! live, and all sessions are up. What is counted: messages and frames for each event, and the memory of a session and of a
//! rule. `docs/book/src/inside/scaling.md` holds the figures, and is compared with them.
//!
//! Time is virtual, and processors are infinitely fast: the figures tell what has to be done, not how long a machine takes
//! for it.

mod device;
mod document;
mod measure;
mod segment;
mod tables;
mod tally;

use measure::{Figure, measure};
use peak_alloc::PeakAlloc;
use segment::Size;
use std::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that are allotted.
pub(crate) fn allotted() -> i64 {
    i64::try_from(MEMORY.current_usage()).unwrap_or(i64::MAX)
}

const SIZES: [Size; 4] = [
    Size { relays: 1, controls: 1 },
    Size { relays: 10, controls: 5 },
    Size { relays: 50, controls: 20 },
    Size { relays: 200, controls: 50 },
];

#[test]
fn large_segments_come_right_and_grow_as_documented() {
    let figures = SIZES.map(|size| {
        let begin = Instant::now();
        let figures: Vec<Figure> = measure(size).unwrap_or_else(|failure| panic!("{size}: {failure}"));
        println!(
            "{size}: {:.1} s, at most {:.0} MiB",
            begin.elapsed().as_secs_f64(),
            MEMORY.peak_usage_as_mb()
        );
        figures
    });
    document::compare(&figures);
}
