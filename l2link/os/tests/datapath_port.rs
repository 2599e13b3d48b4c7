//! [`PortSocket`] and [`Tap`] on veth pairs, and TCP all the way from one to the other.

mod lab;

use frames::Mac;
use frames::data::{GsoType, OffloadHeader};
use l2link::{Batch, Time};
use l2link_os::{
    CaptureFilter, Conversations, LinkSocket, NetNs, Netlink, PortSocket, Sent, SetupError, Tap,
};
use lab::{cable, eventually, ip, namespace, read, settle};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use zerocopy::FromBytes;

const LINK_ETHERTYPE: u16 = 0x88b5;

/// The kernel runs the filter as the interpreter of the unit tests does.
#[test]
fn the_filter_lets_transit_vlans_and_the_link_alone() {
    let Some(Site { client, relay: _relay, mut port, mac }) = site() else { return };
    let mut sender = client.run(|| LinkSocket::open("eth0", LINK_ETHERTYPE)).unwrap().unwrap();
    let mut batch = Batch::new(16, 200);
    let frames = [
        (true, frame(mac, 0x0800, Some("192.0.2.1"))),
        (false, frame(mac, 0x0800, Some("203.0.113.9"))),
        (true, frame(mac, 0x86dd, Some("2001:db8::1"))),
        (false, frame(mac, 0x86dd, Some("2001:db8::9"))),
        (true, frame(Mac([0x33, 0x33, 0, 0, 0, 5]), 0x86dd, Some("ff02::5"))),
        (false, frame(Mac([2, 7, 7, 7, 7, 7]), 0x0800, Some("192.0.2.1"))),
        (false, frame(Mac::LINK_GROUP, LINK_ETHERTYPE, None)),
        (true, frame(Mac::BROADCAST, 0x88cc, None)),
        (false, tagged(&frame(mac, 0x0800, Some("192.0.2.1")), 9)),
        (true, frame(mac, 0x0806, None)),
    ];
    for (number, (_, frame)) in frames.iter().enumerate() {
        let slot = batch.slot().unwrap();
        slot[..frame.len()].copy_from_slice(frame);
        slot[frame.len() - 1] = u8::try_from(number).unwrap();
        batch.commit(frame.len());
    }
    assert_eq!(sender.send(&batch).sent, frames.len() as u64);
    let expected: Vec<u8> =
        (0..).zip(&frames).filter(|(_, (taken, _))| *taken).map(|(number, _)| number).collect();
    let mut taken = Vec::new();
    eventually("all frames", || {
        receive(&mut port, |parcel| {
            taken.extend((parcel[16] == 2 && parcel[17] == 1).then(|| *parcel.last().unwrap()))
        });
        (taken.len() >= expected.len()).then_some(())
    });
    settle();
    receive(&mut port, |parcel| assert_ne!((parcel[16], parcel[17]), (2, 1), "{parcel:02x?}"));
    assert_eq!(taken, expected);

    // With another address the same packet is transit no longer.
    let mut filter = capture(mac);
    filter.addresses.push("203.0.113.9".parse().unwrap());
    port.set_filter(&filter).unwrap();
    assert_eq!(sender.send(&batch).sent, frames.len() as u64);
    eventually("the address that was added", || {
        let mut found = false;
        receive(&mut port, |parcel| found |= parcel[10 + 30..10 + 34] == [203, 0, 113, 9]);
        found.then_some(())
    });
}

#[test]
fn a_filter_of_thousands_of_addresses_falls_back_to_the_coarse_one() {
    let Some(Site { client, relay: _relay, mut port, mac }) = site() else { return };
    let mut filter = capture(mac);
    filter.addresses = (0..3_000_u32).map(|host| IpAddr::V4((0x0a00_0000 + host).into())).collect();
    port.set_filter(&filter).unwrap();
    let socket = client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.send_to(b"transit", "203.0.113.9:9").unwrap();
    eventually("transit with the coarse filter", || {
        let mut found = false;
        receive(&mut port, |parcel| found |= parcel.ends_with(b"transit"));
        found.then_some(())
    });
}

