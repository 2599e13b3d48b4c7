//! Finding one another.
//!
//! Every device says hello to [`Mac::LINK_GROUP`]: at once when it starts or loses a peer, then after 100, 200 and
//! 400 ms, then eight times every [`MISSING`], then every [`SEEKING`]; after the first four every [`CALM`] instead when at
//! least one peer is up and none is down. A relay answers the hello of a control with which it has no session (or one of
//! another boot id) by a hello to that control alone, so a control that starts late waits for nobody. A control that hears
//! such a relay begins a handshake.
//!
//! A hello is only a hint: it is never believed. Sessions come and go by handshakes and by liveness alone, so a repeated
//! or forged hello costs a handshake attempt at most. When there are too many to answer each, one hello to all answers.
//!
//! *Gates in the order of cost.* Role, mode and session index are looked at before the keyed hash is computed, and that
//! before any public-key work.
//!
//! *Stamps.* The `counter` of a hello grows by one a second, from the sender's boot id on. A handshake's first frame repeats
//! that of the newest hello that it answers, under its gate. So a relay that has more handshakes to take part in than it likes
//! can tell what was said just now from what somebody has recorded ([`Link::is_fresh`]), without a clock in common.

use crate::gate::Gate;
use crate::interface::Head;
use crate::peer::Peer;
use crate::{Link, Time};
use core::time::Duration;
use frames::discovery::{Hello, Role};
use frames::header::{Flags, HEADERS_LEN, Kind, LinkHeader, TAG_LEN};
use frames::{BootId, DropReason, Mac, SessionIndex};

/// When hellos are sent, counted from the start or the loss of a peer.
#[derive(Debug)]
pub(crate) struct HelloTimer {
    sent: usize,
    last: Time,
    next: Time,
}

/// Pauses after the first hellos.
const QUICK: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
/// Pause while someone is missed, at first: most cuts are short.
const MISSING: Duration = Duration::from_millis(500);
/// The first hello after which that pause is [`SEEKING`]: those before take 4.7 s.
const MISSING_TO: usize = 11;
/// Pause while someone is missed for longer.
const SEEKING: Duration = Duration::from_secs(1);
/// Pause while nobody is known to be missed. Two devices whose first hellos were all lost still meet.
const CALM: Duration = Duration::from_secs(2);
/// Pause while there are more hellos than can be answered one by one.
const CROWDED: Duration = Duration::from_millis(100);
/// Seconds for which a stamp is fresh: several hellos may be lost, and the tries of a handshake take more than one.
const FRESH_FOR: u64 = 10;

impl HelloTimer {
    pub(crate) fn new(now: Time) -> Self {
        Self { sent: 0, last: Time(0), next: now }
    }

    /// The next hello goes out at once.
    pub(crate) fn hurry(&mut self) {
        *self = Self::new(Time(0));
    }

    /// The next hello answers many.
    fn answer_all(&mut self) {
        self.next = self.next.min(self.last + CROWDED);
    }

    pub(crate) fn next(&self) -> Time {
        self.next
    }

    fn advance(&mut self, calm: bool, now: Time) {
        let pause = match QUICK.get(self.sent) {
            Some(pause) => *pause,
            None if calm => CALM,
            None if self.sent < MISSING_TO => MISSING,
            None => SEEKING,
        };
        self.sent = self.sent.saturating_add(1);
        (self.last, self.next) = (now, now + pause);
    }
}

impl Link {
    /// Sends the hello that is due.
    pub(crate) fn hello_timeout(&mut self, now: Time) {
        if self.hello.next() > now {
            return;
        }
        self.push_hello(Mac::LINK_GROUP, now);
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
        self.pre_check(head, now)?;
        let trust = self.trust_of(frame, head.body_len, gated).ok_or(DropReason::BadGate)?;
        match head.header.kind {
            Kind::HANDSHAKE_INIT => self.receive_init(head.body(frame), head, &trust, now),
            _ => self.receive_response(head.body(frame), head, &trust, now),
        }
    }

    /// What is wrong with a handshake frame at first sight, before its tag is looked at.
    fn pre_check(&mut self, head: &Head, now: Time) -> Result<(), DropReason> {
        if head.header.kind == Kind::HANDSHAKE_RESPONSE {
            let receiver = head.header.receiver();
            let asked = self.attempts.iter().any(|attempt| attempt.local == receiver);
            return if asked { Ok(()) } else { Err(DropReason::BadHandshake) };
        }
        if self.role != Role::Relay {
            return Err(DropReason::SameRole);
        }
        if self.handshakes.is_low(now) && !self.is_fresh(head.header.counter.get(), now) {
            return Err(DropReason::HandshakeLimit);
        }
        Ok(())
    }

    /// The stamp of a hello.
    fn stamp(&self, now: Time) -> u64 {
        self.boot.0.wrapping_add(now.0 / 1_000_000)
    }

    /// Whether a stamp is of a hello that this device said just now.
    fn is_fresh(&self, stamp: u64, now: Time) -> bool {
        self.stamp(now).wrapping_sub(stamp) <= FRESH_FOR
    }

