//! [`FuseDevice`]: the kernel's end of a mounted tree, from which requests come.
//!
//! # Theory of operation
//!
//! Requests of two kinds come out of one device:
//!
//! - *The tree*: names, attributes, directories, and files that only tell something. They are for a FUSE library with a thread of its
//!   own, which gets them through a socket, byte for byte, and gives its answers back by it. It may wait.
//! - *Packets*: opens, reads, writes and polls of the files whose number has [`FuseDevice::OWN`]. They are for the daemon's loop, where the
//!   packets are: another thread would cost two switches for each.
//!
//! That is not only for speed. The kernel tells by a request, INTERRUPT, that a signal came for a program that waits. Libraries
//! answer it with `ENOSYS` (fuser 0.18 does), whereupon the kernel never interrupts a wait again, and a program that waits for a packet
//! cannot even be killed (`request_wait_answer` in `fs/fuse/dev.c`). So INTERRUPT never gets to the library.
//!
//! Nothing here waits. If the library's socket is full, the request stays in the buffer, and no other one is read.

mod abi;
mod mount;

pub use mount::{FuseMount, MountError, has_own_mounts};

use abi::{InHeader, Number, OpenIn, OpenOut, OutHeader, PollIn, ReleaseIn, TransferIn, WordOut, opcode};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Both ends of what is between the kernel and the library.
#[derive(Debug)]
pub struct FuseDevice {
    device: File,
    library: Socket,
    buffer: Box<[u8]>,
    /// Bytes of the request in `buffer` for which the library's socket had no room.
    held: Option<usize>,
    answer: Box<[u8]>,
}

/// A request about packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its number, to answer it by.
    pub number: u64,
    /// The file.
    pub node: u64,
    /// What it is.
    pub operation: Operation<'a>,
}

/// What a program does with a file of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// It opens it, perhaps for writing. To be answered by [`FuseDevice::opened`].
    Open {
        /// Whether also for writing.
        writes: bool,
    },
    /// It reads. To be answered by [`FuseDevice::data`].
    Read {
        /// As [`FuseDevice::opened`] gave it.
        handle: u64,
        /// Bytes that it can take.
        size: usize,
        /// Whether it waits if there are none.
        waits: bool,
    },
    /// It writes. To be answered by [`FuseDevice::word`] with the number of bytes.
    Write {
        /// As [`FuseDevice::opened`] gave it.
        handle: u64,
        /// What.
        data: &'a [u8],
    },
    /// It asks for what it could do without waiting. To be answered by [`FuseDevice::word`] with the events, as of poll(2).
    Poll {
        /// As [`FuseDevice::opened`] gave it.
        handle: u64,
        /// For [`FuseDevice::notify`], if it waits for events.
        poll: Option<u64>,
    },
    /// The last one that had it open has closed it. To be answered by [`FuseDevice::done`].
    Release {
        /// As [`FuseDevice::opened`] gave it.
        handle: u64,
    },
    /// A signal came for whoever waits for the answer to a request, the one of this number. No answer.
    Interrupt {
        /// The other request.
        request: u64,
    },
}

/// What came from the device.
#[derive(Debug)]
pub enum Next<'a> {
    /// A request about packets.
    Request(Request<'a>),
    /// One for the library, which has it.
    Passed,
    /// Nothing for now. If the library's socket was full, it tells when it has room.
    Nothing,
    /// The tree is not mounted any more.
    Unmounted,
}

impl FuseDevice {
    /// In the number of a file of packets.
    pub const OWN: u64 = 1 << 63;
    /// Longest write.
    pub const WRITE_MAX: u32 = 128 << 10;

    /// The device, and the descriptor that the library is to take for one.
    fn new(device: File) -> io::Result<(Self, OwnedFd)> {
        let (library, far) = Socket::pair(Domain::UNIX, Type::SEQPACKET.cloexec(), None)?;
        library.set_nonblocking(true)?;
        let own = Self {
            device,
            library,
            // The kernel demands room for the headers besides.
            buffer: vec![0; WRITE_MAX + HEADERS].into_boxed_slice(),
            held: None,
            answer: vec![0; ANSWER_MAX].into_boxed_slice(),
        };
        Ok((own, far.into()))
    }

    /// The descriptor by which requests come.
    #[must_use]
    pub fn device(&self) -> RawFd {
        self.device.as_raw_fd()
    }

