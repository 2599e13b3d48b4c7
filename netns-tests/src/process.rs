//! Programs that run in a namespace.

use crate::wait::eventually;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command with its output in a file of `folder`, and its temporary files there, as it may be killed.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = (0..)
            .map(|serial| folder.join(format!("{name}.{serial}.log")))
            .find(|path| !path.exists())
            .expect("a free file name");
        let output = File::create(&log).expect("create a log file");
        let errors = output.try_clone().expect("share a log file");
        // A process group of its own, so that its children can be killed with it.
        command.process_group(0).env("TMPDIR", folder);
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { name: name.into(), child, log }
    }

    /// Its process id: `setpriv` and `ip netns exec` turn into the program itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits for a text in its output, and returns the whole output.
    ///
    /// # Panics
    /// When the text does not appear in time.
    #[track_caller]
    pub fn await_log(&self, text: &str, deadline: Duration) -> String {
        eventually(deadline, &format!("{} prints {text:?}", self.name), || {
            let log = self.log();
            if log.contains(text) { Ok(log) } else { Err(format!("it printed:\n{log}")) }
        })
    }

    /// Sends it a signal; none if it has ended already.
    pub fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        let _ = kill(self.raw_pid(), signal);
    }

    /// Its exit status, if it has ended.
    ///
    /// # Panics
    /// When the kernel denies having such a child.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(deadline, &what, || self.child.try_wait().ok().flatten().ok_or("it still runs".into()))
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(deadline)
    }

    /// Kills it alone, without a chance to clean up.
    pub fn kill_9(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it and all that it started, such as the workers of a server.
    pub fn kill_9_all(&mut self) {
        // Nobody may be left.
        let _ = killpg(self.raw_pid(), Signal::SIGKILL);
        self.kill_9();
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9_all();
    }
}

/// A program that has ended, with all that it printed.
#[derive(Debug)]
pub struct Finished {
    command: String,
    output: Output,
}

impl Finished {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn new(command: &mut Command) -> Self {
        let text = typed(command);
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{text} cannot be started: {error}"));
        Self { command: text, output }
    }

    /// Whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.output.status.success()
    }

    /// Its exit code; none if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Its standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Its standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Its standard output, for programs that must succeed.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    #[must_use]
    pub fn expect_success(self) -> String {
        assert!(self.success(), "{self}");
        self.stdout()
    }

    /// Its standard output, or all that it printed as a complaint, for [`eventually`].
    ///
    /// # Errors
    /// When it failed.
    pub fn into_result(self) -> Result<String, String> {
        if self.success() { Ok(self.stdout()) } else { Err(self.to_string()) }
    }
}

/// A command as one would type it; programs of many lines are cut after the first.
fn typed(command: &Command) -> String {
    let words =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy());
    let short = words.map(|word| match word.split_once('\n') {
        Some((first, _)) => format!("'{first} …'"),
        None => word.into_owned(),
    });
    short.collect::<Vec<_>>().join(" ")
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n{}{}", self.command, self.output.status, self.stdout(), self.stderr())
    }
}
