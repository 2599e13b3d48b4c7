//! What the fast path is told of packets at a port, and what makes it be told anew.

mod segment;

use frames::ProtocolAddress;
use frames::data::Tunnel;
use frames::message::Status;
use frames::protocol_address::{Family, Local};
use l2link::fast::{FastFlow, FastTraffic};
use relay_core::{Action, PortVerdict};
use segment::{PORT, Segment, ipv4, port_state, tcp, tcp_listener, udp_listener};

/// The decision about a packet that has just been sent, if others need none.
fn decided(segment: &mut Segment, frame: &[u8]) -> Option<FastFlow> {
    assert_eq!(segment.arrive(frame), PortVerdict::Sent);
    let parcel = [&[0; 10], frame].concat();
    let arrival = segment.relay.classify_port_parcel(PORT, &parcel);
    segment.relay.fast_flow(&arrival, &parcel)
}

fn acknowledgement(source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut frame = tcp(source_port, destination_port);
    frame[47] = 0x10;
    frame
}

fn datagram(payload: usize) -> Vec<u8> {
    let length = u16::try_from(8 + payload).unwrap();
    let mut datagram = [[0x9c, 0x40], [0, 53], length.to_be_bytes(), [0, 0]].concat();
    datagram.resize(8 + payload, 0);
    ipv4(17, 1, 0, false, &datagram)
}

#[test]
fn packets_of_a_connection_go_where_its_listener_is() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    assert_eq!(decided(&mut segment, &tcp(40_000, 80)), None, "it opens one");
    let known = decided(&mut segment, &acknowledgement(40_000, 80)).unwrap();
    assert_eq!((known.way.tunnel, known.frame), (Tunnel(7), 54));
    assert_eq!(known.flow.source, ("192.0.2.9".parse().unwrap(), 40_000));
    assert_eq!(known.flow.destination, ("192.0.2.1".parse().unwrap(), 80));
    let mut reset = acknowledgement(40_000, 80);
    reset[47] = 0x04;
    assert_eq!(decided(&mut segment, &reset), None, "it ends one");
}

#[test]
fn datagrams_but_not_their_fragments() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, udp_listener(53)), Status::OK);
    assert_eq!(decided(&mut segment, &datagram(1_000)).unwrap().frame, 1_042);
    let mut fragment = datagram(1_000);
    fragment[20] = 0x20;
    assert_eq!(decided(&mut segment, &fragment), None);
}

#[test]
fn what_has_another_receiver_is_not_told() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, udp_listener(53)), Status::OK);
    assert!(decided(&mut segment, &datagram(8)).is_some());
    // A raw socket for UDP gets a copy: of another control, as a symbol gets a packet once.
    let place = segment.join("control2");
    let raw = ProtocolAddress::IpProtocol { protocol: 17, local: Local::Any(Family::V4) };
    assert_eq!(segment.rule(place, 1, raw), Status::NOT_PERMITTED);
    assert!(decided(&mut segment, &datagram(8)).is_some());
    assert_eq!(
        segment.rule(0, 8, ProtocolAddress::IpProtocol { protocol: 47, local: Local::Any(Family::V4) }),
        Status::OK
    );
    assert_eq!(decided(&mut segment, &ipv4(47, 1, 0, false, &[0; 20])), None, "it has no ports");
}

#[test]
fn rules_sessions_and_ports_are_changes_and_packets_are_none() {
    let mut segment = Segment::with_control();
    let mut before = segment.relay.changes();
    let mut changed = |segment: &Segment| {
        core::mem::replace(&mut before, segment.relay.changes()) != segment.relay.changes()
    };
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    assert!(changed(&segment), "a rule");
    let _ = segment.arrive(&tcp(40_000, 80));
    let _ = segment.arrive(&acknowledgement(40_000, 80));
    assert!(!changed(&segment), "packets");
    segment.relay.handle_port_state(PORT, Some(port_state()));
    assert!(!changed(&segment), "a port that is as it was");
    segment.relay.handle_port_state(PORT, None);
    assert!(changed(&segment), "a port that has gone");
    segment.relay.handle_port_state(PORT, Some(port_state()));
    assert!(changed(&segment), "a port that is there again");
    segment.relay.weigh("control1", Some(3)).unwrap();
    assert!(changed(&segment), "a weight by hand");
    segment.delete(0, 7);
    assert!(changed(&segment), "a rule that has gone");
    segment.close(0);
    assert!(changed(&segment), "a session that has ended");
}

#[test]
fn a_rule_for_a_flow_concerns_that_flow() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let known = decided(&mut segment, &acknowledgement(40_000, 80)).unwrap();
    let before = segment.relay.changes();
    let of_flow = ProtocolAddress::Flow {
        protocol: 6,
        local: known.flow.destination.0,
        local_port: 80,
        remote: known.flow.source.0,
        remote_port: 40_000,
    };
    let forgotten = |segment: &mut Segment| {
        let actions = core::mem::take(&mut segment.actions);
        let flows = actions.into_iter().filter_map(|action| match action {
            Action::ForgetFlow { port: PORT, flow } => Some(flow),
            _ => None,
        });
        flows.collect::<Vec<_>>()
    };
    assert_eq!(forgotten(&mut segment), []);
    assert_eq!(segment.rule(0, 8, of_flow), Status::OK);
    assert_eq!(forgotten(&mut segment), [known.flow]);
    assert_eq!(decided(&mut segment, &acknowledgement(40_000, 80)).unwrap().way.tunnel, Tunnel(8));
    segment.delete(0, 8);
    assert_eq!(forgotten(&mut segment), [known.flow]);
    assert_eq!(decided(&mut segment, &acknowledgement(40_000, 80)).unwrap().way.tunnel, Tunnel(7));
    assert_eq!(segment.relay.changes(), before, "all others stay known");
}

#[test]
fn what_went_the_fast_way_is_counted_like_all() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let known = decided(&mut segment, &acknowledgement(40_000, 80)).unwrap();
    let traffic = FastTraffic { packets: 10, bytes: 1_000, frames: 12, frame_bytes: 1_400 };
    segment.relay.handle_fast_sent(known.way, &traffic);
    let down = segment.controls[0].down.unwrap();
    segment.relay.handle_fast_received(l2link::fast::FastWay { tunnel: down.into(), ..known.way }, &traffic);
    let tunnels = segment.relay.show_tunnels();
    let counts: Vec<_> = tunnels.iter().map(|row| (row.direction, row.packets, row.bytes)).collect();
    assert_eq!(counts.len(), 2);
    assert!(counts.contains(&("up", 11, 1_054)) && counts.contains(&("down", 10, 1_000)), "{counts:?}");
    let kinds: Vec<_> =
        segment.relay.link().counters().kinds().filter(|(name, ..)| *name == "PACKET").collect();
    let (_, received, sent) = kinds[0];
    assert_eq!((received.frames, sent.bytes), (12, 1_400));
}
