//! File symbols: from opened files to rules, and from packets to reads.

mod world;

use control_core::Failure;
use control_core::files::{
    FileAnswer, FileError, FileHandle, FileRead, Node, Ownership, PacketFile, Written,
};
use core::time::Duration;
use frames::message::{Message, RuleDelete, Status};
use frames::{BootId, RequestId, UpTunnel};
use l2link::Batch;
use world::{RelayModel, SYMBOL, World};

const DNS: PacketFile = PacketFile::Udp(53);

fn world() -> World {
    let world = World::of_files(Ownership { uid: 1, gid: 2, mode: 0o640 }).brought_up();
    assert!(world.rules().is_empty(), "no rule for neighbors");
    world
}

fn open(world: &mut World, request: u64, file: PacketFile) {
    world.control.handle_file_open(request, SYMBOL, file, true, 1_700_000_000_000_000, world.now);
}

/// Opens a file that the relay permits.
fn opened(world: &mut World, file: PacketFile) -> FileHandle {
    open(world, 1, file);
    world.settle();
    match answers(world)[..] {
        [FileAnswer::Opened { request: 1, result: Ok(handle) }] => handle,
        ref other => panic!("{other:?}"),
    }
}

fn answers(world: &mut World) -> Vec<FileAnswer> {
    core::iter::from_fn(|| world.control.poll_file_answer()).collect()
}

fn data(world: &mut World, handle: FileHandle, length: usize) -> Vec<u8> {
    let (head, tail) = world.control.file_data(handle, length);
    let data = [head, tail].concat();
    world.control.handle_file_taken(handle, length);
    data
}

fn tunnel_of(world: &World, file: PacketFile) -> UpTunnel {
    let found = world.relay.rules.iter().find(|(_, address)| **address == file.address());
    *found.expect("the relay has the rule").0
}

/// From port 40000 + `far` of 192.0.2.2 to port 53 of 192.0.2.1.
fn query(far: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
    frame.extend([0x9c, 0x40 + far, 0, 53, 0, 9, 0, 0, far]);
    frame
}

#[test]
fn opening_ends_when_the_rule_is_in_force() {
    let mut world = world();
    let first = opened(&mut world, DNS);
    let second = opened(&mut world, DNS);
    assert_eq!(world.rules(), ["udp *:53 active"]);
    let listed =
        |world: &World| world.control.files_in(Node::Class(SYMBOL, control_core::files::Class::Udp)).len();
    assert_eq!(listed(&world), 1, "listed once");
    let rules = world.control.file_rules(SYMBOL);
    let rules: Vec<_> = rules.iter().map(|row| (row.protocol.as_str(), row.port_number)).collect();
    assert_eq!(rules, [("udp", Some(53))]);
    assert!(world.control.file_rules(frames::SymbolId(9)).is_empty());
    world.control.handle_file_closed(first, world.now);
    world.settle();
    assert_eq!(world.rules(), ["udp *:53 active"], "the other has it open");
    world.control.handle_file_closed(second, world.now);
    world.settle();
    assert!(world.rules().is_empty());
    assert_eq!(listed(&world), 0);

    world.relay.mute = true;
    world.relay.heard.clear();
    open(&mut world, 7, DNS);
    world.settle();
    assert_eq!(world.relay.heard, ["add udp *:53"]);
    assert!(answers(&mut world).is_empty(), "the relay has yet to answer");
    world.run(Duration::from_secs(6));
    let late = FileAnswer::Opened { request: 7, result: Err(FileError::TimedOut) };
    assert_eq!(answers(&mut world), [late]);
    assert_eq!(world.relay.heard.last().unwrap(), "RULE_DELETE");
}

#[test]
fn refusals_are_said_and_leave_nothing() {
    let mut world = world();
    for (status, error) in [
        (Status::NOT_PERMITTED, FileError::Denied),
        (Status::RESERVED, FileError::Denied),
        (Status::CONFLICT, FileError::InUse),
        (Status::TABLE_FULL, FileError::TableFull),
        (Status::BAD_REQUEST, FileError::NotAPacket),
        (Status::SYSTEM, FileError::Failed),
    ] {
        world.relay.refuse_rules.insert(DNS.address());
        world.relay.refusal = status;
        open(&mut world, 7, DNS);
        world.settle();
        assert_eq!(answers(&mut world), [FileAnswer::Opened { request: 7, result: Err(error) }]);
        assert!(world.rules().is_empty());
        assert_eq!(world.relay.heard.last().unwrap(), "RULE_DELETE", "the relay forgets it");
    }
    open(&mut world, 7, PacketFile::Pcap);
    let denied = FileAnswer::Opened { request: 7, result: Err(FileError::Denied) };
    assert_eq!(answers(&mut world), [denied], "nobody writes a capture");
}

