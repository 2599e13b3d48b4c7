//! Time: what is due when. There are few peers, so the earliest timer is looked for anew whenever it is asked for.
//!
//! | timer | is due | does |
//! |---|---|---|
//! | hello | see [`crate::discovery`] | says hello |
//! | attempt | see [`crate::attempt`] | repeats a handshake frame, or gives up |
//! | half open | 2 s after the response | forgets the candidate |
//! | dead | `missed` of the peer's intervals after its last sign of life | peer down |
//! | keepalive | an interval after the last frame sent, at least every second | sends one |
//! | rekey | 120 s after the last | begins a handshake (control) |
//! | previous keys | 1 s after a rekey | forgets them |
//! | retransmission | see [`crate::stream`] | repeats segments |

use crate::peer::Peer;
use crate::{Link, Time};

impl Link {
    /// When [`Link::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.closed {
            return None;
        }
        let attempts = self.attempts.iter().map(|attempt| attempt.next);
        let half_open = self.half_open.front().and_then(|index| self.half_open_until(*index));
        let peers = self.peers.iter().filter_map(|peer| self.peer_deadline(peer));
        let hello = core::iter::once(self.hello.next());
        hello.chain(attempts).chain(half_open).chain(peers).min()
    }

    /// Lets time pass; harmless at any moment. Hand over the frames that have arrived first: after a long wake-up they
    /// are what tells that a peer is alive.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.attempts_timeout(now);
        self.half_open_timeout(now);
        for index in 0..self.peers.len() {
            self.peer_timeout(index, now);
        }
        self.hello_timeout(now);
        self.refusals.expire(now);
    }

    fn peer_deadline(&self, peer: &Peer) -> Option<Time> {
        let life = peer.life.as_ref()?;
        let keepalive = if life.keepalive_due { None } else { Some(life.keepalive_at(self.keepalive)) };
        let previous = life.previous.map(|(_, until)| until);
        let streams = life.streams.senders().iter().filter_map(|stream| stream.deadline(&peer.rtt));
        let dead = core::iter::once(life.dead_at(self.missed));
        dead.chain(keepalive).chain(previous).chain(life.rekey_at).chain(streams).min()
    }

    fn peer_timeout(&mut self, index: usize, now: Time) {
        let peer = &mut self.peers[index];
        let Some(life) = &mut peer.life else { return };
        if life.dead_at(self.missed) <= now {
            return self.lose(index, now);
        }
        life.keepalive_due |= life.keepalive_at(self.keepalive) <= now;
        for stream in life.streams.senders_mut() {
            stream.handle_timeout(&peer.rtt, now);
        }
        if let Some((previous, _)) = life.previous.take_if(|(_, until)| *until <= now) {
            self.sessions.remove(previous);
        }
        if life.rekey_at.is_some_and(|at| at <= now) {
            self.begin_rekey(index, now);
        }
    }
}
