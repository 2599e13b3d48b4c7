//! What an operator does by hand at a daemon of either role: the words that both cores share.

/// How far something by hand is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// In force.
    InForce,
    /// The one who has to agree, a relay or a kernel, has been asked.
    Asked,
    /// It said no, why.
    Refused(String),
    /// It cannot be asked yet, why: it will be put in force as soon as it can be.
    Waits(String),
}

/// What an operator decided about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decided {
    /// Share of new flows, 0 for none, whatever those say whose flows they are; `None` for what they say.
    pub weight: Option<u16>,
    /// Whether it is drained: no new flow, and the others live on. The weight counts again afterwards.
    pub draining: bool,
}

impl Decided {
    /// The share that follows; `None` for what the peer or the symbols say themselves.
    #[must_use]
    pub fn share(self) -> Option<u16> {
        if self.draining { Some(0) } else { self.weight }
    }
}

/// What there is, behind "there".
#[must_use]
pub fn list<Name: AsRef<str>>(known: &[Name]) -> String {
    match known {
        [] => "is none".to_owned(),
        [only] => format!("is {}", only.as_ref()),
        several => {
            let names: Vec<&str> = several.iter().map(AsRef::as_ref).collect();
            format!("are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn what_there_is_is_told() {
        assert_eq!(list::<&str>(&[]), "is none");
        assert_eq!(list(&["eth1"]), "is eth1");
        assert_eq!(list(&["eth1".to_owned(), "eth2".to_owned()]), "are eth1, eth2");
    }

    #[rstest]
    #[case(None, false, None)]
    #[case(Some(7), false, Some(7))]
    #[case(Some(7), true, Some(0))]
    #[case(None, true, Some(0))]
    fn who_is_drained_gets_no_share(
        #[case] weight: Option<u16>,
        #[case] draining: bool,
        #[case] share: Option<u16>,
    ) {
        assert_eq!(Decided { weight, draining }.share(), share);
    }
}
