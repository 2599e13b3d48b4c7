//! Given a segment, what an operator at the relay decides about controls, and what comes of it.

mod segment;

use frames::RequestId;
use frames::message::{Message, RouteAdd, RouteNexthop, Status};
use frames::route::{RouteContent, RouteKind};
use l2link::route_text::RouteText;
use relay_core::{Decided, FibConfig, HandError};
use segment::{PORT, Segment, tcp, tcp_listener};
use std::time::Duration;

/// Two controls that listen at port 80.
fn farm() -> Segment {
    let mut segment = Segment::with_control();
    let other = segment.join("control2");
    for place in [0, other] {
        assert_eq!(segment.rule(place, 1, tcp_listener(80)), Status::OK);
    }
    segment
}

/// How many of many new flows each control gets.
fn shares(segment: &mut Segment, first: u16) -> [usize; 2] {
    let before = [0, 1].map(|place: usize| segment.controls[place].parcels.len());
    for port in first..first + 200 {
        let _ = segment.arrive(&tcp(port, 80));
    }
    [0, 1].map(|place| segment.controls[place].parcels.len() - before[place])
}

#[test]
fn a_drained_control_gets_no_new_flow_until_that_is_undone() {
    let mut segment = farm();
    segment.relay.weigh("control1", Some(300)).unwrap();
    segment.relay.drain("control1", true).unwrap();
    assert_eq!(shares(&mut segment, 10_000), [0, 200]);
    let row = segment.relay.show_peers(segment.now).remove(0);
    assert_eq!((row.name.as_str(), row.weight, row.draining), ("control1", Some(300), true));
    segment.relay.drain("control1", false).unwrap();
    assert_eq!(segment.relay.decided("control1"), Decided { weight: Some(300), draining: false });
    assert!(shares(&mut segment, 20_000)[0] > 150, "its weight counts again");
    segment.relay.drain("control1", true).unwrap();
    segment.relay.weigh("control1", None).unwrap();
    assert_eq!(segment.relay.decided("control1"), Decided::default(), "a weight ends it");
    assert!(shares(&mut segment, 30_000)[0] > 50);
}

#[test]
fn what_is_decided_waits_for_the_control() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    // The permission list names it.
    segment.relay.drain("control2", true).unwrap();
    let other = segment.join("control2");
    assert_eq!(segment.rule(other, 1, tcp_listener(80)), Status::OK);
    assert_eq!(shares(&mut segment, 10_000), [200, 0]);
    let known = vec!["control1".to_owned(), "control2".to_owned()];
    let error = HandError::NoControl { name: "control7".to_owned(), known };
    assert_eq!(segment.relay.weigh("control7", Some(1)), Err(error));
}

#[test]
fn a_dead_control_is_forgotten_and_comes_back_as_new() {
    let mut segment = farm();
    segment.relay.drain("control1", true).unwrap();
    assert_eq!(
        segment.relay.forget("control1", false, segment.now),
        Err(HandError::StillUp("control1".to_owned()))
    );
    segment.close(0);
    segment.relay.forget("control1", false, segment.now).unwrap();
    let names: Vec<String> = segment.relay.show_peers(segment.now).into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["control2"]);
    assert_eq!(segment.relay.decided("control1"), Decided::default());
    assert!(segment.relay.show_counters().iter().all(|row| !row.name.starts_with("punt.control1")));
    segment.restart(0, "control1", 900);
    segment.ask(0);
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    assert_eq!(segment.relay.show_peers(segment.now).len(), 2);
    assert!(shares(&mut segment, 10_000)[0] > 50);
}

#[test]
fn by_force_a_live_one_begins_anew() {
    let mut segment = farm();
    segment.relay.forget("control1", true, segment.now).unwrap();
    assert_eq!(segment.relay.show_rules().len(), 1, "its rules went with its session");
    segment.pass(Duration::from_secs(3));
    assert!(segment.controls[0].relay.is_some(), "it is back");
    assert_eq!(segment.relay.show_peers(segment.now).len(), 2);
}

