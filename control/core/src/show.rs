//! What `l2ctl show` prints: rows with stable keys.

use crate::Control;
use crate::config::RefusedSymbol;
use crate::flow::FlowKey;
use crate::rule::{Rule, RuleState};
use crate::seen::NumberedSocket;
use crate::socket_index::SocketIndex;
use crate::symbol::{Stage, Symbol};
use core::net::{IpAddr, SocketAddr};
use frames::protocol_address::{Family, Local, protocol_name};
use frames::{DropReason, ProtocolAddress, UpTunnel};
use l2link::{PeerInfo, PeerState, Time};
use serde::Serialize;

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PeerRow {
    pub name: String,
    pub role: String,
    pub mac: String,
    /// `up`, `down` or `refused: reason`.
    pub state: String,
    /// Age of the session in ms; none unless it is up.
    pub session_age_ms: Option<u64>,
    /// Smoothed round-trip time in µs.
    pub rtt_us: Option<u64>,
    /// Share of new flows that an operator gave its symbols; none for what they say themselves.
    pub weight: Option<u16>,
    /// Whether an operator wants no new flow from it.
    pub draining: bool,
    /// The key that it proved, in base64; none in other security modes than `keys`, and for who never was up.
    pub public_key: Option<String>,
}

/// The device itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceRow {
    /// Its name, by which others know it.
    pub name: String,
    /// `control`.
    pub role: &'static str,
    /// The daemon's version.
    pub version: &'static str,
    /// What tells it of new sockets: `bpf`, `tracefs`, or `polling` if nothing does.
    pub detection: &'static str,
}

/// A relay's port that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PortRow {
    pub relay: String,
    pub name: String,
    pub id: u32,
    pub mac: String,
    pub mtu: u32,
    /// `up`, `no-carrier`, `down` or `absent`.
    pub state: String,
    pub addresses: Vec<String>,
    /// The relay's own routes by it; none if there are none.
    pub ways_out: Option<Vec<String>>,
}

/// A symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct SymbolRow {
    pub name: String,
    pub kind: String,
    pub netns: Option<String>,
    pub relay: String,
    pub port: String,
    /// `up`, `down`, `waiting` or `refused`.
    pub state: String,
    /// Why it is not up, or what somebody has done to its interface.
    pub reason: Option<String>,
    pub mac: Option<String>,
    pub mtu: Option<u32>,
    pub addresses: Vec<String>,
    /// Addresses that programs put on it and its port does not have, each with the reason; none if there are none.
    pub refused_addresses: Option<Vec<String>>,
    pub down_tunnel: Option<u32>,
    /// Whether programs see a cable. It may stay for a while when the relay is lost.
    pub carrier: bool,
    /// Whether sockets make rules; if not, only rules by hand apply.
    pub detect: bool,
}

/// A tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TunnelRow {
    /// `up` or `down`.
    pub direction: String,
    pub id: u32,
    pub peer: String,
    pub symbol: String,
    /// Of the symbol, as its name need not be unique.
    pub kind: String,
    pub netns: Option<String>,
    pub port: String,
    pub protocol_address: Option<String>,
    /// Inode numbers of the sockets for which an up tunnel is, as `/proc/PID/fd` shows them.
    pub sockets: Vec<u32>,
    pub packets: u64,
    pub bytes: u64,
}

/// A translation: what is rewritten, of the receive table (destinations, up) and of the send table (sources, down).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TranslationRow {
    /// `receive` or `send`.
    pub table: &'static str,
    pub relay: String,
    pub symbol: String,
    pub port: String,
    /// The rule by which packets come up; none in the send table.
    pub protocol_address: Option<String>,
    /// The address that a packet comes with.
    pub from: String,
    /// The address that it goes on with.
    pub to: String,
    pub packets: u64,
    pub bytes: u64,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RuleRow {
    pub relay: String,
    pub port: String,
    /// `tcp`, `udp`, `icmp`, `ospf`, a number, or `ethertype`.
    pub protocol: String,
    /// `*`, `0.0.0.0`, `::`, an address, or the EtherType.
    pub address: String,
    pub port_number: Option<u16>,
    /// `address:port` of the far end of a flow.
    pub remote: Option<String>,
    pub control: String,
    /// 0 for an address symbol, whose packets go through none.
    pub up_tunnel: u32,
    /// `active`, `draining`, `pending`, `refused`, `closing`, or `waiting` for the symbol.
    pub state: String,
    pub reason: Option<String>,
    /// Whether it is by hand; a socket may want it as well.
    pub r#static: bool,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CounterRow {
    pub name: String,
    pub value: u64,
}

