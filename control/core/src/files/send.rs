//! What is written to files, on its way down.
//!
//! # Theory of operation
//!
//! A *frame* goes down the symbol's tunnel as it is. A *packet* has no Ethernet header, and the neighbors of the port are known to the
//! relay's kernel only. So it goes down the same tunnel addressed to the port itself, which no frame on its way out ever is, and
//! the relay routes it as its own (PROTOCOL.md, *Packets to be routed*). Packets to groups and broadcasts need no
//! neighbor: their Ethernet address follows from the other (RFC 1112, 6.4; RFC 2464, 7).
//!
//! A packet must be what its file stands for, and from the port: whoever has a file may answer by it, and no more.

use super::name::{ETHERTYPE_MIN, TCP, UDP};
use super::{FileError, FileHandle, PacketFile};
use crate::parcels::frame_len;
use crate::{Attributes, Control};
use core::net::IpAddr;
use frames::data::{OffloadHeader, PARCEL_MAX};
use frames::header::EthernetHeader;
use frames::inet::{Ip, Layer3, Transport, classify, set_ipv4_checksum};
use frames::{DropReason, Mac};
use l2link::{Batch, Time};

/// What became of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It is in the batch.
    Sent,
    /// The batch is too full: send it, then write again.
    Flush,
}

impl Control {
    /// A program writes a packet to a file.
    ///
    /// # Errors
    /// [`FileError`]: nothing was sent.
    pub fn handle_file_write(
        &mut self,
        handle: FileHandle,
        data: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> Result<Written, FileError> {
        let file = self.files.open.get(&handle).ok_or(FileError::NotOpen)?;
        let (id, file) = (file.symbol, file.file);
        let symbol = self.symbols.iter_mut().find(|symbol| symbol.id == id).ok_or(FileError::Down)?;
        let attributes = symbol.attributes.as_ref().filter(|attributes| attributes.usable());
        let (Some(tunnel), Some(grant), Some(attributes)) =
            (symbol.down_tunnel, symbol.rules.grant(), attributes)
        else {
            return Err(FileError::Down);
        };
        if batch.room() < self.link.parcel_frames_max() {
            return Ok(Written::Flush);
        }
        let mut parcel = core::mem::take(&mut self.files.scratch);
        let written = write_parcel(file, data, attributes, &mut parcel);
        let sent = written.and_then(|()| {
            let sent = self.link.send_parcel(grant.peer, tunnel.into(), &parcel, batch, now);
            sent.map_err(|reason| match reason {
                DropReason::NoSession => FileError::Down,
                DropReason::TooLarge => FileError::TooLong,
                _ => FileError::Failed,
            })
        });
        if sent.is_ok() {
            symbol.sent.frames += 1;
            symbol.sent.bytes += frame_len(&parcel) as u64;
            let frame = parcel.get(size_of::<OffloadHeader>()..).unwrap_or_default();
            self.files.capture_sent(id, frame, &mut self.drops, now);
        }
        self.files.scratch = parcel;
        sent.map(|()| Written::Sent)
    }
}

/// Makes a parcel of what was written, if it is what the file takes.
fn write_parcel(
    file: PacketFile,
    data: &[u8],
    port: &Attributes,
    parcel: &mut Vec<u8>,
) -> Result<(), FileError> {
    let mtu = usize::try_from(port.mtu).unwrap_or(usize::MAX);
    parcel.clear();
    parcel.resize(size_of::<OffloadHeader>(), 0);
    if file.is_of_frames() {
        let ethertype = data.get(12..14).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let ethertype = ethertype.ok_or(FileError::NotAPacket)?;
        let tag = if VLAN_TAGS.contains(&ethertype) { 4 } else { 0 };
        if data.len() > (mtu + size_of::<EthernetHeader>() + tag).min(PARCEL_MAX) {
            return Err(FileError::TooLong);
        }
        let fits = match file {
            PacketFile::EtherType(own @ ETHERTYPE_MIN..) => ethertype == own,
            PacketFile::EtherType(_) => ethertype < ETHERTYPE_MIN,
            PacketFile::Packets => true,
            PacketFile::Pcap | PacketFile::Tcp(_) | PacketFile::Udp(_) | PacketFile::Ip(_) => false,
        };
        parcel.extend_from_slice(data);
        return if fits { Ok(()) } else { Err(FileError::NotAPacket) };
    }
    if data.len() > mtu {
        return Err(FileError::TooLong);
    }
    let (ethertype, length) = version_and_length(data).ok_or(FileError::NotAPacket)?;
    if length != data.len() {
        return Err(FileError::NotAPacket);
    }
    parcel.extend_from_slice(&port.mac.0);
    parcel.extend_from_slice(&port.mac.0);
    parcel.extend_from_slice(&ethertype.to_be_bytes());
    parcel.extend_from_slice(data);
    let (_, frame) = parcel.split_at_mut(size_of::<OffloadHeader>());
    let Ok(Layer3::Ip(ip)) = classify(frame).map(|view| view.layer3) else {
        return Err(FileError::NotAPacket);
    };
    if !is_of(file, &ip) {
        return Err(FileError::NotAPacket);
    }
    if !port.has(ip.source) {
        return Err(FileError::ForeignSource);
    }
    if port.has(ip.destination) || ip.destination.is_loopback() || ip.destination.is_unspecified() {
        return Err(FileError::NotAPacket);
    }
    let (ethernet, packet) = frame.split_at_mut(size_of::<EthernetHeader>());
    if let Some(group) = group_mac(ip.destination, port) {
        ethernet[..group.0.len()].copy_from_slice(&group.0);
    }
    if ip.source.is_ipv4() {
        set_ipv4_checksum(packet);
    }
    Ok(())
}

/// Whether a packet is what a file stands for.
fn is_of(file: PacketFile, ip: &Ip) -> bool {
    let (protocol, own) = match file {
        PacketFile::Tcp(port) => (TCP, Some(port)),
        PacketFile::Udp(port) => (UDP, Some(port)),
        PacketFile::Ip(protocol) => (protocol, None),
        PacketFile::Packets | PacketFile::Pcap | PacketFile::EtherType(_) => return false,
    };
    let from = match ip.transport {
        Transport::Ports { source, .. } => own.is_none_or(|own| own == source),
        // It has no port, and makes no sense without the fragment that has one.
        Transport::LaterFragment => true,
        _ => own.is_none(),
    };
    from && ip.protocol == protocol
}

/// EtherType and whole length that an IP header says.
fn version_and_length(packet: &[u8]) -> Option<(u16, usize)> {
    let half = |at: usize| Some(usize::from(u16::from_be_bytes(*packet.get(at..)?.first_chunk::<2>()?)));
    match packet.first()? >> 4 {
        4 => Some((0x0800, half(2)?)),
        6 => Some((0x86dd, half(4)?.checked_add(IPV6_HEADER)?)),
        _ => None,
    }
}

/// The Ethernet address of those that a packet is for, if they are many.
fn group_mac(destination: IpAddr, port: &Attributes) -> Option<Mac> {
    match destination {
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, a, b, c] = v4.octets();
            Some(Mac([0x01, 0x00, 0x5e, a & 0x7f, b, c]))
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        IpAddr::V4(v4) => {
            let last_of_network = |(address, length): &(IpAddr, u8)| match address {
                IpAddr::V4(own) if *length < 31 => {
                    let hosts = u32::MAX.checked_shr((*length).into()).unwrap_or_default();
                    v4.to_bits() == own.to_bits() | hosts
                }
                IpAddr::V4(_) | IpAddr::V6(_) => false,
            };
            let broadcast = v4.is_broadcast() || port.all_addresses().any(last_of_network);
            broadcast.then_some(Mac([0xff; 6]))
        }
        IpAddr::V6(_) => None,
    }
}

