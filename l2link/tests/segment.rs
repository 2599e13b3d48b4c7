//! Two or three devices on a sound segment: what happens when, told step by step.

mod stations;

use core::time::Duration;
use frames::data::{PARCEL_MAX, Tunnel};
use frames::discovery::Protection;
use frames::header::{Frame, HEADERS_LEN, Kind};
use frames::message::{Message, RouteDelete, RuleDelete};
use frames::route::{Prefix, RouteKey};
use frames::session::{CloseReason, Stream};
use frames::{BootId, DropReason, Mac, RequestId, UpTunnel};
use l2link::{Batch, Config, Link, PeerId, PeerState, Rx, Security, Time, Way};
use rstest::rstest;
use stations::{MS, SECOND, Segment, Station, device, keyed, met, psk};

#[test]
fn they_meet_whoever_starts_first() {
    for late in [0, 1] {
        let mut segment = Segment::default();
        segment.add(device(1 - late, 1));
        segment.run(5_000 * MS);
        segment.add(device(late, 2));
        segment.run(2 * MS);
        assert_eq!(segment.told(0), ["up"], "late {late}");
        assert_eq!(segment.told(1), ["up"], "late {late}");
    }
}

#[test]
fn a_message_is_on_the_wire_at_once() {
    let mut segment = pair();
    segment.stations[1].link.send_message(PeerId(0), &rule(7));
    let sent = segment.flush(1);
    assert_eq!(sent, 1);
    assert_ne!(segment.stations[1].link.backlog(PeerId(0), Stream::Rules), 0);
    segment.deliver();
    assert_eq!(segment.told(0), ["RULE_DELETE"]);
    segment.run(1);
    assert_eq!(segment.stations[1].link.backlog(PeerId(0), Stream::Rules), 0, "acknowledged at once");
}

#[test]
fn a_lost_message_comes_before_the_next_keepalive() {
    let mut segment = pair();
    segment.lost = Some(Kind::SEGMENT.0);
    segment.stations[1].link.send_message(PeerId(0), &rule(7));
    segment.run(MS);
    segment.lost = None;
    segment.run(25 * MS);
    assert_eq!(segment.told(0), ["RULE_DELETE"]);
}

#[test]
fn a_killed_device_is_back_within_milliseconds() {
    for restarted in [0, 1] {
        let mut segment = pair();
        segment.run(10 * SECOND);
        let config = Config { boot: BootId(99), ..device(restarted, [1, 2][restarted]) };
        segment.stations[restarted].start(config, segment.now);
        segment.run(2 * MS);
        assert_eq!(segment.told(restarted), ["up"]);
        assert_eq!(segment.told(1 - restarted), ["down: began a new session", "up"]);
    }
}

#[test]
fn peers_have_the_names_that_they_gave() {
    let segment = pair();
    let names = [0, 1].map(|station| segment.stations[station].link.peer_name(PeerId(0)));
    assert_eq!(names, [Some("control1"), Some("relay0")]);
    assert_eq!(segment.stations[0].link.peer_name(PeerId(1)), None);
    let shown = format!("{:?}", segment.stations[0].link);
    assert!(shown.contains("\"relay0\"") && shown.contains("up: 1"), "{shown}");
}

#[test]
fn the_longest_parcel_becomes_the_most_frames() {
    let mut segment = pair();
    let most = segment.stations[0].link.parcel_frames_max();
    for (parcel, frames) in [(PARCEL_MAX, most), (1400, 1), (1500, 2)] {
        segment.wire.clear();
        segment.send_parcel_unheard(0, &vec![7; parcel]);
        assert_eq!(segment.wire.len(), frames, "{parcel} bytes");
    }
}

#[test]
fn a_parcel_whose_pieces_do_not_all_fit_leaves_none() {
    let mut segment = pair();
    let link = &mut segment.stations[0].link;
    let most = link.parcel_frames_max();
    for (room, frames) in [(most, most), (most - 1, 0), (0, 0)] {
        let mut batch = Batch::new(room, 1514);
        let sent = link.send_parcel(PeerId(0), Tunnel(5), &vec![7; PARCEL_MAX], &mut batch, segment.now);
        assert_eq!((sent.is_ok(), batch.len()), (frames > 0, frames), "room for {room}");
    }
}

