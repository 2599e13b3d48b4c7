//! The configuration file, as far as it names things of this machine. Whether it is right, the daemon itself says (`--check`).

use super::Finding;
use crate::socket;
use frames::discovery::Role;
use l2link_os::config_file::{self, ConfigError};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a file names.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) role: Role,
    /// The device's name.
    name: String,
    /// Interface on the segment.
    pub(super) link: String,
    /// Whether packets of known flows are to go by the kernel: `auto`, `require`, or else not.
    pub(super) fast_path: String,
    /// Whether packets cross the link sealed.
    pub(super) sealed: bool,
    /// A relay's ports.
    pub(super) ports: Vec<String>,
    /// The namespaces of a control's symbols; none for the daemon's own.
    pub(super) namespaces: Vec<Option<String>>,
    /// Whether the relay is to forward packets by routes of controls.
    pub(super) routes: bool,
    /// Whether symbols of kind `files` are asked for.
    pub(super) files: bool,
    /// Where these are.
    pub(super) mount: PathBuf,
    /// The relays of a control's symbols.
    relays: Vec<String>,
    /// The daemon's command socket.
    pub(super) socket: PathBuf,
}

/// The file, without what does not matter here.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    name: String,
    link: Link,
    #[serde(default)]
    files: Files,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    port: Vec<Port>,
    #[serde(default)]
    symbol: Vec<Symbol>,
}

