//! The Wireshark dissector against the golden frames, every truncation, and the names of the specification. That it reads
//! generated frames as this crate does is a test of `tools`.
//!
//! Needs `tshark` (Debian: `apt-get install tshark`); without it the tests that run it say so loudly and pass.

mod golden;
mod tshark;

use core::fmt::Debug;
use frames::DropReason;
use frames::header::{HEADERS_LEN, Kind};
use frames::message::{MessageType, Status};
use frames::session::CloseReason;
use golden::Golden;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tshark::{capture, fields, script, stderr, tshark};

#[test]
fn golden_frames_show_the_fields_that_they_say() {
    let all = in_order_of_sending();
    let frames: Vec<&[u8]> = all.iter().map(|golden| &golden.bytes[..]).collect();
    let names = all.iter().flat_map(|golden| golden.fields.iter().map(|(field, _)| field.as_str()));
    let Some(rows) = fields(&capture("golden", &frames), &names.collect()) else { return };
    assert_eq!(rows.len(), frames.len());
    for (golden, row) in all.iter().zip(&rows) {
        for (field, expected) in &golden.fields {
            assert_eq!(row[field.as_str()], *expected, "{}: {field}", golden.name);
        }
    }
}

/// Segments and pieces follow one another in a capture as their session sent them.
fn in_order_of_sending() -> Vec<Golden> {
    let mut all = golden::frames();
    all.sort_by_key(|golden| golden.bytes[22..30].to_vec());
    all
}

#[test]
fn no_truncation_and_no_damage_makes_the_script_fail() {
    let all = golden::frames();
    let cut =
        all.iter().flat_map(|golden| (14..golden.bytes.len()).map(|length| golden.bytes[..length].to_vec()));
    let damaged = all.iter().flat_map(|golden| {
        (14..golden.bytes.len()).flat_map(|at| {
            [0x00, 0x01, 0xff].map(|value| {
                let mut bytes = golden.bytes.clone();
                bytes[at] = value;
                bytes
            })
        })
    });
    let bytes: Vec<Vec<u8>> = cut.chain(damaged).chain(all.iter().flat_map(shortened)).collect();
    let frames: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let capture = capture("damaged", &frames);
    // What fails in the first of two passes is not shown.
    for passes in [&["-V"][..], &["-V", "-2"]] {
        let Some(output) = tshark(&[passes, &["-r", capture.to_str().unwrap()]].concat()) else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        let error = text.lines().find(|line| line.contains("Lua Error"));
        assert_eq!(error, None, "{passes:?}");
        let shown =
            text.lines().filter(|line| line.starts_with("Link protocol of l2relay and l2control")).count();
        assert_eq!(shown, frames.len(), "frames shown as ours, {passes:?}");
    }
}

/// A frame whose body, or the first message in it, is shorter than its definition, with the lengths set to fit.
fn shortened(golden: &Golden) -> Vec<Vec<u8>> {
    let (headers, rest) = golden.bytes.split_at(HEADERS_LEN);
    let length = usize::from(u16::from_be_bytes([headers[16], headers[17]]));
    let with_body = |body: &[u8]| {
        let body_length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&headers[..16], &body_length, &headers[18..], body, &rest[length..]].concat()
    };
    let bodies = (0..length).map(|length| with_body(&rest[..length]));
    let messages = (0..length.saturating_sub(20)).map(|length| {
        let message_length = u32::try_from(length).unwrap().to_be_bytes();
        with_body(&[&rest[..16], &message_length, &rest[20..20 + length]].concat())
    });
    let is_segment = headers[15] == Kind::SEGMENT.0;
    bodies.chain(messages.filter(|_| is_segment)).collect()
}

#[test]
fn the_ethertype_is_a_preference() {
    let mut golden = golden::frame("keepalive");
    golden.bytes[12..14].copy_from_slice(&[0x12, 0x34]);
    let capture = capture("ethertype", &[&golden.bytes]);
    let read = ["-r", capture.to_str().unwrap(), "-T", "fields", "-e", "l2link.kind"];
    let Some(other) = tshark(&[&["-o", "l2link.ethertype:4660"], &read[..]].concat()) else { return };
    assert_eq!(String::from_utf8_lossy(&other.stdout).trim(), "0x20", "{}", stderr(&other));
    let default = tshark(&read).expect("it ran a moment ago");
    assert_eq!(String::from_utf8_lossy(&default.stdout).trim(), "");
}

