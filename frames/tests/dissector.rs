//! The Wireshark dissector against the golden frames, generated frames, every truncation, and this crate's names.
//!
//! Needs `tshark` (Debian: `apt-get install tshark`); without it the tests that run it say so loudly and pass.

mod generator;
mod golden;

use frames::body::Body;
use frames::header::{Flags, Frame, HEADERS_LEN, Kind};
use frames::message::{Message, MessageType, RawMessage, Status};
use frames::route::{RouteKey, RoutesDigest};
use frames::session::CloseReason;
use golden::Golden;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngSeed, TestRng, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

/// How many generated frames are compared.
const GENERATED: usize = 1000;
/// Stands for several values of one field in a frame; no golden value holds it.
const AGGREGATOR: char = ',';

#[test]
fn golden_frames_show_the_fields_that_they_say() {
    let all = in_order_of_sending();
    let frames: Vec<&[u8]> = all.iter().map(|golden| &golden.bytes[..]).collect();
    let names = all.iter().flat_map(|golden| golden.fields.iter().map(|(field, _)| field.as_str()));
    let Some(rows) = fields("golden", &frames, &names.collect()) else { return };
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
fn generated_frames_show_what_our_decoder_reads() {
    let mut runner = TestRunner::new_with_rng(
        proptest::test_runner::Config { rng_seed: RngSeed::Fixed(1), ..Default::default() },
        TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let strategy = generator::frame();
    let bytes: Vec<Vec<u8>> =
        (0..GENERATED).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let expected: Vec<BTreeMap<&str, String>> = bytes.iter().map(|bytes| decoded(bytes)).collect();
    let names = expected.iter().flat_map(|fields| fields.keys().copied()).collect();
    let frames: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let Some(rows) = fields("generated", &frames, &names) else { return };
    for (number, (expected, row)) in expected.iter().zip(&rows).enumerate() {
        for (field, value) in expected {
            assert_eq!(row[field], *value, "frame {}: {field}: {:02x?}", number + 1, bytes[number]);
        }
    }
}

/// What our own decoder reads, by the dissector's names.
fn decoded(bytes: &[u8]) -> BTreeMap<&'static str, String> {
    let frame = Frame::parse(bytes).unwrap();
    let header = frame.header;
    let mut fields = BTreeMap::from([
        ("l2link.version", header.version().to_string()),
        ("l2link.flags.sealed", u8::from(header.flags().contains(Flags::SEALED)).to_string()),
        ("l2link.kind", format!("{:#04x}", header.kind.0)),
        ("l2link.length", header.length.get().to_string()),
        ("l2link.receiver", format!("{:#010x}", header.receiver.get())),
        ("l2link.counter", header.counter.get().to_string()),
    ]);
    match Body::parse(header.kind, frame.body).unwrap() {
        Body::Hello(hello) => fields.extend([
            ("l2link.hello.role", (hello.role as u8).to_string()),
            ("l2link.hello.mode", hello.mode.0.to_string()),
            ("l2link.hello.data", hello.data.0.to_string()),
            ("l2link.hello.control", hello.control.0.to_string()),
            ("l2link.hello.boot", format!("{:#018x}", hello.boot.0)),
        ]),
        Body::HandshakeInit(handshake) | Body::HandshakeResponse(handshake) => fields.extend([
            ("l2link.handshake.sender", format!("{:#010x}", handshake.sender.0)),
            ("l2link.handshake.association", format!("{:#018x}", handshake.association)),
        ]),
        Body::Keepalive(keepalive) => {
            fields.extend([
                ("l2link.keepalive.sent", keepalive.sent.to_string()),
                ("l2link.keepalive.echo", keepalive.echo.to_string()),
                ("l2link.keepalive.held", keepalive.held.to_string()),
                ("l2link.keepalive.interval", keepalive.interval.to_string()),
            ]);
            if let Some(RoutesDigest { request, table }) = keepalive.routes {
                fields.extend([
                    ("l2link.request", request.to_string()),
                    ("l2link.digest.count", table.count.to_string()),
                    ("l2link.digest.sum", format!("{:#018x}", table.sum)),
                ]);
            }
        }
        Body::Segment(segment) => {
            fields.extend([
                ("l2link.segment.stream", (segment.stream as u8).to_string()),
                ("l2link.segment.offset", segment.offset.to_string()),
            ]);
            fields.extend(messages(segment.bytes));
        }
        Body::Ack(ack) => fields.extend([
            ("l2link.ack.stream", (ack.stream as u8).to_string()),
            ("l2link.ack.count", ack.ranges.len().to_string()),
            ("l2link.ack.cumulative", ack.cumulative.to_string()),
            ("l2link.ack.limit", ack.limit.to_string()),
            ("l2link.ack.start", join(ack.ranges.iter().map(|range| range.start))),
            ("l2link.ack.end", join(ack.ranges.iter().map(|range| range.end))),
        ]),
        Body::Close(close) => fields.extend([("l2link.close.reason", close.reason.0.to_string())]),
        Body::Data(parcels) => fields.extend([
            ("l2link.data.tunnel", join(parcels.iter().map(|data| data.tunnel.0))),
            ("l2link.data.length", join(parcels.iter().map(|data| data.parcel.len()))),
        ]),
        Body::Piece(piece) => fields.extend([
            ("l2link.piece.tunnel", piece.tunnel.0.to_string()),
            ("l2link.piece.number", piece.number.to_string()),
            ("l2link.piece.offset", piece.offset.to_string()),
            ("l2link.piece.last", u8::from(piece.last).to_string()),
        ]),
    }
    fields
}

/// The messages of a segment that holds whole ones; nothing is expected of any other.
fn messages(mut bytes: &[u8]) -> BTreeMap<&'static str, String> {
    let mut types = vec![];
    let mut tunnels = vec![];
    let mut keys: Vec<RouteKey> = vec![];
    let mut onlink = vec![];
    let mut ports = vec![];
    while let Ok(Some((raw, rest))) = RawMessage::split(bytes) {
        let Ok(message) = Message::parse(&raw) else { return BTreeMap::new() };
        types.push(format!("{:#06x}", raw.kind.0));
        match message {
            Message::RuleAdd(rule) => tunnels.push(rule.tunnel.0),
            Message::TranslatedRuleAdd(add) => tunnels.push(add.rule.tunnel.0),
            Message::RuleReply(reply) => tunnels.push(reply.tunnel.0),
            Message::RuleDelete(delete) | Message::RuleDeleted(delete) => tunnels.push(delete.tunnel.0),
            Message::FlowsRequest(request) => tunnels.push(request.tunnel.0),
            Message::Flows(flows) => {
                tunnels.push(flows.tunnel.0);
                ports.extend(flows.flows.iter().map(|flow| flow.local().1));
            }
            Message::RouteAdd(route) => {
                keys.push(route.key);
                onlink.extend(route.content.nexthops.iter().map(|nexthop| u8::from(nexthop.onlink())));
            }
            Message::RouteDelete(route) => keys.push(route.key),
            Message::RouteReply(reply) => keys.push(reply.key),
            _ => {}
        }
        bytes = rest;
    }
    if types.is_empty() {
        return BTreeMap::new();
    }
    BTreeMap::from([
        ("l2link.message.type", join(types)),
        ("l2link.up_tunnel", join(tunnels)),
        ("l2link.route.table", join(keys.iter().map(|key| key.table))),
        ("l2link.route.metric", join(keys.iter().map(|key| key.metric))),
        ("l2link.route.prefix_length", join(keys.iter().map(|key| key.prefix.length()))),
        ("l2link.nexthop.onlink", join(onlink)),
        ("l2link.flow.local_port", join(ports)),
    ])
}

