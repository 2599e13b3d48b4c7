//! [`Decoder`]: what a frame says, as a line of text and as fields.
//!
//! The text is that of the `Display` forms of the crate `frames`, the same as in the daemons' logs and in the dissector's
//! info column. `drop` is why a receiver would drop the frame or a part of it, as far as one frame tells.

use crate::Failure;
use crate::capture::Captured;
use crate::fields::Object;
use crate::key_ring::KeyRing;
use crate::messages;
use crate::parcels::{BadPiece, Pieces};
use crate::streams::Streams;
use core::fmt::Write as _;
use frames::body::Body;
use frames::data::{OffloadHeader, Packet, Parcels, Piece};
use frames::discovery::{Handshake, Hello, Mode, Protection};
use frames::header::{EthernetHeader, Flags, Frame, Kind};
use frames::inet::classify;
use frames::message::{Message, MessageType, RawMessage};
use frames::session::{Ack, Close, CloseReason, Keepalive, Segment, Stream};
use frames::{DropReason, Mac, ParseError};
use std::collections::BTreeMap;
use zerocopy::FromBytes;

/// Reads frames in the order in which they passed.
pub(crate) struct Decoder {
    keys: Option<KeyRing>,
    streams: Streams,
    pieces: Pieces,
    names: BTreeMap<Mac, String>,
}

/// What a frame says.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) source: Option<Mac>,
    pub(crate) destination: Option<Mac>,
    pub(crate) kind: Option<Kind>,
    /// Types of the messages that end in it.
    pub(crate) messages: Vec<MessageType>,
    /// The frame without encryption, if it was decrypted.
    pub(crate) plain: Option<Vec<u8>>,
    pub(crate) line: String,
    pub(crate) fields: Object,
}

impl Decoder {
    pub(crate) fn new(keys: Option<KeyRing>) -> Self {
        Self { keys, streams: Streams::default(), pieces: Pieces::default(), names: BTreeMap::new() }
    }

