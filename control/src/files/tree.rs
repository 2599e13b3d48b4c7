//! [`Tree`]: names, directories and the files that only tell something, by `fuser` on a thread of its own.
//!
//! The thread knows nothing: for every request it asks the daemon's loop, by a channel and a [`Waker`], and waits for the answer. The
//! loop never waits for the thread. Packets do not come this way (see [`l2link_os::fuse`]).

use control_core::files::{Node, Ownership, Text};
use core::time::Duration;
use frames::SymbolId;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, Request, Session, SessionACL,
};
use l2link_os::fuse::FuseDevice;
use log::error;
use mio::Waker;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

/// What the thread asks the loop.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) about: About,
    /// Takes the answer without waiting.
    pub(crate) answer: SyncSender<Answer>,
}

#[derive(Debug)]
pub(crate) enum About {
    /// Whose a node is.
    Node(Node),
    /// The node of this name in a directory.
    Name(Node, String),
    /// What a directory lists.
    Directory(Node),
    /// What a file says.
    Text(SymbolId, Text),
}

#[derive(Debug)]
pub(crate) enum Answer {
    /// To [`About::Node`] and [`About::Name`].
    Node(Option<(Node, Ownership)>),
    /// To [`About::Directory`].
    Directory(Vec<(String, Node)>),
    /// To [`About::Text`].
    Text(Vec<u8>),
}

struct Tree {
    questions: SyncSender<Question>,
    waker: Arc<Waker>,
    /// Since when it is mounted, which is the time of all files.
    since: SystemTime,
    /// What open files said when they were opened, so that a reader of many pieces reads one text.
    texts: Mutex<BTreeMap<u64, Vec<u8>>>,
    last: AtomicU64,
}

/// Starts the thread on the library's end of a device.
pub(crate) fn start(library: OwnedFd, waker: Arc<Waker>) -> io::Result<(Receiver<Question>, JoinHandle<()>)> {
    let (questions, asked) = sync_channel(QUESTIONS);
    let tree =
        Tree { questions, waker, since: SystemTime::now(), texts: Mutex::default(), last: AtomicU64::new(0) };
    let mut config = fuser::Config::default();
    config.acl = SessionACL::All;
    let run = move || {
        let session = Session::from_fd(tree, library, SessionACL::All, config);
        if let Err(error) = session.and_then(Session::run) {
            error!(target: "control::files", "the files' tree has ended: {error}");
        }
    };
    Ok((asked, thread::Builder::new().name("files".into()).spawn(run)?))
}

impl Tree {
    /// The loop's answer; an error if it has ended.
    fn ask(&self, about: About) -> Result<Answer, Errno> {
        let (answer, heard) = sync_channel(1);
        self.questions.send(Question { about, answer }).map_err(|_| Errno::EIO)?;
        self.waker.wake().map_err(|_| Errno::EIO)?;
        heard.recv().map_err(|_| Errno::EIO)
    }

    fn attributes(&self, about: About) -> Result<FileAttr, Errno> {
        let Answer::Node(found) = self.ask(about)? else { return Err(Errno::EIO) };
        let (node, Ownership { uid, gid, mode }) = found.ok_or(Errno::ENOENT)?;
        Ok(FileAttr {
            ino: INodeNo(node.number()),
            size: 0,
            blocks: 0,
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: self.since,
            kind: kind(node),
            perm: mode,
            nlink: if node.is_directory() { 2 } else { 1 },
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn open_text(&self, node: Option<Node>) -> Result<FileHandle, Errno> {
        let Some(Node::Text(symbol, text)) = node else { return Err(Errno::ENOENT) };
        let Answer::Text(text) = self.ask(About::Text(symbol, text))? else { return Err(Errno::EIO) };
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, text);
        Ok(FileHandle(handle))
    }
}

impl Filesystem for Tree {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // The nearest that the kernel offers is as good, and so is a kernel that does without.
        let _ = config.set_max_write(FuseDevice::WRITE_MAX);
        let _ = config.add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let named = Node::of(parent.0).zip(name.to_str());
        let found = named
            .ok_or(Errno::ENOENT)
            .and_then(|(parent, name)| self.attributes(About::Name(parent, name.to_owned())));
        match found {
            Ok(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let node = Node::of(node.0).ok_or(Errno::ENOENT);
        match node.and_then(|node| self.attributes(About::Node(node))) {
            Ok(attributes) => reply.attr(&KEPT, &attributes),
            Err(error) => reply.error(error),
        }
    }

    /// A shell that redirects to a file cuts it, and `touch` sets its times; there is nothing to cut, and no time. Owner and mode are
    /// the configuration's.
    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        _: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if mode.is_some() || uid.is_some() || gid.is_some() {
            reply.error(Errno::EPERM);
        } else {
            self.getattr(request, node, handle, reply);
        }
    }

    /// Only of names that can be none: all others are there.
    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::ENOENT);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::ENOENT);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != fuser::OpenAccMode::O_RDONLY {
            return reply.error(Errno::EACCES);
        }
        match self.open_text(Node::of(node.0)) {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let piece = {
            let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.get(&handle.0).map(|text| {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                let end = begin.saturating_add(size as usize).min(text.len());
                text[begin..end].to_vec()
            })
        };
        match piece {
            Some(piece) => reply.data(&piece),
            None => reply.error(Errno::EBADF),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(directory) = Node::of(node.0) else { return reply.error(Errno::ENOENT) };
        let listed = match self.ask(About::Directory(directory)) {
            Ok(Answer::Directory(listed)) => listed,
            Ok(Answer::Node(_) | Answer::Text(_)) => return reply.error(Errno::EIO),
            Err(error) => return reply.error(error),
        };
        // The kernel knows what is above a directory, and takes any number for it.
        let dots = [".", ".."].map(|name| (name.to_owned(), directory));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (name, node)) in (1..).zip(dots.into_iter().chain(listed)).skip(skipped) {
            if reply.add(INodeNo(node.number()), place, kind(node), name) {
                break;
            }
        }
        reply.ok();
    }
}

fn kind(node: Node) -> FileType {
    if node.is_directory() { FileType::Directory } else { FileType::RegularFile }
}

/// Questions that may wait: there is one thread that asks.
const QUESTIONS: usize = 4;
/// How long the kernel may keep names and attributes, which never change while they are there.
const KEPT: Duration = Duration::from_secs(1);
