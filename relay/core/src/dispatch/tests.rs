use super::*;
use crate::config::Conflicts;
use core::net::{IpAddr, Ipv4Addr};
use frames::message::LiveFlow;
use frames::protocol_address::{Family, Local};
use frames::{PortId, ProtocolAddress};
use l2link::Time;
use proptest::prelude::*;
use std::collections::BTreeSet;

mod forgetting;
mod whose;

const PORT: PortId = PortId(1);

#[test]
fn a_wildcard_of_both_versions_is_found_by_either() {
    let mut dispatch = Dispatch::default();
    assert_eq!(dispatch.add(rule(1, 1, listener(80))), Ok(Added::New));
    for local in ["192.0.2.1", "2001:db8::1"] {
        let ends = Ends { local: (local.parse().unwrap(), 80), remote: (v4(1), 40_000) };
        assert_eq!(dispatch.serve(PORT, 6, &ends, true).unwrap().tunnel, UpTunnel(1));
        assert!(dispatch.serve(PortId(2), 6, &ends, true).is_none());
        assert!(dispatch.serve(PORT, 17, &ends, true).is_none());
    }
}

#[test]
fn the_same_rule_again_keeps_its_counters_and_is_fresh() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(rule(1, 1, listener(80)));
    let target = opened(&mut dispatch, 1).unwrap();
    dispatch.count(&target, 100);
    dispatch.mark_stale(PeerId(1));
    assert_eq!(dispatch.add(rule(1, 1, listener(80))), Ok(Added::Again));
    let known = dispatch.iter().next().unwrap();
    assert!(!known.stale);
    assert_eq!((known.packets, known.bytes), (1, 100));
}

#[test]
fn a_tunnel_with_another_meaning_replaces_the_rule() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(rule(1, 1, listener(80)));
    let Ok(Added::InsteadOf(old)) = dispatch.add(rule(1, 1, listener(81))) else { panic!("another one") };
    assert_eq!(old.protocol_address, listener(80));
    assert!(opened(&mut dispatch, 1).is_none());
    assert_eq!(dispatch.iter().count(), 1);
}

#[test]
fn after_a_restart_the_newer_rule_of_a_control_wins() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(rule(1, 7, listener(80)));
    dispatch.mark_stale(PeerId(1));
    assert_eq!(opened(&mut dispatch, 1).unwrap().tunnel, UpTunnel(7), "stale, in force");
    let _ = dispatch.add(rule(1, 9, listener(80)));
    assert!((0..100).all(|n| opened(&mut dispatch, n).unwrap().tunnel == UpTunnel(9)));
    let swept = dispatch.remove_where(PeerId(1), |rule| rule.stale);
    assert_eq!(swept.len(), 1);
    assert_eq!(swept[0].tunnel, UpTunnel(7));
}

#[test]
fn a_draining_rule_takes_no_new_flow() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(Rule { weight: 0, ..rule(1, 1, listener(80)) });
    assert!(opened(&mut dispatch, 1).is_none());
    let _ = dispatch.add(rule(2, 1, listener(80)));
    assert!((0..100).all(|n| opened(&mut dispatch, n).unwrap().peer == PeerId(2)));
    let _ = dispatch.add(rule(1, 1, listener(80)));
    assert!((0..100).any(|n| opened(&mut dispatch, n).unwrap().peer == PeerId(1)));
}

#[test]
fn weights_are_shares() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(Rule { weight: 3, ..rule(1, 1, listener(80)) });
    let _ = dispatch.add(rule(2, 1, listener(80)));
    let first = (0..10_000).filter(|n| opened(&mut dispatch, *n).unwrap().peer == PeerId(1)).count();
    assert!((7_200..7_800).contains(&first), "three quarters of 10,000 flows, not {first}");
}

