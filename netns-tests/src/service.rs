//! A daemon as its unit file has systemd run it, without systemd.
//!
//! [`Service`] starts what the unit says, under the restrictions that it asks for as far as mounts, capabilities and
//! `no_new_privs` go (not: the filter of system calls, devices, IP addresses), listens to what the daemon tells its service manager,
//! and stops and restarts it by the unit's signals.

use crate::notifications::Notifications;
use crate::private_root::PrivateRoot;
use crate::process::Process;
use crate::wait::{SOON, eventually};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A unit file.
#[derive(Debug)]
pub struct Unit {
    lines: Vec<(String, String)>,
}

/// A daemon and its unit.
#[derive(Debug)]
pub struct Service {
    unit: Unit,
    name: &'static str,
    netns: String,
    notifications: Notifications,
    process: Option<Process>,
}

impl Unit {
    /// Reads one.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.split_once('='));
        Self { lines: lines.map(|(key, value)| (key.into(), value.into())).collect() }
    }

    /// The words that a key has, in all its lines.
    #[must_use]
    pub fn words(&self, key: &str) -> Vec<&str> {
        let values = self.lines.iter().filter(|(own, _)| own == key);
        values.flat_map(|(_, value)| value.split_whitespace()).collect()
    }

    /// The only word of a key.
    ///
    /// # Panics
    /// When it has none, or several.
    #[must_use]
    #[track_caller]
    pub fn word(&self, key: &str) -> &str {
        match self.words(key)[..] {
            [word] => word,
            ref words => panic!("{key}={words:?}"),
        }
    }

    /// Adds the lines of a drop-in.
    fn adapt(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.words(key) == [value]
    }

    /// A script that confines itself as the unit says and becomes what follows it.
    fn confinement(&self) -> String {
        let mut script = vec!["set -e".to_owned(), "mount --make-rslave /".to_owned()];
        let mut add = |line: &str| script.push(line.to_owned());
        if self.is("ProtectProc", "invisible") {
            add("mount -t proc -o hidepid=invisible proc /proc");
        }
        if self.is("PrivateTmp", "yes") {
            add("mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /var/tmp");
        }
        if self.is("ProtectHome", "yes") {
            add("for home in /home /root; do mount -t tmpfs -o mode=0 tmpfs $home; done");
        }
        if self.is("PrivateDevices", "yes") {
            add("mount -t tmpfs -o mode=755 tmpfs /dev");
            add(
                "mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/urandom c 1 9",
            );
        }
        add("mkdir -p /run/l2link; mount --bind /run/l2link /run/l2link");
        if self.is("ProtectKernelTunables", "yes") {
            add("mount --rbind /sys /sys; mount --bind /proc/sys /proc/sys");
        }
        for path in self.words("ReadWritePaths") {
            let (path, optional) = path.strip_prefix('-').map_or((path, false), |path| (path, true));
            let test = if optional { format!("test ! -e {path} || ") } else { String::new() };
            add(&format!("{test}mount --bind {path} {path}"));
        }
        if self.is("ProtectKernelTunables", "yes") {
            // All that is mounted below is read-only as well, but for what ReadWritePaths= names.
            add("mount -o remount,bind,ro /proc/sys");
            let below =
                "findmnt -rno TARGET | grep -E '^/sys(/|$)' | grep -v '^/sys/kernel/tracing/instances$'";
            add(&format!("{below} | while read -r path; do mount -o remount,bind,ro \"$path\"; done"));
        }
        if self.is("ProtectSystem", "strict") {
            // Namespaces of others come and go meanwhile.
            let all =
                "findmnt -rno TARGET | grep -Ev '^/((proc|sys|dev|tmp|var/tmp|run/l2link)(/|$)|run/netns/)'";
            add(&format!("{all} | while read -r path; do mount -o remount,bind,ro \"$path\"; done"));
        }
        add(&format!("umask {}", self.word("UMask")));
        let capabilities: String = self
            .words("CapabilityBoundingSet")
            .iter()
            .map(|name| format!(",+{}", name.to_lowercase().replacen("cap_", "", 1)))
            .collect();
        let new_privileges = if self.is("NoNewPrivileges", "yes") { "--no-new-privs" } else { "" };
        let group = format!("--regid {} --clear-groups", self.word("Group"));
        add(&format!(
            "exec setpriv {group} --bounding-set=-all{capabilities} --inh-caps=-all {new_privileges} \"$@\""
        ));
        script.join("\n")
    }
}

impl Service {
    /// The service of an installed unit, in a network namespace.
    ///
    /// # Panics
    /// When the unit is not installed.
    #[must_use]
    pub fn new(root: &PrivateRoot, name: &'static str, netns: &str) -> Self {
        let unit = Unit::read(&root.path(&format!("/usr/lib/systemd/system/{name}.service")));
        let notifications = Notifications::listen(&root.run().join("notify"));
        Self { unit, name, netns: netns.to_owned(), notifications, process: None }
    }

    /// Adds settings, as a file in the unit's folder of drop-ins does.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn adapt(&mut self, file: &Path) {
        self.unit.adapt(Unit::read(file));
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become so.
    #[track_caller]
    pub fn start(&mut self, root: &PrivateRoot) {
        self.notifications.forget();
        let seconds: u64 = self.unit.word("WatchdogSec").parse().expect("seconds");
        let mut command = root.command(Some(&self.netns));
        command.args([
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-c",
            &self.unit.confinement(),
            "sh",
        ]);
        command.args(self.unit.words("ExecStart"));
        command.env("NOTIFY_SOCKET", "/run/notify");
        command.env("WATCHDOG_USEC", Duration::from_secs(seconds).as_micros().to_string());
        self.process = Some(Process::start(self.name, &mut command, root.run()));
        eventually(SOON, &format!("{} is ready", self.name), || {
            let process = self.process.as_mut().expect("a process");
            assert!(process.try_wait().is_none(), "{} has ended:\n{}", self.name, process.log());
            let ready = self.notifications.heard().iter().any(|heard| heard == "READY=1");
            if ready { Ok(()) } else { Err(process.log()) }
        });
    }

    /// As `systemctl restart`.
    ///
    /// # Panics
    /// When it does not end well, or does not become ready again.
    #[track_caller]
    pub fn restart(&mut self, root: &PrivateRoot) {
        let signal = self.unit.word("RestartKillSignal").parse().expect("a signal's name");
        self.end(signal);
        self.start(root);
    }

    /// As `systemctl stop`.
    ///
    /// # Panics
    /// When it does not end well.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    #[track_caller]
    fn end(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("a running service");
        process.signal(signal);
        let status = process.wait(SOON);
        assert!(status.success(), "{}: {status}\n{}", self.name, process.log());
        self.notifications.await_text("STOPPING=1");
    }

    /// What it tells its service manager.
    pub fn notifications(&mut self) -> &mut Notifications {
        &mut self.notifications
    }

    /// The running process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running service")
    }
}
