//! The path of packets: from the wire to a symbol and from a symbol to the wire.

use crate::Control;
use crate::files::Files;
use crate::flow::FlowKey;
use crate::relay::Relay;
use crate::return_path::{conversation, return_path};
use crate::rule::Rule;
use crate::seen::SocketPart;
use crate::symbol::Symbol;
use crate::symbol_rules::Tables;
use crate::translation;
use frames::data::{OffloadHeader, Tunnel};
use frames::inet::{Ip, Layer3, PacketView, TcpFlags, Transport, classify};
use frames::session::Stream;
use frames::{DropReason, ProtocolAddress, SymbolId, UpTunnel};
use l2link::{Batch, Counters, Rx, Time};

/// What to do with a frame from the link interface.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum LinkVerdict<'a> {
    /// Write the parcel to the symbol's interface.
    Deliver {
        /// The symbol.
        symbol: SymbolId,
        /// Offload header and Ethernet frame.
        parcel: &'a mut [u8],
    },
    /// It is in the queues of open files: they may have answers ([`Control::poll_file_answer`]).
    Queued,
    /// It was for the link itself: call [`Control::handle_link_events`] after the last frame of the batch.
    Consumed,
    /// Counted already.
    Drop(DropReason),
}

/// What became of a parcel from a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum SymbolVerdict {
    /// It is in the batch.
    Sent,
    /// The batch is too full: send it, then give the same parcel again.
    Flush,
    /// Counted already.
    Drop(DropReason),
}

