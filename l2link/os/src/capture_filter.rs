//! [`CaptureFilter`]: what of a port's traffic reaches user space at all.
//!
//! # Theory of operation
//!
//! A port socket sees a copy of every packet, transit included, and transit must cost nothing. So a classic BPF
//! program in the kernel picks out what might be for a control; the dispatch table decides exactly.
//!
//! | packet | taken |
//! |---|---|
//! | with a VLAN tag | no (a priority tag, VLAN 0, is as good as none) |
//! | of the link protocol's EtherType | no |
//! | to a group address, or to a unicast address that was joined | yes |
//! | to another station | no |
//! | neither IPv4 nor IPv6 (ARP, LLDP, …) | yes |
//! | IP to an address of the relay, to a group, or to a class E address (all ones) | yes |
//! | UDP over IPv4 to port 68, which a DHCP server sends to a client that has no address yet | yes |
//! | other IP | no: transit |
//!
//! Jumps of classic BPF reach 255 instructions, so no test jumps far: each is followed by its own verdict, and the one
//! long way, around the IPv4 addresses, is an unconditional jump, which reaches anywhere. A load behind the end of the
//! packet refuses it. The kernel takes 4,096 instructions; relays with more addresses than that holds (some 2,000 of
//! IPv4 or 450 of IPv6) get the coarse program, which lets transit in.

use frames::Mac;
use frames::header::Flags;
use libc::sock_filter;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a port's filter is made of. Unicast packets to other addresses are transit and stay with the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureFilter {
    /// EtherType of the link protocol: such frames are never taken.
    pub link_ethertype: u16,
    /// The port's Ethernet address.
    pub mac: Mac,
    /// Other unicast addresses that were joined. The machine's own kernel ignores packets to them, so that these are
    /// no transit whatever their destination.
    pub joined: Vec<Mac>,
    /// Every address of the relay.
    pub addresses: Vec<IpAddr>,
}

impl CaptureFilter {
    /// The exact program, or the coarse one if that would be too long.
    pub(crate) fn program(&self) -> Vec<sock_filter> {
        let exact = self.exact_program();
        if exact.len() <= libc::BPF_MAXINSNS as usize { exact } else { self.coarse_program() }
    }

    /// Refuses VLANs and the link protocol only.
    pub(crate) fn coarse_program(&self) -> Vec<sock_filter> {
        let mut program = refuse_vlan();
        program.extend([load_half(ETHERTYPE), unless_equal(self.link_ethertype.into(), 1), REFUSE, TAKE]);
        program
    }

    fn exact_program(&self) -> Vec<sock_filter> {
        let mut program = refuse_vlan();
        program.extend([load_half(ETHERTYPE), unless_equal(self.link_ethertype.into(), 1), REFUSE]);
        program.extend([load_byte(DESTINATION_MAC), unless_any_bit(1, 1), TAKE]);
        let joined: BTreeSet<Mac> = self.joined.iter().copied().filter(|mac| *mac != self.mac).collect();
        for mac in joined {
            program.extend(if_to(mac, TAKE));
        }
        program.extend(if_to(self.mac, jump(1)));
        program.push(REFUSE);

        let v4 = self.v4_section();
        program.extend([
            load_half(ETHERTYPE),
            if_equal(0x0800, 3),
            if_equal(0x86dd, 1),
            TAKE,
            jump(v4.len()),
        ]);
        program.extend(v4);
        program.extend(self.v6_section());
        program
    }

    fn v4_section(&self) -> Vec<sock_filter> {
        let mut section = vec![load_word(DESTINATION_V4), unless_at_least(GROUPS_V4, 1), TAKE];
        let addresses: BTreeSet<Ipv4Addr> = self.addresses.iter().filter_map(v4).collect();
        for address in addresses {
            section.extend([unless_equal(address.to_bits(), 1), TAKE]);
        }
        section.extend([
            load_byte(PROTOCOL_V4),
            unless_equal(UDP, 7),
            load_half(FRAGMENT_V4),
            unless_any_bit(FRAGMENT_OFFSET, 1),
            REFUSE,
            load_header_length(HEADER_V4),
            load_half_behind_header(HEADER_V4 + 2),
            unless_equal(DHCP_CLIENT, 1),
            TAKE,
            REFUSE,
        ]);
        section
    }

