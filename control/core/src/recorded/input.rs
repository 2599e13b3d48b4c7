//! [`Input`]: everything that is given to a [`Control`](crate::Control), as it stands in a recording.

use crate::action::Failure;
use crate::config::{Addressing, Config, RefusedSymbol, SymbolConfig, Triggered};
use crate::files::{FileHandle, Ownership, PacketFile};
use crate::routes::RoutesConfig;
use crate::seen::{
    ClosedSocket, Connection, Connections, IfIndex, OpenSocket, OpenSockets, Queue, Route, RouteChange,
    RouteFamilies, RouteHop, SocketPart, SymbolGroups,
};
use crate::weight::Weight;
use crate::{Decided, NamespaceId};
use core::time::Duration;
use frames::route::RouteKey;
use frames::{DropReason, Mac, ProtocolAddress, SymbolId};
use l2link::fast::{FastTraffic, FastWay};
use l2link::recording::{BatchState, Bytes};
use l2link::route_text::RouteText;
use l2link::{PublicKey, Time, recorded_enum, recorded_newtype, recorded_struct};
use std::borrow::Cow;
use std::net::IpAddr;

/// One call of a method that changes a [`Control`](crate::Control): the method's name and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the methods' arguments")]
pub enum Input<'a> {
    LinkFrame {
        frame: Bytes<'a>,
        now: Time,
    },
    /// There was one more.
    NextParcel {
        now: Time,
    },
    Undelivered,
    SymbolParcel {
        symbol: SymbolId,
        parcel: Bytes<'a>,
        now: Time,
        batch: BatchState,
    },
    PollTransmit {
        now: Time,
        batch: BatchState,
    },
    /// An action was there.
    PollAction,
    Timeout {
        now: Time,
    },
    LinkEvents {
        now: Time,
    },
    Drops {
        reason: DropReason,
        times: u64,
    },
    FastSent {
        way: FastWay,
        traffic: FastTraffic,
    },
    FastReceived {
        way: FastWay,
        traffic: FastTraffic,
        now: Time,
    },
    Monitored {
        monitored: bool,
    },
    InterfaceChanged {
        mac: Mac,
        mtu: u32,
    },
    Shutdown,
    Close {
        now: Time,
    },
    SymbolCreated {
        symbol: SymbolId,
        interface: IfIndex,
        now: Time,
    },
    SymbolFailed {
        symbol: SymbolId,
        failure: Failure,
        now: Time,
    },
    SymbolAdopted {
        symbol: SymbolId,
        interface: IfIndex,
        carrier: bool,
        now: Time,
    },
    SymbolAddresses {
        symbol: SymbolId,
        addresses: Cow<'a, [(IpAddr, u8)]>,
    },
    SymbolAltered {
        symbol: SymbolId,
        altered: Option<Cow<'a, str>>,
        now: Time,
    },
    Hint {
        namespace: Option<NamespaceId>,
        part: SocketPart,
        now: Time,
    },
    Sockets {
        namespace: NamespaceId,
        part: SocketPart,
        seen: Cow<'a, OpenSockets>,
        now: Time,
    },
    Connections {
        namespace: NamespaceId,
        seen: Cow<'a, Connections>,
        now: Time,
    },
    SocketClosed {
        namespace: NamespaceId,
        closed: ClosedSocket,
        now: Time,
    },
    ClosedOverrun {
        namespace: NamespaceId,
        now: Time,
    },
    MembershipsChanged {
        namespace: NamespaceId,
        now: Time,
    },
    Memberships {
        namespace: NamespaceId,
        seen: Cow<'a, [SymbolGroups]>,
        now: Time,
    },
    RouteDumpBegins {
        namespace: NamespaceId,
        families: RouteFamilies,
    },
    RouteDumped {
        namespace: NamespaceId,
        route: Cow<'a, Route>,
    },
    RouteDumpEnds {
        namespace: NamespaceId,
        families: RouteFamilies,
        now: Time,
    },
    Route {
        namespace: NamespaceId,
        route: Cow<'a, Route>,
        change: RouteChange,
    },
    RouteGone {
        namespace: NamespaceId,
        key: RouteKey,
        protocol: u8,
        nexthops: usize,
    },
    RoutesLost {
        namespace: NamespaceId,
    },
    PumpRoutes {
        now: Time,
    },
    Verify {
        now: Time,
    },
    FileOpen {
        request: u64,
        symbol: SymbolId,
        file: PacketFile,
        writes: bool,
        wall: u64,
        now: Time,
    },
    FileClosed {
        handle: FileHandle,
        now: Time,
    },
    FileRead {
        request: u64,
        handle: FileHandle,
        size: usize,
        waits: bool,
    },
    FileTaken {
        handle: FileHandle,
        length: usize,
    },
    FilePoll {
        handle: FileHandle,
        poll: Option<u64>,
    },
    FileInterrupt {
        request: u64,
        now: Time,
    },
    FileWrite {
        handle: FileHandle,
        data: Bytes<'a>,
        now: Time,
        batch: BatchState,
    },
    PollFileAnswer,
    FilesGone {
        now: Time,
    },
    Weigh {
        relay: Cow<'a, str>,
        weight: Option<u16>,
    },
    Drain {
        relay: Cow<'a, str>,
        draining: bool,
    },
    Decide {
        relay: Cow<'a, str>,
        decided: Decided,
    },
    Forget {
        relay: Cow<'a, str>,
        force: bool,
        now: Time,
    },
    AddRule {
        symbol: SymbolId,
        address: ProtocolAddress,
        now: Time,
    },
    DeleteRule {
        symbol: SymbolId,
        address: ProtocolAddress,
        now: Time,
    },
    AddSymbol {
        config: Cow<'a, SymbolConfig>,
        now: Time,
    },
    DeleteSymbol {
        symbol: SymbolId,
        now: Time,
    },
    DeleteRefusedSymbol {
        name: Cow<'a, str>,
        netns: Option<Cow<'a, str>>,
        kind: Option<Cow<'a, str>>,
    },
    ChangeSymbol {
        symbol: SymbolId,
        config: Cow<'a, SymbolConfig>,
        now: Time,
    },
    AddRoute {
        route: Cow<'a, RouteText>,
    },
    DeleteRoute {
        selector: Cow<'a, RouteText>,
    },
    SetRoutes {
        config: Cow<'a, Option<RoutesConfig>>,
    },
    SetCarrierHold {
        hold: Duration,
    },
    SetLiveness {
        keepalive: Duration,
        missed: u32,
    },
    SetPeers {
        peers: Cow<'a, [(String, PublicKey)]>,
        now: Time,
    },
    SetRefused {
        refused: Cow<'a, [RefusedSymbol]>,
    },
}