#[test]
fn a_leaving_member_moves_its_own_flows_only() {
    let mut dispatch = Dispatch::default();
    for peer in 1..=4 {
        let _ = dispatch.add(rule(peer, 1, listener(80)));
    }
    let before: Vec<_> = (0..1_000).map(|n| opened(&mut dispatch, n).unwrap()).collect();
    assert!(dispatch.remove(PeerId(3), UpTunnel(1)).is_some());
    let stay = (0..).zip(before).filter(|(_, was)| was.peer != PeerId(3));
    let moved = stay.filter(|(n, was)| opened(&mut dispatch, *n) != Some(*was)).count();
    assert!(moved < 50, "{moved} of 750 flows");
}

#[test]
fn a_crowded_key_is_refused() {
    let mut dispatch = Dispatch::default();
    let members = u32::try_from(MEMBERS_PER_KEY).unwrap();
    let of_one = u32::try_from(MEMBERS_PER_CONTROL).unwrap();
    let add = |dispatch: &mut Dispatch, n: u32| dispatch.add(rule(n / of_one, n % of_one + 1, listener(80)));
    assert!((0..members).all(|n| add(&mut dispatch, n).is_ok()));
    assert_eq!(dispatch.add(rule(1_000, 1, listener(80))), Err(TableFull));
    assert_eq!(dispatch.add(rule(1_000, 1, listener(81))), Ok(Added::New));
    let _ = dispatch.remove(PeerId(1), UpTunnel(1));
    assert_eq!(dispatch.add(rule(0, 1_000, listener(80))), Err(TableFull), "it has its share");
    assert_eq!(dispatch.add(rule(1_000, 2, listener(80))), Ok(Added::New));
}

#[test]
fn one_copy_for_each_symbol() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(rule(1, 1, ProtocolAddress::EtherType(3)));
    let _ = dispatch.add(rule(1, 2, ProtocolAddress::EtherType(3)));
    let _ = dispatch.add(Rule { symbol: SymbolId(2), ..rule(1, 3, ProtocolAddress::EtherType(3)) });
    let _ = dispatch.add(rule(2, 1, ProtocolAddress::EtherType(3)));
    let mut targets = Targets::default();
    dispatch.copies(&Key::ethertype(PORT, 3), &mut targets);
    assert_eq!(targets.iter().count(), 3);
}

/// What the controls are asked for is answered: each has those flows that it was given.
fn answer(dispatch: &mut Dispatch, live: &BTreeMap<u32, PeerId>) {
    loop {
        let requests = dispatch.take_requests();
        if requests.is_empty() {
            return;
        }
        for asked in requests {
            let live = live.iter().filter(|_| asked.1 == UpTunnel(1));
            let owned = live.filter(|(_, owner)| **owner == asked.0);
            let flows: Vec<_> = owned.map(|(n, _)| LiveFlow::new(ends(*n).local, ends(*n).remote)).collect();
            let (first, second) = flows.split_at(flows.len() / 2);
            dispatch.report(asked, first, false);
            dispatch.report(asked, second, true);
        }
    }
}

fn web(peer: u32) -> Rule {
    let v4 = ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::V4), port: 80 };
    Rule { weight: 100, ..rule(peer, 1, v4) }
}

/// Servers with a rule for each version of IP, as many programs have.
fn with(servers: &[u32]) -> Dispatch {
    let mut dispatch = Dispatch::default();
    for peer in servers {
        dispatch.name(PeerId(*peer), &format!("control{peer}"));
        let _ = dispatch.add(web(*peer));
        let v6 = ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::V6), port: 80 };
        let _ = dispatch.add(Rule { weight: 100, ..rule(*peer, 1_000, v6) });
    }
    answer(&mut dispatch, &BTreeMap::new());
    dispatch
}

fn open_all(dispatch: &mut Dispatch, flows: core::ops::Range<u32>) -> BTreeMap<u32, PeerId> {
    flows.map(|n| (n, opened(dispatch, n).unwrap().peer)).collect()
}

