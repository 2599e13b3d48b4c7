//! The command socket: real clients against a server in a mio loop.

mod other_user;

use l2link::Time;
use l2link_os::SetupError;
use l2link_os::access::{Access, Group, Permission};
use l2link_os::api::{ApiClient, ApiServer, ClientError, REQUEST_MAX, failure, success};
use mio::{Events, Poll};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A server that echoes requests, sends events to monitors when asked, and stops when dropped.
struct Daemon {
    _folder: tempfile::TempDir,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    monitors: Arc<AtomicUsize>,
    changes: Sender<Access>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        Self::open_to(&Access::default())
    }

    fn open_to(access: &Access) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // For other users as well.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("deep/er/relay.sock");
        let server = ApiServer::bind(&path, access).unwrap();
        let (changes, changed) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let monitors = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn({
            let (stop, monitors) = (Arc::clone(&stop), Arc::clone(&monitors));
            move || serve(server, &stop, &monitors, &changed)
        });
        Self { _folder: folder, path, stop, monitors, changes, thread: Some(thread) }
    }

    fn connect(&self) -> ApiClient {
        ApiClient::connect(&self.path).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(result, Some(Ok(()))));
    }
}

fn serve(mut server: ApiServer, stop: &AtomicBool, monitors: &AtomicUsize, changed: &Receiver<Access>) {
    const FIRST: usize = 100;
    let mut poll = Poll::new().unwrap();
    server.register(poll.registry(), FIRST..FIRST + ApiServer::TOKENS).unwrap();
    let mut events = Events::with_capacity(16);
    let start = Instant::now();
    let clock = || Time(60_000_000 + u64::try_from(start.elapsed().as_micros()).unwrap());
    while !stop.load(Ordering::Relaxed) {
        let until = server.poll_timeout().map_or(Duration::from_millis(20), |time| time - clock());
        poll.poll(&mut events, Some(until.min(Duration::from_millis(20)))).unwrap();
        if let Ok(access) = changed.try_recv() {
            server.set_access(&access).unwrap();
        }
        let mut requests = Vec::new();
        for event in &events {
            assert!(server.owns(event.token()));
            requests.extend(server.handle(poll.registry(), event, clock()));
        }
        requests.extend(server.next_turn(clock()));
        for request in requests {
            match request.json["verb"].as_str() {
                Some("monitor") => {
                    server.monitor(request.client);
                    monitors.fetch_add(1, Ordering::Relaxed);
                    server.answer(request.client, &success(Vec::<Value>::new()));
                }
                Some("burst") => {
                    let number = |key: &str| usize::try_from(request.json[key].as_u64().unwrap()).unwrap();
                    let text = "x".repeat(number("size"));
                    for count in 0..number("count") {
                        server.broadcast(&json!({ "event": "notice", "count": count, "text": text }));
                    }
                    server.answer(request.client, &success(vec![json!(server.monitored())]));
                }
                Some("fail") => server.answer(request.client, &failure("no such object")),
                _ => server.answer(request.client, &success(vec![request.json])),
            }
        }
    }
}

#[test]
fn a_request_is_answered() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    for number in 0..100 {
        let request = json!({ "verb": "show", "object": "peers", "number": number });
        assert_eq!(client.request(&request).unwrap(), [request]);
    }
    let refused = client.request(&json!({ "verb": "fail" })).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(text) if text == "no such object"));
    let mode = std::fs::metadata(&daemon.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn what_is_no_request_is_answered_and_the_client_stays() {
    let daemon = Daemon::start();
    let mut stream = daemon.raw();
    stream.write_all(b"\n  \nhello\n[1]\n\xff\n{\"verb\":").unwrap();
    stream.write_all(b"\"x\"}\n{\"a\":1}\n{\"b\":2}\n").unwrap();
    let mut lines =
        BufReader::new(stream).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    for _ in 0..3 {
        assert_eq!(lines.next().unwrap()["ok"], false);
    }
    assert_eq!(lines.next().unwrap()["data"][0]["verb"], "x");
    assert_eq!(lines.next().unwrap()["data"][0]["a"], 1);
    assert_eq!(lines.next().unwrap()["data"][0]["b"], 2);
}

#[test]
fn a_request_without_end_is_cut_off() {
    let daemon = Daemon::start();
    let mut stream = daemon.raw();
    let _ = stream.write_all(&vec![b'x'; 2 * REQUEST_MAX]);
    let mut answer = String::new();
    // The rest that was not read may turn the end into a reset.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("at most 65536 bytes"), "{answer}");
    // The longest one passes, and others are served meanwhile.
    let long = json!({ "text": "x".repeat(REQUEST_MAX - 20) });
    assert_eq!(daemon.connect().request(&long).unwrap(), [long]);
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let daemon = Daemon::start();
    let stream = daemon.raw();
    let count = 20_000;
    let writer = std::thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || {
            for number in 0..count {
                writeln!(stream, "{{\"number\":{number}}}").unwrap();
            }
        }
    });
    // Read late, so that answers pile up and the server has to wait.
    std::thread::sleep(Duration::from_millis(100));
    let mut lines = BufReader::new(stream).lines();
    for number in 0..count {
        let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["data"][0]["number"], number);
    }
    writer.join().unwrap();
}

