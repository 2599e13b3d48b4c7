//! Which daemon to talk to.

use crate::Failure;
use frames::discovery::Role;
use std::path::{Path, PathBuf};

const RELAY: &str = "/run/l2link/relay.sock";
const CONTROL: &str = "/run/l2link/control.sock";

/// Where the daemon of a device listens unless it is configured otherwise.
pub(crate) const fn of(role: Role) -> &'static str {
    match role {
        Role::Relay => RELAY,
        Role::Control => CONTROL,
    }
}

/// The socket that was asked for, or the only one that is there.
pub(crate) fn find(given: &[PathBuf]) -> Result<PathBuf, Failure> {
    one(given)?.map_or_else(|| choose(Path::new(RELAY), Path::new(CONTROL)), |path| Ok(path.to_owned()))
}

/// The socket that was asked for, if any was, of a command to one daemon.
pub(crate) fn one(given: &[PathBuf]) -> Result<Option<&Path>, Failure> {
    match given {
        [] => Ok(None),
        [path] => Ok(Some(path)),
        _ => Err(Failure::Usage(
            "this command goes to one daemon: only `topology` and `support-bundle` take several --socket"
                .to_owned(),
        )),
    }
}

/// The sockets that were asked for, or those that are there.
pub(crate) fn all(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let there: Vec<PathBuf> =
        [RELAY, CONTROL].map(PathBuf::from).into_iter().filter(|path| path.exists()).collect();
    if there.is_empty() { find(&[]).map(|found| vec![found]) } else { Ok(there) }
}

fn choose(relay: &Path, control: &Path) -> Result<PathBuf, Failure> {
    match (relay.exists(), control.exists()) {
        (true, false) => Ok(relay.to_owned()),
        (false, true) => Ok(control.to_owned()),
        (true, true) => Err(Failure::Usage(format!(
            "both a relay and a control run here: add --socket {} or --socket {}",
            relay.display(),
            control.display()
        ))),
        (false, false) => Err(Failure::Daemon(format!(
            "neither l2relay nor l2control is running here: there is no {} and no {}; \
             if its configuration names another [api] socket, add --socket PATH",
            relay.display(),
            control.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(true, false, Some("relay"))]
    #[case(false, true, Some("control"))]
    #[case(true, true, None)]
    #[case(false, false, None)]
    fn only_an_unambiguous_socket_is_chosen(
        #[case] relay: bool,
        #[case] control: bool,
        #[case] expected: Option<&str>,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, there: bool| {
            let path = dir.path().join(name);
            if there {
                std::fs::write(&path, "").unwrap();
            }
            path
        };
        let chosen = choose(&path("relay", relay), &path("control", control));
        assert_eq!(chosen.ok(), expected.map(|name| dir.path().join(name)));
    }
}
