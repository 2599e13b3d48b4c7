//! [`Ahead`]: parcels that were read ahead of their turn, so that those of conversations get out before those of transfers.
//!
//! A socket or a device hands out first what came first, so whoever wants a conversation's packets first has to read what is
//! before them. That costs a look at memory which has left the processor's caches meanwhile, so it is only where and while somebody
//! converses beside a transfer.

use crate::Conversations;
use crate::conversations::Beside;
use l2link::Time;
use std::collections::VecDeque;

/// Parcels in slots of somebody's memory, in the order in which they are to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    beside: Beside,
    conversations: VecDeque<Slot>,
    transfers: VecDeque<Slot>,
}

/// Where a parcel lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) index: usize,
    pub(crate) len: usize,
}

impl Ahead {
    /// Whether a parcel is of a conversation. It is to be called once for each, in the order in which they came.
    pub(crate) fn note(&mut self, parcel: &[u8], conversations: &mut Conversations, now: Time) -> bool {
        let conversation = conversations.note(parcel, now);
        self.beside.note(conversation, now);
        conversation
    }

    /// Whether somebody converses here beside a transfer: what is behind it is to be read ahead.
    pub(crate) fn is_conversing(&self, now: Time) -> bool {
        self.beside.is_conversing(now)
    }

    /// Parcels that wait.
    pub(crate) fn len(&self) -> usize {
        self.conversations.len() + self.transfers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn put(&mut self, slot: Slot, conversation: bool) {
        if conversation { &mut self.conversations } else { &mut self.transfers }.push_back(slot);
    }

    /// The next parcel to hand out.
    pub(crate) fn take(&mut self) -> Option<Slot> {
        self.conversations.pop_front().or_else(|| self.transfers.pop_front())
    }
}
