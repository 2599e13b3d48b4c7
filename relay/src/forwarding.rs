//! [`Forwarding`]: the kernel's settings that a relay of routes and addresses needs, while the daemon runs.

use l2link_os::{LinkInfo, NetNs, SavedSysctls, SetupError};
use relay_core::VerifyRow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The settings that make the kernel a router, with their former values in a file beside the command socket, so that
/// even after a crash the next stop puts them back.
#[derive(Debug)]
pub(crate) struct Forwarding {
    saved: SavedSysctls,
    wanted: bool,
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
    /// Switches forwarding on if it is `wanted`; else puts back what an earlier process left. `addressed` are the
    /// interfaces to which a control may give addresses.
    pub(crate) fn begin(
        netns: &NetNs,
        api_socket: &Path,
        wanted: bool,
        links: &[LinkInfo],
        is_port: impl Fn(&str) -> bool,
        addressed: &[String],
    ) -> Result<Self, SetupError> {
        let mut saved = SavedSysctls::open(netns, &file(api_socket))?;
        if wanted {
            switch_on(&mut saved, links, is_port)
                .map_err(|error| SetupError::capable("switching forwarding on", "CAP_NET_ADMIN", error))?;
        }
        let mut forwarding = Self { saved, wanted };
        addressed.iter().for_each(|interface| forwarding.keep_secondaries(interface));
        forwarding.saved.put_back_unclaimed();
        Ok(forwarding)
    }

    /// As [`Forwarding::begin`], for another configuration.
    pub(crate) fn change(
        &mut self,
        wanted: bool,
        links: &[LinkInfo],
        is_port: impl Fn(&str) -> bool,
        addressed: &[String],
    ) -> io::Result<()> {
        if wanted && !self.wanted {
            switch_on(&mut self.saved, links, is_port)?;
        }
        if !wanted && self.wanted {
            self.saved.put_back_those(|path| !path.ends_with("/promote_secondaries"));
        }
        self.wanted = wanted;
        addressed.iter().for_each(|interface| self.keep_secondaries(interface));
        Ok(())
    }

    /// Sees to it that the interface's other addresses stay when one that a control gave it goes: Linux removes with the
    /// first IPv4 address of a prefix all others of it (`promote_secondaries` of ip-sysctl).
    pub(crate) fn keep_secondaries(&mut self, interface: &str) {
        let set = self.saved.set(&format!("net/ipv4/conf/{interface}/promote_secondaries"), "1");
        if let Err(error) = unless_absent(set) {
            log::warn!(target: "relay::port", "port {interface}: setting promote_secondaries: {error}");
        }
    }

    /// Settings that somebody has changed meanwhile.
    pub(crate) fn differences(&self) -> impl Iterator<Item = VerifyRow> {
        let off = |path: &&str| {
            let value = fs::read_to_string(Path::new("/proc/sys").join(path));
            value.is_ok_and(|value| value.trim() == "0")
        };
        let row =
            |path: &str| VerifyRow { what: path.to_owned(), difference: "is 0: nothing is forwarded".into() };
        SWITCHES.into_iter().filter(|_| self.wanted).filter(off).map(row)
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
        // The 2 of an earlier process is claimed, too.
        if !is_port(name) && matches!(value.trim(), "1" | "2") {
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
