//! Whatever a control is told is in its recording, and is told again when that is replayed.

mod world;

use control_core::seen::{OpenSocket, RouteFamilies};
use control_core::{
    Addressing, Beginning, Config, Decided, HandError, LinkVerdict, NamespaceId, Recorded, ReplayedControl,
    RoutesConfig, SymbolConfig, Triggered,
};
use core::time::Duration;
use frames::data::Tunnel;
use frames::{DropReason, Mac};
use l2link::fast::{FastTraffic, FastWay};
use l2link::recording::{Comparison, Limited, Memory, Recording, Replay as _, Shown, Step};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use l2link::{PeerId, PublicKey, Time};
use std::collections::BTreeSet;
use world::{DOWN, SYMBOL, World, contradicted, symbol_config};

const ROUTER: NamespaceId = NamespaceId(0);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The names of the inputs, and how often something was dropped for want of a symbol that takes it.
fn replayed(recording: &[u8]) -> (Vec<String>, u64) {
    let mut told = Recording::open(recording, VERSION).unwrap().tell::<ReplayedControl>().unwrap();
    let mut names = Vec::new();
    loop {
        match told.step(true).unwrap() {
            Step::Input { shown, .. } => {
                names.extend(shown.into_iter().filter_map(|shown| match shown {
                    Shown::Input(text, _) => text.split([' ', '{']).next().map(str::to_owned),
                    _ => None,
                }));
            }
            Step::End { comparison, .. } => {
                assert_eq!(comparison, Comparison::Same);
                return (names, told.core().dropped(DropReason::SymbolTxError));
            }
        }
    }
}

#[test]
fn whatever_the_shell_tells_is_in_the_recording() {
    let mut world = World::up();
    let address = "tcp/80".parse::<RuleText>().unwrap().0;
    world.sockets = vec![OpenSocket { address, interface: None }];
    world.hint();
    let (now, control) = (world.now, &mut world.control);
    let way = FastWay { peer: PeerId(0), tunnel: Tunnel(DOWN.0) };
    let traffic = FastTraffic { packets: 3, bytes: 300, frames: 2, frame_bytes: 400 };
    let route = RouteText::parse("10.0.0.0/8 via 192.0.2.9 dev eth1").unwrap();
    control.handle_undelivered();
    control.handle_drops(DropReason::SymbolTxError, 0);
    control.handle_drops(DropReason::SymbolTxError, 2);
    control.handle_fast_sent(way, &traffic);
    control.handle_fast_received(way, &traffic, now);
    control.handle_interface_changed(Mac([2, 0, 0, 0, 0, 0x77]), 1_400);
    control.handle_closed_overrun(ROUTER, now);
    control.handle_memberships_changed(ROUTER, now);
    control.handle_routes_lost(ROUTER);
    control.handle_symbol_altered(SYMBOL, Some("its interface is set down"), now);
    control.set_monitored(false);
    control.set_carrier_hold(Duration::from_secs(1));
    control.set_liveness(Duration::from_millis(250), 4);
    control.set_peers(&[("relay1".to_owned(), PublicKey([9; 32]))], now);
    control.set_refused(vec![contradicted()]);
    assert!(!control.delete_refused_symbol("eth8", None, None));
    assert!(!control.delete_refused_symbol("eth7", None, Some("files")));
    assert!(control.delete_refused_symbol("eth7", None, None));
    control.set_routes(Some(RoutesConfig::default()));
    assert!(control.mirrors_routes(ROUTER));
    control.add_route(&route).unwrap();
    control.delete_route(&route.selector()).unwrap();
    control.decide("relay1", Decided { weight: Some(7), draining: false });
    control.weigh("relay1", None).unwrap();
    control.drain("relay1", true).unwrap();
    control.add_rule(SYMBOL, "udp/53".parse::<RuleText>().unwrap().0, now).unwrap();
    control.delete_rule(SYMBOL, "udp/53".parse::<RuleText>().unwrap().0, now).unwrap();
    let added = control.add_symbol(symbol_config("eth2", "eth2", Some("other")), now);
    control.change_symbol(
        added,
        SymbolConfig { detect: false, ..symbol_config("eth2", "eth2", Some("other")) },
        now,
    );
    assert!(control.delete_symbol(added, now).namespace.is_some());
    assert!(matches!(control.forget("relay9", false, now), Err(HandError::NoRelay { .. })));
    control.handle_shutdown();
    control.handle_close(now);
    control.end();
    let (names, dropped) = replayed(&world.recording());
    let expected = [
        "Undelivered",
        "Drops",
        "FastSent",
        "FastReceived",
        "InterfaceChanged",
        "ClosedOverrun",
        "MembershipsChanged",
        "RoutesLost",
        "SymbolAltered",
        "SetCarrierHold",
        "SetLiveness",
        "SetPeers",
        "SetRefused",
        "DeleteRefusedSymbol",
        "DeleteRefusedSymbol",
        "DeleteRefusedSymbol",
        "SetRoutes",
        "AddRoute",
        "DeleteRoute",
        "Decide",
        "Weigh",
        "Drain",
        "AddRule",
        "DeleteRule",
        "AddSymbol",
        "ChangeSymbol",
        "DeleteSymbol",
        "Forget",
        "Shutdown",
        "Close",
    ];
    assert_eq!(names[names.len() - expected.len()..], expected);
    assert_eq!(dropped, 3);
}

