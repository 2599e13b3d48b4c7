//! Grants of ports (M3) and their down tunnels (M4).

use crate::action::Event;
use crate::relay::Relay;
use crate::show::SymbolRow;
use crate::symbol::SYMBOLS_PER_CONTROL;
use frames::message::{Message, PortReply, PortRequest, Status, TunnelReply, TunnelRequest};
use frames::{DownTunnel, PortId, SymbolId};
use l2link::PeerId;

/// A refusal with its reason for a human.
pub(crate) type Refusal = (Status, String);

impl Relay {
    pub(crate) fn port_request(&mut self, peer: PeerId, request: &PortRequest<'_>) {
        match self.grant(peer, request) {
            Ok(id) => {
                if self.symbols.port(peer, request.symbol).is_some_and(|known| known != id) {
                    self.give_up_symbol(peer, request.symbol);
                }
                if self.symbols.grant(peer, request.symbol, id) {
                    let (control, port) = (self.control_name(peer), request.name);
                    log::info!(target: "relay::symbol", "{} of {control} is up: port {port}", request.symbol);
                    self.tell_symbol(peer, request.symbol, Event::SymbolUp);
                }
                self.given.granted(peer, id);
                let Some(port) = self.ports.get(id) else { return };
                self.link.send_message(
                    peer,
                    &Message::PortReply(PortReply {
                        request: request.request,
                        symbol: request.symbol,
                        status: Status::OK,
                        port: id,
                        text: "",
                        attributes: Some(port.attributes()),
                    }),
                );
            }
            Err((status, text)) => {
                log::warn!(target: "relay::symbol", "{} of {} refused: {text}", request.symbol, self.control_name(peer));
                self.give_up_symbol(peer, request.symbol);
                self.symbols.refuse(peer, request.symbol, request.name, status, &text);
                self.tell_symbol(peer, request.symbol, Event::SymbolRefused);
                self.link.send_message(
                    peer,
                    &Message::PortReply(PortReply {
                        request: request.request,
                        symbol: request.symbol,
                        status,
                        port: PortId(0),
                        text: &text,
                        attributes: None,
                    }),
                );
            }
        }
    }

    fn grant(&self, peer: PeerId, request: &PortRequest<'_>) -> Result<PortId, Refusal> {
        let id = self.permit_port(peer, request.name)?;
        let (relay, control) = (&self.config.name, self.control_name(peer));
        let fresh = self.symbols.port(peer, request.symbol).is_none();
        if fresh && self.symbols.count(peer) >= SYMBOLS_PER_CONTROL {
            let text =
                format!("control {control} has {SYMBOLS_PER_CONTROL} symbols at relay {relay} already");
            return Err((Status::TABLE_FULL, text));
        }
        Ok(id)
    }

    /// The interface permission list decides.
    pub(crate) fn permit_port(&self, peer: PeerId, name: &str) -> Result<PortId, Refusal> {
        let (relay, control) = (&self.config.name, self.control_name(peer));
        let port = self.ports.by_name(name).ok_or_else(|| {
            let offered: Vec<_> = self.ports.iter().map(|port| port.name()).collect();
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            (Status::NO_SUCH_PORT, format!("relay {relay} does not offer port {name}; it offers {offered}"))
        })?;
        if !port.config.permits(control) {
            return Err((
                Status::NOT_PERMITTED,
                format!(
                    "relay {relay} does not permit port {name} to control {control}; in the relay's configuration, \
                     below its [[port]] interface = \"{name}\", add: [[port.allow]] control = \"{control}\""
                ),
            ));
        }
        Ok(port.id)
    }

    pub(crate) fn tunnel_request(&mut self, peer: PeerId, request: &TunnelRequest) {
        // A symbol with a tunnel is one of kind interface.
        self.drop_translation(peer, request.symbol);
        let tunnel = self.symbols.allot(peer, request.symbol, request.port);
        let status = if tunnel.is_some() { Status::OK } else { Status::BAD_REQUEST };
        self.link.send_message(
            peer,
            &Message::TunnelReply(TunnelReply {
                request: request.request,
                symbol: request.symbol,
                port: request.port,
                tunnel: tunnel.unwrap_or(DownTunnel(0)),
                status,
            }),
        );
    }

    /// A control does not want a symbol any more: as [`Relay::release_symbol`], with the addresses that it gave the port.
    pub(crate) fn give_up_symbol(&mut self, peer: PeerId, id: SymbolId) {
        let port = self.symbols.port(peer, id);
        self.release_symbol(peer, id);
        if let Some(port) = port
            && !self.symbols.has(peer, port)
        {
            self.given.withdraw(peer, port);
        }
    }

    /// Takes a symbol back, with its tunnel, its rules, and the memberships that go with it.
    pub(crate) fn release_symbol(&mut self, peer: PeerId, id: SymbolId) {
        let Some(symbol) = self.symbols.remove(peer, id) else { return };
        let Some(port) = symbol.port() else { return };
        self.drop_translation(peer, id);
        self.forget_routed(peer, id);
        for rule in self.dispatch.remove_where(peer, |rule| rule.symbol == id) {
            self.deleted(&rule);
        }
        if !self.symbols.has(peer, port) {
            for (port, group) in self.memberships.remove_where(peer, |known, _| known == port) {
                self.left(port, group);
            }
        }
        let (control, name) = (self.control_name(peer), self.port_name(port));
        log::info!(target: "relay::symbol", "{id} of {control} is down: port {name}");
        let row = SymbolRow { state: "down", ..self.symbol_row(peer, id, &symbol) };
        self.tell(Event::SymbolDown(row));
    }

    pub(crate) fn tell_refused(&mut self, peer: PeerId, id: SymbolId) {
        self.tell_symbol(peer, id, Event::SymbolRefused);
    }

    fn tell_symbol(&mut self, peer: PeerId, id: SymbolId, event: fn(SymbolRow) -> Event) {
        let row = self.symbols.get(peer, id).map(|symbol| self.symbol_row(peer, id, symbol));
        if let Some(row) = row {
            self.tell(event(row));
        }
    }
}
