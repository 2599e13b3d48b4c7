//! `[[peer]]`: what an operator decided about one device of the segment. In the files of both daemons.

use super::{ConfigEdit, ConfigError, ConfigSource, device_name};
use l2link::PublicKey;
use l2link::by_hand::Decided;
use serde::Deserialize;
use toml::Spanned;
use toml_edit::{Item, Table, value};

/// Section `[[peer]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSection {
    name: Spanned<String>,
    weight: Option<Spanned<i64>>,
    #[serde(default)]
    drain: bool,
    public_key: Option<Spanned<String>>,
}

impl PeerSection {
    /// Names and public keys of all: who may be a peer in mode `keys`.
    ///
    /// # Errors
    /// For a peer without a key or with a bad one, and for a key that two have, or that is this device's `own`.
    pub(super) fn keys(
        sections: &[Self],
        own: PublicKey,
        source: &ConfigSource,
    ) -> Result<Vec<(String, PublicKey)>, ConfigError> {
        let mut all: Vec<(String, PublicKey)> = Vec::new();
        for Self { name, public_key, .. } in sections {
            let Some(text) = public_key else {
                let error = source.error_at(
                    name.span(),
                    format!("peer {} has no `public_key`, which security = \"keys\" needs", name.get_ref()),
                );
                return Err(error.help(PUBLIC_KEY));
            };
            let error = |message: String| source.error_at(text.span(), message).help(PUBLIC_KEY);
            let key: PublicKey = text.get_ref().parse().map_err(|_| {
                error("this is no public key: 32 bytes as base64 (44 characters) are needed".into())
            })?;
            if key == own {
                return Err(error("this is the public key of this device itself".into()));
            }
            if let Some((other, _)) = all.iter().find(|(_, known)| *known == key) {
                return Err(error(format!(
                    "peer {other} has the same public key; each device needs its own"
                )));
            }
            all.push((device_name(name, source)?, key));
        }
        Ok(all)
    }

    /// Refuses keys where no mode uses them.
    ///
    /// # Errors
    /// For the first `public_key`.
    pub(super) fn no_keys(sections: &[Self], source: &ConfigSource) -> Result<(), ConfigError> {
        match sections.iter().find_map(|section| section.public_key.as_ref()) {
            Some(key) => Err(source
                .error_at(key.span(), "there is a `public_key`, which only security = \"keys\" uses")
                .help("add `security = \"keys\"` to [link], or remove it")),
            None => Ok(()),
        }
    }
}

/// Where to get one.
const PUBLIC_KEY: &str =
    "`l2ctl pubkey < FILE` tells the public key of the private one in FILE, at the device that has it";

/// What a valid `[[peer]]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// Whom.
    pub name: String,
    /// Its share of new flows; none for what it, or the rest of the configuration, says itself.
    pub weight: Option<u16>,
    /// Whether it takes no new flow.
    pub drain: bool,
}

impl PeerSettings {
    /// What is decided about it.
    #[must_use]
    pub fn decided(&self) -> Decided {
        Decided { weight: self.weight, draining: self.drain }
    }

    /// Checks all sections.
    ///
    /// # Errors
    /// For a name that cannot be, or is here twice, and a weight out of range.
    pub fn check(sections: &[PeerSection], source: &ConfigSource) -> Result<Vec<Self>, ConfigError> {
        let mut all: Vec<Self> = Vec::new();
        for PeerSection { name, weight, drain, .. } in sections {
            let text = device_name(name, source)?;
            if all.iter().any(|known| known.name == text) {
                let error = source.error_at(name.span(), format!("peer {text} is here twice"));
                return Err(error.help("put everything about a peer in one [[peer]]"));
            }
            let weight = weight.as_ref().map(|weight| {
                let number = *weight.get_ref();
                u16::try_from(number).map_err(|_| {
                    source
                        .error_at(weight.span(), format!("weight is {number}; 0 to {} are allowed", u16::MAX))
                })
            });
            all.push(Self { name: text, weight: weight.transpose()?, drain: *drain });
        }
        Ok(all)
    }