impl Control {
    /// Who this is. `detection`: what tells it of new sockets.
    #[must_use]
    pub fn show_device(&self, detection: &'static str) -> DeviceRow {
        DeviceRow { name: self.name.clone(), role: "control", version: env!("CARGO_PKG_VERSION"), detection }
    }

    /// `show peers`.
    #[must_use]
    pub fn show_peers(&self, now: Time) -> Vec<PeerRow> {
        self.link.peers().iter().map(|peer| self.row_of_peer(peer, now)).collect()
    }

    /// `show ports`.
    #[must_use]
    pub fn show_ports(&self) -> Vec<PortRow> {
        self.symbols.iter().filter_map(PortRow::of).collect()
    }

    /// `show symbols`.
    #[must_use]
    pub fn show_symbols(&self) -> Vec<SymbolRow> {
        self.symbols.iter().map(SymbolRow::of).chain(self.refused.iter().map(SymbolRow::refused)).collect()
    }

    /// `show tunnels`. `sockets`: those of all namespaces, at this moment.
    #[must_use]
    pub fn show_tunnels(&self, sockets: &[NumberedSocket]) -> Vec<TunnelRow> {
        let sockets = SocketIndex::new(sockets);
        let down = self.symbols.iter().filter_map(TunnelRow::down);
        let up = self
            .tables
            .receive
            .iter()
            .filter_map(|(tunnel, rule)| Some((tunnel, rule, self.symbol(rule.symbol)?)))
            .filter(|(.., symbol)| symbol.config.translation.is_none())
            .map(|(tunnel, rule, symbol)| TunnelRow {
                sockets: sockets.of(rule, symbol),
                ..TunnelRow::up(tunnel, rule, symbol)
            });
        down.chain(up).collect()
    }

    /// `show rules`.
    #[must_use]
    pub fn show_rules(&self) -> Vec<RuleRow> {
        let rules = self.tables.receive.iter();
        rules.filter_map(|(tunnel, rule)| self.rule_row(tunnel, rule)).chain(self.waiting_rows()).collect()
    }

    pub(crate) fn rule_row(&self, tunnel: UpTunnel, rule: &Rule) -> Option<RuleRow> {
        Some(RuleRow::new(tunnel, rule, self.symbol(rule.symbol)?, &self.name))
    }

    /// `show counters`.
    #[must_use]
    pub fn show_counters(&self) -> Vec<CounterRow> {
        let row = |name: String, value| CounterRow { name, value };
        let link = self.link.counters();
        let traffic = link.kinds().flat_map(|(kind, rx, tx)| {
            [
                row(format!("rx.{kind}.frames"), rx.frames),
                row(format!("rx.{kind}.bytes"), rx.bytes),
                row(format!("tx.{kind}.frames"), tx.frames),
                row(format!("tx.{kind}.bytes"), tx.bytes),
            ]
        });
        let drops = DropReason::ALL.iter().map(|reason| row(format!("drop.{reason}"), self.dropped(*reason)));
        let evicted = self.symbols.iter().map(|symbol| symbol.rules.evicted).sum();
        let routes = self.route_totals().map(|(name, value)| row(name.to_owned(), value));
        traffic.chain(drops).chain([row("flow.evicted".to_owned(), evicted)]).chain(routes).collect()
    }
}

impl PeerRow {
    pub(crate) fn new(peer: &PeerInfo, now: Time) -> Self {
        Self {
            name: peer.name.clone(),
            role: peer.role.to_string(),
            mac: peer.mac.to_string(),
            state: peer.state.to_string(),
            session_age_ms: (peer.state == PeerState::Up)
                .then(|| u64::try_from((now - peer.since).as_millis()).unwrap_or(u64::MAX)),
            rtt_us: peer.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            weight: None,
            draining: false,
            public_key: peer.key.map(|key| key.to_string()),
        }
    }
}

impl PortRow {
    pub(crate) fn of(symbol: &Symbol) -> Option<Self> {
        let (Stage::Granted(id), Some(attributes)) = (&symbol.stage, symbol.port_attributes()) else {
            return None;
        };
        Some(Self {
            relay: symbol.config.relay.clone(),
            name: symbol.config.port.clone(),
            id: id.0,
            mac: attributes.mac.to_string(),
            mtu: attributes.mtu,
            state: attributes.state().to_owned(),
            addresses: attributes.address_texts(),
            ways_out: attributes.way_out_texts(),
        })
    }
}

impl SymbolRow {
    /// One that the configuration contradicts.
    fn refused(symbol: &RefusedSymbol) -> Self {
        let RefusedSymbol { name, kind, netns, relay, port, reason } = symbol.clone();
        Self {
            name,
            kind,
            netns,
            relay,
            port,
            state: "refused".to_owned(),
            reason: Some(reason),
            mac: None,
            mtu: None,
            addresses: Vec::new(),
            refused_addresses: None,
            down_tunnel: None,
            carrier: false,
            detect: true,
        }
    }