#[test]
fn monitors_get_every_event_and_a_slow_one_is_cut_off() {
    let daemon = Daemon::start();
    let monitor = || {
        let mut client = daemon.connect();
        assert_eq!(client.request(&json!({ "verb": "monitor" })).unwrap(), [Value::Null; 0]);
        client
    };
    let (mut reader, mut sleeper) = (monitor(), monitor());
    assert_eq!(daemon.monitors.load(Ordering::Relaxed), 2);
    let reading = std::thread::spawn(move || {
        for count in 0..12_000 {
            let event = reader.next().unwrap();
            assert_eq!(event[0]["count"], count % 1000);
        }
    });
    // 12 MB: more than waits for anybody.
    for _ in 0..12 {
        let burst = json!({ "verb": "burst", "count": 1000, "size": 1000 });
        assert_eq!(daemon.connect().request(&burst).unwrap(), [json!(true)]);
        std::thread::sleep(Duration::from_millis(30));
    }
    reading.join().unwrap();
    let end = loop {
        if let Err(error) = sleeper.next() {
            break error;
        }
    };
    assert!(matches!(end, ClientError::Closed), "{end}");
    // Both are gone now.
    let deadline = Instant::now() + Duration::from_secs(2);
    while daemon.connect().request(&json!({ "verb": "burst", "count": 0, "size": 0 })).unwrap()
        != [json!(false)]
    {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn clients_beyond_the_limit_are_told_so() {
    let daemon = Daemon::start();
    let mut clients: Vec<_> = (0..ApiServer::CLIENTS).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        client.request(&json!({})).unwrap();
    }
    let refused = daemon.connect().request(&json!({})).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(text) if text == "too many clients"), "{refused}");
    clients.clear();
    let deadline = Instant::now() + Duration::from_secs(2);
    while daemon.connect().request(&json!({})).is_err() {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let daemon = Daemon::start();
    let error = ApiServer::bind(&daemon.path, &Access::default()).unwrap_err();
    assert!(matches!(error, SetupError::SocketInUse { .. }), "{error}");
    daemon.connect().request(&json!({})).unwrap();
    let path = daemon.path.clone();
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("relay.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let server = ApiServer::bind(&stale, &Access::default()).unwrap();
    drop(server);
    assert!(!stale.exists());
    drop(daemon);
    assert!(!path.exists());
    let file = folder.path().join("precious");
    std::fs::write(&file, "x").unwrap();
    let error = ApiServer::bind(&file, &Access::default()).unwrap_err().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert!(file.exists());
}

#[test]
fn a_client_without_daemon_is_told_what_to_do() {
    let missing = ApiClient::connect(Path::new("/nowhere/relay.sock")).unwrap_err();
    assert!(matches!(missing, ClientError::NotRunning { .. }));
    assert!(missing.to_string().contains("is l2relay or l2control running?"));
}

#[test]
fn a_daemon_that_stops_is_told_from_one_that_refuses() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.request(&json!({ "verb": "monitor" })).unwrap();
    drop(daemon);
    assert!(matches!(client.next().unwrap_err(), ClientError::Closed));
}

const ALICE: u32 = 54_321;
const BOB: u32 = 54_322;
const GROUP: u32 = 54_400;

