//! [`Segment::forget`]: states that differ only in what can have no effect any more are one.
//!
//! - A *session* that neither end knows, and that answers no handshake which waits for an answer, is over: its frames open nowhere.
//! - A *handshake* that its control does not remember, and of which there is no session, is a recording. All recordings are one: whatever
//!   life and association they are of, a relay that hears one answers, and nobody ever confirms.
//! - An *association* that is over matters by its name alone, as long as one end remembers it.

use crate::segment::Segment;
use crate::wire::{Association, Begun, Wire, next};

impl Segment {
    /// Forgets what can have no effect any more, and numbers the rest anew.
    pub fn forget(&mut self) {
        for (c, r) in self.pairs() {
            self.forget_sessions(c, r);
            self.forget_handshakes(c, r);
            self.forget_associations(c, r);
        }
    }

    fn forget_sessions(&mut self, c: usize, r: usize) {
        let control = &self.controls[c];
        let attempts = || control.attempts.iter().filter(|attempt| attempt.other == r);
        let mut known: Vec<u8> = attempts().filter_map(|attempt| attempt.session).collect();
        known.extend(self.relays[r].candidates.iter().filter(|it| it.other == c).map(|it| it.session));
        for up in [control.up(r), self.relays[r].up(c)].into_iter().flatten().map(|(_, up)| up) {
            known.extend([Some(up.current), up.previous].into_iter().flatten());
        }
        let wire = &self.wires[c][r];
        let waits = |session: &u8| {
            let begun = wire.session(*session).begun;
            attempts().any(|attempt| attempt.begun == begun && attempt.session.is_none())
        };
        let all = 0..next(&wire.sessions);
        let mut kept: Vec<u8> = all.filter(|session| known.contains(session) || waits(session)).collect();
        kept.sort_by_key(|session| wire.session(*session).begun);
        let renumber = |session: &mut u8| *session = place(&kept, *session);
        self.wires[c][r].sessions = kept.iter().map(|session| wire.session(*session).clone()).collect();
        let attempts = self.controls[c].attempts.iter_mut().filter(|attempt| attempt.other == r);
        attempts.filter_map(|attempt| attempt.session.as_mut()).for_each(renumber);
        let candidates = self.relays[r].candidates.iter_mut().filter(|candidate| candidate.other == c);
        candidates.for_each(|candidate| renumber(&mut candidate.session));
        for up in [self.controls[c].up_mut(r), self.relays[r].up_mut(c)].into_iter().flatten() {
            renumber(&mut up.current);
            up.previous.iter_mut().for_each(renumber);
        }
    }

    fn forget_handshakes(&mut self, c: usize, r: usize) {
        let Wire { begun, sessions, .. } = &mut self.wires[c][r];
        let attempts = &mut self.controls[c].attempts;
        let remembered =
            |place: u8| attempts.iter().any(|attempt| attempt.other == r && attempt.begun == place);
        // The keys of a session tell its association and who began, whether or not the control remembers.
        let used = |place: u8| sessions.iter().any(|session| session.begun == place && session.confirmed);
        let kept: Vec<u8> = (0..next(begun)).filter(|place| remembered(*place) || used(*place)).collect();
        let recordings = kept.len() < begun.len();
        let recording = Begun { life: 0, relay: 0, association: OVER, rekey: false };
        let mut list: Vec<Begun> = kept.iter().map(|place| begun[usize::from(*place)].clone()).collect();
        if recordings {
            list.insert(0, recording);
        }
        *begun = list;
        let renumber = |begun: &mut u8| {
            let kept = kept.iter().position(|kept| kept == begun);
            *begun = kept.map_or(0, |place| u8::try_from(place).unwrap_or(OVER) + u8::from(recordings));
        };
        sessions.iter_mut().for_each(|session| renumber(&mut session.begun));
        attempts
            .iter_mut()
            .filter(|attempt| attempt.other == r)
            .for_each(|attempt| renumber(&mut attempt.begun));
    }

    fn forget_associations(&mut self, c: usize, r: usize) {
        let ends = [&self.controls[c].peers[r], &self.relays[r].peers[c]];
        let ends = ends.into_iter().flatten();
        let wire = &self.wires[c][r];
        let lives: Vec<u8> =
            ends.clone().filter(|peer| peer.up.is_some()).map(|peer| peer.association).collect();
        let mut kept: Vec<u8> = ends.map(|peer| peer.association).collect();
        kept.extend(
            wire.begun.iter().map(|begun| begun.association).filter(|association| *association != OVER),
        );
        kept.sort_unstable();
        kept.dedup();
        let association = |number: &u8| {
            if lives.contains(number) {
                wire.associations[usize::from(*number)].clone()
            } else {
                Association::default()
            }
        };
        let associations = kept.iter().map(association).collect();
        let renumber = |association: &mut u8| {
            if *association != OVER {
                *association = place(&kept, *association);
            }
        };
        let wire = &mut self.wires[c][r];
        wire.associations = associations;
        wire.begun.iter_mut().for_each(|begun| renumber(&mut begun.association));
        let ends = [&mut self.controls[c].peers[r], &mut self.relays[r].peers[c]];
        for peer in ends.into_iter().flatten() {
            renumber(&mut peer.association);
            peer.ended.retain(|association| kept.contains(association));
            peer.ended.iter_mut().for_each(renumber);
            peer.ended.sort_unstable();
            peer.ended.dedup();
        }
    }
}

fn place(kept: &[u8], number: u8) -> u8 {
    let place = kept.iter().position(|kept| *kept == number);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(OVER)
}

/// The association of recordings.
const OVER: u8 = u8::MAX;
