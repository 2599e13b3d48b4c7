//! [`Segment`]: all devices, all that was ever on the wire, and each thing that can happen.
//!
//! What happens without effect returns `false`.

use crate::end::{Attempt, Candidate, End, Meeting};
use crate::table::{Entry, Kind, Message, Table};
use crate::wire::{Association, Begun, Life, Session, Wire, next};
use crate::{Bounds, Defect};

/// By what everything goes.
#[derive(Debug, Clone, Copy)]
pub struct Law {
    /// What the tables hold.
    pub table: Kind,
    /// What is broken.
    pub defect: Option<Defect>,
}

/// A segment at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Controls.
    pub controls: Vec<End>,
    /// Relays.
    pub relays: Vec<End>,
    /// By control, then by relay.
    pub wires: Vec<Vec<Wire>>,
    /// What the programs of each control have open.
    pub open: Vec<u8>,
    /// By relay, then by control.
    pub tables: Vec<Vec<Table>>,
    /// Of each relay, the controls (as bits) that the orphans may belong to.
    pub claimants: Vec<u8>,
    /// Faults to come.
    pub faults: u8,
}

impl Segment {
    /// Devices that have just started. The first socket of each control is open.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        let (controls, relays) = (bounds.controls, bounds.relays);
        Self {
            controls: vec![End::new(0, relays); controls],
            relays: vec![End::new(0, controls); relays],
            wires: vec![vec![Wire::default(); relays]; controls],
            open: vec![1; controls],
            tables: vec![vec![Table::default(); controls]; relays],
            claimants: vec![0; relays],
            faults: bounds.faults,
        }
    }

    /// All pairs of a control and a relay.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let relays = self.relays.len();
        (0..self.controls.len()).flat_map(move |control| (0..relays).map(move |relay| (control, relay)))
    }

    /// The control hears a hello of the relay's in one of its lives.
    pub fn hear(&mut self, c: usize, r: usize, life: Life, law: Law) -> bool {
        let (control, wire) = (&self.controls[c], &self.wires[c][r]);
        let dead = control.peers[r].as_ref().is_some_and(|peer| peer.up.is_none());
        let same = |attempt: &Attempt| {
            attempt.other == r && attempt.heard == life && !wire.begun[usize::from(attempt.begun)].rekey
        };
        if control.up(r).is_some_and(|(peer, _)| peer.life == life)
            || control.attempts.iter().any(same)
            || (dead && law.defect == Some(Defect::NeverTriesAgain))
        {
            return false;
        }
        self.begin(c, r, life, None);
        true
    }

    /// The control begins a handshake, for new keys if it tells an association.
    fn begin(&mut self, c: usize, r: usize, heard: Life, rekey: Option<u8>) {
        let (control, wire) = (&mut self.controls[c], &mut self.wires[c][r]);
        let association = rekey.unwrap_or_else(|| {
            wire.associations.push(Association::default());
            next(&wire.associations) - 1
        });
        let begun = next(&wire.begun);
        let relay = self.relays[r].life;
        wire.begun.push(Begun { life: control.life, relay, association, rekey: rekey.is_some() });
        control.attempts.push(Attempt { other: r, begun, heard, session: None });
    }

    /// `HANDSHAKE_INIT` arrives at the relay.
    pub fn init(&mut self, c: usize, r: usize, begun: u8, law: Law) -> bool {
        let (relay, wire) = (&mut self.relays[r], &mut self.wires[c][r]);
        let answers = |session: u8| wire.session(session).begun == begun;
        let candidate = |candidate: &Candidate| candidate.other == c && answers(candidate.session);
        let peer = relay.up(c).map(|(_, up)| [Some(up.current), up.previous]);
        if relay.candidates.iter().any(candidate) || peer.into_iter().flatten().flatten().any(answers) {
            return false;
        }
        let before = wire.sessions.iter().position(|session| session.begun == begun);
        let session = match before {
            Some(before) if law.defect == Some(Defect::RepeatsItself) => {
                let session = &mut wire.sessions[before];
                (session.life, session.control) = (relay.life, self.controls[c].life);
                u8::try_from(before).unwrap_or(u8::MAX)
            }
            _ => {
                let session = next(&wire.sessions);
                wire.sessions.push(Session {
                    begun,
                    life: relay.life,
                    control: self.controls[c].life,
                    confirmed: false,
                    opened: false,
                    from: None,
                    closed_by_control: false,
                    closed_by_relay: false,
                });
                session
            }
        };
        relay.candidates.push(Candidate { other: c, session });
        true
    }

    /// `HANDSHAKE_RESPONSE` arrives at the control.
    pub fn response(&mut self, c: usize, r: usize, session: u8, law: Law) -> bool {
        let (control, wire) = (&mut self.controls[c], &mut self.wires[c][r]);
        let (answer, association) = (wire.session(session), wire.association(session));
        let asked = |attempt: &Attempt| {
            attempt.other == r && attempt.begun == answer.begun && attempt.session.is_none()
        };
        let Some(place) = control.attempts.iter().position(asked) else { return false };
        let meets = control.meets(r, answer.life, association, law.defect);
        let rekey = wire.begun[usize::from(answer.begun)].rekey;
        if meets.is_none_or(|meets| rekey != (meets == Meeting::Rekey)) {
            control.attempts.remove(place);
            return true;
        }
        control.attempts[place].session = Some(session);
        wire.session_mut(session).confirmed = true;
        true
    }

    /// The control's first frame under the keys of a session arrives at the relay.
    pub fn confirm(&mut self, c: usize, r: usize, session: u8, law: Law) -> bool {
        let (relay, wire) = (&mut self.relays[r], &mut self.wires[c][r]);
        let waits = |candidate: &Candidate| candidate.other == c && candidate.session == session;
        if !wire.session(session).confirmed || !relay.candidates.iter().any(waits) {
            return false;
        }
        let (answer, association) = (wire.session(session), wire.association(session));
        let lives = (wire.begun[usize::from(answer.begun)].life, answer.control);
        let Some(meeting) = relay.establish(c, session, lives, association, law.defect) else { return true };
        wire.session_mut(session).opened = true;
        let table = &mut self.tables[r][c];
        match meeting {
            Meeting::Rekey => {}
            Meeting::Replace => {
                table.down(law.table, true);
                table.up(law.defect);
            }
            Meeting::Up => table.up(law.defect),
        }
        true
    }

    /// The relay's first frame under the keys of a session arrives at the control.
    pub fn open(&mut self, c: usize, r: usize, session: u8, law: Law) -> bool {
        let (control, wire) = (&mut self.controls[c], &mut self.wires[c][r]);
        let waits = |attempt: &Attempt| attempt.other == r && attempt.session == Some(session);
        if !wire.session(session).opened || !control.attempts.iter().any(waits) {
            return false;
        }
        let (answer, association) = (wire.session(session), wire.association(session));
        let lives = (answer.life, wire.begun[usize::from(answer.begun)].relay);
        let Some(meeting) = control.establish(r, session, lives, association, law.defect) else {
            return true;
        };
        if meeting != Meeting::Rekey {
            let adds = entries(self.open[c]).map(Message::Add);
            wire.associations[usize::from(association)].log.extend(adds);
        }
        wire.session_mut(session).from = control.up(r).map(|(_, up)| up.messages);
        true
    }

    /// The control has said all that there was to say when the session began.
    pub fn end(&mut self, c: usize, r: usize) -> bool {
        let Some((peer, _)) = self.controls[c].up(r) else { return false };
        let log = &mut self.wires[c][r].associations[usize::from(peer.association)].log;
        if log.contains(&Message::End) {
            return false;
        }
        log.push(Message::End);
        true
    }

    /// The next message of the control's arrives at the relay, and its acknowledgement at the control.
    pub fn message(&mut self, c: usize, r: usize, law: Law) -> bool {
        let wire = &self.wires[c][r];
        let Some((peer, up)) = self.relays[r].up(c) else { return false };
        let (association, number) = (peer.association, up.messages);
        let sent_by = |session: u8| wire.session(session).from.is_some_and(|from| from <= number);
        let reachable = sent_by(up.current) || up.previous.is_some_and(sent_by);
        let Some(message) = wire.log(association).get(usize::from(number)).filter(|_| reachable) else {
            return false;
        };
        let message = *message;
        if let Some(up) = self.relays[r].up_mut(c) {
            up.messages += 1;
        }
        self.apply(c, r, message, law);
        let Some((peer, up)) = self.relays[r].up(c) else { return true };
        let (association, current, messages) = (peer.association, up.current, up.messages);
        if self.controls[c]
            .up(r)
            .is_some_and(|(peer, up)| peer.association == association && up.takes(current))
            && let Some(up) = self.controls[c].up_mut(r)
        {
            up.messages = up.messages.max(messages);
        }
        true
    }

    fn apply(&mut self, c: usize, r: usize, message: Message, law: Law) {
        self.tables[r][c].apply(message, law.defect);
        if message != Message::End {
            return;
        }
        if law.defect == Some(Defect::SweepsOthers) {
            self.tables[r].iter_mut().for_each(Table::sweep);
        }
        if self.claimants[r] & bit(c) != 0 {
            self.claimants[r] &= !bit(c);
            if self.claimants[r] == 0 {
                self.give_orphans_up(r);
            }
        }
    }

    /// The relay gives up what nobody has claimed: all have said what is theirs, or the time is over.
    pub fn give_orphans_up(&mut self, r: usize) -> bool {
        let before = self.claimants[r];
        self.claimants[r] = 0;
        let orphans = self.tables[r].iter_mut().map(|table| core::mem::take(&mut table.orphans));
        orphans.fold(0, |all, orphans| all | orphans) != 0 || before != 0
    }

    /// The time for which the relay keeps what a silent control has is over.
    pub fn hold(&mut self, c: usize, r: usize) -> bool {
        let table = &mut self.tables[r][c];
        if self.relays[r].up(c).is_some() || table.in_force == 0 {
            return false;
        }
        (table.in_force, table.stale, table.before) = (0, 0, 0);
        true
    }

    /// The control misses the relay, and tries again at once.
    pub fn control_misses(&mut self, c: usize, r: usize, law: Law) -> bool {
        let Some((peer, _)) = self.controls[c].up(r) else { return false };
        let life = peer.life;
        self.controls[c].take_down(r, &self.wires[c][r]);
        let begun = |attempt: &Attempt| attempt.other == r && attempt.heard == life;
        if law.defect != Some(Defect::NeverTriesAgain) && !self.controls[c].attempts.iter().any(begun) {
            self.begin(c, r, life, None);
        }
        true
    }

    /// The relay misses the control.
    pub fn relay_misses(&mut self, c: usize, r: usize, law: Law) -> bool {
        if self.relays[r].up(c).is_none() {
            return false;
        }
        self.relays[r].take_down(c, &self.wires[c][r]);
        self.tables[r][c].down(law.table, false);
        true
    }

    /// Whether the control hears anything of the relay, if nothing is lost.
    #[must_use]
    pub fn control_hears(&self, c: usize, r: usize) -> bool {
        let Some((_, relay)) = self.relays[r].up(c) else { return false };
        self.controls[c].up(r).is_some_and(|(_, up)| up.takes(relay.current))
            || self.confirms(c, r).any(|session| session == relay.current)
    }

    /// Whether the relay hears anything of the control, if nothing is lost.
    #[must_use]
    pub fn relay_hears(&self, c: usize, r: usize) -> bool {
        let sends = self.controls[c].up(r).map(|(_, up)| up.current);
        let mut sends = sends.into_iter().chain(self.confirms(c, r));
        let Some((_, up)) = self.relays[r].up(c) else { return false };
        sends.any(|session| up.takes(session))
    }

    /// The sessions by which the control sends confirmations.
    fn confirms(&self, c: usize, r: usize) -> impl Iterator<Item = u8> {
        let attempts = self.controls[c].attempts.iter().filter(move |attempt| attempt.other == r);
        attempts.filter_map(|attempt| attempt.session)
    }

    /// The control ends the session in order.
    pub fn control_closes(&mut self, c: usize, r: usize) -> bool {
        let Some((_, up)) = self.controls[c].up(r) else { return false };
        let current = up.current;
        self.wires[c][r].session_mut(current).closed_by_control = true;
        self.controls[c].take_down(r, &self.wires[c][r]);
        true
    }

    /// The relay ends the session in order.
    pub fn relay_closes(&mut self, c: usize, r: usize, law: Law) -> bool {
        let Some((_, up)) = self.relays[r].up(c) else { return false };
        let current = up.current;
        self.wires[c][r].session_mut(current).closed_by_relay = true;
        self.relay_misses(c, r, law)
    }

    /// `CLOSE` arrives at the relay.
    pub fn closed_at_relay(&mut self, c: usize, r: usize, session: u8, law: Law) -> bool {
        if !self.wires[c][r].session(session).closed_by_control {
            return false;
        }
        if self.relays[r].up(c).is_some_and(|(_, up)| up.takes(session)) {
            return self.relay_misses(c, r, law);
        }
        let before = self.relays[r].candidates.len();
        self.relays[r].discard(c, session);
        self.relays[r].candidates.len() != before
    }

    /// `CLOSE` arrives at the control.
    pub fn closed_at_control(&mut self, c: usize, r: usize, session: u8) -> bool {
        if !self.wires[c][r].session(session).closed_by_relay {
            return false;
        }
        if self.controls[c].up(r).is_some_and(|(_, up)| up.takes(session)) {
            self.controls[c].take_down(r, &self.wires[c][r]);
            return true;
        }
        let before = self.controls[c].attempts.len();
        self.controls[c].discard(r, session);
        self.controls[c].attempts.len() != before
    }

    /// The control begins to replace the keys of its session.
    pub fn rekey(&mut self, c: usize, r: usize) -> bool {
        let Some((peer, _)) = self.controls[c].up(r) else { return false };
        let (life, association) = (peer.life, peer.association);
        let begun = &self.wires[c][r].begun;
        let same = |attempt: &Attempt| attempt.other == r && begun[usize::from(attempt.begun)].rekey;
        if self.controls[c].attempts.iter().any(same) {
            return false;
        }
        self.begin(c, r, life, Some(association));
        true
    }

    /// The control is killed and starts again. Its programs' sockets stay.
    pub fn restart_control(&mut self, c: usize) {
        self.controls[c] = End::new(self.controls[c].life + 1, self.relays.len());
    }

    /// The relay is killed and starts again.
    pub fn restart_relay(&mut self, r: usize, law: Law) {
        self.relays[r] = End::new(self.relays[r].life + 1, self.controls.len());
        for (c, table) in self.tables[r].iter_mut().enumerate() {
            *table = table.restarted(law.table);
            if table.orphans != 0 {
                self.claimants[r] |= bit(c);
            }
        }
    }

    /// A program of the control opens a socket, or closes it.
    pub fn toggle(&mut self, c: usize, entry: Entry) {
        self.open[c] ^= entry;
        let message = if self.open[c] & entry != 0 { Message::Add(entry) } else { Message::Delete(entry) };
        for r in 0..self.relays.len() {
            if let Some((peer, _)) = self.controls[c].up(r) {
                self.wires[c][r].associations[usize::from(peer.association)].log.push(message);
            }
        }
    }
}

/// The entries of a set.
pub fn entries(set: u8) -> impl Iterator<Item = Entry> {
    ENTRIES.into_iter().filter(move |entry| set & entry != 0)
}

/// A control as a bit.
#[must_use]
pub fn bit(control: usize) -> u8 {
    1 << control
}

/// All sockets that programs open.
pub const ENTRIES: [Entry; 2] = [1, 2];
