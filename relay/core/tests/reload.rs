//! Given controls with what they were granted, another configuration, and what is left of it.

mod segment;

use frames::message::{Group, Status};
use frames::{DropReason, PortId};
use l2link::service::ServiceSet;
use relay_core::{
    Action, ControlName, FibConfig, Permission, PortConfig, PortVerdict, RoutePermission, Unmatched,
};
use segment::{PORT, Segment, port_state, tcp, tcp_listener};
use std::time::Duration;

fn permission(control: &str, services: &[&str]) -> Permission {
    Permission {
        control: ControlName::Named(control.into()),
        services: ServiceSet::parse(services).unwrap(),
        routes: (control == "control1").then(RoutePermission::default),
        addressing: false,
        priority: 0,
    }
}

fn port(interface: &str, allow: Vec<Permission>) -> PortConfig {
    PortConfig {
        interface: interface.into(),
        relay_services: ServiceSet::parse(&["tcp/22"]).unwrap(),
        unmatched: Unmatched::Drop,
        conflicts: relay_core::Conflicts::Share,
        allow,
    }
}

fn reconfigure(segment: &mut Segment, ports: &[PortConfig]) {
    segment.controls.iter_mut().for_each(|control| control.messages.clear());
    segment.relay.reconfigure(ports, FibConfig::default());
    segment.pass(Duration::from_millis(20));
}

fn everything() -> Vec<Permission> {
    vec![permission("control1", &["*"]), permission("control2", &["tcp/80"])]
}

#[test]
fn the_same_again_says_nothing() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let ports = [port("eth1", vec![permission("control1", &["*"]), permission("control2", &["tcp/80"])])];
    reconfigure(&mut segment, &ports);
    let _ = segment.told();
    reconfigure(&mut segment, &ports);
    assert_eq!(segment.controls[0].messages, Vec::<String>::new());
    assert_eq!(segment.told(), Vec::<&str>::new());
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
}

#[test]
fn a_rule_that_is_not_permitted_any_more_is_taken_back_with_the_reason() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(0, 8, tcp_listener(81)), Status::OK);
    let _ = segment.told();
    reconfigure(&mut segment, &[port("eth1", vec![permission("control1", &["tcp/80"])])]);
    let messages = &segment.controls[0].messages;
    let taken = messages.iter().find(|message| message.starts_with("RuleReply")).unwrap();
    for part in ["request: RequestId(0)", "UpTunnel(8)", "Status(2)", "does not permit tcp"] {
        assert!(taken.contains(part), "{part} in {taken}");
    }
    let asked = messages.iter().filter(|message| message.starts_with("Notice")).count();
    assert_eq!((messages.len(), asked), (2, 1), "and is to ask again: {messages:?}");
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
    assert_eq!(segment.arrive(&tcp(40_000, 81)), PortVerdict::Drop(DropReason::Unmatched));
    let refused: Vec<_> =
        segment.relay.show_rules().into_iter().filter(|row| row.state == "refused").collect();
    assert_eq!((refused.len(), refused[0].port_number), (1, Some(81)));
    reconfigure(&mut segment, &[port("eth1", everything())]);
    assert_eq!(segment.rule(0, 8, tcp_listener(81)), Status::OK);
}

#[test]
fn a_control_that_loses_a_port_is_told_and_keeps_nothing_of_it() {
    let mut segment = Segment::with_control();
    let place = segment.join("control2");
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(place, 7, tcp_listener(80)), Status::OK);
    segment.member(0, Group::Ip("239.1.2.3".parse().unwrap()));
    segment.actions.clear();
    reconfigure(&mut segment, &[port("eth1", vec![permission("control2", &["tcp/80"])])]);
    let reply = &segment.controls[0].messages[0];
    for part in
        ["PortReply", "request: RequestId(0)", "PortId(0)", "[[port.allow]] control = \\\"control1\\\""]
    {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    assert!(segment.actions.iter().any(|action| matches!(action, Action::Leave { port: PORT, .. })));
    let tunnels = segment.relay.show_tunnels();
    assert!(tunnels.iter().all(|row| row.peer == "control2"), "{tunnels:?}");
    let row = segment.relay.show_symbols().into_iter().find(|row| row.control == "control1").unwrap();
    assert_eq!(row.state, "refused");
    segment.controls[place].parcels.clear();
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
    assert_eq!(segment.controls[place].parcels.len(), 1, "the other has it");
}

#[test]
fn ports_come_behind_and_go_for_ever() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let (one, two) = (port("eth1", everything()), port("eth2", everything()));
    reconfigure(&mut segment, &[two.clone(), one.clone()]);
    let names: Vec<_> = segment.relay.show_ports().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["eth1", "eth2"], "in the order of their ids");
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent, "the first is as it was");
    reconfigure(&mut segment, std::slice::from_ref(&two));
    let reply = &segment.controls[0].messages[0];
    assert!(reply.contains("Status(1)") && reply.contains("it offers eth2"), "{reply}");
    assert_eq!((segment.relay.show_tunnels().len(), segment.relay.show_ports().len()), (0, 1));
    // What arrives at the old place is nobody's, and the name comes back under another id.
    segment.relay.handle_port_state(PORT, Some(port_state()));
    assert_ne!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
    reconfigure(&mut segment, &[two, one]);
    segment.relay.handle_port_state(PortId(3), Some(port_state()));
    segment.ask(0);
    assert_eq!(segment.controls[0].port, Some(PortId(3)));
}