#[test]
fn flows_stay_when_a_server_comes_before_and_after_the_reports() {
    let mut dispatch = with(&[1, 2]);
    let mut live = open_all(&mut dispatch, 0..1_000);
    dispatch.name(PeerId(3), "control3");
    let _ = dispatch.add(Rule { weight: 100, ..web(3) });
    let stays = |dispatch: &mut Dispatch, live: &BTreeMap<u32, PeerId>| {
        live.iter().all(|(n, peer)| followed(dispatch, *n).unwrap().peer == *peer)
    };
    assert!(stays(&mut dispatch, &live), "by the old table");
    // New flows have the new table at once, and keep what it says.
    let new = open_all(&mut dispatch, 1_000..2_000);
    let share = new.values().filter(|peer| **peer == PeerId(3)).count();
    assert!((280..390).contains(&share), "a third of 1,000, not {share}");
    assert!(stays(&mut dispatch, &new), "by pins");
    live.extend(new);
    answer(&mut dispatch, &live);
    assert!(stays(&mut dispatch, &live), "by the new table, and by pins");
    let pinned = dispatch.pinned();
    assert!((500..900).contains(&pinned), "a third of all 2,000, not {pinned}");
    // Those that are where the new table wants them need no pin any more.
    dispatch.handle_timeout(Time(0));
    let at = dispatch.poll_timeout().unwrap();
    dispatch.handle_timeout(at);
    answer(&mut dispatch, &live);
    let pinned = dispatch.pinned();
    assert!((250..450).contains(&pinned), "a third of the older 1,000, not {pinned}");
    assert!(stays(&mut dispatch, &live), "by the new table, and by fewer pins");
}

#[test]
fn a_draining_server_keeps_its_flows_and_gets_no_other() {
    for others in [&[][..], &[2]] {
        let mut dispatch = with(&[&[1], others].concat());
        let live = open_all(&mut dispatch, 0..1_000);
        let _ = dispatch.add(Rule { weight: 0, ..web(1) });
        for _ in 0..2 {
            assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
            assert!(
                (1_000..2_000)
                    .all(|n| opened(&mut dispatch, n).is_none_or(|target| target.peer == PeerId(2)))
            );
            answer(&mut dispatch, &live);
        }
        let _ = dispatch.remove(PeerId(1), UpTunnel(1));
        assert!((0..1_000).all(|n| followed(&mut dispatch, n).is_none_or(|target| target.peer == PeerId(2))));
    }
}

#[test]
fn flows_of_others_stay_when_the_only_listener_at_their_address_goes() {
    let mut dispatch = with(&[1, 2]);
    dispatch.name(PeerId(3), "control3");
    let named = ProtocolAddress::Listener { protocol: 6, local: Local::Address(v4(1)), port: 80 };
    let _ = dispatch.add(Rule { weight: 100, protocol_address: named, ..web(3) });
    answer(&mut dispatch, &BTreeMap::new());
    let mut live = open_all(&mut dispatch, 0..10_000);
    let _ = dispatch.remove_where(PeerId(3), |_| true);
    live.retain(|_, peer| *peer != PeerId(3));
    for _ in 0..2 {
        let moved =
            live.iter().filter(|(n, peer)| followed(&mut dispatch, **n).unwrap().peer != **peer).count();
        assert_eq!(moved, 0, "of {}", live.len());
        answer(&mut dispatch, &live);
    }
    assert!(dispatch.pinned() > 0, "the tables differ");
    let named = service_of(&Key::listener(PORT, 6, v4(1), 80)).unwrap();
    assert_eq!(dispatch.services.standing(&named.0, named.1, ServerId(0)), None, "the pool is closed");
}

