//! The rows of `l2ctl show`. Their keys are stable: other programs read them.

use crate::relay::Relay;
use crate::rule::Rule;
use crate::symbol::{Grant, Symbol};
use frames::message::{PortAddress, PortFlags, Translation};
use frames::protocol_address::{Family, Local, protocol_name};
use frames::{DropReason, ProtocolAddress, SymbolId, UpTunnel};
use l2link::{PeerId, PeerInfo, PeerState, Time};
use serde::Serialize;

/// A row of `show peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerRow {
    /// The peer's name.
    pub name: String,
    /// `control`, or `relay` for a relay heard by this one.
    pub role: String,
    /// Where it was heard last.
    pub mac: String,
    /// `up`, `down` or `refused: ` and the reason.
    pub state: String,
    /// Age of the session in ms; null if there is none.
    pub session_age_ms: Option<u64>,
    /// Smoothed round-trip time in µs; null if unknown.
    pub rtt_us: Option<u64>,
    /// Share of new flows that an operator gave it; null for what it says itself.
    pub weight: Option<u16>,
    /// Whether an operator wants it to get no new flow.
    pub draining: bool,
    /// The key that it proved, in base64; null in other security modes than `keys`, and for who never was up.
    pub public_key: Option<String>,
}

/// The device itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceRow {
    /// Its name, by which others know it.
    pub name: String,
    /// `relay`.
    pub role: &'static str,
    /// The daemon's version.
    pub version: &'static str,
}

/// A row of `show ports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortRow {
    /// Interface name.
    pub name: String,
    /// Id on the link.
    pub id: u32,
    /// Interface index, 0 if it was never seen.
    pub ifindex: u32,
    /// Ethernet address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// `up`, `no-carrier`, `down` or `absent`.
    pub state: &'static str,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Controls that have a symbol of it.
    pub controls: Vec<String>,
    /// Those of `addresses` that controls gave it; null if there are none.
    pub given_addresses: Option<Vec<String>>,
    /// Addresses that controls want it to have in vain, each with its control and the reason; null if there are none.
    pub refused_addresses: Option<Vec<String>>,
    /// The relay's own routes by it, which controls are told; null if there are none.
    pub ways_out: Option<Vec<String>>,
}

/// A row of `show symbols`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SymbolRow {
    /// The control.
    pub control: String,
    /// The control's number of the symbol.
    pub symbol: u32,
    /// The port's name.
    pub port: String,
    /// The down tunnel; null if none was asked for.
    pub down_tunnel: Option<u32>,
    /// The address that it stands for; null for a symbol of kind interface.
    pub virtual_address: Option<String>,
    /// `up`, `refused`, or `down` when it is told of as gone.
    pub state: &'static str,
    /// Why it was refused; null if it was not.
    pub reason: Option<String>,
}

/// A row of `show tunnels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TunnelRow {
    /// `up` or `down`.
    pub direction: &'static str,
    /// The id: allotted by the control if up, by the relay if down.
    pub id: u32,
    /// The control.
    pub peer: String,
    /// The control's number of the symbol.
    pub symbol: u32,
    /// The port's name.
    pub port: String,
    /// What an up tunnel carries; null for a down tunnel.
    pub protocol_address: Option<String>,
    /// Packets that went through it.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
}

/// A row of `show translations`: what is rewritten, of the dispatch table (destinations, up) and of the receive table
/// (sources, down).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TranslationRow {
    /// `dispatch` or `receive`.
    pub table: &'static str,
    /// The control.
    pub control: String,
    /// The control's number of the symbol.
    pub symbol: u32,
    /// The port's name.
    pub port: String,
    /// The rule that a packet up matches; null in the receive table.
    pub protocol_address: Option<String>,
    /// The address that a packet comes with.
    pub from: String,
    /// The address that it goes on with.
    pub to: String,
    /// Packets that were rewritten.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
}

/// A row of `show rules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// The relay.
    pub relay: String,
    /// The port's name.
    pub port: String,
    /// `tcp`, `udp`, another IP protocol by its name or number, or `ethertype`.
    pub protocol: String,
    /// `*`, `0.0.0.0`, `::`, or the local address; the number of an EtherType.
    pub address: String,
    /// Local port; null if the protocol has none.
    pub port_number: Option<u16>,
    /// Remote address and port of a flow; null for others.
    pub remote: Option<String>,
    /// The control.
    pub control: String,
    /// The up tunnel; 0 for an address symbol, whose packets go through none.
    pub up_tunnel: u32,
    /// `active`, `standby` if another control has its new flows, `draining` if it only keeps those that it has, `refused`,
    /// or `closing` if it is told of as gone.
    pub state: &'static str,
    /// Why it was refused; null if it was not.
    pub reason: Option<String>,
}

/// A row of `show counters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CounterRow {
    /// The counter's name.
    pub name: String,
    /// Its value since the start.
    pub value: u64,
}

