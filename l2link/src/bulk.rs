//! [`BulkFlows`]: which flows are transfers, whose packets a conversation's may overtake.
//!
//! # Theory of operation
//!
//! A transfer fills whatever queue is before the narrowest place of its way, and a question that waits in the same queue
//! takes a hundred times as long as alone. So there are two queues wherever packets wait: the one of transfers is served after
//! the other.
//!
//! A *flow* is what goes between two ends, both ways, by addresses, protocol and ports; many may share a place in the table,
//! which costs a conversation no more than to wait as a transfer does. Each place has a bucket that leaks [`RATE`]. A flow whose
//! bucket runs over is a transfer for [`HOLD`], which is longer than its packets wait anywhere: when it counts as a
//! conversation again, none is left to be overtaken by a later one.

use crate::Time;
use core::hash::Hasher;
use core::net::IpAddr;
use core::time::Duration;
use frames::data::OffloadHeader;
use frames::inet::{Ip, Layer3, Transport, classify};
use rustc_hash::FxHasher;

/// Bytes a microsecond that leave a bucket: 64 Mb/s.
const RATE: u64 = 8;
/// Bytes that a bucket holds: what a page with its pictures has, or two super-packets.
const ROOM: u64 = 128 * 1024;
/// How long a flow stays a transfer.
const HOLD: Duration = Duration::from_millis(100);
const PLACES: usize = 1024;

/// The flows that went by in the last moments.
#[derive(Debug)]
pub struct BulkFlows {
    places: Box<[Place; PLACES]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Bytes in the bucket at `since`.
    level: u64,
    since: Time,
    /// Until when the flow is a transfer.
    until: Time,
}

impl Default for BulkFlows {
    fn default() -> Self {
        Self { places: Box::new([Place::default(); PLACES]) }
    }
}

impl BulkFlows {
    /// Notes that a parcel of a flow goes by, and says whether the flow is a transfer.
    pub fn note(&mut self, parcel: &[u8], now: Time) -> bool {
        let Some(place) = self.place(parcel) else { return false };
        let leaked = RATE * u64::try_from((now - place.since).as_micros()).unwrap_or(u64::MAX / RATE);
        place.level = place.level.saturating_sub(leaked) + parcel.len() as u64;
        place.since = now;
        if place.level > ROOM {
            place.level = ROOM;
            place.until = now + HOLD;
        }
        now < place.until
    }

    /// The flow of a parcel is a transfer: the other end says so.
    pub fn mark(&mut self, parcel: &[u8], now: Time) {
        if let Some(place) = self.place(parcel) {
            place.until = now + HOLD;
        }
    }

    fn place(&mut self, parcel: &[u8]) -> Option<&mut Place> {
        let view = classify(parcel.get(size_of::<OffloadHeader>()..)?).ok()?;
        let Layer3::Ip(ip) = view.layer3 else { return None };
        self.places.get_mut(hash(&ip))
    }
}

/// The place of a flow, the same for both directions. Fragments have one by their addresses, whichever of them has the ports.
#[expect(clippy::cast_possible_truncation, reason = "less than PLACES")]
fn hash(ip: &Ip) -> usize {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    };
    let ports = match ip.transport {
        Transport::Ports { source, destination, .. } if ip.fragment.is_none() => source ^ destination,
        _ => 0,
    };
    let mut hasher = FxHasher::default();
    hasher.write_u128(bits(ip.source) ^ bits(ip.destination));
    hasher.write_u32(u32::from(ports) << 8 | u32::from(ip.protocol));
    (hasher.finish() % PLACES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);
    const A: ([u8; 4], u16) = ([192, 0, 2, 1], 5201);
    const B: ([u8; 4], u16) = ([192, 0, 2, 2], 40_000);

    /// A parcel of TCP over IPv4 of so many bytes. `fragment`: flags and offset.
    fn parcel(from: ([u8; 4], u16), to: ([u8; 4], u16), len: usize, fragment: u16) -> Vec<u8> {
        let mut parcel = vec![0; len];
        parcel[22..24].copy_from_slice(&[8, 0]);
        let ip = &mut parcel[24..];
        let total = u16::try_from(ip.len()).unwrap();
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip[9] = 6;
        ip[12..16].copy_from_slice(&from.0);
        ip[16..20].copy_from_slice(&to.0);
        ip[20..22].copy_from_slice(&from.1.to_be_bytes());
        ip[22..24].copy_from_slice(&to.1.to_be_bytes());
        ip[32] = 0x50;
        parcel
    }

    fn small(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
        parcel(from, to, 64, 0)
    }

    #[test]
    fn a_flow_that_sends_much_is_a_transfer_both_ways_for_a_while() {
        let mut flows = BulkFlows::default();
        let large = parcel(A, B, 60_000, 0);
        assert_eq!([0, 1, 2].map(|_| flows.note(&large, NOW)), [false, false, true]);
        let end = NOW + HOLD;
        assert!(flows.note(&small(B, A), Time(end.0 - 1)), "what answers it");
        assert!(!flows.note(&small((A.0, 5202), B), Time(end.0 - 1)), "another flow between the two");
        assert!(!flows.note(&small(A, B), end));
    }

    #[test]
    fn what_leaks_as_fast_as_it_comes_is_none() {
        let transfers = |pause: u64| {
            let mut flows = BulkFlows::default();
            let large = parcel(A, B, 8_000, 0);
            (0..1_000).filter(|step| flows.note(&large, NOW + Duration::from_micros(step * pause))).count()
        };
        assert_eq!(transfers(1_000), 0);
        assert!(transfers(900) > 800, "a tenth more than leaks, until a hundred have run over");
    }

    #[test]
    fn the_other_end_may_say_so() {
        let mut flows = BulkFlows::default();
        flows.mark(&small(A, B), NOW);
        assert!(flows.note(&small(B, A), NOW + HOLD / 2));
        assert!(!flows.note(&small(B, A), NOW + HOLD));
    }

    #[test]
    fn fragments_of_a_packet_belong_together() {
        let mut flows = BulkFlows::default();
        let (first, later) = (parcel(A, B, 1_500, 0x2000), parcel(A, (B.0, 9), 1_500, 0x00b9));
        flows.mark(&first, NOW);
        assert!(flows.note(&later, NOW));
    }

    #[test]
    fn what_has_no_flow_is_none() {
        let mut flows = BulkFlows::default();
        let arp = [[0; 22].as_slice(), &[8, 6], &[0; 40]].concat();
        for parcel in [&[][..], &[0; 10], &[0; 60], &arp] {
            flows.mark(parcel, NOW);
            assert!((0..10_000).all(|_| !flows.note(parcel, NOW)));
        }
    }
}
