//! What the Wireshark dissector tells of frames together: replies and their times, what is put together, what a receiver
//! drops, statistics.
//!
//! Needs `tshark`; without it the tests say so loudly and pass.

mod golden;
mod tshark;

use frames::body::Body;
use frames::data::{Data, OffloadHeader, Piece, Tunnel};
use frames::discovery::{Hello, Mode, Protection, Role};
use frames::header::{EthernetHeader, Flags, Kind, LinkHeader};
use frames::message::{
    FlowsRequest, Message, PortRequest, RouteDelete, RoutesDone, RuleDelete, RuleReply, Status, TunnelRequest,
};
use frames::route::{Prefix, RouteKey};
use frames::session::{Ack, Close, CloseReason, Keepalive, Segment, Stream};
use frames::{BootId, Mac, PortId, RequestId, SessionIndex, SymbolId, UpTunnel};
use std::collections::BTreeMap;
use std::path::Path;
use tshark::{capture_at, fields, tshark};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

const CONTROL: Mac = Mac([2, 0, 0, 0, 0, 0xc]);
const RELAY: Mac = Mac([2, 0, 0, 0, 0, 0xa]);

/// Frames with their times in microseconds.
#[derive(Default)]
struct Story {
    frames: Vec<(u64, Vec<u8>)>,
    counter: u64,
    offsets: BTreeMap<(Mac, Stream), u64>,
}

impl Story {
    fn add(&mut self, time: u64, frame: Vec<u8>) -> usize {
        self.frames.push((time, frame));
        self.frames.len()
    }

    /// A frame of a session, with a number of its own.
    fn body(&mut self, time: u64, from: Mac, kind: Kind, body: &Body<'_>) -> usize {
        let mut bytes = vec![0; 2000];
        let length = body.emit(&mut bytes).unwrap();
        self.counter += 1;
        let counter = self.counter;
        self.add(time, frame(from, kind, Flags::empty(), counter, &bytes[..length]))
    }

    /// Bytes of a stream, behind those before.
    fn segment(&mut self, time: u64, from: Mac, stream: Stream, bytes: &[u8]) -> usize {
        let next = self.offsets.entry((from, stream)).or_default();
        let offset = *next;
        *next += bytes.len() as u64;
        self.body(time, from, Kind::SEGMENT, &Body::Segment(Segment { stream, offset, bytes }))
    }

    fn message(&mut self, time: u64, from: Mac, message: &Message<'_>) -> usize {
        self.segment(time, from, message.stream(), &emitted(message))
    }

    fn hello(&mut self, role: Role, data: Protection) -> usize {
        let from = if role == Role::Control { CONTROL } else { RELAY };
        let (mode, control, boot) = (Mode::PSK, Protection::SEALED, BootId(1));
        let hello = Hello { role, mode, data, control, boot, name: "name" };
        self.body(0, from, Kind::HELLO, &Body::Hello(hello))
    }

    /// One field of every frame, empty where it is not.
    fn column(&self, name: &str, field: &str) -> Option<Vec<String>> {
        let rows = fields(&self.capture(name), &[field].into())?;
        Some(rows.into_iter().map(|mut row| row.remove(field).unwrap()).collect())
    }

    fn capture(&self, name: &str) -> std::path::PathBuf {
        let frames: Vec<(u64, &[u8])> = self.frames.iter().map(|(time, frame)| (*time, &frame[..])).collect();
        capture_at(&format!("story-{name}"), &frames)
    }
}

fn frame(from: Mac, kind: Kind, flags: Flags, counter: u64, body: &[u8]) -> Vec<u8> {
    let destination = if from == CONTROL { RELAY } else { CONTROL };
    let ethernet = EthernetHeader { destination, source: from, ethertype: U16::new(0x88b5) };
    let length = u16::try_from(body.len()).unwrap();
    let receiver = SessionIndex(if from == CONTROL { 7 } else { 8 });
    let link = LinkHeader::new(kind, flags, length, receiver, counter);
    [ethernet.as_bytes(), link.as_bytes(), body, &vec![0xee; flags.tag_len()]].concat()
}

