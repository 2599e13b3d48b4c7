//! [`Relay`]: a relay as the control knows it.

use l2link::PeerId;

/// A relay that was configured or heard.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) name: String,
    /// Its handle in the link while there is contact.
    pub(crate) peer: Option<PeerId>,
    /// Whether `RULES_END` was sent in this session.
    pub(crate) ended: bool,
}

/// Place of a relay in [`crate::Control`]'s list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RelayId(pub(crate) usize);

impl Relay {
    pub(crate) fn new(name: String) -> Self {
        Self { name, peer: None, ended: false }
    }
}