impl Control {
    /// Takes a frame that arrived on the link interface (fig. 11), and gives the verdict on its first parcel;
    /// [`Control::next_parcel`] gives those on the others.
    pub fn handle_link_frame<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> LinkVerdict<'a> {
        let received = self.link.handle_frame(frame, now);
        let (symbols, files) = (&mut self.symbols, &mut self.files);
        judge(received, &mut self.tables, symbols, &self.relays, files, &mut self.drops, now)
    }

    /// The verdict on the next parcel of the frame that was given to [`Control::handle_link_frame`] just now; `None` if
    /// it holds no more.
    pub fn next_parcel<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> Option<LinkVerdict<'a>> {
        let received = self.link.next_parcel(frame)?;
        let (symbols, files) = (&mut self.symbols, &mut self.files);
        Some(judge(received, &mut self.tables, symbols, &self.relays, files, &mut self.drops, now))
    }

    /// The symbol's interface refused a parcel that was to be delivered.
    pub fn handle_undelivered(&mut self) {
        self.drops.drop(DropReason::SymbolTxError);
    }

    /// Takes a parcel that left through a symbol (fig. 12) and writes it into `batch`, behind the rule that its answers
    /// need. Of an address symbol the source in the parcel is rewritten when it is sent.
    pub fn handle_symbol_parcel(
        &mut self,
        symbol: SymbolId,
        parcel: &mut [u8],
        now: Time,
        batch: &mut Batch,
    ) -> SymbolVerdict {
        let verdict = self.send(symbol, parcel, now, batch);
        match verdict {
            Ok(true) => SymbolVerdict::Sent,
            Ok(false) => SymbolVerdict::Flush,
            Err(reason) => SymbolVerdict::Drop(reason),
        }
    }

    fn send(
        &mut self,
        id: SymbolId,
        parcel: &mut [u8],
        now: Time,
        batch: &mut Batch,
    ) -> Result<bool, DropReason> {
        let index = place(&self.symbols, id);
        let index = index.ok_or(DropReason::NoDownTunnel).inspect_err(|reason| self.drops.drop(*reason))?;
        let symbol = &self.symbols[index];
        let (Some(tunnel), Some(grant)) = (symbol.down_tunnel, symbol.rules.grant()) else {
            self.drops.drop(DropReason::NoDownTunnel);
            return Err(DropReason::NoDownTunnel);
        };
        self.open_return_path(index, parcel, now)?;
        if self.rules_first {
            let _ = self.poll_transmit(batch, now);
        }
        // What still waits now waits for the relay's credit, and has to be waited for no longer.
        if batch.room() < self.link.parcel_frames_max() {
            return Ok(false);
        }
        if let Some(translation) = self.symbols[index].config.translation {
            translation::send(parcel, translation).inspect_err(|reason| self.drops.drop(*reason))?;
        }
        self.link.send_parcel(grant.peer, tunnel.into(), parcel, batch, now)?;
        self.symbols[index].sent.add(frame_len(parcel));
        Ok(true)
    }

    /// Makes the rule that the answers to a parcel need, if there is none yet.
    fn open_return_path(&mut self, index: usize, parcel: &[u8], now: Time) -> Result<(), DropReason> {
        // What cannot be read is sent as it is: the port's neighbors are to judge it.
        let Some(frame) = parcel.get(size_of::<OffloadHeader>()..) else { return Ok(()) };
        let Ok(view) = classify(frame) else { return Ok(()) };
        let symbol = &mut self.symbols[index];
        if let Layer3::Ip(ip) = view.layer3
            && let Transport::Ports { source, .. } = ip.transport
            && !symbol.config.exposure.sends(ip.protocol, source)
        {
            self.drops.drop(DropReason::NotExposed);
            return Err(DropReason::NotExposed);
        }
        let refused = refused(&view);
        if let Some(flow) = refused.filter(|flow| symbol.rules.withholds(flow, &mut self.tables)) {
            self.drops.drop(DropReason::Refusal);
            let namespace = symbol.namespace;
            self.handle_hint(Some(namespace), SocketPart::of_protocol(flow.protocol), now);
            return Err(DropReason::Refusal);
        }
        let Some(flow) = return_path(&view) else { return Ok(()) };
        let known =
            symbol.rules.flow(&flow).or_else(|| symbol.rules.covering_listener(&flow, false, &self.tables));
        if let Some(tunnel) = known {
            if let Some(rule) = self.tables.receive.get_mut(tunnel) {
                rule.last_used = now;
                // Of a flow the socket has to be seen in a dump; a listener has spoken with somebody.
                rule.socket_seen |= matches!(rule.protocol_address, ProtocolAddress::Listener { .. });
            }
            return Ok(());
        }
        let relay = symbol.rules.grant().map(|grant| grant.peer);
        if relay.is_some_and(|relay| self.link.backlog(relay, Stream::Rules) > RULES_WAITING_MAX) {
            self.drops.drop(DropReason::LinkTxFull);
            return Err(DropReason::LinkTxFull);
        }
        if !symbol.config.detect {
            // What of the answers comes is for rules by hand to say.
            return Ok(());
        }
        let namespace = symbol.namespace;
        if !begins_connection(&view)
            && self.namespace_mut(namespace).is_some_and(|place| place.ended.contains(&flow, now))
        {
            return Ok(());
        }
        self.symbols[index].rules.add(flow.rule(), now, &mut self.tables);
        self.watch_flow(namespace, now);
        if matches!(flow.protocol, 17 | 136) {
            // An unconnected datagram socket listens, too: a look finds it, and its rule replaces the flow's.
            if let Some(place) = self.namespace_mut(namespace) {
                place.socket_looks.of(SocketPart::Others).ask(now);
                self.look(now);
            }
        }
        self.flush();
        Ok(())
    }
}

/// Whether a packet asks for a connection of TCP, or agrees to one.
fn begins_connection(view: &PacketView) -> bool {
    let Layer3::Ip(ip) = view.layer3 else { return false };
    matches!(ip.transport, Transport::Ports { tcp, .. } if tcp.flags.contains(TcpFlags::SYN))
}

/// Bytes of rules that may wait for the relay before packets that need another rule are dropped: some 50,000 rules. A
/// program that scans makes them faster than a busy relay takes them, and memory must not pay for it.
const RULES_WAITING_MAX: usize = 4 << 20;

