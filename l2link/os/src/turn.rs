//! [`Turn`]: how much is taken of one source before the others are looked at.

/// What is left of a turn, by the work that it makes.
#[derive(Debug, Clone, Copy)]
pub struct Turn(usize);

/// As many bytes as a packet costs besides its own.
const PACKET: usize = 1024;
/// Several calls that fail fit into a turn: what the kernel has to say of a socket comes before what waits there.
const FAILURE: usize = 32 * 1024;

impl Turn {
    /// Some 0.8 ms of work: enough that the next place on the way is never without any.
    pub const USUAL: Self = Self(512 * 1024);
    /// Some 0.2 ms, where somebody waits for the answer to a question.
    pub const SHORT: Self = Self(128 * 1024);

    /// Whether more is to be taken.
    #[must_use]
    pub fn goes_on(self) -> bool {
        self.0 > 0
    }

    /// A packet or super-packet of so many bytes was taken.
    pub fn note(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes + PACKET);
    }

    /// A call failed: a source of which every call does has an end, too.
    pub fn note_failure(&mut self) {
        self.0 = self.0.saturating_sub(FAILURE);
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
        assert_eq!([65_000, 1_500, 60].map(|bytes| taken(Turn::USUAL, bytes)), [8, 208, 484]);
        assert_eq!([65_000, 1_500, 60].map(|bytes| taken(Turn::SHORT, bytes)), [2, 52, 121]);
        let mut turn = Turn::SHORT;
        (0..4).for_each(|_| turn.note_failure());
        assert!(!turn.goes_on());
    }
}
