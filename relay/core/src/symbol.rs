//! Who was granted what: the controls' symbols, and the receive table (down tunnel → port, control).
//!
//! A symbol is known by {control, the control's number}. It has at most one down tunnel, allotted when the control
//! asks for it. A refused symbol is kept for the operator to see until the control asks again or goes. Tunnel ids are
//! counted up and not used again soon, so that a frame that was long on its way meets no stranger's tunnel.

use frames::message::Status;
use frames::{DownTunnel, PortId, SymbolId};
use l2link::PeerId;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Most symbols of one control.
pub(crate) const SYMBOLS_PER_CONTROL: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Symbols {
    symbols: BTreeMap<(PeerId, SymbolId), Symbol>,
    receive: FxHashMap<DownTunnel, Receive>,
    last: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// Left from an earlier session of the control.
    pub(crate) stale: bool,
    pub(crate) grant: Grant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    Granted { port: PortId, down: Option<DownTunnel> },
    Refused { name: String, status: Status, text: String },
}

/// A row of the receive table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) peer: PeerId,
    pub(crate) symbol: SymbolId,
    pub(crate) port: PortId,
    /// Parcels that came down.
    pub(crate) packets: u64,
    /// Their bytes, Ethernet header included.
    pub(crate) bytes: u64,
}

impl Symbol {
    pub(crate) fn port(&self) -> Option<PortId> {
        match self.grant {
            Grant::Granted { port, .. } => Some(port),
            Grant::Refused { .. } => None,
        }
    }

    /// Whether it was refused as the port of this name does not have its address.
    pub(crate) fn lacks_address(&self, of_port: &str) -> bool {
        match &self.grant {
            Grant::Refused { name, status, .. } => *status == Status::NO_SUCH_ADDRESS && name == of_port,
            Grant::Granted { .. } => false,
        }
    }
}

impl Symbols {
    /// The port that a symbol was granted.
    pub(crate) fn port(&self, peer: PeerId, symbol: SymbolId) -> Option<PortId> {
        self.symbols.get(&(peer, symbol))?.port()
    }

    pub(crate) fn get(&self, peer: PeerId, symbol: SymbolId) -> Option<&Symbol> {
        self.symbols.get(&(peer, symbol))
    }

    /// Grants the port to the symbol. Returns whether that is new.
    pub(crate) fn grant(&mut self, peer: PeerId, symbol: SymbolId, port: PortId) -> bool {
        match self.symbols.get_mut(&(peer, symbol)) {
            Some(known) if known.port() == Some(port) => {
                known.stale = false;
                false
            }
            Some(_) | None => {
                self.remove(peer, symbol);
                let grant = Grant::Granted { port, down: None };
                self.symbols.insert((peer, symbol), Symbol { stale: false, grant });
                true
            }
        }
    }

    /// Remembers that the symbol was refused the port of this name.
    pub(crate) fn refuse(&mut self, peer: PeerId, symbol: SymbolId, name: &str, status: Status, text: &str) {
        self.remove(peer, symbol);
        if self.count(peer) < SYMBOLS_PER_CONTROL {
            let grant = Grant::Refused { name: name.to_owned(), status, text: text.to_owned() };
            self.symbols.insert((peer, symbol), Symbol { stale: false, grant });
        }
    }

    /// Forgets a symbol with its tunnel.
    pub(crate) fn remove(&mut self, peer: PeerId, symbol: SymbolId) -> Option<Symbol> {
        let symbol = self.symbols.remove(&(peer, symbol))?;
        if let Grant::Granted { down: Some(down), .. } = symbol.grant {
            self.receive.remove(&down);
        }
        Some(symbol)
    }

    /// The symbol's down tunnel, allotted now if it has none; `None` if the symbol was not granted this port.
    pub(crate) fn allot(&mut self, peer: PeerId, id: SymbolId, port: PortId) -> Option<DownTunnel> {
        let symbol = self.symbols.get_mut(&(peer, id))?;
        let Grant::Granted { port: granted, down } = &mut symbol.grant else { return None };
        if *granted != port {
            return None;
        }
        if let Some(down) = down {
            return Some(*down);
        }
        let tunnel = unused(&mut self.last, &self.receive);
        *down = Some(tunnel);
        self.receive.insert(tunnel, Receive { peer, symbol: id, port, packets: 0, bytes: 0 });
        Some(tunnel)
    }

    /// Takes the symbol's down tunnel back, if it has one.
    pub(crate) fn take_tunnel(&mut self, peer: PeerId, id: SymbolId) {
        let Some(symbol) = self.symbols.get_mut(&(peer, id)) else { return };
        if let Grant::Granted { down, .. } = &mut symbol.grant
            && let Some(tunnel) = down.take()
        {
            self.receive.remove(&tunnel);
        }
    }

    /// The row of the receive table for a tunnel of this control, counting a parcel of `bytes`.
    pub(crate) fn receive(&mut self, peer: PeerId, tunnel: DownTunnel, bytes: usize) -> Option<PortId> {
        let row = self.receive.get_mut(&tunnel).filter(|row| row.peer == peer)?;
        row.packets += 1;
        row.bytes += bytes as u64;
        Some(row.port)
    }

    /// Counts parcels that came by a tunnel of this control.
    pub(crate) fn count_all(&mut self, peer: PeerId, tunnel: DownTunnel, packets: u64, bytes: u64) {
        if let Some(row) = self.receive.get_mut(&tunnel).filter(|row| row.peer == peer) {
            row.packets += packets;
            row.bytes += bytes;
        }
    }