    /// Names of devices that have said hello.
    pub(crate) fn names(&self) -> &BTreeMap<Mac, String> {
        &self.names
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the key log cannot be read; whatever is in the frame is none.
    pub(crate) fn decode(&mut self, captured: &Captured) -> Result<Report, Failure> {
        let plain = match &mut self.keys {
            Some(keys) => keys.open_frame(&captured.bytes)?,
            None => None,
        };
        let bytes = plain.as_deref().unwrap_or(&captured.bytes);
        let mut report = Report::default();
        if let Ok((ethernet, _)) = EthernetHeader::ref_from_prefix(bytes) {
            (report.source, report.destination) = (Some(ethernet.source), Some(ethernet.destination));
            let ends =
                Object::new().text("source", ethernet.source).text("destination", ethernet.destination);
            report.fields = ends;
        }
        match Frame::parse(bytes) {
            Ok(frame) if captured.is_cut() && is_cut_packet(&frame) => report.cut(Some(frame.header.kind)),
            Ok(frame) => self.read(&frame, plain.is_some(), &mut report),
            Err(ParseError::Version(version)) => {
                let _ = write!(report.line, "version {version} [{}]", DropReason::Version);
                report.add(|fields| fields.with("version", version).text("drop", DropReason::Version));
            }
            Err(_) if captured.is_cut() => report.cut(bytes.get(KIND_AT).map(|kind| Kind(*kind))),
            Err(_) => {
                let _ = write!(report.line, "[{}]", DropReason::Truncated);
                report.add(|fields| fields.text("drop", DropReason::Truncated));
            }
        }
        report.plain = plain;
        Ok(report)
    }

    fn read(&mut self, frame: &Frame<'_>, was_encrypted: bool, report: &mut Report) {
        let (header, flags) = (frame.header, frame.header.flags());
        report.kind = Some(header.kind);
        report.line.push_str(&header.kind.to_string());
        report.add(|fields| {
            fields
                .with("version", header.version())
                .with("sealed", flags.contains(Flags::SEALED))
                .with("encrypted", was_encrypted || flags.contains(Flags::ENCRYPTED))
                .with("gated", flags.contains(Flags::GATED))
                .with("bulk", flags.contains(Flags::BULK))
                .named("kind", header.kind.name(), header.kind.0)
                .with("length", header.length.get())
                .with("receiver", header.receiver.get())
                .with("counter", header.counter.get())
        });
        if frame.ethernet.source == frame.ethernet.destination {
            report.drop(DropReason::OwnFrame);
        }
        if flags.contains(Flags::ENCRYPTED) {
            let _ = write!(report.line, " encrypted, {} bytes", header.length);
            return;
        }
        match Body::of(frame) {
            Ok(body) => {
                let _ = write!(report.line, " {body}");
                self.read_body(frame, &body, report);
            }
            Err(ParseError::Kind(_)) => {
                report.add(|fields| fields.bytes("body", frame.body));
                report.drop_noted(DropReason::UnknownKind);
            }
            Err(error) => {
                report.add(|fields| fields.text("error", error));
                report.drop_noted(DropReason::Malformed);
            }
        }
    }

    fn read_body(&mut self, frame: &Frame<'_>, body: &Body<'_>, report: &mut Report) {
        match body {
            Body::Hello(body) => {
                self.names.insert(frame.ethernet.source, body.name.to_owned());
                report.add(|fields| fields.with("hello", hello(body)));
            }
            Body::HandshakeInit(body) | Body::HandshakeResponse(body) => {
                let is_gated = frame.header.flags().contains(Flags::GATED);
                report.add(|fields| fields.with("handshake", handshake(body, is_gated)));
            }
            Body::Keepalive(body) => report.add(|fields| fields.with("keepalive", keepalive(body))),
            Body::Segment(body) => self.read_segment(frame, body, report),
            Body::Ack(body) => report.add(|fields| fields.with("ack", ack(body))),
            Body::Close(body) => report.add(|fields| fields.with("close", close(*body))),
            Body::Data(body) => read_parcels(*body, report),
            Body::Piece(body) => self.read_piece(frame, body, report),
            Body::Packet(body) => read_packet(body, report),
        }
    }

    fn read_segment(&mut self, frame: &Frame<'_>, body: &Segment<'_>, report: &mut Report) {
        let segment = Object::new()
            .with("stream", stream(body.stream).to_owned())
            .with("offset", body.offset)
            .bytes("bytes", body.bytes);
        report.add(|fields| fields.with("segment", segment));
        let (source, destination) = (frame.ethernet.source, frame.ethernet.destination);
        let brought = self.streams.take(source, destination, frame.header.receiver(), body);
        let mut objects = vec![];
        for (place, bytes) in brought.messages.iter().enumerate() {
            let Ok(Some((raw, _))) = RawMessage::split(bytes) else { continue };
            report.line.push_str(if place == 0 { ": " } else { "; " });
            report.messages.push(raw.kind);
            let (line, object) = message(&raw);
            report.line.push_str(&line);
            objects.push(object);
        }
        if !objects.is_empty() {
            report.add(|fields| fields.list("messages", objects));
        }
        if let Some(event) = brought.event {
            report.note(event.name());
            report.add(|fields| fields.text("event", event.name()));
        }
    }

    fn read_piece(&mut self, frame: &Frame<'_>, body: &Piece<'_>, report: &mut Report) {
        let piece = Object::new()
            .with("tunnel", body.tunnel.0)
            .with("number", body.number)
            .with("last", body.last)
            .with("offset", body.offset)
            .bytes("bytes", body.bytes);
        let (ethernet, receiver) = (frame.ethernet, frame.header.receiver());
        match self.pieces.take((ethernet.source, ethernet.destination, receiver, body.number), body) {
            Ok(whole) => {
                report.add(|fields| fields.with("piece", piece));
                if let Some(whole) = whole {
                    let object = parcel(&whole, &mut report.line);
                    report.add(|fields| fields.list("parcels", [object]));
                }
            }
            Err(BadPiece) => {
                report.add(|fields| fields.with("piece", piece.text("drop", DropReason::BadPiece)));
                report.note(DropReason::BadPiece.name());
            }
        }
    }
}

impl Report {
    fn add(&mut self, more: impl FnOnce(Object) -> Object) {
        self.fields = more(core::mem::take(&mut self.fields));
    }

    fn cut(&mut self, kind: Option<Kind>) {
        self.kind = kind;
        let kind = kind.map_or("frame".to_owned(), |kind| kind.to_string());
        let _ = write!(self.line, "{kind} [cut by the capture]");
        self.add(|fields| fields.with("cut", true));
    }

    fn drop(&mut self, reason: DropReason) {
        self.add(|fields| fields.text("drop", reason));
    }

    fn drop_noted(&mut self, reason: DropReason) {
        self.drop(reason);
        self.note(reason.name());
    }

