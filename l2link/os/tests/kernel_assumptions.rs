//! Behaviours of Linux on which the data path relies, one test each.

mod lab;

use frames::Mac;
use frames::data::{GsoType, OffloadFlags, OffloadHeader};
use l2link::Batch;
use l2link::service::ServiceSet;
use l2link_os::{
    CaptureFilter, Conversations, Discard, LinkSocket, NetNs, Netlink, PortDiscard, PortSocket, Spared,
};
use lab::{cable, eventually, ip, namespace, path, settle};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

const ETHERTYPE: u16 = 0x88b5;

#[test]
fn a_packet_socket_sees_what_nftables_discards_at_prerouting() {
    let Some((client, relay)) = pair() else { return };
    let mut port = port_socket(&relay, "eth0");
    let ports = [PortDiscard {
        interface: "eth0".to_owned(),
        relay_services: ServiceSet::none(),
        spared: Spared::Connections,
    }];
    let _discard = Discard::install(&relay, &ports).unwrap();
    let socket = client.run(|| UdpSocket::bind("192.0.2.1:0")).unwrap().unwrap();
    socket.connect("192.0.2.2:9").unwrap();
    socket.send(b"unmatched").unwrap();
    eventually("the datagram", || any(&mut port, |parcel| parcel.ends_with(b"unmatched")).then_some(()));
    settle();
    assert!(socket.send(b"no ICMP error is waiting").is_ok());
}

/// Broadcasts, because the filter takes them in whoever sent them.
#[test]
fn a_packet_socket_that_ignores_outgoing_frames_sees_incoming_ones_only() {
    let Some((client, relay)) = pair() else { return };
    let mut port = port_socket(&relay, "eth0");
    for (host, text) in [(&relay, b"outgoing"), (&client, b"incoming")] {
        let socket = host.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(text, "192.0.2.255:9").unwrap();
    }
    let mut outgoing = false;
    eventually("the incoming broadcast", || {
        any(&mut port, |parcel| {
            outgoing |= parcel.ends_with(b"outgoing");
            parcel.ends_with(b"incoming")
        })
        .then_some(())
    });
    assert!(!outgoing);
}

#[test]
fn a_super_packet_crosses_a_veth_whole() {
    let Some((client, relay)) = pair() else { return };
    let (mut left, mut right) = (port_socket(&client, "eth0"), port_socket(&relay, "eth0"));
    let sent = super_packet();
    assert_eq!(left_send(&mut left, &sent), 1);
    let mut received = Vec::new();
    eventually("the super-packet", || {
        any(&mut right, |parcel| {
            let ours = parcel.ends_with(b"the end");
            if ours {
                received = parcel.to_vec();
            }
            ours
        })
        .then_some(())
    });
    assert_eq!(received.len(), sent.len());
    assert_eq!(received[10..], sent[10..]);
    // Flags, gso type, gso size, checksum start and offset; the header length is a hint.
    assert_eq!((&received[..2], &received[4..10]), (&sent[..2], &sent[4..10]));
}

#[test]
fn a_socket_of_a_bridge_port_receives_nothing() {
    let Some((client, relay)) = pair() else { return };
    let mut left = client.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    let mut port = relay.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    ip(&relay, "link add br0 type bridge");
    ip(&relay, "link set br0 up");
    ip(&relay, "link set eth0 master br0");
    let mut bridge = relay.run(|| LinkSocket::open("br0", ETHERTYPE)).unwrap().unwrap();
    let batch = one_frame();
    eventually("the frame at the bridge", || {
        assert_eq!(left.send(&batch).sent, 1);
        (bridge.receive().unwrap() > 0).then_some(())
    });
    assert_eq!(port.receive().unwrap(), 0);
}

