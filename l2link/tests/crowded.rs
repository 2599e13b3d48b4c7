//! More handshakes and hellos than a relay takes part in: the genuine ones come through.

mod stations;

use frames::discovery::{Hello, Mode, Protection, Role};
use frames::header::{Flags, HEADERS_LEN, LinkHeader};
use frames::{BootId, DropReason, Mac};
use l2link::{Batch, Config, Link, Rx, Security, Time};
use rstest::rstest;
use stations::{MS, SECOND, Segment, device, keyed};
use zerocopy::IntoBytes;

/// Kind in the link header.
const KIND: usize = 15;
const HELLO: u8 = 1;
const HANDSHAKE_INIT: u8 = 2;
const HANDSHAKE_RESPONSE: u8 = 3;
/// Frames in each millisecond.
const BURST: usize = 100;

/// Everything that a link has to send.
fn said(link: &mut Link, now: Time) -> Vec<Vec<u8>> {
    let mut batch = Batch::new(80, 2000);
    let mut frames = Vec::new();
    loop {
        let waiting = link.poll_transmit(&mut batch, now);
        frames.extend(batch.frames().map(<[u8]>::to_vec));
        batch.clear();
        if !waiting {
            return frames;
        }
    }
}

/// What the control of a number of lives says first, when it hears the relay's newest hello.
fn first_messages(segment: &mut Segment, control: &Config, lives: u64) -> Vec<Vec<u8>> {
    segment.run(3 * SECOND);
    let relay = &mut segment.stations[0].link;
    let hello = loop {
        segment.now = relay.poll_timeout().expect("a hello is due");
        relay.handle_timeout(segment.now);
        if let Some(hello) = said(relay, segment.now).into_iter().find(|frame| frame[KIND] == HELLO) {
            break hello;
        }
    };
    let life = |life: u64| {
        let config = Config { boot: BootId(1000 + life), ..control.clone() };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&life.to_be_bytes());
        let mut link = Link::new(config, seed, segment.now);
        assert_eq!(link.handle_frame(&mut hello.clone(), segment.now), Rx::Consumed);
        let mut frames = said(&mut link, segment.now).into_iter();
        frames.find(|frame| frame[KIND] == HANDSHAKE_INIT).expect("a first message")
    };
    (0..lives).map(life).collect()
}

/// The relay gets so many frames in each millisecond, in turn. Returns how long the control, which starts now, is in after.
fn flooded(segment: &mut Segment, frames: &[Vec<u8>], control: Config) -> u64 {
    segment.told(0);
    let mut frames = frames.iter().cycle();
    let mut flood = |segment: &mut Segment| {
        for frame in frames.by_ref().take(BURST) {
            let _ = segment.stations[0].link.handle_frame(&mut frame.clone(), segment.now);
        }
        segment.run(MS);
    };
    for _ in 0..3000 {
        flood(segment);
    }
    assert!(!segment.told(0).contains(&"up".to_owned()), "a false peer");
    segment.add(control);
    for after in 0..2000 {
        flood(segment);
        if segment.told(0).contains(&"up".to_owned()) {
            return after;
        }
    }
    panic!("the control never came in");
}

#[rstest]
#[case::none(open(0), open(1))]
#[case::psk(device(0, 1), device(1, 2))]
#[case::keys(keyed(0, 1), keyed(1, 2))]
fn recorded_first_messages_keep_nobody_out(
    #[case] relay: Config,
    #[case] control: Config,
    #[values(0, 20)] age: u64,
) {
    let mut segment = Segment::default();
    segment.add(relay);
    // Those of just now are few, as there is a limit to how many are made; of older ones somebody may have any number.
    let frames = first_messages(&mut segment, &control, if age == 0 { 50 } else { 600 });
    segment.run(age * SECOND);
    let after = flooded(&mut segment, &frames, control);
    assert!(after < 300, "after {after} ms");
}

/// The last half of what a relay takes at once is for those that have just heard it.
#[test]
fn when_many_begin_those_of_long_ago_are_left_out() {
    let mut segment = Segment::default();
    segment.add(open(0));
    let of_long_ago = first_messages(&mut segment, &open(1), 201).remove(200);
    segment.run(20 * SECOND);
    let fresh = first_messages(&mut segment, &open(1), 200);
    let relay = &mut segment.stations[0].link;
    let mut take = |frame: &[u8]| match relay.handle_frame(&mut frame.to_vec(), segment.now) {
        Rx::Drop(reason) => Some(reason),
        Rx::Parcel { .. } | Rx::Consumed => None,
    };
    let (first, then) = fresh.split_at(160);
    assert!(first.iter().all(|frame| take(frame).is_none()));
    assert_eq!(take(&of_long_ago), Some(DropReason::HandshakeLimit));
    assert!(then.iter().all(|frame| take(frame).is_none()));
}

