//! Events as lines.

use crate::calendar;
use crate::columns::{Object, cell, keys_of};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::thread;

/// Has the process end when the reader of its output leaves, which writing would notice with the next event only.
pub(crate) fn end_with_reader() -> io::Result<()> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let watch = move || {
        loop {
            let mut waiting = [PollFd::new(output.as_fd(), PollFlags::empty())];
            if poll(&mut waiting, PollTimeout::NONE).is_ok_and(|events| events > 0) {
                std::process::exit(0);
            }
        }
    };
    thread::Builder::new().name("reader".to_owned()).spawn(watch)?;
    Ok(())
}

/// Prints one event: when it was told, what, and the keys of the object that it happened to.
pub(crate) fn print(out: &mut impl Write, event: &Value) -> io::Result<()> {
    let name = event["event"].as_str().unwrap_or("event");
    write!(out, "{}  {name:<14}", calendar::now())?;
    for key in keys_of(order(name), std::slice::from_ref(event)) {
        if !matches!(key, "event" | "time_us") {
            write!(out, "  {key}={}", cell(key, &event[key]))?;
        }
    }
    writeln!(out)
}

fn order(event: &str) -> &'static [&'static str] {
    match event.split('-').next() {
        Some("peer") => Object::Peers.keys(),
        Some("symbol") => Object::Symbols.keys(),
        Some("rule") => Object::Rules.keys(),
        Some("port") => Object::Ports.keys(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_time_name_and_keys_in_order() {
        let event = json!({"event": "rule-added", "time_us": 1_234_567, "protocol": "tcp", "port": "eth1",
            "port_number": 80, "remote": null});
        let mut out = Vec::new();
        print(&mut out, &event).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(&line[23..], "Z  rule-added      port=eth1  protocol=tcp  port_number=80\n");
    }
}