impl Relay {
    /// Who this is.
    #[must_use]
    pub fn show_device(&self) -> DeviceRow {
        DeviceRow { name: self.config.name.clone(), role: "relay", version: env!("CARGO_PKG_VERSION") }
    }

    /// Every peer that was heard.
    #[must_use]
    pub fn show_peers(&self, now: Time) -> Vec<PeerRow> {
        self.link.peers().iter().map(|peer| self.row_of_peer(peer, now)).collect()
    }

    /// Every port that is offered.
    #[must_use]
    pub fn show_ports(&self) -> Vec<PortRow> {
        self.ports.iter().map(|port| self.port_row(port)).collect()
    }

    /// Every symbol that was asked for.
    #[must_use]
    pub fn show_symbols(&self) -> Vec<SymbolRow> {
        self.symbols.iter().map(|(peer, id, symbol)| self.symbol_row(peer, id, symbol)).collect()
    }

    /// Every tunnel.
    #[must_use]
    pub fn show_tunnels(&self) -> Vec<TunnelRow> {
        let tunnelled = |rule: &&Rule| self.translations.get(rule.peer, rule.symbol).is_none();
        let up = self.dispatch.iter().filter(tunnelled).map(|rule| TunnelRow {
            direction: "up",
            id: rule.tunnel.0,
            peer: self.control_name(rule.peer).to_owned(),
            symbol: rule.symbol.0,
            port: self.port_name(rule.port).to_owned(),
            protocol_address: Some(rule.protocol_address.to_string()),
            packets: rule.packets,
            bytes: rule.bytes,
        });
        let down = self.symbols.iter().filter_map(|(.., symbol)| {
            let Grant::Granted { down: Some(down), .. } = symbol.grant else { return None };
            let row = self.symbols.row(down)?;
            Some(TunnelRow {
                direction: "down",
                id: down.0,
                peer: self.control_name(row.peer).to_owned(),
                symbol: row.symbol.0,
                port: self.port_name(row.port).to_owned(),
                protocol_address: None,
                packets: row.packets,
                bytes: row.bytes,
            })
        });
        up.chain(down).collect()
    }

    /// Every translation in force.
    #[must_use]
    pub fn show_translations(&self) -> Vec<TranslationRow> {
        let dispatch = self.dispatch.iter().filter_map(|rule| {
            let Translation { virtual_address, control_address } =
                self.translations.get(rule.peer, rule.symbol)?.translation;
            Some(TranslationRow {
                table: "dispatch",
                control: self.control_name(rule.peer).to_owned(),
                symbol: rule.symbol.0,
                port: self.port_name(rule.port).to_owned(),
                protocol_address: Some(rule.protocol_address.to_string()),
                from: virtual_address.to_string(),
                to: control_address.to_string(),
                packets: rule.packets,
                bytes: rule.bytes,
            })
        });
        let receive = self.translations.iter().map(|(peer, symbol, entry)| TranslationRow {
            table: "receive",
            control: self.control_name(peer).to_owned(),
            symbol: symbol.0,
            port: self.port_name(entry.port).to_owned(),
            protocol_address: None,
            from: entry.translation.control_address.to_string(),
            to: entry.translation.virtual_address.to_string(),
            packets: entry.down.frames,
            bytes: entry.down.bytes,
        });
        dispatch.chain(receive).collect()
    }

    /// Every rule that was asked for.
    #[must_use]
    pub fn show_rules(&self) -> Vec<RuleRow> {
        let active = self.dispatch.iter().map(|rule| self.rule_row(rule));
        active.chain(self.refusals.values().cloned()).collect()
    }

    /// All counters: of the link, of drops, of punts by control and class.
    #[must_use]
    pub fn show_counters(&self) -> Vec<CounterRow> {
        let counters = self.link.counters();
        let counter = |name: String, value| CounterRow { name, value };
        let mut rows = Vec::new();
        for (kind, rx, tx) in counters.kinds() {
            for (direction, traffic) in [("rx", rx), ("tx", tx)] {
                rows.push(counter(format!("{direction}.{kind}.frames"), traffic.frames));
                rows.push(counter(format!("{direction}.{kind}.bytes"), traffic.bytes));
            }
        }
        rows.extend(self.route_counters());
        rows.extend(self.flow_counters());
        rows.push(counter("addresses-given".to_owned(), self.given.len()));
        rows.push(counter("addresses-repaired".to_owned(), self.given.repaired));
        for reason in DropReason::ALL {
            rows.push(counter(format!("drop.{reason}"), self.dropped(*reason)));
        }
        for control in self.controls.values() {
            for (class, punted) in control.police.punted() {
                rows.push(counter(format!("punt.{}.{class}.passed", control.name), punted.passed));
                rows.push(counter(format!("punt.{}.{class}.dropped", control.name), punted.dropped));
            }
        }
        rows
    }

