//! Handshakes that come to nothing, or that have company: how often, for how long, how many.

mod stations;

use core::time::Duration;
use frames::header::{Frame, Kind};
use frames::session::CloseReason;
use frames::{BootId, SessionIndex};
use l2link::{Config, PeerId};
use stations::{MS, SECOND, Segment, device};

/// Frames of this kind that a station has sent.
fn sent(segment: &Segment, station: usize, name: &str) -> u64 {
    let counters = segment.stations[station].link.counters();
    counters.kinds().find(|(known, ..)| *known == name).map_or(0, |(_, _, tx)| tx.frames)
}

#[test]
fn a_first_frame_is_repeated_eight_times_and_then_given_up() {
    let mut segment = Segment { lost: Some(Kind::HANDSHAKE_RESPONSE.0), ..Segment::default() };
    segment.add(device(0, 1));
    segment.add(device(1, 2));
    segment.run(0);
    let mut times = Vec::new();
    for millisecond in 0..1_190 {
        times.resize(usize::try_from(sent(&segment, 1, "HANDSHAKE_INIT")).unwrap(), millisecond);
        segment.run(MS);
    }
    assert_eq!(times, [0, 20, 60, 140, 300, 500, 700, 900]);
    assert!(segment.stations[1].link.snapshot().attempts.is_empty(), "given up after the last pause");
    // The next hello begins another one.
    segment.run(SECOND);
    assert!(sent(&segment, 1, "HANDSHAKE_INIT") > 8);
}

#[test]
fn a_candidate_that_is_never_confirmed_is_forgotten_after_two_seconds() {
    let mut segment = Segment { lost: Some(Kind::KEEPALIVE.0), ..Segment::default() };
    segment.add(device(0, 1));
    segment.add(device(1, 2));
    segment.run(0);
    segment.mute = Some(1);
    let candidates = |segment: &Segment| segment.stations[0].link.snapshot().candidates.len();
    assert_eq!(candidates(&segment), 1);
    segment.run(1_999 * MS);
    assert_eq!(candidates(&segment), 1);
    segment.run(MS);
    assert_eq!(candidates(&segment), 0);
}

#[test]
fn what_becomes_of_other_candidates_leaves_one_waiting() {
    let mut segment = Segment::of([device(0, 1), device(1, 2)]);
    segment.run(100 * MS);
    segment.lost = Some(Kind::KEEPALIVE.0);
    segment.add(Config { name: "waiting".into(), boot: BootId(3), ..device(1, 3) });
    segment.run(0);
    (segment.lost, segment.mute) = (None, Some(2));
    segment.add(Config { boot: BootId(4), ..device(1, 4) });
    segment.add(Config { name: "third".into(), boot: BootId(5), ..device(1, 5) });
    segment.run(50 * MS);
    let told = segment.told(0);
    assert_eq!(told[0], "up", "the first control");
    assert!(told[1..].contains(&"refused control1: name-in-use".to_owned()), "{told:?}");
    assert!(told[1..].contains(&"up".to_owned()), "{told:?}");
    let candidates = segment.stations[0].link.snapshot().candidates;
    assert_eq!(candidates.iter().map(|candidate| candidate.name.as_str()).collect::<Vec<_>>(), ["waiting"]);
}

#[test]
fn an_attempt_that_is_refused_leaves_the_others_under_way() {
    let mut segment = Segment::of([device(0, 1), device(1, 2)]);
    segment.run(100 * MS);
    segment.lost = Some(Kind::HANDSHAKE_RESPONSE.0);
    segment.add(Config { name: "other".into(), boot: BootId(3), ..device(0, 3) });
    segment.add(Config { boot: BootId(4), ..device(1, 4) });
    let under_way = |segment: &Segment| -> Vec<String> {
        segment.stations[3].link.snapshot().attempts.into_iter().map(|attempt| attempt.name).collect()
    };
    segment.run(MS);
    assert_eq!(under_way(&segment), ["other", "relay0"]);
    (segment.lost, segment.mute) = (None, Some(2));
    segment.run(50 * MS);
    assert_eq!(segment.told(3), ["refused relay0: name-in-use"]);
    assert_eq!(under_way(&segment), ["other"]);
}

