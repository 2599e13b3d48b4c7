//! [`Weight`]: a symbol's share of new flows among the controls that serve the same.
//!
//! # Theory of operation
//! An *automatic* weight follows the queues of the listeners: connections that wait to be accepted are what a server is
//! behind by, whatever the cause. The fullest queue of the symbol decides: an empty one stands for [`Weight::USUAL`], a full
//! one for a tenth of it, as a server that gets nothing could never show that it is well again. Every change of a weight has
//! the relay share new flows out anew, so it goes by tenths, down at once but not for one tenth, and up when the server has
//! not been further behind for a while.

use crate::seen::OpenSockets;
use crate::symbol_rules::{SymbolRules, Tables};
use core::time::Duration;
use l2link::Time;

/// How a share is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// This one, from 1.
    Fixed(u16),
    /// By the queues of the listeners.
    Auto,
}

impl Weight {
    /// The share if the configuration does not say another, and of a server that is not behind.
    pub const USUAL: u16 = 100;

    pub(crate) fn first(self) -> u16 {
        match self {
            Self::Fixed(weight) => weight,
            Self::Auto => Self::USUAL,
        }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::Fixed(Self::USUAL)
    }
}

/// How often queues are looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// How long a server must not have been further behind before it gets more.
const CALM: Duration = Duration::from_secs(5);
const TENTH: u16 = Weight::USUAL / 10;

/// Takes over what the queues of a symbol's listeners say.
pub(crate) fn follow_queues(rules: &mut SymbolRules, seen: &OpenSockets, now: Time, tables: &mut Tables) {
    let queues = seen.queues.iter().filter(|queue| rules.contains(&queue.listener));
    let fullness = queues.map(|queue| queue.waiting.saturating_mul(9) / queue.room.max(1)).max().unwrap_or(0);
    let wanted = Weight::USUAL - TENTH * u16::try_from(fullness).unwrap_or(9).min(9);
    let present = rules.weight();
    if wanted <= present && wanted < Weight::USUAL {
        rules.behind_at = Some(now);
    }
    let calm = rules.behind_at.is_none_or(|behind| now - behind >= CALM);
    if present.saturating_sub(wanted) > TENTH || (wanted > present && calm) {
        rules.set_weight(wanted, tables);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Queue;
    use frames::protocol_address::{Family, Local};
    use frames::{ProtocolAddress, SymbolId};

    #[test]
    fn a_full_queue_leaves_a_tenth_and_an_empty_one_brings_all_back() {
        let listener = ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::Both), port: 80 };
        let (mut rules, mut tables) =
            (SymbolRules::new(SymbolId(1), None, Weight::Auto.first()), Tables::new(0));
        rules.add(listener, Time(0), &mut tables);
        // Seconds, connections that wait, the weight.
        let seen = [
            (0, 0, 100),
            (1, 10, 100),
            (2, 50, 70),
            (3, 60, 70),
            (4, 128, 10),
            (5, 1_000, 10),
            (6, 90, 10),
            (9, 90, 10),
            (10, 90, 40),
            (14, 0, 100),
        ];
        for (second, waiting, expected) in seen {
            let now = Time(second * 1_000_000);
            let queues = vec![Queue { listener, waiting, room: 128 }];
            let seen = OpenSockets { queues, ..OpenSockets::default() };
            follow_queues(&mut rules, &seen, now, &mut tables);
            assert_eq!(rules.weight(), expected, "{waiting} waiting at {second} s");
        }
    }
}
