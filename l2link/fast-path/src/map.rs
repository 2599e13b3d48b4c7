//! Keys and values of the maps, as `fast_path.bpf.c` has them.

use crate::LINK_HEADERS;
use core::net::IpAddr;
use frames::Mac;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct flow_key`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct FlowKey {
    pub(crate) ifindex: u32,
    pub(crate) protocol: u8,
    pub(crate) version: u8,
    pub(crate) zero: u16,
    pub(crate) source_port: [u8; 2],
    pub(crate) destination_port: [u8; 2],
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}
const _: () = assert!(size_of::<FlowKey>() == 44);

/// `struct flow`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Flow {
    pub(crate) until: u64,
    pub(crate) generation: u32,
    pub(crate) peer: u32,
    pub(crate) tunnel: [u8; 4],
    pub(crate) zero: u32,
}
const _: () = assert!(size_of::<Flow>() == 24);

/// `struct peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Peer {
    pub(crate) ifindex: u32,
    pub(crate) frame_max: u32,
    pub(crate) headers: [u8; LINK_HEADERS],
    pub(crate) zero: [u8; 6],
}
const _: () = assert!(size_of::<Peer>() == 48);

/// `struct tunnel_key`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct TunnelKey {
    pub(crate) receiver: [u8; 4],
    pub(crate) tunnel: [u8; 4],
}

/// `struct tunnel`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Tunnel {
    pub(crate) until: u64,
    pub(crate) generation: u32,
    pub(crate) ifindex: u32,
    pub(crate) frame_max: u32,
    pub(crate) peer: u32,
    pub(crate) own: [u8; 6],
    pub(crate) to_symbol: u8,
    pub(crate) zero: u8,
    pub(crate) near: u32,
    pub(crate) zero_too: u32,
}
const _: () = assert!(size_of::<Tunnel>() == 40);

/// `struct count_key`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CountKey {
    pub(crate) peer: u32,
    pub(crate) tunnel: [u8; 4],
    pub(crate) received: u32,
}

/// `struct count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Count {
    pub(crate) packets: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) link_bytes: u64,
}

/// `struct state`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct State {
    pub(crate) generation: u32,
    pub(crate) ethertype: [u8; 2],
    pub(crate) zero: u16,
}

/// `struct station_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct StationKey {
    pub(crate) ifindex: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) zero: [u8; 2],
}

/// An address as a flow's key has it.
pub(crate) fn words(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut words = [0; 16];
            words[12..].copy_from_slice(&address.octets());
            words
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// An address as the map of the relay's addresses has it.
pub(crate) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl StationKey {
    pub(crate) fn new(ifindex: u32, mac: Mac) -> Self {
        Self { ifindex, mac: mac.0, zero: [0; 2] }
    }
}
