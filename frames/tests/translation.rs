//! Translated, cut and refused packets against full recomputation of their checksums.

mod golden;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::Mac;
use frames::data::OffloadHeader;
use frames::inet::{End, Fragments, Obstacle, Segments, addresses, error_about, limit_mss, translate};
use proptest::prelude::*;

/// Bytes of a parcel before the IP packet.
const BEFORE: usize = size_of::<OffloadHeader>() + 14;

proptest! {
    /// Whatever the packet, its checksums are right afterwards, and translating back gives the packet back.
    #[test]
    fn checksums_stay_right(packet in packet(), end in end(), to4: u32, to6: u128) {
        let (source, destination) = ends(&packet);
        let from = if end == End::Source { source } else { destination };
        let to = like(from, to4, to6);
        check(&packet);
        let mut parcel = parcel(&packet, None);
        translate(&mut parcel, end, from, to).unwrap();
        let (new_source, new_destination) = addresses(&parcel).unwrap();
        let expected = if end == End::Source { (to, destination) } else { (source, to) };
        prop_assert_eq!((new_source, new_destination), expected);
        check(&parcel[BEFORE..]);
        translate(&mut parcel, end, to, from).unwrap();
        prop_assert_eq!(&parcel[BEFORE..], &packet[..]);
    }

    /// An open checksum holds the pseudo header's sum of the new addresses.
    #[test]
    fn open_checksums_stay_open(packet in segment(0..200), end in end(), to4: u32, to6: u128) {
        let (source, destination) = ends(&packet);
        let from = if end == End::Source { source } else { destination };
        let mut parcel = opened(&packet, 0);
        translate(&mut parcel, end, from, like(from, to4, to6)).unwrap();
        let mut segments = Segments::new(&parcel).unwrap();
        let mut out = [0; 2000];
        let length = segments.write_next(&mut out).unwrap();
        check(&out[..length]);
        prop_assert_eq!(length, packet.len());
        prop_assert!(segments.write_next(&mut out).is_none());
    }

    /// A super-packet's segments are right, and together what it was.
    #[test]
    fn super_packets_are_cut(packet in segment(1..9000), size in 400..1500_u16) {
        let (headers, payload) = split(&packet);
        let parcel = opened(&packet, size);
        let mut segments = Segments::new(&parcel).unwrap();
        let (mut out, mut bytes, mut count) = (vec![0; 70_000], Vec::new(), 0_usize);
        while let Some(length) = segments.write_next(&mut out) {
            let segment = &out[..length];
            check(segment);
            let (own, part) = split(segment);
            prop_assert_eq!(own.len(), headers.len());
            if packet[protocol_at(&packet)] == 6 {
                let at = transport_at(segment) + 4;
                let sequence = |bytes: &[u8]| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
                let ahead = u32::try_from(bytes.len()).unwrap();
                prop_assert_eq!(sequence(segment), sequence(&packet).wrapping_add(ahead));
                let flags = |bytes: &[u8]| bytes[at + 9];
                let is_last = bytes.len() + part.len() == payload.len();
                let expected = if is_last { flags(&packet) } else { flags(&packet) & !0x09 };
                prop_assert_eq!(flags(segment), expected);
            }
            bytes.extend_from_slice(part);
            count += 1;
        }
        prop_assert_eq!(&bytes[..], payload);
        prop_assert_eq!(count, payload.len().div_ceil(size.into()));
    }

    /// Fragments hold the whole payload, each at its place, and fit.
    #[test]
    fn large_packets_are_cut(payload in prop::collection::vec(any::<u8>(), 1..4000), mtu in 68..1500_u32) {
        let packet = ip(&Address::V4(7, 8), 17, &udp(&payload, &Address::V4(7, 8), true));
        let mut fragments = Fragments::new(&packet, mtu).unwrap();
        let (mut out, mut whole) = ([0; 2000], Vec::new());
        while let Some(length) = fragments.write_next(&mut out) {
            prop_assert!(length <= mtu as usize);
            prop_assert_eq!(sum(&out[..20], 0), 0xffff);
            let flags_offset = u16::from_be_bytes([out[6], out[7]]);
            prop_assert_eq!(usize::from(flags_offset & 0x1fff) * 8, whole.len());
            whole.extend_from_slice(&out[20..length]);
            prop_assert_eq!(flags_offset & 0x2000 == 0, whole.len() + 20 == packet.len());
        }
        prop_assert_eq!(&whole[..], &packet[20..]);
    }

    /// The error about a packet is a right one that goes back to its sender.
    #[test]
    fn errors_about_packets(packet in packet(), mtu in proptest::option::of(576..9000_u32)) {
        let mut buffer = [0; 2000];
        let obstacle = mtu.map_or(Obstacle::NoRoute, Obstacle::TooBig);
        let length = error_about(&packet, obstacle, Mac([2, 0, 0, 0, 0, 1]), &mut buffer).unwrap();
        let error = &buffer[BEFORE..length];
        check(error);
        let (source, destination) = ends(&packet);
        prop_assert_eq!(ends(error), (destination, source));
    }

    /// Whoever opens a connection hears of no longer packets than there is room for, whatever option stands before that, and
    /// of nothing else.
    #[test]
    fn segment_sizes_are_limited(
        address in address(),
        nothings in 0..=4_usize,
        answers: bool,
        mss: u16,
        packet_max in 576..10_000_usize,
    ) {
        let packet = opening(&address, nothings, answers, mss);
        let limit = packet_max - if matches!(address, Address::V4(..)) { 40 } else { 60 };
        let expected = opening(&address, nothings, answers, mss.min(u16::try_from(limit).unwrap()));
        for (before, after) in
            [(parcel(&packet, None), parcel(&expected, None)), (opened(&packet, 0), opened(&expected, 0))]
        {
            let mut parcel = before;
            prop_assert_eq!(limit_mss(&mut parcel, packet_max), usize::from(mss) > limit);
            prop_assert_eq!(parcel, after);
        }
    }

    /// Segments that open nothing stay as they are.
    #[test]
    fn other_segments_are_not_limited(packet in packet()) {
        let mut parcel = parcel(&packet, None);
        let before = parcel.clone();
        let at = transport_at(&packet);
        let opens = packet[protocol_at(&packet)] == 6 && packet[at + 13] & 0x02 != 0;
        prop_assert_eq!(limit_mss(&mut parcel, 1000), opens);
        prop_assert_eq!(parcel == before, !opens);
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200), end in end(), version in 0..3_usize) {
        if let Some(ethertype) = bytes.get_mut(22..24) {
            ethertype.copy_from_slice(&[[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]][version]);
        }
        if let Some(first) = bytes.get_mut(24) {
            *first = [0x45, 0x60, *first][version];
        }
        let before = bytes.clone();
        if let Some((source, destination)) = addresses(&bytes) {
            let from = if end == End::Source { source } else { destination };
            if translate(&mut bytes, end, from, like(from, 1, 1)).is_err() {
                prop_assert_eq!(&bytes, &before);
            }
        }
        if let Ok(mut segments) = Segments::new(&bytes) {
            let mut out = [0; 300];
            for _ in 0..1000 {
                if segments.write_next(&mut out).is_none() {
                    break;
                }
            }
        }
        let _ = limit_mss(&mut bytes, 576);
        let _ = error_about(&bytes, Obstacle::TooBig(1280), Mac([0; 6]), &mut [0; 2000]);
        let _ = Fragments::new(&bytes, 68).map(|mut fragments| fragments.write_next(&mut [0; 100]));
    }
}

