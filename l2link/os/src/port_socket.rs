//! [`PortSocket`]: what arrives at a relay's port, and what leaves by it, as parcels.
//!
//! # Theory of operation
//!
//! The socket carries a `virtio_net_hdr` before each frame (`PACKET_VNET_HDR`), so a TCP super-packet that the
//! network card's or the kernel's receive offload put together arrives as one parcel of up to 64 KiB, and one that is
//! sent is cut by the card or, at the last moment, by the kernel. Nothing is computed twice: a checksum that the
//! sender's kernel left open stays open.
//!
//! Most parcels are small, and are collected for one sendmmsg(2); large ones would cost more to copy than the system
//! call they save, and are sent from where they are, after those that wait, so that order is kept.
//!
//! IP groups are joined on sockets of their own, one per group, because the kernel limits the groups of a socket
//! (`net.ipv4.igmp_max_memberships`, 20) and because closing is then leaving. Nothing is ever received on them.

use crate::ahead::{Ahead, Slot};
use crate::mmsg::{Receiver, Sender};
use crate::offload::swap_order;
use crate::packet_socket::{PacketSocket, ethernet_interface};
use crate::{CaptureFilter, Conversations, IfIndex, NetNs, Sent, SetupError};
use frames::Mac;
use frames::data::PARCEL_MAX;
use l2link::{Batch, Time};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// A packet socket for all EtherTypes on a port. Frames with a VLAN tag and frames that this machine sends are not
/// delivered.
#[derive(Debug)]
pub struct PortSocket {
    socket: PacketSocket,
    receiver: Receiver,
    /// What was received and not handed out yet.
    ahead: Ahead,
    /// Slots in which nothing lies that was not handed out.
    free: Vec<usize>,
    /// What was handed out last.
    handed_out: Vec<Slot>,
    /// What the kernel said behind parcels that are to be handed out first.
    failed: Option<io::Error>,
    sending: PacketSocket,
    sender: Sender,
    waiting: Batch,
    sent: Sent,
    groups: BTreeMap<IpAddr, Socket>,
    netns: NetNs,
}

impl PortSocket {
    /// Bytes up to which a parcel is copied and collected.
    pub const COLLECTED: usize = 2048;

    /// Opens the socket, not blocking, ready for mio; nothing that `filter` excludes is ever delivered.
    ///
    /// # Errors
    /// Everything of [`SetupError`] that concerns interfaces and capabilities. An interface that is down is no error.
    pub fn open(interface: &str, filter: &CaptureFilter) -> Result<Self, SetupError> {
        let info = ethernet_interface(interface)?;
        let socket = PacketSocket::new(&info)?;
        let system = |action: &str| {
            let action = format!("{action} of the port socket on {interface}");
            move |source| SetupError::system(action, source)
        };
        attach(&socket, filter).map_err(system("set the filter"))?;
        socket.set(libc::PACKET_VNET_HDR, &1_i32).map_err(system("set PACKET_VNET_HDR"))?;
        socket.set(libc::PACKET_IGNORE_OUTGOING, &1_i32).map_err(system("set PACKET_IGNORE_OUTGOING"))?;
        socket.set_receive_buffer();
        socket.bind(ETH_P_ALL).map_err(system("set the EtherType"))?;
        let sending = PacketSocket::sending(&info)?;
        sending.set(libc::PACKET_VNET_HDR, &1_i32).map_err(system("set PACKET_VNET_HDR"))?;
        Ok(Self {
            socket,
            receiver: Receiver::new(RECEIVE_SLOTS, PARCEL_MAX),
            ahead: Ahead::default(),
            free: (0..RECEIVE_SLOTS).rev().collect(),
            handed_out: Vec::with_capacity(RECEIVE_SLOTS),
            failed: None,
            sending,
            sender: Sender::new(WAIT_WINDOW),
            waiting: Batch::new(SEND_SLOTS, Self::COLLECTED),
            sent: Sent::default(),
            groups: BTreeMap::new(),
            netns: NetNs::current()?,
        })
    }

