//! Transfers and conversations between the same devices: what is marked, and what may overtake what.

mod stations;

use frames::DropReason;
use frames::discovery::Protection;
use frames::header::{Flags, Frame};
use l2link::Config;
use rstest::rstest;
use stations::{Segment, device, met};
use std::collections::VecDeque;

/// A UDP packet over IPv4 between two ports, as a parcel of so many bytes.
fn parcel(from: u16, to: u16, len: usize) -> Vec<u8> {
    let mut parcel = vec![0; len];
    parcel[22..24].copy_from_slice(&[8, 0]);
    parcel[24] = 0x45;
    parcel[26..28].copy_from_slice(&u16::try_from(len - 24).unwrap().to_be_bytes());
    parcel[33] = 17;
    for (at, port) in [(44, from), (46, to)] {
        parcel[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
    parcel
}

/// The frames of a parcel of the station.
fn sent(segment: &mut Segment, station: usize, parcel: &[u8]) -> VecDeque<Vec<u8>> {
    segment.send_parcel_unheard(station, parcel);
    std::mem::take(&mut segment.wire).into_iter().map(|(_, frame)| frame).collect()
}

fn are_bulk(frames: &VecDeque<Vec<u8>>) -> bool {
    let mut bulk =
        frames.iter().map(|frame| Frame::parse(frame).unwrap().header.flags().contains(Flags::BULK));
    let first = bulk.next().unwrap();
    assert!(bulk.all(|other| other == first), "all pieces of a parcel alike");
    first
}

fn arrive(segment: &mut Segment, station: usize, frames: impl IntoIterator<Item = Vec<u8>>) {
    let sender = segment.stations[1 - station].mac;
    segment.wire.extend(frames.into_iter().map(|frame| (sender, frame)));
    segment.deliver();
}

/// A pair of devices, the first of which has a transfer from port 1 to port 2.
fn transfer(data: Protection) -> Segment {
    let mut segment = met([0, 1].map(|station| Config { data, ..device(station, [1, 2][station]) }));
    while !are_bulk(&sent(&mut segment, 0, &parcel(1, 2, 60_000))) {}
    segment
}

#[rstest]
fn frames_of_transfers_are_marked_at_both_ends(
    #[values(Protection::CLEAR, Protection::SEALED, Protection::ENCRYPTED)] data: Protection,
) {
    let mut segment = transfer(data);
    assert!(!are_bulk(&sent(&mut segment, 0, &parcel(3, 2, 100))), "another flow");
    assert!(!are_bulk(&sent(&mut segment, 1, &parcel(2, 1, 100))), "the other end does not know yet");
    for len in [60_000, 100] {
        let frames = sent(&mut segment, 0, &parcel(1, 2, len));
        arrive(&mut segment, 1, frames);
        assert_eq!(segment.parcels(1).len(), 1);
        assert!(are_bulk(&sent(&mut segment, 1, &parcel(2, 1, 100))), "what answers it");
    }
    segment.run(200_000);
    for station in [0, 1] {
        let (from, to) = [(1, 2), (2, 1)][station];
        assert!(!are_bulk(&sent(&mut segment, station, &parcel(from, to, 100))), "it is over");
    }
}

#[test]
fn small_parcels_share_frames_only_with_their_sort() {
    let mut segment = transfer(Protection::SEALED);
    let mut flags = |ports: &[u16]| {
        let now = segment.now;
        let sender = &mut segment.stations[0];
        for from in ports {
            let parcel = parcel(*from, 2, 100);
            sender
                .link
                .send_parcel(l2link::PeerId(0), frames::data::Tunnel(5), &parcel, &mut sender.batch, now)
                .unwrap();
        }
        let bulk = |frame: &[u8]| Frame::parse(frame).unwrap().header.flags().contains(Flags::BULK);
        let all: Vec<bool> = sender.batch.frames().map(bulk).collect();
        sender.batch.clear();
        all
    };
    assert_eq!(flags(&[1, 1, 1]), [true]);
    assert_eq!(flags(&[3, 4, 5]), [false]);
    assert_eq!(flags(&[1, 3, 4, 1]), [true, false, true]);
}

/// A queue of transfers is longer than a replay window.
#[test]
fn conversations_overtake_any_number_of_frames_of_transfers_and_nothing_comes_twice() {
    let mut segment = transfer(Protection::SEALED);
    let mut waiting = VecDeque::new();
    for _ in 0..100 {
        waiting.extend(sent(&mut segment, 0, &parcel(1, 2, 60_000)));
    }
    let (mut from, mut overtaking) = (3.., 0);
    while overtaking < 2_000 {
        let frames = sent(&mut segment, 0, &parcel(from.next().unwrap(), 2, 100));
        if are_bulk(&frames) {
            // It has the place of the transfer, and waits with it.
            waiting.extend(frames);
            continue;
        }
        overtaking += 1;
        arrive(&mut segment, 1, frames.clone());
        arrive(&mut segment, 1, frames);
    }
    arrive(&mut segment, 1, waiting.clone());
    let lengths: Vec<usize> = segment.parcels(1).iter().map(Vec::len).collect();
    assert!(lengths.iter().filter(|len| **len == 100).count() >= 2_000);
    assert_eq!(lengths.iter().filter(|len| **len == 60_000).count(), 100);
    let replayed = segment.stations[1].link.counters().dropped(DropReason::Replayed);
    assert_eq!(replayed, 2_000);
    let sent_once = waiting.len() as u64;
    arrive(&mut segment, 1, waiting);
    let again = segment.stations[1].link.counters().dropped(DropReason::Replayed);
    assert_eq!(again - replayed, sent_once);
}

/// The flag is under the seal: nobody brings a frame into the other window.
#[test]
fn a_frame_whose_mark_was_changed_is_no_frame() {
    let mut segment = transfer(Protection::SEALED);
    for from in [1, 3] {
        let mut frames = sent(&mut segment, 0, &parcel(from, 2, 100));
        arrive(&mut segment, 1, frames.clone());
        frames[0][14] ^= Flags::BULK.bits();
        arrive(&mut segment, 1, frames);
    }
    assert_eq!(segment.parcels(1).len(), 2);
    assert_eq!(segment.stations[1].link.counters().dropped(DropReason::BadSeal), 2);
}

/// What waited in the slower queue says nothing of where the peer is now.
#[test]
fn an_overtaken_frame_moves_no_peer() {
    let mut segment = transfer(Protection::SEALED);
    let late = sent(&mut segment, 0, &parcel(1, 2, 100));
    segment.stations[0].mac.0[5] = 9;
    let mac = segment.stations[0].mac;
    segment.stations[0].link.set_interface(mac, 1500);
    let frames = sent(&mut segment, 0, &parcel(3, 2, 100));
    arrive(&mut segment, 1, frames);
    arrive(&mut segment, 1, late);
    assert_eq!(segment.parcels(1).len(), 2);
    let answer = sent(&mut segment, 1, &parcel(2, 3, 100));
    assert_eq!(answer[0][..6], mac.0);
}
