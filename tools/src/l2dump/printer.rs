//! [`Printer`]: lines on standard output.

use crate::capture::Captured;
use crate::decode::Report;
use crate::fields::{Object, Value};
use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

/// Prints frames as text or as JSON.
pub(crate) struct Printer {
    output: BufWriter<Stdout>,
    json: bool,
    /// Whether times are those since 1970.
    absolute: bool,
    /// Time of the first frame.
    start: Option<Duration>,
}

impl Printer {
    pub(crate) fn new(json: bool, absolute: bool) -> Self {
        Self { output: BufWriter::new(io::stdout()), json, absolute, start: None }
    }

    /// Prints the frame that is the `number`th of the capture.
    pub(crate) fn print(&mut self, number: u64, frame: &Captured, report: &Report) -> io::Result<()> {
        if self.json {
            let time = format!("{}.{:09}", frame.time.as_secs(), frame.time.subsec_nanos());
            let size = frame.length + frame.tags.len();
            let mut head = Object::new().with("number", number).with("time", time).with("size", size);
            if !frame.tags.is_empty() {
                head = head.with("vlan", Value::List(frame.vlans().into_iter().map(Value::from).collect()));
            }
            serde_json::to_writer(&mut self.output, &head.and(report.fields.clone()))?;
            return writeln!(self.output);
        }
        let start = *self.start.get_or_insert(frame.time);
        let (sign, time) = match frame.time.checked_sub(start) {
            _ if self.absolute => ("", frame.time),
            Some(later) => ("", later),
            None => ("-", start - frame.time),
        };
        write!(self.output, "{sign}{}.{:06} ", time.as_secs(), time.subsec_micros())?;
        if let (Some(source), Some(destination)) = (report.source, report.destination) {
            write!(self.output, "{source} > {destination} ")?;
        }
        writeln!(self.output, "{}", report.line)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