#[test]
fn a_packet_socket_of_protocol_zero_receives_nothing() {
    let Some((client, relay)) = pair() else { return };
    let mut left = client.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    let kind = Type::RAW.nonblocking();
    let socket = relay.run(|| Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))).unwrap().unwrap();
    assert_eq!(left.send(&one_frame()).sent, 1);
    settle();
    let error = socket.recv(&mut [MaybeUninit::uninit(); 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_socket_does_not_follow_its_interface_into_a_new_life() {
    let Some((client, relay)) = pair() else { return };
    let mut old = relay.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    ip(&relay, "link del eth0");
    for _ in ["of conversations", "of transfers"] {
        assert_eq!(old.receive().unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
    }
    cable(&client, "eth0", &relay, "eth0");
    let mut left = client.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    let mut new = relay.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    eventually("the frame at the new socket", || {
        assert_eq!(left.send(&one_frame()).sent, 1);
        (new.receive().unwrap() > 0).then_some(())
    });
    assert_eq!(old.receive().unwrap(), 0);
}

/// So an index alone does not tell that a socket is still at its interface.
#[test]
fn an_interface_that_comes_back_with_its_index_has_lost_its_sockets() {
    let Some((a, _b)) = pair() else { return };
    let port = port_socket(&a, "eth0");
    let link = a.run(|| LinkSocket::open("eth0", ETHERTYPE)).unwrap().unwrap();
    assert!(port.is_bound() && link.is_bound());
    let Some(away) = namespace() else { return };
    ip(&a, &format!("link set eth0 netns {}", path(&away)));
    ip(&away, &format!("link set eth0 netns {}", path(&a)));
    let info = Netlink::open(&a).unwrap().link_by_name("eth0").unwrap().unwrap();
    assert_eq!(info.ifindex, port.ifindex());
    assert!(!port.is_bound() && !link.is_bound());
    assert!(port_socket(&a, "eth0").is_bound());
}

/// Two hosts, 192.0.2.1 and 192.0.2.2, with an interface eth0 each.
fn pair() -> Option<(NetNs, NetNs)> {
    let (a, b) = (namespace()?, namespace()?);
    cable(&a, "eth0", &b, "eth0");
    ip(&a, "addr add 192.0.2.1/24 dev eth0");
    ip(&b, "addr add 192.0.2.2/24 dev eth0");
    Some((a, b))
}

fn port_socket(netns: &NetNs, interface: &str) -> PortSocket {
    let info = Netlink::open(netns).unwrap().link_by_name(interface).unwrap().unwrap();
    let addresses = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap()).to_vec();
    let filter =
        CaptureFilter { link_ethertype: ETHERTYPE, mac: info.mac.unwrap(), joined: Vec::new(), addresses };
    netns.run(|| PortSocket::open(interface, &filter)).unwrap().unwrap()
}

/// Whether one of the waiting parcels is what is looked for.
fn any(port: &mut PortSocket, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
    let mut found = false;
    while let count @ 1.. = port.receive(&mut Conversations::default(), l2link::Time(0)).unwrap() {
        for index in 0..count {
            found |= wanted(port.parcel(index));
        }
    }
    found
}

fn one_frame() -> Batch {
    let mut batch = Batch::new(1, 60);
    let slot = batch.slot().unwrap();
    slot[..6].copy_from_slice(&Mac::LINK_GROUP.0);
    slot[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    slot[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    batch.commit(60);
    batch
}

fn left_send(port: &mut PortSocket, parcel: &[u8]) -> u64 {
    port.queue(&mut parcel.to_vec());
    let sent = port.flush();
    assert_eq!((sent.full, sent.errors), (0, 0));
    sent.sent
}

/// 40,000 bytes of TCP to a group address, to be cut into segments of 1,448 and without a checksum.
fn super_packet() -> Vec<u8> {
    let offload = OffloadHeader {
        flags: OffloadFlags::NEEDS_CHECKSUM.bits(),
        gso_type: GsoType::TCP4.0,
        header_length: U16::new(54),
        gso_size: U16::new(1448),
        checksum_start: U16::new(34),
        checksum_offset: U16::new(16),
    };
    let payload = 40_000_u16;
    let mut parcel = offload.as_bytes().to_vec();
    parcel.extend(Mac([1, 0, 0x5e, 0, 0, 1]).0);
    parcel.extend([2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    ip[2..4].copy_from_slice(&(payload + 40).to_be_bytes());
    parcel.extend(ip);
    parcel.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    parcel.extend(std::iter::repeat_n(0x55, usize::from(payload) - 7));
    parcel.extend(b"the end");
    parcel
}
