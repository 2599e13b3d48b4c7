//! What the programs in the kernel tell of sockets, and what not.

#![cfg(feature = "ebpf")]

#[path = "../../os/tests/sockets_fixture/mod.rs"]
mod sockets_fixture;

use l2link_os::NetNs;
use l2link_os::sockets::{Part, SocketTable};
use l2link_os::trigger::Told;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rstest::rstest;
use socket_events::{Error, News, SocketEvents, Watch};
use socket2::{Domain, Socket, Type};
use sockets_fixture::{bound, eventually, in_namespace, listener, median, packet, raw, skipped, udp};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const NAMESPACE: u32 = 7;
const LISTENERS: Told = Told { listeners: true, others: false };
const OTHERS: Told = Told { listeners: false, others: true };
/// Longer than the kernel takes to wake somebody on a busy machine.
const QUIET: Duration = Duration::from_millis(50);

/// What tells of a namespace, behind an edge-triggered poll, as the daemon has it.
struct Ear {
    events: SocketEvents,
    watch: Watch,
    poll: Poll,
}

impl Ear {
    fn open(netns: &NetNs) -> Option<Self> {
        let events = open()?;
        let watch = events.watcher().watch(netns.cookie().unwrap(), NAMESPACE).unwrap();
        let poll = Poll::new().unwrap();
        let descriptor = events.as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE).unwrap();
        Some(Self { events, watch, poll })
    }

    /// Looks at everything, so that all that follows is told.
    fn begin(&mut self) {
        self.hear(Duration::ZERO);
        [Part::Listeners, Part::Others].iter().for_each(|part| self.watch.begin_look(*part));
    }

    /// What is told within a time.
    fn hear(&mut self, within: Duration) -> Vec<News> {
        let mut events = Events::with_capacity(1);
        self.poll.poll(&mut events, Some(within)).unwrap();
        self.events.drain().unwrap()
    }

    fn expect(&mut self, what: &str, told: Told) {
        let news = self.hear(Duration::from_secs(1));
        assert_eq!(news, [News { namespace: NAMESPACE, told }], "{what}");
        self.begin();
    }
}

