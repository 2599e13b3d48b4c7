//! Super-packets inside tunnels: cut as a kernel would have cut them before they went into the tunnel.

use frames::ParseError;
use frames::inet::{Segments, offloads_inner};
use proptest::prelude::*;
use rstest::rstest;
use std::iter;

const IPV4: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const GRE: u8 = 47;

/// gso types.
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP_L4: u8 = 5;

/// TCP in IPv4 in VXLAN with UDP checksums in IPv4. All bytes of the golden packets were reckoned by RFC 791, 768, 9293, 7348,
/// 2890 and 8200 with a program that knows nothing of this one.
const VXLAN: &str =
    "45 00 00 5f 00 07 00 00 40 11 f6 83 c0 00 02 02 c0 00 02 01 c3 50 12 b5 00 4b 84 60 08 00 00 00
    00 00 07 00 02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00 00 2d ff ff 40 00 40 06 26 b7 0a 09
    00 02 0a 09 00 01 9c 40 00 50 ff ff ff fe 00 00 00 00 50 18 01 00 14 34 00 00 68 65 6c 6c 6f";
const VXLAN_SEGMENTS: [&str; 3] = [
    "45 00 00 5c 00 07 00 00 40 11 f6 86 c0 00 02 02 c0 00 02 01 c3 50 12 b5 00 48 9e 82 08 00 00 00
    00 00 07 00 02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00 00 2a ff ff 40 00 40 06 26 ba 0a 09
    00 02 0a 09 00 01 9c 40 00 50 ff ff ff fe 00 00 00 00 50 10 01 00 95 c9 00 00 68 65",
    "45 00 00 5c 00 08 00 00 40 11 f6 85 c0 00 02 02 c0 00 02 01 c3 50 12 b5 00 48 9e 82 08 00 00 00
    00 00 07 00 02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00 00 2a 00 00 40 00 40 06 26 ba 0a 09
    00 02 0a 09 00 01 9c 40 00 50 00 00 00 00 00 00 00 00 50 10 01 00 91 c1 00 00 6c 6c",
    "45 00 00 5b 00 09 00 00 40 11 f6 85 c0 00 02 02 c0 00 02 01 c3 50 12 b5 00 47 9e 83 08 00 00 00
    00 00 07 00 02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00 00 29 00 01 40 00 40 06 26 ba 0a 09
    00 02 0a 09 00 01 9c 40 00 50 00 00 00 02 00 00 00 00 50 18 01 00 8f 24 00 00 6f",
];

/// UDP in IPv6 in GRE with checksum and key in IPv6.
const GRE_IN_V6: &str =
    "60 00 00 00 00 41 2f 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02 20 01 0d b8 00 00 00 00
    00 00 00 00 00 00 00 01 a0 00 86 dd 00 00 00 00 00 00 00 05 60 00 00 00 00 0d 11 40 20 01 0d b8
    00 09 00 00 00 00 00 00 00 00 00 02 20 01 0d b8 00 09 00 00 00 00 00 00 00 00 00 01 9c 40 00 35
    00 0d 5b a5 68 65 6c 6c 6f";
const GRE_SEGMENTS: [&str; 2] = [
    "60 00 00 00 00 3f 2f 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02 20 01 0d b8 00 00 00 00
    00 00 00 00 00 00 00 01 a0 00 86 dd 67 ed 00 00 00 00 00 05 60 00 00 00 00 0b 11 40 20 01 0d b8
    00 09 00 00 00 00 00 00 00 00 00 02 20 01 0d b8 00 09 00 00 00 00 00 00 00 00 00 01 9c 40 00 35
    00 0b 33 76 68 65 6c",
    "60 00 00 00 00 3e 2f 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02 20 01 0d b8 00 00 00 00
    00 00 00 00 00 00 00 01 a0 00 86 dd 67 ed 00 00 00 00 00 05 60 00 00 00 00 0a 11 40 20 01 0d b8
    00 09 00 00 00 00 00 00 00 00 00 02 20 01 0d b8 00 09 00 00 00 00 00 00 00 00 00 01 9c 40 00 35
    00 0a 9b 6e 6c 6f",
];

#[rstest]
#[case::tcp_in_vxlan(VXLAN, TCP4, 2, 70, 16, &VXLAN_SEGMENTS)]
#[case::udp_in_gre(GRE_IN_V6, UDP_L4, 3, 92, 6, &GRE_SEGMENTS)]
fn golden_segments(
    #[case] packet: &str,
    #[case] gso_type: u8,
    #[case] size: u16,
    #[case] start: usize,
    #[case] offset: u16,
    #[case] expected: &[&str],
) {
    let parcel = parcel(&hex(packet), gso_type, size, start, offset);
    assert!(offloads_inner(&parcel));
    let expected: Vec<_> = expected.iter().map(|segment| hex(segment)).collect();
    assert_eq!(segments(&parcel).unwrap(), expected);
}

