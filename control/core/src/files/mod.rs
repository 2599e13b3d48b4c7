//! File symbols (M14): a relay's port as files, which programs open, read and write.
//!
//! # Theory of operation
//!
//! A symbol of kind files has neither interface nor kernel behind it: what comes for it is kept here, in a queue for each open file,
//! until it is read. *Opening* a file is what opening a socket is elsewhere: it makes the rule for what the file stands for
//! ([`PacketFile`]), and the opening ends when the relay has answered, not before. *Closing* the last opening removes the rule. In
//! between the rule comes back by itself after every loss of contact, as all rules do.
//!
//! - A packet goes to each open file that it matches, whichever tunnel it came by: the relay sends a symbol each packet once.
//!   Those that have the same `tcp` or `udp` file open share its packets, by the far end; of all others each gets a copy. ICMP errors
//!   go to the files of ICMP and to those of all frames only.
//! - A read takes one packet. If that does not fit it stays, and the read fails; so nothing is ever cut or lost. Reads wait in
//!   the order in which they came.
//! - A queue that is full takes nothing more: dropped and counted, and nobody waits.
//! - What is written goes down the symbol's tunnel (`send`): a frame as it is, a packet as one that the relay's kernel routes.
//!
//! The shell speaks FUSE and knows requests by their numbers: it hands over opens, reads, writes, polls and interrupts, and takes
//! answers from [`Control::poll_file_answer`].

mod deliver;
mod name;
mod open_file;
mod queue;
mod send;
mod show;
mod tree;

pub use name::{Class, PacketFile};
pub use send::Written;
pub use show::AttributesRow;
pub use tree::{Node, Ownership, PACKETS, Text};

use crate::Control;
use crate::rule::RuleState;
use crate::symbol::Stage as SymbolStage;
use core::time::Duration;
use frames::message::Status;
use frames::{ProtocolAddress, SymbolId, UpTunnel};
use l2link::Time;
use open_file::{OpenFile, Reader, Stage};
use std::collections::{BTreeMap, VecDeque};

/// One opening of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHandle(pub u64);

/// Why a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileError {
    /// The relay, its port's permission list or the symbol's `services` forbid it.
    Denied,
    /// Somebody else has it, and the port's policy does not share.
    InUse,
    /// A table of the relay is full.
    TableFull,
    /// As many files are open as there can be.
    TooManyOpen,
    /// The symbol cannot carry packets now.
    Down,
    /// The relay did not answer.
    TimedOut,
    /// The packet is longer than the buffer, or than the port's MTU.
    TooLong,
    /// It is not what the file takes.
    NotAPacket,
    /// The packet's source is not an address of the port.
    ForeignSource,
    /// There is nothing, and the reader does not wait.
    WouldBlock,
    /// A signal ended the wait.
    Interrupted,
    /// The relay's kernel refused, or something else went wrong.
    Failed,
    /// The file is not open (any more).
    NotOpen,
}

/// An answer for the shell to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FileAnswer {
    /// To an open.
    Opened {
        /// The request.
        request: u64,
        /// The handle, or why not.
        result: Result<FileHandle, FileError>,
    },
    /// To a read: the first `length` bytes of [`Control::file_data`]. When they have arrived, the shell owes
    /// [`Control::handle_file_taken`]; otherwise they stay.
    Data {
        /// The request.
        request: u64,
        /// The file.
        handle: FileHandle,
        /// How many bytes.
        length: usize,
    },
    /// To a read: it fails.
    NoData {
        /// The request.
        request: u64,
        /// Why.
        error: FileError,
    },
    /// Whoever polled with this number has something to read.
    Readable {
        /// The number.
        poll: u64,
    },
}

/// What becomes of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FileRead {
    /// As in [`FileAnswer::Data`].
    Data(usize),
    /// It fails.
    Error(FileError),
    /// It waits: a [`FileAnswer`] comes.
    Wait,
}

/// All open files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: BTreeMap<FileHandle, OpenFile>,
    /// The openings of each file, in order.
    index: BTreeMap<(SymbolId, PacketFile), Vec<FileHandle>>,
    /// Whose the requests are that wait.
    waiting: BTreeMap<u64, FileHandle>,
    answers: VecDeque<FileAnswer>,
    /// Files with something to answer.
    ready: VecDeque<FileHandle>,
    last: u64,
    counters: BTreeMap<SymbolId, show::FileCounters>,
    /// Whom the packet at hand goes to, and the packet as it is on a cable.
    targets: Vec<FileHandle>,
    scratch: Vec<u8>,
}

