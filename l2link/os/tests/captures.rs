//! Captures: a client that reads as it likes, and what others read in its file.

use frames::DropReason;
use frames::data::Tunnel;
use frames::discovery::Role;
use l2link_os::access::Access;
use l2link_os::api::ApiServer;
use l2link_os::capture::{Captures, Direction, Handling, Offer, Side, Sighting};
use l2link_os::clock;
use mio::{Events, Poll};
use pcap_parser::{Block, OptionCode, parse_sections};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

struct Daemon {
    _folder: tempfile::TempDir,
    poll: Poll,
    api: ApiServer,
    captures: Captures,
    client: BufReader<UnixStream>,
}

/// Something of a file.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Interface(String),
    Packet { interface: u32, length: usize, of: u32, comment: Option<String> },
    Statistics { interface: u32, seen: u64, lost: u64 },
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let poll = Poll::new().unwrap();
        let mut api = ApiServer::bind(&path, &Access::default()).unwrap();
        api.register(poll.registry(), 0..ApiServer::TOKENS).unwrap();
        let client = BufReader::new(UnixStream::connect(&path).unwrap());
        Self { _folder: folder, poll, api, captures: Captures::new("l2relay", "1"), client }
    }

    /// A turn of the loop.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        for event in &events {
            for request in self.api.handle(self.poll.registry(), event, clock::now()) {
                let offer = Offer {
                    role: Role::Relay,
                    device: "relay1",
                    places: ["eth1", "eth2"].map(|name| Side::Port(name.into())).into(),
                    peers: vec!["control1".into()],
                };
                self.captures.begin(&mut self.api, &request, &offer);
            }
        }
        self.captures.serve(&mut self.api);
    }

    /// What the client is answered.
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.client.get_mut(), "{request}").unwrap();
        // It is accepted in one turn, and read in another one at the latest.
        (0..3).for_each(|_| self.turn());
        let mut line = String::new();
        self.client.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn record(&mut self, handling: Option<Handling>) {
        if let Some(handling) = handling {
            self.captures.record(&mut self.api, &handling);
        }
    }

    /// Ends the capture as a client does, and reads the rest of its file.
    fn end(mut self) -> Vec<u8> {
        self.client.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut client = self.client;
        let reader = thread::spawn(move || {
            let mut file = Vec::new();
            client.read_to_end(&mut file).unwrap();
            file
        });
        self.client = BufReader::new(UnixStream::pair().unwrap().0);
        let begin = Instant::now();
        while !reader.is_finished() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the file has no end");
            self.turn();
        }
        assert!(!self.captures.is_active());
        reader.join().unwrap()
    }
}

fn read(file: &[u8]) -> Vec<Found> {
    let (rest, sections) = parse_sections(file).unwrap();
    assert!(rest.is_empty() && sections.len() == 1);
    let number = |options: &[pcap_parser::PcapNGOption<'_>], code| {
        let found = options.iter().find(|option| option.code == OptionCode(code)).unwrap();
        u64::from_le_bytes(*found.value.first_chunk().unwrap())
    };
    let text = |options: &[pcap_parser::PcapNGOption<'_>], code| {
        let found = options.iter().find(|option| option.code == OptionCode(code))?;
        Some(String::from_utf8(found.value[..usize::from(found.len)].to_vec()).unwrap())
    };
    let blocks = sections[0].blocks.iter().filter_map(|block| match block {
        Block::InterfaceDescription(block) => Some(Found::Interface(text(&block.options, 2).unwrap())),
        Block::EnhancedPacket(block) => Some(Found::Packet {
            interface: block.if_id,
            length: block.caplen as usize,
            of: block.origlen,
            comment: text(&block.options, 1),
        }),
        Block::InterfaceStatistics(block) => Some(Found::Statistics {
            interface: block.if_id,
            seen: number(&block.options, 4),
            lost: number(&block.options, 5),
        }),
        _ => None,
    });
    blocks.collect()
}

/// A packet of so many bytes that goes from a port into a tunnel.
fn up(captures: &Captures, port: &str, length: usize) -> Option<Handling> {
    let mut handling = captures.handling()?;
    let parcel = vec![0; 10 + length];
    handling.set_place(port);
    handling.came(Sighting::new(Side::Port(port.into()), Direction::Inbound, &parcel));
    let tunnel = Side::Tunnel { peer: "control1".into(), port: Some(port.into()) };
    handling.went(Sighting::new(tunnel, Direction::Outbound, &parcel).in_tunnel(Tunnel(7)));
    Some(handling)
}