#[test]
fn golden_packets_survive() {
    for golden in golden::packets() {
        let parcel = [&[0; size_of::<OffloadHeader>()][..], &golden.bytes].concat();
        let Some((source, destination)) = addresses(&parcel) else { continue };
        for (end, from) in [(End::Source, source), (End::Destination, destination)] {
            let mut there_and_back = parcel.clone();
            let to = like(from, 0x0a63_0002, 0xfd << 120 | 2);
            if translate(&mut there_and_back, end, from, to).is_ok() {
                assert_ne!(there_and_back, parcel, "{}", golden.name);
                translate(&mut there_and_back, end, to, from).unwrap();
            }
            let same = there_and_back.iter().zip(&parcel).filter(|(a, b)| a != b).count();
            // A checksum of zero, as many golden packets have it, may come back as all ones.
            assert!(same <= 6, "{}: {same} bytes differ", golden.name);
        }
    }
}

/// Bytes by hand: 192.0.2.2:40000 to 192.0.2.10:80, SYN, then to 10.99.0.2. Checksums by RFC 1071 on paper.
#[test]
fn golden_bytes() {
    let hex = |text: &str| -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    let before = hex("45 00 00 28 00 01 40 00 40 06 b6 c2 c0 00 02 02 c0 00 02 0a \
                      9c 40 00 50 00 00 00 01 00 00 00 00 50 02 fa f0 94 53 00 00");
    let after = hex("45 00 00 28 00 01 40 00 40 06 6e 68 c0 00 02 02 0a 63 00 02 \
                     9c 40 00 50 00 00 00 01 00 00 00 00 50 02 fa f0 4b f9 00 00");
    let mut parcel = parcel(&before, None);
    let (virtual_address, control) = ("192.0.2.10".parse().unwrap(), "10.99.0.2".parse().unwrap());
    assert!(translate(&mut parcel, End::Source, virtual_address, control).is_err(), "not its source");
    translate(&mut parcel, End::Destination, virtual_address, control).unwrap();
    assert_eq!(&parcel[BEFORE..], after);
}

