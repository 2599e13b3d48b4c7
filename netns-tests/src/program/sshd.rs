//! sshd and ssh.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running sshd with a host key and a user key of its own.
#[derive(Debug)]
pub struct Sshd {
    /// The listening process.
    pub process: Process,
    folder: PathBuf,
}

impl Sshd {
    /// Starts it on a port. It may not be ready yet.
    ///
    /// # Panics
    /// When keys cannot be made or it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, port: u16) -> Self {
        let folder = folder.join(format!("sshd-{port}"));
        fs::create_dir_all(&folder).expect("make sshd's folder");
        // Debian's sshd wants it, and its service makes it.
        fs::create_dir_all("/run/sshd").expect("make /run/sshd");
        for key in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            let _ =
                Finished::new(command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key)))
                    .expect_success();
        }
        let config = folder.join("sshd_config");
        let here = folder.display();
        let text = format!(
            "Port {port}\nHostKey {here}/host\nPidFile none\nAuthorizedKeysFile {here}/user.pub\nStrictModes no\n\
             UsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        );
        fs::write(&config, text).expect("write sshd_config");
        let process = netns.spawn(&format!("/usr/sbin/sshd -D -e -f {}", config.display()));
        Self { process, folder }
    }

    /// Runs a command by ssh from a namespace.
    #[must_use]
    pub fn ssh(&self, from: &Netns, address: &str, port: u16, command: &str) -> Finished {
        from.run(&format!(
            "ssh -F none -i {}/user -p {port} -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@{address} {command}",
            self.folder.display()
        ))
    }
}
