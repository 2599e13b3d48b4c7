//! [`Tap`]: the interface of a symbol.
//!
//! The device tells its kernel that every checksum and segmentation offload is there, so programs hand over TCP and
//! UDP super-packets of up to 64 KiB uncut; what is still to do travels with the parcel. It has no carrier until
//! [`Tap::set_carrier`]: the far port's cable is its cable.

use crate::ahead::{Ahead, Slot};
use crate::offload::swap_order;
use crate::{Conversations, IfIndex, NetNs, SetupError};
use frames::data::PARCEL_MAX;
use l2link::Time;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// A TAP device; it is removed when this is dropped, unless another process holds it as well ([`keeper`](crate::keeper)).
#[derive(Debug)]
pub struct Tap {
    file: File,
    /// Memory for a parcel each: one, and while somebody converses beside a transfer some more than [`AHEAD_MAX`].
    slots: Vec<Box<[u8]>>,
    /// Those in which nothing lies that was not handed out.
    free: Vec<usize>,
    /// What was read and not handed out yet.
    ahead: Ahead,
    handed_out: Option<Slot>,
}

impl Tap {
    /// Makes the device in `netns`, not blocking, ready for mio, without carrier, down. Its number is the kernel's choice, or this one.
    ///
    /// # Errors
    /// [`SetupError::NoTunDevice`], [`SetupError::NameTaken`], [`SetupError::InterfaceName`], [`SetupError::Capability`].
    pub fn create(netns: &NetNs, name: &str, number: Option<IfIndex>) -> Result<Self, SetupError> {
        let system = |source| SetupError::system(format!("make interface {name}"), source);
        let mut request = interface_request(name)?;
        // The device is made in the namespace in which the file was opened.
        let file = netns.run(open).map_err(system)??;
        if let Some(IfIndex(number)) = number {
            control(&file, libc::TUNSETIFINDEX, (&raw const number).cast()).map_err(system)?;
        }
        control(&file, libc::TUNSETIFF, (&raw mut request).cast_const().cast()).map_err(
            |source| match source.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => SetupError::NameTaken {
                    interface: name.to_owned(),
                    netns: netns
                        .name()
                        .map_or_else(|| "this namespace".to_owned(), |name| format!("namespace {name}")),
                },
                _ => SetupError::capable(format!("making interface {name}"), "CAP_NET_ADMIN", source),
            },
        )?;
        let tap = Self::new(file);
        tap.set_offloads().map_err(system)?;
        tap.set_carrier(false).map_err(system)?;
        Ok(tap)
    }

    fn new(file: File) -> Self {
        Self { file, slots: Vec::new(), free: Vec::new(), ahead: Ahead::default(), handed_out: None }
    }

    /// Takes over a device that was made by [`Tap::create`], in this process or another, with its carrier as it is.
    ///
    /// # Errors
    /// `ENODEV` if it is not the device `name` of `netns`: it was removed, renamed or moved; else the kernel's.
    pub fn adopt(device: OwnedFd, netns: &NetNs, name: &str) -> io::Result<Self> {
        let tap = Self::new(File::from(device));
        if !tap.stands_as(netns, name)? {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        tap.set_offloads()?;
        Ok(tap)
    }

    /// Whether it is the interface `name` of `netns`: somebody may have removed, renamed or moved it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stands_as(&self, netns: &NetNs, name: &str) -> io::Result<bool> {
        Ok(self.name_in(netns)?.is_some_and(|present| present == name))
    }

    /// How the interface is called at present; `None` if it is not in `netns`, or removed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn name_in(&self, netns: &NetNs) -> io::Result<Option<String>> {
        let mut request = empty_request();
        match control(&self.file, libc::TUNGETIFF, (&raw mut request).cast_const().cast()) {
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Ok(None),
            result => result?,
        }
        let letters = request.ifr_name.iter().map(|letter| letter.to_ne_bytes()[0]);
        let name: Vec<u8> = letters.take_while(|letter| *letter != 0).collect();
        let here = namespace_of(&self.file)? == netns.inode();
        Ok(here.then(|| String::from_utf8_lossy(&name).into_owned()))
    }

    /// Drops what programs sent while nobody read, and says how many parcels that were. It ends where a program sends
    /// faster than this reads.
    ///
    /// # Errors
    /// The kernel's.
    pub fn discard(&mut self) -> io::Result<u64> {
        let mut nobodys = Conversations::default();
        for parcels in 0..QUEUE_MAX {
            if self.read(&mut nobodys, Time(0))?.is_none() {
                return Ok(parcels);
            }
        }
        Ok(QUEUE_MAX)
    }

    /// Takes one parcel that a program sent, of a conversation if there is one, or else of a transfer
    /// ([`l2link::BulkFlows`]); `None` if none waits. The next call overwrites it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&mut self, conversations: &mut Conversations, now: Time) -> io::Result<Option<&mut [u8]>> {
        self.free.extend(self.handed_out.take().map(|slot| slot.index));
        if self.slots.len() > 1 && self.ahead.is_empty() && !self.ahead.is_conversing(now) {
            self.slots.truncate(1);
            self.free = vec![0];
        }
        self.handed_out = self.next(conversations, now)?;
        Ok(self.handed_out.map(|Slot { index, len }| &mut self.slots[index][..len]))
    }

    fn next(&mut self, conversations: &mut Conversations, now: Time) -> io::Result<Option<Slot>> {
        // A conversation's parcel is handed out as soon as it is found, so those that wait are of transfers.
        while self.ahead.len() <= if self.ahead.is_conversing(now) { AHEAD_MAX } else { 0 } {
            let slot = match self.read_slot() {
                Ok(Some(slot)) => slot,
                Err(error) if self.ahead.is_empty() => return Err(error),
                // An error is there again when those that wait are handed out.
                Ok(None) | Err(_) => break,
            };
            if self.ahead.note(&self.slots[slot.index][..slot.len], conversations, now) {
                return Ok(Some(slot));
            }
            self.ahead.put(slot, false);
        }
        Ok(self.ahead.take())
    }

    /// Reads into a free slot.
    fn read_slot(&mut self) -> io::Result<Option<Slot>> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(vec![0; PARCEL_MAX].into_boxed_slice());
            self.slots.len() - 1
        });
        let read = loop {
            match self.file.read(&mut self.slots[index]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(len) => {
                swap_order(&mut self.slots[index][..len]);
                Ok(Some(Slot { index, len }))
            }
            Err(error) => {
                self.free.push(index);
                if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Delivers a parcel. Its offload header is overwritten.
    ///
    /// # Errors
    /// The kernel's: `EIO` if the device is down, `EINVAL` for an offload header that contradicts the frame.
    pub fn write(&mut self, parcel: &mut [u8]) -> io::Result<()> {
        if !swap_order(parcel) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.file.write(parcel).map(|_| ())
    }

    /// Sets the carrier, which programs see as the state of a cable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_carrier(&self, carrier: bool) -> io::Result<()> {
        let carrier = libc::c_int::from(carrier);
        control(&self.file, libc::TUNSETCARRIER, core::ptr::from_ref(&carrier).cast())
    }

    /// UDP segmentation is refused by kernels before 6.2; programs' datagrams are then cut before they get here.
    fn set_offloads(&self) -> io::Result<()> {
        let set = |offloads: libc::c_uint| {
            // The argument is the value itself, not a pointer to it.
            control(&self.file, libc::TUNSETOFFLOAD, core::ptr::without_provenance(offloads as usize))
        };
        set(TCP_OFFLOADS | UDP_OFFLOADS).or_else(|_| set(TCP_OFFLOADS))
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn open() -> Result<File, SetupError> {
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    file.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => SetupError::NoTunDevice,
        _ => SetupError::capable("opening /dev/net/tun", "CAP_NET_ADMIN", source),
    })
}

fn interface_request(name: &str) -> Result<libc::ifreq, SetupError> {
    // The kernel would take a percent sign for a place to put a number in, and takes 0xa0 for a space, whatever it is part of.
    let forbidden = |byte: u8| {
        matches!(byte, b'/' | b':' | b'%' | 0xa0) || byte.is_ascii_control() || byte.is_ascii_whitespace()
    };
    let valid = (1..libc::IFNAMSIZ).contains(&name.len()) && !matches!(name, "." | "..");
    if !valid || name.bytes().any(forbidden) {
        return Err(SetupError::InterfaceName(name.to_owned()));
    }
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = FLAGS;
    Ok(request)
}

fn empty_request() -> libc::ifreq {
    // SAFETY: all fields are integers, pointers and unions of them, for which zero is a value.
    unsafe { core::mem::zeroed() }
}

/// Inode of the network namespace in which a device lies. It need not be that in which it was made.
fn namespace_of(device: &File) -> io::Result<u64> {
    // SAFETY: the request takes no argument and returns a descriptor or an error.
    let descriptor = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNGETDEVNETNS) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    let namespace = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(namespace.metadata()?.ino())
}

/// One of the ioctl(2) requests of a TUN/TAP device. `argument` points at what the request reads, or is its value.
fn control(file: &File, request: libc::Ioctl, argument: *const libc::c_void) -> io::Result<()> {
    // SAFETY: all callers are above; TUNSETIFF, TUNSETIFINDEX and TUNSETCARRIER read an `ifreq` and integers that
    // their callers hold until this returns, TUNSETIFF and TUNGETIFF write to an `ifreq` that is the caller's alone and mutable,
    // TUNSETOFFLOAD follows no pointer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Parcels that are read ahead: what a transfer has on its way in some milliseconds.
const AHEAD_MAX: usize = 32;
/// More than the kernel queues for a device that nobody reads: 1000 by default (`txqueuelen`).
const QUEUE_MAX: u64 = 4096;

const TCP_OFFLOADS: libc::c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Ethernet frames, no protocol bytes before them but the offload header, and never someone else's device.
#[expect(clippy::cast_possible_truncation, reason = "the flags are defined in 16 bits")]
const FLAGS: libc::c_short =
    (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL) as u16 as libc::c_short;
