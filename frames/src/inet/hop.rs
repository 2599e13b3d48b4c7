//! The hops that a packet may still take: TTL and hop limit.

use super::checksum::Delta;

/// The hops that an IP packet may still take; `None` for a frame that holds no whole IP header. `frame` begins with the
/// Ethernet header.
#[must_use]
pub fn hops(frame: &[u8]) -> Option<u8> {
    let at = place(frame)?;
    frame.get(at.hops).copied()
}

/// Gives an IP packet back the hop that a router took, so that this router and the next one count as one. A packet that may
/// take as many hops as there can be stays as it is.
pub fn give_hop_back(frame: &mut [u8]) {
    let Some(at) = place(frame) else { return };
    let Some(old) = frame.get(at.word()).and_then(|word| <[u8; 2]>::try_from(word).ok()) else { return };
    let mut new = old;
    let [high, low] = &mut new;
    let hops = if at.hops.is_multiple_of(2) { high } else { low };
    *hops = hops.saturating_add(1);
    if let Some(word) = frame.get_mut(at.word()) {
        word.copy_from_slice(&new);
    }
    if let Some(checksum) = at.checksum.and_then(|at| frame.get_mut(at..at.saturating_add(2)))
        && let Ok(field) = <[u8; 2]>::try_from(&*checksum)
    {
        checksum.copy_from_slice(&Delta::of(&old, &new).checksum(field));
    }
}

/// Where the fields stand.
struct Place {
    hops: usize,
    checksum: Option<usize>,
}

impl Place {
    /// The word of the checksum's sum in which the hops stand.
    fn word(&self) -> core::ops::Range<usize> {
        let start = self.hops & !1;
        start..start.saturating_add(2)
    }
}

fn place(frame: &[u8]) -> Option<Place> {
    // The least length of a frame with the whole header in it.
    let (at, least) = match (frame.get(12..14)?, frame.get(ETHERNET_HEADER)? >> 4) {
        ([0x08, 0x00], 4) => (Place { hops: 22, checksum: Some(24) }, 34),
        ([0x86, 0xdd], 6) => (Place { hops: 21, checksum: None }, 54),
        _ => return None,
    };
    (frame.len() >= least).then_some(at)
}

const ETHERNET_HEADER: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inet::checksum::sum;
    use rstest::rstest;

    /// An IPv4 header of RFC 791's form with this TTL and a right checksum.
    fn v4(ttl: u8) -> [u8; 34] {
        let mut frame = [0; 34];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14..34].copy_from_slice(&[
            0x45, 0, 0, 20, 0x12, 0x34, 0, 0, ttl, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1,
        ]);
        let checksum = !sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    #[rstest]
    #[case(0, 1)]
    #[case(1, 2)]
    #[case(63, 64)]
    #[case(254, 255)]
    #[case(255, 255)]
    fn an_ipv4_header_stays_right(#[case] before: u8, #[case] after: u8) {
        let mut frame = v4(before);
        assert_eq!(hops(&frame), Some(before));
        give_hop_back(&mut frame);
        assert_eq!(frame, v4(after));
    }

    #[test]
    fn of_ipv6_the_hop_limit_changes_and_nothing_else() {
        let mut frame = [7; 54];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60;
        frame[21] = 63;
        let before = frame;
        give_hop_back(&mut frame);
        assert_eq!(hops(&frame), Some(64));
        frame[21] = 63;
        assert_eq!(frame, before);
    }

    #[rstest]
    #[case(&[0; 0])]
    #[case(&[0; 60])]
    #[case(&v4(3)[..33])]
    fn what_is_no_ip_packet_stays_as_it_is(#[case] bytes: &[u8]) {
        let mut frame = bytes.to_vec();
        give_hop_back(&mut frame);
        assert_eq!(frame, bytes);
        assert_eq!(hops(&frame), None);
    }
}
