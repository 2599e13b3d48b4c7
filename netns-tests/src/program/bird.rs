//! BIRD 2.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::wait::eventually;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    /// Its process.
    pub process: Process,
    netns: String,
    socket: PathBuf,
}

impl Bird {
    /// Starts it with its router id and the text of its protocols. Interfaces are scanned every second, and routes go to
    /// and from the kernel as the text says, all that are equally good.
    ///
    /// # Panics
    /// When it does not like its configuration or cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, router_id: &str, protocols: &str) -> Self {
        let folder = folder.join(format!("bird-{}", netns.name()));
        fs::create_dir_all(&folder).expect("make BIRD's folder");
        let (config, socket) = (folder.join("bird.conf"), folder.join("bird.ctl"));
        let text = format!(
            "log stderr all;\nrouter id {router_id};\nprotocol device {{ scan time 1; }}\n\
             protocol kernel kernel4 {{ merge paths on; ipv4 {{ import none; export where source != RTS_STATIC; }}; }}\n\
             protocol kernel kernel6 {{ merge paths on; ipv6 {{ import none; export where source != RTS_STATIC; }}; }}\n{protocols}"
        );
        fs::write(&config, text).expect("write bird.conf");
        netns.ok(&format!("bird -p -c {}", config.display()));
        let process = netns.spawn(&format!("bird -f -c {} -s {}", config.display(), socket.display()));
        Self { process, netns: netns.name().to_owned(), socket }
    }

    /// What `birdc` answers.
    #[must_use]
    pub fn birdc(&self, command: &str) -> Finished {
        self.run(&format!("birdc -s {} {command}", self.socket.display()))
    }

    /// Waits until a protocol has brought a route that the kernel has as well.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn await_route(&self, protocol: &str, prefix: &str, deadline: Duration) {
        eventually(deadline, &format!("BIRD has {prefix} by {protocol}"), || {
            let shown = self.birdc(&format!("show route protocol {protocol} for {prefix}")).into_result()?;
            let family = if prefix.contains(':') { "-6" } else { "-4" };
            let kernel = self.run(&format!("ip {family} route show {prefix} proto bird")).into_result()?;
            if shown.contains(prefix) && kernel.contains("via") {
                Ok(())
            } else {
                Err(format!("{shown}{kernel}{}", self.birdc("show protocols all").stdout()))
            }
        });
    }

    /// Waits until a protocol's routes are gone.
    ///
    /// # Panics
    /// When they stay.
    #[track_caller]
    pub fn await_no_route(&self, prefix: &str, deadline: Duration) {
        eventually(deadline, &format!("BIRD has no {prefix}"), || {
            let shown = self.birdc("show route").into_result()?;
            if shown.contains(prefix) { Err(shown) } else { Ok(()) }
        });
    }

    fn run(&self, line: &str) -> Finished {
        Finished::new(Command::new("ip").args(["netns", "exec", &self.netns]).args(line.split_whitespace()))
    }
}