    pub(crate) fn of(symbol: &Symbol) -> Self {
        let (state, reason) = symbol.state();
        let attributes = symbol.attributes.as_ref();
        Self {
            name: symbol.config.name.clone(),
            kind: symbol.config.kind().to_owned(),
            netns: symbol.config.netns.clone(),
            relay: symbol.config.relay.clone(),
            port: symbol.config.port.clone(),
            state: state.name().to_owned(),
            reason,
            mac: attributes.map(|attributes| attributes.mac.to_string()),
            mtu: attributes.map(|attributes| attributes.mtu),
            addresses: attributes.map(|attributes| attributes.address_texts()).unwrap_or_default(),
            refused_addresses: symbol.addresses.refused_texts(),
            down_tunnel: symbol.down_tunnel.map(|tunnel| tunnel.0).filter(|tunnel| *tunnel != 0),
            carrier: symbol.carrier,
            detect: symbol.config.detect,
        }
    }
}

impl TunnelRow {
    fn down(symbol: &Symbol) -> Option<Self> {
        Some(Self {
            direction: "down".to_owned(),
            id: symbol.down_tunnel.filter(|tunnel| tunnel.0 != 0)?.0,
            peer: symbol.config.relay.clone(),
            symbol: symbol.config.name.clone(),
            kind: symbol.config.kind().to_owned(),
            netns: symbol.config.netns.clone(),
            port: symbol.config.port.clone(),
            protocol_address: None,
            sockets: Vec::new(),
            packets: symbol.sent.frames,
            bytes: symbol.sent.bytes,
        })
    }

    fn up(tunnel: UpTunnel, rule: &Rule, symbol: &Symbol) -> Self {
        Self {
            direction: "up".to_owned(),
            id: tunnel.0,
            peer: symbol.config.relay.clone(),
            symbol: symbol.config.name.clone(),
            kind: symbol.config.kind().to_owned(),
            netns: symbol.config.netns.clone(),
            port: symbol.config.port.clone(),
            protocol_address: Some(rule.protocol_address.to_string()),
            sockets: Vec::new(),
            packets: rule.packets,
            bytes: rule.bytes,
        }
    }
}

impl RuleRow {
    fn new(tunnel: UpTunnel, rule: &Rule, symbol: &Symbol, control: &str) -> Self {
        let reason = match &rule.state {
            RuleState::Refused(reason) => Some(reason.to_string()),
            RuleState::Pending | RuleState::Active | RuleState::Closing => None,
        };
        Self {
            up_tunnel: if symbol.config.translation.is_some() { 0 } else { tunnel.0 },
            state: symbol.rules.state(rule).to_owned(),
            ..Self::waiting(&rule.protocol_address, symbol, control, reason)
        }
    }

    /// One that is not in the receive table.
    pub(crate) fn waiting(
        protocol_address: &ProtocolAddress,
        symbol: &Symbol,
        control: &str,
        reason: Option<String>,
    ) -> Self {
        let (protocol, address, port_number) = match *protocol_address {
            ProtocolAddress::Listener { protocol, local, port } => {
                (name(protocol), local_text(local), Some(port))
            }
            ProtocolAddress::Flow { protocol, local, local_port, .. } => {
                (name(protocol), local.to_string(), Some(local_port))
            }
            ProtocolAddress::IpProtocol { protocol, local } => (name(protocol), local_text(local), None),
            ProtocolAddress::EtherType(ethertype) => {
                ("ethertype".to_owned(), format!("{ethertype:#06x}"), None)
            }
        };
        let remote = FlowKey::try_from(protocol_address)
            .ok()
            .map(|flow| SocketAddr::new(flow.remote, flow.remote_port).to_string());
        Self {
            relay: symbol.config.relay.clone(),
            port: symbol.config.port.clone(),
            protocol,
            address,
            port_number,
            remote,
            control: control.to_owned(),
            up_tunnel: 0,
            state: "waiting".to_owned(),
            reason,
            r#static: symbol.rules.is_by_hand(protocol_address),
        }
    }
}

fn name(protocol: u8) -> String {
    protocol_name(protocol).map_or_else(|| protocol.to_string(), str::to_owned)
}

fn local_text(local: Local) -> String {
    match local {
        Local::Any(Family::Both) => "*".to_owned(),
        Local::Any(Family::V4) => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED).to_string(),
        Local::Any(Family::V6) => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED).to_string(),
        Local::Address(address) => address.to_string(),
    }
}
