use super::*;
use crate::keeper::Keeper;
use socket2::{Domain, SockAddr, Type};
use std::io::{PipeReader, Read};
use std::thread::{self, JoinHandle};

/// A keeper that runs on a thread. Pipes stand for devices: who reads them sees when nobody holds them any more.
struct Lab {
    folder: tempfile::TempDir,
    keeper: JoinHandle<()>,
    begun: Instant,
}

const LONG: Duration = Duration::from_secs(60);

impl Lab {
    fn new(keep: Duration) -> (Self, Channel) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper");
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(4).unwrap();
        let keeper = thread::spawn(move || {
            let signals = Signals::open().unwrap();
            let mut holder = Holder { listener, signals, devices: BTreeMap::new() };
            let last = holder.serve(keep).unwrap();
            drop(holder);
            drop(last);
        });
        let daemon = Channel::connect(&path).unwrap();
        (Self { folder, keeper, begun: Instant::now() }, daemon)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keeper")
    }

    /// Waits for the keeper's end, and says when it was.
    fn end(self) -> Duration {
        self.keeper.join().unwrap();
        self.begun.elapsed()
    }
}

fn place(interface: &str) -> Place {
    Place { netns: "router".into(), interface: interface.into() }
}

/// Hands over a device, of which nothing remains here.
fn hold(daemon: &Channel, interface: &str, note: &[u8]) -> PipeReader {
    let (reader, writer) = io::pipe().unwrap();
    daemon.send(&Message::Hold(place(interface), note.to_vec()), Some(writer.as_fd())).unwrap();
    reader
}

/// Whether somebody still holds the device.
fn is_held(device: &PipeReader) -> bool {
    let mut wanted = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, PollTimeout::ZERO).unwrap() == 0
}

fn await_release(mut device: &PipeReader) {
    assert_eq!(device.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_successor_gets_what_was_left_as_it_was_left() {
    let (lab, daemon) = Lab::new(LONG);
    let (eth1, eth2, eth3) =
        (hold(&daemon, "eth1", b"1"), hold(&daemon, "eth2", b"2"), hold(&daemon, "eth3", b"3"));
    daemon.send(&Message::Forget(place("eth2")), None).unwrap();
    await_release(&eth2);
    daemon.send(&Message::Note(place("eth3"), b"three".to_vec()), None).unwrap();
    drop(daemon);

    let (predecessor, kept) = Keeper::take_over(&lab.path()).unwrap();
    let found: Vec<_> = kept.iter().map(|kept| (kept.place.clone(), kept.note.as_slice())).collect();
    assert_eq!(found, [(place("eth1"), &b"1"[..]), (place("eth3"), b"three")]);
    // Until it is dismissed the keeper holds them as well.
    drop(kept);
    assert!(is_held(&eth1) && is_held(&eth3));
    predecessor.unwrap().dismiss();
    assert!(!is_held(&eth1) && !is_held(&eth3), "it is told of when all is closed");
    assert!(lab.end() < LONG);
}

#[test]
fn who_says_goodbye_leaves_nothing() {
    let (lab, daemon) = Lab::new(LONG);
    let device = hold(&daemon, "eth1", b"");
    daemon.send(&Message::Goodbye, None).unwrap();
    daemon.await_end();
    assert!(!is_held(&device));
    assert!(lab.end() < LONG);
}

#[test]
fn with_nothing_to_hold_it_ends_with_its_daemon() {
    let (lab, daemon) = Lab::new(LONG);
    drop(daemon);
    assert!(lab.end() < LONG);
}

#[test]
fn who_comes_and_goes_does_not_prolong_the_time() {
    let keep = Duration::from_millis(400);
    let (lab, daemon) = Lab::new(keep);
    let device = hold(&daemon, "eth1", b"");
    drop(daemon);
    for _ in 0..3 {
        thread::sleep(keep / 8);
        let (predecessor, kept) = Keeper::take_over(&lab.path()).unwrap();
        assert!(predecessor.is_some() && kept.len() == 1);
    }
    await_release(&device);
    let ended = lab.end();
    assert!((keep..keep * 10).contains(&ended), "{ended:?}");
}

#[test]
fn a_second_daemon_gets_nothing_while_the_first_lives() {
    let (lab, daemon) = Lab::new(LONG);
    let device = hold(&daemon, "eth1", b"");
    let error = Keeper::take_over(&lab.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "nobody answers: {error}");
    daemon.send(&Message::Note(place("eth1"), Vec::new()), None).unwrap();
    assert!(is_held(&device));
    drop(daemon);
    // The one that gave up is passed over.
    let (predecessor, kept) = Keeper::take_over(&lab.path()).unwrap();
    assert_eq!(kept.len(), 1);
    predecessor.unwrap().dismiss();
    assert!(lab.end() < LONG);
}

#[test]
fn a_daemon_that_talks_nonsense_is_treated_as_gone() {
    let (lab, daemon) = Lab::new(Duration::from_millis(50));
    let device = hold(&daemon, "eth1", b"");
    daemon.send(&Message::End, None).unwrap();
    await_release(&device);
    assert!(lab.end() < LONG);
}

#[test]
fn a_keeper_that_was_killed_leaves_a_file_that_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keeper");
    assert!(matches!(Keeper::take_over(&path), Ok((None, kept)) if kept.is_empty()), "none is no error");
    let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    drop(listener);
    assert!(path.exists());
    assert!(matches!(Keeper::take_over(&path), Ok((None, _))));
    assert!(!path.exists());
}

#[test]
fn a_keeper_that_is_not_understood_is_dismissed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keeper");
    let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(1).unwrap();
    let keeper = thread::spawn(move || {
        let socket = listener.accept().unwrap().0;
        socket.send(b"\x09what a later version says").unwrap();
        let channel = Channel::new(socket).unwrap();
        [(); 2].map(|()| channel.receive().unwrap().unwrap().0)
    });
    assert_eq!(Keeper::take_over(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(keeper.join().unwrap(), [Message::Take, Message::Goodbye]);
}

#[test]
fn arguments_come_through_a_command_line() {
    let arguments = Arguments { keep: LONG, file: (7, 9), path: "/run/a b.keeper".into() };
    assert_eq!(Arguments::parse(arguments.words()), Some(arguments));
    for words in [&[][..], &["60", "7", "9"], &["x", "7", "9", "/p"], &["60", "7", "9", "/p", "q"]] {
        assert_eq!(Arguments::parse(words.iter().map(OsString::from)), None, "{words:?}");
    }
}

#[test]
fn nobody_else_starts_a_keeper() {
    let words = Arguments { keep: LONG, file: (0, 0), path: "/nowhere".into() }.words();
    assert_eq!(run(words).unwrap_err().to_string(), USAGE, "standard input is no listening socket");
}
