//! TCP connections: how many a second, and how soon a new listener has its first one.

use crate::sample;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A connection that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(5);
/// Between two attempts to reach a listener.
const PAUSE: Duration = Duration::from_micros(100);
/// An attempt without an answer ends after this time, and is made anew: what came before the listener may be lost.
const ATTEMPT: Duration = Duration::from_millis(20);
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

/// Opens `count` listeners, one after the other, each of which a client in another namespace tries to reach meanwhile.
pub(crate) fn reach(listen: SocketAddr, netns: &str, count: usize) -> io::Result<Value> {
    let (ask, asked) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel::<io::Result<Instant>>();
    let namespace = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_CLOEXEC.bits())
        .open(format!("/run/netns/{netns}"))?;
    let client = thread::spawn(move || -> io::Result<()> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        while asked.recv().is_ok() {
            if tell.send(first_connection(listen)).is_err() {
                break;
            }
        }
        Ok(())
    });
    let mut durations = Vec::with_capacity(count);
    for _ in 0..count {
        // The client tries for some time before there is anybody to reach.
        ask.send(()).map_err(io::Error::other)?;
        thread::sleep(REST);
        let listener = TcpListener::bind(listen)?;
        let begin = Instant::now();
        let reached = told.recv().map_err(io::Error::other)??;
        durations.push(reached.saturating_duration_since(begin));
        drop(listener);
        thread::sleep(REST);
    }
    drop(ask);
    client.join().map_err(|_| io::Error::other("the client panicked"))??;
    Ok(sample::summary(durations))
}

/// When the first connection is made; a refusal, or no answer, is tried again.
fn first_connection(to: SocketAddr) -> io::Result<Instant> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect_timeout(&to, ATTEMPT) {
            Ok(_) => return Ok(Instant::now()),
            Err(error) if begin.elapsed() > LOST => return Err(error),
            Err(error)
                if error.kind() == io::ErrorKind::TimedOut
                    || error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) =>
            {
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}