fn access(group_may: Permission, others_may: Permission) -> Access {
    Access { group: Some(Group { name: "operators".into(), gid: GROUP }), group_may, others_may }
}

fn denied(answer: Result<Vec<Value>, ClientError>) -> String {
    match answer {
        Err(ClientError::Denied { error, .. }) => error,
        other => panic!("not denied: {other:?}"),
    }
}

fn mode_and_group(path: &Path) -> (u32, u32) {
    let file = std::fs::metadata(path).unwrap();
    (file.permissions().mode() & 0o7777, std::os::unix::fs::MetadataExt::gid(&file))
}

#[test]
fn members_of_the_group_may_what_it_may_and_nobody_else_anything() {
    if !other_user::possible() {
        return;
    }
    let show = json!({ "verb": "show" });
    let reload = json!({ "verb": "reload" });
    let daemon = Daemon::open_to(&access(Permission::Change, Permission::Nothing));
    assert_eq!(mode_and_group(&daemon.path), (0o660, GROUP));
    other_user::run(ALICE, ALICE, &[GROUP], || {
        assert_eq!(daemon.connect().request(&show).unwrap(), std::slice::from_ref(&show));
        assert_eq!(daemon.connect().request(&reload).unwrap(), std::slice::from_ref(&reload));
    });
    other_user::run(BOB, GROUP, &[], || {
        assert_eq!(daemon.connect().request(&reload).unwrap(), std::slice::from_ref(&reload));
    });
    other_user::run(BOB, BOB, &[0], || {
        let error = ApiClient::connect(&daemon.path).unwrap_err();
        assert!(matches!(&error, ClientError::Denied { .. }), "{error}");
        assert!(error.to_string().contains("54400"), "{error}");
    });
    let daemon = Daemon::open_to(&access(Permission::Look, Permission::Nothing));
    other_user::run(ALICE, ALICE, &[GROUP], || {
        let mut client = daemon.connect();
        assert_eq!(client.request(&show).unwrap(), std::slice::from_ref(&show));
        let error = denied(client.request(&reload));
        assert_eq!(error, "user 54321 may only look: reload is for root alone");
        assert_eq!(client.request(&show).unwrap(), std::slice::from_ref(&show), "it stays");
    });
}

#[test]
fn others_may_look_and_only_look_if_they_may() {
    if !other_user::possible() {
        return;
    }
    let daemon = Daemon::open_to(&access(Permission::Change, Permission::Look));
    assert_eq!(mode_and_group(&daemon.path).0, 0o666);
    other_user::run(BOB, BOB, &[], || {
        let mut client = daemon.connect();
        for verb in ["show", "verify", "trace"] {
            let request = json!({ "verb": verb });
            assert_eq!(client.request(&request).unwrap(), [request]);
        }
        for verb in ["rule", "symbol", "route", "peer", "reload", "confirm"] {
            let error = denied(client.request(&json!({ "verb": verb })));
            assert_eq!(
                error,
                format!("user 54322 may only look: {verb} is for root and members of group operators")
            );
        }
        // What nobody has sorted is for nobody else.
        for request in [json!({ "verb": "dance" }), json!({}), json!({ "verb": ["show"] })] {
            denied(client.request(&request));
        }
        assert_eq!(client.request(&json!({ "verb": "monitor" })).unwrap(), [Value::Null; 0]);
    });
    other_user::run(ALICE, ALICE, &[GROUP], || {
        let request = json!({ "verb": "reload" });
        assert_eq!(daemon.connect().request(&request).unwrap(), [request]);
    });
}

