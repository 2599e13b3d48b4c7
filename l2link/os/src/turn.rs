//! [`Turn`]: how much is taken of one source before the others are looked at.

/// What is left of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    bytes: usize,
    packets: usize,
}

/// Packets for which a call counts that failed: several fit into a turn, as what the kernel has to say of a socket comes before what
/// waits there.
const FAILURE: usize = 32;

impl Turn {
    /// Of a source that gives packet by packet: some 0.8 ms of work.
    pub const USUAL: Self = Self { bytes: 512 * 1024, packets: 512 };
    /// Of a source that gives super-packets, as long as nobody waits: all that TCP has on its way, usually. To go back and forth
    /// between a transfer's packets and their acknowledgements within that costs it a tenth of its rate.
    pub const LONG: Self = Self { bytes: 8 * 1024 * 1024, packets: 256 };
    /// Of such a source while somebody converses beside a transfer: some 0.2 ms.
    pub const SHORT: Self = Self { bytes: 128 * 1024, packets: 128 };

    /// Whether more is to be taken.
    #[must_use]
    pub fn goes_on(self) -> bool {
        self.bytes > 0 && self.packets > 0
    }

    /// A packet or super-packet of so many bytes was taken.
    pub fn note(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.packets = self.packets.saturating_sub(1);
    }

    /// A call failed: a source of which every call does has an end, too.
    pub fn note_failure(&mut self) {
        self.packets = self.packets.saturating_sub(FAILURE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_some_super_packets_or_many_small_packets() {
        let taken = |mut turn: Turn, bytes| {
            let mut packets = 0;
            while turn.goes_on() {
                turn.note(bytes);
                packets += 1;
            }
            packets
        };
        let taken = |turn| [65_000, 1_500, 60].map(|bytes| taken(turn, bytes));
        assert_eq!(taken(Turn::USUAL), [9, 350, 512]);
        assert_eq!(taken(Turn::LONG), [130, 256, 256]);
        assert_eq!(taken(Turn::SHORT), [3, 88, 128]);
    }

    #[test]
    fn calls_that_all_fail_end_a_turn() {
        for mut turn in [Turn::USUAL, Turn::LONG, Turn::SHORT] {
            (0..16).for_each(|_| turn.note_failure());
            assert!(!turn.goes_on());
        }
    }
}
