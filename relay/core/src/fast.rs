//! What the fast path is told: decisions that hold for more packets than one, until the tables change.
//!
//! [`Relay::changes`] counts what may make another decision of such a packet: what controls and operators say, ports, addresses, and
//! time where it moves flows. Routes do not, nor does what packets leave behind in the tables; and a rule for one flow concerns
//! that one only ([`Action::ForgetFlow`]).

use crate::action::Action;
use crate::dispatch::Target;
use crate::police::PuntClass;
use crate::punt::Arrival;
use crate::relay::Relay;
use crate::rule::Rule;
use frames::inet::{Ip, Layer3, Transport};
use frames::{DownTunnel, Mac, PortId, ProtocolAddress, UpTunnel};
use l2link::fast::{FastFlow, FastTraffic, FastWay, Flow};

impl Relay {
    /// How often the tables changed.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.changes
    }

    pub(crate) fn note_change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// A rule comes, changes or goes. Rules of flows do so with each connection that a program begins, and must not have all others
    /// be decided about anew.
    pub(crate) fn note_rule(&mut self, rule: &Rule) {
        let ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } =
            rule.protocol_address
        else {
            return self.note_change();
        };
        let flow = Flow { protocol, source: (remote, remote_port), destination: (local, local_port) };
        self.actions.push_back(Action::ForgetFlow { port: rule.port, flow });
    }

    /// The flow of the parcel that [`Relay::handle_port_parcel`] has just sent, and where: the same holds for each of its packets
    /// that neither opens nor resets a connection. `None` if it has more receivers than one, a rate, or another address.
    #[must_use]
    pub fn fast_flow(&self, arrival: &Arrival, parcel: &[u8]) -> Option<FastFlow> {
        let view = arrival.view.ok()?;
        let Layer3::Ip(Ip { protocol, source, destination, fragment: None, transport, .. }) = view.layer3
        else {
            return None;
        };
        let Transport::Ports { source: source_port, destination: destination_port, tcp } = transport else {
            return None;
        };
        let lasts =
            !tcp.opens() && !tcp.resets() && view.destination == self.ports.get(arrival.port)?.state.mac;
        let target = self.targets.sole().filter(|_| lasts && self.class == PuntClass::Transport)?;
        let way = self.fast_way(&target)?;
        let flow =
            Flow { protocol, source: (source, source_port), destination: (destination, destination_port) };
        Some(FastFlow::new(flow, way, parcel))
    }

    /// Number, address and MTU of a port's interface, while it is there.
    #[must_use]
    pub fn port_interface(&self, port: PortId) -> Option<(u32, Mac, usize)> {
        let port = self.ports.get(port).filter(|port| port.is_up())?;
        Some((port.state.ifindex, port.state.mac, usize::try_from(port.state.mtu).ok()?))
    }

    /// The way of all packets to a target, if they need nothing else.
    fn fast_way(&self, target: &Target) -> Option<FastWay> {
        let control = self.controls.get(&target.peer)?;
        let plain = control.police.is_unlimited(PuntClass::Transport)
            && self.translations.get(target.peer, target.symbol).is_none();
        plain.then_some(FastWay { peer: target.peer, tunnel: target.tunnel.into() })
    }

    /// Counts what went up the fast way.
    pub fn handle_fast_sent(&mut self, way: FastWay, traffic: &FastTraffic) {
        self.link.count_fast_sent(traffic);
        self.dispatch.count_all(way.peer, UpTunnel(way.tunnel.0), traffic.packets, traffic.bytes);
        if let Some(control) = self.controls.get_mut(&way.peer) {
            control.police.pass(PuntClass::Transport, traffic.packets);
        }
    }

    /// Counts what came down the fast way.
    pub fn handle_fast_received(&mut self, way: FastWay, traffic: &FastTraffic) {
        self.link.count_fast_received(traffic);
        self.symbols.count_all(way.peer, DownTunnel(way.tunnel.0), traffic.packets, traffic.bytes);
    }
}
