//! An association that another one has replaced never begins again, whatever late frames say.

use frames::discovery::{Protection, Role};
use frames::header::{DEFAULT_ETHERTYPE, Frame, Kind};
use frames::{BootId, DropReason, Mac};
use l2link::{Batch, Config, Link, Rx, Security, Time};
use std::time::Duration;

const NOW: Time = Time(1_000_000);

fn link(role: Role, boot: u64) -> Link {
    let config = Config {
        name: role.to_string(),
        role,
        boot: BootId(boot),
        mac: Mac([2, 0, 0, 0, 0, role as u8]),
        ethertype: DEFAULT_ETHERTYPE,
        mtu: 1500,
        security: Security::Psk([42; 32].into()),
        control: Protection::SEALED,
        data: Protection::SEALED,
        keepalive: Config::KEEPALIVE,
        missed: Config::MISSED,
    };
    Link::new(config, [u8::try_from(boot).unwrap(); 32], NOW)
}

/// The frame of a kind that a device sends now.
fn sent(link: &mut Link, kind: Kind) -> Vec<u8> {
    let mut batch = Batch::new(16, 1514);
    while link.poll_event().is_some() {}
    assert!(!link.poll_transmit(&mut batch, NOW));
    let is_kind = |frame: &&[u8]| Frame::parse(frame).is_ok_and(|frame| frame.header.kind == kind);
    let found = batch.frames().find(is_kind).map(<[u8]>::to_vec);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn arrives(at: &mut Link, frame: &[u8]) {
    assert_eq!(at.handle_frame(&mut frame.to_vec(), NOW), Rx::Consumed);
}

#[test]
fn new_keys_for_an_association_that_was_replaced_are_refused() {
    let (mut control, mut former, mut relay) =
        (link(Role::Control, 1), link(Role::Relay, 2), link(Role::Relay, 3));
    control.set_rekey_after(Duration::ZERO);
    // Two handshakes side by side, as after a restart of the relay.
    arrives(&mut control, &sent(&mut former, Kind::HELLO));
    let first_init = sent(&mut control, Kind::HANDSHAKE_INIT);
    arrives(&mut control, &sent(&mut relay, Kind::HELLO));
    let second_init = sent(&mut control, Kind::HANDSHAKE_INIT);
    arrives(&mut relay, &second_init);
    arrives(&mut control, &sent(&mut relay, Kind::HANDSHAKE_RESPONSE));
    arrives(&mut relay, &sent(&mut control, Kind::KEEPALIVE));
    let opens = sent(&mut relay, Kind::KEEPALIVE);
    arrives(&mut relay, &first_init);
    arrives(&mut control, &sent(&mut relay, Kind::HANDSHAKE_RESPONSE));
    let late = sent(&mut control, Kind::KEEPALIVE);
    arrives(&mut control, &opens);
    let association = control.snapshot().peers[0].association;

    // The control is in the second association, and what it said in the first comes late.
    arrives(&mut relay, &late);
    let peer = relay.snapshot().peers[0].clone();
    assert_ne!(peer.association, association);
    assert_eq!(peer.ended, [association]);

    // Its streams are in full swing when it wants new keys. The relay has forgotten them.
    control.handle_timeout(NOW);
    arrives(&mut relay, &sent(&mut control, Kind::HANDSHAKE_INIT));
    arrives(&mut control, &sent(&mut relay, Kind::HANDSHAKE_RESPONSE));
    let mut confirms = sent(&mut control, Kind::KEEPALIVE);
    assert_eq!(relay.handle_frame(&mut confirms, NOW), Rx::Drop(DropReason::BadHandshake));
    assert_eq!(relay.snapshot().peers[0], peer);
}