fn emitted(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 2000];
    let length = message.emit(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn tunnel_request(request: u32) -> Message<'static> {
    let (symbol, port) = (SymbolId(1), PortId(1));
    Message::TunnelRequest(TunnelRequest { request: RequestId(request), symbol, port })
}

fn rule_delete(request: u32) -> RuleDelete {
    RuleDelete { request: RequestId(request), tunnel: UpTunnel(1) }
}

fn keepalive(sent: u64, echo: u64) -> Body<'static> {
    Body::Keepalive(Keepalive { sent, echo, held: 0, interval: 100_000, routes: None })
}

/// Every number that is not empty, by the number of its frame.
fn numbers(column: &[String]) -> BTreeMap<usize, &str> {
    let rows = column.iter().enumerate().filter(|(_, value)| !value.is_empty());
    rows.map(|(place, value)| (place + 1, value.as_str())).collect()
}

#[test]
fn replies_and_requests_name_each_other() {
    let mut story = Story::default();
    let deletion = story.message(0, CONTROL, &Message::RuleDelete(rule_delete(1)));
    let lost = story.message(1000, CONTROL, &tunnel_request(2));
    let deleted = story.message(250_000, RELAY, &Message::RuleDeleted(rule_delete(1)));
    let asked = story.body(300_000, CONTROL, Kind::KEEPALIVE, &keepalive(77, 5));
    let echoed = story.body(300_040, RELAY, Kind::KEEPALIVE, &keepalive(78, 77));
    let key = RouteKey { table: 254, prefix: Prefix::new([192, 0, 2, 0].into(), 24).unwrap(), metric: 0 };
    let route = |number| Message::RouteDelete(RouteDelete { request: RequestId(number), key });
    let first = story.message(400_000, CONTROL, &route(1));
    let second = story.message(400_500, CONTROL, &route(2));
    let third = story.message(400_700, CONTROL, &route(3));
    let done = story.message(401_000, RELAY, &Message::RoutesDone(RoutesDone { request: RequestId(2) }));
    let young = story.message(2_500_000, CONTROL, &tunnel_request(3));

    let Some(response_in) = story.column("replies", "l2link.response_in") else { return };
    let (deleted_text, echoed_text, done_text) = (deleted.to_string(), echoed.to_string(), done.to_string());
    let expected =
        [(deletion, &deleted_text), (asked, &echoed_text), (first, &done_text), (second, &done_text)];
    assert_eq!(numbers(&response_in), expected.map(|(frame, text)| (frame, text.as_str())).into());
    let response_to = story.column("replies", "l2link.response_to").unwrap();
    assert_eq!(response_to[deleted - 1], deletion.to_string());
    assert_eq!(response_to[done - 1], second.to_string(), "the newest that it answers");
    let times = story.column("replies", "l2link.time").unwrap();
    assert_eq!(times[deleted - 1], "0.250000000");
    assert_eq!(times[echoed - 1], "0.000040000");
    assert_eq!(times[done - 1], "0.000500000");
    let complaints = story.column("replies", "l2link.no_response").unwrap();
    let missing = numbers(&complaints).into_keys().collect::<Vec<_>>();
    assert_eq!(missing, [lost, third], "and not {young}, whose reply may be under way");
}

#[test]
fn requests_that_lost_their_object_miss_no_reply() {
    let mut story = Story::default();
    let flows = |request, tunnel| {
        Message::FlowsRequest(FlowsRequest { request: RequestId(request), tunnel: UpTunnel(tunnel) })
    };
    story.message(0, RELAY, &flows(1, 1));
    story.message(1, RELAY, &flows(2, 1));
    let lost = story.message(2, RELAY, &flows(3, 2));
    story.message(3, CONTROL, &Message::RuleDelete(rule_delete(1)));
    story.message(4, RELAY, &Message::RuleDeleted(rule_delete(1)));
    story.body(2_000_000, RELAY, Kind::KEEPALIVE, &keepalive(1, 0));
    let Some(complaints) = story.column("void", "l2link.no_response") else { return };
    assert_eq!(numbers(&complaints).into_keys().collect::<Vec<_>>(), [lost]);
}