#[derive(Debug, Deserialize)]
struct Link {
    interface: String,
    #[serde(default)]
    fast_path: String,
    security: Option<String>,
    data: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Api {
    socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct Files {
    mount: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Port {
    interface: String,
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(Debug, Deserialize)]
struct Allow {
    #[serde(default)]
    routes: bool,
}

#[derive(Debug, Deserialize)]
struct Symbol {
    #[serde(default)]
    relay: String,
    kind: Option<String>,
    netns: Option<String>,
}

/// Reads a file; what keeps it from being read is a finding.
pub(super) fn read(path: &Path, findings: &mut Vec<Finding>) -> Option<Settings> {
    match load(path) {
        Ok(settings) => {
            findings.push(check(settings.role, path));
            Some(settings)
        }
        Err(error) => {
            findings.push(Finding::wrong("configuration", error.to_string(), "mend the file"));
            None
        }
    }
}

/// Reads what a file names, without judging the rest.
pub(super) fn load(path: &Path) -> Result<Settings, ConfigError> {
    let (file, source) = config_file::load::<File>(path)?;
    // Either may have none of its sections: symbols by hand, or ports to come.
    let named_control = path.file_name().is_some_and(|name| name == "control.toml");
    let control = file.port.is_empty() && (!file.symbol.is_empty() || named_control);
    let role = if control { Role::Control } else { Role::Relay };
    let mut namespaces: Vec<_> = file.symbol.iter().map(|symbol| symbol.netns.clone()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let mount = file.files.mount.unwrap_or_else(|| "/run/l2link/files".into());
    Ok(Settings {
        role,
        name: file.name,
        mount: source.resolve(&mount),
        relays: file.symbol.iter().map(|symbol| symbol.relay.clone()).collect(),
        sealed: file.link.security.as_deref() != Some("none") && file.link.data.as_deref() != Some("clear"),
        fast_path: file.link.fast_path,
        link: file.link.interface,
        routes: file.port.iter().any(|port| port.allow.iter().any(|allow| allow.routes)),
        ports: file.port.into_iter().map(|port| port.interface).collect(),
        namespaces,
        files: file.symbol.iter().any(|symbol| symbol.kind.as_deref() == Some("files")),
        socket: source.resolve(&file.api.socket.unwrap_or_else(|| socket::of(role).into())),
    })
}

/// A control and the relay that it wants, on one machine and one interface: what a machine sends there it does not receive.
pub(super) fn deaf(files: &[Settings]) -> Option<Finding> {
    let of = |role| files.iter().find(|file| file.role == role);
    let (relay, control) = (of(Role::Relay)?, of(Role::Control)?);
    let meet = relay.link == control.link && control.relays.contains(&relay.name);
    let (name, link) = (&relay.name, &relay.link);
    meet.then(|| {
        Finding::wrong(
            "link",
            format!("the control's relay {name} is this machine, at the same interface {link}, where it does not hear itself"),
            "join both by a pair of virtual interfaces: `ip link add l2relay type veth peer name l2control`, both up, one as the \
             `interface` of each [link]",
        )
    })
}

/// Has the daemon check the file: it knows best. It stands beside this program, or in the search path.
fn check(role: Role, path: &Path) -> Finding {
    const TOPIC: &str = "configuration";
    let daemon = format!("l2{role}");
    let beside = std::env::current_exe().ok().and_then(|here| Some(here.parent()?.join(&daemon)));
    let program = beside.filter(|program| program.exists()).unwrap_or_else(|| daemon.clone().into());
    match Command::new(&program).arg("--check").arg("--config").arg(path).output() {
        Ok(output) if output.status.success() => {
            Finding::ok(TOPIC, format!("{} is a valid file for {daemon}", path.display()))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Finding::wrong(
                TOPIC,
                said.trim(),
                format!(
                    "mend the file; `{daemon} --check --config {}` tells whether it is right",
                    path.display()
                ),
            )
        }
        Err(error) => Finding::note(
            TOPIC,
            format!("{} cannot be run to check {}: {error}", program.display(), path.display()),
            format!("install {daemon} beside l2ctl or in the search path"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use rstest::rstest;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn what_a_relay_names() {
        let (folder, path) = written(
            "name = \"relay1\"\n[link]\ninterface = \"lan0\"\n[api]\nsocket = \"api.sock\"\n[[port]]\ninterface = \"eth1\"\n\
             [[port.allow]]\ncontrol = \"*\"\nroutes = true\n",
        );
        let settings = read(&path, &mut Vec::new()).unwrap();
        assert_eq!((settings.role, settings.link.as_str(), settings.routes), (Role::Relay, "lan0", true));
        assert_eq!(settings.ports, ["eth1"]);
        assert_eq!(settings.socket, folder.path().join("api.sock"));
    }

    #[test]
    fn what_a_control_names() {
        let (_folder, path) = written(
            "[link]\ninterface = \"lan0\"\n[[symbol]]\nkind = \"files\"\n[[symbol]]\nnetns = \"router\"\n[[symbol]]\n\
             netns = \"router\"\n",
        );
        let settings = read(&path, &mut Vec::new()).unwrap();
        assert_eq!((settings.role, settings.files), (Role::Control, true));
        assert_eq!(settings.namespaces, [None, Some("router".to_owned())]);
        assert_eq!(settings.socket, Path::new("/run/l2link/control.sock"));
    }

    #[rstest]
    #[case("", true)]
    #[case("data = \"sealed\"", true)]
    #[case("data = \"clear\"", false)]
    #[case("security = \"none\"", false)]
    fn how_packets_cross_the_link(#[case] lines: &str, #[case] sealed: bool) {
        let (_folder, path) = written(&format!("[link]\ninterface = \"lan0\"\n{lines}\n"));
        assert_eq!(load(&path).unwrap().sealed, sealed);
    }

    #[test]
    fn a_machine_does_not_hear_itself() {
        let (_one, relay) =
            written("name = \"relay1\"\n[link]\ninterface = \"lan0\"\n[[port]]\ninterface = \"eth1\"\n");
        let symbol = "[[symbol]]\nrelay = \"relay1\"\n";
        for (link, is_deaf) in [("lan0", true), ("lan1", false)] {
            let (_two, control) = written(&format!("[link]\ninterface = \"{link}\"\n{symbol}"));
            let files = [load(&relay).unwrap(), load(&control).unwrap()];
            assert_eq!(deaf(&files).is_some(), is_deaf, "{link}");
            assert!(deaf(&files[..1]).is_none());
        }
    }

    #[test]
    fn a_file_that_is_none_is_wrong() {
        let (_folder, path) = written("[link\n");
        let mut findings = Vec::new();
        assert!(read(&path, &mut findings).is_none());
        assert_eq!(findings[0].level, Level::Wrong);
        assert!(findings[0].found.contains("device.toml:1:"), "{}", findings[0].found);
    }
}