#[test]
fn a_dead_servers_flows_are_shared_out_at_once() {
    let mut dispatch = with(&[1, 2, 3]);
    let live = open_all(&mut dispatch, 0..1_000);
    let _ = dispatch.remove_where(PeerId(1), |_| true);
    for (n, was) in &live {
        let now = followed(&mut dispatch, *n).unwrap().peer;
        assert!(if *was == PeerId(1) { now != PeerId(1) } else { now == *was });
    }
}

#[test]
fn pins_of_flows_that_are_over_are_swept() {
    let mut dispatch = with(&[1]);
    let mut live = open_all(&mut dispatch, 0..1_000);
    let _ = dispatch.add(Rule { weight: 100, ..web(2) });
    answer(&mut dispatch, &live);
    assert!(dispatch.pinned() > 400);
    live.retain(|n, _| *n < 10);
    dispatch.handle_timeout(Time(0));
    let at = dispatch.poll_timeout().unwrap();
    dispatch.handle_timeout(at);
    answer(&mut dispatch, &live);
    assert!(dispatch.pinned() <= 10);
    assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
}

#[test]
fn the_report_of_a_servers_other_listener_sweeps_no_pin() {
    let of = |family| ProtocolAddress::Listener { protocol: 6, local: Local::Any(family), port: 80 };
    let (mut dispatch, mut live) = (Dispatch::default(), BTreeMap::new());
    for peer in 1..=3 {
        dispatch.name(PeerId(peer), &format!("control{peer}"));
        for (tunnel, family) in [(1, Family::V4), (2, Family::V6)] {
            let _ = dispatch.add(Rule { weight: 100, ..rule(peer, tunnel, of(family)) });
        }
        // All flows are of IPv4: the listeners of IPv6 have none to tell.
        loop {
            let requests = dispatch.take_requests();
            if requests.is_empty() {
                break;
            }
            for asked in requests {
                let owned = live.iter().filter(|(_, owner)| **owner == asked.0 && asked.1 == UpTunnel(1));
                let flows: Vec<_> =
                    owned.map(|(n, _)| LiveFlow::new(ends(*n).local, ends(*n).remote)).collect();
                dispatch.report(asked, &flows, true);
            }
        }
        if peer < 3 {
            live.extend(open_all(&mut dispatch, peer * 1_000..(peer + 1) * 1_000));
        }
    }
    assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
}

#[test]
fn a_flow_opened_between_two_tables_outlives_its_servers_report() {
    let mut dispatch = with(&[1, 2]);
    dispatch.name(PeerId(3), "control3");
    let _ = dispatch.add(Rule { weight: 100, ..rule(3, 1, listener(80)) });
    let requests = dispatch.take_requests();
    let live = open_all(&mut dispatch, 0..1_000);
    // The others have not answered yet: the old table still counts.
    for reporting in [3, 2, 1].map(PeerId) {
        for asked in requests.iter().filter(|asked| asked.0 == reporting) {
            let owned = live.iter().filter(|(_, owner)| **owner == reporting);
            let flows: Vec<_> = owned.map(|(n, _)| LiveFlow::new(ends(*n).local, ends(*n).remote)).collect();
            dispatch.report(*asked, &flows, true);
        }
        assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
    }
}

#[test]
fn a_flow_that_begins_anew_leaves_a_draining_server() {
    let mut dispatch = with(&[1, 2]);
    let live = open_all(&mut dispatch, 0..100);
    let _ = dispatch.add(Rule { weight: 0, ..web(1) });
    answer(&mut dispatch, &live);
    let (n, _) = live.iter().find(|(_, peer)| **peer == PeerId(1)).unwrap();
    assert_eq!(followed(&mut dispatch, *n).unwrap().peer, PeerId(1));
    assert_eq!(opened(&mut dispatch, *n).unwrap().peer, PeerId(2));
    assert_eq!(followed(&mut dispatch, *n).unwrap().peer, PeerId(2));
}

