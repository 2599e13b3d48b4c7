//! A trace tells what the data path then does, and does nothing itself.

mod segment;

use frames::ProtocolAddress;
use frames::message::Status;
use frames::protocol_address::{Family, Local};
use l2link::trace::Outcome::{self, Dropped, InForce, Kept, Passes, Refused, Sent};
use l2link::trace::{Hop, Stage};
use relay_core::{KernelWay, PortVerdict, Question, Trace};
use rstest::rstest;
use segment::{PORT, Segment, port_state, tcp, tcp_listener};

fn trace(segment: &Segment, text: &str) -> Trace {
    segment.relay.trace(&text.parse().unwrap(), segment.now).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The outcomes, and who is the last one told of.
fn outcome(trace: &Trace) -> (Vec<Outcome>, Option<&str>) {
    let last = trace.hops.last().expect("a step");
    (trace.hops.iter().map(|hop| hop.outcome).collect(), last.peer.as_deref())
}

fn last(trace: &Trace) -> &Hop {
    trace.hops.last().expect("a step")
}

#[test]
fn each_of_many_connections_goes_where_the_trace_said() {
    let mut segment = Segment::with_control();
    segment.join("control2");
    for place in [0, 1] {
        assert_eq!(segment.rule(place, 7, tcp_listener(80)), Status::OK);
    }
    let mut reached = [0, 0];
    for port in 1_000..1_200 {
        let text = format!("tcp from 192.0.2.9:{port} to 192.0.2.1:80");
        let traced = trace(&segment, &text);
        assert_eq!(traced, trace(&segment, &text), "it changes nothing");
        let decision = &traced.hops[1];
        assert!(decision.text.contains("control1 is active, control2 is active"), "{}", decision.text);
        let (outcomes, control) = outcome(&traced);
        assert_eq!(outcomes, [Passes, Passes, Passes, Sent]);
        let place = usize::from(control == Some("control2"));
        let before = segment.controls[place].parcels.len();
        assert_eq!(segment.arrive(&tcp(port, 80)), PortVerdict::Sent);
        assert_eq!(
            segment.controls[place].parcels.len(),
            before + 1,
            "{port} went elsewhere than to {control:?}"
        );
        reached[place] += 1;
        // The servers have not told their connections, so it may be that it was pinned.
        let established = trace(&segment, &format!("{text} established"));
        assert_eq!(outcome(&established), outcome(&traced), "{established:#?}");
    }
    assert!(reached[0] > 50 && reached[1] > 50, "{reached:?}");
}

#[rstest]
#[case::unmatched("tcp from 192.0.2.9:1 to 192.0.2.1:81", Dropped, "no control listens for it")]
#[case::own("tcp from 192.0.2.9:1 to 192.0.2.1:22", Kept, "relay_services")]
#[case::ping("icmp from 192.0.2.9 to 192.0.2.1", Kept, "answers echo requests")]
#[case::arp("arp who-has 192.0.2.1 tell 192.0.2.9", Kept, "answers who asks for its addresses")]
#[case::neighbor("icmp6 from fe80::9 to ff02::1:ff00:1 who-has 2001:db8::1", Kept, "answers who asks")]
#[case::multicast("ip ospf from 192.0.2.9 to 224.0.0.5", Kept, "for a group")]
#[case::link("ethertype 0x88b5", Dropped, "never go up")]
#[case::station("tcp from 192.0.2.9:1 to 192.0.2.1:80 mac 02:00:00:00:00:77", Dropped, "is not the port's")]
#[case::reply("icmp from 192.0.2.9 to 192.0.2.1 reply 7", Kept, "ICMP and IGMP stay")]
fn what_goes_to_no_control_says_why(#[case] text: &str, #[case] expected: Outcome, #[case] words: &str) {
    let segment = Segment::with_control();
    let traced = trace(&segment, text);
    assert_eq!((last(&traced).outcome, traced.way), (expected, None), "{traced:#?}");
    assert!(last(&traced).text.contains(words), "{traced:#?}");
    assert!(last(&traced).reason.is_some(), "{traced:#?}");
}

#[test]
fn transit_is_a_question_to_the_kernel() {
    let segment = Segment::with_control();
    let traced = trace(&segment, "udp from 192.0.2.9:1 to 198.51.100.7:53");
    assert_eq!(outcome(&traced).0, [Kept]);
    let question = traced.way.expect("a question");
    assert_eq!(question.transport, Some((17, 1, 53)));
    assert_eq!(question.arrives, Some(port_state().ifindex));
    let way = KernelWay {
        kind: "unicast",
        route: None,
        is_ours: false,
        gateway: Some([192, 0, 2, 7].into()),
        interface: Some("eth1".to_owned()),
    };
    let hops = segment.relay.trace_way(&question, Ok(way));
    assert_eq!(hops[0].text, "the relay's kernel: unicast 198.51.100.7 via 192.0.2.7 dev eth1");
    let hops = segment.relay.trace_way(&question, Err("Network is unreachable".to_owned()));
    assert_eq!((hops[0].outcome, hops.len()), (Dropped, 1));
}

#[test]
fn a_refused_rule_is_told_to_who_looks_for_it() {
    let mut segment = Segment::with_control();
    let place = segment.join("control2");
    assert_ne!(segment.rule(place, 7, tcp_listener(81)), Status::OK);
    let traced = trace(&segment, "tcp from 192.0.2.9:1 to 192.0.2.1:81");
    assert_eq!(outcome(&traced).0, [Passes, Outcome::None, Refused, Dropped]);
    assert!(
        traced.hops[2].text.contains("control2 asked for tcp") && traced.hops[2].stage == Stage::Rule,
        "{traced:#?}"
    );
}

#[test]
fn copies_errors_and_flows_have_their_rules() {
    let mut segment = Segment::with_control();
    let flow = ProtocolAddress::Flow {
        protocol: 17,
        local: [192, 0, 2, 1].into(),
        local_port: 4_000,
        remote: [198, 51, 100, 7].into(),
        remote_port: 53,
    };
    let ospf = ProtocolAddress::IpProtocol { protocol: 89, local: Local::Any(Family::V4) };
    for (tunnel, rule) in [(7, flow), (8, ospf), (9, ProtocolAddress::EtherType(0x88cc))] {
        assert_eq!(segment.rule(0, tunnel, rule), Status::OK);
    }
    for (text, tunnel, words) in [
        ("udp from 198.51.100.7:53 to 192.0.2.1:4000", 7, "a rule for exactly this flow"),
        (
            "icmp from 192.0.2.254 to 192.0.2.1 about udp from 192.0.2.1:4000 to 198.51.100.7:53",
            7,
            "the packet that it is about: there is a rule for exactly this flow",
        ),
        ("ip ospf from 192.0.2.9 to 224.0.0.5", 8, "has a copy, by ip ospf"),
        ("ethertype 0x88cc", 9, "has a copy, by ethertype 0x88cc"),
    ] {
        let traced = trace(&segment, text);
        assert_eq!((last(&traced).outcome, last(&traced).up_tunnel), (Sent, Some(tunnel)), "{traced:#?}");
        assert!(traced.hops.iter().any(|hop| hop.text.contains(words)), "{traced:#?}");
    }
}

#[test]
fn a_port_that_is_away_and_texts_that_say_too_little() {
    let mut segment = Segment::with_control();
    let ask = |segment: &Segment, text: &str| segment.relay.trace(&text.parse().unwrap(), segment.now);
    for (text, words) in [
        ("tcp 0.0.0.0:80", "sockets are on controls"),
        ("ethertype 0x88cc port eth7", "there is no port eth7; there is eth1"),
    ] {
        let error = ask(&segment, text).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    segment.relay.handle_port_state(PORT, None);
    let traced = trace(&segment, "tcp from 192.0.2.9:1 to 192.0.2.1:80 port eth1");
    assert_eq!(last(&traced).reason.as_deref(), Some("port-down"));
}

#[test]
fn nobody_has_a_route_and_an_address_is_asked_of_the_kernel() {
    let segment = Segment::with_control();
    for (text, asked) in [("198.51.100.0/24", false), ("198.51.100.7", true)] {
        let traced = trace(&segment, text);
        assert_eq!(outcome(&traced).0, [Outcome::None]);
        assert_eq!(traced.way.is_some(), asked);
    }
    let question =
        Question { source: None, destination: [198, 51, 100, 7].into(), arrives: None, transport: None };
    assert_eq!(trace(&segment, "198.51.100.7").way, Some(question));
    assert!(trace(&segment, "198.51.100.7").hops.iter().all(|hop| hop.outcome != InForce));
}
