//! A file system of its own for one machine: that of this machine, below a layer that takes what is written.
//!
//! Packages are installed there by `dpkg` as on any machine, and nothing of it is seen outside. It is an overlay in a mount
//! namespace, held by a process; with the process all is gone. systemd does not run there: `systemctl` and
//! `deb-systemd-invoke`, which a package's scripts call, write down what they are asked.

use crate::process::{Finished, Process};
use crate::wait::SOON;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file system. Dropping it ends the process that holds it.
#[derive(Debug)]
pub struct PrivateRoot {
    holder: Process,
    run: PathBuf,
}

/// Arguments: folder of the test, folder that becomes `/run`.
const MAKE: &str = r#"
set -e
folder=$1 run=$2
mkdir -p "$run/netns" "$run/systemd/system" "$run/old" "$run/layer" "$folder/root"
mount -t tmpfs layer "$run/layer"
mkdir "$run/layer/upper" "$run/layer/work"
mount -t overlay -o "lowerdir=/,upperdir=$run/layer/upper,workdir=$run/layer/work" overlay "$folder/root"
cd "$folder/root"
for part in proc sys dev; do mount --rbind /$part $part; done
mkdir -p ".$folder"
mount --bind "$folder" ".$folder"
mount --rbind "$run" run
mount --rbind /run/netns run/netns
# A package's manual pages need no index here.
rm -f var/lib/man-db/auto-update
for command in systemctl deb-systemd-invoke; do
    {
        echo '#!/bin/sh'
        # With --root it only makes links in files, and talks to nobody.
        echo 'case "$0 $*" in *systemctl*--root=*) exec /usr/bin/systemctl "$@" ;; esac'
        echo "echo \"$command \$*\" >> /run/asked"
    } > usr/local/sbin/$command
    chmod 755 usr/local/sbin/$command
done
pivot_root . run/old
umount -l /run/old
echo ready
exec sleep infinity
"#;

impl PrivateRoot {
    /// Makes it. Files of `folder` are seen inside under the same path; its `run` is the machine's `/run`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let run = folder.join("run");
        fs::create_dir_all(&run).expect("make a machine's folder");
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-c",
            MAKE,
        ]);
        let holder = Process::start("root", command.arg("sh").arg(folder).arg(&run), folder);
        let _ = holder.await_log("ready", SOON);
        Self { holder, run }
    }

    /// A command that will run inside, in the network namespace of this name if there is one, and be killed when this thread
    /// ends.
    #[must_use]
    pub fn command(&self, netns: Option<&str>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.pid()));
        if let Some(netns) = netns {
            command.arg(format!("--net=/run/netns/{netns}"));
        }
        // What the package's scripts find first.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a line of shell inside that must succeed, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        Finished::new(self.command(None).args(["sh", "-ec", line])).expect_success()
    }

    /// A path of the inside, as it is called outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.holder.pid()))
    }

    /// The folder that is the machine's `/run`.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// What systemd was asked since the last time, by the packages' scripts.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let file = self.run.join("asked");
        let asked = fs::read_to_string(&file).unwrap_or_default();
        // None if nothing was asked.
        let _ = fs::remove_file(file);
        asked.lines().map(str::to_owned).collect()
    }

    /// Files that were written or deleted, but for what dpkg knows and logs, and the groups there are.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let found = self.ok("cd /run/layer/upper && find . ! -type d");
        let of_dpkg = ["./var/lib/dpkg/", "./var/log/", "./var/cache/"];
        // A group stays when its package is purged, as Debian has it: files may be left that are its.
        let of_groups = ["./etc/group", "./etc/gshadow", "./etc/.pwd.lock"];
        let mut paths: Vec<String> = found.lines().map(str::to_owned).collect();
        paths.retain(|path| !of_dpkg.iter().chain(&of_groups).any(|folder| path.starts_with(folder)));
        paths.sort();
        paths
    }
}
