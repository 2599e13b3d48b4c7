//! The programs, run by an interpreter of our own; the kernel runs them in `tests/datapath_port.rs`.

use super::*;
use rstest::rstest;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const JOINED: Mac = Mac([0, 0, 0x5e, 0, 1, 7]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const LINK: u16 = 0x88b5;

#[rstest]
#[case::arp(MAC, 0x0806, None, true)]
#[case::arp_broadcast(Mac::BROADCAST, 0x0806, None, true)]
#[case::lldp(Mac([1, 0x80, 0xc2, 0, 0, 0x0e]), 0x88cc, None, true)]
#[case::pppoe_unicast(MAC, 0x8864, None, true)]
#[case::link(MAC, LINK, None, false)]
#[case::link_group(Mac::LINK_GROUP, LINK, None, false)]
#[case::other_station(OTHER, 0x0806, None, false)]
#[case::v4_local(MAC, 0x0800, Some("192.0.2.1"), true)]
#[case::v4_second(MAC, 0x0800, Some("198.51.100.1"), true)]
#[case::v4_joined_mac(JOINED, 0x0800, Some("192.0.2.1"), true)]
#[case::v4_joined_mac_foreign_address(JOINED, 0x0800, Some("192.0.2.254"), true)]
#[case::link_joined_mac(JOINED, LINK, None, false)]
#[case::v4_transit(MAC, 0x0800, Some("192.0.2.2"), false)]
#[case::v4_other_station(OTHER, 0x0800, Some("192.0.2.1"), false)]
#[case::v4_group_in_unicast(MAC, 0x0800, Some("224.0.0.5"), true)]
#[case::v4_all_ones(MAC, 0x0800, Some("255.255.255.255"), true)]
#[case::v4_group(Mac([1, 0, 0x5e, 0, 0, 5]), 0x0800, Some("224.0.0.5"), true)]
#[case::v4_below_groups(MAC, 0x0800, Some("223.255.255.255"), false)]
#[case::v6_local(MAC, 0x86dd, Some("2001:db8::1"), true)]
#[case::v6_link_local(MAC, 0x86dd, Some("fe80::1"), true)]
#[case::v6_last_word_differs(MAC, 0x86dd, Some("2001:db8::2"), false)]
#[case::v6_third_word_differs(MAC, 0x86dd, Some("2001:db8::1:0:1"), false)]
#[case::v6_second_word_differs(MAC, 0x86dd, Some("2001:db8:0:1::1"), false)]
#[case::v6_first_word_differs(MAC, 0x86dd, Some("2001:db9::1"), false)]
#[case::v6_group(MAC, 0x86dd, Some("ff02::5"), true)]
fn verdicts(#[case] to: Mac, #[case] ethertype: u16, #[case] address: Option<&str>, #[case] taken: bool) {
    let frame = frame(to, ethertype, address);
    assert_eq!(run(&filter().program(), &frame, 0), Ok(taken));
}

#[rstest]
#[case::none(0, true)]
#[case::priority_tag(0xe000, true)]
#[case::vlan_1(1, false)]
#[case::vlan_4095_with_priority(0xffff, false)]
fn vlans(#[case] tag: u32, #[case] taken: bool) {
    let frame = frame(MAC, 0x0800, Some("192.0.2.1"));
    assert_eq!(run(&filter().program(), &frame, tag), Ok(taken));
    assert_eq!(run(&filter().coarse_program(), &frame, tag), Ok(taken));
    assert_eq!(run(&link_program(false), &frame, tag), Ok(taken));
}

/// One program takes what the other leaves.
#[rstest]
#[case::plain(0x10, 60, false)]
#[case::sealed(0x11, 60, false)]
#[case::bulk(0x18, 60, true)]
#[case::sealed_bulk(0x1f, 60, true)]
#[case::no_link_header(0, 14, false)]
#[case::one_byte_of_it(0x18, 15, true)]
fn sorts_of_link_frames(#[case] version_flags: u8, #[case] len: usize, #[case] bulk: bool) {
    let mut frame = frame(MAC, LINK, None);
    frame[14] = version_flags;
    frame.truncate(len);
    assert_eq!(run(&link_program(true), &frame, 0), Ok(bulk));
    assert_eq!(run(&link_program(false), &frame, 0), Ok(!bulk));
}

#[rstest]
#[case::lease(0x45, 0, 17, 68, true)]
#[case::lease_behind_options(0x4f, 0, 17, 68, true)]
#[case::lease_first_fragment(0x45, 0x2000, 17, 68, true)]
#[case::later_fragment(0x45, 0x2001, 17, 68, false)]
#[case::server(0x45, 0, 17, 67, false)]
#[case::tcp(0x45, 0, 6, 68, false)]
fn leases_for_clients_without_an_address(
    #[case] version_and_length: u8,
    #[case] fragment: u16,
    #[case] protocol: u8,
    #[case] port: u16,
    #[case] taken: bool,
) {
    let mut frame = frame(MAC, 0x0800, Some("192.0.2.60"));
    frame[14] = version_and_length;
    frame[20..22].copy_from_slice(&fragment.to_be_bytes());
    frame[23] = protocol;
    let ports = 14 + usize::from(version_and_length & 0xf) * 4;
    frame[ports + 2..ports + 4].copy_from_slice(&port.to_be_bytes());
    assert_eq!(run(&filter().program(), &frame, 0), Ok(taken));
    frame[..6].copy_from_slice(&OTHER.0);
    assert_eq!(run(&filter().program(), &frame, 0), Ok(false));
}

#[test]
fn packets_that_end_before_their_destination_are_refused() {
    let whole = frame(MAC, 0x86dd, Some("2001:db8::1"));
    for len in 0..54 {
        assert_eq!(run(&filter().program(), &whole[..len], 0), Ok(false), "{len} bytes");
    }
    assert_eq!(run(&filter().program(), &whole[..54], 0), Ok(true));
}

#[test]
fn many_addresses_and_macs_are_all_found_and_no_others() {
    let macs: Vec<Mac> = (0..100).map(|last| Mac([2, 0, 0, 0, 1, last])).collect();
    let v4 = (0..1_000_u32).map(|host| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + 2 * host)));
    let v6 = (0..100_u128).map(|host| IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | (2 * host))));
    let addresses: Vec<IpAddr> = v4.chain(v6).collect();
    let program = CaptureFilter { link_ethertype: LINK, mac: MAC, joined: macs.clone(), addresses }.program();
    assert!(program.len() > 3_000 && program.len() <= 4_096, "{}", program.len());
    for mac in [macs[0], macs[50], macs[99]] {
        assert_eq!(run(&program, &frame(mac, 0x0800, Some("192.0.2.1")), 0), Ok(true), "{mac}");
    }
    for host in [0, 1, 2, 999, 1_000, 1_998, 1_999, 2_000] {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + host).to_string();
        let expected = host % 2 == 0 && host < 2_000;
        assert_eq!(run(&program, &frame(MAC, 0x0800, Some(&address)), 0), Ok(expected), "{address}");
    }
    for host in [0, 1, 198, 199, 200] {
        let address = Ipv6Addr::from_bits((0xfd00 << 112) | host).to_string();
        let expected = host % 2 == 0 && host < 200;
        assert_eq!(run(&program, &frame(MAC, 0x86dd, Some(&address)), 0), Ok(expected), "{address}");
    }
    assert_eq!(run(&program, &frame(OTHER, 0x0800, Some("10.0.0.0")), 0), Ok(false));
}