recorded_enum!(Input<'_> {
    0 => LinkFrame { frame, now },
    1 => NextParcel { now },
    2 => Undelivered,
    3 => SymbolParcel { symbol, parcel, now, batch },
    4 => PollTransmit { now, batch },
    5 => PollAction,
    6 => Timeout { now },
    7 => LinkEvents { now },
    8 => Drops { reason, times },
    9 => Monitored { monitored },
    10 => InterfaceChanged { mac, mtu },
    11 => Shutdown,
    12 => Close { now },
    13 => SymbolCreated { symbol, interface, now },
    14 => SymbolFailed { symbol, failure, now },
    15 => SymbolAdopted { symbol, interface, carrier, now },
    16 => SymbolAddresses { symbol, addresses },
    17 => Hint { namespace, part, now },
    18 => Sockets { namespace, part, seen, now },
    19 => Connections { namespace, seen, now },
    20 => SocketClosed { namespace, closed, now },
    21 => ClosedOverrun { namespace, now },
    22 => MembershipsChanged { namespace, now },
    23 => Memberships { namespace, seen, now },
    24 => RouteDumpBegins { namespace, families },
    25 => RouteDumped { namespace, route },
    26 => RouteDumpEnds { namespace, families, now },
    27 => Route { namespace, route, change },
    28 => RouteGone { namespace, key, protocol, nexthops },
    29 => RoutesLost { namespace },
    30 => PumpRoutes { now },
    31 => Verify { now },
    32 => FileOpen { request, symbol, file, writes, wall, now },
    33 => FileClosed { handle, now },
    34 => FileRead { request, handle, size, waits },
    35 => FileTaken { handle, length },
    36 => FilePoll { handle, poll },
    37 => FileInterrupt { request, now },
    38 => FileWrite { handle, data, now, batch },
    39 => PollFileAnswer,
    40 => FilesGone { now },
    41 => Weigh { relay, weight },
    42 => Drain { relay, draining },
    43 => Decide { relay, decided },
    44 => Forget { relay, force, now },
    45 => AddRule { symbol, address, now },
    46 => DeleteRule { symbol, address, now },
    47 => AddSymbol { config, now },
    48 => DeleteSymbol { symbol, now },
    49 => DeleteRefusedSymbol { name, netns, kind },
    50 => ChangeSymbol { symbol, config, now },
    51 => AddRoute { route },
    52 => DeleteRoute { selector },
    53 => SetRoutes { config },
    54 => SetCarrierHold { hold },
    55 => SetLiveness { keepalive, missed },
    56 => SetPeers { peers, now },
    57 => SetRefused { refused },
    58 => FastSent { way, traffic },
    59 => FastReceived { way, traffic, now },
    60 => SymbolAltered { symbol, altered, now },
});