#[test]
fn sides_are_described_before_their_packets_and_counted_at_the_end() {
    let mut daemon = Daemon::start();
    assert!(daemon.captures.handling().is_none(), "nobody looks");
    let answer = daemon.ask(&json!({"verb": "capture", "snaplen": 60}));
    assert_eq!(answer["data"], json!([{"device": "relay1", "sides": ["port eth1", "port eth2"]}]));
    daemon.record(up(&daemon.captures, "eth2", 100));
    let mut dropped = up(&daemon.captures, "eth1", 50).unwrap();
    dropped.dropped(DropReason::PuntLimit);
    daemon.record(Some(dropped));
    let packet = |interface, length, of| Found::Packet { interface, length, of, comment: None };
    let a_copy = format!("a copy was dropped: punt-limit. {}", DropReason::PuntLimit.explanation());
    let statistics = |interface, seen| Found::Statistics { interface, seen, lost: 0 };
    let interface = |name: &str| Found::Interface(name.into());
    assert_eq!(
        read(&daemon.end()),
        [
            interface("port eth1"),
            interface("port eth2"),
            packet(1, 60, 100),
            interface("tunnel control1/eth2"),
            packet(2, 60, 100),
            Found::Packet { interface: 0, length: 50, of: 50, comment: Some(a_copy) },
            interface("tunnel control1/eth1"),
            packet(3, 50, 50),
            statistics(0, 1),
            statistics(1, 1),
            statistics(2, 1),
            statistics(3, 1),
        ]
    );
}

#[test]
fn a_client_gets_what_it_asked_for() {
    for (request, packets) in [
        (json!({"verb": "capture", "port": "eth1"}), 4),
        (json!({"verb": "capture", "port": "eth1", "count": 3}), 3),
        (json!({"verb": "capture", "peer": "control1"}), 6),
        (json!({"verb": "capture", "filter": "dropped"}), 1),
        (json!({"verb": "capture", "filter": "tcp"}), 0),
    ] {
        let mut daemon = Daemon::start();
        assert_eq!(daemon.ask(&request)["ok"], true);
        for port in ["eth1", "eth2", "eth1"] {
            daemon.record(up(&daemon.captures, port, 100));
        }
        let mut dropped = daemon.captures.handling();
        if let Some(handling) = &mut dropped {
            handling.set_place("eth2");
            handling.came(Sighting::new(Side::Port("eth2".into()), Direction::Inbound, &[0; 70]));
            handling.dropped(DropReason::Unmatched);
        }
        daemon.record(dropped);
        let file = read(&daemon.end());
        let found = file.iter().filter(|found| matches!(found, Found::Packet { .. })).count();
        assert_eq!(found, packets, "{request}: {file:#?}");
    }
}

#[test]
fn a_client_that_does_not_read_loses_packets_and_is_told_where_and_how_many() {
    let mut daemon = Daemon::start();
    let _ = daemon.ask(&json!({"verb": "capture", "port": "eth1"}));
    const FLOOD: u64 = 20_000;
    for _ in 0..FLOOD {
        daemon.record(up(&daemon.captures, "eth1", 1000));
    }
    daemon.captures.serve(&mut daemon.api);
    // It reads again, and what comes then is in the file.
    daemon.client.get_ref().set_nonblocking(true).unwrap();
    let (mut file, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match daemon.client.read(&mut piece) {
            Ok(0) => panic!("the daemon has hung up"),
            Ok(count) => file.extend_from_slice(&piece[..count]),
            Err(_) if file.len() > 7 << 20 => break,
            Err(_) => daemon.turn(),
        }
    }
    assert!(file.len() < 10 << 20, "{} bytes were kept for it", file.len());
    daemon.client.get_ref().set_nonblocking(false).unwrap();
    daemon.record(up(&daemon.captures, "eth1", 77));
    file.extend(daemon.end());

    let found = read(&file);
    let last = |found: &Found| matches!(found, Found::Packet { of: 77, .. });
    let resumed = found.iter().position(last).expect("a packet after the loss");
    let [.., first, second] = &found[..resumed] else { panic!() };
    for (statistics, interface) in [(first, 0), (second, 1)] {
        let Found::Statistics { interface: of, seen, lost } = statistics else { panic!("{statistics:?}") };
        assert_eq!((*of, *seen), (interface, FLOOD), "told where it goes on");
        assert!(*lost > FLOOD / 2 && *lost < FLOOD, "{lost}");
        let of_it =
            |found: &&Found| matches!(found, Found::Packet { interface, of: 1000, .. } if interface == of);
        assert_eq!(found.iter().filter(of_it).count() as u64, FLOOD - lost);
        let end = Found::Statistics { interface, seen: FLOOD + 1, lost: *lost };
        assert!(found[resumed..].contains(&end), "{:?}", &found[resumed..]);
    }
}