fn open() -> Option<SocketEvents> {
    match SocketEvents::open() {
        Ok(events) => Some(events),
        Err(error @ (Error::NotBuilt | Error::NoCgroup(_) | Error::OwnCgroups)) => {
            skipped(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[rstest]
#[case::listen("listen()", LISTENERS, || listener("127.0.0.1:0"))]
#[case::listen6("listen() of IPv6", LISTENERS, || listener("[::]:0"))]
#[case::listen_unbound("listen() without bind()", LISTENERS, || {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.listen(1).unwrap();
    socket
})]
#[case::udp("bind() of UDP", OTHERS, || udp("0.0.0.0:0"))]
#[case::udp6("bind() of UDP over IPv6", OTHERS, || udp("[::]:0"))]
#[case::udp_lite("bind() of UDP-Lite", OTHERS, || bound(Type::DGRAM, Some(136.into()), "0.0.0.0:0"))]
#[case::raw("socket() of OSPF", OTHERS, || raw(Domain::IPV4, 89))]
#[case::raw6("socket() of OSPFv3", OTHERS, || raw(Domain::IPV6, 89))]
#[case::packet("socket() of LLDP", OTHERS, || packet(0x88cc))]
fn an_open_is_told_as_what_it_is(
    #[case] what: &'static str,
    #[case] told: Told,
    #[case] open: fn() -> Socket,
) {
    in_namespace(move |netns| {
        let Some(mut ear) = Ear::open(netns) else { return };
        if what == "bind() of UDP-Lite" && Socket::new(Domain::IPV4, Type::DGRAM, Some(136.into())).is_err() {
            return skipped("this kernel has no UDP-Lite");
        }
        if what == "socket() of LLDP" && !ear.events.tells_of_packet_sockets() {
            return skipped("this kernel does not tell of packet sockets");
        }
        let mut table = SocketTable::open(netns).unwrap();
        let (mut woken, mut at_once) = (Vec::new(), 0);
        for _ in 0..50 {
            ear.begin();
            // Made by another thread, as by another program.
            let opener = std::thread::spawn({
                let netns = netns.clone();
                move || netns.run(|| (Instant::now(), open())).unwrap()
            });
            let news = ear.hear(Duration::from_secs(1));
            let wake = Instant::now();
            assert_eq!(news, [News { namespace: NAMESPACE, told }], "{what}");
            at_once += usize::from(!table.dump_listeners().unwrap().is_empty());
            eventually("in a dump", || (!table.dump_listeners().unwrap().is_empty()).then_some(()));
            let (before, socket) = opener.join().unwrap();
            woken.push(wake.saturating_duration_since(before));
            drop(socket);
            eventually("in no dump", || table.dump_listeners().unwrap().is_empty().then_some(()));
        }
        // An event may come a little before what it tells of, but the daemon is seldom that quick.
        assert!(at_once > 25, "{what}: the first look found it {at_once} times in 50");
        println!("{what}: to wake-up {} µs (median), found at once {at_once} times in 50", median(woken));
    });
}

#[test]
fn the_end_of_what_no_other_event_tells_of_is_told() {
    in_namespace(|netns| {
        let Some(mut ear) = Ear::open(netns) else { return };
        for (what, socket, told) in [
            ("close() of a listener", listener("127.0.0.1:0"), LISTENERS),
            ("close() of a raw socket", raw(Domain::IPV4, 89), OTHERS),
            ("close() of a raw socket of IPv6", raw(Domain::IPV6, 89), OTHERS),
        ] {
            ear.begin();
            drop(socket);
            ear.expect(what, told);
        }
        let socket = listener("127.0.0.1:0");
        ear.begin();
        socket.shutdown(Shutdown::Both).unwrap();
        ear.expect("shutdown() of a listener", LISTENERS);
    });
}

/// A server of thousands of connections a second, and its clients, open nothing that a look would have to find.
#[test]
fn connections_and_local_sockets_are_no_news() {
    in_namespace(|netns| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let Some(mut ear) = Ear::open(netns) else { return };
        ear.begin();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        drop((server.accept().unwrap(), client));
        let _only_bound = bound(Type::STREAM, None, "127.0.0.1:0");
        let sends = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        sends.connect(&"127.0.0.1:9".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        let folder = std::env::temp_dir().join(format!("l2link-tells-{}", std::process::id()));
        drop(UnixListener::bind(&folder).unwrap());
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(ear.hear(QUIET), []);
    });
}

#[test]
fn of_other_namespaces_nothing_is_told() {
    in_namespace(|netns| {
        let Some(mut ear) = Ear::open(netns) else { return };
        ear.begin();
        let opened = || in_namespace(|_| drop((listener("127.0.0.1:0"), udp("127.0.0.1:0"), packet(0x88cc))));
        std::thread::spawn(opened).join().unwrap();
        assert_eq!(ear.hear(QUIET), []);
        let _own = udp("127.0.0.1:0");
        ear.expect("the own one", OTHERS);
    });
}

#[test]
fn thousands_are_told_once_until_somebody_looks() {
    in_namespace(|netns| {
        let Some(mut ear) = Ear::open(netns) else { return };
        let mut table = SocketTable::open(netns).unwrap();
        for round in 0..3 {
            ear.begin();
            let storm: Vec<UdpSocket> = (0..900).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            let news = ear.hear(Duration::from_secs(1));
            assert_eq!(news, [News { namespace: NAMESPACE, told: OTHERS }], "round {round}");
            drop(storm);
            let last = udp("127.0.0.1:0");
            assert_eq!(ear.hear(QUIET), [], "nobody has looked yet");
            ear.watch.begin_look(Part::Others);
            assert_eq!(table.dump_listeners().unwrap().len(), 1, "the look finds what was not told");
            drop(last);
        }
    });
}

#[test]
fn a_namespace_of_two_names_is_told_to_both_until_the_last_leaves() {
    in_namespace(|netns| {
        let Some(mut ear) = Ear::open(netns) else { return };
        let second = ear.events.watcher().watch(netns.cookie().unwrap(), NAMESPACE + 1).unwrap();
        ear.begin();
        let sockets = [udp("127.0.0.1:0"), udp("127.0.0.1:0")];
        let names: Vec<u32> = ear.hear(Duration::from_secs(1)).iter().map(|news| news.namespace).collect();
        assert_eq!(names, [NAMESPACE, NAMESPACE + 1]);
        drop(second);
        ear.begin();
        let _third = udp("127.0.0.1:0");
        ear.expect("the one that stays", OTHERS);
        let Ear { mut events, watch, .. } = ear;
        drop(watch);
        let _fourth = udp("127.0.0.1:0");
        std::thread::sleep(QUIET);
        assert_eq!(events.drain().unwrap(), []);
        drop(sockets);
    });
}

#[test]
fn there_is_room_for_4095_namespaces_and_left_places_are_taken_again() {
    let Some(events) = open() else { return };
    let watcher = events.watcher();
    // No namespace has such cookies.
    let cookie = |number: u32| u64::MAX - u64::from(number);
    let mut all: Vec<Watch> =
        (0..4095).map(|number| watcher.watch(cookie(number), number).unwrap()).collect();
    assert!(matches!(watcher.watch(cookie(5000), 0), Err(Error::Full(4095))));
    all.swap_remove(17);
    all.push(watcher.watch(cookie(5000), 0).unwrap());
    assert!(matches!(watcher.watch(cookie(5001), 0), Err(Error::Full(4095))));
}
