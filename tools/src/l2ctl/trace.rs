//! `trace`: what would become of a packet, a socket or a route, step by step; and of all sockets of a process.

use crate::process::{self, Whose};
use crate::{Failure, daemon};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Asks the daemon behind the socket that `find` finds, and prints its steps.
pub(crate) fn run(
    find: impl FnOnce() -> Result<PathBuf, Failure>,
    what: &[String],
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if let Some(whose) = Whose::of_words(what)? {
        let sockets = process::trace(Path::new("/proc"), &whose, find)?;
        if json {
            writeln!(out, "{:#}", Value::from(sockets.concat()))?;
            return Ok(());
        }
        for (number, hops) in sockets.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            print(hops, out)?;
        }
        return Ok(());
    }
    let hops = daemon::request(&find()?, &json!({"verb": "trace", "what": what.join(" ")}))?;
    if json {
        writeln!(out, "{:#}", Value::from(hops))?;
    } else {
        print(&hops, out)?;
    }
    Ok(())
}

/// A line for each step, with what decides and what it decides in front.
fn print(hops: &[Value], out: &mut impl Write) -> std::io::Result<()> {
    let word = |hop: &Value, key: &str| hop[key].as_str().unwrap_or_default().to_owned();
    let width = |key| hops.iter().map(|hop| word(hop, key).len()).max().unwrap_or(0);
    let (stages, outcomes) = (width("stage"), width("outcome"));
    for (number, hop) in (1..).zip(hops) {
        let (stage, outcome) = (word(hop, "stage"), word(hop, "outcome"));
        let peer = hop["peer"].as_str().map_or(String::new(), |peer| format!("{peer}: "));
        let reason = hop["reason"].as_str().map_or(String::new(), |reason| format!(" [{reason}]"));
        writeln!(
            out,
            "{number:>2}  {stage:stages$}  {outcome:outcomes$}  {peer}{}{reason}",
            word(hop, "text")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_in_columns() {
        let hops = [
            json!({"stage": "port", "outcome": "passes", "peer": null, "up_tunnel": null, "reason": null, "text": "a"}),
            json!({"stage": "session", "outcome": "dropped", "peer": "control1", "up_tunnel": 7, "reason": "no-session", "text": "b"}),
        ];
        let mut out = Vec::new();
        print(&hops, &mut out).unwrap();
        let expected = " 1  port     passes   a\n 2  session  dropped  control1: b [no-session]\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
