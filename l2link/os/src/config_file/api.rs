//! Section `[api]`.

use super::{ConfigError, ConfigSource};
use crate::access::{Access, Group, Permission};
use frames::discovery::Role;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// Section `[api]`: the command socket.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSection {
    /// Where it is.
    pub socket: Option<Spanned<PathBuf>>,
    /// Whose members have `group_may`; `l2link` by default, if there is such a group.
    pub group: Option<Spanned<GroupWord>>,
    /// What members of the group may do; everything by default.
    pub group_may: Option<MayWord>,
    /// What others may do; nothing by default.
    pub others_may: Option<Spanned<MayWord>>,
}

/// What a valid `[api]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where the command socket is.
    pub socket: PathBuf,
    /// Who may do what there.
    pub access: Access,
}

/// A group by its name or its number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum GroupWord {
    /// Its number.
    Number(i64),
    /// Its name.
    Name(String),
}

/// Values of `group_may` and `others_may`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MayWord {
    /// Not even connect.
    Nothing,
    /// Ask for what there is.
    Look,
    /// Change it.
    Change,
}

/// The group that the package makes, for who is to use `l2ctl` without being root.
const GROUP: &str = "l2link";

impl ApiSection {
    /// What is configured for a device of this role, or its default. The socket's is `/run/l2link/relay.sock` or
    /// `/run/l2link/control.sock`.
    ///
    /// # Errors
    /// If the path is longer than the 107 bytes that Linux allows (unix(7)), there is no such group, or anybody could change
    /// everything.
    pub fn check(&self, role: Role, source: &ConfigSource) -> Result<ApiSettings, ConfigError> {
        let socket = match &self.socket {
            Some(configured) => source.socket_path(configured, "command socket")?,
            None => PathBuf::from(format!("/run/l2link/{role}.sock")),
        };
        let group = match &self.group {
            Some(group) => Some(GroupWord::check(group, source)?),
            None => named(GROUP),
        };
        let others_may = match &self.others_may {
            Some(word) if *word.get_ref() == MayWord::Change => {
                return Err(source
                    .error_at(word.span(), "others_may is \"change\": that is for root and members of the group")
                    .help("write \"look\" or \"nothing\", and make a group of those who are to change something"));
            }
            word => word.as_ref().map_or(Permission::Nothing, |word| (*word.get_ref()).into()),
        };
        let group_may = self.group_may.map_or(Permission::Change, Into::into);
        Ok(ApiSettings { socket, access: Access { group, group_may, others_may } })
    }
}

impl GroupWord {
    /// The group.
    ///
    /// # Errors
    /// If there is none of this name, or the number is none.
    pub fn check(word: &Spanned<Self>, source: &ConfigSource) -> Result<Group, ConfigError> {
        match word.get_ref() {
            Self::Number(number) => match u32::try_from(*number) {
                Ok(gid) if gid != u32::MAX => Ok(Group { name: gid.to_string(), gid }),
                _ => Err(source.error_at(word.span(), format!("{number} is not the number of a group"))),
            },
            Self::Name(name) => named(name).ok_or_else(|| {
                let error =
                    source.error_at(word.span(), format!("there is no group {name:?} on this machine"));
                error.help(format!("`groupadd --system {name}` makes it; a number is taken as well"))
            }),
        }
    }
}

fn named(name: &str) -> Option<Group> {
    let found = nix::unistd::Group::from_name(name).ok().flatten()?;
    Some(Group { name: name.to_owned(), gid: found.gid.as_raw() })
}

impl From<MayWord> for Permission {
    fn from(word: MayWord) -> Self {
        match word {
            MayWord::Nothing => Self::Nothing,
            MayWord::Look => Self::Look,
            MayWord::Change => Self::Change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::parse;
    use rstest::rstest;
    use std::path::Path;

    fn check(text: &str) -> Result<ApiSettings, String> {
        let (section, source) = parse::<ApiSection>(Path::new("c.toml"), text.to_owned()).unwrap();
        section.check(Role::Relay, &source).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_it_is_for_root_and_the_packages_group() {
        let settings = check("").unwrap();
        assert_eq!(settings.socket, Path::new("/run/l2link/relay.sock"));
        assert_eq!(settings.access.group, named("l2link"));
        assert_eq!(settings.access.group_may, Permission::Change);
        assert_eq!(settings.access.others_may, Permission::Nothing);
    }

    #[rstest]
    #[case("group = \"root\"\ngroup_may = \"look\"", "root", 0, Permission::Look, Permission::Nothing)]
    #[case("group = 12\nothers_may = \"look\"", "12", 12, Permission::Change, Permission::Look)]
    fn right(
        #[case] text: &str,
        #[case] name: &str,
        #[case] gid: u32,
        #[case] group_may: Permission,
        #[case] others_may: Permission,
    ) {
        let group = Some(Group { name: name.to_owned(), gid });
        assert_eq!(check(text).unwrap().access, Access { group, group_may, others_may });
    }

    #[rstest]
    #[case("group = \"no-such-group\"", "c.toml:1:9: there is no group \"no-such-group\" on this machine")]
    #[case("group = -1", "c.toml:1:9: -1 is not the number of a group")]
    #[case("group = 4294967295", "c.toml:1:9: 4294967295 is not the number of a group")]
    #[case("others_may = \"change\"", "c.toml:1:14: others_may is \"change\"")]
    fn wrong(#[case] text: &str, #[case] expected: &str) {
        let error = check(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
