//! Another configuration, taken over while the relay runs.
//!
//! # Theory of operation
//! Only what differs is touched. A port that is offered no more goes with the symbols, rules and addresses that controls had of
//! it, and with the routes by hand that led by it; a new one has an id that no port had before. Where only the conditions are
//! others, everything that controls have is judged by the new ones. What they may not have any more is taken back with an
//! answer that nobody asked for, of request 0, which says why, as if they had asked just now; the rest stays as it is,
//! down to the tables that share flows out. At the end a `NOTICE` has them ask again for what was refused to them: of that
//! the relay keeps no list.

use crate::action::Event;
use crate::config::PortConfig;
use crate::fib::FibConfig;
use crate::relay::Relay;
use crate::rule::Rule;
use frames::message::{Message, Notice, PortReply, RuleAdd, Status};
use frames::route::RouteKey;
use frames::{PortId, RequestId, SymbolId};
use l2link::{PeerId, PeerState};

/// A symbol that lost its port, and the port's name.
type Withdrawn = (PeerId, SymbolId, String);

impl Relay {
    /// Offers these ports from now on, on these conditions, and holds routes as `fib` says. New ports are offered behind
    /// those that there are, in the order of the list; the shell is to tell what they are like.
    pub fn reconfigure(&mut self, ports: &[PortConfig], fib: FibConfig) {
        let offers = self.config.ports != ports;
        self.note_change();
        self.given.set_hold(fib.hold);
        self.fib.configure(fib.clone());
        self.config.fib = fib;
        self.config.ports = ports.to_vec();
        if !offers {
            return;
        }
        let mut withdrawn = self.retire_ports(ports);
        for config in ports {
            match self.ports.by_name(&config.interface) {
                Some(known) if known.config == *config => {}
                Some(known) => {
                    let id = known.id;
                    self.ports.configure(id, config.clone());
                    self.dispatch.configure(id, Some(config.clone()));
                }
                None => {
                    let id = self.ports.add(config.clone());
                    self.dispatch.configure(id, Some(config.clone()));
                    log::info!(target: "relay::port", "port {} is offered", config.interface);
                }
            }
        }
        withdrawn.extend(self.withdraw_ports());
        self.refuse_withdrawn(withdrawn);
        self.withdraw_rules();
        self.given.permit_again(&self.ports);
        self.fib.permit_again(&self.ports);
        self.ask_for_requests();
        self.ask_for_flows();
        self.answer_routes();
        self.refresh_captures();
    }

    /// Takes the ports out that are not in the list.
    fn retire_ports(&mut self, wanted: &[PortConfig]) -> Vec<Withdrawn> {
        let is_wanted = |name: &str| wanted.iter().any(|config| config.interface == name);
        let gone: Vec<(PortId, String)> = self
            .ports
            .iter()
            .filter(|port| !is_wanted(port.name()))
            .map(|port| (port.id, port.name().to_owned()))
            .collect();
        let mut withdrawn = Vec::new();
        for (id, name) in gone {
            withdrawn.extend(self.take_symbols(|_, port| port == id));
            let leads = |hop: &l2link::route_text::NexthopText| hop.dev == name;
            let led = self.fixed.iter().filter(|(_, text)| text.nexthops.iter().any(leads));
            let led: Vec<RouteKey> = led.map(|(key, _)| *key).collect();
            for key in led {
                self.fixed.remove(&key);
                self.fib.delete_by_hand(key);
            }
            if let Some(port) = self.ports.get(id) {
                self.given.retire(port);
            }
            self.order_addresses();
            self.captures.remove(&id);
            self.ports.retire(id);
            self.dispatch.configure(id, None);
            log::info!(target: "relay::port", "port {name} is offered no more");
        }
        withdrawn
    }

