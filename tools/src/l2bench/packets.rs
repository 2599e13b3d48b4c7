//! Packets per second of one program, through a file or through a packet socket: one system call for each.

use clap::Args;
use serde_json::{Value, json};
use socket2::{SockFilter, Socket};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the program opens.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct End {
    /// A file of packets.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Standard input, which is a packet socket.
    #[arg(long)]
    socket: bool,
}

/// A flood is over when nothing came for this long.
const PAUSE: Duration = Duration::from_millis(500);
/// The first packet comes within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at how far the reader is.
const LOOK: Duration = Duration::from_millis(50);
/// Packets between two looks at the clock.
const BURST: u32 = 8;
/// Sleep of a sender that is ahead of its rate.
const NAP: Duration = Duration::from_micros(20);

/// Counts packets from the first to the last.
pub(crate) fn receive(end: &End, port: Option<u16>) -> io::Result<Value> {
    let _held = port.map(hold).transpose()?;
    let file = open(end)?;
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    // It ends with the process.
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while (&file).read(&mut buffer).is_ok_and(|length| length > 0) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let start = Instant::now();
    let (mut first, mut last, mut seen) = (None, start, 0);
    loop {
        thread::sleep(LOOK);
        let (now, received) = (Instant::now(), count.load(Ordering::Relaxed));
        if received != seen {
            first.get_or_insert(now);
            (last, seen) = (now, received);
        }
        match first {
            None if now - start > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
            Some(first) if now - last > PAUSE => {
                let seconds = (last - first).max(LOOK).as_secs_f64();
                return Ok(json!({ "received": seen, "per_second": seen as f64 / seconds }));
            }
            None | Some(_) => {}
        }
    }
}

/// Sends for `seconds`, at most `rate` packets a second, and reports how many went out.
pub(crate) fn transmit(end: &End, packet: &str, seconds: f64, rate: f64) -> io::Result<Value> {
    let packet = bytes(packet).ok_or_else(|| io::Error::other("not an even number of hexadecimal digits"))?;
    let file = open(end)?;
    let begin = Instant::now();
    let (mut sent, mut refused) = (0u64, 0u64);
    loop {
        let elapsed = begin.elapsed().as_secs_f64();
        if elapsed >= seconds {
            let per_second = sent as f64 / begin.elapsed().as_secs_f64();
            return Ok(json!({ "sent": sent, "refused": refused, "per_second": per_second }));
        }
        if (sent + refused) as f64 >= elapsed * rate {
            thread::sleep(NAP);
            continue;
        }
        for _ in 0..BURST {
            match (&file).write(&packet) {
                Ok(length) if length == packet.len() => sent += 1,
                Ok(_) | Err(_) => refused += 1,
            }
        }
    }
}

fn open(end: &End) -> io::Result<File> {
    match &end.file {
        Some(path) => OpenOptions::new().read(true).write(true).open(path),
        None => Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?)),
    }
}

/// Has the packets of a UDP port come, by a socket that itself takes none.
fn hold(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::from(UdpSocket::bind(("0.0.0.0", port))?);
    // Return 0 (linux/filter.h): the packet is refused.
    socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
    Ok(socket.into())
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits = hexadecimal.as_bytes();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    });
    pairs.collect()
}