/// Asking for an answer when there is none is an input, too: what has been looked through then is behind what comes.
#[test]
fn answers_come_in_the_order_in_which_there_is_something() {
    let mut world = world();
    let other = PacketFile::Udp(54);
    let files = [DNS, other].map(|file| (opened(&mut world, file), tunnel_of(&world, file)));
    let [(first, to_first), (second, to_second)] = files;
    let mut to_other = query(2);
    to_other[37] = 54;
    world.send_up(to_first, &query(1));
    assert!(answers(&mut world).is_empty(), "nobody reads");
    assert_eq!(world.control.handle_file_read(7, first, 100, true), FileRead::Data(29));
    let _ = data(&mut world, first, 29);
    for (request, handle) in [(8, first), (9, second)] {
        assert_eq!(world.control.handle_file_read(request, handle, 100, true), FileRead::Wait);
    }
    world.send_up(to_second, &to_other);
    world.send_up(to_first, &query(3));
    let expected = [(9, second), (8, first)];
    let expected = expected.map(|(request, handle)| FileAnswer::Data { request, handle, length: 29 });
    assert_eq!(answers(&mut world), expected);
}

#[test]
fn a_read_gives_one_packet_whole_or_none() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    let tunnel = tunnel_of(&world, DNS);
    let read = |world: &mut World, size, waits| world.control.handle_file_read(9, handle, size, waits);
    assert_eq!(read(&mut world, 100, false), FileRead::Error(FileError::WouldBlock));
    world.send_up(tunnel, &query(1));
    world.send_up(tunnel, &query(2));
    assert_eq!(read(&mut world, 28, true), FileRead::Error(FileError::TooLong));
    assert_eq!(read(&mut world, 29, true), FileRead::Data(29));
    // An answer that did not arrive takes nothing.
    assert_eq!(read(&mut world, 29, true), FileRead::Data(29));
    assert_eq!(data(&mut world, handle, 29), query(1)[14..]);
    assert_eq!(data(&mut world, handle, 29), query(2)[14..]);
    assert_eq!(read(&mut world, 100, true), FileRead::Wait);
    assert!(!world.control.handle_file_poll(handle, Some(5)));
    world.send_up(tunnel, &query(3));
    let data_for_9 = FileAnswer::Data { request: 9, handle, length: 29 };
    assert_eq!(world.control.poll_file_answer(), Some(data_for_9));
    let _ = data(&mut world, handle, 29);
    assert!(answers(&mut world).is_empty(), "nothing is left for who polls");
    world.send_up(tunnel, &query(4));
    assert_eq!(answers(&mut world), [FileAnswer::Readable { poll: 5 }]);
    assert!(world.control.handle_file_poll(handle, None));
}

#[test]
fn readers_wait_in_order_and_can_be_interrupted() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    let tunnel = tunnel_of(&world, DNS);
    for request in [11, 12, 13] {
        assert_eq!(world.control.handle_file_read(request, handle, 100, true), FileRead::Wait);
    }
    world.control.handle_file_interrupt(11, world.now);
    let interrupted = FileAnswer::NoData { request: 11, error: FileError::Interrupted };
    assert_eq!(answers(&mut world), [interrupted]);
    world.control.handle_file_interrupt(11, world.now);
    assert!(answers(&mut world).is_empty(), "answered already");
    world.send_up(tunnel, &query(1));
    world.send_up(tunnel, &query(2));
    for (request, far) in [(12, 1), (13, 2)] {
        let expected = FileAnswer::Data { request, handle, length: 29 };
        assert_eq!(world.control.poll_file_answer(), Some(expected));
        assert_eq!(data(&mut world, handle, 29), query(far)[14..]);
    }
    // An opening that waits, too.
    world.relay.mute = true;
    open(&mut world, 14, PacketFile::Tcp(80));
    world.control.handle_file_interrupt(14, world.now);
    let interrupted = FileAnswer::Opened { request: 14, result: Err(FileError::Interrupted) };
    assert_eq!(answers(&mut world), [interrupted]);
    assert_eq!(world.rules(), ["udp *:53 active", "tcp *:80 closing"]);
}