/// A relay that does not answer holds up no change of keys with another one.
#[test]
fn keys_change_with_each_peer_by_itself() {
    for silent in [0, 2] {
        let mut segment = Segment::of([device(0, 1), device(1, 2)]);
        segment.add(Config { name: "other".into(), boot: BootId(9), ..device(0, 3) });
        segment.stations[1].link.set_rekey_after(Duration::from_millis(150));
        segment.run(100 * MS);
        let session = |segment: &Segment, station: usize| -> SessionIndex {
            let seen = segment.stations[station].link.snapshot().peers;
            seen[0].up.expect("a session").0
        };
        let other = 2 - silent;
        let before = [silent, other].map(|station| session(&segment, station));
        segment.mute = Some(silent);
        segment.run(100 * MS);
        let after = [silent, other].map(|station| session(&segment, station));
        assert_eq!(after[0], before[0]);
        assert_ne!(after[1], before[1], "{silent} is silent");
    }
}

#[test]
fn the_end_of_a_session_ends_no_change_of_keys_with_another_peer() {
    let mut segment = Segment::of([device(0, 1), device(1, 2)]);
    segment.add(Config { name: "other".into(), boot: BootId(9), ..device(0, 3) });
    segment.stations[1].link.set_rekey_after(Duration::from_millis(150));
    segment.run(100 * MS);
    segment.lost = Some(Kind::HANDSHAKE_RESPONSE.0);
    segment.run(100 * MS);
    let rekeyed = |segment: &Segment| -> Vec<String> {
        let attempts = segment.stations[1].link.snapshot().attempts;
        attempts.into_iter().filter(|attempt| attempt.rekey).map(|attempt| attempt.name).collect()
    };
    assert_eq!(rekeyed(&segment).len(), 2);
    let now = segment.now;
    segment.stations[0].link.close(CloseReason::SHUTDOWN, now);
    segment.flush(0);
    segment.deliver();
    assert_eq!(rekeyed(&segment), ["other"]);
}

#[test]
fn a_change_of_keys_says_which_hello_was_heard_last() {
    let mut segment = Segment::of([device(0, 1), device(1, 2)]);
    segment.stations[1].link.set_rekey_after(Duration::from_millis(50));
    segment.run(40 * MS);
    segment.now = segment.now + Duration::from_millis(20);
    segment.stations[1].link.handle_timeout(segment.now);
    segment.flush(1);
    let mut headers = segment.wire.iter().map(|(_, frame)| Frame::parse(frame).unwrap().header);
    let init = headers.rfind(|header| header.kind == Kind::HANDSHAKE_INIT).unwrap();
    assert_eq!(init.counter.get(), device(0, 1).boot.0);
}

#[test]
fn keys_that_nobody_wants_any_more_are_gone() {
    let mut segment = Segment::of([device(0, 1), device(1, 2)]);
    segment.stations[1].link.keep_session_keys();
    segment.run(MS);
    let link = &mut segment.stations[1].link;
    assert!(link.peer_name(PeerId(0)).is_some());
    link.drop_session_keys();
    assert!(link.poll_session_keys().is_none());
}

#[test]
fn keys_that_nobody_takes_are_the_newest_ones() {
    let mut segment = Segment::of([device(0, 1), device(1, 2)]);
    segment.stations[1].link.keep_session_keys();
    for boot in 100..400 {
        segment.stations[0].start(Config { boot: BootId(boot), ..device(0, 1) }, segment.now);
        segment.run(SECOND);
    }
    let link = &mut segment.stations[1].link;
    assert!(link.peer_name(PeerId(0)).is_some());
    assert_eq!(std::iter::from_fn(|| link.poll_session_keys()).count(), 256);
}
