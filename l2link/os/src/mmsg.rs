//! Many frames with one system call: [`Receiver`] around recvmmsg(2), [`Sender`] around sendmmsg(2).
//!
//! # Theory of operation
//!
//! Memory is allotted once. The kernel's headers are pointed at it anew before every call, so that no pointer outlives
//! the borrow it was made from; that costs some 50 ns a call, which one frame's copy outweighs.
//!
//! *Receiving.* A frame that is longer than its slot is cut by the kernel; it is skipped and counted, never passed on.
//! A call that meets an error behind good frames returns the frames and leaves the error for the next call, so callers
//! go on until they get zero. `EINVAL` means that the kernel could not express a packet's offload as a virtio header
//! (a tunnel's, say); that packet is consumed, and counted likewise.
//!
//! *Sending.* Two kinds of "full" are told apart. `EAGAIN`: the socket's send buffer is full and the frame was not
//! taken. A short wait for room, once a call, turns that into back pressure on whoever fills the tunnels, as losing one
//! piece of a super-packet loses up to 64 KiB. Where one loop serves many sockets a slow one must not hold up the others:
//! there the wait is once in a window of time. `ENOBUFS`: a queue behind the socket dropped the frame.

use crate::ahead::Slot;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What became of frames that were given to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Sent {
    /// Accepted by the kernel.
    pub sent: u64,
    /// Dropped because a queue or buffer was full.
    pub full: u64,
    /// Refused for another reason, a link that is down among them.
    pub errors: u64,
}

impl core::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.full += other.full;
        self.errors += other.errors;
    }
}

/// Slots for received frames.
pub(crate) struct Receiver {
    memory: Box<[u8]>,
    slot_len: usize,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Where each frame of the last call lies.
    frames: Vec<Slot>,
    /// Whether a call filled every slot that it was given.
    full: bool,
    skipped: u64,
}

impl Receiver {
    pub(crate) fn new(slots: usize, slot_len: usize) -> Self {
        Self {
            memory: vec![0; slots * slot_len].into_boxed_slice(),
            slot_len,
            iovecs: vec![EMPTY_IOVEC; slots].into_boxed_slice(),
            headers: vec![empty_header(); slots].into_boxed_slice(),
            frames: Vec::with_capacity(slots),
            full: false,
            skipped: 0,
        }
    }

    /// Bytes of the longest frame that is taken.
    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// Takes as many frames as there are slots; zero if none waits.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let slots = 0..self.headers.len();
        self.receive_into(slots, socket)
    }

    /// As [`Receiver::receive`], into these slots: at least one, each once.
    pub(crate) fn receive_into(
        &mut self,
        slots: impl Iterator<Item = usize> + Clone,
        socket: BorrowedFd<'_>,
    ) -> io::Result<usize> {
        self.frames.clear();
        while self.frames.is_empty() {
            match self.call(slots.clone(), socket) {
                Ok((count, of)) => self.take(count, of, slots.clone()),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::EINVAL) => self.skipped += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.frames.len())
    }

    /// Frame `index` of the last call.
    pub(crate) fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = self.frames[index];
        self.slot_mut(slot)
    }

    /// Where the frames of the last call lie.
    pub(crate) fn frames(&self) -> &[Slot] {
        &self.frames
    }

    /// What lies in a slot.
    pub(crate) fn slot(&self, Slot { index, len }: Slot) -> &[u8] {
        let start = index * self.slot_len;
        &self.memory[start..start + len]
    }

    /// The same, to be changed.
    pub(crate) fn slot_mut(&mut self, Slot { index, len }: Slot) -> &mut [u8] {
        let start = index * self.slot_len;
        &mut self.memory[start..start + len]
    }

    /// Whether any call since the last question filled every slot.
    pub(crate) fn take_full(&mut self) -> bool {
        core::mem::take(&mut self.full)
    }

    /// Frames skipped since the last question.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        core::mem::take(&mut self.skipped)
    }

    /// Returns how many frames came, and how many could have come.
    fn call(
        &mut self,
        slots: impl Iterator<Item = usize>,
        socket: BorrowedFd<'_>,
    ) -> Result<(usize, usize), Errno> {
        let mut offered = 0;
        for ((header, iovec), slot) in self.headers.iter_mut().zip(&mut self.iovecs).zip(slots) {
            let slot = &mut self.memory[slot * self.slot_len..][..self.slot_len];
            offered += 1;
            iovec.iov_base = slot.as_mut_ptr().cast();
            iovec.iov_len = slot.len();
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_flags = 0;
        }
        let (headers, len) = (self.headers.as_mut_ptr(), vlen(offered));
        // SAFETY: `headers` points at `len` headers, each of which points at one iovec, and that at one slot of
        // `memory`; all were set above, are borrowed exclusively by `self`, and have the lengths that they state. If a
        // caller named a slot twice, one frame would overwrite the other.
        // No header points at a name or at control data.
        let count = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers, len, libc::MSG_DONTWAIT, core::ptr::null_mut())
        };
        Errno::result(count).map(|count| (count.unsigned_abs() as usize, offered))
    }

    fn take(&mut self, count: usize, of: usize, slots: impl Iterator<Item = usize>) {
        self.full |= count == of;
        for (index, header) in slots.zip(self.headers.iter().take(count)) {
            let len = header.msg_len as usize;
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || len > self.slot_len {
                self.skipped += 1;
            } else {
                self.frames.push(Slot { index, len });
            }
        }
    }
}

