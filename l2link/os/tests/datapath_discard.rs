//! [`Discard`]: what the relay's kernel no longer answers, and what goes on working.

mod lab;

use l2link::service::ServiceSet;
use l2link_os::{Discard, DiscardWatch, NetNs, PortDiscard, Spared};
use lab::{cable, eventually, ip, namespace, read, settle, shell, write_sysctl};
use rstest::rstest;
use socket2::SockRef;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Addresses of the site's hosts.
#[derive(Debug, Clone, Copy)]
struct Hosts {
    relay: &'static str,
    client: &'static str,
    behind: &'static str,
}

const V4: Hosts = Hosts { relay: "192.0.2.1", client: "192.0.2.2", behind: "198.51.100.2" };
const V6: Hosts = Hosts { relay: "[2001:db8:1::1]", client: "[2001:db8:1::2]", behind: "[2001:db8:2::2]" };

#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn nothing_answers_for_the_unmatched(#[case] hosts: Hosts) {
    let Hosts { relay, .. } = hosts;
    let Some(site) = site(&["tcp/22"]) else { return };
    // Programs of the relay that nobody reserved, bound to the wildcard and to the address.
    let _wildcard = site.relay.run(|| TcpListener::bind("[::]:81")).unwrap().unwrap();
    let _bound = site.relay.run(|| TcpListener::bind(format!("{relay}:82"))).unwrap().unwrap();
    for port in [80, 81, 82] {
        assert_eq!(connect(&site.client, relay, port).unwrap_err(), ErrorKind::TimedOut, "{port}");
    }
    // Reserved, and without a listener: the kernel's own refusal.
    assert_eq!(connect(&site.client, relay, 22).unwrap_err(), ErrorKind::ConnectionRefused);
    assert_eq!(datagram(&site.client, relay, 80), None);
    assert!(
        site.sent_nothing(&["TcpOutRsts", "UdpNoPorts", "IcmpOutDestUnreachs", "Icmp6OutDestUnreachs"], 1)
    );
}

/// `unmatched = "kernel"`: the relay's programs are reached, and what may be a control's is not answered.
#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn sockets_are_spared_where_the_kernel_has_the_unmatched(#[case] hosts: Hosts) {
    let Hosts { relay, .. } = hosts;
    let Some(mut site) = site(&[]) else { return };
    drop(site.discard.take());
    site.discard = Some(install_sparing(&site.relay, ServiceSet::none(), Spared::Sockets));
    let _wildcard = site.relay.run(|| TcpListener::bind("[::]:81")).unwrap().unwrap();
    let _bound = site.relay.run(|| TcpListener::bind(format!("{relay}:82"))).unwrap().unwrap();
    for port in [81, 82] {
        drop(connect(&site.client, relay, port).unwrap());
    }
    let socket = site.relay.run(|| UdpSocket::bind("[::]:83")).unwrap().unwrap();
    let server = thread::spawn(move || answer_datagrams(&socket, 2, 1));
    assert_eq!(datagram_of(&site.client, relay, 83, 10), Some(10));
    assert_eq!(datagram_of(&site.client, relay, 83, 5_000), Some(5_000));
    server.join().unwrap();
    let resets = site.counter("TcpOutRsts");
    assert_eq!(connect(&site.client, relay, 80).unwrap_err(), ErrorKind::TimedOut);
    assert_eq!(datagram(&site.client, relay, 80), None);
    assert_eq!(site.counter("TcpOutRsts"), resets);
}

/// Otherwise the kernel would reset every connection of a control on whose port the relay itself has a listener.
#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn stray_segments_get_no_reset(#[case] hosts: Hosts) {
    let Some(mut site) = site(&[]) else { return };
    let Hosts { relay, .. } = hosts;
    // A connection of which the relay forgets its end, while the client never hears of it.
    site.discard = None;
    let listener = site.relay.run(|| TcpListener::bind(format!("{relay}:80"))).unwrap().unwrap();
    let mut stream = connect(&site.client, relay, 80).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    shell(
        &site.client,
        "nft 'table inet t { chain c { type filter hook input priority 0; tcp flags & rst != 0 drop; }; }'",
    );
    SockRef::from(&accepted).set_linger(Some(Duration::ZERO)).unwrap();
    drop((accepted, listener));
    // Another test's child may hold the old one, until it runs its program.
    let _listener =
        eventually("the port is free", || site.relay.run(|| TcpListener::bind("[::]:80")).unwrap().ok());

    let resets = site.counter("TcpOutRsts");
    stream.write_all(b"is anyone there?").unwrap();
    eventually("a reset, without the table", || (site.counter("TcpOutRsts") > resets).then_some(()));
    site.discard = Some(install(&site.relay, &[]));
    let resets = site.counter("TcpOutRsts");
    thread::sleep(Duration::from_millis(700));
    assert_eq!(site.counter("TcpOutRsts"), resets, "of the retransmissions");
}

