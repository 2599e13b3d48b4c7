//! The command socket: real clients against a server in a mio loop.

use l2link_os::SetupError;
use l2link_os::api::{ApiClient, ApiServer, ClientError, REQUEST_MAX, failure, success};
use mio::{Events, Poll};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A server that echoes requests, sends events to monitors when asked, and stops when dropped.
struct Daemon {
    _folder: tempfile::TempDir,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    monitors: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/relay.sock");
        let server = ApiServer::bind(&path, 0o660).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let monitors = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn({
            let (stop, monitors) = (Arc::clone(&stop), Arc::clone(&monitors));
            move || serve(server, &stop, &monitors)
        });
        Self { _folder: folder, path, stop, monitors, thread: Some(thread) }
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

fn serve(mut server: ApiServer, stop: &AtomicBool, monitors: &AtomicUsize) {
    const FIRST: usize = 100;
    let mut poll = Poll::new().unwrap();
    server.register(poll.registry(), FIRST..FIRST + ApiServer::TOKENS).unwrap();
    let mut events = Events::with_capacity(16);
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        for event in &events {
            assert!(server.owns(event.token()));
            for request in server.handle(poll.registry(), event) {
                match request.json["verb"].as_str() {
                    Some("monitor") => {
                        server.monitor(request.client);
                        monitors.fetch_add(1, Ordering::Relaxed);
                        server.answer(request.client, &success(Vec::<Value>::new()));
                    }
                    Some("burst") => {
                        let number =
                            |key: &str| usize::try_from(request.json[key].as_u64().unwrap()).unwrap();
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
    assert_eq!(mode & 0o7777, 0o660);
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
    let error = ApiServer::bind(&daemon.path, 0o660).unwrap_err();
    assert!(matches!(error, SetupError::SocketInUse { .. }), "{error}");
    daemon.connect().request(&json!({})).unwrap();
    let path = daemon.path.clone();
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("relay.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let server = ApiServer::bind(&stale, 0o600).unwrap();
    drop(server);
    assert!(!stale.exists());
    drop(daemon);
    assert!(!path.exists());
    let file = folder.path().join("precious");
    std::fs::write(&file, "x").unwrap();
    let error = ApiServer::bind(&file, 0o600).unwrap_err().to_string();
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
