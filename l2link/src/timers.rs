//! Time: what is due when. Of the timers of peers [`crate::ready`] knows the earliest.
//!
//! | timer | is due | does |
//! |---|---|---|
//! | hello | see [`crate::discovery`] | says hello |
//! | attempt | see [`crate::attempt`] | repeats a handshake frame, or gives up |
//! | half open | 2 s after the response | forgets the candidate |
//! | dead | `missed` of the peer's intervals after its last sign of life | peer down |
//! | keepalive | an interval after the last frame sent, at least every second | sends one |
//! | rekey | 120 s after the last | begins a handshake (control) |
//! | old keys | 180 s after the last rekey | peer down |
//! | previous keys | 1 s after a rekey | forgets them |
//! | retransmission | see [`crate::stream`] | repeats segments |

use crate::{DownReason, Link, Time};

impl Link {
    /// When [`Link::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.closed {
            return None;
        }
        let attempts = self.attempts.iter().map(|attempt| attempt.next);
        let half_open = self.half_open.front().and_then(|index| self.half_open_until(*index));
        let hello = core::iter::once(self.hello.next());
        hello.chain(attempts).chain(half_open).chain(self.ready.next_alarm()).min()
    }

    /// Lets time pass; harmless at any moment. Hand over the frames that have arrived first: after a long wake-up they
    /// are what tells that a peer is alive.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.attempts_timeout(now);
        self.half_open_timeout(now);
        for index in self.ready.take_due(now).around(0) {
            self.peer_timeout(index, now);
            self.note(index);
        }
        self.hello_timeout(now);
        self.refusals.expire(now);
    }

    /// Something happened to a peer: it may have something to send, and be due earlier.
    pub(crate) fn note(&mut self, index: usize) {
        self.ready.to_send.insert(index);
        self.set_alarm(index);
    }

    pub(crate) fn set_alarm(&mut self, index: usize) {
        let deadline = self.peer_deadline(index);
        self.ready.alarm(index, deadline);
    }

    pub(crate) fn peer_deadline(&self, index: usize) -> Option<Time> {
        let peer = &self.peers[index];
        let life = peer.life.as_ref()?;
        let keepalive = if life.keepalive_due { None } else { Some(life.keepalive_at(self.keepalive)) };
        let previous = life.previous.map(|(_, until)| until);
        let streams = life.streams.senders().iter().filter_map(|stream| stream.deadline(&peer.rtt));
        let dead = core::iter::once(life.dead_at(self.missed));
        dead.chain(keepalive).chain(previous).chain(life.rekey_at).chain(life.keys_until).chain(streams).min()
    }

    fn peer_timeout(&mut self, index: usize, now: Time) {
        let peer = &mut self.peers[index];
        let Some(life) = &mut peer.life else { return };
        if life.dead_at(self.missed) <= now {
            return self.lose(index, DownReason::Timeout, now);
        }
        if life.keys_until.is_some_and(|until| until <= now) {
            return self.lose(index, DownReason::KeysExpired, now);
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
