//! UDP load: packets per second, and the time of one request and its response.

use crate::sample;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// A flood is over when nothing came for this long.
const PAUSE: Duration = Duration::from_millis(500);
/// The first datagram of a flood or of a series of requests comes within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A request without a response within this time is lost.
const LOST: Duration = Duration::from_millis(200);
/// Requests sent before the measurement, to fill caches and neighbor tables.
const WARM_UP: usize = 200;
/// So many losses in a row mean that nobody answers.
const LOSSES_MAX: u32 = 10;
/// Receive buffer of the sink in bytes: the path is measured, not the default of a socket.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Datagrams between two looks at the clock.
const BURST: u32 = 8;
/// Sleep of a sender that is ahead of its rate.
const NAP: Duration = Duration::from_micros(20);
/// Payload that ends an echo.
const DONE: &[u8] = b"done";

/// Sends for `seconds`, at most `rate` datagrams a second, and reports how many went out. A sender ahead of its rate
/// sleeps, so that it takes no time from those who carry.
pub(crate) fn flood(to: SocketAddr, bytes: usize, seconds: f64, rate: f64, flows: u32) -> io::Result<Value> {
    let mut sender = Sender::new(to, bytes, flows)?;
    let begin = Instant::now();
    let (mut sent, mut refused) = (0u64, 0u64);
    loop {
        let elapsed = begin.elapsed().as_secs_f64();
        if elapsed >= seconds {
            break;
        }
        if (sent + refused) as f64 >= elapsed * rate {
            std::thread::sleep(NAP);
            continue;
        }
        for _ in 0..BURST {
            match sender.send() {
                Ok(()) => sent += 1,
                Err(_) => refused += 1,
            }
        }
    }
    Ok(json!({ "sent": sent, "refused": refused, "per_second": sent as f64 / begin.elapsed().as_secs_f64() }))
}

/// Sends datagrams of one flow, or of many in turn.
enum Sender {
    One { socket: UdpSocket, payload: Vec<u8> },
    Many { socket: Socket, packet: Vec<u8>, to: SocketAddrV4, flows: u32, next: u32 },
}

impl Sender {
    fn new(to: SocketAddr, bytes: usize, flows: u32) -> io::Result<Self> {
        match to {
            SocketAddr::V4(to) if flows > 1 => {
                // With headers of its own (raw(7)); the kernel fills in what is zero.
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
                let length = u16::try_from(UDP_HEADER + bytes).map_err(io::Error::other)?.to_be_bytes();
                let mut packet = vec![0x5a; IPV4_HEADER + UDP_HEADER + bytes];
                packet[..IPV4_HEADER].copy_from_slice(&[0; IPV4_HEADER]);
                [packet[0], packet[8], packet[9]] = [0x45, 64, 17];
                packet[16..20].copy_from_slice(&to.ip().octets());
                packet[22..24].copy_from_slice(&to.port().to_be_bytes());
                packet[24..28].copy_from_slice(&[length[0], length[1], 0, 0]);
                Ok(Self::Many { socket, packet, to, flows, next: 0 })
            }
            _ if flows == 1 => Ok(Self::One { socket: connected(to)?, payload: vec![0x5a; bytes] }),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "--flows is for IPv4")),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        match self {
            Self::One { socket, payload } => socket.send(payload).map(|_| ()),
            Self::Many { socket, packet, to, flows, next } => {
                let [a, b, c, _] = to.ip().octets();
                let (host, port) = (*next / PORTS, *next % PORTS);
                *next = (*next + 1) % *flows;
                let host = FIRST_HOST.wrapping_add(u8::try_from(host).map_err(io::Error::other)?);
                packet[12..16].copy_from_slice(&[a, b, c, host]);
                let port = FIRST_PORT + u16::try_from(port).map_err(io::Error::other)?;
                packet[20..22].copy_from_slice(&port.to_be_bytes());
                socket.send_to(packet, &SockAddr::from(*to)).map(|_| ())
            }
        }
    }
}

/// `IPPROTO_RAW` (`linux/in.h`).
const RAW: i32 = 255;
/// Lengths of headers without options (RFC 791, 3.1; RFC 768).
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Sources of many flows: ports, and the last numbers of their addresses from that on.
const PORTS: u32 = 60_000;
const FIRST_PORT: u16 = 5_000;
const FIRST_HOST: u8 = 200;

/// Counts datagrams from the first to the last.
pub(crate) fn sink(listen: SocketAddr) -> io::Result<Value> {
    let socket = UdpSocket::bind(listen)?;
    setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)?;
    let mut buffer = [0; 65_536];
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.recv(&mut buffer)?;
    socket.set_read_timeout(Some(PAUSE))?;
    let begin = Instant::now();
    let mut last = begin;
    let mut received = 1u64;
    while socket.recv(&mut buffer).is_ok() {
        received += 1;
        if received.is_multiple_of(64) {
            last = Instant::now();
        }
    }
    let seconds = (last - begin).as_secs_f64();
    Ok(json!({ "received": received, "per_second": received as f64 / seconds.max(1e-3) }))
}

/// Sends every datagram back.
pub(crate) fn echo(listen: SocketAddr) -> io::Result<Value> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 2048];
    let mut answered = 0u64;
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if &buffer[..length] == DONE {
            return Ok(json!({ "answered": answered }));
        }
        socket.send_to(&buffer[..length], from)?;
        answered += 1;
    }
}

/// Asks `count` times, one request at a time.
pub(crate) fn ask(to: SocketAddr, count: usize) -> io::Result<Value> {
    let socket = connected(to)?;
    socket.set_read_timeout(Some(LOST))?;
    let mut durations = Vec::with_capacity(count);
    let mut buffer = [0; 64];
    let (mut lost, mut row) = (0u64, 0);
    for number in 0..count + WARM_UP {
        let begin = Instant::now();
        let request = (number as u64).to_be_bytes();
        socket.send(&request)?;
        let answered = loop {
            match socket.recv(&mut buffer) {
                Ok(length) if buffer[..length] == request => break true,
                Ok(_late) => {}
                Err(_) => break false,
            }
        };
        row = if answered { 0 } else { row + 1 };
        if row == LOSSES_MAX {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{to} does not answer")));
        }
        match (answered, number >= WARM_UP) {
            (true, true) => durations.push(begin.elapsed()),
            (false, true) => lost += 1,
            (_, false) => {}
        }
    }
    socket.send(DONE)?;
    let mut report = sample::summary(durations);
    report["lost"] = lost.into();
    Ok(report)
}

fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket)
}
