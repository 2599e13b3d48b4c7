//! keepalived.

use crate::netns::Netns;
use crate::process::Process;
use std::fs;
use std::path::{Path, PathBuf};

/// What a keepalived is to do: one virtual router with a virtual Ethernet address (`use_vmac`).
#[derive(Debug, Clone, Copy)]
pub struct Vrrp<'a> {
    /// Interface on which it stands.
    pub interface: &'a str,
    /// Virtual router id.
    pub id: u8,
    /// Priority; the highest is master.
    pub priority: u8,
    /// The virtual address with its prefix length. IPv6 needs a link-local one before it.
    pub addresses: &'a [&'a str],
}

/// A running keepalived.
#[derive(Debug)]
pub struct Keepalived {
    /// The process that watches its children.
    pub process: Process,
}

impl Keepalived {
    /// Starts it with advertisements every 200 ms, VRRP version 3. It may not be master yet.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, vrrp: &Vrrp<'_>) -> Self {
        let folder = folder.join(format!("keepalived-{}", netns.name()));
        fs::create_dir_all(&folder).expect("make keepalived's folder");
        let config = folder.join("keepalived.conf");
        fs::write(&config, Self::config(vrrp)).expect("write keepalived.conf");
        // One that was killed leaves them, and its number may be another process's by now.
        let path = |name: &str| -> PathBuf {
            let _ = fs::remove_file(folder.join(name));
            folder.join(name)
        };
        let process = netns.spawn(&format!(
            "keepalived --dont-fork --vrrp --log-console --log-detail --use-file {} --pid {} --vrrp_pid {}",
            config.display(),
            path("pid").display(),
            path("vrrp.pid").display()
        ));
        Self { process }
    }

    fn config(vrrp: &Vrrp<'_>) -> String {
        let Vrrp { interface, id, priority, addresses } = vrrp;
        let addresses = addresses.join("\n");
        format!(
            "global_defs {{
                vrrp_version 3
                vrrp_garp_master_delay 0
            }}
            vrrp_instance tested {{
                interface {interface}
                use_vmac vrrp.{id}
                state BACKUP
                virtual_router_id {id}
                priority {priority}
                advert_int 0.2
                virtual_ipaddress {{
                    {addresses}
                }}
            }}\n"
        )
    }
}
