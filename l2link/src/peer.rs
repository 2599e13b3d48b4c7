//! What the link knows of a peer.

use crate::PublicKey;
use crate::Time;
use crate::reassembly::Reassembly;
use crate::rtt::Rtt;
use crate::stream::Streams;
use core::time::Duration;
use frames::discovery::Role;
use frames::route::RoutesDigest;
use frames::{BootId, Mac, SessionIndex};

/// Peers that this device remembers at most.
pub(crate) const PEERS_MAX: usize = 256;
/// Even with traffic, a keepalive is sent this often, for its round-trip time.
pub(crate) const KEEPALIVE_AT_LEAST: Duration = Duration::from_secs(1);

/// Ended associations of a peer that are remembered. A handshake for one can come as long as the other side has not seen its end;
/// several ended at once by handshakes side by side, of which there are two or three.
const ENDED_MAX: usize = 8;

/// A device that had a session here.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) boot: BootId,
    pub(crate) mac: Mac,
    /// Of its newest hello in this life of it; zero if there is none.
    pub(crate) stamp: u64,
    /// In mode `keys`.
    pub(crate) key: Option<PublicKey>,
    /// When it went up or down.
    pub(crate) since: Time,
    /// The newest association, over if there is no life: it never begins again.
    pub(crate) association: u64,
    /// Those before it in the same life of the peer, newest last: they never begin again either.
    pub(crate) ended: Vec<u64>,
    pub(crate) rtt: Rtt,
    pub(crate) life: Option<Life>,
    /// It is down, and an operator does not want to hear of it any more.
    pub(crate) forgotten: bool,
}

impl Peer {
    /// Whether an association of the peer's present life is over here. What the other side sends in it goes on where its
    /// streams are, which nobody here knows any more.
    pub(crate) fn has_ended(&self, association: u64) -> bool {
        self.ended.contains(&association) || (self.life.is_none() && self.association == association)
    }

    /// The ended associations, once another one has begun.
    pub(crate) fn ended_by_next(&self) -> Vec<u64> {
        let ended = self.ended.iter().copied().chain([self.association]);
        ended.skip((self.ended.len() + 1).saturating_sub(ENDED_MAX)).collect()
    }
}

/// What exists from `PeerUp` to `PeerDown`: one association.
#[derive(Debug)]
pub(crate) struct Life {
    /// The session by which frames are sent.
    pub(crate) current: SessionIndex,
    /// The one before the last rekey, still received until this time.
    pub(crate) previous: Option<(SessionIndex, Time)>,
    pub(crate) streams: Streams,
    pub(crate) reassembly: Reassembly,
    /// Number of the newest parcel sent in pieces.
    pub(crate) parcel: u32,
    pub(crate) last_heard: Time,
    /// When the last frame was sent that counts as a sign of life.
    pub(crate) last_sent: Time,
    pub(crate) last_keepalive: Time,
    pub(crate) keepalive_due: bool,
    /// Longest silence that the peer promised.
    pub(crate) interval: Duration,
    /// When the keys are to be replaced; only the control does.
    pub(crate) rekey_at: Option<Time>,
    /// When the keys end the session, if they were not replaced.
    pub(crate) keys_until: Option<Time>,
    /// What every keepalive to the peer says of its routes.
    pub(crate) routes_here: Option<RoutesDigest>,
    /// What the peer said of this device's routes, not told to the owner yet.
    pub(crate) routes_there: Option<RoutesDigest>,
}

impl Life {
    pub(crate) fn new(current: SessionIndex, interval: Duration, now: Time) -> Self {
        Self {
            current,
            previous: None,
            streams: Streams::default(),
            reassembly: Reassembly::default(),
            parcel: 0,
            last_heard: now,
            last_sent: now,
            last_keepalive: now,
            keepalive_due: true,
            interval,
            rekey_at: None,
            keys_until: None,
            routes_here: None,
            routes_there: None,
        }
    }

    /// When the peer is given up unless it is heard.
    pub(crate) fn dead_at(&self, missed: u32) -> Time {
        self.last_heard + self.interval.saturating_mul(missed)
    }

    /// When a keepalive is due. `interval` is this device's longest silence.
    pub(crate) fn keepalive_at(&self, interval: Duration) -> Time {
        (self.last_sent + interval).min(self.last_keepalive + KEEPALIVE_AT_LEAST)
    }
}
