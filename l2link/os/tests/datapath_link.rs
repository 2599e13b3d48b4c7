//! [`LinkSocket`] on veth pairs.

mod lab;

use frames::Mac;
use l2link::Batch;
use l2link_os::{LinkSocket, NetNs, Netlink, Sent, SetupError};
use lab::{cable, eventually, ip, namespace, settle, shell};

const ETHERTYPE: u16 = 0x88b5;
/// `Flags::BULK`, in a frame that has this number in each of its bytes.
const BULK: usize = 8;

#[test]
fn frames_cross_in_order_and_whole() {
    let Some((mut left, mut right)) = two_sockets() else { return };
    let mut batch = Batch::new(256, 1514);
    let lengths: Vec<usize> = (0..200).map(|index| 60 + index * 7).collect();
    for (number, len) in lengths.iter().enumerate() {
        push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, *len, number & !BULK));
    }
    assert_eq!(left.send(&batch), Sent { sent: 200, ..Sent::default() });
    let received = receive_all(&mut right, 200);
    let expected: Vec<Vec<u8>> = batch.frames().map(<[u8]>::to_vec).collect();
    assert_eq!(received, expected);
    assert_eq!(right.receive().unwrap(), 0);
    // The sender does not hear itself.
    assert_eq!(left.receive().unwrap(), 0);
}

/// Frames of transfers wait, but not for ever.
#[test]
fn frames_of_transfers_come_behind_the_others() {
    let Some((mut left, mut right)) = two_sockets() else { return };
    let mut batch = Batch::new(600, 60);
    for number in [BULK; 70].into_iter().chain([1; 500]) {
        push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 60, number));
    }
    assert_eq!(left.send(&batch).sent, 570);
    settle();
    let received = receive_all(&mut right, 570);
    let bulk: Vec<usize> =
        (0..).zip(&received).filter(|(_, frame)| frame[14] & 8 != 0).map(|(at, _)| at).collect();
    let expected: Vec<usize> = (256..320).chain(564..570).collect();
    assert_eq!(bulk, expected, "64 of them after four times 64 others");
    assert_eq!((right.receive().unwrap(), right.overruns()), (0, 0));
}

/// What is too short to say of which sort it is has to be counted.
#[test]
fn short_frames_are_delivered() {
    let Some((mut left, mut right)) = two_sockets() else { return };
    let mut batch = Batch::new(2, 60);
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 14, 0));
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 15, BULK));
    assert_eq!(left.send(&batch).sent, 2);
    let received = receive_all(&mut right, 2);
    assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), [14, 15]);
}

#[test]
fn other_ethertypes_stations_and_vlans_are_not_delivered() {
    let Some((mut left, mut right)) = two_sockets() else { return };
    let mut batch = Batch::new(8, 1514);
    push(&mut batch, &frame(Mac::LINK_GROUP, 0x0800, 60, 0));
    push(&mut batch, &frame(Mac([2, 9, 9, 9, 9, 9]), ETHERTYPE, 60, 1));
    push(&mut batch, &tagged(frame(Mac::LINK_GROUP, ETHERTYPE, 60, 2), 7));
    push(&mut batch, &tagged(frame(Mac::LINK_GROUP, ETHERTYPE, 60, 3), 0));
    push(&mut batch, &frame(right.mac(), ETHERTYPE, 60, 4));
    assert_eq!(left.send(&batch).sent, 5);
    let received = receive_all(&mut right, 2);
    assert_eq!(received.iter().map(|frame| frame[14]).collect::<Vec<_>>(), [3, 4], "priority tag, unicast");
    settle();
    assert_eq!(right.receive().unwrap(), 0);
}

#[test]
fn a_frame_that_the_interface_refuses_does_not_stop_the_others() {
    let Some((mut left, mut right)) = two_sockets() else { return };
    let mut batch = Batch::new(4, 4000);
    for (number, len) in [60, 4000, 61].into_iter().enumerate() {
        push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, len, number));
    }
    assert_eq!(left.send(&batch), Sent { sent: 2, full: 0, errors: 1 });
    assert_eq!(receive_all(&mut right, 2).len(), 2);
}