#[test]
fn a_relay_that_begins_anew_learns_who_has_which_flow() {
    let live = open_all(&mut with(&[1, 2]), 0..1_000);
    let names = ["control1", "control2"].map(str::to_owned);
    let mut dispatch = Dispatch::new(&[], BTreeSet::from(names), draw());
    for peer in [1, 2] {
        dispatch.name(PeerId(peer), &format!("control{peer}"));
        let _ = dispatch.add(Rule { weight: 100, ..web(peer) });
        answer(&mut dispatch, &live);
        let right = |dispatch: &mut Dispatch| {
            live.iter().all(|(n, peer)| followed(dispatch, *n).is_none_or(|target| target.peer == *peer))
        };
        assert!(right(&mut dispatch), "what is not known is dropped");
        dispatch.said_all(PeerId(peer), &format!("control{peer}"));
    }
    answer(&mut dispatch, &live);
    assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
    assert_eq!(dispatch.pinned(), 0, "the same table as before");
}

#[test]
fn datagrams_follow_the_first_of_their_flow() {
    let mut dispatch = Dispatch::default();
    let udp = ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::Both), port: 80 };
    let serve = |dispatch: &mut Dispatch, n| dispatch.serve(PORT, 17, &ends(n), false).unwrap().peer;
    let _ = dispatch.add(rule(1, 1, udp));
    assert!((0..100).all(|n| serve(&mut dispatch, n) == PeerId(1)));
    let _ = dispatch.add(rule(2, 1, udp));
    assert!(dispatch.take_requests().is_empty(), "their sockets know nothing");
    assert!((0..100).all(|n| serve(&mut dispatch, n) == PeerId(1)));
    assert!((100..200).any(|n| serve(&mut dispatch, n) == PeerId(2)));
    let _ = dispatch.remove(PeerId(1), UpTunnel(1));
    assert!((0..100).all(|n| serve(&mut dispatch, n) == PeerId(2)));
}

#[test]
fn whoever_listens_at_any_address_shares_a_named_one() {
    let mut dispatch = with(&[1]);
    let named = ProtocolAddress::Listener { protocol: 6, local: Local::Address(v4(1)), port: 80 };
    let live = open_all(&mut dispatch, 0..100);
    let _ = dispatch.add(Rule { weight: 100, ..rule(2, 1, named) });
    assert!((0..100).all(|n| followed(&mut dispatch, n).unwrap().peer == PeerId(1)), "they were there");
    answer(&mut dispatch, &live);
    let new = open_all(&mut dispatch, 100..1_000);
    assert_eq!(new.values().collect::<BTreeSet<_>>().len(), 2);
    // One's own at the address goes before one's own at any.
    let _ = dispatch.add(Rule { weight: 100, ..rule(1, 2, named) });
    assert!((0..100).all(|n| opened(&mut dispatch, n).unwrap().tunnel
        == UpTunnel(if opened(&mut dispatch, n).unwrap().peer == PeerId(1) { 2 } else { 1 })));
}

#[test]
fn a_draining_listener_of_an_address_leaves_the_open_one_of_any_alone() {
    let named = ProtocolAddress::Listener { protocol: 6, local: Local::Address(v4(1)), port: 80 };
    for order in [[named, web(1).protocol_address], [web(1).protocol_address, named]] {
        let mut dispatch = Dispatch::default();
        for (tunnel, address) in (1..).zip(order) {
            let _ = dispatch.add(Rule { weight: 100, ..rule(1, tunnel, address) });
        }
        let tunnel = if order[0] == named { 1 } else { 2 };
        let _ = dispatch.add(Rule { weight: 0, ..rule(1, tunnel, named) });
        assert_eq!(opened(&mut dispatch, 1).unwrap().tunnel, UpTunnel(3 - tunnel));
    }
}