/// Place of a symbol in the list of symbols, which is in the order of their numbers: as long as none was taken out, the one
/// with number n stands at n - 1.
pub(crate) fn place(symbols: &[Symbol], symbol: SymbolId) -> Option<usize> {
    let expected = usize::try_from(symbol.0).ok()?.checked_sub(1)?;
    match symbols.get(expected) {
        Some(found) if found.id == symbol => Some(expected),
        Some(_) | None => symbols.binary_search_by_key(&symbol, |known| known.id).ok(),
    }
}

/// The symbol that a parcel from the link is for.
fn judge<'a>(
    received: Rx<'a>,
    tables: &mut Tables,
    symbols: &mut [Symbol],
    relays: &[Relay],
    files: &mut Files,
    drops: &mut Counters,
    now: Time,
) -> LinkVerdict<'a> {
    let (peer, tunnel, parcel) = match received {
        Rx::Parcel { peer, tunnel, parcel } => (peer, tunnel, parcel),
        Rx::Consumed => return LinkVerdict::Consumed,
        Rx::Drop(reason) => return LinkVerdict::Drop(reason),
    };
    if tunnel == Tunnel::NONE {
        return translation::judge(peer, parcel, tables, symbols, relays, drops, now);
    }
    let owned = tables.receive.get_mut(UpTunnel(tunnel.0)).filter(|rule| {
        // A relay may use the tunnels of its own rules only.
        let symbol = place(symbols, rule.symbol).and_then(|place| symbols.get(place));
        let relay = symbol.and_then(|symbol| relays.get(symbol.relay.0));
        relay.is_some_and(|relay| relay.peer == Some(peer))
    });
    let Some(rule) = owned else {
        drops.drop(DropReason::UnknownTunnel);
        return LinkVerdict::Drop(DropReason::UnknownTunnel);
    };
    if let Err(reason) = take_in(rule, parcel, now) {
        drops.drop(reason);
        return LinkVerdict::Drop(reason);
    }
    let (id, by) = (rule.symbol, rule.protocol_address);
    let symbol = place(symbols, id).and_then(|place| symbols.get_mut(place));
    let is_files = symbol.as_ref().is_some_and(|symbol| symbol.config.files.is_some());
    if is_files && let Err(reason) = files.deliver(id, &by, parcel, drops, now) {
        drops.drop(reason);
        return LinkVerdict::Drop(reason);
    }
    if let Some(symbol) = symbol {
        symbol.received.add(frame_len(parcel));
    }
    if is_files { LinkVerdict::Queued } else { LinkVerdict::Deliver { symbol: id, parcel } }
}

/// Counts a parcel that came by a rule, unless nobody could take it.
pub(crate) fn take_in(rule: &mut Rule, parcel: &[u8], now: Time) -> Result<(), DropReason> {
    if rule.is_shut() && opens(parcel) {
        return Err(DropReason::Refusal);
    }
    rule.packets += 1;
    rule.bytes += frame_len(parcel) as u64;
    rule.last_used = now;
    Ok(())
}

/// Bytes of a parcel's Ethernet frame.
pub(crate) fn frame_len(parcel: &[u8]) -> usize {
    parcel.len().saturating_sub(size_of::<OffloadHeader>())
}

/// Whether a parcel asks for a new connection.
fn opens(parcel: &[u8]) -> bool {
    let view = parcel.get(size_of::<OffloadHeader>()..).and_then(|frame| classify(frame).ok());
    let Some(Layer3::Ip(Ip { transport: Transport::Ports { tcp, .. }, .. })) = view.map(|view| view.layer3)
    else {
        return false;
    };
    tcp.opens()
}

/// The flow of a packet that tells that nobody listens. If a listener was seen there, it has been closed since; and if this
/// packet is lost, the client asks again, and the relay has somebody else by then.
fn refused(view: &PacketView) -> Option<FlowKey> {
    let Layer3::Ip(Ip { transport: Transport::Ports { tcp, .. }, .. }) = view.layer3 else { return None };
    conversation(view).filter(|_| tcp.refuses())
}