    pub(crate) fn port_row(&self, port: &crate::port::Port) -> PortRow {
        let controls = self.symbols.controls(port.id);
        let refused: Vec<String> = self.given.refused(port.id).collect();
        let text = |item: &PortAddress| format!("{}/{}", item.address(), item.prefix_length());
        let given = port.state.addresses.iter().filter(|item| item.is_given());
        let given: Vec<String> = given.map(text).collect();
        let ways_out = port.state.routes.iter().map(ToString::to_string);
        let ways_out: Vec<String> = ways_out.collect();
        PortRow {
            ways_out: (!ways_out.is_empty()).then_some(ways_out),
            name: port.name().to_owned(),
            id: port.id.0,
            ifindex: port.state.ifindex,
            mac: port.state.mac.to_string(),
            mtu: port.state.mtu,
            state: port_state(port.state.flags),
            addresses: port.state.addresses.iter().map(text).collect(),
            given_addresses: (!given.is_empty()).then_some(given),
            controls: controls.into_iter().map(|peer| self.control_name(peer).to_owned()).collect(),
            refused_addresses: (!refused.is_empty()).then_some(refused),
        }
    }

    pub(crate) fn symbol_row(&self, peer: PeerId, id: SymbolId, symbol: &Symbol) -> SymbolRow {
        let (port, down_tunnel, state, reason) = match &symbol.grant {
            Grant::Granted { port, down } => {
                (self.port_name(*port).to_owned(), down.map(|down| down.0), "up", None)
            }
            Grant::Refused { name, status, text } => {
                (name.clone(), None, "refused", Some(format!("{status}: {text}")))
            }
        };
        SymbolRow {
            control: self.control_name(peer).to_owned(),
            symbol: id.0,
            port,
            down_tunnel,
            virtual_address: self
                .translations
                .get(peer, id)
                .map(|entry| entry.translation.virtual_address.to_string()),
            state,
            reason,
        }
    }

    pub(crate) fn rule_row(&self, rule: &Rule) -> RuleRow {
        let translated = self.translations.get(rule.peer, rule.symbol).is_some();
        let tunnel = if translated { UpTunnel(0) } else { rule.tunnel };
        RuleRow {
            state: self.rule_state(rule),
            ..self.row(rule.peer, self.port_name(rule.port), tunnel, &rule.protocol_address)
        }
    }

    pub(crate) fn refused_row(
        &self,
        peer: PeerId,
        port: &str,
        tunnel: UpTunnel,
        address: &ProtocolAddress,
        reason: String,
    ) -> RuleRow {
        RuleRow { state: "refused", reason: Some(reason), ..self.row(peer, port, tunnel, address) }
    }

    fn row(&self, peer: PeerId, port: &str, tunnel: UpTunnel, address: &ProtocolAddress) -> RuleRow {
        let (protocol, local, port_number, remote) = match *address {
            ProtocolAddress::Listener { protocol, local, port } => {
                (protocol_text(protocol), local_text(local), Some(port), None)
            }
            ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } => (
                protocol_text(protocol),
                local.to_string(),
                Some(local_port),
                Some(std::net::SocketAddr::new(remote, remote_port).to_string()),
            ),
            ProtocolAddress::IpProtocol { protocol, local } => {
                (protocol_text(protocol), local_text(local), None, None)
            }
            ProtocolAddress::EtherType(ethertype) => {
                ("ethertype".to_owned(), format!("{ethertype:#06x}"), None, None)
            }
        };
        RuleRow {
            relay: self.config.name.clone(),
            port: port.to_owned(),
            protocol,
            address: local,
            port_number,
            remote,
            control: self.control_name(peer).to_owned(),
            up_tunnel: tunnel.0,
            state: "active",
            reason: None,
        }
    }
}

impl PeerRow {
    pub(crate) fn new(peer: &PeerInfo, now: Time) -> Self {
        let up = peer.state == PeerState::Up;
        Self {
            name: peer.name.clone(),
            role: peer.role.to_string(),
            mac: peer.mac.to_string(),
            state: peer.state.to_string(),
            session_age_ms: up.then(|| micros(now - peer.since) / 1_000),
            rtt_us: peer.rtt.map(micros),
            weight: None,
            draining: false,
            public_key: peer.key.map(|key| key.to_string()),
        }
    }
}

fn micros(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn port_state(flags: PortFlags) -> &'static str {
    if !flags.contains(PortFlags::PRESENT) {
        "absent"
    } else if !flags.contains(PortFlags::UP) {
        "down"
    } else if !flags.contains(PortFlags::CARRIER) {
        "no-carrier"
    } else {
        "up"
    }
}

pub(crate) fn protocol_text(protocol: u8) -> String {
    protocol_name(protocol).map_or_else(|| protocol.to_string(), str::to_owned)
}

/// Without the brackets that IPv6 addresses have before a port.
fn local_text(local: Local) -> String {
    match local {
        Local::Any(Family::Both) => "*".to_owned(),
        Local::Any(Family::V4) => "0.0.0.0".to_owned(),
        Local::Any(Family::V6) => "::".to_owned(),
        Local::Address(address) => address.to_string(),
    }
}
