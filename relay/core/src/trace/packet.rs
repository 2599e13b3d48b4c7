//! A packet at a port.

use super::{Question, Trace};
use crate::config::Unmatched;
use crate::dispatch::{Cause, Decision, Ends, Sought, Standing, Target, Targets};
use crate::police::{Limit, PuntClass};
use crate::port::Port;
use crate::relay::Relay;
use crate::select::{Left, Selector};
use crate::show::{port_state, protocol_text};
use frames::DropReason;
use frames::inet::{IcmpInner, Ip, Layer3, PacketView, Transport};
use l2link::by_hand::list;
use l2link::trace::Outcome::{Dropped, Kept, Passes, Sent};
use l2link::trace::Stage::{Dispatch, Kernel, Police, Port as AtPort, Session, Tunnel};
use l2link::trace::{Hop, Outcome, Stage};
use l2link::trace_text::PacketText;
use l2link::{PeerState, Time};

impl Relay {
    pub(super) fn trace_packet(&self, packet: &PacketText, now: Time) -> Result<Trace, String> {
        let port = self.port_of(packet)?;
        let view = packet.view(port.state.mac);
        let mut trace = Trace { hops: Vec::new(), way: None };
        let name = format!("port {} of {}", port.name(), self.config.name);
        let state = port_state(port.state.flags);
        if !port.is_up() {
            let hop = Hop::new(AtPort, Dropped, format!("{packet}: {name} is {state}"));
            trace.hops.push(hop.because(DropReason::PortDown));
            return Ok(trace);
        }
        let mut targets = Targets::default();
        let mut selector = Selector {
            link_ethertype: self.config.ethertype,
            ports: &self.ports,
            dispatch: &self.dispatch,
            memberships: &self.memberships,
            targets: &mut targets,
            sought: None,
            decision: None,
        };
        let arrives =
            |outcome, text: &str| Hop::new(AtPort, outcome, format!("{packet} at {name}, {state}: {text}"));
        if let Err(left) = selector.check_for_port(port, &view) {
            let (outcome, text) = self.not_for_port(left, port, &view);
            trace.hops.push(arrives(outcome, &text).because(left.reason()));
            if left == Left::Transit {
                trace.way = question(&view, port);
            }
            return Ok(trace);
        }
        let selected = selector.select(port, &view);
        let decision = selector.decision;
        trace.hops.push(arrives(Passes, &self.addressed(port, &view)));
        if let Some((decision, sought)) = decision.zip(self.sought(port, &view)) {
            trace.hops.push(self.trace_decision(&decision, &sought, &view));
        }
        match selected {
            Ok(class) => {
                for target in targets.iter() {
                    let is_decided = decision.is_some_and(|decision| decision.target == Some(*target));
                    self.trace_upward(target, is_decided, class, &view, now, &mut trace.hops);
                }
            }
            Err(left) => trace.hops.extend(self.trace_left(left, port, &view)),
        }
        Ok(trace)
    }

    /// The port that is meant.
    fn port_of(&self, packet: &PacketText) -> Result<&Port, String> {
        let names = || self.ports.iter().map(|port| port.name().to_owned()).collect::<Vec<_>>();
        if let Some(name) = &packet.port {
            return self
                .ports
                .by_name(name)
                .ok_or_else(|| format!("there is no port {name}; there {}", list(&names())));
        }
        let destination = packet.ends().map(|(_, destination)| destination);
        let has =
            |port: &&Port| destination.is_some_and(|address| port.addresses().any(|own| own == address));
        let mut all = self.ports.iter();
        match (self.ports.iter().find(has), all.next(), all.next()) {
            (Some(port), ..) | (None, Some(port), None) => Ok(port),
            (None, None, _) => Err("this relay offers no port".to_owned()),
            (None, Some(_), Some(_)) => Err(format!(
                "say at which port it arrives, by \"port NAME\" behind it; there {}",
                list(&names())
            )),
        }
    }

    /// Why a packet for the port is one.
    fn addressed(&self, port: &Port, view: &PacketView) -> String {
        let own = view.destination.is_multicast() || view.destination == port.state.mac;
        match view.layer3 {
            _ if !own => format!("{} is a station that controls stand for", view.destination),
            Layer3::Ip(ip) if port.is_group(&ip.destination) => format!("{} is for a group", ip.destination),
            Layer3::Ip(ip) if self.ports.is_local(port, &ip.destination) => {
                format!("{} is an address of the relay", ip.destination)
            }
            Layer3::Ip(_) => "a DHCP server speaks to a client".to_owned(),
            Layer3::Arp { .. } | Layer3::Other => "it is for whoever listens there".to_owned(),
        }
    }

