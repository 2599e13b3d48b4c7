//! The replay window (RFC 6479's shape): which frame counters of a session were seen.
//!
//! A ring of [`WORDS`] words of bits, indexed by the counter. The window is half of the ring, so a word is only cleared
//! for new counters when every counter that it held has left the window. 1,024 counters are 20 super-packets in flight
//! over a segment of MTU 1,500; more reordering than that does not happen on a LAN. Counters begin at 1.

const WORDS: usize = 32;
/// How far behind the newest counter a frame may come.
const WINDOW: u64 = 1024;

#[derive(Debug, Default)]
pub(crate) struct ReplayWindow {
    newest: u64,
    bits: [u64; WORDS],
}

impl ReplayWindow {
    /// The newest counter so far; zero if there was none.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether a frame of this counter may still be taken; ask before the costly check of its seal.
    pub(crate) fn is_fresh(&self, counter: u64) -> bool {
        if counter > self.newest {
            return true;
        }
        counter != 0 && self.newest - counter < WINDOW && self.bits[word(counter)] & bit(counter) == 0
    }

    /// Marks the counter of an authentic frame as seen. Returns whether it is the newest so far.
    pub(crate) fn accept(&mut self, counter: u64) -> bool {
        let newest = counter > self.newest;
        if newest {
            let skipped = (counter / 64 - self.newest / 64).min(WORDS as u64);
            for step in 0..skipped {
                self.bits[word(counter - step * 64)] = 0;
            }
            self.newest = counter;
        }
        self.bits[word(counter)] |= bit(counter);
        newest
    }
}

#[allow(clippy::cast_possible_truncation, reason = "less than WORDS")]
fn word(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn zero_is_never_fresh() {
        assert!(!ReplayWindow::default().is_fresh(0));
    }

    #[test]
    fn the_edge_of_the_window() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(5000));
        assert!(window.is_fresh(5000 - 1023) && !window.is_fresh(5000 - 1024) && !window.is_fresh(5000));
        assert!(!window.accept(4500));
        assert!(!window.is_fresh(4500));
        assert!(window.accept(u64::MAX));
        assert!(!window.is_fresh(5001) && window.is_fresh(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec((0_u64..3000, any::<bool>()), 1..300)) {
            let (mut window, mut seen, mut newest) = (ReplayWindow::default(), BTreeSet::new(), 0_u64);
            for (step, forward) in steps {
                let counter = if forward { newest + step } else { newest.saturating_sub(step) };
                let fresh = counter > newest || counter > 0 && newest - counter < WINDOW && !seen.contains(&counter);
                prop_assert_eq!(window.is_fresh(counter), fresh);
                if fresh {
                    prop_assert_eq!(window.accept(counter), counter > newest);
                    seen.insert(counter);
                    newest = newest.max(counter);
                }
            }
        }
    }
}