#[test]
fn options_that_cannot_be_read_limit_nothing() {
    for options in [
        "00 02 04 ff",             // the end before it
        "03 00 02 04",             // of no length
        "03 01 01 01",             // of the length of its kind alone
        "02 03 ff 01",             // of another length
        "01 01 01 02",             // cut off behind its kind
        "01 01 02 04",             // cut off before its value
        "05 ff 01 01 02 04 ff ff", // longer than the header
    ] {
        let options: Vec<u8> =
            options.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        // What follows is payload, whatever it looks like.
        let packet =
            ip(&Address::V4(1, 2), 6, &syn(&options, &[2, 4, 0xff, 0xff], false, &Address::V4(1, 2)));
        let mut parcel = parcel(&packet, None);
        assert!(!limit_mss(&mut parcel, 576), "{options:02x?}");
        assert_eq!(parcel[BEFORE..], packet);
    }
}

/// What is known of ICMPv6 does not hold in IPv4: where its checksum would stand nothing changes.
#[test]
fn icmpv6_in_ipv4_has_no_checksum() {
    let packet = ip(&Address::V4(1, 2), 58, &[128, 0, 1, 2, 3, 4, 5, 6]);
    let mut parcel = parcel(&packet, None);
    translate(&mut parcel, End::Source, [0, 0, 0, 1].into(), [10, 99, 0, 2].into()).unwrap();
    assert_eq!(parcel[BEFORE + 20..], packet[20..]);
}

/// Source and destination of a packet to be made.
#[derive(Debug, Clone)]
enum Address {
    V4(u32, u32),
    V6(u128, u128),
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Source), Just(End::Destination)]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(source, destination)| Address::V4(source, destination)),
        any::<(u128, u128)>().prop_map(|(source, destination)| Address::V6(source, destination)),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// TCP or UDP.
fn segment(size: core::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    (address(), any::<bool>(), prop::collection::vec(any::<u8>(), size), any::<u8>()).prop_map(
        |(address, is_tcp, payload, flags)| match is_tcp {
            true => ip(&address, 6, &tcp(&payload, flags, &address)),
            false => ip(&address, 17, &udp(&payload, &address, true)),
        },
    )
}

