//! First handshake frames that this device has answered.
//!
//! A frame that comes again is the other side's next try, as the answer was lost, or a copy that somebody has recorded. Either
//! way the answer is the same, and repeating it costs no public-key work. It goes where the first one came from, which is
//! under the gate, and not too often. When the session that it made is gone, the frame is one like any other.

use crate::Time;
use crate::gate::Gate;
use core::fmt;
use core::hash::Hasher as _;
use core::time::Duration;
use frames::discovery::Handshake;
use frames::{Mac, SessionIndex};
use std::collections::{BTreeMap, VecDeque};
use std::hash::DefaultHasher;

/// What the sender of a first frame keeps the same in all its tries, and different in all its handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InitId {
    source: Mac,
    sender: SessionIndex,
    association: u64,
    /// Of the Noise message, to tell apart what a device says in two lives: no secret hangs on it.
    hash: u64,
}

impl InitId {
    pub(crate) fn new(source: Mac, init: &Handshake<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(init.noise);
        Self { source, sender: init.sender, association: init.association, hash: hasher.finish() }
    }
}

/// The latest [`ANSWERS_MAX`].
#[derive(Default)]
pub(crate) struct Answered {
    answers: BTreeMap<InitId, Answer>,
    /// Oldest first.
    order: VecDeque<InitId>,
}

struct Answer {
    session: SessionIndex,
    response: Vec<u8>,
    gate: Option<Gate>,
    sent: Time,
}

/// As many as there can be sessions.
const ANSWERS_MAX: usize = 1024;
/// Shorter than the shortest pause between tries.
const REPEAT_EVERY: Duration = Duration::from_millis(10);

impl Answered {
    /// The session that was made for a frame.
    pub(crate) fn session(&self, id: &InitId) -> Option<SessionIndex> {
        self.answers.get(id).map(|answer| answer.session)
    }

    /// The answer, if it is time to send it again: body and gate.
    pub(crate) fn repeat(&mut self, id: &InitId, now: Time) -> Option<(Vec<u8>, Option<Gate>)> {
        let answer = self.answers.get_mut(id).filter(|answer| answer.sent + REPEAT_EVERY <= now)?;
        answer.sent = now;
        Some((answer.response.clone(), answer.gate.clone()))
    }

    /// Keeps an answer that is sent now.
    pub(crate) fn note(
        &mut self,
        id: InitId,
        session: SessionIndex,
        response: Vec<u8>,
        gate: Option<Gate>,
        now: Time,
    ) {
        if self.answers.insert(id, Answer { session, response, gate, sent: now }).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > ANSWERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answered({})", self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(association: u64) -> InitId {
        InitId::new(Mac::default(), &Handshake { sender: SessionIndex(1), association, noise: &[] })
    }

    #[test]
    fn an_answer_is_repeated_a_hundred_times_a_second_at_most() {
        let mut answered = Answered::default();
        answered.note(id(1), SessionIndex(5), vec![7], None, Time(0));
        assert_eq!(answered.session(&id(1)), Some(SessionIndex(5)));
        assert_eq!(answered.session(&id(2)), None);
        assert_eq!(format!("{answered:?}"), "Answered(1)");
        let repeats = (0..1_000_000).step_by(100).filter(|at| answered.repeat(&id(1), Time(*at)).is_some());
        assert_eq!(repeats.count(), 99);
    }

    #[test]
    fn it_is_bounded() {
        let mut answered = Answered::default();
        for association in 0..3000 {
            answered.note(id(association), SessionIndex(5), vec![7], None, Time(association));
        }
        assert_eq!((answered.answers.len(), answered.order.len()), (ANSWERS_MAX, ANSWERS_MAX));
        assert!(answered.session(&id(2999)).is_some());
    }
}
