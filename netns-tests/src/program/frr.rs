//! FRR.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::wait::eventually;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Running FRR daemons of one namespace, with their sockets in a folder of their own.
#[derive(Debug)]
pub struct Frr {
    daemons: BTreeMap<String, Process>,
    netns: String,
    folder: PathBuf,
}

impl Frr {
    /// Starts zebra, staticd and these daemons in the namespace, all with one configuration.
    ///
    /// # Panics
    /// When one cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, daemons: &[&str], config: &str) -> Self {
        let folder = folder.join(format!("frr-{}", netns.name()));
        fs::create_dir_all(&folder).expect("make FRR's folder");
        fs::write(folder.join("frr.conf"), format!("log stdout\n{config}")).expect("write frr.conf");
        // The daemons give up root for this user.
        let owned = Command::new("chown").args(["-R", "frr:frr"]).arg(&folder).status();
        assert!(owned.is_ok_and(|status| status.success()), "the user frr is missing: is FRR installed?");
        let mut frr = Self { daemons: BTreeMap::new(), netns: netns.name().to_owned(), folder };
        for daemon in ["zebra", "staticd"].iter().chain(daemons) {
            frr.start_daemon(netns, daemon);
        }
        frr
    }

    /// Starts one daemon, which may have been killed before.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_daemon(&mut self, netns: &Netns, daemon: &str) {
        let folder = self.folder.display();
        let control = if daemon == "bfdd" { format!("--bfdctl {folder}/bfdd.sock") } else { String::new() };
        let zserv = self.folder.join("zserv.api");
        let command = format!(
            "/usr/lib/frr/{daemon} -f {folder}/frr.conf -i {folder}/{daemon}.pid --vty_socket {folder} -z {} -P 0 {control}",
            zserv.display()
        );
        let process = netns.spawn(&command);
        if daemon == "zebra" {
            eventually(Duration::from_secs(5), "zebra listens", || {
                if zserv.exists() { Ok(()) } else { Err(process.log()) }
            });
        }
        self.daemons.insert(daemon.to_owned(), process);
    }

    /// Kills a daemon as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_9(&mut self, daemon: &str) {
        self.daemons.remove(daemon).expect("the daemon runs").kill_9();
    }

    /// A daemon's process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self, daemon: &str) -> u32 {
        self.daemons.get(daemon).expect("the daemon runs").pid()
    }

    /// Sends a daemon a signal.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, daemon: &str, signal: Signal) {
        self.daemons.get(daemon).expect("the daemon runs").signal(signal);
    }

    /// What vtysh says to a command.
    #[must_use]
    pub fn vtysh(&self, command: &str) -> Finished {
        Finished::new(self.vtysh_command().args(["-c", command]))
    }

    /// Has vtysh enter these lines in configuration mode.
    ///
    /// # Panics
    /// When FRR does not take them.
    #[track_caller]
    pub fn configure(&self, lines: &[&str]) {
        let mut vtysh = self.vtysh_command();
        vtysh.args(["-c", "configure terminal"]);
        for line in lines {
            vtysh.args(["-c", line]);
        }
        let _ = Finished::new(&mut vtysh).expect_success();
    }

    /// Waits until the answer to a command holds a text.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn await_text(&self, command: &str, text: &str, deadline: Duration) {
        eventually(deadline, &format!("`{command}` says {text:?}"), || {
            let said = self.vtysh(command).into_result()?;
            if said.contains(text) { Ok(()) } else { Err(format!("{said}\n{}", self.log())) }
        });
    }

    fn vtysh_command(&self) -> Command {
        let mut vtysh = Command::new("ip");
        vtysh.args(["netns", "exec", &self.netns, "vtysh", "--vty_socket"]).arg(&self.folder);
        vtysh
    }

    /// What the daemons have logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemons.iter().map(|(name, process)| format!("--- {name}\n{}\n", process.log())).collect()
    }
}
