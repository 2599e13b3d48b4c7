//! [`LinkSocket`]: the link's frames on an Ethernet interface.

use crate::coalescing::Coalescing;
use crate::mmsg::{Receiver, Sender};
use crate::packet_socket::{PacketSocket, ethernet_interface};
use crate::{IfIndex, LinkInfo, Sent, SetupError, capture_filter, ethtool};
use frames::Mac;
use l2link::{Batch, Config};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// A packet socket for one EtherType on one interface. Frames with a VLAN tag, frames to other stations (in
/// promiscuous mode) and frames that this machine sends are not delivered.
#[derive(Debug)]
pub struct LinkSocket {
    socket: PacketSocket,
    /// For frames that the others may overtake.
    bulk: PacketSocket,
    coalescing: Coalescing,
    sending: PacketSocket,
    /// Calls in a row that left those waiting.
    passed_over: u32,
    receiver: Receiver,
    sender: Sender,
    mac: Mac,
    mtu: u32,
    /// The kernel's word for the kind of the interface.
    kind: Option<String>,
}

impl LinkSocket {
    /// Opens the socket, not blocking, ready for mio.
    ///
    /// # Errors
    /// Everything of [`SetupError`] that concerns interfaces and capabilities. An interface that is down is no error.
    pub fn open(interface: &str, ethertype: u16) -> Result<Self, SetupError> {
        if ethertype < LEAST_ETHERTYPE {
            return Err(SetupError::EtherType(ethertype));
        }
        let info = ethernet_interface(interface)?;
        let (name, mtu, least) = (info.name.clone(), info.mtu, Config::MTU_MIN);
        if mtu < least {
            return Err(SetupError::MtuTooSmall { interface: name, mtu, least });
        }
        let system = |action: &str| {
            let action = format!("{action} of the link socket on {name}");
            move |source| SetupError::system(action, source)
        };
        let open = |bulk| {
            let socket = PacketSocket::new(&info)?;
            socket.set_filter(&capture_filter::link_program(bulk)).map_err(system("set the filter"))?;
            socket.set(libc::PACKET_IGNORE_OUTGOING, &1_i32).map_err(system("set PACKET_IGNORE_OUTGOING"))?;
            socket.set_receive_buffer();
            socket.bind(ethertype).map_err(system("set the EtherType"))?;
            Ok::<_, SetupError>(socket)
        };
        // The kernel asks the newest first, and copies for all but the oldest what they take: for those of which there are fewer.
        let bulk = open(true)?;
        let socket = open(false)?;
        socket.set_membership(Mac::LINK_GROUP, true).map_err(system("set the group membership"))?;
        Ok(Self {
            socket,
            bulk,
            coalescing: Coalescing::new().map_err(system("make the timer"))?,
            sending: PacketSocket::sending(&info)?,
            passed_over: 0,
            receiver: Receiver::new(SLOTS, slot_len(mtu)),
            sender: Sender::new(Duration::ZERO),
            mac: info.mac.unwrap_or_default(),
            mtu,
            kind: info.kind,
        })
    }

    /// Takes over the address and MTU of its interface, with all that waits in the socket; false if it is not at this interface any
    /// more, or cannot be used with this MTU, and must be opened anew.
    pub fn follow(&mut self, info: &LinkInfo) -> bool {
        if info.ifindex != self.ifindex() || info.mtu < Config::MTU_MIN || !self.is_bound() {
            return false;
        }
        let slot_len = slot_len(info.mtu);
        if slot_len > self.receiver.slot_len() {
            self.receiver = Receiver::new(SLOTS, slot_len);
        }
        (self.mac, self.mtu) = (info.mac.unwrap_or_default(), info.mtu);
        true
    }