#[test]
fn several_messages_of_a_frame_are_told_apart() {
    let mut story = Story::default();
    let both = [emitted(&tunnel_request(1)), emitted(&Message::RuleDelete(rule_delete(2)))].concat();
    story.segment(0, CONTROL, Stream::Rules, &both);
    story.message(5000, RELAY, &Message::RuleDeleted(rule_delete(2)));
    let output = tshark(&["-2", "-V", "-r", story.capture("several").to_str().unwrap()]);
    let Some(output) = output else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, second) = text.split_once("    RULE_DELETE request 2").expect("a tree of each message");
    assert!(!first.contains("Response in") && second.contains("[Response in: 2]"), "{text}");
}

#[test]
fn segments_and_their_acks_name_each_other() {
    let mut story = Story::default();
    let first = story.message(0, CONTROL, &tunnel_request(1));
    let second = story.message(100, CONTROL, &tunnel_request(2));
    let ack = |cumulative| Body::Ack(Ack { stream: Stream::Rules, cumulative, limit: 300_000, ranges: &[] });
    let half = story.body(1000, RELAY, Kind::ACK, &ack(20));
    let all = story.body(3000, RELAY, Kind::ACK, &ack(40));
    let Some(acked_in) = story.column("acks", "l2link.acked_in") else { return };
    let (half_text, all_text) = (half.to_string(), all.to_string());
    assert_eq!(numbers(&acked_in), [(first, &half_text[..]), (second, &all_text[..])].into());
    let acks = story.column("acks", "l2link.acks").unwrap();
    let (first_text, second_text) = (first.to_string(), second.to_string());
    assert_eq!(numbers(&acks), [(half, &first_text[..]), (all, &second_text[..])].into());
}

#[test]
fn what_is_put_together_is_named() {
    let mut story = Story::default();
    let bytes = emitted(&Message::PortRequest(PortRequest {
        request: RequestId(1),
        symbol: SymbolId(2),
        name: "eth1",
    }));
    let head = story.segment(0, CONTROL, Stream::Events, &bytes[..5]);
    let tail = story.segment(1, CONTROL, Stream::Events, &bytes[5..]);
    let parcel = [OffloadHeader::default().as_bytes(), &golden::packet("ipv4-tcp").bytes].concat();
    let piece = |offset, last, bytes| Piece { tunnel: Tunnel(3), number: 1, offset, last, bytes };
    let end = story.body(2, RELAY, Kind::PIECE, &Body::Piece(piece(40, true, &parcel[40..])));
    let begin = story.body(3, RELAY, Kind::PIECE, &Body::Piece(piece(0, false, &parcel[..40])));
    let lost = Piece { number: 2, ..piece(0, false, &parcel[..40]) };
    let lost = story.body(4, RELAY, Kind::PIECE, &Body::Piece(lost));
    let Some(column) = story.column("together", "l2link.reassembled_in") else { return };
    let (tail_text, begin_text) = (tail.to_string(), begin.to_string());
    assert_eq!(numbers(&column), [(head, &tail_text[..]), (end, &begin_text[..])].into());
    let types = story.column("together", "l2link.message.type").unwrap();
    assert_eq!(numbers(&types), [(tail, "0x0001")].into());
    let ports = story.column("together", "tcp.dstport").unwrap();
    assert_eq!(numbers(&ports).into_keys().collect::<Vec<_>>(), [begin]);
    let incomplete = story.column("together", "l2link.drop.incomplete_parcel").unwrap();
    assert_eq!(numbers(&incomplete).into_keys().collect::<Vec<_>>(), [lost]);
}

