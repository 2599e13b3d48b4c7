//! What the kernel does for the daemons in the labs: the path of packets, and word of sockets.
//!
//! `L2LINK_FAST_PATH`, a value of `fast_path` in `[link]`, puts labs on the fast path whose tests do not choose how data is
//! protected. `L2LINK_DETECTION`, a value of `detection`, puts controls on it whose tests do not choose themselves. The built daemons
//! must have both: `cargo build --workspace --features l2relay/ebpf,l2control/ebpf`.

use std::env;

/// The environment variable.
const VARIABLE: &str = "L2LINK_FAST_PATH";
/// The same, for what tells a control of sockets.
const DETECTION: &str = "L2LINK_DETECTION";
/// Settings of `[link]` by which a test chooses itself.
const CHOICES: [&str; 4] = ["security", "encrypt", "data", "fast_path"];

/// A daemon's configuration with what the variable says, at the end of `[link]`. A file without `[api]` is no lab's, but wrong on purpose.
pub(crate) fn with_path(config: &str) -> String {
    let lab = config.split_once("[link]\n").filter(|_| config.contains("[api]\n"));
    let (Some((before, rest)), Some(word)) = (lab, word()) else { return config.to_owned() };
    let (section, after) = rest.split_at(rest.find("\n[").unwrap_or(rest.len()));
    if chooses(section) {
        return config.to_owned();
    }
    format!("{before}[link]\n{section}\ndata = \"clear\"\nfast_path = \"{word}\"{after}")
}

/// A control's configuration with what tells it of sockets, before all sections.
pub(crate) fn with_detection(config: &str) -> String {
    let word = env::var(DETECTION).ok().filter(|word| !word.is_empty());
    // A file without `[api]` is no lab's, but wrong on purpose.
    let chooses = config.lines().any(|line| line.starts_with("detection ="));
    match word.filter(|_| config.contains("[api]\n") && !chooses) {
        Some(word) => format!("detection = \"{word}\"\n{config}"),
        None => config.to_owned(),
    }
}

/// Whether the daemons under test must have the fast path.
#[must_use]
pub fn has_fast_path() -> bool {
    word().is_some_and(|word| word == "require")
}

/// Whether labs whose tests do not choose leave data in clear.
pub(crate) fn is_clear() -> bool {
    word().is_some()
}

fn word() -> Option<String> {
    env::var(VARIABLE).ok().filter(|word| !word.is_empty() && word != "off")
}

fn chooses(section: &str) -> bool {
    let keys = section.lines().filter_map(|line| line.split_once('='));
    keys.map(|(key, _)| key.trim()).any(|key| CHOICES.contains(&key))
}
