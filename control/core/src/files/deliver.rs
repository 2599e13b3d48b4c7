//! What comes up for a file symbol, on its way into queues.

use super::name::{TCP, UDP};
use super::{FileHandle, Files, PacketFile};
use core::hash::Hasher;
use frames::data::{OffloadHeader, PARCEL_MAX};
use frames::header::EthernetHeader;
use frames::inet::{Ip, Layer3, PacketView, Segments, Transport, classify};
use frames::protocol_address::octets;
use frames::{DropReason, ProtocolAddress, SymbolId};
use l2link::{Counters, Time};
use rustc_hash::FxHasher;

impl Files {
    /// Takes a parcel that came by the rule for `by`: super-packets are cut to packets, and checksums completed, as everything is on
    /// a cable.
    pub(crate) fn deliver(
        &mut self,
        symbol: SymbolId,
        by: &ProtocolAddress,
        parcel: &[u8],
        drops: &mut Counters,
        now: Time,
    ) -> Result<(), DropReason> {
        let frame = parcel.get(size_of::<OffloadHeader>()..).unwrap_or_default();
        let (ethernet, rest) =
            frame.split_at_checked(size_of::<EthernetHeader>()).ok_or(DropReason::BadPacket)?;
        let view = classify(frame).ok();
        self.target(symbol, by, view.as_ref());
        if self.targets.is_empty() {
            self.counters.entry(symbol).or_default().unread += 1;
            return Err(DropReason::NoReader);
        }
        match Segments::new(parcel) {
            Ok(mut segments) => {
                let mut scratch = core::mem::take(&mut self.scratch);
                scratch.resize(PARCEL_MAX, 0);
                while let Some(length) = segments.write_next(&mut scratch) {
                    self.push(symbol, ethernet, &scratch[..length], drops, now);
                }
                self.scratch = scratch;
            }
            Err(_) => self.push(symbol, ethernet, rest, drops, now),
        }
        Ok(())
    }

    /// Shows those that capture what the symbol sends.
    pub(crate) fn capture_sent(&mut self, symbol: SymbolId, frame: &[u8], drops: &mut Counters, now: Time) {
        self.targets.clear();
        self.add_all(symbol, PacketFile::Pcap);
        if !self.targets.is_empty() {
            self.push(symbol, frame, &[], drops, now);
        }
    }

    /// Fills `targets`.
    fn target(&mut self, symbol: SymbolId, by: &ProtocolAddress, view: Option<&PacketView>) {
        self.targets.clear();
        self.add_all(symbol, PacketFile::Packets);
        self.add_all(symbol, PacketFile::Pcap);
        let Some(view) = view else { return };
        self.add_all(symbol, PacketFile::EtherType(view.ethertype));
        let Layer3::Ip(ip) = &view.layer3 else { return };
        self.add_all(symbol, PacketFile::Ip(ip.protocol));
        if let Some(file) = listener(ip, by)
            && let Some(handles) = self.index.get(&(symbol, file))
        {
            // There is one at least.
            let place = flow_hash(ip) % handles.len().max(1) as u64;
            self.targets.extend(usize::try_from(place).ok().and_then(|place| handles.get(place)));
        }
    }

    fn add_all(&mut self, symbol: SymbolId, file: PacketFile) {
        if let Some(handles) = self.index.get(&(symbol, file)) {
            self.targets.extend_from_slice(handles);
        }
    }

    fn push(&mut self, symbol: SymbolId, ethernet: &[u8], packet: &[u8], drops: &mut Counters, now: Time) {
        for place in 0..self.targets.len() {
            let Some(handle) = self.targets.get(place).copied() else { return };
            let taken = self.open.get_mut(&handle).is_some_and(|file| file.push(ethernet, packet, now));
            let counters = self.counters.entry(symbol).or_default();
            if taken {
                counters.queued.frames += 1;
                counters.queued.bytes += packet.len() as u64;
                self.wake(handle);
            } else {
                counters.full += 1;
                drops.drop(DropReason::FileQueueFull);
            }
        }
    }

    /// Lists a file that got something, if anybody waits for that.
    fn wake(&mut self, handle: FileHandle) {
        let waited_for =
            self.open.get(&handle).is_some_and(|file| !file.readers.is_empty() || file.poll.is_some());
        if waited_for {
            self.list(handle);
        }
    }
}

/// The file of a listener that a packet is for. Of a later fragment only the rule knows.
fn listener(ip: &Ip, by: &ProtocolAddress) -> Option<PacketFile> {
    let port = match (ip.transport, by) {
        (Transport::Ports { destination, .. }, _) => destination,
        (Transport::LaterFragment, ProtocolAddress::Listener { protocol, port, .. })
            if *protocol == ip.protocol =>
        {
            *port
        }
        _ => return None,
    };
    match ip.protocol {
        TCP => Some(PacketFile::Tcp(port)),
        UDP => Some(PacketFile::Udp(port)),
        _ => None,
    }
}

/// Of all packets of one far end the same; of fragments without the port, which only the first has.
fn flow_hash(ip: &Ip) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(&octets(ip.source));
    if let (None, Transport::Ports { source, .. }) = (ip.fragment, ip.transport) {
        hasher.write_u16(source);
    }
    // The high bits are the well mixed ones.
    hasher.finish() >> 32
}
