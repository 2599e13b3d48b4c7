//! Runs `tshark` with the dissector. Without it the tests that need it say so loudly and pass.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Stands for several values of one field in a frame.
pub(crate) const AGGREGATOR: char = ',';

/// The named fields of every frame, as `tshark -T fields` prints them; `None` without tshark.
pub(crate) fn fields<'a>(
    capture: &Path,
    names: &BTreeSet<&'a str>,
) -> Option<Vec<BTreeMap<&'a str, String>>> {
    let aggregator = format!("aggregator={AGGREGATOR}");
    let mut arguments = vec!["-2", "-r", capture.to_str().unwrap(), "-T", "fields", "-E", &aggregator];
    for name in names {
        arguments.extend(["-e", name]);
    }
    let output = tshark(&arguments)?;
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<BTreeMap<&str, String>> = text
        .lines()
        .map(|line| names.iter().copied().zip(line.split('\t').map(String::from)).collect())
        .collect();
    Some(rows)
}

/// Runs tshark with the script; `None`, after saying so, if there is no tshark.
pub(crate) fn tshark(arguments: &[&str]) -> Option<Output> {
    let script = format!("lua_script:{}", script().display());
    match Command::new("tshark").arg("-n").args(["-X", &script]).args(arguments).output() {
        Ok(output) => {
            assert!(!stderr(&output).contains("Error during loading"), "{}", stderr(&output));
            Some(output)
        }
        Err(error) => {
            // Past the test harness, which hides what a passing test prints.
            let _ = writeln!(std::io::stderr(), "SKIPPED: a dissector test: tshark does not run: {error}");
            None
        }
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tools/wireshark/l2link.lua")
}

/// Writes a capture file, a frame per millisecond.
pub(crate) fn capture(name: &str, frames: &[&[u8]]) -> PathBuf {
    let timed: Vec<(u64, &[u8])> = (0..).step_by(1000).zip(frames.iter().copied()).collect();
    capture_at(name, &timed)
}

/// Writes a capture file, pcap 2.4, of frames with their times in microseconds.
pub(crate) fn capture_at(name: &str, frames: &[(u64, &[u8])]) -> PathBuf {
    let mut bytes = vec![];
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0004_0000, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (time, frame) in frames {
        let word = |number: u64| u32::try_from(number).unwrap();
        let length = word(frame.len() as u64);
        for word in [word(time / 1_000_000), word(time % 1_000_000), length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcap"));
    std::fs::write(&path, bytes).unwrap();
    path
}
