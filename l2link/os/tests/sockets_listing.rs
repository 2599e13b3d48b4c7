//! What `SocketTable` shows of the sockets of real programs' kinds. Each test is a statement about Linux that detection
//! relies on.

mod sockets_fixture;

use frames::protocol_address::{Family, Local};
use l2link_os::sockets::{Part, Socket, SocketKind, SocketState, SocketTable};
use l2link_os::{IfIndex, NetNs};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, SockAddr, Type};
use sockets_fixture::{
    Program, bound, eventually, in_namespace, listener, median, of_kind, packet, raw, shown, skipped, udp,
};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

/// `IPPROTO_MPTCP` (`linux/in.h`).
const MPTCP: i32 = 262;
const AF_PACKET: u16 = 17;
const SOCKADDR_LL_LEN: libc::socklen_t = 20;
const _: () = assert!(size_of::<libc::sockaddr_ll>() == SOCKADDR_LL_LEN as usize);

fn table(netns: &NetNs) -> SocketTable {
    SocketTable::open(netns).expect("table")
}

fn local_port(socket: &socket2::Socket) -> u16 {
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

#[test]
fn tcp_listeners_are_told_apart_by_family_and_address() {
    in_namespace(|netns| {
        let mut table = table(netns);
        await_listeners(&mut table, &[]);
        let sockets =
            [listener("0.0.0.0:80"), listener("127.0.0.1:81"), listener("[::]:82"), listener("[::1]:83")];
        let v6only = socket2::Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        v6only.set_only_v6(true).unwrap();
        v6only.bind(&SockAddr::from("[::]:84".parse::<SocketAddr>().unwrap())).unwrap();
        v6only.listen(1).unwrap();
        let mapped = listener("[::ffff:127.0.0.1]:85");
        let bound_only = bound(Type::STREAM, None, "0.0.0.0:86");
        let expected = [
            "tcp *:82",
            "tcp 0.0.0.0:80",
            "tcp 127.0.0.1:81",
            "tcp 127.0.0.1:85",
            "tcp [::1]:83",
            "tcp [::]:84",
        ];
        let dump = table.dump_listeners().unwrap();
        assert_eq!(shown(&dump), expected);
        assert!(dump.iter().all(|socket| socket.state == SocketState::LISTEN && socket.inode != 0));
        drop((sockets, v6only, mapped, bound_only));
        await_listeners(&mut table, &[]);
    });
}

/// The kernel leaves out what nobody outside can reach. A mapped address may be in the list or not.
#[test]
fn each_part_by_itself_and_without_the_loopback_network() {
    in_namespace(|netns| {
        let mut table = table(netns);
        let addresses =
            ["0.0.0.0:80", "127.0.0.1:81", "127.9.9.9:82", "[::]:83", "[::1]:84", "[::ffff:127.0.0.1]:85"];
        let sockets = (addresses.map(listener), addresses.map(udp), packet(0x88cc));
        assert_eq!(table.dump_listeners().unwrap().len(), 2 * addresses.len() + 1);
        let mapped = "127.0.0.1:85";
        let expected = ["tcp *:83".to_owned(), "tcp 0.0.0.0:80".to_owned()];
        let listeners = shown(&table.dump_reachable(Part::Listeners).unwrap());
        let left = listeners.iter().filter(|socket| !socket.ends_with(mapped));
        assert!(left.eq(&expected), "{listeners:?}");
        let others = table.dump_reachable(Part::Others).unwrap();
        assert!(others.iter().all(|socket| socket.kind != SocketKind::Tcp));
        let udp: Vec<_> = others.into_iter().filter(|socket| socket.kind == SocketKind::Udp).collect();
        let udp = shown(&udp);
        let left = udp.iter().filter(|socket| !socket.ends_with(mapped));
        assert!(left.eq(&expected.map(|socket| socket.replace("tcp", "udp"))), "{udp:?}");
        drop(sockets);
    });
}

#[test]
fn the_device_and_the_owner_of_a_listener_are_told() {
    in_namespace(|netns| {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind_device(Some(b"lo")).unwrap();
        socket.bind(&SockAddr::from("0.0.0.0:80".parse::<SocketAddr>().unwrap())).unwrap();
        socket.listen(1).unwrap();
        let dump = table(netns).dump_listeners().unwrap();
        assert_eq!(dump[0].interface, Some(IfIndex(1)));
        assert_eq!(dump[0].local, Local::Any(Family::V4));
        assert_eq!(dump[0].uid, 0);
        let inode = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        assert_eq!(inode.to_str().unwrap(), format!("socket:[{}]", dump[0].inode));
    });
}

#[test]
fn two_listeners_on_one_port_are_two() {
    in_namespace(|netns| {
        let shared = || {
            let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&SockAddr::from("0.0.0.0:80".parse::<SocketAddr>().unwrap())).unwrap();
            socket.listen(1).unwrap();
            socket
        };
        let (first, second) = (shared(), shared());
        let mut table = table(netns);
        assert_eq!(shown(&table.dump_listeners().unwrap()), ["tcp 0.0.0.0:80", "tcp 0.0.0.0:80"]);
        drop(first);
        await_listeners(&mut table, &["tcp 0.0.0.0:80"]);
        drop(second);
    });
}