/// Most openings at a time, of all symbols.
const OPEN_MAX: usize = 1_024;
/// How long an opening waits for the relay's answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Files {
    /// The files of a symbol that are open, each once.
    pub(crate) fn open_in(&self, symbol: SymbolId) -> impl Iterator<Item = PacketFile> {
        let begin = (symbol, PacketFile::Packets);
        self.index.range(begin..).take_while(move |((of, _), _)| *of == symbol).map(|((_, file), _)| *file)
    }

    /// When an opening has waited for long enough.
    pub(crate) fn timeout(&self) -> Option<Time> {
        // Whoever waits is in here, and those are few.
        let stages = self.waiting.values().filter_map(|handle| Some(self.open.get(handle)?.stage));
        let ends = stages.filter_map(|stage| match stage {
            Stage::Opening(_, end) => Some(end),
            Stage::Open => None,
        });
        ends.min()
    }

    fn handles_by_address(&self, symbol: SymbolId, address: &ProtocolAddress) -> Vec<FileHandle> {
        let files = self.open_in(symbol).filter(|file| file.address() == *address);
        files.filter_map(|file| self.index.get(&(symbol, file))).flatten().copied().collect()
    }

    fn list(&mut self, handle: FileHandle) {
        if let Some(file) = self.open.get_mut(&handle)
            && !core::mem::replace(&mut file.listed, true)
        {
            self.ready.push_back(handle);
        }
    }

    /// The next answer of a file that has something to answer.
    fn next_of_ready(&mut self) -> Option<FileAnswer> {
        while let Some(handle) = self.ready.front().copied() {
            if let Some(file) = self.open.get_mut(&handle) {
                if let Some(reader) = file.readers.front().copied()
                    && let Some(given) = file.give(reader.size)
                {
                    file.readers.pop_front();
                    self.waiting.remove(&reader.request);
                    let request = reader.request;
                    return Some(match given {
                        Ok(length) => FileAnswer::Data { request, handle, length },
                        Err(error) => FileAnswer::NoData { request, error },
                    });
                }
                if file.is_readable()
                    && let Some(poll) = file.poll.take()
                {
                    return Some(FileAnswer::Readable { poll });
                }
                file.listed = false;
            }
            self.ready.pop_front();
        }
        None
    }

    fn remove(&mut self, handle: FileHandle) -> Option<OpenFile> {
        let file = self.open.remove(&handle)?;
        if let Some(handles) = self.index.get_mut(&(file.symbol, file.file)) {
            handles.retain(|other| *other != handle);
            if handles.is_empty() {
                self.index.remove(&(file.symbol, file.file));
            }
        }
        file.readers.iter().for_each(|reader| _ = self.waiting.remove(&reader.request));
        if let Stage::Opening(request, _) = file.stage {
            self.waiting.remove(&request);
        }
        Some(file)
    }
}

impl Control {
    /// A program opens a file of a symbol, by this request, `writes` if also for writing. The answer is a
    /// [`FileAnswer::Opened`]: the rule is in force then. `wall` is the time of day, in µs.
    pub fn handle_file_open(
        &mut self,
        request: u64,
        symbol: SymbolId,
        file: PacketFile,
        writes: bool,
        wall: u64,
        now: Time,
    ) {
        if let Err(error) = self.open_file(request, symbol, file, writes, wall, now) {
            self.files.answers.push_back(FileAnswer::Opened { request, result: Err(error) });
        }
        self.flush();
    }

