//! `capture`: packets as they pass through a daemon, into a file for Wireshark and tcpdump.
//!
//! The daemon writes the file; it comes behind the answer to the request. To say that it is enough this end shuts the connection down
//! for writing, and the daemon ends the file with what it has counted. A thread waits for the moment, as the other one may
//! be stuck with a reader that takes nothing.

mod tally;

use crate::Failure;
use clap::Args;
use l2link_os::api::ApiClient;
use l2link_os::signals::Signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tally::Tally;

#[derive(Debug, Args)]
pub(crate) struct Form {
    /// Only packets of this port of a relay
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    /// Only packets of this symbol of a control
    #[arg(long, value_name = "NAME", conflicts_with = "port")]
    symbol: Option<String>,
    /// Only packets to and from this peer
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// File to write; - is standard output, which is the default if it is no terminal
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Keep no more of a packet than so many bytes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    snaplen: Option<u32>,
    /// Only packets of which all this is true: tcp, udp, icmp, icmp6 or another protocol of IP; ip, ip6, arp, ethertype 0x88cc; host
    /// 192.0.2.9 or 2001:db8::/32; port 80; dropped
    #[arg(value_name = "WORD")]
    filter: Vec<String>,
}

/// Captures until it is enough.
pub(crate) fn run(socket: &Path, form: &Form) -> Result<(), Failure> {
    let file = form.write.as_deref().filter(|path| *path != Path::new("-"));
    if file.is_none() && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "a capture is nothing for a terminal: write it to a file with -w FILE, or let somebody read it, as in \
             `l2ctl capture -w - | tshark -r -`"
                .to_owned(),
        ));
    }
    // Before any thread is started.
    let signals = Signals::open().map_err(|error| Failure::Daemon(error.to_string()))?;
    let mut client = ApiClient::connect(socket)?;
    let request = json!({
        "verb": "capture", "port": form.port, "symbol": form.symbol, "peer": form.peer, "count": form.count,
        "snaplen": form.snaplen, "filter": form.filter.join(" "),
    });
    let answer = client.request(&request)?;
    let output = match file {
        Some(path) => create(path)?,
        None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
    };
    let mut input = client.into_stream();
    let connection = input.get_ref().try_clone()?;
    let enough = Arc::new(AtomicBool::new(false));
    let reader = (file.is_none()).then(|| output.as_fd().try_clone_to_owned()).transpose()?;
    let end = End { connection, signals, reader, enough: Arc::clone(&enough) };
    let until = form.seconds.map(|time| Instant::now() + time);
    thread::Builder::new().name("end".to_owned()).spawn(move || end.wait(until))?;
    writeln!(io::stderr(), "{}", begins(&answer))?;
    let tally = copy(&mut input, output)?;
    writeln!(io::stderr(), "{tally}")?;
    let complete = form.count.is_some_and(|count| tally.packets >= count);
    if complete || enough.load(Ordering::Relaxed) {
        Ok(())
    } else {
        Err(Failure::Daemon("the daemon ended the capture: it was stopped".to_owned()))
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path);
    file.map_err(|error| {
        Failure::Output(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    })
}

fn begins(answer: &[Value]) -> String {
    let first = answer.first().unwrap_or(&Value::Null);
    let sides = first["sides"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let sides = sides.collect::<Vec<_>>().join(", ");
    let device = first["device"].as_str().unwrap_or("?");
    format!("capturing at {device}: {}", if sides.is_empty() { "nothing yet" } else { &sides })
}

/// Copies what the daemon writes, at once, and counts it.
fn copy(input: &mut impl Read, mut output: File) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece) {
            Ok(0) => return Ok(tally),
            Ok(length) => {
                tally.take(&piece[..length]);
                output.write_all(&piece[..length])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The daemon was stopped.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(tally),
            Err(error) => return Err(Failure::Daemon(format!("the connection failed: {error}"))),
        }
    }
}

/// What ends a capture from here.
struct End {
    connection: UnixStream,
    signals: Signals,
    /// The pipe, if it is one, whose reader may leave while nothing is written.
    reader: Option<OwnedFd>,
    enough: Arc<AtomicBool>,
}

impl End {
    fn wait(mut self, until: Option<Instant>) {
        let left = self.wait_for_end(until);
        self.enough.store(true, Ordering::Relaxed);
        // It may have ended by itself. Whoever has left reads no statistics.
        let _ = self.connection.shutdown(if left { Shutdown::Both } else { Shutdown::Write });
        // The rest is read soon, unless whoever is to read it from here takes nothing.
        self.wait_for_end(Some(Instant::now() + GRACE));
        std::process::exit(1);
    }

    /// Waits for a signal or the time. Returns whether the reader has left.
    fn wait_for_end(&mut self, until: Option<Instant>) -> bool {
        loop {
            if !matches!(self.signals.next(), Ok(None)) {
                return false;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            // Rounded up, so that it is not asked again and again within the last millisecond.
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let mut waiting = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            waiting
                .extend(self.reader.as_ref().map(|reader| PollFd::new(reader.as_fd(), PollFlags::empty())));
            // Whatever comes of it, it is looked at again.
            let _ = poll(&mut waiting, timeout);
            let broken = |reader: &PollFd<'_>| {
                reader.revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
            };
            if waiting.get(1).is_some_and(broken) {
                return true;
            }
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let time = seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= LONGEST).ok_or_else(|| "a number of seconds, at most a million".to_owned())
}

/// Who may read what others sent.
const MODE: u32 = 0o600;
/// Bytes copied at once.
const PIECE: usize = 256 * 1024;
/// How long the end of the file may take.
const GRACE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(1_000_000);
