//! Finding one another.
//!
//! Every device says hello to [`Mac::LINK_GROUP`]: at once when it starts or loses a peer, then after 100, 200 and
//! 400 ms, then every second; every [`CALM`] when at least one peer is up and none is down. A relay answers the hello of
//! a control with which it has no session (or one of another boot id) by a hello to that control alone, so a control
//! that starts late waits for nobody. A control that hears such a relay begins a handshake.
//!
//! A hello is only a hint: it is never believed. Sessions come and go by handshakes and by liveness alone, so a repeated
//! or forged hello costs a handshake attempt at most.

use crate::gate::Gate;
use crate::interface::Head;
use crate::peer::Peer;
use crate::{Link, Time};
use core::time::Duration;
use frames::discovery::{Hello, Role};
use frames::header::{Flags, HEADERS_LEN, Kind, LinkHeader, TAG_LEN};
use frames::{DropReason, Mac, SessionIndex};

/// When hellos are sent, counted from the start or the loss of a peer.
#[derive(Debug)]
pub(crate) struct HelloTimer {
    sent: usize,
    next: Time,
}

/// Pauses after the first hellos.
const QUICK: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
/// Pause while someone is missed.
const SEEKING: Duration = Duration::from_secs(1);
/// Pause while nobody is known to be missed. Two devices whose first hellos were all lost still meet.
const CALM: Duration = Duration::from_secs(2);

impl HelloTimer {
    pub(crate) fn new(now: Time) -> Self {
        Self { sent: 0, next: now }
    }

    /// The next hello goes out at once.
    pub(crate) fn hurry(&mut self) {
        *self = Self::new(Time(0));
    }

    pub(crate) fn next(&self) -> Time {
        self.next
    }

    fn advance(&mut self, calm: bool, now: Time) {
        let pause = QUICK.get(self.sent).copied().unwrap_or(if calm { CALM } else { SEEKING });
        self.sent = self.sent.saturating_add(1);
        self.next = now + pause;
    }
}

impl Link {
    /// Sends the hello that is due.
    pub(crate) fn hello_timeout(&mut self, now: Time) {
        if self.hello.next() > now {
            return;
        }
        self.push_hello(Mac::LINK_GROUP);
        let is_missed = |peer: &&Peer| !peer.forgotten && self.meets_role(peer.role, &peer.name);
        let mut missed = self.peers.iter().filter(is_missed).peekable();
        let calm = missed.peek().is_some() && missed.all(|peer| peer.life.is_some());
        self.hello.advance(calm, now);
    }

    /// Takes a discovery or handshake frame.
    pub(crate) fn receive_discovery(
        &mut self,
        frame: &[u8],
        head: &Head,
        now: Time,
    ) -> Result<(), DropReason> {
        let gated = head.header.flags().contains(Flags::GATED);
        if head.header.kind == Kind::HELLO {
            return self.receive_hello(frame, head, gated, now);
        }
        if ![Kind::HANDSHAKE_INIT, Kind::HANDSHAKE_RESPONSE].contains(&head.header.kind) {
            return Err(DropReason::UnknownKind);
        }
        let trust = self.trust_of(frame, head.body_len, gated).ok_or(DropReason::BadGate)?;
        match head.header.kind {
            Kind::HANDSHAKE_INIT => self.receive_init(head.body(frame), head, &trust, now),
            _ => self.receive_response(head.body(frame), head, &trust, now),
        }
    }

    fn receive_hello(&mut self, frame: &[u8], head: &Head, gated: bool, now: Time) -> Result<(), DropReason> {
        let hello = Hello::parse(head.body(frame)).map_err(|_| DropReason::Malformed)?;
        let (source, admitted) = (head.source, self.admits_hello(&hello, frame, head.body_len, gated));
        self.check_hello(&hello, source, admitted, now)?;
        let met = self.peer_named(hello.role, hello.name).map(|index| &self.peers[index]);
        if met.is_some_and(|peer| peer.life.is_some() && peer.boot == hello.boot) {
            return Ok(());
        }
        if self.begins(hello.role, hello.name) {
            return self.begin_handshake(hello.role, hello.name, hello.boot, source, now);
        }
        if !self.answers.take(now) {
            return Err(DropReason::HandshakeLimit);
        }
        self.push_hello(source);
        Ok(())
    }

    /// Whether there can be a session with the sender of a hello, at its face value.
    pub(crate) fn check_hello(
        &mut self,
        hello: &Hello<'_>,
        source: Mac,
        admitted: Result<(), DropReason>,
        now: Time,
    ) -> Result<(), DropReason> {
        let own = self.own_hello();
        let same_role = hello.role == own.role;
        let reason = if same_role && admitted.is_ok() && hello.name == own.name && hello.boot != own.boot {
            DropReason::NameInUse
        } else if !self.meets_role(hello.role, hello.name) {
            return Err(DropReason::SameRole);
        } else if hello.mode != own.mode {
            DropReason::ModeMismatch
        } else if let Err(reason) = admitted {
            reason
        } else if (hello.control, hello.data) != (own.control, own.data) {
            DropReason::ModeMismatch
        } else {
            return Ok(());
        };
        if !self.is_up_at(hello.role, hello.name, source) {
            self.refuse(hello.name, hello.role, source, reason, now);
        }
        Err(reason)
    }

    /// Whether there is a session with this name at this address: what anyone says in its name does not count.
    fn is_up_at(&self, role: Role, name: &str, mac: Mac) -> bool {
        let index = self.peer_named(role, name);
        index.map(|index| &self.peers[index]).is_some_and(|peer| peer.life.is_some() && peer.mac == mac)
    }

    /// Notes a device with which there can be no session.
    pub(crate) fn refuse(&mut self, name: &str, role: Role, mac: Mac, reason: DropReason, now: Time) {
        let event = self.refusals.note(name, role, mac, reason, now);
        self.events.extend(event);
    }

    pub(crate) fn push_hello(&mut self, destination: Mac) {
        let mut body = [0; HELLO_MAX];
        if let Ok(length) = self.own_hello().emit(&mut body) {
            let gate = self.secrets.gate().cloned();
            self.push_handshake(destination, Kind::HELLO, SessionIndex(0), &body[..length], gate.as_ref());
        }
    }

    /// Queues a discovery or handshake frame, with the gate's tag in secured modes.
    pub(crate) fn push_handshake(
        &mut self,
        destination: Mac,
        kind: Kind,
        receiver: SessionIndex,
        body: &[u8],
        gate: Option<&Gate>,
    ) {
        let Ok(length) = u16::try_from(body.len()) else { return };
        let flags = if gate.is_some() { Flags::GATED } else { Flags::empty() };
        let mut frame = vec![0; HEADERS_LEN];
        self.interface.write_headers(
            &mut frame,
            destination,
            &LinkHeader::new(kind, flags, length, receiver, 0),
        );
        frame.extend_from_slice(body);
        if let Some(gate) = gate {
            frame.resize(frame.len() + TAG_LEN, 0);
            gate.close(&mut frame, body.len());
        }
        self.push_frame(kind, frame);
    }
}

/// Longest hello that this build sends, in bytes.
pub(crate) const HELLO_MAX: usize = 79;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_then_seeking_then_calm() {
        let mut timer = HelloTimer::new(Time(0));
        let mut pause = |calm| {
            let now = timer.next();
            timer.advance(calm, now);
            (timer.next() - now).as_millis()
        };
        assert_eq!([pause(true), pause(false), pause(true)], [100, 200, 400]);
        assert_eq!([pause(false), pause(true), pause(false)], [1000, 2000, 1000]);
    }
}
