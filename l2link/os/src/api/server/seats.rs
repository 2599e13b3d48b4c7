//! Whether there is a place for one more client.

use super::ApiServer;
use crate::access::Caller;
use core::fmt;

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    Clients,
    /// Those that are left are root's.
    ButRoot,
    /// The user has as many as one can.
    User,
}

/// Whether `caller` can come besides `present`.
pub(super) fn admit<'a>(
    caller: &Caller,
    present: impl Iterator<Item = &'a Caller> + Clone,
) -> Result<(), Full> {
    let count = |counts: &dyn Fn(&Caller) -> bool| present.clone().filter(|other| counts(other)).count();
    if count(&|_| true) >= ApiServer::CLIENTS {
        return Err(Full::Clients);
    }
    if caller.is_daemons_own() {
        return Ok(());
    }
    if count(&|other| !other.is_daemons_own()) >= ApiServer::CLIENTS_BUT_ROOT {
        return Err(Full::ButRoot);
    }
    if count(&|other| other.uid == caller.uid) >= ApiServer::CLIENTS_OF_USER {
        return Err(Full::User);
    }
    Ok(())
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients | Self::ButRoot => f.write_str("too many clients"),
            Self::User => {
                write!(f, "too many clients of one user: {} are allowed", ApiServer::CLIENTS_OF_USER)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32) -> Caller {
        Caller { uid, gid: 7, groups: Vec::new() }
    }

    /// How many of each of these users find a place, one after the other.
    fn seated(users: impl Iterator<Item = u32>, present: &mut Vec<Caller>) -> Vec<Result<(), Full>> {
        users
            .map(|uid| {
                let admitted = admit(&caller(uid), present.iter());
                present.extend(admitted.is_ok().then(|| caller(uid)));
                admitted
            })
            .collect()
    }

    #[test]
    fn nobody_can_lock_root_out() {
        let mut present = Vec::new();
        let one = seated((0..20).map(|_| 1000), &mut present);
        assert_eq!(one.iter().filter(|admitted| admitted.is_ok()).count(), ApiServer::CLIENTS_OF_USER);
        assert_eq!(one.last(), Some(&Err(Full::User)));
        let many = seated((0..100).map(|at| 2000 + at), &mut present);
        assert_eq!(many.last(), Some(&Err(Full::ButRoot)));
        assert_eq!(present.len(), ApiServer::CLIENTS_BUT_ROOT);
        let root = seated((0..20).map(|_| 0), &mut present);
        assert_eq!(root.iter().filter(|admitted| admitted.is_ok()).count(), 16);
        assert_eq!(root.last(), Some(&Err(Full::Clients)));
    }
}