#[test]
fn a_new_address_is_shared_as_before_until_all_have_told_their_flows() {
    let mut dispatch = with(&[1, 2]);
    let live = open_all(&mut dispatch, 0..1_000);
    dispatch.name(PeerId(3), "control3");
    let _ = dispatch.add(web(3));
    let named = ProtocolAddress::Listener { protocol: 6, local: Local::Address(v4(1)), port: 80 };
    let _ = dispatch.add(Rule { weight: 100, ..rule(3, 2, named) });
    for _ in 0..2 {
        assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
        answer(&mut dispatch, &live);
    }
}

#[test]
fn a_flow_that_had_a_rule_of_its_own_stays() {
    let mut dispatch = with(&[2]);
    let Ends { local, remote } = ends(7);
    let flow = ProtocolAddress::Flow {
        protocol: 6,
        local: local.0,
        local_port: local.1,
        remote: remote.0,
        remote_port: remote.1,
    };
    let _ = dispatch.add(rule(1, 9, flow));
    let first = |dispatch: &Dispatch| dispatch.first(&Key::flow(PORT, 6, local, remote)).map(|to| to.peer);
    assert_eq!(first(&dispatch), Some(PeerId(1)));
    // Its listener is back, and has it from now on.
    let _ = dispatch.add(web(1));
    let _ = dispatch.remove(PeerId(1), UpTunnel(9));
    assert_eq!((first(&dispatch), followed(&mut dispatch, 7).unwrap().peer), (None, PeerId(1)));
}

#[test]
fn first_and_priority_have_one_server_and_the_others_stand_by() {
    for (conflicts, chief) in [(Conflicts::First, 1), (Conflicts::Priority, 3)] {
        let mut dispatch = Dispatch::default();
        let config = test_port(conflicts, &[("control1", 1), ("control2", 1), ("control3", 9)]);
        dispatch.ports.insert(PORT, config);
        for peer in 1..=3 {
            dispatch.name(PeerId(peer), &format!("control{peer}"));
            let _ = dispatch.add(rule(peer, 1, listener(80)));
        }
        assert!(open_all(&mut dispatch, 0..100).values().all(|peer| *peer == PeerId(chief)));
        let states: Vec<_> = dispatch.iter().map(|rule| (rule.peer.0, dispatch.standing(rule))).collect();
        let expected = |peer| if peer == chief { Standing::Active } else { Standing::Standby };
        assert!(states.iter().all(|(peer, standing)| *standing == expected(*peer)), "{states:?}");
        let _ = dispatch.remove(PeerId(chief), UpTunnel(1));
        let heir = if chief == 1 { 2 } else { 1 };
        assert!(open_all(&mut dispatch, 0..100).values().all(|peer| *peer == PeerId(heir)));
    }
}

#[test]
fn operators_weigh_controls() {
    let mut dispatch = with(&[1, 2]);
    dispatch.weigh("control1", Some(0));
    assert!(open_all(&mut dispatch, 0..100).values().all(|peer| *peer == PeerId(2)));
    assert_eq!(dispatch.standing(&dispatch.iter().next().unwrap().clone()), Standing::Draining);
    dispatch.weigh("control1", Some(300));
    let share = open_all(&mut dispatch, 1_000..2_000).values().filter(|peer| **peer == PeerId(1)).count();
    assert!((700..800).contains(&share), "three quarters of 1,000, not {share}");
    dispatch.weigh("control1", None);
    let share = open_all(&mut dispatch, 2_000..3_000).values().filter(|peer| **peer == PeerId(1)).count();
    assert!((450..550).contains(&share), "half of 1,000 again, not {share}");
}

#[test]
fn relays_with_the_same_controls_choose_alike() {
    let (mut one, mut two) = (with(&[1, 2, 3]), Dispatch::default());
    // Other numbers, in another order.
    for (peer, name) in [(7, "control3"), (8, "control1"), (9, "control2")] {
        two.name(PeerId(peer), name);
        let _ = two.add(Rule { weight: 100, symbol: SymbolId(peer), ..rule(peer, 5, listener(80)) });
    }
    let names = BTreeMap::from([(7, 3), (8, 1), (9, 2)]);
    assert!(
        (0..1_000)
            .all(|n| opened(&mut one, n).unwrap().peer.0 == names[&opened(&mut two, n).unwrap().peer.0])
    );
}