/// Any packet that is translated whole.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let echo = (address(), payload()).prop_map(|(address, payload)| icmp(&address, &[8, 0, 0, 0], &payload));
    let error = (segment(0..300), 28..200_usize, any::<bool>()).prop_map(|(about, length, other)| {
        let (source, destination) = ends(&about);
        // About a packet of the other end, as errors are; or of strangers, which stays as it is.
        let back = match (destination, source) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                Address::V4(from.to_bits(), to.to_bits() ^ u32::from(other))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                Address::V6(from.to_bits(), to.to_bits() ^ u128::from(other))
            }
            _ => unreachable!(),
        };
        let kind = if destination.is_ipv4() { [3, 4, 0, 0] } else { [2, 0, 0, 0] };
        let least = if destination.is_ipv4() { 28 } else { 48 };
        icmp(&back, &kind, &about[..about.len().min(length.max(least))])
    });
    let without_checksum = (any::<(u32, u32)>(), payload()).prop_map(|((source, destination), payload)| {
        let address = Address::V4(source, destination);
        ip(&address, 17, &udp(&payload, &address, false))
    });
    prop_oneof![4 => segment(0..300), 1 => echo, 3 => error, 1 => without_checksum]
}

fn tcp(payload: &[u8], flags: u8, address: &Address) -> Vec<u8> {
    let mut segment =
        vec![0x9c, 0x40, 0, 80, 0, 0, 1, 0, 0, 0, 0, 0, 0x60, flags, 1, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4];
    segment.extend_from_slice(payload);
    fill(&mut segment, 16, 6, address);
    segment
}

/// A packet that opens a connection, or answers to that, with so many options of nothing before the segment size.
fn opening(address: &Address, nothings: usize, answers: bool, mss: u16) -> Vec<u8> {
    let mut options = vec![1; nothings];
    options.extend([2, 4]);
    options.extend(mss.to_be_bytes());
    options.resize(options.len().next_multiple_of(4), 0);
    ip(address, 6, &syn(&options, &[], answers, address))
}

fn syn(options: &[u8], payload: &[u8], answers: bool, address: &Address) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let flags = if answers { 0x12 } else { 0x02 };
    let mut segment = vec![0x9c, 0x40, 0, 80, 0, 0, 1, 0, 0, 0, 0, 0, words << 4, flags, 1, 0, 0, 0, 0, 0];
    segment.extend_from_slice(options);
    segment.extend_from_slice(payload);
    fill(&mut segment, 16, 6, address);
    segment
}

fn udp(payload: &[u8], address: &Address, with_checksum: bool) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    let mut datagram = vec![0x9c, 0x40, 0, 53, length[0], length[1], 0, 0];
    datagram.extend_from_slice(payload);
    if with_checksum {
        fill(&mut datagram, 6, 17, address);
        if datagram[6..8] == [0, 0] {
            datagram[6..8].fill(0xff);
        }
    }
    datagram
}

/// `beginning` is that of ICMP; ICMPv6 gets the types that mean the same.
fn icmp(address: &Address, beginning: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut message = [beginning, &[0; 4], rest].concat();
    match address {
        Address::V4(..) => {
            let sum = !sum(&message, 0);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            ip(address, 1, &message)
        }
        Address::V6(..) => {
            if beginning[0] == 8 {
                message[0] = 128;
            }
            fill(&mut message, 2, 58, address);
            ip(address, 58, &message)
        }
    }
}

fn fill(segment: &mut [u8], at: usize, protocol: u8, address: &Address) {
    let sum = !sum(segment, pseudo(&ip_addresses(address), protocol, segment.len()));
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn ip(address: &Address, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match address {
        Address::V4(..) => {
            let length = u16::try_from(payload.len() + 20).unwrap().to_be_bytes();
            let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
            header.extend(ip_addresses(address));
            let sum = !sum(&header, 0);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header, payload].concat()
        }
        Address::V6(..) => {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            header.extend(ip_addresses(address));
            [&header, payload].concat()
        }
    }
}

fn ip_addresses(address: &Address) -> Vec<u8> {
    match *address {
        Address::V4(source, destination) => [source.to_be_bytes(), destination.to_be_bytes()].concat(),
        Address::V6(source, destination) => [source.to_be_bytes(), destination.to_be_bytes()].concat(),
    }
}