/// A single packet in a tunnel, with only the checksum inside to be completed.
#[test]
fn an_open_checksum_inside_is_completed() {
    let whole = hex(VXLAN_SEGMENTS[2]);
    let mut open = whole.clone();
    // The sum over the pseudo header.
    open[86..88].copy_from_slice(&[0x14, 0x30]);
    let parcel = parcel(&open, 0, 0, 70, 16);
    assert!(offloads_inner(&parcel));
    assert_eq!(segments(&parcel).unwrap(), [whole]);
}

proptest! {
    /// Whatever the tunnel: every length and checksum of every segment is right, what the kernel would not change is as it was,
    /// and the payloads together are the payload.
    #[test]
    fn segments_are_what_the_super_packet_stands_for(
        tunnel in tunnel(),
        outer_v6: bool,
        inner in inner(),
        size in 8..1500_u16,
    ) {
        let packet = tunnel.ip(outer_v6, &inner.packet());
        let before = packet.len() - inner.packet().len();
        let parcel = parcel(&packet, inner.gso_type(), size, before + inner.transport(), inner.offset());
        prop_assert!(offloads_inner(&parcel));
        let (mut bytes, mut count) = (Vec::new(), 0);
        for segment in segments(&parcel).unwrap() {
            let part = &inner.payload[bytes.len()..inner.payload.len().min(bytes.len() + usize::from(size))];
            let is_last = bytes.len() + part.len() == inner.payload.len();
            let expected = Inner { payload: part.to_vec(), ..inner.clone() }.cut(bytes.len(), is_last, count);
            prop_assert_eq!(&segment[before..], &expected, "inside");
            let mut around = tunnel.ip(outer_v6, &expected);
            if !outer_v6 {
                around[4..6].copy_from_slice(&(ID + count).to_be_bytes());
                set_v4_checksum(&mut around);
            }
            prop_assert_eq!(&segment, &around, "around");
            bytes.extend_from_slice(part);
            count += 1;
        }
        prop_assert_eq!(&bytes, &inner.payload);
        prop_assert_eq!(usize::from(count), inner.payload.len().div_ceil(size.into()).max(1));
    }

    /// No bytes make it panic, wherever the checksum is said to begin.
    #[test]
    fn any_bytes(
        mut packet in prop::collection::vec(any::<u8>(), 0..300),
        tunnel in prop::option::of(tunnel()),
        v6: bool,
        gso_type in prop::sample::select(vec![0, TCP4, TCP6, UDP_L4]),
        (size, start) in (0..40_u16, 0..300_usize),
    ) {
        if let Some(tunnel) = tunnel {
            packet = tunnel.ip(v6, &packet);
        }
        let parcel = parcel(&packet, gso_type, size, start, if matches!(gso_type, TCP4 | TCP6) { 16 } else { 6 });
        let _ = offloads_inner(&parcel);
        for segment in segments(&parcel).unwrap_or_default() {
            prop_assert!(segment.len() <= packet.len());
        }
    }
}

fn with(at: usize, byte: u8) -> impl Fn(&mut Vec<u8>) {
    move |packet| packet[at] = byte
}

/// Places are those of [`VXLAN`], whose outer IP header is 20 bytes long, UDP begins there, and the inner IP header at 50.
#[rstest]
#[case::of_another_version(TCP4, 70, with(50, 0x65), "checksum start")]
#[case::with_another_length(TCP4, 70, with(53, 0x2e), "checksum start")]
#[case::of_another_protocol(TCP4, 70, with(59, 17), "checksum start")]
#[case::of_the_other_family(TCP6, 70, with(0, 0x45), "checksum start")]
#[case::elsewhere(TCP4, 72, with(0, 0x45), "checksum start")]
#[case::before_the_tunnel(TCP4, 10, with(0, 0x45), "checksum start")]
#[case::as_udp(UDP_L4, 70, with(0, 0x45), "checksum start")]
#[case::in_no_tunnel(TCP4, 70, with(9, 253), "protocol")]
#[case::not_directly_in_ip(TCP4, 70, with(9, IPV4), "protocol")]
fn what_is_not_certain_is_not_cut(
    #[case] gso_type: u8,
    #[case] start: usize,
    #[case] change: impl Fn(&mut Vec<u8>),
    #[case] field: &str,
) {
    let mut packet = hex(VXLAN);
    change(&mut packet);
    let parcel = parcel(&packet, gso_type, 2, start, if gso_type == UDP_L4 { 6 } else { 16 });
    assert!(offloads_inner(&parcel), "nor does it go on");
    assert!(
        matches!(segments(&parcel), Err(ParseError::Value { field: found, .. }) if found == field),
        "{:?}",
        segments(&parcel)
    );
}

