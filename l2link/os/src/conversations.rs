//! [`Conversations`]: whether somebody converses beside a transfer, at any of a daemon's ports or symbols.

use crate::Turn;
use core::time::Duration;
use l2link::{BulkFlows, Time};

/// What goes by the ports or symbols of a daemon, which one thread serves in turns: while somebody converses at one of them beside a
/// transfer at any of them, turns are short.
///
/// All of them share the table of flows, as what answers a transfer, which is part of it, often comes in by another one.
#[derive(Debug, Default)]
pub struct Conversations {
    flows: BulkFlows,
    beside: Beside,
}

impl Conversations {
    /// A parcel from the link is of a transfer, by the word of its sender.
    pub fn note_transfer(&mut self, parcel: &[u8], now: Time) {
        self.flows.mark(parcel, now);
    }

    /// How much of a source of super-packets to take before others are looked at.
    #[must_use]
    pub fn turn(&self, now: Time) -> Turn {
        if self.beside.is_conversing(now) { Turn::SHORT } else { Turn::LONG }
    }

    /// Whether a parcel is of a conversation. It is to be called once for each, in the order in which they came.
    pub(crate) fn note(&mut self, parcel: &[u8], now: Time) -> bool {
        let conversation = !self.flows.note(parcel, now);
        self.beside.note(conversation, now);
        conversation
    }
}

/// Whether somebody converses beside a transfer.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Until when a transfer is taken to go on.
    transferring: Time,
    /// Until when somebody is taken to converse beside it.
    conversing: Time,
}

impl Beside {
    pub(crate) fn note(&mut self, conversation: bool, now: Time) {
        if !conversation {
            self.transferring = now + PAUSE;
        } else if now < self.transferring {
            self.conversing = now + PAUSE;
        }
    }

    pub(crate) fn is_conversing(&self, now: Time) -> bool {
        now < self.conversing
    }
}

/// How long after a packet of either sort another one of it is taken to follow.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    /// A parcel of UDP over IPv4 from one port of a machine to a port of another.
    fn parcel(from: u16, to: u16, len: usize) -> Vec<u8> {
        let mut parcel = vec![0; len];
        parcel[22..24].copy_from_slice(&[8, 0]);
        let ip = &mut parcel[24..];
        let total = u16::try_from(ip.len()).unwrap();
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[9] = 17;
        ip[12..20].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 1]);
        ip[20..22].copy_from_slice(&from.to_be_bytes());
        ip[22..24].copy_from_slice(&to.to_be_bytes());
        parcel
    }

    fn is_short(all: &Conversations, now: Time) -> bool {
        let mut turn = all.turn(now);
        turn.note(1024 * 1024);
        !turn.goes_on()
    }

    #[test]
    fn turns_are_short_while_somebody_converses_beside_a_transfer() {
        let mut all = Conversations::default();
        assert!(all.note(&parcel(1, 2, 100), NOW));
        assert!(!is_short(&all, NOW), "alone");
        while all.note(&parcel(3, 4, 60_000), NOW) {}
        assert!(!is_short(&all, NOW), "it was before the transfer");
        assert!(!all.note(&parcel(4, 3, 100), NOW), "what answers the transfer");
        assert!(!is_short(&all, NOW));
        assert!(all.note(&parcel(1, 2, 100), NOW));
        assert!(is_short(&all, NOW));
        assert!(!is_short(&all, NOW + PAUSE));
    }

    #[test]
    fn what_answers_a_transfer_from_the_link_is_none() {
        let mut all = Conversations::default();
        while all.note(&parcel(3, 4, 60_000), NOW) {}
        all.note_transfer(&parcel(5, 6, 60_000), NOW);
        assert!(!all.note(&parcel(6, 5, 100), NOW));
        assert!(!is_short(&all, NOW));
    }
}