#[test]
fn silence_is_noticed_after_three_keepalives_and_healed_soon() {
    let mut segment = pair();
    segment.cut = true;
    segment.run(290 * MS);
    assert_eq!(segment.told(0), Vec::<String>::new());
    segment.run(120 * MS);
    assert_eq!(
        (segment.told(0), segment.told(1)),
        (vec!["down: silent".to_owned()], vec!["down: silent".to_owned()])
    );
    segment.run(20 * SECOND);
    segment.cut = false;
    segment.run(1100 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec!["up".to_owned()], vec!["up".to_owned()]));
}

#[test]
fn another_liveness_counts_at_both_ends() {
    let mut segment = pair();
    segment.stations[0].link.set_liveness(Duration::from_millis(20), 2);
    segment.run(MS);
    segment.cut = true;
    segment.run(50 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));
    segment.run(20 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec!["down: silent".to_owned()]));
    segment.run(150 * MS);
    assert_eq!(segment.told(0), ["down: silent"]);
}

#[test]
fn a_stop_is_told() {
    let mut segment = pair();
    let now = segment.now;
    segment.stations[0].link.close(CloseReason::SHUTDOWN, now);
    let hellos = kind(&segment.stations[1].link, "HELLO").1;
    segment.run(1);
    assert_eq!(segment.told(1), ["down: peer stopped"]);
    assert_eq!(kind(&segment.stations[1].link, "HELLO").1, hellos + 1, "it is looked for at once");
    segment.stations[0].start(device(0, 1), segment.now);
    segment.run(2 * MS);
    assert_eq!(segment.told(1), ["up"]);
}

#[test]
fn a_session_that_the_owner_ends_begins_anew() {
    let mut segment = pair();
    let now = segment.now;
    segment.stations[0].link.disconnect(PeerId(0), now);
    segment.run(SECOND);
    let told = ["down: peer stopped", "up"];
    assert_eq!(
        (segment.told(0), segment.told(1)),
        (told.map(String::from).to_vec(), told.map(String::from).to_vec())
    );
}

#[test]
fn keys_change_without_a_trace() {
    let mut segment = pair();
    for request in 0..150_u32 {
        segment.run(2 * SECOND);
        segment.stations[1].link.send_message(PeerId(0), &rule(request));
        segment.run(MS);
        assert_eq!(segment.told(0), ["RULE_DELETE"]);
    }
    let (_, sent, _) = kind(&segment.stations[1].link, "HANDSHAKE_INIT");
    assert!(sent >= 3, "300 s are two rekeys and the first handshake, not {sent}");
    assert_eq!(segment.told(1), Vec::<String>::new());
}

#[rstest]
#[case(20 * MS, 1)]
#[case(900 * MS, 1)]
#[case(1_100 * MS, 0)]
fn frames_under_the_former_keys_are_taken_for_a_second(#[case] after: u64, #[case] taken: usize) {
    let mut segment = pair();
    segment.run(120 * SECOND - 10 * MS);
    segment.send_parcel_unheard(0, &[0; 60]);
    let late = std::mem::take(&mut segment.wire);
    segment.run(10 * MS + after);
    assert_eq!(kind(&segment.stations[1].link, "HANDSHAKE_INIT").1, 2, "the rekey has begun");
    segment.wire = late;
    segment.deliver();
    assert_eq!(segment.parcels(1).len(), taken);
}

