//! When `DestroyEvents`, `MembershipEvents` and `Trigger` tell of something, and how fast.

mod sockets_fixture;

use l2link_os::sockets::{
    ClosedSocket, DestroyEvents, Membership, MembershipEvents, MembershipTable, SocketTable,
};
use l2link_os::trigger::{Told, Trigger, sweep};
use l2link_os::{IfIndex, NetNs};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rstest::rstest;
use socket2::Domain;
use sockets_fixture::{Program, eventually, in_namespace, ip, listener, median, packet, raw, skipped, udp};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A mio poll on one descriptor, edge-triggered as the daemons have it.
struct Waker {
    poll: Poll,
    events: Events,
}

impl Waker {
    fn new(descriptor: RawFd) -> Self {
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE).unwrap();
        Self { poll, events: Events::with_capacity(4) }
    }

    /// Waits for a wake-up; `None` after a second.
    fn wait(&mut self) -> Option<Instant> {
        self.poll.poll(&mut self.events, Some(Duration::from_secs(1))).unwrap();
        (!self.events.is_empty()).then(Instant::now)
    }
}

fn drain(events: &mut DestroyEvents, closed: &mut Vec<ClosedSocket>) {
    let destroyed = events.drain().unwrap();
    assert!(!destroyed.overrun);
    closed.extend(destroyed.sockets);
}

#[rstest]
#[case::tcp4(6, "127.0.0.1:80")]
#[case::tcp6(6, "[::1]:80")]
#[case::udp4(17, "0.0.0.0:53")]
#[case::udp6(17, "[::]:53")]
fn a_close_is_told(#[case] protocol: u8, #[case] address: &'static str) {
    in_namespace(move |netns| {
        let mut events = DestroyEvents::open(netns).unwrap();
        let mut waker = Waker::new(events.as_raw_fd());
        let mut took = Vec::new();
        for _ in 0..50 {
            let socket = if protocol == 6 { listener(address) } else { udp(address) };
            drain(&mut events, &mut Vec::new());
            let start = Instant::now();
            drop(socket);
            let mut closed = Vec::new();
            while closed.is_empty() {
                took.push(waker.wait().expect("wakes") - start);
                drain(&mut events, &mut closed);
            }
            let address: std::net::SocketAddr = address.parse().unwrap();
            let expected =
                ClosedSocket { protocol, local: address.ip(), local_port: address.port(), remote: None };
            assert_eq!(closed, [expected]);
            // The dump agrees at once.
            assert_eq!(SocketTable::open(netns).unwrap().dump_listeners().unwrap(), []);
        }
        println!("close of {address} to wake-up: median {} µs", median(took));
    });
}

#[test]
fn the_close_of_a_connection_tells_both_ends() {
    in_namespace(|netns| {
        let server = TcpListener::bind("127.0.0.1:80").unwrap();
        let client = TcpStream::connect("127.0.0.1:80").unwrap();
        let (accepted, from) = server.accept().unwrap();
        let mut events = DestroyEvents::open(netns).unwrap();
        drop((client, accepted));
        let mut closed = Vec::new();
        eventually("both ends", || {
            drain(&mut events, &mut closed);
            (closed.len() >= 2).then_some(())
        });
        let server = "127.0.0.1:80".parse().unwrap();
        let end = |near: std::net::SocketAddr, far| ClosedSocket {
            protocol: 6,
            local: near.ip(),
            local_port: near.port(),
            remote: Some(far),
        };
        closed.sort_unstable();
        let mut expected = [end(from, server), end(server, from)];
        expected.sort_unstable();
        assert_eq!(closed, expected);
    });
}

