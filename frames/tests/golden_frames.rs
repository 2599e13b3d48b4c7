//! The decoder against link frames written by hand from `PROTOCOL.md`.

mod golden;
mod oracle;

use frames::body::Body;
use frames::header::{Frame, HEADERS_LEN, Kind};
use frames::message::{Message, MessageType, RawMessage};
use frames::{ParseError, SessionIndex};
use golden::Golden;
use std::collections::BTreeSet;

/// Golden frames whose body holds something that this version skips or cannot read: emitting cannot give it back.
const NOT_EMITTED: [&str; 4] =
    ["data-encrypted", "hello-gated", "packet-ipv6-padded", "unknown-session-kind"];

#[test]
fn every_golden_frame_reads_as_its_lines_say() {
    for golden in golden::frames() {
        let expected: Vec<&str> = golden.lines.iter().map(String::as_str).collect();
        let mut lines = read(&golden);
        lines.truncate(expected.len());
        assert_eq!(lines, expected, "{}", golden.name);
    }
}

/// Frame, body and messages, a line each.
fn read(golden: &Golden) -> Vec<String> {
    let frame = Frame::parse(&golden.bytes).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
    let mut lines = vec![frame.to_string()];
    if golden.lines.len() > 1 {
        let body = body(golden);
        lines.push(body.to_string());
        if let Body::Segment(segment) = body {
            lines.extend(messages(segment.bytes).iter().map(|raw| match Message::parse(raw) {
                Ok(message) => message.to_string(),
                Err(ParseError::MessageType(_)) => raw.to_string(),
                Err(error) => panic!("{}: {error}", golden.name),
            }));
        }
    }
    lines
}

fn body(golden: &Golden) -> Body<'_> {
    let frame = Frame::parse(&golden.bytes).unwrap();
    Body::of(&frame).unwrap_or_else(|error| panic!("{}: {error}", golden.name))
}

fn messages(mut bytes: &[u8]) -> Vec<RawMessage<'_>> {
    let mut all = vec![];
    while let Ok(Some((raw, rest))) = RawMessage::split(bytes) {
        all.push(raw);
        bytes = rest;
    }
    all
}

#[test]
fn what_was_read_is_emitted_as_the_same_bytes() {
    for golden in golden::frames() {
        if NOT_EMITTED.contains(&golden.name.as_str()) {
            continue;
        }
        let mut buffer = [0; 2048];
        let frame = Frame::parse(&golden.bytes).unwrap();
        let body = body(&golden);
        let length = body.emit(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], frame.body, "{}", golden.name);
        let Body::Segment(segment) = body else { continue };
        let mut rest = segment.bytes;
        for raw in messages(segment.bytes) {
            let (bytes, behind) = rest.split_at(raw.body.len() + 8);
            rest = behind;
            if let Ok(message) = Message::parse(&raw) {
                let length = message.emit(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], bytes, "{}: {message}", golden.name);
            }
        }
    }
}

#[test]
fn every_kind_and_every_message_has_a_golden_frame() {
    let all = golden::frames();
    let kinds: BTreeSet<u8> = all.iter().map(|golden| golden.bytes[15]).collect();
    for (kind, name) in Kind::ALL {
        assert!(kinds.contains(&kind.0), "no golden frame is a {name}");
    }
    let mut types = BTreeSet::new();
    for golden in all.iter().filter(|golden| golden.lines.len() > 2) {
        let Body::Segment(segment) = body(golden) else { continue };
        types.extend(messages(segment.bytes).iter().map(|raw| raw.kind));
    }
    for (kind, name, _) in MessageType::ALL {
        assert!(types.contains(kind), "no golden frame holds a {name}");
    }
}

#[test]
fn messages_travel_in_the_stream_of_their_type() {
    for golden in golden::frames().iter().filter(|golden| golden.lines.len() > 2) {
        let Body::Segment(segment) = body(golden) else { continue };
        for raw in messages(segment.bytes) {
            let Ok(message) = Message::parse(&raw) else { continue };
            assert_eq!(message.stream(), segment.stream, "{}", golden.name);
            let (.., stream) = MessageType::ALL.iter().find(|(kind, ..)| *kind == raw.kind).unwrap();
            assert_eq!(*stream, segment.stream, "{}", golden.name);
        }
    }
}