/// The relay lost contact, and the control, which did not, tries to go on with new keys for the same streams.
#[test]
fn an_association_that_died_on_one_side_dies_on_the_other() {
    let mut segment = pair();
    segment.stations[1].link.send_message(PeerId(0), &rule(1));
    segment.run(119_750 * MS);
    segment.told(0);
    segment.mute = Some(1);
    segment.run(330 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec!["down: silent".to_owned()], vec![]));
    segment.mute = None;
    segment.run(100 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]), "the control has yet to see it");
    segment.stations[1].link.send_message(PeerId(0), &rule(2));
    segment.run(SECOND);
    assert_eq!(segment.told(1), ["down: silent", "up"]);
    assert_eq!(segment.told(0), ["up"]);
}

#[test]
fn a_new_address_is_followed_on_the_next_frame() {
    let mut segment = pair();
    for (station, mac) in [(0, 0x70), (1, 0x71)] {
        let mac = Mac([2, 0, 0, 0, 0, mac]);
        segment.stations[station].mac = mac;
        segment.stations[station].link.set_interface(mac, 1500);
        segment.run(MS);
        assert_eq!(segment.stations[1 - station].link.peers()[0].mac, mac);
    }
    segment.run(2 * SECOND);
    assert_eq!((segment.told(0).len(), segment.told(1).len()), (0, 0));
}

#[rstest]
fn what_comes_late_from_the_former_address_moves_no_peer(#[values(false, true)] under_former_keys: bool) {
    let mut segment = pair();
    if under_former_keys {
        segment.run(120 * SECOND - 10 * MS);
    }
    segment.send_parcel_unheard(1, &[0; 60]);
    let late = std::mem::take(&mut segment.wire);
    segment.run(30 * MS);
    let mac = Mac([2, 0, 0, 0, 0, 0x71]);
    segment.stations[1].mac = mac;
    segment.stations[1].link.set_interface(mac, 1500);
    segment.run(MS);
    segment.wire = late;
    segment.deliver();
    assert_eq!(segment.parcels(0).len(), 1);
    assert_eq!(segment.stations[0].link.peers()[0].mac, mac);
}

#[test]
fn a_new_mtu_counts_from_then_on() {
    let mut segment = pair();
    let Station { link, mac, .. } = &mut segment.stations[0];
    assert_eq!(link.frame_len_max(), 1514);
    link.set_interface(*mac, 9000);
    assert_eq!(link.frame_len_max(), 9014);
    assert!(link.parcel_frames_max() < 10);
}

/// The response to a handshake that is under way goes to the former address. One that was answered goes on.
#[rstest]
fn a_new_address_in_the_middle_of_a_handshake(
    #[values(0, 1)] moved: usize,
    #[values(Kind::HANDSHAKE_RESPONSE, Kind::KEEPALIVE)] lost: Kind,
) {
    let mut segment = Segment { lost: Some(lost.0), ..Segment::default() };
    segment.add(device(0, 1));
    segment.add(device(1, 2));
    segment.run(MS);
    segment.lost = None;
    let mac = Mac([2, 0, 0, 0, 0, 0x70]);
    segment.stations[moved].mac = mac;
    segment.stations[moved].link.set_interface(mac, 1500);
    segment.run(25 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec!["up".to_owned()], vec!["up".to_owned()]));
}