    fn open_file(
        &mut self,
        request: u64,
        id: SymbolId,
        file: PacketFile,
        writes: bool,
        wall: u64,
        now: Time,
    ) -> Result<(), FileError> {
        let address = file.address();
        let index = self.symbols.iter().position(|symbol| symbol.id == id && symbol.config.files.is_some());
        let symbol = &mut self.symbols[index.ok_or(FileError::NotOpen)?];
        if matches!(symbol.stage, SymbolStage::Refused(_))
            || !symbol.config.exposure.permits(&address)
            || (writes && file == PacketFile::Pcap)
        {
            return Err(FileError::Denied);
        }
        if symbol.rules.grant().is_none() || symbol.ifindex().is_none() {
            return Err(FileError::Down);
        }
        if self.files.open.len() >= OPEN_MAX {
            return Err(FileError::TooManyOpen);
        }
        let known = symbol.rules.tunnel(&address);
        let tunnel = known.unwrap_or_else(|| symbol.rules.add(address, now, &mut self.tables));
        let stage = match self.tables.receive.get(tunnel).map(|rule| &rule.state) {
            Some(RuleState::Active) => Stage::Open,
            Some(RuleState::Refused(_)) => {
                let others = self.files.handles_by_address(id, &address);
                let broken = others.iter().find_map(|other| self.files.open.get(other)?.broken);
                return Err(broken.unwrap_or(FileError::Failed));
            }
            Some(RuleState::Pending | RuleState::Closing) | None => Stage::Opening(request, now + ANSWER_MAX),
        };
        self.files.last += 1;
        let handle = FileHandle(self.files.last);
        let wall = wall.saturating_sub(now.0);
        self.files.open.insert(handle, OpenFile::new(id, file, stage, wall));
        self.files.index.entry((id, file)).or_default().push(handle);
        match stage {
            Stage::Open => {
                self.files.answers.push_back(FileAnswer::Opened { request, result: Ok(handle) });
            }
            Stage::Opening(..) => _ = self.files.waiting.insert(request, handle),
        }
        Ok(())
    }

    /// A file was closed, or nobody heard that it was opened.
    pub fn handle_file_closed(&mut self, handle: FileHandle, now: Time) {
        self.close_file(handle, now);
        self.flush();
    }

    fn close_file(&mut self, handle: FileHandle, now: Time) -> Option<OpenFile> {
        let file = self.files.remove(handle)?;
        let address = file.file.address();
        if self.files.handles_by_address(file.symbol, &address).is_empty()
            && let Some(symbol) = self.symbols.iter_mut().find(|symbol| symbol.id == file.symbol)
        {
            symbol.rules.remove(&address, now, &mut self.tables);
        }
        Some(file)
    }

    /// A program reads, at most `size` bytes; `waits` if it does when there is nothing.
    pub fn handle_file_read(
        &mut self,
        request: u64,
        handle: FileHandle,
        size: usize,
        waits: bool,
    ) -> FileRead {
        let Some(file) = self.files.open.get_mut(&handle) else { return FileRead::Error(FileError::NotOpen) };
        // Those who wait were there before.
        let given = if file.readers.is_empty() { file.give(size) } else { None };
        match given {
            Some(Ok(length)) => FileRead::Data(length),
            Some(Err(error)) => FileRead::Error(error),
            None if !waits => FileRead::Error(FileError::WouldBlock),
            None => {
                file.readers.push_back(Reader { request, size });
                self.files.waiting.insert(request, handle);
                FileRead::Wait
            }
        }
    }

    /// The first `length` bytes that wait in a file, in two parts.
    #[must_use]
    pub fn file_data(&self, handle: FileHandle, length: usize) -> (&[u8], &[u8]) {
        self.files.open.get(&handle).map_or((&[], &[]), |file| file.queue.peek(length))
    }

    /// So many bytes of a file have arrived at their reader.
    pub fn handle_file_taken(&mut self, handle: FileHandle, length: usize) {
        if let Some(file) = self.files.open.get_mut(&handle) {
            file.queue.consume(length);
        }
    }

    /// A program asks whether it could read without waiting; if `poll` is there it wants to hear when that changes.
    pub fn handle_file_poll(&mut self, handle: FileHandle, poll: Option<u64>) -> bool {
        let Some(file) = self.files.open.get_mut(&handle) else { return true };
        if poll.is_some() {
            file.poll = poll;
        }
        file.is_readable()
    }

    /// Whether nothing comes to a file any more, for a poll.
    #[must_use]
    pub fn is_file_broken(&self, handle: FileHandle) -> bool {
        self.files.open.get(&handle).is_none_or(|file| file.broken.is_some())
    }

