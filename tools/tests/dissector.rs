//! `l2dump` and the Wireshark dissector say the same of the same frames: 10,000 generated ones, and all golden ones.
//!
//! Both read one capture, tshark in one run. Every field is compared by its name in the dissector, in both directions; and
//! the line that `l2dump` prints is the dissector's info column. Needs `tshark`; without it the tests say so loudly and pass.

#[path = "../../frames/tests/generator/mod.rs"]
mod generator;
#[path = "../../frames/tests/golden/mod.rs"]
mod golden;
#[path = "../../frames/tests/tshark/mod.rs"]
mod tshark;

use frames::header::{HEADERS_LEN, Kind};
use frames::message::{MessageType, Status};
use frames::session::CloseReason;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngSeed, TestRng, TestRunner};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use tshark::{capture, stderr, tshark};

/// How many generated frames are compared.
const GENERATED: usize = 10_000;

#[test]
fn generated_frames_read_the_same() {
    let mut runner = TestRunner::new_with_rng(
        proptest::test_runner::Config { rng_seed: RngSeed::Fixed(7), ..Default::default() },
        TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let strategy = generator::frame();
    let frames: Vec<Vec<u8>> =
        (0..GENERATED).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let Some(both) = Both::read("generated", &frames) else { return };
    both.agree(&frames);
    let text = format!("{:?}", both.ours);
    for (_, name, _) in MessageType::ALL {
        assert!(text.contains(&format!("\"{}\"", number_of(name).unwrap())), "{name} was generated");
    }
    // The comparison can fail: one bit in one frame of each kind.
    for (kind, name) in &Kind::ALL {
        let place = frames.iter().position(|frame| frame[15] == kind.0).unwrap();
        let mut changed = frames[place].clone();
        let field = if [Kind::CLOSE, Kind::DATA, Kind::PACKET].contains(kind) { 1 } else { 7 };
        changed[HEADERS_LEN + field] ^= 1;
        let other = Both::read("changed", &[changed]).unwrap();
        let [ours] = &other.ours[..] else { panic!("one frame") };
        assert_ne!(*ours, both.theirs[place], "a changed {name} is not told from the former");
    }
}

#[test]
fn golden_frames_read_the_same() {
    let mut all = golden::frames();
    all.sort_by_key(|golden| golden.bytes[22..30].to_vec());
    let mut frames: Vec<Vec<u8>> = all.into_iter().map(|golden| golden.bytes).collect();
    frames.extend(every_number());
    let Some(both) = Both::read("golden-both", &frames) else { return };
    both.agree(&frames);
}

/// Frames with every value of the number spaces that random numbers rarely meet: statuses, and reasons of `CLOSE`.
fn every_number() -> Vec<Vec<u8>> {
    let base = golden::frame("message-rule-reply").bytes;
    // Each in a stream of its own, so that none is a retransmission: the sender's address tells them apart.
    let statuses = (0..12_u8).map(|status| {
        let mut frame = base.clone();
        (frame[11], frame[HEADERS_LEN + 12 + 8 + 9]) = (0x80 + status, status);
        frame
    });
    let close = golden::frame("close").bytes;
    let reasons = (0..6_u8).map(|reason| {
        let mut frame = close.clone();
        frame[HEADERS_LEN + 1] = reason;
        frame
    });
    statuses.chain(reasons).collect()
}

/// What both read in a capture, a frame an item: its fields, and its line.
struct Both {
    ours: Vec<Fields>,
    theirs: Vec<Fields>,
    our_lines: Vec<String>,
    their_lines: Vec<String>,
}

/// Fields by the last word of the dissector's name; a part that has fields of its own is a list of such.
type Fields = BTreeMap<String, Field>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Value(String),
    Parts(Vec<Fields>),
}

impl Both {
    /// `None`, after saying so, without tshark.
    fn read(name: &str, frames: &[Vec<u8>]) -> Option<Self> {
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let capture = capture(name, &frames);
        let file = capture.to_str().unwrap();
        let theirs = tshark(&["-2", "-r", file, "-T", "json", "-J", "l2link", "--no-duplicate-keys"])?;
        assert!(!stderr(&theirs).contains("Lua"), "{}", stderr(&theirs));
        let theirs: Vec<Value> = serde_json::from_slice(&theirs.stdout).unwrap();
        let columns = tshark(&["-2", "-r", file, "-T", "fields", "-e", "_ws.col.Info"])?;
        let (json, lines) = (l2dump(&["--json", "-r", file]), l2dump(&["-r", file]));
        let both = Self {
            ours: json.lines().map(|line| our_fields(&serde_json::from_str(line).unwrap())).collect(),
            theirs: theirs.iter().map(|frame| their_fields(&frame["_source"]["layers"]["l2link"])).collect(),
            our_lines: lines.lines().map(|line| line.splitn(5, ' ').last().unwrap().to_owned()).collect(),
            their_lines: String::from_utf8(columns.stdout).unwrap().lines().map(str::to_owned).collect(),
        };
        for count in [both.ours.len(), both.theirs.len(), both.our_lines.len(), both.their_lines.len()] {
            assert_eq!(count, frames.len());
        }
        Some(both)
    }

    #[track_caller]
    fn agree(&self, frames: &[Vec<u8>]) {
        for (number, bytes) in frames.iter().enumerate() {
            let at = format!("frame {}: {bytes:02x?}", number + 1);
            assert_eq!(self.ours[number], self.theirs[number], "{at}");
            let (ours, theirs) = (comparable(&self.our_lines[number]), comparable(&self.their_lines[number]));
            // Wireshark's columns hold 4,095 bytes.
            if theirs.len() < 4000 {
                assert_eq!(ours, theirs, "{at}");
            } else {
                assert!(ours.starts_with(theirs.get(..4000).unwrap_or(theirs)), "{at}\n{ours}\n{theirs}");
            }
        }
    }
}

