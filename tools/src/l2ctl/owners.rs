//! The processes that hold the sockets behind up tunnels.
//!
//! # Theory of operation
//! The daemon knows sockets by the kernel's own tables, which tell inode numbers and no processes. Who holds a socket is
//! found by reading the links `/proc/PID/fd/N`, `socket:[INODE]`, of all processes: milliseconds, which are this program's
//! time and not the daemon's, and which only who asks has to spend. A socket may be inherited, or passed on, so it can
//! have several owners. Links of other users' processes are not shown to everybody: what is left without an owner is
//! `unknown`, as is what only the kernel holds.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Adds `owners` to the rows that have `sockets`: an array of `{pid, program}`.
pub(crate) fn fill_in(proc: &Path, rows: &mut [Value]) {
    let wanted: BTreeSet<u64> = rows.iter().flat_map(sockets).collect();
    let owners = if wanted.is_empty() { BTreeMap::new() } else { owners(proc, &wanted) };
    for row in rows.iter_mut().filter(|row| row["sockets"].is_array()) {
        let mut of_row = BTreeSet::new();
        let mut unknown = false;
        for socket in sockets(row) {
            match owners.get(&socket) {
                Some(owners) => of_row.extend(owners),
                None => unknown = true,
            }
        }
        let known = of_row.into_iter().map(|(pid, program)| json!({"pid": pid, "program": program}));
        let unknown = unknown.then(|| json!({"pid": null, "program": "unknown"}));
        row["owners"] = known.chain(unknown).collect();
    }
}

/// Removes the numbers of sockets, which say little to people.
pub(crate) fn leave_out_sockets(rows: &mut [Value]) {
    for row in rows.iter_mut().filter_map(Value::as_object_mut) {
        row.remove("sockets");
    }
}

fn sockets(row: &Value) -> impl Iterator<Item = u64> {
    row["sockets"].as_array().into_iter().flatten().filter_map(Value::as_u64)
}

/// Processes by the sockets that they hold, as far as this user may look.
fn owners(proc: &Path, wanted: &BTreeSet<u64>) -> BTreeMap<u64, BTreeSet<(u32, String)>> {
    let mut owners: BTreeMap<u64, BTreeSet<(u32, String)>> = BTreeMap::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile, or be another user's.
        let links = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let held: BTreeSet<u64> = links.filter_map(|link| inode(&fs::read_link(link.path()).ok()?)).collect();
        let mut held = held.intersection(wanted).peekable();
        if held.peek().is_none() {
            continue;
        }
        let program = fs::read(entry.path().join("comm")).unwrap_or_default();
        let program = String::from_utf8_lossy(&program).trim_end().to_owned();
        for socket in held {
            owners.entry(*socket).or_default().insert((pid, program.clone()));
        }
    }
    owners
}

/// The number in `socket:[NUMBER]`.
pub(crate) fn inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A `/proc` of processes with their programs and what their descriptors are.
    fn proc(processes: &[(&str, &str, &[&str])]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("net")).unwrap();
        for (pid, program, links) in processes {
            let folder = proc.path().join(pid);
            fs::create_dir_all(folder.join("fd")).unwrap();
            fs::write(folder.join("comm"), format!("{program}\n")).unwrap();
            for (number, link) in links.iter().enumerate() {
                symlink(link, folder.join("fd").join(number.to_string())).unwrap();
            }
        }
        proc
    }

    #[test]
    fn every_holder_of_a_socket_is_told_once() {
        let proc = proc(&[
            ("20", "nginx", &["/dev/null", "socket:[7]", "socket:[7]"]),
            ("3", "nginx", &["socket:[7]", "pipe:[8]"]),
            ("21", "bgpd", &["socket:[9]", "anon_inode:[eventpoll]"]),
        ]);
        let mut rows = [
            json!({"direction": "down", "sockets": []}),
            json!({"direction": "up", "sockets": [7, 8, 9]}),
            json!({"direction": "up"}),
        ];
        fill_in(proc.path(), &mut rows);
        let owner = |pid: u32, program: &str| json!({"pid": pid, "program": program});
        let unknown = json!({"pid": null, "program": "unknown"});
        assert_eq!(rows[0]["owners"], json!([]));
        assert_eq!(
            rows[1]["owners"],
            json!([owner(3, "nginx"), owner(20, "nginx"), owner(21, "bgpd"), unknown]),
            "a pipe of the number 8 is no socket"
        );
        assert_eq!(rows[2], json!({"direction": "up"}), "a relay knows no sockets");
        leave_out_sockets(&mut rows);
        assert!(rows.iter().all(|row| row.get("sockets").is_none()));
    }

    #[test]
    fn without_a_proc_nobody_is_known() {
        let mut rows = [json!({"sockets": [7]})];
        fill_in(Path::new("/nonexistent"), &mut rows);
        assert_eq!(rows[0]["owners"], json!([{"pid": null, "program": "unknown"}]));
    }
}
