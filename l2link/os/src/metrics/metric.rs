//! [`Metric`]: every metric that the daemons have. The enum is closed: each variant is a row of `docs/book/src/reference/metrics.md`.

/// What a metric is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name, unit included. Counters are told as this and `_total`, an info as this and `_info`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The unit, the last word of the name; empty for numbers of things.
    pub unit: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Which daemon has it.
    pub owner: Owner,
    /// One sentence that says what it is.
    pub help: &'static str,
}

/// Type of a metric (OpenMetrics 1.0, "Metric Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises for as long as the daemon lives.
    Counter,
    /// A figure of this moment.
    Gauge,
    /// How often something took how long.
    Histogram,
    /// Words that do not change.
    Info,
}

impl Kind {
    /// The word in `# TYPE` lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// Which daemon has a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Either.
    Both,
    /// `l2relay`.
    Relay,
    /// `l2control`.
    Control,
}

macro_rules! metrics {
    ($($variant:ident: $owner:ident $kind:ident $name:literal $([$unit:literal])? {$($label:ident),*} $help:literal;)*) => {
        /// Everything that is told.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them, in order of declaration: `ALL[metric as usize] == metric`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What it is like.
            #[must_use]
            pub const fn family(self) -> &'static Family {
                match self {
                    $(Self::$variant => &Family {
                        name: $name,
                        kind: Kind::$kind,
                        unit: concat!($($unit)?),
                        labels: &[$(stringify!($label)),*],
                        owner: Owner::$owner,
                        help: $help,
                    },)*
                }
            }
        }
    };
}