    /// A signal came for whoever waits for the answer to a request. Answered already is as good.
    pub fn handle_file_interrupt(&mut self, request: u64, now: Time) {
        let Some(handle) = self.files.waiting.remove(&request) else { return };
        let Some(file) = self.files.open.get_mut(&handle) else { return };
        let error = FileError::Interrupted;
        if matches!(file.stage, Stage::Opening(opening, _) if opening == request) {
            self.close_file(handle, now);
            self.files.answers.push_back(FileAnswer::Opened { request, result: Err(error) });
            self.flush();
        } else {
            file.readers.retain(|reader| reader.request != request);
            self.files.answers.push_back(FileAnswer::NoData { request, error });
        }
    }

    /// The next answer for the shell to give.
    pub fn poll_file_answer(&mut self) -> Option<FileAnswer> {
        self.files.answers.pop_front().or_else(|| self.files.next_of_ready())
    }

    /// All files are gone: nobody can be answered.
    pub fn handle_files_gone(&mut self, now: Time) {
        for handle in self.files.open.keys().copied().collect::<Vec<_>>() {
            self.close_file(handle, now);
        }
        self.files.answers.clear();
        self.flush();
    }

    /// The relay said yes or no to a rule.
    pub(crate) fn follow_file_rule(&mut self, tunnel: UpTunnel, status: Status, now: Time) {
        let Some(rule) = self.tables.receive.get(tunnel) else { return };
        let (symbol, address) = (rule.symbol, rule.protocol_address);
        for handle in self.files.handles_by_address(symbol, &address) {
            let Some(file) = self.files.open.get_mut(&handle) else { continue };
            match (file.stage, error_of(status)) {
                (Stage::Opening(request, _), None) => {
                    file.stage = Stage::Open;
                    self.files.waiting.remove(&request);
                    self.files.answers.push_back(FileAnswer::Opened { request, result: Ok(handle) });
                }
                (Stage::Opening(..), Some(error)) => self.fail_opening(handle, error, now),
                (Stage::Open, error) => {
                    file.broken = error;
                    self.files.list(handle);
                }
            }
        }
    }

    /// A symbol has lost its relay, or was refused: openings of its files that wait do so in vain.
    pub(crate) fn fail_openings(&mut self, symbol: SymbolId, error: FileError, now: Time) {
        let waits = |file: &OpenFile| file.symbol == symbol && matches!(file.stage, Stage::Opening(..));
        let handles = self.files.open.iter().filter(|(_, file)| waits(file)).map(|(handle, _)| *handle);
        for handle in handles.collect::<Vec<_>>() {
            self.fail_opening(handle, error, now);
        }
    }

    /// A symbol has gone: nothing comes to its open files any more.
    pub(crate) fn end_files_of(&mut self, symbol: SymbolId, now: Time) {
        self.fail_openings(symbol, FileError::Down, now);
        let of_it = self.files.open.iter_mut().filter(|(_, file)| file.symbol == symbol);
        let handles = of_it.map(|(handle, file)| {
            file.broken = Some(FileError::Down);
            *handle
        });
        handles.collect::<Vec<_>>().into_iter().for_each(|handle| self.files.list(handle));
        self.files.counters.remove(&symbol);
    }

    /// Ends the openings that have waited for long enough.
    pub(crate) fn expire_openings(&mut self, now: Time) {
        let late = |file: &OpenFile| matches!(file.stage, Stage::Opening(_, end) if end <= now);
        let handles = self.files.open.iter().filter(|(_, file)| late(file)).map(|(handle, _)| *handle);
        for handle in handles.collect::<Vec<_>>() {
            self.fail_opening(handle, FileError::TimedOut, now);
        }
        self.flush();
    }

    fn fail_opening(&mut self, handle: FileHandle, error: FileError, now: Time) {
        if let Some(OpenFile { stage: Stage::Opening(request, _), .. }) = self.close_file(handle, now) {
            self.files.answers.push_back(FileAnswer::Opened { request, result: Err(error) });
        }
    }
}

/// What a program hears of a relay's refusal.
pub(crate) fn error_of(status: Status) -> Option<FileError> {
    Some(match status {
        Status::OK => return None,
        Status::NOT_PERMITTED | Status::RESERVED | Status::NO_SUCH_PORT => FileError::Denied,
        Status::CONFLICT => FileError::InUse,
        Status::TABLE_FULL => FileError::TableFull,
        Status::BAD_REQUEST | Status::UNSUPPORTED => FileError::NotAPacket,
        _ => FileError::Failed,
    })
}
