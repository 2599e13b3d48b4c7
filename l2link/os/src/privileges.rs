//! Whether this process may do what a daemon must, asked once at the start so that the message names everything that
//! is missing.

use crate::SetupError;
use std::fs;
use std::io;

/// A capability (capabilities(7)), with its number in the kernel (`linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Files that belong to somebody else.
    DacOverride = 1,
    /// Interfaces, addresses, routes, nftables.
    NetAdmin = 12,
    /// Packet sockets.
    NetRaw = 13,
    /// Network namespaces, tracefs.
    SysAdmin = 21,
}

impl Capability {
    /// The name in capabilities(7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        }
    }
}

/// Checks that this process has all of `needed`.
///
/// # Errors
/// [`SetupError::Capabilities`] names all that are missing, and how to get them.
pub fn require(needed: &[Capability]) -> Result<(), SetupError> {
    let effective = effective().map_err(|error| {
        SetupError::system("reading this process's capabilities in /proc/self/status", error)
    })?;
    check(needed, effective)
}

fn check(needed: &[Capability], effective: u64) -> Result<(), SetupError> {
    let missing: Vec<_> = needed
        .iter()
        .filter(|capability| effective & (1 << (**capability as u8)) == 0)
        .map(|capability| capability.name())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(SetupError::Capabilities { missing }) }
}

fn effective() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    digits
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("there is no CapEff"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        use Capability::{NetAdmin, NetRaw, SysAdmin};
        assert!(check(&[NetAdmin, NetRaw, SysAdmin], u64::MAX).is_ok());
        let error = check(&[NetAdmin, NetRaw, SysAdmin], 1 << 13).unwrap_err().to_string();
        assert!(error.starts_with("missing capabilities CAP_NET_ADMIN, CAP_SYS_ADMIN: "), "{error}");
        assert!(error.contains("sudo"), "{error}");
        assert!(error.contains("AmbientCapabilities=CAP_NET_ADMIN CAP_SYS_ADMIN"), "{error}");
        assert!(error.contains("cap_net_admin,cap_sys_admin+ep"), "{error}");
    }

    #[test]
    fn the_kernel_tells() {
        let all = require(&[Capability::NetAdmin]).is_ok();
        // SAFETY: geteuid has no precondition.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(all || !root || effective().unwrap() == 0);
    }
}