    fn not_for_port(&self, left: Left, port: &Port, view: &PacketView) -> (Outcome, String) {
        match (left, view.layer3) {
            (Left::Transit, Layer3::Ip(ip)) => {
                (Kept, format!("{} is no address of the relay, so its kernel has it", ip.destination))
            }
            (Left::Link, _) => (Dropped, "frames of the link protocol never go up".to_owned()),
            _ => (
                Dropped,
                format!("{} is not the port's Ethernet address {}", view.destination, port.state.mac),
            ),
        }
    }

    /// What [`Selector`] looks up for the packet's socket.
    fn sought(&self, port: &Port, view: &PacketView) -> Option<Sought> {
        let Layer3::Ip(ip) = view.layer3 else { return None };
        let (protocol, ends) = flow(&ip)?;
        Some(self.dispatch.seek(port.id, protocol, ends))
    }

    /// The decision about its socket.
    fn trace_decision(&self, decision: &Decision, sought: &Sought, view: &PacketView) -> Hop {
        let about = match view.layer3 {
            Layer3::Ip(Ip { transport: Transport::IcmpError(_), .. }) => "the packet that it is about: ",
            _ => "",
        };
        let outcome = if decision.target.is_some() { Passes } else { Outcome::None };
        let rule = decision.target.and_then(|target| self.dispatch.rule(&target));
        let rule = rule.map_or_else(String::new, |rule| format!(" ({})", rule.protocol_address));
        let text = format!("{about}{}{rule}", decision.cause);
        let text = match decision.cause {
            Cause::Unserved | Cause::Flow => text,
            _ => format!("{text}; {} there", self.servers(sought)),
        };
        let hop = Hop::new(Dispatch, outcome, text);
        match decision.target {
            Some(target) => hop.about(self.control_name(target.peer)).by(self.tunnel(&target)),
            None => hop,
        }
    }

    /// Those who listen, in words.
    fn servers(&self, sought: &Sought) -> String {
        let serving = self.dispatch.serving(sought);
        let name = |standing| match standing {
            Standing::Active => "active",
            Standing::Standby => "standby",
            Standing::Draining => "draining",
        };
        let one = |control: &str, standing| format!("{control} is {}", name(standing));
        let all = serving.iter().map(|serving| one(self.control_name(serving.target.peer), serving.standing));
        all.collect::<Vec<_>>().join(", ")
    }

    /// A copy on its way to a control.
    fn trace_upward(
        &self,
        target: &Target,
        is_decided: bool,
        class: PuntClass,
        view: &PacketView,
        now: Time,
        hops: &mut Vec<Hop>,
    ) {
        let (control, tunnel) = (self.control_name(target.peer), self.tunnel(target));
        let hop =
            |stage: Stage, outcome, text: String| Hop::new(stage, outcome, text).about(control).by(tunnel);
        if !is_decided && let Some(rule) = self.dispatch.rule(target) {
            hops.push(hop(
                Dispatch,
                Passes,
                format!("{} has a copy, by {}", target.symbol, rule.protocol_address),
            ));
        }
        let police = self.controls.get(&target.peer).map(|control| control.police.standing(class, now));
        match police {
            None => {
                hops.push(
                    hop(Session, Dropped, "the control is gone".to_owned()).because(DropReason::NoSession),
                );
                return;
            }
            Some((Some(limit), false)) => {
                let text = format!("{} is more than there may be now", rate(class, limit));
                hops.push(hop(Police, Dropped, text).because(DropReason::PuntLimit));
                return;
            }
            Some((Some(limit), true)) => {
                hops.push(hop(Police, Passes, format!("within {}", rate(class, limit))))
            }
            Some((None, _)) => {}
        }
        if let Some(entry) = self.translations.get(target.peer, target.symbol) {
            let (from, to) = (entry.translation.virtual_address, entry.translation.control_address);
            if !matches!(view.layer3, Layer3::Ip(ip) if ip.destination == from) {
                let text = format!("{} is for {from} only", target.symbol);
                hops.push(hop(Tunnel, Dropped, text).because(DropReason::NotTranslated));
                return;
            }
            hops.push(hop(Tunnel, Passes, format!("no tunnel: the destination {from} becomes {to}")));
        } else {
            hops.push(hop(Tunnel, Passes, format!("up tunnel {tunnel} to {}", target.symbol)));
        }
        let peers = self.link.peers();
        let session = peers.iter().find(|info| info.peer == target.peer);
        hops.push(match session {
            Some(info) if info.state == PeerState::Up => {
                let age = (now - info.since).as_secs();
                hop(Session, Sent, format!("{control} at {} is up since {age} s", info.mac))
            }
            Some(_) | None => {
                hop(Session, Dropped, format!("{control} is down")).because(DropReason::NoSession)
            }
        });
    }