/// Sequence number, routing, version.
#[rstest]
fn gre_that_counts_is_not_cut(#[values(0x1000, 0x4000, 0x0001)] flags: u16) {
    let mut packet = hex(GRE_IN_V6);
    packet[40..42].copy_from_slice(&flags.to_be_bytes());
    let parcel = parcel(&packet, UDP_L4, 3, 92, 6);
    assert!(offloads_inner(&parcel));
    assert_eq!(segments(&parcel), Err(ParseError::Value { field: "GRE flags", value: flags.into() }));
}

/// The kind without a checksum that tells where.
#[test]
fn a_super_packet_without_a_place_is_not_cut() {
    let mut parcel = parcel(&hex(VXLAN), TCP4, 2, 70, 16);
    parcel[0] = 0;
    assert!(offloads_inner(&parcel));
    assert_eq!(segments(&parcel), Err(ParseError::Value { field: "gso type", value: 1 }));
}

#[rstest]
#[case::nothing_to_do(0, 0, 0, 0, 0)]
#[case::checksum_verified(2, 0, 0, 70, 16)]
#[case::of_the_outer_header(1, 0, 0, 20, 6)]
#[case::udp_super_packet(1, UDP_L4, 20, 20, 6)]
#[case::sctp_inside(1, 0, 0, 70, 8)]
fn what_is_not_about_the_inside(
    #[case] flags: u8,
    #[case] gso_type: u8,
    #[case] size: u16,
    #[case] start: usize,
    #[case] offset: u16,
) {
    let mut parcel = parcel(&hex(VXLAN), gso_type, size, start, offset);
    parcel[0] = flags;
    assert!(!offloads_inner(&parcel));
    parcel[22] = 0x99;
    assert!(!offloads_inner(&parcel), "no IP");
    assert!(!offloads_inner(&parcel[..20]));
    assert!(!offloads_inner(&parcel[..9]));
}

/// What is around an inner packet.
#[derive(Debug, Clone)]
enum Tunnel {
    /// With or without checksum; what stands between UDP and the inner IP header.
    Udp(bool, Vec<u8>),
    /// Checksum, key, and what stands behind the header.
    Gre(bool, bool, Vec<u8>),
    /// Directly.
    Ip,
}

#[derive(Debug, Clone)]
struct Inner {
    is_v6: bool,
    is_tcp: bool,
    /// Words of options in the IPv4 header.
    options: usize,
    flags: u8,
    sequence: u32,
    payload: Vec<u8>,
}

const ID: u16 = 0x1234;

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let between = || prop::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        (any::<bool>(), between()).prop_map(|(checksum, between)| Tunnel::Udp(checksum, between)),
        (any::<bool>(), any::<bool>(), between())
            .prop_map(|(sum, key, behind)| Tunnel::Gre(sum, key, behind)),
        Just(Tunnel::Ip),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    let payload = prop::collection::vec(any::<u8>(), 0..5000);
    (any::<bool>(), any::<bool>(), 0..=10_usize, any::<u8>(), any::<u32>(), payload).prop_map(
        |(is_v6, is_tcp, options, flags, sequence, payload)| Inner {
            is_v6,
            is_tcp,
            options: if is_v6 { 0 } else { options },
            flags,
            sequence,
            payload,
        },
    )
}

impl Tunnel {
    /// The whole packet, with all its checksums.
    fn ip(&self, is_v6: bool, inner: &[u8]) -> Vec<u8> {
        let (protocol, content) = match self {
            Self::Udp(has_checksum, between) => {
                let content = [between, inner].concat();
                let length = u16::try_from(content.len() + 8).unwrap().to_be_bytes();
                let mut udp = [&[0xc3, 0x50, 0x12, 0xb5][..], &length, &[0, 0], &content].concat();
                if *has_checksum {
                    set_checksum(&mut udp, 6, UDP, is_v6);
                }
                (UDP, udp)
            }
            Self::Gre(has_checksum, has_key, behind) => {
                let flags = u8::from(*has_checksum) << 7 | u8::from(*has_key) << 5;
                let words = usize::from(*has_checksum) + usize::from(*has_key);
                let mut gre = [&[flags, 0, 0x65, 0x58][..], &vec![0; 4 * words], behind, inner].concat();
                if *has_checksum {
                    let sum = !sum(&gre);
                    gre[4..6].copy_from_slice(&sum.to_be_bytes());
                }
                (GRE, gre)
            }
            Self::Ip => {
                (if inner.first().is_some_and(|first| first >> 4 == 4) { IPV4 } else { IPV6 }, inner.to_vec())
            }
        };
        ip(is_v6, protocol, 0, &content)
    }
}