#[test]
fn each_kind_of_file_gets_what_it_stands_for() {
    let mut world = world();
    let files = [
        PacketFile::Packets,
        PacketFile::Pcap,
        PacketFile::Ip(17),
        PacketFile::EtherType(0x0800),
        PacketFile::EtherType(0x86dd),
        PacketFile::Udp(54),
    ];
    let handles = files.map(|file| {
        world.control.handle_file_open(1, SYMBOL, file, false, 0, world.now);
        world.settle();
        match answers(&mut world)[..] {
            [FileAnswer::Opened { result: Ok(handle), .. }] => handle,
            ref other => panic!("{other:?}"),
        }
    });
    let shares = [DNS, DNS].map(|file| opened(&mut world, file));
    let tunnel = tunnel_of(&world, DNS);
    for far in 0..60 {
        world.send_up(tunnel, &query(far));
    }
    let mut lengths = |handle| match world.control.handle_file_read(9, handle, 1 << 20, false) {
        FileRead::Data(length) => length,
        other => panic!("{other:?}"),
    };
    // Frames, a stream of header and 60 records, packets, frames.
    assert_eq!([0, 1, 2, 3].map(|place| lengths(handles[place])), [43, 24 + 60 * (16 + 43), 29, 43]);
    for nothing in &handles[4..] {
        let read = world.control.handle_file_read(9, *nothing, 1 << 20, false);
        assert_eq!(read, FileRead::Error(FileError::WouldBlock));
    }
    let mut count = |handle| {
        let mut count = 0;
        while let FileRead::Data(length) = world.control.handle_file_read(9, handle, 1 << 20, false) {
            let _ = data(&mut world, handle, length);
            count += 1;
        }
        count
    };
    let [first, second] = shares.map(&mut count);
    assert!(first + second == 60 && first >= 10 && second >= 10, "{first} and {second}");
    assert_eq!(count(handles[2]), 60, "a copy of each");
}

#[test]
fn errors_and_strangers_find_no_reader() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    let tunnel = tunnel_of(&world, DNS);
    let inner = query(1)[14..].to_vec();
    let mut error = query(1)[..14].to_vec();
    error.extend([
        0x45, 0, 0, 57, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9, 192, 0, 2, 1, 3, 1, 0, 0, 0, 0, 0, 0,
    ]);
    error.extend(inner);
    world.send_up(tunnel, &error);
    assert_eq!(world.counter("drop.no-reader"), 1);
    let icmp = opened(&mut world, PacketFile::Ip(1));
    world.send_up(tunnel, &error);
    assert_eq!(world.control.handle_file_read(9, icmp, 100, true), FileRead::Data(57));
    assert_eq!(world.control.handle_file_read(9, handle, 100, false), FileRead::Error(FileError::WouldBlock));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    let tunnel = tunnel_of(&world, DNS);
    for _ in 0..4_100 {
        world.send_up(tunnel, &query(1));
    }
    assert_eq!(world.counter("drop.file-queue-full"), 4);
    let rows = world.control.file_counters(SYMBOL);
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap().value;
    assert_eq!((row("waiting.packets"), row("drop.file-queue-full")), (4_096, 4));
    let _ = data(&mut world, handle, 29);
    world.send_up(tunnel, &query(2));
    assert_eq!(world.counter("drop.file-queue-full"), 4, "there is room again");
}

