//! Those values of `frames` and of this crate that inputs of the cores consist of.

use super::{Field, Malformed, Reader};
use crate::by_hand::Decided;
use crate::fast::{FastTraffic, FastWay};
use crate::route_text::{NexthopText, RouteText};
use crate::service::Service;
use crate::{PeerId, PublicKey, Time};
use crate::{recorded_enum, recorded_newtype, recorded_struct};
use core::net::IpAddr;
use frames::data::Tunnel;
use frames::discovery::{Protection, Role};
use frames::inet::Obstacle;
use frames::message::{Group, PortAddress, PortFlags, PortRoute, Translation};
use frames::protocol_address::{Family, Local};
use frames::route::{Prefix, RouteKey, RouteKind};
use frames::{BootId, DropReason, Mac, PortId, ProtocolAddress, SymbolId};
use zerocopy::{FromBytes, IntoBytes};

recorded_newtype!(BootId, Mac, PeerId, PortId, Protection, PublicKey, SymbolId, Time, Tunnel);

recorded_enum!(Role { 1 => Relay, 2 => Control });
recorded_enum!(Family { 0 => Both, 4 => V4, 6 => V6 });
recorded_enum!(Local { 0 => Any(family), 1 => Address(address) });
recorded_enum!(ProtocolAddress {
    0 => Listener { protocol, local, port },
    1 => Flow { protocol, local, local_port, remote, remote_port },
    2 => IpProtocol { protocol, local },
    3 => EtherType(ethertype),
});
recorded_enum!(Group { 0 => Ip(address), 1 => Ethernet(mac) });
recorded_enum!(Obstacle { 0 => TooBig(mtu), 1 => NoRoute });
recorded_enum!(RouteKind { 1 => Unicast, 2 => Blackhole, 3 => Unreachable, 4 => Prohibit });
recorded_enum!(Service { 0 => Everything, 1 => Ports { protocol, ports }, 2 => Ip(protocol), 3 => EtherType(ethertype) });

recorded_struct!(RouteKey { table, prefix, metric });
recorded_struct!(Translation { virtual_address, control_address });
recorded_struct!(FastWay { peer, tunnel });
recorded_struct!(FastTraffic { packets, bytes, frames, frame_bytes });
recorded_struct!(Decided { weight, draining });
recorded_struct!(RouteText { kind, prefix, metric, table, mtu, netns, nexthops });
recorded_struct!(NexthopText { gateway, dev, weight, onlink });

/// By its place: a program of another version, which may have others, does not read it.
impl Field for DropReason {
    fn put(&self, out: &mut Vec<u8>) {
        u16::try_from(*self as usize).unwrap_or(u16::MAX).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(u16::take(reader)?)).copied().ok_or(Malformed)
    }
}

impl Field for PortFlags {
    fn put(&self, out: &mut Vec<u8>) {
        self.bits().put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u32::take(reader).map(Self::from_bits_retain)
    }
}

impl Field for Prefix {
    fn put(&self, out: &mut Vec<u8>) {
        (self.address(), self.length()).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (address, length) = <(IpAddr, u8)>::take(reader)?;
        Self::new(address, length).ok_or(Malformed)
    }
}

/// As on the wire.
impl Field for PortAddress {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::read_from_bytes(reader.bytes(size_of::<Self>())?).map_err(|_| Malformed)
    }
}

/// As on the wire.
impl Field for PortRoute {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::read_from_bytes(reader.bytes(size_of::<Self>())?).map_err(|_| Malformed)
    }
}
