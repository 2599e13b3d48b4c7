//! [`Cause`] in words.

use crate::dispatch::Cause;
use core::fmt;

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unserved => "no control has a rule for it",
            Self::Flow => "there is a rule for exactly this flow",
            Self::Sole => "it has one server",
            Self::Pinned => "the flow stays with the server that has it",
            Self::Tracked => "the flow's datagrams went there before",
            Self::Table => "the table shares it out by its addresses and ports",
            Self::Before => {
                "the table of before its servers changed, as they have not told all of their connections yet"
            }
            Self::Moved => {
                "the new table; the connection will be pinned, as the servers have not told all of theirs yet"
            }
            Self::NoRoom => "the table of before its servers changed, as there is no room to pin it",
            Self::Learning => "it is being learned which control has which connection",
            Self::Draining => "none of its servers takes new flows",
        })
    }
}
