//! [`Access`]: who may do what at a daemon's UNIX sockets.
//!
//! # Theory of operation
//!
//! The kernel tells who has connected: user, group and supplementary groups of the moment of `connect(2)`, which the client
//! cannot choose (unix(7), `SO_PEERCRED`, `SO_PEERGROUPS`). From these, and from nothing that the client says, follows a
//! [`Permission`], before its first byte is read:
//!
//! | who | may |
//! |---|---|
//! | root, and the user as whom the daemon runs | everything |
//! | a member of the group | what `group_may` says |
//! | anybody else | what `others_may` says |
//!
//! The permission bits of the socket's file are a second lock, as tight as that allows. Its file can be given to a group of
//! which the daemon is no member only with `CAP_CHOWN`, which it does not keep: then anybody can connect, and the first lock
//! is the only one.

mod caller;

pub use caller::Caller;

use core::fmt;

/// What somebody may do. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Permission {
    /// Not even connect.
    #[default]
    Nothing,
    /// Ask for what there is.
    Look,
    /// Change it.
    Change,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Members of this group have a permission of their own.
    pub group: Option<Group>,
    /// What they may.
    pub group_may: Permission,
    /// What anybody else may, root excepted.
    pub others_may: Permission,
}

/// A group of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name, or its number in digits.
    pub name: String,
    /// Its number.
    pub gid: u32,
}

impl Access {
    /// What a client may.
    #[must_use]
    pub fn permits(&self, caller: &Caller) -> Permission {
        if caller.is_daemons_own() {
            return Permission::Change;
        }
        match &self.group {
            Some(group) if caller.is_member(group.gid) => self.group_may.max(self.others_may),
            Some(_) | None => self.others_may,
        }
    }

    /// The same, without what is more than looking: for a socket at which there is nothing else.
    #[must_use]
    pub fn for_looking(&self) -> Self {
        let (group_may, others_may) = (self.group_may, self.others_may);
        Self {
            group: self.group.clone(),
            group_may: group_may.min(Permission::Look),
            others_may: others_may.min(Permission::Look),
        }
    }

    /// Who has a permission, as the end of a sentence.
    #[must_use]
    pub fn who_may(&self, permission: Permission) -> String {
        match &self.group {
            Some(group) if self.group_may >= permission => {
                format!("root and members of group {}", group.name)
            }
            Some(_) | None => "root alone".to_owned(),
        }
    }

    /// The group that must be able to open the socket's file.
    pub(crate) fn file_group(&self) -> Option<&Group> {
        self.group.as_ref().filter(|_| self.group_may > Permission::Nothing && !self.is_open())
    }

    /// Whether anybody may connect.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.others_may, Permission::Nothing)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Look => "look",
            Self::Change => "change",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn access(group_may: Permission, others_may: Permission) -> Access {
        Access { group: Some(Group { name: "l2link".into(), gid: 970 }), group_may, others_may }
    }

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
        Caller { uid, gid, groups: groups.to_vec() }
    }

    #[rstest]
    #[case::root(caller(0, 0, &[]), Permission::Nothing, Permission::Nothing, Permission::Change)]
    #[case::member(caller(7, 970, &[]), Permission::Change, Permission::Nothing, Permission::Change)]
    #[case::supplementary(caller(7, 7, &[3, 970]), Permission::Look, Permission::Nothing, Permission::Look)]
    #[case::a_member_is_somebody(caller(7, 970, &[]), Permission::Nothing, Permission::Look, Permission::Look)]
    #[case::other(caller(7, 7, &[3]), Permission::Change, Permission::Look, Permission::Look)]
    #[case::stranger(caller(7, 7, &[3]), Permission::Change, Permission::Nothing, Permission::Nothing)]
    // Of a group by name only: group root is none.
    #[case::group_root(caller(7, 0, &[0]), Permission::Change, Permission::Nothing, Permission::Nothing)]
    fn who_may_what(
        #[case] caller: Caller,
        #[case] group_may: Permission,
        #[case] others_may: Permission,
        #[case] expected: Permission,
    ) {
        // As whom the test runs is a daemon's own user, which 7 is not.
        assert_eq!(access(group_may, others_may).permits(&caller), expected);
        assert_eq!(
            access(group_may, others_may).for_looking().permits(&caller).min(Permission::Look),
            expected.min(Permission::Look)
        );
    }

    #[test]
    fn nobody_but_root_without_a_word() {
        assert_eq!(Access::default().permits(&caller(7, 0, &[0])), Permission::Nothing);
        assert_eq!(Access::default().permits(&caller(0, 7, &[])), Permission::Change);
        assert_eq!(Access::default().who_may(Permission::Look), "root alone");
    }

    #[test]
    fn the_file_is_as_tight_as_it_can_be() {
        let gid = |access: &Access| access.file_group().map(|group| group.gid);
        assert_eq!(gid(&access(Permission::Look, Permission::Nothing)), Some(970));
        assert_eq!(gid(&access(Permission::Nothing, Permission::Nothing)), None);
        assert_eq!(gid(&access(Permission::Change, Permission::Look)), None, "it is open to all");
    }
}
