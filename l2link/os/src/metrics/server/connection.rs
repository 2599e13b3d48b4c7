//! One client: one request, one answer, and the end.

use super::super::request::{self, Format, HEAD_MAX, Request};
use l2link::Time;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::Shutdown;

/// What is to be done after an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for the next one, or for the answer.
    Wait,
    /// The request was refused, and the client has been told.
    Refused,
    /// Forget the client.
    Close,
}

/// Where a client comes from.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    state: State,
    /// When the client is cut off.
    pub(super) deadline: Time,
}

#[derive(Debug)]
enum State {
    /// The request has not all arrived.
    Reading(Vec<u8>),
    /// It has, and waits for the figures.
    Asked { format: Format, body: bool },
    /// The answer is written from this place on.
    Writing { answer: Vec<u8>, written: usize },
}

impl Connection {
    pub(super) const fn new(stream: Stream, deadline: Time) -> Self {
        Self { stream, state: State::Reading(Vec::new()), deadline }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Unix(stream) => registry.register(stream, token, interest),
            Stream::Tcp(stream) => registry.register(stream, token, interest),
        }
    }

    /// What it asks for and has not been answered.
    pub(super) fn asked(&self) -> Option<(Format, bool)> {
        match self.state {
            State::Asked { format, body } => Some((format, body)),
            State::Reading(_) | State::Writing { .. } => None,
        }
    }

    /// Whether the whole answer is with the kernel.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.state, State::Writing { answer, written } if *written == answer.len())
    }

    /// Reads what came of the request, or writes on.
    pub(super) fn handle(&mut self) -> Step {
        match &mut self.state {
            State::Reading(_) => self.read(),
            State::Asked { .. } => Step::Wait,
            State::Writing { .. } => match self.flush() {
                Ok(()) if self.is_over() => Step::Close,
                Ok(()) => Step::Wait,
                Err(_) => Step::Close,
            },
        }
    }

    fn read(&mut self) -> Step {
        let State::Reading(input) = &mut self.state else { return Step::Wait };
        loop {
            // Ends before long: the longest head is refused.
            let mut piece = [0; 2048];
            match self.stream.read(&mut piece[..(HEAD_MAX - input.len()).min(2048)]) {
                Ok(0) => return Step::Close,
                Ok(count) => input.extend_from_slice(&piece[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Step::Wait,
                    io::ErrorKind::Interrupted => continue,
                    _ => return Step::Close,
                },
            }
            match request::parse(input) {
                None => {}
                Some(Request::Metrics { format, body }) => {
                    self.state = State::Asked { format, body };
                    return Step::Wait;
                }
                Some(Request::Refused(status)) => {
                    return match self.send(request::refusal(status)) {
                        Ok(()) => Step::Refused,
                        Err(_) => Step::Close,
                    };
                }
            }
        }
    }

    /// Sends the answer, as far as the client reads.
    pub(super) fn send(&mut self, answer: Vec<u8>) -> io::Result<()> {
        self.state = State::Writing { answer, written: 0 };
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let State::Writing { answer, written } = &mut self.state else { return Ok(()) };
        while *written < answer.len() {
            match self.stream.write(&answer[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        self.stream.finish()
    }
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}