#[test]
fn a_forked_listener_stays_until_its_last_holder_is_killed() {
    in_namespace(|netns| {
        let socket = listener("0.0.0.0:80");
        socket.set_cloexec(false).unwrap();
        let holder = Program::start("sleep", &["1000"]).unwrap();
        let mut table = table(netns);
        drop(socket);
        assert_eq!(shown(&table.dump_listeners().unwrap()), ["tcp 0.0.0.0:80"]);
        drop(holder);
        await_listeners(&mut table, &[]);
    });
}

#[test]
fn an_mptcp_listener_is_one_tcp_listener() {
    in_namespace(|netns| {
        let address = SockAddr::from("0.0.0.0:80".parse::<SocketAddr>().unwrap());
        let socket = match socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(MPTCP))) {
            Ok(socket) => socket,
            Err(error) => return skipped(&format!("this kernel has no MPTCP ({error})")),
        };
        socket.bind(&address).unwrap();
        socket.listen(1).unwrap();
        let mut table = table(netns);
        assert_eq!(shown(&table.dump_listeners().unwrap()), ["tcp 0.0.0.0:80"]);
        drop(socket);
        eventually("the subflow goes", || table.dump_listeners().unwrap().is_empty().then_some(()));
    });
}

#[test]
fn udp_sockets_listen_unless_connected() {
    in_namespace(|netns| {
        let sockets = [udp("0.0.0.0:53"), udp("[::]:5353"), udp("127.0.0.1:123"), udp("[::1]:547")];
        let connected = udp("127.0.0.1:999");
        connected.connect(&sockets[2].local_addr().unwrap()).unwrap();
        let mapped = udp("[::]:998");
        mapped.connect(&SockAddr::from("[::ffff:127.0.0.1]:53".parse::<SocketAddr>().unwrap())).unwrap();
        let mut table = table(netns);
        let expected = ["udp *:5353", "udp 0.0.0.0:53", "udp 127.0.0.1:123", "udp [::1]:547"];
        assert_eq!(shown(&table.dump_listeners().unwrap()), expected);
        let others = table.dump_reachable(Part::Others).unwrap();
        let connected: Vec<_> = others.iter().filter_map(Socket::flow).map(|flow| flow.to_string()).collect();
        assert_eq!(
            connected,
            ["udp 127.0.0.1:998 from 127.0.0.1:53"],
            "those at loopback addresses are left out"
        );
        let mut flows: Vec<_> = table
            .dump_connections()
            .unwrap()
            .iter()
            .map(|socket| socket.flow().unwrap().to_string())
            .collect();
        flows.sort_unstable();
        assert_eq!(flows, ["udp 127.0.0.1:998 from 127.0.0.1:53", "udp 127.0.0.1:999 from 127.0.0.1:123"]);
    });
}

#[test]
fn udp_lite_is_shown_where_the_kernel_has_it() {
    in_namespace(|netns| {
        let Ok(socket) = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::from(136))) else {
            return skipped("this kernel has no UDP-Lite");
        };
        socket.bind(&SockAddr::from("0.0.0.0:700".parse::<SocketAddr>().unwrap())).unwrap();
        let dump = table(netns).dump_listeners().unwrap();
        assert_eq!(shown(&dump), ["udplite 0.0.0.0:700"]);
        assert_eq!(dump[0].kind, SocketKind::UdpLite);
    });
}

#[test]
fn raw_sockets_are_shown_by_protocol() {
    in_namespace(|netns| {
        let sockets = [
            raw(Domain::IPV4, 89),
            raw(Domain::IPV6, 89),
            raw(Domain::IPV4, 112),
            raw(Domain::IPV4, libc::IPPROTO_ICMP),
            raw(Domain::IPV4, libc::IPPROTO_RAW),
        ];
        sockets[2].bind(&SockAddr::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())).unwrap();
        let mut table = table(netns);
        let expected = ["ip icmp 0.0.0.0", "ip ospf 0.0.0.0", "ip ospf [::]", "ip vrrp 127.0.0.1", "nothing"];
        assert_eq!(shown(&table.dump_listeners().unwrap()), expected);
        drop(sockets);
        await_listeners(&mut table, &[]);
    });
}