#[test]
fn another_psk_is_refused_once_a_minute_and_shown() {
    let mut segment = Segment::default();
    segment.add(device(0, 1));
    segment.add(Config { security: psk(9), ..device(1, 2) });
    segment.run(59 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: bad-gate"]);
    assert_eq!(segment.told(1), ["refused relay0: bad-gate"]);
    assert_eq!(segment.stations[0].link.peers()[0].state, PeerState::Refused(DropReason::BadGate));
    segment.run(5 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: bad-gate"]);
    segment.stations[1].start(device(1, 2), segment.now);
    segment.run(2 * MS);
    assert_eq!(segment.told(0), ["up"]);
    let peers = segment.stations[0].link.peers();
    assert_eq!((peers.len(), peers[0].state), (1, PeerState::Up));
}

#[test]
fn a_namesake_under_another_psk_is_of_another_segment() {
    let mut segment = pair();
    segment.add(Config { security: psk(9), boot: BootId(77), ..device(1, 3) });
    segment.run(3 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: bad-gate"]);
    assert_eq!(segment.told(1), Vec::<String>::new());
}

#[test]
fn what_anyone_says_in_the_name_of_a_peer_that_is_up_is_not_told() {
    let mut segment = pair();
    let config = Config { security: psk(9), boot: BootId(77), ..device(1, 2) };
    let mut forger = Link::new(config, [6; 32], segment.now);
    let mut batch = Batch::new(8, 1514);
    let _ = forger.poll_transmit(&mut batch, segment.now);
    let mut hello = batch.frames().next().unwrap().to_vec();
    let received = segment.stations[0].link.handle_frame(&mut hello, segment.now);
    assert_eq!(received, Rx::Drop(DropReason::BadGate));
    assert_eq!(segment.told(0), Vec::<String>::new());
}

#[test]
fn who_is_forgotten_is_missed_no_more() {
    let mut segment = pair();
    segment.add(Config { name: "other".into(), boot: BootId(9), ..device(1, 3) });
    segment.run(2 * SECOND);
    segment.stations.remove(2);
    segment.run(20 * SECOND);
    let hellos = |segment: &mut Segment| {
        let before = kind(&segment.stations[0].link, "HELLO").1;
        segment.run(20 * SECOND);
        kind(&segment.stations[0].link, "HELLO").1 - before
    };
    assert_eq!(hellos(&mut segment), 20);
    segment.stations[0].link.forget(PeerId(1));
    assert_eq!(segment.stations[0].link.peers().len(), 1);
    segment.run(SECOND);
    assert_eq!(hellos(&mut segment), 10);
}

#[test]
fn the_stamp_of_a_hello_grows_by_one_a_second() {
    let mut link = Link::new(device(0, 1), [1; 32], Time(0));
    let mut batch = Batch::new(8, 1514);
    let mut hellos = 0;
    for second in 0..60 {
        let now = Time(second * SECOND + 17);
        link.handle_timeout(now);
        let _ = link.poll_transmit(&mut batch, now);
        for frame in batch.frames() {
            let stamp = Frame::parse(frame).unwrap().header.counter.get();
            assert_eq!(stamp, device(0, 1).boot.0 + second);
            hellos += 1;
        }
        batch.clear();
    }
    assert!(hellos > 50, "{hellos}");
}

#[test]
fn the_latest_associations_that_are_over_are_remembered() {
    let mut segment = pair();
    let present = |segment: &Segment| segment.stations[0].link.snapshot().peers.remove(0);
    let mut over = Vec::new();
    for _ in 0..12 {
        over.push(present(&segment).association);
        segment.cut = true;
        segment.run(SECOND);
        segment.cut = false;
        segment.run(2 * SECOND);
    }
    assert_eq!(present(&segment).ended, over[over.len() - 8..]);
}

#[test]
fn keepalives_measure_round_trips() {
    let mut segment = pair();
    segment.run(SECOND);
    for Station { link, .. } in &segment.stations {
        assert!(link.round_trips().count() > 0);
        assert_eq!(link.peers()[0].rtt, Some(Duration::ZERO));
    }
}

#[rstest]
#[case(Config { security: Security::None, ..device(1, 2) })]
#[case(keyed(1, 2))]
#[case(Config { data: Protection::CLEAR, ..device(1, 2) })]
#[case(Config { control: Protection::ENCRYPTED, ..device(1, 2) })]
fn another_mode_is_refused(#[case] config: Config) {
    let mut segment = Segment::default();
    segment.add(device(0, 1));
    segment.add(config);
    segment.run(SECOND);
    assert_eq!(segment.told(0), ["refused control1: mode-mismatch"]);
    assert_eq!(segment.told(1), ["refused relay0: mode-mismatch"]);
}

#[test]
fn a_second_device_of_the_name_is_refused_until_the_first_is_gone() {
    let mut segment = pair();
    segment.add(Config { boot: BootId(77), ..device(1, 3) });
    segment.run(3 * SECOND);
    assert_eq!(segment.told(0), ["refused control1: name-in-use"]);
    assert_eq!(segment.told(1), ["refused control1: name-in-use"]);
    let told = segment.told(2);
    assert!(told.contains(&"refused relay0: name-in-use".to_owned()), "{told:?}");
    assert!(!told.contains(&"up".to_owned()), "{told:?}");
    segment.stations.remove(1);
    segment.run(2 * SECOND);
    assert_eq!(segment.told(0), ["down: silent", "up"]);
    assert_eq!(segment.told(1), ["up"]);
}

#[rstest]
fn parcels_of_every_size_in_every_protection(
    #[values(Protection::CLEAR, Protection::SEALED, Protection::ENCRYPTED)] data: Protection,
    #[values(1280, 1500, 9000)] mtu: u32,
) {
    let mut segment = Segment::default();
    for station in [0, 1] {
        segment.add(Config { data, mtu, ..device(station, [1, 2][station]) });
    }
    segment.run(2 * MS);
    for length in [24, 60, 1400, 1450, 1464, 1465, 1500, 1524, 9000, 65_000, 65_567] {
        let mut parcel: Vec<u8> = (0..=255).cycle().take(length).collect();
        parcel[..10].fill(0);
        segment.send_parcel(0, &parcel).unwrap();
        assert_eq!(segment.parcels(1), [parcel]);
    }
    assert_eq!(segment.send_parcel(0, &vec![0; 65_568]), Err(DropReason::TooLarge));
    assert_eq!(segment.stations[0].link.counters().dropped(DropReason::TooLarge), 1);
}

#[test]
fn a_parcel_is_cut_only_when_a_whole_frame_does_not_hold_it() {
    let mut segment = pair();
    let mut frames = |length: usize| -> Vec<(u8, usize)> {
        segment.send_parcel_unheard(0, &vec![0; length]);
        std::mem::take(&mut segment.wire).iter().map(|(_, frame)| (frame[15], frame.len())).collect()
    };
    let longest = (1400..1500).rfind(|length| frames(*length).len() == 1).unwrap();
    assert_eq!(frames(longest), [(Kind::DATA.0, 1514)]);
}

#[rstest]
#[case::clear(Protection::CLEAR, 3)]
#[case::sealed(Protection::SEALED, 3)]
#[case::encrypted_ones_cannot(Protection::ENCRYPTED, 21)]
fn small_parcels_that_wait_together_share_a_frame(#[case] data: Protection, #[case] frames: u64) {
    let mut segment = Segment::default();
    for station in [0, 1] {
        segment.add(Config { data, ..device(station, [1, 2][station]) });
    }
    segment.run(2 * MS);
    let mut sent: Vec<Vec<u8>> = (0..21).map(|number| vec![number; 110]).collect();
    sent.iter_mut().for_each(|parcel| parcel[..10].fill(0));
    sent[5][1] = 9; // No kernel takes this one; its neighbors in the frame arrive.
    let Segment { stations, now, .. } = &mut segment;
    let Station { link, batch, .. } = &mut stations[0];
    for (number, parcel) in sent.iter().enumerate() {
        if number == 20 {
            // A message between two parcels stays between them.
            link.send_message(PeerId(0), &rule(1));
            let _ = link.poll_transmit(batch, *now);
        }
        link.send_parcel(PeerId(0), Tunnel(7), parcel, batch, *now).unwrap();
    }
    assert_eq!(kind(link, "DATA").1, frames);
    let (.., counted) = link.counters().kinds().find(|(known, ..)| *known == "DATA").unwrap();
    segment.flush(0);
    let data = segment.wire.iter().filter(|(_, frame)| frame[15] == Kind::DATA.0);
    assert_eq!(counted.bytes, data.map(|(_, frame)| frame.len() as u64).sum::<u64>());
    segment.deliver();
    sent.remove(5);
    assert_eq!(segment.parcels(1), sent);
    let receiver = &segment.stations[1].link;
    assert_eq!(receiver.counters().dropped(DropReason::BadOffload), 1);
    assert_eq!(kind(receiver, "DATA").0, frames);
}

#[test]
fn what_no_kernel_would_take_is_dropped() {
    let mut segment = pair();
    let mut parcel = vec![0; 100];
    parcel[1] = 9;
    segment.send_parcel(0, &parcel).unwrap();
    segment.send_parcel(0, &[0; 23]).unwrap();
    let counters = segment.stations[1].link.counters();
    assert_eq!((counters.dropped(DropReason::BadOffload), counters.dropped(DropReason::Malformed)), (1, 1));
    assert!(segment.parcels(1).is_empty());
}

#[test]
fn nothing_to_nobody() {
    let mut segment = Segment::default();
    segment.add(device(0, 1));
    assert_eq!(segment.send_parcel(0, &[0; 60]), Err(DropReason::NoSession));
    segment.stations[0].link.send_message(PeerId(0), &rule(1));
    assert_eq!(segment.stations[0].link.backlog(PeerId(0), Stream::Rules), 0);
}

#[rstest]
#[case::sealed(device(0, 1), device(1, 2), 0)]
#[case::clear(
    Config { data: Protection::CLEAR, ..device(0, 1) },
    Config { data: Protection::CLEAR, ..device(1, 2) },
    8
)]
#[case::of_mode_none(
    Config { security: Security::None, ..device(0, 1) },
    Config { security: Security::None, ..device(1, 2) },
    0
)]
fn parcels_are_signs_of_life_if_they_are_authentic(
    #[case] relay: Config,
    #[case] control: Config,
    #[case] keepalives: u64,
) {
    let mut segment = Segment::default();
    segment.add(relay);
    segment.add(control);
    segment.run(2 * MS);
    let before = kind(&segment.stations[0].link, "KEEPALIVE").1;
    for _ in 0..40 {
        segment.send_parcel(0, &[0; 60]).unwrap();
        segment.run(20 * MS);
    }
    assert_eq!(kind(&segment.stations[0].link, "KEEPALIVE").1 - before, keepalives);
}