#[test]
fn the_script_has_the_names_of_this_crate() {
    let script = std::fs::read_to_string(script()).unwrap();
    let agrees = |list: &str, expected: BTreeMap<u32, &str>| agree(list, &table(&script, list), &expected);
    agrees("KINDS", Kind::ALL.iter().map(|(kind, name)| (u32::from(kind.0), *name)).collect());
    agrees("MESSAGES", MessageType::ALL.iter().map(|(kind, name, _)| (u32::from(kind.0), *name)).collect());
    agrees("STATUSES", Status::ALL.iter().map(|(status, name)| (u32::from(status.0), *name)).collect());
    let reasons = CloseReason::ALL.iter().map(|(reason, name)| (u32::from(reason.0), *name));
    agrees("CLOSE_REASONS", reasons.collect());
    agrees("TLVS", frames::tlv::ALL.iter().map(|(kind, name)| (u32::from(*kind), *name)).collect());
}

#[test]
fn the_script_explains_every_drop_reason() {
    let script = std::fs::read_to_string(script()).unwrap();
    let expected = DropReason::ALL.iter().map(|reason| (reason.name(), reason.explanation()));
    let shown = rows(&script, "DROP_REASONS")
        .filter_map(|row| row.strip_prefix("[\"")?.strip_suffix("\",")?.split_once("\"] = \""));
    agree("DROP_REASONS", &shown.collect(), &expected.collect());
}

#[test]
fn the_script_reads_and_words_every_message() {
    let script = std::fs::read_to_string(script()).unwrap();
    let expected: BTreeMap<&str, ()> = MessageType::ALL.iter().map(|(_, name, _)| (*name, ())).collect();
    for list in ["MESSAGE_BODIES", "MESSAGE_TEXTS"] {
        let keys = rows(&script, list).filter_map(|row| Some((row.split_once(" = ")?.0, ())));
        let is_message = |key: &str| key.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        agree(list, &keys.filter(|(key, ())| is_message(key)).collect(), &expected);
    }
}

#[test]
fn the_script_has_every_field_of_the_specification() {
    let (specification, script) = (specification(), std::fs::read_to_string(script()).unwrap());
    let fields: BTreeSet<&str> = script
        .lines()
        .filter_map(|line| line.split_once("(\"l2link.")?.1.split('"').next()?.rsplit('.').next())
        .collect();
    let (_, pictures) = specification.split_once("## Kinds").expect("behind the Ethernet header");
    let cells =
        pictures.lines().filter(|line| line.starts_with('|') && line.ends_with('|') && !line.contains('`'));
    let cells = cells.flat_map(|line| line.trim_matches('|').split('|')).map(str::trim);
    let is_in_picture =
        |cell: &&str| cell.chars().all(|c| c.is_ascii_lowercase() || " ()0123456789".contains(c));
    let mut seen = 0;
    for cell in cells.filter(is_in_picture) {
        let name = cell.split(" (").next().unwrap().trim_end_matches(" address").replace(' ', "_");
        // Tables of the text have rows of their own words.
        if cell.contains(" (") || specification.contains(&format!("*{}*", name.replace('_', " "))) {
            seen += 1;
            assert!(fields.contains(&name[..]), "no field {name} in the script");
        }
    }
    assert!(seen > 60, "{seen} fields");
}

/// Names each row that a list of the script lacks, and each that it has besides.
#[track_caller]
fn agree<K: Ord + Debug, V: PartialEq + Debug>(
    list: &str,
    shown: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let only_in = |one: &BTreeMap<K, V>, other: &BTreeMap<K, V>| {
        let rows = one.iter().filter(|(key, value)| other.get(key) != Some(value));
        rows.map(|(key, value)| format!("\n  {key:?}: {value:?}")).collect::<String>()
    };
    let (lacks, besides) = (only_in(expected, shown), only_in(shown, expected));
    assert!(lacks.is_empty(), "{list} in l2link.lua lacks:{lacks}");
    assert!(besides.is_empty(), "{list} in l2link.lua has what this crate has not:{besides}");
}

/// A Lua table of names by number.
fn table<'a>(script: &'a str, name: &str) -> BTreeMap<u32, &'a str> {
    rows(script, name)
        .map(|row| {
            let (number, name) = row.trim_start_matches('[').split_once("] = ").unwrap();
            let number = match number.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).unwrap(),
                None => number.parse().unwrap(),
            };
            (number, name.trim_end_matches(',').trim_matches('"'))
        })
        .collect()
}

/// The lines of a Lua table.
fn rows<'a>(script: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (_, rest) = script.split_once(&format!("local {name} = {{\n")).expect("the table is there");
    let (rows, _) = rest.split_once("\n}\n").unwrap();
    rows.lines().map(str::trim)
}

fn specification() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")).unwrap()
}
