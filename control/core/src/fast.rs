//! What the fast path is told: decisions that hold for more packets than one, until the rules change.
//!
//! [`Control::changes`] counts what may make another decision of such a packet. The rule of a flow does not: when it comes there is no
//! decision yet about its packets; and when it goes its socket has gone, and the number of its tunnel rests for longer than the fast
//! path remembers it (`receive_table`).

use crate::Control;
use crate::parcels::place;
use crate::return_path::conversation;
use crate::symbol::Symbol;
use frames::data::OffloadHeader;
use frames::inet::{Ip, Layer3, Transport, classify};
use frames::message::Message;
use frames::protocol_address::ETHERTYPE_ALL;
use frames::{ProtocolAddress, SymbolId, UpTunnel};
use l2link::Time;
use l2link::fast::{FastFlow, FastTraffic, FastWay, Flow};

impl Control {
    /// How often decisions about packets may have changed.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.tables.changes
    }

    pub(crate) fn note_change(&mut self) {
        self.tables.changes = self.tables.changes.wrapping_add(1);
    }

    /// The flow of a parcel that [`Control::handle_symbol_parcel`] has just sent, and where: the same holds for each of its
    /// packets that neither opens nor resets a connection.
    #[must_use]
    pub fn fast_flow(&self, symbol: SymbolId, parcel: &[u8]) -> Option<FastFlow> {
        let view = classify(parcel.get(size_of::<OffloadHeader>()..)?).ok()?;
        let Layer3::Ip(Ip { fragment: None, transport: Transport::Ports { tcp, .. }, .. }) = view.layer3
        else {
            return None;
        };
        let key = conversation(&view).filter(|_| !tcp.opens() && !tcp.resets())?;
        let symbol = self.symbol(symbol).filter(|symbol| symbol.may_be_fast())?;
        let way = FastWay { peer: symbol.rules.grant()?.peer, tunnel: symbol.down_tunnel?.into() };
        let flow = Flow {
            protocol: key.protocol,
            source: (key.local, key.local_port),
            destination: (key.remote, key.remote_port),
        };
        Some(FastFlow::new(flow, way, parcel))
    }

    /// Whether packets of known flows may go to and from a symbol the fast way.
    #[must_use]
    pub fn may_be_fast(&self, symbol: SymbolId) -> bool {
        self.symbol(symbol).is_some_and(Symbol::may_be_fast)
    }

    /// Counts what went down the fast way.
    pub fn handle_fast_sent(&mut self, way: FastWay, traffic: &FastTraffic) {
        self.link.count_fast_sent(traffic);
        let ours = |symbol: &&mut Symbol| {
            symbol.down_tunnel.map(Into::into) == Some(way.tunnel)
                && symbol.rules.grant().is_some_and(|grant| grant.peer == way.peer)
        };
        if let Some(symbol) = self.symbols.iter_mut().find(ours) {
            symbol.sent.add_all(traffic.packets, traffic.bytes);
        }
    }

    /// Counts what came up the fast way, as of now.
    pub fn handle_fast_received(&mut self, way: FastWay, traffic: &FastTraffic, now: Time) {
        self.link.count_fast_received(traffic);
        let Some(rule) = self.tables.receive.get_mut(UpTunnel(way.tunnel.0)) else { return };
        rule.packets += traffic.packets;
        rule.bytes += traffic.bytes;
        rule.last_used = now;
        let symbol = rule.symbol;
        if let Some(symbol) = place(&self.symbols, symbol).and_then(|place| self.symbols.get_mut(place)) {
            symbol.received.add_all(traffic.packets, traffic.bytes);
        }
    }
}

impl Symbol {
    /// Not with a packet socket for all frames: it is shown what leaves as well, which the fast path takes before; and on all interfaces
    /// it would see what arrives where it comes from, too.
    fn may_be_fast(&self) -> bool {
        let tap = ProtocolAddress::EtherType(ETHERTYPE_ALL);
        self.config.translation.is_none() && !self.rules.contains(&tap)
    }
}

/// Whether a message tells of a change that matters here. Of a rule that is deleted the message does not tell what it was.
pub(crate) fn is_change(message: &Message<'_>) -> bool {
    match message {
        Message::RuleAdd(add) => !matches!(add.protocol_address, ProtocolAddress::Flow { .. }),
        Message::RuleDelete(_) => false,
        _ => true,
    }
}