    /// Replaces the filter at once.
    ///
    /// # Errors
    /// The kernel's, with the old filter still in force.
    pub fn set_filter(&mut self, filter: &CaptureFilter) -> io::Result<()> {
        attach(&self.socket, filter)
    }

    /// Replaces the filter at once by a program of type `BPF_PROG_TYPE_SOCKET_FILTER`.
    ///
    /// # Errors
    /// The kernel's, with the old filter still in force.
    pub fn set_filter_program(&mut self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.socket.set_filter_program(program)
    }

    /// Takes up to 32 parcels out of the socket, those of conversations before those of transfers ([`l2link::BulkFlows`]), and
    /// no more than make a turn; zero if none waits. The next call overwrites them. Call until zero:
    /// fewer than 32 does not mean that none is left.
    ///
    /// # Errors
    /// As [`crate::LinkSocket::receive`].
    pub fn receive(&mut self, conversations: &mut Conversations, now: Time) -> io::Result<usize> {
        self.free.extend(self.handed_out.drain(..).map(|slot| slot.index));
        if self.failed.is_none() && (self.ahead.is_empty() || self.ahead.is_conversing(now)) {
            self.failed = self.read(conversations, now).err();
        }
        let mut turn = conversations.turn(now);
        while turn.goes_on()
            && let Some(slot) = self.ahead.take()
        {
            turn.note(slot.len);
            self.handed_out.push(slot);
        }
        match self.failed.take_if(|_| self.handed_out.is_empty()) {
            Some(error) => Err(error),
            None => Ok(self.handed_out.len()),
        }
    }

    /// Fills the free slots.
    fn read(&mut self, conversations: &mut Conversations, now: Time) -> io::Result<()> {
        if self.free.is_empty() {
            return Ok(());
        }
        self.receiver.receive_into(self.free.iter().rev().copied(), self.socket.as_fd())?;
        for at in 0..self.receiver.frames().len() {
            let slot = self.receiver.frames()[at];
            let parcel = self.receiver.slot_mut(slot);
            swap_order(parcel);
            let conversation = self.ahead.note(parcel, conversations, now);
            self.ahead.put(slot, conversation);
        }
        for slot in self.receiver.frames() {
            // It is the last one, unless the one before it was skipped.
            if let Some(at) = self.free.iter().rposition(|index| *index == slot.index) {
                self.free.remove(at);
            }
        }
        Ok(())
    }

