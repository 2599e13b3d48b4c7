//! Our daemons as black boxes: a configuration file, a process, its log, and what `l2ctl` says.

use crate::mounts::Mounts;
use crate::netns::Netns;
use crate::path::{with_detection, with_path};
use crate::process::{Finished, Process};
use crate::wait::{SOON, eventually};
use crate::{binary, lab};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::rc::Rc;

/// `l2relay` or `l2control` in a namespace, running or not.
#[derive(Debug)]
pub struct Daemon {
    process: Option<Process>,
    program: &'static str,
    netns: Rc<Netns>,
    mounts: Option<Rc<Mounts>>,
    folder: PathBuf,
    record: Option<PathBuf>,
}

impl Daemon {
    /// A daemon that is not started yet, with its configuration and the psk of the lab in `folder`.
    ///
    /// # Panics
    /// When the files cannot be written.
    #[must_use]
    pub fn new(program: &'static str, netns: &Rc<Netns>, folder: PathBuf, config: &str) -> Self {
        fs::create_dir_all(&folder).expect("make a daemon's folder");
        let daemon =
            Self { process: None, program, netns: Rc::clone(netns), mounts: None, folder, record: None };
        daemon.configure(config);
        daemon.set_psk(lab::PSK, 0o600);
        daemon
    }

