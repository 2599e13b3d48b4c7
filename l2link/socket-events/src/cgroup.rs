//! The cgroup that holds every program of the machine.

use crate::Error;
use core::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

/// Opens the root of the cgroups of version 2. Where it is not mounted, as in the mount namespace of `ip netns exec`, a mount at no place
/// serves as well.
pub(crate) fn root() -> Result<OwnedFd, Error> {
    let namespace = fs::metadata("/proc/self/ns/cgroup").map_err(Error::Cgroup)?;
    if namespace.ino() != INITIAL_NAMESPACE {
        return Err(Error::OwnCgroups);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(Error::Cgroup)?;
    match mounts.lines().find_map(mounted_root) {
        Some(place) => File::open(place).map(OwnedFd::from).map_err(Error::Cgroup),
        None => mount_nowhere(c"cgroup2").map_err(Error::NoCgroup),
    }
}

/// The root of a file system that is mounted at no place, and goes with its descriptor (fsopen(2), Linux 5.2).
fn mount_nowhere(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads a string that is there.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
    let context = descriptor(context)?;
    let (key, value) = (core::ptr::null::<u8>(), core::ptr::null::<u8>());
    // SAFETY: this command takes neither key nor value.
    let made =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, key, value, 0) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes numbers only.
    let mounted = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
    descriptor(mounted)
}

/// What a system call returned that makes a descriptor.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel has just made it, for us alone.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where the root of the cgroups is mounted, if that is what a line of `mountinfo` tells (proc_pid_mountinfo(5)).
fn mounted_root(line: &str) -> Option<String> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut words = mount.split(' ').skip(3);
    let (root, place) = (words.next()?, words.next()?);
    let is_it = root == "/" && file_system.split(' ').next() == Some("cgroup2");
    // It writes a space in a path as \040.
    is_it.then(|| place.replace("\\040", " "))
}

/// `linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
/// `PROC_CGROUP_INIT_INO` (`linux/proc_ns.h`).
const INITIAL_NAMESPACE: u64 = 0xeffffffb;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate",
        Some("/sys/fs/cgroup")
    )]
    #[case("35 24 0:30 / /my\\040cgroups rw - cgroup2 none rw", Some("/my cgroups"))]
    #[case("35 24 0:30 /system.slice /mnt rw - cgroup2 none rw", None)]
    #[case("36 24 0:31 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu", None)]
    #[case("36 24 0:31 / /sys/fs/cgroup", None)]
    fn the_root_is_found_among_mounts(#[case] line: &str, #[case] expected: Option<&str>) {
        assert_eq!(mounted_root(line).as_deref(), expected);
    }
}
