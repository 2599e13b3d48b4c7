//! What the files say that tell of a symbol.

use crate::Control;
use crate::show::{CounterRow, RuleRow, SymbolRow};
use frames::{DropReason, SymbolId};
use l2link::counters::Traffic;
use serde::Serialize;

/// What the files of one symbol got.
#[derive(Debug, Default)]
pub(crate) struct FileCounters {
    /// Packets that were put into queues, copies counted.
    pub(crate) queued: Traffic,
    /// Packets for which a queue had no room.
    pub(crate) full: u64,
    /// Packets for no open file.
    pub(crate) unread: u64,
}

/// What a port is like: the file `attributes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct AttributesRow {
    pub relay: String,
    pub port: String,
    /// `up`, `down`, `waiting` or `refused`.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    pub mac: Option<String>,
    /// Largest packet in bytes, Ethernet header excluded.
    pub mtu: Option<u32>,
    /// In Mb/s; none if that is not known.
    pub speed: Option<u32>,
    pub addresses: Vec<String>,
}

impl Control {
    /// The file `attributes` of a symbol.
    #[must_use]
    pub fn file_attributes(&self, symbol: SymbolId) -> Option<AttributesRow> {
        let symbol = self.symbol(symbol)?;
        let SymbolRow { relay, port, state, reason, mac, mtu, addresses, .. } = SymbolRow::of(symbol);
        let speed = symbol.attributes.as_ref().map(|attributes| attributes.speed);
        let speed = speed.filter(|speed| *speed > 0);
        Some(AttributesRow { relay, port, state, reason, mac, mtu, speed, addresses })
    }

    /// The file `counters` of a symbol.
    #[must_use]
    pub fn file_counters(&self, id: SymbolId) -> Vec<CounterRow> {
        let Some(symbol) = self.symbol(id) else { return Vec::new() };
        let none = FileCounters::default();
        let counted = self.files.counters.get(&id).unwrap_or(&none);
        let open = || self.files.open.values().filter(|file| file.symbol == id);
        let waiting = open().map(|file| file.queue.packets() as u64).sum();
        let waiting_bytes = open().map(|file| file.queue.bytes() as u64).sum();
        let drop = |reason: DropReason| format!("drop.{reason}");
        [
            ("open.files".to_owned(), open().count() as u64),
            ("queued.packets".to_owned(), counted.queued.frames),
            ("queued.bytes".to_owned(), counted.queued.bytes),
            ("waiting.packets".to_owned(), waiting),
            ("waiting.bytes".to_owned(), waiting_bytes),
            ("sent.packets".to_owned(), symbol.sent.frames),
            ("sent.bytes".to_owned(), symbol.sent.bytes),
            (drop(DropReason::FileQueueFull), counted.full),
            (drop(DropReason::NoReader), counted.unread),
        ]
        .map(|(name, value)| CounterRow { name, value })
        .into()
    }

    /// The file `rules` of a symbol.
    #[must_use]
    pub fn file_rules(&self, symbol: SymbolId) -> Vec<RuleRow> {
        let own = self.tables.receive.iter().filter(|(_, rule)| rule.symbol == symbol);
        own.filter_map(|(tunnel, rule)| self.rule_row(tunnel, rule)).collect()
    }
}
