//! What rtnetlink does not tell of an interface: its speed, from which routing daemons take costs, and what of a packet it leaves to
//! the kernel.

use fast_path::Offloads;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Speed in Mb/s of an interface in the namespace of `socket`, zero if the driver does not know.
pub(crate) fn speed(socket: BorrowedFd<'_>, interface: &str) -> u32 {
    let mut command = EthtoolCmd { cmd: ETHTOOL_GSET, ..EthtoolCmd::default() };
    match call(socket, interface, &mut command).map(|()| command.speed()) {
        Ok(UNKNOWN | UNKNOWN_HALF) | Err(_) => 0,
        Ok(speed) => speed,
    }
}

/// Sets what the interface shows as its speed, in Mb/s, and full duplex.
pub(crate) fn set_speed(socket: BorrowedFd<'_>, interface: &str, speed: u32) -> io::Result<()> {
    let mut command = EthtoolCmd { cmd: ETHTOOL_GSET, ..EthtoolCmd::default() };
    call(socket, interface, &mut command)?;
    command.cmd = ETHTOOL_SSET;
    command.duplex = DUPLEX_FULL;
    command.set_speed(speed);
    call(socket, interface, &mut command)
}

/// What an interface of the current namespace does of packets by itself.
///
/// # Errors
/// The kernel's.
pub fn offloads(interface: &str) -> io::Result<Offloads> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let does = |cmd| {
        let mut value = EthtoolValue { cmd, data: 0 };
        match call(socket.as_fd(), interface, &mut value) {
            Ok(()) => Ok(value.data != 0),
            // A driver that does not know of it does not do it.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(error),
        }
    };
    Ok(Offloads { transmit: does(ETHTOOL_GTXCSUM)? || does(ETHTOOL_GTSO)?, gro: does(ETHTOOL_GGRO)? })
}

fn call<T: Command>(socket: BorrowedFd<'_>, interface: &str, command: &mut T) -> io::Result<()> {
    // SAFETY: all fields are integers, pointers and unions of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = core::ptr::from_mut(command).cast();
    // SAFETY: SIOCETHTOOL takes an `ifreq` whose data pointer is to a command, which a `Command` is with its number. Both live until
    // the call returns and are borrowed exclusively.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What SIOCETHTOOL takes for the commands of this file: `EthtoolCmd` for the first two, `EthtoolValue` for the others.
trait Command {}
impl Command for EthtoolCmd {}
impl Command for EthtoolValue {}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_cmd` of `linux/ethtool.h`, the old command that every driver still answers.
#[derive(Default)]
#[repr(C)]
struct EthtoolCmd {
    cmd: u32,
    supported: u32,
    advertising: u32,
    speed: u16,
    duplex: u8,
    bytes: [u8; 5],
    maxtxpkt: u32,
    maxrxpkt: u32,
    speed_hi: u16,
    more_bytes: [u8; 2],
    lp_advertising: u32,
    reserved: [u32; 2],
}
const _: () = assert!(size_of::<EthtoolCmd>() == 44);

impl EthtoolCmd {
    fn speed(&self) -> u32 {
        (u32::from(self.speed_hi) << 16) | u32::from(self.speed)
    }

    fn set_speed(&mut self, speed: u32) {
        let [a, b, c, d] = speed.to_be_bytes();
        self.speed_hi = u16::from_be_bytes([a, b]);
        self.speed = u16::from_be_bytes([c, d]);
    }
}

const ETHTOOL_GSET: u32 = 1;
const ETHTOOL_SSET: u32 = 2;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GGRO: u32 = 0x2b;
const DUPLEX_FULL: u8 = 1;
const UNKNOWN: u32 = u32::MAX;
const UNKNOWN_HALF: u32 = u16::MAX as u32;
