//! What a recording is good for, and what is none.

mod segment;

use frames::data::Tunnel;
use frames::{BootId, DropReason, Mac};
use l2link::fast::{FastTraffic, FastWay};
use l2link::recording::{Comparison, LAYOUT, Limited, MAGIC, Memory, NotReplayed, Recording, Shown, Step};
use l2link::{Batch, PeerId, PublicKey};
use relay_core::{Decided, LinkVerdict, Recorded, ReplayedRelay};
use rstest::rstest;
use segment::{Segment, tcp, tcp_listener};
use std::time::Duration;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A control listens, is sent a packet, and another packet is for nobody.
fn recording() -> Vec<u8> {
    let mut segment = Segment::with_control();
    segment.rule(0, 1, tcp_listener(80));
    let _ = segment.arrive(&tcp(40_000, 80));
    let _ = segment.arrive(&tcp(40_000, 81));
    segment.restart(0, "control1", BootId(300).0);
    segment.finish()
}

/// Numbers, times, and what is shown; how many inputs there were, and how it ends.
type Replayed = (Vec<(u64, u64, Shown)>, u64, Comparison);

/// Replays all of it.
fn replayed(recording: &[u8]) -> Result<Replayed, NotReplayed> {
    let mut told = Recording::open(recording, VERSION)?.tell::<ReplayedRelay>()?;
    let mut all = Vec::new();
    loop {
        match told.step(true)? {
            Step::Input { number, time, shown } => {
                all.extend(shown.into_iter().map(|shown| (number, time.0, shown)));
            }
            Step::End { inputs, comparison, .. } => return Ok((all, inputs, comparison)),
        }
    }
}

#[test]
fn everything_is_shown_and_the_same_each_time() {
    let recording = recording();
    let (shown, inputs, comparison) = replayed(&recording).unwrap();
    assert_eq!(comparison, Comparison::Same);
    assert_eq!(replayed(&recording).unwrap(), (shown.clone(), inputs, comparison));
    assert!(shown.is_sorted_by_key(|(number, time, _)| (*number, *time)));
    let has = |what: &dyn Fn(&Shown) -> bool| shown.iter().any(|(_, _, shown)| what(shown));
    assert!(has(&|shown| matches!(shown, Shown::Frame { sent: true, .. })));
    assert!(has(&|shown| matches!(shown, Shown::Frame { sent: false, .. })));
    assert!(has(&|shown| matches!(shown, Shown::Input(text, Some(_)) if text.starts_with("PortParcel"))));
    assert!(has(&|shown| matches!(shown, Shown::Verdict(text, None) if text == "Sent")));
    assert!(has(&|shown| *shown == Shown::Drop(DropReason::Unmatched)));
    assert!(has(&|shown| matches!(shown, Shown::Action(text) if text.starts_with("SetCapture"))));
    assert!(has(&|shown| matches!(shown, Shown::Event(text) if text.starts_with("RuleAdded"))));
}

/// The names of the inputs, of frames of the link left out.
fn inputs(recording: &[u8]) -> Vec<String> {
    let (shown, _, comparison) = replayed(recording).unwrap();
    assert_eq!(comparison, Comparison::Same);
    let name = |text: &str| text.split([' ', '{']).next().unwrap().to_owned();
    let texts = shown.into_iter().filter_map(|(.., shown)| match shown {
        Shown::Input(text, _) => Some(name(&text)),
        _ => None,
    });
    texts.collect()
}

#[test]
fn whatever_the_shell_tells_is_in_the_recording() {
    let mut segment = Segment::with_control();
    segment.rule(0, 1, tcp_listener(80));
    let (now, relay) = (segment.now, &mut segment.relay);
    let way = FastWay { peer: PeerId(0), tunnel: Tunnel(1) };
    let traffic = FastTraffic { packets: 3, bytes: 300, frames: 2, frame_bytes: 400 };
    relay.handle_fast_sent(way, &traffic);
    relay.handle_fast_received(way, &traffic);
    relay.handle_drops(DropReason::BadPacket, 0);
    relay.handle_drops(DropReason::BadPacket, 2);
    relay.handle_addresses(&[[10, 0, 0, 1].into()]);
    relay.handle_link_interface(Mac([2, 0, 0, 0, 0, 0x77]), 1_400);
    relay.handle_transit_lost(PeerId(0));
    relay.set_liveness(Duration::from_millis(250), 4);
    relay.set_peers(&[("control1".to_owned(), PublicKey([9; 32]))], now);
    relay.decide("control1", Decided { weight: Some(7), draining: false });
    relay.weigh("control1", None).unwrap();
    relay.forget("control1", true, now).unwrap();
    relay.close(now);
    assert_eq!(relay.dropped(DropReason::BadPacket), 2);
    let mut batch = Batch::new(8, relay.frame_len_max());
    relay.poll_transmit(&mut batch, now);
    let recording = segment.finish();
    let names = inputs(&recording);
    let expected = [
        "FastSent",
        "FastReceived",
        "Drops",
        "Addresses",
        "LinkInterface",
        "TransitLost",
        "SetLiveness",
        "SetPeers",
        "Decide",
        "Weigh",
        "Forget",
        "Close",
        "PollTransmit",
    ];
    assert_eq!(names[names.len() - expected.len()..], expected, "that none were dropped is none");
    let mut told = Recording::open(&recording[..], VERSION).unwrap().tell::<ReplayedRelay>().unwrap();
    while !matches!(told.step(false).unwrap(), Step::End { .. }) {}
    assert_eq!(l2link::recording::Replay::dropped(told.core(), DropReason::BadPacket), 2);
}