#[test]
fn a_killed_program_closes_its_sockets() {
    in_namespace(|netns| {
        let mut events = DestroyEvents::open(netns).unwrap();
        let mut table = SocketTable::open(netns).unwrap();
        let program = "import socket, time; s = socket.create_server(('0.0.0.0', 80)); time.sleep(1000)";
        let server = match Program::start("python3", &["-c", program]) {
            Ok(server) => server,
            Err(error) => return skipped(&format!("python3 cannot be started ({error})")),
        };
        eventually("the listener", || (table.dump_listeners().unwrap().len() == 1).then_some(()));
        drain(&mut events, &mut Vec::new());
        drop(server);
        let mut closed = Vec::new();
        eventually("the event", || {
            drain(&mut events, &mut closed);
            closed.iter().any(|socket| socket.local_port == 80).then_some(())
        });
        assert_eq!(table.dump_listeners().unwrap(), []);
    });
}

#[test]
fn closes_in_another_namespace_are_not_told() {
    in_namespace(|netns| {
        let mut events = DestroyEvents::open(netns).unwrap();
        std::thread::spawn(|| in_namespace(|_| drop(udp("127.0.0.1:55")))).join().unwrap();
        drop(udp("127.0.0.1:56"));
        let mut closed = Vec::new();
        eventually("the own one", || {
            drain(&mut events, &mut closed);
            (!closed.is_empty()).then_some(())
        });
        assert!(closed.iter().all(|socket| socket.local_port == 56), "{closed:?}");
    });
}

#[test]
fn a_group_joined_is_told_and_listed() {
    in_namespace(|netns| {
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        ip("addr add 192.0.2.1/24 dev v0");
        let mut table = MembershipTable::open(netns).unwrap();
        let interface = IfIndex(nix::net::if_::if_nametoindex("v0").unwrap());
        let mut events = MembershipEvents::open(netns).unwrap();
        if let Some(events) = &mut events {
            eventually("silence", || (!events.drain().unwrap()).then_some(()));
        } else {
            skipped("this kernel does not tell of memberships");
        }
        let group = Ipv4Addr::new(224, 0, 0, 5);
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.join_multicast_v4(&group, &Ipv4Addr::new(192, 0, 2, 1)).unwrap();
        let socket6 = std::net::UdpSocket::bind("[::]:0").unwrap();
        socket6.join_multicast_v6(&"ff02::5".parse().unwrap(), interface.0).unwrap();
        if let Some(events) = &mut events {
            eventually("the join", || events.drain().unwrap().then_some(()));
        }
        let joined = [
            Membership::Group { interface, group: group.into() },
            Membership::Group { interface, group: "ff02::5".parse().unwrap() },
            Membership::Ethernet { interface, mac: "01:00:5e:00:00:05".parse().unwrap() },
            Membership::Ethernet { interface, mac: "33:33:00:00:00:05".parse().unwrap() },
        ];
        for membership in joined {
            eventually(&format!("{membership:?}"), || {
                table.memberships().unwrap().contains(&membership).then_some(())
            });
        }
        drop((socket, socket6));
        if let Some(events) = &mut events {
            eventually("the leave", || events.drain().unwrap().then_some(()));
        }
        assert!(!table.memberships().unwrap().contains(&joined[0]));
    });
}

fn trigger() -> Option<Trigger> {
    let trigger = Trigger::open().unwrap();
    if trigger.is_none() {
        skipped("tracefs cannot be used here: run the tests as root");
    }
    trigger
}

/// A server that accepts thousands of connections a second opens no socket that a look would have to find.
#[test]
fn an_accepted_connection_does_not_wake() {
    in_namespace(|_| {
        let server = TcpListener::bind("127.0.0.1:80").unwrap();
        let Some(mut trigger) = trigger() else { return };
        // Other programs of this machine may wake it: not every time.
        let quiet = (0..50).any(|_| {
            trigger.drain().unwrap();
            let client = TcpStream::connect("127.0.0.1:80").unwrap();
            drop((server.accept().unwrap(), client));
            std::thread::sleep(Duration::from_millis(5));
            !trigger.drain().unwrap().is_anything()
        });
        assert!(quiet, "each of fifty connections woke the trigger");
    });
}

