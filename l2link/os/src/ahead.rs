//! [`Ahead`]: parcels that were read ahead of their turn, so that those of conversations get out before those of transfers.
//!
//! A socket or a device hands out first what came first, so whoever wants a conversation's packets first has to read what is
//! before them. That costs a look at memory which has left the processor's caches meanwhile, and short turns cost a transfer some of
//! its rate; so both are only while somebody converses beside a transfer.

use crate::Turn;
use core::time::Duration;
use l2link::{BulkFlows, Time};
use std::collections::VecDeque;

/// How long after a packet of either sort another one of it is taken to follow.
const PAUSE: Duration = Duration::from_millis(100);

/// Parcels in slots of somebody's memory, in the order in which they are to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    flows: BulkFlows,
    /// Until when a transfer is taken to go on.
    transferring: Time,
    /// Until when somebody is taken to converse beside it.
    conversing: Time,
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
    pub(crate) fn is_conversation(&mut self, parcel: &[u8], now: Time) -> bool {
        let bulk = self.flows.note(parcel, now);
        if bulk {
            self.transferring = now + PAUSE;
        } else if now < self.transferring {
            self.conversing = now + PAUSE;
        }
        !bulk
    }

    /// Whether somebody converses beside a transfer: what is behind it is to be read ahead.
    pub(crate) fn is_conversing(&self, now: Time) -> bool {
        now < self.conversing
    }

    /// How much to take before the others are looked at.
    pub(crate) fn turn(&self, now: Time) -> Turn {
        if self.is_conversing(now) { Turn::SHORT } else { Turn::LONG }
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