metrics! {
    Daemon: Both Info "l2link_daemon" {name, role, version} "The daemon.";

    LinkFrames: Both Counter "l2link_link_frames" {direction, kind} "Link frames by kind, sent (tx) and received (rx).";
    LinkBytes: Both Counter "l2link_link_bytes" ["bytes"] {direction, kind} "Their bytes, Ethernet header included, without preamble and FCS.";
    Drops: Both Counter "l2link_drops" {reason} "Frames and packets dropped, by the reasons of the protocol's description.";
    BusyPoll: Both Counter "l2link_busy_poll_seconds" ["seconds"] {} "Processor time spent on looking for the next packet before sleeping.";
    Peers: Both Gauge "l2link_peers" {state} "Devices heard on the segment: up (with a session), down (without), refused.";
    PeerUp: Both Gauge "l2link_peer_up" {peer} "Whether there is a session with the peer.";
    SessionAge: Both Gauge "l2link_session_age_seconds" ["seconds"] {peer} "How long the session with the peer has lasted.";
    SessionSmoothedRtt: Both Gauge "l2link_session_smoothed_rtt_seconds" ["seconds"] {peer} "Smoothed round-trip time to the peer.";
    SessionRtt: Both Histogram "l2link_session_rtt_seconds" ["seconds"] {} "Round-trip times measured, of all sessions.";

    Symbols: Both Gauge "l2link_symbols" {state} "Symbols by state.";
    Rules: Both Gauge "l2link_rules" {state} "Rules by state.";
    Flows: Both Gauge "l2link_flows" {} "Those of the rules that are for one flow only.";
    Routes: Both Gauge "l2link_routes" {state} "Routes that controls have told, by what came of them.";

    Ports: Relay Gauge "l2link_ports" {state} "Ports by state.";
    PortUp: Relay Gauge "l2link_port_up" {port} "Whether the port is up and has carrier.";
    Punts: Relay Counter "l2link_punts" {control, class, verdict} "Packets for a control by class: passed, or dropped because its rate was used up.";
    FlowsPinned: Relay Gauge "l2link_flows_pinned" {} "Flows that stay with another control than new ones would go to.";
    FlowsUnpinned: Relay Counter "l2link_flows_unpinned" {} "Flows for which there was no room to stay with another control than new ones would go to.";
    FlowsTracked: Relay Gauge "l2link_flows_tracked" {} "Flows that are watched while shares change.";
    RoutesKnown: Relay Gauge "l2link_routes_known" {} "Routes that are known, whatever their state.";
    RoutesRepaired: Relay Counter "l2link_routes_repaired" {} "Routes that somebody else deleted and that were installed again.";
    RouteLooks: Relay Counter "l2link_route_looks" {} "Times that the kernel's routes were read as a whole.";
    RouteBatch: Relay Histogram "l2link_route_batch_duration_seconds" ["seconds"] {} "What the kernel took for a batch of up to 256 changes of routes.";
    GivenAddresses: Relay Gauge "l2link_given_addresses" {} "Addresses that controls gave to ports.";
    GivenAddressesRepaired: Relay Counter "l2link_given_addresses_repaired" {} "Those of them that somebody else deleted and that were added again.";

    SymbolUp: Control Gauge "l2link_symbol_up" {symbol, netns, relay, port} "Whether the symbol is up.";
    SymbolParcels: Control Counter "l2link_symbol_parcels" {symbol, netns, relay, port, direction} "Packets, or super-packets of up to 64 KiB, from the port (up) and to it (down).";
    SymbolBytes: Control Counter "l2link_symbol_bytes" ["bytes"] {symbol, netns, relay, port, direction} "Their bytes, Ethernet and offload header included.";
    FlowsEvicted: Control Counter "l2link_flows_evicted" {} "Flows given up because their symbol had too many.";
    RoutesMirrored: Control Gauge "l2link_routes_mirrored" {} "Routes of the symbols' namespaces that are told to relays, or would be.";
    RouteTableRepairs: Control Counter "l2link_route_table_repairs" {} "Parts of a relay's table that differed from what it had been told and were told again.";
    LookDuration: Control Histogram "l2link_look_duration_seconds" ["seconds"] {what} "The processor's time that a look at a namespace's sockets or connections took.";
    RuleLatency: Control Histogram "l2link_rule_latency_seconds" ["seconds"] {origin} "From the event that told of a socket, or a flow's first packet, to the rule in force at the relay.";
    RouteLatency: Control Histogram "l2link_route_latency_seconds" ["seconds"] {} "From a change of a route in the control's kernel to its being in force in the relay's, one at a time.";

    Scrapes: Both Counter "l2link_scrapes" {result} "Requests for these figures: answered, refused (bad, not permitted, or too many at once), cut off (too slow).";
    ApiRefused: Both Counter "l2link_api_refused" {reason} "Clients and requests refused at the command socket: not for this user, or too many at once.";
    CpuSeconds: Both Counter "process_cpu_seconds" ["seconds"] {} "Processor time of the daemon, its own and the kernel's for it.";
    ResidentMemory: Both Gauge "process_resident_memory_bytes" ["bytes"] {} "Memory of the daemon that is in RAM.";
    VirtualMemory: Both Gauge "process_virtual_memory_bytes" ["bytes"] {} "Address space of the daemon.";
    OpenDescriptors: Both Gauge "process_open_fds" {} "Open file descriptors.";
    MaxDescriptors: Both Gauge "process_max_fds" {} "Most file descriptors that may be open.";
    StartTime: Both Gauge "process_start_time_seconds" ["seconds"] {} "When the daemon was started, in seconds since 1970.";
}

impl Metric {
    /// Those that one daemon has.
    pub fn of(owner: Owner) -> impl Iterator<Item = Self> {
        let has = move |metric: &Self| {
            let of = metric.family().owner;
            of == Owner::Both || of == owner
        };
        Self::ALL.iter().copied().filter(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// OpenMetrics 1.0, "Metric naming" and "Units and Base Units".
    #[test]
    fn names_are_as_the_format_wants_them() {
        let mut names = BTreeSet::new();
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, place);
            let Family { name, unit, kind, help, labels, .. } = metric.family();
            assert!(names.insert(*name), "{name} is there twice");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            let clash = ["_total", "_info", "_count", "_sum", "_bucket", "_created"];
            assert!(!clash.iter().any(|suffix| name.ends_with(suffix)), "{name}: the format appends that");
            assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")), "{name} ends in its unit");
            assert!(*kind != Kind::Histogram || *unit == "seconds", "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\', '"']), "{help}");
            assert!(!labels.contains(&"le"));
        }
    }
}
