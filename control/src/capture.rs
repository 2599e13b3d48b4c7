//! What captures see: packets at the symbols, and in the tunnels.

use crate::daemon::Daemon;
use control_core::{Control, Recorded, SymbolConfig};
use frames::discovery::Role;
use frames::{DropReason, SymbolId};
use l2link_os::api::{ApiServer, Request, Verb};
use l2link_os::capture::{Captures, Direction, Handling, Offer, Side, Sighting};

/// What became of a parcel that came from the link.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It was written to the symbol's interface, which may have refused it.
    Delivered {
        symbol: SymbolId,
        parcel: Vec<u8>,
        refused: bool,
    },
    /// It is in the queues of open files.
    Queued,
    /// Nothing that concerns captures.
    Nothing,
    Dropped(DropReason),
}

impl Daemon {
    /// Serves a request for a capture. Returns whether it was one.
    pub(crate) fn serve_capture(&mut self, request: &Request) -> bool {
        if request.verb() != Some(Verb::Capture) {
            return false;
        }
        let places = self.control.symbol_configs().map(|(_, config)| side(config)).collect();
        let peers = self.control.link().peers().into_iter().map(|peer| peer.name).collect();
        let offer = Offer { role: Role::Control, device: &self.name, places, peers };
        self.captures.begin(&mut self.api, request, &offer);
        if self.captures.is_active() {
            self.control.keep_passages();
        }
        true
    }

    /// Sends what the captures have, and ends those that are over.
    pub(crate) fn serve_captures(&mut self) {
        if !self.captures.is_active() {
            return;
        }
        self.captures.serve(&mut self.api);
        if !self.captures.is_active() {
            self.control.drop_passages();
        }
    }
}

/// A program has sent a parcel through a symbol, if anybody wants to know.
pub(crate) fn sent(
    captures: &Captures,
    control: &Control,
    symbol: SymbolId,
    parcel: &[u8],
) -> Option<Handling> {
    let (mut handling, config) = (captures.handling()?, control.symbol_config(symbol)?);
    handling.set_place(&config.name);
    handling.came(Sighting::new(side(config), Direction::Outbound, parcel));
    Some(handling)
}

/// The end of a parcel that a program sent.
pub(crate) fn end_sent(
    mut handling: Handling,
    dropped: Option<DropReason>,
    control: &mut Recorded,
    captures: &mut Captures,
    api: &mut ApiServer,
) {
    collect(&mut handling, control);
    if let Some(reason) = dropped {
        handling.dropped(reason);
    }
    captures.record(api, &handling);
}

/// The end of a parcel that came from the link.
pub(crate) fn end_received(
    mut handling: Handling,
    fate: Fate,
    control: &mut Recorded,
    captures: &mut Captures,
    api: &mut ApiServer,
) {
    let queued = collect(&mut handling, control);
    let mut goes = |control: &Control, symbol, parcel: &[u8]| {
        if let Some(config) = control.symbol_config(symbol) {
            handling.set_place(&config.name);
            handling.went(Sighting::new(side(config), Direction::Inbound, parcel));
        }
    };
    match fate {
        Fate::Delivered { symbol, parcel, refused } => {
            goes(control, symbol, &parcel);
            if refused {
                handling.refused(DropReason::SymbolTxError);
            }
        }
        Fate::Queued => {
            if let Some((symbol, parcel)) = queued {
                goes(control, symbol, &parcel);
            }
        }
        Fate::Nothing => {}
        Fate::Dropped(reason) => handling.dropped(reason),
    }
    captures.record(api, &handling);
}

/// A program has written to a file: what was sent is what it wrote, behind an Ethernet header.
pub(crate) fn written(captures: &mut Captures, control: &mut Recorded, api: &mut ApiServer) {
    let Some(mut handling) = captures.handling() else { return };
    if let Some((symbol, parcel)) = collect(&mut handling, control)
        && let Some(config) = control.symbol_config(symbol)
    {
        handling.came(Sighting::new(side(config), Direction::Outbound, &parcel));
        captures.record(api, &handling);
    }
}

/// Adds what passed through the link meanwhile. Returns the last of it, with its symbol.
fn collect(handling: &mut Handling, control: &mut Recorded) -> Option<(SymbolId, Vec<u8>)> {
    let mut last = None;
    while let Some((passage, symbol)) = control.poll_passage() {
        let config = symbol.and_then(|symbol| control.symbol_config(symbol));
        config.into_iter().for_each(|config| handling.set_place(&config.name));
        let peer = control.peer_name(passage.peer).to_owned();
        let side = Side::Tunnel { peer, port: config.map(|config| config.port.clone()) };
        handling.passed(side, &passage);
        last = symbol.map(|symbol| (symbol, passage.parcel));
    }
    last
}

fn side(config: &SymbolConfig) -> Side {
    Side::Symbol { name: config.name.clone(), netns: config.netns.clone() }
}