#[test]
fn packet_sockets_are_shown_by_ethertype_and_interface() {
    in_namespace(|netns| {
        let sockets = [packet(0x88cc), packet(0x0003), packet(0)];
        let on_lo = packet(0x88cc);
        bind_packet(&on_lo, 0x88cc, 1);
        let dump = table(netns).dump_listeners().unwrap();
        assert_eq!(shown(&dump), ["ethertype 0x0003", "ethertype 0x88cc", "ethertype 0x88cc"]);
        let mut interfaces: Vec<_> = of_kind(&dump, SocketKind::Packet { ethertype: 0x88cc })
            .iter()
            .map(|socket| socket.interface)
            .collect();
        interfaces.sort_unstable();
        assert_eq!(interfaces, [None, Some(IfIndex(1))]);
        drop(sockets);
    });
}

fn bind_packet(socket: &socket2::Socket, ethertype: u16, interface: i32) {
    // SAFETY: sockaddr_ll is plain data, for which all zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = interface;
    // SAFETY: `address` is a sockaddr_ll, whose length is `SOCKADDR_LL_LEN`.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), SOCKADDR_LL_LEN) };
    assert_eq!(result, 0);
}

#[test]
fn connections_of_both_ends_are_shown_with_their_states() {
    in_namespace(|netns| {
        let server = TcpListener::bind("127.0.0.1:80").unwrap();
        let client = TcpStream::connect("127.0.0.1:80").unwrap();
        let waiting = TcpStream::connect("127.0.0.1:80").unwrap();
        let (accepted, _) = server.accept().unwrap();
        let mut table = table(netns);
        let of = |table: &mut SocketTable, port: u16| {
            let mut found: Vec<_> = table
                .dump_connections()
                .unwrap()
                .iter()
                .filter(|socket| {
                    socket.local_port == port || socket.remote.is_some_and(|far| far.port() == port)
                })
                .map(|socket| (socket.flow().unwrap().to_string(), socket.state, socket.inode != 0))
                .collect();
            found.sort_unstable();
            found
        };
        let port = client.local_addr().unwrap().port();
        let far = format!("tcp 127.0.0.1:80 from 127.0.0.1:{port}");
        let near = format!("tcp 127.0.0.1:{port} from 127.0.0.1:80");
        let mut expected = [(far, SocketState::ESTABLISHED, true), (near, SocketState::ESTABLISHED, true)];
        expected.sort_unstable();
        assert_eq!(of(&mut table, port), expected);
        // Not yet accepted: without inode.
        let waiting_port = waiting.local_addr().unwrap().port();
        assert!(of(&mut table, waiting_port).iter().any(|(_, _, owned)| !owned));
        // The side that closes first waits.
        drop(client);
        drop(accepted);
        eventually("TIME_WAIT", || {
            let left = of(&mut table, port);
            (left.len() == 1 && left[0].1 == SocketState::TIME_WAIT).then_some(())
        });
    });
}

#[test]
fn a_table_shows_its_own_namespace_whoever_reads_it() {
    in_namespace(|netns| {
        let socket = listener("0.0.0.0:80");
        let packet = packet(0x88cc);
        let ospf = raw(Domain::IPV4, 89);
        let mut table = table(netns);
        let inner = netns.inode();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        assert_ne!(NetNs::current().unwrap().inode(), inner);
        let other = listener("0.0.0.0:81");
        let expected = ["ethertype 0x88cc", "ip ospf 0.0.0.0", "tcp 0.0.0.0:80"];
        assert_eq!(shown(&table.dump_listeners().unwrap()), expected);
        drop((socket, packet, ospf, other));
    });
}

#[test]
fn a_listener_that_is_shut_down_is_none_any_more() {
    in_namespace(|netns| {
        let socket = listener("0.0.0.0:80");
        let mut table = table(netns);
        assert_eq!(table.dump_listeners().unwrap().len(), 1);
        socket.shutdown(std::net::Shutdown::Read).unwrap();
        await_listeners(&mut table, &[]);
    });
}

#[test]
fn a_thousand_listeners_are_listed_completely() {
    in_namespace(|netns| {
        let mut table = table(netns);
        let mut sockets = Vec::new();
        for (many, total) in [(10, 10), (990, 1000)] {
            sockets.extend((0..many).map(|_| listener("0.0.0.0:0")));
            let mut took = Vec::new();
            for _ in 0..20 {
                let start = Instant::now();
                let dump = table.dump_listeners().unwrap();
                took.push(start.elapsed());
                let mut ports: Vec<_> = dump.iter().map(|socket| socket.local_port).collect();
                ports.sort_unstable();
                let mut expected: Vec<_> = sockets.iter().map(local_port).collect();
                expected.sort_unstable();
                assert_eq!(ports, expected);
            }
            println!("dump of {total} listeners: median {} µs", median(took));
        }
    });
}

/// Waits until these listeners are left. A socket that was closed lives on for a moment where another test's child
/// process, between fork and exec, holds a copy of its descriptor.
fn await_listeners(table: &mut SocketTable, expected: &[&str]) {
    eventually("the listeners that are left", || {
        (shown(&table.dump_listeners().unwrap()) == expected).then_some(())
    });
}