#[rstest]
#[case::listen("listen()", || listener("127.0.0.1:0"))]
#[case::udp("bind() of UDP", || udp("127.0.0.1:0"))]
#[case::raw("socket() of OSPF", || raw(Domain::IPV4, 89))]
#[case::raw6("socket() of OSPFv3", || raw(Domain::IPV6, 89))]
#[case::packet("socket() of LLDP", || packet(0x88cc))]
fn an_open_wakes_an_edge_triggered_poll(#[case] what: &'static str, #[case] open: fn() -> socket2::Socket) {
    in_namespace(move |netns| {
        let Some(mut trigger) = trigger() else { return };
        if what != "listen()" && !trigger.is_complete() {
            return skipped("this kernel does not trace system calls");
        }
        let mut waker = Waker::new(trigger.as_raw_fd());
        let mut table = SocketTable::open(netns).unwrap();
        let (mut woken, mut known, mut only) = (Vec::new(), Vec::new(), 0);
        for _ in 0..50 {
            let mut all = Told::default();
            trigger.drain().unwrap();
            let start = Instant::now();
            // Made in another thread, as by another program.
            let opener = std::thread::spawn({
                let netns = netns.clone();
                move || netns.run(|| (Instant::now(), open(), Instant::now())).unwrap()
            });
            // Other programs of this machine may wake it too: what counts is that the socket is found in the end.
            loop {
                let wake = waker.wait().unwrap_or_else(|| panic!("{what} did not wake"));
                let told = trigger.drain().unwrap();
                all.listeners |= told.listeners;
                all.others |= told.others;
                assert!(told.is_anything() || start.elapsed() < Duration::from_secs(1));
                if !table.dump_listeners().unwrap().is_empty() {
                    let found = Instant::now();
                    let (before, socket, _) = opener.join().unwrap();
                    woken.push(wake.saturating_duration_since(before));
                    known.push(found.saturating_duration_since(before));
                    drop(socket);
                    only += usize::from(all.listeners == (what == "listen()"));
                    break;
                }
            }
            eventually("closed", || table.dump_listeners().unwrap().is_empty().then_some(()));
        }
        // Other programs of this machine may open any socket: not every time.
        assert!(only > 0, "{what} was never told as what it is");
        println!("{what}: to wake-up {} µs, to listed {} µs (medians)", median(woken), median(known));
    });
}

#[test]
fn an_instance_goes_with_its_owner_and_a_left_one_is_swept() {
    let Some(first) = trigger() else { return };
    let instances = PathBuf::from("/sys/kernel/tracing/instances");
    let own = |entries: &PathBuf| {
        let prefix = format!("l2control-{}-", std::process::id());
        std::fs::read_dir(entries)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.starts_with(&prefix))
            .count()
    };
    assert!(own(&instances) >= 1);
    let left = instances.join("l2control-0-1");
    std::fs::create_dir(&left).unwrap();
    let second = trigger().unwrap();
    sweep();
    eventually("swept", || (!left.exists()).then_some(()));
    assert!(own(&instances) >= 2, "those in use stay");
    drop((first, second));
    assert!(NetNs::current().is_ok());
}

#[test]
fn many_opens_are_one_wake_and_none_is_lost() {
    in_namespace(|netns| {
        let Some(mut trigger) = trigger() else { return };
        let mut waker = Waker::new(trigger.as_raw_fd());
        let mut table = SocketTable::open(netns).unwrap();
        // More than the buffer holds.
        let sockets: Vec<_> = (0..900).map(|_| listener("127.0.0.1:0")).collect();
        assert!(waker.wait().is_some());
        assert!(trigger.drain().unwrap().listeners);
        assert_eq!(table.dump_listeners().unwrap().len(), sockets.len());
        let last = listener("127.0.0.1:0");
        assert!(waker.wait().is_some());
        assert!(trigger.drain().unwrap().listeners);
        drop(last);
    });
}