    /// The row of the receive table.
    pub(crate) fn row(&self, tunnel: DownTunnel) -> Option<&Receive> {
        self.receive.get(&tunnel)
    }

    /// Marks all symbols of a control as left from an earlier session.
    pub(crate) fn mark_stale(&mut self, peer: PeerId) {
        for (_, symbol) in self.symbols.range_mut(symbols_of(peer)) {
            symbol.stale = true;
        }
    }

    /// All symbols by control and number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, SymbolId, &Symbol)> {
        self.symbols.iter().map(|((peer, id), symbol)| (*peer, *id, symbol))
    }

    /// The symbols of a control that `which` picks.
    pub(crate) fn of_peer(&self, peer: PeerId, which: impl Fn(&Symbol) -> bool) -> Vec<SymbolId> {
        let symbols = self.symbols.range(symbols_of(peer));
        symbols.filter(|(_, symbol)| which(symbol)).map(|((_, id), _)| *id).collect()
    }

    /// How many symbols a control has, refused ones included.
    pub(crate) fn count(&self, peer: PeerId) -> usize {
        self.symbols.range(symbols_of(peer)).count()
    }

    /// The controls that have a symbol of the port, each once.
    pub(crate) fn controls(&self, port: PortId) -> Vec<PeerId> {
        self.controls_with(|symbol| symbol.port() == Some(port))
    }

    /// The controls that have a symbol that `which` picks, each once.
    pub(crate) fn controls_with(&self, which: impl Fn(&Symbol) -> bool) -> Vec<PeerId> {
        let mut peers: Vec<_> =
            self.iter().filter(|(.., symbol)| which(symbol)).map(|(peer, ..)| peer).collect();
        peers.dedup();
        peers
    }

    /// Whether a control has a symbol of the port.
    pub(crate) fn has(&self, peer: PeerId, port: PortId) -> bool {
        self.symbols.range(symbols_of(peer)).any(|(_, symbol)| symbol.port() == Some(port))
    }
}

fn symbols_of(peer: PeerId) -> core::ops::RangeInclusive<(PeerId, SymbolId)> {
    (peer, SymbolId(0))..=(peer, SymbolId(u32::MAX))
}

fn unused(last: &mut u32, taken: &FxHashMap<DownTunnel, Receive>) -> DownTunnel {
    loop {
        *last = last.wrapping_add(1).max(1);
        if !taken.contains_key(&DownTunnel(*last)) {
            return DownTunnel(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId(1);
    const SYMBOL: SymbolId = SymbolId(7);
    const PORT: PortId = PortId(1);

    #[test]
    fn a_tunnel_needs_a_grant_of_that_port() {
        let mut symbols = Symbols::default();
        assert_eq!(symbols.allot(PEER, SYMBOL, PORT), None);
        assert!(symbols.grant(PEER, SYMBOL, PORT));
        assert_eq!(symbols.allot(PEER, SYMBOL, PortId(2)), None);
        assert_eq!(symbols.allot(PeerId(2), SYMBOL, PORT), None);
        assert_eq!(symbols.allot(PEER, SYMBOL, PORT), Some(DownTunnel(1)));
        assert_eq!(symbols.allot(PEER, SYMBOL, PORT), Some(DownTunnel(1)), "the same on asking again");
    }

    #[test]
    fn a_tunnel_is_its_owners_only_and_goes_with_the_symbol() {
        let mut symbols = Symbols::default();
        assert!(symbols.grant(PEER, SYMBOL, PORT));
        let tunnel = symbols.allot(PEER, SYMBOL, PORT).unwrap();
        assert_eq!(symbols.receive(PEER, tunnel, 60), Some(PORT));
        assert_eq!(symbols.receive(PeerId(2), tunnel, 60), None);
        assert_eq!(symbols.row(tunnel).unwrap().packets, 1);
        assert!(symbols.remove(PEER, SYMBOL).is_some());
        assert_eq!(symbols.receive(PEER, tunnel, 60), None);
    }

    #[test]
    fn granting_again_keeps_the_tunnel_and_another_port_drops_it() {
        let mut symbols = Symbols::default();
        let _ = symbols.grant(PEER, SYMBOL, PORT);
        let tunnel = symbols.allot(PEER, SYMBOL, PORT).unwrap();
        symbols.mark_stale(PEER);
        assert!(!symbols.grant(PEER, SYMBOL, PORT));
        assert_eq!(symbols.of_peer(PEER, |symbol| symbol.stale), []);
        assert_eq!(symbols.allot(PEER, SYMBOL, PORT), Some(tunnel));
        assert!(symbols.grant(PEER, SYMBOL, PortId(2)));
        assert_eq!(symbols.receive(PEER, tunnel, 60), None);
        assert_eq!(symbols.controls(PORT), []);
        assert_eq!(symbols.controls(PortId(2)), [PEER]);
    }

    #[test]
    fn ids_wrap_past_zero_and_past_those_in_use() {
        let mut symbols = Symbols::default();
        let _ = symbols.grant(PEER, SYMBOL, PORT);
        assert_eq!(symbols.allot(PEER, SYMBOL, PORT), Some(DownTunnel(1)));
        symbols.last = u32::MAX - 1;
        for (id, expected) in [(8, u32::MAX), (9, 2)] {
            let _ = symbols.grant(PEER, SymbolId(id), PORT);
            assert_eq!(symbols.allot(PEER, SymbolId(id), PORT), Some(DownTunnel(expected)));
        }
    }
}
