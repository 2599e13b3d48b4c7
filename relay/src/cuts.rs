//! [`Cuts`]: parcels of a port, those that stand for packets inside a tunnel as the packets that they stand for.
//!
//! A kernel takes a super-packet inside a tunnel back for one of the outer protocol, and drops it ([`offloads_inner`]). So they are
//! cut here, before anything is decided about them, and the checksums inside a tunnel completed, as what is behind a tunnel may be
//! a program. What cannot be cut stays as it is: the core drops it under its name.

use frames::data::OffloadHeader;
use frames::header::EthernetHeader;
use frames::inet::{Segments, offloads_inner};
use l2link_os::PortSocket;
use std::ops::Range;

/// What was made of the parcels that a socket took with one call.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// In order; nothing if all are as the socket has them.
    parcels: Vec<Parcel>,
    memory: Vec<u8>,
}

#[derive(Debug)]
enum Parcel {
    /// That of the socket.
    AsIs(usize),
    /// In `memory`.
    Cut(Range<usize>),
}

impl Cuts {
    /// Cuts what is to be cut of the first `count` parcels of the socket, and returns how many there are then.
    pub(crate) fn cut(&mut self, socket: &PortSocket, count: usize) -> usize {
        self.parcels.clear();
        let Some(first) = (0..count).find(|index| offloads_inner(socket.parcel(*index))) else {
            return count;
        };
        self.parcels.extend((0..first).map(Parcel::AsIs));
        let mut used = 0;
        for index in first..count {
            let parcel = socket.parcel(index);
            let cut = if offloads_inner(parcel) { self.cut_one(parcel, used) } else { None };
            match cut {
                Some(end) => used = end,
                None => self.parcels.push(Parcel::AsIs(index)),
            }
        }
        self.parcels.len()
    }

    /// Parcel `index` of those that there are.
    pub(crate) fn parcel<'a>(&'a self, socket: &'a PortSocket, index: usize) -> &'a [u8] {
        match self.parcels.get(index) {
            Some(Parcel::Cut(range)) => self.memory.get(range.clone()).unwrap_or_default(),
            Some(Parcel::AsIs(index)) => socket.parcel(*index),
            None => socket.parcel(index),
        }
    }

    /// Puts the packets of a parcel into the memory from `begin` on. Returns where they end; `None` if they cannot be made, or are
    /// too many.
    fn cut_one(&mut self, parcel: &[u8], begin: usize) -> Option<usize> {
        let mut segments = Segments::new(parcel).ok()?;
        let ethernet = parcel.get(size_of::<OffloadHeader>()..BEFORE)?;
        let (parcels, mut at) = (self.parcels.len(), begin);
        loop {
            // A packet is no longer than what it is cut from.
            let room = at + parcel.len();
            if room > MEMORY_MAX {
                self.parcels.truncate(parcels);
                return None;
            }
            if self.memory.len() < room {
                self.memory.resize(room, 0);
            }
            let out = self.memory.get_mut(at..room)?;
            let (before, packet) = out.split_at_mut_checked(BEFORE)?;
            let Some(len) = segments.write_next(packet) else { return Some(at) };
            before.fill(0);
            before[size_of::<OffloadHeader>()..].copy_from_slice(ethernet);
            let end = at + BEFORE + len;
            self.parcels.push(Parcel::Cut(at..end));
            at = end;
        }
    }
}

/// Bytes before a packet in its parcel.
const BEFORE: usize = size_of::<OffloadHeader>() + size_of::<EthernetHeader>();
/// Most bytes of packets at once: several times as many as 32 super-packets make with ordinary segments, so that those with tiny
/// ones take neither memory nor time without measure.
const MEMORY_MAX: usize = 8 * 1024 * 1024;