#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn reserved_services_work(#[case] hosts: Hosts) {
    let Hosts { relay, .. } = hosts;
    let Some(site) = site(&["tcp/2000-2010", "udp/123"]) else { return };
    let listener = site.relay.run(|| TcpListener::bind("[::]:2005")).unwrap().unwrap();
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    let mut stream = connect(&site.client, relay, 2005).unwrap();
    stream.write_all(b"ssh").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    server.join().unwrap();
    assert_eq!(answer, b"ssh");

    // A datagram in fragments too, which only its first one shows to be reserved.
    let socket = site.relay.run(|| UdpSocket::bind("[::]:123")).unwrap().unwrap();
    let server = thread::spawn(move || answer_datagrams(&socket, 2, 1));
    assert_eq!(datagram_of(&site.client, relay, 123, 10), Some(10));
    assert_eq!(datagram_of(&site.client, relay, 123, 5_000), Some(5_000));
    server.join().unwrap();
}

#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn fragments_of_the_unmatched_are_discarded(#[case] hosts: Hosts) {
    let Hosts { relay, .. } = hosts;
    let Some(site) = site(&[]) else { return };
    assert_eq!(datagram_of(&site.client, relay, 9, 5_000), None);
    assert!(site.sent_nothing(&["IpReasmReqds", "Ip6ReasmReqds"], 0));
}

#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn the_relays_own_connections_work(#[case] hosts: Hosts) {
    let Hosts { client, .. } = hosts;
    let Some(site) = site(&[]) else { return };
    let listener = site.client.run(|| TcpListener::bind(format!("{client}:8080"))).unwrap().unwrap();
    // The client's FIN comes well after its acknowledgement of the relay's, whose socket is a mere remnant by then.
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    let mut stream = connect(&site.relay, client, 8080).unwrap();
    stream.write_all(&[7; 100_000]).unwrap();
    let mut answer = vec![0; 100_000];
    stream.read_exact(&mut answer).unwrap();
    drop(stream);
    server.join().unwrap();
    eventually("the client's socket is gone: the relay has acknowledged its FIN", || {
        let sockets =
            shell(&site.client, "ss -Htan state fin-wait-1 state last-ack state closing state close-wait");
        sockets.is_empty().then_some(())
    });

    // The answer comes in fragments.
    let socket = site.client.run(|| UdpSocket::bind(format!("{client}:5353"))).unwrap().unwrap();
    let server = thread::spawn(move || answer_datagrams(&socket, 2, 4));
    assert_eq!(datagram_of(&site.relay, client, 5353, 10), Some(40));
    assert_eq!(datagram_of(&site.relay, client, 5353, 1_200), Some(4_800));
    server.join().unwrap();
}

#[rstest]
#[case::v4(V4)]
#[case::v6(V6)]
fn ping_and_transit_are_left_alone(#[case] hosts: Hosts) {
    let Hosts { relay, client, behind } = hosts;
    let Some(site) = site(&[]) else { return };
    shell(&site.client, &format!("ping -n -c 1 -W 2 -s 3000 {}", strip(relay)));
    shell(&site.relay, &format!("ping -n -c 1 -W 2 {}", strip(client)));
    let listener = site.behind.run(|| TcpListener::bind("[::]:80")).unwrap().unwrap();
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    drop(connect(&site.client, behind, 80).unwrap());
    server.join().unwrap();
    assert_eq!(connect(&site.client, behind, 81).unwrap_err(), ErrorKind::ConnectionRefused);
}

#[test]
fn connection_tracking_stays_off() {
    let Some(site) = site(&["tcp/22"]) else { return };
    let _ = connect(&site.client, V4.relay, 22);
    let _ = connect(&site.client, V4.relay, 80);
    let _ = connect(&site.client, V4.behind, 80);
    assert_eq!(read(&site.relay, "/proc/sys/net/netfilter/nf_conntrack_count").trim(), "0");
}

#[test]
fn the_table_is_replaced_swept_and_removed() {
    let Some(relay) = namespace() else { return };
    let exists = || shell(&relay, "nft list tables").contains("inet l2relay");
    Discard::sweep(&relay).unwrap();
    assert!(!exists());
    let mut discard = install(&relay, &["tcp/22"]);
    assert!(shell(&relay, "nft list table inet l2relay").contains("eth1"));
    discard.replace(&[]).unwrap();
    assert!(!shell(&relay, "nft list table inet l2relay").contains("eth1"));
    // A crash: nobody removes it. The next start does, or replaces it.
    std::mem::forget(discard);
    assert!(exists());
    let discard = install(&relay, &["tcp/22"]);
    discard.remove().unwrap();
    assert!(!exists());
    std::mem::forget(install(&relay, &[]));
    Discard::sweep(&relay).unwrap();
    assert!(!exists());
    drop(install(&relay, &[]));
    assert!(!exists());
}

