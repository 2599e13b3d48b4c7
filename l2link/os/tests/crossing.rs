//! [`Crossing`] between namespaces, and a packet over it.

mod lab;

use core::num::NonZeroU32;
use fast_path::{CROSSING, ELSEWHERE, FastPath};
use frames::data::{OffloadHeader, Tunnel};
use frames::{Mac, SessionIndex};
use l2link::PeerId;
use l2link::fast::{FastFlow, FastPeer, FastWay, Flow};
use l2link_os::{Conversations, Crossing, IfIndex, NetNs, Netlink, SetupError, Tap};
use lab::{eventually, ip, namespace, settle};
use std::io::Write as _;
use std::net::UdpSocket;

const SYMBOL: IfIndex = IfIndex(CROSSING + 7);

/// Two namespaces, and a crossing from the first to the second one.
struct Site {
    here: NetNs,
    there: NetNs,
    crossing: Crossing,
}

fn site() -> Option<Site> {
    let (here, there) = (namespace()?, namespace()?);
    let crossing = make(&here, &there).unwrap();
    Some(Site { here, there, crossing })
}

/// With one symbol there, at most.
fn make(here: &NetNs, there: &NetNs) -> Result<Crossing, SetupError> {
    let mut netlink = Netlink::open(here).unwrap();
    Crossing::make((here, &mut netlink), &mut Netlink::open(there).unwrap(), |ifindex| ifindex == SYMBOL)
}

/// How many interfaces of crossings there are.
fn ends(netns: &NetNs) -> usize {
    ip(netns, "-o link").lines().filter(|line| line.contains("l2link-fast")).count()
}

#[test]
fn it_has_an_end_on_either_side_and_takes_the_place_of_an_earlier_one() {
    let Some(Site { here, there, crossing: earlier }) = site() else { return };
    let mut at_home = Netlink::open(&here).unwrap();
    let mut elsewhere = Netlink::open(&there).unwrap();
    assert!(earlier.is_whole(&mut elsewhere).unwrap());
    // As a daemon that comes after one that was killed.
    let _symbol = Tap::create(&there, "eth1", Some(SYMBOL)).unwrap();
    let crossing = make(&here, &there).unwrap();
    assert_eq!((ends(&here), ends(&there)), (1, 1));
    assert_eq!(at_home.link_by_index(earlier.near()).unwrap(), None);
    let near = at_home.link_by_index(crossing.near()).unwrap().unwrap();
    assert_eq!((near.kind.as_deref(), near.carrier, near.mtu), (Some("veth"), true, 65_535));
    assert_eq!(at_home.addresses(Some(crossing.near())).unwrap(), []);

    for broken in ["set l2link-fast down", "set l2link-fast up", "del l2link-fast"] {
        ip(&there, &format!("link {broken}"));
        assert_eq!(crossing.is_whole(&mut elsewhere).unwrap(), broken.ends_with("up"), "{broken}");
    }
    crossing.remove(&mut at_home).unwrap();
    assert_eq!((ends(&here), ends(&there)), (0, 0));
}

#[test]
fn symbols_of_another_daemon_keep_their_crossing() {
    let Some(Site { here, there, crossing }) = site() else { return };
    let _symbol = Tap::create(&there, "other", Some(IfIndex(*ELSEWHERE.end()))).unwrap();
    let taken = make(&namespace().unwrap(), &there).unwrap_err();
    assert!(matches!(&taken, SetupError::CrossingTaken { interface } if interface == "other"), "{taken}");
    Crossing::sweep_in(&there).unwrap();
    assert!(crossing.is_whole(&mut Netlink::open(&there).unwrap()).unwrap());
    assert_eq!(ends(&here), 1);
}

#[test]
fn what_nobody_uses_is_swept() {
    let Some(Site { here, there, crossing: _crossing }) = site() else { return };
    Crossing::sweep_in(&there).unwrap();
    assert_eq!((ends(&here), ends(&there)), (0, 0));
    // Somebody else's.
    ip(&there, &format!("link add mine index {CROSSING} type bridge"));
    Crossing::sweep_in(&there).unwrap();
    let taken = make(&here, &there).unwrap_err();
    assert!(matches!(&taken, SetupError::CrossingTaken { interface } if interface == "mine"), "{taken}");
    assert!(ip(&there, "link").contains("mine"));
}

/// Between the symbol and the near end the flow is forgotten: by a fast path that knows it at the symbol, and one that does not at the
/// crossing.
#[test]
fn a_packet_whose_way_has_gone_meanwhile_comes_back() {
    let (Ok(mut knows), Ok(mut forgets)) = (FastPath::load(0x88b5), FastPath::load(0x88b5)) else {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a test of the fast path: build it with `--features l2relay/ebpf,l2control/ebpf`"
        );
        return;
    };
    let Some(Site { here, there, crossing }) = site() else { return };
    let mut tap = Tap::create(&there, "eth1", Some(SYMBOL)).unwrap();
    tap.set_carrier(true).unwrap();
    for command in ["addr add 192.0.2.1/24 dev eth1", "link set eth1 up"] {
        ip(&there, command);
    }
    // Besides, the kernel speaks of IPv6.
    let mut all = Conversations::default();
    let mut packets = || {
        let mut packets = Vec::new();
        while let Some(packet) = tap.read(&mut all, l2link::Time(0)).unwrap() {
            let frame = &packet[size_of::<OffloadHeader>()..];
            packets.extend((frame[12..14] != [0x86, 0xdd]).then(|| frame.to_vec()));
        }
        packets
    };
    ip(&there, "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth1");
    let socket = there.run(|| UdpSocket::bind("192.0.2.1:40000")).unwrap().unwrap();

    let near = crossing.near().0;
    here.run(|| forgets.add_near_end(near)).unwrap().unwrap();
    there.run(|| forgets.add_far_end(near)).unwrap().unwrap();
    let loopback = 1;
    here.run(|| knows.set_link(Some(loopback))).unwrap().unwrap();
    there.run(|| knows.add_symbol(SYMBOL.0)).unwrap().unwrap();
    knows.set_generation(NonZeroU32::new(1)).unwrap();
    let peer = PeerId(3);
    let begin = FastPeer {
        destination: Mac([2; 6]),
        source: Mac([4; 6]),
        receiver: SessionIndex(9),
        frame_max: 1514,
    };
    knows.set_peer(peer, Some(&begin)).unwrap();
    let flow = Flow {
        protocol: 17,
        source: ("192.0.2.1".parse().unwrap(), 40_000),
        destination: ("192.0.2.9".parse().unwrap(), 80),
    };
    let way = FastWay { peer, tunnel: Tunnel(5) };
    knows.add_flow(SYMBOL.0, &FastFlow { flow, way, frame: 60 }).unwrap();

    socket.send_to(b"there and back", "192.0.2.9:80").unwrap();
    settle();
    assert_eq!(packets(), [[0; 0]; 0], "it goes round as long as the flow is known at the symbol");
    knows.set_generation(None).unwrap();
    let frame = eventually("the packet", || packets().pop());
    assert_eq!(frame[12..14], [8, 0], "no tag is left");
    assert!(frame.ends_with(b"there and back"));
    settle();
    assert_eq!(packets(), [[0; 0]; 0], "once");
}