#[test]
fn routes_lead_by_ports() {
    let mut segment = Segment::with_control();
    let add = |segment: &mut Segment, words: &str| segment.relay.add_route(&RouteText::parse(words).unwrap());
    let error = HandError::NoPort { name: "eth9".to_owned(), known: vec!["eth1".to_owned()] };
    assert_eq!(add(&mut segment, "10.0.0.0/8 dev eth9"), Err(error));
    assert_eq!(add(&mut segment, "10.0.0.0/8 dev eth1 netns a"), Err(HandError::Namespace));
    add(&mut segment, "10.0.0.0/8 dev eth1").unwrap();
    add(&mut segment, "10.0.0.0/8 dev eth1 metric 5").unwrap();
    let selector = |words: &str| RouteText::parse_selector(words).unwrap();
    assert!(matches!(
        segment.relay.delete_route(&selector("10.0.0.0/8")),
        Err(HandError::SeveralRoutes(routes)) if routes.len() == 2
    ));
    let first = RouteText::parse("10.0.0.0/8 dev eth1").unwrap();
    assert_eq!(segment.relay.delete_route(&first.selector()), Ok(first.clone()));
    assert_eq!(
        segment.relay.delete_route(&first.selector()),
        Err(HandError::NoRoute(first.selector().to_string()))
    );
    assert!(segment.relay.delete_route(&selector("10.0.0.0/8")).is_ok());
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let mut segment = Segment::with_control();
    let add = |segment: &mut Segment, words: &str| segment.relay.add_route(&RouteText::parse(words).unwrap());
    let why = |error: HandError| error.to_string();
    assert_eq!(
        why(segment.relay.weigh("control7", Some(1)).unwrap_err()),
        "no control control7 has been here, nor does a [[port.allow]] name it; there are control1, control2"
    );
    assert_eq!(
        why(segment.relay.forget("control1", false, segment.now).unwrap_err()),
        "control control1 is up: forget one that is gone, or add --force to end the session and begin anew"
    );
    assert_eq!(
        why(add(&mut segment, "10.0.0.0/8 dev eth9").unwrap_err()),
        "eth9 is no port of this relay, and routes lead by ports; there is eth1"
    );
    let error = why(add(&mut segment, "10.0.0.0/8 dev eth1 netns a").unwrap_err());
    assert!(error.starts_with("netns is for routes of controls"), "{error}");
    for metric in [5, 6] {
        add(&mut segment, &format!("10.0.0.0/8 dev eth1 metric {metric}")).unwrap();
    }
    let error = why(add(&mut segment, "10.0.0.0/8 dev eth1 metric 5").unwrap_err());
    assert!(error.starts_with("there is a route 10.0.0.0/8"), "{error}");
    assert!(error.ends_with("by hand already: give this one another metric"), "{error}");
    let delete = |segment: &mut Segment, words: &str| {
        why(segment.relay.delete_route(&RouteText::parse_selector(words).unwrap()).unwrap_err())
    };
    let error = delete(&mut segment, "10.0.0.0/8");
    assert!(error.starts_with("several routes by hand are meant; say which: "), "{error}");
    assert!(error.contains("metric 5") && error.contains("; 10.0.0.0/8"), "{error}");
    let error = delete(&mut segment, "10.1.0.0/16");
    assert_eq!(error, "there is no route by hand \"10.1.0.0/16\"; `show routes` marks them static");
}

#[test]
fn a_route_of_a_control_is_not_made_by_hand_nor_one_more_than_there_may_be() {
    let mut segment = Segment::with_control();
    let text = RouteText::parse("10.0.0.0/8 dev eth1 metric 5").unwrap();
    let nexthops = [RouteNexthop::new(PORT, None, 1, false)];
    let content = RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops: &nexthops };
    let said = RouteAdd { request: RequestId(1), key: text.key(), content };
    segment.say(0, &Message::RouteAdd(said));
    let taken = segment.relay.add_route(&text).unwrap_err();
    assert_eq!(taken, HandError::RouteTaken(text.key(), "control1".to_owned()));
    let error = taken.to_string();
    assert!(error.starts_with("control control1 has a route 10.0.0.0/8"), "{error}");

    segment.relay.reconfigure(&[], FibConfig { max: 1, ..FibConfig::default() });
    let other = RouteText::parse("blackhole 10.1.0.0/16").unwrap();
    let full = segment.relay.add_route(&other).unwrap_err();
    assert_eq!(full, HandError::TableFull(1));
    assert_eq!(full.to_string(), "there are 1 routes, as many as `max` of [routes] allows");
}

/// As is done on a daemon that takes over: nobody of the name has to have been there.
#[test]
fn a_decision_is_taken_over_for_whoever_comes() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    let decided = Decided { weight: Some(0), draining: false };
    segment.relay.decide("control2", decided);
    let other = segment.join("control2");
    assert_eq!(segment.rule(other, 1, tcp_listener(80)), Status::OK);
    assert_eq!(segment.relay.decided("control2"), decided);
    assert_eq!(shares(&mut segment, 10_000), [200, 0]);
}
