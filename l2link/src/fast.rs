//! What a fast path is told of a link: which flows go where, and how frames to peers begin.
//!
//! Only the owner knows whether packets of a flow need decisions. Of the link it needs [`Link::fast_peer`], which there is only
//! where data crosses in clear: frames that are sealed are made here.

use crate::{Link, PeerId};
use core::net::IpAddr;
use core::time::Duration;
use frames::data::{GsoType, OffloadHeader, Tunnel};
use frames::discovery::Protection;
use frames::header::Kind;
use frames::{Mac, SessionIndex};
use zerocopy::FromBytes;

/// How long a decision is remembered without being made again: a fraction of the time after which a core forgets a flow that is not
/// used.
pub const FAST_LEASE: Duration = Duration::from_secs(4);

/// A flow of TCP or UDP, as its packets have it where they are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// TCP or UDP.
    pub protocol: u8,
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
}

/// Where the packets of a flow go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastWay {
    /// The peer.
    pub peer: PeerId,
    /// The tunnel there.
    pub tunnel: Tunnel,
}

/// A decision about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastFlow {
    /// The flow.
    pub flow: Flow,
    /// Where its packets go.
    pub way: FastWay,
    /// Bytes of the longest Ethernet frame that was seen of it just now.
    pub frame: usize,
}

impl FastFlow {
    /// A decision about a parcel of TCP or UDP, which may be a super-packet.
    #[must_use]
    pub fn new(flow: Flow, way: FastWay, parcel: &[u8]) -> Self {
        Self { flow, way, frame: segment(parcel).unwrap_or(parcel.len()) }
    }
}

/// Bytes of the longest Ethernet frame that a parcel of TCP or UDP becomes.
fn segment(parcel: &[u8]) -> Option<usize> {
    let (offload, frame) = OffloadHeader::ref_from_prefix(parcel).ok()?;
    let transport = usize::from(offload.checksum_start.get());
    let payload = match GsoType(offload.gso_type & !GsoType::ECN) {
        GsoType::NONE => return Some(frame.len()),
        GsoType::UDP_L4 => transport + UDP_HEADER,
        // The data offset of TCP, in words (RFC 9293, 3.1).
        _ => transport + 4 * usize::from(frame.get(transport + 12)? >> 4),
    };
    Some(payload + usize::from(offload.gso_size.get()))
}

const UDP_HEADER: usize = 8;

/// What frames to a peer begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastPeer {
    /// The peer's address.
    pub destination: Mac,
    /// This device's address.
    pub source: Mac,
    /// The peer's index of the session.
    pub receiver: SessionIndex,
    /// Longest frame in bytes, Ethernet header included.
    pub frame_max: usize,
}

/// What went the fast way by a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FastTraffic {
    /// Packets; a super-packet is one.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Link frames.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
}

impl Link {
    /// Whether data crosses in clear.
    #[must_use]
    pub fn is_data_clear(&self) -> bool {
        self.data == Protection::CLEAR
    }

    /// What frames to a peer begin with; `None` if it is not up, or data is sealed.
    #[must_use]
    pub fn fast_peer(&self, peer: PeerId) -> Option<FastPeer> {
        if !self.is_data_clear() {
            return None;
        }
        let peer = self.peers.get(peer.0 as usize)?;
        let session = self.sessions.get(peer.life.as_ref()?.current)?;
        Some(FastPeer {
            destination: peer.mac,
            source: self.interface.mac,
            receiver: session.remote,
            frame_max: self.frame_len_max(),
        })
    }

    /// The peer whose session this is here.
    #[must_use]
    pub fn fast_sender(&self, session: SessionIndex) -> Option<PeerId> {
        match self.sessions.get(session)?.owner {
            crate::session::Owner::Peer(place) => Some(crate::association::id(place)),
            crate::session::Owner::Candidate(_) => None,
        }
    }

    /// All peers that there were, up or not.
    pub fn fast_peers(&self) -> impl Iterator<Item = (PeerId, Option<FastPeer>)> {
        (0..self.peers.len()).map(|place| {
            let peer = crate::association::id(place);
            (peer, self.fast_peer(peer))
        })
    }

    /// Counts what went to a peer.
    pub fn count_fast_sent(&mut self, traffic: &FastTraffic) {
        self.counters.tx_all(Kind::PACKET, traffic.frames, traffic.frame_bytes);
    }

    /// Counts what came from a peer.
    pub fn count_fast_received(&mut self, traffic: &FastTraffic) {
        self.counters.rx_all(Kind::PACKET, traffic.frames, traffic.frame_bytes);
    }
}