    /// Takes up to 64 frames out of the socket; zero if none waits. Those with [`frames::header::Flags::BULK`] come behind the
    /// others, but now and then in any case. The next call overwrites them. Call until zero: fewer than 64 does not mean that
    /// none is left.
    ///
    /// # Errors
    /// `ENETDOWN` twice, once for each sort of frames, when the interface goes down, or was down when the socket was opened; the
    /// socket goes on when the interface is up. After the interface was *removed* the socket must be opened anew: a
    /// [`crate::Monitor`] tells.
    pub fn receive(&mut self) -> io::Result<usize> {
        let taken = self.take();
        if !taken.as_ref().is_ok_and(|count| *count > 0) {
            self.coalescing.rest(self.bulk.as_raw_fd())?;
        }
        taken
    }

    fn take(&mut self) -> io::Result<usize> {
        let others_first = self.passed_over < PASSED_OVER_MAX;
        for bulk in [!others_first, others_first] {
            let socket = if bulk { &self.bulk } else { &self.socket };
            let count = self.receiver.receive(socket.as_fd())?;
            self.passed_over = if bulk { 0 } else { self.passed_over + 1 };
            if count > 0 {
                if bulk {
                    self.coalescing.note(count);
                }
                return Ok(count);
            }
        }
        Ok(0)
    }

    /// Frame `index` of those that the last [`LinkSocket::receive`] took, whole, Ethernet header first.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        self.receiver.frame_mut(index)
    }

    /// Whether the frames that the last [`LinkSocket::receive`] took have [`frames::header::Flags::BULK`].
    #[must_use]
    pub fn took_transfers(&self) -> bool {
        self.passed_over == 0
    }

    /// Sends the frames of `batch` in order. The caller clears the batch. Waits up to 10 ms for room in the send
    /// buffer.
    pub fn send(&mut self, batch: &Batch) -> Sent {
        self.sender.send(self.sending.as_fd(), batch.frames())
    }

    /// Frames that were too long for a slot since the last call: 9,230 bytes, or what the largest MTU so far allows, whichever
    /// is more.
    pub fn skipped(&mut self) -> u64 {
        self.receiver.take_skipped()
    }

    /// Frames that the kernel dropped since the last call because the receive buffer was full.
    /// Costs a system call only if a [`LinkSocket::receive`] in between took as many as it can.
    pub fn overruns(&mut self) -> u64 {
        // The buffer holds many times a call's frames: after an overrun the next call is a full one.
        if self.receiver.take_full() { self.socket.overruns() + self.bulk.overruns() } else { 0 }
    }

    /// Ethernet address of the interface as of [`LinkSocket::open`] or [`LinkSocket::follow`].
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// MTU in bytes of the interface as of [`LinkSocket::open`] or [`LinkSocket::follow`].
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// The interface.
    #[must_use]
    pub fn ifindex(&self) -> IfIndex {
        self.socket.ifindex()
    }

    /// The interface, of this name, as the fast path asks for it.
    #[must_use]
    pub fn fast_link<'a>(&'a self, name: &'a str) -> fast_path::LinkInterface<'a> {
        let IfIndex(ifindex) = self.ifindex();
        fast_path::LinkInterface { ifindex, name, kind: self.kind.as_deref(), offloads: ethtool::offloads }
    }

    /// Whether the socket is still at its interface. One that was removed, or was in another namespace in between, needs
    /// another socket, even if it has the same index again.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.socket.is_bound()
    }
}

impl Source for LinkSocket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, interests)?;
        self.coalescing.register(self.bulk.as_raw_fd(), registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.deregister(registry)?;
        self.register(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)?;
        self.coalescing.deregister(self.bulk.as_raw_fd(), registry)
    }
}

/// Bytes of the longest frame that is taken.
fn slot_len(mtu: u32) -> usize {
    ETHERNET_HEADER + mtu.max(JUMBO) as usize
}

/// Calls in a row in which frames without the flag may pass those over that have it.
const PASSED_OVER_MAX: u32 = 4;
/// Frames taken with one system call.
const SLOTS: usize = 64;
/// Smaller values of the field are lengths (IEEE 802.3, 3.2.6).
const LEAST_ETHERTYPE: u16 = 0x600;
const ETHERNET_HEADER: usize = 14;
/// Slots take frames of this payload even where the MTU is smaller: peers may have another one, and ours may rise.
const JUMBO: u32 = 9216;