    /// The descriptor by which the library's answers come, and that tells when the library has room for requests.
    #[must_use]
    pub fn library(&self) -> RawFd {
        self.library.as_raw_fd()
    }

    /// The next request.
    ///
    /// # Errors
    /// The kernel's. There may be more requests.
    #[allow(clippy::should_implement_trait, reason = "what it gives borrows from it")]
    pub fn next(&mut self) -> io::Result<Next<'_>> {
        let length = match self.held.take() {
            Some(length) => length,
            None => match self.device.read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::EAGAIN) => Ok(Next::Nothing),
                        Some(libc::ENODEV) => Ok(Next::Unmounted),
                        // It was interrupted before it was read.
                        Some(libc::ENOENT | libc::EINTR) => Ok(Next::Passed),
                        _ => Err(error),
                    };
                }
            },
        };
        let own = request(&self.buffer[..length]).is_some();
        if own {
            // Once more, as a borrow cannot be given back on one way only.
            return Ok(request(&self.buffer[..length]).map_or(Next::Passed, Next::Request));
        }
        match self.library.send(&self.buffer[..length]) {
            Ok(_) => Ok(Next::Passed),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.held = Some(length);
                Ok(Next::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Hands the library's answers to the kernel.
    ///
    /// # Errors
    /// The kernel's; end of file if the library has ended.
    pub fn pass_answers(&mut self) -> io::Result<()> {
        loop {
            let length = match (&self.library).read(&mut self.answer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let _ = sent(self.device.write(&self.answer[..length]))?;
        }
    }

    /// Tells the library that its work is over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn end_library(&self) -> io::Result<()> {
        let length = u32::try_from(size_of::<InHeader>()).unwrap_or_default();
        let header = InHeader {
            length,
            opcode: opcode::DESTROY,
            unique: 0,
            node: 0,
            uid: 0,
            gid: 0,
            pid: 0,
            extension_length: 0,
            padding: 0,
        };
        self.library.send(header.as_bytes()).map(|_| ())
    }

    /// Answers an open. Returns whether anybody still waited for it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn opened(&self, request: u64, handle: u64) -> io::Result<bool> {
        let open_flags = abi::DIRECT_IO | abi::STREAM;
        self.answer(request, 0, &[OpenOut { handle, open_flags, backing: 0 }.as_bytes()])
    }

    /// Answers a read with the concatenation of these parts. Returns whether anybody still waited for it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn data(&self, request: u64, parts: (&[u8], &[u8])) -> io::Result<bool> {
        self.answer(request, 0, &[parts.0, parts.1])
    }

    /// Answers a write or a poll.
    ///
    /// # Errors
    /// The kernel's.
    pub fn word(&self, request: u64, word: u32) -> io::Result<bool> {
        self.answer(request, 0, &[WordOut { word, padding: 0 }.as_bytes()])
    }

    /// Answers what has nothing to answer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn done(&self, request: u64) -> io::Result<bool> {
        self.answer(request, 0, &[])
    }

    /// Has a request fail with an error number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn fail(&self, request: u64, errno: i32) -> io::Result<bool> {
        self.answer(request, -errno, &[])
    }

    /// Wakes those that polled with this number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn notify(&self, poll: u64) -> io::Result<bool> {
        self.answer(0, abi::NOTIFY_POLL, &[Number { number: poll }.as_bytes()])
    }

    fn answer(&self, unique: u64, error: i32, parts: &[&[u8]]) -> io::Result<bool> {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(size_of::<OutHeader>() + body).map_err(io::Error::other)?;
        let header = OutHeader { length, error, unique };
        let mut slices = [IoSlice::new(header.as_bytes()), IoSlice::new(&[]), IoSlice::new(&[])];
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        sent((&self.device).write_vectored(&slices[..=parts.len()]))
    }
}

/// Whether an answer has arrived. It does not if a signal was faster.
fn sent(result: io::Result<usize>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENOTCONN | libc::ECONNABORTED) => Ok(false),
            _ => Err(error),
        },
    }
}

