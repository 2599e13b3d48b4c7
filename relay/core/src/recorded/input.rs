//! [`Input`]: everything that is given to a [`Relay`](crate::Relay), as it stands in a recording.

use crate::Decided;
use crate::config::{
    Conflicts, ControlName, Permission, PortConfig, RelayConfig, RoutePermission, Unmatched,
};
use crate::fib::{FibConfig, RouteFailure, RouteNexthop, RouteSeen, RoutesSeen};
use crate::given::GivenAddress;
use crate::police::{Limit, Limits};
use crate::port::PortState;
use crate::translation::Outlet;
use core::time::Duration;
use frames::inet::Obstacle;
use frames::route::RouteKey;
use frames::{DropReason, Mac, PortId};
use l2link::fast::{FastTraffic, FastWay};
use l2link::recording::{BatchState, Bytes};
use l2link::route_text::RouteText;
use l2link::{PeerId, PublicKey, Time, recorded_enum, recorded_newtype, recorded_struct};
use std::borrow::Cow;
use std::net::IpAddr;

/// One call of a method that changes a [`Relay`](crate::Relay); those of no other variant have the method's name and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the methods' arguments")]
pub enum Input<'a> {
    LinkFrame {
        frame: Bytes<'a>,
        now: Time,
    },
    NextParcel,
    PortParcel {
        port: PortId,
        parcel: Bytes<'a>,
        now: Time,
        batch: BatchState,
    },
    /// The parcel is that of the last [`Input::PortParcel`].
    ResumePortParcel {
        now: Time,
        batch: BatchState,
    },
    Transit {
        peer: PeerId,
        parcel: Bytes<'a>,
        now: Time,
        batch: BatchState,
    },
    Obstacle {
        outlet: Outlet,
        packet: Bytes<'a>,
        obstacle: Obstacle,
        now: Time,
        batch: BatchState,
    },
    OwnError {
        port: PortId,
        packet: Bytes<'a>,
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
    PortState {
        port: PortId,
        state: Cow<'a, Option<PortState>>,
    },
    Addresses {
        addresses: Cow<'a, [IpAddr]>,
    },
    LinkInterface {
        mac: Mac,
        mtu: u32,
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
    },
    Close {
        now: Time,
    },
    TransitOpened {
        peer: PeerId,
        ifindex: u32,
    },
    TransitLost {
        peer: PeerId,
    },
    AddressFailure {
        address: GivenAddress,
        errno: i32,
        text: Cow<'a, str>,
        now: Time,
    },
    LookBegins,
    RouteSeen {
        seen: Cow<'a, RouteSeen>,
    },
    LookEnds {
        all: RoutesSeen,
        now: Time,
    },
    RouteTold {
        told: Cow<'a, RouteSeen>,
    },
    RouteGone {
        key: RouteKey,
        nexthops: usize,
    },
    RouteOverwritten {
        key: RouteKey,
    },
    ForeignRouteGone {
        key: RouteKey,
    },
    InterfacesChanged {
        now: Time,
    },
    ChangeRoutes,
    RoutesChanged {
        failures: Cow<'a, [RouteFailure]>,
        now: Time,
    },
    Verify,
    Weigh {
        control: Cow<'a, str>,
        weight: Option<u16>,
    },
    Drain {
        control: Cow<'a, str>,
        draining: bool,
    },
    Decide {
        control: Cow<'a, str>,
        decided: Decided,
    },
    Forget {
        control: Cow<'a, str>,
        force: bool,
        now: Time,
    },
    AddRoute {
        route: Cow<'a, RouteText>,
    },
    DeleteRoute {
        selector: Cow<'a, RouteText>,
    },
    Reconfigure {
        ports: Cow<'a, [PortConfig]>,
        fib: FibConfig,
    },
    SetLiveness {
        keepalive: Duration,
        missed: u32,
    },
    SetPeers {
        peers: Cow<'a, [(String, PublicKey)]>,
        now: Time,
    },
}

