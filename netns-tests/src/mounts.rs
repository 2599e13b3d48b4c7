//! A mount namespace of its own, so that what is mounted in a test goes with it.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::wait::{SOON, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount namespace; dropping it ends it, and with it all mounts inside, as soon as no program is in it any more.
#[derive(Debug)]
pub struct Mounts {
    holder: Process,
    folder: PathBuf,
}

impl Mounts {
    /// Makes one, in which everything is mounted that is now. Programs started in it log to `folder`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "sleep", "infinity"]);
        let holder = Process::start("mounts", &mut command, folder);
        let own = fs::read_link("/proc/self/ns/mnt").expect("this process's namespace");
        let made = format!("/proc/{}/ns/mnt", holder.pid());
        eventually(SOON, "a mount namespace is made", || match fs::read_link(&made) {
            Ok(link) if link != own => Ok(()),
            other => Err(format!("{other:?}")),
        });
        Self { holder, folder: folder.to_owned() }
    }

    /// A command that will run inside, in a network namespace, and be killed when this thread ends.
    #[must_use]
    pub fn command_in<S: AsRef<std::ffi::OsStr>>(&self, netns: &Netns, program: S) -> Command {
        let mut command = self.enter();
        command.arg(format!("--net=/run/netns/{}", netns.name())).arg(program);
        command
    }

    /// As [`Mounts::command_in`], in the network namespace of this process.
    #[must_use]
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, program: S) -> Command {
        let mut command = self.enter();
        command.arg(program);
        command
    }

    /// Runs a line of shell inside to its end.
    #[must_use]
    pub fn sh(&self, line: &str) -> Finished {
        Finished::new(self.command("bash").args(["-c", line]))
    }

    /// Starts a line of shell inside, and lets it run.
    #[must_use]
    pub fn spawn(&self, line: &str) -> Process {
        Process::start("sh", self.command("bash").args(["-c", line]), &self.folder)
    }

    /// Starts a Python program inside, and lets it run.
    #[must_use]
    pub fn python(&self, program: &str, arguments: &[&str]) -> Process {
        Process::start("python3", &mut self.python_command(program, arguments), &self.folder)
    }

    /// Runs a Python program inside to its end.
    #[must_use]
    pub fn run_python(&self, program: &str, arguments: &[&str]) -> Finished {
        Finished::new(&mut self.python_command(program, arguments))
    }

    fn python_command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("/usr/bin/python3");
        command.args(["-u", "-c", program]).args(arguments);
        command
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("setpriv");
        let place = format!("--mount=/proc/{}/ns/mnt", self.holder.pid());
        command.args(["--pdeathsig", "KILL", "nsenter", &place]);
        command
    }
}
