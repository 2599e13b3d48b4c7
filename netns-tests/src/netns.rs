//! One network namespace.

use crate::process::{Finished, Process};
use crate::sweep;
use crate::wait::{SOON, eventually};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A network namespace; dropping it kills what runs inside and removes it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    folder: PathBuf,
}

impl Netns {
    /// Makes a namespace with `lo` up and duplicate address detection off, so that IPv6 addresses serve at once.
    /// Programs started in it log to `folder`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: String, folder: &Path) -> Self {
        let _ = Finished::new(Command::new("ip").args(["netns", "add", &name])).expect_success();
        let netns = Self { name, folder: folder.to_owned() };
        netns.sysctl("net.ipv6.conf.default.accept_dad=0");
        netns.ip(&["link set lo up"]);
        netns
    }

    /// Its name under `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder for the logs of its programs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that will run inside and be killed when this thread ends.
    #[must_use]
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, program: S) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a command line, split at white space, to its end.
    ///
    /// # Panics
    /// When the line is empty or the program cannot be started.
    #[must_use]
    pub fn run(&self, line: &str) -> Finished {
        Finished::new(&mut self.split(line))
    }

    /// Runs a command line that must succeed and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.run(line).expect_success()
    }

    /// Starts a command line, split at white space, and lets it run.
    ///
    /// # Panics
    /// When the line is empty or the program cannot be started.
    #[must_use]
    pub fn spawn(&self, line: &str) -> Process {
        let name = line.split_whitespace().next().and_then(|program| program.rsplit('/').next());
        Process::start(name.expect("a program's name"), &mut self.split(line), &self.folder)
    }

    /// Starts a Python program, and lets it run.
    ///
    /// # Panics
    /// When Python is not there.
    #[must_use]
    pub fn python(&self, program: &str, arguments: &[&str]) -> Process {
        Process::start("python3", &mut self.python_command(program, arguments), &self.folder)
    }

    /// Runs a Python program to its end.
    ///
    /// # Panics
    /// When Python is not there.
    #[must_use]
    pub fn run_python(&self, program: &str, arguments: &[&str]) -> Finished {
        Finished::new(&mut self.python_command(program, arguments))
    }

    /// Runs a closure on a thread of its own inside the namespace.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or the closure panics.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("open a namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
                closure()
            });
            thread.join().expect("a closure that does not panic")
        })
    }

    /// Runs commands of `ip`, one an item, in one go.
    ///
    /// # Panics
    /// When one of them fails.
    #[track_caller]
    pub fn ip(&self, commands: &[&str]) {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start ip");
        let mut stdin = child.stdin.take().expect("a pipe to ip");
        stdin.write_all(commands.join("\n").as_bytes()).expect("write to ip");
        drop(stdin);
        let output = child.wait_with_output().expect("wait for ip");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "in {}: {commands:?}: {errors}", self.name);
    }

    /// Sets a kernel setting, given as `NAME=VALUE`.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn sysctl(&self, setting: &str) {
        self.ok(&format!("sysctl -qw {setting}"));
    }

    /// What `ip -json` tells.
    ///
    /// # Panics
    /// When it fails or prints something else than JSON.
    #[track_caller]
    #[must_use]
    pub fn ip_json(&self, arguments: &str) -> serde_json::Value {
        let text =
            Finished::new(Command::new("ip").args(["-n", &self.name, "-json"]).args(arguments.split(' ')));
        serde_json::from_str(&text.expect_success()).expect("JSON from ip")
    }

    /// Waits until some program listens on a port, `tcp` or `udp`.
    ///
    /// # Panics
    /// When none does.
    #[track_caller]
    pub fn await_listener(&self, protocol: &str, port: u16) {
        eventually(SOON, &format!("a program listens on {protocol}/{port} in {}", self.name), || match self
            .ok(&format!("ss -Hln -A {protocol} sport = :{port}"))
            .as_str()
        {
            "" => Err("none does".into()),
            _ => Ok(()),
        });
    }

    /// Whether it has an interface of this name.
    #[must_use]
    pub fn has_interface(&self, name: &str) -> bool {
        Finished::new(Command::new("ip").args(["-n", &self.name, "link", "show", name])).success()
    }

    fn python_command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("/usr/bin/python3");
        command.args(["-u", "-c", program]).args(arguments);
        command
    }

    fn split(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program's name"));
        command.args(words);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        sweep::remove_netns(&self.name);
    }
}
