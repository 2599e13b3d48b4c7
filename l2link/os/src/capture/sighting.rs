//! [`Handling`]: what a daemon saw of one packet, at each side at which it saw it.

use core::fmt;
use core::time::Duration;
use frames::DropReason;
use frames::data::{OffloadHeader, Tunnel};
use l2link::{Passage, Way};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a packet is seen: an interface of the capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// A relay's port.
    Port(String),
    /// A control's symbol.
    Symbol {
        /// Its name.
        name: String,
        /// The namespace in which it is, if it is not the daemon's own.
        netns: Option<String>,
    },
    /// The tunnels of one peer and one port of the relay, or of all its packets of no port.
    Tunnel {
        /// The other end.
        peer: String,
        /// The relay's port.
        port: Option<String>,
    },
    /// What the relay's kernel forwards to another relay, or gets from it.
    Transit {
        /// The other relay.
        relay: String,
    },
}

impl Side {
    /// What there is to be said besides its name.
    pub(super) fn description(&self) -> Option<String> {
        match self {
            Self::Symbol { netns: Some(netns), .. } => Some(format!("in network namespace {netns}")),
            Self::Symbol { netns: None, .. } | Self::Port(_) | Self::Tunnel { .. } | Self::Transit { .. } => {
                None
            }
        }
    }

    fn peer(&self) -> Option<&str> {
        match self {
            Self::Tunnel { peer, .. } | Self::Transit { relay: peer } => Some(peer),
            Self::Port(_) | Self::Symbol { .. } => None,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => write!(f, "port {name}"),
            Self::Symbol { name, .. } => write!(f, "symbol {name}"),
            Self::Tunnel { peer, port: Some(port) } => write!(f, "tunnel {peer}/{port}"),
            Self::Tunnel { peer, port: None } => write!(f, "tunnel {peer}"),
            Self::Transit { relay } => write!(f, "transit {relay}"),
        }
    }
}

/// Which way a packet goes at a side, as seen from the daemon's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the machine, or from the link to its programs.
    Inbound,
    /// Out of it.
    Outbound,
}

/// A packet at one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where.
    pub side: Side,
    /// Which way.
    pub direction: Direction,
    /// The tunnel, if it is in one.
    pub tunnel: Option<Tunnel>,
    /// Its Ethernet frame.
    pub frame: Vec<u8>,
    /// Why it came no further than here.
    pub dropped: Option<DropReason>,
    pub(super) time: Duration,
}

impl Sighting {
    /// The frame of a parcel, now.
    #[must_use]
    pub fn new(side: Side, direction: Direction, parcel: &[u8]) -> Self {
        let frame = parcel.get(size_of::<OffloadHeader>()..).unwrap_or_default().to_vec();
        Self { side, direction, tunnel: None, frame, dropped: None, time: time_of_day() }
    }

    /// The frame of a parcel in a tunnel.
    #[must_use]
    pub fn in_tunnel(self, tunnel: Tunnel) -> Self {
        Self { tunnel: (tunnel != Tunnel::NONE).then_some(tunnel), ..self }
    }
}

/// All that was seen of one packet, from where it came to where it went.
#[derive(Debug, Clone)]
pub struct Handling {
    begun: Duration,
    /// The port or the symbol, by whose name captures ask for it.
    place: Option<String>,
    came: Option<Sighting>,
    went: Vec<Sighting>,
    /// The packet waits for the first of its fragments.
    held: bool,
}

impl Handling {
    /// A packet has just arrived.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: time_of_day(), place: None, came: None, went: Vec::new(), held: false }
    }

    /// It concerns this port of a relay, or this symbol of a control.
    pub fn set_place(&mut self, name: &str) {
        self.place.get_or_insert_with(|| name.to_owned());
    }

    /// It came in here.
    pub fn came(&mut self, sighting: Sighting) {
        self.came = Some(Sighting { time: self.begun, ..sighting });
    }

    /// It, or a copy, went out here.
    pub fn went(&mut self, sighting: Sighting) {
        self.went.push(sighting);
    }

    /// It passed through a tunnel, which is seen at this side.
    pub fn passed(&mut self, side: Side, passage: &Passage) {
        let seen = |direction| Sighting::new(side, direction, &passage.parcel).in_tunnel(passage.tunnel);
        match passage.way {
            Way::Received => self.came(seen(Direction::Inbound)),
            Way::Sent => self.went(seen(Direction::Outbound)),
        }
    }

    /// It was dropped where it came in: nothing, or not everything, came of it.
    pub fn dropped(&mut self, reason: DropReason) {
        if let Some(came) = &mut self.came {
            came.dropped = Some(reason);
        }
    }

    /// What went out last was refused there.
    pub fn refused(&mut self, reason: DropReason) {
        if let Some(went) = self.went.last_mut() {
            went.dropped = Some(reason);
        }
    }

    /// It waits for the first fragment of its packet.
    pub const fn hold(&mut self) {
        self.held = true;
    }

    /// Whether anything was seen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.came.is_none() && self.went.is_empty()
    }

    pub(super) fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    pub(super) fn has_peer(&self, name: &str) -> bool {
        self.sightings().any(|sighting| sighting.side.peer() == Some(name))
    }

    /// Whether something came to nothing that is for the daemon.
    pub(super) fn was_dropped(&self) -> bool {
        let lost = |reason| reason != DropReason::NotForPort;
        self.sightings().any(|sighting| sighting.dropped.is_some_and(lost))
    }

    /// From where it came to where it went.
    pub(super) fn sightings(&self) -> impl Iterator<Item = &Sighting> {
        self.came.iter().chain(&self.went)
    }

    /// What is to be said about a sighting of this packet.
    pub(super) fn comment(&self, sighting: &Sighting) -> Option<String> {
        let came = self.came.as_ref().is_some_and(|came| core::ptr::eq(came, sighting));
        match sighting.dropped {
            // Its kernel has got it as well, and does with it what it should.
            Some(reason @ DropReason::NotForPort) => Some(format!("left to the kernel: {reason}")),
            Some(reason) => {
                let what = if came && !self.went.is_empty() { "a copy was dropped" } else { "dropped" };
                Some(format!("{what}: {reason}. {}", reason.explanation()))
            }
            None if came && self.held => Some("waits for the first fragment of its packet".to_owned()),
            None => None,
        }
    }
}

/// Since 1970.
pub(super) fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