const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];
const IPV6_HEADER: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use frames::message::PortFlags;
    use rstest::rstest;

    const PORT: Mac = Mac([2, 0, 0, 0, 0, 8]);

    fn port() -> Attributes {
        Attributes {
            generation: 1,
            mac: PORT,
            mtu: 1500,
            speed: 0,
            flags: PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER,
            addresses: vec![
                ("192.0.2.1".parse().unwrap(), 24),
                ("2001:db8::1".parse().unwrap(), 64),
                ("fe80::1".parse().unwrap(), 64),
            ],
            given: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// A UDP packet from port 53 with so many bytes behind the UDP header.
    fn v4(source: &str, destination: &str, bytes: usize) -> Vec<u8> {
        let address = |text: &str| text.parse::<core::net::Ipv4Addr>().unwrap().octets();
        let total = u16::try_from(28 + bytes).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 17, 0, 0];
        packet.extend(address(source).into_iter().chain(address(destination)));
        let length = u16::try_from(8 + bytes).unwrap().to_be_bytes();
        packet.extend([0, 53, 0x9c, 0x40, length[0], length[1], 0, 0]);
        packet.resize(28 + bytes, 0);
        packet
    }

    fn v6(source: &str, destination: &str) -> Vec<u8> {
        let address = |text: &str| text.parse::<core::net::Ipv6Addr>().unwrap().octets();
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        packet.extend(address(source).into_iter().chain(address(destination)));
        packet.extend([0, 53, 0x9c, 0x40, 0, 8, 0, 0]);
        packet
    }

    fn written(file: PacketFile, data: &[u8]) -> Result<Vec<u8>, FileError> {
        let mut parcel = vec![1; 77];
        write_parcel(file, data, &port(), &mut parcel)?;
        assert_eq!(parcel[..10], [0; 10], "no offload");
        Ok(parcel[10..].to_vec())
    }

    #[rstest]
    #[case::unicast(v4("192.0.2.1", "192.0.2.2", 4), PORT)]
    #[case::far(v4("192.0.2.1", "198.51.100.7", 4), PORT)]
    #[case::group(v4("192.0.2.1", "224.128.0.5", 4), Mac([1, 0, 0x5e, 0, 0, 5]))]
    #[case::broadcast(v4("192.0.2.1", "255.255.255.255", 4), Mac([0xff; 6]))]
    #[case::network(v4("192.0.2.1", "192.0.2.255", 4), Mac([0xff; 6]))]
    #[case::unicast_v6(v6("2001:db8::1", "2001:db8::2"), PORT)]
    #[case::link_local(v6("fe80::1", "fe80::2"), PORT)]
    #[case::group_v6(v6("fe80::1", "ff02::5"), Mac([0x33, 0x33, 0, 0, 0, 5]))]
    fn packets_are_for_the_port_or_for_a_group(#[case] packet: Vec<u8>, #[case] destination: Mac) {
        let frame = written(PacketFile::Udp(53), &packet).unwrap();
        assert_eq!((frame[..6].to_vec(), &frame[6..12]), (destination.0.to_vec(), &PORT.0[..]));
        let sum = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = sum.sum();
        assert!(packet[0] >> 4 == 6 || (sum & 0xffff) + (sum >> 16) == 0xffff, "the header's checksum");
    }

    #[rstest]
    #[case::empty(PacketFile::Udp(53), vec![], FileError::NotAPacket)]
    #[case::text(PacketFile::Udp(53), b"hello".to_vec(), FileError::NotAPacket)]
    #[case::cut(PacketFile::Udp(53), v4("192.0.2.1", "192.0.2.2", 4)[..31].to_vec(), FileError::NotAPacket)]
    #[case::another_port(PacketFile::Udp(54), v4("192.0.2.1", "192.0.2.2", 4), FileError::NotAPacket)]
    #[case::another_protocol(PacketFile::Tcp(53), v4("192.0.2.1", "192.0.2.2", 4), FileError::NotAPacket)]
    #[case::another_number(PacketFile::Ip(89), v4("192.0.2.1", "192.0.2.2", 4), FileError::NotAPacket)]
    #[case::forged(PacketFile::Udp(53), v4("192.0.2.3", "192.0.2.2", 4), FileError::ForeignSource)]
    #[case::to_itself(PacketFile::Udp(53), v4("192.0.2.1", "192.0.2.1", 4), FileError::NotAPacket)]
    #[case::loopback(PacketFile::Udp(53), v4("192.0.2.1", "127.0.0.1", 4), FileError::NotAPacket)]
    #[case::too_long(PacketFile::Udp(53), v4("192.0.2.1", "192.0.2.2", 1473), FileError::TooLong)]
    #[case::a_header_cut(PacketFile::Packets, vec![0; 13], FileError::NotAPacket)]
    #[case::too_long_a_frame(PacketFile::Packets, vec![0xff; 1515], FileError::TooLong)]
    #[case::another_ethertype(PacketFile::EtherType(0x88cc), vec![0x88; 60], FileError::NotAPacket)]
    #[case::no_length(PacketFile::EtherType(4), vec![0x88; 60], FileError::NotAPacket)]
    #[case::only_read(PacketFile::Pcap, vec![0x88; 60], FileError::NotAPacket)]
    fn what_is_refused(#[case] file: PacketFile, #[case] data: Vec<u8>, #[case] error: FileError) {
        assert_eq!(written(file, &data), Err(error));
    }

    #[test]
    fn the_longest_that_fit() {
        assert!(written(PacketFile::Ip(17), &v4("192.0.2.1", "192.0.2.2", 1472)).is_ok());
        assert_eq!(written(PacketFile::Packets, &[0x88; 1514]).unwrap(), [0x88; 1514]);
        let mut tagged = vec![2; 1518];
        tagged[12..14].copy_from_slice(&[0x81, 0x00]);
        assert!(written(PacketFile::Packets, &tagged).is_ok());
    }
}