#[test]
fn frames_that_a_queue_drops_are_counted_as_full() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "lan0", &b, "lan0");
    let (mut left, mut right) = (open(&a, "lan0").unwrap(), open(&b, "lan0").unwrap());
    let mut batch = Batch::new(3, 60);
    for number in 0..3 {
        push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 60, number));
    }
    shell(&a, "tc qdisc add dev lan0 clsact");
    shell(&a, "tc filter add dev lan0 egress bpf da bytecode '1,6 0 0 2,'");
    assert_eq!(left.send(&batch), Sent { sent: 0, full: 3, errors: 0 });
    shell(&a, "tc qdisc del dev lan0 clsact");
    assert_eq!(left.send(&batch), Sent { sent: 3, full: 0, errors: 0 });
    assert_eq!(receive_all(&mut right, 3).len(), 3);
}

#[test]
fn overruns_are_told_once() {
    let Some((mut left, mut right)) = two_sockets() else { return };
    let mut batch = Batch::new(1_000, 60);
    for number in 0..1_000 {
        push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 60, number));
    }
    for _ in 0..100 {
        assert_eq!(left.send(&batch).errors, 0);
    }
    let mut received = 0;
    while let count @ 1.. = right.receive().unwrap() {
        received += count as u64;
    }
    let overruns = right.overruns();
    assert!(overruns > 0);
    assert_eq!(received + overruns, 100_000);
    assert_eq!(right.overruns(), 0);
}

#[test]
fn the_socket_outlives_its_interface_going_down_and_up() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "lan0", &b, "lan0");
    let (mut left, mut right) = (open(&a, "lan0").unwrap(), open(&b, "lan0").unwrap());
    let mut batch = Batch::new(4, 60);
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 60, 0));
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 60, 1));

    ip(&a, "link set lan0 down");
    for _ in ["of conversations", "of transfers"] {
        assert_eq!(left.receive().unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
    }
    assert_eq!(left.receive().unwrap(), 0);
    assert_eq!(left.send(&batch), Sent { sent: 0, full: 0, errors: 2 });

    ip(&a, "link set lan0 up");
    eventually("frames after up", || {
        let _ = left.send(&batch);
        let _ = right.send(&batch);
        (left.receive().unwrap_or(0) > 0 && right.receive().unwrap_or(0) > 0).then_some(())
    });
}

#[test]
fn another_mtu_or_address_loses_nothing_that_waits() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "lan0", &b, "lan0");
    let (mut left, mut right) = (open(&a, "lan0").unwrap(), open(&b, "lan0").unwrap());
    let mut link = Netlink::open(&b).unwrap();
    let mut batch = Batch::new(1, 60);
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 60, 7));
    for change in ["mtu 1280", "mtu 20000", "mtu 1500", "address 02:00:00:00:00:77"] {
        assert_eq!(left.send(&batch).sent, 1);
        ip(&b, &format!("link set lan0 {change}"));
        let info = link.link_by_name("lan0").unwrap().unwrap();
        assert!(right.follow(&info), "{change}");
        assert_eq!((right.mac(), right.mtu()), (info.mac.unwrap(), info.mtu));
        assert_eq!(receive_all(&mut right, 1)[0][14], 7, "{change}");
    }

    // What became longer is taken.
    for netns in [&a, &b] {
        ip(netns, "link set lan0 mtu 20000");
    }
    assert!(right.follow(&link.link_by_name("lan0").unwrap().unwrap()));
    let mut batch = Batch::new(1, 20_014);
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 20_014, 7));
    assert_eq!(left.send(&batch).sent, 1);
    assert_eq!(receive_all(&mut right, 1)[0].len(), 20_014);

    // It does not follow to where it cannot go.
    ip(&b, "link set lan0 mtu 1279");
    assert!(!right.follow(&link.link_by_name("lan0").unwrap().unwrap()));
    ip(&b, "link set lan0 mtu 1500");
    let info = link.link_by_name("lan0").unwrap().unwrap();
    ip(&b, "link del lan0");
    assert!(!right.follow(&info));
}