#[test]
fn drops_that_the_owner_decides_are_counted() {
    let mut segment = pair();
    segment.stations[0].link.counters_mut().drop(DropReason::Unmatched);
    assert_eq!(segment.stations[0].link.counters().dropped(DropReason::Unmatched), 1);
}

#[test]
fn repeated_and_forged_frames_are_dropped_by_name() {
    let mut segment = pair();
    let now = segment.now;
    segment.send_parcel_unheard(0, &[0; 60]);
    let frame = segment.wire.pop().unwrap().1;
    let link = &mut segment.stations[1].link;
    let mut drop = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = frame.clone();
        change(&mut frame);
        match link.handle_frame(&mut frame, now) {
            Rx::Drop(reason) => Some(reason),
            Rx::Parcel { .. } | Rx::Consumed => None,
        }
    };
    let own = Mac([2, 0, 0, 0, 0, 2]).0;
    assert_eq!(drop(&|frame| frame[6..12].copy_from_slice(&own)), Some(DropReason::OwnFrame));
    assert_eq!(drop(&|frame| frame.truncate(50)), Some(DropReason::Truncated));
    assert_eq!(drop(&|frame| frame[14] ^= 0x30), Some(DropReason::Version));
    assert_eq!(drop(&|frame| frame[15] = 0x7f), Some(DropReason::UnknownKind));
    assert_eq!(drop(&|frame| frame[15] = 0x05), Some(DropReason::UnknownKind));
    assert_eq!(drop(&|frame| frame[20] ^= 1), Some(DropReason::UnknownSession));
    assert_eq!(drop(&|frame| frame[14] &= 0xf0), Some(DropReason::NotSealed));
    assert_eq!(drop(&|frame| frame[40] ^= 1), Some(DropReason::BadSeal));
    assert_eq!(drop(&|frame| frame.extend([0; 20])), None, "padding is no harm");
    assert_eq!(drop(&|_| ()), Some(DropReason::Replayed));
}

