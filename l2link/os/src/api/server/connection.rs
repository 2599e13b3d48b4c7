//! One client of the command socket.

use crate::api::{REQUEST_MAX, failure};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use serde_json::Value;
use std::io::{self, Read, Write};

/// Most bytes of answers that wait for a client beyond what the kernel holds, some 200 KiB. Many times the longest
/// listing of a relay with thousands of rules, and of a monitor more events than anyone reads at once. The answer that
/// crosses the line is still kept whole.
pub(super) const OUTPUT_MAX: usize = 4 * 1024 * 1024;
/// Bytes read from one client before the others have their turn.
const READ_BUDGET: usize = REQUEST_MAX;

/// Bytes read with one system call.
const PIECE: usize = 4096;
/// Bytes of a stream that wait beyond what the kernel holds: a fifth of a second of 100,000 packets of 400 bytes.
const STREAM_MAX: usize = 8 * 1024 * 1024;

/// What is to be done after an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for the next one.
    Idle,
    /// There is more to be read: have the event again.
    Again,
    /// Forget the client.
    Close,
}

/// What one request's worth of reading brought.
#[derive(Debug, PartialEq)]
pub(super) enum One {
    /// A request.
    Request(Value),
    /// Something else, which has been answered. There may be more.
    Nonsense,
    /// Nothing that is whole, or answers wait to be read.
    Nothing,
    /// Forget the client.
    Close,
}

/// The client cannot stay.
struct Gone;

/// A client's socket with what was read of its next request and what it has not read yet of its answers.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` is written.
    written: usize,
    /// Bytes of all answers.
    answered: u64,
    /// Whether the client gets every event.
    pub(super) monitor: bool,
    /// Whether it reads a stream: what it writes means nothing any more.
    pub(super) streams: bool,
    /// Whether it has shut its end down, or is gone.
    pub(super) hung_up: bool,
    /// Whether it is to be closed when it has read all.
    finished: bool,
}

impl Connection {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            answered: 0,
            monitor: false,
            streams: false,
            hung_up: false,
            finished: false,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub(super) fn register_again(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Writes what waits, reads what came, and hands each request to `each`.
    pub(super) fn handle(&mut self, mut each: impl FnMut(Value)) -> Step {
        if self.flush().is_err() {
            return Step::Close;
        }
        if self.streams {
            return self.handle_stream();
        }
        let mut read = 0;
        // Not while answers wait: the event that says that they can be written leads here again.
        while self.output.is_empty() {
            if read >= READ_BUDGET {
                return Step::Again;
            }
            let mut piece = [0; PIECE];
            match self.stream.read(&mut piece) {
                Ok(0) => return Step::Close,
                Ok(count) => {
                    read += count;
                    if !self.take(&piece[..count], &mut each) {
                        return Step::Close;
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Step::Idle,
                    io::ErrorKind::Interrupted => {}
                    _ => return Step::Close,
                },
            }
        }
        Step::Idle
    }

    /// Looks whether a stream's reader is still there. It is read from even while it has not read all: nothing else tells.
    fn handle_stream(&mut self) -> Step {
        if self.finished && self.output.is_empty() {
            return Step::Close;
        }
        for _ in 0..READ_BUDGET / PIECE {
            match self.stream.read(&mut [0; PIECE]) {
                Ok(0) => {
                    self.hung_up = true;
                    return Step::Idle;
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Step::Idle,
                    io::ErrorKind::Interrupted => {}
                    _ => return Step::Close,
                },
            }
        }
        Step::Again
    }

    /// Bytes of a stream that have room.
    pub(super) fn room(&self) -> usize {
        STREAM_MAX.saturating_sub(self.output.len() - self.written)
    }

    /// Adds bytes to a stream. They are sent with the next [`Connection::flush`].
    pub(super) const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Has a stream be closed when it is read. Returns whether that is now.
    pub(super) fn finish(&mut self) -> bool {
        self.finished = true;
        self.flush().is_err() || self.output.is_empty()
    }

    /// Writes what waits and reads no further than the next request.
    pub(super) fn one(&mut self) -> One {
        if self.flush().is_err() {
            return One::Close;
        }
        // Not while answers wait: the event that says that they can be written leads here again.
        while self.output.is_empty() {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let rest = self.input.split_off(end + 1);
                let line = std::mem::replace(&mut self.input, rest);
                match self.parse(&line) {
                    Ok(Some(json)) => return One::Request(json),
                    Ok(None) => return One::Nonsense,
                    Err(Gone) => return One::Close,
                }
            }
            if self.is_too_long() {
                return One::Close;
            }
            let mut piece = [0; PIECE];
            match self.stream.read(&mut piece) {
                Ok(0) => return One::Close,
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return One::Nothing,
                    io::ErrorKind::Interrupted => {}
                    _ => return One::Close,
                },
            }
        }
        One::Nothing
    }

    /// Returns whether the client can stay.
    fn take(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Value)) -> bool {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.input.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.input);
            match self.parse(&line) {
                Ok(json) => json.into_iter().for_each(&mut *each),
                Err(Gone) => return false,
            }
        }
        self.input.extend_from_slice(bytes);
        !self.is_too_long()
    }

    /// Reads a line. What is no request is answered; an empty line is nothing.
    fn parse(&mut self, line: &[u8]) -> Result<Option<Value>, Gone> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let wrong = match serde_json::from_slice(line) {
            Ok(json @ Value::Object(_)) => return Ok(Some(json)),
            Ok(_) => {
                failure("a request is a JSON object, for example {\"verb\":\"show\",\"object\":\"peers\"}")
            }
            Err(error) => failure(format_args!("this is no JSON: {error}")),
        };
        if self.send(&wrong) { Ok(None) } else { Err(Gone) }
    }

    /// Whether a line is longer than any request, which is answered.
    fn is_too_long(&mut self) -> bool {
        let is_too_long = self.input.len() > REQUEST_MAX;
        if is_too_long {
            self.send(&failure(format_args!("a request has at most {REQUEST_MAX} bytes")));
        }
        is_too_long
    }

    /// How many bytes of answers there were in its life.
    pub(super) const fn answered(&self) -> u64 {
        self.answered
    }

    /// Sends one answer, as far as the client reads. Returns whether the client can stay.
    pub(super) fn send(&mut self, answer: &Value) -> bool {
        if self.output.len() - self.written > OUTPUT_MAX {
            return false;
        }
        let before = self.output.len();
        if serde_json::to_writer(&mut self.output, answer).is_err() {
            return false;
        }
        self.output.push(b'\n');
        self.answered += (self.output.len() - before) as u64;
        self.flush().is_ok()
    }

    /// Writes what waits, as far as the client reads.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.compact();
                        return Ok(());
                    }
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Gives back the room of what is written, when that is the larger part: each byte is moved at most once.
    fn compact(&mut self) {
        if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }
}
