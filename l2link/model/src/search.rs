//! [`Model`]: what can happen in each state, and what must hold there, for stateright.

use crate::segment::{ENTRIES, Law, Segment, bit};
use crate::table::{Kind, Message, expected};
use crate::wire::{Life, next};
use crate::{Begins, Bounds, Defect};
use stateright::Property;

/// What a search goes through.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// How far.
    pub bounds: Bounds,
    /// What is to be found out.
    pub defect: Option<Defect>,
}

/// What happens, between which control and which relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A hello arrives.
    Hear(usize, usize, Life),
    /// A first frame arrives.
    Init(usize, usize, u8),
    /// A second one.
    Response(usize, usize, u8),
    /// The control's first frame under new keys.
    Confirm(usize, usize, u8),
    /// The relay's.
    Open(usize, usize, u8),
    /// The control has said all.
    End(usize, usize),
    /// A message arrives.
    Message(usize, usize),
    /// A `CLOSE` arrives at the relay.
    ClosedAtRelay(usize, usize, u8),
    /// One arrives at the control.
    ClosedAtControl(usize, usize, u8),
    /// The control misses the relay.
    ControlMisses(usize, usize),
    /// The relay misses the control.
    RelayMisses(usize, usize),
    /// The control ends the session.
    ControlCloses(usize, usize),
    /// The relay does.
    RelayCloses(usize, usize),
    /// The control wants new keys.
    Rekey(usize, usize),
    /// The control gives up its attempt at this place.
    GiveUp(usize, usize),
    /// The relay gives up the candidate at this place.
    Expire(usize, usize),
    /// The control forgets the former keys.
    ControlForgets(usize, usize),
    /// The relay does.
    RelayForgets(usize, usize),
    /// The control is killed.
    RestartControl(usize),
    /// The relay is.
    RestartRelay(usize),
    /// A socket of the control is opened or closed.
    Toggle(usize, u8),
    /// What a silent control has is kept no longer.
    Hold(usize, usize),
    /// What a former life has left is kept no longer.
    GiveOrphansUp(usize),
}

impl Action {
    /// The relay where it happens, if it happens at one.
    fn relay(self) -> Option<usize> {
        match self {
            Self::Hear(_, relay, _)
            | Self::Init(_, relay, _)
            | Self::Response(_, relay, _)
            | Self::Confirm(_, relay, _)
            | Self::Open(_, relay, _)
            | Self::End(_, relay)
            | Self::Message(_, relay)
            | Self::ClosedAtRelay(_, relay, _)
            | Self::ClosedAtControl(_, relay, _)
            | Self::ControlMisses(_, relay)
            | Self::RelayMisses(_, relay)
            | Self::ControlCloses(_, relay)
            | Self::RelayCloses(_, relay)
            | Self::Rekey(_, relay)
            | Self::ControlForgets(_, relay)
            | Self::RelayForgets(_, relay)
            | Self::Expire(relay, _)
            | Self::RestartRelay(relay)
            | Self::Hold(_, relay)
            | Self::GiveOrphansUp(relay) => Some(relay),
            Self::GiveUp(..) | Self::RestartControl(..) | Self::Toggle(..) => None,
        }
    }
}

impl Model {
    fn law(&self) -> Law {
        Law { table: self.bounds.table, defect: self.defect }
    }

    /// Whether it happens only if something goes wrong, or somebody wants it.
    fn is_fault(&self, action: Action, state: &Segment) -> bool {
        match action {
            Action::Response(..)
            | Action::Confirm(..)
            | Action::Open(..)
            | Action::End(..)
            | Action::Message(..)
            | Action::ClosedAtRelay(..)
            | Action::ClosedAtControl(..) => false,
            Action::Hear(_, r, life) => life != state.relays[r].life,
            // A try of the control's, or a recording of one.
            Action::Init(c, r, begun) => {
                let mut attempts = state.controls[c].attempts.iter();
                let waits = attempts.any(|it| it.other == r && it.begun == begun && it.session.is_none());
                let answered = state.wires[c][r].sessions.iter();
                let answered = |life| answered.clone().any(|it| it.begun == begun && it.life == life);
                !waits || answered(state.relays[r].life)
            }
            Action::ControlMisses(c, r) => state.control_hears(c, r),
            Action::RelayMisses(c, r) => state.relay_hears(c, r),
            Action::ControlCloses(..)
            | Action::RelayCloses(..)
            | Action::Rekey(..)
            | Action::GiveUp(..)
            | Action::Expire(..)
            | Action::ControlForgets(..)
            | Action::RelayForgets(..)
            | Action::RestartControl(..)
            | Action::RestartRelay(..)
            | Action::Toggle(..)
            | Action::Hold(..)
            | Action::GiveOrphansUp(..) => true,
        }
    }

