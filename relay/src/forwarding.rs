//! [`Forwarding`]: the machine forwards packets while the daemon runs.

use l2link_os::{LinkInfo, NetNs, SavedSysctls, SetupError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The settings that make the kernel a router, with their former values in a file beside the command socket, so that
/// even after a crash the next stop puts them back.
#[derive(Debug)]
pub(crate) struct Forwarding {
    saved: SavedSysctls,
}

/// What the kernel sets along with [`SWITCHES`] (`inet_forward_change` of `net/ipv4/devinet.c`,
/// `addrconf_fixup_forwarding` of `net/ipv6/addrconf.c`).
const SET_ALONG: [&str; 4] = [
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
];
const SWITCHES: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

impl Forwarding {
    /// Switches forwarding on if it is `wanted`; else puts back what an earlier process left.
    pub(crate) fn begin(
        netns: &NetNs,
        api_socket: &Path,
        wanted: bool,
        links: &[LinkInfo],
        is_port: impl Fn(&str) -> bool,
    ) -> Result<Self, SetupError> {
        let mut saved = SavedSysctls::open(netns, &file(api_socket))?;
        if wanted {
            switch_on(&mut saved, links, is_port)
                .map_err(|error| SetupError::capable("switching forwarding on", "CAP_NET_ADMIN", error))?;
        }
        saved.put_back_unclaimed();
        Ok(Self { saved })
    }

    /// Leaves the settings for a successor.
    pub(crate) fn leave(self) {
        self.saved.keep();
    }
}

fn switch_on(saved: &mut SavedSysctls, links: &[LinkInfo], is_port: impl Fn(&str) -> bool) -> io::Result<()> {
    for path in SET_ALONG {
        unless_absent(saved.preserve(path))?;
    }
    for LinkInfo { name, .. } in links {
        for version in ["ipv4", "ipv6"] {
            unless_absent(saved.preserve(&format!("net/{version}/conf/{name}/forwarding")))?;
        }
        // A router does not listen to other routers, unless it is told to (2): the relay's own way out may depend on it.
        let accept_ra = format!("net/ipv6/conf/{name}/accept_ra");
        let value = fs::read_to_string(Path::new("/proc/sys").join(&accept_ra)).unwrap_or_default();
        if !is_port(name) && value.trim() == "1" {
            unless_absent(saved.set(&accept_ra, "2"))?;
        }
    }
    SWITCHES.into_iter().try_for_each(|path| unless_absent(saved.set(path, "1")))
}

/// A kernel without IPv6 has none of its settings.
fn unless_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn file(api_socket: &Path) -> PathBuf {
    let mut name = OsString::from(api_socket);
    name.push(".saved");
    name.into()
}
