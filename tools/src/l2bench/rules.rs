//! From a socket to its rule: `listen()` and `close()` in this process, the relay's own report at the other end. The
//! figure holds the detection, the link, the relay and the report's way back through the API socket.

use crate::sample;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// An event that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(5);

/// Opens and closes `count` listeners.
pub(crate) fn measure(socket: &Path, listen: SocketAddr, count: usize) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LOST))?;
    stream.write_all(b"{\"verb\":\"monitor\"}\n")?;
    let mut events = BufReader::new(stream);
    let (mut opened, mut closed) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        std::thread::sleep(Duration::from_millis(5));
        let begin = Instant::now();
        let listener = TcpListener::bind(listen)?;
        wait(&mut events, "rule-added", listen.port())?;
        opened.push(begin.elapsed());
        std::thread::sleep(Duration::from_millis(5));
        let begin = Instant::now();
        drop(listener);
        wait(&mut events, "rule-deleted", listen.port())?;
        closed.push(begin.elapsed());
    }
    Ok(json!({ "open": sample::summary(opened), "close": sample::summary(closed) }))
}

fn wait(events: &mut impl BufRead, kind: &str, port: u16) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if events.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the relay closed the connection"));
        }
        let answer: Value = serde_json::from_str(&line)?;
        let seen = answer["data"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|event| event["event"] == kind && event["port_number"] == port);
        if seen {
            return Ok(());
        }
    }
}
