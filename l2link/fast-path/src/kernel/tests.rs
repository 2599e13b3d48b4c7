//! The programs, run by the kernel over single packets (`BPF_PROG_TEST_RUN`), at the loopback interface of a namespace of their own,
//! whose address is all zeros.

use super::*;
use frames::Mac;
use libbpf_rs::ProgramInput;
use rstest::rstest;
use std::io::Write as _;
use std::net::IpAddr;
use std::thread;

const LOOPBACK: u32 = 1;
const ETHERTYPE: u16 = 0x88b5;
const OWN: Mac = Mac([0; 6]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const JOINED: Mac = Mac([0, 0, 0x5e, 0, 1, 7]);
const PEER: PeerId = PeerId(3);
const WAY: FastWay = FastWay { peer: PEER, tunnel: Tunnel(0x0102_0304) };
const SESSION: SessionIndex = SessionIndex(0x8000_0001);
const TCP: u8 = 6;
const UDP: u8 = 17;
const ACK: u8 = 0x10;
const GENERATION: Option<NonZeroU32> = NonZeroU32::new(7);

/// `TC_ACT_UNSPEC`, `TC_ACT_REDIRECT` (linux/pkt_cls.h); `XDP_PASS` (linux/bpf.h).
const GOES_ON: u32 = u32::MAX;
const REDIRECTED: u32 = 7;
const PASSES: u32 = 2;

/// Runs a test with a fast path whose link is the loopback; not at all, said loudly, without root.
fn with_fast_path(test: impl FnOnce(FastPath) + Send + 'static) {
    let done = thread::spawn(|| {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            let _ = writeln!(std::io::stderr(), "SKIPPED a test of the fast path: {error}; run as root");
            return;
        }
        let mut fast_path = FastPath::load(ETHERTYPE).unwrap();
        fast_path.set_link(Some(LOOPBACK)).unwrap();
        fast_path.set_generation(GENERATION).unwrap();
        fast_path.set_peer(PEER, Some(&peer(1_514))).unwrap();
        test(fast_path);
    });
    if let Err(panic) = done.join() {
        std::panic::resume_unwind(panic);
    }
}

fn peer(frame_max: usize) -> FastPeer {
    FastPeer { destination: OTHER, source: OWN, receiver: SESSION, frame_max }
}

