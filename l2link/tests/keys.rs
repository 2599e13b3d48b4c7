//! Mode `keys`: who may be a peer, and who learns why not.

mod stations;

use frames::discovery::Protection;
use frames::header::HEADERS_LEN;
use frames::{BootId, DropReason, Mac};
use l2link::{Config, Link, PeerState, Rx, Security};
use rstest::rstest;
use stations::{MS, SECOND, Segment, device, keyed, keys, private_key};

/// Kind in the link header.
const KIND: usize = 15;
const HANDSHAKE_INIT: u8 = 2;
const HANDSHAKE_RESPONSE: u8 = 3;

#[rstest]
fn they_meet_whoever_starts_first(
    #[values(0, 1)] late: usize,
    #[values(None, Some(9))] psk: Option<u8>,
    #[values(Protection::SEALED, Protection::ENCRYPTED)] protection: Protection,
) {
    let config = |station: usize, mac| {
        let security = [keys(10, psk, &[("control1", 11)]), keys(11, psk, &[("relay0", 10)])];
        let security = security.into_iter().nth(station).unwrap();
        Config { security, control: protection, data: protection, ..device(station, mac) }
    };
    let mut segment = Segment::default();
    segment.add(config(1 - late, 1));
    segment.run(5 * SECOND);
    segment.add(config(late, 2));
    segment.run(2 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    let peers = segment.stations[0].link.peers();
    assert_eq!(peers[0].key, Some(private_key([10, 11][late]).public()));
    for parcel in [&[0; 60][..], &[0; 9000]] {
        segment.send_parcel(0, parcel).unwrap();
        assert_eq!(segment.parcels(1), [parcel.to_vec()]);
    }
}

#[test]
fn keys_change_without_a_trace() {
    let mut segment = pair();
    for _ in 0..130 {
        segment.run(2 * SECOND);
        segment.send_parcel(1, &[0; 60]).unwrap();
        assert_eq!(segment.parcels(0).len(), 1);
    }
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));
}