#[test]
fn a_recording_that_cannot_go_on_ends_and_the_relay_does_not() {
    let mut garbage = [0; 60];
    let beginning = Segment::beginning();
    let now = beginning.now;
    let memory = Memory::default();
    let mut relay = Recorded::begin(beginning.clone(), Box::new(Limited(5, memory.clone())), 0);
    let mut plain = Recorded::from(beginning.relay());
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let verdicts = [&mut relay, &mut plain].map(|relay| {
            let dropped = matches!(relay.handle_link_frame(&mut garbage, now), LinkVerdict::Drop(_));
            relay.flush();
            dropped
        });
        assert_eq!(verdicts, [true, true]);
        lengths.push(memory.bytes().len());
    }
    assert!(lengths[1..].iter().all(|length| *length == lengths[0]), "one turn more: {lengths:?}");
    let (_, inputs, comparison) = replayed(&memory.bytes()).unwrap();
    assert_eq!((inputs, comparison), (1, Comparison::Cut));
}

/// Where records begin, those of the secrets and of the configuration included.
fn records(recording: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(recording[at..at + 4].try_into().unwrap()) as usize;
    let mut at = MAGIC.len() + 2;
    for _ in 0..2 {
        at += 4 + word(at);
    }
    at += 8;
    let mut all = Vec::new();
    while at < recording.len() {
        all.push(at);
        at += 4 + word(at);
    }
    assert_eq!(at, recording.len());
    all
}

#[test]
fn what_is_cut_short_is_replayed_as_far_as_it_goes() {
    let recording = recording();
    let records = records(&recording);
    for (place, at) in records.iter().enumerate().skip(2) {
        for end in [*at, at + 1, at + 5] {
            let (_, inputs, comparison) = replayed(&recording[..end]).unwrap();
            assert_eq!((inputs, comparison), (place as u64 - 2, Comparison::Cut));
        }
    }
    for end in MAGIC.len()..=records[1] {
        assert!(matches!(replayed(&recording[..end]), Err(NotReplayed::Empty)), "{end} bytes");
    }
}

/// Of each input the digest of what came of it is in the record behind.
#[test]
fn another_digest_names_the_first_input_that_differs() {
    let recording = recording();
    let records = records(&recording);
    for place in 3..records.len() {
        let mut other = recording.clone();
        other[records[place] + 4] ^= 1;
        let (shown, inputs, comparison) = replayed(&other).unwrap();
        let last = shown
            .iter()
            .rfind(|(_, _, shown)| matches!(shown, Shown::Input(..) | Shown::Frame { sent: false, .. }));
        let Comparison::Differs { input } = comparison else { panic!("record {place}: {comparison:?}") };
        assert_eq!((inputs, input.as_ref()), (place as u64 - 2, last.map(|(_, _, shown)| shown)));
    }
}

/// What is damaged does not replay as what was recorded, and panics nothing.
#[test]
fn a_bit_that_fell_over_is_found() {
    let recording = recording();
    let first = records(&recording)[1];
    let mut same = 0;
    for at in (first..recording.len()).step_by(7) {
        let mut other = recording.clone();
        other[at] ^= 1;
        same += u32::from(matches!(replayed(&other), Ok((_, _, Comparison::Same))));
    }
    // Times a little off mean nothing, nor do sizes of what is large enough.
    let tried = u32::try_from((recording.len() - first) / 7).unwrap();
    assert!(same < tried / 2, "{same} of {tried}");
}

#[rstest]
#[case::empty(b"".to_vec(), "it is not a recording of l2relay or l2control (--record)")]
#[case::capture(b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00 and more".to_vec(), "it is not a recording of l2relay or l2control (--record)")]
#[case::layout([&MAGIC[..], &[0xff, 0xff]].concat(), &format!("the recording has layout 65535, and this program reads {LAYOUT}"))]
#[case::version(versioned("0.0.1"), &format!("the recording is of version 0.0.1, and this is {VERSION}: only the l2replay of the same version"))]
#[case::nothing_behind(versioned(VERSION), "the recording was cut short before its first input")]
fn what_cannot_be_replayed_says_why(#[case] file: Vec<u8>, #[case] why: &str) {
    let error = replayed(&file).unwrap_err().to_string();
    assert!(error.starts_with(why), "{error}");
}

fn versioned(version: &str) -> Vec<u8> {
    let word = |word: &str| [&u32::try_from(word.len()).unwrap().to_le_bytes(), word.as_bytes()].concat();
    [&MAGIC[..], &LAYOUT.to_le_bytes(), &word("l2relay"), &word(version), &[0; 8]].concat()
}
