//! [`Files`]: the files of all file symbols, at their mount point.
//!
//! One FUSE mount serves all symbols: packets here in the loop, the tree on a thread ([`tree`]). It is mounted for the first symbol
//! whose port the relay grants. If it cannot be, the symbols are refused with the reason, and it is tried again; if somebody
//! unmounts it, likewise.

pub(crate) mod ownership;
mod tree;

use crate::capture;
use crate::daemon::{Daemon, Taken};
use crate::link_interface::LinkInterface;
use crate::packets::send;
use crate::source::Source;
use control_core::files::{FileAnswer, FileError, FileHandle, FileRead, Node, Text, Written};
use control_core::{Control, Failure, Recorded};
use core::time::Duration;
use frames::SymbolId;
use l2link::{Batch, Time};
use l2link_os::clock;
use l2link_os::fuse::{FuseDevice, FuseMount, Next, Operation, Request, has_own_mounts};
use log::{info, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Waker};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tree::{About, Answer, Question};

/// The mount, while it is there, and whose files are in it.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    symbols: BTreeSet<SymbolId>,
    /// Whether other programs may not see what is mounted.
    hidden: bool,
    /// Made once: a poll has one at most.
    waker: Option<Arc<Waker>>,
    mounted: Option<Mounted>,
}

#[derive(Debug)]
struct Mounted {
    /// Before the device: nobody is to find files whose daemon is gone.
    _mount: FuseMount,
    device: FuseDevice,
    questions: Receiver<Question>,
    /// Ends by itself when the device does.
    _thread: JoinHandle<()>,
}

impl Files {
    /// For these symbols, at a mount point. Nothing is mounted yet.
    pub(crate) fn new(path: PathBuf, symbols: BTreeSet<SymbolId>) -> Self {
        Self { path, symbols, hidden: has_own_mounts(), waker: None, mounted: None }
    }

    /// A symbol of files is made.
    pub(crate) fn add(&mut self, symbol: SymbolId) {
        self.symbols.insert(symbol);
    }

    /// A symbol has gone, with all that is its own; nothing is mounted for none.
    pub(crate) fn remove(&mut self, symbol: SymbolId) {
        if self.symbols.remove(&symbol) && self.symbols.is_empty() {
            self.unmount();
        }
    }

    /// Whether a symbol is one of files.
    pub(crate) fn has(&self, symbol: SymbolId) -> bool {
        self.symbols.contains(&symbol)
    }

    /// Mounts the files, unless they are.
    pub(crate) fn mount(&mut self, registry: &Registry) -> Result<(), Failure> {
        if self.mounted.is_some() {
            return Ok(());
        }
        let (mount, device, library) =
            FuseMount::new(&self.path).map_err(|error| Failure::Refused(format!("files: {error}")))?;
        let system = |error: io::Error| Failure::Refused(format!("files: {error}"));
        let waker = match &self.waker {
            Some(waker) => Arc::clone(waker),
            None => Arc::new(Waker::new(registry, Source::FileQuestions.token()).map_err(system)?),
        };
        self.waker = Some(Arc::clone(&waker));
        let both = Interest::READABLE | Interest::WRITABLE;
        let sources = [
            (device.device(), Source::FileRequests, Interest::READABLE),
            (device.library(), Source::FileTree, both),
        ];
        for (descriptor, source, interest) in sources {
            registry.register(&mut SourceFd(&descriptor), source.token(), interest).map_err(system)?;
        }
        let (questions, thread) = tree::start(library, waker).map_err(system)?;
        info!(target: "control::files", "files are at {}", mount.path().display());
        if self.hidden {
            warn!(
                target: "control::files",
                "this process has mounts of its own, so that other programs may not see the files: l2control.toml(5), [files], tells what a service needs"
            );
        }
        self.mounted = Some(Mounted { _mount: mount, device, questions, _thread: thread });
        Ok(())
    }

    /// Unmounts them: whoever waits for a packet hears that the files are gone.
    pub(crate) fn unmount(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            // If it does not hear it, it ends with its socket.
            let _ = mounted.device.end_library();
        }
    }
}

/// What a request is answered at once.
#[derive(Debug, Clone, Copy)]
enum Reply {
    /// Nothing now, or nothing at all.
    None,
    /// The first bytes of a file.
    Data(FileHandle, usize),
    /// Bytes written, or events.
    Word(u32),
    Done,
    Error(FileError),
}