    /// Writes its configuration file, with the path of packets that `L2LINK_FAST_PATH` says, and what `L2LINK_DETECTION` says of a
    /// control, if `config` says nothing of it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, config: &str) {
        let mut config = with_path(config);
        if self.program == "l2control" {
            config = with_detection(&config);
        }
        fs::write(self.config(), config).expect("write a configuration");
    }

    /// Writes its psk file with these permissions.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_psk(&self, psk: &str, mode: u32) {
        let path = self.folder.join("psk");
        fs::write(&path, psk).expect("write a psk");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set permissions");
    }

    /// Path of its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join(format!("{}.toml", self.program.trim_start_matches("l2")))
    }

    /// Path of its API socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Has it run in a mount namespace that outlives it.
    pub fn mount_in(&mut self, mounts: &Rc<Mounts>) {
        self.mounts = Some(Rc::clone(mounts));
    }

    /// Has it record what it is given, from its next start on.
    pub fn record_to(&mut self, file: PathBuf) {
        self.record = Some(file);
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with these environment variables.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.process.is_none(), "{} runs already", self.program);
        let mut command = self.command();
        // A system call that is not foreseen is to be noticed.
        command.env("L2LINK_SECCOMP", "kill").envs(environment.iter().copied());
        self.process = Some(Process::start(self.program, &mut command, &self.folder));
    }

    /// Starts it with all that it can log, which goes to this file: a device that is full, or a pipe that nobody reads.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start_logging_to(&mut self, log: &Path) {
        assert!(self.process.is_none(), "{} runs already", self.program);
        let plain = self.command();
        let mut command = Command::new("sh");
        // Opened for reading as well, so that a pipe has a reader.
        command.args(["-c", "exec \"$@\" 1<>\"$0\" 2>&1"]).arg(log);
        command.arg(plain.get_program()).args(plain.get_args());
        command.env("RUST_LOG", "trace").env("L2LINK_SECCOMP", "kill");
        self.process = Some(Process::start(self.program, &mut command, &self.folder));
    }

    /// Runs it to its end, for configurations that it must refuse.
    #[must_use]
    pub fn run(&self, more: &[&str]) -> Finished {
        let mut command = Command::new("timeout");
        command.arg("10").arg(self.command().get_program());
        command.args(self.command().get_args()).args(more);
        Finished::new(&mut command)
    }

    fn command(&self) -> Command {
        let program = binary(self.program);
        let mut command = match &self.mounts {
            Some(mounts) => mounts.command_in(&self.netns, program),
            None => self.netns.command(program),
        };
        command.arg("--config").arg(self.config());
        if let Some(file) = &self.record {
            command.arg("--record").arg(file);
        }
        command
    }

    /// The running process.
    ///
    /// # Panics
    /// When it was not started.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running daemon")
    }

    /// Kills it, without a chance to clean up.
    #[track_caller]
    pub fn kill_9(&mut self) {
        self.process().kill_9();
        self.process = None;
    }

    /// Stops it in order and checks that it was content with itself.
    ///
    /// # Panics
    /// When it does not end in time, or not with 0.
    #[track_caller]
    pub fn terminate(&mut self) {
        let status: ExitStatus = self.process().terminate(SOON);
        assert!(status.success(), "{}: {status}\n{}", self.program, self.log());
        self.process = None;
    }

    /// Has it exit and leave everything to a successor, and checks that it was content with itself.
    ///
    /// # Panics
    /// When it does not end in time, or not with 0.
    #[track_caller]
    pub fn leave(&mut self) {
        self.process().signal(Signal::SIGUSR2);
        let status: ExitStatus = self.process().wait(SOON);
        assert!(status.success(), "{}: {status}\n{}", self.program, self.log());
        self.process = None;
    }

    /// Process ids of the keepers that hold its symbols' devices.
    #[must_use]
    pub fn keepers(&self) -> Vec<u32> {
        let socket = self.folder.join("sock.keeper");
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            // A process that has ended meanwhile, or waits for its parent to notice, has none.
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&&b"keeper"[..]) && words.contains(&socket.as_os_str().as_encoded_bytes())
        })
        .collect()
    }

    /// Everything it has logged, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        (0..)
            .map_while(|serial| fs::read(self.folder.join(format!("{}.{serial}.log", self.program))).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    /// Waits for a text in its log.
    ///
    /// # Panics
    /// When it does not appear.
    #[track_caller]
    pub fn await_log(&self, text: &str) {
        eventually(SOON, &format!("{} logs {text:?}", self.program), || {
            let log = self.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    /// Runs `l2ctl` with it.
    #[must_use]
    pub fn l2ctl(&self, line: &str) -> Finished {
        let mut command = Command::new(binary("l2ctl"));
        command.arg("--socket").arg(self.socket()).args(line.split_whitespace());
        Finished::new(&mut command)
    }

    /// One of its tables.
    ///
    /// # Errors
    /// When `l2ctl` fails, for example because the daemon is not up yet.
    ///
    /// # Panics
    /// When `l2ctl` prints something else than an array.
    pub fn show(&self, object: &str) -> Result<Vec<Value>, String> {
        let text = self.l2ctl(&format!("show {object} --json")).into_result()?;
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Waits for a row of a table, and returns it. `expected` is part of the row.
    ///
    /// # Panics
    /// When it does not appear.
    #[track_caller]
    pub fn await_row(&self, object: &str, expected: &Value) -> Value {
        eventually(SOON, &format!("{} shows {object} {expected}", self.program), || {
            let rows = self.show(object)?;
            rows.iter().find(|row| contains(row, expected)).cloned().ok_or_else(|| lines(&rows))
        })
    }

    /// Waits until a table has no row of which `unexpected` is a part.
    ///
    /// # Panics
    /// When it stays.
    #[track_caller]
    pub fn await_no_row(&self, object: &str, unexpected: &Value) {
        eventually(SOON, &format!("{} shows no {object} {unexpected}", self.program), || {
            let rows = self.show(object)?;
            if rows.iter().any(|row| contains(row, unexpected)) { Err(lines(&rows)) } else { Ok(()) }
        });
    }

    /// A counter's value; 0 if it does not exist (yet).
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let rows = self.show("counters").expect("counters");
        rows.iter().find(|row| row["name"] == name).map_or(0, |row| row["value"].as_u64().expect("a number"))
    }

    /// Waits until a counter has grown beyond `before`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn await_counter(&self, name: &str, before: u64) {
        eventually(SOON, &format!("{} counts {name}", self.program), || match self.counter(name) {
            value if value > before => Ok(()),
            value => Err(format!("it stays at {value}")),
        });
    }

    /// Its rules for sockets that wait for packets from anywhere, one text each and sorted: neither the one that every
    /// symbol has for itself nor those for flows.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn rules(&self) -> Result<Vec<String>, String> {
        let rules = self.show("rules")?;
        let listeners =
            rules.iter().filter(|rule| rule["protocol"] != "ethertype" && rule["remote"].is_null());
        let mut rules: Vec<String> = listeners
            .map(|rule| {
                let text = |key: &str| rule[key].as_str().unwrap_or("-").to_owned();
                let port = rule["port_number"].as_u64().map_or(String::new(), |port| format!(":{port}"));
                format!("{} {} {}{port} {}", text("port"), text("protocol"), text("address"), text("state"))
            })
            .collect();
        rules.sort();
        Ok(rules)
    }

    /// Remote ends of its rules for flows of a protocol.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn flows(&self, protocol: &str) -> Result<Vec<String>, String> {
        let rules = self.show("rules")?;
        let flows = rules.iter().filter(|rule| rule["protocol"] == protocol);
        Ok(flows.filter_map(|rule| rule["remote"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until no rule for a flow of a protocol is left.
    ///
    /// # Panics
    /// When some stay.
    #[track_caller]
    pub fn await_no_flows(&self, protocol: &str) {
        eventually(SOON, &format!("{} has no {protocol} flows", self.program), || {
            match self.flows(protocol)? {
                flows if flows.is_empty() => Ok(()),
                flows => Err(format!("it has {flows:?}")),
            }
        });
    }

    /// Waits until its rules for listening sockets are exactly these.
    ///
    /// # Panics
    /// When they do not become so.
    #[track_caller]
    pub fn await_rules(&self, expected: &[&str]) {
        eventually(SOON, &format!("{} has rules {expected:?}", self.program), || {
            let rules = self.rules()?;
            if rules == expected { Ok(()) } else { Err(format!("it has {rules:?}")) }
        });
    }

    /// All that helps to find out why a test failed.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = String::new();
        let running = self.process.is_some();
        for object in ["peers", "symbols", "rules", "tunnels", "counters"].into_iter().filter(|_| running) {
            let shown = self.l2ctl(&format!("show {object}"));
            let _ =
                write!(report, "--- {} show {object}\n{}{}", self.program, shown.stdout(), shown.stderr());
        }
        let _ = write!(report, "--- {} log\n{}", self.program, self.log());
        report
    }

    /// The folder with its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Whether all keys of `part` are in `row` with the same values.
fn contains(row: &Value, part: &Value) -> bool {
    part.as_object().expect("an object").iter().all(|(key, value)| row.get(key) == Some(value))
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("\n{row}")).collect()
}