/// Offload header, Ethernet header and packet; `size` of segments, of which zero is none.
fn parcel(packet: &[u8], offload: Option<[u8; 10]>) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&offload.unwrap_or_default()[..], &[2; 12], &ethertype, packet].concat()
}

/// A parcel with its checksum open, to be cut into segments of `size` bytes unless that is zero.
fn opened(packet: &[u8], size: u16) -> Vec<u8> {
    let at = transport_at(packet);
    let protocol = packet[protocol_at(packet)];
    let offset = if protocol == 6 { 16 } else { 6 };
    let mut packet = packet.to_vec();
    let pseudo = sum(&[], pseudo(&packet[address_range(&packet)], protocol, packet.len() - at));
    packet[at + offset..at + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
    let kind = match (size, protocol, packet[0] >> 4) {
        (0, ..) => 0,
        (_, 6, 4) => 1,
        (_, 6, _) => 4,
        _ => 5,
    };
    let size = size.to_be_bytes();
    let start = u16::try_from(at + 14).unwrap().to_be_bytes();
    let offload = [1, kind, 0, 0, size[0], size[1], start[0], start[1], 0, u8::try_from(offset).unwrap()];
    parcel(&packet, Some(offload))
}

/// Headers and payload of a TCP or UDP packet.
fn split(packet: &[u8]) -> (&[u8], &[u8]) {
    let at = transport_at(packet);
    let len = if packet[protocol_at(packet)] == 6 { usize::from(packet[at + 12] >> 4) * 4 } else { 8 };
    packet.split_at(at + len)
}

fn protocol_at(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 9 } else { 6 }
}

fn transport_at(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 20 } else { 40 }
}

fn address_range(packet: &[u8]) -> core::ops::Range<usize> {
    if packet[0] >> 4 == 4 { 12..20 } else { 8..40 }
}

fn ends(packet: &[u8]) -> (IpAddr, IpAddr) {
    let bytes = &packet[address_range(packet)];
    let (source, destination) = bytes.split_at(bytes.len() / 2);
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()),
    };
    (address(source), address(destination))
}

fn like(address: IpAddr, v4: u32, v6: u128) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(v4).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(v6).into(),
    }
}

/// Checks every checksum of a packet from nothing, and of the packet inside an error as far as it is there.
fn check(packet: &[u8]) {
    if packet[0] >> 4 == 4 {
        assert_eq!(sum(&packet[..20], 0), 0xffff, "IPv4 header: {packet:02x?}");
    }
    let (protocol, segment) = (packet[protocol_at(packet)], &packet[transport_at(packet)..]);
    let pseudo_sum = pseudo(&packet[address_range(packet)], protocol, segment.len());
    match protocol {
        17 if segment[6..8] == [0, 0] => assert_eq!(packet[0] >> 4, 4, "IPv6 has always a checksum"),
        6 | 17 | 58 => assert_eq!(sum(segment, pseudo_sum), 0xffff, "transport: {packet:02x?}"),
        1 => assert_eq!(sum(segment, 0), 0xffff, "ICMP: {packet:02x?}"),
        other => panic!("protocol {other}"),
    }
    let is_error = (protocol == 1 && segment[0] == 3) || (protocol == 58 && segment[0] < 128);
    if is_error {
        let inner = &segment[8..];
        let length = if inner[0] >> 4 == 4 {
            usize::from(u16::from_be_bytes([inner[2], inner[3]]))
        } else {
            usize::from(u16::from_be_bytes([inner[4], inner[5]])) + 40
        };
        if inner.len() == length && matches!(inner[protocol_at(inner)], 6 | 17) {
            check(inner);
        } else if inner[0] >> 4 == 4 {
            assert_eq!(sum(&inner[..20], 0), 0xffff, "IPv4 header inside: {packet:02x?}");
        }
    }
}

fn pseudo(addresses: &[u8], protocol: u8, length: usize) -> u64 {
    let sum = u64::from(sum(addresses, 0));
    sum + u64::from(protocol) + length as u64
}

fn sum(bytes: &[u8], more: u64) -> u16 {
    let words = bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u64>() + more;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
