//! What a control has a relay do for it: [`Message`]s, and the relay's [`Table`] that they lead to.

use crate::Defect;

/// What a table holds. The difference is what becomes of it when its control is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Rules go with the session, unless the next one has replaced it. They live in the daemon.
    Rules,
    /// Routes are held for a while. They live in the kernel, and are orphans in the relay's next life.
    Routes,
}

/// An entry, as a bit.
pub type Entry = u8;

/// What a control says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// This is in force from now on.
    Add(Entry),
    /// It is not any more.
    Delete(Entry),
    /// All that there is has been said: what the relay has besides is of an earlier association.
    End,
}

/// What a relay has of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Table {
    /// Entries in force, of this association or an earlier one.
    pub in_force: u8,
    /// Those of them that were not said in this association.
    pub stale: u8,
    /// What was in force when the present association began.
    pub before: u8,
    /// Entries in force that a former life of the relay has left. Nobody knows whose they are.
    pub orphans: u8,
}

impl Table {
    /// A session begins.
    pub fn up(&mut self, defect: Option<Defect>) {
        self.before = self.in_force;
        if defect != Some(Defect::NothingIsStale) {
            self.stale = self.in_force;
        }
    }

    /// A session ends. `replaced` tells that the next one has begun.
    pub fn down(&mut self, kind: Kind, replaced: bool) {
        if kind == Kind::Rules && !replaced {
            *self = Self::default();
        }
    }

    /// The relay begins another life.
    #[must_use]
    pub fn restarted(self, kind: Kind) -> Self {
        match kind {
            Kind::Rules => Self::default(),
            Kind::Routes => Self { orphans: self.in_force | self.orphans, ..Self::default() },
        }
    }

    /// A message arrives.
    pub fn apply(&mut self, message: Message, defect: Option<Defect>) {
        match message {
            Message::Add(entry) => {
                self.in_force |= entry;
                self.stale &= !entry;
                self.orphans &= !entry;
            }
            Message::Delete(entry) => {
                self.in_force &= !entry;
                self.stale &= !entry;
                self.orphans &= !entry;
            }
            Message::End if defect == Some(Defect::NeverSweeps) => {}
            Message::End => self.sweep(),
        }
    }

    /// What was not said again goes.
    pub fn sweep(&mut self) {
        self.in_force &= !self.stale;
        self.stale = 0;
    }
}

/// What must be in force when so much was said in an association, and `before` was when it began.
#[must_use]
pub fn expected(before: u8, said: &[Message]) -> u8 {
    let (mut expected, mut named) = (before, 0);
    for message in said {
        match message {
            Message::Add(entry) => (expected, named) = (expected | entry, named | entry),
            Message::Delete(entry) => expected &= !entry,
            Message::End => expected &= named,
        }
    }
    expected
}