    /// Takes it into a list of what a file says.
    pub fn put_into(self, all: &mut Vec<Self>) {
        all.retain(|known| known.name != self.name);
        if self.weight.is_some() || self.drain {
            all.push(self);
        }
    }

    /// Writes it into a file. A section that says nothing else goes.
    ///
    /// # Errors
    /// If `peer` is written in a form that cannot be changed.
    pub fn save(&self, edit: &mut ConfigEdit) -> Result<(), ConfigError> {
        let is_it = |table: &Table| table.get("name").and_then(Item::as_str) == Some(&self.name);
        let says_nothing = self.weight.is_none() && !self.drain;
        if says_nothing {
            edit.remove_elements("peer", |table| is_it(table) && !table.contains_key("public_key"));
        }
        if !says_nothing && edit.element("peer", is_it).is_none() {
            let mut table = Table::new();
            table["name"] = value(&self.name);
            edit.add_element("peer", table)?;
        }
        let Some(table) = edit.element("peer", is_it) else { return Ok(()) };
        match self.weight {
            Some(weight) => table["weight"] = value(i64::from(weight)),
            None => _ = table.remove("weight"),
        }
        match self.drain {
            true => table["drain"] = value(true),
            false => _ = table.remove("drain"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::parse;
    use rstest::rstest;
    use std::path::Path;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default)]
        peer: Vec<PeerSection>,
    }

    fn check(text: &str) -> Result<Vec<PeerSettings>, ConfigError> {
        let (file, source) = parse::<File>(Path::new("x.toml"), text.to_owned())?;
        PeerSettings::check(&file.peer, &source)
    }

    #[rstest]
    #[case("[[peer]]\nname = \"a\"\n[[peer]]\nname = \"a\"\n", "x.toml:4:8: peer a is here twice")]
    #[case("[[peer]]\nname = \"a\"\nweight = 65536\n", "x.toml:3:10: weight is 65536; 0 to 65535")]
    #[case("[[peer]]\nname = \"a\"\nweight = -1\n", "x.toml:3:10: weight is -1")]
    #[case("[[peer]]\nname = \"a b\"\n", "x.toml:2:8: a device name")]
    #[case("[[peer]]\nname = \"a\"\nheavy = 1\n", "x.toml:3:1: unknown field `heavy`")]
    fn what_cannot_be(#[case] text: &str, #[case] expected: &str) {
        let error = check(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        std::fs::write(&path, "# mine\n").unwrap();
        let a = |weight, drain| PeerSettings { name: "a".into(), weight, drain };
        for settings in [a(Some(5), false), a(Some(0), true), a(None, true), a(None, false)] {
            let mut edit = ConfigEdit::open(&path).unwrap();
            settings.save(&mut edit).unwrap();
            edit.finish(|_, _| Ok(())).unwrap().write().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let expected = if settings == a(None, false) { Vec::new() } else { vec![settings] };
            assert_eq!(check(&text).unwrap(), expected, "{text}");
            assert!(text.contains("# mine"), "{text}");
        }
    }

    #[test]
    fn a_peer_with_a_key_stays_when_nothing_else_is_said_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        std::fs::write(&path, "[[peer]]\nname = \"a\"\npublic_key = \"K\"\n").unwrap();
        for (weight, drain) in [(Some(7), true), (None, false)] {
            let mut edit = ConfigEdit::open(&path).unwrap();
            PeerSettings { name: "a".into(), weight, drain }.save(&mut edit).unwrap();
            edit.finish(|_, _| Ok(())).unwrap().write().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("public_key = \"K\""), "{text}");
            assert_eq!(check(&text).unwrap(), [PeerSettings { name: "a".into(), weight, drain }]);
        }
    }
}
