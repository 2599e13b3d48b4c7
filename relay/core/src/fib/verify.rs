//! Verification: what a fresh look at the kernel finds, against what was known.

use super::{Fib, RouteKey};
use serde::Serialize;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyRow {
    /// What.
    pub what: String,
    /// In which way.
    pub difference: String,
}

/// Differences that are listed.
const LISTED: usize = 1_000;

/// A verification under way.
#[derive(Debug, Default)]
pub(super) struct Verification {
    found: Vec<VerifyRow>,
    more: usize,
    /// The looks that began since cover these versions of IP.
    begun: bool,
    ipv4: bool,
    ipv6: bool,
}

impl Fib {
    /// Has the next look tell what it finds.
    pub(crate) fn verify(&mut self) {
        self.verification = Some(Verification::default());
        self.look_wanted = true;
    }

    /// Notes a difference, if anybody wants to know.
    pub(super) fn find(&mut self, key: &RouteKey, difference: &str) {
        let Some(verification) = self.verification.as_mut().filter(|verification| verification.begun) else {
            return;
        };
        if verification.found.len() < LISTED {
            let row = VerifyRow { what: format!("route {key}"), difference: difference.to_owned() };
            verification.found.push(row);
        } else {
            verification.more += 1;
        }
    }

    /// A look begins: what it finds counts.
    pub(super) fn verification_begins(&mut self) {
        if let Some(verification) = &mut self.verification {
            verification.begun = true;
        }
    }

    /// A look is over. Returns what was found, once all routes have been seen.
    pub(super) fn verification_ends(&mut self, ipv4: bool, ipv6: bool) {
        let Some(verification) = self.verification.as_mut().filter(|verification| verification.begun) else {
            return;
        };
        verification.ipv4 |= ipv4;
        verification.ipv6 |= ipv6;
        if !verification.ipv4 || !verification.ipv6 {
            return;
        }
        let refused: Vec<_> = self
            .refusals
            .iter()
            .take(LISTED + 1)
            .map(|(key, refusal)| (*key, format!("refused: {}: {}", refusal.status, refusal.text)))
            .collect();
        for (key, text) in refused {
            self.find(&key, &text);
        }
        if let Some(Verification { mut found, more, .. }) = self.verification.take() {
            if more > 0 {
                found.push(VerifyRow { what: "routes".into(), difference: format!("and {more} more") });
            }
            self.verified = Some(found);
        }
    }
}
