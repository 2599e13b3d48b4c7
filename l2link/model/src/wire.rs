//! [`Wire`]: all that a control and a relay ever sent to each other. Nothing of it is ever gone.

use crate::table::Message;

/// The life of a device, from its start to its end: its boot id.
pub type Life = u8;

/// A handshake that the control began: its frame, by its place in [`Wire::begun`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Begun {
    /// Of the control, when it began.
    pub life: Life,
    /// Of the relay at that time: who answers is no older.
    pub relay: Life,
    /// Place in [`Wire::associations`].
    pub association: u8,
    /// Whether only the keys are to change.
    pub rekey: bool,
}

/// An answer of the relay to a handshake, which makes a session: its place in [`Wire::sessions`] stands for both indexes and the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// Place in [`Wire::begun`].
    pub begun: u8,
    /// Of the relay that answered.
    pub life: Life,
    /// Of the control at that time: who confirms is no older.
    pub control: Life,
    /// There is a frame of the control's under these keys.
    pub confirmed: bool,
    /// There is a frame of the relay's under these keys.
    pub opened: bool,
    /// The control sends its messages by it, from this one on: those before were acknowledged when it began to.
    pub from: Option<u8>,
    /// There is a `CLOSE` of the control's.
    pub closed_by_control: bool,
    /// There is a `CLOSE` of the relay's.
    pub closed_by_relay: bool,
}

/// A lifetime of the streams, and the messages of the control in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Association {
    /// In order.
    pub log: Vec<Message>,
}

/// What a pair has sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Wire {
    /// First frames of handshakes.
    pub begun: Vec<Begun>,
    /// Second frames.
    pub sessions: Vec<Session>,
    /// Of all handshakes that were not for new keys.
    pub associations: Vec<Association>,
}

impl Wire {
    /// The association that a session is of.
    #[must_use]
    pub fn association(&self, session: u8) -> u8 {
        self.begun[usize::from(self.session(session).begun)].association
    }

    /// A session.
    #[must_use]
    pub fn session(&self, session: u8) -> &Session {
        &self.sessions[usize::from(session)]
    }

    /// The same, to be changed.
    pub fn session_mut(&mut self, session: u8) -> &mut Session {
        &mut self.sessions[usize::from(session)]
    }

    /// The messages of an association.
    #[must_use]
    pub fn log(&self, association: u8) -> &[Message] {
        &self.associations[usize::from(association)].log
    }
}

/// The place of what comes next in a list. Runs within any bounds that can be searched are far shorter.
///
/// # Panics
/// If they are not.
#[must_use]
pub fn next<T>(list: &[T]) -> u8 {
    u8::try_from(list.len()).expect("a run of less than 256 handshakes")
}
