//! What is forgotten of servers that are no more.

use super::*;

/// A million servers come and go, some of them with flows that are remembered.
#[test]
fn servers_that_are_no_more_are_forgotten() {
    let mut dispatch = with(&[1]);
    let named = ProtocolAddress::Listener { protocol: 6, local: Local::Address(v4(1)), port: 80 };
    for n in 0..1_000_000_u32 {
        let (peer, tunnel) = (2 + n % 250, 5);
        let address = if n % 100 == 0 { named } else { listener(81) };
        let server = Rule { symbol: SymbolId(n), protocol_address: address, ..rule(peer, tunnel, named) };
        let _ = dispatch.add(server);
        if n % 100 == 0 {
            let _ = opened(&mut dispatch, n % 1_000);
            answer(&mut dispatch, &BTreeMap::new());
        }
        assert!(dispatch.remove(PeerId(peer), UpTunnel(tunnel)).is_some());
        answer(&mut dispatch, &BTreeMap::new());
    }
    let (numbers, owners) = (dispatch.servers.numbers.len(), dispatch.services.owners());
    assert!(numbers <= 128 && owners <= 128, "{numbers}, {owners}");
    assert_eq!(dispatch.servers.next, 1_000_001, "no number is used twice");
}