#[test]
fn writes_go_down_the_tunnel() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    let mut answer = query(1)[14..].to_vec();
    answer[12..20].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    answer[20..24].copy_from_slice(&[0, 53, 0x9c, 0x41]);
    let write = |world: &mut World, data: &[u8]| {
        let mut batch = Batch::new(64, world.control.link().frame_len_max());
        let written = world.control.handle_file_write(handle, data, world.now, &mut batch);
        (written, batch.len())
    };
    assert_eq!(write(&mut world, &answer), (Ok(Written::Sent), 1));
    assert_eq!(write(&mut world, b"no packet"), (Err(FileError::NotAPacket), 0));
    let mut none = Batch::new(0, 0);
    let full = world.control.handle_file_write(handle, &answer, world.now, &mut none);
    assert_eq!(full, Ok(Written::Flush));
    world.relay.deaf = true;
    world.relay.link.close(frames::session::CloseReason::SHUTDOWN, world.now);
    world.settle();
    assert_eq!(write(&mut world, &answer), (Err(FileError::Down), 0));
}

#[test]
fn a_rule_comes_back_with_the_relay_and_its_end_is_told() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    world.relay.link.close(frames::session::CloseReason::SHUTDOWN, world.now);
    world.settle();
    open(&mut world, 2, PacketFile::Tcp(80));
    assert_eq!(answers(&mut world), [FileAnswer::Opened { request: 2, result: Err(FileError::Down) }]);
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.symbol_state(), "up");
    assert_eq!(world.rules(), ["udp *:53 active"]);
    let tunnel = tunnel_of(&world, DNS);
    assert_eq!(world.control.handle_file_read(9, handle, 100, true), FileRead::Wait);
    world.relay.send(&Message::RuleDeleted(RuleDelete { request: RequestId(0), tunnel }));
    world.settle();
    let failed = FileAnswer::NoData { request: 9, error: FileError::Failed };
    assert_eq!(answers(&mut world), [failed]);
    assert!(world.control.is_file_broken(handle));
    world.run(Duration::from_secs(11));
    assert!(!world.control.is_file_broken(handle), "it was asked for again");
}

#[test]
fn files_that_are_gone_take_their_rules_along() {
    let mut world = world();
    let handle = opened(&mut world, DNS);
    world.control.handle_files_gone(world.now);
    world.control.handle_symbol_failed(SYMBOL, Failure::Removed, world.now);
    world.settle();
    assert!(world.rules().is_empty());
    assert_eq!(world.control.handle_file_read(9, handle, 100, true), FileRead::Error(FileError::NotOpen));
    assert_eq!(world.symbol_state(), "waiting");
    world.run(Duration::from_secs(2));
    assert_eq!(world.symbol_state(), "up", "they are made again");
}

#[test]
fn the_tree() {
    let world = world();
    let control = &world.control;
    let [(relay, node)] = &control.files_in(Node::Root)[..] else { panic!("one relay") };
    assert_eq!(relay, "relay1");
    let [(port, Node::Port(SYMBOL))] = &control.files_in(*node)[..] else { panic!("one port") };
    assert_eq!(control.file_named(*node, port), Some(Node::Port(SYMBOL)));
    assert_eq!(control.file_named(*node, "eth2"), None);
    assert_eq!(control.files_in(Node::Port(SYMBOL)).len(), 9);
    let udp = control.file_named(Node::Port(SYMBOL), "udp").unwrap();
    let dns = control.file_named(udp, "53").unwrap();
    assert_eq!(dns, Node::Packets(SYMBOL, DNS));
    assert_eq!(control.file_ownership(dns), Some(Ownership { uid: 1, gid: 2, mode: 0o640 }));
    assert_eq!(control.file_named(udp, "0"), None);
    assert!(udp.is_directory() && !dns.is_directory());
    assert!(DNS.is_shared() && !DNS.is_of_frames());
    for file in [PacketFile::Packets, PacketFile::Pcap, PacketFile::EtherType(0x88cc)] {
        assert!(!file.is_shared() && file.is_of_frames(), "{file:?}");
    }
    let stranger = frames::SymbolId(9);
    assert_eq!(control.file_ownership(Node::Port(stranger)), None);
    assert_eq!(control.file_ownership(Node::Relay(7)), None);
    assert!(control.files_in(Node::Port(stranger)).is_empty());
    assert_eq!(control.seat_of(SYMBOL), None);
    assert!(control.namespaces().next().is_none(), "it is in no namespace");
    let row = &control.show_symbols()[0];
    assert_eq!((row.kind.as_str(), row.down_tunnel), ("files", Some(9)));
    assert_eq!(control.file_attributes(SYMBOL).unwrap().mtu, Some(1500));
}