/// The other side's next try, when the answer was lost.
#[rstest]
#[case::psk(device(0, 1), device(1, 2))]
#[case::keys(keyed(0, 1), keyed(1, 2))]
fn a_first_message_that_comes_again_gets_the_same_answer(#[case] relay: Config, #[case] control: Config) {
    let mut segment = Segment::default();
    segment.add(relay);
    let first = first_messages(&mut segment, &control, 1).remove(0);
    let mut answers = Vec::new();
    for _ in 0..5 {
        let relay = &mut segment.stations[0].link;
        let _ = relay.handle_frame(&mut first.clone(), segment.now);
        let _ = relay.handle_frame(&mut first.clone(), segment.now);
        let frames = said(relay, segment.now);
        answers.extend(frames.into_iter().filter(|frame| frame[KIND] == HANDSHAKE_RESPONSE));
        segment.now = segment.now + core::time::Duration::from_millis(20);
    }
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(segment.stations[0].link.counters().dropped(DropReason::Replayed), 9);
}

#[test]
fn a_relay_has_256_peers_at_most() {
    let now = Time(0);
    let mut relay = Link::new(open(0), [1; 32], now);
    for number in 0..257_u16 {
        let [high, low] = number.to_be_bytes();
        let mac = Mac([2, 5, 0, 0, high, low]);
        let mut control =
            Link::new(Config { name: format!("control{number}"), mac, ..open(1) }, [2; 32], now);
        for _ in 0..3 {
            for mut frame in said(&mut control, now) {
                let _ = relay.handle_frame(&mut frame, now);
            }
            for mut frame in said(&mut relay, now).into_iter().filter(|frame| frame[..6] == mac.0) {
                let _ = control.handle_frame(&mut frame, now);
            }
        }
        assert_eq!(relay.peers().len(), usize::from(number.min(255)) + 1);
    }
    assert_eq!(relay.counters().dropped(DropReason::HandshakeLimit), 1);
}

#[test]
fn a_control_begins_256_handshakes_at_once_at_most() {
    let mut control = Link::new(open(1), [1; 32], Time(0));
    for number in 0..2000 {
        let _ = control.handle_frame(&mut strange_hello(Role::Relay, number), Time(0));
    }
    assert_eq!(control.snapshot().attempts.len(), 256);
    assert_eq!(control.counters().dropped(DropReason::HandshakeLimit), 2000 - 256);
}

#[test]
fn more_hellos_than_can_be_answered_get_one_answer_to_all() {
    let mut segment = Segment::default();
    segment.add(open(0));
    segment.run(10 * SECOND);
    let relay = &mut segment.stations[0].link;
    for number in 0..2000_u16 {
        let _ = relay.handle_frame(&mut strange_hello(Role::Control, number), segment.now);
    }
    let (mut singly, mut to_all) = (0, 0);
    for _ in 0..100 {
        for frame in said(relay, segment.now) {
            let all = frame[..6] == Mac::LINK_GROUP.0;
            *(if all { &mut to_all } else { &mut singly }) += 1;
        }
        segment.now = segment.now + core::time::Duration::from_millis(1);
        relay.handle_timeout(segment.now);
    }
    assert_eq!((singly, to_all), (300, 1));
}

/// A device in mode `none`.
fn open(station: usize) -> Config {
    let clear = Protection::CLEAR;
    let mac = u8::try_from(station + 1).unwrap();
    Config { security: Security::None, control: clear, data: clear, ..device(station, mac) }
}

/// A hello of a device that nobody has heard of.
fn strange_hello(role: Role, number: u16) -> Vec<u8> {
    let (mode, clear) = (Mode::NONE, Protection::CLEAR);
    let (boot, name) = (BootId(number.into()), format!("stranger{number}"));
    let hello = Hello { role, mode, data: clear, control: clear, boot, name: &name };
    let mut frame = vec![0; 200];
    let length = hello.emit(&mut frame[HEADERS_LEN..]).unwrap();
    let source = [2, 0x66, 0, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]];
    frame[..6].copy_from_slice(&Mac::LINK_GROUP.0);
    frame[6..12].copy_from_slice(&source);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let kind = frames::header::Kind::HELLO;
    let length = u16::try_from(length).unwrap();
    let header = LinkHeader::new(kind, Flags::empty(), length, frames::SessionIndex(0), 0);
    frame[14..HEADERS_LEN].copy_from_slice(header.as_bytes());
    frame
}