#[test]
fn a_full_batch_loses_nothing() {
    let mut segment = pair();
    segment.stations[1].batch = Batch::new(1, 1514);
    for request in 0..500 {
        segment.stations[1].link.send_message(PeerId(0), &rule(request));
    }
    segment.run(10 * MS);
    assert_eq!(segment.told(0).len(), 500);
}

#[test]
fn an_acknowledgement_waits_for_room() {
    let mut segment = pair();
    segment.stations[1].link.send_message(PeerId(0), &rule(7));
    segment.flush(1);
    let (_, mut frame) = segment.wire.pop().unwrap();
    let Station { link, batch, .. } = &mut segment.stations[0];
    assert_eq!(link.handle_frame(&mut frame, segment.now), Rx::Consumed);
    assert!(link.poll_transmit(&mut Batch::new(0, 1514), segment.now));
    assert!(!link.poll_transmit(batch, segment.now));
    assert_eq!((batch.len(), kind(link, "ACK").1), (1, 1));
}

#[test]
fn every_keepalive_says_what_the_relay_has_of_the_routes() {
    let mut segment = pair();
    segment.say_routes(1);
    segment.run(1000 * MS);
    let told = segment.told(1);
    assert!(told.len() >= 9 && told.iter().all(|told| told == "routes up to 1: 0 routes 0000000000000000"));
    for request in 0..60 {
        segment.stations[0].link.send_message(PeerId(0), &rule(request));
        segment.run(50 * MS);
    }
    let told = segment.told(1);
    assert!(
        told.iter().filter(|told| told.starts_with("routes")).count() >= 2,
        "besides other frames: {told:?}"
    );
    segment.stations[0].link.set_routes_digest(PeerId(0), None);
    segment.run(1000 * MS);
    assert_eq!(segment.told(1), Vec::<String>::new());
}

