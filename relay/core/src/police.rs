//! Limits of the rate of punts.
//!
//! # Theory of operation
//! Whoever can reach a port can make the relay send packets up. TCP and UDP that matched a rule are the control's own
//! traffic and are not limited by default. The rest (neighbour discovery, ICMP, broadcasts, raw and packet sockets)
//! costs the sender little and every control a copy, so each control has a token bucket per [`PuntClass`]. A bucket
//! holds at most a burst, is refilled by the time that went by, and pays one token for a packet; without a token the
//! packet is dropped and counted. Tokens are kept in millionths, so that any rate divides a microsecond exactly.

use core::fmt;
use l2link::Time;

/// Kind of packet for which a limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum PuntClass {
    /// ARP, neighbour discovery, router advertisements.
    Neighbor,
    /// ICMP errors and echo replies.
    Icmp,
    /// IP to a broadcast or multicast address.
    Group,
    /// For raw sockets and packet sockets only.
    Raw,
    /// Unicast that matched a flow or a listener.
    Transport,
}

impl PuntClass {
    /// All of them, in order of declaration: `ALL[class as usize] == class`.
    pub const ALL: [Self; 5] = [Self::Neighbor, Self::Icmp, Self::Group, Self::Raw, Self::Transport];

    /// The name in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neighbor => "neighbor",
            Self::Icmp => "icmp",
            Self::Group => "group",
            Self::Raw => "raw",
            Self::Transport => "transport",
        }
    }
}

impl fmt::Display for PuntClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The limit of one class, for each control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Packets per second.
    pub rate: u32,
    /// Packets that may come at once.
    pub burst: u32,
}

/// Limits by class; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits(pub [Option<Limit>; PuntClass::ALL.len()]);

impl Default for Limits {
    /// 20,000 packets per second, a tenth of a second of them at once, for all but matched TCP and UDP: a tenth of
    /// what one core sends up.
    fn default() -> Self {
        let limit = Some(Limit { rate: 20_000, burst: 2_000 });
        Self([limit, limit, limit, limit, None])
    }
}

/// The buckets of one control, and what they counted.
#[derive(Debug, Clone)]
pub(crate) struct Police {
    buckets: [Bucket; PuntClass::ALL.len()],
}

/// What a control was sent and refused of a class, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Punted {
    pub(crate) passed: u64,
    pub(crate) dropped: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    limit: Option<Limit>,
    /// Millionths of a packet.
    tokens: u64,
    filled: Time,
    punted: Punted,
}

impl Police {
    /// Full buckets.
    pub(crate) fn new(limits: &Limits, now: Time) -> Self {
        let bucket = |limit: Option<Limit>| Bucket {
            limit,
            tokens: limit.map_or(0, Limit::full),
            filled: now,
            punted: Punted::default(),
        };
        Self { buckets: limits.0.map(bucket) }
    }

    /// Whether one more packet of the class may go up.
    pub(crate) fn admit(&mut self, class: PuntClass, now: Time) -> bool {
        let bucket = &mut self.buckets[class as usize];
        let admitted = bucket.take(now);
        if admitted {
            bucket.punted.passed += 1;
        } else {
            bucket.punted.dropped += 1;
        }
        admitted
    }

    /// Whether any packet of the class may go up.
    pub(crate) fn is_unlimited(&self, class: PuntClass) -> bool {
        self.buckets[class as usize].limit.is_none()
    }

    /// Counts packets of a class without a limit.
    pub(crate) fn pass(&mut self, class: PuntClass, packets: u64) {
        self.buckets[class as usize].punted.passed += packets;
    }

    /// The limit of a class, and whether one more packet may go up now.
    pub(crate) fn standing(&self, class: PuntClass, now: Time) -> (Option<Limit>, bool) {
        let bucket = &self.buckets[class as usize];
        (bucket.limit, bucket.limit.is_none_or(|limit| bucket.tokens_at(&limit, now) >= PACKET))
    }

    /// Counts by class.
    pub(crate) fn punted(&self) -> impl Iterator<Item = (PuntClass, Punted)> {
        PuntClass::ALL.into_iter().zip(self.buckets.iter().map(|bucket| bucket.punted))
    }
}

impl Bucket {
    fn take(&mut self, now: Time) -> bool {
        let Some(limit) = self.limit else { return true };
        self.tokens = self.tokens_at(&limit, now);
        self.filled = now;
        match self.tokens.checked_sub(PACKET) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    fn tokens_at(&self, limit: &Limit, now: Time) -> u64 {
        let elapsed = now.0.saturating_sub(self.filled.0);
        self.tokens.saturating_add(elapsed.saturating_mul(u64::from(limit.rate))).min(limit.full())
    }
}

impl Limit {
    fn full(self) -> u64 {
        u64::from(self.burst) * PACKET
    }
}

/// Price of a packet in millionths: µs × packets per second.
const PACKET: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matched_transport_is_not_limited_by_default() {
        let mut police = Police::new(&Limits::default(), Time(0));
        assert!((0..100_000).all(|_| police.admit(PuntClass::Transport, Time(0))));
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut police = Police::new(&limits(1_000, 10), Time(0));
        let admitted =
            |police: &mut Police, now| (0..100).filter(|_| police.admit(PuntClass::Icmp, now)).count();
        assert_eq!(admitted(&mut police, Time(0)), 10);
        assert_eq!(admitted(&mut police, Time(5_000)), 5);
        assert_eq!(admitted(&mut police, Time(60_000_000)), 10);
        let (_, punted) = police.punted().find(|(class, _)| *class == PuntClass::Icmp).unwrap();
        assert_eq!(punted, Punted { passed: 25, dropped: 275 });
    }

    proptest! {
        /// Over any time, no more than the burst and the rate times that time.
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 1u32..50_000, burst in 1u32..500, gaps in prop::collection::vec(0u64..5_000, 1..500)
        ) {
            let mut police = Police::new(&limits(rate, burst), Time(0));
            let (mut now, mut admitted) = (0, 0);
            for gap in gaps {
                now += gap;
                admitted += u64::from(police.admit(PuntClass::Group, Time(now)));
            }
            prop_assert!(admitted <= u64::from(burst) + now * u64::from(rate) / 1_000_000);
        }
    }

    fn limits(rate: u32, burst: u32) -> Limits {
        Limits([Some(Limit { rate, burst }); PuntClass::ALL.len()])
    }
}
