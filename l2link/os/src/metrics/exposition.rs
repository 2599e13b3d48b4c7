//! [`Exposition`]: the figures of one moment, and their text.

use super::metric::{Family, Kind, Metric, Owner};
use core::fmt;
use l2link::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;

/// The figures of one daemon at one moment.
#[derive(Debug)]
pub struct Exposition {
    owner: Owner,
    samples: BTreeMap<Metric, Vec<Sample>>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number of things.
    Whole(u64),
    /// A quantity.
    Real(f64),
    /// Durations.
    Histogram(Box<Histogram>),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<core::time::Duration> for Value {
    fn from(value: core::time::Duration) -> Self {
        Self::Real(value.as_secs_f64())
    }
}

impl From<&Histogram> for Value {
    fn from(value: &Histogram) -> Self {
        Self::Histogram(Box::new(value.clone()))
    }
}

impl Exposition {
    /// No figures yet.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self { owner, samples: BTreeMap::new() }
    }

    /// Adds a figure with the values of its labels, in the order of [`Family::labels`].
    pub fn add(&mut self, metric: Metric, labels: &[&str], value: impl Into<Value>) {
        let names = metric.family().labels;
        debug_assert_eq!(labels.len(), names.len(), "{metric:?} has the labels {names:?}");
        let labels = names.iter().zip(labels).map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.entry(metric).or_default().push(Sample { labels, value: value.into() });
    }

    /// Adds figures that differ in one label.
    pub fn add_each<'a>(
        &mut self,
        metric: Metric,
        each: impl IntoIterator<Item = (&'a str, impl Into<Value>)>,
    ) {
        for (label, value) in each {
            self.add(metric, &[label], value);
        }
    }

    /// The text, in the form of OpenMetrics 1.0.
    #[must_use]
    pub fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match text::encode(&mut text, &registry) {
            Ok(()) => text,
            // A string takes all that is written.
            Err(fmt::Error) => String::new(),
        }
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in Metric::of(self.owner) {
            let Family { name, unit, kind, help, .. } = metric.family();
            // The encoder appends the unit by itself.
            let base = name.strip_suffix(unit).and_then(|base| base.strip_suffix('_')).unwrap_or(name);
            let unit = (!unit.is_empty()).then(|| Unit::Other((*unit).to_owned()));
            let base = if unit.is_some() { base } else { name };
            let mut encoder = encoder.encode_descriptor(base, help, unit.as_ref(), metric_type(*kind))?;
            for Sample { labels, value } in self.samples.get(&metric).into_iter().flatten() {
                match kind {
                    Kind::Info => encoder.encode_info(labels)?,
                    _ if labels.is_empty() => write(&mut encoder, *kind, value)?,
                    _ => write(&mut encoder.encode_family(labels)?, *kind, value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (_, Value::Whole(value)) => encoder.encode_gauge(value),
        (_, Value::Real(value)) => encoder.encode_gauge(value),
        (_, Value::Histogram(histogram)) => {
            let bound = |bound: Option<core::time::Duration>| {
                bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64())
            };
            let buckets: Vec<(f64, u64)> =
                histogram.buckets().map(|(upper, count)| (bound(upper), count)).collect();
            let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
    }
}

const fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    }
}

/// The same in the text format 0.0.4 of Prometheus: there the suffixes of counters and of an info belong to the name, an
/// info is a gauge, and neither units nor an end are said.
pub(super) fn classic(openmetrics: &str) -> String {
    let families = Metric::ALL.iter().map(|metric| metric.family());
    let kinds: BTreeMap<&str, Kind> = families.map(|family| (family.name, family.kind)).collect();
    let mut classic = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let (suffix, kind) = match kinds.get(name) {
                    Some(Kind::Counter) => ("_total", rest),
                    Some(Kind::Info) => ("_info", "gauge"),
                    Some(Kind::Gauge | Kind::Histogram) | None => ("", rest),
                };
                let rest = if what == "TYPE" { kind } else { rest };
                classic.push_str(&format!("# {what} {name}{suffix} {rest}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                classic.push_str(line);
                classic.push('\n');
            }
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn text() -> String {
        let mut exposition = Exposition::new(Owner::Relay);
        exposition.add(Metric::Daemon, &["r\"1\\\n", "relay", "0.1.0"], 1);
        exposition.add(Metric::Drops, &["unmatched"], 3);
        exposition.add(Metric::LinkBytes, &["rx", "data"], 70);
        exposition.add(Metric::Flows, &[], 2);
        exposition.add(Metric::PortUp, &["eth1"], true);
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_micros(200));
        histogram.record(Duration::from_micros(300));
        exposition.add(Metric::SessionRtt, &[], &histogram);
        exposition.into_text()
    }

    /// The lines of one metric. Written by hand from OpenMetrics 1.0.
    fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        text.lines().filter(|line| line.split([' ', '{']).any(|word| word.starts_with(name))).collect()
    }

    #[test]
    fn text_is_openmetrics() {
        let text = text();
        let expected = [
            "# HELP l2link_link_bytes Their bytes, Ethernet header included, without preamble and FCS.",
            "# TYPE l2link_link_bytes counter",
            "# UNIT l2link_link_bytes bytes",
            "l2link_link_bytes_total{direction=\"rx\",kind=\"data\"} 70",
        ];
        assert_eq!(lines(&text, "l2link_link_bytes"), expected);
        let expected = [
            "# HELP l2link_daemon The daemon.",
            "# TYPE l2link_daemon info",
            "l2link_daemon_info{name=\"r\\\"1\\\\\\n\",role=\"relay\",version=\"0.1.0\"} 1",
        ];
        assert_eq!(lines(&text, "l2link_daemon"), expected);
        assert!(
            text.contains("\nl2link_flows 2\n") && text.contains("\nl2link_port_up{port=\"eth1\"} 1\n"),
            "{text}"
        );
        let rtt = lines(&text, "l2link_session_rtt_seconds");
        assert_eq!(rtt[3], "l2link_session_rtt_seconds_sum 0.0005");
        assert_eq!(rtt[4], "l2link_session_rtt_seconds_count 2");
        assert!(rtt.contains(&"l2link_session_rtt_seconds_bucket{le=\"0.0001\"} 0"), "{rtt:?}");
        assert!(rtt.contains(&"l2link_session_rtt_seconds_bucket{le=\"0.00025\"} 1"), "{rtt:?}");
        assert_eq!(rtt.last(), Some(&"l2link_session_rtt_seconds_bucket{le=\"+Inf\"} 2"));
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn a_daemon_has_its_own_metrics_and_all_of_them() {
        let text = text();
        for metric in Metric::ALL {
            let Family { name, owner, .. } = metric.family();
            let there = text.contains(&format!("# TYPE {name} "));
            assert_eq!(there, *owner != Owner::Control, "{name}");
        }
    }

    #[test]
    fn the_older_format_has_suffixes_in_its_names() {
        let classic = classic(&text());
        let expected = [
            "# HELP l2link_drops_total Frames and packets dropped, by the reasons of the protocol's description.",
            "# TYPE l2link_drops_total counter",
            "l2link_drops_total{reason=\"unmatched\"} 3",
        ];
        assert_eq!(lines(&classic, "l2link_drops"), expected);
        assert!(classic.contains("# TYPE l2link_daemon_info gauge\n"), "{classic}");
        assert!(!classic.contains("# UNIT") && !classic.contains("# EOF"), "{classic}");
    }
}