#[test]
fn parcels_leave_in_order_small_and_large() {
    let Some(Site { client, relay, mut port, mac }) = site() else { return };
    ip(&client, "link set eth0 mtu 9000");
    Netlink::open(&relay).unwrap().set_mtu(port.ifindex(), 9000).unwrap();
    let mut receiver = client.run(|| LinkSocket::open("eth0", 0x9999)).unwrap().unwrap();
    let lengths = [60, 100, 5_000, 70, 2_038, 2_039, 80, 9_014, 61];
    for (number, len) in (0..).zip(lengths) {
        let mut parcel = vec![number; 10 + len];
        parcel[..10].fill(0);
        parcel[10..16].copy_from_slice(&Mac::LINK_GROUP.0);
        parcel[16..22].copy_from_slice(&mac.0);
        parcel[22..24].copy_from_slice(&0x9999_u16.to_be_bytes());
        port.queue(&mut parcel);
    }
    port.queue(&mut [0; 23]);
    assert_eq!(port.flush(), Sent { sent: 9, full: 0, errors: 1 });
    assert_eq!(port.flush(), Sent::default());
    let mut received = Vec::new();
    eventually("all frames", || {
        for index in 0..receiver.receive().unwrap() {
            let frame = receiver.frame_mut(index);
            received.push((frame[14], frame.len()));
        }
        (received.len() == lengths.len()).then_some(())
    });
    assert_eq!(received, (0..).zip(lengths).collect::<Vec<_>>());
}