    /// What becomes of a packet that goes to no control.
    fn trace_left(&self, left: Left, port: &Port, view: &PacketView) -> Vec<Hop> {
        let mut hops = Vec::new();
        let kernel = |outcome, text: &str| Hop::new(Kernel, outcome, text).because(left.reason());
        let ip = if let Layer3::Ip(ip) = view.layer3 { Some(ip) } else { None };
        match left {
            Left::Service => {
                hops.push(kernel(Kept, "it is of the port's relay_services: a program of the relay has it"));
            }
            Left::Echo => hops.push(kernel(Kept, "the relay's kernel answers echo requests to the port")),
            Left::Neighbor => {
                hops.push(kernel(Kept, "the relay's kernel answers who asks for its addresses"))
            }
            Left::Learning => hops.push(kernel(
                Dropped,
                "who has which connection is being learned: TCP sends the segment again meanwhile",
            )),
            Left::Link | Left::Station | Left::Transit => {}
            Left::Unmatched => {
                if let Some(ip) = &ip {
                    hops.extend(self.trace_refused(port, ip));
                }
                hops.push(self.trace_unmatched(port, ip.as_ref()));
            }
        }
        hops
    }

    fn trace_unmatched(&self, port: &Port, ip: Option<&Ip>) -> Hop {
        let (outcome, text) = match (ip, port.config.unmatched) {
            (None, _) => {
                (Kept, "no control listens for it; the relay's kernel does with it what it does with others")
            }
            (Some(ip), _) if port.is_group(&ip.destination) => {
                (Kept, "no control listens for it; what is for a group the relay's kernel has as well")
            }
            (Some(ip), _) if matches!(ip.protocol, ICMP | IGMP | ICMPV6) => {
                (Kept, "no control has what it is about; ICMP and IGMP stay with the relay's kernel")
            }
            (Some(_), Unmatched::Drop) => {
                let text = "no control listens for it: discarded before the relay's kernel answers, unless it is of a \
                            connection that the relay itself began (unmatched = \"drop\")";
                (Dropped, text)
            }
            (Some(_), Unmatched::Kernel) => {
                let text = "no control listens for it: the relay's programs have it if a socket of theirs is for it, else it is \
                            discarded (unmatched = \"kernel\")";
                (Kept, text)
            }
        };
        Hop::new(Kernel, outcome, text).because(DropReason::Unmatched)
    }

    /// Rules that were refused and would have matched.
    fn trace_refused(&self, port: &Port, ip: &Ip) -> Vec<Hop> {
        let (protocol, local_port) =
            flow(ip).map_or((ip.protocol, None), |(protocol, ends)| (protocol, Some(ends.local.1)));
        let protocol = protocol_text(protocol);
        let any = if ip.destination.is_ipv4() { "0.0.0.0" } else { "::" };
        let rows = self.refusals.values().filter(|row| {
            let fits = row.address == "*" || row.address == any || row.address == ip.destination.to_string();
            row.port == port.name() && row.protocol == protocol && row.port_number == local_port && fits
        });
        rows.map(|row| {
            let reason = row.reason.clone().unwrap_or_default();
            let text = format!(
                "{} asked for {} {}, and was refused: {reason}",
                row.control, row.protocol, row.address
            );
            Hop::new(Stage::Rule, Outcome::Refused, text).about(&*row.control)
        })
        .collect()
    }

    /// The number of its up tunnel; 0 if there is none, of an address symbol.
    fn tunnel(&self, target: &Target) -> u32 {
        let translated = self.translations.get(target.peer, target.symbol).is_some();
        if translated { 0 } else { target.tunnel.0 }
    }
}

/// The flow by which a socket is looked for.
fn flow(ip: &Ip) -> Option<(u8, Ends)> {
    match ip.transport {
        Transport::Ports { source, destination, .. } => {
            Some((ip.protocol, Ends { local: (ip.destination, destination), remote: (ip.source, source) }))
        }
        Transport::Echo { id, .. } => {
            Some((ip.protocol, Ends { local: (ip.destination, id), remote: (ip.source, 0) }))
        }
        Transport::IcmpError(IcmpInner { source, destination, protocol, ports: Some((local, remote)) }) => {
            Some((protocol, Ends { local: (source, local), remote: (destination, remote) }))
        }
        Transport::IcmpError(_)
        | Transport::NeighborSolicitation(_)
        | Transport::NeighborAdvertisement(_)
        | Transport::Icmp(_)
        | Transport::LaterFragment
        | Transport::Other => None,
    }
}

fn question(view: &PacketView, port: &Port) -> Option<Question> {
    let Layer3::Ip(ip) = view.layer3 else { return None };
    let transport = match ip.transport {
        Transport::Ports { source, destination, .. } if matches!(ip.protocol, TCP | UDP) => {
            Some((ip.protocol, source, destination))
        }
        _ => None,
    };
    Some(Question {
        source: Some(ip.source),
        destination: ip.destination,
        arrives: Some(port.state.ifindex),
        transport,
    })
}

fn rate(class: PuntClass, Limit { rate, burst }: Limit) -> String {
    format!("the limit of the class {class}, {rate} packets a second and {burst} at once")
}

const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