/// Of a line what both are to say: what a packet holds each says in its own words.
fn comparable(line: &str) -> &str {
    line.split(" | ").next().unwrap()
}

/// The fields that `l2dump` printed.
fn our_fields(frame: &Value) -> Fields {
    let mut fields = ours(frame.as_object().unwrap());
    for key in ["number", "time", "size", "source", "destination", "event", "error"] {
        fields.remove(key);
    }
    fields
}

fn ours(object: &Map<String, Value>) -> Fields {
    let singular = |key: &str| match key {
        "messages" | "parcels" | "ranges" | "port_routes" | "nexthops" | "flows" | "digests" => {
            key.trim_end_matches('s').to_owned()
        }
        "addresses" => "port_address".to_owned(),
        _ => key.to_owned(),
    };
    let kept = object.iter().filter(|(key, _)| !["packet", "error"].contains(&key.as_str()));
    kept.filter_map(|(key, value)| {
        let field = match value {
            Value::Object(part) => Field::Parts(vec![ours(part)]),
            Value::Array(parts) if parts.is_empty() => return None,
            Value::Array(parts) => {
                Field::Parts(parts.iter().map(|part| ours(part.as_object().unwrap())).collect())
            }
            Value::Null => Field::Value("::".into()),
            Value::Bool(flag) => Field::Value(u8::from(*flag).to_string()),
            Value::String(text) => Field::Value(canonical(key, text)),
            Value::Number(number) => Field::Value(number.to_string()),
        };
        Some((singular(key), field))
    })
    .collect()
}

/// The fields that tshark printed.
fn their_fields(layer: &Value) -> Fields {
    theirs(layer.as_object().expect("frames of ours only"))
}

/// What is there for the reader of the tree only is left out; what a TLV holds, and bits, belong to what is around them.
fn theirs(object: &Map<String, Value>) -> Fields {
    const LEFT_OUT: [&str; 10] = [
        "reserved",
        "tag",
        "padding",
        "ciphertext",
        "response_in",
        "response_to",
        "time",
        "acked_in",
        "acks",
        "reassembled_in",
    ];
    // Reasons that follow from other frames: only the dissector looks for them.
    const OF_OTHERS: [&str; 4] = ["mode-mismatch", "not-sealed", "replayed", "over-credit"];
    let mut fields = Fields::new();
    for (name, value) in object {
        let Some(name) = name.strip_prefix("l2link.") else { continue };
        let key = name.trim_end_matches("_tree").rsplit('.').next().unwrap();
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        let parts: Vec<Fields> = items.iter().filter_map(|item| item.as_object()).map(theirs).collect();
        if key == "tlv" {
            let values = parts.into_iter().flatten();
            fields.extend(values.filter(|(key, _)| !["type", "length", "value"].contains(&key.as_str())));
        } else if name.ends_with("_tree") {
            fields.extend(parts.into_iter().flatten());
        } else if !parts.is_empty() {
            fields.insert(key.to_owned(), Field::Parts(parts));
        } else if !LEFT_OUT.contains(&key) && !object.contains_key(&format!("l2link.{name}_tree")) {
            let of_frame = |item: &&&Value| key != "drop" || !OF_OTHERS.iter().any(|other| **item == other);
            let items: Vec<&&Value> = items.iter().filter(of_frame).collect();
            let [item] = items[..] else {
                assert!(items.is_empty(), "{name} comes twice");
                continue;
            };
            let text = item.as_str().unwrap();
            fields.insert(key.to_owned(), Field::Value(canonical(key, text)));
        }
    }
    fields
}

/// A value in one form: numbers decimal, or hexadecimal where they are no amounts; addresses of IPv4 as such.
fn canonical(key: &str, text: &str) -> String {
    match key {
        "name" | "relay" | "text" | "drop" => return text.to_owned(),
        "noise" | "bytes" | "body" | "salt" | "public_key" => return text.replace(':', ""),
        "boot" | "association" | "sum" => return text.trim_start_matches("0x").to_owned(),
        _ => {}
    }
    if let Some(number) = number_of(text) {
        return number.to_string();
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).unwrap().to_string();
    }
    match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => text.to_owned(),
    }
}

/// The number that a name stands for.
fn number_of(name: &str) -> Option<u64> {
    let kinds = Kind::ALL.iter().map(|(kind, name)| (*name, kind.0.into()));
    let types = MessageType::ALL.iter().map(|(kind, name, _)| (*name, kind.0.into()));
    let statuses = Status::ALL.iter().map(|(status, name)| (*name, status.0.into()));
    let reasons = CloseReason::ALL.iter().map(|(reason, name)| (*name, reason.0.into()));
    let others = [
        ("relay", 1),
        ("none", 0),
        ("psk", 1),
        ("keys", 2),
        ("clear", 0),
        ("sealed", 1),
        ("encrypted", 2),
        ("control", 2),
        ("events", 0),
        ("rules", 1),
        ("routes", 2),
        ("listener", 1),
        ("flow", 2),
        ("IP protocol", 3),
        ("EtherType", 4),
        ("both", 0),
        ("IPv4", 4),
        ("IPv6", 6),
        ("IP", 1),
        ("Ethernet", 2),
        ("unicast", 1),
        ("blackhole", 2),
        ("unreachable", 3),
        ("prohibit", 4),
    ];
    let mut all = kinds.chain(types).chain(statuses).chain(reasons).chain(others);
    all.find(|(known, _)| *known == name).map(|(_, number)| number)
}

fn l2dump(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_l2dump")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