fn join(values: impl IntoIterator<Item: ToString>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(&AGGREGATOR.to_string())
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
    let Some(output) = tshark(&["-2", "-V", "-r", capture.to_str().unwrap()]) else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    let error = text.lines().find(|line| line.contains("Lua Error"));
    assert_eq!(error, None);
    let shown =
        text.lines().filter(|line| line.starts_with("Link protocol of l2relay and l2control")).count();
    assert_eq!(shown, frames.len(), "frames shown as ours");
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
    let kinds = Kind::ALL.iter().map(|(kind, name)| (u32::from(kind.0), *name));
    assert_eq!(table(&script, "KINDS"), kinds.collect());
    let types = MessageType::ALL.iter().map(|(kind, name, _)| (u32::from(kind.0), *name));
    assert_eq!(table(&script, "MESSAGES"), types.collect());
    let statuses = Status::ALL.iter().map(|(status, name)| (u32::from(status.0), *name));
    assert_eq!(table(&script, "STATUSES"), statuses.collect());
    let reasons = CloseReason::ALL.iter().map(|(reason, name)| (u32::from(reason.0), *name));
    assert_eq!(table(&script, "CLOSE_REASONS"), reasons.collect());
    let tlvs = frames::tlv::ALL.iter().map(|(kind, name)| (u32::from(*kind), *name));
    assert_eq!(table(&script, "TLVS"), tlvs.collect());
}

/// A Lua table of names by number.
fn table<'a>(script: &'a str, name: &str) -> BTreeMap<u32, &'a str> {
    let (_, rest) = script.split_once(&format!("local {name} = {{\n")).expect("the table is there");
    let (rows, _) = rest.split_once("\n}\n").unwrap();
    rows.lines()
        .map(|row| {
            let (number, name) = row.trim().trim_start_matches('[').split_once("] = ").unwrap();
            let number = match number.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).unwrap(),
                None => number.parse().unwrap(),
            };
            (number, name.trim_end_matches(',').trim_matches('"'))
        })
        .collect()
}

/// The named fields of every frame, as `tshark -T fields` prints them; `None` without tshark.
fn fields<'a>(
    name: &str,
    frames: &[&[u8]],
    names: &BTreeSet<&'a str>,
) -> Option<Vec<BTreeMap<&'a str, String>>> {
    let capture = capture(name, frames);
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
    assert_eq!(rows.len(), frames.len());
    Some(rows)
}

/// Runs tshark with the script; `None`, after saying so, if there is no tshark.
fn tshark(arguments: &[&str]) -> Option<Output> {
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

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tools/wireshark/l2link.lua")
}

/// Writes a capture file: pcap 2.4, link type Ethernet, a frame per millisecond.
fn capture(name: &str, frames: &[&[u8]]) -> PathBuf {
    let mut bytes = vec![];
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0004_0000, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (number, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [number / 1000, number % 1000 * 1000, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcap"));
    std::fs::write(&path, bytes).unwrap();
    path
}
