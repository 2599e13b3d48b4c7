//! `l2ctl doctor`: what on this machine keeps the product from working well, and the command that mends it.
//!
//! It looks at the machine ([`machine`]), at the configuration file if there is one ([`settings`]) with the interfaces that it names
//! ([`interfaces`], [`firewall`]), and at the daemon if it runs ([`daemon`], [`symbols`]). It changes nothing, and needs no daemon: it is most useful when the
//! daemon does not start.

mod daemon;
mod firewall;
mod interfaces;
mod machine;
mod settings;
mod symbols;

use crate::columns::Object;
use crate::{Failure, socket};
use frames::discovery::Role;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but less well than it could; or it cannot be told.
    Note,
    /// Something does not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) topic: &'static str,
    /// What there is.
    pub(crate) found: String,
    /// What mends it: a command where there is one. None where all is well.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    fn ok(topic: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, topic, found: found.into(), remedy: None }
    }

    fn note(topic: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Note, topic, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn wrong(topic: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Wrong, topic, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Where the daemons look for their files.
pub(crate) const CONFIGS: [&str; 2] = ["/etc/l2link/relay.toml", "/etc/l2link/control.toml"];

/// Looks at everything, and prints what it finds.
///
/// # Errors
/// If something is wrong, and if the output cannot be written.
pub(crate) fn run(
    out: &mut impl Write,
    config: Option<&Path>,
    socket: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let findings = examine(&configs(config.as_slice(), socket.as_slice()), socket);
    if json {
        let rows = serde_json::to_value(&findings).map_err(std::io::Error::other)?;
        writeln!(out, "{rows:#}")?;
    } else {
        print(out, &findings)?;
    }
    match findings.iter().filter(|finding| finding.level == Level::Wrong).count() {
        0 => Ok(()),
        count => Err(Failure::Wrong(count)),
    }
}

/// The configurations that were named; else those of the daemons that were; else those of the usual places; else those of the
/// daemons that run.
pub(crate) fn configs(named: &[impl AsRef<Path>], sockets: &[impl AsRef<Path>]) -> Vec<PathBuf> {
    if !named.is_empty() {
        return named.iter().map(|path| path.as_ref().to_owned()).collect();
    }
    let told: Vec<PathBuf> = sockets.iter().filter_map(|socket| file_of(socket.as_ref())).collect();
    if !told.is_empty() {
        return told;
    }
    let usual: Vec<PathBuf> = CONFIGS.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    if !usual.is_empty() {
        return usual;
    }
    let running = socket::all(&[]).unwrap_or_default();
    running.iter().filter_map(|socket| file_of(socket)).collect()
}

/// The file by which the daemon behind a socket runs, if it says so.
fn file_of(socket: &Path) -> Option<PathBuf> {
    let rows = crate::daemon::show(socket, Object::Configuration).ok()?;
    Some(rows.first()?["file"].as_str()?.into())
}

pub(crate) fn examine(configs: &[PathBuf], socket: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if configs.is_empty() {
        findings.push(Finding::note(
            "configuration",
            format!("there is neither {} nor {}, and no daemon names another", CONFIGS[0], CONFIGS[1]),
            "copy one of /usr/share/doc/l2link/examples there and put your names in; `l2ctl doctor --config FILE` looks at a file \
             of another place",
        ));
    }
    let files: Vec<_> = configs.iter().filter_map(|path| settings::read(path, &mut findings)).collect();
    let symbol_files = files.iter().any(|file| file.files);
    let is = |role| files.is_empty() || files.iter().any(|file| file.role == role);
    machine::examine(is(Role::Relay), is(Role::Control), symbol_files, &mut findings);
    for file in &files {
        match daemon::elsewhere(socket.unwrap_or(&file.socket)) {
            None => interfaces::examine(file, &mut findings),
            Some(pid) => findings.push(Finding::note(
                "link",
                format!(
                    "l2{} runs in another network namespace: its interfaces are not looked at",
                    file.role
                ),
                format!(
                    "`nsenter --target {pid} --net l2ctl doctor`, with the options given here, looks at them"
                ),
            )),
        }
    }
    findings.extend(settings::deaf(&files));
    match socket {
        Some(path) => daemon::examine(None, path, None, &mut findings),
        None if files.is_empty() => {
            if let Ok(path) = socket::find(&[]) {
                daemon::examine(None, &path, None, &mut findings);
            }
        }
        None => {
            for file in &files {
                let mount = file.files.then_some(&*file.mount);
                daemon::examine(Some(file.role), &file.socket, mount, &mut findings);
            }
        }
    }
    findings
}

/// The command socket of the daemon whose configuration this is, if it can be read.
pub(crate) fn socket_of(config: &Path) -> Option<PathBuf> {
    settings::load(config).ok().map(|settings| settings.socket)
}

/// Prints a line for each finding, and what mends it below.
fn print(out: &mut impl Write, findings: &[Finding]) -> std::io::Result<()> {
    let width = findings.iter().map(|finding| finding.topic.len()).max().unwrap_or(0);
    for Finding { level, topic, found, remedy } in findings {
        writeln!(out, "{:5}  {topic:width$}  {}", level.word(), indented(found, 9 + width))?;
        if let Some(remedy) = remedy {
            writeln!(out, "{:5}  {:width$}  > {}", "", "", indented(remedy, 11 + width))?;
        }
    }
    Ok(())
}

/// Text of several lines, the second and later ones set in.
fn indented(text: &str, by: usize) -> String {
    text.lines().collect::<Vec<_>>().join(&format!("\n{:by$}", ""))
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Wrong => "WRONG",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_what_they_mend() {
        let findings = [
            Finding::ok("clock", "synchronized"),
            Finding::wrong("link", "interface lan0 is down", "`ip link set lan0 up`"),
            Finding::note("configuration", "line one\nline two", "read it"),
        ];
        let mut out = Vec::new();
        print(&mut out, &findings).unwrap();
        let expected = "ok     clock          synchronized\n\
                        WRONG  link           interface lan0 is down\n\
                        \x20                     > `ip link set lan0 up`\n\
                        note   configuration  line one\n\
                        \x20                     line two\n\
                        \x20                     > read it\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn without_a_file_it_says_so_and_looks_at_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let findings = examine(&[folder.path().join("none.toml")], None);
        let wrong = findings.iter().find(|finding| finding.topic == "configuration").unwrap();
        assert_eq!(wrong.level, Level::Wrong);
        assert!(wrong.found.contains("no such file"), "{}", wrong.found);
        assert!(findings.iter().any(|finding| finding.topic == "privileges"));
    }
}
