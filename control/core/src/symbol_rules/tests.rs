use super::*;
use crate::Weight;
use frames::protocol_address::{Family, Local};

const PEER: PeerId = PeerId(7);
const GRANT: Grant = Grant { peer: PEER, port: PortId(3) };
const HTTP: ProtocolAddress =
    ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port: 80 };

#[test]
fn a_rule_waits_for_the_port_and_is_told_behind_the_neighbors() {
    let (mut rules, mut tables) = fixture();
    let tunnel = rules.add(HTTP, Time(0), &mut tables);
    assert!(sent(&mut tables).is_empty());
    rules.replay(GRANT, Time(0), &mut tables);
    let neighbors = rules.index[&NEIGHBORS];
    assert_eq!(sent(&mut tables), [add(neighbors, NEIGHBORS), add(tunnel, HTTP)]);
}

#[test]
fn a_rule_that_the_relay_never_heard_of_goes_silently() {
    let (mut rules, mut tables) = fixture();
    let tunnel = rules.add(HTTP, Time(0), &mut tables);
    rules.remove(&HTTP, Time(0), &mut tables);
    assert!(sent(&mut tables).is_empty());
    assert_eq!(tables.receive.get(tunnel), None);
}

#[test]
fn a_rule_that_the_relay_has_closes_first() {
    let (mut rules, mut tables) = fixture();
    rules.replay(GRANT, Time(0), &mut tables);
    let tunnel = rules.add(HTTP, Time(0), &mut tables);
    tables.outbox.clear();
    rules.remove(&HTTP, Time(0), &mut tables);
    assert_eq!(sent(&mut tables), [format!("delete {tunnel}")]);
    assert_eq!(tables.receive.get(tunnel).map(|rule| rule.state.name()), Some("closing"));
    let again = rules.add(HTTP, Time(0), &mut tables);
    assert_ne!(again, tunnel, "a tunnel that closes is not used again");
    assert_eq!(sent(&mut tables), [add(again, HTTP)]);
}

#[test]
fn without_contact_a_rule_waits_for_the_sweep() {
    let (mut rules, mut tables) = fixture();
    rules.replay(GRANT, Time(0), &mut tables);
    let tunnel = rules.add(HTTP, Time(0), &mut tables);
    rules.suspend(&mut tables);
    tables.outbox.clear();
    rules.remove(&HTTP, Time(0), &mut tables);
    assert!(sent(&mut tables).is_empty());
    let rule = tables.receive.get(tunnel).unwrap();
    assert_eq!((rule.state.name(), rule.told), ("closing", Told::Earlier));
}

#[test]
fn a_full_table_forgets_the_flows_idle_longest() {
    let (mut rules, mut tables) = fixture();
    let flow = |number: usize| FlowKey {
        protocol: 17,
        local_port: u16::try_from(number % 65_536).unwrap(),
        local: [192, 0, 2, 1].into(),
        remote: [198, 51, 100, u8::try_from(number / 65_536).unwrap()].into(),
        remote_port: 53,
    };
    for number in 0..=FLOWS_MAX {
        rules.add(flow(number).rule(), Time(number as u64), &mut tables);
    }
    assert_eq!(rules.evicted, EVICTED_AT_ONCE as u64);
    assert_eq!(rules.flows.len(), FLOWS_MAX + 1 - EVICTED_AT_ONCE);
    assert_eq!(rules.flow(&flow(EVICTED_AT_ONCE - 1)), None);
    assert!(rules.flow(&flow(EVICTED_AT_ONCE)).is_some());
    assert_eq!(rules.flows_from(17, 9_999).count(), 1);
}

fn fixture() -> (SymbolRules, Tables) {
    (SymbolRules::new(SymbolId(1), None, Weight::USUAL), Tables::new(0))
}

fn add(tunnel: UpTunnel, address: ProtocolAddress) -> String {
    format!("add {tunnel} {address}")
}

fn sent(tables: &mut Tables) -> Vec<String> {
    let text = |(peer, message): (PeerId, Message<'_>)| match message {
        Message::RuleAdd(rule) => {
            assert_eq!((peer, rule.port, rule.symbol), (PEER, GRANT.port, SymbolId(1)));
            format!("add {} {}", rule.tunnel, rule.protocol_address)
        }
        Message::RuleDelete(rule) => format!("delete {}", rule.tunnel),
        other => panic!("{other:?}"),
    };
    tables.outbox.drain(..).map(text).collect()
}