#[test]
fn only_the_newest_digest_is_told_and_none_outlives_its_association() {
    let mut segment = pair();
    for request in [1, 2] {
        segment.say_routes(request);
        segment.now = segment.now + Duration::from_millis(100);
        let now = segment.now;
        segment.stations[0].link.handle_timeout(now);
        let keepalives = kind(&segment.stations[0].link, "KEEPALIVE").1;
        segment.flush(0);
        assert_eq!(kind(&segment.stations[0].link, "KEEPALIVE").1, keepalives + 1);
    }
    segment.deliver();
    assert_eq!(segment.told(1), ["routes up to 2: 0 routes 0000000000000000"]);
    let config = Config { boot: BootId(99), ..device(1, 2) };
    segment.stations[1].start(config, segment.now);
    segment.run(1000 * MS);
    assert_eq!(segment.told(1), ["up"]);
}

#[test]
fn routes_in_bulk_go_behind_all_else() {
    let mut segment = pair();
    let station = &mut segment.stations[1];
    queue_routes(&mut station.link, PeerId(0));
    station.link.send_message(PeerId(0), &rule(7));
    assert!(station.link.poll_transmit(&mut station.batch, segment.now));
    let streams: Vec<u8> = station.batch.frames().map(|frame| frame[HEADERS_LEN]).collect();
    assert_eq!((streams.len(), streams[0]), (80, Stream::Rules as u8));
    assert!(streams[1..].iter().all(|stream| *stream == Stream::Routes as u8));
    assert!(station.batch.frames().skip(1).all(|frame| frame.len() == 1514), "as long as a frame can be");
    station.batch.clear();
    station.link.send_message(PeerId(0), &rule(8));
    assert!(station.link.poll_transmit(&mut station.batch, segment.now));
    assert_eq!(station.batch.frames().next().unwrap()[HEADERS_LEN], Stream::Rules as u8);
}