/// Headers for frames to be sent; the frames' memory is the caller's.
pub(crate) struct Sender {
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    patience: Patience,
}

/// How long to wait for room, altogether in a window of time; an empty window begins with every call.
#[derive(Debug, Clone, Copy)]
struct Patience {
    window: Duration,
    since: Option<Instant>,
    left: Duration,
}

impl Patience {
    /// How long to wait at this moment.
    fn left(&mut self, now: Instant) -> Duration {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.window) {
            (self.since, self.left) = (Some(now), ROOM_WAIT);
        }
        self.left
    }

    fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

impl Sender {
    /// A sender that waits for room for [`ROOM_WAIT`] altogether in each `window`, or in each call if that is zero.
    pub(crate) fn new(window: Duration) -> Self {
        let patience = Patience { window, since: None, left: ROOM_WAIT };
        Self { iovecs: Vec::new(), headers: Vec::new(), patience }
    }

    /// Sends the frames in order.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        frames: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Sent {
        self.point_at(frames);
        let (mut next, mut waited, mut result) = (0, false, Sent::default());
        while next < self.headers.len() {
            let rest = (self.headers.len() - next) as u64;
            match self.call(socket, next) {
                Ok(count) => {
                    next += count;
                    result.sent += count as u64;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if !waited => {
                    waited = true;
                    self.wait_for_room(socket);
                }
                Err(Errno::EAGAIN) => {
                    result.full += rest;
                    break;
                }
                Err(Errno::ENOBUFS) => {
                    result.full += 1;
                    next += 1;
                }
                Err(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) => {
                    result.errors += rest;
                    break;
                }
                Err(_) => {
                    result.errors += 1;
                    next += 1;
                }
            }
        }
        // The pointers are of no use after the frames' borrow has ended.
        self.headers.clear();
        self.iovecs.clear();
        result
    }

    /// Waits until the send buffer has room again, as long as patience lasts.
    fn wait_for_room(&mut self, socket: BorrowedFd<'_>) {
        let begin = Instant::now();
        let timeout = PollTimeout::try_from(self.patience.left(begin)).unwrap_or(PollTimeout::ZERO);
        if timeout != PollTimeout::ZERO {
            let mut fds = [PollFd::new(socket, PollFlags::POLLOUT)];
            // Whatever comes of it, the caller tries again.
            let _ = poll(&mut fds, timeout);
            self.patience.spend(begin.elapsed());
        }
    }

    fn point_at<'a>(&mut self, frames: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.iovecs.clear();
        self.iovecs.extend(
            frames.map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            }),
        );
        self.headers.clear();
        self.headers.extend(self.iovecs.iter_mut().map(|iovec| {
            let mut header = empty_header();
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header
        }));
    }

    fn call(&mut self, socket: BorrowedFd<'_>, first: usize) -> Result<usize, Errno> {
        let headers = &mut self.headers[first..];
        let (headers, len) = (headers.as_mut_ptr(), vlen(headers.len()));
        // SAFETY: `headers` points at `len` headers, each of which points at one iovec of `self`, and that at a frame
        // whose borrow `send` holds until it returns; the kernel only reads the frames. No header points at a name or
        // at control data.
        let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, len, libc::MSG_DONTWAIT) };
        Errno::result(count).map(|count| count.unsigned_abs() as usize)
    }
}

/// A batch is never near the kernel's limit of 1,024 messages a call (`UIO_MAXIOV`), which it applies by itself.
fn vlen(len: usize) -> libc::c_uint {
    libc::c_uint::try_from(len).unwrap_or(libc::c_uint::MAX)
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all fields are integers and pointers, for which zero is a value: no name, no iovec, no control data.
    unsafe { core::mem::zeroed() }
}

const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
/// A time in which a full send buffer drains at 1 Gb/s.
const ROOM_WAIT: Duration = Duration::from_millis(10);

// The raw pointers in the headers are written and read within one call; between calls nothing follows them.
// SAFETY: no thread but the one that holds `&mut self` can reach them.
unsafe impl Send for Receiver {}
// SAFETY: as above.
unsafe impl Send for Sender {}

impl core::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Receiver")
            .field("slots", &self.headers.len())
            .field("slot_len", &self.slot_len)
            .finish()
    }
}

impl core::fmt::Debug for Sender {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Sender")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_full_socket_is_waited_for_once_in_a_window() {
        let (socket, _peer) = UnixDatagram::pair().unwrap();
        let mut sender = Sender::new(Duration::from_secs(60));
        let mut send = || {
            let begin = Instant::now();
            while sender.send(socket.as_fd(), core::iter::once(&[0; 1000][..])).full == 0 {}
            begin.elapsed()
        };
        assert!(send() >= ROOM_WAIT);
        let rest: Duration = (0..100).map(|_| send()).sum();
        assert!(rest < 20 * ROOM_WAIT, "a hundred waits were {rest:?}");
    }

    #[test]
    fn without_a_window_every_call_waits() {
        let mut patience = Patience { window: Duration::ZERO, since: None, left: ROOM_WAIT };
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(patience.left(now), ROOM_WAIT);
            patience.spend(ROOM_WAIT);
        }
    }
}