/// What a program says to a packet, and what it leaves of it.
fn run(fast_path: &FastPath, name: &str, packet: &[u8]) -> (u32, Vec<u8>) {
    let program = fast_path.object.progs_mut().find(|program| program.name() == name).unwrap();
    let mut room = [0; 4096];
    let input = ProgramInput { data_in: Some(packet), data_out: Some(&mut room), ..Default::default() };
    let output = program.test_run(input).unwrap();
    (output.return_value, output.data.unwrap_or_default().to_vec())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A packet of port 40000 to port 80, in an Ethernet frame to this station.
fn packet(source: &str, destination: &str, protocol: u8, flags: u8, payload: usize) -> Vec<u8> {
    let mut transport = [40_000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat();
    let header = if protocol == TCP { 20 } else { 8 };
    transport.resize(header + payload, 0);
    if protocol == TCP {
        (transport[12], transport[13]) = (0x50, flags);
    }
    let length = transport.len();
    let mut frame = [OWN.0, OTHER.0].concat();
    match (address(source), address(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + length).unwrap().to_be_bytes();
            frame.extend([8, 0, 0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(length).unwrap().to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, 64]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        _ => panic!("of two versions"),
    }
    frame.extend(transport);
    frame
}

fn flow(source: &str, destination: &str, protocol: u8, frame: usize) -> FastFlow {
    let flow = l2link::fast::Flow {
        protocol,
        source: (address(source), 40_000),
        destination: (address(destination), 80),
    };
    FastFlow { flow, way: WAY, frame }
}

const V4: (&str, &str) = ("192.0.2.9", "192.0.2.1");
const V6: (&str, &str) = ("2001:db8::9", "2001:db8::1");

/// PROTOCOL.md, PACKET.
fn link_frame(packet: &[u8]) -> Vec<u8> {
    let mut frame = [OTHER.0, OWN.0].concat();
    frame.extend([0x88, 0xb5, 0x10, 0x42, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    frame.extend(packet);
    frame
}

#[rstest]
#[case::tcp(V4, TCP)]
#[case::udp(V4, UDP)]
#[case::tcp_v6(V6, TCP)]
#[case::udp_v6(V6, UDP)]
fn packets_of_a_known_flow_go_to_the_link(
    #[case] (from, to): (&'static str, &'static str),
    #[case] protocol: u8,
) {
    with_fast_path(move |mut fast_path| {
        let packet = packet(from, to, protocol, ACK, 100);
        assert_eq!(run(&fast_path, "from_port", &packet), (GOES_ON, packet.clone()), "not known yet");
        fast_path.add_flow(LOOPBACK, &flow(from, to, protocol, packet.len())).unwrap();
        for program in ["from_port", "from_symbol"] {
            assert_eq!(run(&fast_path, program, &packet), (REDIRECTED, link_frame(&packet)));
        }
        let counted = fast_path.take_counts().unwrap();
        let bytes = packet.len() as u64;
        let traffic = FastTraffic { packets: 2, bytes: 2 * bytes, frames: 2, frame_bytes: 2 * (bytes + 34) };
        assert_eq!(counted, [Counted { what: Counts::Sent(WAY), traffic }]);
        assert_eq!(fast_path.take_counts().unwrap(), [], "counted once");
    });
}

#[test]
fn what_needs_a_decision_goes_on() {
    with_fast_path(|mut fast_path| {
        let known = packet(V4.0, V4.1, TCP, ACK, 100);
        fast_path.add_flow(LOOPBACK, &flow(V4.0, V4.1, TCP, known.len())).unwrap();
        let goes_on = |fast_path: &FastPath, change: &dyn Fn(&mut Vec<u8>), why: &str| {
            let mut packet = known.clone();
            change(&mut packet);
            assert_eq!(run(fast_path, "from_port", &packet), (GOES_ON, packet), "{why}");
        };
        goes_on(&fast_path, &|packet| packet[47] = 0x02, "opens");
        goes_on(&fast_path, &|packet| packet[47] = 0x14, "resets");
        goes_on(&fast_path, &|packet| packet[20] = 0x20, "the first fragment");
        goes_on(&fast_path, &|packet| packet[21] = 0x01, "a later fragment");
        goes_on(&fast_path, &|packet| packet[14] = 0x46, "options");
        goes_on(&fast_path, &|packet| packet[17] += 1, "longer than it is");
        goes_on(&fast_path, &|packet| packet[34] ^= 1, "another port");
        goes_on(&fast_path, &|packet| packet[29] ^= 1, "another address");
        goes_on(&fast_path, &|packet| packet[23] = UDP, "another protocol");
        goes_on(&fast_path, &|packet| packet[0] = 1, "a group");
        goes_on(&fast_path, &|packet| packet[5] = 1, "another station");
        goes_on(&fast_path, &|packet| packet.truncate(40), "cut");
        assert_eq!(run(&fast_path, "from_port", &known).0, REDIRECTED, "as it was");
        fast_path.remove_flow(LOOPBACK, &flow(V4.0, V4.1, TCP, 0).flow).unwrap();
        goes_on(&fast_path, &|_| {}, "forgotten");
        fast_path.add_flow(LOOPBACK, &flow(V4.0, V4.1, TCP, known.len())).unwrap();
        assert_eq!(run(&fast_path, "from_port", &known).0, REDIRECTED, "known again");
        fast_path.set_generation(NonZeroU32::new(8)).unwrap();
        goes_on(&fast_path, &|_| {}, "the tables have changed");
        fast_path.set_generation(GENERATION).unwrap();
        fast_path.set_peer(PEER, None).unwrap();
        goes_on(&fast_path, &|_| {}, "the peer has gone");
        fast_path.set_peer(PEER, Some(&peer(known.len() + 33))).unwrap();
        goes_on(&fast_path, &|_| {}, "longer than a link frame");
        fast_path.set_peer(PEER, Some(&peer(known.len() + 34))).unwrap();
        assert_eq!(run(&fast_path, "from_port", &known).0, REDIRECTED, "just fits");
        fast_path.set_link(None).unwrap();
        goes_on(&fast_path, &|_| {}, "there is no link");
    });
}

#[test]
fn a_flow_with_a_packet_that_does_not_fit_is_the_daemons() {
    with_fast_path(|mut fast_path| {
        let small = packet(V4.0, V4.1, TCP, ACK, 100);
        fast_path.add_flow(LOOPBACK, &flow(V4.0, V4.1, TCP, small.len())).unwrap();
        assert_eq!(run(&fast_path, "from_port", &small).0, REDIRECTED);
        fast_path.add_flow(LOOPBACK, &flow(V4.0, V4.1, TCP, 1_514)).unwrap();
        assert_eq!(run(&fast_path, "from_port", &small).0, GOES_ON);
        fast_path.add_flow(LOOPBACK, &flow(V4.0, V4.1, TCP, small.len())).unwrap();
        assert_eq!(run(&fast_path, "from_port", &small).0, GOES_ON, "for a lease");
    });
}

#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn frames_of_a_known_tunnel_lose_their_headers(#[case] (from, to): (&'static str, &'static str)) {
    with_fast_path(move |mut fast_path| {
        let packet = packet(from, to, TCP, ACK, 10);
        let frame = link_frame(&packet);
        assert_eq!(run(&fast_path, "strip", &frame), (PASSES, frame.clone()), "not known yet");
        let outlet = Outlet {
            peer: PEER,
            ifindex: LOOPBACK,
            near: None,
            receives: true,
            frame_max: 1_514,
            own: OTHER,
        };
        fast_path.add_tunnel(SESSION, WAY.tunnel, &outlet).unwrap();
        assert_eq!(run(&fast_path, "strip", &frame), (PASSES, stripped(true, &packet)));
        let bytes = packet.len() as u64;
        let traffic = FastTraffic { packets: 1, bytes, frames: 1, frame_bytes: bytes + 34 };
        assert_eq!(fast_path.take_counts().unwrap(), [Counted { what: Counts::Received(WAY), traffic }]);
        let as_it_is = |fast_path: &FastPath, change: &dyn Fn(&mut Vec<u8>), why: &str| {
            let mut changed = frame.clone();
            change(&mut changed);
            assert_eq!(run(fast_path, "strip", &changed), (PASSES, changed), "{why}");
        };
        let (ip, ports) = (48, frame.len() - 30);
        as_it_is(&fast_path, &|frame| frame[12] = 8, "another EtherType");
        as_it_is(&fast_path, &|frame| frame[14] = 0x11, "sealed");
        as_it_is(&fast_path, &|frame| frame[15] = 0x40, "another kind");
        as_it_is(&fast_path, &|frame| frame[17] = 1, "with a length");
        as_it_is(&fast_path, &|frame| frame[21] ^= 1, "another session");
        as_it_is(&fast_path, &|frame| frame[33] ^= 1, "another tunnel");
        as_it_is(&fast_path, &|frame| frame[34..40].copy_from_slice(&OTHER.0), "to the daemon's own");
        as_it_is(&fast_path, &|frame| frame[ip] ^= 0xf0, "another version");
        as_it_is(&fast_path, &|frame| frame[ports + 13] = 0x02, "opens a connection at a symbol");
        as_it_is(&fast_path, &|frame| frame.truncate(frame.len() - 1), "cut");
        let mut padded = frame.clone();
        padded.extend([0; 6]);
        assert_eq!(run(&fast_path, "strip", &padded).1, stripped(true, &padded[34..]), "padding is left");
        fast_path.add_tunnel(SESSION, WAY.tunnel, &Outlet { receives: false, ..outlet }).unwrap();
        let mut opens = frame.clone();
        opens[ports + 13] = 0x02;
        assert_eq!(run(&fast_path, "strip", &opens).1, stripped(false, &opens[34..]), "it leaves by a port");
        fast_path.add_tunnel(SESSION, WAY.tunnel, &Outlet { frame_max: packet.len() - 1, ..outlet }).unwrap();
        as_it_is(&fast_path, &|_| {}, "longer than the interface takes");
        fast_path.add_tunnel(SESSION, WAY.tunnel, &outlet).unwrap();
        fast_path.set_generation(None).unwrap();
        as_it_is(&fast_path, &|_| {}, "no fast path for now");
    });
}

/// What `strip` leaves: the word to `deliver` where the packet goes, and the packet.
fn stripped(receives: bool, packet: &[u8]) -> Vec<u8> {
    [&LOOPBACK.to_ne_bytes()[..], &u32::from(receives).to_ne_bytes(), &[0; 4], packet].concat()
}

/// The same as for the classic program (`capture_filter/tests.rs` of the crate `l2link-os`).
#[rstest]
#[case::arp(OWN, 0x0806, None, true)]
#[case::arp_broadcast(Mac::BROADCAST, 0x0806, None, true)]
#[case::pppoe_unicast(OWN, 0x8864, None, true)]
#[case::link(OWN, ETHERTYPE, None, false)]
#[case::link_group(Mac::LINK_GROUP, ETHERTYPE, None, false)]
#[case::other_station(OTHER, 0x0806, None, false)]
#[case::v4_local(OWN, 0x0800, Some("192.0.2.1"), true)]
#[case::v4_joined_mac_foreign_address(JOINED, 0x0800, Some("192.0.2.254"), true)]
#[case::link_joined_mac(JOINED, ETHERTYPE, None, false)]
#[case::v4_transit(OWN, 0x0800, Some("192.0.2.2"), false)]
#[case::v4_other_station(OTHER, 0x0800, Some("192.0.2.1"), false)]
#[case::v4_group_in_unicast(OWN, 0x0800, Some("224.0.0.5"), true)]
#[case::v4_all_ones(OWN, 0x0800, Some("255.255.255.255"), true)]
#[case::v4_group(Mac([1, 0, 0x5e, 0, 0, 5]), 0x0800, Some("224.0.0.5"), true)]
#[case::v4_below_groups(OWN, 0x0800, Some("223.255.255.255"), false)]
#[case::v6_local(OWN, 0x86dd, Some("2001:db8::1"), true)]
#[case::v6_first_word_differs(OWN, 0x86dd, Some("2001:db9::1"), false)]
#[case::v6_last_word_differs(OWN, 0x86dd, Some("2001:db8::2"), false)]
#[case::v6_group(OWN, 0x86dd, Some("ff02::5"), true)]
fn what_a_packet_socket_gets(
    #[case] to: Mac,
    #[case] ethertype: u16,
    #[case] destination: Option<&'static str>,
    #[case] taken: bool,
) {
    with_fast_path(move |mut fast_path| {
        capture(&mut fast_path);
        let mut frame = match destination {
            Some(v6) if v6.contains(':') => packet(V6.0, v6, TCP, ACK, 0),
            v4 => packet(V4.0, v4.unwrap_or(V4.1), TCP, ACK, 0),
        };
        frame[..6].copy_from_slice(&to.0);
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        assert_eq!(filter(&fast_path, &frame), taken);
    });
}

#[rstest]
#[case::lease(0x45, 0, UDP, 68, true)]
#[case::lease_behind_options(0x4f, 0, UDP, 68, true)]
#[case::lease_first_fragment(0x45, 0x2000, UDP, 68, true)]
#[case::later_fragment(0x45, 0x2001, UDP, 68, false)]
#[case::server(0x45, 0, UDP, 67, false)]
#[case::tcp(0x45, 0, TCP, 68, false)]
fn leases_for_clients_without_an_address(
    #[case] version_and_length: u8,
    #[case] fragment: u16,
    #[case] protocol: u8,
    #[case] port: u16,
    #[case] taken: bool,
) {
    with_fast_path(move |mut fast_path| {
        capture(&mut fast_path);
        let mut frame = packet(V4.0, "192.0.2.60", UDP, 0, 60);
        frame[14] = version_and_length;
        frame[20..22].copy_from_slice(&fragment.to_be_bytes());
        frame[23] = protocol;
        let ports = 14 + usize::from(version_and_length & 0xf) * 4;
        frame[ports + 2..ports + 4].copy_from_slice(&port.to_be_bytes());
        assert_eq!(filter(&fast_path, &frame), taken);
    });
}

#[test]
fn a_packet_socket_does_not_get_what_goes_the_fast_way() {
    with_fast_path(|mut fast_path| {
        capture(&mut fast_path);
        let packet = packet(V4.0, V4.1, UDP, 0, 10);
        assert!(filter(&fast_path, &packet));
        fast_path.add_flow(LOOPBACK, &flow(V4.0, V4.1, UDP, packet.len())).unwrap();
        assert!(!filter(&fast_path, &packet));
        fast_path.set_generation(None).unwrap();
        assert!(filter(&fast_path, &packet));
        // An address that is not the relay's any more.
        let capture = Capture { mac: OWN, joined: &[], addresses: &[address("192.0.2.77")] };
        fast_path.set_capture(LOOPBACK, &capture).unwrap();
        assert!(!filter(&fast_path, &packet));
    });
}

fn capture(fast_path: &mut FastPath) {
    let addresses = [address(V4.1), address(V6.1)];
    fast_path.set_capture(LOOPBACK, &Capture { mac: OWN, joined: &[JOINED], addresses: &addresses }).unwrap();
}

/// Whether the packet socket gets a frame. The kernel takes an Ethernet header off what it is given, and leaves the frame as a packet
/// socket has it.
fn filter(fast_path: &FastPath, frame: &[u8]) -> bool {
    let header = [&OWN.0[..], &OTHER.0, &[8, 0]].concat();
    run(fast_path, "port_filter", &[&header, frame].concat()).0 != 0
}

#[test]
fn another_program_at_the_link_interface_is_named() {
    with_fast_path(|first| {
        let mut second = FastPath::load(ETHERTYPE).unwrap();
        let error = second.set_link(Some(LOOPBACK)).unwrap_err();
        let Error::Taken { interface, id, mode } = &error else { panic!("{error}") };
        assert_eq!((interface.as_str(), *mode), ("lo", "xdpgeneric"));
        let text = error.to_string();
        for part in [
            format!("another XDP program (number {id}) is at the link interface lo: "),
            "`ip link set dev lo xdpgeneric off`".into(),
        ] {
            assert!(text.contains(&part), "{text}");
        }
        drop(first);
        second.set_link(Some(LOOPBACK)).unwrap();
        let error = second.add_port(77).unwrap_err();
        assert!(error.to_string().contains("at interface number 77: No such device"), "{error}");
    });
}
