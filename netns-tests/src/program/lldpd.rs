//! lldpd.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::wait::{SOON, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A running lldpd.
#[derive(Debug)]
pub struct Lldpd {
    /// The process that watches its children.
    pub process: Process,
    netns: String,
    socket: PathBuf,
}

impl Lldpd {
    /// Starts it on one interface with a description of the system by which others can tell it, and has it send every second.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, interface: &str, description: &str) -> Self {
        let socket = folder.join(format!("lldpd-{}", netns.name()));
        // Read before it sends for the first time. An interval that it is told later does not always shorten the present pause.
        let settings = folder.join(format!("lldpd-{}.conf", netns.name()));
        fs::write(&settings, "configure lldp tx-interval 1\n").expect("the folder can be written");
        let process = netns.spawn(&format!(
            "lldpd -d -u {} -O {} -I {interface} -S {description}",
            socket.display(),
            settings.display()
        ));
        let lldpd = Self { process, netns: netns.name().to_owned(), socket };
        eventually(SOON, "lldpd sends every second", || {
            let shown = lldpd.lldpcli("show interfaces details").into_result()?;
            if shown.contains("TTL:          4") { Ok(()) } else { Err(shown) }
        });
        lldpd
    }

    /// What `lldpcli` answers.
    #[must_use]
    pub fn lldpcli(&self, command: &str) -> Finished {
        let mut lldpcli = Command::new("ip");
        lldpcli.args(["netns", "exec", &self.netns, "lldpcli", "-u"]).arg(&self.socket);
        Finished::new(lldpcli.args(command.split_whitespace()))
    }

    /// Waits until it sees a neighbor with this text in its description.
    ///
    /// # Panics
    /// When it does not, with the log.
    #[track_caller]
    pub fn await_neighbor(&self, text: &str, deadline: Duration) -> String {
        eventually(deadline, &format!("lldpd sees {text}"), || {
            let shown = self.lldpcli("show neighbors details").into_result()?;
            if shown.contains(text) { Ok(shown) } else { Err(format!("{shown}{}", self.process.log())) }
        })
    }
}