    /// Takes ports from controls that may not have them any more.
    fn withdraw_ports(&mut self) -> Vec<Withdrawn> {
        let may_not: Vec<(PeerId, PortId)> = self
            .symbols
            .iter()
            .filter_map(|(peer, _, symbol)| Some((peer, symbol.port()?)))
            .filter(|(peer, port)| {
                let control = self.control_name(*peer);
                self.ports.get(*port).is_some_and(|port| !port.config.permits(control))
            })
            .collect();
        self.take_symbols(|peer, port| may_not.contains(&(peer, port)))
    }

    /// Takes symbols with all that goes with them, and says which.
    fn take_symbols(&mut self, which: impl Fn(PeerId, PortId) -> bool) -> Vec<Withdrawn> {
        let taken: Vec<Withdrawn> = self
            .symbols
            .iter()
            .filter_map(|(peer, id, symbol)| Some((peer, id, symbol.port()?)))
            .filter(|(peer, _, port)| which(*peer, *port))
            .map(|(peer, id, port)| (peer, id, self.port_name(port).to_owned()))
            .collect();
        for (peer, id, name) in &taken {
            self.give_up_symbol(*peer, *id);
            self.refusals.retain(|(control, _), row| control != peer || row.port != *name);
        }
        taken
    }

    /// Says to controls why they have lost a port.
    fn refuse_withdrawn(&mut self, withdrawn: Vec<Withdrawn>) {
        for (peer, symbol, name) in withdrawn {
            let Err((status, text)) = self.permit_port(peer, &name) else { continue };
            let control = self.control_name(peer);
            log::warn!(target: "relay::symbol", "{symbol} of {control}: port {name} is taken back: {text}");
            self.symbols.refuse(peer, symbol, &name, status, &text);
            self.tell_refused(peer, symbol);
            let reply = PortReply {
                request: UNASKED,
                symbol,
                status,
                port: PortId(0),
                text: &text,
                attributes: None,
            };
            self.link.send_message(peer, &Message::PortReply(reply));
        }
    }

    /// Takes rules from controls that may not have them any more.
    fn withdraw_rules(&mut self) {
        let peers: Vec<PeerId> = self.controls.keys().copied().collect();
        for peer in peers {
            let control = self.control_name(peer);
            let refusal = |rule: &Rule| {
                let port = self.ports.get(rule.port)?;
                Some((rule.clone(), self.permit_rule(control, port, &rule.protocol_address).err()?))
            };
            let refused: Vec<_> = self.dispatch.of_peer(peer).filter_map(refusal).collect();
            for (Rule { tunnel, symbol, port, protocol_address, weight, .. }, refusal) in refused {
                let add = RuleAdd { request: UNASKED, symbol, port, tunnel, weight, protocol_address };
                self.answer_rule(peer, &add, Err(refusal));
            }
        }
    }

    /// Has the controls ask again for what was refused to them.
    fn ask_for_requests(&mut self) {
        let up = self.link.peers().into_iter().filter(|peer| peer.state == PeerState::Up);
        let up: Vec<PeerId> =
            up.map(|peer| peer.peer).filter(|peer| self.controls.contains_key(peer)).collect();
        self.have_ask_again(up, "its configuration is another one now");
        let rows: Vec<_> = self.ports.iter().map(|port| self.port_row(port)).collect();
        rows.into_iter().for_each(|row| self.tell(Event::PortChanged(row)));
    }

    /// Tells these controls why it may be worth while to ask again.
    pub(crate) fn have_ask_again(&mut self, controls: Vec<PeerId>, text: &str) {
        for peer in controls {
            self.link.send_message(peer, &Message::Notice(Notice { status: Status::OK, text }));
        }
    }

    /// Longest silence towards peers, and how many of theirs mean that contact is lost. In force with the next frame.
    pub fn set_liveness(&mut self, keepalive: core::time::Duration, missed: u32) {
        self.link.set_liveness(keepalive, missed);
    }

    /// In mode `keys` these controls may come from now on ([`l2link::Link::set_peers`]).
    pub fn set_peers(&mut self, peers: &[(String, l2link::PublicKey)], now: l2link::Time) {
        self.link.set_peers(peers, now);
    }
}

/// The request of an answer that nobody asked for.
const UNASKED: RequestId = RequestId(0);