proptest! {
    /// Any sequence of additions and removals leaves what a list of the rules would hold.
    #[test]
    fn is_a_set_of_rules(steps in prop::collection::vec((0u32..3, 1u32..6, 80u16..84, any::<bool>()), 0..200)) {
        let mut dispatch = Dispatch::default();
        let mut model = BTreeMap::new();
        for (peer, tunnel, port, add) in steps {
            if add {
                prop_assert!(dispatch.add(rule(peer, tunnel, listener(port))).is_ok());
                model.insert((PeerId(peer), UpTunnel(tunnel)), port);
            } else {
                let removed = dispatch.remove(PeerId(peer), UpTunnel(tunnel)).is_some();
                prop_assert_eq!(removed, model.remove(&(PeerId(peer), UpTunnel(tunnel))).is_some());
            }
            for port in 80..84 {
                let ends = Ends { local: (v4(7), port), remote: (v4(1), 40_000) };
                let chosen = dispatch.serve(PORT, 6, &ends, true);
                match chosen {
                    Some(target) => {
                        prop_assert_eq!(model.get(&(target.peer, target.tunnel)), Some(&port));
                        prop_assert!(dispatch.in_force(&target));
                    }
                    None => prop_assert!(model.values().all(|known| *known != port)),
                }
            }
        }
        prop_assert_eq!(dispatch.iter().count(), model.len());
        let _ = dispatch.remove_where(PeerId(0), |_| true);
        let _ = dispatch.remove_where(PeerId(1), |_| true);
        let _ = dispatch.remove_where(PeerId(2), |_| true);
        prop_assert!(dispatch.table.is_empty());
        prop_assert_eq!(dispatch.classes, [0; Key::CLASSES]);
        prop_assert!(dispatch.owned.is_empty());
    }
}

fn rule(peer: u32, tunnel: u32, protocol_address: ProtocolAddress) -> Rule {
    Rule {
        peer: PeerId(peer),
        tunnel: UpTunnel(tunnel),
        symbol: SymbolId(1),
        port: PORT,
        protocol_address,
        weight: 1,
        stale: false,
        since: 0,
        packets: 0,
        bytes: 0,
    }
}

fn listener(port: u16) -> ProtocolAddress {
    ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port }
}

/// The target of a flow's first segment.
fn opened(dispatch: &mut Dispatch, n: u32) -> Option<Target> {
    dispatch.serve(PORT, 6, &ends(n), true)
}

/// The target of any other segment of it.
fn followed(dispatch: &mut Dispatch, n: u32) -> Option<Target> {
    dispatch.serve(PORT, 6, &ends(n), false)
}

fn ends(n: u32) -> Ends {
    Ends { local: (v4(1), 80), remote: (v4(n), 40_000) }
}

fn v4(bits: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}

fn test_port(conflicts: Conflicts, priorities: &[(&str, u16)]) -> PortConfig {
    let permission = |(control, priority): &(&str, u16)| crate::config::Permission {
        control: crate::config::ControlName::Named((*control).to_owned()),
        services: l2link::service::ServiceSet::all(),
        routes: None,
        addressing: false,
        priority: *priority,
    };
    PortConfig {
        interface: "eth1".into(),
        relay_services: l2link::service::ServiceSet::none(),
        unmatched: crate::config::Unmatched::Drop,
        conflicts,
        allow: priorities.iter().map(permission).collect(),
    }
}

/// Bytes that differ.
fn draw() -> impl FnMut() -> [u8; 32] {
    let mut count = 0;
    move || {
        core::array::from_fn(|_| {
            count += 1;
            hash::mix(count).to_le_bytes()[0]
        })
    }
}