impl Daemon {
    /// Programs open, read, write, close.
    ///
    /// A program that reads or writes packets does so again as soon as it has its answer. Waiting for that a moment costs far less than
    /// going to sleep and being woken, and what it writes leaves together.
    pub(crate) fn take_file_requests(&mut self, now: Time) -> Taken {
        let mut expected = None;
        for _ in 0..BUDGET {
            let Some(mounted) = &mut self.files.mounted else { return Taken::All };
            let (number, reply) = match mounted.device.next() {
                Ok(Next::Request(request)) => {
                    let mut way = Way { link: &mut self.link, batch: &mut self.batch };
                    (request.number, handle(&mut self.control, &request, &mut way, now))
                }
                Ok(Next::Passed) => continue,
                Ok(Next::Nothing) => match expected {
                    Some(end) if clock::now() < end => {
                        // Its program may be waiting for this very processor.
                        std::thread::yield_now();
                        continue;
                    }
                    Some(_) | None => return Taken::All,
                },
                Ok(Next::Unmounted) => {
                    self.files_gone(now);
                    return Taken::All;
                }
                Err(error) => {
                    self.receive.warn(now, format_args!("reading requests for files: {error}"));
                    return Taken::All;
                }
            };
            capture::written(&mut self.captures, &mut self.control, &mut self.api);
            let given = give(&mut self.control, &mounted.device, number, reply);
            self.complain_of_answer(given, now);
            if matches!(reply, Reply::Data(..) | Reply::Word(_)) {
                expected = Some((clock::now() + MOMENT).min(now + LONGEST));
            }
        }
        Taken::Some
    }

    /// The tree's thread has answers, or room for requests.
    pub(crate) fn pass_tree_answers(&mut self, now: Time) {
        let Some(mounted) = &mut self.files.mounted else { return };
        if let Err(error) = mounted.device.pass_answers() {
            self.receive.warn(now, format_args!("answering about files: {error}"));
        }
        // One may wait for that room.
        self.ready.insert(Source::FileRequests);
    }

    /// The tree's thread asks.
    pub(crate) fn answer_tree(&mut self) {
        let Some(mounted) = &self.files.mounted else { return };
        while let Ok(Question { about, answer }) = mounted.questions.try_recv() {
            // It waits for this one answer, for which there is room.
            let _ = answer.try_send(tell(&self.control, about));
        }
    }

    /// Gives the answers that programs wait for.
    pub(crate) fn answer_programs(&mut self, now: Time) {
        while let Some(answer) = self.control.poll_file_answer() {
            let Some(mounted) = &self.files.mounted else { continue };
            let device = &mounted.device;
            let control = &mut self.control;
            let given = match answer {
                FileAnswer::Opened { request, result: Ok(handle) } => {
                    device.opened(request, handle.0).map(|heard| {
                        if !heard {
                            control.handle_file_closed(handle, now);
                        }
                    })
                }
                FileAnswer::Opened { request, result: Err(error) }
                | FileAnswer::NoData { request, error } => {
                    give(control, device, request, Reply::Error(error))
                }
                FileAnswer::Data { request, handle, length } => {
                    give(control, device, request, Reply::Data(handle, length))
                }
                FileAnswer::Readable { poll } => device.notify(poll).map(|_| ()),
            };
            self.complain_of_answer(given, now);
        }
    }

    fn complain_of_answer(&mut self, given: io::Result<()>, now: Time) {
        if let Err(error) = given {
            self.receive.warn(now, format_args!("answering a program: {error}"));
        }
    }

    /// Has the files be mounted elsewhere. Those that are open now are over.
    pub(crate) fn mount_elsewhere(&mut self, path: &Path, now: Time) {
        if self.files.path == path {
            return;
        }
        let was_mounted = self.files.mounted.is_some();
        self.files.unmount();
        path.clone_into(&mut self.files.path);
        if was_mounted {
            self.end_files(now);
        }
    }

    /// Somebody has unmounted the files.
    fn files_gone(&mut self, now: Time) {
        warn!(target: "control::files", "the files at {} were unmounted", self.files.path.display());
        self.files.unmount();
        self.end_files(now);
    }

    fn end_files(&mut self, now: Time) {
        self.control.handle_files_gone(now);
        for symbol in self.files.symbols.clone() {
            self.control.handle_symbol_failed(symbol, Failure::Removed, now);
        }
    }
}

/// The way of packets out.
struct Way<'a> {
    link: &'a mut LinkInterface,
    batch: &'a mut Batch,
}