#[test]
fn a_change_of_access_is_felt_by_those_who_are_there() {
    if !other_user::possible() {
        return;
    }
    let daemon = Daemon::open_to(&access(Permission::Change, Permission::Look));
    let (show, reload) = (json!({ "verb": "show" }), json!({ "verb": "reload" }));
    let mut member = other_user::run(ALICE, ALICE, &[GROUP], || daemon.connect());
    let mut other = other_user::run(BOB, BOB, &[], || daemon.connect());
    let mut root = daemon.connect();
    member.request(&reload).unwrap();
    other.request(&show).unwrap();
    daemon.changes.send(access(Permission::Look, Permission::Nothing)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    while other.request(&show).is_ok() {
        assert!(Instant::now() < deadline);
    }
    denied(member.request(&reload));
    member.request(&show).unwrap();
    root.request(&reload).unwrap();
    assert_eq!(mode_and_group(&daemon.path), (0o660, GROUP));
    daemon.changes.send(access(Permission::Change, Permission::Nothing)).unwrap();
    while member.request(&reload).is_err() {
        assert!(Instant::now() < deadline);
    }
    daemon.changes.send(Access::default()).unwrap();
    while member.request(&show).is_ok() {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(mode_and_group(&daemon.path).0, 0o600);
    root.request(&reload).unwrap();
}

#[test]
fn others_cannot_lock_root_out() {
    if !other_user::possible() {
        return;
    }
    let daemon = Daemon::open_to(&access(Permission::Change, Permission::Look));
    let mut kept = Vec::new();
    for user in 0..8 {
        kept.extend(other_user::run(ALICE + user, BOB, &[], || {
            // They send half a request and read nothing.
            let half = |mut stream: UnixStream| {
                let _ = stream.write_all(b"{\"verb\":");
                stream
            };
            (0..20).map(|_| half(daemon.raw())).collect::<Vec<_>>()
        }));
    }
    let refused = other_user::run(BOB, BOB, &[GROUP], || daemon.connect().request(&json!({})).unwrap_err());
    assert!(refused.to_string().contains("too many clients"), "{refused}");
    let mut root: Vec<_> =
        (0..ApiServer::CLIENTS - ApiServer::CLIENTS_BUT_ROOT).map(|_| daemon.connect()).collect();
    for client in &mut root {
        client.request(&json!({ "verb": "reload" })).unwrap();
    }
    drop(kept);
}

#[test]
fn who_may_only_look_cannot_keep_the_daemon_busy() {
    if !other_user::possible() {
        return;
    }
    let daemon = Daemon::open_to(&access(Permission::Change, Permission::Look));
    let text = "x".repeat(60_000);
    let line = format!("{}\n", json!({ "verb": "show", "text": text }));
    let flooding: Vec<_> = (0..4)
        .map(|_| {
            let stream = other_user::run(BOB, BOB, &[], || daemon.raw());
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let line = line.clone();
            let stop = Arc::clone(&daemon.stop);
            let writer = std::thread::spawn({
                let stop = Arc::clone(&stop);
                let mut stream = stream;
                move || while !stop.load(Ordering::Relaxed) && stream.write_all(line.as_bytes()).is_ok() {}
            });
            let counter = std::thread::spawn(move || {
                let (mut bytes, mut answer) = (0, Vec::new());
                while reader.read_until(b'\n', &mut answer).is_ok_and(|count| count > 0) {
                    bytes += answer.len();
                    answer.clear();
                }
                bytes
            });
            (writer, counter)
        })
        .collect();
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(3) {
        let before = Instant::now();
        daemon.connect().request(&json!({ "verb": "reload" })).unwrap();
        worst = worst.max(before.elapsed());
    }
    daemon.stop.store(true, Ordering::Relaxed);
    let took = start.elapsed().as_secs_f64();
    drop(daemon);
    let mut answered = 0;
    for (writer, counter) in flooding {
        writer.join().unwrap();
        answered += counter.join().unwrap();
    }
    // Two seconds' worth at once, and the rate.
    let most = 4e6 * (2.0 + took + 1.0);
    assert!(answered > 1_000_000 && (answered as f64) < most, "{answered} bytes in {took} s");
    // Far less on a machine with nothing else to do.
    assert!(worst < Duration::from_secs(3), "root waited {worst:?}");
}

#[test]
fn every_request_of_who_takes_turns_is_answered_in_order() {
    if !other_user::possible() {
        return;
    }
    let daemon = Daemon::open_to(&access(Permission::Change, Permission::Look));
    let mut stream = other_user::run(BOB, BOB, &[], || daemon.raw());
    let mut text = String::from("nonsense\n\n");
    for number in 0..300 {
        text.push_str(&format!("{{\"verb\":\"show\",\"number\":{number}}}\n"));
    }
    stream.write_all(text.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["ok"], false);
    for number in 0..300 {
        assert_eq!(next()["data"][0]["number"], number);
    }
}