/// The request about packets that these bytes are.
fn request(bytes: &[u8]) -> Option<Request<'_>> {
    let (header, body) = fixed::<InHeader>(bytes)?;
    let operation = match header.opcode {
        opcode::INTERRUPT => Operation::Interrupt { request: fixed::<Number>(body)?.0.number },
        _ if header.node & FuseDevice::OWN == 0 => return None,
        opcode::OPEN => {
            let flags = fixed::<OpenIn>(body)?.0.flags;
            Operation::Open { writes: flags & ACCESS_MODE != READ_ONLY }
        }
        opcode::READ => {
            let TransferIn { handle, size, flags, .. } = fixed::<TransferIn>(body)?.0;
            Operation::Read { handle, size: usize::try_from(size).ok()?, waits: flags & NONBLOCK == 0 }
        }
        opcode::WRITE => {
            let (TransferIn { handle, size, .. }, data) = fixed::<TransferIn>(body)?;
            Operation::Write { handle, data: data.get(..usize::try_from(size).ok()?)? }
        }
        opcode::POLL => {
            let PollIn { handle, poll, flags, .. } = fixed::<PollIn>(body)?.0;
            Operation::Poll { handle, poll: (flags & abi::SCHEDULE_NOTIFY != 0).then_some(poll) }
        }
        opcode::RELEASE => Operation::Release { handle: fixed::<ReleaseIn>(body)?.0.handle },
        _ => return None,
    };
    Some(Request { number: header.unique, node: header.node, operation })
}

/// A copy: requests may begin at any address.
fn fixed<T: FromBytes + Immutable>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

const WRITE_MAX: usize = FuseDevice::WRITE_MAX as usize;
/// More than the headers before what is written, and than the least that the kernel demands (`FUSE_MIN_READ_BUFFER`).
const HEADERS: usize = 8 << 10;
/// Longest answer of the library: what is read at a time, and its header.
const ANSWER_MAX: usize = (128 << 10) + 4096;
const ACCESS_MODE: u32 = libc::O_ACCMODE.cast_unsigned();
const READ_ONLY: u32 = libc::O_RDONLY.cast_unsigned();
const NONBLOCK: u32 = libc::O_NONBLOCK.cast_unsigned();

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(40 + body.len()).unwrap();
        // linux/fuse.h: len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding.
        let mut bytes = [length, opcode].map(u32::to_ne_bytes).concat();
        bytes.extend([7, node].map(u64::to_ne_bytes).concat());
        bytes.extend([0; 16]);
        bytes.extend(body);
        bytes
    }

    const FILE: u64 = FuseDevice::OWN | 5;

    #[test]
    fn requests_about_packets_are_told_from_others() {
        let nonblocking = [&1_u64.to_ne_bytes()[..], &[0; 8], &1500_u32.to_ne_bytes(), &[0; 12]].concat();
        let nonblocking = [&nonblocking[..], &0o4000_u32.to_ne_bytes(), &[0; 4]].concat();
        let read = Operation::Read { handle: 1, size: 1500, waits: false };
        let read_bytes = bytes(15, FILE, &nonblocking);
        assert_eq!(request(&read_bytes), Some(Request { number: 7, node: FILE, operation: read }));
        assert_eq!(request(&bytes(15, 5, &nonblocking)), None, "another file");
        assert_eq!(request(&bytes(3, FILE, &[0; 16])), None, "GETATTR is the library's");
        let interrupt = bytes(36, 0, &9_u64.to_ne_bytes());
        assert_eq!(request(&interrupt).unwrap().operation, Operation::Interrupt { request: 9 });
        let write = [&2_u64.to_ne_bytes()[..], &[0; 8], &3_u32.to_ne_bytes(), &[0; 20], b"abc"].concat();
        let write = bytes(16, FILE, &write);
        assert_eq!(request(&write).unwrap().operation, Operation::Write { handle: 2, data: b"abc" });
        let poll = [3_u64, 4].map(u64::to_ne_bytes).concat();
        let poll = [&poll[..], &1_u32.to_ne_bytes(), &[0; 4]].concat();
        assert_eq!(
            request(&bytes(40, FILE, &poll)).unwrap().operation,
            Operation::Poll { handle: 3, poll: Some(4) }
        );
        for (flags, writes) in [(0_u32, false), (1, true), (2, true), (0o4000, false)] {
            let open = [flags.to_ne_bytes(), [0; 4]].concat();
            assert_eq!(request(&bytes(14, FILE, &open)).unwrap().operation, Operation::Open { writes });
        }
    }

    #[test]
    fn requests_cut_short_are_none() {
        for opcode in [14, 15, 16, 18, 36, 40] {
            for length in 0..8 {
                assert_eq!(request(&bytes(opcode, FILE, &vec![0; length])), None, "{opcode}: {length}");
            }
        }
        assert_eq!(request(&[0; 39]), None);
    }
}