#[test]
fn too_many_addresses_give_the_coarse_program() {
    let addresses = (0..3_000).map(|host| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host))).collect();
    let program = CaptureFilter { link_ethertype: LINK, mac: MAC, joined: Vec::new(), addresses }.program();
    assert!(program.len() < 10);
    assert_eq!(run(&program, &frame(MAC, 0x0800, Some("192.0.2.99")), 0), Ok(true));
    assert_eq!(run(&program, &frame(MAC, LINK, None), 0), Ok(false));
}

#[test]
fn a_relay_without_addresses_takes_no_unicast() {
    let filter = CaptureFilter { addresses: Vec::new(), ..filter() };
    assert_eq!(run(&filter.program(), &frame(MAC, 0x0800, Some("192.0.2.1")), 0), Ok(false));
    assert_eq!(run(&filter.program(), &frame(MAC, 0x86dd, Some("2001:db8::1")), 0), Ok(false));
    assert_eq!(run(&filter.program(), &frame(MAC, 0x0806, None), 0), Ok(true));
}

fn filter() -> CaptureFilter {
    CaptureFilter {
        link_ethertype: LINK,
        mac: MAC,
        joined: vec![JOINED],
        addresses: ["192.0.2.1", "2001:db8::1", "fe80::1", "198.51.100.1"]
            .map(|a| a.parse().unwrap())
            .to_vec(),
    }
}

fn frame(to: Mac, ethertype: u16, address: Option<&str>) -> Vec<u8> {
    let mut frame = vec![0; 80];
    frame[..6].copy_from_slice(&to.0);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    match address.map(|address| address.parse().unwrap()) {
        Some(IpAddr::V4(address)) => frame[30..34].copy_from_slice(&address.octets()),
        Some(IpAddr::V6(address)) => frame[38..54].copy_from_slice(&address.octets()),
        None => {}
    }
    frame
}

/// What the kernel would do with the packet; an error for what it would refuse to load.
fn run(program: &[sock_filter], packet: &[u8], vlan_tag: u32) -> Result<bool, String> {
    let (mut at, mut loaded, mut index) = (0, 0_u32, 0_usize);
    loop {
        let step = program.get(at).ok_or("a jump behind the end")?;
        at += 1;
        let code = u32::from(step.code);
        if code & 7 == libc::BPF_LD {
            let len = match code & 0x18 {
                libc::BPF_W => 4,
                libc::BPF_H => 2,
                _ => 1,
            };
            if code & 0xe0 == libc::BPF_LEN {
                loaded = u32::try_from(packet.len()).unwrap();
            } else if step.k == ancillary(libc::SKF_AD_VLAN_TAG) {
                loaded = vlan_tag;
            } else if step.k == ancillary(libc::SKF_AD_PKTTYPE) {
                loaded = 0;
            } else {
                let start = step.k as usize + if code & 0xe0 == libc::BPF_IND { index } else { 0 };
                let Some(bytes) = packet.get(start..start + len) else { return Ok(false) };
                loaded = bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte));
            }
        } else if code == libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH {
            let Some(byte) = packet.get(step.k as usize) else { return Ok(false) };
            index = usize::from(byte & 0xf) * 4;
        } else if code == libc::BPF_RET | libc::BPF_K {
            return Ok(step.k > 0);
        } else if code == libc::BPF_JMP | libc::BPF_JA {
            at += step.k as usize;
        } else {
            let holds = match code {
                0x15 => loaded == step.k,
                0x35 => loaded >= step.k,
                0x45 => loaded & step.k != 0,
                code => return Err(format!("unknown operation {code:#x}")),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }
}
