//! `uid`, `gid` and `mode` of a symbol's files.

use control_core::files::Ownership;
use l2link_os::config_file::{ConfigError, ConfigSource};
use nix::unistd::{Group, User};
use serde::Deserialize;
use toml::Spanned;

/// A number, or a name for it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum NumberOrName {
    Number(i64),
    Name(String),
}

/// The keys of a `[[symbol]]` of kind `files`.
#[derive(Debug)]
pub(crate) struct OwnershipKeys<'a> {
    pub(crate) uid: Option<&'a Spanned<NumberOrName>>,
    pub(crate) gid: Option<&'a Spanned<NumberOrName>>,
    pub(crate) mode: Option<&'a Spanned<NumberOrName>>,
}

impl OwnershipKeys<'_> {
    /// Where one of them stands, if any does.
    pub(crate) fn span(&self) -> Option<core::ops::Range<usize>> {
        [self.uid, self.gid, self.mode].into_iter().flatten().map(Spanned::span).next()
    }

    /// Root's alone, unless something else is said.
    pub(crate) fn check(&self, source: &ConfigSource) -> Result<Ownership, ConfigError> {
        let user = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        let group = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
        Ok(Ownership {
            uid: id(self.uid, "user", user, source)?,
            gid: id(self.gid, "group", group, source)?,
            mode: self.mode.map_or(Ok(MODE), |mode| bits(mode, source))?,
        })
    }
}

fn id(
    key: Option<&Spanned<NumberOrName>>,
    what: &str,
    named: impl Fn(&str) -> Option<u32>,
    source: &ConfigSource,
) -> Result<u32, ConfigError> {
    let Some(key) = key else { return Ok(0) };
    match key.get_ref() {
        NumberOrName::Number(number) => u32::try_from(*number)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| source.error_at(key.span(), format!("{number} is not the number of a {what}"))),
        NumberOrName::Name(name) => named(name).ok_or_else(|| {
            let error = source.error_at(key.span(), format!("there is no {what} {name:?} on this machine"));
            error.help(format!("`getent {} {name}` looks for it; a number is taken as well", database(what)))
        }),
    }
}

fn database(what: &str) -> &'static str {
    if what == "user" { "passwd" } else { "group" }
}

fn bits(key: &Spanned<NumberOrName>, source: &ConfigSource) -> Result<u16, ConfigError> {
    let number = match key.get_ref() {
        NumberOrName::Number(number) => u16::try_from(*number).ok(),
        NumberOrName::Name(text) => u16::from_str_radix(text, 8).ok(),
    };
    number.filter(|mode| mode & !ALLOWED == 0).ok_or_else(|| {
        let shown = match key.get_ref() {
            NumberOrName::Number(number) => number.to_string(),
            NumberOrName::Name(text) => format!("{text:?}"),
        };
        let error = source.error_at(key.span(), format!("{shown} cannot be the mode of files"));
        error.help("write read and write permissions in octal digits, as \"0640\" or 0o640")
    })
}

/// Unless configured.
const MODE: u16 = 0o600;
/// Read and write. Whoever may read a file may enter its directory.
const ALLOWED: u16 = 0o666;
