//! Durations, sorted once, and what is told of them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index from a share below one"
)]
use serde_json::{Value, json};
use std::time::Duration;

/// Median, 99th and 99.9th percentile and greatest of a set of durations, in µs.
pub(crate) fn summary(mut durations: Vec<Duration>) -> Value {
    durations.sort_unstable();
    let at = |share: f64| {
        let index = (durations.len() as f64 * share) as usize;
        durations.get(index.min(durations.len().saturating_sub(1))).map(|d| d.as_nanos() as f64 / 1e3)
    };
    json!({ "count": durations.len(), "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": at(1.0) })
}
