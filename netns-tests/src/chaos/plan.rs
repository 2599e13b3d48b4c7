//! What becomes of each frame on a bad wire, by seed.

use std::time::Duration;

/// What a wire does to the frames that cross it. All shares are in per cent of the frames; the default does nothing.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Frames that are lost, each for itself.
    pub loss: u8,
    /// Frames with which a burst of losses begins.
    pub burst: u8,
    /// Frames that are held back for 1 to 10 ms, so that later ones overtake them.
    pub reorder: u8,
    /// Frames that come twice.
    pub duplicate: u8,
    /// Longest delay; each frame gets one from zero on, all equally likely.
    pub delay: Duration,
    /// Frames of which one bit is turned over, wherever it may be.
    pub corrupt: u8,
    /// Frames that lose an end of any length.
    pub truncate: u8,
    /// Directions in which nothing passes: from the first end to the second, and back.
    pub blackhole: [bool; 2],
    /// Frames of the link come again as if of the version before and of the one after.
    pub other_versions: bool,
    /// Bogus frames a second in each direction, besides.
    pub storm: u32,
}

/// Frames that a burst takes.
const BURST: u32 = 20;

/// Decides by a plan, and always the same for the same seed and frames.
#[derive(Debug)]
pub(crate) struct Fates {
    random: Random,
    burst_left: u32,
}

/// A frame as it goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) frame: Vec<u8>,
}