#[test]
fn what_a_receiver_drops_says_why() {
    let mut story = Story::default();
    let mut expected = vec![];
    let mut expect = |frame: usize, reason| expected.push((frame, reason));
    story.hello(Role::Relay, Protection::SEALED);
    expect(story.hello(Role::Control, Protection::CLEAR), "mode-mismatch");
    let sealed = |kind, counter, body: &[u8]| frame(RELAY, kind, Flags::SEALED, counter, body);
    let close = |story: &mut Story, counter| story.add(1, sealed(Kind::CLOSE, counter, &[0, 1, 0, 0]));
    close(&mut story, 2000);
    close(&mut story, 1999);
    expect(close(&mut story, 1999), "replayed");
    expect(close(&mut story, 2000 - 1024), "replayed");
    expect(story.add(2, frame(RELAY, Kind::CLOSE, Flags::empty(), 9, &[0, 1, 0, 0])), "not-sealed");
    let mut foreign = sealed(Kind::CLOSE, 3000, &[0, 1, 0, 0]);
    foreign[14] = 0x21;
    expect(story.add(3, foreign), "version");
    expect(story.add(3, sealed(Kind(0x5f), 3001, &[])), "unknown-kind");
    let mut looped = sealed(Kind::CLOSE, 3002, &[0, 1, 0, 0]);
    looped.copy_within(0..6, 6);
    expect(story.add(3, looped), "own-frame");
    let mut short = sealed(Kind::CLOSE, 3003, &[0, 1, 0, 0]);
    short.truncate(40);
    expect(story.add(3, short), "truncated");
    expect(story.add(3, sealed(Kind::CLOSE, 3004, &[0, 1])), "malformed");

    let data = |frame: &[u8], offload: OffloadHeader| {
        let parcel = [offload.as_bytes(), frame].concat();
        let mut body = vec![0; 1000];
        let length = Data { tunnel: Tunnel(1), parcel: &parcel }.emit(&mut body).unwrap();
        body.truncate(length);
        body
    };
    let packet = golden::packet("ipv4-tcp").bytes;
    let wrong = OffloadHeader { header_length: U16::new(9000), ..OffloadHeader::default() };
    story.add(4, sealed(Kind::DATA, 3005, &data(&packet, OffloadHeader::default())));
    expect(story.add(4, sealed(Kind::DATA, 3006, &data(&packet, wrong))), "bad-offload");
    expect(story.add(4, sealed(Kind::DATA, 3007, &data(&[], wrong))), "malformed");
    let piece = |offset: u8| [&[0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, offset][..], &[0xaa; 20]].concat();
    story.add(4, sealed(Kind::PIECE, 3008, &piece(10)));
    expect(story.add(4, sealed(Kind::PIECE, 3009, &piece(29))), "bad-piece");

    let segment =
        |offset: u32, bytes: &[u8]| [&[1, 0, 0, 0, 0, 0, 0, 0], &offset.to_be_bytes()[..], bytes].concat();
    // RULES_END with a TLV that must be understood and is not.
    let mandatory = [0, 0x24, 0, 0, 0, 0, 0, 4, 0x80, 1, 0, 0];
    expect(story.add(5, sealed(Kind::SEGMENT, 3010, &segment(0, &mandatory))), "bad-message");
    expect(story.add(5, sealed(Kind::SEGMENT, 3011, &segment(262_140, &mandatory))), "over-credit");

    expect(story.add(6, golden::frame("packet").bytes), "not-sealed");
    expect(story.add(6, changed_packet(14, &[0x11])), "not-sealed");

    let Some(column) = story.column("drops", "l2link.drop") else { return };
    assert_eq!(numbers(&column), expected.into_iter().collect());
}

