//! The link interface as the link knows it, and the front of every frame.

use frames::Mac;
use frames::header::{EthernetHeader, HEADERS_LEN, LinkHeader};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

/// The link interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface {
    pub(crate) mac: Mac,
    pub(crate) ethertype: u16,
    /// In bytes, Ethernet header excluded.
    pub(crate) mtu: usize,
}

impl Interface {
    /// Longest frame in bytes, Ethernet header included.
    pub(crate) fn frame_len_max(&self) -> usize {
        size_of::<EthernetHeader>() + self.mtu
    }

    /// Writes both headers to the front of `frame`, which must have room for them.
    #[inline]
    pub(crate) fn write_headers(&self, frame: &mut [u8], destination: Mac, header: &LinkHeader) {
        let ethernet = EthernetHeader { destination, source: self.mac, ethertype: U16::new(self.ethertype) };
        let (front, rest) = frame.split_at_mut(size_of::<EthernetHeader>());
        front.copy_from_slice(ethernet.as_bytes());
        rest[..size_of::<LinkHeader>()].copy_from_slice(header.as_bytes());
    }
}

/// What of a received frame's headers the link goes on to use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) source: Mac,
    pub(crate) header: LinkHeader,
    pub(crate) body_len: usize,
}

impl Head {
    /// The body within the frame. The frame was parsed before.
    pub(crate) fn body<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(HEADERS_LEN..HEADERS_LEN + self.body_len).unwrap_or_default()
    }
}