fn handle(control: &mut Recorded, request: &Request<'_>, way: &mut Way<'_>, now: Time) -> Reply {
    match request.operation {
        Operation::Open { writes } => match Node::of(request.node) {
            Some(Node::Packets(symbol, file)) => {
                control.handle_file_open(request.number, symbol, file, writes, time_of_day(), now);
                Reply::None
            }
            _ => Reply::Error(FileError::NotOpen),
        },
        Operation::Read { handle, size, waits } => {
            let handle = FileHandle(handle);
            match control.handle_file_read(request.number, handle, size, waits) {
                FileRead::Data(length) => Reply::Data(handle, length),
                FileRead::Error(error) => Reply::Error(error),
                FileRead::Wait => Reply::None,
            }
        }
        Operation::Write { handle, data } => loop {
            match control.handle_file_write(FileHandle(handle), data, now, way.batch) {
                Ok(Written::Sent) => break Reply::Word(u32::try_from(data.len()).unwrap_or(u32::MAX)),
                // An empty one has all the room that there is.
                Ok(Written::Flush) if way.batch.is_empty() => break Reply::Error(FileError::Failed),
                Ok(Written::Flush) => send(way.link, way.batch, control),
                Err(error) => break Reply::Error(error),
            }
        },
        Operation::Poll { handle, poll } => {
            let handle = FileHandle(handle);
            let readable = if control.handle_file_poll(handle, poll) { READABLE } else { 0 };
            let broken = if control.is_file_broken(handle) { BROKEN } else { 0 };
            Reply::Word(readable | broken | WRITABLE)
        }
        Operation::Release { handle } => {
            control.handle_file_closed(FileHandle(handle), now);
            Reply::Done
        }
        Operation::Interrupt { request } => {
            control.handle_file_interrupt(request, now);
            Reply::None
        }
    }
}

fn give(control: &mut Recorded, device: &FuseDevice, request: u64, reply: Reply) -> io::Result<()> {
    let heard = match reply {
        Reply::None => return Ok(()),
        Reply::Data(handle, length) => {
            let heard = device.data(request, control.file_data(handle, length))?;
            if heard {
                control.handle_file_taken(handle, length);
            }
            heard
        }
        Reply::Word(word) => device.word(request, word)?,
        Reply::Done => device.done(request)?,
        Reply::Error(error) => device.fail(request, errno(error))?,
    };
    log::trace!(target: "control::files", "request {request}: {reply:?}{}", if heard { "" } else { ", too late" });
    Ok(())
}

fn tell(control: &Control, about: About) -> Answer {
    let with_owner = |node: Node| Some((node, control.file_ownership(node)?));
    match about {
        About::Node(node) => Answer::Node(with_owner(node)),
        About::Name(directory, name) => {
            Answer::Node(control.file_named(directory, &name).and_then(with_owner))
        }
        About::Directory(directory) => Answer::Directory(control.files_in(directory)),
        About::Text(symbol, Text::Attributes) => json(&control.file_attributes(symbol)),
        About::Text(symbol, Text::Rules) => json(&control.file_rules(symbol)),
        About::Text(symbol, Text::Counters) => {
            let mut text = String::new();
            for row in control.file_counters(symbol) {
                // Strings take everything.
                let _ = writeln!(text, "{} {}", row.name, row.value);
            }
            Answer::Text(text.into_bytes())
        }
    }
}

fn json<T: serde::Serialize>(what: &T) -> Answer {
    let mut text = serde_json::to_vec_pretty(what).unwrap_or_default();
    text.push(b'\n');
    Answer::Text(text)
}

fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The error number that a program sees.
fn errno(error: FileError) -> i32 {
    match error {
        FileError::Denied => libc::EACCES,
        FileError::InUse => libc::EBUSY,
        FileError::TableFull => libc::ENOSPC,
        FileError::TooManyOpen => libc::ENFILE,
        FileError::Down => libc::ENETDOWN,
        FileError::TimedOut => libc::ETIMEDOUT,
        FileError::TooLong => libc::EMSGSIZE,
        FileError::NotAPacket => libc::EINVAL,
        FileError::ForeignSource => libc::EADDRNOTAVAIL,
        FileError::WouldBlock => libc::EAGAIN,
        FileError::Interrupted => libc::EINTR,
        FileError::Failed => libc::EIO,
        FileError::NotOpen => libc::EBADF,
    }
}

/// Looks for requests in one pass: some 200 µs of work.
const BUDGET: usize = 128;
/// How long a program's next request is waited for: a few times what it takes to write again.
const MOMENT: Duration = Duration::from_micros(20);
/// Longest that all else waits for requests.
const LONGEST: Duration = Duration::from_micros(200);
/// As poll(2) has them.
const READABLE: u32 = events(libc::POLLIN | libc::POLLRDNORM);
const WRITABLE: u32 = events(libc::POLLOUT | libc::POLLWRNORM);
const BROKEN: u32 = events(libc::POLLERR);

const fn events(of_poll: libc::c_short) -> u32 {
    of_poll.cast_unsigned() as u32
}