    /// Whether anything happens by itself at a relay. When no fault is to come, what happens at one and what happens at another do not
    /// depend on each other, and no property is about both: one order of the relays is as good as any.
    fn goes_on(&self, state: &Segment, relay: usize, actions: &[Action]) -> bool {
        let mut of_relay = actions.iter().filter(|action| action.relay() == Some(relay));
        of_relay.any(|action| self.act(&mut state.clone(), *action))
    }

    /// Lets something happen. Returns whether it had an effect.
    pub fn act(&self, state: &mut Segment, action: Action) -> bool {
        let law = self.law();
        match action {
            Action::Hear(c, r, life) => state.hear(c, r, life, law),
            Action::Init(c, r, begun) => state.init(c, r, begun, law),
            Action::Response(c, r, session) => state.response(c, r, session, law),
            Action::Confirm(c, r, session) => state.confirm(c, r, session, law),
            Action::Open(c, r, session) => state.open(c, r, session, law),
            Action::End(c, r) => state.end(c, r),
            Action::Message(c, r) => state.message(c, r, law),
            Action::ClosedAtRelay(c, r, session) => state.closed_at_relay(c, r, session, law),
            Action::ClosedAtControl(c, r, session) => state.closed_at_control(c, r, session),
            Action::ControlMisses(c, r) => state.control_misses(c, r, law),
            Action::RelayMisses(c, r) => state.relay_misses(c, r, law),
            Action::ControlCloses(c, r) => state.control_closes(c, r),
            Action::RelayCloses(c, r) => state.relay_closes(c, r, law),
            Action::Rekey(c, r) => state.rekey(c, r),
            Action::GiveUp(c, place) => {
                state.controls[c].attempts.remove(place);
                true
            }
            Action::Expire(r, place) => {
                state.relays[r].candidates.remove(place);
                true
            }
            Action::ControlForgets(c, r) => {
                state.controls[c].up_mut(r).and_then(|up| up.previous.take()).is_some()
            }
            Action::RelayForgets(c, r) => {
                state.relays[r].up_mut(c).and_then(|up| up.previous.take()).is_some()
            }
            Action::RestartControl(c) => {
                state.restart_control(c);
                true
            }
            Action::RestartRelay(r) => {
                state.restart_relay(r, law);
                true
            }
            Action::Toggle(c, entry) => {
                state.toggle(c, entry);
                true
            }
            Action::Hold(c, r) => state.hold(c, r),
            Action::GiveOrphansUp(r) => state.give_orphans_up(r),
        }
    }

    fn pair_actions(state: &Segment, c: usize, r: usize, actions: &mut Vec<Action>) {
        let wire = &state.wires[c][r];
        actions.extend((0..=state.relays[r].life).map(|life| Action::Hear(c, r, life)));
        actions.extend((0..next(&wire.begun)).map(|begun| Action::Init(c, r, begun)));
        for session in 0..next(&wire.sessions) {
            actions.push(Action::Response(c, r, session));
            actions.push(Action::Confirm(c, r, session));
            actions.push(Action::Open(c, r, session));
            actions.push(Action::ClosedAtRelay(c, r, session));
            actions.push(Action::ClosedAtControl(c, r, session));
        }
        actions.extend([
            Action::End(c, r),
            Action::Message(c, r),
            Action::ControlMisses(c, r),
            Action::RelayMisses(c, r),
            Action::ControlCloses(c, r),
            Action::RelayCloses(c, r),
            Action::Rekey(c, r),
            Action::ControlForgets(c, r),
            Action::RelayForgets(c, r),
        ]);
    }
}

impl stateright::Model for Model {
    type State = Segment;
    type Action = Action;

    fn init_states(&self) -> Vec<Segment> {
        let mut segment = Segment::new(&self.bounds);
        if self.bounds.begins == Begins::Together {
            segment.go_on_until_right(Law { defect: None, ..self.law() });
            segment.forget();
        }
        vec![segment]
    }