    fn v6_section(&self) -> Vec<sock_filter> {
        let mut section = vec![load_byte(DESTINATION_V6), unless_equal(0xff, 1), TAKE];
        let addresses: BTreeSet<Ipv6Addr> = self.addresses.iter().filter_map(v6).collect();
        for address in addresses {
            let octets = address.octets();
            let word =
                |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
            // The last word first: it tells apart what shares a prefix.
            section.extend([
                load_word(DESTINATION_V6 + 12),
                unless_equal(word(12), 7),
                load_word(DESTINATION_V6 + 8),
                unless_equal(word(8), 5),
                load_word(DESTINATION_V6 + 4),
                unless_equal(word(4), 3),
                load_word(DESTINATION_V6),
                unless_equal(word(0), 1),
                TAKE,
            ]);
        }
        section.push(REFUSE);
        section
    }
}

/// The link socket's program: frames without VLAN and not to another station, with [`Flags::BULK`] or without. What is too short
/// to say counts as without.
pub(crate) fn link_program(bulk: bool) -> Vec<sock_filter> {
    let (with, without) = if bulk { (TAKE, REFUSE) } else { (REFUSE, TAKE) };
    let mut program = refuse_vlan();
    program.extend([
        load_word(ancillary(libc::SKF_AD_PKTTYPE)),
        unless_equal(libc::PACKET_OTHERHOST.into(), 1),
        REFUSE,
        LOAD_LENGTH,
        unless_at_least(LINK_FLAGS + 1, 3),
        load_byte(LINK_FLAGS),
        unless_any_bit(Flags::BULK.bits().into(), 1),
        with,
        without,
    ]);
    program
}

/// A sniffer's program: frames of one EtherType.
pub(crate) fn ethertype_program(ethertype: u16) -> Vec<sock_filter> {
    vec![load_half(ETHERTYPE), unless_equal(ethertype.into(), 1), TAKE, REFUSE]
}

/// The kernel has moved the tag out of the packet; the last twelve bits are the VLAN's number.
fn refuse_vlan() -> Vec<sock_filter> {
    vec![load_word(ancillary(libc::SKF_AD_VLAN_TAG)), unless_any_bit(0xfff, 1), REFUSE]
}

/// Does `then` if the packet is to `mac`.
fn if_to(mac: Mac, then: sock_filter) -> [sock_filter; 5] {
    let [a, b, c, d, e, f] = mac.0;
    [
        load_word(DESTINATION_MAC + 2),
        unless_equal(u32::from_be_bytes([c, d, e, f]), 3),
        load_half(DESTINATION_MAC),
        unless_equal(u16::from_be_bytes([a, b]).into(), 1),
        then,
    ]
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(*address),
    }
}

/// Where the link header begins.
const LINK_FLAGS: u32 = 14;
const DESTINATION_MAC: u32 = 0;
const ETHERTYPE: u32 = 12;
const HEADER_V4: u32 = 14;
const FRAGMENT_V4: u32 = 14 + 6;
const PROTOCOL_V4: u32 = 14 + 9;
const DESTINATION_V4: u32 = 14 + 16;
const DESTINATION_V6: u32 = 14 + 24;
/// 224.0.0.0: groups from here, then class E with the broadcast address.
const GROUPS_V4: u32 = 0xe000_0000;

const UDP: u32 = 17;
const DHCP_CLIENT: u32 = 68;
/// The bits of the offset in the half word of flags and offset.
const FRAGMENT_OFFSET: u32 = 0x1fff;

const TAKE: sock_filter = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX);
const REFUSE: sock_filter = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0);

/// Place of a value that is about the packet, not in it.
const fn ancillary(offset: libc::c_int) -> u32 {
    (libc::SKF_AD_OFF + offset).cast_unsigned()
}

const LOAD_LENGTH: sock_filter = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0);

const fn load_word(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

const fn load_half(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, at)
}

const fn load_byte(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at)
}

/// Takes the length of the IPv4 header at `at`.
const fn load_header_length(at: u32) -> sock_filter {
    instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, at)
}

/// Loads from `at` and the length that was taken.
const fn load_half_behind_header(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, at)
}

/// Skips instructions if the loaded value is `value`.
const fn if_equal(value: u32, skip: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skip, 0, value)
}

/// Skips instructions unless the loaded value is `value`.
const fn unless_equal(value: u32, skip: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value)
}

const fn unless_at_least(value: u32, skip: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, skip, value)
}

const fn unless_any_bit(mask: u32, skip: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, skip, mask)
}

/// The distance is a length of a program that is refused above 4,096.
fn jump(instructions: usize) -> sock_filter {
    let distance = u32::try_from(instructions).unwrap_or(u32::MAX);
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance)
}

#[expect(clippy::cast_possible_truncation, reason = "operation codes have 8 bits")]
const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
