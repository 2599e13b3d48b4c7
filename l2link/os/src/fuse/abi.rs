//! What crosses `/dev/fuse` for files of packets: `linux/fuse.h`, version 7.12 and later, in the machine's byte order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Before every request.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct InHeader {
    /// Bytes of the request, this header included.
    pub(super) length: u32,
    /// [`opcode`].
    pub(super) opcode: u32,
    /// The request's number.
    pub(super) unique: u64,
    /// The file that it is about.
    pub(super) node: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
    pub(super) extension_length: u16,
    pub(super) padding: u16,
}
const _: () = assert!(size_of::<InHeader>() == 40);

/// Before every answer.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct OutHeader {
    /// Bytes of the answer, this header included.
    pub(super) length: u32,
    /// Zero or a negative error number; the kind of a notification.
    pub(super) error: i32,
    /// The request's number; zero for a notification.
    pub(super) unique: u64,
}
const _: () = assert!(size_of::<OutHeader>() == 16);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct OpenIn {
    /// As of open(2).
    pub(super) flags: u32,
    pub(super) open_flags: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct OpenOut {
    pub(super) handle: u64,
    /// [`DIRECT_IO`], [`STREAM`].
    pub(super) open_flags: u32,
    pub(super) backing: i32,
}

/// Of READ and of WRITE, where the bytes to be written follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct TransferIn {
    pub(super) handle: u64,
    pub(super) offset: u64,
    /// Bytes that the reader can take, or that follow.
    pub(super) size: u32,
    pub(super) transfer_flags: u32,
    pub(super) lock_owner: u64,
    /// The file's flags as they are now.
    pub(super) flags: u32,
    pub(super) padding: u32,
}
const _: () = assert!(size_of::<TransferIn>() == 40);

/// Of WRITE: the bytes that were taken; of POLL: the events that are there.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct WordOut {
    pub(super) word: u32,
    pub(super) padding: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct ReleaseIn {
    pub(super) handle: u64,
    pub(super) flags: u32,
    pub(super) release_flags: u32,
    pub(super) lock_owner: u64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct PollIn {
    pub(super) handle: u64,
    /// The number by which the poll is to be told.
    pub(super) poll: u64,
    /// [`SCHEDULE_NOTIFY`].
    pub(super) flags: u32,
    pub(super) events: u32,
}

/// A poll's number, alone in a notification; a request's number, in INTERRUPT.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Number {
    pub(super) number: u64,
}

/// Kinds of requests.
pub(super) mod opcode {
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const POLL: u32 = 40;
}

/// The file's bytes are not kept by the kernel, and a read's size is its reader's.
pub(super) const DIRECT_IO: u32 = 1;
/// The file has no position: reads and writes do not wait for one another.
pub(super) const STREAM: u32 = 1 << 4;
/// The poll waits for events.
pub(super) const SCHEDULE_NOTIFY: u32 = 1;
/// Kind of a notification for a poll.
pub(super) const NOTIFY_POLL: i32 = 1;
