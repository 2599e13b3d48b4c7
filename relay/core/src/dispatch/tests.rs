use super::*;
use core::net::Ipv4Addr;
use frames::protocol_address::{Family, Local};
use frames::{PortId, ProtocolAddress};
use proptest::prelude::*;

const PORT: PortId = PortId(1);

#[test]
fn a_wildcard_of_both_versions_is_found_by_either() {
    let mut dispatch = Dispatch::default();
    assert_eq!(dispatch.add(rule(1, 1, listener(80))), Ok(Added::New));
    for any in ["0.0.0.0", "::"] {
        let key = Key::listener(PORT, 6, any.parse().unwrap(), 80);
        assert_eq!(dispatch.choose(&key, flow(1)).unwrap().tunnel, UpTunnel(1));
    }
    assert!(dispatch.choose(&Key::listener(PortId(2), 6, v4(0), 80), flow(1)).is_none());
}

#[test]
fn the_same_rule_again_keeps_its_counters_and_is_fresh() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(rule(1, 1, listener(80)));
    let target = dispatch.choose(&any_80(), flow(1)).unwrap();
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
    assert_eq!(dispatch.add(rule(1, 1, listener(81))), Ok(Added::InsteadOf(rule(1, 1, listener(80)))));
    assert!(dispatch.choose(&any_80(), flow(1)).is_none());
    assert_eq!(dispatch.iter().count(), 1);
}

#[test]
fn after_a_restart_the_newer_rule_of_a_control_wins() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(rule(1, 7, listener(80)));
    dispatch.mark_stale(PeerId(1));
    assert_eq!(dispatch.choose(&any_80(), flow(1)).unwrap().tunnel, UpTunnel(7), "stale, in force");
    let _ = dispatch.add(rule(1, 9, listener(80)));
    assert!((0..100).all(|n| dispatch.choose(&any_80(), flow(n)).unwrap().tunnel == UpTunnel(9)));
    let swept = dispatch.remove_where(PeerId(1), |rule| rule.stale);
    assert_eq!(swept.len(), 1);
    assert_eq!(swept[0].tunnel, UpTunnel(7));
}

#[test]
fn a_draining_rule_takes_no_new_flow() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(Rule { weight: 0, ..rule(1, 1, listener(80)) });
    assert!(dispatch.choose(&any_80(), flow(1)).is_none());
    let _ = dispatch.add(rule(2, 1, listener(80)));
    assert!((0..100).all(|n| dispatch.choose(&any_80(), flow(n)).unwrap().peer == PeerId(2)));
    let _ = dispatch.add(rule(1, 1, listener(80)));
    assert!((0..100).any(|n| dispatch.choose(&any_80(), flow(n)).unwrap().peer == PeerId(1)));
}

#[test]
fn weights_are_shares() {
    let mut dispatch = Dispatch::default();
    let _ = dispatch.add(Rule { weight: 3, ..rule(1, 1, listener(80)) });
    let _ = dispatch.add(rule(2, 1, listener(80)));
    let first =
        (0..10_000).filter(|n| dispatch.choose(&any_80(), flow(*n)).unwrap().peer == PeerId(1)).count();
    assert!((7_200..7_800).contains(&first), "three quarters of 10,000 flows, not {first}");
}

#[test]
fn a_leaving_member_moves_its_own_flows_only() {
    let mut dispatch = Dispatch::default();
    for peer in 1..=4 {
        let _ = dispatch.add(rule(peer, 1, listener(80)));
    }
    let before: Vec<_> = (0..1_000).map(|n| dispatch.choose(&any_80(), flow(n)).unwrap()).collect();
    assert!(dispatch.remove(PeerId(3), UpTunnel(1)).is_some());
    for (n, was) in (0..).zip(before).filter(|(_, was)| was.peer != PeerId(3)) {
        assert_eq!(dispatch.choose(&any_80(), flow(n)), Some(was));
    }
}

#[test]
fn a_crowded_key_is_refused() {
    let mut dispatch = Dispatch::default();
    let members = u32::try_from(MEMBERS_PER_KEY).unwrap();
    assert!((1..=members).all(|tunnel| dispatch.add(rule(1, tunnel, listener(80))).is_ok()));
    assert_eq!(dispatch.add(rule(2, 1, listener(80))), Err(TableFull));
    assert_eq!(dispatch.add(rule(2, 1, listener(81))), Ok(Added::New));
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
                let chosen = dispatch.choose(&Key::listener(PORT, 6, v4(0), port), flow(1));
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
        packets: 0,
        bytes: 0,
    }
}

fn listener(port: u16) -> ProtocolAddress {
    ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port }
}

fn any_80() -> Key {
    Key::listener(PORT, 6, v4(0), 80)
}

fn flow(n: u32) -> FlowHash {
    FlowHash::new(6, (v4(1), 80), (v4(n), 40_000))
}

fn v4(bits: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}