#[test]
fn memberships_reach_the_interface_and_the_ip_groups_are_announced() {
    let Some(Site { client: _client, relay, mut port, .. }) = site() else { return };
    let in_file = |path: &str, text: &str| read(&relay, path).to_lowercase().contains(text);
    let group = Mac([1, 0x80, 0xc2, 0, 0, 0x0e]);
    port.join(group).unwrap();
    assert!(in_file("/proc/net/dev_mcast", "0180c200000e"));
    port.leave(group).unwrap();
    assert!(!in_file("/proc/net/dev_mcast", "0180c200000e"));

    let unicast = Mac([0, 0, 0x5e, 0, 1, 7]);
    let promiscuous_or_listed = || {
        let shown = ip(&relay, "-d link show eth1");
        shown.contains("promiscuity 1")
            || lab::shell(&relay, "bridge fdb show dev eth1 2>/dev/null || true")
                .contains("00:00:5e:00:01:07")
    };
    port.join(unicast).unwrap();
    assert!(promiscuous_or_listed());
    port.leave(unicast).unwrap();
    assert!(!promiscuous_or_listed());

    // More than net.ipv4.igmp_max_memberships, which is a socket's limit.
    for last in 1..=30_u8 {
        port.join_ip(IpAddr::from([239, 1, 2, last])).unwrap();
    }
    port.join_ip("239.1.2.30".parse().unwrap()).unwrap();
    port.join_ip("ff05::1234".parse().unwrap()).unwrap();
    assert!(in_file("/proc/net/igmp", "1e0201ef"));
    assert!(in_file("/proc/net/igmp6", "ff050000000000000000000000001234"));
    port.leave_ip("239.1.2.30".parse().unwrap()).unwrap();
    port.leave_ip("ff05::1234".parse().unwrap()).unwrap();
    // Not at once: another test may be starting a program, which has all descriptors until its exec(2).
    eventually("the end of membership", || (!in_file("/proc/net/igmp", "1e0201ef")).then_some(()));
    assert_eq!(port.leave_ip("239.1.2.30".parse().unwrap()).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    assert!(port.join_ip("192.0.2.9".parse().unwrap()).is_err());
    drop(port);
    eventually("the end of all memberships", || (!in_file("/proc/net/igmp", "010201ef")).then_some(()));
}

#[test]
fn a_tap_is_made_in_its_namespace_and_goes_with_its_owner() {
    let Some(netns) = namespace() else { return };
    let tap = Tap::create(&netns, "sym0", None).unwrap();
    let mut netlink = Netlink::open(&netns).unwrap();
    let info = netlink.link_by_name("sym0").unwrap().unwrap();
    assert!(!info.up && info.ethernet && info.kind.as_deref() == Some("tun"), "{info:?}");
    let error = Tap::create(&netns, "sym0", None).unwrap_err();
    assert!(matches!(&error, SetupError::NameTaken { interface, .. } if interface == "sym0"), "{error}");
    let error = Tap::create(&netns, "lo", None).unwrap_err();
    assert!(matches!(error, SetupError::NameTaken { .. }), "{error}");
    for name in ["", "a-name-too-long-", "a/b", "tap%d", "..", "a b", "ethà"] {
        assert!(matches!(Tap::create(&netns, name, None), Err(SetupError::InterfaceName(_))), "{name}");
    }
    let other = Tap::create(&netns, "außen0", None).unwrap();
    assert!(netlink.link_by_name("außen0").unwrap().is_some());
    drop((tap, other));
    // Not at once: another test may be starting a program, which has all descriptors until its exec(2).
    eventually("the end of the device", || netlink.link_by_name("sym0").unwrap().is_none().then_some(()));
}

#[test]
fn a_tap_shows_the_speed_and_the_carrier_that_it_is_given() {
    let Some(netns) = namespace() else { return };
    let tap = Tap::create(&netns, "sym0", None).unwrap();
    let mut netlink = Netlink::open(&netns).unwrap();
    let index = netlink.link_by_name("sym0").unwrap().unwrap().ifindex;
    netlink.set_up(index, true).unwrap();
    netlink.set_speed("sym0", 100_000).unwrap();
    assert_eq!(netlink.link_by_name("sym0").unwrap().unwrap().speed, 100_000);
    for carrier in [true, false, true] {
        tap.set_carrier(carrier).unwrap();
        let info = netlink.link_by_name("sym0").unwrap().unwrap();
        assert_eq!((info.up, info.carrier), (true, carrier));
    }
}

#[test]
fn a_tap_that_is_down_refuses_parcels_and_has_none() {
    let Some(netns) = namespace() else { return };
    let mut tap = Tap::create(&netns, "sym0", None).unwrap();
    assert_eq!(tap.write(&mut [0; 70]).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(tap.write(&mut [0; 23]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert!(matches!(tap.read(&mut Conversations::default(), Time(0)), Ok(None)));
}

/// Client, veth, port socket, tap, server: what the two daemons do, without the link between them.
#[test]
fn tcp_crosses_port_and_tap_in_super_packets_and_unharmed() {
    let Some(Site { client, relay, mut port, mac }) = site() else { return };
    let Some(control) = namespace() else { return };
    let mut tap = symbol(&control, mac);
    // The relay's kernel has the address too, and would answer with resets.
    ip(&relay, "addr flush dev eth1");
    let exchanges = AtomicUsize::new(0);
    let (mut largest_up, mut largest_down, mut sent) = (0, 0, Sent::default());
    let mut all = Conversations::default();
    thread::scope(|scope| {
        for (address, client_address) in
            [("192.0.2.1:80", "192.0.2.2:0"), ("[2001:db8::1]:80", "[2001:db8::2]:0")]
        {
            let listener = control.run(|| TcpListener::bind(address)).unwrap().unwrap();
            let client = client.clone();
            let exchanges = &exchanges;
            scope.spawn(move || {
                let (stream, peer) = listener.accept().unwrap();
                assert_eq!(peer.ip(), client_address.parse::<SocketAddr>().unwrap().ip());
                echo(stream);
            });
            scope.spawn(move || {
                let stream = client.run(|| TcpStream::connect(address)).unwrap().unwrap();
                assert_eq!(exchange(&stream, 8 << 20), 8 << 20);
                exchanges.fetch_add(1, Ordering::Release);
            });
        }
        while exchanges.load(Ordering::Acquire) < 2 {
            let count = port.receive(&mut all, Time(0)).unwrap();
            for index in 0..count {
                let mut parcel = port.parcel(index).to_vec();
                largest_up = largest_up.max(checked(&parcel).len());
                tap.write(&mut parcel).unwrap();
            }
            let mut read = 0;
            while let Some(parcel) = tap.read(&mut all, Time(0)).unwrap() {
                largest_down = largest_down.max(checked(parcel).len());
                port.queue(parcel);
                read += 1;
            }
            sent += port.flush();
            if count == 0 && read == 0 {
                thread::yield_now();
            }
        }
    });
    assert!(largest_up > 20_000 && largest_down > 20_000, "super-packets: {largest_up}, {largest_down}");
    assert_eq!((sent.full, sent.errors, port.skipped(), port.overruns()), (0, 0, 0, 0));
}

/// A UDP super-packet of a program on the control is cut at the port's far end, if this kernel has them.
#[test]
fn udp_super_packets_cross_tap_and_port() {
    let Some(Site { client, relay: _relay, mut port, mac }) = site() else { return };
    let Some(control) = namespace() else { return };
    let mut tap = symbol(&control, mac);
    for address in ["192.0.2.2", "2001:db8::2"] {
        ip(&control, &format!("neigh add {address} dev eth1 lladdr {}", station(&client)));
    }
    for (from, to) in [("192.0.2.1:0", "192.0.2.2:53"), ("[2001:db8::1]:0", "[2001:db8::2]:53")] {
        let server = client.run(|| UdpSocket::bind(to)).unwrap().unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let socket = control.run(|| UdpSocket::bind(from)).unwrap().unwrap();
        if setsockopt(&socket, sockopt::UdpGsoSegment, &1_000).is_err() {
            return;
        }
        let datagrams: Vec<u8> = (0..20_000).map(|at| u8::try_from(at / 1_000).unwrap()).collect();
        assert_eq!(socket.send_to(&datagrams, to).unwrap(), datagrams.len());
        let mut all = Conversations::default();
        let largest = eventually("the super-packet", || {
            let mut largest = 0;
            while let Some(parcel) = tap.read(&mut all, Time(0)).unwrap() {
                let (header, frame) = OffloadHeader::ref_from_prefix(parcel).unwrap();
                header.check(frame.len()).unwrap();
                largest = largest.max(frame.len());
                port.queue(parcel);
            }
            (largest > 0).then_some(largest)
        });
        assert_eq!(port.flush().errors, 0);
        assert!(largest > 20_000, "uncut: {largest}");
        for number in 0..20 {
            let mut bytes = [0; 2_000];
            assert_eq!(server.recv(&mut bytes).unwrap(), 1_000);
            assert_eq!(bytes[..1_000], [number; 1_000]);
        }
    }
}

/// Whoever sends little has his packets before those of a transfer that came earlier, and both keep their order.
#[test]
fn conversations_come_before_transfers_at_a_port() {
    let Some(Site { client, relay: _relay, mut port, .. }) = site() else { return };
    let [transfer, conversation] =
        [0, 1].map(|_| client.run(|| UdpSocket::bind("192.0.2.2:0")).unwrap().unwrap());
    let send = |socket: &UdpSocket, len: usize| socket.send_to(&vec![0; len], "192.0.2.1:9").unwrap();
    let mut all = Conversations::default();
    let mut lengths = |count: usize| {
        settle();
        let mut lengths = Vec::new();
        eventually("all packets", || {
            receive_among(&mut all, &mut port, |parcel| lengths.extend(payload(parcel)));
            (lengths.len() >= count).then_some(())
        });
        lengths
    };
    (0..200).for_each(|_| _ = send(&transfer, 1_400));
    assert_eq!(lengths(200), [1_400; 200]);
    // The first question finds the transfer by itself, and is late by as much as is read at once.
    for _ in 0..2 {
        (1_300..1_330).for_each(|len| _ = send(&transfer, len));
        [10, 20].into_iter().for_each(|len| _ = send(&conversation, len));
        (1_330..1_360).for_each(|len| _ = send(&transfer, len));
        let expected: Vec<usize> = [10, 20].into_iter().chain(1_300..1_360).collect();
        assert_eq!(lengths(62), expected);
    }
}

#[test]
fn conversations_come_before_transfers_at_a_tap() {
    let Some(Site { client, relay: _relay, port: _port, mac }) = site() else { return };
    let Some(control) = namespace() else { return };
    let mut tap = symbol(&control, mac);
    ip(&control, &format!("neigh add 192.0.2.2 dev eth1 lladdr {}", station(&client)));
    let [transfer, conversation] =
        [0, 1].map(|_| control.run(|| UdpSocket::bind("192.0.2.1:0")).unwrap().unwrap());
    let send = |socket: &UdpSocket, len: usize| socket.send_to(&vec![0; len], "192.0.2.2:9").unwrap();
    let mut all = Conversations::default();
    let mut lengths = || {
        let mut lengths = Vec::new();
        while let Some(parcel) = tap.read(&mut all, Time(0)).unwrap() {
            lengths.extend(payload(parcel));
        }
        lengths
    };
    (0..200).for_each(|_| _ = send(&transfer, 1_400));
    assert_eq!(lengths(), [1_400; 200]);
    send(&conversation, 10);
    assert_eq!(lengths(), [10]);
    for _ in 0..3 {
        (1_300..1_330).for_each(|len| _ = send(&transfer, len));
        [10, 20].into_iter().for_each(|len| _ = send(&conversation, len));
        (1_330..1_400).for_each(|len| _ = send(&transfer, len));
        let expected: Vec<usize> = [10, 20].into_iter().chain(1_300..1_400).collect();
        assert_eq!(lengths(), expected);
    }
    // Behind more than is read ahead it waits for some of it.
    (1_300..1_350).for_each(|len| _ = send(&transfer, len));
    send(&conversation, 10);
    let mut expected: Vec<usize> = (1_300..1_350).collect();
    expected.insert(18, 10);
    assert_eq!(lengths(), expected);
}

/// Bytes of a UDP datagram over IPv4, if the parcel is one.
fn payload(parcel: &[u8]) -> Option<usize> {
    let is_udp = parcel.get(22..24) == Some(&[8, 0]) && parcel.get(33) == Some(&17);
    is_udp.then(|| usize::from(u16::from_be_bytes([parcel[48], parcel[49]])) - 8)
}

/// The header is in network byte order, and says of a large packet how to cut it.
fn checked(parcel: &[u8]) -> &[u8] {
    let (header, frame) = OffloadHeader::ref_from_prefix(parcel).unwrap();
    header.check(frame.len()).unwrap();
    if frame.len() > 1514 {
        assert!(matches!(GsoType(header.gso_type & 0x7f), GsoType::TCP4 | GsoType::TCP6), "{header:?}");
        assert!((1_200..=1_460).contains(&header.gso_size.get()), "{header:?}");
    }
    parcel
}

fn echo(mut stream: TcpStream) {
    let mut bytes = vec![0; 1 << 16];
    while let count @ 1.. = stream.read(&mut bytes).unwrap() {
        stream.write_all(&bytes[..count]).unwrap();
    }
}

/// Sends a pattern of `len` bytes and counts those that come back right.
fn exchange(stream: &TcpStream, len: usize) -> usize {
    let pattern: Vec<u8> = (0..len).map(|at| u8::try_from(at * 31 / 7 % 251).unwrap()).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = stream;
            stream.write_all(&pattern).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let (mut stream, mut back) = (stream, Vec::new());
        stream.read_to_end(&mut back).unwrap();
        back.iter().zip(&pattern).take_while(|(back, sent)| back == sent).count()
    })
}

struct Site {
    client: NetNs,
    relay: NetNs,
    port: PortSocket,
    mac: Mac,
}

/// A client (192.0.2.2, 2001:db8::2) at port eth1 of a relay (192.0.2.1, 2001:db8::1).
fn site() -> Option<Site> {
    let (client, relay) = (namespace()?, namespace()?);
    cable(&client, "eth0", &relay, "eth1");
    ip(&client, "addr add 192.0.2.2/24 dev eth0");
    ip(&client, "addr add 2001:db8::2/64 dev eth0 nodad");
    ip(&client, "route add default via 192.0.2.1");
    ip(&relay, "addr add 192.0.2.1/24 dev eth1");
    ip(&relay, "addr add 2001:db8::1/64 dev eth1 nodad");
    let mac = Netlink::open(&relay).unwrap().link_by_name("eth1").unwrap().unwrap().mac.unwrap();
    let port = relay.run(|| PortSocket::open("eth1", &capture(mac))).unwrap().unwrap();
    Some(Site { client, relay, port, mac })
}

fn capture(mac: Mac) -> CaptureFilter {
    CaptureFilter {
        link_ethertype: LINK_ETHERTYPE,
        mac,
        joined: Vec::new(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
    }
}

fn station(client: &NetNs) -> Mac {
    Netlink::open(client).unwrap().link_by_name("eth0").unwrap().unwrap().mac.unwrap()
}

/// A tap with the port's addresses.
fn symbol(control: &NetNs, mac: Mac) -> Tap {
    let tap = Tap::create(control, "eth1", None).unwrap();
    tap.set_carrier(true).unwrap();
    ip(control, &format!("link set eth1 address {mac}"));
    ip(control, "link set eth1 up");
    ip(control, "addr add 192.0.2.1/24 dev eth1");
    ip(control, "addr add 2001:db8::1/64 dev eth1 nodad");
    tap
}

fn receive(port: &mut PortSocket, take: impl FnMut(&[u8])) {
    receive_among(&mut Conversations::default(), port, take);
}

fn receive_among(all: &mut Conversations, port: &mut PortSocket, mut take: impl FnMut(&[u8])) {
    while let count @ 1.. = port.receive(all, Time(0)).unwrap() {
        for index in 0..count {
            take(port.parcel(index));
        }
    }
}

fn frame(to: Mac, ethertype: u16, address: Option<&str>) -> Vec<u8> {
    let mut frame = vec![0; 80];
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&[2, 1, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    match address.map(|address| address.parse().unwrap()) {
        Some(IpAddr::V4(address)) => frame[30..34].copy_from_slice(&address.octets()),
        Some(IpAddr::V6(address)) => frame[38..54].copy_from_slice(&address.octets()),
        None => {}
    }
    frame
}

fn tagged(frame: &[u8], vlan: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.splice(12..12, [0x81, 0x00, 0x00, vlan]);
    frame
}
