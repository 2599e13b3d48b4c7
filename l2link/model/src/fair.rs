//! A network that loses nothing, and timers that go off for a reason: [`Segment::comes_right`].

use crate::segment::{Law, Segment};
use crate::table::Message;
use crate::wire::next;

impl Segment {
    /// Whether everything is as it should be: all are up, and the relays have what the controls' programs have open.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.pairs().all(|(c, r)| {
            let (Some((relay, up)), Some((control, there))) = (self.controls[c].up(r), self.relays[r].up(c))
            else {
                return false;
            };
            let log = self.wires[c][r].log(relay.association);
            let table = &self.tables[r][c];
            relay.life == self.relays[r].life
                && control.life == self.controls[c].life
                && relay.association == control.association
                && up.takes(there.current)
                && there.takes(up.current)
                && usize::from(there.messages) == log.len()
                && log.contains(&Message::End)
                && (table.in_force, table.stale, table.orphans) == (self.open[c], 0, 0)
        })
    }

    /// Whether it is so after a while without faults.
    #[must_use]
    pub fn comes_right(&self, law: Law) -> bool {
        self.clone().go_on_until_right(law)
    }

    /// Lets everything happen that happens without faults. Returns whether it comes right.
    pub fn go_on_until_right(&mut self, law: Law) -> bool {
        for _ in 0..ROUNDS {
            if self.is_right() {
                return true;
            }
            for (c, r) in self.pairs() {
                self.go_on(c, r, law);
            }
        }
        self.is_right()
    }

    /// What is under way between two devices arrives, and what stays without an answer is given up.
    fn go_on(&mut self, c: usize, r: usize, law: Law) {
        for session in 0..next(&self.wires[c][r].sessions) {
            self.closed_at_relay(c, r, session, law);
            self.closed_at_control(c, r, session);
        }
        self.hear(c, r, self.relays[r].life, law);
        let attempts: Vec<u8> =
            self.controls[c].attempts.iter().filter(|it| it.other == r).map(|it| it.begun).collect();
        for begun in attempts {
            self.init(c, r, begun, law);
            for session in 0..next(&self.wires[c][r].sessions) {
                if self.wires[c][r].session(session).begun == begun {
                    self.response(c, r, session, law);
                    self.confirm(c, r, session, law);
                    self.open(c, r, session, law);
                }
            }
            self.controls[c].attempts.retain(|attempt| attempt.other != r || attempt.begun != begun);
        }
        self.relays[r].candidates.retain(|candidate| candidate.other != c);
        self.end(c, r);
        while self.message(c, r, law) {}
        if !self.control_hears(c, r) {
            self.control_misses(c, r, law);
        }
        if !self.relay_hears(c, r) {
            self.relay_misses(c, r, law);
        }
    }
}

/// Enough for a loss that one side finds out, then the other.
const ROUNDS: u32 = 6;