recorded_enum!(Input<'_> {
    0 => LinkFrame { frame, now },
    1 => NextParcel,
    2 => PortParcel { port, parcel, now, batch },
    3 => ResumePortParcel { now, batch },
    4 => Transit { peer, parcel, now, batch },
    5 => Obstacle { outlet, packet, obstacle, now, batch },
    6 => OwnError { port, packet, now, batch },
    7 => PollTransmit { now, batch },
    8 => PollAction,
    9 => Timeout { now },
    10 => LinkEvents { now },
    11 => PortState { port, state },
    12 => Addresses { addresses },
    13 => LinkInterface { mac, mtu },
    14 => Drops { reason, times },
    15 => Close { now },
    16 => TransitOpened { peer, ifindex },
    17 => TransitLost { peer },
    18 => AddressFailure { address, errno, text, now },
    19 => LookBegins,
    20 => RouteSeen { seen },
    21 => LookEnds { all, now },
    22 => RouteTold { told },
    23 => RouteGone { key, nexthops },
    24 => RouteOverwritten { key },
    25 => ForeignRouteGone { key },
    26 => InterfacesChanged { now },
    27 => ChangeRoutes,
    28 => RoutesChanged { failures, now },
    29 => Verify,
    30 => Weigh { control, weight },
    31 => Drain { control, draining },
    32 => Decide { control, decided },
    33 => Forget { control, force, now },
    34 => AddRoute { route },
    35 => DeleteRoute { selector },
    36 => Reconfigure { ports, fib },
    37 => SetLiveness { keepalive, missed },
    38 => SetPeers { peers, now },
    39 => FastSent { way, traffic },
    40 => FastReceived { way, traffic },
});

impl Input<'_> {
    /// When it was given, if the method is told.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        match self {
            Self::LinkFrame { now, .. }
            | Self::PortParcel { now, .. }
            | Self::ResumePortParcel { now, .. }
            | Self::Transit { now, .. }
            | Self::Obstacle { now, .. }
            | Self::OwnError { now, .. }
            | Self::PollTransmit { now, .. }
            | Self::Timeout { now }
            | Self::LinkEvents { now }
            | Self::Close { now }
            | Self::AddressFailure { now, .. }
            | Self::LookEnds { now, .. }
            | Self::InterfacesChanged { now }
            | Self::RoutesChanged { now, .. }
            | Self::Forget { now, .. }
            | Self::SetPeers { now, .. } => Some(*now),
            Self::NextParcel
            | Self::PollAction
            | Self::PortState { .. }
            | Self::Addresses { .. }
            | Self::LinkInterface { .. }
            | Self::Drops { .. }
            | Self::FastSent { .. }
            | Self::FastReceived { .. }
            | Self::TransitOpened { .. }
            | Self::TransitLost { .. }
            | Self::LookBegins
            | Self::RouteSeen { .. }
            | Self::RouteTold { .. }
            | Self::RouteGone { .. }
            | Self::RouteOverwritten { .. }
            | Self::ForeignRouteGone { .. }
            | Self::ChangeRoutes
            | Self::Verify
            | Self::Weigh { .. }
            | Self::Drain { .. }
            | Self::Decide { .. }
            | Self::AddRoute { .. }
            | Self::DeleteRoute { .. }
            | Self::Reconfigure { .. }
            | Self::SetLiveness { .. } => None,
        }
    }
}

recorded_struct!(RelayConfig { name, ethertype, ports, limits, fib });
recorded_struct!(PortConfig { interface, relay_services, unmatched, conflicts, allow });
recorded_enum!(Unmatched { 0 => Drop, 1 => Kernel });
recorded_enum!(Conflicts { 0 => Share, 1 => First, 2 => Priority });
recorded_struct!(Permission { control, services, routes, addressing, priority });
recorded_struct!(RoutePermission { prefixes, tables });
recorded_enum!(ControlName { 0 => Any, 1 => Named(name) });
recorded_newtype!(Limits);
recorded_struct!(Limit { rate, burst });
recorded_struct!(FibConfig { hold, max });
recorded_struct!(PortState { ifindex, mac, mtu, speed, flags, addresses, routes });
recorded_struct!(GivenAddress { port, ifindex, address, prefix_length });
recorded_struct!(RouteSeen { key, kind, mtu, nexthops });
recorded_struct!(RouteNexthop { ifindex, gateway, weight, onlink });
recorded_struct!(RoutesSeen { ipv4, ipv6 });
recorded_struct!(RouteFailure { place, errno, text });
recorded_struct!(Outlet { source, port, peer, symbol });