#[test]
fn a_table_that_somebody_else_removed_is_missed() {
    let Some(relay) = namespace() else { return };
    let mut discard = install(&relay, &["tcp/22"]);
    let mut watch = DiscardWatch::open(&relay).unwrap();
    assert!(!watch.is_gone().unwrap());
    discard.replace(&[]).unwrap();
    shell(&relay, "nft add table inet other; nft delete table inet other; nft add table ip l2relay");
    assert!(!watch.is_gone().unwrap(), "replaced, and others");
    shell(&relay, "nft delete table ip l2relay");
    assert!(!watch.is_gone().unwrap(), "of another family");
    shell(&relay, "nft flush ruleset");
    assert!(watch.is_gone().unwrap());
    assert!(!watch.is_gone().unwrap(), "told once");
    discard.replace(&[]).unwrap();
    assert!(!watch.is_gone().unwrap());
}

#[test]
fn every_kind_of_service_is_accepted_by_nft() {
    let Some(relay) = namespace() else { return };
    let all = [
        "*",
        "tcp/1",
        "udp/5-9",
        "sctp/*",
        "udplite/3",
        "dccp/4",
        "ip/ospf",
        "ip/6",
        "ip/*",
        "ethertype/0x88cc",
    ];
    let exceptions = ServiceSet::parse(&all).unwrap();
    let relay_services = exceptions.clone().without(&exceptions);
    let ports = ["eth1", "eth2.100"].map(|interface| PortDiscard {
        interface: interface.to_owned(),
        relay_services: relay_services.clone(),
        spared: Spared::Sockets,
    });
    let discard = Discard::install(&relay, &ports).unwrap();
    discard.remove().unwrap();
}

struct Site {
    client: NetNs,
    relay: NetNs,
    behind: NetNs,
    discard: Option<Discard>,
}

impl Site {
    fn counter(&self, name: &str) -> u64 {
        let shown = shell(&self.relay, &format!("nstat -asz {name}"));
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Whether the counters together are at most `most`.
    fn sent_nothing(&self, counters: &[&str], most: u64) -> bool {
        counters.iter().map(|name| self.counter(name)).sum::<u64>() <= most
    }
}

/// A client at port eth1 of a relay, and behind the relay a third.
fn site(relay_services: &[&str]) -> Option<Site> {
    let (client, relay, behind) = (namespace()?, namespace()?, namespace()?);
    cable(&client, "eth0", &relay, "eth1");
    cable(&behind, "eth0", &relay, "eth2");
    for (netns, interface, v4, v6) in [
        (&client, "eth0", "192.0.2.2", "2001:db8:1::2"),
        (&relay, "eth1", "192.0.2.1", "2001:db8:1::1"),
        (&relay, "eth2", "198.51.100.1", "2001:db8:2::1"),
        (&behind, "eth0", "198.51.100.2", "2001:db8:2::2"),
    ] {
        ip(netns, &format!("addr add {v4}/24 dev {interface}"));
        ip(netns, &format!("addr add {v6}/64 dev {interface} nodad"));
    }
    write_sysctl(&relay, "net/ipv4/ip_forward", "1");
    write_sysctl(&relay, "net/ipv6/conf/all/forwarding", "1");
    for (netns, v4, v6) in
        [(&client, "192.0.2.1", "2001:db8:1::1"), (&behind, "198.51.100.1", "2001:db8:2::1")]
    {
        ip(netns, &format!("route add default via {v4}"));
        ip(netns, &format!("route add default via {v6}"));
    }
    let discard = Some(install(&relay, relay_services));
    Some(Site { client, relay, behind, discard })
}

fn install(relay: &NetNs, relay_services: &[&str]) -> Discard {
    let relay_services = ServiceSet::parse(relay_services).unwrap();
    install_sparing(relay, relay_services, Spared::Connections)
}

fn install_sparing(relay: &NetNs, relay_services: ServiceSet, spared: Spared) -> Discard {
    let port = PortDiscard { interface: "eth1".to_owned(), relay_services, spared };
    Discard::install(relay, &[port]).unwrap()
}

fn connect(from: &NetNs, to: &str, port: u16) -> Result<TcpStream, ErrorKind> {
    let address: SocketAddr = format!("{to}:{port}").parse().unwrap();
    let result = from.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(400))).unwrap();
    result.map_err(|error| error.kind())
}

fn datagram(from: &NetNs, to: &str, port: u16) -> Option<usize> {
    datagram_of(from, to, port, 10)
}

/// Length of the answer to a datagram; `None` if there is none. A refusal fails the test.
fn datagram_of(from: &NetNs, to: &str, port: u16, len: usize) -> Option<usize> {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = from.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    socket.connect(format!("{to}:{port}")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    socket.send(&vec![1; len]).unwrap();
    match socket.recv(&mut [0; 65_535]) {
        Ok(len) => Some(len),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            None
        }
    }
}

fn answer_datagrams(socket: &UdpSocket, count: usize, times: usize) {
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..count {
        let mut bytes = [0; 65_535];
        let (len, from) = socket.recv_from(&mut bytes).unwrap();
        socket.send_to(&bytes[..len].repeat(times), from).unwrap();
    }
}

fn echo(mut stream: TcpStream) {
    let mut bytes = vec![0; 1 << 16];
    while let count @ 1.. = stream.read(&mut bytes).unwrap() {
        stream.write_all(&bytes[..count]).unwrap();
    }
    settle();
}

fn strip(address: &str) -> &str {
    address.trim_matches(['[', ']'])
}
