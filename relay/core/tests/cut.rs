//! The segment is cut, and heals.

mod segment;

use frames::message::{Message, Status};
use relay_core::PortVerdict;
use segment::{Segment, tcp, tcp_listener};
use std::time::Duration;

/// A segment in the middle of a connection, from this port of the client.
fn established(source_port: u16) -> Vec<u8> {
    let mut frame = tcp(source_port, 80);
    frame[TCP_FLAGS] = ACK;
    frame
}

/// Packets that have come up to each control.
fn counts(segment: &Segment) -> Vec<usize> {
    segment.controls.iter().map(|control| control.parcels.len()).collect()
}

#[test]
fn whoever_is_back_first_gets_no_flow_of_the_others() {
    let mut segment = Segment::with_control();
    segment.join("control2");
    for control in 0..2 {
        assert_eq!(segment.rule(control, 1, tcp_listener(80)), Status::OK);
    }
    let clients = 40_000..40_040;
    for client in clients.clone() {
        assert_eq!(segment.arrive(&tcp(client, 80)), PortVerdict::Sent);
    }
    assert!(counts(&segment).iter().all(|count| *count > 5), "{:?}", counts(&segment));
    // Nobody is heard.
    segment.now = segment.now + Duration::from_secs(2);
    segment.relay.handle_timeout(segment.now);
    assert!(segment.relay.show_rules().is_empty());
    segment.restart(0, "control1", 200);
    segment.ask(0);
    assert_eq!(segment.rule(0, 2, tcp_listener(80)), Status::OK);
    for client in clients.clone() {
        assert!(matches!(segment.arrive(&established(client)), PortVerdict::Drop(_)), "{client}");
    }
    assert_eq!(counts(&segment)[0], 0, "it would reset what is not its own");
    assert_eq!(segment.arrive(&tcp(50_000, 80)), PortVerdict::Sent, "new flows do not wait");
    // The other one does not come back.
    segment.pass(Duration::from_secs(4));
    for client in clients {
        assert_eq!(segment.arrive(&established(client)), PortVerdict::Sent);
    }
}

/// One control falls silent; its programs live on, and send as soon as it is back.
#[test]
fn the_others_get_no_flow_of_who_is_back() {
    let mut segment = Segment::with_control();
    segment.join("control2");
    for control in 0..2 {
        assert_eq!(segment.rule(control, 1, tcp_listener(80)), Status::OK);
    }
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for client in 40_000..40_040 {
        let before = counts(&segment)[0];
        assert_eq!(segment.arrive(&tcp(client, 80)), PortVerdict::Sent);
        if counts(&segment)[0] > before { &mut of_first } else { &mut of_second }.push(client);
    }
    let silent = segment.controls.remove(0);
    segment.pass(Duration::from_secs(2));
    segment.controls.insert(0, silent);
    assert_eq!(
        segment.arrive(&established(of_first[0])),
        PortVerdict::Sent,
        "for all that is known it is dead"
    );
    segment.restart(0, "control1", 200);
    let before = counts(&segment);
    for client in &of_first {
        assert!(matches!(segment.arrive(&established(*client)), PortVerdict::Drop(_)), "{client}");
    }
    assert_eq!(counts(&segment), before);
    for client in &of_second {
        assert_eq!(segment.arrive(&established(*client)), PortVerdict::Sent, "{client}");
    }
    assert_eq!(counts(&segment)[1], before[1] + of_second.len(), "the other one's have not waited");
    // It has nothing to tell.
    segment.say(0, &Message::RulesEnd);
    for client in &of_first {
        assert_eq!(segment.arrive(&established(*client)), PortVerdict::Sent, "{client}");
    }
}

/// Place of the flags in an Ethernet frame with an IPv4 packet without options.
const TCP_FLAGS: usize = 14 + 20 + 13;
const ACK: u8 = 0x10;