#[test]
fn packets_of_a_fast_path_need_clear_data_and_an_ip_header_that_tells_their_end() {
    let mut story = Story::default();
    story.hello(Role::Relay, Protection::CLEAR);
    story.hello(Role::Control, Protection::CLEAR);
    let packet = golden::frame("packet").bytes;
    let sound = [story.add(1, packet.clone()), story.add(2, packet.clone())];
    let mut expected = vec![(story.add(3, changed_packet(14, &[0x11])), "not-sealed")];
    for changed in [
        changed_packet(16, &[0, 62]),
        changed_packet(46, &[0x08, 0x06]),
        changed_packet(46, &[0x81, 0x00]),
        changed_packet(48, &[0x65]),
        changed_packet(50, &[0, 19]),
        changed_packet(50, &[0, 45]),
        packet[..packet.len() - 1].to_vec(),
        packet[..40].to_vec(),
    ] {
        expected.push((story.add(4, changed), "malformed"));
    }
    let mut jumbogram = golden::frame("packet-ipv6-padded").bytes;
    jumbogram[52..54].fill(0);
    expected.push((story.add(5, jumbogram), "malformed"));

    let Some(column) = story.column("packets", "l2link.drop") else { return };
    assert_eq!(numbers(&column), expected.iter().copied().collect());
    // What is only sealed without need is readable still.
    let readable = sound.into_iter().chain([expected[0].0]).collect::<Vec<_>>();
    let ports = story.column("packets", "tcp.dstport").unwrap();
    assert_eq!(numbers(&ports).into_keys().collect::<Vec<_>>(), readable);
}

/// A golden frame with bytes overwritten.
fn changed_packet(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = golden::frame("packet").bytes;
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

#[test]
fn what_an_operator_should_see_is_marked() {
    let mut story = Story::default();
    let reply = RuleReply {
        request: RequestId(1),
        tunnel: UpTunnel(1),
        status: Status::NOT_PERMITTED,
        text: "ask bob",
    };
    let refused = story.message(0, RELAY, &Message::RuleReply(reply));
    let bytes = emitted(&tunnel_request(1));
    story.segment(1, CONTROL, Stream::Rules, &bytes);
    let segment = |offset| Body::Segment(Segment { stream: Stream::Rules, offset, bytes: &bytes });
    let again = story.body(2, CONTROL, Kind::SEGMENT, &segment(0));
    let gap = story.body(3, CONTROL, Kind::SEGMENT, &segment(60));
    let close = Body::Close(Close { reason: CloseReason::NAME_IN_USE });
    let named = story.body(4, RELAY, Kind::CLOSE, &close);
    for (field, frame) in [
        ("l2link.refused", refused),
        ("l2link.segment.retransmission", again),
        ("l2link.segment.gap", gap),
        ("l2link.drop.name_in_use", named),
    ] {
        let Some(column) = story.column("marks", field) else { return };
        assert_eq!(numbers(&column).into_keys().collect::<Vec<_>>(), [frame], "{field}");
    }
}

#[test]
fn statistics_are_printed_on_request() {
    let mut story = Story::default();
    story.message(0, CONTROL, &Message::RuleDelete(rule_delete(1)));
    story.message(2000, RELAY, &Message::RuleDeleted(rule_delete(1)));
    story.message(3000, CONTROL, &Message::RuleDelete(rule_delete(2)));
    story.message(9000, RELAY, &Message::RuleDeleted(rule_delete(2)));
    story.body(9000, RELAY, Kind(0x5f), &Body::Close(Close { reason: CloseReason(1) }));
    let capture = story.capture("statistics");
    let read = |path: &Path| ["-2", "-q", "-r", path.to_str().unwrap()].map(str::to_owned);
    let arguments =
        [vec!["-X".to_owned(), "lua_script1:statistics".to_owned()], read(&capture).into()].concat();
    let Some(output) = tshark(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        &["SEGMENT", "4", "232"][..],
        &["kind", "0x5f", "1", "34"],
        &["02:00:00:00:00:0c", ">", "02:00:00:00:00:0a", "2", "116"],
        &["RULE_DELETE", "2"],
        &["RULE_DELETED", "2", "2.000", "4.000", "6.000"],
        &["unknown-kind", "1"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?} is not in\n{text}");
    }
    let silent = tshark(&read(&capture).each_ref().map(String::as_str)).unwrap();
    assert!(silent.stdout.is_empty(), "only on request");
}