#[test]
fn who_monitors_is_in_the_recording_when_that_changes() {
    let mut world = World::up();
    world.watched = true;
    for monitored in [true, true, false, false] {
        world.control.set_monitored(monitored);
    }
    world.control.end();
    let (names, _) = replayed(&world.recording());
    assert_eq!(names.iter().filter(|name| *name == "Monitored").count(), 2);
}

#[test]
fn a_recording_that_cannot_go_on_ends_and_the_control_does_not() {
    let mut garbage = [0; 60];
    let config = Config {
        symbols: vec![symbol_config("eth1", "eth1", Some("other"))],
        refused: Vec::new(),
        triggered: Triggered::All,
        carrier_hold: Duration::ZERO,
        addressing: Addressing::Relay,
        routes: None,
    };
    let now = Time(1_000_000);
    let beginning = Beginning { config, link: world::control_link(), seed: [1; 32].into(), now };
    let memory = Memory::default();
    let mut control = Recorded::begin(beginning.clone(), Box::new(Limited(5, memory.clone())), 0);
    let mut plain = Recorded::from(beginning.control());
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let verdicts = [&mut control, &mut plain].map(|control| {
            let dropped = matches!(control.handle_link_frame(&mut garbage, now), LinkVerdict::Drop(_));
            control.flush();
            dropped
        });
        assert_eq!(verdicts, [true, true]);
        lengths.push(memory.bytes().len());
    }
    assert!(lengths[1..].iter().all(|length| *length == lengths[0]), "one turn more: {lengths:?}");
    let recording = memory.bytes();
    let mut told = Recording::open(&recording[..], VERSION).unwrap().tell::<ReplayedControl>().unwrap();
    assert!(matches!(told.step(false).unwrap(), Step::Input { number: 1, .. }));
    assert!(matches!(told.step(false).unwrap(), Step::End { comparison: Comparison::Cut, .. }));
}

/// Only what is of these namespaces and tables is told from now on; what was told goes.
#[test]
fn other_routes_are_mirrored_when_the_configuration_is_another() {
    let mut world = World::routing().brought_up();
    assert!(world.control.mirrors_routes(ROUTER));
    let elsewhere =
        RoutesConfig { netns: Some(BTreeSet::from(["other".to_owned()])), ..RoutesConfig::default() };
    world.control.set_routes(Some(elsewhere));
    assert!(!world.control.mirrors_routes(ROUTER));
    let here = RoutesConfig { netns: Some(BTreeSet::from(["router".to_owned()])), ..RoutesConfig::default() };
    world.control.set_routes(Some(here.clone()));
    assert!(world.control.mirrors_routes(ROUTER));
    world.list_routes(ROUTER, RouteFamilies::BOTH);
    world.settle();
    // The same again asks for nothing; another table has the kernel asked for all.
    world.control.set_routes(Some(here.clone()));
    assert_eq!(world.control.poll_action(), None);
    world.control.set_routes(Some(RoutesConfig { tables: BTreeSet::from([100]), ..here }));
    assert!(matches!(
        world.control.poll_action(),
        Some(control_core::Action::DumpRoutes { namespace: ROUTER, .. })
    ));
    world.control.set_routes(None);
    assert!(!world.control.mirrors_routes(ROUTER));
}