impl Fates {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random(seed), burst_left: 0 }
    }

    /// What becomes of a frame in one of the two directions: none, one or two.
    pub(crate) fn decide(&mut self, plan: &Plan, direction: usize, frame: &[u8]) -> Vec<Fate> {
        if plan.burst > 0 && self.burst_left == 0 && self.random.chance(plan.burst) {
            self.burst_left = BURST;
        }
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return Vec::new();
        }
        if plan.blackhole[direction] || self.random.chance(plan.loss) {
            return Vec::new();
        }
        let copies = if self.random.chance(plan.duplicate) { 2 } else { 1 };
        let mut fates: Vec<Fate> = (0..copies).map(|_| self.copy(plan, frame.to_vec())).collect();
        if plan.other_versions {
            fates.extend(of_other_versions(frame).map(|frame| Fate { delay: Duration::ZERO, frame }));
        }
        fates
    }

    fn copy(&mut self, plan: &Plan, mut frame: Vec<u8>) -> Fate {
        let mut delay = Duration::from_micros(self.random.below(micros(plan.delay) + 1));
        if self.random.chance(plan.reorder) {
            delay += Duration::from_micros(1_000 + self.random.below(9_000));
        }
        if self.random.chance(plan.corrupt) && !frame.is_empty() {
            let bit = self.random.index(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if self.random.chance(plan.truncate) && frame.len() > ETHERNET_HEADER {
            let length = ETHERNET_HEADER + self.random.index(frame.len() - ETHERNET_HEADER);
            frame.truncate(length);
        }
        Fate { delay, frame }
    }

    /// A frame that nobody asked for: of our EtherType or another, to everybody, to the link's group or to `station`.
    pub(crate) fn bogus(&mut self, station: [u8; 6]) -> Vec<u8> {
        let to = match self.random.below(3) {
            0 => [0xff; 6],
            1 => frames::Mac::LINK_GROUP.0,
            _ => station,
        };
        let ethertype = if self.random.chance(50) { OURS } else { [0x88, self.random.byte()] };
        let length = 46 + self.random.index(200);
        let mut frame = [&to[..], &[0x02, 0xba, 0xd0, 0, 0, self.random.byte()], &ethertype].concat();
        frame.extend((0..length).map(|_| self.random.byte()));
        // Half of ours look right at first sight.
        if ethertype == OURS && self.random.chance(50) {
            frame[ETHERNET_HEADER] = VERSION;
        }
        frame
    }
}

/// The same but for the version, the header's first four bits; none of a frame that is not the link's.
fn of_other_versions(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let ours = frame.get(12..ETHERNET_HEADER) == Some(&OURS) && frame.len() > ETHERNET_HEADER;
    let steps = if ours { &[-1_i8, 1][..] } else { &[] };
    steps.iter().map(|step| {
        let mut frame = frame.to_vec();
        frame[ETHERNET_HEADER] = frame[ETHERNET_HEADER].wrapping_add_signed(step << 4);
        frame
    })
}

/// EtherType of the link.
pub(crate) const OURS: [u8; 2] = [0x88, 0xb5];

/// First byte of the link's header: version 1, no flags.
pub(crate) const VERSION: u8 = 0x10;

/// Bytes before a frame's payload, which the kernel does not send without.
pub(crate) const ETHERNET_HEADER: usize = 14;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a length")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn chance(&mut self, percent: u8) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("a delay that ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 60] = [7; 60];
    const ROUNDS: usize = 10_000;

    fn decide(plan: &Plan, seed: u64) -> Vec<Vec<Fate>> {
        let mut fates = Fates::new(seed);
        (0..ROUNDS).map(|_| fates.decide(plan, 0, &FRAME)).collect()
    }

    fn share(decided: &[Vec<Fate>], is: impl Fn(&[Fate]) -> bool) -> usize {
        decided.iter().filter(|fates| is(fates)).count() * 100 / ROUNDS
    }

    #[test]
    fn without_a_fault_every_frame_passes_as_it_is() {
        let passed = [Fate { delay: Duration::ZERO, frame: FRAME.to_vec() }];
        assert!(decide(&Plan::default(), 1).iter().all(|fates| *fates == passed));
    }

    #[test]
    fn a_seed_gives_the_same_again_and_another_does_not() {
        let plan =
            Plan { loss: 20, corrupt: 20, duplicate: 20, reorder: 20, truncate: 20, ..Plan::default() };
        assert_eq!(decide(&plan, 1), decide(&plan, 1));
        assert_ne!(decide(&plan, 1), decide(&plan, 2));
    }

    #[test]
    fn every_fault_meets_its_share_of_the_frames() {
        let lost = decide(&Plan { loss: 20, ..Plan::default() }, 3);
        assert!((18..=22).contains(&share(&lost, <[Fate]>::is_empty)));
        let twice = decide(&Plan { duplicate: 20, ..Plan::default() }, 3);
        assert!((18..=22).contains(&share(&twice, |fates| fates.len() == 2)));
        let late = decide(&Plan { reorder: 25, ..Plan::default() }, 3);
        assert!((23..=27).contains(&share(&late, |fates| fates[0].delay >= Duration::from_millis(1))));
        let turned = decide(&Plan { corrupt: 20, ..Plan::default() }, 3);
        let bits = |frame: &[u8]| frame.iter().zip(FRAME).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        assert!((18..=22).contains(&share(&turned, |fates| bits(&fates[0].frame) == 1)));
        let cut = decide(&Plan { truncate: 20, ..Plan::default() }, 3);
        assert!((18..=22).contains(&share(&cut, |fates| fates[0].frame.len() < FRAME.len())));
        let burst = decide(&Plan { burst: 5, ..Plan::default() }, 3);
        assert!((45..=55).contains(&share(&burst, <[Fate]>::is_empty)), "20 of 40 frames");
        let delayed = decide(&Plan { delay: Duration::from_millis(50), ..Plan::default() }, 3);
        assert!((48..=52).contains(&share(&delayed, |fates| fates[0].delay < Duration::from_millis(25))));
    }

    #[test]
    fn frames_of_the_link_come_in_three_versions() {
        let plan = Plan { other_versions: true, ..Plan::default() };
        let mut fates = Fates::new(1);
        assert_eq!(fates.decide(&plan, 0, &FRAME).len(), 1);
        let mut frame = FRAME;
        frame[12..15].copy_from_slice(&[OURS[0], OURS[1], 0x12]);
        let versions: Vec<u8> = fates.decide(&plan, 0, &frame).iter().map(|fate| fate.frame[14]).collect();
        assert_eq!(versions, [0x12, 0x02, 0x22]);
    }

    #[test]
    fn a_blackhole_is_one_of_a_direction() {
        let plan = Plan { blackhole: [true, false], ..Plan::default() };
        let mut fates = Fates::new(1);
        assert!(fates.decide(&plan, 0, &FRAME).is_empty());
        assert_eq!(fates.decide(&plan, 1, &FRAME).len(), 1);
    }
}