    /// Parcel `index` of those that the last [`PortSocket::receive`] took.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn parcel(&self, index: usize) -> &[u8] {
        self.receiver.slot(self.handed_out[index])
    }

    /// Sends a parcel with the next [`PortSocket::flush`], or at once. Its offload header is overwritten. May wait for
    /// room in the send buffer, up to 10 ms in any 50 ms, as all ports and the link are served by one thread.
    pub fn queue(&mut self, parcel: &mut [u8]) {
        if !swap_order(parcel) {
            self.sent.errors += 1;
            return;
        }
        if parcel.len() > Self::COLLECTED {
            self.send_waiting();
            self.sent += self.sender.send(self.sending.as_fd(), core::iter::once(&*parcel));
            return;
        }
        if let Some(slot) = self.waiting.slot() {
            slot[..parcel.len()].copy_from_slice(parcel);
            self.waiting.commit(parcel.len());
        }
        if self.waiting.room() == 0 {
            self.send_waiting();
        }
    }

    /// Sends a parcel of more than [`PortSocket::COLLECTED`] bytes at once. Returns whether the kernel took it, or had no room for
    /// it; else it is as it was. May wait as [`PortSocket::queue`] may.
    pub fn send(&mut self, parcel: &mut [u8]) -> bool {
        if parcel.len() <= Self::COLLECTED || !swap_order(parcel) {
            return false;
        }
        self.send_waiting();
        let sent = self.sender.send(self.sending.as_fd(), core::iter::once(&*parcel));
        if sent.errors > 0 {
            swap_order(parcel);
            return false;
        }
        self.sent += sent;
        true
    }

    /// Sends what waits. Returns what became of all parcels since the last call.
    pub fn flush(&mut self) -> Sent {
        self.send_waiting();
        core::mem::take(&mut self.sent)
    }

    /// Lets the interface accept frames to `mac`, group address or not, until [`PortSocket::leave`] or the end of the
    /// socket. Counted by the kernel: as many `leave` as `join`. A unicast address must stand in the filter as well.
    ///
    /// # Errors
    /// The kernel's.
    pub fn join(&mut self, mac: Mac) -> io::Result<()> {
        self.socket.set_membership(mac, true)
    }

    /// Takes back one [`PortSocket::join`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn leave(&mut self, mac: Mac) -> io::Result<()> {
        self.socket.set_membership(mac, false)
    }

    /// Lets the relay's kernel join the IP multicast group at the port, so that it speaks IGMP or MLD for it. Again
    /// for a group that is joined already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn join_ip(&mut self, group: IpAddr) -> io::Result<()> {
        if self.groups.contains_key(&group) {
            return Ok(());
        }
        let IfIndex(ifindex) = self.socket.ifindex();
        let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = self.netns.run(|| Socket::new(domain, Type::DGRAM.cloexec(), None))??;
        match &group {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(ifindex))?
            }
            IpAddr::V6(group) => socket.join_multicast_v6(group, ifindex)?,
        }
        self.groups.insert(group, socket);
        Ok(())
    }

    /// Takes back [`PortSocket::join_ip`].
    ///
    /// # Errors
    /// `ENOENT` if the group was not joined.
    pub fn leave_ip(&mut self, group: IpAddr) -> io::Result<()> {
        let socket = self.groups.remove(&group);
        socket.map(drop).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Packets that were too long for a parcel, and packets with an offload that a parcel cannot express, since the
    /// last call.
    pub fn skipped(&mut self) -> u64 {
        self.receiver.take_skipped()
    }

    /// Packets that the kernel dropped since the last call because the receive buffer was full.
    /// Costs a system call only if a [`PortSocket::receive`] in between took as many as it can.
    pub fn overruns(&mut self) -> u64 {
        // The buffer holds many times a call's packets: after an overrun the next call is a full one.
        if self.receiver.take_full() { self.socket.overruns() } else { 0 }
    }

    /// The port's interface.
    #[must_use]
    pub fn ifindex(&self) -> IfIndex {
        self.socket.ifindex()
    }

    /// Whether the socket is still at its interface. One that was removed, or was in another namespace in between, needs
    /// another socket, even if it has the same index again.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.socket.is_bound()
    }

    fn send_waiting(&mut self) {
        if !self.waiting.is_empty() {
            self.sent += self.sender.send(self.sending.as_fd(), self.waiting.frames());
            self.waiting.clear();
        }
    }
}

impl AsRawFd for PortSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Attaches the exact filter, or where the kernel has no room for it (`net.core.optmem_max`) the one that lets transit
/// in, which the dispatch table then leaves alone.
fn attach(socket: &PacketSocket, filter: &CaptureFilter) -> io::Result<()> {
    match socket.set_filter(&filter.program()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
            log::warn!(
                "the kernel has no room for a filter of {} addresses and takes transit packets in as well: \
                 raise net.core.optmem_max",
                filter.addresses.len()
            );
            socket.set_filter(&filter.coarse_program())
        }
        result => result,
    }
}

const ETH_P_ALL: u16 = 3;
/// Parcels taken with one system call, 64 KiB each.
const RECEIVE_SLOTS: usize = 32;
/// Small parcels sent with one system call.
const SEND_SLOTS: usize = 64;
/// Time in which the socket waits for room once.
const WAIT_WINDOW: Duration = Duration::from_millis(50);
