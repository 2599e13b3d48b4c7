//! The metrics server as clients meet it, good ones and bad ones, in a mio loop whose time the test sets.

mod other_user;

use l2link::Time;
use l2link_os::access::{Access, Group, Permission};
use l2link_os::config_file::MetricsSettings;
use l2link_os::metrics::{Exposition, Metric, MetricsServer, Owner};
use mio::{Events, Poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Many times what the kernel holds for a client.
const LARGE: usize = 40_000;

struct World {
    server: MetricsServer,
    poll: Poll,
    socket: PathBuf,
    now: Time,
    /// Ports of the next exposition.
    ports: usize,
    /// How many expositions were asked for.
    made: usize,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::listening(None)
    }

    fn listening(listen: Option<std::net::SocketAddr>) -> Self {
        Self::open_to(Access::default(), listen)
    }

    fn open_to(access: Access, listen: Option<std::net::SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // For other users as well.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let socket = folder.path().join("metrics.sock");
        let settings = MetricsSettings { socket: Some(socket.clone()), access, listen };
        let mut server = MetricsServer::bind(&settings).unwrap();
        let poll = Poll::new().unwrap();
        server.register(poll.registry(), 7..7 + MetricsServer::TOKENS).unwrap();
        Self { server, poll, socket, now: Time(1), ports: 1, made: 0, _folder: folder }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Deals with everything that has happened.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                if self.server.handle(self.poll.registry(), event, self.now) {
                    self.made += 1;
                    let mut exposition = Exposition::new(Owner::Relay);
                    for port in 0..self.ports {
                        exposition.add(Metric::PortUp, &[&format!("eth{port}")], true);
                    }
                    self.server.answer(exposition, self.now);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.server.handle_timeout(self.now);
    }

    /// The figure of one result of requests, as the next client is told.
    fn scrapes(&mut self, result: &str) -> u64 {
        self.pass(Duration::from_millis(200));
        let mut client = self.connect();
        client.write_all(REQUEST).unwrap();
        self.turn();
        let text = answer(&mut client).expect("an answer");
        let name = format!("l2link_scrapes_total{{result=\"{result}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    }
}

/// What has come until the end of the connection; `None` if it has not ended.
fn answer(client: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    match client.read_to_end(&mut bytes) {
        Ok(_) => Some(String::from_utf8(bytes).unwrap()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(String::new()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_request_is_answered_once_it_is_whole() {
    let mut world = World::new();
    let mut client = world.connect();
    for byte in REQUEST {
        assert_eq!(answer(&mut client), None);
        client.write_all(&[*byte]).unwrap();
        world.turn();
    }
    let text = answer(&mut client).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\n# EOF\n"), "{text}");
    assert!(
        text.contains("\nl2link_port_up{port=\"eth0\"} 1\n") && text.contains("\nprocess_open_fds "),
        "{text}"
    );
    assert_eq!(world.server.poll_timeout(), None, "nobody is left");
}

#[test]
fn tcp_and_the_socket_are_served_alike() {
    // A port of the kernel's choice, given back for the server.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut world = World::listening(Some(free));
    let mut tcp = TcpStream::connect(free).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let mut unix = world.connect();
    tcp.write_all(REQUEST).unwrap();
    unix.write_all(REQUEST).unwrap();
    world.turn();
    assert_eq!(answer(&mut tcp).unwrap(), answer(&mut unix).unwrap());
    assert_eq!(world.made, 1, "one text for both");
}

#[test]
fn a_text_is_made_at_most_ten_times_a_second() {
    let mut world = World::new();
    for round in 0..30 {
        let mut client = world.connect();
        client.write_all(REQUEST).unwrap();
        world.turn();
        assert!(answer(&mut client).is_some(), "round {round}");
        world.pass(Duration::from_millis(10));
    }
    assert_eq!(world.made, 3);
}

#[test]
fn who_reads_slowly_is_cut_off_and_holds_nobody_up() {
    let mut world = World::new();
    world.ports = LARGE;
    let mut slow = world.connect();
    slow.write_all(REQUEST).unwrap();
    world.turn();
    let mut piece = [0; 1000];
    assert_eq!(slow.read(&mut piece).unwrap(), 1000, "it is being answered");

    let mut quick = world.connect();
    quick.write_all(REQUEST).unwrap();
    let mut text = Vec::new();
    for _ in 0..1000 {
        world.turn();
        match quick.read_to_end(&mut text) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(text.ends_with(b"# EOF\n") && text.len() > 1_000_000, "{} bytes", text.len());

    let due = world.server.poll_timeout().expect("the slow one has a time limit");
    assert_eq!(due - world.now, Duration::from_secs(5));
    world.pass(Duration::from_millis(4_999));
    assert_eq!(world.server.poll_timeout(), Some(due));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.server.poll_timeout(), None);
    let rest = answer(&mut slow).expect("the end of the connection");
    assert!(!rest.ends_with("# EOF\n"), "it has not had all");
    world.ports = 1;
    assert_eq!(world.scrapes("cut-off"), 1);
}

#[test]
fn who_says_nothing_is_cut_off() {
    let mut world = World::new();
    let mut silent = world.connect();
    let mut half = world.connect();
    half.write_all(&REQUEST[..20]).unwrap();
    world.turn();
    world.pass(Duration::from_secs(5));
    assert_eq!(answer(&mut silent).as_deref(), Some(""));
    assert_eq!(answer(&mut half).as_deref(), Some(""));
    assert_eq!(world.scrapes("cut-off"), 2);
}

#[test]
fn there_are_so_many_clients_and_no_more() {
    let mut world = World::new();
    let waiting: Vec<UnixStream> = (0..MetricsServer::CLIENTS).map(|_| world.connect()).collect();
    world.turn();
    let mut further = world.connect();
    world.turn();
    assert!(answer(&mut further).unwrap().starts_with("HTTP/1.1 503 "));
    drop(waiting);
    world.turn();
    assert_eq!(world.scrapes("refused"), 1);
}

#[test]
fn other_requests_are_refused_with_a_reason() {
    let mut world = World::new();
    for (request, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 404 "),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "),
        (b"{\"verb\":\"show\",\"object\":\"peers\"}\n", "HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01", "HTTP/1.1 400 "),
    ] {
        let mut client = world.connect();
        client.write_all(request).unwrap();
        world.turn();
        let text = answer(&mut client).unwrap();
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("there is only /metrics") || !expected.contains("404"), "{text}");
    }
    let mut endless = world.connect();
    for _ in 0..20 {
        if endless.write_all(&[b'x'; 1000]).is_err() {
            break;
        }
        world.turn();
    }
    assert_eq!(world.scrapes("refused"), 5);
    assert_eq!(world.server.poll_timeout(), None, "nobody is left");
}

#[test]
fn a_client_that_goes_is_forgotten() {
    let mut world = World::new();
    for request in [&REQUEST[..10], REQUEST] {
        let mut client = world.connect();
        client.write_all(request).unwrap();
        drop(client);
        world.turn();
        assert_eq!(world.server.poll_timeout(), None);
    }
}

#[test]
fn what_is_in_use_is_not_taken() {
    let world = World::new();
    let settings = MetricsSettings { socket: Some(world.socket), access: Access::default(), listen: None };
    let error = MetricsServer::bind(&settings).unwrap_err().to_string();
    assert!(error.contains("another daemon listens there already"), "{error}");
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let loopback: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    taken.bind(&SockAddr::from(loopback)).unwrap();
    taken.listen(1).unwrap();
    let address = taken.local_addr().unwrap().as_socket().unwrap();
    let settings = MetricsSettings { socket: None, access: Access::default(), listen: Some(address) };
    let error = MetricsServer::bind(&settings).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listening at {address} for [metrics]: ")), "{error}");
}

#[test]
fn the_socket_is_for_those_who_may_look() {
    if !other_user::possible() {
        return;
    }
    const GROUP: u32 = 54_400;
    let group = Some(Group { name: "operators".into(), gid: GROUP });
    let access = Access { group, group_may: Permission::Look, others_may: Permission::Nothing };
    let mut world = World::open_to(access, None);
    let mut member = other_user::run(54_321, 54_321, &[GROUP], || world.connect());
    member.write_all(REQUEST).unwrap();
    world.turn();
    assert!(answer(&mut member).expect("an answer").contains("l2link_port_up"));
    other_user::run(54_321, 54_321, &[0], || {
        let refused = UnixStream::connect(&world.socket).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    });
    // Whatever the file lets happen.
    std::fs::set_permissions(&world.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut other = other_user::run(54_321, 54_321, &[0], || world.connect());
    world.turn();
    let mut text = String::new();
    other.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    assert_eq!(world.scrapes("refused"), 1);
}