#[test]
fn an_interface_that_is_down_can_be_opened() {
    let Some(a) = namespace() else { return };
    ip(&a, "link add lan0 type veth peer name lan1");
    let mut socket = open(&a, "lan0").unwrap();
    for _ in ["of conversations", "of transfers"] {
        assert_eq!(socket.receive().unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
    }
    assert_eq!(socket.receive().unwrap(), 0);
    assert_eq!(socket.mtu(), 1500);
    assert!(!socket.mac().is_multicast() && socket.mac() != Mac::default());
    assert!(socket.ifindex().0 > 1);
}

#[test]
fn jumbo_frames_cross_where_the_mtu_allows() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "lan0", &b, "lan0");
    for netns in [&a, &b] {
        ip(netns, "link set lan0 mtu 65535");
    }
    let (mut left, mut right) = (open(&a, "lan0").unwrap(), open(&b, "lan0").unwrap());
    let mut batch = Batch::new(2, 65_549);
    push(&mut batch, &frame(Mac::LINK_GROUP, ETHERTYPE, 65_549, 5));
    assert_eq!(left.send(&batch).sent, 1);
    assert_eq!(receive_all(&mut right, 1)[0].len(), 65_549);
}

#[test]
fn refusals_name_the_interface_and_what_to_do() {
    let Some(a) = namespace() else { return };
    ip(&a, "link add br0 type bridge");
    ip(&a, "link add lan0 type veth peer name lan1");
    ip(&a, "link set lan0 master br0");
    ip(&a, "link set lan1 mtu 1279");

    let error = open(&a, "nosuch0").unwrap_err();
    assert!(matches!(&error, SetupError::NoInterface { interface } if interface == "nosuch0"), "{error}");
    let error = open(&a, "a-name-that-is-too-long").unwrap_err();
    assert!(matches!(error, SetupError::NoInterface { .. }), "{error}");
    let error = open(&a, "lan0").unwrap_err();
    assert_eq!(error.to_string(), "interface lan0 is a port of bridge br0: put br0 in its place");
    let error = open(&a, "lo").unwrap_err();
    assert!(matches!(error, SetupError::NotEthernet { .. }), "{error}");
    let error = open(&a, "lan1").unwrap_err();
    assert!(matches!(error, SetupError::MtuTooSmall { mtu: 1279, least: 1280, .. }), "{error}");
    let error = a.run(|| LinkSocket::open("br0", 0x5ff)).unwrap().unwrap_err();
    assert!(matches!(error, SetupError::EtherType(0x5ff)), "{error}");
    open(&a, "br0").unwrap();
}

#[test]
fn without_the_capability_the_error_says_which() {
    let Some(a) = namespace() else { return };
    ip(&a, "link add lan0 type veth peer name lan1");
    let opened = a.run(|| {
        // A thread of its own in the namespace, which gives up its user for good.
        std::thread::spawn(|| {
            // SAFETY: the call takes three numbers; by syscall(2) it changes this thread only.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
            assert_eq!(result, 0);
            LinkSocket::open("lan0", ETHERTYPE)
        })
        .join()
        .unwrap()
    });
    let error = opened.unwrap().unwrap_err();
    assert!(matches!(error, SetupError::Capability { capability: "CAP_NET_RAW", .. }), "{error}");
    assert!(error.to_string().contains("setcap cap_net_raw"), "{error}");
}

fn two_sockets() -> Option<(LinkSocket, LinkSocket)> {
    let (a, b) = (namespace()?, namespace()?);
    cable(&a, "lan0", &b, "lan0");
    Some((open(&a, "lan0").unwrap(), open(&b, "lan0").unwrap()))
}

fn open(netns: &NetNs, interface: &str) -> Result<LinkSocket, SetupError> {
    netns.run(|| LinkSocket::open(interface, ETHERTYPE)).unwrap()
}

fn frame(to: Mac, ethertype: u16, len: usize, number: usize) -> Vec<u8> {
    let mut frame = vec![u8::try_from(number % 256).unwrap(); len];
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    frame
}

fn tagged(mut frame: Vec<u8>, vlan: u8) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0x00, 0x20, vlan]);
    frame
}

fn push(batch: &mut Batch, frame: &[u8]) {
    batch.slot().unwrap()[..frame.len()].copy_from_slice(frame);
    batch.commit(frame.len());
}

fn receive_all(socket: &mut LinkSocket, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    eventually("all frames", || {
        for index in 0..socket.receive().unwrap() {
            frames.push(socket.frame_mut(index).to_vec());
        }
        (frames.len() >= count).then_some(())
    });
    frames
}