#[test]
fn every_truncation_of_every_frame_is_refused() {
    for golden in golden::frames() {
        let frame = Frame::parse(&golden.bytes).unwrap();
        // Of a packet only the body tells where it ends.
        let is_packet = frame.header.kind == Kind::PACKET;
        let whole = if is_packet { HEADERS_LEN } else { HEADERS_LEN + frame.body.len() + frame.tag.len() };
        for length in 0..whole {
            match Frame::parse(&golden.bytes[..length]) {
                Err(ParseError::Truncated { need, have }) => {
                    assert!(have == length && need > have && need <= whole, "{} at {length}", golden.name);
                }
                other => panic!("{} at {length}: {other:?}", golden.name),
            }
        }
        for length in whole..=golden.bytes.len() {
            assert!(Frame::parse(&golden.bytes[..length]).is_ok(), "{} at {length}", golden.name);
        }
    }
}

#[test]
fn every_truncation_of_every_body_and_message_is_sound() {
    for golden in golden::frames() {
        let frame = Frame::parse(&golden.bytes).unwrap();
        for length in 0..frame.body.len() {
            oracle::body(frame.header.kind, &frame.body[..length]);
        }
        if golden.lines.len() <= 2 {
            continue;
        }
        let Body::Segment(segment) = body(&golden) else { continue };
        for raw in messages(segment.bytes) {
            for length in 0..raw.body.len() {
                oracle::message(&RawMessage { kind: raw.kind, body: &raw.body[..length] });
            }
        }
    }
}

#[test]
fn a_packet_ends_where_its_ip_header_says() {
    for (name, whole) in [("packet", 62), ("packet-ipv6-padded", 74)] {
        let bytes = golden::frame(name).bytes;
        for length in 0..=bytes.len() - HEADERS_LEN {
            let frame = Frame::parse(&bytes[..HEADERS_LEN + length]).unwrap();
            match Body::of(&frame) {
                Ok(Body::Packet(packet)) => {
                    assert_eq!(packet.frame, &bytes[HEADERS_LEN + 4..HEADERS_LEN + whole]);
                    assert!(length >= whole, "{name} at {length}");
                }
                Err(ParseError::Truncated { need, have }) => {
                    assert!(need > have && length < whole, "{name} at {length}");
                }
                other => panic!("{name} at {length}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_packet_with_a_length_in_its_header_is_refused() {
    let mut bytes = golden::frame("packet").bytes;
    bytes[17] = 62;
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!(Body::of(&frame), Err(ParseError::Value { field: "length", value: 62 }));
}

#[test]
fn a_stream_gives_a_message_only_when_it_is_whole() {
    let golden = golden::frame("message-rule-add-raw");
    let Body::Segment(segment) = body(&golden) else { panic!("no segment") };
    for length in 0..segment.bytes.len() {
        let split = RawMessage::split(&segment.bytes[..length]).unwrap();
        assert_eq!(split.is_some(), length >= 68, "{length}");
    }
}

#[test]
fn every_flipped_bit_is_sound() {
    for golden in golden::frames() {
        let mut bytes = golden.bytes.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            oracle::frame(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(bytes, golden.bytes);
    }
}

#[test]
fn a_tag_stands_behind_the_body_where_the_flags_say_so() {
    let tag = |name: &str| {
        let golden = golden::frame(name);
        let frame = Frame::parse(&golden.bytes).unwrap();
        frame.tag.to_vec()
    };
    let gate: Vec<u8> = (0..16).collect();
    let seal: Vec<u8> = (0xe0..0xf0).collect();
    assert_eq!([tag("hello-gated"), tag("data-encrypted"), tag("hello")], [gate, seal, vec![]]);
}

#[test]
fn a_frame_names_its_receivers_session() {
    let golden = golden::frame("data-encrypted");
    let frame = Frame::parse(&golden.bytes).unwrap();
    assert_eq!(frame.header.receiver(), SessionIndex(0x1122_3344));
}

#[test]
fn a_foreign_version_is_named() {
    let mut bytes = golden::frame("keepalive").bytes;
    bytes[14] = 0x21;
    assert_eq!(Frame::parse(&bytes), Err(ParseError::Version(2)));
}