impl Input<'_> {
    /// When it was given, if the method is told.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        match self {
            Self::LinkFrame { now, .. }
            | Self::NextParcel { now }
            | Self::SymbolParcel { now, .. }
            | Self::PollTransmit { now, .. }
            | Self::Timeout { now }
            | Self::LinkEvents { now }
            | Self::FastReceived { now, .. }
            | Self::Close { now }
            | Self::SymbolCreated { now, .. }
            | Self::SymbolFailed { now, .. }
            | Self::SymbolAdopted { now, .. }
            | Self::SymbolAltered { now, .. }
            | Self::Hint { now, .. }
            | Self::Sockets { now, .. }
            | Self::Connections { now, .. }
            | Self::SocketClosed { now, .. }
            | Self::ClosedOverrun { now, .. }
            | Self::MembershipsChanged { now, .. }
            | Self::Memberships { now, .. }
            | Self::RouteDumpEnds { now, .. }
            | Self::PumpRoutes { now }
            | Self::Verify { now }
            | Self::FileOpen { now, .. }
            | Self::FileClosed { now, .. }
            | Self::FileInterrupt { now, .. }
            | Self::FileWrite { now, .. }
            | Self::FilesGone { now }
            | Self::Forget { now, .. }
            | Self::AddRule { now, .. }
            | Self::DeleteRule { now, .. }
            | Self::AddSymbol { now, .. }
            | Self::DeleteSymbol { now, .. }
            | Self::ChangeSymbol { now, .. }
            | Self::SetPeers { now, .. } => Some(*now),
            Self::Undelivered
            | Self::PollAction
            | Self::Drops { .. }
            | Self::FastSent { .. }
            | Self::Monitored { .. }
            | Self::InterfaceChanged { .. }
            | Self::Shutdown
            | Self::SymbolAddresses { .. }
            | Self::RouteDumpBegins { .. }
            | Self::RouteDumped { .. }
            | Self::Route { .. }
            | Self::RouteGone { .. }
            | Self::RoutesLost { .. }
            | Self::FileRead { .. }
            | Self::FileTaken { .. }
            | Self::FilePoll { .. }
            | Self::PollFileAnswer
            | Self::Weigh { .. }
            | Self::Drain { .. }
            | Self::Decide { .. }
            | Self::DeleteRefusedSymbol { .. }
            | Self::AddRoute { .. }
            | Self::DeleteRoute { .. }
            | Self::SetRoutes { .. }
            | Self::SetCarrierHold { .. }
            | Self::SetLiveness { .. }
            | Self::SetRefused { .. } => None,
        }
    }
}

recorded_newtype!(FileHandle, IfIndex, NamespaceId);
recorded_struct!(Config { symbols, refused, addressing, routes, triggered, carrier_hold });
recorded_enum!(Triggered { 0 => Nothing, 1 => AllButPackets, 2 => All });
recorded_enum!(Addressing { 0 => Relay, 1 => Control });
recorded_struct!(SymbolConfig { relay, port, name, netns, exposure, translation, files, weight, detect });
recorded_struct!(RefusedSymbol { name, kind, netns, relay, port, reason });
recorded_struct!(Ownership { uid, gid, mode });
recorded_enum!(Weight { 0 => Fixed(weight), 1 => Auto });
recorded_struct!(RoutesConfig { tables, netns });
recorded_enum!(Failure { 0 => NamespaceAbsent, 1 => Refused(text), 2 => Removed });
recorded_enum!(SocketPart { 0 => Listeners, 1 => Others });
recorded_struct!(OpenSockets { sockets, connections, queues, took });
recorded_struct!(OpenSocket { address, interface });
recorded_struct!(Queue { listener, waiting, room });
recorded_struct!(Connections { connections, took });
recorded_struct!(Connection { flow, time_wait });
recorded_struct!(ClosedSocket { protocol, local, local_port, remote });
recorded_struct!(SymbolGroups { symbol, groups });
recorded_struct!(Route { key, kind, protocol, mtu, nexthops, unsupported });
recorded_struct!(RouteHop { interface, gateway, weight, onlink });
recorded_enum!(RouteChange { 0 => New, 1 => Replaced, 2 => Appended });
recorded_struct!(RouteFamilies { ipv4, ipv6 });
recorded_enum!(PacketFile {
    0 => Packets,
    1 => Pcap,
    2 => Tcp(port),
    3 => Udp(port),
    4 => Ip(protocol),
    5 => EtherType(ethertype),
});