    fn actions(&self, state: &Segment, actions: &mut Vec<Action>) {
        for (c, r) in state.pairs() {
            Self::pair_actions(state, c, r, actions);
        }
        for (c, control) in state.controls.iter().enumerate() {
            actions.extend((0..control.attempts.len()).map(|place| Action::GiveUp(c, place)));
            actions.push(Action::RestartControl(c));
            actions.extend(ENTRIES.map(|entry| Action::Toggle(c, entry)));
        }
        for (r, relay) in state.relays.iter().enumerate() {
            actions.extend((0..relay.candidates.len()).map(|place| Action::Expire(r, place)));
            actions.push(Action::RestartRelay(r));
        }
        if self.bounds.table == Kind::Routes {
            actions.extend(state.pairs().map(|(c, r)| Action::Hold(c, r)));
            actions.extend((0..state.relays.len()).map(Action::GiveOrphansUp));
        }
        if state.faults == 0 {
            actions.retain(|action| !self.is_fault(*action, state));
            if let Some(first) = (0..state.relays.len()).find(|r| self.goes_on(state, *r, actions)) {
                actions.retain(|action| action.relay() == Some(first));
            }
        }
    }

    fn next_state(&self, last: &Segment, action: Action) -> Option<Segment> {
        let mut state = last.clone();
        let changed = self.act(&mut state, action);
        if !changed {
            return None;
        }
        if self.is_fault(action, last) {
            state.faults -= 1;
        }
        // By this defect frames of what is over open.
        if self.defect != Some(Defect::RepeatsItself) {
            state.forget();
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("nobody is up in a life that was over", |_, state: &Segment| is_fresh(state)),
            Property::always("ends of one association are each other's", |_, state: &Segment| agrees(state)),
            Property::always("tables are what was said", |model: &Self, state: &Segment| {
                tables_are_right(state, model.bounds.table)
            }),
            Property::always("all comes right", |model: &Self, state: &Segment| {
                state.comes_right(model.law())
            }),
            Property::sometimes("all is right", |_, state: &Segment| state.is_right()),
        ];
        if self.bounds.faults > 0 {
            properties.extend([
                Property::sometimes("keys are replaced", |_, state: &Segment| {
                    state
                        .pairs()
                        .any(|(c, r)| state.controls[c].up(r).is_some_and(|(_, up)| up.previous.is_some()))
                }),
                Property::sometimes("a relay has the next life of a control", |_, state: &Segment| {
                    state.pairs().any(|(c, r)| state.relays[r].up(c).is_some_and(|(peer, _)| peer.life > 0))
                }),
                Property::sometimes("something is left of an earlier session", |_, state: &Segment| {
                    state.tables.iter().flatten().any(|table| table.stale | table.orphans != 0)
                }),
            ]);
        }
        properties
    }
}

/// Who is up was alive when this end chose its part of the handshake: no recording makes a session.
fn is_fresh(state: &Segment) -> bool {
    state.controls.iter().chain(&state.relays).all(|end| {
        end.peers.iter().flatten().all(|peer| peer.up.as_ref().is_none_or(|up| peer.life >= up.fresh))
    })
}

/// Two ends in one association are so with each other, and the relay has taken what the control will not say again.
fn agrees(state: &Segment) -> bool {
    state.pairs().all(|(c, r)| match (state.controls[c].up(r), state.relays[r].up(c)) {
        (Some((relay, there)), Some((control, here))) if relay.association == control.association => {
            relay.life == state.relays[r].life
                && control.life == state.controls[c].life
                && here.messages >= there.messages
        }
        _ => true,
    })
}

/// What a relay has is what was said in the association; and until all was said, what it had before. Without an association it has
/// no rules; what it has of routes is held. Orphans are there while somebody may claim them.
fn tables_are_right(state: &Segment, kind: Kind) -> bool {
    state.pairs().all(|(c, r)| {
        let table = &state.tables[r][c];
        let orphans = table.orphans == 0 || state.claimants[r] != 0;
        let Some((peer, up)) = state.relays[r].up(c) else {
            return orphans && (kind == Kind::Routes || table.in_force == 0);
        };
        let log = state.wires[c][r].log(peer.association);
        let said = log.get(..usize::from(up.messages)).unwrap_or_default();
        let all = said.contains(&Message::End);
        orphans
            && table.in_force == expected(table.before, said)
            && !(all && (table.stale != 0 || state.claimants[r] & bit(c) != 0))
    })
}
