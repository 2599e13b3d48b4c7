//! [`Rule`]: an entry of the receive table.

use frames::{ProtocolAddress, RequestId, SymbolId};
use l2link::Time;

/// What comes out of one up tunnel, and how far the relay knows of it.
///
/// ```text
///            RULE_ADD sent          RULE_REPLY ok
///  (need) ──► Pending ─────────────────► Active
///               │ ▲ └──────────────► Refused │
///               │ │  RULE_REPLY no      │    │
///       need gone └─ contact lost, retry ┴────┤
///               ▼                            │ need gone: RULE_DELETE sent
///            Closing ◄───────────────────────┘
///               │ RULE_DELETED, or RULES_END sent in a later session
///               ▼
///             (gone; the up tunnel is used again after a while)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) symbol: SymbolId,
    pub(crate) protocol_address: ProtocolAddress,
    pub(crate) state: RuleState,
    pub(crate) told: Told,
    /// The request that is or was under way.
    pub(crate) request: RequestId,
    /// A dump has shown the socket behind a flow: when it is gone from a dump, the flow is over. Of a listener: it has
    /// or had a conversation, so that its end has to be looked into.
    pub(crate) socket_seen: bool,
    /// The cause of a refusal may pass by itself.
    pub(crate) passing: bool,
    /// Of a listener: it is closed, and its connections live.
    pub(crate) draining: bool,
    /// Of a listener: whether this kernel refuses connections to it.
    pub(crate) resets: Resets,
    /// Since when it has been needed and not been in force, as far as that is a measure of this control and its relay: not
    /// while there is no port.
    pub(crate) needed: Option<Time>,
    /// The last packet either way.
    pub(crate) last_used: Time,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Rule {
    /// Whether a listener of TCP was seen to be closed: nobody can take a new connection that comes by it.
    pub(crate) fn is_shut(&self) -> bool {
        let closed = self.draining || self.state == RuleState::Closing;
        closed && matches!(self.protocol_address, ProtocolAddress::Listener { protocol: 6, .. })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuleState {
    /// Not in force yet.
    Pending,
    /// In force.
    Active,
    /// The relay will not; asked again in the next session, and before if the cause may pass by itself.
    Refused(Box<str>),
    /// No longer wanted; packets under way are still delivered.
    Closing,
}

impl RuleState {
    /// The word in `show rules`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Refused(_) => "refused",
            Self::Closing => "closing",
        }
    }
}

/// Refusals of connections where a listener was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Resets {
    #[default]
    None,
    /// There was one. It was withheld, and a look is to tell whether the listener is still there.
    Withheld,
    /// It is there: somebody else on this machine refuses, as a packet filter.
    Meant,
}

/// What the relay may know of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: it has never been asked.
    Never,
    /// It was asked in a session that is over; it keeps the rule until `RULES_END`.
    Earlier,
    /// It was asked in this session.
    Now,
}