    fn note(&mut self, text: &str) {
        let _ = write!(self.line, " [{text}]");
    }
}

/// Whether it is a packet that ends early: its header has no length that could tell.
fn is_cut_packet(frame: &Frame<'_>) -> bool {
    frame.header.kind == Kind::PACKET && matches!(Body::of(frame), Err(ParseError::Truncated { .. }))
}

/// Line and fields of a message.
fn message(raw: &RawMessage<'_>) -> (String, Object) {
    let head = Object::new().named("type", raw.kind.name(), raw.kind.0).with("length", raw.body.len());
    match Message::parse(raw) {
        Ok(message) => (message.to_string(), head.and(messages::fields(&message))),
        Err(ParseError::MessageType(_)) => (raw.to_string(), head.bytes("body", raw.body)),
        Err(error) => {
            let reason = DropReason::BadMessage;
            (format!("{} [{reason}]", raw.kind), head.text("drop", reason).text("error", error))
        }
    }
}

fn hello(hello: &Hello<'_>) -> Object {
    let mode = match hello.mode {
        Mode::NONE | Mode::PSK | Mode::KEYS => Some(hello.mode.to_string()),
        Mode(_) => None,
    };
    let protection = |object: Object, key, protection: Protection| {
        let name = match protection {
            Protection::CLEAR | Protection::SEALED | Protection::ENCRYPTED => Some(protection.to_string()),
            Protection(_) => None,
        };
        object.named(key, name.as_deref(), protection.0)
    };
    let object = Object::new().text("role", hello.role).named("mode", mode.as_deref(), hello.mode.0);
    let object = protection(protection(object, "data", hello.data), "control", hello.control);
    object.text("boot", hello.boot).text("name", hello.name)
}

/// Without security a hello stands where the Noise message would.
fn handshake(handshake: &Handshake<'_>, is_gated: bool) -> Object {
    let object = Object::new()
        .with("sender", handshake.sender.0)
        .text("association", format_args!("{:016x}", handshake.association));
    match Hello::parse(handshake.noise) {
        Ok(body) if !is_gated => object.with("hello", hello(&body)),
        _ => object.bytes("noise", handshake.noise),
    }
}

fn keepalive(keepalive: &Keepalive) -> Object {
    let object = Object::new()
        .with("sent", keepalive.sent)
        .with("echo", keepalive.echo)
        .with("held", keepalive.held)
        .with("interval", keepalive.interval);
    match &keepalive.routes {
        Some(routes) => {
            object.with("request", routes.request).with("digest", messages::digest(&routes.table))
        }
        None => object,
    }
}

fn ack(ack: &Ack<'_>) -> Object {
    let ranges =
        ack.ranges.iter().map(|it| Object::new().with("start", it.start.get()).with("end", it.end.get()));
    Object::new()
        .with("stream", stream(ack.stream).to_owned())
        .with("count", ack.ranges.len())
        .with("cumulative", ack.cumulative)
        .with("limit", ack.limit)
        .list("ranges", ranges)
}

fn close(close: Close) -> Object {
    let name = CloseReason::ALL.iter().find(|(known, _)| *known == close.reason).map(|(_, name)| *name);
    Object::new().named("reason", name, close.reason.0)
}

fn stream(stream: Stream) -> &'static str {
    match stream {
        Stream::Events => "events",
        Stream::Rules => "rules",
        Stream::Routes => "routes",
    }
}

fn read_parcels(parcels: Parcels<'_>, report: &mut Report) {
    let mut objects = vec![];
    for data in parcels.iter() {
        let head = Object::new().with("tunnel", data.tunnel.0).with("length", data.parcel.len());
        objects.push(head.and(parcel(data.parcel, &mut report.line)));
    }
    report.add(|fields| fields.list("parcels", objects));
}

fn read_packet(packet: &Packet<'_>, report: &mut Report) {
    let object = Object::new().with("tunnel", packet.tunnel.0);
    let object = object.and(inner_frame(packet.frame, &mut report.line));
    report.add(|fields| fields.list("parcels", [object]));
}

/// What is in a parcel, also appended to the line.
fn inner_frame(frame: &[u8], line: &mut String) -> Object {
    match classify(frame) {
        Ok(packet) => {
            let _ = write!(line, " | {packet}");
            Object::new().text("packet", packet)
        }
        Err(error) => {
            let _ = write!(line, " | {error}");
            Object::new()
        }
    }
}

/// Fields of a parcel. What is in it is appended to the line.
fn parcel(parcel: &[u8], line: &mut String) -> Object {
    let malformed = |object: Object| object.text("drop", DropReason::Malformed);
    let Ok((offload, frame)) = OffloadHeader::ref_from_prefix(parcel) else {
        let _ = write!(line, " | [{}]", DropReason::Malformed);
        return malformed(Object::new());
    };
    let header = Object::new()
        .with("flags", offload.flags)
        .with("gso_type", offload.gso_type)
        .with("header_length", offload.header_length.get())
        .with("gso_size", offload.gso_size.get())
        .with("checksum_start", offload.checksum_start.get())
        .with("checksum_offset", offload.checksum_offset.get());
    let mut object = Object::new().with("offload", header);
    if frame.len() < size_of::<EthernetHeader>() {
        let _ = write!(line, " | [{}]", DropReason::Malformed);
        return malformed(object);
    }
    let packet = inner_frame(frame, line);
    if offload.check(frame.len()).is_err() {
        let _ = write!(line, " [{}]", DropReason::BadOffload);
        object = object.text("drop", DropReason::BadOffload);
    }
    object.and(packet)
}

/// Where a frame's kind stands, behind version and flags.
const KIND_AT: usize = size_of::<EthernetHeader>() + 1;
