//! [`Ended`]: connections whose sockets were closed a moment ago.

use crate::flow::FlowKey;
use core::hash::BuildHasher;
use core::time::Duration;
use l2link::Time;
use rustc_hash::FxBuildHasher;

/// Their last packets may be read after the kernel has told that the socket is closed: a retransmission that waited at the symbol
/// meanwhile, of which no dump shows a socket any more. Nothing answers it that anybody waits for.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// By hash: which one ended there last, and until when that matters. None before the first.
    places: Vec<(u64, Time)>,
}

impl Ended {
    /// The socket of a flow was closed.
    pub(crate) fn note(&mut self, flow: &FlowKey, now: Time) {
        self.places.resize(PLACES, (0, Time(0)));
        let hash = FxBuildHasher.hash_one(flow);
        self.places[place(hash)] = (hash, now + HOLD);
    }

    /// Whether the socket of a flow was closed a moment ago.
    pub(crate) fn contains(&self, flow: &FlowKey, now: Time) -> bool {
        let hash = FxBuildHasher.hash_one(flow);
        self.places.get(place(hash)).is_some_and(|(ended, until)| *ended == hash && now < *until)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than PLACES")]
fn place(hash: u64) -> usize {
    (hash % PLACES as u64) as usize
}

const PLACES: usize = 1024;
/// Longer than a packet waits at a symbol when the daemon has time for it.
const HOLD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_known_for_a_moment() {
        let flow = |local_port| FlowKey {
            protocol: 6,
            local_port,
            local: [192, 0, 2, 1].into(),
            remote: [192, 0, 2, 2].into(),
            remote_port: 80,
        };
        let mut ended = Ended::default();
        let now = Time(5_000_000);
        assert!(!ended.contains(&flow(1), now));
        ended.note(&flow(1), now);
        assert!(ended.contains(&flow(1), now) && !ended.contains(&flow(2), now));
        assert!(!ended.contains(&flow(1), now + HOLD));
    }
}