#[test]
fn peers_take_turns_when_each_fills_the_batch() {
    let mut segment = pair();
    segment.add(Config { name: "other".into(), ..device(1, 3) });
    segment.run(2000 * MS);
    let station = &mut segment.stations[0];
    queue_routes(&mut station.link, PeerId(0));
    queue_routes(&mut station.link, PeerId(1));
    let firsts = [(); 2].map(|()| {
        station.batch.clear();
        assert!(station.link.poll_transmit(&mut station.batch, segment.now));
        Mac(*station.batch.frames().next().unwrap().first_chunk().unwrap())
    });
    assert_ne!(firsts[0], firsts[1]);
}

#[test]
fn a_forged_crowd_stays_bounded() {
    let mut segment = Segment::default();
    segment.add(Config { security: Security::None, ..device(0, 1) });
    for name in 0..2_000_u32 {
        let [_, _, high, low] = name.to_be_bytes();
        let mac = Mac([2, 9, 9, 9, high, low]);
        let name = format!("crowd{name}");
        let config = Config { name, mac, security: Security::None, ..device(1, 2) };
        let mut link = Link::new(config, [1; 32], segment.now);
        let mut batch = Batch::new(8, 2000);
        link.poll_transmit(&mut batch, segment.now);
        for frame in batch.frames() {
            let _ = segment.stations[0].link.handle_frame(&mut frame.to_vec(), segment.now);
        }
    }
    segment.flush(0);
    let link = &segment.stations[0].link;
    assert!(segment.wire.len() <= 301, "{} answers", segment.wire.len());
    assert!(link.counters().dropped(DropReason::HandshakeLimit) > 1_600);
}

fn rule(request: u32) -> Message<'static> {
    Message::RuleDelete(RuleDelete { request: RequestId(request), tunnel: UpTunnel(1) })
}

/// More than the credit of a fresh stream.
fn queue_routes(link: &mut Link, peer: PeerId) {
    let prefix = Prefix::new([10, 0, 0, 0].into(), 8).unwrap();
    let key = RouteKey { table: RouteKey::MAIN, prefix, metric: 0 };
    for request in 1..=10_000 {
        link.send_message(peer, &Message::RouteDelete(RouteDelete { request: RequestId(request), key }));
    }
}

fn kind(link: &Link, name: &str) -> (u64, u64, &'static str) {
    let found = link.counters().kinds().find(|(known, ..)| *known == name);
    found.map(|(name, rx, tx)| (rx.frames, tx.frames, name)).unwrap()
}

fn pair() -> Segment {
    met([device(0, 1), device(1, 2)])
}

#[rstest]
fn passages_are_plain_whatever_seals_the_parcels(
    #[values(Protection::CLEAR, Protection::ENCRYPTED)] data: Protection,
    #[values(60, 5_000)] length: usize,
) {
    let mut segment = Segment::default();
    for station in [0, 1] {
        segment.add(Config { data, ..device(station, [1, 2][station]) });
    }
    segment.run(2 * MS);
    let mut parcel: Vec<u8> = (0..=255).cycle().take(length).collect();
    parcel[..10].fill(0);
    segment.send_parcel(0, &parcel).unwrap();
    let passage = |segment: &mut Segment, station: usize| segment.stations[station].link.poll_passage();
    assert_eq!((passage(&mut segment, 0), passage(&mut segment, 1)), (None, None), "nobody looks on");
    for station in &mut segment.stations {
        station.link.keep_passages();
    }
    segment.send_parcel(0, &parcel).unwrap();
    segment.send_parcel(0, &vec![0; 65_568]).unwrap_err();
    for (station, way) in [(0, Way::Sent), (1, Way::Received)] {
        let seen = passage(&mut segment, station).unwrap();
        assert_eq!((seen.way, seen.peer, &seen.parcel), (way, PeerId(0), &parcel));
        assert_eq!(passage(&mut segment, station), None);
        segment.stations[station].link.drop_passages();
    }
    segment.send_parcel(0, &parcel).unwrap();
    assert_eq!((passage(&mut segment, 0), passage(&mut segment, 1)), (None, None));
}
