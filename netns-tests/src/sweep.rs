//! Nothing is left behind, even when a test is killed.
//!
//! Everything that a test process makes outside itself carries its process id: namespaces are called `l2t-PID-…`, files lie in
//! `/tmp/l2t-PID`. There are three lines of defence:
//!
//! 1. Guards: dropping a [`crate::Netns`] kills what runs inside and removes it; a panicking test drops its guards too.
//! 2. Children get SIGKILL from the kernel when the thread that started them ends (`PR_SET_PDEATHSIG`). That does not reach
//!    grandchildren, such as the workers of a server.
//! 3. A watchdog, one shell for each test process, reads from a pipe whose other end only the test process holds. When the
//!    process is gone, however it went, the read ends and the watchdog removes all that carries the process id.
//!
//! If the watchdog was killed as well, the next test process of this machine sweeps everything whose process is dead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const PREFIX: &str = "l2t-";

/// The folder for this process's files. Starts the watchdog and sweeps after dead processes, once in a process.
///
/// # Errors
/// When the folder cannot be made or the watchdog cannot be started.
pub fn begin() -> io::Result<PathBuf> {
    static WATCHDOG: Mutex<Option<Child>> = Mutex::new(None);
    let mut held = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    if held.is_none() {
        sweep_dead();
        *held = Some(watchdog()?);
    }
    let folder = folder(std::process::id());
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Name of a namespace of this process.
#[must_use]
pub fn netns_name(serial: usize, role: &str) -> String {
    format!("{PREFIX}{}-{serial}-{role}", std::process::id())
}

/// Kills everything that runs in a namespace and removes it.
pub fn remove_netns(name: &str) {
    shell(&format!("{REMOVE} remove {name}"));
}

const REMOVE: &str = r#"
remove() {
    ip netns pids "$1" | xargs -r kill -9
    ip netns del "$1"
}
"#;

fn watchdog() -> io::Result<Child> {
    let pid = std::process::id();
    let script = format!(
        r#"{REMOVE}
        cat > /dev/null
        for name in $(ls /run/netns | grep "^{PREFIX}{pid}-"); do remove "$name"; done
        rm -rf "{}""#,
        folder(pid).display()
    );
    // A session of its own, so that ^C at the terminal does not reach it. Its standard input is the pipe.
    Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn sweep_dead() {
    for name in names(Path::new("/run/netns")).filter(|name| is_dead(name)) {
        remove_netns(&name);
    }
    for name in names(Path::new("/tmp")).filter(|name| is_dead(name)) {
        // Another test process may sweep it at this moment.
        let _ = fs::remove_dir_all(Path::new("/tmp").join(name));
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// Whether a name carries the id of a process that no longer runs.
fn is_dead(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let Ok(pid) = rest.split('-').next().unwrap_or_default().parse::<u32>() else { return false };
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/tmp").join(format!("{PREFIX}{pid}"))
}

fn shell(script: &str) {
    let status = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    debug_assert!(status.is_ok(), "sh cannot be run: {status:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_dead_process_are_swept() {
        assert!(is_dead("l2t-4194305-0-relay"), "beyond the largest process id");
        assert!(!is_dead(&netns_name(0, "relay")));
        assert!(!is_dead("l2demo-relay"));
        assert!(!is_dead("l2t-other"));
    }
}
