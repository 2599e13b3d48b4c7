//! TCP connections: how many a second, and how soon a new listener has its first one.

use crate::sample;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(5);
/// Between two connections of a client that tries to reach a listener.
const PAUSE: Duration = Duration::from_micros(100);
/// Connections of that client that are under way at once.
const UNANSWERED: usize = 100;
/// Between two listeners.
const REST: Duration = Duration::from_millis(20);

/// Takes connections and closes them.
pub(crate) fn accept(listen: SocketAddr) -> io::Result<Value> {
    let listener = TcpListener::bind(listen)?;
    loop {
        listener.accept()?;
    }
}

/// Connects for so many seconds, and waits each time until the server closes.
pub(crate) fn connect(to: SocketAddr, seconds: f64) -> io::Result<Value> {
    let begin = Instant::now();
    let mut made = 0u64;
    while begin.elapsed().as_secs_f64() < seconds {
        let mut stream = TcpStream::connect_timeout(&to, LOST)?;
        stream.set_read_timeout(Some(LOST))?;
        stream.read_to_end(&mut Vec::new())?;
        made += 1;
    }
    Ok(json!({ "connections": made, "per_second": made as f64 / begin.elapsed().as_secs_f64() }))
}

/// Opens `count` listeners, one after the other, while a client in another namespace begins one connection after the other; time until
/// each listener has its first one.
pub(crate) fn reach(listen: SocketAddr, netns: &str, count: usize) -> io::Result<Value> {
    let namespace = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_CLOEXEC.bits())
        .open(format!("/run/netns/{netns}"))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            begin_connections(listen, &done)
        });
        let durations: io::Result<Vec<_>> = (0..count).map(|_| first_connection(listen)).collect();
        done.store(true, Ordering::Relaxed);
        client.join().map_err(|_| io::Error::other("the client panicked"))??;
        Ok(sample::summary(durations?))
    })
}

/// Begins a connection every [`PAUSE`] without waiting for it, and gives it up when [`UNANSWERED`] others have begun.
fn begin_connections(to: SocketAddr, done: &AtomicBool) -> io::Result<()> {
    prctl::set_timerslack(1)?;
    let mut begun = VecDeque::new();
    while !done.load(Ordering::Relaxed) {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
        // It is under way, or refused.
        let _ = socket.connect(&to.into());
        begun.push_back(socket);
        if begun.len() > UNANSWERED {
            begun.pop_front();
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// How long it takes from opening a listener to its first connection.
fn first_connection(listen: SocketAddr) -> io::Result<Duration> {
    thread::sleep(REST);
    let begin = Instant::now();
    let listener = TcpListener::bind(listen)?;
    listener.accept()?;
    Ok(begin.elapsed())
}