/// Keepalives go on, and handshakes do not come through.
#[rstest]
#[case::psk(device(0, 1), device(1, 2))]
#[case::keys(keyed(0, 1), keyed(1, 2))]
fn keys_that_cannot_be_replaced_end_the_session(#[case] relay: Config, #[case] control: Config) {
    let mut segment = Segment::default();
    segment.add(relay);
    segment.add(control);
    segment.run(2 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    segment.lost = Some(HANDSHAKE_INIT);
    segment.run(179_900 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));
    segment.run(200 * MS);
    let told = [segment.told(0), segment.told(1)];
    assert!(told.iter().all(|told| told == &["down: keys expired"]), "{told:?}");
    segment.lost = None;
    segment.run(3 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
}

/// A relay that knows control1 by key 11, and what both say when another one comes.
fn met(control: Security, name: &str) -> (Segment, Vec<String>, Vec<String>) {
    let mut segment = Segment::default();
    segment.add(keyed(0, 1));
    segment.add(Config { security: control, name: name.to_owned(), ..device(1, 2) });
    segment.run(50 * SECOND);
    let (relay, control) = (segment.told(0), segment.told(1));
    (segment, relay, control)
}

#[test]
fn a_name_under_another_key_is_refused_and_told_on_both_sides() {
    let (segment, relay, control) = met(keys(12, None, &[("relay0", 10)]), "control1");
    assert_eq!(relay, ["refused control1: wrong-key"]);
    assert_eq!(control, ["refused relay0: not-its-peer"]);
    let state = |station: usize| segment.stations[station].link.peers()[0].state;
    assert_eq!(state(0), PeerState::Refused(DropReason::WrongKey));
    assert_eq!(state(1), PeerState::Refused(DropReason::NotItsPeer));
}

#[test]
fn a_stranger_is_refused_and_told_on_both_sides() {
    let (_, relay, control) = met(keys(12, None, &[("relay0", 10)]), "control9");
    assert_eq!(relay, ["refused control9: unknown-peer"]);
    assert_eq!(control, ["refused relay0: not-its-peer"]);
}

/// Its hello was lost.
#[test]
fn a_stranger_is_told_of_when_it_is_not_heard_before() {
    let mut segment = Segment::default();
    segment.add(keyed(0, 1));
    let stranger = keys(12, None, &[("relay0", 10)]);
    segment.add(Config { security: stranger, name: "control9".into(), ..device(1, 2) });
    segment.flush(0);
    for (_, mut frame) in std::mem::take(&mut segment.wire) {
        assert_eq!(segment.stations[1].link.handle_frame(&mut frame, segment.now), Rx::Consumed);
    }
    segment.flush(1);
    segment.wire.retain(|(_, frame)| frame[KIND] == HANDSHAKE_INIT);
    assert_eq!(segment.wire.len(), 1);
    segment.deliver();
    assert_eq!(segment.told(0), ["refused control9: unknown-peer"]);
}

#[test]
fn a_known_key_under_another_name_is_refused() {
    let (_, relay, control) = met(keys(11, None, &[("relay0", 10)]), "control9");
    assert_eq!(relay, ["refused control9: unknown-peer"]);
    assert_eq!(control, ["refused relay0: not-its-peer"]);
}

#[test]
fn a_relay_under_another_key_than_a_control_knows_is_none() {
    let (_, relay, control) = met(keys(11, None, &[("relay0", 13)]), "control1");
    assert_eq!((relay, control), (vec![], vec!["refused relay0: wrong-key".to_owned()]));
}

#[test]
fn the_key_of_a_control_makes_no_relay() {
    let mut segment = Segment::default();
    segment.add(keyed(1, 1));
    // It has the name and the key of the control, and says that it is a relay.
    let security = keys(11, None, &[("control1", 11)]);
    segment.add(Config { security, name: "control1".into(), ..device(0, 2) });
    segment.run(10 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: unknown-peer"]);
    assert!(!segment.told(1).contains(&"up".to_owned()));
}

#[test]
fn a_psk_counts_besides_the_keys() {
    let (_, relay, control) = met(keys(11, Some(1), &[("relay0", 10)]), "control1");
    assert_eq!(relay, ["refused control1: wrong-key"]);
    assert_eq!(control, ["refused relay0: wrong-key"]);
}

#[test]
fn a_peer_that_is_taken_out_and_put_in_again() {
    let mut segment = pair();
    let without = Config { security: keys(10, None, &[("control2", 12)]), boot: BootId(8), ..device(0, 1) };
    segment.stations[0].start(without, segment.now);
    segment.run(10 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: unknown-peer"]);
    assert_eq!(segment.told(1), ["refused relay0: not-its-peer", "down: silent"]);
    segment.stations[0].start(Config { boot: BootId(9), ..keyed(0, 1) }, segment.now);
    segment.run(2 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
}

#[test]
fn two_devices_with_the_same_name_and_key_are_not_mixed_up() {
    let mut segment = pair();
    segment.add(Config { boot: BootId(77), mac: Mac([2, 0, 0, 0, 0, 3]), ..keyed(1, 2) });
    segment.run(3 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: name-in-use"]);
    assert_eq!(segment.told(1), ["refused control1: name-in-use"]);
    assert!(segment.told(2).contains(&"refused relay0: name-in-use".to_owned()));
}

/// What the control said first, once more: it makes nothing and ends nothing, neither in the life of the relay that it was
/// for nor in the next.
#[rstest]
#[case::psk(device(0, 1), device(1, 2))]
#[case::keys(keyed(0, 1), keyed(1, 2))]
fn a_replayed_first_message_has_no_effect(#[case] relay: Config, #[case] control: Config) {
    let mut segment = Segment::default();
    segment.add(relay.clone());
    segment.add(control);
    // The relay says hello, and what comes back is kept.
    segment.stations[0].link.handle_timeout(segment.now);
    segment.flush(0);
    segment.stations[1].link.handle_timeout(segment.now);
    for (_, mut frame) in std::mem::take(&mut segment.wire) {
        assert_eq!(segment.stations[1].link.handle_frame(&mut frame, segment.now), Rx::Consumed);
    }
    segment.flush(1);
    let is_init = |(_, frame): &&(Mac, Vec<u8>)| frame[KIND] == HANDSHAKE_INIT;
    let init = segment.wire.iter().find(is_init).expect("a first message").1.clone();
    segment.run(2 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    let replay = |segment: &mut Segment| {
        for _ in 0..300 {
            let _ = segment.stations[0].link.handle_frame(&mut init.clone(), segment.now);
        }
        segment.run(3 * SECOND);
        segment.send_parcel(0, &[0; 60]).unwrap();
        assert_eq!(segment.parcels(1).len(), 1);
    };
    replay(&mut segment);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));

    segment.stations[0].start(Config { boot: BootId(9), ..relay }, segment.now);
    segment.run(2 * MS);
    assert_eq!(segment.told(1), ["down: began a new session", "up"]);
    segment.told(0);
    replay(&mut segment);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));
}

fn set_peers(segment: &mut Segment, station: usize, peers: &[(&str, u8)]) {
    let peers: Vec<_> =
        peers.iter().map(|(name, key)| ((*name).to_owned(), private_key(*key).public())).collect();
    segment.stations[station].link.set_peers(&peers, segment.now);
    segment.flush(station);
    segment.deliver();
}

/// A relay, and two controls that it knows.
#[test]
fn peers_change_while_the_others_go_on() {
    let mut segment = Segment::default();
    let both = [("control1", 11), ("control2", 12)];
    segment.add(Config { security: keys(10, None, &both), ..device(0, 1) });
    segment.add(keyed(1, 2));
    let second = keys(12, None, &[("relay0", 10)]);
    segment.add(Config { security: second, name: "control2".into(), boot: BootId(9), ..device(1, 3) });
    segment.run(2 * SECOND);
    assert_eq!((segment.told(1), segment.told(2)), (up(), up()));
    let _ = segment.told(0);

    set_peers(&mut segment, 0, &both);
    segment.run(2 * SECOND);
    assert!((0..3).all(|station| segment.told(station).is_empty()), "nothing differs");

    set_peers(&mut segment, 0, &[("control2", 12)]);
    segment.run(10 * SECOND);
    let lost = "down: it does not have this device and its key among its peers";
    assert_eq!(segment.told(1), [lost, "refused relay0: not-its-peer"]);
    assert_eq!((segment.told(2), segment.told(0).first().map(String::as_str)), (vec![], Some(lost)));

    set_peers(&mut segment, 0, &both);
    segment.run(10 * SECOND);
    assert_eq!((segment.told(0), segment.told(1), segment.told(2)), (up(), up(), vec![]));

    // Another key under the same name.
    set_peers(&mut segment, 0, &[("control1", 13), ("control2", 12)]);
    segment.run(10 * SECOND);
    assert_eq!(segment.told(1).first().map(String::as_str), Some(lost));
    assert_eq!(segment.told(2), Vec::<String>::new());
}

#[test]
fn handshakes_with_the_others_go_on_when_a_peer_is_taken_out() {
    let mut segment = Segment { lost: Some(HANDSHAKE_RESPONSE), ..Segment::default() };
    let both = [("relay0", 10), ("relay2", 12)];
    segment.add(Config { security: keys(11, None, &both), ..device(1, 1) });
    segment.add(keyed(0, 2));
    let second = keys(12, None, &[("control1", 11)]);
    segment.add(Config { security: second, name: "relay2".into(), boot: BootId(9), ..device(0, 3) });
    segment.run(MS);
    let under_way = |segment: &Segment| -> Vec<String> {
        segment.stations[0].link.snapshot().attempts.into_iter().map(|attempt| attempt.name).collect()
    };
    assert_eq!(under_way(&segment), ["relay0", "relay2"]);
    set_peers(&mut segment, 0, &both[1..]);
    assert_eq!(under_way(&segment), ["relay2"]);
}

#[test]
fn a_control_lets_a_relay_go_and_meets_it_again() {
    let mut segment = pair();
    set_peers(&mut segment, 1, &[]);
    segment.run(10 * SECOND);
    assert_eq!(segment.stations[1].link.peers()[0].state, PeerState::Down);
    let _ = (segment.told(0), segment.told(1));
    set_peers(&mut segment, 1, &[("relay0", 10)]);
    segment.run(10 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
}

/// Frames without a tag, and what a stranger makes who has read everything on the wire.
#[test]
fn who_does_not_know_a_public_key_is_stopped_at_the_gate() {
    let mut segment = pair();
    let stranger = keys(66, None, &[("relay0", 67)]);
    let mut link = Link::new(Config { security: stranger, ..device(1, 6) }, [6; 32], segment.now);
    let mut batch = l2link::Batch::new(8, 2000);
    link.poll_transmit(&mut batch, segment.now);
    let mut hello = batch.frames().next().unwrap().to_vec();
    let relay = &mut segment.stations[0].link;
    assert_eq!(relay.handle_frame(&mut hello.clone(), segment.now), Rx::Drop(DropReason::WrongKey));
    hello[KIND] = HANDSHAKE_INIT;
    assert_eq!(relay.handle_frame(&mut hello.clone(), segment.now), Rx::Drop(DropReason::BadGate));
    hello[KIND - 1] &= 0xf0;
    assert_eq!(relay.handle_frame(&mut hello, segment.now), Rx::Drop(DropReason::BadGate));
}

/// A frame in clear in a secured mode is counted, and nothing answers it.
#[rstest]
#[case::psk(device(0, 1), device(1, 2))]
#[case::keys(keyed(0, 1), keyed(1, 2))]
fn clear_frames_are_counted_and_never_answered(#[case] relay: Config, #[case] control: Config) {
    let mut segment = Segment::default();
    segment.add(relay);
    segment.add(control);
    segment.run(2 * MS);
    segment.send_parcel_unheard(1, &[0; 60]);
    let sealed = segment.wire.pop().unwrap().1;
    let relay = &mut segment.stations[0].link;
    for kind in [0x20, 0x21, 0x22, 0x23, 0x40, 0x41, 0x42] {
        let mut frame = sealed.clone();
        (frame[KIND - 1], frame[KIND]) = (frame[KIND - 1] & 0xf0, kind);
        frame.truncate(HEADERS_LEN + 60);
        let length = u16::try_from(frame.len() - HEADERS_LEN).unwrap();
        frame[KIND + 1..KIND + 3].copy_from_slice(&length.to_be_bytes());
        assert_eq!(relay.handle_frame(&mut frame, segment.now), Rx::Drop(DropReason::NotSealed));
    }
    assert_eq!(segment.flush(0), 0);
    assert_eq!(segment.stations[0].link.counters().dropped(DropReason::NotSealed), 7);
}

#[test]
fn no_secret_is_in_debug_output() {
    let security = keys(10, Some(9), &[("control1", 11)]);
    let text = format!("{security:?} {:?} {:?}", keyed(0, 1), private_key(10));
    assert!(!text.contains("10, 10") && !text.contains("9, 9"), "{text}");
}

fn up() -> Vec<String> {
    vec!["up".to_owned()]
}

fn pair() -> Segment {
    stations::met([keyed(0, 1), keyed(1, 2)])
}