impl Inner {
    /// Before it is cut, with its checksum open.
    fn packet(&self) -> Vec<u8> {
        let mut packet = self.cut(0, true, 0);
        let at = self.transport() + usize::from(self.offset());
        packet[at..at + 2].copy_from_slice(&[0x55, 0xaa]);
        packet
    }

    /// The segment with this payload behind so many bytes of it.
    fn cut(&self, done: usize, is_last: bool, count: u16) -> Vec<u8> {
        let mut segment = if self.is_tcp {
            let sequence = self.sequence.wrapping_add(u32::try_from(done).unwrap()).to_be_bytes();
            let flags = if is_last { self.flags } else { self.flags & !0x09 };
            let rest = [0, 0, 0, 0, 0x60, flags, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1];
            [&[0x9c, 0x40, 0, 80][..], &sequence, &rest].concat()
        } else {
            let length = u16::try_from(self.payload.len() + 8).unwrap().to_be_bytes();
            [&[0x9c, 0x40, 0, 53][..], &length, &[0, 0]].concat()
        };
        segment.extend_from_slice(&self.payload);
        let protocol = if self.is_tcp { TCP } else { UDP };
        set_checksum(&mut segment, self.offset().into(), protocol, self.is_v6);
        let mut packet = ip(self.is_v6, protocol, self.options, &segment);
        if !self.is_v6 {
            packet[4..6].copy_from_slice(&ID.wrapping_add(count).to_be_bytes());
            set_v4_checksum(&mut packet);
        }
        packet
    }

    fn transport(&self) -> usize {
        if self.is_v6 { 40 } else { 20 + 4 * self.options }
    }

    fn offset(&self) -> u16 {
        if self.is_tcp { 16 } else { 6 }
    }

    fn gso_type(&self) -> u8 {
        match (self.is_tcp, self.is_v6) {
            (true, false) => TCP4,
            (true, true) => TCP6,
            (false, _) => UDP_L4,
        }
    }
}

fn ip(is_v6: bool, protocol: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    if is_v6 {
        let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
        return [&[0x60, 0, 0, 0, high, low, protocol, 64][..], &ADDRESSES_V6, payload].concat();
    }
    let words = 5 + u8::try_from(options).unwrap();
    let [high, low] = u16::try_from(payload.len() + 4 * usize::from(words)).unwrap().to_be_bytes();
    let [id_high, id_low] = ID.to_be_bytes();
    let header = [0x40 | words, 0, high, low, id_high, id_low, 0x40, 0, 64, protocol, 0, 0];
    let mut packet = [&header[..], &ADDRESSES_V4, &vec![1; 4 * options], payload].concat();
    set_v4_checksum(&mut packet);
    packet
}

const ADDRESSES_V4: [u8; 8] = [192, 0, 2, 2, 192, 0, 2, 1];
const ADDRESSES_V6: [u8; 32] = {
    let mut addresses = [0x11; 32];
    addresses[0] = 0x20;
    addresses[16] = 0x20;
    addresses
};

fn set_v4_checksum(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let sum = !sum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn set_checksum(segment: &mut [u8], at: usize, protocol: u8, is_v6: bool) {
    let addresses: &[u8] = if is_v6 { &ADDRESSES_V6 } else { &ADDRESSES_V4 };
    let length = u32::try_from(segment.len()).unwrap().to_be_bytes();
    let sum = !sum(&[addresses, &length, &[0, 0, 0, protocol], segment].concat());
    let sum = if sum == 0 { 0xffff } else { sum };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// A parcel whose transport checksum begins at `start` in the packet.
fn parcel(packet: &[u8], gso_type: u8, size: u16, start: usize, offset: u16) -> Vec<u8> {
    let start = u16::try_from(start + 14).unwrap();
    let numbers = [0, size, start, offset].map(u16::to_be_bytes).concat();
    let ethertype =
        if packet.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&[1, gso_type][..], &numbers, &[2; 12], &ethertype, packet].concat()
}

fn segments(parcel: &[u8]) -> Result<Vec<Vec<u8>>, ParseError> {
    let mut segments = Segments::new(parcel)?;
    assert_eq!(segments.longest_of_tcp(), None, "not for every kernel");
    let mut buffer = vec![0; 70_000];
    Ok(iter::from_fn(|| segments.write_next(&mut buffer).map(|length| buffer[..length].to_vec())).collect())
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
