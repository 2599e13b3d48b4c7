//! What a running daemon cannot take over from a changed file.

use super::{ConfigError, ConfigSource, LinkSettings, parse};
use core::mem::discriminant;
use core::ops::Range;
use l2link::Security;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Spanned, Value};

/// Keys of these sections that are taken over all the same.
const RUNNING: [(&str, &str); 7] = [
    ("link", "keepalive_ms"),
    ("link", "missed"),
    ("link", "keylog_file"),
    ("link", "busy_poll_us"),
    ("api", "group"),
    ("api", "group_may"),
    ("api", "others_may"),
];

/// The part of a file that is read at the start only.
#[derive(Debug, Deserialize)]
struct Start {
    name: Spanned<Value>,
    /// Of a control.
    detection: Option<Spanned<Value>>,
    link: Section,
    #[serde(default)]
    api: Section,
}

type Section = BTreeMap<String, Spanned<Value>>;

/// Whether a daemon that runs by the file `before` can go on by `after`, two valid ones; the settings are those of their
/// `[link]`, with the secrets.
///
/// # Errors
/// Names the first key that is another one now and needs a restart, where it stands.
pub fn without_restart(
    (before, link_before): (&ConfigSource, &LinkSettings),
    (after, link_after): (&ConfigSource, &LinkSettings),
) -> Result<(), ConfigError> {
    let old = parse::<Start>(before.path(), before.text.clone())?.0;
    let new = parse::<Start>(after.path(), after.text.clone())?.0;
    let refuse = |key: &str, span: Option<Range<usize>>| {
        let message = format!("`{key}` cannot be changed while the daemon runs: it needs a restart");
        let error = match span {
            Some(span) => after.error_at(span, message),
            None => after.error(message),
        };
        Err(error.help("`systemctl restart` reads the whole file and loses nothing; or undo this change"))
    };
    if old.name.get_ref() != new.name.get_ref() {
        return refuse("name", Some(new.name.span()));
    }
    let (old_detection, new_detection) = (old.detection.as_ref(), new.detection.as_ref());
    if old_detection.map(Spanned::get_ref) != new_detection.map(Spanned::get_ref) {
        return refuse("detection", new_detection.map(Spanned::span));
    }
    for (section, old, new) in [("link", &old.link, &new.link), ("api", &old.api, &new.api)] {
        let keys = new.keys().chain(old.keys()).filter(|key| !RUNNING.contains(&(section, key.as_str())));
        for key in keys {
            let (old, new) = (old.get(key), new.get(key));
            if old.map(Spanned::get_ref) != new.map(Spanned::get_ref) {
                return refuse(&format!("{section}.{key}"), new.map(Spanned::span));
            }
        }
    }
    if !same_secret(&link_before.security, &link_after.security) {
        let key = new.link.get("psk_file");
        return refuse("what is in link.psk_file", key.map(Spanned::span));
    }
    Ok(())
}

fn same_secret(before: &Security, after: &Security) -> bool {
    match (before, after) {
        (Security::Psk(before), Security::Psk(after)) => before == after,
        (Security::Keys(before), Security::Keys(after)) => {
            before.private.public() == after.private.public() && before.psk == after.psk
        }
        (before, after) => discriminant(before) == discriminant(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::LinkSection;
    use frames::discovery::Role;
    use rstest::rstest;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[derive(Deserialize)]
    struct File {
        link: LinkSection,
    }

    const FILE: &str = "name = \"a\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n";

    fn read(folder: &Path, text: &str) -> (ConfigSource, LinkSettings) {
        let (file, source) = parse::<File>(&folder.join("x.toml"), text.to_owned()).unwrap();
        let link = file.link.check(Role::Relay, &[], &source).unwrap();
        (source, link)
    }

    fn write_psk(folder: &Path, psk: &str) {
        fs::write(folder.join("psk"), psk).unwrap();
        fs::set_permissions(folder.join("psk"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    const PSK: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";

    fn compare(after: &str, psk: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        write_psk(folder.path(), PSK);
        let (before, link_before) = read(folder.path(), FILE);
        write_psk(folder.path(), psk);
        let (after, link_after) = read(folder.path(), after);
        let compared = without_restart((&before, &link_before), (&after, &link_after));
        compared.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[rstest]
    #[case::same(FILE)]
    #[case::comment("# other\nname = \"a\"\n[link]\npsk_file = \"psk\"\ninterface = \"lan0\"\n")]
    #[case::running(
        "name = \"a\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\nkeepalive_ms = 50\nmissed = 5\n"
    )]
    #[case::access(
        "name = \"a\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n[api]\ngroup = \"root\"\nothers_may = \"look\"\n"
    )]
    fn what_is_taken_over(#[case] after: &str) {
        assert_eq!(compare(after, PSK), Ok(()));
    }

    #[rstest]
    #[case::name(
        "name = \"b\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n",
        "x.toml:1:8: `name` cannot"
    )]
    #[case::detection(
        "name = \"a\"\ndetection = \"bpf\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n",
        "x.toml:2:13: `detection` cannot"
    )]
    #[case::interface(
        "name = \"a\"\n[link]\ninterface = \"lan1\"\npsk_file = \"psk\"\n",
        "x.toml:3:13: `link.interface` cannot"
    )]
    #[case::more(
        "name = \"a\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\nencrypt = true\n",
        "x.toml:5:11: `link.encrypt` cannot"
    )]
    #[case::socket(
        "name = \"a\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n[api]\nsocket = \"s\"\n",
        "x.toml:6:10: `api.socket` cannot"
    )]
    fn what_needs_a_restart(#[case] after: &str, #[case] expected: &str) {
        let error = compare(after, PSK).unwrap_err();
        assert!(error.starts_with(expected) && error.contains("needs a restart"), "{error}");
    }

    #[test]
    fn another_key_in_the_same_file_does_too() {
        let error = compare(FILE, "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\n").unwrap_err();
        assert!(error.starts_with("x.toml:4:12: `what is in link.psk_file` cannot"), "{error}");
    }
}