    fn receive_hello(&mut self, frame: &[u8], head: &Head, gated: bool, now: Time) -> Result<(), DropReason> {
        let hello = Hello::parse(head.body(frame)).map_err(|_| DropReason::Malformed)?;
        let (source, stamp) = (head.source, head.header.counter.get());
        let admitted = |link: &Self| link.admits_hello(&hello, frame, head.body_len, gated);
        self.check_hello(&hello, source, admitted, now)?;
        let index = self.peer_named(hello.role, hello.name);
        if let Some(peer) = index.map(|index| &mut self.peers[index])
            && peer.boot == hello.boot
        {
            peer.stamp = newer(peer.stamp, stamp, hello.boot);
            if peer.life.is_some() {
                return Ok(());
            }
        }
        if self.begins(hello.role, hello.name) {
            return self.begin_handshake(hello.role, hello.name, hello.boot, source, stamp, now);
        }
        if !self.answers.take(now) {
            self.hello.answer_all();
            return Err(DropReason::HandshakeLimit);
        }
        self.push_hello(source, now);
        Ok(())
    }

    /// Whether there can be a session with the sender of a hello, at its face value. Whether it is `admitted` is asked only
    /// if all else is right that costs less to find out.
    pub(crate) fn check_hello(
        &mut self,
        hello: &Hello<'_>,
        source: Mac,
        admitted: impl FnOnce(&Self) -> Result<(), DropReason>,
        now: Time,
    ) -> Result<(), DropReason> {
        let own = self.own_hello();
        let namesake = hello.role == own.role && hello.name == own.name && hello.boot != own.boot;
        let meets = self.meets_role(hello.role, hello.name);
        let reason = if !meets && !namesake {
            return Err(DropReason::SameRole);
        } else if meets && hello.mode != own.mode {
            DropReason::ModeMismatch
        } else {
            match admitted(self) {
                Ok(()) if namesake => DropReason::NameInUse,
                Ok(()) if (hello.control, hello.data) == (own.control, own.data) => return Ok(()),
                Ok(()) => DropReason::ModeMismatch,
                Err(_) if namesake => return Err(DropReason::SameRole),
                Err(reason) => reason,
            }
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

    pub(crate) fn push_hello(&mut self, destination: Mac, now: Time) {
        let mut body = [0; HELLO_MAX];
        if let Ok(length) = self.own_hello().emit(&mut body) {
            let (gate, stamp) = (self.secrets.gate().cloned(), self.stamp(now));
            let place = (Kind::HELLO, SessionIndex(0), stamp);
            self.push_handshake(destination, place, &body[..length], gate.as_ref());
        }
    }

    /// Queues a discovery or handshake frame of this kind, to this receiver and with this stamp, with the gate's tag in
    /// secured modes.
    pub(crate) fn push_handshake(
        &mut self,
        destination: Mac,
        (kind, receiver, stamp): (Kind, SessionIndex, u64),
        body: &[u8],
        gate: Option<&Gate>,
    ) {
        let Ok(length) = u16::try_from(body.len()) else { return };
        let flags = if gate.is_some() { Flags::GATED } else { Flags::empty() };
        let mut frame = vec![0; HEADERS_LEN];
        self.interface.write_headers(
            &mut frame,
            destination,
            &LinkHeader::new(kind, flags, length, receiver, stamp),
        );
        frame.extend_from_slice(body);
        if let Some(gate) = gate {
            frame.resize(frame.len() + TAG_LEN, 0);
            gate.close(&mut frame, body.len());
        }
        self.push_frame(kind, frame);
    }
}

/// The later of two stamps of the device of this boot id; zero is none.
pub(crate) fn newer(known: u64, stamp: u64, boot: BootId) -> u64 {
    let age = |stamp: u64| stamp.wrapping_sub(boot.0);
    if known == 0 || (stamp != 0 && age(stamp) > age(known)) { stamp } else { known }
}

/// Longest hello that this build sends, in bytes.
pub(crate) const HELLO_MAX: usize = 79;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_while_someone_is_missed_and_then_slower() {
        let mut timer = HelloTimer::new(Time(0));
        let mut pause = |calm| {
            let now = timer.next();
            timer.advance(calm, now);
            (timer.next() - now).as_millis()
        };
        assert_eq!([pause(true), pause(false), pause(true)], [100, 200, 400]);
        assert_eq!([pause(false), pause(true)], [500, 2000]);
        let missed: Vec<_> = (0..8).map(|_| pause(false)).collect();
        assert_eq!(missed, [500, 500, 500, 500, 500, 500, 1000, 1000]);
        assert_eq!([pause(true), pause(false)], [2000, 1000]);
    }

    #[test]
    fn many_are_answered_at_once_ten_times_a_second() {
        let mut timer = HelloTimer::new(Time(0));
        for _ in 0..5 {
            timer.advance(true, timer.next());
        }
        let last = timer.last;
        timer.answer_all();
        timer.answer_all();
        assert_eq!(timer.next() - last, CROWDED);
    }

    #[test]
    fn the_newest_stamp_of_a_life_counts() {
        let boot = BootId(u64::MAX - 1);
        assert_eq!(newer(0, u64::MAX, boot), u64::MAX);
        assert_eq!(newer(u64::MAX, 7, boot), 7);
        assert_eq!(newer(7, u64::MAX, boot), 7);
        assert_eq!(newer(7, 0, boot), 7, "a device that has none");
    }
}
