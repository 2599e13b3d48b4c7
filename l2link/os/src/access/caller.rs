//! [`Caller`]: who is at the other end of a UNIX socket, as the kernel tells.

use core::fmt;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Who has connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl Caller {
    /// Asks the kernel, of a connected UNIX stream socket.
    ///
    /// # Errors
    /// If the kernel does not tell, as before Linux 4.13.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), groups: groups(socket)? })
    }

    /// Whether it is root, or the user as whom this process runs.
    #[must_use]
    pub fn is_daemons_own(&self) -> bool {
        self.uid == 0 || self.uid == nix::unistd::geteuid().as_raw()
    }

    /// Whether it belongs to a group.
    #[must_use]
    pub fn is_member(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)
    }
}

/// More than most users have; the kernel says how many are needed.
const GROUPS: usize = 32;

/// `SO_PEERGROUPS` (net/core/sock.c, `sk_getsockopt`).
fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(&groups[..])).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `bytes` bytes, the size of the vector, and u32 is gid_t.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_tells_who_this_process_is() {
        let (one, _other) = UnixStream::pair().unwrap();
        let caller = Caller::of(&one).unwrap();
        assert_eq!(caller.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(caller.gid, nix::unistd::getegid().as_raw());
        let own: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        assert_eq!(caller.groups, own);
        assert!(caller.is_daemons_own() && caller.is_member(caller.gid));
    }

    /// All of it is of the thread that does it.
    #[test]
    fn more_groups_than_there_is_room_for_at_first_are_all_told() {
        let told = std::thread::spawn(|| {
            let many: Vec<libc::gid_t> = (5000..5100).collect();
            // SAFETY: the system call takes the groups of this thread alone, and reads as many as it is told.
            if unsafe { libc::syscall(libc::SYS_setgroups, many.len(), many.as_ptr()) } != 0 {
                return None;
            }
            let (one, _other) = UnixStream::pair().unwrap();
            Some((many, Caller::of(&one).unwrap().groups))
        });
        // Without CAP_SETGID there is nothing to be seen.
        if let Some((many, told)) = told.join().unwrap() {
            assert_eq!(told, many);
        }
    }
}
